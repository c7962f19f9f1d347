//! The publisher's side of a stream: its tracks, and when it has to go.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::hub::{Hub, PublishError, PublishRequest, StreamEvent};
use super::live::{Entry, Publisher, Stream, Track, Warning};
use super::unix_now;
use super::writer::{TrackWriter, WriterCore};
use crate::base::lock;
use crate::codec::Format;
use crate::codec::h264::parse_sps;
use crate::sfu::{ProducerId, Router, SfuError};
use crate::stream::format_history::FormatHistory;
use crate::stream::timeline::Timeline;

/// How long a returning publisher has to bring back each of the tracks it had; what is missing then is taken off the stream.
/// Encoders send all their sequence headers within the first second.
const TRACKS_RETURN_WITHIN: Duration = Duration::from_secs(5);

/// The publisher's side of a stream. Dropping it begins the reconnect window.
#[derive(Debug)]
pub struct Publication {
    stream: Stream,
    generation: u64,
    timeline: Arc<Mutex<Timeline>>,
    evicted: watch::Receiver<Option<&'static str>>,
}

impl Publication {
    /// Takes the publisher's place on `stream`; whoever held it is sent away.
    pub(super) fn begin(hub: Hub, stream: Stream, request: PublishRequest) -> Result<Self, PublishError> {
        let (evict, evicted) = watch::channel(None);
        let (generation, floor) = {
            let mut state = stream.state();
            if state.ended {
                return Err(PublishError::Busy(request.path)); // ended this very moment: the publisher tries again
            }
            state.generation += 1;
            tracing::info!(path = %request.path, protocol = request.protocol, remote = ?request.remote, agent = ?request.agent,
                returning = state.generation > 1, "publisher connected");
            state.warnings.clear();
            if let Some(old) = state.publisher.replace(Publisher { request, since: unix_now(), evict }) {
                old.evict.send_replace(Some("another publisher took over"));
            }
            (state.generation, state.media_end)
        };
        stream.note_media(unix_now());
        stream.touch();
        if stream.has_started() {
            hub.announce(StreamEvent::PublisherChanged(stream.clone()));
            let stream = stream.clone();
            tokio::spawn(async move {
                tokio::time::sleep(TRACKS_RETURN_WITHIN).await;
                stream.drop_tracks_before(generation).await;
            });
        }
        Ok(Self { stream, generation, timeline: Arc::new(Mutex::new(Timeline::starting_after(floor))), evicted })
    }

    /// The stream.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The router on which this stream lives: a WebRTC publisher's transport is made here.
    pub fn router(&self) -> &Router {
        &self.stream.0.home
    }

    /// Adds a track fed with access units. A track of the same kind from before a reconnect is continued.
    pub async fn add_track(&mut self, format: Format) -> Result<TrackWriter, SfuError> {
        let kind = format.kind();
        let parked = {
            let mut state = self.stream.state();
            let at = state.parked.iter().position(|core| core.kind() == kind);
            at.map(|at| state.parked.swap_remove(at)).filter(|core| core.codec() == format.codec())
        };
        let core = match parked {
            Some(mut core) => {
                core.set_format(format.clone());
                core
            }
            None => WriterCore::new(&self.stream.0.home, format.clone(), self.stream.path().as_str()).await?,
        };
        self.put(core.producer(), format, Some(core.formats().clone())).await?;
        let track = lock(&self.timeline).add_track();
        Ok(TrackWriter::published(core, self.stream.clone(), self.generation, self.timeline.clone(), track))
    }

    /// Adds a track that is an SFU producer on `router()` (a WebRTC publisher's). From here on the producer is the stream's: it
    /// stays when its transport closes, so that viewers go on with the publisher that returns.
    pub async fn add_producer(&mut self, producer: ProducerId, format: Format) -> Result<(), SfuError> {
        let kind = format.kind();
        self.stream.0.home.keep_producer(producer).await?;
        let put = self.put(producer, format, None).await;
        // A writer from before is let go of only now: its producer, which closes with it, has been replaced.
        let parked = {
            let mut state = self.stream.state();
            let at = state.parked.iter().position(|core| core.kind() == kind);
            at.map(|at| state.parked.swap_remove(at))
        };
        drop(parked);
        put
    }

    /// Puts a track on the stream in the place of the one of its kind, whose consumers go on with it if they can decode it.
    async fn put(&mut self, producer: ProducerId, format: Format, formats: Option<FormatHistory>) -> Result<(), SfuError> {
        let old = {
            let state = self.stream.state();
            if state.ended || state.generation != self.generation {
                return Err(SfuError::NotFound("publication"));
            }
            state.tracks.iter().find(|entry| entry.track.kind == format.kind()).map(|entry| entry.track.clone())
        };
        let home = &self.stream.0.home;
        let replacing = self.stream.replacing();
        if let Some(old) = old.filter(|old| old.producer != producer) {
            let goes_on = old.format.codec() == format.codec() && home.replace_producer(old.producer, producer).await.is_ok();
            if goes_on {
                self.stream.derived_go_on_with(old.producer, producer);
            } else {
                home.close_producer(old.producer).await;
            }
        }
        {
            let mut state = self.stream.state();
            let reordered = declares_reordering(&format);
            let entry = Entry {
                track: Track { kind: format.kind(), format, reordered, references_reordered: false, producer },
                generation: self.generation,
                formats,
            };
            match state.tracks.iter_mut().find(|known| known.track.kind == entry.track.kind) {
                Some(known) => {
                    // What a publisher sends does not follow on what was sent before it came.
                    if let Some(formats) = &entry.formats {
                        formats.mark();
                    }
                    *known = entry;
                }
                None => state.tracks.push(entry),
            }
            state.tracks.sort_by_key(|entry| std::cmp::Reverse(entry.track.kind)); // video first
        }
        drop(replacing); // and everybody is told
        self.stream.announce_start();
        Ok(())
    }

    /// Adds (or replaces, by code) a warning shown on the page and in the API.
    pub fn warn(&self, warning: Warning) {
        self.stream.warn(warning);
    }

    /// Waits until this publication must end (taken over, kicked by the operator, server shutting down); says why. Cancel safe.
    pub async fn evicted(&self) -> &'static str {
        let mut evicted = self.evicted.clone();
        match evicted.wait_for(Option::is_some).await {
            Ok(why) => why.unwrap_or("the stream has ended"),
            Err(_) => "the stream has ended",
        }
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        tracing::info!(path = %self.stream.path(), "publisher gone");
        self.stream.publisher_left(self.generation);
    }
}

/// Whether the parameter sets say that pictures come in another order than they are shown in. Where they say nothing (encoders
/// without VUI) it is seen from the times of the pictures: guessing would transcode for nothing.
fn declares_reordering(format: &Format) -> bool {
    let Format::H264 { sps, .. } = format else { return false };
    let info = sps.first().and_then(|sps| parse_sps(sps).ok());
    info.is_some_and(|info| info.max_reorder.is_some_and(|pictures| pictures > 0))
}
