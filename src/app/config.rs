//! The whole configuration: each part's own section, put together.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::logging::LogConfig;
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
    /// What is wrong with the values, a sentence each, with the key. Empty: the server can start with it.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.pipeline.problems();
        problems.extend(self.package.problems());
        problems.extend(self.stream.problems());
        problems.extend(self.record.problems());
        problems.extend(self.sfu.problem());
        problems.extend(self.rtmp.validate().err().map(|error| error.to_string()));
        for check in [self.http.check(), self.webrtc.check()] {
            problems.extend(check.err().map(|(key, why)| format!("{key}: {why}")));
        }
        problems
    }
}
