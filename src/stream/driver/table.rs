//! The table of live streams, and who hears of them.

use std::collections::BTreeMap;
use std::sync::RwLock;

use tokio::sync::broadcast;

use super::live::Stream;
use super::state::Action;
use super::writer::WriterCore;
use crate::base::{StreamPath, read, write};
use crate::stream::core::{Event, StreamCore};

/// Events kept for a receiver that lags. Streams begin and end rarely; a receiver this far behind looks at `streams()` again.
const EVENT_QUEUE: usize = 256;

/// What a publisher hears whose first track comes when the server is full.
const TOO_MANY: &str = "the server has reached its limit of streams (stream.max_streams)";

/// What happens to streams.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub(crate) enum StreamEvent {
    /// A path is live (the first track is there). Followed by `Ended` once the reconnect window has passed without a publisher.
    Started(Stream),
    /// The publisher went away or came back.
    PublisherChanged(#[expect(dead_code, reason = "who listens so far asks for beginnings only")] Stream),
    Ended(#[cfg_attr(not(test), expect(dead_code, reason = "who listens so far asks for beginnings only"))] StreamPath),
}

/// How many of them have a track.
fn begun(streams: &BTreeMap<StreamPath, Stream>) -> usize {
    streams.values().filter(|stream| stream.has_started()).count()
}

/// The streams by path, also those that have no track yet.
pub(super) struct Table {
    /// Most that have a track. Of the others there are as many as there are publishers at the hub's door.
    max: usize,
    streams: RwLock<BTreeMap<StreamPath, Stream>>,
    events: broadcast::Sender<StreamEvent>,
}

impl Table {
    pub(super) fn new(max: usize) -> Self {
        Self { max, streams: RwLock::default(), events: broadcast::channel(EVENT_QUEUE).0 }
    }

    pub(super) fn get(&self, path: &StreamPath) -> Option<Stream> {
        read(&self.streams).get(path).cloned()
    }

    pub(super) fn all(&self) -> Vec<Stream> {
        read(&self.streams).values().cloned().collect()
    }

    /// Calls with whether it is empty, which does not change meanwhile.
    pub(super) fn while_empty<R>(&self, what: impl FnOnce(bool) -> R) -> R {
        let streams = read(&self.streams);
        what(streams.is_empty())
    }

    /// Lists a stream, or gives the one that was listed at its path meanwhile. `None` where as many have begun as there may be.
    pub(super) fn list(&self, stream: Stream) -> Option<Stream> {
        let mut streams = write(&self.streams);
        if let Some(known) = streams.get(stream.path()) {
            return Some(known.clone());
        }
        if begun(&streams) >= self.max {
            return None;
        }
        streams.insert(stream.path().clone(), stream.clone());
        Some(stream)
    }

    pub(super) fn events(&self) -> broadcast::Receiver<StreamEvent> {
        self.events.subscribe()
    }

    /// Does what the stream has decided.
    pub(super) fn carry_out(&self, stream: &Stream, actions: Vec<Action<WriterCore>>) {
        for event in stream.carry_out(actions) {
            let event = match event {
                Event::Started if begun(&read(&self.streams)) > self.max => {
                    stream.evict(TOO_MANY);
                    self.end(stream);
                    continue;
                }
                Event::Started => {
                    tracing::info!(path = %stream.path(), "stream started");
                    StreamEvent::Started(stream.clone())
                }
                Event::PublisherChanged => StreamEvent::PublisherChanged(stream.clone()),
                Event::Ended { had_started } => {
                    self.take_off(stream);
                    if !had_started {
                        continue;
                    }
                    tracing::info!(path = %stream.path(), "stream ended");
                    StreamEvent::Ended(stream.path().clone())
                }
            };
            let _ = self.events.send(event); // nobody listening is fine
        }
    }

    /// Takes a stream that has ended off the table.
    pub(super) fn take_off(&self, stream: &Stream) {
        let mut streams = write(&self.streams);
        if streams.get(stream.path()).is_some_and(|listed| listed.is_same(stream)) {
            streams.remove(stream.path());
        }
    }

    /// Ends a stream at once.
    pub(super) fn end(&self, stream: &Stream) {
        self.carry_out(stream, stream.state().act(StreamCore::end));
    }

    /// Does what is due, until the stream has ended.
    pub(super) async fn keep(&self, stream: &Stream) {
        while let Some(actions) = stream.state().due().await {
            self.carry_out(stream, actions);
        }
    }
}
