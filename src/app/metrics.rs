//! `/metrics`: each part's own metrics, put together in one registry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;

use super::clock::Deviation;
use crate::base::Clock;
use crate::http::HttpMetrics;
use crate::package::Live;
use crate::pipeline::Supervisor;
use crate::record::driver::Recordings;
use crate::rtmp::RtmpMetrics;
use crate::sfu::{SfuMetrics, WorkerPool};
use crate::stream::Hub;
use crate::webrtc::WebRtcMetrics;

/// Where the numbers come from.
pub(super) struct Metrics {
    pub workers: Arc<WorkerPool>,
    pub supervisor: Supervisor,
    pub live: Live,
    pub recordings: Recordings,
    pub hub: Hub,
    pub webrtc: WebRtcMetrics,
    pub rtmp: Option<RtmpMetrics>,
    pub http: HttpMetrics,
    pub deviation: Deviation,
    pub panics: Counter,
    pub log_lines_left_out: Counter,
}

/// The registry, and what it needs to be asked for beforehand.
pub(super) struct Scrape {
    registry: Registry,
    workers: Arc<WorkerPool>,
    sfu: SfuMetrics,
    clock: Clock,
    /// When the workers were asked.
    asked: Mutex<Option<Instant>>,
}

/// How old the workers' numbers may be: they count on the threads that forward media.
const RECENT: Duration = Duration::from_millis(250);

impl Metrics {
    pub(super) fn into_registry(self) -> Scrape {
        let mut registry = Registry::with_prefix("headend");
        let sfu = SfuMetrics::default();
        self.webrtc.register(&mut registry);
        self.http.register(&mut registry);
        let help = "Seconds that the machine's wall clock is ahead of the server's";
        registry.register("clock_deviation_seconds", help, self.deviation);
        let help = "Lines left out of the log because there were too many of one kind";
        registry.register("log_lines_left_out", help, self.log_lines_left_out);
        registry.register("panics", "Panics: each is a bug, and a line in the log", self.panics);
        if let Some(rtmp) = &self.rtmp {
            rtmp.register(&mut registry);
        }
        self.hub.register_metrics(&mut registry);
        sfu.register(&mut registry);
        self.supervisor.metrics().register(&mut registry);
        self.live.metrics().register(&mut registry);
        self.recordings.register_metrics(&mut registry);
        Scrape { registry, workers: self.workers, sfu, clock: self.hub.clock().clone(), asked: Mutex::default() }
    }
}

impl Scrape {
    pub(super) fn text(self: Arc<Self>) -> BoxFuture<'static, String> {
        Box::pin(async move {
            let now = self.clock.at();
            let mut asked = self.asked.lock().await;
            if asked.is_none_or(|at| now.saturating_duration_since(at) >= RECENT) {
                self.sfu.set(self.workers.stats().await);
                *asked = Some(now);
            }
            drop(asked);
            let mut text = String::new();
            match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
                Ok(()) => text,
                Err(_) => String::new(), // writing to a String can't fail
            }
        })
    }
}
