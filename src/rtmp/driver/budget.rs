//! The memory that all RTMP connections together may hold beyond their fixed buffers.
//!
//! In: what each connection holds now. Out: whether the sum is beyond the limit, in which case those who hold much have to let go.
//! Each connection has a bound of its own; this one is against a thousand of them at their bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// All connections together, in bytes. A hundred players that are a whole 4 Mbit/s GOP behind, or a hundred key frames of
/// several megabytes in assembly at the same moment.
const LIMIT: usize = 512 << 20;
/// A connection that holds less than this is left alone even then: one key frame of an ordinary stream.
const FREE: usize = 256 << 10;

/// What is held by all. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// One connection's share, empty.
    pub(super) fn share(&self) -> Share {
        Share { budget: self.clone(), held: 0 }
    }
}

/// What one connection holds; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    held: usize,
}

impl Share {
    /// Notes that the connection holds `bytes` now.
    pub(super) fn set(&mut self, bytes: usize) {
        // Only a sum: nothing else is ordered by it.
        if bytes > self.held {
            self.budget.0.fetch_add(bytes - self.held, Ordering::Relaxed);
        } else if bytes < self.held {
            self.budget.0.fetch_sub(self.held - bytes, Ordering::Relaxed);
        }
        self.held = bytes;
    }

    /// Whether this connection has to let go.
    pub(super) fn is_over(&self) -> bool {
        self.held > FREE && self.budget.0.load(Ordering::Relaxed) > LIMIT
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_hold_much_let_go() {
        let budget = Budget::default();
        let (mut small, mut big) = (budget.share(), budget.share());
        small.set(FREE);
        big.set(LIMIT);
        assert_eq!((small.is_over(), big.is_over()), (false, true));
        small.set(10);
        big.set(LIMIT - 10);
        assert_eq!((small.is_over(), big.is_over()), (false, false));
        drop((small, big));
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
