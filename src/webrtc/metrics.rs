//! Counters of WHIP and WHEP.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type ByProtocol = [(&'static str, &'static str); 1];
type ByProtocolAndReason = [(&'static str, &'static str); 2];

/// What the adapter counts. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct WebRtcMetrics {
    sessions: Family<ByProtocol, Gauge>,
    created: Family<ByProtocol, Counter>,
    connected: Family<ByProtocol, Counter>,
    refused: Family<ByProtocolAndReason, Counter>,
    /// Sessions that had to go because too many had not connected.
    pub(super) gave_way: Counter,
}

impl WebRtcMetrics {
    /// Registers everything under `webrtc_…`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("webrtc_sessions", "WHIP and WHEP sessions now", self.sessions.clone());
        registry.register("webrtc_sessions_created", "WHIP and WHEP sessions answered by 201", self.created.clone());
        registry.register("webrtc_sessions_connected", "Sessions whose ICE and DTLS were completed", self.connected.clone());
        registry.register("webrtc_requests_refused", "WHIP and WHEP offers refused, by reason", self.refused.clone());
        let help = "Sessions that had to go because too many had not connected";
        registry.register("webrtc_sessions_gave_way", help, self.gave_way.clone());
    }

    pub(super) fn began(&self, protocol: &'static str) {
        self.sessions.get_or_create(&[("protocol", protocol)]).inc();
        self.created.get_or_create(&[("protocol", protocol)]).inc();
    }

    pub(super) fn connected(&self, protocol: &'static str) {
        self.connected.get_or_create(&[("protocol", protocol)]).inc();
    }

    pub(super) fn ended(&self, protocol: &'static str) {
        self.sessions.get_or_create(&[("protocol", protocol)]).dec();
    }

    pub(super) fn refused(&self, protocol: &'static str, reason: &'static str) {
        self.refused.get_or_create(&[("protocol", protocol), ("reason", reason)]).inc();
    }
}
