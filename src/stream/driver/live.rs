//! A live stream: its tracks, its viewers, and the forms its tracks can be had in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

use super::derived::{Derived, Lease, TranscodeError, TranscodeTarget};
use super::hub::{Hub, PublishRequest, StreamEvent};
use super::unix_now;
use super::writer::WriterCore;
use crate::base::{MediaKind, StreamPath, UnixNanos, lock};
use crate::codec::{Codec, Format};
use crate::sfu::{ProducerId, Router, SfuError};
use crate::stream::config::BFrames;
use crate::stream::format_history::FormatHistory;
use crate::stream::http_viewers::HttpViewers;

/// Most warnings kept per stream: there are about ten codes.
const MAX_WARNINGS: usize = 16;

/// Something about a stream that its publisher could do better, for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// For machines: `b_frames`, `transcoding_audio` …
    pub code: &'static str,
    /// For people: what it means and what to change.
    pub message: String,
}

/// A track of a stream as published (derived ones are reached by [`Stream::select`]).
#[derive(Debug, Clone)]
pub struct Track {
    /// Audio or video.
    pub kind: MediaKind,
    /// Its format now.
    pub format: Format,
    /// Whether pictures come in another order than they are shown in (B-frames).
    pub reordered: bool,
    /// Whether pictures that others refer to are reordered too (B-pyramids): then leaving out the disposable ones does not put the rest in order.
    pub references_reordered: bool,
    /// Its producer on the stream's home router.
    pub producer: ProducerId,
}

/// Which form of a track somebody needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wanted<'a> {
    /// Audio or video.
    pub kind: MediaKind,
    /// Codecs that can be played, best first. The published one is preferred whatever its place; otherwise the first that can be derived.
    pub codecs: &'a [Codec],
    /// Pictures must come in the order they are shown in (WebRTC).
    pub in_order: bool,
}

/// Why there is no such track.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// The stream has no track of that kind.
    #[error("the stream has no {0} track")]
    NoTrack(MediaKind),
    /// The published codec isn't among the wanted ones and can't be turned into one of them.
    #[error("the stream's {from} can't be turned into something playable here")]
    CantDerive {
        /// The published codec's name.
        from: &'static str,
    },
    /// The stream has ended.
    #[error("the stream has ended")]
    Ended,
    /// The transcoder could not.
    #[error(transparent)]
    Transcode(#[from] TranscodeError),
    /// The SFU could not.
    #[error(transparent)]
    Sfu(#[from] SfuError),
}

/// A live stream. Cheap to clone; holding it does not keep it alive.
#[derive(Clone)]
pub struct Stream(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub hub: Hub,
    pub path: StreamPath,
    pub started_at: UnixNanos,
    pub home: Router,
    /// When the publisher last sent media, for the conflict rule.
    pub last_media: AtomicI64,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    /// Routers on other workers, made when the first viewer goes there.
    routers: tokio::sync::Mutex<BTreeMap<usize, Router>>,
    /// Held while a derived track is being started, so that two viewers don't start it twice.
    pub deriving: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct State {
    /// Counts publications; what an older one says about the stream no longer holds.
    pub generation: u64,
    pub publisher: Option<Publisher>,
    pub tracks: Vec<Entry>,
    /// Writers of a publisher that went away, for the one that returns.
    pub parked: Vec<WriterCore>,
    /// Where the media ended, for the publisher that returns.
    pub media_end: UnixNanos,
    pub warnings: Vec<Warning>,
    pub derived: Vec<Arc<Derived>>,
    pub viewers: BTreeMap<&'static str, usize>,
    pub http_viewers: HttpViewers,
    /// When it started; `None` before.
    pub first_track_at: Option<UnixNanos>,
    /// How many tracks are being replaced just now.
    pub replacing: usize,
    pub ended: bool,
}

impl State {
    /// From here on all tracks belong to other formats: they are kept apart together.
    pub fn mark_change(&self) {
        self.tracks.iter().filter_map(|entry| entry.formats.as_ref()).for_each(FormatHistory::mark);
    }
}

/// A track, and which publication it is from.
pub(super) struct Entry {
    pub track: Track,
    pub generation: u64,
    /// Of the writer, if the track has one (it was not published as RTP).
    pub formats: Option<FormatHistory>,
}

/// Who publishes now.
pub(super) struct Publisher {
    pub request: PublishRequest,
    pub since: UnixNanos,
    pub evict: watch::Sender<Option<&'static str>>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stream").field(&self.0.path).finish()
    }
}

impl Stream {
    pub(super) fn new(hub: &Hub, path: StreamPath, home: Router, now: UnixNanos) -> Self {
        Self(Arc::new(Inner {
            hub: hub.clone(),
            path,
            started_at: now,
            home,
            last_media: AtomicI64::new(now),
            state: Mutex::default(),
            changes: watch::channel(1).0,
            routers: tokio::sync::Mutex::default(),
            deriving: tokio::sync::Mutex::default(),
        }))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    pub(super) fn is_same(&self, other: &Stream) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn has_started(&self) -> bool {
        self.state().first_track_at.is_some()
    }

    /// Its path.
    pub fn path(&self) -> &StreamPath {
        &self.0.path
    }

    /// When it began.
    pub fn started_at(&self) -> UnixNanos {
        self.0.started_at
    }

    /// The published tracks now, video first.
    pub fn tracks(&self) -> Vec<Track> {
        self.state().tracks.iter().map(|entry| entry.track.clone()).collect()
    }

    /// Where the formats of a track changed; `None` if it is published as RTP, or gone.
    pub fn formats(&self, producer: ProducerId) -> Option<FormatHistory> {
        self.state().tracks.iter().find(|entry| entry.track.producer == producer)?.formats.clone()
    }

    /// Tells everybody in [`Stream::changed`].
    pub(super) fn touch(&self) {
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// Waits until `tracks()`, the publisher's presence or the warnings changed since `seen` (begin with 0); gives the new count.
    /// `None` once the stream has ended. Cancel safe.
    pub async fn changed(&self, seen: u64) -> Option<u64> {
        let mut changes = self.0.changes.subscribe();
        let count = changes.wait_for(|count| *count != seen).await.map(|count| *count).ok()?;
        if self.state().ended { None } else { Some(count) }
    }

    /// Whether a publisher is connected now (false within the reconnect window).
    pub fn is_publishing(&self) -> bool {
        self.state().publisher.is_some()
    }

    /// Sends the publisher away, if there is one: [`super::Publication::evicted`] tells it why.
    pub fn evict(&self, why: &'static str) {
        if let Some(publisher) = &self.state().publisher {
            publisher.evict.send_replace(Some(why));
        }
    }

    /// Whether no media came for `silence`, by any protocol.
    pub(super) async fn silent_for(&self, silence: Duration, now: UnixNanos) -> bool {
        let limit = i64::try_from(silence.as_nanos()).unwrap_or(i64::MAX);
        if now.saturating_sub(self.0.last_media.load(Ordering::Relaxed)) < limit {
            return false;
        }
        // An SFU producer's media does not pass through here: its bit rate tells.
        for track in self.tracks() {
            if self.0.home.producer_stats(track.producer).await.is_ok_and(|stats| stats.bitrate > 0) {
                return false;
            }
        }
        true
    }

    /// Adds or replaces (by code) a warning.
    pub(super) fn warn(&self, warning: Warning) {
        let mut state = self.state();
        if let Some(known) = state.warnings.iter_mut().find(|known| known.code == warning.code) {
            if *known == warning {
                return;
            }
            *known = warning;
        } else if state.warnings.len() < MAX_WARNINGS {
            tracing::warn!(path = %self.0.path, code = warning.code, "{}", warning.message);
            state.warnings.push(warning);
        } else {
            return;
        }
        drop(state);
        self.touch();
    }

    /// Marks the stream as live, once.
    pub(super) fn announce_start(&self) {
        let first = {
            let mut state = self.state();
            let first = state.first_track_at.is_none();
            state.first_track_at.get_or_insert_with(unix_now);
            first
        };
        if first {
            tracing::info!(path = %self.0.path, "stream started");
            self.0.hub.announce(StreamEvent::Started(self.clone()));
        }
    }

    /// Lets go of everything; leases and viewers find their producers closed.
    pub(super) fn close(&self) {
        let (tracks, parked, derived) = {
            let mut state = self.state();
            state.ended = true;
            state.publisher = None;
            (std::mem::take(&mut state.tracks), std::mem::take(&mut state.parked), std::mem::take(&mut state.derived))
        };
        drop((parked, derived));
        self.touch();
        let home = self.0.home.clone();
        tokio::spawn(async move {
            for entry in tracks {
                home.close_producer(entry.track.producer).await;
            }
        });
    }

    /// A track in a form that can be played, derived on demand and shared. The lease keeps a derived track going.
    pub async fn select(&self, wanted: Wanted<'_>) -> Result<Lease, SelectError> {
        let track = {
            let state = self.state();
            if state.ended {
                return Err(SelectError::Ended);
            }
            state
                .tracks
                .iter()
                .map(|entry| &entry.track)
                .find(|track| track.kind == wanted.kind)
                .cloned()
                .ok_or(SelectError::NoTrack(wanted.kind))?
        };
        let from = track.format.codec();
        if wanted.codecs.contains(&from) {
            if !(wanted.in_order && track.reordered) {
                return Ok(Lease::published(self.clone(), track, false));
            }
            if self.0.hub.0.b_frames == BFrames::Transcode || track.references_reordered {
                match self.derive(&track, TranscodeTarget::H264).await {
                    Ok(lease) => return Ok(lease),
                    Err(error) => self.warn(Warning {
                        code: "b_frames_dropped",
                        message: format!(
                            "WebRTC viewers get a lower frame rate: the stream has B-frames and {error}. Set B-frames to 0 in the encoder."
                        ),
                    }),
                }
            }
            return Ok(Lease::published(self.clone(), track, true));
        }
        for codec in wanted.codecs {
            if let Some(target) = TranscodeTarget::between(from, *codec) {
                return self.derive(&track, target).await;
            }
        }
        Err(SelectError::CantDerive { from: from.display_name() })
    }

    /// Registers a viewer until the returned guard is dropped, and chooses its worker.
    pub async fn attach_viewer(&self, protocol: &'static str) -> Result<Viewer, SelectError> {
        let home = self.0.home.worker();
        let worker = self.0.hub.worker_for_viewer(home);
        let router = if worker == home {
            self.0.home.clone()
        } else {
            let mut routers = self.0.routers.lock().await;
            match routers.get(&worker) {
                Some(router) => router.clone(),
                None => {
                    let router = self.0.hub.create_router(worker).await?;
                    routers.insert(worker, router.clone());
                    router
                }
            }
        };
        {
            let mut state = self.state();
            if state.ended {
                return Err(SelectError::Ended);
            }
            *state.viewers.entry(protocol).or_default() += 1;
        }
        self.0.hub.count_viewer(worker, true);
        Ok(Viewer { stream: self.clone(), protocol, worker, router })
    }

    /// Notes that the HTTP player `who` (a hash of address and agent, or its session id) asked for something: it counts as a viewer
    /// by `protocol` (`"hls"`, `"dash"`) for the next 15 s. Bounded.
    pub fn note_http_viewer(&self, protocol: &'static str, who: u64, now: UnixNanos) {
        self.state().http_viewers.note(protocol, who, now);
    }

    pub(super) fn note_media(&self, now: UnixNanos) {
        self.0.last_media.store(now, Ordering::Relaxed);
    }

    /// B-frames were seen; `references`: ones that others refer to.
    pub(super) fn set_reordered(&self, generation: u64, references: bool) {
        let mut state = self.state();
        let video = state.tracks.iter_mut().find(|entry| entry.generation == generation && entry.track.kind == MediaKind::Video);
        let changed = video.is_some_and(|entry| {
            let first = !std::mem::replace(&mut entry.track.reordered, true);
            first | (references && !std::mem::replace(&mut entry.track.references_reordered, true))
        });
        drop(state);
        if changed {
            self.touch();
        }
    }

    /// A published track has other parameters now.
    pub(super) fn set_format(&self, generation: u64, format: Format) {
        let mut state = self.state();
        let entry = state.tracks.iter_mut().find(|entry| entry.generation == generation && entry.track.kind == format.kind());
        let changed = entry.is_some_and(|entry| std::mem::replace(&mut entry.track.format, format.clone()) != format);
        if changed {
            state.mark_change();
        }
        drop(state);
        if changed {
            tracing::info!(path = %self.0.path, format = %format.codec_string(), "track changed");
            self.touch();
        }
    }

    /// Keeps the writer of a publisher that went away, unless another one has come meanwhile.
    pub(super) fn park(&self, generation: u64, core: WriterCore) {
        let mut state = self.state();
        if state.generation == generation && !state.ended && state.parked.iter().all(|parked| parked.kind() != core.kind()) {
            state.parked.push(core);
        }
    }

    /// Takes off what a publisher before `generation` sent and the present one does not.
    pub(super) async fn drop_tracks_before(&self, generation: u64) {
        let gone: Vec<Entry> = {
            let mut state = self.state();
            if state.generation != generation || state.publisher.is_none() {
                return;
            }
            state.parked.clear();
            let (kept, gone) = std::mem::take(&mut state.tracks).into_iter().partition(|entry| entry.generation == generation);
            state.tracks = kept;
            gone
        };
        for entry in &gone {
            self.0.home.close_producer(entry.track.producer).await;
        }
        if !gone.is_empty() {
            self.touch();
        }
    }

    /// The publisher went: its writers wait for the one that returns, until the reconnect window has passed.
    pub(super) fn publisher_left(&self, generation: u64) {
        {
            let mut state = self.state();
            if state.generation != generation || state.ended {
                return;
            }
            state.publisher = None;
            state.media_end = unix_now();
        }
        self.touch();
        if self.has_started() {
            self.0.hub.announce(StreamEvent::PublisherChanged(self.clone()));
        }
        let stream = self.clone();
        let window = self.0.hub.0.config.reconnect_window;
        tokio::spawn(async move {
            if stream.has_started() {
                tokio::time::sleep(window).await;
            }
            let gone = {
                let state = stream.state();
                state.generation == generation && state.publisher.is_none()
            };
            if gone {
                stream.0.hub.end(&stream);
            }
        });
    }
}

/// A viewer's place. Dropping it takes the viewer off the count.
#[derive(Debug)]
pub struct Viewer {
    stream: Stream,
    protocol: &'static str,
    worker: usize,
    router: Router,
}

impl Viewer {
    /// The router on which its transport is to be made.
    pub fn router(&self) -> &Router {
        &self.router
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        if let Some(count) = self.stream.state().viewers.get_mut(self.protocol) {
            *count = count.saturating_sub(1);
        }
        self.stream.0.hub.count_viewer(self.worker, false);
    }
}
