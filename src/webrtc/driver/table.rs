//! The bounded table of sessions.
//!
//! In: sessions that begin. Out: the way to their tasks; the last word of each one's metrics.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::request::Command;
use crate::base::{AtDoor, Door, Id, Places, StreamPath, lock};
use crate::webrtc::{Role, WebRtcMetrics};

/// How to reach a session's task.
#[derive(Debug)]
pub(super) struct Handle {
    pub role: Role,
    pub path: StreamPath,
    pub commands: mpsc::Sender<Command>,
}

/// The sessions by id.
#[derive(Debug)]
pub(super) struct Table {
    /// One permit per session; a permit is taken before anything is made, so the table can't outgrow it.
    slots: Arc<Semaphore>,
    sessions: Mutex<HashMap<Id, Handle>>,
    /// Those that have not connected.
    connecting: Door<CancellationToken>,
    metrics: WebRtcMetrics,
}

/// A session's place among those that have not connected, and the word that it has to give way for another one.
#[derive(Debug)]
pub(super) struct Connecting {
    _place: AtDoor<CancellationToken>,
    pub gives_way: CancellationToken,
}

impl Table {
    /// An empty table for at most `max` sessions, of which as many may not have connected as `connecting` says.
    pub(super) fn new(max: usize, connecting: Places) -> Self {
        let slots = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Self { slots, sessions: Mutex::new(HashMap::new()), connecting: Door::new(connecting), metrics: WebRtcMetrics::default() }
    }

    /// A session begins that has not connected. Another one may have to go for it.
    pub(super) fn connecting(&self, from: Option<IpAddr>) -> Connecting {
        let gives_way = CancellationToken::new();
        let (place, gone) = self.connecting.come(from, gives_way.clone());
        if let Some(gone) = gone {
            self.metrics.gave_way.inc();
            gone.cancel();
        }
        Connecting { _place: place, gives_way }
    }

    pub(super) fn metrics(&self) -> &WebRtcMetrics {
        &self.metrics
    }

    /// The right to make one more session; `None` where the table is full.
    pub(super) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// The way to a session's task, if `id` is a session of that role and path.
    pub(super) fn commands(&self, role: Role, path: &StreamPath, id: &str) -> Option<mpsc::Sender<Command>> {
        let sessions = lock(&self.sessions);
        let handle = sessions.get(id).filter(|handle| handle.role == role && handle.path == *path);
        handle.map(|handle| handle.commands.clone())
    }
}

/// A session's place in the table; dropping it takes the session out.
#[derive(Debug)]
pub(super) struct Slot {
    table: Arc<Table>,
    pub id: Id,
    pub role: Role,
    pub path: StreamPath,
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    pub(super) fn take(table: &Arc<Table>, permit: OwnedSemaphorePermit, id: Id, handle: Handle) -> Self {
        let (role, path) = (handle.role, handle.path.clone());
        lock(&table.sessions).insert(id.clone(), handle);
        table.metrics.began(role.protocol());
        Self { table: table.clone(), id, role, path, _permit: permit }
    }

    pub(super) fn connected(&self) {
        self.table.metrics.connected(self.role.protocol());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.table.sessions).remove(&self.id);
        self.table.metrics.ended(self.role.protocol());
    }
}
