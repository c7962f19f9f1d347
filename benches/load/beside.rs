//! The same publishers into headend and into nginx-rtmp, in turns: what LL-HLS and DASH cost beside plain HLS on the same minutes.
//!
//! In: how many publishers, how long, how many turns, another headend to measure too. Out: medians, and each turn's figure.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::media::{self, Media};
use crate::nginx::{self, Nginx};
use crate::publish::Publishers;
use crate::report::{Report, Target, percentile};
use crate::segment::{self, SETTLE};
use crate::server::{self, Server};
use crate::{Result, proc::CpuSample};

/// What is held to the floor that nginx-rtmp is.
const TIMES_NGINX: f64 = 1.5;
/// What an older headend's figure may be passed by.
const TIMES_OTHER: f64 = 1.05;

/// The scenario.
pub(crate) async fn run(streams: usize, seconds: u64, turns: usize, other: Option<&Path>) -> Result<Report> {
    let media = Arc::new(Media::load(media::LARGE)?);
    let ours = server::binary()?;
    let (mut of_us, mut of_other, mut of_nginx) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..turns {
        of_us.push(headend(&ours, &media, streams, seconds).await?);
        if let Some(other) = other {
            of_other.push(headend(other, &media, streams, seconds).await?);
        }
        if nginx::rtmp_module().is_some() {
            of_nginx.push(nginx(&media, streams, seconds).await?);
        }
        let newest = |figures: &[f64]| figures.last().map_or_else(|| "-".to_owned(), |figure| format!("{figure:.5}"));
        eprintln!("bench: turn {}: headend {}, other {}, nginx {}", turn + 1, newest(&of_us), newest(&of_other), newest(&of_nginx));
    }
    let mut report = Report::default();
    let what = format!("{streams} streams of 1080p30 4 Mbit/s, {turns} turns of {seconds} s: CPU-s per stream-second");
    let us = percentile(&mut of_us, 0.5);
    report.add(&format!("{what}, headend → LL-HLS + DASH (median)"), us, "", Target::None);
    spread(&mut report, &what, "headend", &of_us);
    if let Some(other) = other {
        let figure = percentile(&mut of_other, 0.5);
        report.add(&format!("{what}, {} → LL-HLS + DASH (median)", other.display()), figure, "", Target::None);
        spread(&mut report, &what, "the other headend", &of_other);
        report.add(&format!("{what}, times the other headend"), us / figure, "", Target::AtMost(TIMES_OTHER));
    }
    if !of_nginx.is_empty() {
        let figure = percentile(&mut of_nginx, 0.5);
        report.add(&format!("{what}, nginx-rtmp → HLS (median)"), figure, "", Target::None);
        spread(&mut report, &what, "nginx-rtmp", &of_nginx);
        report.add(&format!("{what}, times nginx-rtmp"), us / figure, "", Target::AtMost(TIMES_NGINX));
    }
    Ok(report)
}

/// `figures` are sorted by now.
fn spread(report: &mut Report, what: &str, of: &str, figures: &[f64]) {
    if let [lowest, .., highest] = figures {
        report.add(&format!("{what}, {of}, lowest"), *lowest, "", Target::None);
        report.add(&format!("{what}, {of}, highest"), *highest, "", Target::None);
    }
}

async fn headend(binary: &Path, media: &Arc<Media>, streams: usize, seconds: u64) -> Result<f64> {
    let server = Server::start_binary(binary, false).await?;
    let publishers = Publishers::new()?;
    segment::publish(&publishers, server.rtmp, media, streams).await?;
    sleep(SETTLE).await;
    let figure = measure(|| server.cpu(), streams, seconds).await;
    let playlists = (0..streams).map(|number| server.url(&format!("live/bench{number}/index.m3u8")));
    for playlist in playlists {
        if !reqwest::get(&playlist).await?.status().is_success() {
            return Err(format!("{playlist} is not there").into());
        }
    }
    Ok(figure)
}

async fn nginx(media: &Arc<Media>, streams: usize, seconds: u64) -> Result<f64> {
    let dir = tempfile::tempdir()?;
    let nginx = Nginx::segmenting(dir.path())?;
    sleep(Duration::from_millis(300)).await;
    let publishers = Publishers::new()?;
    segment::publish(&publishers, nginx.address, media, streams).await?;
    sleep(SETTLE).await;
    let figure = measure(|| nginx.cpu(), streams, seconds).await;
    let files: Vec<PathBuf> = std::fs::read_dir(dir.path().join("hls"))?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let playlists = files.iter().filter(|file| file.extension().is_some_and(|name| name == "m3u8")).count();
    if playlists != streams {
        return Err(format!("nginx-rtmp wrote {playlists} playlists of {streams}").into());
    }
    Ok(figure)
}

/// CPU-seconds per stream-second of whatever `cpu` samples.
async fn measure(cpu: impl Fn() -> CpuSample, streams: usize, seconds: u64) -> f64 {
    let (before, began) = (cpu(), Instant::now());
    sleep(Duration::from_secs(seconds)).await;
    let (spent, took) = (cpu().since(&before), began.elapsed());
    spent.total().as_secs_f64() / (streams as f64 * took.as_secs_f64())
}
