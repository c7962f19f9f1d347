//! Recordings, for async callers: the tasks, the janitor, the clock.
//!
//! In: segmenter events by [`RecorderInput`], requests by [`Recordings`]. Out: files, pages, responses. What is recorded is written by
//! [`Writers`], in order per recording, and never holds up a caller that feeds a live stream; [`Reading`] reads it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ages::Ages;
use super::metrics::RecordMetrics;
use super::reading::Reading;
use super::recover;
use super::store::Store;
use super::writers::Writers;
use crate::base::{Clock, Lots, StreamPath, Vitals};
use crate::cmaf::{Targets, TrackInit};
use crate::record::catalogue::{Catalogue, Page, Recording};
use crate::record::config::RecordConfig;
use crate::record::error::{RecordError, Tried};
use crate::record::meta::State;
use crate::record::request::{VodBody, VodRequest, VodResponse};
use crate::record::retention::plan;
use crate::record::session::{RecordEvent, Room, Session};

/// Events that wait for the disk per recording: half a minute of two tracks at 5 chunks a second.
const QUEUE: usize = 300;
/// Bytes of chunks that wait for the disk per recording: 13 s of 20 Mbit/s. Beyond it the recording has a gap.
const QUEUE_BYTES: u64 = 32 << 20;
/// Events written in one go.
const BATCH: usize = 64;
/// How often the janitor looks.
const JANITOR_INTERVAL: Duration = Duration::from_secs(10);

/// All recordings of this server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Recordings {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: RecordConfig,
    targets: Targets,
    clock: Clock,
    lots: Lots,
    store: Store,
    catalogue: Arc<Catalogue>,
    reading: Reading,
    writers: Writers,
    room: Arc<Room>,
    metrics: RecordMetrics,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Recordings {
    /// Opens `data_dir/recordings` (made if need be), closes what a crash left open and starts the janitor. `targets`: what the segments
    /// keep to that will be recorded.
    ///
    /// # Errors
    /// When the folder can't be made or listed.
    pub(crate) async fn open(
        data_dir: &Path,
        config: RecordConfig,
        targets: Targets,
        clock: Clock,
        lots: Lots,
        cancel: CancellationToken,
        vitals: &Vitals,
    ) -> Result<Self, RecordError> {
        Self::open_store(Store::new(data_dir.join("recordings")), config, targets, clock, lots, cancel, vitals).await
    }

    /// Opens the recordings of a store.
    pub(crate) async fn open_store(
        store: Store,
        config: RecordConfig,
        targets: Targets,
        clock: Clock,
        lots: Lots,
        cancel: CancellationToken,
        vitals: &Vitals,
    ) -> Result<Self, RecordError> {
        let catalogue = Arc::new(Catalogue::default());
        let (loading, into, now) = (store.clone(), catalogue.clone(), clock.now());
        let loaded = blocking(move || {
            loading.make()?;
            recover::load(&loading, &into, now.wall)?;
            Ok(Ages::open(loading.root().join("clock"), into.newest(), now))
        });
        let ages = loaded.await?;
        let inner = Arc::new(Inner {
            config,
            targets,
            clock,
            lots,
            reading: Reading::new(store.clone(), catalogue.clone()),
            writers: Writers::new().map_err(RecordError::io(Tried::Make, store.root()))?,
            store,
            catalogue,
            room: Arc::default(),
            metrics: RecordMetrics::default(),
            tasks: TaskTracker::new(),
            cancel,
        });
        let this = Self { inner };
        let ages = this.clean(ages).await?;
        let (janitor, vital) = (this.clone().janitor(ages), vitals.vital("the janitor of recordings"));
        this.inner.tasks.spawn(async move {
            match janitor.await {
                Ok(()) => vital.done(), // it was asked to end
                Err(error) => tracing::error!(%error, "recordings are not looked after any more"),
            }
        });
        Ok(this)
    }

    /// Begins to record a stream, if the configuration wants that. The recording ends with [`RecordEvent::End`] or when the
    /// input is dropped.
    pub(crate) fn record(&self, path: &StreamPath) -> Option<RecorderInput> {
        if !self.inner.config.records(path.as_str()) || self.inner.cancel.is_cancelled() {
            return None;
        }
        let (tx, rx) = mpsc::channel(QUEUE);
        let queued = Arc::new(AtomicU64::new(0));
        let inner = &self.inner;
        let ms = |duration: Duration| duration.as_millis() as u64;
        let lengths = ms(inner.config.min_duration)..=ms(inner.config.max_duration);
        let target = inner.targets.target_duration();
        let chance = inner.lots.draw();
        let session = Session::new(inner.store.clone(), inner.catalogue.clone(), inner.room.clone(), path.clone(), lengths, target, chance);
        inner.tasks.spawn(run(inner.clone(), path.clone(), session, rx, queued.clone()));
        Some(RecorderInput { path: path.clone(), tx, queued, metrics: inner.metrics.clone(), inits: Vec::new(), gap: None })
    }

    /// Whether something is being recorded.
    pub(crate) fn is_recording(&self) -> bool {
        self.inner.catalogue.any_live()
    }

    /// Registers its counters, and what the catalogue has at each scrape.
    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        self.inner.metrics.register(registry, self.inner.catalogue.clone(), self.inner.room.clone());
    }

    /// One recording: see [`Catalogue::get`].
    ///
    /// # Errors
    /// [`RecordError::NotFound`].
    pub(crate) fn get(&self, id: &str) -> Result<Recording, RecordError> {
        self.inner.catalogue.get(id)
    }

    /// A page of the list: see [`Catalogue::list`].
    ///
    /// # Errors
    /// [`RecordError::BadCursor`].
    pub(crate) fn list(&self, path: Option<&str>, cursor: Option<&str>, limit: usize) -> Result<Page, RecordError> {
        self.inner.catalogue.list(path, cursor, limit)
    }

    /// Deletes a recording with its files.
    ///
    /// # Errors
    /// [`RecordError::NotFound`], [`RecordError::Live`], [`RecordError::Io`].
    pub(crate) async fn delete(&self, id: &str) -> Result<(), RecordError> {
        let meta = self.inner.catalogue.meta(id)?;
        if meta.state == State::Live {
            return Err(RecordError::Live);
        }
        let inner = self.inner.clone();
        blocking(move || inner.remove(&meta.id)).await?;
        tracing::info!(recording = id, "recording deleted");
        Ok(())
    }

    /// Answers a request below `/vod/`.
    ///
    /// # Errors
    /// [`RecordError`]; its `status()` is the one to send.
    pub(crate) async fn vod(&self, request: VodRequest) -> Result<VodResponse, RecordError> {
        self.inner.reading.answer(request, self.inner.clock.unix()).await
    }

    /// The bytes of a response, block by block; each is read when it is asked for.
    pub(crate) fn stream(&self, body: VodBody) -> impl Stream<Item = Result<Bytes, RecordError>> + Send + use<> {
        self.inner.reading.stream(body)
    }

    /// After the cancellation: waits until all recordings are closed.
    pub(crate) async fn closed(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    #[cfg(test)]
    pub(crate) fn layouts_in_use(&self) -> usize {
        self.inner.reading.layouts_in_use()
    }

    async fn janitor(self, mut ages: Ages) -> Result<(), RecordError> {
        let mut interval = tokio::time::interval(JANITOR_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        interval.tick().await;
        while self.inner.cancel.run_until_cancelled(interval.tick()).await.is_some() {
            ages = self.clean(ages).await?;
        }
        blocking(move || {
            ages.save();
            Ok(())
        })
        .await
    }

    /// Applies retention once.
    async fn clean(&self, mut ages: Ages) -> Result<Ages, RecordError> {
        let inner = self.inner.clone();
        blocking(move || {
            let now = ages.look(inner.clock.now());
            inner.metrics.ages_doubted.set(i64::from(now.is_none()));
            let plan = plan(&inner.catalogue.candidates(), &inner.config, inner.store.free(), now);
            for id in &plan.delete {
                // One that can't be deleted must not keep the others, or the stop below, from happening.
                if let Err(error) = inner.remove(id) {
                    tracing::warn!(recording = %id, %error, "a recording can't be deleted by retention; its files are left until the next start");
                    continue;
                }
                inner.metrics.deleted.inc();
                tracing::info!(recording = %id, "recording deleted by retention");
            }
            if let (Some(reason), None) = (plan.stop, inner.room.get()) {
                tracing::warn!(%reason, "no recording until there is room; live streams go on");
            }
            inner.room.set(plan.stop);
            Ok(ages)
        })
        .await
    }
}

impl Inner {
    /// Closes what a writer that failed by a bug has left, as a start after a crash does.
    fn close_abandoned(&self, path: &StreamPath) -> Result<(), RecordError> {
        for meta in self.catalogue.live_of(path) {
            match recover::close(&self.store, (*meta).clone(), self.clock.unix())? {
                Some(closed) => self.catalogue.put(closed),
                None => self.remove(&meta.id)?,
            }
        }
        Ok(())
    }

    fn remove(&self, id: &crate::record::RecordingId) -> Result<(), RecordError> {
        self.catalogue.remove(id);
        self.reading.forget(id);
        match self.store.delete(id) {
            Err(RecordError::NotFound) => Ok(()),
            other => other,
        }
    }
}

/// Feeds one recording. Never waits: what the disk can't take is left out, up to the next segment.
#[derive(Debug)]
pub(crate) struct RecorderInput {
    path: StreamPath,
    tx: mpsc::Sender<RecordEvent>,
    queued: Arc<AtomicU64>,
    metrics: RecordMetrics,
    /// Initializations that found the queue full: the newest per track.
    inits: Vec<TrackInit>,
    /// The last segment of which something was left out.
    gap: Option<u64>,
}

impl RecorderInput {
    /// Takes an event. Chunks are left out (and counted) while the disk is behind; the recording goes on with a whole segment.
    pub(crate) fn push(&mut self, event: RecordEvent) {
        match event {
            RecordEvent::Init(init) => {
                self.inits.retain(|other| other.track != init.track);
                self.inits.push(init);
                self.push_inits();
            }
            RecordEvent::Chunk(chunk) => {
                let len = chunk.data.len() as u64;
                let resumes = self.gap.is_none_or(|gap| chunk.segment > gap);
                let fits = self.push_inits() && self.queued.load(Ordering::Relaxed) + len <= QUEUE_BYTES;
                let segment = chunk.segment;
                if resumes && fits {
                    self.queued.fetch_add(len, Ordering::Relaxed);
                    if self.tx.try_send(RecordEvent::Chunk(chunk)).is_ok() {
                        self.metrics.bytes.inc_by(len);
                        return;
                    }
                    self.queued.fetch_sub(len, Ordering::Relaxed);
                }
                self.metrics.chunks_dropped.inc();
                if self.gap.is_none_or(|gap| segment > gap) {
                    tracing::warn!(path = %self.path, segment, "the disk is too slow: this segment is not recorded");
                    self.gap = Some(segment);
                }
            }
            // Where the queue is full, dropping the input says the same.
            RecordEvent::End => drop(self.tx.try_send(RecordEvent::End)),
        }
    }

    /// Whether all initializations are through.
    fn push_inits(&mut self) -> bool {
        while let Some(init) = self.inits.first() {
            if self.tx.try_send(RecordEvent::Init(init.clone())).is_err() {
                return false;
            }
            self.inits.remove(0);
        }
        true
    }
}

async fn run(inner: Arc<Inner>, path: StreamPath, session: Session, mut rx: mpsc::Receiver<RecordEvent>, queued: Arc<AtomicU64>) {
    let mut session = Some(session);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let open = matches!(inner.cancel.run_until_cancelled(rx.recv_many(&mut batch, BATCH)).await, Some(count) if count > 0);
        if !open {
            // What is in the queue already belongs to the recording.
            while let Ok(event) = rx.try_recv() {
                batch.push(event);
            }
        }
        let Some(mut current) = session.take() else { return };
        let events = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
        let (queued, clock) = (queued.clone(), inner.clock.clone());
        let written = inner.writers.run(move || {
            for event in events {
                let len = if let RecordEvent::Chunk(chunk) = &event { chunk.data.len() as u64 } else { 0 };
                current.handle(event, clock.unix());
                queued.fetch_sub(len, Ordering::Relaxed);
            }
            if open {
                current.report();
            } else {
                current.end(clock.unix());
            }
            current
        });
        match written.await {
            Ok(current) if open => session = Some(current),
            Ok(_) => return,
            Err(error) => {
                tracing::error!(%path, %error, "a recording was given up; what is on disk is kept");
                if let Err(error) = blocking(move || inner.close_abandoned(&path)).await {
                    tracing::error!(%error, "an abandoned recording can't be closed; the next start will");
                }
                return;
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, RecordError> + Send + 'static) -> Result<T, RecordError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| RecordError::ShuttingDown)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmaf::Chunk;

    fn chunk(segment: u64, first: bool, len: usize) -> RecordEvent {
        let data = Bytes::from(vec![0; len]);
        let (track, epoch, last, end, independent, presentation_time, duration, wallclock) = (0, 0, false, false, first, 0, 1, 0);
        RecordEvent::Chunk(Chunk { track, epoch, segment, first, last, end, independent, presentation_time, duration, wallclock, data })
    }

    fn input() -> (RecorderInput, mpsc::Receiver<RecordEvent>) {
        let (tx, rx) = mpsc::channel(QUEUE);
        let path = StreamPath::parse("live/a").unwrap();
        (RecorderInput { path, tx, queued: Arc::default(), metrics: RecordMetrics::default(), inits: Vec::new(), gap: None }, rx)
    }

    fn segments(rx: &mut mpsc::Receiver<RecordEvent>) -> Vec<u64> {
        let next = || rx.try_recv().ok();
        std::iter::from_fn(next).filter_map(|e| if let RecordEvent::Chunk(c) = e { Some(c.segment) } else { None }).collect()
    }

    #[test]
    fn a_slow_disk_costs_whole_segments_and_never_blocks() {
        // By number.
        let (mut input, mut rx) = input();
        (0..QUEUE + 10).for_each(|n| input.push(chunk(n as u64 / 100, n % 100 == 0, 10)));
        assert_eq!(segments(&mut rx).len(), QUEUE);
        // The segment that lost its beginning is left out to its end, then it goes on.
        input.push(chunk(3, false, 10));
        input.push(chunk(4, true, 10));
        assert_eq!(segments(&mut rx), [4]);
        assert_eq!(input.metrics.chunks_dropped.get(), 11);
    }

    #[test]
    fn a_slow_disk_holds_no_more_than_its_bytes() {
        let (mut input, mut rx) = input();
        (0..40).for_each(|n| input.push(chunk(n, true, 1 << 20)));
        assert_eq!(segments(&mut rx).len(), 32);
    }

    #[test]
    fn initializations_are_not_lost() {
        let (mut input, mut rx) = input();
        (0..QUEUE).for_each(|n| input.push(chunk(n as u64, true, 1)));
        let (codec, codec_string, timescale) = (crate::codec::Codec::H264, String::new(), 1);
        let init = TrackInit { track: 0, epoch: 1, codec, codec_string, timescale, resolution: None, audio: None, data: Bytes::new() };
        input.push(RecordEvent::Init(init));
        while rx.try_recv().is_ok() {}
        input.push(chunk(QUEUE as u64 + 1, true, 1));
        assert!(matches!(rx.try_recv(), Ok(RecordEvent::Init(init)) if init.epoch == 1));
        assert!(matches!(rx.try_recv(), Ok(RecordEvent::Chunk(_))));
    }
}
