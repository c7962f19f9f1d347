//! Sequence numbers and timestamps of one consumer, so that what it gets has no gaps of our making.
//!
//! In: extended sequence numbers of the source, which packets are left out, and where the source changes or goes on after a pause.
//! Out: the consumer's sequence numbers and timestamps, and for its NACKs the way back.

/// How many packets behind the highest one are still told apart: at 60 Mbit/s (5000 packets/s) a retransmission asked for after
/// 800 ms. Older packets are not forwarded. A bit per packet.
const WINDOW: u64 = 4096;
const WORDS: usize = (WINDOW / 64) as usize;

/// A packet's numbers on the consumer's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// Extended sequence number: its low 16 bits go into the packet, and its low 48 bits are the SRTP packet index.
    pub index: u64,
    pub timestamp: u32,
}

impl Rewritten {
    /// What goes into the packet.
    pub fn sequence_number(&self) -> u16 {
        self.index as u16
    }
}

/// Rewrites the numbers of one consumer. About 600 bytes.
///
/// The source's sequence numbers are extended ones ([`crate::base::wrap::SeqExtender`], once per producer). Between two calls of
/// [`Self::sync_to`] or [`Self::resume`] they are those of one source.
#[derive(Debug, Clone)]
pub struct Rewriter {
    /// First input number since the last sync; `None`: the next packet is it.
    base_in: Option<u64>,
    /// The output index of `base_in`.
    base_out: u64,
    /// Highest input number mapped or skipped since the last sync.
    highest: u64,
    /// Highest input number mapped since the last sync: where numbers are fixed.
    highest_mapped: Option<u64>,
    /// The output index of `highest_mapped`, or of the last packet before the last sync.
    highest_out: Option<u64>,
    /// Skipped numbers from `base_in` to `highest`.
    skipped_count: u64,
    /// The skipped ones among the last `WINDOW` numbers up to `highest`, a bit each at `number % WINDOW`.
    skipped: [u64; WORDS],
    /// Added to input timestamps.
    timestamp_offset: u32,
    /// Of the packet with the highest number.
    last_timestamp: Option<u32>,
}

impl Rewriter {
    /// Begins: the first packet gets `first_out_seq`, and timestamps stay as they are until [`Self::sync_to`]. Best a random number
    /// below 2^15: a receiver that misses the packets before an early wrap takes the wrong SRTP rollover counter for good.
    pub fn new(first_out_seq: u16) -> Self {
        Self {
            base_in: None,
            base_out: u64::from(first_out_seq),
            highest: 0,
            highest_mapped: None,
            highest_out: None,
            skipped_count: 0,
            skipped: [0; WORDS],
            timestamp_offset: 0,
            last_timestamp: None,
        }
    }

    /// The source changes, or its timestamps jump: the packet `next_seq` follows directly on the last one sent, and the input
    /// timestamp `in_timestamp` becomes `out_timestamp`. Earlier packets are not forwarded any more.
    pub fn sync_to(&mut self, next_seq: u64, in_timestamp: u32, out_timestamp: u32) {
        self.resume(next_seq);
        self.timestamp_offset = out_timestamp.wrapping_sub(in_timestamp);
    }

    /// The same source goes on after a pause: the packet `next_seq` follows directly on the last one sent; timestamps go on as the
    /// source's do, so the pause shows in them.
    pub fn resume(&mut self, next_seq: u64) {
        if let Some(highest) = self.highest_out {
            self.base_out = highest + 1;
        }
        self.base_in = Some(next_seq);
        self.highest = next_seq;
        self.highest_mapped = None;
        self.skipped_count = 0;
        self.skipped = [0; WORDS];
    }

    /// Leaves a packet out on purpose; later ones close the gap. False: a later packet has been sent already (or this one has), so
    /// its number is taken and the packet had better be forwarded, or the receiver will miss it.
    pub fn skip(&mut self, seq: u64) -> bool {
        let base = *self.base_in.get_or_insert_with(|| {
            self.highest = seq;
            seq
        });
        if seq < base || self.highest_mapped.is_some_and(|mapped| seq <= mapped) || self.is_too_old(seq) {
            return false;
        }
        self.advance_to(seq);
        if !self.is_skipped(seq) {
            self.skipped[word(seq)] |= bit(seq);
            self.skipped_count += 1;
        }
        true
    }

    /// The numbers for a packet. `None`: it was skipped, is from before the last sync, or is too old. The same packet always gets
    /// the same numbers.
    pub fn map(&mut self, seq: u64, timestamp: u32) -> Option<Rewritten> {
        let base = *self.base_in.get_or_insert_with(|| {
            self.highest = seq;
            seq
        });
        if seq < base || self.is_too_old(seq) {
            return None;
        }
        self.advance_to(seq);
        if self.is_skipped(seq) {
            return None;
        }
        let rewritten = Rewritten { index: self.out(base, seq), timestamp: timestamp.wrapping_add(self.timestamp_offset) };
        if self.highest_mapped.is_none_or(|mapped| seq > mapped) {
            self.highest_mapped = Some(seq);
            self.highest_out = Some(rewritten.index);
            self.last_timestamp = Some(rewritten.timestamp);
        }
        Some(rewritten)
    }

    /// The source's number of a packet that was sent with this number since the last sync, for a NACK. `None` if there is none or it
    /// is too old. (Says nothing on whether the packet was really sent: it may have been lost before it came here.)
    pub fn original(&self, out_seq: u16) -> Option<u64> {
        let (base, mapped) = (self.base_in?, self.highest_mapped?);
        let behind = u64::from((self.highest_out? as u16).wrapping_sub(out_seq));
        // Going down from `mapped`, the output number falls by one at each number that is not skipped. The lowest number that is
        // at most `behind` lower is the one, if it is exactly that.
        let behind_of = |seq: u64| (mapped - seq) - self.skipped_between(seq, mapped);
        let oldest = base.max((self.highest + 1).saturating_sub(WINDOW));
        if oldest > mapped {
            return None;
        }
        let (mut low, mut high) = (oldest, mapped);
        while low < high {
            let middle = low + (high - low) / 2;
            if behind_of(middle) <= behind {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        (behind_of(low) == behind && !self.is_skipped(low)).then_some(low)
    }

    /// The index of the latest packet sent.
    pub fn highest_out(&self) -> Option<u64> {
        self.highest_out
    }

    /// The timestamp of the packet with the highest number sent.
    pub fn last_timestamp(&self) -> Option<u32> {
        self.last_timestamp
    }

    /// What is added to the source's timestamps now; RTCP sender reports need it too.
    pub fn timestamp_offset(&self) -> u32 {
        self.timestamp_offset
    }

    fn out(&self, base: u64, seq: u64) -> u64 {
        let skipped_before = self.skipped_count - self.skipped_between(seq, self.highest);
        self.base_out.wrapping_add((seq - base).wrapping_sub(skipped_before))
    }

    fn is_too_old(&self, seq: u64) -> bool {
        seq + WINDOW <= self.highest
    }

    fn is_skipped(&self, seq: u64) -> bool {
        // Mostly nothing is: then the bits, which are far away in memory, need not be looked at.
        self.skipped_count > 0 && self.skipped[word(seq)] & bit(seq) != 0
    }

    /// Skipped numbers in `after < seq <= to`, both within the window and `to <= highest`.
    fn skipped_between(&self, after: u64, to: u64) -> u64 {
        if self.skipped_count == 0 || after >= to {
            return 0;
        }
        let (first, last) = (after + 1, to);
        let (first_word, last_word) = (first / 64, last / 64);
        (first_word..=last_word)
            .map(|index| {
                let mut bits = self.skipped[(index % WORDS as u64) as usize];
                if index == first_word {
                    bits &= u64::MAX << (first % 64);
                }
                if index == last_word {
                    bits &= u64::MAX >> (63 - last % 64);
                }
                u64::from(bits.count_ones())
            })
            .sum()
    }

    /// Makes room for numbers up to `seq`.
    fn advance_to(&mut self, seq: u64) {
        if seq <= self.highest {
            return;
        }
        if seq - self.highest >= WINDOW {
            self.skipped = [0; WORDS];
        } else if self.skipped_count > 0 {
            for new in self.highest + 1..=seq {
                self.skipped[word(new)] &= !bit(new);
            }
        }
        self.highest = seq;
    }
}

fn word(seq: u64) -> usize {
    ((seq % WINDOW) / 64) as usize
}

fn bit(seq: u64) -> u64 {
    1 << (seq % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn seq_of(rewriter: &mut Rewriter, seq: u64) -> Option<u16> {
        rewriter.map(seq, 0).map(|out| out.sequence_number())
    }

    #[test]
    fn skips_close_gaps_also_over_the_wrap() {
        let mut rewriter = Rewriter::new(65534);
        assert_eq!(seq_of(&mut rewriter, 100), Some(65534));
        assert!(rewriter.skip(101));
        assert_eq!(seq_of(&mut rewriter, 102), Some(65535));
        assert_eq!(rewriter.map(103, 0).map(|out| out.index), Some(65536));
        assert_eq!(rewriter.original(65534), Some(100));
        assert_eq!(rewriter.original(65535), Some(102));
        assert_eq!(rewriter.original(0), Some(103));
        assert_eq!(rewriter.original(1), None);
        assert_eq!(rewriter.original(65533), None);
        assert_eq!(seq_of(&mut rewriter, 101), None);
    }

    #[test]
    fn a_packet_older_than_a_skip_keeps_its_place() {
        let mut rewriter = Rewriter::new(0);
        assert_eq!(seq_of(&mut rewriter, 10), Some(0));
        assert!(rewriter.skip(12));
        assert_eq!(seq_of(&mut rewriter, 13), Some(2));
        assert_eq!(seq_of(&mut rewriter, 11), Some(1));
        assert_eq!(seq_of(&mut rewriter, 14), Some(3));
    }

    #[test]
    fn skipping_too_late_is_refused_and_changes_nothing() {
        let mut rewriter = Rewriter::new(0);
        assert_eq!(seq_of(&mut rewriter, 10), Some(0));
        assert_eq!(seq_of(&mut rewriter, 12), Some(2));
        assert!(!rewriter.skip(11));
        assert!(!rewriter.skip(12));
        assert!(!rewriter.skip(9));
        assert_eq!(seq_of(&mut rewriter, 13), Some(3));
        assert_eq!(seq_of(&mut rewriter, 11), Some(1));
        // Before anything later is sent, an earlier one can be skipped after a later one.
        assert!(rewriter.skip(16));
        assert!(rewriter.skip(15));
        assert!(rewriter.skip(15));
        assert_eq!(seq_of(&mut rewriter, 17), Some(5));
        assert_eq!(seq_of(&mut rewriter, 14), Some(4));
    }

    #[test]
    fn switching_the_source() {
        let mut rewriter = Rewriter::new(7);
        rewriter.sync_to(1000, 90_000, 5000);
        assert_eq!(rewriter.highest_out(), None);
        assert_eq!(rewriter.map(1000, 90_000), Some(Rewritten { index: 7, timestamp: 5000 }));
        assert!(rewriter.skip(1001));
        rewriter.sync_to(70_000, u32::MAX, 8000);
        assert_eq!(rewriter.highest_out(), Some(7));
        assert_eq!(rewriter.map(70_001, 0), Some(Rewritten { index: 9, timestamp: 8001 }));
        assert_eq!(rewriter.map(70_000, u32::MAX), Some(Rewritten { index: 8, timestamp: 8000 }));
        assert_eq!(rewriter.last_timestamp(), Some(8001));
        assert_eq!(rewriter.map(69_999, 0), None);
        assert_eq!(rewriter.original(7), None);
        // A pause without anything sent, twice.
        rewriter.resume(80_000);
        rewriter.resume(90_000);
        assert_eq!(rewriter.map(90_000, 10), Some(Rewritten { index: 10, timestamp: 8011 }));
    }

    #[test]
    fn a_sync_before_anything_was_sent_keeps_the_first_number() {
        let mut rewriter = Rewriter::new(0);
        rewriter.resume(5);
        assert!(rewriter.skip(5));
        rewriter.resume(9);
        assert_eq!(seq_of(&mut rewriter, 9), Some(0));
    }

    #[test]
    fn long_jumps_and_the_edge_of_the_window() {
        let mut rewriter = Rewriter::new(0);
        assert_eq!(seq_of(&mut rewriter, 0), Some(0));
        for seq in 1..=WINDOW {
            assert!(rewriter.skip(seq));
        }
        assert_eq!(rewriter.map(WINDOW + 1, 0).map(|out| out.index), Some(1));
        assert_eq!(rewriter.map(2 * WINDOW + 5, 0).map(|out| out.index), Some(WINDOW + 5));
        assert_eq!(rewriter.map(WINDOW + 6, 0).map(|out| out.index), Some(6));
        assert_eq!(rewriter.map(WINDOW + 5, 0), None);
        assert_eq!(rewriter.original(6), Some(WINDOW + 6));
        assert_eq!(rewriter.original(5), None);
    }

    /// Every order in which six packets can come, with every choice of those left out.
    #[test]
    fn all_orders_of_a_few_packets() {
        fn orders(rest: &[u64]) -> Vec<Vec<u64>> {
            if rest.is_empty() {
                return vec![vec![]];
            }
            let without = |seq: u64| rest.iter().copied().filter(|other| *other != seq).collect::<Vec<_>>();
            rest.iter().flat_map(|seq| orders(&without(*seq)).into_iter().map(|tail| [&[*seq][..], &tail].concat())).collect()
        }
        for order in orders(&[0, 1, 2, 3, 4, 5]) {
            for left_out in 0..64u32 {
                let mut rewriter = Rewriter::new(65_533);
                rewriter.resume(100);
                let (mut sent, mut skipped) = (BTreeMap::new(), BTreeSet::new());
                for seq in &order {
                    // What can't be left out any more is sent.
                    if left_out >> seq & 1 == 1 && rewriter.skip(100 + seq) {
                        skipped.insert(*seq);
                    } else {
                        sent.insert(*seq, rewriter.map(100 + seq, 0).unwrap().index);
                    }
                }
                // Everything has come, so there is no hole anywhere.
                assert!(sent.values().copied().eq((65_533..).take(sent.len())), "{order:?} {left_out:b} {sent:?}");
                for (seq, index) in &sent {
                    assert_eq!(rewriter.original(*index as u16), Some(100 + seq));
                }
                assert!(skipped.iter().all(|seq| rewriter.map(100 + seq, 0).is_none()));
            }
        }
    }

    /// Knows everything: the fate of each number.
    struct Naive {
        base: u64,
        first_out: u64,
        skipped: BTreeSet<u64>,
        mapped: BTreeMap<u64, u64>,
    }

    impl Naive {
        fn out(&self, seq: u64) -> u64 {
            self.first_out + (seq - self.base) - self.skipped.range(..seq).count() as u64
        }
    }

    proptest! {
        #[test]
        fn like_the_naive_model(
            first_out: u16,
            base in 70_000u64..200_000,
            steps in proptest::collection::vec((prop_oneof![20 => -30i64..30, 1 => -5000i64..5000], 0u8..3), 1..400),
        ) {
            let mut rewriter = Rewriter::new(first_out);
            rewriter.resume(base);
            let mut naive = Naive { base, first_out: u64::from(first_out), skipped: BTreeSet::new(), mapped: BTreeMap::new() };
            let mut highest = base;
            for (step, what) in steps {
                let seq = highest.saturating_add_signed(step);
                let too_old = seq < base || seq + WINDOW <= highest;
                if what == 0 {
                    let late = naive.mapped.last_key_value().is_some_and(|(mapped, _)| seq <= *mapped);
                    prop_assert_eq!(rewriter.skip(seq), !late && !too_old);
                    if !late && !too_old {
                        naive.skipped.insert(seq);
                        highest = highest.max(seq);
                    }
                } else {
                    let expected = (!too_old && !naive.skipped.contains(&seq)).then(|| naive.out(seq));
                    prop_assert_eq!(rewriter.map(seq, 0).map(|out| out.index), expected);
                    if !too_old {
                        highest = highest.max(seq);
                    }
                    if let Some(out) = expected {
                        naive.mapped.insert(seq, out);
                    }
                }
            }
            // A number is never given twice, and the way back works for all within the window.
            let outs: BTreeSet<_> = naive.mapped.values().collect();
            prop_assert_eq!(outs.len(), naive.mapped.len());
            prop_assert_eq!(rewriter.highest_out(), naive.mapped.last_key_value().map(|(_, out)| *out));
            for (seq, out) in &naive.mapped {
                let expected = (seq + WINDOW > highest).then_some(*seq);
                prop_assert_eq!(rewriter.original(*out as u16), expected, "{}", seq);
            }
        }

        #[test]
        fn original_is_the_inverse(first: u16, skips in proptest::collection::btree_set(1u64..3000, 0..2000), asked: u16) {
            let mut rewriter = Rewriter::new(first);
            let mut by_out = BTreeMap::new();
            for seq in 0..3001 {
                if skips.contains(&seq) {
                    prop_assert!(rewriter.skip(70_000 + seq));
                } else {
                    by_out.insert(rewriter.map(70_000 + seq, 0).unwrap().sequence_number(), 70_000 + seq);
                }
            }
            for (out, seq) in &by_out {
                prop_assert_eq!(rewriter.original(*out), Some(*seq));
            }
            prop_assert_eq!(rewriter.original(asked), by_out.get(&asked).copied());
        }
    }
}
