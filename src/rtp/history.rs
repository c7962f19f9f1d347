//! What was received lately, kept once per producer for the retransmissions to all of its consumers.
//!
//! In: packets as received, by extended sequence number. Out: those again, while they are young enough and there is room.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// How much is kept: whatever is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Sequence numbers, missing ones included.
    pub packets: usize,
    /// Bytes of packets.
    pub bytes: usize,
    /// Age.
    pub age: Duration,
}

impl Default for HistoryLimits {
    /// 2048 packets and 2 MiB are 1 s at 16 Mbit/s; after 1 s a receiver has given up and asked for a key frame.
    fn default() -> Self {
        Self { packets: 2048, bytes: 2 << 20, age: Duration::from_secs(1) }
    }
}

/// Packets by extended sequence number, the latest ones.
#[derive(Debug, Clone)]
pub struct SendHistory {
    limits: HistoryLimits,
    /// The number of the front slot.
    first: u64,
    /// A slot per number; `None`: not received (yet).
    slots: VecDeque<Option<(Bytes, Instant)>>,
    bytes: usize,
}

impl SendHistory {
    /// An empty one.
    pub fn new(limits: HistoryLimits) -> Self {
        Self { limits, first: 0, slots: VecDeque::new(), bytes: 0 }
    }

    /// Keeps a packet; drops what is beyond the limits. A packet older than all kept ones, or there already, is ignored. A jump of
    /// the numbers beyond the limit forgets everything before it.
    pub fn push(&mut self, now: Instant, seq: u64, packet: Bytes) {
        if packet.len() > self.limits.bytes || self.limits.packets == 0 {
            return;
        }
        if self.slots.is_empty() {
            self.first = seq;
        }
        let Some(at) = seq.checked_sub(self.first) else { return };
        if at >= (self.slots.len() + self.limits.packets) as u64 {
            self.clear();
            self.first = seq;
        }
        while seq - self.first >= self.limits.packets as u64 {
            self.drop_first();
        }
        let at = (seq - self.first) as usize;
        if at >= self.slots.len() {
            self.slots.resize(at + 1, None);
        }
        let slot = &mut self.slots[at];
        if slot.is_none() {
            self.bytes += packet.len();
            *slot = Some((packet, now));
        }
        while self.bytes > self.limits.bytes {
            self.drop_first();
        }
        self.expire(now);
    }

    /// Drops what is too old. [`Self::push`] does it too; this is for streams that pause.
    pub fn expire(&mut self, now: Instant) {
        while let Some(front) = self.slots.front() {
            if front.as_ref().is_some_and(|(_, at)| now.saturating_duration_since(*at) <= self.limits.age) {
                break;
            }
            self.drop_first();
        }
    }

    /// A packet, if it is still kept. Cheap to clone.
    pub fn get(&self, seq: u64) -> Option<&Bytes> {
        let at = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.slots.get(at)?.as_ref().map(|(packet, _)| packet)
    }

    /// Bytes kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.bytes = 0;
    }

    fn drop_first(&mut self) {
        match self.slots.pop_front() {
            Some(Some((packet, _))) => self.bytes -= packet.len(),
            Some(None) => {}
            // Nothing left: the caller's loop ends by moving on.
            None => self.bytes = 0,
        }
        self.first += 1;
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the origin of the virtual clock
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HistoryLimits = HistoryLimits { packets: 10, bytes: 1000, age: Duration::from_millis(100) };

    #[test]
    fn bounded_by_count_bytes_and_age() {
        let start = Instant::now();
        let mut history = SendHistory::new(LIMITS);
        for seq in 50..70 {
            history.push(start, seq, Bytes::from(vec![seq as u8; 10]));
        }
        assert_eq!(history.get(59), None);
        assert_eq!(history.get(60).map(|packet| packet[0]), Some(60));
        assert_eq!(history.bytes(), 100);
        history.push(start, 70, Bytes::from(vec![0; 950]));
        assert_eq!(history.get(64), None);
        assert!(history.get(65).is_some());
        history.push(start + Duration::from_millis(101), 71, Bytes::from(vec![0; 10]));
        assert_eq!(history.get(70), None);
        assert_eq!(history.bytes(), 10);
        history.push(start, 72, Bytes::from(vec![0; 1001]));
        assert_eq!(history.get(72), None);
    }

    #[test]
    fn late_packets_fill_their_gap_and_jumps_forget() {
        let start = Instant::now();
        let mut history = SendHistory::new(LIMITS);
        history.push(start, 100, Bytes::from_static(b"a"));
        history.push(start, 103, Bytes::from_static(b"d"));
        assert_eq!(history.get(101), None);
        history.push(start, 101, Bytes::from_static(b"b"));
        history.push(start, 101, Bytes::from_static(b"x"));
        history.push(start, 99, Bytes::from_static(b"z"));
        assert_eq!(history.get(101), Some(&Bytes::from_static(b"b")));
        assert_eq!(history.get(99), None);
        history.push(start, u64::MAX / 2, Bytes::from_static(b"j"));
        assert_eq!((history.get(103), history.bytes()), (None, 1));
    }

    proptest! {
        #[test]
        fn keeps_its_limits(steps in proptest::collection::vec((-15i64..15, 0usize..400, 0u64..60), 1..200)) {
            let mut now = Instant::now();
            let mut history = SendHistory::new(LIMITS);
            let mut seq = 1000u64;
            for (step, len, wait) in steps {
                seq = seq.saturating_add_signed(step);
                now += Duration::from_millis(wait);
                history.push(now, seq, Bytes::from(vec![0; len]));
                let kept: usize = history.slots.iter().flatten().map(|(packet, _)| packet).map(Bytes::len).sum();
                prop_assert_eq!(kept, history.bytes());
                prop_assert!(history.bytes() <= LIMITS.bytes);
                prop_assert!(history.slots.len() <= LIMITS.packets);
            }
        }
    }
}
