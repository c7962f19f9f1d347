//! Memory that many may hold together, beside what each may hold alone.
//!
//! In: what each holds now. Out: whether the sum is beyond the limit, in which case those who hold much have to let go. Pure.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is held by all, in bytes. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Sum>);

#[derive(Debug)]
struct Sum {
    limit: usize,
    free: usize,
    // Only sums: nothing else is ordered by them.
    held: AtomicUsize,
    holders: AtomicUsize,
}

impl Budget {
    /// All together hold `limit` bytes at most; who holds no more than `free` is left alone.
    pub(crate) fn new(limit: usize, free: usize) -> Self {
        Self(Arc::new(Sum { limit, free, held: AtomicUsize::new(0), holders: AtomicUsize::new(0) }))
    }

    /// One holder's share, empty.
    pub(crate) fn share(&self) -> Share {
        self.0.holders.fetch_add(1, Ordering::Relaxed);
        Share { budget: self.clone(), held: 0 }
    }

    /// What all hold now.
    pub(crate) fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }
}

/// What one holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    held: usize,
}

impl Share {
    /// Notes that it holds `bytes` now.
    pub(crate) fn set(&mut self, bytes: usize) {
        let sum = &self.budget.0.held;
        if bytes > self.held {
            sum.fetch_add(bytes - self.held, Ordering::Relaxed);
        } else if bytes < self.held {
            sum.fetch_sub(self.held - bytes, Ordering::Relaxed);
        }
        self.held = bytes;
    }

    /// Whether this one has to let go.
    pub(crate) fn is_over(&self) -> bool {
        self.held > self.budget.0.free && self.budget.held() > self.budget.0.limit
    }

    /// Whether there is room for `more`: within the limit, or within what each may hold if all hold the same.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        let Sum { limit, free, held, holders } = &*self.budget.0;
        let each = (limit / holders.load(Ordering::Relaxed).max(1)).max(*free);
        held.load(Ordering::Relaxed) + more <= *limit || self.held + more <= each
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
        self.budget.0.holders.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;
    const FREE: usize = 10;

    #[test]
    fn only_those_who_hold_much_let_go() {
        let budget = Budget::new(LIMIT, FREE);
        let (mut small, mut big) = (budget.share(), budget.share());
        small.set(FREE);
        big.set(LIMIT);
        assert_eq!((small.is_over(), big.is_over()), (false, true));
        small.set(1);
        big.set(LIMIT - 1);
        assert_eq!((small.is_over(), big.is_over()), (false, false));
        drop((small, big));
        assert_eq!((budget.held(), budget.0.holders.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn there_is_room_for_what_everybody_may_have() {
        let budget = Budget::new(LIMIT, FREE);
        let mut shares = [budget.share(), budget.share(), budget.share(), budget.share()];
        shares[0].set(900);
        // What each holds, what it asks for, and whether there is room.
        for (which, held, more, room) in
            [(0, 900, 100, true), (0, 900, 101, false), (1, 200, 50, true), (1, 200, 51, false), (2, 0, 250, true)]
        {
            shares[which].set(held);
            assert_eq!(shares[which].has_room(more), room, "{which} {held} {more}");
        }
    }
}
