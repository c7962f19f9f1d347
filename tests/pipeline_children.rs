//! Children as processes, and the transcodes that survive them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod pipeline_support;

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use headend::inside::codec::Format;
use headend::inside::pipeline::{PipelineConfig, PipelineTranscoder, Supervisor};
use headend::inside::stream::{TranscodeError, TranscodeTarget};

use pipeline_support::*;

fn lone_child() -> (socket2::Socket, std::process::Child) {
    let (ours, theirs) = socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::SEQPACKET, None).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_headend"))
        .arg("pipeline-host")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (ours, child)
}

fn ends(mut child: std::process::Child) -> std::process::ExitStatus {
    for _ in 0..1000 {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("the child did not end");
}

/// Whether all transcodes end: dropping their guard only begins it.
async fn none_running(supervisor: &Supervisor) -> bool {
    for _ in 0..500 {
        if supervisor.metrics().transcodes.get() == 0 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[test]
fn a_child_ends_with_its_parent() {
    let (socket, child) = lone_child();
    drop(socket);
    assert!(ends(child).success());
}

#[test]
fn a_child_ends_when_its_parent_speaks_nonsense() {
    let (socket, child) = lone_child();
    socket.send(b"GET / HTTP/1.1\r\n").unwrap();
    assert!(!ends(child).success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transcode_goes_on_in_another_child() {
    let dir = tempfile::tempdir().unwrap();
    let audio = read_flv(&flv(dir.path(), 8, 30, 30, 0)).remove(1);
    let supervisor = supervisor();
    let sink = TestSink::default();
    let (killer, units) = (supervisor.clone(), Arc::clone(&sink.units));
    tokio::spawn(async move {
        while units.lock().unwrap().len() < 50 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for pid in killer.child_pids().await {
            assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
        }
    });
    let made = transcode(&supervisor, &audio, TranscodeTarget::Opus, sink, 2.0).await;
    let gaps: Vec<i64> = made.units.windows(2).map(|pair| (pair[1].pts - pair[0].pts) / 1_000_000).filter(|gap| *gap > 25).collect();
    assert!(gaps.len() <= 1 && gaps.iter().all(|gap| *gap < 2500), "{gaps:?}");
    assert!(made.units.last().unwrap().pts > 7_500_000_000);
    assert_eq!(supervisor.metrics().children_died.get(), 1);
    assert!(none_running(&supervisor).await);
    supervisor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transcoding_budget_holds() {
    let dir = tempfile::tempdir().unwrap();
    let audio = [read_flv(&flv(dir.path(), 1, 30, 30, 0)).remove(1)];
    let config = PipelineConfig { transcode_max: 1, ..PipelineConfig::default() };
    let supervisor = Supervisor::with_program(config, env!("CARGO_BIN_EXE_headend").into(), clock());
    let transcoder = PipelineTranscoder::new(supervisor.clone());
    let start = |format: &Format, target| {
        let source = play(&audio, 1.0).remove(0);
        transcoder.start_with("t".into(), source, format.clone(), target, TestSink::default())
    };
    let (sound, pictures) = (&audio[0].format, &Format::Vp8);
    assert!(matches!(start(sound, TranscodeTarget::H264), Err(TranscodeError::Start(_))));
    let first = start(pictures, TranscodeTarget::H264).unwrap();
    assert!(matches!(start(pictures, TranscodeTarget::H264), Err(TranscodeError::Budget(1))));
    let second = start(sound, TranscodeTarget::Opus).expect("sound does not wait for pictures");
    drop((first, second));
    assert!(none_running(&supervisor).await);
    assert!(start(pictures, TranscodeTarget::H264).is_ok());
    supervisor.shutdown().await;
}
