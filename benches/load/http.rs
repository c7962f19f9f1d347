//! Delivery of a live playlist and of segments, beside nginx with the same bytes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::Result;
use crate::hls::Reader;
use crate::media::{self, Media};
use crate::nginx::Nginx;
use crate::publish::Publishers;
use crate::report::{Report, Target};
use crate::server::Server;

/// Until there are segments to fetch.
const WARM_UP: Duration = Duration::from_secs(7);
/// Connections for playlists, and for segments.
const CONNECTIONS: [(&str, u32); 2] = [("playlist", 100), ("segment", 20)];

/// The scenario.
pub(crate) async fn run(seconds: u64) -> Result<Report> {
    let media = Arc::new(Media::load(media::LARGE)?);
    let server = Server::start(false).await?;
    let publishers = Publishers::new()?;
    publishers.publish(server.rtmp, "bench", &media, None).await?;
    let reader = Reader::open(server.url("live/bench/")).await?;
    sleep(WARM_UP).await;
    let segment = reader.segments().await?.pop().ok_or("no segment yet")?;
    let files = server.dir().join("www");
    std::fs::create_dir_all(&files)?;
    std::fs::write(files.join("playlist"), reader.playlist().await?)?;
    let bytes = reader.get(&segment).await?;
    std::fs::write(files.join("segment"), &bytes)?;
    let nginx = Nginx::serving(&files)?;
    sleep(Duration::from_millis(300)).await;

    let mut report = Report::default();
    // What the live stream costs by itself in that time is not delivery's.
    let before = server.cpu();
    sleep(Duration::from_secs(2)).await;
    let idle = server.cpu().since(&before).server() / 2;
    for (what, connections) in CONNECTIONS {
        let ours = if what == "playlist" { reader.playlist_url() } else { segment.clone() };
        let before = server.cpu();
        let requests = wrk(&ours, connections, seconds).await?;
        let spent = server.cpu().since(&before).server().saturating_sub(idle * seconds as u32);
        let ours = requests / spent.as_secs_f64();
        let before = nginx.cpu();
        let requests = wrk(&format!("http://{}/{what}", nginx.address), connections, seconds).await?;
        let theirs = requests / nginx.cpu().since(&before).total().as_secs_f64();
        let size = if what == "playlist" { String::new() } else { format!(" of {:.2} MB", bytes.len() as f64 / 1e6) };
        report.add(&format!("HTTP: {what}{size}, requests per CPU-second"), ours, "", Target::None);
        report.add(&format!("HTTP: {what}{size}, nginx"), theirs, "", Target::None);
        report.add(&format!("HTTP: {what}{size}, times nginx"), ours / theirs, "", Target::AtLeast(1.0));
    }
    Ok(report)
}

/// Requests answered within `seconds`.
async fn wrk(url: &str, connections: u32, seconds: u64) -> Result<f64> {
    let (connections, duration) = (connections.to_string(), format!("{seconds}s"));
    let output = tokio::process::Command::new("wrk")
        .args(["-t", "1", "-c", &connections, "-d", &duration, url])
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("can't run wrk (apt-get install wrk): {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(errors) = text.lines().find(|line| line.contains("Non-2xx")) {
        return Err(format!("{url}: {errors}").into());
    }
    let line = text.lines().find_map(|line| line.trim().split_once(" requests in "));
    line.and_then(|(count, _)| count.trim().parse().ok()).ok_or_else(|| format!("wrk said nothing about {url}:\n{text}").into())
}
