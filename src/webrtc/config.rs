//! The configuration section `[webrtc]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Bounds, Places, Section};
use crate::stream::BFrames;

/// WHIP and WHEP sessions. (How WebRTC reaches the network is the SFU's section, what becomes of B-frames the stream's.)
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebRtcConfig {
    /// Most WHIP and WHEP sessions at a time, 1 to 1000000; more are answered by 503.
    pub max_sessions: usize,
    /// Most of them that have not connected yet, 1 to 1000000. Where one more comes, the one goes that has waited for longest of those from
    /// the address that has the most. A quarter of them may come from one address (IPv6: from one /64), other than this machine's own.
    pub max_connecting: usize,
    /// A session that has not connected (ICE and DTLS) within this time is removed; 1 s to 5 min.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// STUN and TURN servers announced to clients in `Link` headers (RFC 9725 section 4.6). None are needed where clients can reach
    /// this server's UDP or TCP port.
    pub ice_servers: Vec<IceServer>,
    /// What viewers get of streams with B-frames, which browsers can't show over WebRTC: `transcode` (full frame rate, costs a part of a core
    /// while somebody watches, see docs/performance.md) or `drop` (lower frame rate, costs nothing).
    pub b_frames: BFrames,
}

/// A STUN or TURN server for clients to use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    /// Such as `stun:stun.example.net` or `turn:turn.example.net?transport=udp`.
    pub url: String,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For TURN: the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl Default for WebRtcConfig {
    fn default() -> Self {
        Self {
            max_sessions: 10_000,
            max_connecting: 1024,
            connect_timeout: Duration::from_secs(20),
            ice_servers: Vec::new(),
            b_frames: BFrames::default(),
        }
    }
}

impl WebRtcConfig {
    /// How many sessions may not have connected: never all that there may be.
    pub(crate) fn connecting(&self) -> Places {
        Places::new(self.max_connecting.min(self.max_sessions.div_ceil(2)))
    }
}

impl Section for WebRtcConfig {
    const NAME: &'static str = "webrtc";

    fn check(&self, bounds: &mut Bounds) {
        bounds.number("max_sessions", self.max_sessions, 1..=1_000_000);
        bounds.number("max_connecting", self.max_connecting, 1..=1_000_000);
        bounds.duration("connect_timeout", self.connect_timeout, Duration::from_secs(1)..=Duration::from_secs(300));
        for (index, server) in self.ice_servers.iter().enumerate() {
            let scheme = server.url.split(':').next().unwrap_or("");
            let good =
                matches!(scheme, "stun" | "stuns" | "turn" | "turns") && !server.url.contains(['<', '>', ' ']) && is_plain(&server.url);
            let allowed = "a stun:, stuns:, turn: or turns: URL in plain ASCII";
            bounds.require(good, &format!("ice_servers.{index}.url"), format_args!("{:?}", server.url), allowed);
            // They stand in a header as they are. What they are is nobody's business, so it is not repeated.
            for (key, text) in [("username", &server.username), ("credential", &server.credential)] {
                let good = text.as_deref().is_none_or(is_plain);
                bounds.require(good, &format!("ice_servers.{index}.{key}"), "a text with other characters", "plain ASCII");
            }
        }
    }
}

/// Whether a text can stand in a quoted string of a header (RFC 9110 section 5.6.4).
fn is_plain(text: &str) -> bool {
    text.bytes().all(|c| (0x20..0x7F).contains(&c))
}

impl WebRtcConfig {
    /// The values of the `Link` headers, one for each server.
    pub fn link_headers(&self) -> Vec<String> {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut links = Vec::with_capacity(self.ice_servers.len());
        for server in &self.ice_servers {
            let mut link = format!("<{}>; rel=\"ice-server\"", server.url);
            if let (Some(username), Some(credential)) = (&server.username, &server.credential) {
                link +=
                    &format!("; username=\"{}\"; credential=\"{}\"; credential-type=\"password\"", quoted(username), quoted(credential));
            }
            links.push(link);
        }
        links
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        let server = |url: &str, user: Option<&str>| IceServer {
            url: url.into(),
            username: user.map(Into::into),
            credential: user.map(|_| "se\"cret".into()),
        };
        let config = WebRtcConfig {
            ice_servers: vec![server("stun:stun.example.net", None), server("turn:turn.example.net?transport=udp", Some("u"))],
            ..WebRtcConfig::default()
        };
        assert_eq!(config.problems(), []);
        assert_eq!(
            config.link_headers(),
            [
                "<stun:stun.example.net>; rel=\"ice-server\"",
                "<turn:turn.example.net?transport=udp>; rel=\"ice-server\"; username=\"u\"; credential=\"se\\\"cret\"; credential-type=\"password\""
            ]
        );
    }
}
