//! Lets requests wait for what is about to come: the live presentations, for async callers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::config::PackageConfig;
use super::left::Left;
use super::metrics::PackageMetrics;
use super::name::unit;
use super::snapshot::{Segment, Snapshot};
use super::window::{Memory, Window};
use super::{dash, hls};
use crate::base::{Budget, StreamPath, UnixNanos, lock, read, write};
use crate::cmaf::{Chunk, Targets, TrackInit};

/// All live presentations, by path. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Live(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: PackageConfig,
    targets: Targets,
    left: Left,
    presentations: RwLock<HashMap<StreamPath, Presentation>>,
    budget: Budget,
    metrics: PackageMetrics,
    /// Beyond all numbers of the presentations that are over. One for all paths: a number for each would be kept for ever.
    unused_number: AtomicU64,
}

/// One live presentation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Presentation(Arc<PresentationInner>);

#[derive(Debug)]
struct PresentationInner {
    window: Mutex<Window>,
    now: watch::Sender<Arc<Rendered>>,
    max_wait: Duration,
    budget: Budget,
    metrics: PackageMetrics,
}

/// A snapshot with the texts made from it, each made once however many ask.
#[derive(Debug, Default)]
struct Rendered {
    snapshot: Snapshot,
    /// Whether every track has a complete segment.
    started: bool,
    /// By index of track: whole and delta playlist.
    playlists: Vec<[Kept; 2]>,
}

/// A text as it is, compressed, and what stands for it.
#[derive(Debug, Default)]
struct Kept {
    plain: OnceLock<Bytes>,
    compressed: OnceLock<Bytes>,
    tag: OnceLock<Bytes>,
}

/// A media playlist that was asked for.
#[derive(Debug, Clone)]
pub struct Playlist {
    pub text: Bytes,
    /// Whether the request named what it waited for: then it may be cached a while, since it will never be asked for again later.
    pub blocking: bool,
    /// Where it is kept: index of track, and whether it is a delta.
    kept: Option<(Arc<Rendered>, usize, bool)>,
}

impl Playlist {
    /// The text as `compress` makes it of the plain one; always the same function. Done once however many ask, where the text is.
    pub fn compressed(&self, compress: impl FnOnce(&[u8]) -> Bytes) -> Bytes {
        self.made(|kept| &kept.compressed, compress)
    }

    /// What `make` makes of the text to stand for it, likewise.
    pub fn tag(&self, make: impl FnOnce(&[u8]) -> Bytes) -> Bytes {
        self.made(|kept| &kept.tag, make)
    }

    fn made(&self, place: impl FnOnce(&Kept) -> &OnceLock<Bytes>, make: impl FnOnce(&[u8]) -> Bytes) -> Bytes {
        match self.kept.as_ref().and_then(|(rendered, at, skip)| Some(&rendered.playlists.get(*at)?[usize::from(*skip)])) {
            Some(kept) => place(kept).get_or_init(|| make(&self.text)).clone(),
            None => make(&self.text),
        }
    }
}

/// Why there is nothing to answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Missing {
    /// There is no such track, segment or part, or no longer.
    #[error("there is no such file, or no longer")]
    NotFound,
    /// It was waited for, and did not come in time.
    #[error("what was asked for did not come in time")]
    TimedOut,
    /// `_HLS_msn` is further ahead than could come soon.
    #[error("_HLS_msn is more than two segments ahead of the live edge")]
    TooFarAhead,
}

/// A segment's bytes.
#[derive(Debug)]
pub enum SegmentBody {
    /// All of it: the bytes of its parts.
    Complete(Arc<Segment>),
    /// In the making: [`SegmentReader::next`] gives its parts as they come.
    Growing(SegmentReader),
}

/// Reads a segment while it is being made.
#[derive(Debug)]
pub struct SegmentReader {
    now: watch::Receiver<Arc<Rendered>>,
    track: u32,
    number: u64,
    read: usize,
    max_wait: Duration,
}

impl Live {
    /// None yet. Their segments and parts keep to `targets`; `memory` is for their windows where the configuration doesn't say how much.
    pub fn new(config: PackageConfig, targets: Targets, memory: usize) -> Self {
        let budget = Budget::new(
            match config.max_total_bytes {
                0 => memory,
                bytes => bytes,
            },
            0,
        );
        let left = Left::new(config.max_late_bytes);
        Self(Arc::new(Inner {
            config,
            targets,
            left,
            presentations: RwLock::default(),
            budget,
            metrics: PackageMetrics::default(),
            unused_number: AtomicU64::new(0),
        }))
    }

    /// Begins a presentation at `path`, in the place of the one before.
    pub fn begin(&self, path: &StreamPath, now: UnixNanos) -> Presentation {
        let mut presentations = write(&self.0.presentations);
        if let Some(before) = presentations.get(path) {
            self.retire(before);
        }
        let unused = self.0.unused_number.load(Ordering::Relaxed);
        let memory = Memory { share: self.0.budget.share(), left: self.0.left.clone() };
        let window = Window::new(&self.0.config, self.0.targets, now, unused, memory);
        let empty = Rendered { snapshot: window.snapshot(), ..Rendered::default() };
        let presentation = Presentation(Arc::new(PresentationInner {
            window: Mutex::new(window),
            now: watch::channel(Arc::new(empty)).0,
            // RFC 8216bis section 6.2.5.2: three target durations.
            max_wait: self.0.config.max_wait.min(Duration::from_secs(3 * self.0.targets.target_duration())),
            budget: self.0.budget.clone(),
            metrics: self.0.metrics.clone(),
        }));
        presentations.insert(path.clone(), presentation.clone());
        presentation
    }

    /// Its counters, to be registered.
    pub fn metrics(&self) -> &PackageMetrics {
        &self.0.metrics
    }

    /// Presentations that begin from here on have no number below `number`.
    pub fn number_from(&self, number: u64) {
        self.0.unused_number.fetch_max(number, Ordering::Relaxed);
    }

    /// The first number beyond all that presentations have or had; 0 where there was none.
    pub fn unused_number(&self) -> u64 {
        let presentations = read(&self.0.presentations);
        let live = presentations.values().map(|presentation| presentation.0.now.borrow().snapshot.unused_number()).max();
        live.unwrap_or(0).max(self.0.unused_number.load(Ordering::Relaxed))
    }

    /// What numbers count: those of another unit can't be compared with them.
    pub fn number_unit(&self) -> &'static str {
        unit(self.0.targets)
    }

    /// A presentation is not found any more: its numbers are not used again.
    fn retire(&self, presentation: &Presentation) {
        self.0.unused_number.fetch_max(presentation.snapshot().unused_number(), Ordering::Relaxed);
    }

    /// The presentation at `path`.
    pub fn presentation(&self, path: &StreamPath) -> Option<Presentation> {
        read(&self.0.presentations).get(path).cloned()
    }

    /// Forgets an ended presentation, unless another one has begun there.
    pub fn remove(&self, path: &StreamPath, presentation: &Presentation) {
        let mut presentations = write(&self.0.presentations);
        if presentations.get(path).is_some_and(|known| Arc::ptr_eq(&known.0, &presentation.0)) {
            self.retire(presentation);
            presentations.remove(path);
        }
    }
}

impl Presentation {
    /// A track begins or has another initialization.
    pub fn init(&self, init: TrackInit) {
        self.change(|window| window.init(init));
    }

    /// The next chunk of a track. False where it is left out: there is no memory for it.
    pub fn chunk(&self, chunk: Chunk) -> bool {
        let taken = self.change(|window| window.chunk(chunk));
        let PresentationInner { budget, metrics, .. } = &*self.0;
        metrics.window_bytes.set(budget.held() as i64);
        metrics.chunks_refused.inc_by(u64::from(!taken));
        taken
    }

    /// Nothing more will come: playlists get their end.
    pub fn end(&self) {
        self.change(Window::end);
    }

    fn change<R>(&self, change: impl FnOnce(&mut Window) -> R) -> R {
        let (answer, snapshot) = {
            let mut window = lock(&self.0.window);
            (change(&mut window), window.snapshot())
        };
        let playlists = snapshot.tracks.iter().map(|_| Default::default()).collect();
        let started = !snapshot.tracks.is_empty() && snapshot.tracks.iter().all(|track| track.complete() > 0);
        self.0.now.send_replace(Arc::new(Rendered { snapshot, started, playlists }));
        answer
    }

    /// Waits until `met` of the newest snapshot, at most the configured time.
    async fn wait(&self, met: impl Fn(&Rendered) -> bool) -> Result<Arc<Rendered>, Missing> {
        let met = |rendered: &Arc<Rendered>| rendered.snapshot.ended || met(rendered);
        // Mostly it is there, and then there is nothing to subscribe to.
        let newest = self.0.now.borrow().clone();
        if met(&newest) {
            return Ok(newest);
        }
        let mut now = self.0.now.subscribe();
        let waiting = now.wait_for(met);
        match tokio::time::timeout(self.0.max_wait, waiting).await {
            Ok(Ok(rendered)) => Ok(rendered.clone()),
            Ok(Err(_)) => Err(Missing::NotFound),
            Err(_) => Err(Missing::TimedOut),
        }
    }

    /// Players that know no parts need a complete segment; a start is held back for it.
    async fn started(&self) -> Result<Arc<Rendered>, Missing> {
        match self.wait(|rendered| rendered.started).await {
            Err(Missing::TimedOut) => {
                // Key frames far apart: better parts only than nothing.
                let rendered = self.0.now.borrow().clone();
                let has_media = rendered.snapshot.tracks.iter().any(|track| !track.segments.is_empty());
                if has_media { Ok(rendered) } else { Err(Missing::TimedOut) }
            }
            other => other,
        }
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Snapshot {
        self.0.now.borrow().snapshot.clone()
    }

    /// `index.m3u8`.
    pub async fn multivariant(&self, query: &str) -> Result<String, Missing> {
        Ok(hls::multivariant(&self.started().await?.snapshot, query))
    }

    /// `manifest.mpd`.
    pub async fn manifest(&self, now: UnixNanos, utc_url: &str, query: &str) -> Result<String, Missing> {
        Ok(dash::manifest(&self.started().await?.snapshot, now, utc_url, query))
    }

    /// A track's media playlist, once it has what the request asked for.
    pub async fn playlist(&self, track: u32, reload: hls::BlockingReload, skip: bool, query: &str) -> Result<Playlist, Missing> {
        let rendered = if reload.msn.is_some() {
            let newest = self.0.now.borrow().clone();
            let known = newest.snapshot.track(track).ok_or(Missing::NotFound)?;
            if reload.is_too_far(known) && !newest.snapshot.ended {
                return Err(Missing::TooFarAhead);
            }
            self.wait(|rendered| rendered.snapshot.track(track).is_some_and(|known| reload.is_met(known))).await?
        } else {
            self.started().await?
        };
        let at = rendered.snapshot.tracks.iter().position(|known| known.track == track).ok_or(Missing::NotFound)?;
        let make = || Bytes::from(hls::media(&rendered.snapshot, &rendered.snapshot.tracks[at], skip, query));
        let blocking = reload.msn.is_some();
        match rendered.playlists.get(at) {
            Some(kept) if query.is_empty() => {
                let text = kept[usize::from(skip)].plain.get_or_init(make).clone();
                Ok(Playlist { text, blocking, kept: Some((rendered, at, skip)) })
            }
            _ => Ok(Playlist { text: make(), blocking, kept: None }),
        }
    }

    /// An initialization, by its number in the name.
    pub async fn init_segment(&self, track: u32, number: u64) -> Result<Bytes, Missing> {
        let rendered = self.0.now.borrow().clone();
        let epoch =
            number.checked_sub(rendered.snapshot.first_number).and_then(|epoch| u32::try_from(epoch).ok()).ok_or(Missing::NotFound)?;
        let track = rendered.snapshot.track(track).ok_or(Missing::NotFound)?;
        track.init(epoch).map(|init| init.data.clone()).ok_or(Missing::NotFound)
    }

    /// A part; the next one to come (the preload hint) is waited for.
    pub async fn part(&self, track: u32, number: u64, part: usize) -> Result<Bytes, Missing> {
        let near = |known: &super::TrackSnapshot| {
            let (next, next_part) = known.next();
            (number == next && part <= next_part + 1) || (number == next + 1 && part == 0)
        };
        let found = |snapshot: &Snapshot| snapshot.track(track)?.segment(number)?.parts.get(part).map(|part| part.data.clone());
        let newest = self.0.now.borrow().clone();
        if let Some(data) = found(&newest.snapshot) {
            return Ok(data);
        }
        if newest.snapshot.ended || !newest.snapshot.track(track).is_some_and(near) {
            return Err(Missing::NotFound);
        }
        // Given up as soon as the segment is over without that part.
        let over = |snapshot: &Snapshot| snapshot.track(track).is_none_or(|known| known.next() > (number, part));
        let rendered = self.wait(|rendered| found(&rendered.snapshot).is_some() || over(&rendered.snapshot)).await?;
        found(&rendered.snapshot).ok_or(Missing::NotFound)
    }

    /// A segment; the one in the making is sent as it grows, the next one is waited for.
    pub async fn segment(&self, track: u32, number: u64) -> Result<SegmentBody, Missing> {
        let newest = self.0.now.borrow().clone();
        let next = newest.snapshot.track(track).ok_or(Missing::NotFound)?.next().0;
        let found = |snapshot: &Snapshot| snapshot.track(track).and_then(|known| known.segment(number)).cloned();
        let segment: Arc<Segment> = match found(&newest.snapshot) {
            Some(segment) => segment,
            None if newest.snapshot.ended || number < next || number > next + 1 => return Err(Missing::NotFound),
            None => {
                let rendered = self.wait(|rendered| found(&rendered.snapshot).is_some()).await?;
                found(&rendered.snapshot).ok_or(Missing::NotFound)?
            }
        };
        if segment.complete {
            return Ok(SegmentBody::Complete(segment));
        }
        Ok(SegmentBody::Growing(SegmentReader { now: self.0.now.subscribe(), track, number, read: 0, max_wait: self.0.max_wait }))
    }
}

impl SegmentReader {
    /// The next part; `None` after the last one. An error means that the rest will not come: the response must break off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Missing> {
        let (track, number, read) = (self.track, self.number, self.read);
        let ready = |rendered: &Arc<Rendered>| {
            rendered
                .snapshot
                .track(track)
                .and_then(|known| known.segment(number))
                .is_none_or(|segment| segment.parts.len() > read || segment.complete)
        };
        let rendered = match tokio::time::timeout(self.max_wait, self.now.wait_for(ready)).await {
            Ok(Ok(rendered)) => rendered.clone(),
            Ok(Err(_)) => return Err(Missing::NotFound),
            Err(_) => return Err(Missing::TimedOut),
        };
        let segment = rendered.snapshot.track(track).and_then(|known| known.segment(number)).ok_or(Missing::NotFound)?;
        let part = segment.parts.get(read).map(|part| part.data.clone());
        self.read += usize::from(part.is_some());
        Ok(part)
    }
}
