//! The `moov` of a progressive MP4.
//!
//! In: the samples of each track one after the other. Out: `ftyp`, `moov` and the head of `mdat`, with run-length tables
//! (`stts`, `ctts`, `stsc`) that grow with what changes, not with what is. ISO/IEC 14496-12 sections 8.2 to 8.7.

use super::boxes::BoxWriter;
use super::error::CmafError;
use super::four_cc::FourCc;
use super::init::Init;

/// Ticks per second of the movie: exact for video, 11 µs for audio.
const MOVIE_TIMESCALE: u32 = 90_000;

/// Seconds from 1904, where MP4 counts from, to 1970.
const MP4_EPOCH: u64 = 2_082_844_800;

/// Rotation by nothing.
const UNITY_MATRIX: [u32; 9] = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000];

/// The sample tables of one track.
pub(super) struct Tables {
    init: Init,
    entries: Vec<Vec<u8>>,
    /// (count, delta)
    stts: Vec<(u32, u32)>,
    /// (count, offset), before the shift that makes all of them positive.
    ctts: Vec<(u32, i64)>,
    min_cts: i64,
    stss: Vec<u32>,
    stsz: Vec<u32>,
    /// From the start of the media data.
    chunks: Vec<u64>,
    /// (first chunk, samples per chunk, sample entry)
    stsc: Vec<(u32, u32, u32)>,
    duration: u64,
    /// When the last picture's display ends, from the first decode time, before the shift.
    pub(super) media_end: i64,
    /// When the track begins in the presentation, in its ticks; negative where its beginning is cut.
    start: i64,
    first_cts: i64,
}

impl Tables {
    pub(super) fn new(init: &Init) -> Self {
        Self {
            init: init.clone(),
            entries: Vec::new(),
            stts: Vec::new(),
            ctts: Vec::new(),
            min_cts: 0,
            stss: Vec::new(),
            stsz: Vec::new(),
            chunks: Vec::new(),
            stsc: Vec::new(),
            duration: 0,
            media_end: 0,
            start: 0,
            first_cts: 0,
        }
    }

    /// Number (from 1) of the sample entry of `init`; equal ones are shared.
    pub(super) fn entry_for(&mut self, init: &Init) -> Result<u32, CmafError> {
        if init.handler != self.init.handler {
            return Err(CmafError::Unsupported { name: FourCc(*b"hdlr"), why: "a track that changes between audio and video" });
        }
        // The newest is the likeliest.
        let found = self.entries.iter().rposition(|entry| *entry == init.sample_entry);
        let index = found.unwrap_or_else(|| {
            self.entries.push(init.sample_entry.clone());
            self.entries.len() - 1
        });
        Ok(index as u32 + 1)
    }

    pub(super) fn begin_chunk(&mut self, offset: u64) {
        self.chunks.push(offset);
    }

    pub(super) fn end_chunk(&mut self, samples: u32, entry: u32) {
        if self.stsc.last().is_none_or(|last| (last.1, last.2) != (samples, entry)) {
            self.stsc.push((self.chunks.len() as u32, samples, entry));
        }
    }

    pub(super) fn push_sample(&mut self, size: u32, cts: i64, sync: bool) {
        self.stsz.push(size);
        self.min_cts = self.min_cts.min(cts);
        match self.ctts.last_mut() {
            Some((count, last)) if *last == cts => *count += 1,
            _ => self.ctts.push((1, cts)),
        }
        if sync {
            self.stss.push(self.stsz.len() as u32);
        }
    }

    /// The duration of the sample pushed longest ago that has none yet.
    pub(super) fn push_duration(&mut self, delta: u32) {
        self.duration += u64::from(delta);
        match self.stts.last_mut() {
            Some((count, last)) if *last == delta => *count += 1,
            _ => self.stts.push((1, delta)),
        }
    }

    pub(super) fn place(&mut self, start: i64, first_cts: i64) {
        self.start = start;
        self.first_cts = first_cts;
    }

    /// What makes all composition offsets positive, which every player reads (`ctts` version 0).
    fn cts_shift(&self) -> i64 {
        -self.min_cts.min(0)
    }

    /// The edit list: how long nothing is shown (movie ticks), for how long the media is shown (movie ticks), from which media time on.
    fn edits(&self) -> (u64, u64, u64) {
        let media_time = (self.first_cts + self.cts_shift() + (-self.start).max(0)).max(0) as u64;
        let end = (self.media_end + self.cts_shift()).max(0) as u64;
        (self.movie(self.start.max(0) as u64), self.movie(end.saturating_sub(media_time)), media_time)
    }

    fn movie(&self, ticks: u64) -> u64 {
        (u128::from(ticks) * u128::from(MOVIE_TIMESCALE)).div_ceil(u128::from(self.init.timescale.max(1))) as u64
    }

    /// Length in the presentation, in movie ticks.
    fn movie_duration(&self) -> u64 {
        let (empty, shown, _) = self.edits();
        empty + shown
    }
}

/// Everything before the media data. `created` in seconds since 1970.
pub(super) fn write_header(tracks: &[Tables], data_len: u64, created: u64) -> Vec<u8> {
    let large_mdat = data_len + 8 > u64::from(u32::MAX);
    let mdat_head = if large_mdat { 16 } else { 8 };
    let mut wide = false;
    loop {
        let (mut bytes, tables) = write_moov(tracks, created, wide);
        let base = bytes.len() as u64 + mdat_head;
        if !wide && base + data_len > u64::from(u32::MAX) {
            wide = true;
            continue;
        }
        // Chunk offsets count from the start of the file, and only now is it known how long the header is.
        for (at, count) in tables {
            let width = if wide { 8 } else { 4 };
            for entry in bytes[at..at + count * width].chunks_exact_mut(width) {
                let relative = entry.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
                entry.copy_from_slice(&(relative + base).to_be_bytes()[8 - width..]);
            }
        }
        if large_mdat {
            bytes.extend([0, 0, 0, 1, b'm', b'd', b'a', b't']);
            bytes.extend((data_len + 16).to_be_bytes());
        } else {
            bytes.extend((data_len as u32 + 8).to_be_bytes());
            bytes.extend(b"mdat");
        }
        return bytes;
    }
}

/// `ftyp` and `moov`, and where the tables of chunk offsets lie (start, entries).
fn write_moov(tracks: &[Tables], created: u64, wide: bool) -> (Vec<u8>, Vec<(usize, usize)>) {
    let created = created.saturating_add(MP4_EPOCH);
    let duration = tracks.iter().map(Tables::movie_duration).max().unwrap_or(0);
    let mut offsets = Vec::new();
    let mut w = BoxWriter::new();
    w.boxed(b"ftyp", |w| {
        w.bytes(b"isom");
        w.u32(0x200);
        w.bytes(b"isomiso2avc1mp41");
    });
    w.boxed(b"moov", |w| {
        let version = version_for(created, duration);
        w.full(b"mvhd", version, 0, |w| {
            w.wide(version, created);
            w.wide(version, created);
            w.u32(MOVIE_TIMESCALE);
            w.wide(version, duration);
            w.u32(0x10000); // rate
            w.u16(0x100); // volume
            w.bytes(&[0; 10]);
            UNITY_MATRIX.iter().for_each(|v| w.u32(*v));
            w.bytes(&[0; 24]);
            w.u32(tracks.len() as u32 + 1);
        });
        for (index, track) in tracks.iter().enumerate() {
            write_trak(w, track, index as u32 + 1, created, wide, &mut offsets);
        }
    });
    (w.finish(), offsets)
}

fn version_for(created: u64, duration: u64) -> u8 {
    u8::from(created.max(duration) > u64::from(u32::MAX))
}

fn write_trak(w: &mut BoxWriter, track: &Tables, id: u32, created: u64, wide: bool, offsets: &mut Vec<(usize, usize)>) {
    let video = track.init.handler.0 == *b"vide";
    w.boxed(b"trak", |w| {
        let duration = track.movie_duration();
        let version = version_for(created, duration);
        w.full(b"tkhd", version, 3, |w| {
            w.wide(version, created);
            w.wide(version, created);
            w.u32(id);
            w.u32(0);
            w.wide(version, duration);
            w.bytes(&[0; 8]);
            w.u16(0); // layer
            w.u16(if video { 0 } else { 1 }); // alternate group
            w.u16(if video { 0 } else { 0x100 }); // volume
            w.u16(0);
            UNITY_MATRIX.iter().for_each(|v| w.u32(*v));
            w.u32(track.init.display.0);
            w.u32(track.init.display.1);
        });
        write_edts(w, track);
        w.boxed(b"mdia", |w| {
            let version = version_for(created, track.duration);
            w.full(b"mdhd", version, 0, |w| {
                w.wide(version, created);
                w.wide(version, created);
                w.u32(track.init.timescale);
                w.wide(version, track.duration);
                w.u16(track.init.language);
                w.u16(0);
            });
            w.full(b"hdlr", 0, 0, |w| {
                w.u32(0);
                w.bytes(&track.init.handler.0);
                w.bytes(&[0; 12]);
                w.bytes(if video { b"video\0" } else { b"audio\0" });
            });
            w.boxed(b"minf", |w| {
                if video {
                    w.full(b"vmhd", 0, 1, |w| w.bytes(&[0; 8]));
                } else {
                    w.full(b"smhd", 0, 0, |w| w.bytes(&[0; 4]));
                }
                w.boxed(b"dinf", |w| {
                    w.full(b"dref", 0, 0, |w| {
                        w.u32(1);
                        w.full(b"url ", 0, 1, |_| {});
                    });
                });
                w.boxed(b"stbl", |w| write_stbl(w, track, wide, offsets));
            });
        });
    });
}

/// Section 8.6.6. Left out where the media is simply shown from its start.
fn write_edts(w: &mut BoxWriter, track: &Tables) {
    let (empty, shown, media_time) = track.edits();
    if empty == 0 && media_time == 0 {
        return;
    }
    w.boxed(b"edts", |w| {
        let version = u8::from(empty.max(shown).max(media_time) > i32::MAX as u64);
        w.full(b"elst", version, 0, |w| {
            w.u32(1 + u32::from(empty > 0));
            if empty > 0 {
                w.wide(version, empty);
                w.wide(version, u64::MAX); // -1: nothing is shown
                w.u32(0x10000);
            }
            w.wide(version, shown);
            w.wide(version, media_time);
            w.u32(0x10000);
        });
    });
}

fn write_stbl(w: &mut BoxWriter, track: &Tables, wide: bool, offsets: &mut Vec<(usize, usize)>) {
    w.full(b"stsd", 0, 0, |w| {
        w.u32(track.entries.len() as u32);
        track.entries.iter().for_each(|entry| w.bytes(entry));
    });
    w.full(b"stts", 0, 0, |w| {
        w.u32(track.stts.len() as u32);
        for (count, delta) in &track.stts {
            w.u32(*count);
            w.u32(*delta);
        }
    });
    let shift = track.cts_shift();
    if track.ctts.iter().any(|(_, cts)| cts + shift != 0) {
        w.full(b"ctts", 0, 0, |w| {
            w.u32(track.ctts.len() as u32);
            for (count, cts) in &track.ctts {
                w.u32(*count);
                w.u32(u32::try_from(cts + shift).unwrap_or(u32::MAX));
            }
        });
    }
    if track.stss.len() < track.stsz.len() {
        w.full(b"stss", 0, 0, |w| {
            w.u32(track.stss.len() as u32);
            track.stss.iter().for_each(|number| w.u32(*number));
        });
    }
    w.full(b"stsc", 0, 0, |w| {
        w.u32(track.stsc.len() as u32);
        for (first, samples, entry) in &track.stsc {
            w.u32(*first);
            w.u32(*samples);
            w.u32(*entry);
        }
    });
    w.full(b"stsz", 0, 0, |w| {
        w.u32(0);
        w.u32(track.stsz.len() as u32);
        track.stsz.iter().for_each(|size| w.u32(*size));
    });
    w.full(if wide { b"co64" } else { b"stco" }, 0, 0, |w| {
        w.u32(track.chunks.len() as u32);
        offsets.push((w.len(), track.chunks.len()));
        track.chunks.iter().for_each(|offset| w.wide(u8::from(wide), *offset));
    });
}
