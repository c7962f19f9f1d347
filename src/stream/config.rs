//! The `[stream]` section and who may do what: bounds, the reconnect window, publish keys and viewer tokens.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Bounds, Places, Section, StreamPath, pattern_matches, query};

/// `[stream]`: what holds for every stream, whatever protocol it comes by.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamConfig {
    /// Most streams live at once, 1 to 10000. One more publisher is refused.
    pub max_streams: usize,
    /// Most publishers that have begun and sent nothing yet, 1 to 10000; they don't count as streams. Where one more comes, the one goes that has
    /// been silent for longest of those from the address that has the most. A quarter of them may come from one address (IPv6: from one /64),
    /// other than this machine's own.
    pub max_silent_publishers: usize,
    /// Most bits a second of media that a track may have, on an average of some seconds, 100000 to 10000000000. Whoever publishes more by RTMP is sent
    /// away.
    pub max_bitrate: u64,
    /// How many more WebRTC viewers the SFU worker where a stream arrives may have than the least busy one before new viewers go elsewhere,
    /// 0 to 100000. Every packet wakes each worker that has viewers of it, and a wake-up costs as much as dozens of packets
    /// (docs/performance.md).
    pub home_preference: usize,
    /// How long a stream outlives its publisher, 0 s to 10 min: who returns within it goes on with the same stream.
    #[serde(with = "humantime_serde")]
    pub reconnect_window: Duration,
    /// What happens when somebody publishes to a path that is being published.
    pub on_conflict: OnConflict,
    /// With `on_conflict = "when_silent"`: how long the old publisher must have sent nothing, 0 s to 10 min. With 1.5 s a newcomer is in within
    /// 2 s, whatever of the old one was still on its way.
    #[serde(with = "humantime_serde")]
    pub takeover_silence: Duration,
    /// What HLS, DASH, recordings and WebRTC viewers get of H.264 whose key frames are more than 12 s apart, or never come again (intra refresh),
    /// of a publisher that can't be asked for them (RTMP).
    pub(crate) long_gops: LongGops,
    /// Who may publish where. Empty: anybody, everywhere. Otherwise a path needs a rule that matches and its key.
    pub publish_keys: Vec<AccessRule>,
    /// Who may watch what. A path that no rule matches is open.
    pub viewer_tokens: Vec<AccessRule>,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            max_streams: 200,
            max_silent_publishers: 64,
            max_bitrate: 200_000_000,
            home_preference: 128,
            reconnect_window: Duration::from_secs(10),
            on_conflict: OnConflict::WhenSilent,
            takeover_silence: Duration::from_millis(1500),
            long_gops: LongGops::default(),
            publish_keys: Vec::new(),
            viewer_tokens: Vec::new(),
        }
    }
}

/// What to do with a second publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    Refuse,
    /// The old one is sent away.
    TakeOver,
    /// The old one is sent away if it has been silent, otherwise the new one is refused.
    WhenSilent,
}

/// What WebRTC viewers get of a stream with B-frames (browsers can't show them over WebRTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BFrames {
    /// A transcoded track without them, at the full frame rate, while the transcoding budget lasts; then as `drop`.
    #[default]
    Transcode,
    /// The published track without its disposable pictures: costs nothing, lowers the frame rate.
    Drop,
}

/// What is made of H.264 whose key frames are far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LongGops {
    /// A transcoded track with a key frame every 2 s, while the transcoding budget lasts; then as `keep`.
    #[default]
    Transcode,
    /// The published track: costs nothing, and browsers that come in show nothing until its next key frame.
    Keep,
}

/// A secret for the paths that match a pattern.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AccessRule {
    /// `live/cam1`, or with `*` for any text within one segment and a closing `/**` for everything below: `live/*`, `studio/**`, `**`.
    pub paths: String,
    /// The key or token to show.
    pub secret: String,
}

impl std::fmt::Debug for AccessRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessRule").field("paths", &self.paths).field("secret", &"…").finish()
    }
}

impl Section for StreamConfig {
    const NAME: &'static str = "stream";

    fn check(&self, bounds: &mut Bounds) {
        bounds.number("max_streams", self.max_streams, 1..=10_000);
        bounds.number("max_silent_publishers", self.max_silent_publishers, 1..=10_000);
        bounds.number("max_bitrate", self.max_bitrate, 100_000..=10_000_000_000);
        bounds.number("home_preference", self.home_preference, 0..=100_000);
        let ten_minutes = Duration::ZERO..=Duration::from_secs(600);
        bounds.duration("reconnect_window", self.reconnect_window, ten_minutes.clone());
        bounds.duration("takeover_silence", self.takeover_silence, ten_minutes);
        for (list, rules) in [("publish_keys", &self.publish_keys), ("viewer_tokens", &self.viewer_tokens)] {
            for (index, rule) in rules.iter().enumerate() {
                let key = format!("{list}.{index}.secret");
                bounds.require(!rule.secret.is_empty(), &key, "empty", "a text of its own: an empty one opens nothing");
            }
        }
    }
}

impl StreamConfig {
    /// How many publishers may stand at the door.
    pub(crate) fn silent_publishers(&self) -> Places {
        Places::new(self.max_silent_publishers)
    }

    /// Whether showing `key` allows publishing to `path`.
    pub fn may_publish(&self, path: &StreamPath, key: Option<&str>) -> bool {
        self.publish_keys.is_empty() || any_opens(&self.publish_keys, path, key)
    }

    /// Whether showing `token` allows watching `path`.
    pub fn may_view(&self, path: &StreamPath, token: Option<&str>) -> bool {
        self.is_open(path) || any_opens(&self.viewer_tokens, path, token)
    }

    /// Whether anybody may watch `path`: no rule is for it.
    pub fn is_open(&self, path: &StreamPath) -> bool {
        !self.viewer_tokens.iter().any(|rule| pattern_matches(&rule.paths, path.as_str()))
    }
}

fn any_opens(rules: &[AccessRule], path: &StreamPath, secret: Option<&str>) -> bool {
    let Some(secret) = secret else { return false };
    // Every rule is looked at, so that the time taken says nothing about which one fitted.
    rules.iter().fold(false, |open, rule| open | (pattern_matches(&rule.paths, path.as_str()) & opens(&rule.secret, secret)))
}

/// Whether a shown key, by any of its readings, is the configured secret. An empty configured secret opens nothing.
pub(crate) fn opens(configured: &str, shown: &str) -> bool {
    query::readings(shown).fold(false, |open, reading| open | same_secret(configured, &reading))
}

/// Compared in a time that depends on the lengths only.
fn same_secret(configured: &str, shown: &str) -> bool {
    let difference = configured.bytes().zip(shown.bytes()).fold(0, |acc, (a, b)| acc | (a ^ b));
    !configured.is_empty() && configured.len() == shown.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> StreamPath {
        StreamPath::parse(text).unwrap()
    }

    #[test]
    fn access() {
        let rule = |paths: &str, secret: &str| AccessRule { paths: paths.into(), secret: secret.into() };
        let open = StreamConfig::default();
        assert!(open.may_publish(&path("live/a"), None) && open.may_view(&path("live/a"), None));
        let config = StreamConfig {
            publish_keys: vec![rule("live/*", "k1"), rule("live/b", "k2"), rule("live/empty", "")],
            viewer_tokens: vec![rule("live/private", "t")],
            ..Default::default()
        };
        assert!(config.may_publish(&path("live/a"), Some("k1")));
        assert!(!config.may_publish(&path("live/a"), Some("k2")));
        assert!(config.may_publish(&path("live/b"), Some("k2")));
        assert!(!config.may_publish(&path("other/a"), Some("k1")));
        assert!(!config.may_publish(&path("live/a"), None));
        assert!(!config.may_publish(&path("live/empty"), Some("")));
        assert!(config.may_view(&path("live/a"), None));
        assert!(!config.may_view(&path("live/private"), Some("x")));
        assert!(config.may_view(&path("live/private"), Some("t")));
        assert!(config.is_open(&path("live/a")) && !config.is_open(&path("live/private")));
    }

    #[test]
    fn secrets_open_raw_and_encoded() {
        for (secret, shown, fits) in [
            ("a+b", "a+b", true),
            ("a+b", "a%2Bb", true),
            ("a b", "a+b", true),
            ("a b", "a%20b", true),
            ("a&b", "a&b", true),
            ("a", "a&_HLS_msn=1", true),
            ("100%", "100%", true),
            ("100%", "100%25", true),
            ("100%25", "100%25", true),
            ("a", "a%62", false),
            ("", "", false),
            ("", "&a", false),
        ] {
            assert_eq!(opens(secret, shown), fits, "{secret} {shown}");
        }
    }
}
