//! Packets that did not come: which to ask for, when, and when to give up.
//!
//! In: extended sequence numbers of what came, and the time. Out: sequence numbers for a NACK, and whether a key frame is needed
//! because something will never come.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most packets waited for at once: 1000 of 1200 bytes are 250 ms at 40 Mbit/s; after a longer gap a key frame is sooner there.
const MAX_MISSING: usize = 1000;
/// How often one packet is asked for.
const MAX_RETRIES: u8 = 10;
/// Never asked for more often than this, however short the round trip: the answer may wait in the sender's pacer.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// Round trip time assumed while none is known.
const DEFAULT_RTT: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NackConfig {
    /// How long a gap may be mere reordering before it is asked for.
    pub reorder_delay: Duration,
    /// How long a packet is of use: after it the packet is given up.
    pub max_age: Duration,
    /// Whether what is given up calls for a key frame (video).
    pub key_frames: bool,
}

impl Default for NackConfig {
    /// For video: 5 ms, because paths rarely reorder by more than a burst of a frame; 1 s, beyond which a key frame is sooner there.
    fn default() -> Self {
        Self { reorder_delay: Duration::from_millis(5), max_age: Duration::from_secs(1), key_frames: true }
    }
}

/// What a packet was to the generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next one, or one that opened a gap.
    New,
    /// One that was missing, and had been asked for or not.
    Recovered {
        /// How often it was asked for.
        retries: u8,
    },
    /// Seen before, given up, or older than everything: nobody waits for it.
    NotMissing,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    seq: u64,
    since: Instant,
    asked: Option<Instant>,
    retries: u8,
}

/// The receiver's side of retransmission for one stream.
#[derive(Debug, Clone)]
pub(crate) struct NackGenerator {
    config: NackConfig,
    highest: Option<u64>,
    /// Ascending by `seq`.
    missing: VecDeque<Missing>,
    /// The latest packet with which decoding can begin.
    key_start: Option<u64>,
    needs_key_frame: bool,
    given_up: u64,
}

impl NackGenerator {
    /// One that has seen nothing.
    pub(crate) fn new(config: NackConfig) -> Self {
        Self { config, highest: None, missing: VecDeque::new(), key_start: None, needs_key_frame: false, given_up: 0 }
    }

    /// A packet came: on the stream itself, or recovered by RTX. `is_key_start`: decoding can begin with it.
    pub(crate) fn on_packet(&mut self, now: Instant, seq: u64, is_key_start: bool) -> Arrival {
        if is_key_start && self.key_start.is_none_or(|key| seq > key) {
            self.key_start = Some(seq);
        }
        let Some(highest) = self.highest else {
            self.highest = Some(seq);
            return Arrival::New;
        };
        if seq <= highest {
            let found = self.missing.binary_search_by_key(&seq, |missing| missing.seq).ok();
            return match found.and_then(|at| self.missing.remove(at)) {
                Some(missing) => Arrival::Recovered { retries: missing.retries },
                None => Arrival::NotMissing,
            };
        }
        self.highest = Some(seq);
        let gap = seq - highest - 1;
        if gap as usize > MAX_MISSING || self.missing.len() + gap as usize > MAX_MISSING {
            self.overflow(seq, gap, is_key_start);
        }
        let first = seq - (gap.min((MAX_MISSING - self.missing.len()) as u64));
        if gap as usize <= MAX_MISSING {
            self.missing.extend((first..seq).map(|seq| Missing { seq, since: now, asked: None, retries: 0 }));
        }
        Arrival::New
    }

    /// Makes room for `gap` packets before `seq`: first what lies before the last key frame goes, then everything.
    fn overflow(&mut self, seq: u64, gap: u64, is_key_start: bool) {
        if let Some(key) = self.key_start {
            let obsolete = self.missing.partition_point(|missing| missing.seq < key);
            self.given_up += obsolete as u64;
            self.missing.drain(..obsolete);
        }
        if gap as usize > MAX_MISSING || self.missing.len() + gap as usize > MAX_MISSING {
            self.given_up += self.missing.len() as u64;
            self.missing.clear();
            if gap as usize > MAX_MISSING {
                self.given_up += gap;
            }
            // With a key frame right behind the gap nothing before it is needed.
            self.needs_key_frame |= !is_key_start && self.key_start.is_none_or(|key| key < seq);
        }
    }

    /// Appends what to ask for now, ascending, to `out`; says whether a key frame is needed because something was given up that
    /// decoding depends on. `rtt` is the round trip to the sender, if known.
    pub(crate) fn poll(&mut self, now: Instant, rtt: Option<Duration>, out: &mut Vec<u16>) -> bool {
        let interval = rtt.unwrap_or(DEFAULT_RTT).max(MIN_INTERVAL);
        let (config, key_start) = (self.config, self.key_start);
        let (mut given_up, mut lost) = (0, false);
        self.missing.retain_mut(|missing| {
            let due = match missing.asked {
                None => now.saturating_duration_since(missing.since) >= config.reorder_delay,
                Some(asked) => now.saturating_duration_since(asked) >= interval,
            };
            if now.saturating_duration_since(missing.since) > config.max_age || (due && missing.retries >= MAX_RETRIES) {
                given_up += 1;
                lost |= key_start.is_none_or(|key| missing.seq > key);
                return false;
            }
            if due {
                missing.asked = Some(now);
                missing.retries += 1;
                out.push(missing.seq as u16);
            }
            true
        });
        self.given_up += given_up;
        self.needs_key_frame |= lost;
        std::mem::take(&mut self.needs_key_frame) && config.key_frames
    }

    /// How many packets are being waited for.
    #[cfg(test)]
    pub(crate) fn missing(&self) -> usize {
        self.missing.len()
    }

    /// How many packets were given up so far.
    #[cfg(test)]
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the origin of the virtual clock
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RTT: Option<Duration> = Some(Duration::from_millis(50));

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn poll(generator: &mut NackGenerator, now: Instant) -> (Vec<u16>, bool) {
        let mut out = Vec::new();
        let key = generator.poll(now, RTT, &mut out);
        (out, key)
    }

    #[test]
    fn asks_after_the_reorder_delay_and_then_every_round_trip() {
        let start = Instant::now();
        let mut generator = NackGenerator::new(NackConfig::default());
        assert_eq!(generator.on_packet(start, 65_534, true), Arrival::New);
        assert_eq!(generator.on_packet(start, 65_538, false), Arrival::New);
        assert_eq!(poll(&mut generator, start + ms(4)), (vec![], false));
        assert_eq!(generator.on_packet(start + ms(4), 65_536, false), Arrival::Recovered { retries: 0 });
        assert_eq!(poll(&mut generator, start + ms(5)), (vec![65_535, 1], false));
        assert_eq!(poll(&mut generator, start + ms(54)), (vec![], false));
        assert_eq!(generator.on_packet(start + ms(54), 65_535, false), Arrival::Recovered { retries: 1 });
        assert_eq!(generator.on_packet(start + ms(54), 65_535, false), Arrival::NotMissing);
        assert_eq!(poll(&mut generator, start + ms(55)), (vec![1], false));
    }

    #[test]
    fn gives_up_after_ten_times_and_asks_for_a_key_frame_once() {
        let start = Instant::now();
        let mut generator = NackGenerator::new(NackConfig { max_age: ms(10_000), ..NackConfig::default() });
        generator.on_packet(start, 10, true);
        generator.on_packet(start, 12, false);
        let mut now = start + ms(5);
        for _ in 0..10 {
            assert_eq!(poll(&mut generator, now), (vec![11], false));
            now += ms(50);
        }
        assert_eq!(poll(&mut generator, now), (vec![], true));
        assert_eq!(poll(&mut generator, now + ms(50)), (vec![], false));
        assert_eq!((generator.missing(), generator.given_up()), (0, 1));
    }

    #[test]
    fn no_key_frame_for_what_lies_before_one_nor_for_audio() {
        let start = Instant::now();
        for (config, key) in [(NackConfig::default(), true), (NackConfig { key_frames: false, ..NackConfig::default() }, false)] {
            let mut generator = NackGenerator::new(config);
            generator.on_packet(start, 10, true);
            generator.on_packet(start, 12, key);
            assert_eq!(poll(&mut generator, start + ms(5)).0, [11]);
            assert_eq!(poll(&mut generator, start + ms(1002)), (vec![], false));
            assert_eq!(generator.given_up(), 1);
        }
    }

    #[test]
    fn a_gap_too_long_is_given_up_at_once() {
        let start = Instant::now();
        let mut generator = NackGenerator::new(NackConfig::default());
        generator.on_packet(start, 10, true);
        generator.on_packet(start, 5000, false);
        assert_eq!(generator.missing(), 0);
        assert_eq!(poll(&mut generator, start), (vec![], true));
        // With a key frame behind the gap: nothing to ask for.
        generator.on_packet(start, 9000, true);
        assert_eq!(poll(&mut generator, start), (vec![], false));
        // What lies before the key frame makes room first.
        generator.on_packet(start, 9600, false);
        assert_eq!(generator.missing(), 599);
        generator.on_packet(start, 9601, true);
        generator.on_packet(start, 10_500, false);
        assert_eq!(generator.missing(), 898);
        assert!(!poll(&mut generator, start).1);
    }

    proptest! {
        #[test]
        fn bounded_and_never_asks_for_what_came(steps in proptest::collection::vec((0u64..1500, any::<bool>(), 0u64..30), 1..300)) {
            let mut now = Instant::now();
            let mut generator = NackGenerator::new(NackConfig::default());
            let mut came = std::collections::BTreeSet::new();
            let mut highest = 100_000u64;
            for (step, key, wait) in steps {
                let seq = if step < 1000 { highest + step % 7 } else { highest - (step - 1000).min(600) };
                highest = highest.max(seq);
                let before = generator.missing();
                let arrival = generator.on_packet(now, seq, key);
                prop_assert_eq!(matches!(arrival, Arrival::Recovered { .. }), generator.missing() < before && seq < highest);
                came.insert(seq);
                now += ms(wait);
                let (asked, _) = poll(&mut generator, now);
                prop_assert!(generator.missing() <= MAX_MISSING);
                for seq in asked {
                    prop_assert!(!came.contains(&(highest - u64::from((highest as u16).wrapping_sub(seq)))));
                }
            }
        }
    }
}
