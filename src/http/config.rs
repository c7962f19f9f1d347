//! The configuration section `[http]`.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::proxy::{Network, is_prefix};

/// The HTTP server.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where to listen. `[::]` means IPv4 as well; where the machine has no IPv6, IPv4 alone.
    pub listen: SocketAddr,
    /// Most connections at a time, 1 to 1000000; more are answered by 503 and closed.
    pub max_connections: usize,
    /// A request's head must have come within this time, 1 s to 5 min. An HTTP/1.1 connection is kept open as long between requests.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// A connection on which nothing moves either way for this long (at most twice as long) is closed, 10 s to 1 h. Longer than any
    /// request is held (blocking playlist reload) and than the pauses between a WebSocket's pings.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
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
    /// What stands before every path outside, such as `/media`, where a proxy serves headend below a folder and doesn't tell by
    /// `X-Forwarded-Prefix`. Requests may come with it or without. Empty: nothing.
    pub base_path: String,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080)),
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            shutdown_timeout: Duration::from_secs(3),
            max_body: 64 * 1024,
            cors_origins: vec!["*".to_owned()],
            trusted_proxies: Vec::new(),
            base_path: String::new(),
        }
    }
}

impl HttpConfig {
    /// What is wrong with the values, as key and sentence.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let seconds = |key, value: Duration, min, max| {
            let good = (Duration::from_secs(min)..=Duration::from_secs(max)).contains(&value);
            if good { Ok(()) } else { Err((key, format!("{value:?} is not within {min}s to {max}s"))) }
        };
        if !(1..=1_000_000).contains(&self.max_connections) {
            return Err(("http.max_connections", format!("{} is not within 1 to 1000000", self.max_connections)));
        }
        seconds("http.header_timeout", self.header_timeout, 1, 300)?;
        seconds("http.idle_timeout", self.idle_timeout, 10, 3600)?;
        seconds("http.shutdown_timeout", self.shutdown_timeout, 0, 60)?;
        if !(1024..=16 * 1024 * 1024).contains(&self.max_body) {
            return Err(("http.max_body", format!("{} is not within 1024 to 16777216", self.max_body)));
        }
        if !is_prefix(self.base_path.trim_end_matches('/')) {
            return Err(("http.base_path", format!("{:?} is neither empty nor a path such as /media", self.base_path)));
        }
        match self
            .cors_origins
            .iter()
            .find(|o| *o != "*" && (!o.contains("://") || o.ends_with('/') || !o.bytes().all(|c| c.is_ascii_graphic())))
        {
            Some(origin) => Err(("http.cors_origins", format!("{origin:?} is neither \"*\" nor an origin such as https://example.net"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_good_and_nonsense_is_named() {
        assert_eq!(HttpConfig::default().check(), Ok(()));
        for (config, key) in [
            (HttpConfig { max_connections: 0, ..HttpConfig::default() }, "http.max_connections"),
            (HttpConfig { header_timeout: Duration::ZERO, ..HttpConfig::default() }, "http.header_timeout"),
            (HttpConfig { max_body: 1, ..HttpConfig::default() }, "http.max_body"),
            (HttpConfig { cors_origins: vec!["example.net".into()], ..HttpConfig::default() }, "http.cors_origins"),
            (HttpConfig { cors_origins: vec!["https://example.net/".into()], ..HttpConfig::default() }, "http.cors_origins"),
            (HttpConfig { base_path: "media".into(), ..HttpConfig::default() }, "http.base_path"),
            (HttpConfig { base_path: "/a//b".into(), ..HttpConfig::default() }, "http.base_path"),
        ] {
            assert_eq!(config.check().map_err(|(key, _)| key), Err(key));
        }
    }
}
