//! RTP timestamps and the wall clock: what RTCP sender reports tie together, so that lips move with the voice.
//!
//! In: pairs of RTP timestamp and time (from sender reports, or from our own ingest). Out: times for timestamps and back, and
//! the pair for a consumer's sender report.

use crate::base::wrap::timestamp_distance;
use crate::base::{NtpTime, UnixNanos, rescale};

const NANOS: u32 = 1_000_000_000;
/// Beyond this many ticks from the reference, the reference moves on: a quarter of the 32 bits, so that it is always known on
/// which side of the wrap a timestamp lies.
const REFERENCE_SPAN: u32 = 1 << 30;

/// Maps one stream's RTP timestamps to times and back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SenderClock {
    clock_rate: u32,
    /// A timestamp and its time.
    reference: Option<(u32, UnixNanos)>,
    /// Whether the reference is a guess from a packet's arrival.
    provisional: bool,
}

impl SenderClock {
    /// Of a stream with this clock rate in Hz, of which nothing is known.
    pub(crate) fn new(clock_rate: u32) -> Self {
        Self { clock_rate: clock_rate.max(1), reference: None, provisional: true }
    }

    /// The timestamp `rtp` stands for `time`: from a sender report, or as our own ingest says.
    pub(crate) fn set(&mut self, rtp: u32, time: UnixNanos) {
        self.reference = Some((rtp, time));
        self.provisional = false;
    }

    /// As [`Self::set`], for a sender report as it came. `offset` is what has to be added to the sender's clock to get ours
    /// (see [`ClockOffset`]), the same for all streams of that sender.
    #[cfg(test)]
    pub(crate) fn on_sender_report(&mut self, ntp: NtpTime, rtp: u32, offset: i64) {
        self.set(rtp, ntp.to_unix_nanos().saturating_add(offset));
    }

    /// A packet with this timestamp came: until a sender report says better, its arrival is taken for its time. To be called now and
    /// then on a running stream (each packet is fine): it moves the reference along, or timestamps would be ambiguous after 2^31 ticks.
    pub(crate) fn observe(&mut self, rtp: u32, arrival: UnixNanos) {
        match self.reference {
            None => self.reference = Some((rtp, arrival)),
            Some((reference, time)) => {
                let ahead = rtp.wrapping_sub(reference);
                if (REFERENCE_SPAN..1 << 31).contains(&ahead) {
                    // By whole seconds, so that no rounding adds up.
                    let seconds = ahead / self.clock_rate;
                    let reference = reference.wrapping_add(seconds * self.clock_rate);
                    self.reference = Some((reference, time.saturating_add(i64::from(seconds) * i64::from(NANOS))));
                }
            }
        }
    }

    /// Whether anything is known yet.
    #[cfg(test)]
    pub(crate) fn is_known(&self) -> bool {
        self.reference.is_some()
    }

    /// Whether only arrivals are known, and no sender report.
    #[cfg(test)]
    pub(crate) fn is_provisional(&self) -> bool {
        self.provisional
    }

    /// The time of a timestamp within 2^31 ticks of the reference.
    pub(crate) fn time(&self, rtp: u32) -> Option<UnixNanos> {
        let (reference, time) = self.reference?;
        let ticks = timestamp_distance(rtp, reference);
        Some(time.saturating_add(rescale(ticks, self.clock_rate, NANOS)))
    }

    pub(crate) fn rtp(&self, time: UnixNanos) -> Option<u32> {
        let (reference, at) = self.reference?;
        let ticks = rescale(time.saturating_sub(at), NANOS, self.clock_rate);
        Some(reference.wrapping_add(ticks as u32))
    }

    /// NTP time and RTP timestamp for a sender report sent at `now` to a consumer whose timestamps are ours plus
    /// `timestamp_offset` ([`super::rewrite::Rewriter::timestamp_offset`]). All streams that play in sync get their `now` from one clock.
    #[cfg(test)]
    pub(crate) fn sender_report(&self, now: UnixNanos, timestamp_offset: u32) -> Option<(NtpTime, u32)> {
        Some((NtpTime::from_unix_nanos(now), self.rtp(now)?.wrapping_add(timestamp_offset)))
    }
}

/// How long the smallest offset counts, in two halves: clocks drift by up to 50 ppm, 3 ms in a minute.
const OFFSET_HALF_WINDOW: UnixNanos = 30 * NANOS as i64;
/// A sender whose clock steps by more than this gets a new offset at once: no path delays a report that long.
const OFFSET_STEP: i64 = 5 * NANOS as i64;

/// What has to be added to a sender's clock to get ours. Shared by all streams of a sender (CNAME), so that a change moves
/// them together and they stay in sync. The smallest of the recent differences, because what delays a report only adds to it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ClockOffset {
    /// Smallest difference in the half window before this one, and in this one.
    previous: Option<i64>,
    current: Option<i64>,
    began: UnixNanos,
}

impl ClockOffset {
    /// Nothing known yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A sender report with this NTP time came at `arrival` by our clock; gives the offset to use.
    pub(crate) fn observe(&mut self, ntp: NtpTime, arrival: UnixNanos) -> i64 {
        let difference = arrival.saturating_sub(ntp.to_unix_nanos());
        if self.get().is_none_or(|known| difference.saturating_sub(known).saturating_abs() > OFFSET_STEP) {
            *self = Self { previous: None, current: Some(difference), began: arrival };
        } else if arrival.saturating_sub(self.began) > OFFSET_HALF_WINDOW {
            *self = Self { previous: self.current, current: Some(difference), began: arrival };
        } else {
            self.current = Some(self.current.map_or(difference, |current| current.min(difference)));
        }
        self.get().unwrap_or(difference)
    }

    /// The offset, once a report came.
    pub(crate) fn get(&self) -> Option<i64> {
        match (self.previous, self.current) {
            (Some(previous), Some(current)) => Some(previous.min(current)),
            (previous, current) => current.or(previous),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const T0: UnixNanos = 1_800_000_000 * SECOND;

    #[test]
    fn both_directions_over_the_wrap() {
        let mut clock = SenderClock::new(90_000);
        assert_eq!((clock.time(0), clock.rtp(0), clock.sender_report(0, 0)), (None, None, None));
        clock.set(u32::MAX - 44_999, T0);
        assert_eq!(clock.time(45_000), Some(T0 + SECOND));
        assert_eq!(clock.rtp(T0 + SECOND), Some(45_000));
        assert_eq!(clock.time(u32::MAX - 134_999), Some(T0 - SECOND));
        assert_eq!(clock.rtp(T0 - SECOND), Some(u32::MAX - 134_999));
        let (ntp, rtp) = clock.sender_report(T0 + SECOND, 5).unwrap();
        assert!((ntp.to_unix_nanos() - T0 - SECOND).abs() <= 1);
        assert_eq!(rtp, 45_005);
    }

    #[test]
    fn a_stream_of_days_without_further_reports() {
        // The origin is given once; 90 kHz wraps every 13 hours.
        let mut clock = SenderClock::new(90_000);
        clock.set(12_345, T0);
        for minute in 0..10_000i64 {
            let rtp = 12_345u32.wrapping_add((minute * 60 * 90_000) as u32);
            clock.observe(rtp, 0);
            assert_eq!(clock.time(rtp), Some(T0 + minute * 60 * SECOND), "{minute}");
        }
    }

    #[test]
    fn arrivals_do_until_a_report_comes() {
        let mut clock = SenderClock::new(48_000);
        clock.observe(1000, T0);
        clock.observe(1960, T0 + 100);
        assert!(clock.is_known() && clock.is_provisional());
        assert_eq!(clock.time(1960), Some(T0 + 20_000_000));
        clock.on_sender_report(NtpTime::from_unix_nanos(T0 + SECOND), 1960, -SECOND);
        assert!(!clock.is_provisional());
        assert!((clock.time(1960).unwrap() - T0).abs() <= 1);
    }

    #[test]
    fn audio_and_video_of_a_sender_stay_together() {
        let mut offset = ClockOffset::new();
        let (mut audio, mut video) = (SenderClock::new(48_000), SenderClock::new(90_000));
        let sender = |seconds: i64| NtpTime::from_unix_nanos(T0 - 3600 * SECOND + seconds * SECOND);
        // The sender's clock is an hour behind; reports take 20 to 90 ms.
        for (seconds, delay) in [(0, 90), (1, 20), (2, 50), (3, 80)] {
            let by = offset.observe(sender(seconds), T0 + seconds * SECOND + delay * 1_000_000);
            audio.on_sender_report(sender(seconds), 48_000 * seconds as u32, by);
            video.on_sender_report(sender(seconds), 90_000 * seconds as u32, by);
        }
        let (a, v) = (audio.time(48_000 * 10).unwrap(), video.time(90_000 * 10).unwrap());
        assert!((a - v).abs() <= 2);
        assert!((a - (T0 + 10 * SECOND + 20_000_000)).abs() <= 2, "{}", a - T0);
        // The sender sets its clock: the offset follows at once.
        let by = offset.observe(NtpTime::from_unix_nanos(T0 + 4 * SECOND), T0 + 4 * SECOND);
        assert!(by.abs() <= 1);
    }

    #[test]
    fn an_old_minimum_is_forgotten() {
        let mut offset = ClockOffset::new();
        for seconds in 0..200 {
            // Drifts by 1 ms a second, far more than any clock.
            offset.observe(NtpTime::from_unix_nanos(T0 + seconds * SECOND), T0 + seconds * (SECOND + 1_000_000));
        }
        let known = offset.get().unwrap();
        assert!((199_000_000 - known) < 65_000_000, "{known}");
    }

    proptest! {
        #[test]
        fn there_and_back(rate in prop_oneof![Just(8000u32), Just(44_100), Just(48_000), Just(90_000)], reference: u32, ticks in -(1i64 << 30)..1 << 30) {
            let mut clock = SenderClock::new(rate);
            clock.set(reference, T0);
            let rtp = reference.wrapping_add(ticks as u32);
            prop_assert_eq!(clock.rtp(clock.time(rtp).unwrap()), Some(rtp));
        }
    }
}
