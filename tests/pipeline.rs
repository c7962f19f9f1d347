//! Real GStreamer children, fed with real H.264, AAC, Opus and VP8; what comes out is judged by ffprobe and ffmpeg.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod pipeline_support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use headend::inside::codec::Format;
use headend::inside::pipeline::segmenter::{Continuity, EpochEnd, SegmenterEvent};
use headend::inside::stream::TranscodeTarget;

use pipeline_support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h264_and_aac_become_aligned_chunks_with_the_same_pictures() {
    // B-frames, GOP in pictures, pictures a second
    for (b_frames, gop, fps) in [(0, 60, 30), (2, 30, 30), (2, 50, 25)] {
        let dir = tempfile::tempdir().unwrap();
        let source = flv(dir.path(), 9, fps, gop, b_frames);
        let media = read_flv(&source);
        let supervisor = supervisor();
        let mut continuity = Continuity::default();
        let (end, events) = segment(&supervisor, &media, &mut continuity, 8.0, std::future::pending()).await;
        assert_eq!(end, EpochEnd::Rebuild);
        assert_eq!(continuity.epoch, 1);
        let (video, audio) = (chunks(&events, 0, 0), chunks(&events, 1, 0));
        check_chunks(&video, 100);
        check_chunks(&audio, 1);
        check_alignment(&video, &audio);
        assert_eq!(video.last().unwrap().segment, 4);
        for chunk in video.iter().filter(|chunk| !chunk.last) {
            let seconds = chunk.duration as f64 / 90_000.0;
            assert!((0.165..0.31).contains(&seconds), "{seconds}");
        }
        let inits: Vec<_> = events.iter().filter(|event| matches!(event, SegmenterEvent::Init(_))).collect();
        assert_eq!(inits.len(), 2);

        let video = write_track(dir.path(), "video.mp4", &events, 0, 0);
        let audio = write_track(dir.path(), "audio.mp4", &events, 1, 0);
        let (got, wanted) = (decoded(&video, "0:v"), decoded(&source, "0:v"));
        assert_eq!(got.len(), wanted.len(), "b_frames {b_frames}");
        for (got, wanted) in got.iter().zip(&wanted) {
            assert_eq!(got.1, wanted.1, "another picture at {}", got.0);
        }
        // The first picture is shown where media time begins, in whatever order they come; FLV's times are whole milliseconds.
        assert!((got[0].0 - 1_572_864 * 90_000).abs() <= 1, "{}", got[0].0);
        let offset = got[0].0 - wanted[0].0;
        assert!(got.iter().zip(&wanted).all(|(got, wanted)| (got.0 - wanted.0 - offset).abs() <= 90));
        let (got, wanted) = (decoded(&audio, "0:a"), decoded(&source, "0:a"));
        assert!(got.len() + 3 >= wanted.len() && got.len() <= wanted.len(), "{} {}", got.len(), wanted.len());
        supervisor.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_and_sound_are_shown_at_their_times_whatever_the_order_of_decoding() {
    for b_frames in [0, 2, 3] {
        let dir = tempfile::tempdir().unwrap();
        let media = read_flv(&flv(dir.path(), 6, 30, 60, b_frames));
        let supervisor = supervisor();
        let (_, events) = segment(&supervisor, &media, &mut Continuity::default(), 8.0, std::future::pending()).await;
        supervisor.shutdown().await;
        assert_eq!(media[0].units.iter().any(|unit| unit.pts != unit.dts), b_frames > 0);
        for (index, track) in media.iter().enumerate() {
            let mut sent: Vec<i64> = track.units.iter().map(|unit| unit.pts).collect();
            sent.sort_unstable();
            let shown = shown(&events, index as u32, 0);
            // Sound that was there before the first picture is left out.
            assert!(shown.len() <= sent.len() && shown.len() + 5 >= sent.len(), "{} {}", shown.len(), sent.len());
            let sent = &sent[sent.len() - shown.len()..];
            let worst = shown.iter().zip(sent).map(|(shown, sent)| (shown - sent).abs()).max().unwrap();
            eprintln!("{b_frames} B-frames, track {index}: {} samples, at most {worst} ns off", shown.len());
            // FLV's times are whole milliseconds, sound has its own grid.
            assert!(worst <= 1_000_000, "{b_frames} B-frames, track {index}: {worst}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_child_begins_the_next_epoch_where_the_last_ended() {
    let dir = tempfile::tempdir().unwrap();
    let media = read_flv(&flv(dir.path(), 8, 30, 30, 0));
    let supervisor = supervisor();
    let mut continuity = Continuity::default();
    let killer = supervisor.clone();
    let kill = async move {
        while killer.metrics().chunks.get() < 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for pid in killer.child_pids().await {
            assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
        }
        std::future::pending::<EpochEnd>().await
    };
    let (end, mut events) = segment(&supervisor, &media, &mut continuity, 4.0, kill).await;
    assert_eq!(end, EpochEnd::Lost);
    let (end, more) = segment(&supervisor, &media, &mut continuity, 8.0, std::future::pending()).await;
    assert_eq!(end, EpochEnd::Rebuild);
    events.extend(more);
    let (before, after) = (chunks(&events, 0, 0), chunks(&events, 0, 1));
    check_chunks(&before, 100);
    check_chunks(&after, 100);
    check_alignment(&after, &chunks(&events, 1, 1));
    assert_eq!(after[0].segment, before.last().unwrap().segment + 1);
    let gap = after[0].wallclock - before.last().unwrap().wallclock;
    assert!((0..1_300_000_000).contains(&gap), "{gap}");
    assert_eq!(supervisor.metrics().children_died.get(), 1);
    supervisor.shutdown().await;
    assert_eq!(supervisor.metrics().children.get(), 0);
}

/// When the tone begins in a track, in ms since [`BEGIN`]: decoded as a browser would, which skips nothing at the start.
async fn onset(dir: &Path, track: &TestTrack) -> f64 {
    let supervisor = supervisor();
    let mut continuity = Continuity::default();
    let (_, events) = segment(&supervisor, std::slice::from_ref(track), &mut continuity, 16.0, std::future::pending()).await;
    supervisor.shutdown().await;
    let first = chunks(&events, 1, 0)[0].clone(); // sound is track 1, also alone
    let path = write_track(dir, "onset.mp4", &events, 1, 0);
    let raw = dir.join("onset.raw");
    ffmpeg(&["-flags2", "+skip_manual", "-i", path.to_str().unwrap(), "-ac", "1", "-ar", "48000", "-f", "s16le"], &raw);
    let data = std::fs::read(raw).unwrap();
    let sample = |n: usize| i16::from_le_bytes([data[2 * n], data[2 * n + 1]]);
    let n = (0..data.len() / 2).find(|n| sample(*n).abs() > 1500).unwrap();
    (first.wallclock - BEGIN) as f64 / 1e6 + n as f64 / 48.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transcoded_sound_stays_in_sync() {
    let dir = tempfile::tempdir().unwrap();
    let tone = "sine=frequency=1000:sample_rate=48000:duration=4,volume=enable='lt(t,2)':volume=0,volume=4";
    let (flv, ogg) = (dir.path().join("tone.flv"), dir.path().join("tone.ogg"));
    ffmpeg(&["-f", "lavfi", "-i", tone, "-c:a", "aac", "-ac", "2"], &flv);
    ffmpeg(&["-f", "lavfi", "-i", tone, "-c:a", "libopus", "-ac", "2"], &ogg);
    let supervisor = supervisor();
    for (source, target) in [(read_flv(&flv).remove(0), TranscodeTarget::Opus), (read_ogg_opus(&ogg), TranscodeTarget::Aac)] {
        // In real time: what comes faster is taken for a backlog, which real-time viewers don't get.
        let made = transcode(&supervisor, &source, target, TestSink::default(), 1.0).await;
        let (wanted, got) = (onset(dir.path(), &source).await, onset(dir.path(), &made).await);
        println!("{target:?}: tone at {wanted:.1} ms, after transcoding at {got:.1} ms, {} units", made.units.len());
        assert!((wanted - got).abs() < 5.0, "{wanted} {got}");
        assert!(made.units.windows(2).all(|pair| pair[0].pts < pair[1].pts));
    }
    supervisor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transcoded_pictures_keep_their_times_and_order() {
    let dir = tempfile::tempdir().unwrap();
    let ivf = dir.path().join("v.ivf");
    let picture = "testsrc2=size=320x180:rate=30:duration=4";
    ffmpeg(
        &[
            "-f",
            "lavfi",
            "-i",
            picture,
            "-c:v",
            "libvpx",
            "-deadline",
            "realtime",
            "-cpu-used",
            "8",
            "-g",
            "300",
            "-lag-in-frames",
            "0",
            "-auto-alt-ref",
            "0",
        ],
        &ivf,
    );
    let reordered = read_flv(&flv(dir.path(), 4, 30, 60, 2)).remove(0);
    let supervisor = supervisor();
    for source in [read_ivf(&ivf), reordered] {
        let sink = TestSink { want_key_after: Some(45), ..TestSink::default() };
        let made = transcode(&supervisor, &source, TranscodeTarget::H264, sink, 2.0).await;
        let mut wanted: Vec<i64> = source.units.iter().map(|unit| unit.pts).collect();
        wanted.sort_unstable();
        let got: Vec<i64> = made.units.iter().map(|unit| unit.pts).collect();
        assert!(got.len() + 4 >= wanted.len(), "{} of {}", got.len(), wanted.len());
        for (got, wanted) in got.iter().zip(&wanted) {
            assert!((got - wanted).abs() < 2_000_000, "{got} {wanted}");
        }
        assert!(made.units.iter().all(|unit| unit.dts <= unit.pts), "{:?}", made.units[0]);
        let keys: Vec<usize> = made.units.iter().enumerate().filter(|(_, unit)| unit.key).map(|(n, _)| n).collect();
        assert!(keys.iter().any(|n| (45..59).contains(n)), "{keys:?}");
        assert!(matches!(made.format, Format::H264 { .. }));
        assert!(!headend::inside::codec::h264::may_reorder(match &made.format {
            Format::H264 { sps, .. } => sps,
            _ => unreachable!(),
        }));
    }
    supervisor.shutdown().await;
}
