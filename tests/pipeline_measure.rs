//! What the copy path costs: CPU of the child per stream-second, and latency. Run with `--ignored --nocapture`, optimized.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod pipeline_support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headend::inside::pipeline::segmenter::{Continuity, SegmenterEvent, Tracks, run_epoch};

use pipeline_support::*;

/// CPU seconds a process has used.
fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn resident_mb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

#[allow(clippy::disallowed_methods)] // a measurement
fn now() -> Instant {
    Instant::now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement of 30 s"]
async fn cost_of_the_copy_path() {
    let streams: usize = std::env::var("STREAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(16);
    let b_frames = std::env::var("BFRAMES").unwrap_or("0".into());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hd.flv");
    let args =
        ["-f", "lavfi", "-i", "testsrc2=size=1920x1080:rate=30:duration=20", "-f", "lavfi", "-i", "sine=sample_rate=48000:duration=20"];
    let video = ["-c:v", "libx264", "-preset", "ultrafast", "-b:v", "4M", "-minrate", "4M", "-maxrate", "4M", "-bufsize", "4M"];
    let more =
        ["-x264-params", "nal-hrd=cbr", "-g", "60", "-pix_fmt", "yuv420p", "-bf", &b_frames, "-c:a", "aac", "-b:a", "128k", "-ac", "2"];
    ffmpeg(&[&args[..], &video[..], &more[..]].concat(), &path);
    println!("{:.2} Mbit/s", std::fs::metadata(&path).unwrap().len() as f64 * 8.0 / 20e6);
    let media = read_flv(&path);
    let supervisor = supervisor();
    supervisor.warm_up().await.unwrap();
    let late = Arc::new(Mutex::new(Vec::new()));
    let mut jobs = Vec::new();
    for stream in 0..streams {
        let (supervisor, media, late) = (supervisor.clone(), media.clone(), Arc::clone(&late));
        jobs.push(tokio::spawn(async move {
            // Streams don't send their pictures at the same moment.
            tokio::time::sleep(Duration::from_millis(stream as u64 * 7)).await;
            let sent: Arc<Mutex<BTreeMap<i64, Instant>>> = Arc::default();
            let noted = Arc::clone(&sent);
            let times: Vec<i64> = media[0].units.iter().map(|unit| unit.pts).collect();
            let mut count = 0;
            let sources = play_changed(&media, 1.0, move |track, _| {
                if track == 0 {
                    noted.lock().unwrap().insert(times[count], now());
                    count += 1;
                }
            });
            let tracks = Tracks { formats: media.iter().map(|track| track.format.clone()).collect(), sources, later: None };
            let mut sink = move |event| {
                if let SegmenterEvent::Chunk(chunk) = event
                    && chunk.track == 0
                {
                    // The last picture of the chunk in decoding order is the one sent last.
                    let end = chunk.wallclock - BEGIN + (chunk.duration as i64 * 100_000 / 9) - 5_000_000;
                    let sent = sent.lock().unwrap();
                    if let Some(last) = sent.range(chunk.wallclock - BEGIN - 2_000_000..end).map(|(_, at)| *at).max() {
                        late.lock().unwrap().push(last.elapsed().as_secs_f64() * 1e3);
                    }
                }
            };
            let mut continuity = Continuity::default();
            run_epoch(&supervisor, "measured", tracks, &mut continuity, std::future::pending(), &mut sink).await.unwrap()
        }));
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let pids = supervisor.child_pids().await;
    let total = |pids: &[u32]| pids.iter().map(|pid| cpu(*pid)).sum::<f64>();
    let (before, own) = (total(&pids), cpu(std::process::id()));
    tokio::time::sleep(Duration::from_secs(14)).await;
    let stream_seconds = 14.0 * streams as f64;
    println!(
        "{streams} streams, {} children: child {:.5} CPU-s per stream-second (of a core: {:.2} %), parent with RTP making {:.5}, {:.1} MB a child",
        pids.len(),
        (total(&pids) - before) / stream_seconds,
        (total(&pids) - before) / stream_seconds * 100.0,
        (cpu(std::process::id()) - own) / stream_seconds,
        pids.iter().map(|pid| resident_mb(*pid)).sum::<f64>() / pids.len() as f64,
    );
    for job in jobs {
        job.await.unwrap();
    }
    let mut late = late.lock().unwrap().clone();
    late.sort_by(f64::total_cmp);
    println!("chunk out after its last picture went in: p50 {:.1} ms, p95 {:.1} ms", late[late.len() / 2], late[late.len() * 95 / 100]);
    println!("{:?}", supervisor.metrics());
    supervisor.shutdown().await;
}
