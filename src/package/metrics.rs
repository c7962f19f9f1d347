//! What the windows hold, and what found no room in them.
//!
//! In: increments from the driver. Out: Prometheus metrics under `headend_package_`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The counters of all windows. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct PackageMetrics {
    /// What all windows hold.
    pub(super) window_bytes: Gauge,
    /// Chunks left out because there was no memory for them.
    pub(super) chunks_refused: Counter,
}

impl PackageMetrics {
    /// Registers them; call it once per registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("package");
        registry.register_with_unit("windows", "Bytes of live media in memory, for HLS and DASH", Unit::Bytes, self.window_bytes.clone());
        registry.register("chunks_refused", "Chunks left out of HLS and DASH: no memory for them", self.chunks_refused.clone());
    }
}
