//! How long a picture takes from the RTMP publisher to a WebRTC viewer, and into a part that an LL-HLS player can fetch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::hls::Reader;
use crate::media::{self, Media};
use crate::publish::Publishers;
use crate::report::{Report, Target, ms, percentile};
use crate::server::Server;
use crate::stamp::{self, Sent};
use crate::viewer::Gallery;
use crate::{BoxError, Result, whep};

/// Viewers, all measured: enough that it isn't the idle case, few enough that the generator itself doesn't delay them.
const VIEWERS: usize = 10;
/// After joining, until the burst of the cached GOP is over for certain.
const SETTLE: Duration = Duration::from_secs(3);

/// Both ways out, at the same time.
pub(crate) async fn run(seconds: u64) -> Result<Report> {
    let media = Arc::new(Media::load(media::SMALL)?);
    let server = Server::start(false).await?;
    let publishers = Publishers::new()?;
    let sent = Sent::default();
    publishers.publish(server.rtmp, "bench", &media, Some(sent.clone())).await?;
    sleep(SETTLE).await;
    let gallery = Gallery::new()?;
    let viewers: Vec<_> = (0..VIEWERS).map(|_| gallery.join(server.url("live/bench/whep"), true)).collect();
    whep::wait_for_key_frames(&viewers).await?;
    let mut reader = Reader::open(server.url("live/bench/")).await?;
    sleep(SETTLE).await;

    let from = Instant::now();
    let until = from + Duration::from_secs(seconds);
    let mut parts = Vec::new();
    while Instant::now() < until {
        let part = tokio::time::timeout(Duration::from_secs(5), reader.next_part()).await.map_err(|_| "no part came for 5 s")??;
        let now = Instant::now();
        parts.extend(stamp::find(&part).filter_map(|number| sent.time(number).map(|at| ms(now - at))));
    }
    let mut pictures = Vec::new();
    for viewer in &viewers {
        let seen = viewer.seen();
        let in_time = seen.pictures.iter().filter(|(_, came)| (from..until).contains(came));
        pictures.extend(in_time.filter_map(|(number, came)| sent.time(*number).map(|at| ms(*came - at))));
        if let Some(why) = &seen.ended {
            return Err(format!("a viewer has ended: {why}").into());
        }
    }
    let expected = (seconds * 30) as usize * VIEWERS * 9 / 10;
    if pictures.len() < expected || parts.is_empty() {
        let (whep, hls) = (pictures.len(), parts.len());
        return Err(BoxError::from(format!("only {whep} of {expected} pictures came by WHEP and {hls} by HLS")));
    }
    let mut report = Report::default();
    let mut add = |what: &str, values: &mut Vec<f64>, targets: &[(f64, Target)]| {
        for (p, target) in targets {
            report.add(&format!("{what}, p{:.0}", p * 100.0), percentile(values, *p), "ms", *target);
        }
    };
    let whep = [(0.5, Target::AtMost(1.0)), (0.95, Target::AtMost(5.0)), (0.99, Target::None)];
    add("RTMP in → WHEP out, whole picture", &mut pictures, &whep);
    add("RTMP in → fetched in a part of LL-HLS", &mut parts, &[(0.5, Target::AtMost(200.0)), (0.95, Target::None), (0.99, Target::None)]);
    Ok(report)
}
