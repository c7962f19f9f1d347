//! What the server has of one publication.
//!
//! In: a publisher's tags. Out: what a stream's tracks are written. The glue is that of `rtmp/driver/publish.rs` and of `stream/driver`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::core::Packer;
use super::faults::Plant;
use super::publisher::number_of;
use super::server::Server;
use crate::base::{MediaKind, UnixNanos, seeded};
use crate::codec::{AccessUnit, Format};
use crate::rtmp::amf0::Value;
use crate::rtmp::ingest::{Action as IngestAction, Ingest};
use crate::rtmp::session::MediaMessage;
use crate::sfu::types::ProducerOptions;
use crate::stream::Track;
use crate::stream::core::{Begin, Generation, Heard, LastMedia, Newcomer, Replace};
use crate::stream::packing::Packing;
use crate::stream::placing::{Placing, Position};
use crate::timing::Timeline;

/// Longest time that a publisher with a good clock is left unread at once, whatever happens to the machine's clock.
const UNREAD: Duration = Duration::from_secs(1);

/// Who publishes where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who {
    /// Its number in the script.
    pub index: usize,
    /// The number of its path.
    pub path: usize,
    /// It sends in real time and tells the truth.
    pub honest: bool,
    /// When it came, if it would rather wait than be refused.
    pub since: Option<UnixNanos>,
}

/// What a stream's core says to somebody who wants to publish.
pub(super) enum Answer {
    Begun(Box<Publication>),
    /// Ask again after so long.
    Hold(Duration),
    Refused,
}

/// One publication.
pub(super) struct Publication {
    who: Who,
    generation: Generation,
    timeline: Arc<Mutex<Timeline>>,
    ingest: Ingest,
    /// By kind.
    writers: [Option<(Packer, Placing)>; 2],
}

impl Publication {
    /// Asks for the place of the publisher.
    pub(super) fn ask(server: &mut Server, who: Who) -> Answer {
        let (time, at, Who { index, path, honest, since }) = (server.time(), server.at(), who);
        server.open(path);
        let newcomer = Newcomer { protocol: "rtmp", remote: None, agent: None, waiting_since: since };
        let mut heard = None;
        loop {
            let Some(life) = &mut server.lives[path] else { return Answer::Refused };
            match life.core.begin(&newcomer, LastMedia { at: life.last_media, by_reader: false }, heard, time) {
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
                    life.ledger.honest &= honest;
                    let generation = begun.generation;
                    let timeline = Arc::new(Mutex::new(Timeline::starting_after(floor)));
                    server.say(|| format!("publisher {index} publishes: {begun:?}"));
                    server.carry_out(path, actions);
                    return Answer::Begun(Box::new(Self { who, generation, timeline, ingest: Ingest::new(), writers: [None, None] }));
                }
                Begin::Hold(wait) => return Answer::Hold(wait),
                Begin::Refused => {
                    server.say(|| format!("publisher {index} is refused"));
                    return Answer::Refused;
                }
                Begin::Ended => {
                    server.fail("a stream that has ended is still on the table".into());
                    return Answer::Refused;
                }
            }
        }
    }

    /// Why it must go, if it must.
    pub(super) fn must_go(&self, server: &Server) -> Option<&'static str> {
        server.lives[self.who.path].as_ref().map_or(Some("the stream has ended"), |life| life.core.must_go(self.generation))
    }

    /// Takes a tag. Says how long to leave the peer unread; `None` where the publication can't go on. `honest`: it has told the truth so
    /// far.
    pub(super) fn handle(&mut self, server: &mut Server, media: &MediaMessage, honest: bool) -> Option<Duration> {
        self.who.honest = honest;
        let mut actions = Vec::new();
        self.ingest.handle(media, server.time().wall, &mut actions);
        self.act(server, actions)
    }

    /// Takes what the publisher says of itself.
    pub(super) fn metadata(&mut self, server: &mut Server, metadata: &Value) {
        let mut actions = Vec::new();
        self.ingest.metadata(metadata, &mut actions);
        self.act(server, actions);
    }

    fn act(&mut self, server: &mut Server, actions: Vec<IngestAction>) -> Option<Duration> {
        let mut wait = Duration::ZERO;
        for action in actions {
            match action {
                IngestAction::Unit(kind, unit) => wait = wait.max(self.write(server, kind, unit)),
                IngestAction::Format(format) => {
                    if !self.format(server, format) {
                        return None;
                    }
                }
                IngestAction::Warn(warning) => {
                    if let Some(life) = &mut server.lives[self.who.path] {
                        life.core.warn(warning);
                    }
                }
            }
        }
        Some(wait)
    }

    fn write(&mut self, server: &mut Server, kind: MediaKind, mut unit: AccessUnit) -> Duration {
        let (wall, at, Who { index, path, honest, .. }) = (server.wall(), server.at(), self.who);
        let none = Duration::ZERO;
        let (Some((packer, placing)), Some(life)) = (&mut self.writers[kind as usize], &mut server.lives[path]) else { return none };
        let drift = if server.plant == Some(Plant::Drift) { server.now / 8 } else { 0 };
        let Position { facts, wait, end, reordered, long_gops: _, warnings } = placing.place(&mut unit, &packer.packing, wall + drift);
        life.last_media = wall;
        life.written_up_to = life.written_up_to.max(end);
        if let Some(references) = reordered {
            life.core.set_reordered(self.generation, references);
        }
        for warning in warnings {
            life.core.warn(warning);
        }
        if honest && wait > UNREAD {
            life.ledger.broken.push(format!("publisher {index} is left unread for {wait:?}"));
        }
        if facts.key && packer.packing.formats().awaits_key() {
            life.core.change_at_key(self.generation);
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
        wait
    }

    /// As `stream/driver/publication.rs` and `writer.rs`.
    fn format(&mut self, server: &mut Server, format: Format) -> bool {
        let (time, at, kind, index) = (server.time(), server.at(), format.kind(), self.who.index);
        let path = self.who.path;
        server.restless = server.now;
        server.say(|| format!("publisher {index}: {}", format.codec_string()));
        let Some(life) = &mut server.lives[path] else { return false };
        if let Some((packer, _)) = &mut self.writers[kind as usize] {
            if format.codec() == packer.packing.codec() {
                packer.packing.formats().set_format(format.clone());
                life.core.set_format(self.generation, &format);
            }
            return true;
        }
        let packer = match life.core.unpark(self.generation, format.codec()) {
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
        let Replace::Begun(replacement, old) = life.core.replace(self.generation, kind) else {
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
        let track = crate::base::lock(&self.timeline).add_track();
        self.writers[kind as usize] = Some((packer, Placing::new(self.timeline.clone(), track)));
        server.carry_out(path, actions);
        true
    }

    /// It is over: writes what waited to become whole.
    pub(super) fn end(mut self, server: &mut Server, why: &str) {
        let mut actions = Vec::new();
        self.ingest.finish(&mut actions);
        self.act(server, actions);
        let Who { index, path, .. } = self.who;
        server.say(|| format!("publisher {index} goes: {why}"));
        server.restless = server.now;
        let time = server.time();
        let Some(life) = &mut server.lives[path] else { return };
        let actions = life.core.leave(self.generation, time);
        server.carry_out(path, actions);
        for (packer, _) in self.writers.into_iter().flatten() {
            let codec = packer.packing.codec();
            let left = match &mut server.lives[path] {
                Some(life) => life.core.park(self.generation, codec, packer),
                None => Some(packer),
            };
            if let Some(packer) = left {
                server.worker.close_producer(time.at, server.router, packer.producer, &mut server.readers);
            }
        }
    }
}
