//! Datagrams and direct packets on their way to producers.
//!
//! In: datagrams with their path, batches of direct producers. Out: packets in producers' stores, answers of ICE and DTLS.

use std::time::Instant;

use super::{Event, Worker};
use crate::rtp::batch::RtpBatch;
use crate::rtp::packet::RtpPacket;
use crate::rtp::rtx::decapsulate;
use crate::sfu::id::{ProducerId, RouterId};
use crate::sfu::outbox::Outbox;
use crate::sfu::peer::{PeerEvent, Received, Tuple, peek_ufrag};
use crate::sfu::producer::Taken;
use crate::sfu::transport::{Srtp, Ssrc};
use crate::sfu::types::TransportEvent;

/// Most SSRCs a transport learns from packets: a peer that changes its SSRC now and then (replaced tracks) forgets the oldest.
const MAX_SSRCS: usize = 64;

impl Worker {
    /// Whether a STUN request names a transport that there is here. Checks nothing else of it.
    pub(crate) fn is_for_somebody(&self, datagram: &[u8]) -> bool {
        peek_ufrag(datagram).is_some_and(|ufrag| self.ufrags.contains_key(ufrag))
    }

    /// Takes a datagram that is [`Owner::Here`]'s. It is changed: SRTP is opened in place. Call [`Self::flush`] after a batch.
    pub(crate) fn handle_datagram(&mut self, now: Instant, tuple: Tuple, datagram: &mut [u8], out: &mut impl Outbox) {
        self.stats.datagrams_in += 1;
        self.stats.bytes_in += datagram.len() as u64;
        let by_ufrag = |worker: &Self, datagram: &[u8]| peek_ufrag(datagram).and_then(|ufrag| worker.ufrags.get(ufrag).copied());
        // STUN goes by its user name: behind one NAT a path can pass from one session to the next.
        if let Some(key) = self.plain_ports.get(&tuple.local.port()).copied() {
            self.handle_plain(now, key, tuple, datagram, out);
            return;
        }
        let key = match datagram.first() {
            Some(0..=3) => by_ufrag(self, datagram).or_else(|| self.tuples.get(&tuple).copied()),
            _ => self.tuples.get(&tuple).copied(),
        };
        let found = key.and_then(|key| Some((key, self.transports.get_mut(key)?.peer.as_mut()?)));
        let Some((key, peer)) = found else {
            self.stats.drop_unknown_peer += 1;
            return;
        };
        match peer.handle_datagram(now, tuple, datagram) {
            Received::Srtp => self.handle_srtp(now, key, datagram),
            Received::Srtcp => self.handle_srtcp(now, key, datagram, out),
            Received::Consumed => {
                self.stats.drop_dtls += peer.take_dropped_records();
                self.service_peer(now, key, out);
            }
            Received::Ignored => self.stats.drop_garbage += 1,
        }
    }

    /// A TCP connection is gone.
    pub(crate) fn handle_disconnected(&mut self, now: Instant, tuple: &Tuple, out: &mut impl Outbox) {
        let Some(key) = self.tuples.get(tuple).copied() else { return };
        if let Some(peer) = &mut self.transports[key].peer {
            peer.handle_disconnected(now, tuple);
            self.service_peer(now, key, out);
        }
    }

    /// Takes packets of a direct producer or of a pipe. Call [`Self::flush`] after a batch.
    pub(crate) fn handle_batch(&mut self, now: Instant, router: RouterId, producer: ProducerId, batch: RtpBatch) {
        let Ok(key) = self.producer_key(router, producer) else { return };
        let wallclock = self.wallclock(now);
        let producer = &mut self.producers[key];
        if let Some(clock) = batch.clock {
            producer.set_clock(clock);
        }
        let (stored, dropped) = producer.push_batch(now, wallclock, &batch);
        self.stats.packets_in += stored as u64;
        self.stats.drop_duplicate += dropped as u64;
        if stored > 0 {
            self.mark_dirty(key);
        }
    }

    fn handle_srtp(&mut self, now: Instant, key: usize, datagram: &mut [u8]) {
        let opened = self.transports[key].srtp.as_mut().and_then(|srtp| srtp.receiver.open(datagram).ok());
        match opened {
            Some(len) => self.handle_rtp(now, key, &mut datagram[..len]),
            None => self.stats.drop_srtp += 1,
        }
    }

    pub(super) fn handle_rtp(&mut self, now: Instant, key: usize, datagram: &mut [u8]) {
        let wallclock = self.wallclock(now);
        let len = datagram.len();
        let transport = &mut self.transports[key];
        let Ok(packet) = RtpPacket::parse(datagram) else {
            self.stats.drop_garbage += 1;
            return;
        };
        let Some(whose) = transport.find_ssrc(packet.ssrc()).or_else(|| learn_ssrc(&mut self.transports[key], &self.producers, &packet))
        else {
            self.stats.drop_unknown_ssrc += 1;
            return;
        };
        let transport = &mut self.transports[key];
        let Some(producer) = self.producers.get_mut(whose.producer) else { return };
        transport.note_transport_wide_seq(now, producer.rtp.extensions.transport_cc, &packet);
        let range = if whose.rtx {
            let media = transport.ssrcs.iter().find(|ssrc| ssrc.producer == whose.producer && !ssrc.rtx).map(|ssrc| ssrc.ssrc);
            // Without media SSRC, or without contents (bandwidth probes), there is nothing to recover.
            match media.and_then(|media| decapsulate(datagram, producer.rtp.payload_type, media)) {
                Some(range) => range,
                None => return,
            }
        } else if packet.payload_type() == producer.rtp.payload_type {
            0..len
        } else {
            self.stats.drop_unknown_ssrc += 1;
            return;
        };
        let bytes = &datagram[range];
        match producer.push_copied(now, wallclock, bytes) {
            Taken::Stored => {
                self.stats.packets_in += 1;
                if whose.rtx {
                    self.stats.recovered += 1;
                }
                transport.note_packet(now, whose.producer, whose.rtx, producer);
                self.mark_dirty(whose.producer);
                self.schedule_tick(now);
            }
            Taken::Duplicate => self.stats.drop_duplicate += 1,
            Taken::Garbage => self.stats.drop_garbage += 1,
        }
    }

    /// Sends what a peer has to send, and acts on what it reports.
    pub(super) fn service_peer(&mut self, now: Instant, key: usize, out: &mut impl Outbox) {
        let mut closed = false;
        while let Some(transport) = self.transports.get_mut(key) {
            let Some(peer) = &mut transport.peer else { break };
            while let Some((tuple, bytes)) = peer.poll_transmit() {
                out.datagram(&tuple, bytes.len(), |buffer| {
                    buffer.copy_from_slice(&bytes);
                    bytes.len()
                });
            }
            let Some(event) = peer.poll_event() else { break };
            let id = transport.id;
            match event {
                PeerEvent::TupleAdded(tuple) => {
                    self.tuples.insert(tuple, key);
                    self.events.push_back(Event::Route(tuple, true));
                }
                PeerEvent::TupleRemoved(tuple) => {
                    transport.tuple.take_if(|selected| *selected == tuple);
                    if self.tuples.get(&tuple) == Some(&key) {
                        self.tuples.remove(&tuple);
                        self.events.push_back(Event::Route(tuple, false));
                    }
                }
                PeerEvent::TupleSelected(tuple) => transport.tuple = Some(tuple),
                PeerEvent::IceConnected => self.events.push_back(Event::Transport(id, TransportEvent::IceConnected)),
                PeerEvent::UfragRetired(ufrag) => {
                    if self.ufrags.remove(&ufrag).is_some() {
                        self.events.push_back(Event::Ufrag(ufrag, false));
                    }
                }
                PeerEvent::Connected(keys) => match Srtp::new(&keys) {
                    Ok(srtp) => {
                        transport.srtp = Some(Box::new(srtp));
                        self.events.push_back(Event::Transport(id, TransportEvent::Connected));
                        let mut next = 0;
                        while let Some(consumer) = self.transports.get(key).and_then(|t| t.consumers.get(next)).copied() {
                            next += 1;
                            self.start_consumer(now, consumer, out);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(transport = %id, %error, "DTLS agreed on keys that SRTP can't use");
                        peer.close(now);
                    }
                },
                PeerEvent::Closed(reason) => {
                    tracing::debug!(transport = %id, %reason, "transport closed");
                    closed = true;
                }
            }
        }
        if closed {
            self.remove_transport(now, key, out);
        } else {
            self.schedule(key);
        }
    }
}

/// Finds whose an unknown SSRC is: by `mid` if the packet has one, else by a payload type that only one producer has.
fn learn_ssrc(
    transport: &mut crate::sfu::transport::Transport,
    producers: &slab::Slab<crate::sfu::producer::Producer>,
    packet: &RtpPacket<'_>,
) -> Option<Ssrc> {
    let payload_type = packet.payload_type();
    let mut candidates = transport.producers.iter().copied().filter(|key| {
        producers.get(*key).is_some_and(|producer| {
            let rtp = &producer.rtp;
            let type_fits = rtp.payload_type == payload_type || rtp.rtx_payload_type == Some(payload_type);
            let mid = packet.extension(rtp.extensions.mid).filter(|_| rtp.extensions.mid != 0);
            // Other layers of a simulcast have the same `mid` and payload type, and drop their RID after a while.
            let layer_fits = rtp.rid.as_deref().is_none_or(|rid| {
                let id = if rtp.payload_type == payload_type { rtp.extensions.rid } else { rtp.extensions.repaired_rid };
                id != 0 && packet.extension(id) == Some(rid.as_bytes())
            });
            type_fits && layer_fits && mid.zip(rtp.mid.as_deref()).is_none_or(|(packet_mid, mid)| packet_mid == mid.as_bytes())
        })
    });
    let producer = candidates.next()?;
    if candidates.next().is_some() {
        return None;
    }
    let rtx = producers.get(producer)?.rtp.payload_type != payload_type;
    let learned = Ssrc { ssrc: packet.ssrc(), producer, rtx };
    if transport.ssrcs.len() >= MAX_SSRCS {
        let forgotten = transport.ssrcs.remove(0);
        if let Some(srtp) = &mut transport.srtp {
            srtp.receiver.forget(forgotten.ssrc);
        }
    }
    transport.ssrcs.push(learned);
    Some(learned)
}
