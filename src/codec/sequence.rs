//! Whether RTP packets come without a gap.

/// A packet that is further behind than this is not late: the sender began anew (as RFC 3550 appendix A.1 does with
/// MAX_MISORDER, but wider, because whoever calls has put packets in order already and duplicates may be old).
const MAX_LATE: u16 = 1000;

/// How a packet follows the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The next one, or the first of all.
    Next,
    /// Packets before it are missing.
    Gap,
    /// A duplicate, or too late to be of use.
    Late,
}

/// Follows the sequence numbers of one RTP stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Sequence {
    expected: Option<u16>,
}

impl Sequence {
    /// Takes the next sequence number.
    pub(super) fn follow(&mut self, seq: u16) -> Order {
        let order = match self.expected {
            None => Order::Next,
            Some(expected) if expected == seq => Order::Next,
            Some(expected) if expected.wrapping_sub(seq) <= MAX_LATE => return Order::Late,
            Some(_) => Order::Gap,
        };
        self.expected = Some(seq.wrapping_add(1));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_duplicates_wraps_and_restarts() {
        let mut sequence = Sequence::default();
        let table = [
            (65_533, Order::Next),
            (65_534, Order::Next),
            (65_534, Order::Late),
            (65_535, Order::Next),
            (0, Order::Next),
            (65_535, Order::Late),
            (2, Order::Gap),
            (3, Order::Next),
            (1, Order::Late),
            (40_000, Order::Gap),
            (40_001, Order::Next),
            (10_000, Order::Gap),
            (10_001, Order::Next),
        ];
        for (seq, order) in table {
            assert_eq!(sequence.follow(seq), order, "{seq}");
        }
    }
}
