//! Sees to it that datagrams of a session come to its worker's socket.
//!
//! In: the paths of all workers' sessions. Out: now and then, where the kernel is to give what comes from whom.

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
    refused: bool,
}

impl Steer {
    /// A session on `worker` has, or no longer has, this path.
    pub(super) fn set_route(&mut self, now: Instant, tuple: &Tuple, worker: usize, valid: bool) {
        let Ok(worker) = u16::try_from(worker) else { return };
        if tuple.protocol == Protocol::Tcp || self.refused {
            return;
        }
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

    /// Tells the kernel, if it is time to. Workers bind in their order, so a worker's number is its socket's.
    pub(super) fn handle_timeout(&mut self, now: Instant, ports: &[Port]) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.due = None;
        for port in ports.iter().filter(|port| port.owner.is_none()) {
            if let Err(error) = port.socket.steer(&self.steering) {
                tracing::debug!(%error, "the kernel spreads datagrams over the workers by itself");
                self.refused = true;
                self.steering = Steering::default();
            }
        }
    }
}
