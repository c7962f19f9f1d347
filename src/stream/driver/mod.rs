//! The hub of live streams, for async callers.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::base::{MediaKind, StreamPath, UnixNanos};
use crate::codec::{AccessUnit, Codec, Format};
use crate::sfu::{DirectConsumer, ProducerId, Router, SfuError};

/// Somebody wants to publish.
#[derive(Debug, Clone)]
pub struct PublishRequest {
    /// Where.
    pub path: StreamPath,
    /// By which protocol: `"rtmp"`, `"whip"`.
    pub protocol: &'static str,
    /// From where.
    pub remote: Option<IpAddr>,
    /// What the publisher calls itself (`flashVer`, `User-Agent`), at most 200 characters are kept.
    pub agent: Option<String>,
    /// The key it showed (`?token=`, `?key=`, Bearer), checked against the configured publish keys.
    pub key: Option<String>,
}

/// Why publishing was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Somebody else publishes there and is alive.
    #[error("{0} is being published already")]
    Busy(StreamPath),
    /// The key is missing or wrong.
    #[error("publishing to {0} needs the right key")]
    Forbidden(StreamPath),
    /// The bound on streams is reached.
    #[error("the server has reached its limit of {0} streams (limits.streams)")]
    TooManyStreams(usize),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The SFU could not.
    #[error(transparent)]
    Sfu(#[from] SfuError),
}

/// Something about a stream that its publisher could do better, for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// For machines: `b_frames`, `transcoding_audio` …
    pub code: &'static str,
    /// For people: what it means and what to change.
    pub message: String,
}

/// What happens to streams.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StreamEvent {
    /// A path is live (the first track is there). Followed by `Ended` once the reconnect window has passed without a publisher.
    Started(Stream),
    /// The publisher went away or came back.
    PublisherChanged(Stream),
    /// The stream is over.
    Ended(StreamPath),
}

/// The table of live streams. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hub {}

impl Hub {
    /// Begins (or, within the reconnect window, continues) a stream.
    pub async fn publish(&self, request: PublishRequest) -> Result<Publication, PublishError> {
        let _ = request;
        todo!()
    }

    /// The live stream at `path`.
    pub fn stream(&self, path: &StreamPath) -> Option<Stream> {
        let _ = path;
        todo!()
    }

    /// All live streams, by path.
    pub fn streams(&self) -> Vec<Stream> {
        todo!()
    }

    /// Whether somebody showing `token` may watch `path` (configured viewer tokens; true where none is configured).
    pub fn may_view(&self, path: &StreamPath, token: Option<&str>) -> bool {
        let _ = (path, token);
        todo!()
    }

    /// Events from now on. Bounded: a receiver that lags must look at `streams()` again.
    pub fn events(&self) -> broadcast::Receiver<StreamEvent> {
        todo!()
    }
}

/// The publisher's side of a stream. Dropping it begins the reconnect window.
#[derive(Debug)]
pub struct Publication {}

impl Publication {
    /// The stream.
    pub fn stream(&self) -> &Stream {
        todo!()
    }

    /// The router on which this stream lives: a WebRTC publisher's transport is made here.
    pub fn router(&self) -> &Router {
        todo!()
    }

    /// Adds a track fed with access units. A track of the same kind from before a reconnect is continued.
    pub async fn add_track(&mut self, format: Format) -> Result<TrackWriter, SfuError> {
        let _ = format;
        todo!()
    }

    /// Adds a track that is an SFU producer on `router()` (a WebRTC publisher's).
    pub async fn add_producer(&mut self, producer: ProducerId, format: Format) -> Result<(), SfuError> {
        let _ = (producer, format);
        todo!()
    }

    /// Adds (or replaces, by code) a warning shown on the page and in the API.
    pub fn warn(&self, warning: Warning) {
        let _ = warning;
        todo!()
    }

    /// Waits until this publication must end (taken over, kicked by the operator, server shutting down); says why. Cancel safe.
    pub async fn evicted(&self) -> &'static str {
        todo!()
    }
}

/// Writes one track's access units into the SFU: packetizes, numbers, puts the media clock on the wall clock.
#[derive(Debug)]
pub struct TrackWriter {}

impl TrackWriter {
    /// Writes an access unit whose times are the publisher's, in ticks of the format's clock rate, on the publisher's one
    /// timeline. Jumps and wraps (backwards, or forwards beyond the time that passed) are mended here, for all tracks of the publication alike.
    /// `now` is the wall clock at arrival. Never waits; false where the SFU's queue was full and the unit was dropped.
    pub fn write(&mut self, unit: AccessUnit, now: UnixNanos) -> bool {
        let _ = (unit, now);
        todo!()
    }

    /// Writes an access unit that carries wall clock times (a derived track's); `unit.pts` and `unit.dts` are [`UnixNanos`].
    pub fn write_at(&mut self, unit: AccessUnit) -> bool {
        let _ = unit;
        todo!()
    }

    /// The format changed (new parameter sets, other sampling rate). The codec must stay the same.
    pub fn set_format(&mut self, format: Format) {
        let _ = format;
        todo!()
    }

    /// Waits until a viewer asked for a key frame. Cancel safe. `None` when the track was closed.
    pub async fn key_frame_requested(&mut self) -> Option<()> {
        todo!()
    }
}

/// A live stream. Cheap to clone; holding it does not keep it alive.
#[derive(Debug, Clone)]
pub struct Stream {}

/// A track of a stream as published (derived ones are reached by [`Stream::select`]).
#[derive(Debug, Clone)]
pub struct Track {
    /// Audio or video.
    pub kind: MediaKind,
    /// Its format now.
    pub format: Format,
    /// Whether pictures come in another order than they are shown in (B-frames).
    pub reordered: bool,
    /// Its producer on the stream's home router.
    pub producer: ProducerId,
}

/// Which form of a track somebody needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wanted<'a> {
    /// Audio or video.
    pub kind: MediaKind,
    /// Codecs that can be played, best first. The published one is preferred whatever its place; otherwise the first that can be derived.
    pub codecs: &'a [Codec],
    /// Pictures must come in the order they are shown in (WebRTC).
    pub in_order: bool,
}

/// Why there is no such track.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// The stream has no track of that kind.
    #[error("the stream has no {0} track")]
    NoTrack(MediaKind),
    /// The published codec isn't among the wanted ones and can't be turned into one of them.
    #[error("the stream's {from} can't be turned into something playable here")]
    CantDerive {
        /// The published codec's name.
        from: &'static str,
    },
    /// The stream has ended.
    #[error("the stream has ended")]
    Ended,
    /// The transcoder could not.
    #[error(transparent)]
    Transcode(#[from] TranscodeError),
    /// The SFU could not.
    #[error(transparent)]
    Sfu(#[from] SfuError),
}

impl Stream {
    /// Its path.
    pub fn path(&self) -> &StreamPath {
        todo!()
    }

    /// The published tracks now, video first.
    pub fn tracks(&self) -> Vec<Track> {
        todo!()
    }

    /// Waits until `tracks()`, the publisher's presence or the warnings changed since `seen` (begin with 0); gives the new count.
    /// `None` once the stream has ended. Cancel safe.
    pub async fn changed(&self, seen: u64) -> Option<u64> {
        let _ = seen;
        todo!()
    }

    /// Whether a publisher is connected now (false within the reconnect window).
    pub fn is_publishing(&self) -> bool {
        todo!()
    }

    /// A track in a form that can be played, derived on demand and shared. The lease keeps a derived track going.
    pub async fn select(&self, wanted: Wanted<'_>) -> Result<Lease, SelectError> {
        let _ = wanted;
        todo!()
    }

    /// Registers a viewer until the returned guard is dropped, and chooses its worker.
    pub async fn attach_viewer(&self, protocol: &'static str) -> Result<Viewer, SelectError> {
        let _ = protocol;
        todo!()
    }

    /// Notes that the HTTP player `who` (a hash of address and agent, or its session id) asked for something: it counts as a viewer
    /// by `protocol` (`"hls"`, `"dash"`) for the next 15 s. Bounded.
    pub fn note_http_viewer(&self, protocol: &'static str, who: u64, now: UnixNanos) {
        let _ = (protocol, who, now);
        todo!()
    }
}

/// A track to consume.
#[derive(Debug, Clone)]
pub struct Lease {}

impl Lease {
    /// The form it has.
    pub fn format(&self) -> Format {
        todo!()
    }

    /// Whether it is made from the published one, in words ("AAC → Opus").
    pub fn derivation(&self) -> Option<&'static str> {
        todo!()
    }

    /// Whether the disposable pictures must be left out for in-order viewers (`webrtc.b_frames = "drop"`).
    pub fn drop_disposable(&self) -> bool {
        todo!()
    }

    /// The producer, made available on `router` (piped there if it is another worker).
    pub async fn producer_on(&self, router: &Router) -> Result<ProducerId, SfuError> {
        let _ = router;
        todo!()
    }

    /// Its packets, read by this process.
    pub async fn consume_direct(&self) -> Result<DirectConsumer, SfuError> {
        todo!()
    }
}

/// A viewer's place. Dropping it takes the viewer off the count.
#[derive(Debug)]
pub struct Viewer {}

impl Viewer {
    /// The router on which its transport is to be made.
    pub fn router(&self) -> &Router {
        todo!()
    }
}

/// What a derived track is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TranscodeTarget {
    /// Opus, 48 kHz, stereo or mono as the source.
    Opus,
    /// AAC-LC, 48 kHz.
    Aac,
    /// H.264 without reordering, key frames on request and at least every 2 s.
    H264,
}

/// One derived track to be made.
#[derive(Debug)]
pub struct TranscodeJob {
    /// For logs: `live/cam1 AAC→Opus`.
    pub name: String,
    /// The source.
    pub input: DirectConsumer,
    /// The source's format.
    pub input_format: Format,
    /// What to make.
    pub target: TranscodeTarget,
    /// Where it goes, with `write_at`. Key-frame requests come out of it. For H.264 and AAC, `set_format` is called with the
    /// parameter sets once they are known.
    pub output: TrackWriter,
}

/// Why there is no derived track.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranscodeError {
    /// The budget of transcodes is used up.
    #[error("the transcoding budget is used up ({0} at work)")]
    Budget(usize),
    /// It did not start.
    #[error("the transcoder did not start: {0}")]
    Start(String),
}

/// Dropping it stops the transcode.
pub struct TranscodeGuard(#[allow(dead_code)] pub Box<dyn std::any::Any + Send + Sync>);

impl std::fmt::Debug for TranscodeGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TranscodeGuard")
    }
}

/// What makes derived tracks: plugged in by `app`.
pub trait Transcoder: Send + Sync + 'static {
    /// Starts a job; it goes on until the guard is dropped, and survives crashes of what does the work.
    fn start(&self, job: TranscodeJob) -> Result<TranscodeGuard, TranscodeError>;
}

/// The shared form in which a transcoder is plugged in.
pub type SharedTranscoder = Arc<dyn Transcoder>;
