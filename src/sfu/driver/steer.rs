//! Sees to it that datagrams of a session come to its worker's socket.
//!
//! In: the paths of all workers' sessions. Out: now and then, where the kernel is to give what comes from whom.

use std::io;
use std::time::{Duration, Instant};

use super::outbox::Port;
use crate::net::udp::Steering;
use crate::sfu::peer::{Protocol, Tuple};

/// How long paths that come and go are gathered: until then datagrams are handed over. A program for a thousand of them takes a
/// millisecond.
const GATHER: Duration = Duration::from_millis(250);

/// Where datagrams are to go.
#[derive(Debug, Default)]
pub(super) struct Steer {
    steering: Steering,
    due: Option<Instant>,
}

impl Steer {
    /// A session on `worker` has, or no longer has, this path.
    pub(super) fn set_route(&mut self, now: Instant, tuple: &Tuple, worker: usize, valid: bool) {
        let (Ok(worker), Protocol::Udp) = (u16::try_from(worker), tuple.protocol) else { return };
        match valid {
            true => self.steering.set(tuple.remote.port(), worker),
            false => self.steering.remove(tuple.remote.port(), worker),
        }
        self.due.get_or_insert(now + GATHER);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Updates the kernel, if it is time to. Workers bind in their order, so a worker's number is its socket's.
    ///
    /// # Errors
    /// The kernel refuses, as it will the next time.
    pub(super) fn handle_timeout(&mut self, now: Instant, ports: &[Port]) -> io::Result<()> {
        if self.due.is_none_or(|due| now < due) {
            return Ok(());
        }
        self.due = None;
        ports.iter().filter(|port| port.owner.is_none()).try_for_each(|port| port.socket.steer(&self.steering))
    }
}
