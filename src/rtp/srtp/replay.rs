//! Which indexes were seen: a sliding window over packet indexes (RFC 3711 section 3.3.2).

/// How far behind the highest index a packet may come. A late retransmission at 60 Mbit/s (5000 packets/s) with 200 ms round trip
/// is 1000 packets late; RFC 3711 asks for at least 64.
const WINDOW: u64 = 1024;
const WORDS: usize = (WINDOW / 64) as usize;

/// The highest index and which of those before it were seen.
#[derive(Debug, Clone)]
pub(crate) struct ReplayWindow {
    highest: u64,
    /// A bit per index, at `index % WINDOW`.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// Begins with an index that was authenticated.
    pub(crate) fn new(first: u64) -> Self {
        let mut window = Self { highest: first, seen: [0; WORDS] };
        window.set(first);
        window
    }

    /// The highest index so far.
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether the index may still come: neither seen nor too old. To be asked before authentication, which costs more.
    pub(crate) fn is_fresh(&self, index: u64) -> bool {
        if index > self.highest {
            return true;
        }
        self.highest - index < WINDOW && self.seen[word(index)] & bit(index) == 0
    }

    /// Notes an index whose packet was authenticated.
    pub(crate) fn mark(&mut self, index: u64) {
        if index > self.highest {
            if index - self.highest >= WINDOW {
                self.seen = [0; WORDS];
            } else {
                for skipped in self.highest + 1..index {
                    self.seen[word(skipped)] &= !bit(skipped);
                }
            }
            self.highest = index;
        } else if self.highest - index >= WINDOW {
            return;
        }
        self.set(index);
    }

    fn set(&mut self, index: u64) {
        self.seen[word(index)] |= bit(index);
    }
}

fn word(index: u64) -> usize {
    ((index % WINDOW) / 64) as usize
}

fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn like_a_set(first in 0u64..5000, steps in proptest::collection::vec(prop_oneof![9 => -1100i64..40, 1 => 900i64..1200], 1..400)) {
            let mut window = ReplayWindow::new(first);
            let mut seen = BTreeSet::from([first]);
            for step in steps {
                let highest = *seen.last().unwrap();
                let Some(index) = highest.checked_add_signed(step) else { continue };
                let fresh = (index > highest || highest - index < WINDOW) && !seen.contains(&index);
                prop_assert_eq!(window.is_fresh(index), fresh);
                if fresh {
                    window.mark(index);
                    seen.insert(index);
                }
                prop_assert_eq!(window.highest(), *seen.last().unwrap());
            }
        }
    }
}
