//! What the API and the pages show of a stream.

use serde::Serialize;

use super::live::Stream;
use crate::base::{MediaKind, StreamPath, UnixNanos};
use crate::codec::{Codec, Format};
use crate::sfu::ProducerStats;
use crate::stream::core::{ViewerCounts, Warning, Why};

/// A live stream, as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StreamInfo {
    pub path: StreamPath,
    /// Unix time in ms when it began.
    pub started_at_ms: i64,
    /// Who publishes; none within the reconnect window.
    pub publisher: Option<PublisherInfo>,
    pub tracks: Vec<TrackInfo>,
    /// The derived tracks at work.
    pub derived: Vec<DerivedInfo>,
    /// How many watch.
    pub viewers: ViewerCounts,
    /// What its publisher could do better.
    pub warnings: Vec<Warning>,
}

impl StreamInfo {
    /// Without what is only for the operator: from where it is published.
    pub(crate) fn without_addresses(self) -> Self {
        Self { publisher: self.publisher.map(|publisher| PublisherInfo { remote: None, ..publisher }), ..self }
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct PublisherInfo {
    /// `rtmp`, `whip`.
    pub protocol: &'static str,
    /// Its address; only for the operator.
    pub remote: Option<String>,
    /// What it calls itself.
    pub agent: Option<String>,
    /// Unix time in ms when it connected.
    pub since_ms: i64,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct TrackInfo {
    /// Audio or video.
    pub kind: MediaKind,
    pub codec: Codec,
    /// RFC 6381 string, as far as known.
    pub codec_string: String,
    /// Pixels, as far as known.
    pub width: Option<u32>,
    /// Pixels, as far as known.
    pub height: Option<u32>,
    /// In Hz, for audio.
    pub sample_rate: Option<u32>,
    pub channels: Option<u8>,
    /// Whether it has B-frames.
    pub b_frames: bool,
    /// Bit/s over about the last second.
    pub bitrate: u64,
    /// RTP packets so far.
    pub packets: u64,
    /// Packets that never came.
    pub lost: u64,
    pub key_frames: u64,
    /// Pictures so far.
    pub frames: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct DerivedInfo {
    /// In words: `AAC → Opus`.
    pub what: &'static str,
    pub codec: Codec,
    /// How many consumers it has; 0 shortly before it is stopped.
    pub users: usize,
    /// How the publisher could make it unnecessary, where that is possible.
    pub advice: Option<&'static str>,
}

impl Stream {
    /// Viewers now, by protocol.
    pub(crate) fn viewer_counts(&self) -> ViewerCounts {
        self.state().see(|core| core.viewer_counts(self.state().now().wall))
    }

    /// Everything the API shows of it.
    pub(crate) async fn info(&self) -> StreamInfo {
        let tracks = self.tracks();
        let mut recent = self.recent_stats().lock().await;
        recent.refresh(self.state().now().at, self.home(), &tracks).await;
        let tracks = tracks.iter().map(|track| track_info(&track.format, track.reordered, &recent.of(track.producer))).collect();
        drop(recent);
        self.state().see(|core| StreamInfo {
            path: self.path().clone(),
            started_at_ms: ms(self.started_at()),
            publisher: core.publisher().map(|publisher| PublisherInfo {
                protocol: publisher.who.protocol,
                remote: publisher.who.remote.map(|ip| ip.to_canonical().to_string()),
                agent: publisher.who.agent.clone(),
                since_ms: ms(publisher.since),
            }),
            tracks,
            derived: core
                .derived()
                .map(|derived| {
                    // The published track may have become another since.
                    let why = core.track(derived.source).map_or(derived.why, Why::of);
                    DerivedInfo {
                        what: derived.target.derivation(why),
                        codec: derived.formats.format().codec(),
                        users: derived.users,
                        advice: derived.target.advice(why),
                    }
                })
                .collect(),
            viewers: core.viewer_counts(self.state().now().wall),
            warnings: core.warnings().to_vec(),
        })
    }
}

fn track_info(format: &Format, reordered: bool, stats: &ProducerStats) -> TrackInfo {
    // What came last in band is truer than what was announced.
    let resolution = stats.resolution.or_else(|| format.resolution());
    let (sample_rate, channels) = match format {
        Format::Aac { sample_rate, channels, .. } => (Some(*sample_rate), Some(*channels)),
        Format::Opus { channels } => (Some(48_000), Some(*channels)),
        _ => (None, None),
    };
    TrackInfo {
        kind: format.kind(),
        codec: format.codec(),
        codec_string: format.codec_string(),
        width: resolution.map(|(width, _)| width),
        height: resolution.map(|(_, height)| height),
        sample_rate,
        channels,
        b_frames: reordered,
        bitrate: stats.bitrate,
        packets: stats.packets,
        lost: stats.lost,
        key_frames: stats.key_frames,
        frames: stats.frames,
    }
}

fn ms(t: UnixNanos) -> i64 {
    t / 1_000_000
}
