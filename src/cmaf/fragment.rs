//! One movie fragment: where its samples lie and when they are.
//!
//! In: the bytes of a CMAF chunk (`moof` + `mdat`, maybe `styp`, `prft`, `emsg` before), maybe damaged. Out: [`Fragment`].
//! ISO/IEC 14496-12 section 8.8; one track per fragment, as CMAF (ISO/IEC 23000-19 section 7.3.3) asks for.

use std::ops::Range;

use super::boxes::{BoxRef, Boxes, Fields};
use super::error::CmafError;
use super::four_cc::FourCc;

/// Most samples a fragment may have: a minute and more of Opus at 2.5 ms; what is beyond is a damaged `trun`, which could
/// otherwise claim four thousand million samples in 20 bytes.
pub const MAX_SAMPLES_PER_FRAGMENT: usize = 65_536;

/// `sample_is_non_sync_sample` in sample flags (section 8.8.3.1).
const NON_SYNC: u32 = 0x0001_0000;

/// One sample of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// In the track's timescale.
    pub duration: u32,
    /// In bytes.
    pub size: u32,
    /// Composition time minus decode time, in the track's timescale.
    pub cts: i32,
    /// Whether decoding can start here.
    pub sync: bool,
}

/// What a sample is when neither `tfhd` nor `trun` say it: the `trex` of the initialization (section 8.8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SampleDefaults {
    /// In the track's timescale.
    pub duration: u32,
    /// In bytes.
    pub size: u32,
    /// Sample flags.
    pub flags: u32,
}

/// One movie fragment and its media data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// `mfhd`'s sequence number.
    pub sequence_number: u32,
    /// `tfhd`'s track id.
    pub track_id: u32,
    /// `tfdt`: decode time of the first sample, in the track's timescale.
    pub decode_time: u64,
    /// The samples in decode order, lying one after the other from `data.start` on.
    pub samples: Vec<Sample>,
    /// Where `moof` lies in the bytes given.
    pub moof: Range<usize>,
    /// Where the samples lie in the bytes given.
    pub data: Range<usize>,
    /// Where the next box begins.
    pub end: usize,
}

impl Fragment {
    /// Sum of the sample durations, in the track's timescale.
    pub fn duration(&self) -> u64 {
        total(&self.samples)
    }

    /// How much later than `decode_time` the sample that is shown first is shown, in the track's timescale.
    pub fn earliest_shown(&self) -> i32 {
        earliest_shown(&self.samples)
    }
}

/// As [`Fragment::earliest_shown`].
pub(super) fn earliest_shown(samples: &[Sample]) -> i32 {
    let mut at = 0i64;
    let shown = samples.iter().map(|sample| {
        let shown = at + i64::from(sample.cts);
        at += i64::from(sample.duration);
        shown
    });
    shown.min().unwrap_or(0).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// Reads the first `moof` and its `mdat` out of `bytes`; boxes of other kinds before them are passed over.
/// `defaults` come from the initialization (zero is fine where `tfhd` and `trun` say everything).
///
/// # Errors
/// [`CmafError::Truncated`] when the bytes end before the last sample, and the other errors for what they say.
pub fn read_fragment(bytes: &[u8], defaults: SampleDefaults) -> Result<Fragment, CmafError> {
    let mut boxes = Boxes::new(bytes);
    let moof = loop {
        match boxes.next() {
            Some(item) => {
                let item = item?;
                match &item.name.0 {
                    b"moof" => break item,
                    b"mdat" => return Err(CmafError::Damaged { name: item.name, why: "it comes before its moof" }),
                    _ => {}
                }
            }
            None => return Err(CmafError::Missing { name: FourCc(*b"moof"), parent: "file" }),
        }
    };
    let head = read_moof(&moof, defaults)?;
    let mdat = match boxes.next() {
        Some(item) => item?,
        None => return Err(CmafError::Missing { name: FourCc(*b"mdat"), parent: "file" }),
    };
    if mdat.name.0 != *b"mdat" {
        return Err(CmafError::Unsupported { name: mdat.name, why: "mdat is expected right behind moof" });
    }
    let payload = mdat.end() - mdat.payload.len()..mdat.end();
    let data_len: u64 = head.samples.iter().map(|s| u64::from(s.size)).sum();
    let start = match head.data_offset {
        Some(relative) => i64::try_from(moof.offset).ok().and_then(|at| at.checked_add(relative)).and_then(|at| usize::try_from(at).ok()),
        None => Some(payload.start),
    };
    let data = start.and_then(|start| Some(start..start.checked_add(usize::try_from(data_len).ok()?)?));
    let data = match data {
        Some(data) if data.start >= payload.start && data.end <= payload.end => data,
        _ => return Err(CmafError::Damaged { name: mdat.name, why: "the samples that trun lists lie outside of it" }),
    };
    Ok(Fragment {
        sequence_number: head.sequence_number,
        track_id: head.track_id,
        decode_time: head.decode_time,
        samples: head.samples,
        moof: moof.offset..moof.end(),
        data,
        end: mdat.end(),
    })
}

/// When a chunk is, in the track's timescale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkTimes {
    /// `tfdt`: decode time of the first sample.
    pub decode_time: u64,
    /// Sum of the sample durations.
    pub duration: u64,
}

/// Reads the first `moof` out of the head of a chunk: its samples need not be there yet.
///
/// # Errors
/// As [`read_fragment`].
pub(crate) fn chunk_times(head: &[u8], defaults: SampleDefaults) -> Result<ChunkTimes, CmafError> {
    let head = read_moof(&Boxes::find(head, b"moof", "chunk")?, defaults)?;
    Ok(ChunkTimes { decode_time: head.decode_time, duration: total(&head.samples) })
}

fn total(samples: &[Sample]) -> u64 {
    samples.iter().map(|sample| u64::from(sample.duration)).sum()
}

struct Head {
    sequence_number: u32,
    track_id: u32,
    decode_time: u64,
    samples: Vec<Sample>,
    /// From the start of `moof`.
    data_offset: Option<i64>,
}

fn read_moof(moof: &BoxRef<'_>, defaults: SampleDefaults) -> Result<Head, CmafError> {
    let mfhd = Boxes::find(moof.payload, b"mfhd", "moof")?;
    let sequence_number = Fields::full(&mfhd)?.2.u32()?;
    let traf = Boxes::find(moof.payload, b"traf", "moof")?;
    let mut rest = Boxes::new(&moof.payload[traf.end()..]);
    if rest.any(|item| item.is_ok_and(|item| item.name == traf.name)) {
        return Err(CmafError::Unsupported { name: traf.name, why: "a fragment of several tracks; one track per file is expected" });
    }

    let (track_id, defaults) = read_tfhd(&Boxes::find(traf.payload, b"tfhd", "traf")?, defaults)?;
    let (version, _, mut fields) = Fields::full(&Boxes::find(traf.payload, b"tfdt", "traf")?)?;
    let decode_time = fields.wide(version)?;

    let mut samples = Vec::new();
    let mut data_offset = None;
    for (index, item) in Boxes::new(traf.payload).filter(|i| i.as_ref().map_or(true, |i| i.name.0 == *b"trun")).enumerate() {
        let item = item?;
        let so_far: i64 = samples.iter().map(|s: &Sample| i64::from(s.size)).sum();
        let offset = read_trun(&item, defaults, &mut samples)?;
        match (index, offset) {
            (0, offset) => data_offset = offset,
            (_, None) => {}
            (_, Some(offset)) if data_offset.is_some_and(|first| first + so_far == offset) => {}
            _ => return Err(CmafError::Unsupported { name: item.name, why: "runs of samples that don't follow each other" }),
        }
    }
    if samples.is_empty() {
        return Err(CmafError::Missing { name: FourCc(*b"trun"), parent: "traf (or it lists no sample)" });
    }
    Ok(Head { sequence_number, track_id, decode_time, samples, data_offset })
}

/// Section 8.8.7.
fn read_tfhd(item: &BoxRef<'_>, mut defaults: SampleDefaults) -> Result<(u32, SampleDefaults), CmafError> {
    let (_, flags, mut fields) = Fields::full(item)?;
    let track_id = fields.u32()?;
    if flags & 0x01 != 0 {
        return Err(CmafError::Unsupported { name: item.name, why: "base-data-offset; CMAF counts from moof (default-base-is-moof)" });
    }
    if flags & 0x02 != 0 {
        fields.u32()?; // sample_description_index: a track file here has one sample entry
    }
    if flags & 0x08 != 0 {
        defaults.duration = fields.u32()?;
    }
    if flags & 0x10 != 0 {
        defaults.size = fields.u32()?;
    }
    if flags & 0x20 != 0 {
        defaults.flags = fields.u32()?;
    }
    Ok((track_id, defaults))
}

/// Section 8.8.8. Gives the data offset from the start of `moof`, if the run has one.
fn read_trun(item: &BoxRef<'_>, defaults: SampleDefaults, samples: &mut Vec<Sample>) -> Result<Option<i64>, CmafError> {
    let (_, flags, mut fields) = Fields::full(item)?;
    let count = fields.u32()? as usize;
    if count > MAX_SAMPLES_PER_FRAGMENT - samples.len().min(MAX_SAMPLES_PER_FRAGMENT) {
        return Err(CmafError::Damaged { name: item.name, why: "more samples than any fragment has" });
    }
    let data_offset = if flags & 0x01 != 0 { Some(i64::from(fields.i32()?)) } else { None };
    let first_flags = if flags & 0x04 != 0 { Some(fields.u32()?) } else { None };
    let words = (flags & 0xF00).count_ones() as usize;
    if fields.rest().len() < count * words * 4 {
        return Err(CmafError::Damaged { name: item.name, why: "it ends before its last sample" });
    }
    samples.reserve(count);
    for index in 0..count {
        let duration = if flags & 0x100 != 0 { fields.u32()? } else { defaults.duration };
        let size = if flags & 0x200 != 0 { fields.u32()? } else { defaults.size };
        let mut sample_flags = if flags & 0x400 != 0 { fields.u32()? } else { defaults.flags };
        // Version 0 says unsigned, but real files put negative offsets there too, and none are above 2^31.
        let cts = if flags & 0x800 != 0 { fields.i32()? } else { 0 };
        if let (0, Some(first)) = (index, first_flags) {
            sample_flags = first;
        }
        samples.push(Sample { duration, size, cts, sync: sample_flags & NON_SYNC == 0 });
    }
    Ok(data_offset)
}
