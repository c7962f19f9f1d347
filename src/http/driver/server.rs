//! The server: accepts connections, serves a router on them, and ends them in time.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::first_line::{FirstLine, MAX_HEAD, Stranger};
use super::idle::{IdleIo, Pace};
use super::rarely::Rarely;
use super::timer::LazyTimer;
use crate::base::{AtDoor, Door, Places};
use crate::http::{HttpConfig, HttpMetrics, Reading, Served};
use crate::net::accept::{Acceptor, Arrival};
use crate::net::tcp::listen;

/// Requests at a time on one HTTP/2 connection. A page with several players has fewer than ten.
const MAX_STREAMS: u32 = 128;
/// Bytes buffered per HTTP/2 stream for sending.
const MAX_SEND_BUFFER: usize = 256 * 1024;

/// Why the server can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ServeError {
    /// The address can't be listened on.
    #[error("can't listen for HTTP on {address}: {source}; choose another with --http or http.listen, or stop what uses it")]
    Listen { address: SocketAddr, source: io::Error },
}

/// A bound server that is not accepting yet.
#[derive(Debug)]
pub(crate) struct HttpServer {
    listener: Acceptor,
    address: SocketAddr,
    served: Arc<Served>,
    config: HttpConfig,
    metrics: HttpMetrics,
    shutdown: CancellationToken,
}

impl HttpServer {
    /// Listens. Must be called within a runtime.
    pub(crate) fn bind(
        config: &HttpConfig,
        served: impl Into<Served>,
        metrics: HttpMetrics,
        shutdown: CancellationToken,
    ) -> Result<Self, ServeError> {
        let fail = |address| move |source| ServeError::Listen { address, source };
        let wanted = config.listen;
        let listener = listen(wanted).map_err(fail(wanted))?;
        let address = listener.local_addr().map_err(fail(wanted))?;
        let listener = Acceptor::new("HTTP", listener);
        Ok(Self { listener, address, served: Arc::new(served.into()), config: config.clone(), metrics, shutdown })
    }

    /// Where it listens, with the port that the system chose where the configured one is 0.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the token is cancelled; then lets running requests end for `shutdown_timeout`.
    pub(crate) async fn run(mut self) {
        let door = Door::new(Places::of_each(self.config.max_connections_per_address));
        let slots = Arc::new(Semaphore::new(self.config.max_connections.min(Semaphore::MAX_PERMITS)));
        let connections = TaskTracker::new();
        // Cancelled when running requests have had their time.
        let abort = CancellationToken::new();
        let builder = Arc::new(builder(&self.config));
        loop {
            let Arrival { stream, peer, few_files } = tokio::select! {
                () = self.shutdown.cancelled() => break,
                arrival = self.listener.accept() => arrival,
            };
            if few_files {
                self.metrics.few_files.inc();
                refuse(stream, "the server has nearly as many open files as it may have");
                continue;
            }
            let Ok(permit) = Arc::clone(&slots).try_acquire_owned() else {
                self.metrics.refused.inc();
                refuse(stream, "the server has as many connections as http.max_connections");
                continue;
            };
            let from = (!self.config.trusted_proxies.iter().any(|proxy| proxy.contains(peer.ip()))).then(|| peer.ip());
            let gives_way = CancellationToken::new();
            let (place, gone) = door.come(from, gives_way.clone());
            if let Some(gone) = gone {
                self.metrics.crowded.inc();
                gone.cancel();
            }
            let connection = Connection {
                served: Arc::clone(&self.served),
                builder: Arc::clone(&builder),
                shutdown: self.shutdown.clone(),
                abort: abort.clone(),
                first: self.config.header_timeout,
                idle: self.config.idle_timeout,
                min_rate: self.config.min_rate,
                gives_way,
                counted: Counted::new(self.metrics.clone(), permit, place),
            };
            connections.spawn(connection.serve(stream, peer));
        }
        drop(self.listener);
        connections.close();
        if tokio::time::timeout(self.config.shutdown_timeout, connections.wait()).await.is_err() {
            tracing::debug!(connections = connections.len(), "HTTP connections cut off at shutdown");
            abort.cancel();
            connections.wait().await;
        }
    }
}

/// Answers 503 without waiting: the send buffer of a new connection has room for it.
fn refuse(stream: TcpStream, why: &str) {
    let Ok(mut stream) = stream.into_std() else { return };
    // What has come already is read, or closing would reset the connection and might take the answer with it.
    let _ = stream.read(&mut [0; 4096]);
    let body = format!("{{\"error\":{{\"code\":\"full\",\"message\":\"{why}\"}}}}\n");
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n\
         Access-Control-Allow-Origin: *\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write(answer.as_bytes());
}

fn builder(config: &HttpConfig) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(LazyTimer).header_read_timeout(config.header_timeout).max_buf_size(MAX_HEAD.max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .max_send_buf_size(MAX_SEND_BUFFER);
    builder
}

/// A connection as the metrics and the bound see it.
struct Counted {
    metrics: HttpMetrics,
    _permit: OwnedSemaphorePermit,
    _place: AtDoor<CancellationToken>,
}

impl Counted {
    fn new(metrics: HttpMetrics, permit: OwnedSemaphorePermit, place: AtDoor<CancellationToken>) -> Self {
        metrics.connections.inc();
        Self { metrics, _permit: permit, _place: place }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

struct Connection {
    served: Arc<Served>,
    builder: Arc<auto::Builder<TokioExecutor>>,
    shutdown: CancellationToken,
    /// Cancelled some time after `shutdown`.
    abort: CancellationToken,
    first: Duration,
    idle: Duration,
    min_rate: u32,
    /// Cancelled when too many came from its address.
    gives_way: CancellationToken,
    counted: Counted,
}

impl Connection {
    async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        // Answers are written whole: waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let reading = Reading::default();
        let pace = Pace { min_rate: self.min_rate, reading: reading.clone(), metrics: self.counted.metrics.clone() };
        let io = TokioIo::new(IdleIo::new(FirstLine::new(stream), self.first, self.idle, pace));
        let served = self.served;
        let service = service_fn(move |request: Request<Incoming>| Arc::clone(&served).answer(request, peer.ip(), reading.clone()));
        let connection = self.builder.serve_connection_with_upgrades(io, service);
        tokio::pin!(connection);
        let mut shutdown = Rarely::new(Box::pin(self.shutdown.cancelled()));
        let mut gives_way = Rarely::new(Box::pin(self.gives_way.cancelled()));
        let result = tokio::select! {
            biased;
            result = connection.as_mut() => result,
            () = &mut gives_way => Ok(()),
            () = &mut shutdown => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    result = connection.as_mut() => result,
                    () = self.abort.cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = result {
            match Stranger::behind(error.as_ref()) {
                Some(stranger) => {
                    self.counted.metrics.strangers.inc();
                    tracing::info!(%peer, "the peer does not speak HTTP: {stranger}");
                }
                None => tracing::debug!(%peer, %error, "HTTP connection ended"),
            }
        }
        drop(self.counted);
    }
}
