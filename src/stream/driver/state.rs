//! A stream's state machine behind its lock, and those who are woken when it moves.
//!
//! In: inputs to the state machine. Out: their answers, and wake-ups. The lock is short and never held across an await; what a unit of media
//! needs goes past it.

use std::any::Any;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::sync::{Notify, watch};

use crate::base::{Clock, Now, StreamPath, UnixNanos, lock};
use crate::codec::{Codec, Format};
use crate::stream::core::{self, Begin, Generation, Heard, LastMedia, Newcomer, Rules, StreamCore, Warned, Warning};

/// Keeps a transcode at work until it is dropped.
pub(super) type Work = Box<dyn Any + Send + Sync>;
pub(super) type Action<W> = core::Action<W, Work>;

/// The state of a stream whose writers are `W`.
#[derive(Debug)]
pub(super) struct State<W> {
    path: StreamPath,
    clock: Clock,
    core: Mutex<StreamCore<W, Work>>,
    changes: watch::Sender<u64>,
    starts: watch::Sender<u64>,
    /// Another deadline holds.
    deadline: Notify,
    /// When the publisher last sent media, for the conflict rule; and whether who reads it said so.
    last_media: AtomicI64,
    by_reader: AtomicBool,
    /// Where the media ends that was written so far: it may lie ahead of the wall clock.
    written_up_to: AtomicI64,
}

impl<W> State<W> {
    pub(super) fn new(path: StreamPath, rules: Rules, clock: Clock) -> Self {
        let core = StreamCore::new(rules);
        let (changes, starts) = (watch::channel(core.version()).0, watch::channel(core.starts()).0);
        let last_media = AtomicI64::new(clock.unix());
        Self {
            path,
            clock,
            core: Mutex::new(core),
            changes,
            starts,
            deadline: Notify::new(),
            last_media,
            by_reader: AtomicBool::new(false),
            written_up_to: AtomicI64::new(i64::MIN),
        }
    }

    pub(super) fn path(&self) -> &StreamPath {
        &self.path
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(super) fn see<R>(&self, look: impl FnOnce(&StreamCore<W, Work>) -> R) -> R {
        look(&lock(&self.core))
    }

    /// Changes something, and wakes those who wait for it.
    pub(super) fn act<R>(&self, change: impl FnOnce(&mut StreamCore<W, Work>) -> R) -> R {
        let (answer, version, starts, other_deadline) = {
            let mut core = lock(&self.core);
            let deadline = core.poll_timeout();
            let answer = change(&mut core);
            (answer, core.version(), core.starts(), core.poll_timeout() != deadline)
        };
        for (channel, count) in [(&self.changes, version), (&self.starts, starts)] {
            channel.send_if_modified(|known| {
                let moved = count > *known;
                *known = count.max(*known);
                moved
            });
        }
        if other_deadline {
            self.deadline.notify_one();
        }
        answer
    }

    /// Waits until the version is another than `seen`; gives the new one. `None` once the stream has ended. Cancel safe.
    pub(super) async fn changed(&self, seen: u64) -> Option<u64> {
        let count = self.changes.subscribe().wait_for(|count| *count != seen).await.map(|count| *count).ok()?;
        if self.see(StreamCore::has_ended) { None } else { Some(count) }
    }

    /// Waits until somebody's start of a derived track is over, since the count was `seen`.
    pub(super) async fn start_over(&self, seen: u64) {
        let _ = self.starts.subscribe().wait_for(|count| *count != seen).await;
    }

    /// Waits until something is due, and does it. `None` once the stream has ended. Cancel safe.
    pub(super) async fn due(&self) -> Option<Vec<Action<W>>> {
        loop {
            let (ended, deadline) = self.see(|core| (core.has_ended(), core.poll_timeout()));
            if ended {
                return None;
            }
            let passed = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = passed => return Some(self.act(|core| core.handle_timeout(self.clock.at()))),
                () = self.deadline.notified() => {}
                _ = self.changed(self.see(StreamCore::version)) => {}
            }
        }
    }

    /// Somebody wants to publish.
    pub(super) fn begin(&self, who: &Newcomer, heard: Option<Heard>) -> Begin<W, Work> {
        let now = self.now();
        self.act(|core| {
            // Both change under the lock only.
            let last_media = LastMedia { at: self.last_media.load(Ordering::Relaxed), by_reader: self.by_reader.load(Ordering::Relaxed) };
            let begin = core.begin(who, last_media, heard, now);
            if let Begin::Begun(..) = begin {
                self.last_media.store(now.wall, Ordering::Relaxed);
                self.by_reader.store(false, Ordering::Relaxed);
            }
            begin
        })
    }

    /// Media of this publisher has come: who reads its connection says so, also of what is held back.
    pub(super) fn note_media(&self, generation: Generation, now: UnixNanos) {
        self.see(|core| {
            if core.generation() == generation {
                self.last_media.store(now, Ordering::Relaxed);
                self.by_reader.store(true, Ordering::Relaxed);
            }
        });
    }

    /// A publisher's media has come up to here.
    pub(super) fn note_written(&self, end: UnixNanos) {
        self.written_up_to.fetch_max(end, Ordering::Relaxed);
    }

    /// Where the next publisher's media may begin.
    pub(super) fn written_up_to(&self) -> UnixNanos {
        self.written_up_to.load(Ordering::Relaxed)
    }

    /// Adds or replaces (by code) a warning; a new one is logged.
    pub(super) fn warn(&self, warning: Warning) {
        let (code, message) = (warning.code, warning.message.clone());
        if self.act(|core| core.warn(warning)) == Warned::New {
            tracing::warn!(path = %self.path, code, "{message}");
        }
    }

    /// Sends that publisher away, if it is still there.
    pub(super) fn evict_one(&self, generation: Generation, why: &'static str) {
        self.act(|core| core.evict_one(generation, why));
    }

    /// B-frames were seen; `references`: ones that others refer to.
    pub(super) fn set_reordered(&self, generation: Generation, references: bool) {
        self.act(|core| core.set_reordered(generation, references));
    }

    /// Key frames are far apart.
    pub(crate) fn set_long_gops(&self, generation: Generation) {
        self.act(|core| core.set_long_gops(generation));
    }

    /// A published track has other parameters now.
    pub(super) fn set_format(&self, generation: Generation, format: &Format) {
        if self.act(|core| core.set_format(generation, format)) {
            tracing::info!(path = %self.path, format = %format.codec_string(), "track changed");
        }
    }

    /// The key frame is about to be written that a change of the sound has waited for.
    pub(super) fn change_at_key(&self, generation: Generation) {
        self.act(|core| core.change_at_key(generation));
    }

    /// Keeps the writer of a publisher that goes away while its track stands.
    pub(super) fn park(&self, generation: Generation, codec: Codec, writer: W) {
        // What is given back is dropped outside the lock: its producer closes with it.
        let _of_no_use = self.act(|core| core.park(generation, codec, writer));
    }
}
