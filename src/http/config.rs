//! The configuration section `[http]`.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::proxy::{Network, is_prefix};
use crate::base::{Bounds, Section};

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where to listen. `[::]` means IPv4 as well; where the machine has no IPv6, IPv4 alone.
    pub listen: SocketAddr,
    /// Most connections at a time, 1 to 1000000; more are answered by 503 and closed.
    pub max_connections: usize,
    /// Most of them from one address (IPv6: one /64), 1 to 1000000. Where one more comes from there, the oldest is closed. Doesn't count for
    /// `trusted_proxies` and this machine itself.
    pub max_connections_per_address: usize,
    /// A request's head must have come within this time, 1 s to 5 min. An HTTP/1.1 connection is kept open as long between requests.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// A connection on which nothing moves either way for this long (at most twice as long) is closed, 10 s to 1 h. Longer than any
    /// request is held (blocking playlist reload) and than the pauses between a WebSocket's pings.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Least rate at which a client has to take what it is sent, over half a minute in which it could always have had more; in bytes/s, 0 (any) to
    /// 1000000. Recordings may be paused for `idle_timeout`.
    pub min_rate: u32,
    /// At shutdown, requests being answered get this long to end, 0 s to 1 min.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    /// Largest body of a request, in bytes, 1024 to 16777216. SDP has a bound of its own, 64 KiB.
    pub max_body: usize,
    /// Pages of which origins may use this server: `["*"]` for all, or a list such as `["https://example.net"]`.
    pub cors_origins: Vec<String>,
    /// Reverse proxies whose `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `-Prefix`, or `Forwarded` (RFC 7239), are believed: addresses
    /// and ranges such as `127.0.0.1`, `10.0.0.0/8`. They must set or remove those headers themselves. Empty: nobody is believed.
    pub trusted_proxies: Vec<Network>,
    /// What stands before every path outside, such as `/media`, where a proxy serves headend below a folder and doesn't say so by
    /// `X-Forwarded-Prefix`. Requests may come with it or without. Empty: nothing.
    pub base_path: String,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080)),
            max_connections: 10_000,
            max_connections_per_address: 2500,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            min_rate: 8192,
            shutdown_timeout: Duration::from_secs(3),
            max_body: 64 * 1024,
            cors_origins: vec!["*".to_owned()],
            trusted_proxies: Vec::new(),
            base_path: String::new(),
        }
    }
}

impl Section for HttpConfig {
    const NAME: &'static str = "http";

    fn check(&self, bounds: &mut Bounds) {
        let seconds = |least, most| Duration::from_secs(least)..=Duration::from_secs(most);
        bounds.number("max_connections", self.max_connections, 1..=1_000_000);
        bounds.number("max_connections_per_address", self.max_connections_per_address, 1..=1_000_000);
        bounds.duration("header_timeout", self.header_timeout, seconds(1, 300));
        bounds.duration("idle_timeout", self.idle_timeout, seconds(10, 3600));
        bounds.number("min_rate", self.min_rate, 0..=1_000_000);
        bounds.duration("shutdown_timeout", self.shutdown_timeout, seconds(0, 60));
        bounds.number("max_body", self.max_body, 1024..=16 << 20);
        for origin in self.cors_origins.iter().filter(|origin| !is_origin(origin)) {
            bounds.require(false, "cors_origins", format_args!("{origin:?}"), "\"*\" or an origin such as https://example.net");
        }
        let prefix = is_prefix(self.base_path.trim_end_matches('/'));
        bounds.require(prefix, "base_path", format_args!("{:?}", self.base_path), "empty or a path such as /media");
    }
}

/// Whether it stands for all origins, or has the form of one (RFC 6454 section 6.2).
fn is_origin(text: &str) -> bool {
    text == "*" || (text.contains("://") && !text.ends_with('/') && text.bytes().all(|c| c.is_ascii_graphic()))
}
