//! One job: a pipeline, its inputs, and the cuts.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::output::Output;
use super::report::Reporter;
use super::sink::{Begun, Origin, Shared, Sink, UNSET, connect};
use crate::base::{MediaKind, UnixNanos, lock};
use crate::cmaf::SampleDefaults;
use crate::codec::Format;
use crate::pipeline::host::caps;
use crate::pipeline::host::intake::Intake;
use crate::pipeline::host::unit::{Placed, Split};
use crate::pipeline::wire::{Cutting, Failure, JobId, Join, Message, Start};
use crate::rtp::batch::RtpBatch;

/// More in front of a pipeline's first element means that it doesn't work any more: several seconds of the fattest stream.
const MAX_QUEUED: u64 = 32 << 20;

/// Most bytes in one chunk: 2 s, the longest part, of 64 Mbit/s. It has to fit a message to the parent. More comes of a publisher whose
/// time stands still.
const MAX_CHUNK: usize = 16 << 20;

/// Most units handed over in one piece: 2 s of 60 pictures a second, the longest part.
const MAX_PENDING: usize = 120;

struct Track {
    source: gst_app::AppSrc,
    sink: gst_app::AppSink,
    shared: Arc<Mutex<Shared>>,
    caps_set: bool,
    video: bool,
    /// Presentation time of the key frame whose GOP's earliest picture the muxer can't know yet.
    open: Option<i64>,
    /// Units of the chunk in work. The muxer gives nothing before a chunk is whole: handing it over in one piece instead of unit by
    /// unit costs no time and saves most of the thread switches.
    pending: gst::BufferList,
    /// Bytes in the chunk in work.
    chunk: usize,
    /// Decoding time of its newest unit as it came.
    given: Option<i64>,
}

/// A running job. Dropping it takes the pipeline down.
pub(super) struct Job {
    id: JobId,
    pipeline: gst::Pipeline,
    tracks: Vec<Track>,
    intake: Intake,
    cutting: Option<Cutting>,
    origin: Origin,
    output: Output,
    reporter: Reporter,
    stopped: bool,
    /// When the last packets were sent.
    sent: UnixNanos,
    placed: Vec<Placed>,
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

type Failed = Box<dyn std::error::Error>;

impl Job {
    /// Builds the pipeline and starts it.
    pub(super) fn start(id: JobId, start: Start, output: Output) -> Result<Self, Failed> {
        let element = gst::parse::launch(&start.description)?;
        let pipeline = element.downcast::<gst::Pipeline>().map_err(|_| "the template has only one element")?;
        let reporter = Reporter::new(output.clone(), id);
        watch_bus(&pipeline, id, output.clone(), reporter.clone())?;
        let mut job = Self {
            id,
            pipeline,
            tracks: Vec::with_capacity(start.inputs.len()),
            intake: Intake::new(start.inputs.clone(), start.cutting, start.reorder),
            cutting: start.cutting,
            origin: Arc::new(AtomicI64::new(UNSET)),
            output,
            reporter,
            stopped: false,
            sent: 0,
            placed: Vec::new(),
        };
        start.inputs.iter().try_for_each(|format| job.add_track(format))?;
        job.pipeline.set_state(gst::State::Playing)?;
        tracing::debug!(job = id, name = start.name, "pipeline started");
        Ok(job)
    }

    /// Another track, beside those that run.
    pub(super) fn join(&mut self, join: Join) -> Result<(), Failed> {
        if self.stopped {
            return Ok(());
        }
        let branch = gst::parse::bin_from_description(&join.description, false)?;
        self.pipeline.add(&branch)?;
        self.add_track(&join.format)?;
        self.intake.join(join.format);
        branch.sync_state_with_parent()?;
        Ok(())
    }

    fn add_track(&mut self, format: &Format) -> Result<(), Failed> {
        let index = self.tracks.len();
        let source = self
            .pipeline
            .by_name(&format!("in_{index}"))
            .and_then(|element| element.downcast::<gst_app::AppSrc>().ok())
            .ok_or_else(|| format!("the template has no appsrc named in_{index}"))?;
        source.set_format(gst::Format::Time);
        source.set_block(false);
        // 0 is without bound here: the bound is kept in `feed`, which knows what to do about it.
        source.set_max_bytes(0);
        watch_key_frame_requests(&source, self.id, index as u8, self.output.clone());
        let named = |name: &str| self.pipeline.by_name(&format!("{name}_{index}"));
        let (chunks, sink) = match (named("chunks"), named("units")) {
            (Some(element), _) => (true, element),
            (None, Some(element)) => (false, element),
            _ => return Err(format!("the template has no appsink named chunks_{index} or units_{index}").into()),
        };
        let sink = sink.downcast::<gst_app::AppSink>().map_err(|_| format!("chunks_{index} or units_{index} is no appsink"))?;
        sink.set_buffer_list(chunks);
        sink.set_sync(false);
        // Else nothing comes out of any track before each has something, which one that was announced may never have.
        sink.set_property("async", false);
        let shared = Arc::new(Mutex::new(Shared::default()));
        let taker = Sink {
            job: self.id,
            index: index as u8,
            output: self.output.clone(),
            reporter: self.reporter.clone(),
            origin: Arc::clone(&self.origin),
            shared: Arc::clone(&shared),
            defaults: SampleDefaults::default(),
            delay: 0,
            offset: sink.property("ts-offset"),
            format: None,
            broken: false,
        };
        connect(&sink, chunks, taker);
        self.tracks.push(Track {
            source,
            sink,
            shared,
            caps_set: false,
            video: format.kind() == MediaKind::Video,
            open: None,
            pending: gst::BufferList::new(),
            chunk: 0,
            given: None,
        });
        Ok(())
    }

    /// Takes RTP packets of one input that were sent at `sent`: how long sound has waited goes by that, and the time of packets that don't
    /// tell their own.
    pub(super) fn rtp(&mut self, index: usize, sent: UnixNanos, batch: &RtpBatch) {
        self.sent = sent;
        let ended = self.intake.push(sent, index, batch, &mut self.placed).err();
        self.feed_placed();
        for index in 0..self.tracks.len() {
            if self.intake.take_key_request(index) {
                let _ = self.output.send(Message::KeyFrameRequest(self.id, index as u8));
            }
        }
        if let Some(ended) = ended {
            self.reporter.failed(Failure::Discontinuity, self.intake.reorder(), ended.to_string());
        }
    }

    /// A viewer needs a key frame from an encoder.
    pub(super) fn force_key_frame(&self, output: usize) {
        if let Some(track) = self.tracks.get(output) {
            track.sink.send_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
    }

    /// Flushes what is inside, then reports `Eos`.
    pub(super) fn stop(&mut self) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        self.intake.finish(self.sent, &mut self.placed);
        self.feed_placed();
        for track in &mut self.tracks {
            if let Some(last) = lock(&track.shared).begun.back_mut() {
                last.given = track.given;
            }
            let _ = track.flush();
            let _ = track.source.end_of_stream();
        }
    }

    fn feed_placed(&mut self) {
        let mut placed = std::mem::take(&mut self.placed);
        for unit in placed.drain(..) {
            if let Err(error) = self.feed(unit) {
                self.intake.give_up();
                self.reporter.broken(&error.to_string());
            }
        }
        self.placed = placed;
    }

    fn feed(&mut self, placed: Placed) -> Result<(), Failed> {
        let Placed { track: index, split, unit } = placed;
        let origin = self.intake.origin(&unit);
        if self.origin.load(Ordering::Relaxed) == UNSET {
            self.origin.store(origin, Ordering::Relaxed);
        }
        let track = &mut self.tracks[index];
        if track.source.current_level_bytes() > MAX_QUEUED {
            return Err("the pipeline does not take its input".into());
        }
        track.chunk = if split == Split::None { track.chunk } else { 0 } + unit.data.len();
        if track.chunk > MAX_CHUNK && self.cutting.is_some() {
            return Err(format!("a chunk would have more than {MAX_CHUNK} bytes: does the publisher's time go on?").into());
        }
        let begins = !track.caps_set;
        if begins {
            let format = self.intake.format(index).ok_or("a unit of no input")?;
            track.source.set_caps(Some(&caps::caps(format)?));
            track.caps_set = true;
            let epoch = self.cutting.map_or(0, |cutting| cutting.epoch);
            let init = caps::track_init(format, index as u32, epoch);
            lock(&track.shared).init = Some(init);
        }
        if split != Split::None {
            let mut shared = lock(&track.shared);
            let segment = match split {
                Split::Segment(number) => number,
                _ => shared.begun.back().map_or(0, |begun| begun.segment),
            };
            let first = matches!(split, Split::Segment(_));
            if let Some(whole) = shared.begun.back_mut() {
                whole.given = track.given;
            }
            shared.begun.push_back(Begun { segment, first, independent: unit.key, dts: unit.dts - origin, given: None });
        }
        track.given = unit.source.or(track.given);
        if split != Split::None && !begins {
            track.flush()?;
            let split = gst::Structure::builder("FMP4MuxSplitNow").field("chunk", split == Split::Chunk).build();
            track.source.send_event(gst::event::CustomDownstream::new(split));
        }
        let (unit_key, unit_pts, unit_dts) = (unit.key, unit.pts, unit.dts);
        let mut buffer = gst::Buffer::from_slice(unit.data);
        if let Some(buffer) = buffer.get_mut() {
            let time = |time: i64| u64::try_from(time - origin).ok().map(gst::ClockTime::from_nseconds);
            buffer.set_pts(time(unit.pts));
            buffer.set_dts(time(unit.dts));
            if unit.duration > 0 {
                buffer.set_duration(gst::ClockTime::from_nseconds(unit.duration as u64));
            }
            if !unit.key {
                buffer.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
        }
        if unit_key && track.video {
            track.open = Some(unit_pts);
        }
        // The muxer puts out the end of a GOP once it knows that nothing of the next one is shown earlier than its key frame.
        let open = track.open.is_some();
        if !unit_key && track.open.is_some_and(|key| unit_dts >= key) {
            track.open = None;
        }
        if split == Split::None && !open && self.cutting.is_some() {
            track.pending.make_mut().add(buffer);
            if track.pending.len() >= MAX_PENDING {
                track.flush()?;
            }
        } else {
            // The first unit of a chunk completes the chunk before it.
            track.flush()?;
            track.source.push_buffer(buffer)?;
        }
        Ok(())
    }
}

impl Track {
    fn flush(&mut self) -> Result<(), gst::FlowError> {
        if !self.pending.is_empty() {
            self.source.push_buffer_list(std::mem::replace(&mut self.pending, gst::BufferList::new()))?;
        }
        Ok(())
    }
}

/// Errors and the end are reported from whatever thread they happen on; the parent then has the job removed.
fn watch_bus(pipeline: &gst::Pipeline, job: JobId, output: Output, reporter: Reporter) -> Result<(), Failed> {
    let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::Error(error) => {
                let place = error.src().map(|element| element.name().to_string()).unwrap_or_default();
                reporter.broken(&format!("{place}: {}", error.error()));
            }
            gst::MessageView::Eos(_) => {
                let _ = output.send(Message::Eos(job));
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
    Ok(())
}

/// A decoder that lost its reference pictures asks upstream for a key frame; upstream is the publisher.
fn watch_key_frame_requests(source: &gst_app::AppSrc, job: JobId, input: u8, output: Output) {
    let Some(pad) = source.static_pad("src") else { return };
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        if let Some(gst::PadProbeData::Event(event)) = &info.data
            && gst_video::ForceKeyUnitEvent::is(event)
        {
            let _ = output.send(Message::KeyFrameRequest(job, input));
            return gst::PadProbeReturn::Drop;
        }
        gst::PadProbeReturn::Ok
    });
}
