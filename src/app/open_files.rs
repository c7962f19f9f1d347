//! How many files may be open: raised as far as the system allows, and compared with what the configuration may need.
//!
//! In: the configuration's bounds. Out: a line in the log where they are more than the limit.

use super::config::Config;
use crate::net::files::{limit_for, raise_limit};

/// Of a stream: index and data of two recorded tracks, what is written beside them, the sockets of its jobs' children, transcodes included.
const PER_STREAM: usize = 8;
/// Of the server itself: the log, the runtimes, the ports of workers.
const OWN: usize = 256;

/// Raises the limit, and says what it should be where it is too low.
pub(super) fn raise(config: &Config) {
    let needed = needed(config);
    match raise_limit() {
        Ok(Some(limit)) if limit < needed => tracing::warn!(
            limit,
            needed,
            "the system allows fewer open files than the configured maxima need (connections of HTTP, RTMP and ICE-TCP, streams): \
             when they are nearly all in use, new connections are refused; set LimitNOFILE={needed} (systemd), --ulimit nofile={needed} \
             (Docker) or ulimit -n {needed}"
        ),
        Ok(limit) => tracing::debug!(limit, needed, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files can't be raised"),
    }
}

/// The limit with which everything may come at once that the configuration allows.
fn needed(config: &Config) -> u64 {
    let Config { http, rtmp, webrtc, sfu, stream, .. } = config;
    let rtmp = if rtmp.enabled { rtmp.max_connections } else { 0 };
    let ice_tcp = if sfu.ice_tcp { webrtc.max_sessions } else { 0 };
    let all = [http.max_connections, rtmp, ice_tcp, stream.max_streams * PER_STREAM, OWN].into_iter().fold(0, usize::saturating_add);
    limit_for(all as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_need_what_the_documentation_says() {
        let mut config = Config::default();
        assert_eq!(needed(&config), 25_396);
        config.rtmp.enabled = false;
        config.sfu.ice_tcp = false;
        config.http.max_connections = 1000;
        config.stream.max_streams = 10;
        assert_eq!(needed(&config), 1485);
    }
}
