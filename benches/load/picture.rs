//! First decoded picture in Chromium after its POST to /whep, joining anywhere in the source's GOP of 2 s.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::Result;
use crate::media::{self, Media};
use crate::publish::Publishers;
use crate::report::{Report, Target, percentile};
use crate::server::Server;

/// Longest that one run may take.
const RUN_WITHIN: Duration = Duration::from_secs(40);
/// How long the stream runs before the first.
const WARM_UP: Duration = Duration::from_secs(4);

/// The scenario.
pub(crate) async fn run(runs: usize) -> Result<Report> {
    let media = Arc::new(Media::load(media::SMALL)?);
    let server = Server::start(false).await?;
    let publishers = Publishers::new()?;
    publishers.publish(server.rtmp, "bench", &media, None).await?;
    sleep(WARM_UP).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/whep.mjs");
    let mut times = Vec::new();
    for _ in 0..runs {
        let child =
            tokio::process::Command::new("node").arg(&script).args([&server.url("live/bench/whep"), "0.5"]).kill_on_drop(true).output();
        let output = tokio::time::timeout(RUN_WITHIN, child).await.map_err(|_| "Chromium did not end in time")??;
        let text = String::from_utf8_lossy(&output.stdout);
        let seen: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| format!("whep.mjs: {error}\n{text}{}", String::from_utf8_lossy(&output.stderr)))?;
        times.push(seen["firstPictureMs"].as_f64().ok_or_else(|| format!("no picture in Chromium: {text}"))?);
    }
    let mut report = Report::default();
    let what = format!("first decoded picture in Chromium after POST /whep, GOP 2 s, {runs} runs");
    report.add(&format!("{what}, p50"), percentile(&mut times, 0.5), "ms", Target::AtMost(200.0));
    report.add(&format!("{what}, p95"), percentile(&mut times, 0.95), "ms", Target::AtMost(400.0));
    Ok(report)
}
