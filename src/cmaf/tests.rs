//! The readers against files made by ffmpeg and against damage.

use proptest::prelude::*;

use super::boxes::BoxWriter;
use super::fragment::ChunkTimes;
use super::testing::{audio, cut, video};
use super::*;

#[test]
fn reads_what_ffmpeg_writes() {
    let file = video("320x180", 3, 0, "");
    let init = read_init(&file.init).unwrap();
    assert_eq!((init.timescale, init.resolution, &*init.handler.to_string()), (90_000, Some((320, 180)), "vide"));
    assert!(init.codec_string.starts_with("avc1.42"), "{}", init.codec_string);
    assert!(file.chunks.len() >= 5);
    let mut at = 0;
    let mut frames = 0;
    for (index, chunk) in file.chunks.iter().enumerate() {
        let fragment = read_fragment(chunk, init.defaults).unwrap();
        assert_eq!(fragment.decode_time, at, "chunk {index}");
        assert_eq!((fragment.data.end, fragment.end), (chunk.len(), chunk.len()));
        at += fragment.duration();
        frames += fragment.samples.len();
    }
    assert_eq!((at, frames), (3 * 90_000, 90));
    let keys: usize = file.chunks.iter().flat_map(|c| read_fragment(c, init.defaults).unwrap().samples).filter(|s| s.sync).count();
    assert_eq!(keys, 2);
}

#[test]
fn pixels_that_are_not_square() {
    let of = |extra: &str| {
        let file = video("720x576", 1, 0, extra);
        let init = read_init(&file.init).unwrap();
        let told = TrackInit {
            track: 0,
            epoch: 0,
            codec: crate::codec::Codec::H264,
            codec_string: init.codec_string,
            timescale: 90_000,
            resolution: init.resolution,
            audio: None,
            data: file.init.clone(),
        };
        (init.sar, told.sar(), told.display())
    };
    assert_eq!(of("-vf setsar=16/11"), (Some((16, 11)), Some((16, 11)), Some((1047, 576))));
    assert_eq!(of("-vf setsar=1"), (None, None, Some((720, 576))));
}

#[test]
fn reads_audio_of_both_codecs() {
    for (codec, rate, name) in [("aac", 44_100, "mp4a.40.2"), ("libopus", 48_000, "opus")] {
        let file = audio(codec, rate, 1.0);
        let init = read_init(&file.init).unwrap();
        assert_eq!((init.timescale, init.audio.map(|a| a.0), &*init.codec_string), (rate, Some(rate), name));
        let samples: u64 = file.chunks.iter().map(|c| read_fragment(c, init.defaults).unwrap().duration()).sum();
        assert!(samples >= u64::from(rate), "{codec}: {samples}");
        assert!(file.chunks.iter().all(|c| read_fragment(c, init.defaults).unwrap().samples.iter().all(|s| s.sync)));
    }
}

#[test]
fn b_frames_have_composition_offsets() {
    let file = video("320x180", 2, 2, "-tune animation");
    let init = read_init(&file.init).unwrap();
    let samples: Vec<_> = file.chunks.iter().flat_map(|c| read_fragment(c, init.defaults).unwrap().samples).collect();
    assert!(samples.iter().any(|s| s.cts != samples[0].cts));
}

/// A fragment of three samples whose `trun` has the fields in `flags`.
fn fragment(tfdt_version: u8, tfhd_flags: u32, trun_flags: u32) -> Vec<u8> {
    let build = |offset: u32| {
        let mut w = BoxWriter::new();
        w.boxed(b"moof", |w| {
            w.full(b"mfhd", 0, 0, |w| w.u32(7));
            w.boxed(b"traf", |w| {
                w.full(b"tfhd", 0, 0x02_0000 | tfhd_flags, |w| {
                    w.u32(1);
                    for (bit, value) in [(0x2, 1), (0x8, 10), (0x10, 4), (0x20, 0x0101_0000)] {
                        if tfhd_flags & bit != 0 {
                            w.u32(value);
                        }
                    }
                });
                w.full(b"tfdt", tfdt_version, 0, |w| w.wide(tfdt_version, 1000));
                w.full(b"trun", 1, trun_flags, |w| {
                    w.u32(3);
                    if trun_flags & 1 != 0 {
                        w.u32(offset);
                    }
                    if trun_flags & 4 != 0 {
                        w.u32(0x0200_0000);
                    }
                    for sample in 0..3u32 {
                        for (bit, value) in [(0x100, 20 + sample), (0x200, 1 + sample), (0x400, 0x0101_0000), (0x800, (-5i32) as u32)] {
                            if trun_flags & bit != 0 {
                                w.u32(value);
                            }
                        }
                    }
                });
            });
        });
        w
    };
    let moof = build(0).len() as u32;
    let mut w = build(moof + 8);
    w.boxed(b"mdat", |w| w.bytes(&[9; 12]));
    w.finish()
}

#[test]
fn every_combination_of_flags() {
    let trex = SampleDefaults { duration: 30, size: 2, flags: 0 };
    for tfdt in [0, 1] {
        for tfhd in (0..16u32).map(|bits| (bits & 1) << 1 | (bits & 0b1110) << 2) {
            for trun in (0..64u32).map(|bits| (bits & 1) | (bits & 2) << 1 | (bits >> 2) << 8) {
                let bytes = fragment(tfdt, tfhd, trun);
                let fragment = read_fragment(&bytes, trex).unwrap_or_else(|e| panic!("tfhd {tfhd:x} trun {trun:x}: {e}"));
                assert_eq!((fragment.decode_time, fragment.sequence_number, fragment.samples.len()), (1000, 7, 3));
                let times = ChunkTimes { decode_time: 1000, duration: fragment.duration() };
                assert_eq!(chunk_times(&bytes[..fragment.moof.end], trex), Ok(times), "without its samples");
                assert!(chunk_times(&bytes[..fragment.moof.end - 1], trex).is_err());
                for (index, sample) in fragment.samples.iter().enumerate() {
                    let number = index as u32;
                    let duration = if trun & 0x100 != 0 {
                        20 + number
                    } else if tfhd & 8 != 0 {
                        10
                    } else {
                        30
                    };
                    let size = if trun & 0x200 != 0 {
                        1 + number
                    } else if tfhd & 0x10 != 0 {
                        4
                    } else {
                        2
                    };
                    let sync = if trun & 4 != 0 && index == 0 { true } else { trun & 0x400 == 0 && tfhd & 0x20 == 0 };
                    assert_eq!(*sample, Sample { duration, size, cts: if trun & 0x800 != 0 { -5 } else { 0 }, sync });
                }
                let sum: u32 = fragment.samples.iter().map(|s| s.size).sum();
                assert_eq!(fragment.data, bytes.len() - 12..bytes.len() - 12 + sum as usize);
            }
        }
    }
}

#[test]
fn only_the_brand_that_promises_too_much_is_replaced() {
    for (kind, brand, left) in
        [(b"ftyp", b"cmf2", b"cmfc"), (b"styp", b"cmf2", b"cmfc"), (b"styp", b"iso6", b"iso6"), (b"moof", b"cmf2", b"cmf2")]
    {
        let make = |brand: &[u8; 4]| {
            let mut w = BoxWriter::new();
            w.boxed(kind, |w| w.bytes(brand));
            w.finish()
        };
        let mut data = make(brand);
        set_brand(&mut data);
        assert_eq!(data, make(left));
    }
    set_brand(&mut [0; 11]);
}

#[test]
fn a_count_that_lies_is_refused() {
    let mut w = BoxWriter::new();
    w.boxed(b"moof", |w| {
        w.full(b"mfhd", 0, 0, |w| w.u32(7));
        w.boxed(b"traf", |w| {
            w.full(b"tfhd", 0, 0x02_0000, |w| w.u32(1));
            w.full(b"tfdt", 0, 0, |w| w.u32(0));
            w.full(b"trun", 0, 0, |w| w.u32(u32::MAX));
        });
    });
    w.boxed(b"mdat", |_| {});
    assert!(matches!(read_fragment(&w.finish(), SampleDefaults::default()), Err(CmafError::Damaged { .. })));
}

/// When each sample is decoded and shown, how large it is and whether decoding can start there.
fn times(fragment: &Fragment) -> Vec<(i64, i64, u32, bool)> {
    let mut dts = fragment.decode_time as i64;
    let mut out = Vec::new();
    for sample in &fragment.samples {
        out.push((dts, dts + i64::from(sample.cts), sample.size, sample.sync));
        dts += i64::from(sample.duration);
    }
    out
}

#[test]
fn decoding_times_move_without_what_is_shown() {
    let trex = SampleDefaults { duration: 30, size: 2, flags: 0 };
    for tfdt in [0, 1] {
        for flags in (0..64u32).map(|bits| (bits & 1) | (bits & 2) << 1 | (bits >> 2) << 8) {
            let bytes = fragment(tfdt, 0x38, flags);
            let before = read_fragment(&bytes, trex).unwrap();
            let head = before.moof.end + 8;
            let moved = shift_times(&bytes, -7, 7).unwrap();
            let after = read_fragment(&moved, trex).unwrap();
            assert_eq!((after.decode_time, after.sequence_number), (993, 7));
            assert_eq!(moved[after.data.clone()], bytes[before.data.clone()], "trun {flags:x}");
            let wanted: Vec<_> = times(&before).into_iter().map(|(dts, pts, size, sync)| (dts - 7, pts, size, sync)).collect();
            assert_eq!(times(&after), wanted, "trun {flags:x}");
            // What follows the moof may come later.
            let of_head = shift_times(&bytes[..head], -7, 7).unwrap();
            assert_eq!([&of_head[..], &bytes[head..]].concat(), moved);
            assert!(shift_times(&bytes, -1001, 7).is_err());
            assert_eq!(shift_times(&bytes, 1 << 32, 7).is_err(), tfdt == 0);
        }
    }
    assert_eq!(shift_times(b"", 1, 1), Err(CmafError::Missing { name: FourCc(*b"moof"), parent: "chunk" }));
}

#[test]
fn an_edit_list_is_read_as_it_is_written() {
    let file = video("320x180", 1, 0, "");
    let before = read_init(&file.init).unwrap();
    assert_eq!(before.presentation_shift, 0);
    let edited = add_edit_list(&file.init, 6000).unwrap();
    assert_eq!(read_init(&edited), Ok(Init { presentation_shift: -6000, ..before }));
}

#[test]
fn cut_off_everywhere() {
    let file = video("320x180", 1, 0, "");
    let chunk = &file.chunks[0];
    for len in 0..chunk.len().min(2000) {
        assert!(read_fragment(&chunk[..len], SampleDefaults::default()).is_err());
    }
    for len in 0..file.init.len() {
        assert!(read_init(&file.init[..len]).is_err());
    }
    assert_eq!(cut(chunk).chunks.len(), 1);
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_init(&bytes);
        let _ = read_fragment(&bytes, SampleDefaults::default());
        let _ = shift_times(&bytes, -1, 1);
        let _ = add_edit_list(&bytes, 1);
    }

    #[test]
    fn damage_never_panics(at in 0usize..200, value: u8, trun in 0u32..64) {
        let mut bytes = fragment(1, 0x38, (trun & 1) | (trun & 2) << 1 | (trun >> 2) << 8);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        if let Ok(fragment) = read_fragment(&bytes, SampleDefaults::default()) {
            prop_assert!(fragment.data.end <= bytes.len() && fragment.samples.len() <= MAX_SAMPLES_PER_FRAGMENT);
        }
        let _ = shift_times(&bytes, 3, u32::MAX);
    }
}
