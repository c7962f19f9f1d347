//! A live stream, as adapters hold it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::recent::RecentStats;
use super::shared::Shared;
use super::state::{Action, State, Work};
use super::writer::WriterCore;
use crate::base::{StreamPath, UnixNanos};
use crate::sfu::{ProducerId, Router, SfuError};
use crate::stream::core::{Begin, Event, Generation, Heard, Newcomer, StreamCore, Track, Warning};
use crate::stream::format_history::FormatHistory;

/// A live stream. Cheap to clone; holding it does not keep it alive.
#[derive(Clone)]
pub(crate) struct Stream(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    state: Arc<State<WriterCore>>,
    started_at: UnixNanos,
    home: Router,
    /// Routers on other workers, made when the first viewer goes there.
    routers: tokio::sync::Mutex<BTreeMap<usize, Router>>,
    recent_stats: tokio::sync::Mutex<RecentStats>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stream").field(self.path()).finish()
    }
}

impl Stream {
    pub(super) fn new(shared: Arc<Shared>, path: StreamPath, home: Router) -> Self {
        let started_at = shared.clock.unix();
        let state = Arc::new(State::new(path, shared.rules(), shared.clock.clone()));
        Self(Arc::new(Inner {
            shared,
            state,
            started_at,
            home,
            routers: tokio::sync::Mutex::default(),
            recent_stats: tokio::sync::Mutex::default(),
        }))
    }

    pub(super) fn state(&self) -> &Arc<State<WriterCore>> {
        &self.0.state
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub(super) fn recent_stats(&self) -> &tokio::sync::Mutex<RecentStats> {
        &self.0.recent_stats
    }

    pub(super) fn home(&self) -> &Router {
        &self.0.home
    }

    pub(super) fn is_same(&self, other: &Stream) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn has_started(&self) -> bool {
        self.0.state.see(StreamCore::has_started)
    }

    /// Whether people see it: it has begun, or its publisher sends only what can't be carried and is warned.
    pub(super) fn is_listed(&self) -> bool {
        self.0.state.see(|core| core.has_started() || (core.publisher().is_some() && !core.warnings().is_empty()))
    }

    pub(crate) fn path(&self) -> &StreamPath {
        self.0.state.path()
    }

    /// When it began.
    pub(crate) fn started_at(&self) -> UnixNanos {
        self.0.started_at
    }

    /// The published tracks now, video first.
    pub(crate) fn tracks(&self) -> Vec<Track> {
        self.0.state.see(|core| core.tracks().cloned().collect())
    }

    /// Where the formats of a track changed; `None` if it is published as RTP, or gone.
    pub(crate) fn formats(&self, producer: ProducerId) -> Option<FormatHistory> {
        self.0.state.see(|core| core.formats(producer).cloned())
    }

    /// Waits until `tracks()`, the publisher's presence or the warnings changed since `seen` (begin with 0); gives the new count.
    /// `None` once the stream has ended. Cancel safe.
    pub(crate) async fn changed(&self, seen: u64) -> Option<u64> {
        self.0.state.changed(seen).await
    }

    /// How long ago its first track came; `None` where it isn't live.
    pub(crate) fn age(&self) -> Option<std::time::Duration> {
        self.0.state.see(|core| core.age(self.0.state.now().at))
    }

    /// Waits for the second track of a stream that has just begun: 150 ms at most since its first one. At once for all others.
    pub(crate) async fn settled(&self) {
        loop {
            let (left, seen) = self.0.state.see(|core| (core.settling(self.0.state.now().at), core.version()));
            let Some(left) = left else { return };
            let _ = tokio::time::timeout(left, self.changed(seen)).await;
        }
    }

    /// Whether a publisher is connected now (false within the reconnect window).
    pub(crate) fn is_publishing(&self) -> bool {
        self.0.state.see(|core| core.publisher().is_some())
    }

    /// The newest publisher, whether it is still there or not.
    pub(crate) fn generation(&self) -> Generation {
        self.0.state.see(StreamCore::generation)
    }

    /// Sends the publisher away, if there is one: [`super::Publication::evicted`] says why.
    pub(crate) fn evict(&self, why: &'static str) {
        self.0.state.act(|core| core.evict(why));
    }

    pub(super) fn evict_silent(&self, generation: Generation, why: &'static str) {
        self.0.state.act(|core| core.evict_silent(generation, why));
    }

    /// Adds or replaces (by code) a warning.
    pub(crate) fn warn(&self, warning: Warning) {
        self.0.state.warn(warning);
    }

    /// Gives the publisher's place to `who`, or says why not. The SFU is asked whether it hears the one who is there, if need be.
    pub(super) async fn begin(&self, who: &Newcomer) -> Begin<WriterCore, Work> {
        let mut heard = None;
        loop {
            heard = match self.0.state.begin(who, heard) {
                Begin::Listen(generation, producers) => Some(Heard { generation, speaks: self.hears_any(&producers).await }),
                Begin::Hold(wait) => {
                    tokio::time::sleep(wait).await;
                    None
                }
                other => return other,
            };
        }
    }

    async fn hears_any(&self, producers: &[ProducerId]) -> bool {
        for producer in producers {
            if self.0.home.producer_stats(*producer).await.is_ok_and(|stats| stats.bitrate > 0) {
                return true;
            }
        }
        false
    }

    /// Notes that the HTTP player `who` (a hash of address and agent, or its session id) asked for something: it counts as a viewer
    /// by `protocol` (`"hls"`, `"dash"`) for the next 15 s. Bounded.
    pub(crate) fn note_http_viewer(&self, protocol: &'static str, who: u64, now: UnixNanos) {
        self.0.state.act(|core| core.note_http_viewer(protocol, who, now));
    }

    /// The router on `worker`, made if there is none.
    pub(super) async fn router_on(&self, worker: usize) -> Result<Router, SfuError> {
        if worker == self.0.home.worker() {
            return Ok(self.0.home.clone());
        }
        let mut routers = self.0.routers.lock().await;
        if let Some(router) = routers.get(&worker) {
            return Ok(router.clone());
        }
        let router = self.0.shared.workers.create_router(worker).await?;
        routers.insert(worker, router.clone());
        Ok(router)
    }

    /// Does what can be done by the stream alone; returns what everybody is to be notified of.
    pub(super) fn carry_out(&self, actions: Vec<Action<WriterCore>>) -> Vec<Event> {
        let (mut events, mut closing) = (Vec::new(), Vec::new());
        for action in actions {
            match action {
                Action::Tell(event) => events.push(event),
                Action::Close(producer) => closing.push(producer),
                Action::Stop(what, work) => {
                    tracing::info!(path = %self.path(), what, "derived track stopped, nobody needs it");
                    drop(work);
                }
                Action::Abort(work) => drop(work),
                Action::Release(writer) => drop(writer),
            }
        }
        if !closing.is_empty() {
            let home = self.0.home.clone();
            tokio::spawn(async move {
                for producer in closing {
                    home.close_producer(producer).await;
                }
            });
        }
        events
    }
}
