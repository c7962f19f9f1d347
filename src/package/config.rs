//! The `[package]` section.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Bounds, Section};

/// `[package]`: what LL-HLS and DASH players are offered.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PackageConfig {
    /// How much of the past the live playlists and manifests list, 6 s to 10 min. At least four segments are listed whatever it says.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Most memory one stream's window may take, in bytes, 1048576 (1 MiB) to 4294967296 (4 GiB); beyond it the oldest segments go early, down to one.
    pub max_bytes: usize,
    /// Most memory that segments may take, of all streams together, which have left their window and are still being read, in bytes, 1048576
    /// (1 MiB) to 68719476736 (64 GiB); beyond it the readers of the oldest are cut off.
    pub max_late_bytes: usize,
    /// Most memory the windows of all streams may take, in bytes, up to 1099511627776 (1 TiB). Beyond it those give way that have more than an equal
    /// share. 0: a quarter of the machine's memory, or of its control group's where that is less.
    pub max_total_bytes: usize,
    /// Longest a request may wait for a playlist or segment that is about to come, 1 s to 60 s.
    #[serde(with = "humantime_serde")]
    pub max_wait: Duration,
}

impl Default for PackageConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            max_bytes: 256 << 20,
            max_late_bytes: 256 << 20,
            max_total_bytes: 0,
            max_wait: Duration::from_secs(10),
        }
    }
}

impl Section for PackageConfig {
    const NAME: &'static str = "package";

    fn check(&self, bounds: &mut Bounds) {
        bounds.duration("window", self.window, Duration::from_secs(6)..=Duration::from_secs(600));
        bounds.number("max_bytes", self.max_bytes, 1 << 20..=4 << 30);
        bounds.number("max_late_bytes", self.max_late_bytes, 1 << 20..=64 << 30);
        bounds.number("max_total_bytes", self.max_total_bytes, 0..=1 << 40);
        bounds.duration("max_wait", self.max_wait, Duration::from_secs(1)..=Duration::from_secs(60));
    }
}
