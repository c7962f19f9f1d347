//! What RTMP counts.
//!
//! In: increments from the driver. Out: Prometheus metrics under `headend_rtmp_`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::oddity::Oddity;

/// The counters of one server. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct RtmpMetrics {
    pub connections: Gauge,
    /// Connections that publish.
    pub publishers: Gauge,
    /// Connections that play.
    pub players: Gauge,
    pub accepted: Counter,
    /// Connections closed at once because `max_connections` was reached.
    pub over_limit: Counter,
    /// Connections closed at once because few file descriptors were left.
    pub few_files: Counter,
    /// Connections closed because too many had neither published nor played anything.
    pub gave_way: Counter,
    /// `publish` and `play` refused.
    pub refused: Counter,
    pub wrong_keys: Counter,
    /// Refused without a look: too many from there waited for one.
    pub keys_unseen: Counter,
    /// Connections ended by what the peer sent, or by a timeout.
    pub errors: Counter,
    pub received: Counter,
    pub sent: Counter,
    /// Publishers' pictures and frames left out: before a sequence header, damaged, or in a codec that isn't carried.
    pub ingest_dropped: Counter,
    /// NAL units of types that nobody decodes, taken out of publishers' pictures.
    pub ingest_foreign: Counter,
    /// Publishers' pictures and frames that the SFU's queue had no room for.
    pub queue_dropped: Counter,
    /// Pictures and frames left out for players that were too slow.
    pub player_dropped: Counter,
    /// Connections that did not speak RTMP: HTTP, TLS, RTMPE. They are errors too.
    pub strangers: Counter,
    pub waiting_players: Gauge,
    /// What peers did otherwise than they should, by kind.
    oddities: Family<[(&'static str, &'static str); 1], Counter>,
}

impl RtmpMetrics {
    pub(super) fn count_oddity(&self, oddity: Oddity, times: u64) {
        self.oddities.get_or_create(&[("what", oddity.name())]).inc_by(times);
    }

    /// Registers them; call it once per registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("rtmp");
        registry.register("connections", "Open RTMP connections", self.connections.clone());
        registry.register("publishers", "RTMP connections that publish", self.publishers.clone());
        registry.register("players", "RTMP connections that play", self.players.clone());
        registry.register("accepted", "RTMP connections accepted", self.accepted.clone());
        registry.register("over_limit", "RTMP connections closed because rtmp.max_connections was reached", self.over_limit.clone());
        registry.register("few_files", "RTMP connections closed because few file descriptors were left", self.few_files.clone());
        registry.register("wrong_keys", "Publishers and players that showed a wrong key", self.wrong_keys.clone());
        let help = "Publishers and players refused without a look at their key: many wrong ones came from there";
        registry.register("keys_unseen", help, self.keys_unseen.clone());
        let help = "RTMP connections closed because too many had neither published nor played anything";
        registry.register("gave_way", help, self.gave_way.clone());
        registry.register("refused", "RTMP publish and play requests refused", self.refused.clone());
        registry.register("errors", "RTMP connections ended by an error of the peer or a timeout", self.errors.clone());
        registry.register_with_unit("received", "Bytes received over RTMP", Unit::Bytes, self.received.clone());
        registry.register_with_unit("sent", "Bytes sent over RTMP", Unit::Bytes, self.sent.clone());
        registry.register("ingest_dropped", "Unusable pictures and frames of RTMP publishers", self.ingest_dropped.clone());
        registry.register(
            "ingest_foreign",
            "NAL units of unknown types taken out of RTMP publishers' pictures",
            self.ingest_foreign.clone(),
        );
        registry.register("queue_dropped", "Pictures and frames of RTMP publishers that found the queue full", self.queue_dropped.clone());
        registry.register("strangers", "Connections to the RTMP port that did not speak RTMP", self.strangers.clone());
        registry.register("waiting_players", "RTMP players that wait for a publisher", self.waiting_players.clone());
        registry.register("oddities", "What RTMP peers did otherwise than they should, and was put up with", self.oddities.clone());
        registry.register("player_dropped", "Pictures and frames left out for slow RTMP players", self.player_dropped.clone());
    }
}
