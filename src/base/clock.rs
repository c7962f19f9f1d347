//! The clock that is handed down: both times of the present.
//!
//! In: how the monotonic clock is read, which a driver says, and what the wall clock said then. Out: now. What is only shown or stored asks
//! for the time when it is done; what decides something takes it as an argument.

use std::time::Instant;

use super::units::UnixNanos;
use super::wall::{Now, Wall};

/// The clock of the server. Cheap to clone; all clones are the same clock.
#[derive(Debug, Clone)]
pub struct Clock {
    read: fn() -> Instant,
    wall: Wall,
}

impl Clock {
    /// One whose present is given by `read`, at a moment at which the wall clock says `wall`.
    pub fn new(read: fn() -> Instant, wall: UnixNanos) -> Self {
        Self { read, wall: Wall::new(Now { at: read(), wall }) }
    }

    /// Now, by both clocks.
    pub(crate) fn now(&self) -> Now {
        let at = self.at();
        Now { at, wall: self.wall.of(at) }
    }

    /// Now, by the monotonic clock.
    pub(crate) fn at(&self) -> Instant {
        (self.read)()
    }

    /// Now, by the wall clock.
    pub(crate) fn unix(&self) -> UnixNanos {
        self.now().wall
    }

    pub(crate) fn wall(&self) -> &Wall {
        &self.wall
    }
}
