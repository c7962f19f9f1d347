//! RTMP's side that touches sockets, tasks and the clock: the listener and a task per connection.
//!
//! In: TCP connections, the configuration, the hub. Out: publications and viewers of `stream`; answers on the sockets.

mod connecting;
mod connection;
#[cfg(test)]
mod habits_tests;
mod keys;
mod play;
mod publish;
mod rounds;
mod slot;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::metrics::RtmpMetrics;
use super::session::SessionTimeouts;
use crate::base::{Bounds, Budget, Section, SettingError};
use crate::net::accept::{Acceptor, Arrival};
use crate::net::tcp::listen;
use crate::stream::Hub;

/// How long connections may take to say goodbye when the server stops; within the 5 s that the whole shutdown has.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);
/// What all connections together may hold beyond their fixed buffers, in bytes: against a thousand of them at their bounds. A hundred players
/// that are a whole 4 Mbit/s GOP behind, or a hundred key frames of several megabytes in assembly at the same moment.
const HELD_MAX: usize = 512 << 20;
/// A connection that holds no more than this is left alone even then: one key frame of an ordinary stream.
const HELD_FREE: usize = 256 << 10;

/// The section `[rtmp]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RtmpConfig {
    /// Whether RTMP is on.
    pub enabled: bool,
    /// Address and TCP port to listen on. `[::]` stands for all addresses, IPv4 included.
    pub listen: SocketAddr,
    /// Most connections at a time, publishers and players together; 1 to 100000. More are closed at once.
    pub max_connections: usize,
    /// Most of them that have neither published nor played anything yet, 1 to 100000, never more than half of all. Where one more comes, the one
    /// is closed that has been there for longest of those from the address that has the most. A quarter of them may come from one address
    /// (IPv6: from one /64), other than this machine's own.
    pub max_connecting: usize,
    /// Time for the handshake, from 100 ms to 60 s.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// Time after which a publisher that sends nothing, or a connection that neither publishes nor plays, is closed; from 1 s to 1 h.
    /// Publishers that send a picture every few seconds and no sound may be silent for three times as long as their pauses.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Bytes that may wait for a player; what is beyond is left out up to the next key frame. 64 KiB to 256 MiB.
    pub player_buffer: usize,
    /// Time after which a player that takes nothing is closed; from 1 s to 1 h.
    #[serde(with = "humantime_serde")]
    pub player_timeout: Duration,
    /// How long a player may wait for a publisher to come, or to come back after the stream has ended; 0 s (refuse it) to 1 h.
    #[serde(with = "humantime_serde")]
    pub play_wait: Duration,
    /// Most players that wait for a publisher at a time, 0 to 100000. More are refused.
    pub max_waiting_players: usize,
}

impl Default for RtmpConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 1935)),
            max_connections: 1000,
            max_connecting: 128,
            handshake_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(10),
            // 8 s, the longest usual GOP, at 4 Mbit/s.
            player_buffer: 4 << 20,
            player_timeout: Duration::from_secs(10),
            // Who opens the player first and then starts the encoder is done by then.
            play_wait: Duration::from_secs(60),
            max_waiting_players: 200,
        }
    }
}

impl Section for RtmpConfig {
    const NAME: &'static str = "rtmp";

    fn check(&self, bounds: &mut Bounds) {
        let seconds = |least, most| Duration::from_secs(least)..=Duration::from_secs(most);
        bounds.number("max_connections", self.max_connections, 1..=100_000);
        bounds.number("max_connecting", self.max_connecting, 1..=100_000);
        bounds.duration("handshake_timeout", self.handshake_timeout, Duration::from_millis(100)..=Duration::from_secs(60));
        bounds.duration("idle_timeout", self.idle_timeout, seconds(1, 3600));
        bounds.number("player_buffer", self.player_buffer, 64 << 10..=256 << 20);
        bounds.duration("player_timeout", self.player_timeout, seconds(1, 3600));
        bounds.duration("play_wait", self.play_wait, seconds(0, 3600));
        bounds.number("max_waiting_players", self.max_waiting_players, 0..=100_000);
    }
}

/// Why the server doesn't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RtmpServerError {
    /// A value out of its bounds.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The port could not be opened.
    #[error("can't listen for RTMP on {address}: {source} (is another server running there? rtmp.listen changes the address)")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// What all connections share.
#[derive(Debug)]
struct Context {
    config: RtmpConfig,
    hub: Hub,
    cancel: CancellationToken,
    metrics: RtmpMetrics,
    budget: Budget,
    /// Places for players that wait for a publisher.
    waiting: Arc<Semaphore>,
}

/// Counts one in a gauge for as long as it lives.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Context {
    fn now(&self) -> Instant {
        self.hub.clock().at()
    }

    fn session_timeouts(&self) -> SessionTimeouts {
        SessionTimeouts { handshake: self.config.handshake_timeout, idle: self.config.idle_timeout }
    }
}

/// A bound RTMP server.
#[derive(Debug)]
pub(crate) struct RtmpServer {
    listener: Acceptor,
    address: SocketAddr,
    context: Arc<Context>,
}

impl RtmpServer {
    /// Opens the port; must be called within a runtime. Cancelling `cancel` ends [`run`](Self::run) and all connections, whose peers are
    /// notified.
    ///
    /// # Errors
    /// A value of the configuration is out of its bounds, or the port can't be opened.
    pub(crate) fn bind(config: RtmpConfig, hub: Hub, cancel: CancellationToken) -> Result<Self, RtmpServerError> {
        config.sound()?;
        let failed = |source| RtmpServerError::Listen { address: config.listen, source };
        let listener = listen(config.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let waiting = Arc::new(Semaphore::new(config.max_waiting_players));
        let (metrics, budget) = (RtmpMetrics::default(), Budget::new(HELD_MAX, HELD_FREE));
        let listener = Acceptor::new("RTMP", listener);
        Ok(Self { listener, address, context: Arc::new(Context { config, hub, cancel, metrics, budget, waiting }) })
    }

    /// Where it listens: the real port where 0 was configured.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Its counters, to be registered.
    pub(crate) fn metrics(&self) -> &RtmpMetrics {
        &self.context.metrics
    }

    /// Serves until the token is cancelled and the connections have said goodbye (at most 3 s).
    pub(crate) async fn run(self) {
        let Self { mut listener, address, context } = self;
        let places = Arc::new(Semaphore::new(context.config.max_connections));
        let hall = connecting::Hall::new(&context.config);
        let tasks = TaskTracker::new();
        tracing::info!(%address, "RTMP server listens");
        loop {
            let Arrival { stream, peer, few_files } = tokio::select! {
                () = context.cancel.cancelled() => break,
                arrival = listener.accept() => arrival,
            };
            if few_files {
                context.metrics.few_files.inc();
                continue;
            }
            let Ok(place) = places.clone().try_acquire_owned() else {
                context.metrics.over_limit.inc();
                tracing::debug!(%peer, "RTMP connection closed: rtmp.max_connections is reached");
                continue;
            };
            context.metrics.accepted.inc();
            let (connecting, gave_way) = hall.come(peer.ip());
            context.metrics.gave_way.inc_by(u64::from(gave_way));
            let context = context.clone();
            tasks.spawn(async move {
                connection::serve(context, stream, peer, connecting).await;
                drop(place);
            });
        }
        drop(listener);
        tasks.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, tasks.wait()).await.is_err() {
            tracing::warn!(left = tasks.len(), "RTMP connections did not end in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused() {
        let config: RtmpConfig = serde_json::from_str(r#"{"listen":"127.0.0.1:0","idle_timeout":"3s"}"#).unwrap();
        assert_eq!((config.listen.port(), config.idle_timeout), (0, Duration::from_secs(3)));
        assert!(serde_json::from_str::<RtmpConfig>(r#"{"lisen":"127.0.0.1:0"}"#).is_err());
    }
}
