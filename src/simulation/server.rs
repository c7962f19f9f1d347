//! The server at one virtual time: its clock, the SFU's worker, and the streams with their segmenters and windows.
//!
//! In: time, and what connections and viewers do. Out: what is broken. The glue is that of `stream/driver` and `app/segmenters.rs`.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::core::{Core, Packer};
use super::faults::{Plant, Script, Trouble};
use super::invariants::{Ledger, Reason};
use super::muxer::samples;
use super::random::Random;
use super::recording::Recording;
use super::segmenter::{Around, Readers, Segmenter};
use super::{MS, SECOND};
use crate::base::{Budget, Now, UnixNanos, Wall, seeded};
use crate::cmaf::Targets;
use crate::package::{Left, Memory, PackageConfig, Window};
use crate::pipeline::SegmenterEvent;
use crate::sfu::peer::Certificate;
use crate::sfu::worker::{Event as WorkerEvent, Worker};
use crate::sfu::{RouterId, SfuConfig};
use crate::stream::core::{Action, Event, Rules, StreamCore};
use crate::stream::{BFrames, LongGops, OnConflict};

/// Where the wall clock stands at the beginning.
const EPOCH: UnixNanos = 1_800_000_000 * SECOND;

/// One stream, from its first publisher to its end.
pub(super) struct Life {
    pub core: Core,
    pub last_media: UnixNanos,
    pub written_up_to: UnixNanos,
    pub ledger: Ledger,
    window: Window,
    /// The window had no memory for a chunk.
    cramped: bool,
    recording: Option<Recording>,
    segmenter: Segmenter,
    timescales: BTreeMap<(u32, u32), u32>,
}

/// What is set for the whole life of a server.
#[derive(Debug, Clone, Copy)]
struct Settings {
    targets: Targets,
    parts_fit: bool,
    segment: i64,
    part: i64,
    window_bytes: usize,
    on_conflict: OnConflict,
    records: bool,
    crashes: bool,
}

/// What all streams and connections share.
pub(super) struct Server {
    pub now: i64,
    pub worker: Worker,
    pub router: RouterId,
    pub readers: Readers,
    pub random: Random,
    pub plant: Option<Plant>,
    /// By the number of the path.
    pub lives: Vec<Option<Life>>,
    /// When something last happened after which media needs time to settle.
    pub restless: i64,
    pub broken: Vec<String>,
    pub counts: BTreeMap<String, u64>,
    settings: Settings,
    t0: Instant,
    wall: Wall,
    /// By how much the machine's wall clock was set.
    pub wall_step: i64,
    verbose: bool,
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

impl Server {
    pub(super) fn new(seed: u64, script: &Script, random: Random, verbose: bool) -> Self {
        let t0 = start();
        let wall = Wall::new(Now { at: t0, wall: EPOCH });
        let mut worker = Worker::new(0, SfuConfig::default(), certificate(), wall.clone(), seeded(seed));
        let router = worker.create_router();
        let duration = |time: i64| Duration::from_nanos(time as u64);
        let targets = Targets::new(duration(script.segment), duration(script.part));
        let settings = Settings {
            targets,
            parts_fit: script.fits(targets.part_target()),
            segment: script.segment,
            part: script.part,
            window_bytes: script.window_bytes,
            on_conflict: script.on_conflict,
            records: script.records,
            crashes: script.crash_at.is_some(),
        };
        Self {
            now: 0,
            worker,
            router,
            readers: Readers::new(script.plant == Some(Plant::LostPackets)),
            random,
            plant: script.plant,
            lives: if script.other.is_some() { vec![None, None] } else { vec![None] },
            restless: 0,
            broken: Vec::new(),
            counts: BTreeMap::new(),
            settings,
            t0,
            wall,
            wall_step: 0,
            verbose,
        }
    }

    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("{:>12} {}", self.now, what());
        }
    }

    pub(super) fn at(&self) -> Instant {
        self.t0 + Duration::from_nanos(self.now as u64)
    }

    pub(super) fn wall(&self) -> UnixNanos {
        self.wall.of(self.at())
    }

    pub(super) fn time(&self) -> Now {
        Now { at: self.at(), wall: self.wall() }
    }

    pub(super) fn fail(&mut self, what: String) {
        self.say(|| format!("BROKEN: {what}"));
        if self.broken.len() < 20 {
            self.broken.push(format!("{} ms: {what}", self.now / MS));
        }
    }

    /// As `app/clock.rs`, once a second.
    pub(super) fn look_at_the_clock(&mut self) {
        if self.now % SECOND == 0 {
            self.wall.observe(self.at(), EPOCH + self.now + self.wall_step, self.lives.iter().any(Option::is_some));
        }
    }

    /// Sends what waits, and lets time pass for the worker and the streams.
    pub(super) fn turn(&mut self) {
        let at = self.at();
        self.worker.flush(at, &mut self.readers);
        self.worker.handle_timeout(at, &mut self.readers);
        self.worker_events();
        for path in 0..self.lives.len() {
            if let Some(life) = &mut self.lives[path]
                && life.core.poll_timeout().is_some_and(|due| due <= at)
            {
                let actions = life.core.handle_timeout(at);
                self.carry_out(path, actions);
            }
            self.segment(path);
        }
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

    pub(super) fn hurt_segmenter(&mut self, path: usize, trouble: Trouble) {
        let (now, at, wall) = (self.now, self.at(), self.wall());
        let Some(life) = &mut self.lives[path] else { return };
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

    /// The stream on this path, which begins with this where there is none.
    pub(super) fn open(&mut self, path: usize) {
        if self.lives[path].is_some() {
            return;
        }
        let (settings, wall) = (self.settings, self.wall());
        let rules = Rules {
            on_conflict: settings.on_conflict,
            takeover_silence: Duration::from_secs(2),
            reconnect_window: Duration::from_secs(10),
            b_frames: BFrames::Drop,
            long_gops: LongGops::Keep,
        };
        let config = PackageConfig { max_bytes: settings.window_bytes, ..Default::default() };
        let memory = Memory { share: Budget::new(settings.window_bytes, 0).share(), left: Left::new(usize::MAX) };
        self.lives[path] = Some(Life {
            core: StreamCore::new(rules),
            last_media: wall,
            written_up_to: i64::MIN,
            window: Window::new(&config, settings.targets, wall, 0, memory),
            cramped: false,
            recording: settings.records.then(|| {
                let twice = self.plant == Some(Plant::RecordedTwice);
                Recording::new(settings.targets, &mut self.random, settings.crashes, twice)
            }),
            segmenter: Segmenter::new(settings.segment, settings.part),
            ledger: Ledger::new(settings.targets, settings.parts_fit, self.plant == Some(Plant::OtherTarget)),
            timescales: BTreeMap::new(),
        });
    }

    /// Does what a stream's core wants done.
    pub(super) fn carry_out(&mut self, path: usize, actions: Vec<Action<Packer, ()>>) {
        let at = self.at();
        for action in actions {
            match action {
                Action::Close(producer) => self.worker.close_producer(at, self.router, producer, &mut self.readers),
                Action::Release(packer) => self.worker.close_producer(at, self.router, packer.producer, &mut self.readers),
                Action::Stop(..) | Action::Abort(()) => {}
                Action::Tell(Event::Ended { had_started }) => {
                    self.worker_events();
                    self.end_life(path, had_started);
                }
                Action::Tell(event) => self.say(|| format!("{event:?}")),
            }
        }
    }

    fn segment(&mut self, path: usize) {
        let (now, at, wall) = (self.now, self.at(), self.wall());
        let Some(life) = &mut self.lives[path] else { return };
        if !life.core.has_started() {
            return;
        }
        let mut around = Around { now, at, wall, worker: &mut self.worker, router: self.router, readers: &mut self.readers };
        let mut events = Vec::new();
        life.segmenter.step(&mut life.core, &mut around, &mut events);
        if life.segmenter.is_reading() {
            life.ledger.reads();
        }
        self.take(path, events);
    }

    fn take(&mut self, path: usize, events: Vec<SegmenterEvent>) {
        for event in events {
            match &event {
                SegmenterEvent::Chunk(chunk) => self.say(|| {
                    let (length, at) = (chunk.duration, (chunk.wallclock - EPOCH) / MS);
                    let place = format!("chunk {} e{} s{}", chunk.track, chunk.epoch, chunk.segment);
                    format!("{place} first {} last {} {length} ticks at {at}", chunk.first, chunk.last)
                }),
                SegmenterEvent::Init(init) => self.say(|| format!("init of {} in epoch {}: {}", init.track, init.epoch, init.codec_string)),
                SegmenterEvent::End => {}
            }
            let wall = self.wall();
            let Some(life) = &mut self.lives[path] else { return };
            let inside = if let SegmenterEvent::Chunk(chunk) = &event { samples(&chunk.data) } else { Some(Vec::new()) };
            let Some(inside) = inside else {
                life.ledger.broken.push("a chunk can't be read".into());
                continue;
            };
            if let Some(recording) = &mut life.recording {
                recording.handle(&event, &inside, wall);
            }
            match event {
                SegmenterEvent::Init(init) => {
                    life.timescales.insert((init.track, init.epoch), init.timescale);
                    life.window.init(init);
                }
                SegmenterEvent::Chunk(chunk) => {
                    let timescale = life.timescales.get(&(chunk.track, chunk.epoch)).copied().unwrap_or(0);
                    life.ledger.chunk(&chunk, &inside, timescale);
                    let lost = self.plant == Some(Plant::LostPart) && chunk.segment == 3 && !chunk.first && !chunk.last;
                    let (track, left_out) = (chunk.track, life.window.dropped());
                    if !lost {
                        let needed = life.window.held() + chunk.data.len();
                        life.cramped |= !life.window.chunk(chunk) && needed > self.settings.window_bytes;
                    }
                    match life.window.dropped() > left_out {
                        true if life.cramped => life.ledger.left_out(track),
                        true => life.ledger.broken.push("the window left a chunk out".into()),
                        false => {}
                    }
                }
                SegmenterEvent::End => life.window.end(),
            }
        }
        self.look_at_broken(path);
    }

    fn look_at_broken(&mut self, path: usize) {
        let Some(life) = &mut self.lives[path] else { return };
        let mut broken = std::mem::take(&mut life.ledger.broken);
        broken.append(&mut life.segmenter.broken);
        broken.into_iter().for_each(|what| self.fail(what));
    }

    fn end_life(&mut self, path: usize, had_started: bool) {
        let (now, at, wall) = (self.now, self.at(), self.wall());
        if had_started {
            let mut events = Vec::new();
            if let Some(life) = &mut self.lives[path] {
                let mut around = Around { now, at, wall, worker: &mut self.worker, router: self.router, readers: &mut self.readers };
                life.segmenter.end(&mut around, &mut events);
            }
            self.take(path, events);
        }
        if let Some(life) = &mut self.lives[path] {
            life.ledger.playlists(&life.window, wall);
        }
        self.look_at_broken(path);
        if let Some(life) = self.lives[path].take() {
            let mut broken = Vec::new();
            if let Some(recording) = life.recording {
                *self.counts.entry("recorded".into()).or_default() += recording.count() as u64;
                recording.end(wall, &mut broken);
            }
            broken.into_iter().for_each(|what| self.fail(what));
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

    /// The machine dies for a moment: what would be left of the recordings?
    pub(super) fn crash(&mut self) {
        let wall = self.wall();
        for path in 0..self.lives.len() {
            let Some(life) = &mut self.lives[path] else { continue };
            if let Some(recording) = &life.recording {
                recording.crash(&mut self.random, wall, &mut life.ledger.broken);
            }
            self.look_at_broken(path);
        }
    }

    /// What holds now and then. `strict`: everybody sends in real time and tells the truth.
    pub(super) fn check(&mut self, path: usize, strict: bool) {
        let (now, wall, window_bytes) = (self.now, self.wall(), self.settings.window_bytes);
        let Some(life) = &mut self.lives[path] else { return };
        if now % (400 * MS) == 0 {
            life.ledger.playlists(&life.window, wall);
        }
        if now % SECOND == 0 {
            let quiet = now - self.restless > 10 * SECOND && life.core.publisher().is_some();
            let strict = strict && quiet && life.ledger.honest;
            life.ledger.busy();
            life.ledger.live_edge(life.core.tracks().map(|track| track.kind), wall, strict);
            let held: usize = life.window.snapshot().tracks.iter().flat_map(|track| &track.segments).map(|segment| segment.bytes()).sum();
            if held > window_bytes {
                life.ledger.broken.push(format!("the window holds {held} bytes of {window_bytes}"));
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
        self.look_at_broken(path);
    }
}
