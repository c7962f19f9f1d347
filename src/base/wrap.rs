//! Numbers that wrap: sequence numbers and timestamps made monotone, and compared. The one place that unwraps.
//!
//! In: 16- and 32-bit numbers from packets, in any order. Out: 64-bit numbers that don't wrap.

/// Whether `a` comes after `b`, for numbers less than 2^15 apart (RFC 1982).
pub(crate) fn seq_newer(a: u16, b: u16) -> bool {
    a != b && a.wrapping_sub(b) < 0x8000
}

/// Signed distance from `b` to `a`, for timestamps less than 2^31 apart.
pub(crate) fn timestamp_distance(a: u32, b: u32) -> i64 {
    i64::from(a.wrapping_sub(b) as i32)
}

/// Sequence numbers without end: the low 16 bits are the packet's, the rest counts the wraps. Begins in cycle 1, so that packets
/// from before the first one don't go below 0.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SeqExtender {
    highest: Option<u64>,
}

impl SeqExtender {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Extends a number by the nearest of the cycles around the highest so far, and remembers it if it is higher.
    pub(crate) fn extend(&mut self, seq: u16) -> u64 {
        let extended = self.peek(seq);
        if self.highest.is_none_or(|highest| extended > highest) {
            self.highest = Some(extended);
        }
        extended
    }

    /// What [`Self::extend`] would give, without remembering it.
    pub(crate) fn peek(&self, seq: u16) -> u64 {
        match self.highest {
            None => 0x1_0000 | u64::from(seq),
            Some(highest) => {
                let delta = i64::from(seq.wrapping_sub(highest as u16) as i16);
                highest.saturating_add_signed(delta)
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn highest(&self) -> Option<u64> {
        self.highest
    }
}

/// Timestamps without end: the first one is itself, later ones are unwrapped by the nearest distance to the last.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TimestampExtender {
    last: Option<i64>,
}

impl TimestampExtender {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Extends a timestamp, and remembers it: also one that goes back, so that timestamps may drift any way in steps below 2^31.
    pub(crate) fn extend(&mut self, timestamp: u32) -> i64 {
        let extended = self.peek(timestamp);
        self.last = Some(extended);
        extended
    }

    /// What [`Self::extend`] would give, without remembering it.
    pub(crate) fn peek(&self, timestamp: u32) -> i64 {
        match self.last {
            None => i64::from(timestamp),
            Some(last) => last.saturating_add(timestamp_distance(timestamp, last as u32)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn comparisons() {
        for (a, b, newer) in [(1, 0, true), (0, 1, false), (0, 65535, true), (65535, 0, false), (5, 5, false), (0x7FFF, 0, true)] {
            assert_eq!(seq_newer(a, b), newer, "{a} {b}");
        }
    }

    #[test]
    fn a_late_packet_before_the_first_wrap() {
        let mut extender = SeqExtender::new();
        let zero = extender.extend(0);
        assert_eq!(extender.extend(65535), zero - 1);
        assert_eq!(extender.highest(), Some(zero));
        assert_eq!(extender.extend(1), zero + 1);
    }

    proptest! {
        #[test]
        fn seq_follows_the_true_number(start: u16, steps in proptest::collection::vec(-200i64..20_000, 1..300)) {
            let mut extender = SeqExtender::new();
            let mut highest = 0x1_0000 | i64::from(start);
            extender.extend(start);
            for step in steps {
                let truth = highest + step;
                prop_assert_eq!(extender.extend(truth as u16), truth as u64);
                highest = highest.max(truth);
            }
        }

        #[test]
        fn timestamp_follows_the_true_number(start: u32, steps in proptest::collection::vec(any::<i32>(), 1..300)) {
            let mut extender = TimestampExtender::new();
            let mut truth = extender.extend(start);
            for step in steps.into_iter().filter(|step| *step != i32::MIN) {
                truth += i64::from(step);
                prop_assert_eq!(extender.extend(truth as u32), truth);
            }
        }
    }
}
