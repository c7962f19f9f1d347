//! A progressive MP4 made over the fragments of track files, without copying media.
//!
//! In: the initializations, fragments and sample tables of each track, over several epochs. Out: [`ProgressiveLayout`]: a
//! header (`ftyp`, `moov`, head of `mdat`) and the list of extents of the track files that follow it.
//!
//! Epochs are put one after the other: each is as long as its longest track, and within it the tracks keep their offsets
//! to each other. Decode times come from `tfdt`, so what is missing in the middle stays a pause and sync is kept.

use bytes::Bytes;

use crate::base::rescale;

use super::error::CmafError;
use super::four_cc::FourCc;
use super::fragment::{Sample, earliest_shown};
use super::init::Init;
use super::layout::{Extent, ProgressiveLayout};
use super::moov::{Tables, write_header};
use super::samples::decode_samples;

/// How much of one track lies together before another track's turn: players read this far to play both.
const INTERLEAVE_NANOS: i64 = 1_000_000_000;

const NANOS: u32 = 1_000_000_000;

/// One fragment of a track file. 32 bytes, because a long recording has hundreds of thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FragmentRef {
    /// `tfdt`, in the timescale of its epoch.
    pub decode_time: u64,
    /// Where its samples begin in the file of its epoch.
    pub data_offset: u64,
    /// How many bytes of samples.
    pub data_len: u32,
    /// Where its sample table begins in [`ProgressiveTrack::samples`].
    pub samples_at: u32,
    /// Sum of the sample durations, in the timescale of its epoch.
    pub duration: u32,
    /// Index into [`ProgressiveTrack::epochs`], never falling from one fragment to the next.
    pub epoch: u16,
}

/// One track of the file to be made.
#[derive(Debug)]
pub(crate) struct ProgressiveTrack<'a> {
    /// Number of each epoch in the whole recording (rising) and the track's initialization in it.
    pub epochs: &'a [(u32, Init)],
    /// In decode order.
    pub fragments: &'a [FragmentRef],
    /// Sample tables, as [`super::encode_samples`] writes them.
    pub samples: &'a [u8],
}

/// Lays out a progressive MP4. `created` is the creation time in seconds since 1970 UTC; the same input gives the same bytes.
/// Tracks without a fragment are left out; extents count tracks as they are given.
///
/// # Errors
/// When no track has a fragment, tables are damaged, or a track changes between audio and video.
pub(crate) fn progressive(tracks: &[ProgressiveTrack<'_>], created: u64) -> Result<ProgressiveLayout, CmafError> {
    let timeline = Timeline::of(tracks)?;
    let mut cursors = Vec::new();
    for (index, track) in tracks.iter().enumerate() {
        if !track.fragments.is_empty() {
            cursors.push(Cursor::new(index, track, &timeline)?);
        }
    }
    if cursors.is_empty() {
        return Err(CmafError::Missing { name: FourCc(*b"moof"), parent: "any track file" });
    }
    let mut extents = Vec::with_capacity(cursors.iter().map(|c| c.track.fragments.len()).sum());
    let mut data_len = 0u64;
    while let Some(cursor) = cursors.iter_mut().filter(|c| c.next < c.track.fragments.len()).min_by_key(|c| c.time) {
        cursor.emit_group(&timeline, &mut extents, &mut data_len)?;
    }
    let tables: Vec<Tables> = cursors.into_iter().map(Cursor::finish).collect();
    let header = write_header(&tables, data_len, created);
    Ok(ProgressiveLayout::new(Bytes::from(header), extents))
}

/// Where each epoch begins in the file, and which time of its own that is.
struct Timeline {
    /// Number of the epoch, its start in the file, its start on its own presentation timeline; both in nanoseconds.
    epochs: Vec<(u32, i64, i64)>,
}

impl Timeline {
    fn of(tracks: &[ProgressiveTrack<'_>]) -> Result<Self, CmafError> {
        // Number of the epoch -> its first and last presentation time.
        let mut spans = std::collections::BTreeMap::<u32, (i64, i64)>::new();
        for track in tracks {
            let mut scratch = Vec::new();
            for run in track.fragments.chunk_by(|a, b| a.epoch == b.epoch) {
                let (number, init) = epoch(track, run[0].epoch)?;
                let mut shown = |fragment: &FragmentRef| {
                    samples_of(track, fragment, &mut scratch)?;
                    Ok::<_, CmafError>(ticks(fragment.decode_time)? + i64::from(earliest_shown(&scratch)) + init.presentation_shift)
                };
                let last = run[run.len() - 1];
                let start = nanos(shown(&run[0])?, init.timescale)?;
                let end = nanos(shown(&last)? + i64::from(last.duration), init.timescale)?;
                let span = spans.entry(number).or_insert((i64::MAX, i64::MIN));
                // What an edit list puts before 0 is encoder delay, not to be presented.
                *span = (span.0.min(start.max(0)), span.1.max(end));
            }
        }
        let mut at = 0i64;
        let mut epochs = Vec::with_capacity(spans.len());
        for (number, (start, end)) in spans {
            epochs.push((number, at, start));
            at = at.saturating_add(end.saturating_sub(start).max(0));
        }
        Ok(Self { epochs })
    }

    /// What to add to presentation times of an epoch, in ticks of `timescale`.
    fn shift(&self, number: u32, timescale: u32) -> i64 {
        let found = self.epochs.binary_search_by_key(&number, |e| e.0).ok().map(|index| self.epochs[index]);
        found.map_or(0, |(_, at, start)| rescale(at - start, NANOS, timescale))
    }
}

/// Walks over the fragments of one track and fills its tables.
struct Cursor<'a> {
    index: u16,
    track: &'a ProgressiveTrack<'a>,
    next: usize,
    /// When the next fragment begins in the file, in nanoseconds.
    time: i64,
    /// Of the track in the file: that of its first epoch.
    timescale: u32,
    tables: Tables,
    /// Decode time in the file of the first sample, and of the last one so far (whose duration the next one decides).
    first_dts: Option<i64>,
    last: Option<(i64, u32)>,
    first_cts: i64,
    scratch: Vec<Sample>,
}

impl<'a> Cursor<'a> {
    fn new(index: usize, track: &'a ProgressiveTrack<'a>, timeline: &Timeline) -> Result<Self, CmafError> {
        let (_, init) = epoch(track, track.fragments[0].epoch)?;
        let index = u16::try_from(index).map_err(|_| damaged("more than 65536 tracks"))?;
        let tables = Tables::new(init);
        let timescale = init.timescale;
        let scratch = Vec::new();
        let mut this = Self { index, track, next: 0, time: 0, timescale, tables, first_dts: None, last: None, first_cts: 0, scratch };
        this.time = this.start_of(0, timeline)?.map_or(0, |dts| rescale(dts, timescale, NANOS));
        Ok(this)
    }

    /// Decode time in the file of the fragment at `index`.
    fn start_of(&self, index: usize, timeline: &Timeline) -> Result<Option<i64>, CmafError> {
        let Some(fragment) = self.track.fragments.get(index) else { return Ok(None) };
        let (number, init) = epoch(self.track, fragment.epoch)?;
        let own = rescale(ticks(fragment.decode_time)? + init.presentation_shift, init.timescale, self.timescale);
        Ok(Some(own.saturating_add(timeline.shift(number, self.timescale))))
    }

    /// Puts about a second of this track, all of one epoch, into the file as one chunk.
    fn emit_group(&mut self, timeline: &Timeline, extents: &mut Vec<Extent>, data_len: &mut u64) -> Result<(), CmafError> {
        let until = self.time.saturating_add(INTERLEAVE_NANOS);
        let fragments = self.track.fragments;
        let group_epoch = fragments[self.next].epoch;
        let (_, init) = epoch(self.track, group_epoch)?;
        let entry = self.tables.entry_for(init)?;
        self.tables.begin_chunk(*data_len);
        let mut count = 0;
        while let Some(fragment) = fragments.get(self.next).filter(|f| f.epoch == group_epoch) {
            let start = self.start_of(self.next, timeline)?.unwrap_or(0);
            self.time = rescale(start, self.timescale, NANOS);
            if count > 0 && self.time >= until {
                break;
            }
            let mut scratch = std::mem::take(&mut self.scratch);
            samples_of(self.track, fragment, &mut scratch)?;
            let mut own = 0i64;
            for sample in &scratch {
                let dts = start.saturating_add(rescale(own, init.timescale, self.timescale));
                self.push(dts, sample, init.timescale);
                own += i64::from(sample.duration);
            }
            count += scratch.len() as u32;
            let size: u64 = scratch.iter().map(|s| u64::from(s.size)).sum();
            self.scratch = scratch;
            if size != u64::from(fragment.data_len) {
                return Err(damaged("the sizes of the samples don't add up to the size of the fragment"));
            }
            extents.push(Extent { offset: fragment.data_offset, len: fragment.data_len, track: self.index, file: fragment.epoch });
            *data_len += size;
            self.next += 1;
        }
        if let Some(start) = self.start_of(self.next, timeline)? {
            self.time = rescale(start, self.timescale, NANOS);
        }
        self.tables.end_chunk(count, entry);
        Ok(())
    }

    fn push(&mut self, wanted: i64, sample: &Sample, timescale: u32) {
        let cts = rescale(i64::from(sample.cts), timescale, self.timescale);
        let duration = rescale(i64::from(sample.duration), timescale, self.timescale);
        let dts = match self.last {
            None => {
                self.first_dts = Some(wanted);
                self.first_cts = cts;
                wanted
            }
            // Times in MP4 are durations, so they can't go back: where two epochs overlap by a frame, the later one waits.
            Some((before, _)) => {
                let delta = wanted.saturating_sub(before).clamp(1, i64::from(u32::MAX));
                self.tables.push_duration(delta as u32);
                before + delta
            }
        };
        self.last = Some((dts, u32::try_from(duration).unwrap_or(u32::MAX)));
        self.tables.push_sample(sample.size, cts, sample.sync);
        let first = self.first_dts.unwrap_or(dts);
        self.tables.media_end = self.tables.media_end.max(dts - first + cts + duration);
    }

    fn finish(mut self) -> Tables {
        if let Some((_, duration)) = self.last {
            self.tables.push_duration(duration);
        }
        let start = self.first_dts.unwrap_or(0) + self.first_cts;
        self.tables.place(start, self.first_cts);
        self.tables
    }
}

fn epoch<'a>(track: &'a ProgressiveTrack<'_>, index: u16) -> Result<(u32, &'a Init), CmafError> {
    track
        .epochs
        .get(usize::from(index))
        .map(|(number, init)| (*number, init))
        .ok_or(damaged("a fragment of an epoch without initialization"))
}

fn samples_of(track: &ProgressiveTrack<'_>, fragment: &FragmentRef, out: &mut Vec<Sample>) -> Result<(), CmafError> {
    let table = track.samples.get(fragment.samples_at as usize..).ok_or(damaged("a sample table out of bounds"))?;
    decode_samples(table, out).ok_or(damaged("a sample table that can't be read"))
}

/// Ticks as a signed number with room for sums.
fn ticks(value: u64) -> Result<i64, CmafError> {
    i64::try_from(value).ok().filter(|v| *v < 1 << 60).ok_or(damaged("an absurd decode time"))
}

fn nanos(ticks: i64, timescale: u32) -> Result<i64, CmafError> {
    // A hundred years: beyond it, sums in nanoseconds would overflow.
    if ticks / i64::from(timescale.max(1)) > 100 * 366 * 86_400 {
        return Err(damaged("a decode time more than a hundred years on"));
    }
    Ok(rescale(ticks, timescale.max(1), NANOS))
}

fn damaged(why: &'static str) -> CmafError {
    CmafError::Damaged { name: FourCc(*b"indx"), why }
}
