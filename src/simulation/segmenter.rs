//! The segmenter without its child: inputs and cuts as a job has them, and a stand-in for the muxer.
//!
//! In: a stream's core, a worker's batches, time. Out: what the segmenter's takers get. The glue is that of `pipeline/segmenter` and
//! `pipeline/host/job.rs`; the muxer's boxes are left out, and a chunk's bytes say which units are in it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use super::MS;
use super::core::Core;
use super::publisher::number_of;
use crate::base::{MediaKind, UnixNanos, lock, rescale};
use crate::cmaf::{Chunk, TrackInit};
use crate::codec::Format;
use crate::pipeline::format_span::FormatSpan;
use crate::pipeline::host::caps;
use crate::pipeline::host::intake::Intake;
use crate::pipeline::host::unit::{Placed, Split};
use crate::pipeline::segmenter::Continuity;
use crate::pipeline::{RtpSource, SegmenterEvent};
use crate::rtp::batch::RtpBatch;
use crate::sfu::outbox::{Outbox, Readiness};
use crate::sfu::peer::Tuple;
use crate::sfu::types::Reading;
use crate::sfu::worker::Worker;
use crate::sfu::{ConsumerId, ProducerId, RouterId};
use crate::stream::{Generation, Warning};

/// As `sfu/driver/router.rs` has it.
const READER_QUEUE: usize = 128;
const ROUND: i64 = 40 * MS;
const RETRY_FIRST: i64 = 100 * MS;
const RETRY_MAX: i64 = 5_000 * MS;

/// A reader's queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    batches: VecDeque<RtpBatch>,
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
#[derive(Debug, Default)]
pub(super) struct Readers(HashMap<ConsumerId, Reader>);

impl Readers {
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
        self.0.insert(made, reader.clone());
        worker.start_batches(now, made, self);
        Some((made, reader))
    }

    pub(super) fn close(&mut self, worker: &mut Worker, id: ConsumerId) {
        self.closed(id);
        worker.close_consumer(id, self);
    }

    /// The worker says that one is gone.
    pub(super) fn closed(&mut self, id: ConsumerId) {
        if let Some(reader) = self.0.remove(&id) {
            lock(&reader.0).closed = true;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Outbox for Readers {
    fn datagram(&mut self, _: &Tuple, _: usize, _: impl FnOnce(&mut [u8]) -> usize) {}

    fn readiness(&mut self, id: ConsumerId) -> Readiness {
        match self.0.get(&id) {
            None => Readiness::Gone,
            Some(reader) if lock(&reader.0).batches.len() >= READER_QUEUE => Readiness::Full,
            Some(_) => Readiness::Ready,
        }
    }

    fn deliver(&mut self, id: ConsumerId, batch: RtpBatch) {
        if let Some(reader) = self.0.get(&id) {
            lock(&reader.0).batches.push_back(batch);
        }
    }
}

/// What stands in a chunk instead of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// `None`: the server made it.
    pub number: Option<u64>,
    pub pts: UnixNanos,
    pub dts: UnixNanos,
    pub key: bool,
}

/// The samples of a chunk.
pub(super) fn samples(chunk: &Chunk) -> Vec<Sample> {
    let word = |bytes: &[u8], at: usize| bytes[at..at + 8].try_into().map_or(0, i64::from_be_bytes);
    let sample =
        |bytes: &[u8]| Sample { number: u64::try_from(word(bytes, 0)).ok(), pts: word(bytes, 8), dts: word(bytes, 16), key: bytes[24] > 0 };
    chunk.data.chunks_exact(25).map(sample).collect()
}

/// A chunk in work.
#[derive(Debug)]
struct Open {
    segment: u64,
    first: bool,
    independent: bool,
    samples: Vec<Sample>,
    /// What the last sample says of its own duration.
    last_duration: i64,
}

/// One track's muxer.
#[derive(Debug)]
struct Mux {
    kind: MediaKind,
    timescale: u32,
    open: Option<Open>,
    init: Option<TrackInit>,
    told: bool,
    /// How much later than it is decoded the first picture is shown, in ticks: `tfdt` is the decoding time plus that.
    delay: Option<i64>,
    /// Decoding time, as it came, of the newest unit, and of the last one in a chunk that went out.
    newest: Option<i64>,
    given: i64,
}

impl Mux {
    fn ticks(&self, origin: i64, time: i64) -> i64 {
        rescale(time - origin, 1_000_000_000, self.timescale)
    }

    /// Ends the chunk in work at the decoding time `end`.
    fn close(&mut self, origin: i64, end: Option<i64>, next_first: bool, epoch: u32, out: &mut Vec<SegmenterEvent>) {
        let Some(open) = self.open.take() else { return };
        let (Some(first), Some(last)) = (open.samples.first(), open.samples.last()) else { return };
        if !std::mem::replace(&mut self.told, true) {
            out.extend(self.init.clone().map(SegmenterEvent::Init));
        }
        self.given = self.newest.unwrap_or(self.given);
        let begin = self.ticks(origin, first.dts);
        let end = self.ticks(origin, end.unwrap_or(last.dts + open.last_duration));
        let earliest = open.samples.iter().map(|sample| sample.pts).min().unwrap_or(first.pts);
        let delay = self.ticks(origin, earliest) - begin;
        let shown = begin + *self.delay.get_or_insert(delay);
        let mut data = Vec::new();
        for sample in &open.samples {
            for word in [sample.number.map_or(-1, |number| number as i64), sample.pts, sample.dts] {
                data.extend(word.to_be_bytes());
            }
            data.push(u8::from(sample.key));
        }
        out.push(SegmenterEvent::Chunk(Chunk {
            track: self.init.as_ref().map_or(0, |init| init.track),
            epoch,
            segment: open.segment,
            first: open.first,
            last: next_first,
            independent: open.independent,
            presentation_time: shown.max(0) as u64,
            duration: (end - begin).max(0) as u64,
            wallclock: origin + rescale(shown, self.timescale, 1_000_000_000),
            data: data.into(),
        }));
    }
}

type Signature = Vec<(MediaKind, ProducerId, Format)>;

fn signature(core: &Core) -> Signature {
    core.tracks().map(|track| (track.kind, track.producer, track.format.clone())).collect()
}

/// One job.
struct Job {
    publisher: Generation,
    signature: Signature,
    consumers: Vec<ConsumerId>,
    sources: Vec<FormatSpan<Reader>>,
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
        if mux.init.is_none() {
            mux.init = self.intake.format(track).map(|format| caps::track_init(format, track as u32, self.epoch));
        }
        if split != Split::None || mux.open.is_none() {
            let before = mux.open.as_ref().map_or(0, |open| open.segment);
            let first = matches!(split, Split::Segment(_));
            mux.close(origin, Some(unit.dts), first, self.epoch, out);
            let segment = if let Split::Segment(number) = split { number } else { before };
            mux.open = Some(Open { segment, first, independent: unit.key, samples: Vec::new(), last_duration: 0 });
        }
        let Some(open) = &mut mux.open else { return };
        open.last_duration = unit.duration;
        mux.newest = unit.source.or(mux.newest);
        open.samples.push(Sample { number: number_of(mux.kind, &unit.data), pts: unit.pts, dts: unit.dts, key: unit.key });
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

    /// Lets out what is inside.
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
            self.served = Some(job.publisher);
            return self.rebuild(around, out);
        }
        if signature(core) != job.signature {
            return self.rebuild(around, out);
        }
        if around.now < self.next_round {
            return;
        }
        self.next_round = around.now + ROUND;
        if self.carry(around.wall, out) {
            self.rebuild(around, out);
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

    fn rebuild(&mut self, around: &mut Around<'_>, out: &mut Vec<SegmenterEvent>) {
        self.carry(around.wall, out);
        let Some(mut job) = self.job.take() else { return };
        let begin = out.len();
        job.stop(around.wall, out);
        job.note(&mut self.continuity, &mut out[begin..]);
        self.end_epoch(job, around);
        self.ready_at = around.now;
        self.pause = RETRY_FIRST;
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
        self.rebuild(around, out);
        out.push(SegmenterEvent::End);
    }

    fn begin(&mut self, core: &mut Core, around: &mut Around<'_>) {
        let waits = core.publisher().is_some() || self.served != Some(core.generation());
        let ready = waits && core.tracks().next().is_some() && around.now >= self.ready_at;
        if !ready || (self.continuity.next_segment == 0 && core.settling(around.at).is_some()) {
            return;
        }
        let signature = signature(core);
        let (mut consumers, mut sources, mut formats) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, producer, format) in &signature {
            let history = core.formats(*producer).cloned();
            let Some((id, reader)) = around.readers.open(around.at, around.worker, (around.router, *producer), Reading::Recent) else {
                core.warn(Warning { code: "simulation", message: format!("no {kind} to read") });
                continue;
            };
            consumers.push(id);
            sources.push(FormatSpan::current(reader, history));
            formats.push(format.clone());
        }
        let duration = |time: i64| Duration::from_nanos(time as u64);
        let cutting = self.continuity.begin(duration(self.segment), duration(self.part), &formats);
        let mux = |format: &Format| Mux {
            kind: format.kind(),
            timescale: format.clock_rate(),
            open: None,
            init: None,
            told: false,
            delay: None,
            newest: None,
            given: i64::MIN,
        };
        self.job = Some(Job {
            publisher: core.generation(),
            signature,
            consumers,
            sources,
            epoch: cutting.epoch,
            muxes: formats.iter().map(mux).collect(),
            intake: Intake::new(formats, Some(cutting), self.continuity.reorder),
            origin: 0,
            over: false,
            broken: None,
        });
        self.next_round = around.now;
    }
}
