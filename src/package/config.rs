//! The `[package]` section.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[package]`: what LL-HLS and DASH players are offered.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PackageConfig {
    /// How much of the past the live playlists and manifests list, 6 s to 10 min. At least four segments are listed whatever it says.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Most memory one stream's window may take, in bytes, 1 MiB to 4 GiB; beyond it the oldest segments go early.
    pub max_bytes: usize,
    /// Longest a request may wait for a playlist or segment that is about to come, 1 s to 60 s.
    #[serde(with = "humantime_serde")]
    pub max_wait: Duration,
}

impl Default for PackageConfig {
    fn default() -> Self {
        Self { window: Duration::from_secs(30), max_bytes: 256 << 20, max_wait: Duration::from_secs(10) }
    }
}

impl PackageConfig {
    /// What is wrong with the values, a sentence each, with the key.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(Duration::from_secs(6)..=Duration::from_secs(600)).contains(&self.window) {
            problems.push(format!("package.window: {:?} is not within 6s to 10min", self.window));
        }
        if !((1 << 20)..=(4 << 30)).contains(&self.max_bytes) {
            problems.push(format!("package.max_bytes: {} is not within 1 MiB to 4 GiB", self.max_bytes));
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&self.max_wait) {
            problems.push(format!("package.max_wait: {:?} is not within 1s to 60s", self.max_wait));
        }
        problems
    }
}
