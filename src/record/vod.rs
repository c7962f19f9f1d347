//! What is answered to requests below `/vod/`.
//!
//! In: a [`VodRequest`], the recording as it is, and the time. Out: a [`VodResponse`]. Layouts are kept in a small cache; making one is blocking.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;

use crate::base::ranges::{Conditions, Selection, Version, begins_at_the_start, http_date, tag_matches};
use crate::base::{UnixNanos, lock};

use super::catalogue::date_time_of_millis;
use super::dash;
use super::disposition;
use super::downloads::{Downloads, Sent};
use super::driver::store::{Store, track_file};
use super::error::RecordError;
use super::hls;
use super::id::RecordingId;
use super::meta::Meta;
use super::mp4::{Mp4, Snapshot};
use super::request::{Source, VodBody, VodReader, VodRequest, VodResponse};
use super::view::View;

/// Bytes of progressive layouts that are kept: four recordings of 12 hours, or hundreds of short ones.
const MAX_LAYOUT_BYTES: usize = 128 << 20;
/// Layouts that are kept, however small.
const MAX_LAYOUTS: usize = 256;

/// While recording, a request that names no state gets the last one that was laid out if it is not older: laying out
/// hours takes half a second, and players that ask twice want the same file twice.
const REUSE_NANOS: i64 = 5_000_000_000;

/// What may change with every segment.
const NO_CACHE: &str = "no-cache";
/// Playlists of finished recordings; they can be deleted.
const SHORT: &str = "public, max-age=60";
/// Initializations and segments never change.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// What is answered to requests below `/vod/`.
#[derive(Debug)]
pub(super) struct Vod {
    store: Store,
    /// Newest use first.
    layouts: Mutex<VecDeque<Kept>>,
    /// All layouts that somebody has.
    used: Mutex<Vec<Weak<Mp4>>>,
    max_used_bytes: usize,
    /// Who has which state of what grows.
    downloads: Mutex<Downloads>,
}

/// What to do for a request.
#[derive(Debug)]
pub(super) enum Answer {
    Whole(Box<VodResponse>),
    /// An MP4 of this state, of which a layout is needed. `certain`: it is what the client means, so that a part of it may be sent.
    Download {
        snapshot: Snapshot,
        certain: bool,
    },
}

#[derive(Debug)]
struct Kept {
    id: RecordingId,
    snapshot: Snapshot,
    mp4: Arc<Mp4>,
    made_at: UnixNanos,
}

impl Vod {
    /// Layouts in use may take about so many bytes of memory.
    pub(super) fn new(store: Store, max_used_bytes: usize) -> Self {
        Self { store, layouts: Mutex::default(), used: Mutex::default(), max_used_bytes, downloads: Mutex::default() }
    }

    /// Drops what is kept of a recording that was deleted.
    pub(super) fn forget(&self, id: &RecordingId) {
        lock(&self.layouts).retain(|kept| kept.id != *id);
        lock(&self.downloads).forget(id);
    }

    /// Answers from what is known of a recording.
    pub(super) fn answer(&self, meta: &Meta, view: &View, request: &VodRequest, now: UnixNanos) -> Result<Answer, RecordError> {
        let Some((_, name)) = request.path.split_once('/') else {
            let (snapshot, certain) = self.snapshot(meta, view, request, now)?;
            return Ok(Answer::Download { snapshot, certain });
        };
        let text =
            |content_type, text: String| Ok(small(content_type, if view.live { NO_CACHE } else { SHORT }, text.into(), meta, request));
        if view.tracks.iter().all(|t| view.playable(t).is_empty()) {
            return Err(RecordError::Empty);
        }
        const HLS: &str = "application/vnd.apple.mpegurl";
        let response = match name {
            "index.m3u8" => text(HLS, hls::multivariant(view, &request.query)),
            "manifest.mpd" => text("application/dash+xml", dash::manifest(view, meta, now, &request.query).ok_or(RecordError::Empty)?),
            _ => match Name::parse(name).ok_or(RecordError::NotFound)? {
                Name::Playlist(track) => text(HLS, hls::media(view, track, &request.query).ok_or(RecordError::NotFound)?),
                Name::Init(track, epoch) => self.file(meta, view, track, epoch, None, request),
                Name::Segment(track, epoch, time) => self.file(meta, view, track, epoch, Some(time), request),
            },
        };
        response.map(|response| Answer::Whole(Box::new(response)))
    }

    fn file(
        &self,
        meta: &Meta,
        view: &View,
        track: u32,
        epoch: u32,
        time: Option<u64>,
        request: &VodRequest,
    ) -> Result<VodResponse, RecordError> {
        let found = view.tracks.iter().find(|t| t.track == track).ok_or(RecordError::NotFound)?;
        let video = found.epochs.first().is_some_and(|e| e.resolution.is_some());
        let content_type = if video { "video/mp4" } else { "audio/mp4" };
        let (offset, len) = match time {
            None => (0, found.epochs.iter().find(|e| e.epoch == epoch).map(|e| u64::from(e.init_len)).ok_or(RecordError::NotFound)?),
            Some(time) => {
                let segment = view.find(found, epoch, time).ok_or(RecordError::NotFound)?;
                (segment.offset, segment.len)
            }
        };
        let etag = format!("\"{offset:x}-{len:x}\"");
        let source = Source::File(track_file(track, epoch), offset);
        Ok(self.ranged(meta, source, len, etag, content_type, IMMUTABLE, request.conditions()))
    }

    /// An MP4, or what of it was asked for.
    pub(super) fn download(&self, meta: &Meta, mp4: Arc<Mp4>, snapshot: &Snapshot, certain: bool, request: &VodRequest) -> VodResponse {
        let len = mp4.layout.len();
        // Bytes of another file than the client has would spoil it; all of this one it can use.
        let conditions = Conditions { range: request.range.as_deref().filter(|_| certain), ..request.conditions() };
        let mut response = self.ranged(meta, Source::Mp4(mp4), len, snapshot.etag(), "video/mp4", NO_CACHE, conditions);
        let started = date_time_of_millis(meta.started_at_ms);
        let started = started.split('.').next().unwrap_or_default().replace(':', "-");
        response.content_disposition = Some(disposition::attachment(&format!("{}-{started}Z.mp4", meta.path.as_str())));
        response
    }

    /// Which state of the recording a request is about: the one it names, the one that its client has, or the newest. And whether that is
    /// certain enough to answer with a part of it.
    fn snapshot(&self, meta: &Meta, view: &View, request: &VodRequest, now: UnixNanos) -> Result<(Snapshot, bool), RecordError> {
        let newest = Snapshot::of(view);
        if newest.is_empty() {
            return Err(RecordError::Empty);
        }
        let named = |header: &Option<String>| header.as_deref().and_then(|tag| Snapshot::parse(tag, view));
        match (&request.if_match, named(&request.if_match), named(&request.if_range)) {
            (Some(tags), None, _) if tags.trim() != "*" => return Err(RecordError::PreconditionFailed),
            (_, Some(snapshot), _) | (_, None, Some(snapshot)) => return Ok((snapshot, true)),
            _ => {}
        }
        let live = view.live;
        let mut downloads = lock(&self.downloads);
        let begins = begins_at_the_start(request.range.as_deref()) || request.if_range.is_some();
        let (snapshot, certain) = match if begins { Sent::Unknown } else { downloads.of(&meta.id, request.client, live, now) } {
            Sent::One(snapshot) => return Ok((snapshot, true)),
            Sent::Several(last) => return Ok((last, false)),
            Sent::Nothing => (newest, true),
            Sent::Unknown if live => (self.last_served(&meta.id, now.saturating_sub(REUSE_NANOS)).unwrap_or(newest), begins),
            Sent::Unknown => (newest, begins),
        };
        downloads.begin(&meta.id, request.client, &snapshot, live, now);
        Ok((snapshot, certain))
    }

    fn last_served(&self, id: &RecordingId, newer_than: UnixNanos) -> Option<Snapshot> {
        let layouts = lock(&self.layouts);
        layouts.iter().find(|kept| kept.id == *id && kept.made_at > newer_than).map(|kept| kept.snapshot.clone())
    }

    /// Lays out a state of a recording, unless that was done meanwhile. Blocking.
    pub(super) fn lay_out(&self, meta: &Meta, snapshot: &Snapshot, now: UnixNanos) -> Result<Arc<Mp4>, RecordError> {
        if let Some(mp4) = self.kept_layout(&meta.id, snapshot) {
            return Ok(mp4);
        }
        if self.used_bytes() > self.max_used_bytes {
            return Err(RecordError::Busy);
        }
        let mp4 = Arc::new(Mp4::build(&self.store, meta, snapshot)?);
        lock(&self.used).push(Arc::downgrade(&mp4));
        let mut layouts = lock(&self.layouts);
        layouts.push_front(Kept { id: meta.id.clone(), snapshot: snapshot.clone(), mp4: mp4.clone(), made_at: now });
        let mut bytes = 0;
        let keep = layouts.iter().take(MAX_LAYOUTS).take_while(|kept| {
            bytes += kept.mp4.memory();
            bytes <= MAX_LAYOUT_BYTES
        });
        let keep = keep.count().max(1);
        layouts.truncate(keep);
        Ok(mp4)
    }

    #[cfg(test)]
    pub(super) fn layouts_in_use(&self) -> usize {
        lock(&self.used).iter().filter(|mp4| mp4.strong_count() > 0).count()
    }

    fn used_bytes(&self) -> usize {
        let mut used = lock(&self.used);
        used.retain(|mp4| mp4.strong_count() > 0);
        used.iter().filter_map(Weak::upgrade).map(|mp4| mp4.memory()).sum()
    }

    pub(super) fn kept_layout(&self, id: &RecordingId, snapshot: &Snapshot) -> Option<Arc<Mp4>> {
        let mut layouts = lock(&self.layouts);
        let at = layouts.iter().position(|kept| kept.id == *id && kept.snapshot == *snapshot)?;
        let kept = layouts.remove(at)?;
        let mp4 = kept.mp4.clone();
        layouts.push_front(kept);
        Some(mp4)
    }

    #[allow(clippy::too_many_arguments)] // the parts of one response
    fn ranged(
        &self,
        meta: &Meta,
        source: Source,
        len: u64,
        etag: String,
        content_type: &'static str,
        cache_control: &'static str,
        conditions: Conditions<'_>,
    ) -> VodResponse {
        let reader = |range| VodReader::new(self.store.clone(), meta.id.clone(), source.clone(), range);
        let modified = modified(meta);
        let selection = conditions.select(Version { etag: &etag, modified, len: Some(len) });
        let mut response = VodResponse {
            status: 200,
            content_type,
            content_length: 0,
            content_range: None,
            total: len,
            accept_ranges: true,
            etag: Some(etag),
            last_modified: modified.and_then(http_date),
            cache_control,
            content_disposition: None,
            body: VodBody::Bytes(Bytes::new()),
        };
        match selection {
            Selection::NotModified => response.status = 304,
            Selection::Failed => response.status = 412,
            Selection::Whole => {
                response.content_length = len;
                response.body = VodBody::File(reader(0..len));
            }
            Selection::Parts(mut parts) => {
                response.status = 206;
                response.content_length = parts.iter().map(|part| part.end - part.start).sum();
                match (parts.pop(), parts.is_empty()) {
                    (Some(part), true) => {
                        response.content_range = Some(format!("bytes {}-{}/{len}", part.start, part.end - 1));
                        response.body = VodBody::File(reader(part));
                    }
                    (last, _) => {
                        parts.extend(last);
                        response.body = VodBody::Parts(parts.into_iter().map(|part| (part.clone(), reader(part))).collect());
                    }
                }
            }
            Selection::Unsatisfiable => {
                response.status = 416;
                response.content_range = Some(format!("bytes */{len}"));
            }
        }
        response
    }
}

/// When what a finished recording serves last changed, in Unix seconds. What grows has no such time: it changes within a second.
fn modified(meta: &Meta) -> Option<i64> {
    meta.ended_at_ms.map(|ms| ms.div_euclid(1000))
}

fn small(content_type: &'static str, cache_control: &'static str, body: Bytes, meta: &Meta, request: &VodRequest) -> VodResponse {
    // Weak: compression on the way changes the bytes, not what they say.
    let etag = format!("W/\"{:08x}-{:x}\"", crc32fast::hash(&body), body.len());
    let modified = modified(meta);
    let selection = request.conditions().select(Version { etag: &etag, modified, len: None });
    let status = match selection {
        Selection::NotModified => 304,
        Selection::Failed if request.if_match.as_deref().is_none_or(|tags| !tag_matches(tags, etag.trim_start_matches("W/"), true)) => 412,
        _ => 200,
    };
    let body = if status == 200 { body } else { Bytes::new() };
    VodResponse {
        status,
        content_type,
        content_length: body.len() as u64,
        content_range: None,
        total: body.len() as u64,
        accept_ranges: false,
        etag: Some(etag),
        last_modified: modified.and_then(http_date),
        cache_control,
        content_disposition: None,
        body: VodBody::Bytes(body),
    }
}

/// What a name below a recording means.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    Playlist(u32),
    Init(u32, u32),
    Segment(u32, u32, u64),
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
            text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
        }
        let rest = text.strip_prefix("track-")?;
        if let Some(track) = rest.strip_suffix(".m3u8") {
            return number(track).map(Self::Playlist);
        }
        let (track, rest) = rest.split_once("-e")?;
        if let Some(epoch) = rest.strip_suffix("-init.mp4") {
            return Some(Self::Init(number(track)?, number(epoch)?));
        }
        let (epoch, time) = rest.strip_suffix(".m4s")?.split_once("-t")?;
        Some(Self::Segment(number(track)?, number(epoch)?, number(time)?))
    }
}
