//! Starts every part, logs where it is, and ends it within five seconds of a signal.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::data_lock::DataLock;
use super::log_bounds::LogBounds;
use super::metrics::Metrics;
use super::numbers::Numbers;
use super::segmenters::Segmenters;
use super::watch::{self, Watch};
use super::{chance, clock, memory, open_files};
use crate::http::{self, ApiRoutes, HttpMetrics, HttpServer, LiveRoutes, Patience, Readiness, Routes, VodRoutes};
use crate::package::Live;
use crate::pipeline::{PipelineTranscoder, Supervisor};
use crate::record::driver::Recordings;
use crate::rtmp::RtmpServer;
use crate::sfu::WorkerPool;
use crate::stream::{Hub, HubOptions};
use crate::webrtc::WebRtcService;

/// How long segmenters and recordings get to finish, of the five seconds that a shutdown may take.
const FINISH_WITHIN: Duration = Duration::from_secs(3);
/// Everything is over by then; what is not is left to the kernel.
const END_WITHIN: Duration = Duration::from_millis(4800);
/// The part of the memory that live windows may take unless the configuration says otherwise: one in so many. The rest is for what else is
/// held of each stream (16 MiB a track for new viewers), children, connections, recordings on their way to the disk, and the page cache.
const WINDOWS_OF_MEMORY: u64 = 4;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A part could not start.
    #[error("can't start {part}: {source}")]
    Start {
        /// Which.
        part: &'static str,
        /// Why, and what to do.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A part ended before the others. They were ended in order.
    #[error("{part} had ended, so everything else was ended too; the log says why")]
    Ended {
        /// Which.
        part: &'static str,
    },
}

fn cannot<E: std::error::Error + Send + Sync + 'static>(part: &'static str) -> impl FnOnce(E) -> ServeError {
    move |error| ServeError::Start { part, source: error.into() }
}

/// Runs the server until SIGTERM or SIGINT. `log`: the bounds of the log, in which it is told what is left out.
///
/// # Errors
/// A part could not start, or has ended by itself.
pub async fn serve(config: Config, log: LogBounds) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot("the signal handler"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot("the signal handler"))?;

    open_files::raise(&config);
    let _lock = DataLock::take(&config.data_dir).map_err(cannot("with this data folder"))?;
    let (mut watch, panics) = (Watch::new(), Counter::default());
    watch::log_panics(panics.clone());
    let (clock, lots, vitals) = (clock::start(), chance::lots(), watch.vitals());
    let workers = Arc::new(WorkerPool::start(&config.sfu, &clock, &lots, &vitals).map_err(cannot("the SFU"))?);
    let (stream, b_frames) = (config.stream.clone(), config.webrtc.b_frames);
    let options =
        HubOptions { config: stream, b_frames, workers: workers.clone(), clock: clock.clone(), lots: lots.clone(), vitals: vitals.clone() };
    let hub = Hub::new(options);
    let supervisor = Supervisor::new(config.pipeline.clone(), clock.clone()).map_err(cannot("the pipelines"))?;
    supervisor.warm_up().await.map_err(cannot("GStreamer"))?;
    let transcoder = Arc::new(PipelineTranscoder::new(supervisor.clone()));
    hub.set_transcoder(transcoder);

    let finish = CancellationToken::new(); // recordings close, segmenters have ended
    let stop = CancellationToken::new(); // nothing new comes in
    let (record, targets) = (config.record.clone(), config.pipeline.targets());
    let recordings = Recordings::open(&config.data_dir, record, targets, clock.clone(), lots, finish.clone(), &vitals);
    let recordings = recordings.await.map_err(cannot("recording"))?;
    let live = Live::new(config.package.clone(), config.pipeline.targets(), (memory::available() / WINDOWS_OF_MEMORY) as usize);
    let mut numbers = Numbers::open(live.clone(), &config.data_dir);
    let segmenters = Segmenters { hub: hub.clone(), supervisor: supervisor.clone(), live: live.clone(), recordings: recordings.clone() };
    let segmenters = watch.spawn("the segmenters", segmenters.run(stop.clone()));

    let rtmp = match config.rtmp.enabled {
        true => Some(RtmpServer::bind(config.rtmp.clone(), hub.clone(), stop.clone()).map_err(cannot("RTMP"))?),
        false => None,
    };
    let webrtc = WebRtcService::new(config.webrtc.clone(), hub.clone());
    let http_metrics = HttpMetrics::default();
    let deviation = clock::Deviation::default();
    let metrics = Metrics {
        workers: workers.clone(),
        supervisor: supervisor.clone(),
        live: live.clone(),
        recordings: recordings.clone(),
        hub: hub.clone(),
        webrtc: webrtc.metrics().clone(),
        rtmp: rtmp.as_ref().map(|server| server.metrics().clone()),
        http: http_metrics.clone(),
        deviation: deviation.clone(),
        panics,
        log_lines_left_out: log.left_out().clone(),
    };
    let metrics = Arc::new(metrics.into_registry());

    let readiness = Readiness::new();
    let mut routes = Routes::new();
    http::register_health(&mut routes, readiness.clone());
    http::register_metrics(&mut routes, config.api.clone(), Arc::new(move || metrics.clone().text()));
    http::register_whip(&mut routes, webrtc.clone());
    http::register_live(&mut routes, LiveRoutes { hub: hub.clone(), live });
    let rtmp_port = rtmp.as_ref().map_or(0, |server| server.local_addr().port());
    let api = ApiRoutes { config: config.api.clone(), hub: hub.clone(), recordings: recordings.clone(), rtmp_port };
    http::register_api(&mut routes, api);
    http::register_vod(&mut routes, VodRoutes { recordings: recordings.clone(), hub: hub.clone() });
    http::register_pages(&mut routes);
    let http_stop = CancellationToken::new();
    let served =
        routes.into_served(&config.http, &http_metrics, Patience::new(hub.tries().clone(), hub.clock().clone(), http_metrics.clone()));
    let http = HttpServer::bind(&config.http, served, http_metrics, http_stop.clone()).map_err(cannot("HTTP"))?;

    let http_port = http.local_addr().port();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        http = %http.local_addr(),
        rtmp = ?rtmp.as_ref().map(RtmpServer::local_addr),
        media = ?workers.media_addresses(),
        workers = workers.len(),
        data = %config.data_dir.display(),
        "headend is running: open http://localhost:{http_port}/",
    );
    let http = watch.spawn("the HTTP server", http.run());
    let rtmp = rtmp.map(|server| watch.spawn("the RTMP server", server.run()));
    watch.spawn("the keeper of the clock", clock::keep(clock, hub.clone(), recordings.clone(), deviation));
    let numbers_stop = stop.clone();
    let numbers = watch.spawn("the keeper of segment numbers", async move {
        numbers_stop.run_until_cancelled(numbers.keep()).await;
        numbers
    });
    let asked = workers.clone();
    let answer = move || {
        let workers = asked.clone();
        async move { workers.answer_within(watch::ANSWER_WITHIN).await }
    };
    watch.spawn("the watch over the workers", watch::keep_asking(answer, readiness.clone()));
    watch.spawn("the keeper of the log", log.clone().keep_telling());
    readiness.set(true);

    let ended = tokio::select! {
        part = watch.ended() => Some(part),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    match ended {
        Some(part) => tracing::error!("{part} has ended, which is a bug: shutting down, to be started again"),
        None => tracing::info!("shutting down"),
    }
    readiness.set(false);
    let shutdown = async {
        hub.shutdown(); // publishers are notified, playlists and recordings get their ends
        webrtc.shutdown().await;
        stop.cancel();
        let _ = tokio::time::timeout(FINISH_WITHIN, segmenters).await;
        if let Ok(mut numbers) = numbers.await {
            numbers.close().await;
        }
        finish.cancel();
        recordings.closed().await;
        http_stop.cancel();
        let _ = http.await;
        if let Some(rtmp) = rtmp {
            let _ = rtmp.await;
        }
        supervisor.shutdown().await;
        workers.shutdown().await;
    };
    if tokio::time::timeout(END_WITHIN, shutdown).await.is_err() {
        tracing::warn!("not everything ended in time");
    }
    log.tell();
    ended.map_or(Ok(()), |part| Err(ServeError::Ended { part }))
}
