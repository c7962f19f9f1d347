//! A publisher's units on the wall clock, and what is learnt of its track and warned of on the way.
//!
//! In: units as the publisher stamps them, with the time of arrival. Out: the same units on the wall clock, and what follows from them. Pure.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::packing::Packing;
use crate::base::{MediaKind, UnixNanos, lock, rescale};
use crate::codec::{AccessUnit, Codec, Format, h264};
use crate::rtp::batch::UnitFacts;
use crate::stream::advice::Advice;
use crate::stream::core::Warning;
use crate::stream::entrances::Entrances;
use crate::timing::{PictureOrder, Timeline};

/// Nanoseconds per second.
const NANOS: u32 = 1_000_000_000;

/// Places one track's units on its publication's timeline.
#[derive(Debug)]
pub(crate) struct Placing {
    timeline: Arc<Mutex<Timeline>>,
    track: usize,
    order: PictureOrder,
    entrances: Entrances,
    advice: Advice,
}

/// What is known of a unit that was placed.
#[derive(Debug)]
pub(crate) struct Position {
    pub facts: UnitFacts,
    /// How long to leave the publisher unread: it is ahead of the wall clock.
    pub wait: Duration,
    /// Where the publication's media ends.
    pub end: UnixNanos,
    /// B-frames were seen; true where others refer to them.
    pub reordered: Option<bool>,
    /// Key frames were seen to be far apart.
    pub(crate) long_gops: bool,
    pub warnings: Vec<Warning>,
}

impl Placing {
    pub(crate) fn new(timeline: Arc<Mutex<Timeline>>, track: usize) -> Self {
        Self { timeline, track, order: PictureOrder::default(), entrances: Entrances::default(), advice: Advice::default() }
    }

    /// Pictures are coded anew from here on: what was learnt of the ones before doesn't hold for them.
    pub(crate) fn begin_anew(&mut self) {
        (self.order, self.entrances) = (PictureOrder::default(), Entrances::default());
        self.advice.begin_anew();
    }

    /// Puts `unit`, which came at `now`, where it belongs; `packing` is its track's.
    pub(crate) fn place(&mut self, unit: &mut AccessUnit, packing: &Packing, now: UnixNanos) -> Position {
        let (clock_rate, _) = packing.formats().rates();
        let (placed, mended, end) = {
            let mut timeline = lock(&self.timeline);
            (timeline.place(self.track, clock_rate, unit.dts, unit.pts, now), timeline.mended(), timeline.end())
        };
        (unit.pts, unit.dts) = (placed.pts, placed.dts);
        let facts = packing.facts(unit);
        let (mut warnings, mut reordered, mut long_gops) = (Vec::new(), None, false);
        if packing.codec().kind() == MediaKind::Video {
            let (pts, dts) = (rescale(unit.pts, clock_rate, NANOS), rescale(unit.dts, clock_rate, NANOS));
            let entrance = unit.key && (packing.codec() != Codec::H264 || h264::unit_is_idr(&unit.data));
            let since = self.entrances.picture(dts, entrance);
            self.advice.key_frames(since, &mut warnings);
            long_gops = self.entrances.are_far_apart(since, unit.key && !entrance);
            if packing.codec() == Codec::H264
                && let Some(seen) = self.order.observe(dts, pts, facts.disposable, || claims_reordering(&packing.formats().format()))
            {
                self.advice.b_frames(&mut warnings);
                reordered = Some(seen.references);
            }
        }
        self.advice.mended(&mended, &mut warnings);
        Position { facts, wait: placed.wait, end, reordered, long_gops, warnings }
    }
}

/// Whether the parameter sets say that pictures come in another order than they are shown in.
fn claims_reordering(format: &Format) -> bool {
    let Format::H264 { sps, .. } = format else { return false };
    let info = sps.first().and_then(|sps| h264::parse_sps(sps).ok());
    info.is_some_and(|info| info.max_reorder.is_some_and(|pictures| pictures > 0))
}
