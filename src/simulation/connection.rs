//! A publisher's connection to the server.
//!
//! In: a publisher's tags, time. Out: what a stream's tracks are written. The glue is that of `rtmp/driver/publish.rs` and of
//! `stream/driver`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::core::Packer;
use super::publisher::{Numbers, Publisher, number_of};
use super::server::Server;
use crate::base::{MediaKind, UnixNanos, seeded};
use crate::codec::{AccessUnit, Format};
use crate::rtmp::ingest::{Action as IngestAction, Ingest};
use crate::sfu::types::ProducerOptions;
use crate::stream::Track;
use crate::stream::core::{Begin, Generation, Heard, Newcomer, Replace};
use crate::stream::packing::Packing;
use crate::stream::placing::{Placing, Position};
use crate::timing::Timeline;

/// Longest time that a publisher with a good clock is left unread at once, whatever happens to the machine's clock.
const UNREAD: Duration = Duration::from_secs(1);
/// The path that all publish on.
const PATH: usize = 0;

/// What a publisher has while it publishes.
struct Publishing {
    generation: Generation,
    timeline: Arc<Mutex<Timeline>>,
    /// By kind.
    writers: [Option<(Packer, Placing)>; 2],
}

enum Phase {
    /// It waits for the answer since then; asks again at the second time.
    Asking(UnixNanos, i64),
    Publishing(Box<Publishing>),
    Gone,
}

/// A publisher and what the server has of it.
pub(super) struct Connection {
    index: usize,
    publisher: Publisher,
    ingest: Ingest,
    begins_at: i64,
    phase: Phase,
    unread_until: i64,
    asked: bool,
}

impl Connection {
    pub(super) fn new(index: usize, begins_at: i64, publisher: Publisher) -> Self {
        let phase = Phase::Asking(0, 0);
        Self { index, publisher, ingest: Ingest::new(), begins_at, phase, unread_until: 0, asked: false }
    }

    /// Whether it has sent in real time and told the truth so far.
    pub(super) fn is_honest(&self) -> bool {
        self.publisher.is_honest()
    }

    /// Lets the publisher send what is due, and the server read it.
    pub(super) fn turn(&mut self, server: &mut Server, numbers: &mut Numbers) {
        match &self.phase {
            Phase::Gone => {}
            Phase::Asking(since, again) => {
                if server.now >= self.begins_at && server.now >= *again {
                    let since = if self.asked { *since } else { server.wall() };
                    self.ask(server, since);
                }
            }
            Phase::Publishing(publishing) => {
                let generation = publishing.generation;
                if let Some(why) = server.lives[PATH].as_ref().map_or(Some("the stream has ended"), |life| life.core.must_go(generation)) {
                    return self.end(server, why);
                }
                let mut tags = Vec::new();
                loop {
                    let Some(at) = self.publisher.next_at() else { return self.end(server, "done") };
                    if at.max(self.unread_until) > server.now || !matches!(self.phase, Phase::Publishing(_)) {
                        break;
                    }
                    self.publisher.next(numbers, &mut tags);
                    for media in tags.drain(..) {
                        let mut actions = Vec::new();
                        self.ingest.handle(&media, &mut actions);
                        if !self.act(server, actions) {
                            return self.end(server, "it can't go on");
                        }
                    }
                }
            }
        }
    }

    fn ask(&mut self, server: &mut Server, since: UnixNanos) {
        let (time, at, index) = (server.time(), server.at(), self.index);
        server.open(PATH);
        let who = Newcomer { protocol: "rtmp", remote: None, agent: None, waiting_since: Some(since) };
        let mut heard = None;
        loop {
            let Some(life) = &mut server.lives[PATH] else { return };
            match life.core.begin(&who, life.last_media, heard, time) {
                Begin::Listen(generation, producers) => {
                    let speaks = producers.into_iter().any(|id| {
                        let stats = server.worker.producer_stats(at, server.router, id);
                        stats.is_ok_and(|stats| stats.bitrate > 0)
                    });
                    heard = Some(Heard { generation, speaks });
                }
                Begin::Begun(begun, actions) => {
                    life.last_media = time.wall;
                    let floor = begun.media_end.max(life.written_up_to);
                    server.restless = server.now;
                    life.ledger.honest &= self.publisher.is_honest();
                    self.phase = Phase::Publishing(Box::new(Publishing {
                        generation: begun.generation,
                        timeline: Arc::new(Mutex::new(Timeline::starting_after(floor))),
                        writers: [None, None],
                    }));
                    server.say(|| format!("publisher {index} publishes: {begun:?}"));
                    return server.carry_out(PATH, actions);
                }
                Begin::Hold(wait) => {
                    self.asked = true;
                    self.phase = Phase::Asking(since, server.now + wait.as_nanos() as i64);
                    return;
                }
                Begin::Refused => {
                    server.say(|| format!("publisher {index} is refused"));
                    self.phase = Phase::Gone;
                    return;
                }
                Begin::Ended => {
                    server.fail("a stream that has ended is still on the table".into());
                    return;
                }
            }
        }
    }

    /// As `rtmp/driver/publish.rs`. False where the publication can't go on.
    fn act(&mut self, server: &mut Server, actions: Vec<IngestAction>) -> bool {
        for action in actions {
            match action {
                IngestAction::Unit(kind, unit) => self.write(server, kind, unit),
                IngestAction::Format(format) => {
                    if !self.format(server, format) {
                        return false;
                    }
                }
                IngestAction::Warn(warning) => {
                    if let Some(life) = &mut server.lives[PATH] {
                        life.core.warn(warning);
                    }
                }
            }
        }
        true
    }

    fn write(&mut self, server: &mut Server, kind: MediaKind, mut unit: AccessUnit) {
        let (now, wall, at, index) = (server.now, server.wall(), server.at(), self.index);
        let Phase::Publishing(publishing) = &mut self.phase else { return };
        let (Some((packer, placing)), Some(life)) = (&mut publishing.writers[kind as usize], &mut server.lives[PATH]) else { return };
        let Position { facts, wait, end, reordered, long_gops: _, warnings } = placing.place(&mut unit, &packer.packing, wall);
        life.last_media = wall;
        life.written_up_to = life.written_up_to.max(end);
        if let Some(references) = reordered {
            life.core.set_reordered(publishing.generation, references);
        }
        for warning in warnings {
            life.core.warn(warning);
        }
        self.unread_until = self.unread_until.max(now + wait.as_nanos() as i64);
        if self.publisher.is_honest() && wait > UNREAD {
            life.ledger.broken.push(format!("publisher {index} is left unread for {wait:?}"));
        }
        let number = number_of(kind, &unit.data);
        if let Some(batch) = packer.packing.batch(&unit, facts) {
            server.worker.handle_batch(at, server.router, packer.producer, batch);
            packer.packing.taken();
            if let Some(number) = number {
                life.ledger.accepted(kind, number, unit.key);
            }
        }
        // A worker is woken for each batch.
        server.worker.flush(at, &mut server.readers);
    }

    /// As `stream/driver/publication.rs` and `writer.rs`.
    fn format(&mut self, server: &mut Server, format: Format) -> bool {
        let (time, at, kind, index) = (server.time(), server.at(), format.kind(), self.index);
        server.restless = server.now;
        server.say(|| format!("publisher {index}: {}", format.codec_string()));
        let Phase::Publishing(publishing) = &mut self.phase else { return false };
        let Some(life) = &mut server.lives[PATH] else { return false };
        if let Some((packer, _)) = &mut publishing.writers[kind as usize] {
            if format.codec() == packer.packing.codec() {
                packer.packing.formats().set_format(format.clone());
                life.core.set_format(publishing.generation, &format);
            }
            return true;
        }
        let packer = match life.core.unpark(publishing.generation, format.codec()) {
            Some(packer) => {
                packer.packing.formats().set_format(format.clone());
                packer
            }
            None => {
                let packing = Packing::new(format.clone(), &mut seeded(server.random.next()));
                let options = ProducerOptions { kind, rtp_parameters: packing.rtp_parameters("live/cam") };
                let Ok(producer) = server.worker.produce_direct(server.router, None, options) else { return false };
                Packer { producer, packing }
            }
        };
        let producer = packer.producer;
        let Replace::Begun(replacement, old) = life.core.replace(publishing.generation, kind) else {
            server.worker.close_producer(at, server.router, producer, &mut server.readers);
            return false;
        };
        let mut handed_over = None;
        if let Some(old) = old.filter(|old| old.producer != producer) {
            let same = old.format.codec() == format.codec();
            let worker = &mut server.worker;
            if same && worker.replace_producer(at, server.router, old.producer, producer, &mut server.readers).is_ok() {
                handed_over = Some(old.producer);
            } else {
                worker.close_producer(at, server.router, old.producer, &mut server.readers);
            }
        }
        let track = Track::new(format, producer);
        let Some(actions) = life.core.put(replacement, track, Some(packer.packing.formats().clone()), handed_over, time.at) else {
            server.worker.close_producer(at, server.router, producer, &mut server.readers);
            return false;
        };
        let track = crate::base::lock(&publishing.timeline).add_track();
        publishing.writers[kind as usize] = Some((packer, Placing::new(publishing.timeline.clone(), track)));
        server.carry_out(PATH, actions);
        true
    }

    /// The connection ends, and with it what it publishes.
    pub(super) fn end(&mut self, server: &mut Server, why: &str) {
        if !matches!(self.phase, Phase::Publishing(_)) {
            self.phase = Phase::Gone;
            return;
        }
        let mut actions = Vec::new();
        self.ingest.finish(&mut actions);
        self.act(server, actions);
        let index = self.index;
        server.say(|| format!("publisher {index} goes: {why}"));
        server.restless = server.now;
        let Phase::Publishing(publishing) = std::mem::replace(&mut self.phase, Phase::Gone) else { return };
        let time = server.time();
        let Some(life) = &mut server.lives[PATH] else { return };
        let actions = life.core.leave(publishing.generation, time);
        server.carry_out(PATH, actions);
        for (packer, _) in publishing.writers.into_iter().flatten() {
            let codec = packer.packing.codec();
            let left = match &mut server.lives[PATH] {
                Some(life) => life.core.park(publishing.generation, codec, packer),
                None => Some(packer),
            };
            if let Some(packer) = left {
                server.worker.close_producer(time.at, server.router, packer.producer, &mut server.readers);
            }
        }
    }
}
