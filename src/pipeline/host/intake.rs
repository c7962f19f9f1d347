//! What comes into a job, up to where it is cut: everything of a job but its pipeline.
//!
//! In: RTP batches of its inputs. Out: units in the order in which they go on, each with the cut before it. Pure: the simulation has the
//! same.

use super::cut::Cutter;
use super::input::{Ended, Input};
use super::unit::{Placed, Split, Unit};
use crate::base::{MediaKind, UnixNanos};
use crate::codec::Format;
use crate::pipeline::wire::Cutting;
use crate::rtp::batch::RtpBatch;

/// How long before the first unit the time of a job begins, at least. Decoding times lie before presentation times, sound may begin half a frame
/// before the pictures, and encoders reach back for their priming: none may become negative.
const PREROLL: i64 = 1_000_000_000;
/// Where the time of a job that cuts begins instead, in ns: its first chunk is shown 18.2 days after its media time's zero. Shaka 5.2 adds 1 ms
/// to what it puts between media time and its own over HLS, and does so anew, which makes the browser drop everything up to the next key
/// frame, whenever it then finds a difference of at least 0.001: as doubles round, that is wherever the magnitude lies in about half of the
/// powers of two. From 2^20 to 2^21 s it never is; this is the middle, so that both a stream and a viewer may last for six days.
const CUT_PREROLL: i64 = 3 * (1 << 19) * 1_000_000_000;

/// The inputs of one job.
#[derive(Debug)]
pub(crate) struct Intake {
    inputs: Vec<Input>,
    cutter: Option<Cutter>,
    origin: Option<UnixNanos>,
    reorder: u8,
    over: bool,
    units: Vec<Unit>,
}

impl Intake {
    /// For inputs of these formats; `reorder`: how far pictures are known to be reordered.
    pub(crate) fn new(formats: Vec<Format>, cutting: Option<Cutting>, reorder: u8) -> Self {
        let video: Vec<bool> = formats.iter().map(|format| format.kind() == MediaKind::Video).collect();
        let beside = cutting.is_some() && video.contains(&true);
        Self {
            inputs: formats.into_iter().map(|format| Input::new(format, reorder, beside)).collect(),
            cutter: cutting.map(|cutting| Cutter::new(cutting, &video)),
            origin: None,
            reorder,
            over: false,
            units: Vec::new(),
        }
    }

    /// Another input, beside those there are.
    pub(crate) fn join(&mut self, format: Format) {
        if let Some(cutter) = &mut self.cutter {
            cutter.join(format.kind() == MediaKind::Video);
        }
        let beside = self.inputs.iter().any(|input| input.format().kind() == MediaKind::Video);
        self.inputs.push(Input::new(format, self.reorder, self.cutter.is_some() && beside));
    }

    /// Takes RTP packets of one input that came at `now`; appends what may go on to `out`. An error is the end: the timeline or the format
    /// changed. What is inside still comes out, nothing more goes in.
    pub(crate) fn push(&mut self, now: UnixNanos, index: usize, batch: &RtpBatch, out: &mut Vec<Placed>) -> Result<(), Ended> {
        if self.over || index >= self.inputs.len() {
            return Ok(());
        }
        let mut ended = self.inputs[index].push(batch, now, &mut self.units);
        let newest = self.units.last().map(|unit| unit.pts);
        self.units_in(now, index, out);
        for other in (0..self.inputs.len()).filter(|other| *other != index) {
            if let Some(newest) = newest {
                self.inputs[other].other_is_at(newest, &mut self.units);
            }
            if !self.units.is_empty() {
                self.units_in(now, other, out);
            }
        }
        if ended.is_ok() && self.cutter.as_ref().is_some_and(Cutter::is_torn) {
            ended = Err(Ended::Gap);
        }
        if ended.is_ok() && self.cutter.as_ref().is_some_and(Cutter::is_joined) {
            ended = Err(Ended::Joined);
        }
        if let Err(ended) = &ended {
            if let Ended::Reorder(depth) = ended {
                self.reorder = self.reorder.max(*depth);
            }
            self.over = true;
        }
        ended
    }

    /// Nothing more comes: what is inside goes on.
    pub(crate) fn finish(&mut self, now: UnixNanos, out: &mut Vec<Placed>) {
        // After a discontinuity the inputs hold nothing that belongs here.
        if !std::mem::replace(&mut self.over, true) {
            for index in 0..self.inputs.len() {
                let _ = self.inputs[index].finish(&mut self.units);
                self.units_in(now, index, out);
            }
        }
        if let Some(cutter) = &mut self.cutter {
            cutter.finish(out);
        }
    }

    /// Nothing more goes in, and what is inside is of no use.
    pub(crate) fn give_up(&mut self) {
        self.over = true;
    }

    /// Whether a key frame should be asked for, since the last call.
    pub(crate) fn take_key_request(&mut self, index: usize) -> bool {
        self.inputs.get_mut(index).is_some_and(Input::take_key_request)
    }

    /// The format of an input, with the parameter sets once they are known.
    pub(crate) fn format(&self, index: usize) -> Option<&Format> {
        self.inputs.get(index).map(Input::format)
    }

    /// How far pictures were seen to be reordered.
    pub(crate) fn reorder(&self) -> u8 {
        self.reorder
    }

    /// Where the time of the job begins, for its first unit and all that follow it.
    pub(crate) fn origin(&mut self, unit: &Unit) -> UnixNanos {
        let begin = || self.cutter.as_ref().and_then(Cutter::begin).unwrap_or(unit.pts);
        let preroll = if self.cutter.is_some() { CUT_PREROLL } else { PREROLL };
        // Pictures may be decoded seconds before they are shown.
        *self.origin.get_or_insert_with(|| (begin() - preroll).min(unit.dts))
    }

    fn units_in(&mut self, now: UnixNanos, index: usize, out: &mut Vec<Placed>) {
        let Some(cutter) = &mut self.cutter else {
            return out.extend(self.units.drain(..).map(|unit| Placed { track: index, split: Split::None, unit }));
        };
        if !self.units.is_empty() {
            cutter.format(index, self.inputs[index].format());
        }
        for unit in self.units.drain(..) {
            cutter.push(now, index, unit, out);
        }
        for track in cutter.take_wants_key() {
            self.inputs[track].need_key();
        }
        for track in cutter.take_asks() {
            self.inputs[track].ask_for_key();
        }
    }
}
