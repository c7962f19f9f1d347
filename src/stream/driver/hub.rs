//! The table of live streams: who may begin one, where it lives, who hears of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use tokio::sync::broadcast;

use super::derived::SharedTranscoder;
use super::live::Stream;
use super::publication::Publication;
use super::unix_now;
use crate::base::{StreamPath, UnixNanos, read, write};
use crate::sfu::{Router, SfuError, WorkerPool};
use crate::stream::config::{BFrames, OnConflict, StreamConfig};

/// Events kept for a receiver that lags. Streams begin and end rarely; a receiver this far behind looks at `streams()` again.
const EVENT_QUEUE: usize = 256;
/// Media that comes this long after somebody else asked for the path was on its way before, and shows no life.
const ON_THE_WAY: Duration = Duration::from_millis(500);
/// Bounds on the time between two looks at a publisher that may be gone: whether it is alive shows within one picture or two.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(10);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(100);
/// Longest `agent` kept, in characters.
const MAX_AGENT: usize = 200;

/// Somebody wants to publish.
#[derive(Debug, Clone)]
pub struct PublishRequest {
    /// Where.
    pub path: StreamPath,
    /// By which protocol: `"rtmp"`, `"whip"`.
    pub protocol: &'static str,
    /// From where.
    pub remote: Option<IpAddr>,
    /// What the publisher calls itself (`flashVer`, `User-Agent`), at most 200 characters are kept.
    pub agent: Option<String>,
    /// The key it showed (`?token=`, `?key=`, Bearer) as it was written, checked against the configured publish keys.
    pub key: Option<String>,
}

/// Why publishing was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Somebody else publishes there and is alive.
    #[error("{0} is being published already")]
    Busy(StreamPath),
    /// The key is missing or wrong.
    #[error("publishing to {0} needs the right key")]
    Forbidden(StreamPath),
    /// The bound on streams is reached.
    #[error("the server has reached its limit of {0} streams (stream.max_streams)")]
    TooManyStreams(usize),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The SFU could not.
    #[error(transparent)]
    Sfu(#[from] SfuError),
}

/// What happens to streams.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StreamEvent {
    /// A path is live (the first track is there). Followed by `Ended` once the reconnect window has passed without a publisher.
    Started(Stream),
    /// The publisher went away or came back.
    PublisherChanged(Stream),
    /// The stream is over.
    Ended(StreamPath),
}

/// What a hub is made of.
#[derive(Debug)]
pub struct HubOptions {
    /// The `[stream]` section.
    pub config: StreamConfig,
    /// What WebRTC viewers get of streams with B-frames (`webrtc.b_frames`).
    pub b_frames: BFrames,
    /// The SFU.
    pub workers: Arc<WorkerPool>,
}

/// When to look again whether the one who holds a path is silent, for somebody who asked for it at `asked`; `None` where it is alive.
fn look_again_after(asked: UnixNanos, last_media: UnixNanos, now: UnixNanos, silence: Duration) -> Option<Duration> {
    let silence = i64::try_from(silence.as_nanos()).unwrap_or(i64::MAX);
    let on_the_way = i64::try_from(ON_THE_WAY.as_nanos()).unwrap_or(i64::MAX);
    let alive = last_media > asked.saturating_add(on_the_way) || now > asked.saturating_add(silence).saturating_add(on_the_way);
    let left = last_media.saturating_add(silence).saturating_sub(now).max(0);
    (!alive).then(|| Duration::from_nanos(left as u64).clamp(LOOK_AGAIN_MIN, LOOK_AGAIN_MAX))
}

/// The table of live streams. Cheap to clone.
#[derive(Clone)]
pub struct Hub(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub config: StreamConfig,
    pub b_frames: BFrames,
    pub workers: Arc<WorkerPool>,
    pub transcoder: OnceLock<SharedTranscoder>,
    streams: RwLock<BTreeMap<StreamPath, Stream>>,
    events: broadcast::Sender<StreamEvent>,
    /// Viewers by worker, to spread them.
    viewers: Vec<AtomicUsize>,
    next_home: AtomicUsize,
    shutting_down: AtomicBool,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("streams", &self.streams().len()).finish()
    }
}

impl Hub {
    /// An empty hub.
    pub fn new(options: HubOptions) -> Self {
        let HubOptions { config, b_frames, workers } = options;
        let viewers = (0..workers.len()).map(|_| AtomicUsize::new(0)).collect();
        Self(Arc::new(Inner {
            config,
            b_frames,
            workers,
            transcoder: OnceLock::new(),
            streams: RwLock::default(),
            events: broadcast::channel(EVENT_QUEUE).0,
            viewers,
            next_home: AtomicUsize::new(0),
            shutting_down: AtomicBool::new(false),
        }))
    }

    /// Plugs in what makes derived tracks. Once; later calls do nothing.
    pub fn set_transcoder(&self, transcoder: SharedTranscoder) {
        let _ = self.0.transcoder.set(transcoder);
    }

    /// Begins (or, within the reconnect window, continues) a stream.
    pub async fn publish(&self, mut request: PublishRequest) -> Result<Publication, PublishError> {
        if self.0.shutting_down.load(Ordering::Relaxed) {
            return Err(PublishError::ShuttingDown);
        }
        if !self.0.config.may_publish(&request.path, request.key.as_deref()) {
            return Err(PublishError::Forbidden(request.path));
        }
        request.agent = request.agent.map(|agent| agent.chars().take(MAX_AGENT).collect());
        let stream = self.stream_to_publish(&request.path).await?;
        if stream.is_publishing() {
            let silent = match self.0.config.on_conflict {
                OnConflict::Refuse => false,
                OnConflict::TakeOver => true,
                OnConflict::WhenSilent => stream.silent_for(self.0.config.takeover_silence, unix_now()).await,
            };
            if !silent {
                return Err(PublishError::Busy(request.path));
            }
            tracing::info!(path = %request.path, "taken over by another publisher");
        }
        Publication::begin(self.clone(), stream, request)
    }

    /// As [`Hub::publish`], for publishers that try only once: where another one has the path, waits until that one has been silent for
    /// `stream.takeover_silence`, or has shown that it is alive. A peer whose network went away without a word is the former. Cancel safe.
    pub async fn publish_patiently(&self, request: PublishRequest) -> Result<Publication, PublishError> {
        let asked = unix_now();
        loop {
            let busy = match self.publish(request.clone()).await {
                Err(busy @ PublishError::Busy(_)) if self.0.config.on_conflict == OnConflict::WhenSilent => busy,
                other => return other,
            };
            let last_media = self.any_stream(&request.path).map_or(asked, |stream| stream.0.last_media.load(Ordering::Relaxed));
            match look_again_after(asked, last_media, unix_now(), self.0.config.takeover_silence) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(busy),
            }
        }
    }

    /// The stream at `path`, made if there is none. It is listed only once it has a track.
    async fn stream_to_publish(&self, path: &StreamPath) -> Result<Stream, PublishError> {
        if let Some(stream) = self.any_stream(path) {
            return Ok(stream);
        }
        let worker = self.0.next_home.fetch_add(1, Ordering::Relaxed) % self.0.workers.len().max(1);
        let home = self.0.workers.create_router(worker).await?;
        let mut streams = write(&self.0.streams);
        if let Some(stream) = streams.get(path) {
            return Ok(stream.clone()); // somebody was faster
        }
        if streams.len() >= self.0.config.max_streams {
            return Err(PublishError::TooManyStreams(self.0.config.max_streams));
        }
        let stream = Stream::new(self, path.clone(), home, unix_now());
        streams.insert(path.clone(), stream.clone());
        Ok(stream)
    }

    fn any_stream(&self, path: &StreamPath) -> Option<Stream> {
        read(&self.0.streams).get(path).cloned()
    }

    /// The live stream at `path`.
    pub fn stream(&self, path: &StreamPath) -> Option<Stream> {
        self.any_stream(path).filter(Stream::has_started)
    }

    /// All live streams, by path.
    pub fn streams(&self) -> Vec<Stream> {
        let streams = read(&self.0.streams);
        streams.values().filter(|stream| stream.has_started()).cloned().collect()
    }

    /// Whether somebody showing `token` may watch `path` (configured viewer tokens; true where none is configured).
    pub fn may_view(&self, path: &StreamPath, token: Option<&str>) -> bool {
        self.0.config.may_view(path, token)
    }

    /// Events from now on. Bounded: a receiver that lags must look at `streams()` again.
    pub fn events(&self) -> broadcast::Receiver<StreamEvent> {
        self.0.events.subscribe()
    }

    /// Sends every publisher away, ends every stream at once, refuses new ones.
    pub fn shutdown(&self) {
        self.0.shutting_down.store(true, Ordering::Relaxed);
        let streams: Vec<Stream> = {
            let streams = read(&self.0.streams);
            streams.values().cloned().collect()
        };
        for stream in streams {
            stream.evict("the server is shutting down");
            self.end(&stream);
        }
    }

    /// Takes a stream off the table and tells everybody.
    pub(super) fn end(&self, stream: &Stream) {
        {
            let mut streams = write(&self.0.streams);
            if !streams.get(stream.path()).is_some_and(|listed| listed.is_same(stream)) {
                return;
            }
            streams.remove(stream.path());
        }
        let had_started = stream.has_started();
        stream.close();
        if had_started {
            tracing::info!(path = %stream.path(), "stream ended");
            self.announce(StreamEvent::Ended(stream.path().clone()));
        }
    }

    pub(super) fn announce(&self, event: StreamEvent) {
        let _ = self.0.events.send(event); // nobody listening is fine
    }

    /// The worker for a new viewer of a stream that lives on `home`.
    pub(super) fn worker_for_viewer(&self, home: usize) -> usize {
        let load = |worker: usize| self.0.viewers.get(worker).map_or(usize::MAX, |n| n.load(Ordering::Relaxed));
        let least = (0..self.0.viewers.len()).min_by_key(|worker| load(*worker)).unwrap_or(home);
        if load(home) <= load(least).saturating_add(self.0.config.home_preference) { home } else { least }
    }

    pub(super) fn count_viewer(&self, worker: usize, comes: bool) {
        if let Some(count) = self.0.viewers.get(worker) {
            if comes {
                count.fetch_add(1, Ordering::Relaxed)
            } else {
                count.fetch_sub(1, Ordering::Relaxed)
            };
        }
    }

    /// A router on `worker`.
    pub(super) async fn create_router(&self, worker: usize) -> Result<Router, SfuError> {
        self.0.workers.create_router(worker).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_waited_for_and_life_is_not() {
        const MS: i64 = 1_000_000;
        let asked = 1_700_000_000_000 * MS;
        let table = [
            // last media and now in ms after the question, wait in ms
            (-1900, 0, Some(100)),
            (-1950, 0, Some(50)),
            (-1999, 0, Some(10)),
            (-100, 100, Some(100)),
            (400, 500, Some(100)),
            (400, 2350, Some(50)),
            (-3000, 100, Some(10)), // published as RTP: its bit rate falls a little later
            (501, 510, None),
            (-3000, 2501, None),
        ];
        for (last, now, wait) in table {
            let seen = look_again_after(asked, asked + last * MS, asked + now * MS, Duration::from_secs(2));
            assert_eq!(seen, wait.map(Duration::from_millis), "{last} {now}");
        }
    }
}
