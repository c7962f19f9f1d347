//! When a worker has something to do without input.
//!
//! In: time. Out: peers' timers, reports, NACKs and key-frame requests that are due, and paced consumers served.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use super::Worker;
use crate::sfu::outbox::Outbox;
use crate::sfu::peer::Peer;
use crate::sfu::producer::Source;

/// How often producers from the network are looked at for NACKs, feedback and repeated key-frame requests: fine enough for the
/// NACK generator's 20 ms between two requests. Only runs while there is such a producer.
const TICK: Duration = Duration::from_millis(10);
/// How late peers' timers (reports, retransmissions of handshakes, lost consent) may be. Whatever is due is done when media wakes the worker
/// anyway, which is more often than this: with a hundred viewers their sender reports alone would wake it a hundred times a second.
const SLACK: Duration = Duration::from_millis(40);

impl Worker {
    /// When [`Self::handle_timeout`] is to be called at the latest. Best called after all other input too: see [`SLACK`].
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let timer = self.timers.peek().map(|Reverse((at, _))| *at + SLACK);
        [timer, self.next_tick, self.paced_due()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut impl Outbox) {
        while let Some(Reverse((at, key))) = self.timers.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.timers.pop();
            let Some(transport) = self.transports.get_mut(key).filter(|transport| transport.scheduled == Some(at)) else { continue };
            transport.scheduled = None;
            if let Some(peer) = &mut transport.peer
                && peer.poll_timeout().is_some_and(|due| due <= now)
            {
                peer.handle_timeout(now);
            }
            self.send_reports_if_due(now, key, out);
            self.service_peer(now, key, out);
        }
        if self.next_tick.is_some_and(|at| at <= now) {
            self.next_tick = None;
            self.tick(now, out);
        }
        self.serve_paced(now, out);
        self.flush(now, out);
    }

    /// Puts a transport's next timer into the heap.
    pub(super) fn schedule(&mut self, key: usize) {
        let Some(transport) = self.transports.get_mut(key) else { return };
        let due = [transport.peer.as_ref().and_then(Peer::poll_timeout), transport.next_report].into_iter().flatten().min();
        if let Some(at) = due
            && transport.scheduled.is_none_or(|scheduled| at < scheduled)
        {
            transport.scheduled = Some(at);
            self.timers.push(Reverse((at, key)));
        }
    }

    /// Makes the tick run, soon.
    pub(super) fn schedule_tick(&mut self, now: Instant) {
        self.next_tick.get_or_insert(now + TICK);
    }

    fn tick(&mut self, now: Instant, out: &mut impl Outbox) {
        let mut again = false;
        let keys: Vec<usize> = self.producers.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(producer) = self.producers.get_mut(key) else { continue };
            if producer.poll_key_frame_request(now) {
                self.send_key_frame_request(key);
            }
            again |= self.producers.get(key).is_some_and(|producer| producer.key_frame_request_due().is_some());
        }
        let mut publishers: Vec<usize> = Vec::new();
        for (_, producer) in &self.producers {
            if let Source::Network(transport) = producer.source
                && publishers.last() != Some(&transport)
            {
                publishers.push(transport);
            }
        }
        publishers.sort_unstable();
        publishers.dedup();
        for key in publishers {
            again |= self.send_feedback(now, key, out);
        }
        self.key_frame_requests.clear();
        if again {
            self.schedule_tick(now);
        }
    }
}
