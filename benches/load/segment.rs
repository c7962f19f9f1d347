//! Many publishers of 1080p30 at 4 Mbit/s into LL-HLS and DASH.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::hls::Reader;
use crate::media::{self, Media};
use crate::publish::Publishers;
use crate::report::{Report, Target};
use crate::server::Server;
use crate::{Result, proc};

/// Publishers come at this distance, so that their key frames don't all come in the same moment.
const BETWEEN_STARTS: Duration = Duration::from_millis(61);
/// After the last has begun, until the measurement begins.
pub(crate) const SETTLE: Duration = Duration::from_secs(6);
/// Streams with an LL-HLS player, to see that what is measured works.
const READERS: usize = 3;
/// Longest between two parts: ten of them.
const PART_WITHIN: Duration = Duration::from_secs(2);

/// The scenario.
pub(crate) async fn run(streams: usize, seconds: u64, record: bool) -> Result<Report> {
    let media = Arc::new(Media::load(media::LARGE)?);
    let server = Server::start(record).await?;
    let empty = proc::memory_of_all(server.pid());
    let publishers = Publishers::new()?;
    publish(&publishers, server.rtmp, &media, streams).await?;
    let mut readers = Vec::new();
    for number in 0..streams.min(READERS) {
        readers.push(Reader::open(server.url(&format!("live/bench{number}/"))).await?);
    }
    sleep(SETTLE).await;

    let (cpu, began) = (server.cpu(), Instant::now());
    let readers = readers.into_iter().map(|reader| tokio::task::spawn_local(read(reader, began + Duration::from_secs(seconds))));
    let mut parts = 0;
    let mut players = Vec::new();
    for reader in readers.collect::<Vec<_>>() {
        let (player, count) = reader.await??;
        parts += count;
        players.push(player);
    }
    let (cpu, took) = (server.cpu().since(&cpu), began.elapsed());
    let memory = proc::memory_of_all(server.pid());
    let Some(player) = players.first() else { return Err("no stream to look at".into()) };
    let held = player.held_bytes().await?;

    let stream_seconds = streams as f64 * took.as_secs_f64();
    let at = format!("{streams} streams of 1080p30 4 Mbit/s → LL-HLS + DASH, {}", if record { "recorded" } else { "not recorded" });
    let mut report = Report::default();
    let per_second = |time: Duration| time.as_secs_f64() / stream_seconds;
    let target = if record { Target::None } else { Target::AtMost(0.006) };
    report.add(&format!("{at}: CPU-s per stream-second, children counted"), per_second(cpu.total()), "", target);
    report.add(&format!("{at}: of it in pipeline hosts"), per_second(cpu.children), "", Target::None);
    report.add(&format!("{at}: of it in SFU workers"), per_second(cpu.workers), "", Target::None);
    report.add(&format!("{at}: of it in the rest of the server (RTMP, packaging, HTTP)"), per_second(cpu.others), "", Target::None);
    let mb = |bytes: f64| bytes / 1e6;
    let per_stream = memory.saturating_sub(empty) as f64 / streams as f64;
    report.add(&format!("{at}: segments held per stream"), mb(held as f64), "MB", Target::None);
    report.add(&format!("{at}: memory per stream beside them"), mb(per_stream - held as f64), "MB", Target::AtMost(4.0));
    let expected = 0.8 * READERS.min(streams) as f64 * took.as_secs_f64() / 0.2;
    report.add(&format!("{at}: parts that {READERS} players got"), parts as f64, "", Target::AtLeast(expected.floor()));
    let log = server.log();
    if !log.is_empty() {
        eprintln!("bench: the server said:\n{}", log.lines().take(20).collect::<Vec<_>>().join("\n"));
    }
    Ok(report)
}

/// Begins `streams` publications of `media`, `live/bench0` and so on.
pub(crate) async fn publish(publishers: &Publishers, server: SocketAddr, media: &Arc<Media>, streams: usize) -> Result<()> {
    for number in 0..streams {
        publishers.publish(server, &format!("bench{number}"), media, None).await?;
        sleep(BETWEEN_STARTS).await;
    }
    Ok(())
}

async fn read(mut reader: Reader, until: Instant) -> Result<(Reader, usize)> {
    let mut parts = 0;
    while Instant::now() < until {
        tokio::time::timeout(PART_WITHIN, reader.next_part()).await.map_err(|_| "a playlist did not advance for 2 s")??;
        parts += 1;
    }
    Ok((reader, parts))
}
