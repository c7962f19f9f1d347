//! Progressive files over fragments, looked at by ffprobe, ffmpeg and the `mp4` crate.

use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use super::testing::{Cut, audio, cmafmux, ffprobe, video};
use super::*;

/// The epochs of one track, each with a start in seconds.
struct Source {
    epochs: Vec<(u32, Init)>,
    fragments: Vec<FragmentRef>,
    samples: Vec<u8>,
    files: Vec<Vec<u8>>,
}

fn source(cuts: &[(u32, f64, &Cut)]) -> Source {
    let mut out = Source { epochs: vec![], fragments: vec![], samples: vec![], files: vec![] };
    for (number, start, cut) in cuts {
        let init = read_init(&cut.init).unwrap();
        let mut file = cut.init.to_vec();
        for chunk in &cut.chunks {
            let fragment = read_fragment(chunk, init.defaults).unwrap();
            out.fragments.push(FragmentRef {
                decode_time: fragment.decode_time + (start * f64::from(init.timescale)).round() as u64,
                data_offset: (file.len() + fragment.data.start) as u64,
                data_len: fragment.data.len() as u32,
                samples_at: out.samples.len() as u32,
                duration: fragment.duration() as u32,
                epoch: out.epochs.len() as u16,
            });
            encode_samples(&fragment.samples, &mut out.samples);
            file.extend_from_slice(chunk);
        }
        out.epochs.push((*number, init));
        out.files.push(file);
    }
    out
}

fn layout(sources: &[Source]) -> ProgressiveLayout {
    let tracks: Vec<_> =
        sources.iter().map(|s| ProgressiveTrack { epochs: &s.epochs, fragments: &s.fragments, samples: &s.samples }).collect();
    progressive(&tracks, 1_700_000_000).unwrap()
}

fn read(layout: &ProgressiveLayout, sources: &[Source], range: std::ops::Range<u64>, max: u32) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(piece) = layout.piece(range.start + out.len() as u64..range.end, max) {
        match piece {
            Piece::Header(bytes) => {
                assert!(bytes.len() <= max as usize);
                out.extend_from_slice(&bytes);
            }
            Piece::File { track, file, offset, len } => {
                assert!(len <= max);
                out.extend_from_slice(&sources[usize::from(track)].files[usize::from(file)][offset as usize..][..len as usize]);
            }
        }
    }
    out
}

fn write(dir: &Path, layout: &ProgressiveLayout, sources: &[Source]) -> PathBuf {
    let file = dir.join("out.mp4");
    let bytes = read(layout, sources, 0..u64::MAX, 1 << 20);
    assert_eq!(bytes.len() as u64, layout.len());
    std::fs::write(&file, bytes).unwrap();
    file
}

/// Decodes all of it; gives back how many frames came out per stream. No word of complaint is allowed.
fn decode(file: &Path, stream: &str) -> usize {
    let out = Command::new("ffmpeg")
        .args(["-v", "warning", "-nostdin", "-xerror", "-i"])
        .arg(file)
        .args(["-map", stream, "-fps_mode", "passthrough", "-f", "framecrc", "-"])
        .output()
        .unwrap();
    assert!(out.stderr.is_empty() && out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).lines().filter(|l| !l.starts_with('#')).count()
}

fn times(file: &Path, stream: &str) -> Vec<f64> {
    ffprobe(file, &format!("-select_streams {stream} -show_entries frame=best_effort_timestamp_time"))
        .iter()
        .map(|l| l.split(',').next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn video_and_audio_play_in_sync() {
    let dir = tempfile::tempdir().unwrap();
    for (b_frames, extra) in [(0, ""), (2, "-tune animation")] {
        let (picture, sound) = (video("320x180", 4, b_frames, extra), audio("aac", 44_100, 4.0));
        let sources = [source(&[(0, 100.0, &picture)]), source(&[(0, 100.25, &sound)])];
        let file = write(dir.path(), &layout(&sources), &sources);
        assert_eq!(decode(&file, "0:v"), 120);
        assert!(decode(&file, "0:a") >= 172);
        let (v, a) = (times(&file, "v"), times(&file, "a"));
        assert_eq!(v.len(), 120);
        assert!(v[0].abs() < 0.001, "video starts at {}", v[0]);
        assert!((v[119] - 119.0 / 30.0).abs() < 0.001);
        assert!(v.windows(2).all(|w| (w[1] - w[0] - 1.0 / 30.0).abs() < 0.001));
        // ffmpeg's encoder delay of 1024 samples is put before the start of the sound by an edit list or is part of it.
        assert!((a[0] - 0.25).abs() < 0.03, "audio starts at {}", a[0]);

        let read = mp4::Mp4Reader::read_header(std::fs::File::open(&file).unwrap(), std::fs::metadata(&file).unwrap().len()).unwrap();
        assert_eq!(read.tracks().len(), 2);
        assert_eq!(read.sample_count(1).unwrap(), 120);
        assert!((read.tracks()[&1].duration().as_secs_f64() - 4.0).abs() < 0.1);
        assert_eq!(read.tracks()[&1].width(), 320);
    }
}

#[test]
fn what_the_segmenter_makes() {
    let dir = tempfile::tempdir().unwrap();
    for b_frames in [0, 2] {
        let picture = cmafmux(&format!(
            "videotestsrc num-buffers=120 ! video/x-raw,width=320,height=180,framerate=30/1 ! \
             x264enc speed-preset=ultrafast bframes={b_frames} key-int-max=60 ! h264parse ! video/x-h264,stream-format=avc,alignment=au"
        ));
        let sound = cmafmux("audiotestsrc num-buffers=188 samplesperbuffer=1024 ! audio/x-raw,rate=48000,channels=2 ! voaacenc ! aacparse");
        assert!(picture.chunks.len() >= 15, "{}", picture.chunks.len());
        let init = read_init(&picture.init).unwrap();
        for chunk in &picture.chunks {
            let fragment = read_fragment(chunk, init.defaults).unwrap();
            assert_eq!(fragment.end, chunk.len());
        }
        let sources = [source(&[(0, 7.0, &picture), (1, 3.0, &picture)]), source(&[(0, 7.0, &sound), (1, 3.0, &sound)])];
        let file = write(dir.path(), &layout(&sources), &sources);
        assert_eq!(decode(&file, "0:v"), 240);
        let (v, a) = (times(&file, "v"), times(&file, "a"));
        assert!(v[0].abs() < 0.04 && a[0].abs() < 0.04, "{} {}", v[0], a[0]);
        assert!(v.windows(2).all(|w| w[1] > w[0] && w[1] - w[0] < 0.11), "{v:?}");
    }
    let sound = cmafmux("audiotestsrc num-buffers=100 samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=2 ! opusenc ! opusparse");
    assert_eq!(read_init(&sound.init).unwrap().codec_string, "opus");
    let sources = [source(&[(0, 0.0, &sound)])];
    let file = write(dir.path(), &layout(&sources), &sources);
    assert!(decode(&file, "0:a") >= 100);
}

#[test]
fn samples_are_bit_exact() {
    let dir = tempfile::tempdir().unwrap();
    let picture = video("320x180", 2, 2, "-tune animation");
    let sources = [source(&[(0, 0.0, &picture)])];
    let file = write(dir.path(), &layout(&sources), &sources);
    let whole = dir.path().join("fragmented.mp4");
    std::fs::write(&whole, &sources[0].files[0]).unwrap();
    // The progressive file starts at 0; ffprobe's times of the fragmented one are later by the reordering delay.
    let packets = |file: &Path| {
        let lines = ffprobe(file, "-show_packets -show_entries packet=pts,duration,data_hash,flags -show_data_hash sha256");
        let split: Vec<(i64, String)> =
            lines.iter().map(|l| l.split_once(',').unwrap()).map(|(p, r)| (p.parse().unwrap(), r.to_owned())).collect();
        let first = split[0].0;
        split.into_iter().map(|(pts, rest)| (pts - first, rest)).collect::<Vec<_>>()
    };
    let (made, original) = (packets(&file), packets(&whole));
    assert_eq!(made.len(), 60);
    assert!(made == original);
}

#[test]
fn epochs_follow_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (small, large) = (video("320x180", 2, 0, ""), video("640x360", 2, 0, ""));
    let (a, b) = (audio("aac", 48_000, 2.0), audio("aac", 44_100, 2.0));
    let sources = [source(&[(0, 5.0, &small), (3, 0.0, &large)]), source(&[(0, 5.0, &a), (3, 0.0, &b)])];
    let file = write(dir.path(), &layout(&sources), &sources);
    assert_eq!(times(&file, "v").len(), 120);
    let v = times(&file, "v");
    assert!((v[60] - 2.0).abs() < 0.05, "the second epoch starts at {}", v[60]);
    assert!(v.windows(2).all(|w| w[1] > w[0]));
    assert_eq!(decode(&file, "0:v"), 120);
    assert!((times(&file, "a").last().unwrap() - 4.0).abs() < 0.1);
    let sizes = ffprobe(&file, "-select_streams v -show_entries frame=width");
    assert_eq!((sizes.iter().filter(|w| *w == "320").count(), sizes.iter().filter(|w| *w == "640").count()), (60, 60));
}

#[test]
fn a_track_that_comes_later_starts_later() {
    let dir = tempfile::tempdir().unwrap();
    let (picture, sound) = (video("320x180", 2, 0, ""), audio("aac", 48_000, 2.0));
    let sources = [source(&[(0, 5.0, &picture), (1, 9.0, &picture)]), source(&[(1, 9.0, &sound)])];
    let file = write(dir.path(), &layout(&sources), &sources);
    assert_eq!(decode(&file, "0:v"), 120);
    assert!((times(&file, "v")[60] - 2.0).abs() < 0.01);
    assert!((times(&file, "a")[0] - 2.0).abs() < 0.03);
}

#[test]
fn opus_and_sound_alone() {
    let dir = tempfile::tempdir().unwrap();
    let sound = audio("libopus", 48_000, 2.0);
    let sources = [source(&[(0, 0.0, &sound)])];
    let file = write(dir.path(), &layout(&sources), &sources);
    assert!(decode(&file, "0:a") >= 100);
    assert_eq!(ffprobe(&file, "-show_entries stream=codec_name"), ["opus"]);
}

#[test]
fn a_pause_in_the_middle_stays_one() {
    let dir = tempfile::tempdir().unwrap();
    let picture = video("320x180", 2, 0, "");
    let mut source = source(&[(0, 1.0, &picture)]);
    let half = source.fragments.len() / 2;
    source.fragments[half..].iter_mut().for_each(|f| f.decode_time += 90_000 * 3);
    let sources = [source];
    let file = write(dir.path(), &layout(&sources), &sources);
    let v = times(&file, "v");
    assert_eq!(v.len(), 60);
    assert!(v.windows(2).any(|w| (w[1] - w[0] - 3.0 - 1.0 / 30.0).abs() < 0.01));
}

#[test]
fn beyond_four_gib() {
    // 7 h of 1.2 MB a second in fragments of 2 s: nothing of it exists, only its places.
    let init = read_init(&video("320x180", 1, 0, "").init).unwrap();
    let mut samples = Vec::new();
    encode_samples(&[Sample { duration: 90_000, size: 1_200_000, cts: 0, sync: true }; 2], &mut samples);
    let fragments: Vec<_> = (0..12_600u64)
        .map(|i| FragmentRef {
            decode_time: i * 180_000,
            data_offset: 1000 + i * 2_400_200,
            data_len: 2_400_000,
            samples_at: 0,
            duration: 180_000,
            epoch: 0,
        })
        .collect();
    let epochs = [(0, init)];
    let layout = progressive(&[ProgressiveTrack { epochs: &epochs, fragments: &fragments, samples: &samples }], 0).unwrap();
    let data = 12_600 * 2_400_000u64;
    let header = layout.header();
    assert_eq!(layout.len(), header.len() as u64 + data);
    assert_eq!(header[header.len() - 16..header.len() - 8], *b"\0\0\0\x01mdat");
    assert_eq!(header[header.len() - 8..], (data + 16).to_be_bytes());
    let reader = mp4::Mp4Reader::read_header(std::io::Cursor::new(header), layout.len()).unwrap();
    let track = &reader.tracks()[&1];
    let offsets = &track.trak.mdia.minf.stbl.co64.as_ref().unwrap().entries;
    assert_eq!(offsets[0], header.len() as u64);
    assert_eq!(*offsets.last().unwrap(), header.len() as u64 + 12_599 * 2_400_000);
    assert_eq!(reader.sample_count(1).unwrap(), 25_200);
    let last = layout.piece(layout.len() - 10..layout.len(), 100).unwrap();
    assert_eq!(last, Piece::File { track: 0, file: 0, offset: 1000 + 12_599 * 2_400_200 + 2_400_000 - 10, len: 10 });
    assert!(layout.piece(layout.len()..layout.len() + 5, 100).is_none());
}

#[test]
fn nothing_recorded_and_damaged_tables_are_errors() {
    assert!(progressive(&[], 0).is_err());
    let picture = video("320x180", 1, 0, "");
    let good = source(&[(0, 0.0, &picture)]);
    for damage in [
        |f: &mut FragmentRef| f.epoch = 9,
        |f: &mut FragmentRef| f.samples_at = 1 << 30,
        |f: &mut FragmentRef| f.data_len += 1,
        |f: &mut FragmentRef| f.decode_time = u64::MAX,
    ] {
        let mut fragments = good.fragments.clone();
        damage(&mut fragments[0]);
        assert!(progressive(&[ProgressiveTrack { epochs: &good.epochs, fragments: &fragments, samples: &good.samples }], 0).is_err());
    }
}

#[test]
fn any_range_is_a_slice_of_the_whole() {
    let (picture, sound) = (video("320x180", 2, 0, ""), audio("aac", 44_100, 2.0));
    let sources = [source(&[(0, 0.0, &picture)]), source(&[(0, 0.0, &sound)])];
    let layout = layout(&sources);
    let whole = read(&layout, &sources, 0..layout.len(), 1 << 18);
    proptest!(ProptestConfig::with_cases(64), |(start in 0..layout.len(), len in 0u64..100_000, max in 1000u32..70_000)| {
        let end = (start + len).min(layout.len());
        prop_assert_eq!(read(&layout, &sources, start..end, max), &whole[start as usize..end as usize]);
    });
}
