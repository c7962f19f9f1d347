//! The `[sfu]` section of the configuration.
//!
//! In: what the operator wrote. Out: bounds and addresses that every worker keeps to.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Bounds, Section};

/// The port for WebRTC media, UDP and TCP.
const DEFAULT_PORT: u16 = 8189;

/// How the SFU listens and what it bounds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SfuConfig {
    /// Addresses and ports for WebRTC media, at least one. All workers share them. Port 0 takes a free one (the same for all workers).
    pub listen: Vec<SocketAddr>,
    /// Addresses or host names to announce to browsers instead of the addresses of the machine: behind NAT, in Docker. Empty: its own.
    pub announced_addresses: Vec<String>,
    /// Worker threads, 0 to 256. 0: one per CPU core.
    pub workers: usize,
    /// Whether browsers may connect by TCP too, where UDP is blocked (ICE-TCP, RFC 6544).
    pub ice_tcp: bool,
    /// Most transports per worker, 1 to 1000000.
    pub max_transports: usize,
    /// Most producers per worker, 1 to 1000000.
    pub max_producers: usize,
    /// Most consumers per worker, 1 to 1000000.
    pub max_consumers: usize,
    /// Whether new viewers get the pictures since the last key frame at once.
    pub fast_start: bool,
    /// How long the pictures since the last key frame are kept, 0 s to 10 min; a longer distance between key frames makes viewers
    /// wait for the next one.
    #[serde(with = "humantime_serde")]
    pub key_frame_cache_max_age: Duration,
    /// How many bytes of one producer are kept in memory, for new viewers and for retransmissions; 65536 to 1073741824.
    pub key_frame_cache_max_bytes: usize,
    /// What browsers without transport-wide feedback may publish, in bit/s (announced by REMB); 10000 to 1000000000.
    pub max_incoming_bitrate: u64,
}

impl Default for SfuConfig {
    fn default() -> Self {
        Self {
            listen: vec![
                SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), DEFAULT_PORT),
                SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), DEFAULT_PORT),
            ],
            announced_addresses: Vec::new(),
            workers: 0,
            ice_tcp: true,
            // A worker is one core, which forwards to about a thousand viewers of a usual stream; ten times that bounds memory.
            max_transports: 10_000,
            max_producers: 4_000,
            max_consumers: 20_000,
            fast_start: true,
            // OBS's default distance between key frames is 250 frames: 8.3 s at 30 fps, 10.4 s at 24. What is made of tracks whose key frames
            // are further apart begins with the last one, too.
            key_frame_cache_max_age: Duration::from_secs(15),
            // 10 s at 13 Mbit/s.
            key_frame_cache_max_bytes: 16 << 20,
            max_incoming_bitrate: 10_000_000,
        }
    }
}

impl Section for SfuConfig {
    const NAME: &'static str = "sfu";

    fn check(&self, bounds: &mut Bounds) {
        bounds.require(!self.listen.is_empty(), "listen", "empty", "at least one address");
        bounds.number("workers", self.workers, 0..=256);
        bounds.number("max_transports", self.max_transports, 1..=1_000_000);
        bounds.number("max_producers", self.max_producers, 1..=1_000_000);
        bounds.number("max_consumers", self.max_consumers, 1..=1_000_000);
        bounds.duration("key_frame_cache_max_age", self.key_frame_cache_max_age, Duration::ZERO..=Duration::from_secs(600));
        bounds.number("key_frame_cache_max_bytes", self.key_frame_cache_max_bytes, 64 << 10..=1 << 30);
        bounds.number("max_incoming_bitrate", self.max_incoming_bitrate, 10_000..=1_000_000_000);
    }
}
