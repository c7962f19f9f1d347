//! Reads recordings for whoever asks: at most so much at a time, so that readers take neither the runtime's threads nor the memory.
//!
//! In: requests below `/vod/`. Out: responses and their bytes. Who waits, waits without a thread; a layout is made once for all who want it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{Mutex as AsyncMutex, OnceCell, Semaphore};

use super::store::Store;
use crate::base::{UnixNanos, lock};
use crate::record::catalogue::Catalogue;
use crate::record::error::RecordError;
use crate::record::id::RecordingId;
use crate::record::meta::Meta;
use crate::record::mp4::{Mp4, Snapshot};
use crate::record::request::{VodBody, VodRequest, VodResponse};
use crate::record::view::View;
use crate::record::vod::{Answer, Vod};

/// Recordings whose segment lists are kept: 12 hours take about 4 MB.
const MAX_VIEWS: usize = 32;
/// Requests that look into an index at a time. Most find nothing new there; some read all of it.
const LOOKING: usize = 16;
/// Layouts made at a time: each takes a core for up to a second, and all of its indexes in memory.
const LAYING_OUT: usize = 2;
/// Blocks of bodies read at a time, of 256 KB each.
const READING: usize = 32;
/// Bytes of all layouts in use. Downloads that are on their way have theirs, kept or not, and who asks for one state of a growing recording after
/// the other makes a new one each time.
const MAX_LAYOUT_BYTES: usize = 512 << 20;
/// How long a request waits for all that, before it is told to come again. A layout of twelve hours takes a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads recordings for whoever asks.
#[derive(Debug)]
pub(crate) struct Reading {
    store: Store,
    catalogue: Arc<Catalogue>,
    vod: Arc<Vod>,
    /// Newest use first. A lock is held by one request at a time; the others wait for it without a thread.
    views: Mutex<VecDeque<(RecordingId, Arc<AsyncMutex<View>>)>>,
    making: Mutex<Vec<Making>>,
    looking: Arc<Semaphore>,
    laying_out: Arc<Semaphore>,
    reading: Arc<Semaphore>,
}

/// A layout that is being made.
#[derive(Debug)]
struct Making {
    id: RecordingId,
    snapshot: Snapshot,
    mp4: Weak<OnceCell<Arc<Mp4>>>,
}

impl Reading {
    pub(crate) fn new(store: Store, catalogue: Arc<Catalogue>) -> Self {
        let [looking, laying_out, reading] = [LOOKING, LAYING_OUT, READING].map(|places| Arc::new(Semaphore::new(places)));
        let vod = Arc::new(Vod::new(store.clone(), MAX_LAYOUT_BYTES));
        Self { store, catalogue, vod, views: Mutex::default(), making: Mutex::default(), looking, laying_out, reading }
    }

    /// Drops what is kept of a recording that was deleted.
    pub(crate) fn forget(&self, id: &RecordingId) {
        lock(&self.views).retain(|(other, _)| other != id);
        self.vod.forget(id);
    }

    /// # Errors
    /// [`RecordError`]; its `status()` is the one to send.
    pub(crate) async fn answer(&self, request: VodRequest, now: UnixNanos) -> Result<VodResponse, RecordError> {
        tokio::time::timeout(PATIENCE, self.answered(request, now)).await.unwrap_or(Err(RecordError::Busy))
    }

    async fn answered(&self, request: VodRequest, now: UnixNanos) -> Result<VodResponse, RecordError> {
        let meta = self.catalogue.meta(request.recording()?)?;
        let mut view = self.view(&meta.id).lock_owned().await;
        let (store, vod, of) = (self.store.clone(), self.vod.clone(), meta.clone());
        let looked = on_a_thread(&self.looking, move || {
            view.refresh(&store, &of)?;
            let answer = vod.answer(&of, &view, &request, now)?;
            Ok((answer, request))
        });
        match looked.await? {
            (Answer::Whole(response), _) => Ok(*response),
            (Answer::Download { snapshot, certain }, request) => {
                let mp4 = self.layout(&meta, &snapshot, now).await?;
                Ok(self.vod.download(&meta, mp4, &snapshot, certain, &request))
            }
        }
    }

    /// What is known of a recording; to be refreshed before use.
    fn view(&self, id: &RecordingId) -> Arc<AsyncMutex<View>> {
        let mut views = lock(&self.views);
        let found = views.iter().position(|(other, _)| other == id).and_then(|at| views.remove(at));
        let item = found.unwrap_or_else(|| (id.clone(), Arc::default()));
        let shared = item.1.clone();
        views.push_front(item);
        views.truncate(MAX_VIEWS);
        shared
    }

    async fn layout(&self, meta: &Arc<Meta>, snapshot: &Snapshot, now: UnixNanos) -> Result<Arc<Mp4>, RecordError> {
        if let Some(mp4) = self.vod.kept_layout(&meta.id, snapshot) {
            return Ok(mp4);
        }
        let made = self.making(&meta.id, snapshot);
        let make = || async {
            let (vod, meta, snapshot) = (self.vod.clone(), meta.clone(), snapshot.clone());
            on_a_thread(&self.laying_out, move || vod.lay_out(&meta, &snapshot, now)).await
        };
        made.get_or_try_init(make).await.cloned()
    }

    /// Where the layout will be: one of these at a time for each.
    fn making(&self, id: &RecordingId, snapshot: &Snapshot) -> Arc<OnceCell<Arc<Mp4>>> {
        let mut making = lock(&self.making);
        making.retain(|one| one.mp4.strong_count() > 0);
        let found = making.iter().find(|one| one.id == *id && one.snapshot == *snapshot).and_then(|one| one.mp4.upgrade());
        found.unwrap_or_else(|| {
            let new = Arc::default();
            making.push(Making { id: id.clone(), snapshot: snapshot.clone(), mp4: Arc::downgrade(&new) });
            new
        })
    }

    #[cfg(test)]
    pub(crate) fn layouts_in_use(&self) -> usize {
        self.vod.layouts_in_use()
    }

    /// The bytes of a response, block by block; each is read when it is asked for.
    pub(crate) fn stream(&self, body: VodBody) -> impl Stream<Item = Result<Bytes, RecordError>> + Send + use<> {
        let reading = self.reading.clone();
        futures_util::stream::unfold(Some(body), move |body| {
            let reading = reading.clone();
            async move {
                match body? {
                    VodBody::Bytes(bytes) => (!bytes.is_empty()).then_some((Ok(bytes), None)),
                    VodBody::Parts(mut parts) => {
                        // What stands between the parts is the caller's.
                        let (_, reader) = if parts.is_empty() { return None } else { parts.remove(0) };
                        Some((Ok(Bytes::new()), Some(VodBody::File(reader))))
                    }
                    VodBody::File(mut reader) => {
                        let read = on_a_thread(&reading, move || {
                            let block = reader.next_block()?;
                            Ok((block, reader))
                        });
                        match read.await {
                            Ok((Some(block), reader)) => Some((Ok(block), Some(VodBody::File(reader)))),
                            Ok((None, _)) => None,
                            Err(error) => Some((Err(error), None)),
                        }
                    }
                }
            }
        })
    }
}

/// Does `work` on a thread of the runtime once there is a place for it, which it gives back when it has ended, whoever still waits for it then.
async fn on_a_thread<T: Send + 'static>(
    places: &Arc<Semaphore>,
    work: impl FnOnce() -> Result<T, RecordError> + Send + 'static,
) -> Result<T, RecordError> {
    let place = places.clone().acquire_owned().await.map_err(|_| RecordError::ShuttingDown)?;
    let done = tokio::task::spawn_blocking(move || {
        let _place = place;
        work()
    });
    done.await.map_err(|_| RecordError::ShuttingDown)?
}
