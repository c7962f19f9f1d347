//! One publisher of 1.5 Mbit/s and many viewers over WebRTC.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::media::{self, Media};
use crate::proc::{self, CpuUse};
use crate::publish::Publishers;
use crate::report::{Report, Target, ms, percentile, us};
use crate::server::Server;
use crate::viewer::{Gallery, Viewer};
use crate::{Result, floor};

/// Viewers come at this distance: all over the source's GOP of 2 s, and as fast as a popular stream fills.
const BETWEEN_JOINS: Duration = Duration::from_millis(37);
/// Every such viewer has all its packets decrypted, the others only those of the first key frame.
const OPEN_ALL_OF: usize = 10;
/// Longest that a viewer may take to get a whole key frame.
const JOINED_WITHIN: Duration = Duration::from_secs(15);
/// After the last has joined, until the measurement begins.
const SETTLE: Duration = Duration::from_secs(3);
/// How long the stream runs before viewers come: the key-frame cache is full by then.
const WARM_UP: Duration = Duration::from_secs(5);

/// Each number of viewers in turn, on one server.
pub(crate) async fn run(numbers: &[usize], seconds: u64) -> Result<Report> {
    let media = Arc::new(Media::load(media::SMALL)?);
    let mut report = floor::run().await?;
    let server = Server::start(false).await?;
    let publishers = Publishers::new()?;
    publishers.publish(server.rtmp, "bench", &media, None).await?;
    sleep(WARM_UP).await;

    let gallery = Gallery::new()?;
    let url = server.url("live/bench/whep");
    // The first viewer starts what all share (AAC to Opus), which is not the price of a viewer.
    let mut viewers = vec![join(&gallery, &url, true).await?];
    sleep(SETTLE).await;

    let idle = measure(&server, &viewers, seconds.min(5)).await;
    let stream = idle.cpu.server().as_secs_f64() / idle.took.as_secs_f64() * 100.0;
    report.add("server CPU with one viewer: RTMP, LL-HLS, DASH, AAC → Opus, of a core", stream, "%", Target::None);
    let empty = proc::rss(server.pid());
    for number in numbers {
        let (cpu, began, had) = (server.cpu(), Instant::now(), viewers.len());
        while viewers.len() <= *number {
            viewers.push(gallery.join(url.clone(), viewers.len() % OPEN_ALL_OF == 0));
            sleep(BETWEEN_JOINS).await;
        }
        wait_for_key_frames(&viewers).await?;
        let joining = Joining { cpu: server.cpu().since(&cpu), took: began.elapsed(), viewers: viewers.len() - had };
        sleep(SETTLE).await;
        let memory = proc::rss(server.pid());
        let measured = measure(&server, &viewers, seconds).await;
        let at = format!("{number} viewers");
        measured.report(&at, &idle, &mut report);
        report.add(&format!("{at}: floor for the same traffic at the same pace"), us(floor::paced(*number).await?), "µs", Target::None);
        let per_viewer = memory.saturating_sub(empty) as f64 / (viewers.len() - 1) as f64 / 1000.0;
        report.add(&format!("{at}: server memory per viewer"), per_viewer, "KB", Target::AtMost(150.0));
        joining.report(&at, &idle, &measured, had, &mut report);
        times(&at, &viewers[had..], &mut report);
        verify(&at, &viewers, &mut report)?;
    }
    Ok(report)
}

async fn join(gallery: &Rc<Gallery>, url: &str, open_all: bool) -> Result<Viewer> {
    let viewer = gallery.join(url.to_owned(), open_all);
    wait_for_key_frames(std::slice::from_ref(&viewer)).await?;
    Ok(viewer)
}

/// Until each has a whole key frame, or one has ended.
pub(crate) async fn wait_for_key_frames(viewers: &[Viewer]) -> Result<()> {
    let deadline = Instant::now() + JOINED_WITHIN;
    loop {
        let waiting = viewers.iter().filter(|viewer| viewer.seen().key_frame_whole.is_none()).count();
        if waiting == 0 {
            return Ok(());
        }
        if let Some(why) = viewers.iter().find_map(|viewer| viewer.seen().ended.clone()) {
            return Err(format!("a viewer has ended: {why}").into());
        }
        if Instant::now() > deadline {
            let connected = viewers.iter().filter(|viewer| viewer.seen().connected.is_some()).count();
            let total = viewers.len();
            return Err(format!("{waiting} of {total} viewers got no whole key frame in {JOINED_WITHIN:?} ({connected} connected)").into());
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// What a stretch of time cost and brought.
struct Measured {
    cpu: CpuUse,
    took: Duration,
    packets: u64,
    bytes: u64,
    lost: u64,
}

async fn measure(server: &Server, viewers: &[Viewer], seconds: u64) -> Measured {
    let sum = || viewers.iter().map(|viewer| (viewer.seen().packets, viewer.seen().bytes, viewer.seen().lost)).fold((0, 0, 0), add);
    let (before, cpu, began) = (sum(), server.cpu(), Instant::now());
    sleep(Duration::from_secs(seconds)).await;
    let (cpu, took, after) = (server.cpu().since(&cpu), began.elapsed(), sum());
    Measured { cpu, took, packets: after.0 - before.0, bytes: after.1 - before.1, lost: after.2.saturating_sub(before.2) }
}

fn add(a: (u64, u64, u64), b: (u64, u64, u64)) -> (u64, u64, u64) {
    (a.0 + b.0, a.1 + b.1, a.2 + b.2)
}

impl Measured {
    fn report(&self, at: &str, idle: &Self, report: &mut Report) {
        // A packet lost on the way to us was sent all the same.
        let sent = (self.packets + self.lost).max(1) as f64;
        let per_packet = |time: Duration| us(time) / sent;
        let seconds = self.took.as_secs_f64();
        report.add(&format!("{at}: packets forwarded"), sent / seconds, "/s", Target::None);
        report.add(&format!("{at}: forwarded"), self.bytes as f64 * 8.0 / seconds / 1e6, "Mbit/s", Target::None);
        report.add(&format!("{at}: server CPU per packet, all threads"), per_packet(self.cpu.server()), "µs", Target::AtMost(3.0));
        report.add(&format!("{at}: of it in worker threads"), per_packet(self.cpu.workers), "µs", Target::None);
        let beside = idle.cpu.server().mul_f64(seconds / idle.took.as_secs_f64());
        let more = self.cpu.server().saturating_sub(beside);
        report.add(&format!("{at}: … without what the server needs with one viewer"), per_packet(more), "µs", Target::None);
        let children = self.cpu.children.as_secs_f64() / seconds * 100.0;
        report.add(&format!("{at}: pipelines beside it (LL-HLS, AAC → Opus), of a core"), children, "%", Target::None);
        report.add(&format!("{at}: packets lost"), self.lost as f64 / sent * 100.0, "%", Target::AtMost(0.0));
    }
}

/// A stretch of time in which viewers came.
struct Joining {
    cpu: CpuUse,
    took: Duration,
    viewers: usize,
}

impl Joining {
    /// Set-up: what was spent meanwhile, less what the viewers there are cost in that time. The number of these grows evenly from `had`.
    fn report(&self, at: &str, idle: &Measured, full: &Measured, had: usize, report: &mut Report) {
        let rate = |measured: &Measured| measured.cpu.server().as_secs_f64() / measured.took.as_secs_f64();
        let (base, top) = (rate(idle), rate(full));
        let share = had as f64 / (had + self.viewers) as f64;
        let forwarding = (base + (top - base) * (1.0 + share) / 2.0) * self.took.as_secs_f64();
        let per_viewer = (self.cpu.server().as_secs_f64() - forwarding).max(0.0) / self.viewers as f64 * 1000.0;
        report.add(&format!("{at}: server CPU to set up one viewer, GOP burst included"), per_viewer, "ms", Target::AtMost(3.0));
    }
}

fn times(at: &str, viewers: &[Viewer], report: &mut Report) {
    let collect = |of: fn(&crate::viewer::Seen) -> Option<Duration>| {
        viewers.iter().filter_map(|viewer| of(&viewer.seen()).map(ms)).collect::<Vec<f64>>()
    };
    for (what, mut values, targets) in [
        ("DTLS connected", collect(|seen| seen.connected), [Target::None, Target::None]),
        ("first packet of a key frame decrypted", collect(|seen| seen.key_frame_began), [Target::None, Target::None]),
        ("whole key frame decrypted", collect(|seen| seen.key_frame_whole), [Target::AtMost(200.0), Target::AtMost(400.0)]),
    ] {
        report.add(&format!("{at}: from POST /whep to {what}, p50"), percentile(&mut values, 0.5), "ms", targets[0]);
        report.add(&format!("{at}: from POST /whep to {what}, p95"), percentile(&mut values, 0.95), "ms", targets[1]);
    }
}

/// Figures of a server that sends garbage are worth nothing.
fn verify(at: &str, viewers: &[Viewer], report: &mut Report) -> Result<()> {
    let broken: u64 = viewers.iter().map(|viewer| viewer.seen().broken).sum();
    let opened: u64 = viewers.iter().map(|viewer| viewer.seen().opened).sum();
    report.add(&format!("{at}: packets decrypted by way of sample"), opened as f64, "", Target::AtLeast(1000.0));
    if let Some(why) = viewers.iter().find_map(|viewer| viewer.seen().ended.clone()) {
        return Err(format!("a viewer has ended: {why}").into());
    }
    if broken > 0 { Err(format!("{broken} of {opened} packets could not be decrypted").into()) } else { Ok(()) }
}
