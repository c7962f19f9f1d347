//! One track that goes out: a cursor into its producer's packets, and when it may move.
//!
//! In: the producer's store and time. Out: which packets to send now, and when to look again.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::id::ConsumerId;
use super::requests::Requests;
use super::sender::Sender;
use super::store::PacketStore;
use crate::base::MediaKind;

/// Distance between the pictures of a fast start: a GOP of 8 s reaches the viewer within half a second. Chromium catches up later where all
/// comes at once (docs/performance.md).
const FAST_START_PACE: Duration = Duration::from_millis(2);
/// How much of a late timer is made up for in a fast start: five pictures at once.
const MAX_LATENESS: Duration = Duration::from_millis(10);
/// How long a source that may not be able to answer has for a key frame before the viewer is started again from the cache.
const SOURCE_ANSWERS_WITHIN: Duration = Duration::from_millis(400);
/// How soon a reader whose queue was full is tried again when no new packet comes.
const RETRY: Duration = Duration::from_millis(20);

/// Where a consumer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its transport isn't connected yet, or it is paused.
    Idle,
    /// Nothing can be decoded until a key frame comes.
    AwaitKeyFrame,
    /// Sends what is in the cache, a picture at a time.
    CatchingUp {
        /// When the next one is due.
        next: Instant,
    },
    /// Sends what comes.
    Live,
}

/// How packets leave.
#[derive(Debug)]
pub(super) enum Outlet {
    /// As RTP to a peer.
    Network {
        /// Slab key of the transport.
        transport: usize,
        /// Numbers, header extensions, retransmissions.
        sender: Box<Sender>,
    },
    /// As batches, to this process or to another worker.
    Batches {
        /// Whether it feeds a copy of the producer on another router.
        pipe: bool,
        /// Version of the producer's clock mapping that was given last.
        clock_version: Option<u32>,
    },
}

/// What to send now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// Indexes in the producer's store.
    pub packets: Range<u64>,
    /// The first of them does not follow on what was sent before: numbers go on from it.
    pub resume: bool,
}

/// A track that goes out.
#[derive(Debug)]
pub(super) struct Consumer {
    pub id: ConsumerId,
    /// Slab key of its producer.
    pub producer: usize,
    /// Audio or video.
    pub kind: MediaKind,
    /// How packets leave.
    pub outlet: Outlet,
    pub phase: Phase,
    /// Whether its owner paused it.
    pub paused: bool,
    /// Leave out disposable pictures.
    pub drop_disposable: bool,
    /// Begin with all that is still held and can be decoded, not with the next packet of sound and the last key frame.
    pub from_history: bool,
    /// Whether the worker has it on its list of consumers to wake.
    pub listed: bool,
    /// Times it lost its place in the store.
    pub fell_behind: u64,
    cursor: u64,
    started: bool,
    resume: bool,
    restart_at: Option<(Instant, u64)>,
    /// What of its key-frame requests is followed.
    pub requests: Requests,
    retry_at: Option<Instant>,
}

impl Consumer {
    pub(super) fn new(id: ConsumerId, producer: usize, kind: MediaKind, outlet: Outlet) -> Self {
        Self {
            id,
            producer,
            kind,
            outlet,
            phase: Phase::Idle,
            paused: false,
            drop_disposable: false,
            from_history: false,
            listed: false,
            fell_behind: 0,
            cursor: 0,
            started: false,
            resume: true,
            restart_at: None,
            requests: Requests::new(),
            retry_at: None,
        }
    }

    /// May send from now on. Whether a key frame has to be asked for. Audio begins with the next packet; video with the cached
    /// key frame if there is one (`fast_start`), or where it stopped if nothing was lost since. `from_history`: with all that is held.
    pub(super) fn start(&mut self, now: Instant, store: &PacketStore, fast_start: bool) -> bool {
        if self.paused || self.phase != Phase::Idle {
            return false;
        }
        self.resume = true;
        if self.kind == MediaKind::Audio {
            self.cursor = if self.from_history { store.begin() } else { store.end() };
            self.phase = Phase::Live;
            return false;
        }
        if self.started && self.cursor >= store.begin() && store.key_frame().is_none_or(|key| key <= self.cursor) {
            self.phase = Phase::CatchingUp { next: now };
            return false;
        }
        self.phase = Phase::AwaitKeyFrame;
        self.cursor = if fast_start || self.from_history { store.begin() } else { store.end() };
        self.cached_key_frame(store).is_none()
    }

    /// Sends nothing until the next [`Self::start`].
    pub(super) fn stop(&mut self) {
        self.phase = Phase::Idle;
        (self.restart_at, self.retry_at) = (None, None);
    }

    /// Its producer was replaced: goes on with the next key frame of the new one (or the cached one).
    pub(super) fn switch(&mut self, producer: usize, store: &PacketStore) {
        (self.producer, self.started, self.resume) = (producer, false, true);
        (self.restart_at, self.retry_at) = (None, None);
        self.requests.forget_key_frames();
        if let Outlet::Batches { clock_version, .. } = &mut self.outlet {
            *clock_version = None;
        }
        if self.phase == Phase::Idle {
            return;
        }
        let video = self.kind == MediaKind::Video;
        self.cursor = if video { store.begin() } else { store.end() };
        self.phase = if video { Phase::AwaitKeyFrame } else { Phase::Live };
    }

    fn cached_key_frame(&self, store: &PacketStore) -> Option<u64> {
        let key = if self.from_history { store.oldest_key_frame() } else { store.key_frame() };
        key.filter(|key| *key >= self.cursor)
    }

    /// The viewer can't decode and asks for a key frame, which the source may not be able to make: if none comes, the viewer is
    /// started again from the cache.
    pub(super) fn restart_unless_answered(&mut self, now: Instant, store: &PacketStore) {
        if self.phase == Phase::Live && self.restart_at.is_none() && self.requests.may_restart(now) {
            self.restart_at = Some((now + SOURCE_ANSWERS_WITHIN, store.end()));
        }
    }

    /// When [`Self::next_run`] has something to do without new packets.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let paced = match self.phase {
            Phase::CatchingUp { next } => Some(next),
            _ => None,
        };
        [paced, self.restart_at.map(|(at, _)| at), self.retry_at].into_iter().flatten().min()
    }

    /// The reader's queue was full: what [`Self::next_run`] gave was not sent.
    pub(super) fn put_back(&mut self, now: Instant, run: &Run) {
        (self.cursor, self.resume) = (run.packets.start, run.resume);
        self.retry_at = Some(now + RETRY);
    }

    /// Only what lies before this index of what [`Self::next_run`] gave was sent.
    pub(super) fn go_back_to(&mut self, index: u64) {
        self.cursor = index;
    }

    /// What to send now. Call until `None`.
    pub(super) fn next_run(&mut self, now: Instant, store: &PacketStore) -> Option<Run> {
        self.retry_at = self.retry_at.filter(|at| now < *at);
        if let Some((_, asked_at)) = self.restart_at.filter(|(at, _)| now >= *at) {
            self.restart_at = None;
            if let Some(key) = store.key_frame().filter(|key| self.phase == Phase::Live && *key < asked_at) {
                self.requests.restarted(now, key);
                (self.cursor, self.resume, self.phase) = (key, true, Phase::CatchingUp { next: now });
            }
        }
        let mut end = store.end();
        if matches!(self.phase, Phase::Live | Phase::CatchingUp { .. }) && self.cursor < store.begin() {
            self.fell_behind += 1;
            self.resume = true;
            self.cursor = store.begin();
            self.phase = if self.kind == MediaKind::Video { Phase::AwaitKeyFrame } else { Phase::Live };
        }
        match self.phase {
            Phase::Idle => return None,
            Phase::AwaitKeyFrame => {
                self.cursor = self.cached_key_frame(store)?;
                self.resume = true;
                self.phase = Phase::CatchingUp { next: now };
                return self.next_run(now, store);
            }
            Phase::CatchingUp { next } => {
                if now < next && self.paced() {
                    return None;
                }
                if let Some(key) = store.key_frame().filter(|key| *key > self.cursor && !self.from_history) {
                    // What lies before a newer key frame would only hold it up.
                    (self.cursor, self.resume) = (key, true);
                }
                if self.paced() {
                    let timestamp = store.get(self.cursor).map(|packet| packet.timestamp);
                    end = (self.cursor..end).find(|index| store.get(*index).map(|packet| packet.timestamp) != timestamp).unwrap_or(end);
                }
                // Timers fire late: what is due since then goes out together, but never much at once.
                let earliest = now.checked_sub(MAX_LATENESS).unwrap_or(now);
                self.phase =
                    if end == store.end() { Phase::Live } else { Phase::CatchingUp { next: next.max(earliest) + FAST_START_PACE } };
            }
            Phase::Live => {}
        }
        if self.cursor >= end {
            return None;
        }
        let run = Run { packets: self.cursor..end, resume: self.resume };
        (self.cursor, self.resume, self.started) = (end, false, true);
        Some(run)
    }

    fn paced(&self) -> bool {
        matches!(self.outlet, Outlet::Network { .. })
    }

    /// Whether nothing can be sent before a key frame comes.
    pub(super) fn needs_key_frame(&self) -> bool {
        self.phase == Phase::AwaitKeyFrame
    }
}
