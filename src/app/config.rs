//! The whole configuration: each part's own section, put together.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::logging::LogConfig;
use crate::base::{Section, SettingError};
use crate::http::{ApiConfig, HttpConfig};
use crate::package::PackageConfig;
use crate::pipeline::PipelineConfig;
use crate::record::RecordConfig;
use crate::rtmp::RtmpConfig;
use crate::sfu::SfuConfig;
use crate::stream::StreamConfig;
use crate::webrtc::WebRtcConfig;

/// Everything that can be configured. `samples/headend.toml` shows every key with its default.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where recordings are kept. Made if it isn't there.
    pub data_dir: PathBuf,
    /// What is logged, and how.
    pub log: LogConfig,
    /// Pages, WHIP and WHEP, HLS, DASH, the API.
    pub http: HttpConfig,
    /// Who may change things through the API.
    pub api: ApiConfig,
    /// RTMP publishing and playing.
    pub rtmp: RtmpConfig,
    /// WHIP and WHEP sessions.
    pub webrtc: WebRtcConfig,
    /// WebRTC media: ports, addresses, workers.
    pub sfu: SfuConfig,
    /// What holds for every stream: bounds, keys, the reconnect window.
    pub stream: StreamConfig,
    /// GStreamer pipelines: segment lengths, transcoding budget.
    pub pipeline: PipelineConfig,
    /// LL-HLS and DASH.
    pub package: PackageConfig,
    /// Recordings.
    pub record: RecordConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            log: LogConfig::default(),
            http: HttpConfig::default(),
            api: ApiConfig::default(),
            rtmp: RtmpConfig::default(),
            webrtc: WebRtcConfig::default(),
            sfu: SfuConfig::default(),
            stream: StreamConfig::default(),
            pipeline: PipelineConfig::default(),
            package: PackageConfig::default(),
            record: RecordConfig::default(),
        }
    }
}

impl Config {
    /// Everything that is wrong with the values. Empty: the server can start with them.
    pub(super) fn problems(&self) -> Vec<SettingError> {
        [
            self.log.problems(),
            self.http.problems(),
            self.rtmp.problems(),
            self.webrtc.problems(),
            self.sfu.problems(),
            self.stream.problems(),
            self.pipeline.problems(),
            self.package.problems(),
            self.record.problems(),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::app::{Config, load_text};

    /// Every key with a range: what is just inside it, what is just outside, and how the range is named.
    const RANGES: [(&str, [&str; 2], &[&str], &str); 44] = [
        ("http.max_connections", ["1", "1000000"], &["0", "1000001"], "1 to 1000000"),
        ("http.header_timeout", ["1s", "5min"], &["999ms", "301s"], "1s to 5min"),
        ("http.idle_timeout", ["10s", "1h"], &["9s", "3601s"], "10s to 1h"),
        ("http.shutdown_timeout", ["0s", "1min"], &["61s"], "0s to 1min"),
        ("http.max_body", ["1024", "16777216"], &["1023", "16777217"], "1024 to 16777216"),
        ("rtmp.max_connections", ["1", "100000"], &["0", "100001"], "1 to 100000"),
        ("rtmp.handshake_timeout", ["100ms", "1min"], &["99ms", "61s"], "100ms to 1min"),
        ("rtmp.idle_timeout", ["1s", "1h"], &["999ms", "3601s"], "1s to 1h"),
        ("rtmp.player_buffer", ["65536", "268435456"], &["65535", "268435457"], "65536 to 268435456"),
        ("rtmp.player_timeout", ["1s", "1h"], &["999ms", "3601s"], "1s to 1h"),
        ("rtmp.play_wait", ["0s", "1h"], &["3601s"], "0s to 1h"),
        ("rtmp.max_waiting_players", ["0", "100000"], &["100001"], "0 to 100000"),
        ("webrtc.max_sessions", ["1", "1000000"], &["0", "1000001"], "1 to 1000000"),
        ("webrtc.connect_timeout", ["1s", "5min"], &["999ms", "301s"], "1s to 5min"),
        ("sfu.workers", ["0", "256"], &["257"], "0 to 256"),
        ("sfu.max_transports", ["1", "1000000"], &["0", "1000001"], "1 to 1000000"),
        ("sfu.max_producers", ["1", "1000000"], &["0", "1000001"], "1 to 1000000"),
        ("sfu.max_consumers", ["1", "1000000"], &["0", "1000001"], "1 to 1000000"),
        ("sfu.key_frame_cache_max_age", ["0s", "10min"], &["601s"], "0s to 10min"),
        ("sfu.key_frame_cache_max_bytes", ["65536", "1073741824"], &["65535", "1073741825"], "65536 to 1073741824"),
        ("sfu.max_incoming_bitrate", ["10000", "1000000000"], &["9999", "1000000001"], "10000 to 1000000000"),
        ("stream.max_streams", ["1", "10000"], &["0", "10001"], "1 to 10000"),
        ("rtmp.max_connecting", ["1", "100000"], &["0", "100001"], "1 to 100000"),
        ("webrtc.max_connecting", ["1", "1000000"], &["0", "1000001"], "1 to 1000000"),
        ("stream.max_silent_publishers", ["1", "10000"], &["0", "10001"], "1 to 10000"),
        ("stream.max_bitrate", ["100000", "10000000000"], &["99999", "10000000001"], "100000 to 10000000000"),
        ("stream.home_preference", ["0", "100000"], &["100001"], "0 to 100000"),
        ("stream.reconnect_window", ["0s", "10min"], &["601s"], "0s to 10min"),
        ("stream.takeover_silence", ["0s", "10min"], &["601s"], "0s to 10min"),
        ("pipeline.children_max", ["1", "256"], &["0", "257"], "1 to 256"),
        ("pipeline.jobs_per_child", ["1", "256"], &["0", "257"], "1 to 256"),
        ("pipeline.segment_duration", ["500ms", "30s"], &["499ms", "31s"], "500ms to 30s"),
        ("pipeline.part_duration", ["50ms", "2s"], &["49ms"], "50ms to 2s"),
        ("pipeline.transcode_max", ["0", "1024"], &["1025"], "0 to 1024"),
        ("package.window", ["6s", "10min"], &["5s", "601s"], "6s to 10min"),
        ("package.max_bytes", ["1048576", "4294967296"], &["1048575", "4294967297"], "1048576 to 4294967296"),
        ("package.max_late_bytes", ["1048576", "68719476736"], &["1048575", "68719476737"], "1048576 to 68719476736"),
        ("http.max_connections_per_address", ["1", "1000000"], &["0", "1000001"], "1 to 1000000"),
        ("http.min_rate", ["0", "1000000"], &["1000001"], "0 to 1000000"),
        ("package.max_total_bytes", ["0", "1099511627776"], &["1099511627777"], "0 to 1099511627776"),
        ("package.max_wait", ["1s", "1min"], &["999ms", "61s"], "1s to 1min"),
        ("record.max_recordings", ["1", "1000000"], &["0", "1000001"], "1 to 1000000"),
        ("record.min_duration", ["0s", "1min"], &["61s"], "0s to 1min"),
        ("record.max_duration", ["1min", "24h"], &["59s", "86401s"], "1min to 24h"),
    ];

    /// Keys for which any number or duration makes sense.
    const UNBOUNDED: [&str; 1] = ["record.max_age"];

    /// What the loader says of one key in a file.
    fn said(key: &str, value: &str) -> String {
        let (section, key) = key.split_once('.').unwrap();
        let value = if value.bytes().all(|c| c.is_ascii_digit()) { value.to_owned() } else { format!("{value:?}") };
        load_text(&format!("[{section}]\n{key} = {value}"), "c.toml").err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn every_value_out_of_its_range_is_named_with_key_range_and_line() {
        for (key, good, bad, range) in RANGES {
            for value in good {
                assert_eq!(said(key, value), "", "{key} = {value}");
            }
            for value in bad {
                assert_eq!(said(key, value), format!("c.toml, line 2: {key} is {value}; it must be {range}"));
            }
        }
    }

    #[test]
    fn what_is_no_number_is_named_likewise() {
        for (text, sentence) in [
            (
                "[log]\nlevel = \"headend=loud\"",
                "line 2: log.level is \"headend=loud\"; it must be error, warn, info, debug, trace, or directives such as info,headend::rtmp=debug",
            ),
            (
                "[http]\ncors_origins = [\"*\", \"example.net\"]",
                "line 2: http.cors_origins is \"example.net\"; it must be \"*\" or an origin such as https://example.net",
            ),
            (
                "[http]\ncors_origins = [\"https://example.net/\"]",
                "line 2: http.cors_origins is \"https://example.net/\"; it must be \"*\" or an origin such as https://example.net",
            ),
            ("[http]\nbase_path = \"media\"", "line 2: http.base_path is \"media\"; it must be empty or a path such as /media"),
            ("[http]\nbase_path = \"/a//b\"", "line 2: http.base_path is \"/a//b\"; it must be empty or a path such as /media"),
            ("[sfu]\nlisten = []", "line 2: sfu.listen is empty; it must be at least one address"),
            (
                "[[stream.publish_keys]]\npaths = \"a\"\nsecret = \"b\"\n[[stream.publish_keys]]\npaths = \"**\"\nsecret = \"\"",
                "line 6: stream.publish_keys.1.secret is empty; it must be a text of its own: an empty one opens nothing",
            ),
            (
                "[stream]\nviewer_tokens = [{ paths = \"a\", secret = \"\" }]",
                "line 2: stream.viewer_tokens.0.secret is empty; it must be a text of its own: an empty one opens nothing",
            ),
            (
                "[[webrtc.ice_servers]]\nurl = \"http://x\"",
                "line 2: webrtc.ice_servers.0.url is \"http://x\"; it must be a stun:, stuns:, turn: or turns: URL in plain ASCII",
            ),
            (
                "[[webrtc.ice_servers]]\nurl = \"stun:a>b\"",
                "line 2: webrtc.ice_servers.0.url is \"stun:a>b\"; it must be a stun:, stuns:, turn: or turns: URL in plain ASCII",
            ),
            (
                "[[webrtc.ice_servers]]\nurl = \"stun:a\\r\\nb\"",
                "line 2: webrtc.ice_servers.0.url is \"stun:a\\r\\nb\"; it must be a stun:, stuns:, turn: or turns: URL in plain ASCII",
            ),
            (
                "[[webrtc.ice_servers]]\nurl = \"\"",
                "line 2: webrtc.ice_servers.0.url is \"\"; it must be a stun:, stuns:, turn: or turns: URL in plain ASCII",
            ),
            (
                "[[webrtc.ice_servers]]\nurl = \"turn:a\"\nusername = \"b\"\ncredential = \"ü\"",
                "line 4: webrtc.ice_servers.0.credential is a text with other characters; it must be plain ASCII",
            ),
            (
                "[pipeline]\nsegment_duration = \"1s\"\npart_duration = \"2s\"",
                "line 3: pipeline.part_duration is 2s; it must be at most pipeline.segment_duration, 1s",
            ),
        ] {
            assert_eq!(load_text(text, "c.toml").unwrap_err().to_string(), format!("c.toml, {sentence}"));
        }
    }

    /// Numbers and durations of a section, by their keys.
    fn measurable(section: &str, values: &Value) -> Vec<String> {
        let is_duration = |value: &Value| value.as_str().is_some_and(|text| humantime_serde::re::humantime::parse_duration(text).is_ok());
        let fields = values.as_object().into_iter().flatten();
        fields.filter(|(_, value)| value.is_number() || is_duration(value)).map(|(key, _)| format!("{section}.{key}")).collect()
    }

    #[test]
    fn every_number_and_duration_has_its_row() {
        let config = serde_json::to_value(Config::default()).unwrap();
        let keys: BTreeSet<String> = config.as_object().unwrap().iter().flat_map(|(section, values)| measurable(section, values)).collect();
        let rows = RANGES.iter().map(|(key, ..)| *key).chain(UNBOUNDED).map(str::to_owned).collect();
        assert_eq!(keys, rows, "a setting has a range, and a row in this table");
    }
}
