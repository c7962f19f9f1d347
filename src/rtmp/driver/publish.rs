//! A publisher: tags into a publication.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keys::Attempt;
use super::{Context, Counted};
use crate::base::{MediaKind, StreamPath};
use crate::rtmp::Target;
use crate::rtmp::amf0::Value;
use crate::rtmp::ingest::{Action, Ingest};
use crate::rtmp::session::MediaMessage;
use crate::stream::{Publication, PublishError, PublishRequest, TrackWriter, Warning};

/// Why somebody may not publish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Refusal {
    /// RTMP has no place for a user and a password: encoders keep theirs until a server asks for them in a way of Adobe's.
    #[error(
        "publishing to {0} needs a key: put ?token=… behind the stream key. What an encoder has in fields for user and password does not come here"
    )]
    NoKey(StreamPath),
    /// None of those shown opens it.
    #[error("publishing to {0} needs another key: the one shown is wrong")]
    WrongKey(StreamPath),
    /// Nobody looked at it.
    #[error("{}", super::keys::UNSEEN)]
    Unseen,
    /// Something else.
    #[error(transparent)]
    Hub(#[from] PublishError),
}

impl Refusal {
    /// The code that goes with it; encoders show the sentence, or at least react to the code.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Hub(PublishError::Busy(_)) => "NetStream.Publish.BadName",
            Self::NoKey(_) | Self::WrongKey(_) | Self::Unseen => "NetStream.Publish.Denied",
            Self::Hub(_) => "NetStream.Publish.Failed",
        }
    }
}

/// After so much silence the slices of a picture have all come: longer than a network holds up a part of a picture.
const QUIET: Duration = Duration::from_millis(500);

/// Asks for each of what the target may mean until a key fits; patiently where another publisher may be gone without a word.
pub(super) async fn ask(
    context: &Context,
    target: &Target,
    remote: IpAddr,
    agent: Option<String>,
    patient: bool,
) -> Result<Publication, Refusal> {
    let hub = &context.hub;
    let attempt = Attempt::take(context, target, remote).await.ok_or(Refusal::Unseen)?;
    for (path, key) in target.readings() {
        let (path, key) = (path.clone(), key.map(str::to_owned));
        let request = PublishRequest { path, protocol: "rtmp", remote: Some(remote), agent: agent.clone(), key };
        let answer = if patient { hub.publish_patiently(request).await } else { hub.publish(request).await };
        match answer {
            Err(PublishError::Forbidden(_)) => {}
            other => {
                attempt.right();
                return other.map_err(Refusal::Hub);
            }
        }
    }
    let path = target.path.clone();
    Err(if attempt.wrong() { Refusal::WrongKey(path) } else { Refusal::NoKey(path) })
}

/// One publication of a connection.
pub(super) struct Publisher {
    stream: u32,
    publication: Publication,
    ingest: Ingest,
    audio: Option<TrackWriter>,
    video: Option<TrackWriter>,
    actions: Vec<Action>,
    /// When the picture that waits for what follows it has waited long enough.
    quiet_at: Option<Instant>,
    /// What is left of it is to be written soon.
    hurried: bool,
    context: Arc<Context>,
    peer: SocketAddr,
    _counted: Counted,
}

impl Publisher {
    pub(super) fn new(stream: u32, publication: Publication, context: Arc<Context>, peer: SocketAddr) -> Self {
        let counted = Counted::new(&context.metrics.publishers);
        Self {
            stream,
            publication,
            ingest: Ingest::new(),
            audio: None,
            video: None,
            actions: Vec::new(),
            quiet_at: None,
            hurried: false,
            context,
            peer,
            _counted: counted,
        }
    }

    pub(super) fn stream(&self) -> u32 {
        self.stream
    }

    /// Waits until it must go; says why. Cancel safe.
    pub(super) async fn evicted(&self) -> &'static str {
        self.publication.evicted().await
    }

    /// Its media has come, read or held back.
    pub(super) fn note_media(&self) {
        self.publication.note_media();
    }

    /// It has said all there is, and somebody waits for its place. True where that is news.
    pub(super) fn hurry(&mut self) -> bool {
        if !self.hurried {
            self.publication.hurry();
        }
        !std::mem::replace(&mut self.hurried, true)
    }

    /// Whether somebody waits for its place.
    pub(super) fn is_asked_for(&self) -> bool {
        self.publication.is_asked_for()
    }

    /// Waits until somebody waits for its place. Cancel safe.
    pub(super) async fn asked_for(&self) {
        self.publication.asked_for().await;
    }

    /// Whether somebody watches it in real time.
    pub(super) fn is_watched(&self) -> bool {
        self.publication.is_watched()
    }

    /// Warns the publisher by way of page and API.
    pub(super) fn warn(&self, code: &'static str, message: &str) {
        self.publication.warn(Warning { code, message: message.to_owned() });
    }

    /// Takes a tag. Gives how long to leave the peer unread, because it is ahead of the wall clock; an error where the publication
    /// can't go on.
    pub(super) async fn handle(&mut self, media: &MediaMessage) -> Result<Duration, PublishError> {
        let mut actions = std::mem::take(&mut self.actions);
        self.ingest.handle(media, self.context.hub.clock().unix(), &mut actions);
        let wait = self.act(&mut actions).await?;
        self.actions = actions;
        // While it is left unread it can't be silent.
        self.quiet_at = self.ingest.is_waiting().then(|| self.context.now() + wait + QUIET);
        Ok(wait)
    }

    /// Whether anything of it is on its stream.
    pub(super) fn has_tracks(&self) -> bool {
        self.audio.is_some() || self.video.is_some()
    }

    /// Waits until the publisher has been silent while a picture waits for what follows it. Cancel safe.
    pub(super) async fn silent(&self) {
        match self.quiet_at {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    }

    /// It has been silent: flushes what waits.
    pub(super) async fn quiet(&mut self) -> Result<(), PublishError> {
        self.quiet_at = None;
        let mut actions = std::mem::take(&mut self.actions);
        self.ingest.quiet(&mut actions);
        self.act(&mut actions).await?;
        self.actions = actions;
        Ok(())
    }

    /// Takes what the publisher says of itself.
    pub(super) async fn metadata(&mut self, metadata: &Value) {
        let mut actions = std::mem::take(&mut self.actions);
        self.ingest.metadata(metadata, &mut actions);
        let _ = self.act(&mut actions).await; // warnings only
        self.actions = actions;
    }

    async fn act(&mut self, actions: &mut Vec<Action>) -> Result<Duration, PublishError> {
        let mut wait = Duration::ZERO;
        for action in actions.drain(..) {
            match action {
                Action::Unit(kind, unit) => {
                    let writer = match kind {
                        MediaKind::Audio => &mut self.audio,
                        MediaKind::Video => &mut self.video,
                    };
                    let Some(writer) = writer else { continue };
                    // Nothing is dropped: whoever sends too much waits, and TCP makes the encoder wait.
                    writer.room().await;
                    let written = writer.write(unit, self.context.hub.clock().unix());
                    if !written.sent {
                        self.context.metrics.queue_dropped.inc();
                    }
                    wait = wait.max(written.wait);
                }
                Action::Format(format) => {
                    let writer = match format.kind() {
                        MediaKind::Audio => &mut self.audio,
                        MediaKind::Video => &mut self.video,
                    };
                    match writer {
                        Some(writer) => writer.set_format(format),
                        None => *writer = Some(self.publication.add_track(format).await?),
                    }
                }
                Action::Warn(warning) => {
                    tracing::info!(path = %self.publication.stream().path(), code = warning.code, message = warning.message, "warning");
                    self.publication.warn(warning);
                }
            }
        }
        Ok(wait)
    }

    /// The publication is over: writes what waited to become whole. `received` bytes came on the connection.
    pub(super) async fn end(mut self, received: u64, why: &str) {
        let mut actions = Vec::new();
        self.ingest.finish(&mut actions);
        let _ = self.act(&mut actions).await; // it is ending anyway
        let counters = self.ingest.counters();
        self.context.metrics.ingest_dropped.inc_by(counters.before_header + counters.damaged + counters.unsupported);
        self.context.metrics.ingest_foreign.inc_by(counters.foreign);
        tracing::info!(path = %self.publication.stream().path(), peer = %self.peer, received, ?counters, why, "RTMP publisher ended");
    }
}
