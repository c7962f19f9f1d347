//! The segmenter without its child: inputs and cuts as a job has them, and a stand-in for the muxer.
//!
//! In: a stream's core, a worker's batches, time. Out: what the segmenter's takers get. The glue is that of `pipeline/segmenter` and
//! `pipeline/host/job.rs`, with a muxer of its own.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use super::MS;
use super::core::Core;
use super::muxer::Mux;
use crate::base::{MediaKind, UnixNanos, lock};
use crate::codec::Format;
use crate::pipeline::format_span::FormatSpan;
use crate::pipeline::host::caps;
use crate::pipeline::host::intake::Intake;
use crate::pipeline::host::unit::{Placed, Split};
use crate::pipeline::segmenter::bridge::{Bridge, Conversion};
use crate::pipeline::segmenter::{Continuity, EpochEnd};
use crate::pipeline::{RtpSource, SegmenterEvent};
use crate::rtp::batch::RtpBatch;
use crate::sfu::outbox::{Outbox, Readiness};
use crate::sfu::peer::Tuple;
use crate::sfu::types::Reading;
use crate::sfu::worker::Worker;
use crate::sfu::{ConsumerId, ProducerId, RouterId};
use crate::stream::{FormatHistory, Generation, Warning};

/// As `sfu/driver/router.rs` has it.
const READER_QUEUE: usize = 128;
const ROUND: i64 = 40 * MS;
const RETRY_FIRST: i64 = 100 * MS;
const RETRY_MAX: i64 = 5_000 * MS;
/// Four epochs at once and then one every 2 s: so many begin at most within so long.
const MOST: usize = 9;
const WITHIN: i64 = 10_000 * MS;

/// A reader's queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    batches: VecDeque<RtpBatch>,
    /// A viewer's, and how many batches it was sent.
    live: bool,
    sent: u64,
    closed: bool,
}

/// One end of a queue.
#[derive(Debug, Clone, Default)]
pub(super) struct Reader(pub Arc<Mutex<Queue>>);

impl RtpSource for Reader {
    async fn recv(&mut self) -> Option<RtpBatch> {
        let (batch, closed) = {
            let mut queue = lock(&self.0);
            (queue.batches.pop_front(), queue.closed)
        };
        match batch {
            None if !closed => std::future::pending().await,
            batch => batch,
        }
    }

    fn request_key_frame(&self) {}
}

/// The worker's way to its readers.
#[derive(Debug)]
pub(super) struct Readers {
    all: HashMap<ConsumerId, Reader>,
    /// Viewers aren't sent everything.
    loses: bool,
}

impl Readers {
    pub(super) fn new(loses: bool) -> Self {
        Self { all: HashMap::new(), loses }
    }

    /// Reads a producer.
    pub(super) fn open(
        &mut self,
        now: Instant,
        worker: &mut Worker,
        of: (RouterId, ProducerId),
        reading: Reading,
    ) -> Option<(ConsumerId, Reader)> {
        let made = worker.consume_batches(of.0, of.1, reading).ok()?;
        let reader = Reader::default();
        lock(&reader.0).live = reading == Reading::Live;
        self.all.insert(made, reader.clone());
        worker.start_batches(now, made, self);
        Some((made, reader))
    }

    pub(super) fn close(&mut self, worker: &mut Worker, id: ConsumerId) {
        self.closed(id);
        worker.close_consumer(id, self);
    }

    /// The worker says that one is gone.
    pub(super) fn closed(&mut self, id: ConsumerId) {
        if let Some(reader) = self.all.remove(&id) {
            lock(&reader.0).closed = true;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

impl Outbox for Readers {
    fn datagram(&mut self, _: &Tuple, _: usize, _: impl FnOnce(&mut [u8]) -> usize) {}

    fn readiness(&mut self, id: ConsumerId) -> Readiness {
        match self.all.get(&id) {
            None => Readiness::Gone,
            Some(reader) if lock(&reader.0).batches.len() >= READER_QUEUE => Readiness::Full,
            Some(_) => Readiness::Ready,
        }
    }

    fn deliver(&mut self, id: ConsumerId, batch: RtpBatch) {
        if let Some(reader) = self.all.get(&id) {
            let mut queue = lock(&reader.0);
            queue.sent += 1;
            if !(self.loses && queue.live && queue.sent == 5) {
                queue.batches.push_back(batch);
            }
        }
    }
}

type Signature = Vec<(MediaKind, ProducerId, Format)>;

fn signature(core: &Core) -> Signature {
    core.tracks().map(|track| (track.kind, track.producer, track.format.clone())).collect()
}

struct Job {
    publisher: Generation,
    signature: Signature,
    formats: Vec<FormatHistory>,
    change: u64,
    consumers: Vec<ConsumerId>,
    sources: Vec<Bridge<Reader>>,
    intake: Intake,
    epoch: u32,
    muxes: Vec<Mux>,
    origin: i64,
    over: bool,
    broken: Option<String>,
}

impl Job {
    fn rtp(&mut self, index: usize, batch: &RtpBatch, wall: UnixNanos, out: &mut Vec<SegmenterEvent>) {
        let mut placed = Vec::new();
        self.over |= self.intake.push(wall, index, batch, &mut placed).is_err();
        self.intake.take_key_request(index);
        placed.into_iter().for_each(|unit| self.feed(unit, out));
    }

    fn feed(&mut self, placed: Placed, out: &mut Vec<SegmenterEvent>) {
        let Placed { track, split, unit } = placed;
        let origin = self.intake.origin(&unit);
        self.origin = origin;
        if unit.dts < origin || unit.pts < origin {
            self.broken = Some(format!("a unit of track {track} lies {} ms before its job's beginning", (origin - unit.dts) / MS));
        }
        let mux = &mut self.muxes[track];
        if let Some(format) = self.intake.format(track).filter(|_| !mux.has_init()) {
            mux.set_init(caps::track_init(format, track as u32, self.epoch), format.clone());
        }
        if split != Split::None || mux.segment().is_none() {
            let before = mux.segment().unwrap_or(0);
            let first = matches!(split, Split::Segment(_));
            mux.close(origin, Some(unit.dts), first, self.epoch, out);
            let segment = if let Split::Segment(number) = split { number } else { before };
            mux.begin(segment, first, unit.key);
        }
        mux.push(&unit);
    }

    /// What the presentation learns of events, and the numbers of their tracks.
    fn note(&self, continuity: &mut Continuity, events: &mut [SegmenterEvent]) {
        for event in events {
            match event {
                SegmenterEvent::Init(init) => init.track = continuity.number_of(init.track),
                SegmenterEvent::Chunk(chunk) => {
                    continuity.chunk(chunk, self.muxes.get(chunk.track as usize).map_or(i64::MIN, |mux| mux.given));
                    chunk.track = continuity.number_of(chunk.track);
                }
                SegmenterEvent::End => {}
            }
        }
    }

    /// Flushes.
    fn stop(&mut self, wall: UnixNanos, out: &mut Vec<SegmenterEvent>) {
        let mut placed = Vec::new();
        self.intake.finish(wall, &mut placed);
        placed.into_iter().for_each(|unit| self.feed(unit, out));
        for mux in &mut self.muxes {
            mux.close(self.origin, None, true, self.epoch, out);
        }
    }
}

/// Makes the chunks of one stream.
#[derive(Default)]
pub(super) struct Segmenter {
    continuity: Continuity,
    job: Option<Job>,
    segment: i64,
    part: i64,
    /// The publisher whose media went through a job to its end.
    served: Option<Generation>,
    ready_at: i64,
    pause: i64,
    next_round: i64,
    pub late_until: i64,
    /// Epochs that began, by why the one before ended.
    pub rebuilds: u64,
    /// When those began that were not begun for a child that died.
    begun: Vec<i64>,
    pub broken: Vec<String>,
}

/// What the segmenter works with.
pub(super) struct Around<'a> {
    pub now: i64,
    pub at: Instant,
    pub wall: UnixNanos,
    pub worker: &'a mut Worker,
    pub router: RouterId,
    pub readers: &'a mut Readers,
}

impl Segmenter {
    pub(super) fn new(segment: i64, part: i64) -> Self {
        Self { segment, part, pause: RETRY_FIRST, ..Self::default() }
    }

    /// Whether a job has begun.
    pub(super) fn is_reading(&self) -> bool {
        self.job.is_some()
    }

    /// One turn of its loop.
    pub(super) fn step(&mut self, core: &mut Core, around: &mut Around<'_>, out: &mut Vec<SegmenterEvent>) {
        if around.now < self.late_until {
            return;
        }
        let Some(job) = &self.job else { return self.begin(core, around) };
        if core.publisher().is_none() {
            let publisher = job.publisher;
            if self.rebuild(EpochEnd::Left, around, out) == EpochEnd::Left {
                self.served = Some(publisher);
            }
            return;
        }
        // Spans end by themselves where formats change.
        if !signature(core).iter().map(|track| track.1).eq(job.signature.iter().map(|track| track.1)) {
            self.rebuild(EpochEnd::Rebuild, around, out);
            return;
        }
        if around.now < self.next_round {
            return;
        }
        self.next_round = around.now + ROUND;
        if self.carry(around.wall, out) {
            self.rebuild(EpochEnd::Rebuild, around, out);
        }
    }

    /// Carries over what has come. True where the epoch is over.
    fn carry(&mut self, wall: UnixNanos, out: &mut Vec<SegmenterEvent>) -> bool {
        let Some(job) = &mut self.job else { return false };
        let mut over = false;
        let begin = out.len();
        for index in 0..job.sources.len() {
            while let Some(batch) = job.sources[index].recv().now_or_never() {
                let Some(batch) = batch else {
                    over = true;
                    break;
                };
                job.rtp(index, &batch, wall, out);
            }
        }
        over |= job.over;
        job.note(&mut self.continuity, &mut out[begin..]);
        over
    }

    fn rebuild(&mut self, end: EpochEnd, around: &mut Around<'_>, out: &mut Vec<SegmenterEvent>) -> EpochEnd {
        self.carry(around.wall, out);
        let Some(mut job) = self.job.take() else { return end };
        let end = self.continuity.end(end, &job.formats, job.change);
        let begin = out.len();
        job.stop(around.wall, out);
        job.note(&mut self.continuity, &mut out[begin..]);
        self.end_epoch(job, around);
        self.ready_at = around.now + self.continuity.wait(around.at).as_nanos() as i64;
        self.note_begin();
        self.pause = RETRY_FIRST;
        end
    }

    /// Another epoch begins; how soon, has a bound.
    fn note_begin(&mut self) {
        if let Some(before) = self.begun.len().checked_sub(MOST).map(|at| self.begun[at])
            && self.ready_at - before < WITHIN
        {
            self.broken.push(format!("{} epochs begin within {} ms", MOST + 1, (self.ready_at - before) / MS));
        }
        self.begun.push(self.ready_at);
    }

    fn end_epoch(&mut self, job: Job, around: &mut Around<'_>) {
        self.continuity.reorder = self.continuity.reorder.max(job.intake.reorder());
        self.broken.extend(job.broken);
        for consumer in job.consumers {
            around.readers.close(around.worker, consumer);
        }
        if job.muxes.iter().any(|mux| mux.told) {
            self.continuity.epoch += 1;
        }
        self.rebuilds += 1;
    }

    /// The child dies with all that is inside.
    pub(super) fn kill(&mut self, around: &mut Around<'_>) -> bool {
        let Some(job) = self.job.take() else { return false };
        self.end_epoch(job, around);
        self.ready_at = around.now + self.pause;
        self.pause = RETRY_MAX.min(self.pause * 2);
        true
    }

    /// The stream is over.
    pub(super) fn end(&mut self, around: &mut Around<'_>, out: &mut Vec<SegmenterEvent>) {
        self.rebuild(EpochEnd::Ended, around, out);
        out.push(SegmenterEvent::End);
    }

    fn begin(&mut self, core: &mut Core, around: &mut Around<'_>) {
        let waits = core.publisher().is_some() || self.served != Some(core.generation());
        let ready = waits && core.tracks().next().is_some() && around.now >= self.ready_at;
        if !ready || (self.continuity.next_segment == 0 && core.settling(around.at).is_some()) {
            return;
        }
        let signature = signature(core);
        let histories: Vec<FormatHistory> = signature.iter().filter_map(|(_, producer, _)| core.formats(*producer).cloned()).collect();
        let (change, _) = self.continuity.next_change(&histories);
        let (mut consumers, mut sources, mut formats) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, producer, format) in &signature {
            let history = core.formats(*producer).cloned();
            let Some((id, reader)) = around.readers.open(around.at, around.worker, (around.router, *producer), Reading::Recent) else {
                core.warn(Warning { code: "simulation", message: format!("no {kind} to read") });
                continue;
            };
            consumers.push(id);
            let span = FormatSpan::at(reader, history, change);
            let format = span.format().unwrap_or_else(|| format.clone());
            sources.push(match kind {
                MediaKind::Video => Bridge::pictures(span),
                MediaKind::Audio => Bridge::sound(span, format.clone(), Box::new(|_, _| Conversion::Never), Default::default()),
            });
            formats.push(format);
        }
        let duration = |time: i64| Duration::from_nanos(time as u64);
        let cutting = self.continuity.begin(duration(self.segment), duration(self.part), &formats);
        self.job = Some(Job {
            publisher: core.generation(),
            signature,
            formats: histories,
            change,
            consumers,
            sources,
            epoch: cutting.epoch,
            muxes: formats.iter().map(Mux::new).collect(),
            intake: Intake::new(formats, Some(cutting), self.continuity.reorder),
            origin: 0,
            over: false,
            broken: None,
        });
        self.next_round = around.now;
    }
}
