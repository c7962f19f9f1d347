//! One worker without its thread and sockets: routers, transports, producers and consumers in dense tables.
//!
//! In: datagrams, packets of direct producers, commands, time. Out: datagrams and batches into an [`Outbox`], [`Event`]s.

mod commands;
mod feedback;
mod forward;
mod plain;
mod receive;
#[cfg(test)]
mod tests;
mod timers;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Instant;

use rand::RngExt;
use slab::Slab;

use super::config::SfuConfig;
use super::consumer::Consumer;
use super::id::{ConsumerId, ProducerId, RouterId, TransportId};
use super::peer::{Certificate, Tuple, peek_ufrag, worker_of_ufrag};
use super::producer::Producer;
use super::stats::WorkerStats;
use super::store::StoreLimits;
use super::transport::Transport;
use super::types::TransportEvent;
use crate::base::{Chance, UnixNanos, Wall};

type FastMap<K, V> = HashMap<K, V, ahash::RandomState>;

/// What a worker reports to the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Something happened to a transport; after `Closed` it is gone.
    Transport(TransportId, TransportEvent),
    /// A path to a transport became valid (`true`) or invalid: other workers that get its datagrams should send them here.
    Route(Tuple, bool),
    /// STUN requests may (`true`), or no longer may, name one of this worker's transports so: other workers should send them here.
    Ufrag(String, bool),
    /// The source of a direct producer or of a pipe should make a key frame.
    KeyFrameWanted(RouterId, ProducerId),
    ProducerClosed(RouterId, ProducerId),
    /// A direct consumer or a pipe is gone.
    ConsumerClosed(ConsumerId),
}

/// Whose a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This worker's.
    Here,
    /// By its path, which is validated.
    Worker(usize),
    /// A STUN request that names a transport there.
    Named(usize),
    /// Nobody's, as far as can be told.
    Nobody,
}

/// One worker's state.
#[derive(Debug)]
pub(crate) struct Worker {
    index: u16,
    config: SfuConfig,
    certificate: Certificate,
    wall: Wall,
    chance: Chance,
    routers: HashMap<RouterId, ()>,
    transports: Slab<Transport>,
    producers: Slab<Producer>,
    consumers: Slab<Consumer>,
    transport_keys: HashMap<TransportId, usize>,
    producer_keys: HashMap<(RouterId, ProducerId), usize>,
    consumer_keys: HashMap<ConsumerId, usize>,
    /// Validated paths of this worker's transports.
    tuples: FastMap<Tuple, usize>,
    /// Validated paths of other workers' transports.
    foreign: FastMap<Tuple, usize>,
    /// The names of other workers' transports.
    foreign_ufrags: FastMap<String, usize>,
    ufrags: FastMap<String, usize>,
    /// Plain transports by the port of their own socket.
    plain_ports: FastMap<u16, usize>,
    /// Producers with packets that their consumers have not been served.
    dirty: Vec<usize>,
    /// Consumers to look at again at a certain time.
    paced: Vec<usize>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    next_tick: Option<Instant>,
    /// Producers whose publisher is to get a PLI or FIR with the next RTCP.
    key_frame_requests: Vec<usize>,
    events: VecDeque<Event>,
    /// Where RTCP is put together.
    scratch: Vec<u8>,
    /// Sequence numbers for a NACK.
    seqs: Vec<u16>,
    stats: WorkerStats,
}

impl Worker {
    /// Worker number `index`. `wall` is the same for all workers. SSRCs, first sequence numbers and ICE credentials come from `chance`.
    pub(crate) fn new(index: u16, config: SfuConfig, certificate: Certificate, wall: Wall, chance: Chance) -> Self {
        Self {
            index,
            config,
            certificate,
            wall,
            chance,
            routers: HashMap::new(),
            transports: Slab::new(),
            producers: Slab::new(),
            consumers: Slab::new(),
            transport_keys: HashMap::new(),
            producer_keys: HashMap::new(),
            consumer_keys: HashMap::new(),
            tuples: FastMap::default(),
            foreign: FastMap::default(),
            foreign_ufrags: FastMap::default(),
            ufrags: FastMap::default(),
            plain_ports: FastMap::default(),
            dirty: Vec::new(),
            paced: Vec::new(),
            timers: BinaryHeap::new(),
            next_tick: None,
            key_frame_requests: Vec::new(),
            events: VecDeque::new(),
            scratch: Vec::new(),
            seqs: Vec::new(),
            stats: WorkerStats::default(),
        }
    }

    fn random_ssrc(&mut self) -> u32 {
        self.chance.random_range(1..u32::MAX)
    }

    /// The next thing to report. Call until `None` after every other call.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Counters and gauges.
    pub(crate) fn stats(&self) -> WorkerStats {
        WorkerStats {
            routers: self.routers.len() as u64,
            transports: self.transports.len() as u64,
            producers: self.producers.len() as u64,
            consumers: self.consumers.len() as u64,
            stored_bytes: self.producers.iter().map(|(_, producer)| producer.store.bytes() as u64).sum(),
            ..self.stats
        }
    }

    /// For what the driver drops before it reaches the worker.
    pub(crate) fn stats_mut(&mut self) -> &mut WorkerStats {
        &mut self.stats
    }

    /// Whose a datagram is: by its path if that is validated, else by the user name of a STUN request (RFC 8445 section 7.3), if there is somebody
    /// of that name.
    pub(crate) fn owner_of(&self, tuple: &Tuple, datagram: &[u8]) -> Owner {
        if self.tuples.contains_key(tuple) || self.plain_ports.contains_key(&tuple.local.port()) {
            return Owner::Here;
        }
        // A path of before may belong to another session now: STUN says whose it is.
        if let Some(ufrag) = peek_ufrag(datagram) {
            return match worker_of_ufrag(ufrag) {
                Some(index) if index == self.index => Owner::Here,
                _ => self.foreign_ufrags.get(ufrag).map_or(Owner::Nobody, |worker| Owner::Named(*worker)),
            };
        }
        self.foreign.get(tuple).map_or(Owner::Nobody, |worker| Owner::Worker(*worker))
    }

    /// Another worker's transport has (or no longer has) this path.
    pub(crate) fn set_foreign_route(&mut self, tuple: Tuple, worker: usize, valid: bool) {
        if valid {
            self.foreign.insert(tuple, worker);
        } else if self.foreign.get(&tuple) == Some(&worker) {
            self.foreign.remove(&tuple);
        }
    }

    /// Another worker's transport has (or no longer has) this name.
    pub(crate) fn set_foreign_ufrag(&mut self, ufrag: String, worker: usize, valid: bool) {
        if valid {
            self.foreign_ufrags.insert(ufrag, worker);
        } else {
            self.foreign_ufrags.remove(&ufrag);
        }
    }

    /// A transport has a name from now on.
    fn name(&mut self, ufrag: &str, key: usize) {
        self.ufrags.insert(ufrag.to_owned(), key);
        self.events.push_back(Event::Ufrag(ufrag.to_owned(), true));
    }

    fn unname(&mut self, ufrag: String) {
        if self.ufrags.remove(&ufrag).is_some() {
            self.events.push_back(Event::Ufrag(ufrag, false));
        }
    }

    fn wallclock(&self, now: Instant) -> UnixNanos {
        self.wall.of(now)
    }

    fn store_limits(&self) -> StoreLimits {
        StoreLimits { max_age: self.config.key_frame_cache_max_age, max_bytes: self.config.key_frame_cache_max_bytes.max(64 << 10) }
    }

    fn mark_dirty(&mut self, producer: usize) {
        if let Some(producer_state) = self.producers.get_mut(producer)
            && !producer_state.dirty
        {
            producer_state.dirty = true;
            self.dirty.push(producer);
        }
    }
}
