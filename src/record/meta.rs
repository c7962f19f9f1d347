//! `meta.json`: what a recording is, apart from its bytes.

use serde::{Deserialize, Serialize};

use crate::base::{MediaKind, StreamPath};
use crate::cmaf::TrackInit;
use crate::codec::Codec;

use super::error::RecordError;
use super::id::RecordingId;

/// Version of `meta.json` and of the index that this code writes and reads.
pub(super) const FORMAT_VERSION: u32 = 1;

/// Whether a recording is over, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Being written.
    Live,
    /// Ended as it should.
    Finished,
    /// Found after a crash; plays up to its last fragment.
    Recovered,
    /// Ended by an error (`error` says which); plays up to it.
    Failed,
}

/// `meta.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Of the format: 1.
    pub version: u32,
    pub id: RecordingId,
    /// The stream that was recorded.
    pub path: StreamPath,
    /// When it began: milliseconds since 1970 UTC.
    pub started_at_ms: i64,
    /// When it ended, likewise; none while live.
    pub ended_at_ms: Option<i64>,
    pub state: State,
    /// Why it ended, if by an error.
    pub error: Option<String>,
    /// Length of what plays, in milliseconds; of a live one as it was at the last change of epoch.
    pub duration_ms: u64,
    /// Bytes on disk, likewise.
    pub bytes: u64,
    /// EXT-X-TARGETDURATION of its playlists, in seconds: said from the beginning on, it can't follow what comes. None in recordings
    /// that are older than this field.
    #[serde(default)]
    pub target_duration: Option<u64>,
    pub tracks: Vec<TrackMeta>,
}

/// A track, with what its latest epoch is like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrackMeta {
    /// As in [`TrackInit::track`].
    pub track: u32,
    /// Audio or video.
    pub kind: MediaKind,
    pub codec: Codec,
    /// RFC 6381 string.
    pub codec_string: String,
    /// Width and height in pixels, for video.
    pub resolution: Option<(u32, u32)>,
    /// Sampling rate in Hz and channels, for audio.
    pub audio: Option<(u32, u8)>,
}

impl TrackMeta {
    pub(super) fn of(init: &TrackInit) -> Self {
        Self {
            track: init.track,
            kind: init.codec.kind(),
            codec: init.codec,
            codec_string: init.codec_string.clone(),
            resolution: init.resolution,
            audio: init.audio,
        }
    }
}

impl Meta {
    pub(super) fn new(id: RecordingId, path: StreamPath, started_at_ms: i64, target_duration: Option<u64>) -> Self {
        Self {
            version: FORMAT_VERSION,
            id,
            path,
            started_at_ms,
            ended_at_ms: None,
            state: State::Live,
            error: None,
            duration_ms: 0,
            bytes: 0,
            target_duration,
            tracks: Vec::new(),
        }
    }

    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, RecordError> {
        let meta: Self = serde_json::from_slice(bytes).map_err(|_| RecordError::Damaged("meta.json can't be read"))?;
        if meta.version != FORMAT_VERSION {
            return Err(RecordError::Damaged("meta.json has a version that this headend doesn't know"));
        }
        Ok(meta)
    }

    /// Takes in the initialization of a new epoch. Whether that changed anything.
    pub(super) fn note(&mut self, track: TrackMeta) -> bool {
        match self.tracks.binary_search_by_key(&track.track, |t| t.track) {
            Ok(at) if self.tracks[at] == track => false,
            Ok(at) => {
                self.tracks[at] = track;
                true
            }
            Err(at) => {
                self.tracks.insert(at, track);
                true
            }
        }
    }
}
