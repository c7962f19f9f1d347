//! A stand-in for the muxer of one track: fragments whose samples say which units they are.
//!
//! In: units in decoding order, and where chunks are cut. Out: initializations and chunks in real boxes (ISO/IEC 14496-12), written by
//! hand: they share nothing with what reads them.

use super::publisher::number_of;
use crate::base::{MediaKind, UnixNanos, rescale};
use crate::cmaf::{Chunk, TrackInit, read_fragment};
use crate::codec::Format;
use crate::pipeline::SegmenterEvent;
use crate::pipeline::host::unit::Unit;

/// Bytes of a sample: its number, when it is shown and decoded, whether it is a key frame.
const SAMPLE: usize = 25;

/// What stands in a chunk instead of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// `None`: the server made it.
    pub number: Option<u64>,
    pub pts: UnixNanos,
    pub dts: UnixNanos,
    pub key: bool,
}

impl Sample {
    fn write(self, out: &mut Vec<u8>) {
        for word in [self.number.map_or(-1, |number| number as i64), self.pts, self.dts] {
            out.extend(word.to_be_bytes());
        }
        out.push(u8::from(self.key));
    }

    /// Reads one; `None` where the bytes are none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(i64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let whole = bytes.len() == SAMPLE && bytes[SAMPLE - 1] < 2;
        whole.then_some(Self { number: u64::try_from(word(0)?).ok(), pts: word(8)?, dts: word(16)?, key: bytes[24] > 0 })
    }
}

/// The samples of a chunk; `None` where its boxes or its samples make no sense.
pub(super) fn samples(data: &[u8]) -> Option<Vec<Sample>> {
    let fragment = read_fragment(data, Default::default()).ok()?;
    let mut rest = data.get(fragment.data.clone())?;
    let mut out = Vec::with_capacity(fragment.samples.len());
    for sample in &fragment.samples {
        let (bytes, behind) = rest.split_at_checked(sample.size as usize)?;
        out.push(Sample::read(bytes)?);
        rest = behind;
    }
    Some(out)
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
pub(super) struct Mux {
    kind: MediaKind,
    timescale: u32,
    open: Option<Open>,
    init: Option<(TrackInit, Format)>,
    /// Whether its initialization went out.
    pub told: bool,
    /// How much later than it is decoded the first picture is shown, in ticks: `tfdt` is the decoding time plus that.
    delay: Option<i64>,
    /// Decoding time, as it came, of the newest unit, and of the last one in a chunk that went out.
    newest: Option<i64>,
    pub given: i64,
}

impl Mux {
    pub(super) fn new(format: &Format) -> Self {
        let timescale = format.clock_rate();
        Self { kind: format.kind(), timescale, open: None, init: None, told: false, delay: None, newest: None, given: i64::MIN }
    }

    /// Whether it knows the format yet.
    pub(super) fn has_init(&self) -> bool {
        self.init.is_some()
    }

    pub(super) fn set_init(&mut self, init: TrackInit, format: Format) {
        self.init = Some((init, format));
    }

    /// Whether a chunk has begun, and in which segment.
    pub(super) fn segment(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.segment)
    }

    pub(super) fn begin(&mut self, segment: u64, first: bool, independent: bool) {
        self.open = Some(Open { segment, first, independent, samples: Vec::new(), last_duration: 0 });
    }

    /// Takes a unit into the chunk in work.
    pub(super) fn push(&mut self, unit: &Unit) {
        let Some(open) = &mut self.open else { return };
        open.last_duration = unit.duration;
        self.newest = unit.source.or(self.newest);
        open.samples.push(Sample { number: number_of(self.kind, &unit.data), pts: unit.pts, dts: unit.dts, key: unit.key });
    }

    fn ticks(&self, origin: i64, time: i64) -> i64 {
        rescale(time - origin, 1_000_000_000, self.timescale)
    }

    /// Ends the chunk in work at the decoding time `end`.
    pub(super) fn close(&mut self, origin: i64, end: Option<i64>, next_first: bool, epoch: u32, out: &mut Vec<SegmenterEvent>) {
        let Some(open) = self.open.take() else { return };
        let (Some(first), Some(last)) = (open.samples.first(), open.samples.last()) else { return };
        let ends = end.is_none();
        let begin = self.ticks(origin, first.dts);
        let end = self.ticks(origin, end.unwrap_or(last.dts + open.last_duration));
        let earliest = open.samples.iter().map(|sample| sample.pts).min().unwrap_or(first.pts);
        let delay = self.ticks(origin, earliest) - begin;
        let delay = *self.delay.get_or_insert(delay);
        if !std::mem::replace(&mut self.told, true)
            && let Some((init, format)) = &self.init
        {
            let data = initialization(init, format, delay).into();
            out.push(SegmenterEvent::Init(TrackInit { data, ..init.clone() }));
        }
        self.given = self.newest.unwrap_or(self.given);
        let shown = begin + delay;
        let mut table = Vec::new();
        for (index, sample) in open.samples.iter().enumerate() {
            let at = self.ticks(origin, sample.dts);
            let until = open.samples.get(index + 1).map_or(end, |next| self.ticks(origin, next.dts));
            table.push(((until - at).max(0) as u32, (self.ticks(origin, sample.pts) - at) as i32));
        }
        out.push(SegmenterEvent::Chunk(Chunk {
            track: self.init.as_ref().map_or(0, |(init, _)| init.track),
            epoch,
            segment: open.segment,
            first: open.first,
            last: next_first,
            end: ends,
            independent: open.independent,
            presentation_time: shown.max(0) as u64,
            duration: (end - begin).max(0) as u64,
            wallclock: origin + rescale(shown, self.timescale, 1_000_000_000),
            data: fragment(shown.max(0) as u64, &open.samples, &table).into(),
        }));
    }
}

fn boxed(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let len = 8 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut out = Vec::with_capacity(len);
    out.extend((len as u32).to_be_bytes());
    out.extend(name);
    parts.iter().for_each(|part| out.extend(*part));
    out
}

/// Big-endian numbers of 32 bits.
fn words(of: &[u32]) -> Vec<u8> {
    of.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// `moof` and `mdat`; for each sample its duration, and how much later than decoded it is shown.
fn fragment(decode_time: u64, samples: &[Sample], table: &[(u32, i32)]) -> Vec<u8> {
    let mut media = Vec::with_capacity(samples.len() * SAMPLE);
    samples.iter().for_each(|sample| sample.write(&mut media));
    let mut run = Vec::with_capacity(samples.len() * 16);
    for (sample, (duration, offset)) in samples.iter().zip(table) {
        let flags = if sample.key { 0x0200_0000 } else { 0x0101_0000 };
        for word in [*duration, SAMPLE as u32, flags, *offset as u32] {
            run.extend(word.to_be_bytes());
        }
    }
    let moof = |data_offset: u32| {
        let mfhd = boxed(b"mfhd", &[&words(&[0, 1])]);
        let tfhd = boxed(b"tfhd", &[&words(&[0x02_0000, 1])]);
        let tfdt = boxed(b"tfdt", &[&words(&[1 << 24]), &decode_time.to_be_bytes()]);
        let trun = boxed(b"trun", &[&words(&[1 << 24 | 0xF01, samples.len() as u32, data_offset]), &run]);
        boxed(b"moof", &[&mfhd, &boxed(b"traf", &[&tfhd, &tfdt, &trun])])
    };
    let len = moof(0).len() as u32;
    [moof(len + 8), boxed(b"mdat", &[&media])].concat()
}

/// `ftyp` and `moov`, with an edit list that takes `delay` back.
fn initialization(init: &TrackInit, format: &Format, delay: i64) -> Vec<u8> {
    const MATRIX: [u32; 9] = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000];
    let (width, height) = init.resolution.unwrap_or_default();
    let mvhd = boxed(b"mvhd", &[&words(&[0, 0, 0, 1000, 0, 0x10000, 0x0100_0000, 0, 0]), &words(&MATRIX), &words(&[0, 0, 0, 0, 0, 0, 2])]);
    let tkhd = boxed(b"tkhd", &[&words(&[7, 0, 0, 1, 0, 0, 0, 0, 0, 0]), &words(&MATRIX), &words(&[width << 16, height << 16])]);
    let edts = boxed(b"edts", &[&boxed(b"elst", &[&words(&[0, 1, 0, delay.max(0) as u32, 0x10000])])]);
    let mdhd = boxed(b"mdhd", &[&words(&[0, 0, 0, init.timescale, 0, 0x55C4_0000])]);
    let handler = if format.kind() == MediaKind::Video { b"vide" } else { b"soun" };
    let hdlr = boxed(b"hdlr", &[&words(&[0, 0]), handler, &words(&[0, 0, 0]), &[0]]);
    let stsd = boxed(b"stsd", &[&words(&[0, 1]), &sample_entry(init, format)]);
    let minf = boxed(b"minf", &[&boxed(b"stbl", &[&stsd])]);
    let mdia = boxed(b"mdia", &[&mdhd, &hdlr, &minf]);
    let trak = boxed(b"trak", &[&tkhd, &edts, &mdia]);
    let mvex = boxed(b"mvex", &[&boxed(b"trex", &[&words(&[0, 1, 1, 0, 0, 0])])]);
    [boxed(b"ftyp", &[b"cmfc", &words(&[0]), b"cmfc"]), boxed(b"moov", &[&mvhd, &trak, &mvex])].concat()
}

fn sample_entry(init: &TrackInit, format: &Format) -> Vec<u8> {
    let (width, height) = init.resolution.unwrap_or_default();
    match format {
        Format::H264 { sps, pps } => {
            let mut record = vec![1];
            record.extend(sps.first().and_then(|sps| sps.get(1..4)).unwrap_or(&[0x42, 0, 0x1E]));
            record.push(0xFF);
            for (sets, mark) in [(sps, 0xE0), (pps, 0)] {
                record.push(mark | sets.len() as u8);
                for set in sets {
                    record.extend((set.len() as u16).to_be_bytes());
                    record.extend(set);
                }
            }
            let size = [(width as u16).to_be_bytes(), (height as u16).to_be_bytes()].concat();
            boxed(b"avc1", &[&[0; 6], &[0, 1], &[0; 16], &size, &[0; 50], &boxed(b"avcC", &[&record])])
        }
        Format::Aac { config, sample_rate, channels } => {
            let descriptor = |tag: u8, payload: &[u8]| [&[tag, payload.len() as u8], payload].concat();
            let decoder = [&[0x40, 0x15][..], &[0; 11], &descriptor(5, config)].concat();
            let es = descriptor(3, &[&[0, 1, 0][..], &descriptor(4, &decoder), &descriptor(6, &[2])].concat());
            // Rates beyond 16 bits don't fit here.
            let rate = (*sample_rate).min(0xFFFF) << 16;
            let esds = boxed(b"esds", &[&words(&[0]), &es]);
            boxed(b"mp4a", &[&[0; 6], &[0, 1], &[0; 8], &[0, *channels, 0, 16], &[0; 4], &words(&[rate]), &esds])
        }
        Format::Vp8 | Format::Opus { .. } => Vec::new(),
    }
}
