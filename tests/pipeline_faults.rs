//! What goes wrong with streams and with children, and what the segmenter makes of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod pipeline_support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use headend::inside::cmaf::Chunk;
use headend::inside::codec::Codec;
use headend::inside::pipeline::segmenter::{Continuity, EpochEnd, SegmenterEvent};
use headend::inside::pipeline::{PipelineConfig, Supervisor};

use pipeline_support::*;

const SECOND: i64 = 1_000_000_000;

fn media(dir: &Path, seconds: u32) -> Vec<TestTrack> {
    read_flv(&flv(dir, seconds, 30, 30, 0))
}

fn later(track: &TestTrack, by: i64) -> impl Iterator<Item = headend::inside::codec::AccessUnit> + '_ {
    track.units.iter().cloned().map(move |mut unit| {
        unit.pts += by;
        unit.dts += by;
        unit
    })
}

fn seconds(chunks: &[Chunk]) -> f64 {
    (chunks.last().unwrap().wallclock - chunks[0].wallclock) as f64 / SECOND as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_size_ends_the_epoch_with_all_that_was_before() {
    let dir = tempfile::tempdir().unwrap();
    let small = media(dir.path(), 3);
    let path = dir.path().join("large.flv");
    let args = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30:duration=3", "-c:v", "libx264", "-g", "30", "-bf", "0"];
    ffmpeg(&[&args[..], &["-pix_fmt", "yuv420p"]].concat(), &path);
    let large = read_flv(&path).remove(0);
    // The parameter sets change in band; as with a publisher, the format announced at the start is the first one.
    let (mut first, mut second) = (Sender::new(&small[0].format), Sender::new(&large.format));
    let mut batches: Vec<_> = small[0].units.iter().map(|unit| first.batch(unit)).collect();
    second.go_on_after(&first);
    batches.extend(later(&large, 3 * SECOND).map(|unit| second.batch(&unit)));
    let supervisor = supervisor();
    let mut continuity = Continuity::default();
    let tracks = [small[0].clone()];
    let source = vec![from_batches(batches.clone(), Duration::from_millis(3))];
    let (end, events) = segment_sources(&supervisor, &tracks, source, &mut continuity, std::future::pending()).await;
    assert_eq!(end, EpochEnd::Rebuild);
    let old = chunks(&events, 0, 0);
    check_chunks(&old, 100);
    assert!(old.last().unwrap().last);
    assert_eq!(decoded(&write_track(dir.path(), "old.mp4", &events, 0, 0), "0:v").len(), small[0].units.len());

    let tracks = [TestTrack { format: large.format.clone(), units: Vec::new() }];
    let mut rest = batches[85..].to_vec();
    rest[0].clock = batches[0].clock;
    let source = vec![from_batches(rest, Duration::from_millis(3))];
    let (_, events) = segment_sources(&supervisor, &tracks, source, &mut continuity, std::future::pending()).await;
    let new = chunks(&events, 0, 1);
    assert_eq!(new[0].segment, old.last().unwrap().segment + 1);
    assert_eq!(decoded(&write_track(dir.path(), "new.mp4", &events, 0, 1), "0:v").len(), large.units.len());
    let SegmenterEvent::Init(init) = &events[0] else { panic!() };
    assert_eq!((init.resolution, init.codec), (Some((640, 360)), Codec::H264));
    supervisor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jump_of_the_timestamps_ends_the_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let mut tracks = media(dir.path(), 3);
    for track in &mut tracks {
        let more: Vec<_> = later(track, 60 * SECOND).collect();
        track.units.extend(more);
    }
    let sources = play_compressed(&tracks, 8.0, 60 * SECOND, 3 * SECOND);
    let supervisor = supervisor();
    let (end, events) = segment_sources(&supervisor, &tracks, sources, &mut Continuity::default(), std::future::pending()).await;
    assert_eq!(end, EpochEnd::Rebuild);
    assert!((2.5..3.1).contains(&seconds(&chunks(&events, 0, 0))));
    supervisor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_in_the_sound_is_filled_with_silence() {
    let dir = tempfile::tempdir().unwrap();
    let mut tracks = media(dir.path(), 6);
    let before = tracks[1].units.len();
    tracks[1].units.retain(|unit| !(2 * SECOND..3 * SECOND).contains(&unit.pts));
    assert!(before - tracks[1].units.len() > 40);
    let supervisor = supervisor();
    let (_, events) = segment(&supervisor, &tracks, &mut Continuity::default(), 8.0, std::future::pending()).await;
    let (video, audio) = (chunks(&events, 0, 0), chunks(&events, 1, 0));
    check_chunks(&audio, 1);
    check_alignment(&video, &audio);
    let frames = decoded(&write_track(dir.path(), "audio.mp4", &events, 1, 0), "0:a");
    assert!(frames.len().abs_diff(before) <= 3, "{} {before}", frames.len());
    supervisor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_loss_pictures_go_on_at_a_key_frame_which_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let tracks = media(dir.path(), 6);
    let mut count = 0;
    let sources = play_changed(&tracks, 8.0, move |track, batch| {
        if track == 0 {
            count += 1;
            if count == 70 {
                batch.split_off(batch.len().saturating_sub(1));
            }
        }
    });
    let asked = std::sync::Arc::clone(&sources[0].key_requests);
    let supervisor = supervisor();
    let (_, events) = segment_sources(&supervisor, &tracks, sources, &mut Continuity::default(), std::future::pending()).await;
    assert!(*asked.lock().unwrap() >= 1);
    let frames = decoded(&write_track(dir.path(), "video.mp4", &events, 0, 0), "0:v");
    // The last picture before the loss is repeated meanwhile, so that parts stay as short as they have to be.
    let mut pictures: Vec<&String> = frames.iter().map(|(_, hash)| hash).collect();
    pictures.dedup();
    assert_eq!(pictures.len(), 180 - 21, "69 before the loss, then from 90 on");
    check_alignment(&chunks(&events, 0, 0), &chunks(&events, 1, 0));
    supervisor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_alone_and_pictures_alone() {
    let dir = tempfile::tempdir().unwrap();
    let tracks = media(dir.path(), 6);
    let supervisor = supervisor();
    // Pictures are track 0 and sound is track 1, also alone.
    for (number, track) in tracks.into_iter().enumerate() {
        let one = [track];
        let (_, events) = segment(&supervisor, &one, &mut Continuity::default(), 8.0, std::future::pending()).await;
        let found = chunks(&events, number as u32, 0);
        check_chunks(&found, 100);
        // The sound is a frame longer than 6 s.
        assert!((2..=3).contains(&found.last().unwrap().segment));
        assert!(seconds(&found) > 5.5);
    }
    supervisor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_goes_on_without_the_promised_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let mut tracks = media(dir.path(), 6);
    tracks[0].units.clear();
    let supervisor = supervisor();
    let (end, events) = segment(&supervisor, &tracks, &mut Continuity::default(), 1.0, std::future::pending()).await;
    assert_eq!(end, EpochEnd::Rebuild);
    let audio = chunks(&events, 1, 0);
    check_chunks(&audio, 1);
    assert!(seconds(&audio) > 5.5);
    supervisor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_hangs_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let tracks = media(dir.path(), 30);
    let supervisor = supervisor();
    let stopper = supervisor.clone();
    let stop = async move {
        while stopper.metrics().chunks.get() < 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for pid in stopper.child_pids().await {
            assert!(Command::new("kill").args(["-STOP", &pid.to_string()]).status().unwrap().success());
        }
        std::future::pending::<EpochEnd>().await
    };
    let (end, _) = segment(&supervisor, &tracks, &mut Continuity::default(), 1.0, stop).await;
    assert_eq!(end, EpochEnd::Lost);
    assert_eq!(supervisor.metrics().children_hung.get(), 1);
    supervisor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_template_ends_its_job_only_and_children_are_filled() {
    let dir = tempfile::tempdir().unwrap();
    let tracks = media(dir.path(), 3);
    let broken = "appsrc name=in_{n} ! identity error-after=20 ! cmafmux manual-split=true ! appsink name=chunks_{n}";
    std::fs::write(dir.path().join("segment-aac.launch"), broken).unwrap();
    let config = PipelineConfig { templates_dir: Some(dir.path().to_owned()), jobs_per_child: 2, ..PipelineConfig::default() };
    let supervisor = Supervisor::with_program(config, env!("CARGO_BIN_EXE_headend").into(), clock());
    let (video, audio) = ([tracks[0].clone()], [tracks[1].clone()]);
    let mut states: [Continuity; 5] = Default::default();
    let [a, b, c, d, e] = &mut states;
    let never = std::future::pending::<EpochEnd>;
    let ends = tokio::join!(
        segment(&supervisor, &video, a, 4.0, never()),
        segment(&supervisor, &audio, b, 4.0, never()),
        segment(&supervisor, &video, c, 4.0, never()),
        segment(&supervisor, &audio, d, 4.0, never()),
        segment(&supervisor, &video, e, 4.0, never()),
    );
    assert_eq!((ends.0.0, ends.2.0, ends.4.0), (EpochEnd::Rebuild, EpochEnd::Rebuild, EpochEnd::Rebuild));
    assert_eq!((ends.1.0, ends.3.0), (EpochEnd::Broken, EpochEnd::Broken));
    for (_, events) in [ends.0, ends.2, ends.4] {
        assert!(seconds(&chunks(&events, 0, 0)) > 2.5);
    }
    let metrics = supervisor.metrics();
    let counts = (metrics.children_started.get(), metrics.children_died.get(), metrics.jobs_failed.get(), metrics.jobs.get());
    assert_eq!(counts, (3, 0, 2, 0));
    supervisor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_no_child_is_not_started_for_ever() {
    let supervisor = Supervisor::with_program(PipelineConfig::default(), "/bin/false".into(), clock());
    let dir = tempfile::tempdir().unwrap();
    let tracks = media(dir.path(), 1);
    let mut failures = 0;
    for _ in 0..20 {
        let tracks = headend::inside::pipeline::segmenter::Tracks {
            formats: tracks.iter().map(|track| track.format.clone()).collect(),
            sources: play(&tracks, 1.0),
            later: None,
        };
        let (mut sink, mut continuity) = (|_: SegmenterEvent| {}, Continuity::default());
        let end =
            headend::inside::pipeline::segmenter::run_epoch(&supervisor, "x", tracks, &mut continuity, std::future::pending(), &mut sink);
        match tokio::time::timeout(Duration::from_secs(5), end).await.unwrap() {
            Ok(end) => assert_eq!(end, EpochEnd::Lost),
            Err(_) => failures += 1,
        }
    }
    assert!(failures > 10);
    assert!(supervisor.metrics().children_started.get() < 10);
}
