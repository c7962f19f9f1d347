//! Decides what of a stream goes into which recording.
//!
//! In: the events of a segmenter, and the time. Out: calls of [`Writer`]; the catalogue is kept up to date. A recording begins
//! with a segment on all tracks, and one that gets too long is followed by the next without a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::base::{Chance, StreamPath, UnixNanos};
use crate::cmaf::{Chunk, TrackInit};

use super::catalogue::Catalogue;
use super::driver::Writer;
use super::driver::store::Store;
use super::error::RecordError;
use super::retention::StopReason;

/// Most epochs in one recording: a publisher that comes and goes every 10 s for 12 hours has as many, and readers count
/// files in 16 bits. The next recording follows.
const MAX_EPOCHS: usize = 4096;

/// Most tracks in one recording: a picture, its layers and a few languages.
const MAX_TRACKS: usize = 16;

/// How many segments pass before a recording that failed is tried again: about half a minute, so that a full disk is neither
/// hammered nor the log filled.
const RETRY_SEGMENTS: u64 = 15;

/// How many segments a track may be behind the others where one recording follows another: more than a GOP that segments are cut in, and
/// than what is flushed at a stream's end. Its chunks go into the recording that ends until then; a track that comes no more
/// doesn't hold the files open for longer.
const MAX_BEHIND: u64 = 16;

/// What the segmenter of a stream says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub(crate) enum RecordEvent {
    Init(TrackInit),
    /// A chunk of the epoch announced before.
    Chunk(Chunk),
    /// The stream is over.
    End,
}

/// What all sessions share: whether there is room to record, as the janitor says, and how many recordings an error has ended.
#[derive(Debug, Default)]
pub(super) struct Room {
    stop: AtomicU8,
    failed: AtomicU64,
}

impl Room {
    pub(super) fn set(&self, stop: Option<StopReason>) {
        let code = match stop {
            None => 0,
            Some(StopReason::MaxBytes) => 1,
            Some(StopReason::DiskFull) => 2,
        };
        self.stop.store(code, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<StopReason> {
        match self.stop.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(StopReason::MaxBytes),
            _ => Some(StopReason::DiskFull),
        }
    }

    /// How many recordings an error has ended, or kept from beginning.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// The recording side of one stream.
#[derive(Debug)]
pub(super) struct Session {
    store: Store,
    catalogue: Arc<Catalogue>,
    room: Arc<Room>,
    path: StreamPath,
    /// How long a recording may be, in milliseconds: one that gets too long is followed by the next, one that ends too short goes.
    lengths: RangeInclusive<u64>,
    /// EXT-X-TARGETDURATION of what is recorded, in seconds.
    target_duration: u64,
    inits: BTreeMap<u32, Arc<TrackInit>>,
    current: Option<Current>,
    closing: Option<Closing>,
    /// After a failure of the disk: the segment with which a new try may begin.
    retry_from: Option<u64>,
    /// A recording has begun, ever.
    begun: bool,
    bad_chunks: u64,
    /// Names what begins.
    chance: Chance,
}

#[derive(Debug)]
struct Current {
    writer: Writer,
    /// The first segment in it.
    from: u64,
    /// It goes on with what one before began.
    follows: bool,
    /// Tracks whose beginning has come.
    tracks: BTreeSet<u32>,
}

/// A recording that goes on for some tracks, because the next one has begun on another: each track moves with a segment that plays
/// from its beginning.
#[derive(Debug)]
struct Closing {
    writer: Writer,
    /// The first segment of the next one.
    until: u64,
    /// The newest segment in it.
    newest: u64,
    /// Tracks that have not moved yet.
    tracks: BTreeSet<u32>,
}

impl Session {
    pub(super) fn new(
        store: Store,
        catalogue: Arc<Catalogue>,
        room: Arc<Room>,
        path: StreamPath,
        lengths: RangeInclusive<u64>,
        target_duration: u64,
        chance: Chance,
    ) -> Self {
        let (inits, current, closing, retry_from) = (BTreeMap::new(), None, None, None);
        let (begun, bad_chunks) = (false, 0);
        Self { store, catalogue, room, path, lengths, target_duration, inits, current, closing, retry_from, begun, bad_chunks, chance }
    }

    /// Takes one event. Errors end the recording, not the session: it tries again about half a minute later.
    pub(super) fn handle(&mut self, event: RecordEvent, now: UnixNanos) {
        match event {
            RecordEvent::Init(init) if self.inits.len() >= MAX_TRACKS && !self.inits.contains_key(&init.track) => {
                tracing::warn!(path = %self.path, track = init.track, "more than {MAX_TRACKS} tracks: this one is not recorded");
            }
            RecordEvent::Init(init) => {
                self.inits.insert(init.track, Arc::new(init));
            }
            RecordEvent::Chunk(chunk) => {
                if let Err(error) = self.chunk(&chunk, now) {
                    self.fail(&error, chunk.segment, now);
                }
            }
            RecordEvent::End => self.end(now),
        }
    }

    /// Notes in the catalogue how far the recording is.
    pub(super) fn report(&self) {
        if let Some(current) = &self.current {
            self.catalogue.put(current.writer.meta());
        }
    }

    /// The stream is over, or the server is.
    pub(super) fn end(&mut self, now: UnixNanos) {
        self.finish_closing(now);
        if let Some(current) = self.current.take() {
            let least = if current.follows { 0 } else { *self.lengths.start() };
            self.finish(current.writer, None, least, now);
        }
    }

    fn chunk(&mut self, chunk: &Chunk, now: UnixNanos) -> Result<(), RecordError> {
        let Some(init) = self.inits.get(&chunk.track).filter(|init| init.epoch == chunk.epoch).cloned() else { return Ok(()) };
        if let Some(reason) = self.room.get() {
            return if self.current.is_some() { Err(RecordError::Stopped(reason)) } else { Ok(()) };
        }
        let begins = chunk.first && chunk.independent;
        if let Some(closing) = &mut self.closing {
            let moves = begins && chunk.segment >= closing.until;
            if !moves && closing.tracks.contains(&chunk.track) {
                closing.newest = closing.newest.max(chunk.segment);
                return put(&mut closing.writer, &init, chunk, now, &mut self.bad_chunks);
            }
            closing.tracks.remove(&chunk.track);
            if closing.tracks.is_empty() || chunk.segment > closing.newest + MAX_BEHIND {
                self.finish_closing(now);
            }
        }
        if let Some(current) = &self.current {
            let full = current.writer.duration_ms() >= *self.lengths.end() || current.writer.epochs() >= MAX_EPOCHS;
            if full && begins && chunk.segment > current.from && self.closing.is_none() {
                self.roll_over(chunk);
            }
        }
        let current = match &mut self.current {
            Some(current) => current,
            None if begins && self.retry_from.is_none_or(|from| chunk.segment >= from) => {
                let started_at = if chunk.wallclock > 0 { chunk.wallclock } else { now };
                let writer = Writer::create(&self.store, &self.path, now, started_at, self.target_duration, &mut self.chance)?;
                tracing::info!(path = %self.path, recording = %writer.meta().id, "recording starts");
                self.catalogue.put(writer.meta());
                self.retry_from = None;
                // A stream's first one has all of it, also where another track begins earlier: publishers' tracks lie up to ten seconds apart.
                let from = if std::mem::replace(&mut self.begun, true) { chunk.segment } else { 0 };
                self.current.insert(Current { writer, from, follows: self.closing.is_some(), tracks: BTreeSet::new() })
            }
            None => return Ok(()),
        };
        if !current.tracks.contains(&chunk.track) {
            if !begins || chunk.segment < current.from {
                return Ok(());
            }
            current.tracks.insert(chunk.track);
        }
        put(&mut current.writer, &init, chunk, now, &mut self.bad_chunks)
    }

    fn roll_over(&mut self, chunk: &Chunk) {
        if let Some(full) = self.current.take() {
            let mut tracks = full.tracks;
            tracks.remove(&chunk.track);
            self.closing = Some(Closing { writer: full.writer, until: chunk.segment, newest: chunk.segment, tracks });
        }
    }

    fn finish_closing(&mut self, now: UnixNanos) {
        if let Some(closing) = self.closing.take() {
            self.finish(closing.writer, None, 0, now);
        }
    }

    fn fail(&mut self, error: &RecordError, segment: u64, now: UnixNanos) {
        tracing::warn!(path = %self.path, %error, "recording ends by an error; the stream itself goes on");
        self.room.failed.fetch_add(1, Ordering::Relaxed);
        self.retry_from = Some(segment.saturating_add(RETRY_SEGMENTS));
        self.finish_closing(now);
        if let Some(current) = self.current.take() {
            self.finish(current.writer, Some(error), 0, now);
        }
    }

    /// Closes a recording and keeps it, if something plays and that is at least so many milliseconds long.
    fn finish(&self, writer: Writer, error: Option<&RecordError>, least: u64, now: UnixNanos) {
        let meta = writer.finish(error, now);
        tracing::info!(path = %self.path, recording = %meta.id, duration_ms = meta.duration_ms, bytes = meta.bytes, "recording ends");
        if meta.tracks.is_empty() || meta.duration_ms == 0 || meta.duration_ms < least {
            self.catalogue.remove(&meta.id);
            self.store
                .delete(&meta.id)
                .unwrap_or_else(|error| tracing::warn!(recording = %meta.id, %error, "an empty or short recording can't be removed"));
        } else {
            self.catalogue.put(meta);
        }
    }
}

/// A chunk that isn't CMAF is left out; the recording goes on.
fn put(writer: &mut Writer, init: &TrackInit, chunk: &Chunk, now: UnixNanos, bad: &mut u64) -> Result<(), RecordError> {
    match writer.chunk(init, chunk, now) {
        Err(RecordError::Media(error)) => {
            *bad += 1;
            // One line per power of two: a segmenter gone wrong must not fill the log.
            if bad.is_power_of_two() {
                tracing::warn!(track = chunk.track, segment = chunk.segment, count = *bad, %error, "a chunk can't be recorded and is left out");
            }
            Ok(())
        }
        other => other,
    }
}
