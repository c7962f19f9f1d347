//! Counters of the HTTP server.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What the server counts. Cheap to clone; nothing is looked up per request.
#[derive(Debug, Clone, Default)]
pub(crate) struct HttpMetrics {
    pub(super) connections: Gauge,
    /// Connections answered by 503 because there were too many.
    pub(super) refused: Counter,
    /// Connections answered by 503 because few file descriptors were left.
    pub(super) few_files: Counter,
    /// Connections closed because too many came from their address.
    pub(super) crowded: Counter,
    /// Connections closed because their client took less than it has to.
    pub(super) slow: Counter,
    /// Connections closed because their client was still reading what had to go.
    pub(super) recalled: Counter,
    /// Connections that spoke TLS or RTMP.
    pub(super) strangers: Counter,
    pub(super) wrong_keys: Counter,
    /// Refused without a look: too many from there waited for one.
    pub(super) keys_unseen: Counter,
    pub(super) requests: Counter,
    pub(super) client_errors: Counter,
    pub(super) server_errors: Counter,
}

impl HttpMetrics {
    /// Registers everything under `http_…`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("http_connections", "HTTP connections now", self.connections.clone());
        registry.register("http_connections_refused", "HTTP connections beyond http.max_connections", self.refused.clone());
        registry.register("http_few_files", "HTTP connections refused because few file descriptors were left", self.few_files.clone());
        registry.register(
            "http_crowded",
            "HTTP connections closed because too many came from their address (http.max_connections_per_address)",
            self.crowded.clone(),
        );
        registry.register(
            "http_slow",
            "HTTP connections closed because their client read more slowly than http.min_rate",
            self.slow.clone(),
        );
        registry.register(
            "http_recalled",
            "HTTP connections closed because their client was still reading a segment that had to go (package.max_late_bytes)",
            self.recalled.clone(),
        );
        registry.register("http_strangers", "Connections to the HTTP port that spoke TLS or RTMP", self.strangers.clone());
        registry.register("http_wrong_keys", "HTTP requests with a wrong key or token", self.wrong_keys.clone());
        let help = "HTTP requests refused without a look at their key: many wrong ones came from there";
        registry.register("http_keys_unseen", help, self.keys_unseen.clone());
        registry.register("http_requests", "HTTP requests answered", self.requests.clone());
        registry.register("http_client_errors", "HTTP answers 400 to 499", self.client_errors.clone());
        registry.register("http_server_errors", "HTTP answers 500 to 599", self.server_errors.clone());
    }
}
