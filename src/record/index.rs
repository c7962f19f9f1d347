//! The index of one track of a recording: an append-only file of records with checksums.
//!
//! In: what was written into the track's files. Out: the same after a crash: everything up to the first record that is cut
//! off or damaged.
//!
//! The file begins with `HIDX` and a version (u32). A record is the length of its body (u32), the CRC-32 of its body (u32)
//! and the body, whose first byte tells the kind: 1 an epoch (JSON of [`Epoch`]), 2 a fragment ([`FragmentEntry`], fixed
//! fields, then its sample table as [`crate::cmaf::encode_samples`] writes it). All numbers are little endian. Other kinds
//! are passed over.

use serde::{Deserialize, Serialize};

use crate::base::{MediaKind, UnixNanos};
use crate::codec::Codec;

/// What an index file begins with.
pub const HEADER: [u8; 8] = *b"HIDX\x01\0\0\0";

/// Largest body: a fragment of the largest number of samples fits, and a damaged length can't ask for more.
const MAX_BODY: usize = 1 << 20;
/// Bytes of a fragment's body before its sample table.
const FIXED: usize = 66;

const KIND_EPOCH: u8 = 1;
const KIND_FRAGMENT: u8 = 2;

const FLAG_FIRST: u8 = 1;
const FLAG_LAST: u8 = 2;
const FLAG_INDEPENDENT: u8 = 4;

/// An epoch of a track: its file begins with `init_len` bytes of initialization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// As in [`crate::cmaf::TrackInit::epoch`].
    pub epoch: u32,
    /// Bytes of `ftyp` and `moov`.
    pub init_len: u32,
    /// Ticks per second.
    pub timescale: u32,
    /// Audio or video.
    pub kind: MediaKind,
    /// The codec.
    pub codec: Codec,
    /// RFC 6381 string.
    pub codec_string: String,
    /// Width and height in pixels, for video.
    pub resolution: Option<(u32, u32)>,
    /// Sample aspect ratio, width to height, where pixels aren't square.
    #[serde(default)]
    pub sar: Option<(u32, u32)>,
    /// Sampling rate in Hz and channels, for audio.
    pub audio: Option<(u32, u8)>,
    /// What to add to composition times to get presentation times, in ticks (the edit list of the initialization).
    #[serde(default)]
    pub presentation_shift: i64,
}

/// A fragment in the file of its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FragmentEntry {
    /// As in [`crate::cmaf::Chunk::epoch`].
    pub epoch: u32,
    /// As in [`crate::cmaf::Chunk::segment`].
    pub segment: u64,
    /// First chunk of its segment.
    pub first: bool,
    /// Last chunk of its segment.
    pub last: bool,
    /// Begins with a sync sample.
    pub independent: bool,
    /// Where the chunk begins in the file.
    pub offset: u64,
    /// How long it is.
    pub len: u32,
    /// Where the samples begin, from the start of the chunk.
    pub data_at: u32,
    /// How many bytes of samples.
    pub data_len: u32,
    /// CRC-32 of the chunk.
    pub crc: u32,
    /// `tfdt`.
    pub decode_time: u64,
    /// Sum of the sample durations.
    pub duration: u32,
    /// When the first sample was captured.
    pub wallclock: UnixNanos,
    /// How much later than `decode_time` its earliest sample is shown, in ticks.
    pub earliest: i32,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A new epoch begins.
    Epoch(Epoch),
    /// A fragment, and where in the bytes walked over its sample table begins.
    Fragment(FragmentEntry, usize),
}

/// Appends the record of an epoch.
pub fn put_epoch(epoch: &Epoch, out: &mut Vec<u8>) {
    record(out, |out| {
        out.push(KIND_EPOCH);
        // Serializing plain fields into memory doesn't fail; an empty body would be passed over by readers.
        out.extend(serde_json::to_vec(epoch).unwrap_or_default());
    });
}

/// Appends the record of a fragment with its encoded sample table.
pub fn put_fragment(entry: &FragmentEntry, samples: &[u8], out: &mut Vec<u8>) {
    record(out, |out| {
        out.push(KIND_FRAGMENT);
        out.push(
            (u8::from(entry.first) * FLAG_FIRST) | (u8::from(entry.last) * FLAG_LAST) | (u8::from(entry.independent) * FLAG_INDEPENDENT),
        );
        out.extend(entry.epoch.to_le_bytes());
        out.extend(entry.segment.to_le_bytes());
        out.extend(entry.offset.to_le_bytes());
        out.extend(entry.len.to_le_bytes());
        out.extend(entry.data_at.to_le_bytes());
        out.extend(entry.data_len.to_le_bytes());
        out.extend(entry.crc.to_le_bytes());
        out.extend(entry.decode_time.to_le_bytes());
        out.extend(entry.duration.to_le_bytes());
        out.extend(entry.wallclock.to_le_bytes());
        out.extend(entry.earliest.to_le_bytes());
        out.extend([0; 4]); // reserved
        out.extend(samples);
    });
}

fn record(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 8]);
    fill(out);
    let body = &out[start + 8..];
    let (len, crc) = (body.len() as u32, crc32fast::hash(body));
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Walks over the records in `bytes` and ends at the first that is not whole.
#[derive(Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    good: usize,
}

impl<'a> Records<'a> {
    /// Over a whole index file; a wrong header makes it empty.
    pub fn of_file(bytes: &'a [u8]) -> Self {
        if bytes.starts_with(&HEADER) { Self { bytes, good: HEADER.len() } } else { Self { bytes: &[], good: 0 } }
    }

    /// Over records alone, as they follow a position that [`Records::good`] gave before.
    pub fn of_tail(bytes: &'a [u8]) -> Self {
        Self { bytes, good: 0 }
    }

    /// How many bytes of good records (and header) were passed so far.
    pub fn good(&self) -> usize {
        self.good
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            let (head, rest) = self.bytes.get(self.good..)?.split_first_chunk::<8>()?;
            let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            let body = rest.get(..len).filter(|_| (1..=MAX_BODY).contains(&len))?;
            if crc32fast::hash(body) != crc {
                return None;
            }
            let at = self.good + 8;
            let found = match body[0] {
                KIND_EPOCH => Some(Record::Epoch(serde_json::from_slice::<Epoch>(&body[1..]).ok().filter(|e| e.timescale > 0)?)),
                KIND_FRAGMENT => Some(Record::Fragment(fragment(body)?, at + FIXED)),
                _ => None,
            };
            self.good = at + len;
            if found.is_some() {
                return found;
            }
        }
    }
}

fn fragment(body: &[u8]) -> Option<FragmentEntry> {
    let fixed: &[u8; FIXED] = body.first_chunk()?;
    let mut rest = &fixed[2..];
    let mut take = |len: usize| {
        let (head, tail) = rest.split_at(len.min(rest.len()));
        rest = tail;
        let mut wide = [0; 8];
        wide[..head.len()].copy_from_slice(head);
        u64::from_le_bytes(wide)
    };
    Some(FragmentEntry {
        first: fixed[1] & FLAG_FIRST != 0,
        last: fixed[1] & FLAG_LAST != 0,
        independent: fixed[1] & FLAG_INDEPENDENT != 0,
        epoch: take(4) as u32,
        segment: take(8),
        offset: take(8),
        len: take(4) as u32,
        data_at: take(4) as u32,
        data_len: take(4) as u32,
        crc: take(4) as u32,
        decode_time: take(8),
        duration: take(4) as u32,
        wallclock: take(8) as i64,
        earliest: take(4) as u32 as i32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn epoch() -> Epoch {
        Epoch {
            epoch: 3,
            init_len: 700,
            timescale: 90_000,
            kind: MediaKind::Video,
            codec: Codec::H264,
            codec_string: "avc1.64001f".into(),
            resolution: Some((1280, 720)),
            sar: Some((4, 3)),
            audio: None,
            presentation_shift: -1024,
        }
    }

    fn entry() -> FragmentEntry {
        FragmentEntry {
            epoch: 3,
            segment: 1 << 40,
            first: true,
            last: false,
            independent: true,
            offset: 1 << 35,
            len: 12345,
            data_at: 200,
            data_len: 12145,
            crc: 0xDEAD_BEEF,
            decode_time: 1 << 50,
            duration: 18_000,
            wallclock: 1_700_000_000_123_456_789,
            earliest: -3000,
        }
    }

    fn file() -> Vec<u8> {
        let mut out = HEADER.to_vec();
        put_epoch(&epoch(), &mut out);
        record(&mut out, |out| out.extend([77, 1, 2])); // a kind of the future
        put_fragment(&entry(), &[1, 2, 3], &mut out);
        put_fragment(&FragmentEntry { last: true, ..entry() }, &[4], &mut out);
        out
    }

    #[test]
    fn round_trip() {
        let bytes = file();
        let mut records = Records::of_file(&bytes);
        let all: Vec<_> = records.by_ref().collect();
        assert_eq!(records.good(), bytes.len());
        assert_eq!(all[0], Record::Epoch(epoch()));
        let Record::Fragment(first, at) = &all[1] else { panic!() };
        assert_eq!((*first, &bytes[*at..at + 3]), (entry(), &[1, 2, 3][..]));
        assert!(matches!(&all[2], Record::Fragment(f, _) if f.last));
    }

    #[test]
    fn cut_off_everywhere_keeps_the_whole_records() {
        let bytes = file();
        let mut counts = std::collections::BTreeSet::new();
        for len in 0..bytes.len() {
            let mut records = Records::of_file(&bytes[..len]);
            counts.insert(records.by_ref().count());
            assert!(records.good() <= len);
        }
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn damage_ends_the_walk(at in 8usize..200, value: u8) {
            let mut bytes = file();
            let at = at % bytes.len();
            let changed = at >= 8 && bytes[at] != value;
            bytes[at] = value;
            let count = Records::of_file(&bytes).count();
            prop_assert!(count <= 3 && (!changed || count < 3 || at > 0));
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut whole = HEADER.to_vec();
            whole.extend(&bytes);
            let _ = Records::of_file(&whole).count();
            let _ = Records::of_tail(&bytes).count();
        }

        #[test]
        fn valid_checksums_over_garbage_never_panic(body in proptest::collection::vec(any::<u8>(), 1..200), kind in 0u8..4) {
            let mut bytes = HEADER.to_vec();
            record(&mut bytes, |out| { out.push(kind); out.extend(&body) });
            let _ = Records::of_file(&bytes).count();
        }
    }
}
