//! The server and everything around it, at one virtual time.
//!
//! Long because it is one noun: whatever it holds is touched in every turn.
//!
//! In: a script. Out: what is broken. The glue is that of the drivers: `rtmp/driver/publish.rs`, `stream/driver`, `app/segmenters.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::faults::{Script, Trouble};
use super::invariants::{Ledger, Reason};
use super::publisher::{Numbers, Publisher, number_of};
use super::random::Random;
use super::segmenter::{Around, Readers, Segmenter};
use super::viewer::Viewer;
use super::{MS, SECOND};
use crate::base::{MediaKind, Now, UnixNanos, Wall, seeded};
use crate::cmaf::Targets;
use crate::codec::{AccessUnit, Format};
use crate::package::{PackageConfig, Window};
use crate::pipeline::SegmenterEvent;
use crate::rtmp::ingest::{Action as IngestAction, Ingest};
use crate::sfu::peer::Certificate;
use crate::sfu::types::{ProducerOptions, Reading};
use crate::sfu::worker::{Event as WorkerEvent, Worker};
use crate::sfu::{ProducerId, RouterId, SfuConfig};
use crate::stream::core::{Action, Begin, Event, Generation, Heard, Newcomer, Replace, Rules, StreamCore};
use crate::stream::packing::Packing;
use crate::stream::placing::{Placing, Position};
use crate::stream::{BFrames, LongGops, Track};
use crate::timing::Timeline;

/// The turn of the world.
const TICK: i64 = 10 * MS;
/// Longest time that a publisher with a good clock is left unread at once, whatever happens to the machine's clock.
const UNREAD: Duration = Duration::from_secs(1);
/// Where the wall clock stands at the beginning.
const EPOCH: UnixNanos = 1_800_000_000 * SECOND;

/// A track's writer without its handle: what is parked while nobody publishes.
#[derive(Debug)]
pub(super) struct Packer {
    pub producer: ProducerId,
    pub packing: Packing,
}

pub(super) type Core = StreamCore<Packer, ()>;

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

struct Connection {
    publisher: Publisher,
    ingest: Ingest,
    begins_at: i64,
    phase: Phase,
    unread_until: i64,
    asked: bool,
}

/// One stream, from its first track to its end.
struct Life {
    core: Core,
    last_media: UnixNanos,
    written_up_to: UnixNanos,
    window: Window,
    window_bytes: usize,
    segmenter: Segmenter,
    ledger: Ledger,
    timescales: BTreeMap<(u32, u32), u32>,
}

/// Everything.
pub(super) struct World {
    now: i64,
    targets: Targets,
    parts_fit: bool,
    t0: Instant,
    wall: Wall,
    /// By how much the machine's wall clock was set.
    wall_step: i64,
    worker: Worker,
    router: RouterId,
    readers: Readers,
    script: Script,
    random: Random,
    connections: Vec<Connection>,
    life: Option<Life>,
    viewers: Vec<Viewer>,
    viewers_left: u64,
    numbers: Numbers,
    restless: i64,
    verbose: bool,
    pub broken: Vec<String>,
    pub counts: BTreeMap<String, u64>,
}

fn certificate() -> Certificate {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    CERTIFICATE.get_or_init(|| Certificate::generate().unwrap()).clone()
}

#[allow(clippy::disallowed_methods)] // The virtual clock has to begin somewhere.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

impl World {
    pub(super) fn new(seed: u64, verbose: bool) -> Self {
        let mut random = Random::new(seed);
        let mut script = Script::new(&mut random);
        let t0 = start();
        let wall = Wall::new(Now { at: t0, wall: EPOCH });
        let mut worker = Worker::new(0, SfuConfig::default(), certificate(), wall.clone(), seeded(seed));
        let router = worker.create_router();
        let duration = |time: i64| Duration::from_nanos(time as u64);
        let targets = Targets::new(duration(script.segment), duration(script.part));
        let parts_fit = script.fits(targets.part_target());
        let mut connections = Vec::new();
        for (begins_at, plan) in std::mem::take(&mut script.publishers) {
            if verbose {
                eprintln!("{begins_at:>12} publisher {}: {plan:?}", connections.len());
            }
            connections.push(Connection {
                publisher: Publisher::new(plan, begins_at, random.fork()),
                ingest: Ingest::new(),
                begins_at,
                phase: Phase::Asking(0, 0),
                unread_until: 0,
                asked: false,
            });
        }
        if verbose {
            eprintln!("{script:?}");
        }
        Self {
            now: 0,
            targets,
            parts_fit,
            t0,
            wall,
            wall_step: 0,
            worker,
            router,
            readers: Readers::default(),
            viewers_left: script.viewers,
            script,
            random,
            connections,
            life: None,
            viewers: Vec::new(),
            numbers: Numbers::default(),
            restless: 0,
            verbose,
            broken: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("{:>12} {}", self.now, what());
        }
    }

    fn at(&self) -> Instant {
        self.t0 + Duration::from_nanos(self.now as u64)
    }

    fn wall(&self) -> UnixNanos {
        self.wall.of(self.at())
    }

    fn time(&self) -> Now {
        Now { at: self.at(), wall: self.wall() }
    }

    fn fail(&mut self, what: String) {
        self.say(|| format!("BROKEN: {what}"));
        if self.broken.len() < 20 {
            self.broken.push(format!("{} ms: {what}", self.now / MS));
        }
    }

    /// Lives until the script is over.
    pub(super) fn run(&mut self) {
        let end = self.script.lasts;
        while self.now < end && self.broken.is_empty() {
            self.step();
        }
        for index in 0..self.connections.len() {
            self.end_connection(index, "the simulation is over");
        }
        if let Some(life) = &mut self.life {
            let actions = life.core.end();
            self.carry_out(actions);
        }
        self.step();
        if self.broken.is_empty() && (self.readers.len() > 0 && self.viewers.is_empty()) {
            self.fail(format!("{} readers are left", self.readers.len()));
        }
    }

    fn step(&mut self) {
        self.now += TICK;
        self.troubles();
        // As `app/clock.rs`.
        if self.now % SECOND == 0 {
            self.wall.observe(self.at(), EPOCH + self.now + self.wall_step, self.life.is_some());
        }
        for index in 0..self.connections.len() {
            self.connection(index);
        }
        let at = self.at();
        self.worker.flush(at, &mut self.readers);
        self.worker.handle_timeout(at, &mut self.readers);
        self.worker_events();
        if let Some(life) = &mut self.life
            && life.core.poll_timeout().is_some_and(|due| due <= at)
        {
            let actions = life.core.handle_timeout(at);
            self.carry_out(actions);
        }
        self.segment();
        self.view();
        self.check();
    }

    fn worker_events(&mut self) {
        while let Some(event) = self.worker.poll_event() {
            match event {
                WorkerEvent::ConsumerClosed(id) => self.readers.closed(id),
                WorkerEvent::KeyFrameWanted(..) => *self.counts.entry("key frames wanted".into()).or_default() += 1,
                _ => {}
            }
        }
    }

    fn troubles(&mut self) {
        while let Some((_, trouble)) = self.script.troubles.first().copied().filter(|(at, _)| *at <= self.now) {
            self.script.troubles.remove(0);
            self.say(|| format!("{trouble:?}"));
            match trouble {
                // No trouble for anybody: the clock's rule sees to it.
                Trouble::WallStep(by) => self.wall_step += by,
                Trouble::Evict => {
                    if let Some(life) = &mut self.life {
                        life.core.evict("ended by the operator");
                    }
                }
                Trouble::KillChild | Trouble::Late(_) => self.hurt_segmenter(trouble),
            }
        }
    }

    fn hurt_segmenter(&mut self, trouble: Trouble) {
        let (now, at, wall) = (self.now, self.at(), self.wall());
        let Some(life) = &mut self.life else { return };
        self.restless = now;
        match trouble {
            Trouble::Late(time) => {
                life.segmenter.late_until = now + time;
                life.ledger.excused.get_or_insert(Reason::ReaderTooLate);
            }
            _ => {
                let mut around = Around { now, at, wall, worker: &mut self.worker, router: self.router, readers: &mut self.readers };
                if life.segmenter.kill(&mut around) {
                    life.ledger.excused = Some(Reason::LostWithChild);
                }
            }
        }
    }

    // Publishers.

    fn connection(&mut self, index: usize) {
        let connection = &self.connections[index];
        match &connection.phase {
            Phase::Gone => {}
            Phase::Asking(since, again) => {
                if self.now >= connection.begins_at && self.now >= *again {
                    let since = if connection.asked { *since } else { self.wall() };
                    self.ask(index, since);
                }
            }
            Phase::Publishing(publishing) => {
                let generation = publishing.generation;
                if let Some(why) = self.life.as_ref().map_or(Some("the stream has ended"), |life| life.core.must_go(generation)) {
                    return self.end_connection(index, why);
                }
                let mut tags = Vec::new();
                loop {
                    let connection = &mut self.connections[index];
                    let Some(at) = connection.publisher.next_at() else { return self.end_connection(index, "done") };
                    if at.max(connection.unread_until) > self.now || !matches!(connection.phase, Phase::Publishing(_)) {
                        break;
                    }
                    connection.publisher.next(&mut self.numbers, &mut tags);
                    for media in tags.drain(..) {
                        let mut actions = Vec::new();
                        self.connections[index].ingest.handle(&media, &mut actions);
                        if !self.act(index, actions) {
                            return self.end_connection(index, "it can't go on");
                        }
                    }
                }
            }
        }
    }

    fn ask(&mut self, index: usize, since: UnixNanos) {
        let (time, at) = (self.time(), self.at());
        if self.life.is_none() {
            self.life = Some(self.new_life());
        }
        let who = Newcomer { protocol: "rtmp", remote: None, agent: None, waiting_since: Some(since) };
        let mut heard = None;
        loop {
            let Some(life) = &mut self.life else { return };
            match life.core.begin(&who, life.last_media, heard, time) {
                Begin::Listen(generation, producers) => {
                    let speaks = producers.into_iter().any(|id| {
                        let stats = self.worker.producer_stats(at, self.router, id);
                        stats.is_ok_and(|stats| stats.bitrate > 0)
                    });
                    heard = Some(Heard { generation, speaks });
                }
                Begin::Begun(begun, actions) => {
                    life.last_media = time.wall;
                    let floor = begun.media_end.max(life.written_up_to);
                    self.restless = self.now;
                    let connection = &mut self.connections[index];
                    life.ledger.honest &= connection.publisher.is_honest();
                    connection.phase = Phase::Publishing(Box::new(Publishing {
                        generation: begun.generation,
                        timeline: Arc::new(Mutex::new(Timeline::starting_after(floor))),
                        writers: [None, None],
                    }));
                    self.say(|| format!("publisher {index} publishes: {begun:?}"));
                    return self.carry_out(actions);
                }
                Begin::Hold(wait) => {
                    let connection = &mut self.connections[index];
                    connection.asked = true;
                    connection.phase = Phase::Asking(since, self.now + wait.as_nanos() as i64);
                    return;
                }
                Begin::Refused => {
                    self.say(|| format!("publisher {index} is refused"));
                    self.connections[index].phase = Phase::Gone;
                    return;
                }
                Begin::Ended => {
                    self.fail("a stream that has ended is still on the table".into());
                    return;
                }
            }
        }
    }

    fn new_life(&self) -> Life {
        let rules = Rules {
            on_conflict: self.script.on_conflict,
            takeover_silence: Duration::from_secs(2),
            reconnect_window: Duration::from_secs(10),
            b_frames: BFrames::Drop,
            long_gops: LongGops::Keep,
        };
        let config = PackageConfig { max_bytes: self.script.window_bytes, ..Default::default() };
        Life {
            core: StreamCore::new(rules),
            last_media: self.wall(),
            written_up_to: i64::MIN,
            window: Window::new(&config, self.targets, self.wall()),
            window_bytes: self.script.window_bytes,
            segmenter: Segmenter::new(self.script.segment, self.script.part),
            ledger: Ledger::new(self.targets, self.parts_fit),
            timescales: BTreeMap::new(),
        }
    }

    /// As `rtmp/driver/publish.rs`. False where the publication can't go on.
    fn act(&mut self, index: usize, actions: Vec<IngestAction>) -> bool {
        for action in actions {
            match action {
                IngestAction::Unit(kind, unit) => self.write(index, kind, unit),
                IngestAction::Format(format) => {
                    if !self.format(index, format) {
                        return false;
                    }
                }
                IngestAction::Warn(warning) => {
                    if let Some(life) = &mut self.life {
                        life.core.warn(warning);
                    }
                }
            }
        }
        true
    }

    fn write(&mut self, index: usize, kind: MediaKind, mut unit: AccessUnit) {
        let (now, wall, at) = (self.now, self.wall(), self.at());
        let connection = &mut self.connections[index];
        let Phase::Publishing(publishing) = &mut connection.phase else { return };
        let (Some((packer, placing)), Some(life)) = (&mut publishing.writers[kind as usize], &mut self.life) else { return };
        let Position { facts, wait, end, reordered, long_gops: _, warnings } = placing.place(&mut unit, &packer.packing, wall);
        life.last_media = wall;
        life.written_up_to = life.written_up_to.max(end);
        if let Some(references) = reordered {
            life.core.set_reordered(publishing.generation, references);
        }
        for warning in warnings {
            life.core.warn(warning);
        }
        connection.unread_until = connection.unread_until.max(now + wait.as_nanos() as i64);
        if connection.publisher.is_honest() && wait > UNREAD {
            life.ledger.broken.push(format!("publisher {index} is left unread for {wait:?}"));
        }
        let number = number_of(kind, &unit.data);
        if let Some(batch) = packer.packing.batch(&unit, facts) {
            self.worker.handle_batch(at, self.router, packer.producer, batch);
            packer.packing.taken();
            if let Some(number) = number {
                life.ledger.accepted(kind, number, unit.key);
            }
        }
        // A worker is woken for each batch.
        self.worker.flush(at, &mut self.readers);
    }

    /// As `stream/driver/publication.rs` and `writer.rs`.
    fn format(&mut self, index: usize, format: Format) -> bool {
        let (time, at, kind) = (self.time(), self.at(), format.kind());
        self.restless = self.now;
        self.say(|| format!("publisher {index}: {}", format.codec_string()));
        let Phase::Publishing(publishing) = &mut self.connections[index].phase else { return false };
        let Some(life) = &mut self.life else { return false };
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
                let packing = Packing::new(format.clone(), &mut seeded(self.random.next()));
                let options = ProducerOptions { kind, rtp_parameters: packing.rtp_parameters("live/cam") };
                let Ok(producer) = self.worker.produce_direct(self.router, None, options) else { return false };
                Packer { producer, packing }
            }
        };
        let producer = packer.producer;
        let Replace::Begun(replacement, old) = life.core.replace(publishing.generation, kind) else {
            self.worker.close_producer(at, self.router, producer, &mut self.readers);
            return false;
        };
        let mut handed_over = None;
        if let Some(old) = old.filter(|old| old.producer != producer) {
            let same = old.format.codec() == format.codec();
            if same && self.worker.replace_producer(at, self.router, old.producer, producer, &mut self.readers).is_ok() {
                handed_over = Some(old.producer);
            } else {
                self.worker.close_producer(at, self.router, old.producer, &mut self.readers);
            }
        }
        let track = Track::new(format, producer);
        let Some(actions) = life.core.put(replacement, track, Some(packer.packing.formats().clone()), handed_over, time.at) else {
            self.worker.close_producer(at, self.router, producer, &mut self.readers);
            return false;
        };
        let track = crate::base::lock(&publishing.timeline).add_track();
        publishing.writers[kind as usize] = Some((packer, Placing::new(publishing.timeline.clone(), track)));
        self.carry_out(actions);
        true
    }

    fn end_connection(&mut self, index: usize, why: &str) {
        if !matches!(self.connections[index].phase, Phase::Publishing(_)) {
            self.connections[index].phase = Phase::Gone;
            return;
        }
        let mut actions = Vec::new();
        self.connections[index].ingest.finish(&mut actions);
        self.act(index, actions);
        self.say(|| format!("publisher {index} goes: {why}"));
        self.restless = self.now;
        let Phase::Publishing(publishing) = std::mem::replace(&mut self.connections[index].phase, Phase::Gone) else { return };
        let time = self.time();
        let Some(life) = &mut self.life else { return };
        let actions = life.core.leave(publishing.generation, time);
        self.carry_out(actions);
        for (packer, _) in publishing.writers.into_iter().flatten() {
            let codec = packer.packing.codec();
            let left = match &mut self.life {
                Some(life) => life.core.park(publishing.generation, codec, packer),
                None => Some(packer),
            };
            if let Some(packer) = left {
                self.worker.close_producer(time.at, self.router, packer.producer, &mut self.readers);
            }
        }
    }

    fn carry_out(&mut self, actions: Vec<Action<Packer, ()>>) {
        let at = self.at();
        for action in actions {
            match action {
                Action::Close(producer) => self.worker.close_producer(at, self.router, producer, &mut self.readers),
                Action::Release(packer) => self.worker.close_producer(at, self.router, packer.producer, &mut self.readers),
                Action::Stop(..) | Action::Abort(()) => {}
                Action::Tell(Event::Ended { had_started }) => {
                    self.worker_events();
                    self.end_life(had_started);
                }
                Action::Tell(event) => self.say(|| format!("{event:?}")),
            }
        }
    }

    // What comes out.

    fn segment(&mut self) {
        let (now, at, wall) = (self.now, self.at(), self.wall());
        let Some(life) = &mut self.life else { return };
        if !life.core.has_started() {
            return;
        }
        let mut around = Around { now, at, wall, worker: &mut self.worker, router: self.router, readers: &mut self.readers };
        let mut events = Vec::new();
        life.segmenter.step(&mut life.core, &mut around, &mut events);
        if life.segmenter.is_reading() {
            life.ledger.reads();
        }
        self.take(events);
    }

    fn take(&mut self, events: Vec<SegmenterEvent>) {
        for event in events {
            match &event {
                SegmenterEvent::Chunk(chunk) => self.say(|| {
                    let length = chunk.duration;
                    format!(
                        "chunk {} e{} s{} first {} last {} {length} ticks at {}",
                        chunk.track,
                        chunk.epoch,
                        chunk.segment,
                        chunk.first,
                        chunk.last,
                        (chunk.wallclock - EPOCH) / MS
                    )
                }),
                SegmenterEvent::Init(init) => self.say(|| format!("init of {} in epoch {}: {}", init.track, init.epoch, init.codec_string)),
                SegmenterEvent::End => {}
            }
            let Some(life) = &mut self.life else { return };
            match event {
                SegmenterEvent::Init(init) => {
                    life.timescales.insert((init.track, init.epoch), init.timescale);
                    life.window.init(init);
                }
                SegmenterEvent::Chunk(chunk) => {
                    let timescale = life.timescales.get(&(chunk.track, chunk.epoch)).copied().unwrap_or(0);
                    life.ledger.chunk(&chunk, timescale);
                    life.window.chunk(chunk);
                    if life.window.dropped() > 0 {
                        life.ledger.broken.push("the window left a chunk out".into());
                    }
                }
                SegmenterEvent::End => life.window.end(),
            }
        }
        self.look_at_broken();
    }

    fn look_at_broken(&mut self) {
        let Some(life) = &mut self.life else { return };
        let mut broken = std::mem::take(&mut life.ledger.broken);
        broken.append(&mut life.segmenter.broken);
        broken.into_iter().for_each(|what| self.fail(what));
    }

    fn end_life(&mut self, had_started: bool) {
        let (now, at, wall) = (self.now, self.at(), self.wall());
        if had_started {
            let mut events = Vec::new();
            if let Some(life) = &mut self.life {
                let mut around = Around { now, at, wall, worker: &mut self.worker, router: self.router, readers: &mut self.readers };
                life.segmenter.end(&mut around, &mut events);
            }
            self.take(events);
        }
        if let Some(life) = &mut self.life {
            life.ledger.playlists(&life.window, wall);
        }
        self.look_at_broken();
        if let Some(life) = self.life.take() {
            let [recorded, accepted] = life.ledger.count();
            *self.counts.entry("accepted".into()).or_default() += accepted as u64;
            *self.counts.entry("passed".into()).or_default() += recorded as u64;
            *self.counts.entry("epochs".into()).or_default() += life.segmenter.rebuilds;
            for ((kind, reason), count) in &life.ledger.reasons {
                *self.counts.entry(format!("{kind} {reason:?}")).or_default() += count;
            }
            if life.core.held() != [0; 3] {
                self.fail(format!("an ended stream holds {:?}", life.core.held()));
            }
        }
        self.say(|| "the stream has ended".into());
    }

    fn view(&mut self) {
        let (now, at) = (self.now, self.at());
        let mut broken = Vec::new();
        let mut gone = Vec::new();
        self.viewers.retain_mut(|viewer| {
            let stays = viewer.read(now, &mut broken) && now < viewer.leaves_at;
            if !stays {
                gone.push(viewer.id);
            }
            stays
        });
        gone.into_iter().for_each(|id| self.readers.close(&mut self.worker, id));
        broken.into_iter().for_each(|what| self.fail(what));
        let Some(life) = &self.life else { return };
        if self.viewers_left > 0 && self.random.chance(1) {
            let tracks: Vec<Track> = life.core.tracks().cloned().collect();
            if tracks.is_empty() {
                return;
            }
            self.viewers_left -= 1;
            let track = &tracks[self.random.next() as usize % tracks.len()];
            let leaves_at = now + self.random.range(SECOND, 20 * SECOND);
            if let Some((id, reader)) = self.readers.open(at, &mut self.worker, (self.router, track.producer), Reading::Live) {
                let mut viewer = Viewer::new(id, reader, track.kind, leaves_at);
                if !self.script.clean && self.random.chance(20) {
                    viewer.asleep_until = now + self.random.range(SECOND, 10 * SECOND);
                }
                self.viewers.push(viewer);
            }
        }
    }

    fn check(&mut self) {
        let (now, wall) = (self.now, self.wall());
        let Some(life) = &mut self.life else { return };
        if now % (400 * MS) == 0 {
            life.ledger.playlists(&life.window, wall);
        }
        if now % SECOND == 0 {
            let quiet = now - self.restless > 10 * SECOND && life.core.publisher().is_some();
            let strict = quiet && self.script.clean && life.ledger.honest && self.connections.iter().all(|c| c.publisher.is_honest());
            life.ledger.busy();
            life.ledger.live_edge(life.core.tracks().map(|track| track.kind), wall, strict);
            let held: usize = life.window.snapshot().tracks.iter().flat_map(|track| &track.segments).map(|segment| segment.bytes()).sum();
            // At most four segments a track stay, however large.
            if held > life.window_bytes * 2 + 100_000 {
                life.ledger.broken.push(format!("the window holds {held} bytes of {}", life.window_bytes));
            }
            if life.core.warnings().len() > 32 || life.core.held()[0] > 2 || life.core.held()[2] > 2 {
                life.ledger.broken.push(format!("too much is held: {:?}, {} warnings", life.core.held(), life.core.warnings().len()));
            }
            let empty = life.ledger.busy_seconds > 10;
            let late = life.segmenter.late_until > now - 10 * SECOND;
            if empty && quiet && !late && life.core.warnings().is_empty() {
                life.ledger.broken.push("for 10 s media came, and nothing was made of it, and nobody was told".into());
            }
        }
        self.look_at_broken();
    }
}
