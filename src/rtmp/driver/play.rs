//! A player: a stream's tracks as tags. Where nobody publishes yet, or any more, it waits for a while.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio::time::{Instant, sleep_until};

use super::keys::Attempt;
use super::{Context, Counted};
use crate::base::{MediaKind, StreamPath};
use crate::codec::{Codec, Format, h264};
use crate::rtmp::Target;
use crate::rtmp::amf0::Value;
use crate::rtmp::egress::{Egress, Tag};
use crate::rtmp::session::ServerSession;
use crate::rtp::batch::RtpBatch;
use crate::stream::{DirectConsumer, SelectError, Stream, StreamEvent, Viewer, Wanted};

/// A stream that began so lately is shown from its beginning: who waited for it wants its first word, too. Longer than finding its second track.
const YOUNG: Duration = Duration::from_secs(1);
/// When a track ended though its stream goes on, it is looked for again after this time.
const RETRY: Duration = Duration::from_secs(1);
/// A player that waits is asked for a sign of life this often, so that routers and its own time limits keep the connection.
const PING: Duration = Duration::from_secs(5);

/// Why a player doesn't get its stream, or can't go on with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum PlayerError {
    /// The token is missing or wrong.
    #[error("watching {0} needs the right token (rtmp://…/{0}?token=…)")]
    Forbidden(StreamPath),
    /// Nobody looked at it.
    #[error("{}", super::keys::UNSEEN)]
    Unseen,
    /// Nobody publishes, and no more players may wait.
    #[error("nobody is publishing {0}")]
    NotLive(StreamPath),
    /// There is a publisher, but nothing that RTMP can carry.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The publisher is gone, and no more players may wait for another one.
    #[error("the stream has ended")]
    Ended,
    /// It has waited as long as players may.
    #[error("nobody published {path} within {waited:?} (rtmp.play_wait)")]
    NobodyCame { path: StreamPath, waited: Duration },
}

impl PlayerError {
    /// The code that goes with a refusal.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Forbidden(_) | Self::Unseen => "NetStream.Play.Failed",
            _ => "NetStream.Play.StreamNotFound",
        }
    }
}

/// One playback of a connection.
pub(super) struct Player {
    stream: u32,
    path: StreamPath,
    egress: Egress,
    source: Source,
    context: Arc<Context>,
    peer: SocketAddr,
    _counted: Counted,
}

enum Source {
    Live(Box<Live>),
    Waiting(Waiting),
}

/// A stream being watched.
struct Live {
    stream: Stream,
    _viewer: Viewer,
    video: Option<Track>,
    audio: Option<Track>,
    /// Changes of the stream that were seen.
    seen: u64,
    retry_at: Option<Instant>,
}

/// Nobody publishes.
struct Waiting {
    events: broadcast::Receiver<StreamEvent>,
    /// A publisher came; its tracks are being waited for.
    found: Option<Stream>,
    until: Instant,
    ping_at: Instant,
    _place: OwnedSemaphorePermit,
    _counted: Counted,
}

/// What woke a player up.
pub(super) enum Wake {
    Batch(MediaKind, Option<RtpBatch>),
    Changed(Option<u64>),
    Retry,
    Found(Stream),
    Ping,
    WaitedEnough,
}

impl Player {
    /// Looks the stream up.
    pub(super) async fn open(stream: u32, target: &Target, context: Arc<Context>, peer: SocketAddr) -> Result<Self, PlayerError> {
        let attempt = Attempt::take(&context, target, peer.ip()).await.ok_or(PlayerError::Unseen)?;
        let Some((path, _)) = target.readings().find(|(path, key)| context.hub.may_view(path, *key)) else {
            attempt.wrong();
            return Err(PlayerError::Forbidden(target.path.clone()));
        };
        attempt.right();
        // Before looking, so that none is missed that begins just now.
        let waiting = Waiting::new(&context);
        let source = match context.hub.stream(path) {
            Some(found) => Source::Live(Live::open(found).await?.into()),
            None => Source::Waiting(waiting.ok_or_else(|| PlayerError::NotLive(path.clone()))?),
        };
        let egress = Egress::new(context.config.player_buffer);
        let counted = Counted::new(&context.metrics.players);
        Ok(Self { stream, path: path.clone(), egress, source, context, peer, _counted: counted })
    }

    pub(super) fn stream(&self) -> u32 {
        self.stream
    }

    pub(super) fn path(&self) -> &StreamPath {
        &self.path
    }

    /// What the player wants now.
    pub(super) fn set_wanted(&mut self, audio: bool, video: bool) {
        self.egress.set_wanted(audio, video);
    }

    /// Sends what comes before media.
    pub(super) fn begin(&mut self, session: &mut ServerSession) {
        match &self.source {
            Source::Live(live) => {
                let [video, audio] = [&live.video, &live.audio].map(|track| track.as_ref().map(|track| track.format.clone()));
                session.send_metadata(self.stream, metadata(video.as_ref(), audio.as_ref()));
                [video, audio].into_iter().flatten().for_each(|format| self.egress.set_track(format));
            }
            Source::Waiting(_) => tracing::info!(path = %self.path, peer = %self.peer, "RTMP player waits for a publisher"),
        }
    }

    /// Waits until there is something to do. Cancel safe.
    pub(super) async fn next(&mut self) -> Wake {
        match &mut self.source {
            Source::Live(live) => live.next().await,
            Source::Waiting(waiting) => waiting.next(&self.context, &self.path).await,
        }
    }

    /// Does it. `backlog` is how many bytes the peer has not taken yet.
    pub(super) async fn handle(&mut self, wake: Wake, session: &mut ServerSession, backlog: usize) -> Result<(), PlayerError> {
        match (wake, &mut self.source) {
            (Wake::Batch(kind, Some(batch)), Source::Live(live)) => {
                if kind == MediaKind::Audio
                    && let Some(format) = live.new_audio_format()
                {
                    self.egress.set_sound(format);
                }
                let mut tags = Vec::new();
                self.egress.handle(kind, &batch, backlog, &mut tags);
                for Tag { kind, timestamp, body } in tags {
                    session.send_media(self.stream, kind, timestamp, body);
                }
                if self.egress.needs_key_frame()
                    && let Some(track) = &live.video
                {
                    track.consumer.request_key_frame();
                }
            }
            (Wake::Batch(kind, None), Source::Live(live)) => {
                *live.track(kind) = None;
                live.retry_at = Some((self.context.now() + RETRY).into());
            }
            (Wake::Changed(Some(changes)), Source::Live(live)) => {
                live.seen = changes;
                live.select_missing(&mut self.egress).await;
            }
            (Wake::Retry, Source::Live(live)) => {
                live.retry_at = None;
                live.select_missing(&mut self.egress).await;
            }
            (Wake::Changed(None), Source::Live(_)) => {
                let waiting = Waiting::new(&self.context).ok_or(PlayerError::Ended)?;
                session.send_unpublished(self.stream, &PlayerError::Ended.to_string());
                self.source = Source::Waiting(waiting);
            }
            (Wake::Found(found), _) => {
                let live = Live::open(found).await?;
                tracing::info!(path = %self.path, peer = %self.peer, "RTMP player goes on: a publisher came");
                session.send_published(self.stream);
                self.source = Source::Live(live.into());
                self.begin(session);
            }
            (Wake::Ping, Source::Waiting(waiting)) => {
                waiting.ping_at = (self.context.now() + PING).into();
                session.send_ping(0);
            }
            (Wake::WaitedEnough, _) => {
                return Err(PlayerError::NobodyCame { path: self.path.clone(), waited: self.context.config.play_wait });
            }
            _ => {}
        }
        Ok(())
    }

    /// The playback is over.
    pub(super) fn end(self, why: &str) {
        let dropped = self.egress.dropped();
        self.context.metrics.player_dropped.inc_by(dropped);
        tracing::info!(path = %self.path, peer = %self.peer, dropped, why, "RTMP player ended");
    }
}

impl Live {
    async fn open(stream: Stream) -> Result<Self, SelectError> {
        let viewer = stream.attach_viewer("rtmp").await?;
        let whole = stream.age().is_some_and(|age| age < YOUNG);
        let (video, audio) = (select_track(&stream, MediaKind::Video, whole).await, select_track(&stream, MediaKind::Audio, whole).await);
        match (video, audio) {
            (Err(error), Err(SelectError::NoTrack(_))) | (Err(SelectError::NoTrack(_)), Err(error)) | (Err(error), Err(_)) => Err(error),
            (video, audio) => {
                for error in [video.as_ref().err(), audio.as_ref().err()].into_iter().flatten() {
                    tracing::debug!(path = %stream.path(), %error, "RTMP player goes without a track");
                }
                Ok(Self { stream, _viewer: viewer, video: video.ok(), audio: audio.ok(), seen: 0, retry_at: None })
            }
        }
    }

    async fn next(&mut self) -> Wake {
        let retry = OptionFuture::from(self.retry_at.map(sleep_until));
        select! {
            batch = receive(&mut self.video) => Wake::Batch(MediaKind::Video, batch),
            batch = receive(&mut self.audio) => Wake::Batch(MediaKind::Audio, batch),
            changes = self.stream.changed(self.seen) => Wake::Changed(changes),
            Some(()) = retry => Wake::Retry,
        }
    }

    fn track(&mut self, kind: MediaKind) -> &mut Option<Track> {
        match kind {
            MediaKind::Video => &mut self.video,
            MediaKind::Audio => &mut self.audio,
        }
    }

    /// AAC's configuration is not in its packets, as H.264's is, so it is asked for.
    fn new_audio_format(&mut self) -> Option<Format> {
        let track = self.audio.as_mut()?;
        let format = track.lease.format();
        (format != track.format).then(|| {
            track.format = format.clone();
            format
        })
    }

    async fn select_missing(&mut self, egress: &mut Egress) {
        for kind in [MediaKind::Video, MediaKind::Audio] {
            if self.track(kind).is_none()
                && let Ok(track) = select_track(&self.stream, kind, false).await
            {
                egress.set_track(track.format.clone());
                *self.track(kind) = Some(track);
            }
        }
    }
}

impl Waiting {
    /// `None` where no more players may wait.
    fn new(context: &Context) -> Option<Self> {
        let wait = context.config.play_wait;
        let place = context.waiting.clone().try_acquire_owned().ok().filter(|_| !wait.is_zero())?;
        let (events, counted) = (context.hub.events(), Counted::new(&context.metrics.waiting_players));
        let now = context.now();
        let (until, ping_at) = ((now + wait).into(), (now + PING).into());
        Some(Self { events, found: None, until, ping_at, _place: place, _counted: counted })
    }

    async fn next(&mut self, context: &Context, path: &StreamPath) -> Wake {
        while self.found.is_none() {
            let event = select! {
                event = self.events.recv() => event,
                () = sleep_until(self.until) => return Wake::WaitedEnough,
                () = sleep_until(self.ping_at) => return Wake::Ping,
            };
            self.found = match event {
                Ok(StreamEvent::Started(stream)) if stream.path() == path => Some(stream),
                Ok(_) => None,
                // Some were missed, this one perhaps.
                Err(broadcast::error::RecvError::Lagged(_)) => context.hub.stream(path),
                Err(broadcast::error::RecvError::Closed) => return Wake::WaitedEnough,
            };
        }
        match &self.found {
            Some(stream) => {
                // Its second track comes within milliseconds; players like to hear of both at once.
                stream.settled().await;
                Wake::Found(stream.clone())
            }
            None => pending().await,
        }
    }
}

/// A track being consumed.
struct Track {
    format: Format,
    consumer: DirectConsumer,
    /// Keeps a derived track going, and knows when the format changes.
    lease: crate::stream::Lease,
}

/// `whole`: with all that is still held of it.
async fn select_track(stream: &Stream, kind: MediaKind, whole: bool) -> Result<Track, SelectError> {
    let codecs: &[Codec] = match kind {
        MediaKind::Video => &[Codec::H264],
        MediaKind::Audio => &[Codec::Aac],
    };
    let lease = stream.select(Wanted { kind, codecs, in_order: false, come_in: true, browsers: false }).await?;
    let consumer = if whole { lease.consume_recent().await? } else { lease.consume_direct().await? };
    Ok(Track { format: lease.format(), consumer, lease })
}

async fn receive(track: &mut Option<Track>) -> Option<RtpBatch> {
    match track {
        Some(track) => track.consumer.recv().await,
        None => pending().await,
    }
}

/// `onMetaData` as players like to see it.
fn metadata(video: Option<&Format>, audio: Option<&Format>) -> Value {
    let mut properties = vec![("server".to_owned(), Value::text("headend"))];
    let mut number = |name: &str, value: f64| properties.push((name.to_owned(), Value::Number(value)));
    if let Some(Format::H264 { sps, .. }) = video {
        number("videocodecid", 7.0);
        if let Some(info) = sps.first().and_then(|nal| h264::parse_sps(nal).ok()) {
            number("width", f64::from(info.width));
            number("height", f64::from(info.height));
            if let Some(fps) = info.fps {
                number("framerate", fps);
            }
        }
    }
    if let Some(Format::Aac { sample_rate, channels, .. }) = audio {
        number("audiocodecid", 10.0);
        number("audiosamplerate", f64::from(*sample_rate));
        number("audiochannels", f64::from(*channels));
    }
    Value::Object(properties)
}
