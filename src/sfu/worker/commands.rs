//! What the handles ask of a worker: making, connecting, pausing, replacing and closing.
//!
//! In: checked options. Out: what was made; events for what ended because of it.

use std::time::Instant;

use rand::{RngExt, SeedableRng};

use super::{Event, Worker};
use crate::base::{Chance, MediaKind};
use crate::sfu::consumer::{Consumer, Outlet, Phase};
use crate::sfu::error::{Noun, SfuError};
use crate::sfu::id::{ConsumerId, ProducerId, RouterId, TransportId};
use crate::sfu::ortc::{ConsumerWish, DtlsParameters, IceParameters, MAX_MID_LEN, ProducerRtp, RtpParameters, consumer_parameters};
use crate::sfu::outbox::Outbox;
use crate::sfu::peer::Peer;
use crate::sfu::producer::{Producer, Source};
use crate::sfu::sender::Sender;
use crate::sfu::transport::Transport;
use crate::sfu::types::{ConsumerInfo, ConsumerOptions, ProducerOptions, ProducerStats, Reading, TransportEvent};

/// Longest RTCP CNAME (RFC 3550 section 6.5.1).
const MAX_CNAME_LEN: usize = 255;

impl Worker {
    pub(crate) fn create_router(&mut self) -> RouterId {
        let id = RouterId::next();
        self.routers.insert(id, ());
        id
    }

    pub(crate) fn close_router(&mut self, now: Instant, id: RouterId, out: &mut impl Outbox) {
        if self.routers.remove(&id).is_none() {
            return;
        }
        let transports: Vec<_> = self.transports.iter().filter(|(_, transport)| transport.router == id).map(|(_, t)| t.id).collect();
        for transport in transports {
            self.close_transport(now, transport, out);
        }
        let producers: Vec<_> = self.producers.iter().filter(|(_, producer)| producer.router == id).map(|(_, p)| p.id).collect();
        for producer in producers {
            self.close_producer(now, id, producer, out);
        }
    }

    pub(super) fn check_router(&self, id: RouterId) -> Result<(), SfuError> {
        self.routers.get(&id).copied().ok_or(SfuError::NotFound(Noun::Router))
    }

    /// Makes a transport. Gives our ICE and DTLS parameters.
    pub(crate) fn create_transport(
        &mut self,
        now: Instant,
        router: RouterId,
    ) -> Result<(TransportId, IceParameters, DtlsParameters), SfuError> {
        self.check_router(router)?;
        if self.transports.len() >= self.config.max_transports {
            return Err(SfuError::TooMany("transports on this worker (sfu.max_transports)"));
        }
        let id = TransportId::next();
        let peer = Peer::new(now, &self.certificate, self.index, &mut self.chance);
        let (ice, dtls) = (peer.ice_parameters().clone(), peer.dtls_parameters());
        let ssrc = self.random_ssrc();
        let key = self.transports.insert(Transport::new(id, router, Some(peer), None, ssrc));
        self.transport_keys.insert(id, key);
        self.name(&ice.username_fragment, key);
        self.schedule(key);
        Ok((id, ice, dtls))
    }

    pub(super) fn transport_key(&self, id: TransportId) -> Result<usize, SfuError> {
        self.transport_keys.get(&id).copied().ok_or(SfuError::NotFound(Noun::Transport))
    }

    pub(super) fn producer_key(&self, router: RouterId, id: ProducerId) -> Result<usize, SfuError> {
        self.producer_keys.get(&(router, id)).copied().ok_or(SfuError::NotFound(Noun::Producer))
    }

    /// Sets the peer's DTLS parameters and ICE credentials.
    pub(crate) fn connect_transport(
        &mut self,
        now: Instant,
        id: TransportId,
        remote: DtlsParameters,
        ice: &IceParameters,
        out: &mut impl Outbox,
    ) -> Result<(), SfuError> {
        let key = self.transport_key(id)?;
        self.peer_of(key)?.connect(now, remote, ice)?;
        self.service_peer(now, key, out);
        Ok(())
    }

    fn peer_of(&mut self, key: usize) -> Result<&mut Peer, SfuError> {
        let peer = self.transports[key].peer.as_mut();
        peer.ok_or(SfuError::PlainTransport)
    }

    pub(crate) fn restart_ice(&mut self, id: TransportId, theirs: &IceParameters) -> Result<IceParameters, SfuError> {
        let key = self.transport_key(id)?;
        let mut chance = Chance::from_rng(&mut self.chance);
        let ice = self.peer_of(key)?.restart_ice(theirs, &mut chance)?.clone();
        self.name(&ice.username_fragment, key);
        Ok(ice)
    }

    /// Closes a transport with its producers and consumers; the peer is notified.
    pub(crate) fn close_transport(&mut self, now: Instant, id: TransportId, out: &mut impl Outbox) {
        let Ok(key) = self.transport_key(id) else { return };
        let ssrcs: Vec<u32> = self.transports[key]
            .consumers
            .iter()
            .filter_map(|consumer| match &self.consumers.get(*consumer)?.outlet {
                Outlet::Network { sender, .. } => Some(sender.ssrc),
                Outlet::Batches { .. } => None,
            })
            .collect();
        self.send_bye(key, &ssrcs, out);
        match &mut self.transports[key].peer {
            Some(peer) => {
                peer.close(now);
                self.service_peer(now, key, out);
            }
            None => self.remove_transport(now, key, out),
        }
    }

    /// Forgets a transport whose peer is closed.
    pub(super) fn remove_transport(&mut self, now: Instant, key: usize, out: &mut impl Outbox) {
        let Some(transport) = self.transports.try_remove(key) else { return };
        self.transport_keys.remove(&transport.id);
        let names: Vec<String> = self.ufrags.iter().filter(|(_, owner)| **owner == key).map(|(name, _)| name.clone()).collect();
        names.into_iter().for_each(|name| self.unname(name));
        if let Some(plain) = transport.plain {
            self.plain_ports.remove(&plain.port);
        }
        let events = &mut self.events;
        self.tuples.retain(|tuple, owner| {
            if *owner == key {
                events.push_back(Event::Route(*tuple, false));
            }
            *owner != key
        });
        for consumer in transport.consumers {
            self.remove_consumer(consumer);
        }
        for key in transport.producers {
            let Some(producer) = self.producers.get_mut(key) else { continue };
            if producer.outlives_transport {
                producer.source = Source::Gone;
            } else {
                let (router, id) = (producer.router, producer.id);
                self.close_producer(now, router, id, out);
            }
        }
        self.events.push_back(Event::Transport(transport.id, TransportEvent::Closed));
    }

    /// Makes a producer fed from this process (`id` is `None`) or, as a copy of a producer with this id, from a pipe.
    pub(crate) fn produce_direct(
        &mut self,
        router: RouterId,
        id: Option<ProducerId>,
        options: ProducerOptions,
    ) -> Result<ProducerId, SfuError> {
        self.check_router(router)?;
        let rtp = ProducerRtp::parse(options.kind, &options.rtp_parameters)?;
        let source = if id.is_some() { Source::Pipe } else { Source::Direct };
        let id = id.unwrap_or_else(ProducerId::next);
        if self.producer_keys.contains_key(&(router, id)) {
            return Ok(id);
        }
        self.add_producer(router, id, source, options.rtp_parameters, rtp)?;
        Ok(id)
    }

    /// Makes a producer that a transport's peer sends.
    pub(crate) fn produce(&mut self, id: TransportId, options: ProducerOptions) -> Result<ProducerId, SfuError> {
        let transport = self.transport_key(id)?;
        let rtp = ProducerRtp::parse(options.kind, &options.rtp_parameters)?;
        if rtp.codec == crate::codec::Codec::Aac && self.transports[transport].plain.is_none() {
            return Err(SfuError::AacOverWebRtc);
        }
        let router = self.transports[transport].router;
        let taken = [rtp.ssrc, rtp.rtx_ssrc].into_iter().flatten().any(|ssrc| self.transports[transport].find_ssrc(ssrc).is_some());
        if taken {
            return Err(SfuError::SsrcTaken);
        }
        let id = ProducerId::next();
        let producer = self.add_producer(router, id, Source::Network(transport), options.rtp_parameters, rtp.clone())?;
        self.transports[transport].add_producer(producer, &rtp);
        Ok(id)
    }

    /// Lets a producer stay, silent, when its transport closes, until it is replaced or closed: its consumers don't notice that
    /// their source comes back by another transport.
    pub(crate) fn keep_producer(&mut self, router: RouterId, id: ProducerId) -> Result<(), SfuError> {
        let key = self.producer_key(router, id)?;
        self.producers[key].outlives_transport = true;
        Ok(())
    }

    fn add_producer(
        &mut self,
        router: RouterId,
        id: ProducerId,
        source: Source,
        parameters: RtpParameters,
        rtp: ProducerRtp,
    ) -> Result<usize, SfuError> {
        if self.producers.len() >= self.config.max_producers {
            return Err(SfuError::TooMany("producers on this worker (sfu.max_producers)"));
        }
        let key = self.producers.insert(Producer::new(id, router, source, parameters, rtp, self.store_limits()));
        self.producer_keys.insert((router, id), key);
        Ok(key)
    }

    /// Closes a producer and its consumers.
    pub(crate) fn close_producer(&mut self, now: Instant, router: RouterId, id: ProducerId, out: &mut impl Outbox) {
        let Ok(key) = self.producer_key(router, id) else { return };
        // What came last is still sent.
        self.flush(now, out);
        self.producer_keys.remove(&(router, id));
        let producer = self.producers.remove(key);
        self.dirty.retain(|dirty| *dirty != key);
        self.key_frame_requests.retain(|wanted| *wanted != key);
        for consumer in producer.consumers {
            let gone = self.consumers.get(consumer).and_then(|consumer| match &consumer.outlet {
                Outlet::Network { transport, sender } => Some((*transport, sender.ssrc)),
                Outlet::Batches { .. } => None,
            });
            if let Some((transport, ssrc)) = gone {
                self.send_bye(transport, &[ssrc], out);
            }
            self.remove_consumer(consumer);
        }
        if let Source::Network(transport) = producer.source
            && let Some(transport) = self.transports.get_mut(transport)
        {
            transport.forget_producer(key);
        }
        self.events.push_back(Event::ProducerClosed(router, id));
    }

    fn remove_consumer(&mut self, key: usize) {
        let Some(consumer) = self.consumers.try_remove(key) else { return };
        self.consumer_keys.remove(&consumer.id);
        self.paced.retain(|paced| *paced != key);
        if let Some(producer) = self.producers.get_mut(consumer.producer) {
            producer.consumers.retain(|other| *other != key);
        }
        match consumer.outlet {
            Outlet::Network { transport, .. } => {
                if let Some(transport) = self.transports.get_mut(transport) {
                    transport.consumers.retain(|other| *other != key);
                }
            }
            Outlet::Batches { .. } => self.events.push_back(Event::ConsumerClosed(consumer.id)),
        }
    }

    pub(crate) fn close_consumer(&mut self, id: ConsumerId, out: &mut impl Outbox) {
        let Some(key) = self.consumer_keys.get(&id).copied() else { return };
        if let Some(Outlet::Network { transport, sender }) = self.consumers.get(key).map(|consumer| &consumer.outlet) {
            let (transport, ssrc) = (*transport, sender.ssrc);
            self.send_bye(transport, &[ssrc], out);
        }
        self.remove_consumer(key);
    }

    fn add_consumer(&mut self, consumer: Consumer) -> Result<usize, SfuError> {
        if self.consumers.len() >= self.config.max_consumers {
            return Err(SfuError::TooMany("consumers on this worker (sfu.max_consumers)"));
        }
        let (id, producer) = (consumer.id, consumer.producer);
        let key = self.consumers.insert(consumer);
        self.consumer_keys.insert(id, key);
        self.producers[producer].consumers.push(key);
        Ok(key)
    }

    /// Sends a producer to a transport's peer.
    pub(crate) fn consume(
        &mut self,
        now: Instant,
        id: TransportId,
        options: ConsumerOptions,
        out: &mut impl Outbox,
    ) -> Result<ConsumerInfo, SfuError> {
        let transport_key = self.transport_key(id)?;
        let router = self.transports[transport_key].router;
        let producer_key = self.producer_key(router, options.producer)?;
        if options.cname.len() > MAX_CNAME_LEN || options.mid.as_ref().is_some_and(|mid| mid.len() > MAX_MID_LEN) {
            return Err(SfuError::NameTooLong);
        }
        let (ssrc, rtx_ssrc) = (self.random_ssrc(), self.random_ssrc());
        let producer = &self.producers[producer_key];
        let wish =
            ConsumerWish { capabilities: &options.rtp_capabilities, mid: options.mid.as_deref(), cname: &options.cname, ssrc, rtx_ssrc };
        let parameters = consumer_parameters(producer.codec(), producer.rtp.payload_type, &producer.parameters, wish)?;
        let kind = producer.kind();
        let sender = Box::new(Sender::new(&parameters, self.chance.random(), self.chance.random()));
        let outlet = Outlet::Network { transport: transport_key, sender };
        let mut consumer = Consumer::new(ConsumerId::next(), producer_key, kind, outlet);
        consumer.drop_disposable = options.drop_disposable;
        consumer.paused = options.paused;
        let info = ConsumerInfo {
            #[cfg(test)]
            id: consumer.id,
            #[cfg(test)]
            kind,
            rtp_parameters: parameters,
        };
        let key = self.add_consumer(consumer)?;
        self.transports[transport_key].consumers.push(key);
        self.start_consumer(now, key, out);
        Ok(info)
    }

    /// Sends a producer to this process, or into a pipe to another router.
    pub(crate) fn consume_batches(&mut self, router: RouterId, producer: ProducerId, reading: Reading) -> Result<ConsumerId, SfuError> {
        let key = self.producer_key(router, producer)?;
        let kind = self.producers[key].kind();
        let mut consumer =
            Consumer::new(ConsumerId::next(), key, kind, Outlet::Batches { pipe: reading == Reading::Pipe, clock_version: None });
        consumer.from_history = reading == Reading::Recent;
        let id = consumer.id;
        self.add_consumer(consumer)?;
        Ok(id)
    }

    /// Lets a consumer of [`Self::consume_batches`] begin, once its outlet is in place.
    pub(crate) fn start_batches(&mut self, now: Instant, id: ConsumerId, out: &mut impl Outbox) {
        if let Some(key) = self.consumer_keys.get(&id).copied() {
            self.start_consumer(now, key, out);
        }
    }

    /// Starts a consumer if its transport is connected and it isn't paused.
    pub(super) fn start_consumer(&mut self, now: Instant, key: usize, out: &mut impl Outbox) {
        let Some(consumer) = self.consumers.get_mut(key) else { return };
        let network = match &consumer.outlet {
            Outlet::Network { transport, .. } => Some(*transport),
            Outlet::Batches { .. } => None,
        };
        if let Some(transport) = network
            && self.transports.get(transport).is_none_or(|transport| transport.path().is_none())
        {
            return;
        }
        let producer_key = consumer.producer;
        let Some(producer) = self.producers.get(producer_key) else { return };
        let was_idle = consumer.phase == Phase::Idle;
        // Pipes and readers in this process always begin with the cache: they have no link that it could be too much for.
        let fast_start = self.config.fast_start || network.is_none();
        let needs_key_frame = consumer.start(now, &producer.store, fast_start);
        if was_idle && network.is_some() && consumer.kind == MediaKind::Video && consumer.phase == Phase::AwaitKeyFrame && !needs_key_frame
        {
            self.stats.fast_starts += 1;
        }
        if let Some(transport) = network {
            self.schedule_report(now, transport);
        }
        if needs_key_frame {
            self.request_key_frame_of(producer_key, now);
        }
        let wallclock = self.wallclock(now);
        self.serve(key, now, wallclock, out);
    }

    #[cfg(test)]
    pub(crate) fn set_paused(&mut self, now: Instant, id: ConsumerId, paused: bool, out: &mut impl Outbox) -> Result<(), SfuError> {
        let key = self.consumer_keys.get(&id).copied().ok_or(SfuError::NotFound(Noun::Consumer))?;
        let consumer = &mut self.consumers[key];
        consumer.paused = paused;
        if paused {
            consumer.stop();
        } else {
            self.start_consumer(now, key, out);
        }
        Ok(())
    }

    /// Whether `new` can take the place of `old`.
    pub(crate) fn check_replacement(&self, router: RouterId, old: ProducerId, new: ProducerId) -> Result<(), SfuError> {
        let (old, new) = (&self.producers[self.producer_key(router, old)?], &self.producers[self.producer_key(router, new)?]);
        if old.codec() == new.codec() {
            return Ok(());
        }
        Err(SfuError::OtherCodec { old: old.codec(), new: new.codec() })
    }

    /// Lets the consumers of `old` go on with `new`, and closes `old`. Pipes of `old` end: `new` has its own.
    pub(crate) fn replace_producer(
        &mut self,
        now: Instant,
        router: RouterId,
        old: ProducerId,
        new: ProducerId,
        out: &mut impl Outbox,
    ) -> Result<(), SfuError> {
        let (old_key, new_key) = (self.producer_key(router, old)?, self.producer_key(router, new)?);
        if old_key == new_key {
            return Ok(());
        }
        self.check_replacement(router, old, new)?;
        self.flush(now, out);
        let wallclock = self.wallclock(now);
        let anchor = self.producers[old_key].timestamp_at(wallclock);
        let consumers = std::mem::take(&mut self.producers[old_key].consumers);
        let (moved, pipes): (Vec<usize>, Vec<usize>) = consumers.into_iter().partition(|key| {
            self.consumers.get(*key).is_some_and(|consumer| !matches!(consumer.outlet, Outlet::Batches { pipe: true, .. }))
        });
        self.producers[old_key].consumers = pipes;
        let mut needs_key_frame = false;
        for key in moved {
            let Some(consumer) = self.consumers.get_mut(key) else { continue };
            if let Outlet::Network { sender, .. } = &mut consumer.outlet {
                let offset = sender.timestamp_offset();
                sender.set_anchor(anchor.unwrap_or_default().wrapping_add(offset), wallclock);
            }
            consumer.switch(new_key, &self.producers[new_key].store);
            needs_key_frame |= consumer.needs_key_frame();
            self.producers[new_key].consumers.push(key);
        }
        if needs_key_frame && self.producers[new_key].store.key_frame().is_none() {
            self.request_key_frame_of(new_key, now);
        }
        self.mark_dirty(new_key);
        self.close_producer(now, router, old, out);
        self.flush(now, out);
        Ok(())
    }

    /// Asks a producer's source for a key frame.
    pub(crate) fn request_key_frame(&mut self, now: Instant, router: RouterId, id: ProducerId) {
        if let Ok(key) = self.producer_key(router, id) {
            self.request_key_frame_of(key, now);
        }
    }

    /// As [`Self::request_key_frame`], for the producer of a consumer.
    pub(crate) fn request_key_frame_for(&mut self, now: Instant, consumer: ConsumerId) {
        let producer = self.consumer_keys.get(&consumer).and_then(|key| self.consumers.get(*key)).map(|consumer| consumer.producer);
        if let Some(producer) = producer {
            self.request_key_frame_of(producer, now);
        }
    }

    /// Audio or video, and the parameters, of a producer.
    pub(crate) fn describe_producer(&self, router: RouterId, id: ProducerId) -> Result<ProducerOptions, SfuError> {
        let producer = &self.producers[self.producer_key(router, id)?];
        Ok(ProducerOptions { kind: producer.kind(), rtp_parameters: producer.parameters.clone() })
    }

    pub(crate) fn producer_stats(&mut self, now: Instant, router: RouterId, id: ProducerId) -> Result<ProducerStats, SfuError> {
        let key = self.producer_key(router, id)?;
        let mut stats = self.producers[key].stats(now);
        if let Source::Network(transport) = self.producers[key].source
            && let Some(transport) = self.transports.get(transport)
        {
            transport.add_stats(key, &mut stats);
        }
        Ok(stats)
    }

    /// Ends everything; peers are notified.
    pub(crate) fn close(&mut self, now: Instant, out: &mut impl Outbox) {
        let routers: Vec<_> = self.routers.keys().copied().collect();
        for router in routers {
            self.close_router(now, router, out);
        }
    }
}
