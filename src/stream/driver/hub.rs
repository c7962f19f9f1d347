//! The hub: who may begin a stream, and where it lives.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::broadcast;

use super::error::PublishError;
use super::live::Stream;
use super::publication::Publication;
use super::shared::Shared;
use super::table::{StreamEvent, Table};
use super::transcoder::SharedTranscoder;
use crate::base::{AtDoor, Clock, Door, Lots, StreamPath, Tries, UnixNanos, Vitals};
use crate::sfu::WorkerPool;
use crate::stream::config::{BFrames, StreamConfig};
use crate::stream::core::{Begin, Generation, Newcomer};

/// What a publisher hears that has to go because too many have sent nothing.
const GIVE_WAY: &str = "it sent nothing, and too many wait to do so (stream.max_silent_publishers)";
/// Longest `agent` kept, in characters.
const MAX_AGENT: usize = 200;

/// Somebody wants to publish.
#[derive(Debug, Clone)]
pub(crate) struct PublishRequest {
    pub path: StreamPath,
    /// By which protocol: `"rtmp"`, `"whip"`.
    pub protocol: &'static str,
    pub remote: Option<IpAddr>,
    /// What the publisher calls itself (`flashVer`, `User-Agent`), at most 200 characters are kept.
    pub agent: Option<String>,
    /// The key it showed (`?token=`, `?key=`, Bearer) as it was written, checked against the configured publish keys.
    pub key: Option<String>,
}

/// What a hub is made of.
#[derive(Debug)]
pub(crate) struct HubOptions {
    pub config: StreamConfig,
    /// What WebRTC viewers get of streams with B-frames (`webrtc.b_frames`).
    pub b_frames: BFrames,
    pub workers: Arc<WorkerPool>,
    /// The one that the SFU has too.
    pub clock: Clock,
    /// Where ids, SSRCs and first numbers come from.
    pub lots: Lots,
    /// Who hears of it when a stream's keeper ends before the stream.
    pub vitals: Vitals,
}

/// The table of live streams. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hub(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    table: Arc<Table>,
    /// Publishers of streams that have no track yet.
    silent: Door<(Stream, Generation)>,
    gave_way: AtomicU64,
    tries: Tries,
    shutting_down: AtomicBool,
    vitals: Vitals,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("streams", &self.streams().len()).finish()
    }
}

impl Hub {
    pub(crate) fn new(options: HubOptions) -> Self {
        let HubOptions { config, b_frames, workers, clock, lots, vitals } = options;
        let shared = Arc::new(Shared::new(config, b_frames, workers, clock, lots));
        let (table, silent) = (Arc::new(Table::new(shared.config.max_streams)), Door::new(shared.config.silent_publishers()));
        Self(Arc::new(Inner {
            shared,
            table,
            silent,
            vitals,
            gave_way: AtomicU64::new(0),
            tries: Tries::default(),
            shutting_down: AtomicBool::new(false),
        }))
    }

    /// Wrong keys that were shown, in whatever protocol.
    pub(crate) fn tries(&self) -> &Tries {
        &self.0.tries
    }

    /// The clock that all streams go by, and everybody who deals with them.
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.shared.clock
    }

    /// Where everybody who deals with streams gets chance from.
    pub(crate) fn lots(&self) -> &Lots {
        &self.0.shared.lots
    }

    /// Does something while no stream is there and none can begin, else the other thing. Both must be short.
    pub(crate) fn while_idle<R>(&self, what: impl FnOnce(bool) -> R) -> R {
        self.0.table.while_empty(what)
    }

    /// Plugs in what makes derived tracks. Once; later calls do nothing.
    pub(crate) fn set_transcoder(&self, transcoder: SharedTranscoder) {
        let _ = self.0.shared.transcoder.set(transcoder);
    }

    /// Begins (or, within the reconnect window, continues) a stream.
    pub(crate) async fn publish(&self, request: PublishRequest) -> Result<Publication, PublishError> {
        self.begin(request, None).await
    }

    /// As [`Hub::publish`], for publishers that try only once: where another one has the path, waits until that one has been silent for
    /// `stream.takeover_silence`, or has shown that it is alive. A peer whose network went away without a word is the former. Cancel safe.
    pub(crate) async fn publish_patiently(&self, request: PublishRequest) -> Result<Publication, PublishError> {
        self.begin(request, Some(self.clock().unix())).await
    }

    async fn begin(&self, request: PublishRequest, waiting_since: Option<UnixNanos>) -> Result<Publication, PublishError> {
        let PublishRequest { path, protocol, remote, agent, key } = request;
        if !self.0.shared.config.may_publish(&path, key.as_deref()) {
            return Err(PublishError::Forbidden(path));
        }
        let who = Newcomer { protocol, remote, agent: agent.map(|agent| agent.chars().take(MAX_AGENT).collect()), waiting_since };
        loop {
            if self.0.shutting_down.load(Ordering::Relaxed) {
                return Err(PublishError::ShuttingDown);
            }
            let stream = self.stream_to_publish(&path).await?;
            match stream.begin(&who).await {
                Begin::Begun(begun, actions) => {
                    let Newcomer { protocol, remote, agent, .. } = &who;
                    let (returning, taken_over) = (begun.generation.is_returning(), begun.taken_over);
                    tracing::info!(%path, protocol, ?remote, ?agent, returning, taken_over, "publisher connected");
                    let place = (!stream.has_started()).then(|| self.come(who.remote, &stream, begun.generation));
                    let publication = Publication::new(self.0.table.clone(), stream.clone(), begun, place);
                    self.0.table.carry_out(&stream, actions);
                    return Ok(publication);
                }
                Begin::Refused | Begin::Hold(_) | Begin::Listen(..) => return Err(PublishError::Busy(path)),
                // It ended this very moment: the next one begins.
                Begin::Ended => self.0.table.take_off(&stream),
            }
        }
    }

    /// A publisher begins that nobody has heard yet. Who has been there for longest without a word gives way, if there are too many.
    fn come(&self, remote: Option<IpAddr>, stream: &Stream, generation: Generation) -> AtDoor<(Stream, Generation)> {
        let (place, gone) = self.0.silent.come(remote, (stream.clone(), generation));
        if let Some((stream, generation)) = gone {
            self.0.gave_way.fetch_add(1, Ordering::Relaxed);
            stream.evict_silent(generation, GIVE_WAY);
        }
        place
    }

    /// How many publishers have begun and sent nothing yet.
    pub(super) fn silent_publishers(&self) -> usize {
        self.0.silent.len()
    }

    /// How many publishers had to go because too many had sent nothing.
    pub(super) fn gave_way(&self) -> u64 {
        self.0.gave_way.load(Ordering::Relaxed)
    }

    /// The stream at `path`, made if there is none. It is listed only once it has a track.
    async fn stream_to_publish(&self, path: &StreamPath) -> Result<Stream, PublishError> {
        if let Some(stream) = self.0.table.get(path) {
            return Ok(stream);
        }
        let shared = &self.0.shared;
        let home = shared.workers.create_router(shared.worker_for_stream()).await?;
        let stream = Stream::new(shared.clone(), path.clone(), home);
        let full = || PublishError::TooManyStreams(shared.config.max_streams);
        let listed = self.0.table.list(stream.clone()).ok_or_else(full)?;
        if listed.is_same(&stream) {
            let table = self.0.table.clone();
            let vital = self.0.vitals.vital("the keeper of a stream");
            tokio::spawn(async move {
                table.keep(&stream).await;
                vital.done();
            });
        }
        Ok(listed)
    }

    pub(crate) fn stream(&self, path: &StreamPath) -> Option<Stream> {
        self.0.table.get(path).filter(Stream::has_started)
    }

    /// All live streams, by path.
    pub(crate) fn streams(&self) -> Vec<Stream> {
        self.0.table.all().into_iter().filter(Stream::has_started).collect()
    }

    /// The stream at `path` as people see it: also one that has no track, but warnings that say why.
    pub(crate) fn listed_stream(&self, path: &StreamPath) -> Option<Stream> {
        self.0.table.get(path).filter(Stream::is_listed)
    }

    /// As [`Hub::streams`], with those of [`Hub::listed_stream`].
    pub(crate) fn listed_streams(&self) -> Vec<Stream> {
        self.0.table.all().into_iter().filter(Stream::is_listed).collect()
    }

    /// Whether somebody showing `token` may watch `path` (configured viewer tokens; true where none is configured).
    pub(crate) fn may_view(&self, path: &StreamPath, token: Option<&str>) -> bool {
        self.0.shared.config.may_view(path, token)
    }

    /// Whether anybody may watch `path`.
    pub(crate) fn is_open(&self, path: &StreamPath) -> bool {
        self.0.shared.config.is_open(path)
    }

    /// Events from now on. Bounded: a receiver that lags must look at `streams()` again.
    pub(crate) fn events(&self) -> broadcast::Receiver<StreamEvent> {
        self.0.table.events()
    }

    /// Sends every publisher away, ends every stream at once, refuses new ones.
    pub(crate) fn shutdown(&self) {
        self.0.shutting_down.store(true, Ordering::Relaxed);
        for stream in self.0.table.all() {
            stream.evict("the server is shutting down");
            self.0.table.end(&stream);
        }
    }
}
