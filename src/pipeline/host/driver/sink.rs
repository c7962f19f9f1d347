//! What comes out of a job's pipelines: buffer lists of cmafmux become chunks, buffers of encoders become units.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::output::Output;
use super::report::Reporter;
use crate::base::{lock, rescale};
use crate::cmaf::{Chunk, SampleDefaults, TrackInit, add_edit_list, chunk_times, read_init, set_brand, shift_times};
use crate::codec::Format;
use crate::pipeline::host::caps::format_of;
use crate::pipeline::wire::{JobId, Message};

/// The wall clock time at running time 0 of a job; [`UNSET`] before the first unit.
pub(super) type Origin = Arc<AtomicI64>;
/// No unit has come yet.
pub(super) const UNSET: i64 = i64::MIN;

/// What is known of a chunk when its first unit goes into the muxer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub segment: u64,
    pub first: bool,
    /// Begins with a sync sample.
    pub independent: bool,
    /// Decoding time of its first unit, in ns of running time.
    pub(crate) dts: i64,
    /// Decoding time of its last unit as it came, once the chunk is whole.
    pub(crate) given: Option<i64>,
}

/// Shared between the thread that feeds a track and the one that takes its chunks.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Chunks whose first unit has gone in and that have not come out, oldest first. Bounded by what the muxer holds: it gives out
    /// each when the next one begins.
    pub begun: VecDeque<Begun>,
    /// What the track's initialization says.
    pub init: Option<TrackInit>,
}

/// Takes what comes out of one output.
#[derive(Debug)]
pub(super) struct Sink {
    pub job: JobId,
    pub index: u8,
    pub output: Output,
    /// Where to say that it is broken.
    pub reporter: Reporter,
    pub origin: Origin,
    pub shared: Arc<Mutex<Shared>>,
    /// `trex` of the current initialization.
    pub defaults: SampleDefaults,
    /// What its edit list takes back, in ticks: how much later than it is decoded the first picture is shown.
    pub delay: u32,
    /// Added to all times (ns): what the encoder delays, by the template's `ts-offset` of the sink.
    pub offset: i64,
    /// What the encoder said last.
    pub format: Option<Format>,
    /// Something was dropped: nothing after it makes sense.
    pub broken: bool,
}

impl Sink {
    /// Takes a sample. An error ends the pipeline.
    pub(super) fn take(&mut self, sample: &gst::Sample, chunks: bool) -> Result<gst::FlowSuccess, gst::FlowError> {
        let done = if chunks { self.take_list(sample) } else { self.take_unit(sample) };
        if done.is_none() {
            self.broken = true;
            self.reporter.broken("the output was not understood, or the parent did not read it in time");
            return Err(gst::FlowError::Error);
        }
        Ok(gst::FlowSuccess::Ok)
    }

    fn send(&self, message: Message) -> Option<()> {
        self.output.send(message).then_some(())
    }

    fn take_list(&mut self, sample: &gst::Sample) -> Option<()> {
        if self.broken {
            return None;
        }
        if let Some(list) = sample.buffer_list() {
            let mut buffers = list.iter();
            let mut first = buffers.next();
            let init = first.filter(|first| first.flags().contains(gst::BufferFlags::DISCONT | gst::BufferFlags::HEADER));
            if init.is_some() {
                first = buffers.next();
            }
            if let Some(head) = first {
                let head = head.map_readable().ok()?;
                if let Some(init) = init {
                    self.take_init(&init.map_readable().ok()?, &head)?;
                }
                let (mut chunk, mut data, given) = self.begin_chunk(&head)?;
                data.reserve(list.calculate_size());
                for buffer in buffers {
                    data.extend_from_slice(&buffer.map_readable().ok()?);
                }
                chunk.data = data.into();
                self.send(Message::Chunk(self.job, chunk, given))?;
            }
        }
        Some(())
    }

    /// `head`: of the first chunk.
    fn take_init(&mut self, data: &[u8], head: &[u8]) -> Option<()> {
        self.defaults = read_init(data).map(|init| init.defaults).unwrap_or_default();
        let (begun, mut init) = {
            let shared = lock(&self.shared);
            (*shared.begun.front()?, shared.init.clone()?)
        };
        self.delay = reordering(chunk_times(head, self.defaults).ok()?.decode_time, begun, init.timescale);
        let mut data = if self.delay > 0 { add_edit_list(data, self.delay).ok()? } else { data.to_vec() };
        set_brand(&mut data);
        init.data = data.into();
        self.send(Message::Init(self.job, init))
    }

    /// From what stands before the samples: the chunk, without bytes, its first bytes, and the decoding time of its last unit as it came.
    fn begin_chunk(&mut self, head: &[u8]) -> Option<(Chunk, Vec<u8>, i64)> {
        let times = chunk_times(head, self.defaults).ok()?;
        let (begun, next, init) = {
            let mut shared = lock(&self.shared);
            let begun = shared.begun.pop_front()?;
            // A chunk comes out because the next one has begun, or at the end.
            let next = shared.begun.front().map(|next| next.first);
            let init = shared.init.as_ref()?;
            (begun, next, (init.track, init.epoch, init.timescale))
        };
        let (track, epoch, timescale) = init;
        // cmafmux puts the earliest presentation time into `tfdt` and negative offsets behind it. Browsers take that as it is meant; ffmpeg
        // shows such a track later by the lowest offset. With plain decoding times there, Shaka shows HLS later by the first offset, because
        // it takes `tfdt` for the time of the first picture. All agree where offsets are at least 0 and an edit list takes back the first
        // one: `tfdt` is the decoding time plus that.
        let offset = reordering(times.decode_time, begun, timescale);
        let shift = i64::from(self.delay) - i64::from(offset);
        // Also where a chunk begins with a picture that is shown as soon as it is decoded.
        let as_it_is = offset == 0 && self.delay == 0;
        let mut data = if as_it_is { head.to_vec() } else { shift_times(head, shift, offset).ok()? };
        // Where a chunk ends between pictures that are shown out of order, the next one's earliest picture lies before its end; chunks follow
        // each other as their decoding times do.
        let begin = times.decode_time.saturating_add_signed(shift);
        set_brand(&mut data);
        let chunk = Chunk {
            track,
            epoch,
            segment: begun.segment,
            first: begun.first,
            last: next.unwrap_or(true),
            end: next.is_none(),
            independent: begun.independent,
            presentation_time: begin,
            duration: times.duration,
            wallclock: self.origin.load(Ordering::Relaxed) + rescale(begin as i64, timescale, 1_000_000_000),
            data: Bytes::new(),
        };
        Some((chunk, data, begun.given.unwrap_or(i64::MIN)))
    }

    fn take_unit(&mut self, sample: &gst::Sample) -> Option<()> {
        let format = sample.caps().and_then(format_of)?;
        if self.format.as_ref() != Some(&format) {
            self.send(Message::FormatOut(self.job, self.index, format.clone()))?;
            self.format = Some(format);
        }
        let buffer = sample.buffer()?;
        if buffer.flags().contains(gst::BufferFlags::HEADER) && buffer.pts().is_none() {
            return Some(());
        }
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        let origin = self.origin.load(Ordering::Relaxed) + self.offset;
        // Encoders put pictures before running time 0 where they need room for decoding times, and sound for their priming.
        let time = |time: Option<gst::ClockTime>| {
            Some(match segment.to_running_time_full(time?)? {
                gst::Signed::Positive(time) => origin + time.nseconds() as i64,
                gst::Signed::Negative(time) => origin - time.nseconds() as i64,
            })
        };
        let pts = time(buffer.pts())?;
        let message = Message::Unit {
            job: self.job,
            output: self.index,
            pts,
            dts: time(buffer.dts()).unwrap_or(pts),
            key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            data: Bytes::copy_from_slice(&buffer.map_readable().ok()?),
        };
        // A lost unit is a gap, nothing worse.
        let _ = self.output.send(message);
        Some(())
    }
}

/// How much later than its first unit is decoded a chunk is shown from, in ticks.
fn reordering(shown: u64, begun: Begun, timescale: u32) -> u32 {
    let decoded = i128::from(begun.dts) * i128::from(timescale) / 1_000_000_000;
    u32::try_from(i128::from(shown) - decoded).unwrap_or(0)
}

pub(super) fn connect(element: &gst_app::AppSink, chunks: bool, mut sink: Sink) {
    element.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |element| {
                let sample = element.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                sink.take(&sample, chunks)
            })
            .build(),
    );
}
