//! The publisher's side of a stream: its tracks, and when it has to go.

use std::sync::{Arc, Mutex};

use super::error::PublishError;
use super::live::Stream;
use super::state::State;
use super::table::Table;
use super::writer::{TrackWriter, WriterCore};
use crate::base::{AtDoor, lock};
use crate::codec::Format;
use crate::sfu::{Noun, ProducerId, Router, SfuError};
use crate::stream::core::{Begun, Generation, Replace, Replacement, StreamCore, Track, Warning};
use crate::stream::format_history::FormatHistory;
use crate::timing::Timeline;

/// The publisher's side of a stream. Dropping it begins the reconnect window.
pub(crate) struct Publication {
    table: Arc<Table>,
    stream: Stream,
    generation: Generation,
    taken_over: bool,
    timeline: Arc<Mutex<Timeline>>,
    /// Until its first track is there.
    at_door: Option<AtDoor<(Stream, Generation)>>,
}

impl std::fmt::Debug for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publication").field("stream", &self.stream).field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Publication {
    pub(super) fn new(table: Arc<Table>, stream: Stream, begun: Begun, at_door: Option<AtDoor<(Stream, Generation)>>) -> Self {
        let timeline = Arc::new(Mutex::new(Timeline::starting_after(begun.media_end.max(stream.state().written_up_to()))));
        Self { table, stream, generation: begun.generation, taken_over: begun.taken_over, timeline, at_door }
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether another publisher had to go for this one.
    pub(crate) fn has_taken_over(&self) -> bool {
        self.taken_over
    }

    /// The router on which this stream lives: a WebRTC publisher's transport is made here.
    pub(crate) fn router(&self) -> &Router {
        self.stream.home()
    }

    /// Adds a track fed with access units. A track of the same kind from before a reconnect is continued.
    pub(crate) async fn add_track(&mut self, format: Format) -> Result<TrackWriter, PublishError> {
        let parked = self.stream.state().act(|core| core.unpark(self.generation, format.codec()));
        let core = match parked {
            Some(mut core) => {
                core.set_format(format.clone());
                core
            }
            None => {
                let chance = self.stream.shared().lots.draw();
                WriterCore::new(self.stream.home(), format.clone(), self.stream.path().as_str(), chance).await?
            }
        };
        let put = self.put(core.producer(), format, Some(core.formats().clone())).await;
        self.unless_sent_away(put).await?;
        let track = lock(&self.timeline).add_track();
        let (state, max_bitrate) = (self.stream.state().clone(), self.stream.shared().config.max_bitrate);
        Ok(TrackWriter::published(core, state, self.generation, self.timeline.clone(), track, max_bitrate))
    }

    /// Adds a track that is an SFU producer on `router()` (a WebRTC publisher's). From here on the producer is the stream's: it
    /// stays when its transport closes, so that viewers go on with the publisher that returns.
    pub(crate) async fn add_producer(&mut self, producer: ProducerId, format: Format) -> Result<(), PublishError> {
        self.stream.home().keep_producer(producer).await?;
        let put = self.put(producer, format, None).await;
        self.unless_sent_away(put).await
    }

    /// Says why it was sent away, where that is why a track can't be put.
    async fn unless_sent_away<T>(&self, put: Result<T, SfuError>) -> Result<T, PublishError> {
        match put {
            Err(SfuError::NotFound(Noun::Publication)) => Err(PublishError::SentAway(self.evicted().await)),
            other => Ok(other?),
        }
    }

    /// Puts a track on the stream in the place of the one of its kind, whose consumers go on with it if they can decode it.
    async fn put(&mut self, producer: ProducerId, format: Format, formats: Option<FormatHistory>) -> Result<(), SfuError> {
        let (place, old) = self.place_for(&format).await?;
        let home = self.stream.home();
        let mut handed_over = None;
        if let Some(old) = old.filter(|old| old.producer != producer) {
            if old.format.codec() == format.codec() && home.replace_producer(old.producer, producer).await.is_ok() {
                handed_over = Some(old.producer);
            } else {
                home.close_producer(old.producer).await;
            }
        }
        let track = Track::new(format, producer);
        let Some(actions) =
            place.take(|state, replacement| state.act(|core| core.put(replacement, track, formats, handed_over, state.now().at)))
        else {
            home.close_producer(producer).await;
            return Err(SfuError::NotFound(Noun::Publication));
        };
        self.table.carry_out(&self.stream, actions);
        self.at_door = None;
        Ok(())
    }

    /// The place of a track on the stream, once nobody else is at it, and the track that has it.
    async fn place_for(&self, format: &Format) -> Result<(Place, Option<Track>), SfuError> {
        let state = self.stream.state();
        loop {
            let (replace, seen) = state.act(|core| (core.replace(self.generation, format.kind()), core.version()));
            match replace {
                Replace::Begun(replacement, old) => return Ok((Place { state: state.clone(), replacement: Some(replacement) }, old)),
                Replace::Wait => drop(state.changed(seen).await),
                Replace::Gone => return Err(SfuError::NotFound(Noun::Publication)),
            }
        }
    }

    /// Its media has come, read or held back: it is alive.
    pub(crate) fn note_media(&self) {
        let state = self.stream.state();
        state.note_media(self.generation, state.now().wall);
    }

    /// It has said all there is, and somebody waits for its place: what is left is to be written soon.
    pub(crate) fn hurry(&self) {
        lock(&self.timeline).hurry();
        self.stream.state().act(|core| core.note_end(self.generation));
    }

    /// Whether somebody waits for its place.
    pub(crate) fn is_asked_for(&self) -> bool {
        let state = self.stream.state();
        state.see(|core| core.is_asked_for(state.now().wall))
    }

    /// Waits until somebody waits for its place. Cancel safe.
    pub(crate) async fn asked_for(&self) {
        let mut seen = 0;
        while !self.is_asked_for() {
            match self.stream.state().changed(seen).await {
                Some(count) => seen = count,
                None => std::future::pending().await,
            }
        }
    }

    /// Whether somebody gets what is published as it comes: whoever watches by WebRTC or RTMP does, segments don't.
    pub(crate) fn is_watched(&self) -> bool {
        self.stream.state().see(StreamCore::is_watched)
    }

    /// Adds (or replaces, by code) a warning shown on the page and in the API.
    pub(crate) fn warn(&self, warning: Warning) {
        self.stream.warn(warning);
    }

    /// Waits until this publication must end (taken over, kicked by the operator, server shutting down); says why. Cancel safe.
    pub(crate) async fn evicted(&self) -> &'static str {
        let state = self.stream.state();
        let mut seen = 0;
        loop {
            if let Some(why) = state.see(|core| core.must_go(self.generation)) {
                return why;
            }
            seen = state.changed(seen).await.unwrap_or(seen);
        }
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        tracing::info!(path = %self.stream.path(), "publisher gone");
        let state = self.stream.state();
        self.table.carry_out(&self.stream, state.act(|core| core.leave(self.generation, state.now())));
    }
}

/// A track is taking its place. Dropping it says that it did not come to that.
struct Place {
    state: Arc<State<WriterCore>>,
    replacement: Option<Replacement>,
}

impl Place {
    fn take<R>(mut self, put: impl FnOnce(&State<WriterCore>, Replacement) -> Option<R>) -> Option<R> {
        let replacement = self.replacement.take()?;
        put(&self.state, replacement)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(replacement) = &self.replacement {
            self.state.act(|core| core.abandon(replacement));
        }
    }
}
