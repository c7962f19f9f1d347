//! The list of all recordings, in memory: about half a kilobyte each, and retention bounds their number.
//!
//! In: what the store holds at the start, and what sessions report. Out: pages of it, newest first.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, RwLock};

use serde::Serialize;

use crate::base::{MediaKind, StreamPath, UnixNanos, date_time, read, write};
use crate::codec::Codec;

use super::error::RecordError;
use super::id::RecordingId;
use super::meta::{Meta, State};
use super::retention::Candidate;

/// Most items on one page.
const MAX_PAGE: usize = 500;

/// The list of all recordings.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    items: RwLock<BTreeMap<RecordingId, Arc<Meta>>>,
}

/// A recording as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Recording {
    pub id: RecordingId,
    /// The stream that was recorded.
    pub path: String,
    /// RFC 3339, UTC, milliseconds.
    pub started_at: String,
    /// RFC 3339; null while live.
    pub ended_at: Option<String>,
    /// Length of what plays, in seconds; grows while live.
    pub duration: f64,
    /// Size on disk; grows while live.
    pub bytes: u64,
    pub tracks: Vec<RecordingTrack>,
    /// Whether it is being recorded.
    pub live: bool,
    /// `live`, `finished`, `recovered` (after a crash), `failed`.
    pub state: State,
    /// Why it failed.
    pub error: Option<String>,
    /// Where it plays.
    pub urls: Urls,
}

/// A track as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RecordingTrack {
    /// Audio or video.
    pub kind: MediaKind,
    pub codec: Codec,
    /// RFC 6381 string, such as `avc1.64001f`.
    pub codec_string: String,
    /// In pixels, for video.
    pub width: Option<u32>,
    /// In pixels, for video.
    pub height: Option<u32>,
    /// In Hz, for audio.
    pub sample_rate: Option<u32>,
    pub channels: Option<u8>,
}

/// Where a recording plays, from the root of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Urls {
    /// Progressive MP4.
    pub mp4: String,
    pub hls: String,
    pub dash: String,
}

/// A page of the list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Page {
    /// Newest first.
    pub items: Vec<Recording>,
    /// Give this as the cursor to get the next page; none on the last.
    pub next: Option<RecordingId>,
}

impl Catalogue {
    /// A page of at most `limit` (1 to 500) recordings, newest first, from behind `cursor` on, of one path or all.
    ///
    /// # Errors
    /// [`RecordError::BadCursor`].
    pub(crate) fn list(&self, path: Option<&str>, cursor: Option<&str>, limit: usize) -> Result<Page, RecordError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let upper = match cursor {
            None => Bound::Unbounded,
            Some(text) => Bound::Excluded(RecordingId::parse(text).ok_or(RecordError::BadCursor)?),
        };
        let items = read(&self.items);
        let mut found = items
            .range((Bound::Unbounded, upper))
            .rev()
            .map(|(_, meta)| meta)
            .filter(|meta| path.is_none_or(|path| meta.path.as_str() == path));
        let page: Vec<Recording> = found.by_ref().take(limit).map(|meta| Recording::of(meta)).collect();
        let next = found.next().and(page.last()).map(|last| last.id.clone());
        Ok(Page { items: page, next })
    }

    /// One recording.
    ///
    /// # Errors
    /// [`RecordError::NotFound`], also for what can't be an id.
    pub(crate) fn get(&self, id: &str) -> Result<Recording, RecordError> {
        self.meta(id).map(|meta| Recording::of(&meta))
    }

    pub(super) fn meta(&self, id: &str) -> Result<Arc<Meta>, RecordError> {
        let id = RecordingId::parse(id).ok_or(RecordError::NotFound)?;
        read(&self.items).get(&id).cloned().ok_or(RecordError::NotFound)
    }

    /// Adds a recording or says how it is now.
    pub(super) fn put(&self, meta: Meta) {
        write(&self.items).insert(meta.id.clone(), Arc::new(meta));
    }

    pub(super) fn remove(&self, id: &RecordingId) {
        write(&self.items).remove(id);
    }

    pub(super) fn live_of(&self, path: &StreamPath) -> Vec<Arc<Meta>> {
        let items = read(&self.items);
        items.values().filter(|m| m.state == State::Live && m.path == *path).cloned().collect()
    }

    /// Whether there is one that is live.
    pub(super) fn any_live(&self) -> bool {
        let items = read(&self.items);
        items.values().any(|meta| meta.state == State::Live)
    }

    /// All, oldest first.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let items = read(&self.items);
        let nanos = |ms: i64| -> UnixNanos { ms.saturating_mul(1_000_000) };
        let candidate = |m: &Arc<Meta>| {
            let (id, path, ended_at) = (m.id.clone(), m.path.clone(), m.ended_at_ms.map(nanos));
            Candidate { id, path, ended_at, bytes: m.bytes }
        };
        items.values().map(candidate).collect()
    }

    /// The latest time that a recording knows of.
    pub(super) fn newest(&self) -> Option<UnixNanos> {
        let items = read(&self.items);
        items.values().map(|m| m.ended_at_ms.unwrap_or(m.started_at_ms).saturating_mul(1_000_000)).max()
    }

    /// How many there are, and how many bytes they take.
    pub(crate) fn totals(&self) -> (usize, u64) {
        let items = read(&self.items);
        (items.len(), items.values().map(|m| m.bytes).sum())
    }
}

impl Recording {
    fn of(meta: &Meta) -> Self {
        let tracks = meta.tracks.iter().map(|track| RecordingTrack {
            kind: track.kind,
            codec: track.codec,
            codec_string: track.codec_string.clone(),
            width: track.resolution.map(|r| r.0),
            height: track.resolution.map(|r| r.1),
            sample_rate: track.audio.map(|a| a.0),
            channels: track.audio.map(|a| a.1),
        });
        let id = &meta.id;
        Self {
            id: id.clone(),
            path: meta.path.to_string(),
            started_at: date_time_of_millis(meta.started_at_ms),
            ended_at: meta.ended_at_ms.map(date_time_of_millis),
            duration: meta.duration_ms as f64 / 1000.0,
            bytes: meta.bytes,
            tracks: tracks.collect(),
            live: meta.state == State::Live,
            state: meta.state,
            error: meta.error.clone(),
            urls: Urls { mp4: format!("/vod/{id}.mp4"), hls: format!("/vod/{id}/index.m3u8"), dash: format!("/vod/{id}/manifest.mpd") },
        }
    }
}

/// A time of the stored meta data.
pub(super) fn date_time_of_millis(ms: i64) -> String {
    date_time(ms.saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_newest_first() {
        let catalogue = Catalogue::default();
        for n in 0..25 {
            let path = StreamPath::parse(if n % 2 == 0 { "live/a" } else { "live/b" }).unwrap();
            catalogue.put(Meta::new(RecordingId::new(n * 1_000_000_000, &mut crate::base::seeded(1)), path, n * 1000, None));
        }
        let mut seen = Vec::new();
        let mut cursor: Option<RecordingId> = None;
        let mut pages = 0;
        loop {
            let page = catalogue.list(None, cursor.as_ref().map(RecordingId::as_str), 10).unwrap();
            seen.extend(page.items);
            pages += 1;
            let Some(next) = page.next else { break };
            cursor = Some(next);
        }
        assert_eq!((seen.len(), pages), (25, 3));
        assert!(seen.windows(2).all(|w| w[0].id > w[1].id));
        assert_eq!(seen[24].started_at, "1970-01-01T00:00:00.000Z");
        assert_eq!(catalogue.list(Some("live/b"), None, 500).unwrap().items.len(), 12);
        assert!(catalogue.list(None, Some("../x"), 10).is_err());
        assert!(matches!(catalogue.get("../../etc/passwd"), Err(RecordError::NotFound)));
        assert!(seen[0].urls.mp4.ends_with(".mp4") && seen[0].live);
    }
}
