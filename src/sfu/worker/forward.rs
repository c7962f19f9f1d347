//! From producers' stores to consumers.
//!
//! In: which producers have new packets. Out: packets, consumer by consumer, so that those for one peer leave together.

use std::ops::Range;
use std::time::Instant;

use super::{Event, Worker};
use crate::base::UnixNanos;
use crate::rtp::batch::{BatchWriter, ClockMapping, RtpBatch};
use crate::sfu::consumer::{Consumer, Outlet, Run};
use crate::sfu::ortc::ExtensionIds;
use crate::sfu::outbox::{Outbox, Readiness};
use crate::sfu::producer::{Producer, Source};
use crate::sfu::sender::{Path, Sender};
use crate::sfu::stats::WorkerStats;
use crate::sfu::store::{PacketStore, StoredPacket};

impl Worker {
    /// Serves the consumers of all producers that got packets since the last call. Call after a batch of input.
    pub(crate) fn flush(&mut self, now: Instant, out: &mut impl Outbox) {
        let wallclock = self.wallclock(now);
        while let Some(key) = self.dirty.pop() {
            let Some(producer) = self.producers.get_mut(key) else { continue };
            producer.dirty = false;
            let mut next = 0;
            while let Some(consumer) = self.producers.get(key).and_then(|producer| producer.consumers.get(next)).copied() {
                next += 1;
                self.serve(consumer, now, wallclock, out);
            }
        }
    }

    /// Sends what a consumer may send now.
    pub(super) fn serve(&mut self, key: usize, now: Instant, wallclock: UnixNanos, out: &mut impl Outbox) {
        let Some(consumer) = self.consumers.get_mut(key) else { return };
        let Some(producer) = self.producers.get(consumer.producer) else { return };
        let (producer_key, behind_before) = (consumer.producer, consumer.fell_behind);
        while let Some(run) = consumer.next_run(now, &producer.store) {
            match &mut consumer.outlet {
                Outlet::Network { transport, sender } => {
                    let Some(path) = self.transports.get(*transport).and_then(|transport| transport.path()) else { break };
                    send_run(now, wallclock, producer, consumer.drop_disposable, sender, &run, path, &mut self.stats, out);
                }
                Outlet::Batches { .. } => match out.readiness(consumer.id) {
                    Readiness::Ready => deliver(consumer, producer, &run, out),
                    Readiness::Full => {
                        consumer.put_back(now, &run);
                        break;
                    }
                    Readiness::Gone => {
                        consumer.stop();
                        break;
                    }
                },
            }
        }
        if consumer.wake_at().is_some() && !consumer.listed {
            consumer.listed = true;
            self.paced.push(key);
        }
        if consumer.fell_behind > behind_before {
            self.stats.fell_behind += 1;
            if consumer.needs_key_frame() {
                self.request_key_frame_of(producer_key, now);
            }
        }
    }

    /// Serves the consumers whose time has come.
    pub(super) fn serve_paced(&mut self, now: Instant, out: &mut impl Outbox) {
        let wallclock = self.wallclock(now);
        let mut index = 0;
        while let Some(key) = self.paced.get(index).copied() {
            let wake = self.consumers.get(key).and_then(Consumer::wake_at);
            match wake {
                Some(at) if at > now => index += 1,
                Some(_) => {
                    self.serve(key, now, wallclock, out);
                    index += 1;
                }
                None => {
                    self.paced.swap_remove(index);
                    if let Some(consumer) = self.consumers.get_mut(key) {
                        consumer.listed = false;
                    }
                }
            }
        }
    }

    pub(super) fn paced_due(&self) -> Option<Instant> {
        self.paced.iter().filter_map(|key| self.consumers.get(*key)?.wake_at()).min()
    }

    /// Asks a producer's source for a key frame, if it may be asked now; the timer does it later otherwise.
    pub(super) fn request_key_frame_of(&mut self, key: usize, now: Instant) {
        let Some(producer) = self.producers.get_mut(key) else { return };
        if producer.request_key_frame(now) {
            self.send_key_frame_request(key);
        }
        self.schedule_tick(now);
    }

    pub(super) fn send_key_frame_request(&mut self, key: usize) {
        let Some(producer) = self.producers.get(key) else { return };
        match producer.source {
            Source::Direct | Source::Pipe => self.events.push_back(Event::KeyFrameWanted(producer.router, producer.id)),
            Source::Network(_) => self.key_frame_requests.push(key),
            Source::Gone => return,
        }
        self.stats.key_frame_requests_out += 1;
    }
}

#[allow(clippy::too_many_arguments)] // borrows of different tables; one caller
fn send_run(
    now: Instant,
    wallclock: UnixNanos,
    producer: &Producer,
    drop_disposable: bool,
    sender: &mut Sender,
    run: &Run,
    path: Path<'_>,
    stats: &mut WorkerStats,
    out: &mut impl Outbox,
) {
    let source: &ExtensionIds = &producer.rtp.extensions;
    if run.resume
        && let Some(first) = producer.store.get(run.packets.start)
    {
        if sender.is_switching() {
            let captured = producer.captured_at(first.timestamp).unwrap_or(wallclock);
            sender.switch(now, first.seq, first.timestamp, captured, producer.rtp.clock_rate);
        } else {
            sender.resume(first.seq);
        }
    }
    for index in run.packets.clone() {
        let Some(packet) = producer.store.get(index) else { continue };
        if drop_disposable && packet.disposable && sender.skip(packet) {
            stats.disposable_dropped += 1;
            continue;
        }
        if let Some(bytes) = sender.send(now, wallclock, packet, source, path, out) {
            stats.packets_out += 1;
            stats.bytes_out += bytes as u64;
        }
    }
}

fn deliver(consumer: &mut Consumer, producer: &Producer, run: &Run, out: &mut impl Outbox) {
    let (batch, end) = batch_of(&producer.store, run.packets.clone());
    if end < run.packets.end {
        consumer.go_back_to(end);
    }
    let mut clock = None;
    if let Outlet::Batches { clock_version, .. } = &mut consumer.outlet
        && *clock_version != Some(producer.clock_version())
        && let Some(rtp) = producer.store.get(run.packets.start).map(|packet| packet.timestamp)
        && let Some(wallclock) = producer.captured_at(rtp)
    {
        *clock_version = Some(producer.clock_version());
        // Mapped by a timestamp that is there, never by one from hours ago: the reader could not know on which side of the wrap it lies.
        clock = Some(ClockMapping { rtp, wallclock });
    }
    out.deliver(consumer.id, batch.with_clock(clock));
}

/// Packets that don't share a buffer are copied together up to so many bytes: one message for what a wake-up brought or for a part of
/// the key-frame cache, without holding the worker up.
const GATHER: usize = 256 * 1024;

/// Packets of a buffer of at least so many bytes go as they are: another message costs less than copying them.
const ALONE: usize = 4 * 1024;
/// More packets than this are no wake-up's but the key-frame cache, of which the reader's queue would not take every picture by itself.
const FEW: u64 = 256;

/// A batch of the first of these packets, and the index of the first one that is not in it.
fn batch_of(store: &PacketStore, packets: Range<u64>) -> (RtpBatch, u64) {
    let stored = || packets.clone().filter_map(|index| store.get(index));
    let Some(first) = stored().next() else { return (RtpBatch::default(), packets.end) };
    let shared = |packet: &&StoredPacket| packet.buffer.as_ptr() == first.buffer.as_ptr() && packet.buffer.len() == first.buffer.len();
    let together = stored().take_while(shared).count() as u64;
    let all = packets.start + together >= packets.end;
    if all || (first.buffer.len() >= ALONE && packets.end - packets.start <= FEW) {
        let places = stored().take_while(shared).map(|packet| (packet.range.clone(), packet.unit));
        return (RtpBatch::of_places(first.buffer.clone(), places), packets.start + together);
    }
    let bytes = stored().map(|packet| packet.bytes().len()).sum::<usize>().min(GATHER);
    let mut writer = BatchWriter::with_capacity(bytes, (packets.end - packets.start).min(1024) as usize);
    for index in packets.clone() {
        let Some(packet) = store.get(index) else { continue };
        if writer.bytes() > 0 && writer.bytes() + packet.bytes().len() > GATHER {
            return (writer.finish(), index);
        }
        writer.packet(packet.unit, |buffer| buffer.extend_from_slice(packet.bytes()));
    }
    (writer.finish(), packets.end)
}
