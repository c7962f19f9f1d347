//! Children as processes, and the transcodes that survive them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod pipeline_support;

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headend::inside::codec::Format;
use headend::inside::pipeline::segmenter::{Continuity, EpochEnd, SegmenterEvent, Tracks, run_epoch};
use headend::inside::pipeline::{PipelineConfig, PipelineTranscoder, Supervisor};
use headend::inside::stream::{TranscodeError, TranscodeTarget};
use tokio::sync::watch;

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

/// Runs a job's epochs, one after the other. Gives how often it was lost, and how many jobs had been started when it was back for the first
/// time after that.
async fn go_on(supervisor: Supervisor, name: String, media: Vec<TestTrack>, alive: watch::Sender<u32>) -> (u32, Option<u64>) {
    let (mut continuity, mut lost) = (Continuity::default(), 0);
    let back = Arc::new(Mutex::new(None));
    loop {
        let tracks = Tracks { formats: vec![media[0].format.clone()], sources: play(&media, 1.0), later: None };
        let (told, back_at, started) = (alive.clone(), Arc::clone(&back), supervisor.metrics().jobs_started.clone());
        let mut sink = move |event| {
            if let SegmenterEvent::Init(_) = event {
                told.send_modify(|epochs| *epochs += 1);
                if lost > 0 {
                    back_at.lock().unwrap().get_or_insert_with(|| started.get());
                }
            }
        };
        match run_epoch(&supervisor, &name, tracks, &mut continuity, std::future::pending(), &mut sink).await {
            Ok(EpochEnd::Lost) => lost += 1,
            Ok(_) => break,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    let back = *back.lock().unwrap();
    (lost, back)
}

/// Sixteen jobs share a child. What one of them is given kills whatever it is in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_children_die_of_gets_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let sound = vec![read_flv(&flv(dir.path(), 20, 30, 30, 0)).remove(1)];
    let supervisor = supervisor();
    let start = |name: String| {
        let (alive, epochs) = watch::channel(0);
        (tokio::spawn(go_on(supervisor.clone(), name, sound.clone(), alive)), epochs)
    };
    let mut others = Vec::new();
    for number in 0..15 {
        let (job, mut epochs) = start(format!("live/{number}"));
        epochs.wait_for(|epochs| *epochs > 0).await.unwrap();
        others.push(job);
    }
    let shared = supervisor.child_pids().await;
    assert_eq!(shared.len(), 1, "all of them are together");
    // Whose job is new is suspected.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (poison, mut epochs) = start("live/poison".into());
    let mut victims = shared;
    for death in 1..=4 {
        epochs.wait_for(|epochs| *epochs == death).await.unwrap();
        if death > 1 {
            let now = supervisor.child_pids().await;
            let own: Vec<u32> = now.iter().copied().filter(|pid| !victims.contains(pid)).collect();
            victims = if death == 2 { vec![own[own.len() - 1]] } else { own };
            assert_eq!((victims.len(), now.len()), (1, 2), "one for the poison and one for the others: {now:?}");
        }
        let all = supervisor.child_pids().await;
        // Rust's handler takes the first one for what it isn't, and makes way for the next.
        for _ in 0..2 {
            assert!(Command::new("kill").args(["-SEGV", &victims[0].to_string()]).status().unwrap().success());
        }
        victims = all;
    }
    for job in others {
        let (lost, _) = job.await.unwrap();
        assert_eq!(lost, 1, "each of the others loses one epoch");
    }
    let (lost, started) = poison.await.unwrap();
    assert_eq!((lost, started), (4, Some(32)), "sixteen, the fifteen others again, and then the poison");
    let metrics = supervisor.metrics();
    assert_eq!((metrics.children_died.get(), metrics.jobs_quarantined.get()), (4, 4));
    supervisor.shutdown().await;
}

/// What `/proc` says of a child.
fn proc(pid: u32, file: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_has_bounds_and_no_secrets() {
    let supervisor = supervisor();
    supervisor.warm_up().await.unwrap();
    let [pid] = supervisor.child_pids().await[..] else { panic!() };
    let soft = |limits: &str, name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line[name.len().min(line.len())..].split_whitespace().next().unwrap_or_default().to_owned()
    };
    let wanted = ["Max data size", "Max open files", "Max core file size"];
    let mut limits = Default::default();
    for _ in 0..500 {
        let text = proc(pid, "limits");
        limits = wanted.map(|name| soft(&text, name));
        if limits[1] == "4096" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let total = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = total.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap().trim_end_matches("kB").trim().parse().unwrap();
    assert_eq!(limits, [(total * 512).max(2 << 30).to_string(), "4096".into(), "0".into()]);
    assert!(proc(pid, "status").contains("NoNewPrivs:\t1"));
    let environment = proc(pid, "environ");
    let names: Vec<&str> = environment.split('\0').filter_map(|entry| Some(entry.split_once('=')?.0)).collect();
    // This process has more, as a server has that gets its keys so.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && names.contains(&"PATH"), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("CARGO") || name.starts_with("NEXTEST") || name.starts_with("HEADEND")), "{names:?}");
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
