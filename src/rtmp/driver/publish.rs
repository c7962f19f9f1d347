//! A publisher's connection: tags into a publication.

use tokio::select;
use tokio_util::task::AbortOnDropHandle;

use super::connection::{Connection, End};
use super::{now, unix_now};
use crate::base::MediaKind;
use crate::rtmp::Target;
use crate::rtmp::ingest::{Action, Ingest};
use crate::rtmp::session::Event;
use crate::stream::{Publication, PublishError, PublishRequest, TrackWriter};

/// Asks the hub, and if it agrees publishes until the publisher ends it. Gives the connection back; `Ok` means that it can be used
/// again, or is closing by itself. `None` if it was lost with the SFU's worker.
pub(super) async fn publish(mut connection: Connection, target: Target) -> Option<(Connection, Result<(), End>)> {
    let path = target.path.clone();
    let publication = match ask(&connection, &target).await {
        Ok(publication) => publication,
        Err(error) => {
            connection.context.metrics.refused.inc();
            tracing::info!(%path, peer = %connection.peer, %error, "RTMP publisher refused");
            connection.session.reject_publish(refusal_code(&error), &error.to_string());
            return Some((connection, Ok(())));
        }
    };
    let (context, peer) = (connection.context.clone(), connection.peer);
    tracing::info!(%path, %peer, agent = connection.session.agent(), "RTMP publisher began");
    context.metrics.publishers.inc();
    // On the thread that forwards what comes, so that a packet is sent to viewers by whoever read it.
    let home = publication.router().runtime().clone();
    let publishing = home.spawn(async move {
        let connection = connection.move_here()?;
        let mut publisher = Publisher { connection, publication, ingest: Ingest::new(), audio: None, video: None };
        let result = publisher.run().await;
        publisher.finish().await;
        Ok::<_, End>((publisher, result))
    });
    let published = AbortOnDropHandle::new(publishing).await;
    context.metrics.publishers.dec();
    let (Publisher { connection, ingest, .. }, result) = match published {
        Ok(Ok(published)) => published,
        Ok(Err(end)) => {
            tracing::warn!(%path, %peer, %end, "RTMP publisher lost");
            return None;
        }
        Err(error) => {
            tracing::error!(%path, %peer, %error, "RTMP publisher lost");
            return None;
        }
    };
    let counters = ingest.counters();
    context.metrics.ingest_dropped.inc_by(counters.before_header + counters.damaged + counters.unsupported);
    let why = match &result {
        Ok(()) => "it ended the publication".to_owned(),
        Err(end) => end.to_string(),
    };
    tracing::info!(%path, %peer, received = connection.session.received(), ?counters, why, "RTMP publisher ended");
    Some((connection, result))
}

/// Asks for each of what the target may mean until a key fits.
async fn ask(connection: &Connection, target: &Target) -> Result<Publication, PublishError> {
    let mut answer = Err(PublishError::Forbidden(target.path.clone()));
    for (path, key) in target.readings() {
        let request = PublishRequest {
            path: path.clone(),
            protocol: "rtmp",
            remote: Some(connection.peer.ip().to_canonical()),
            agent: connection.session.agent().map(str::to_owned),
            key: key.map(str::to_owned),
        };
        match connection.context.hub.publish_patiently(request).await {
            Err(PublishError::Forbidden(_)) => {}
            other => {
                answer = other;
                break;
            }
        }
    }
    answer
}

/// The code that goes with a refusal; encoders show the sentence, or at least react to the code.
fn refusal_code(error: &PublishError) -> &'static str {
    match error {
        PublishError::Busy(_) => "NetStream.Publish.BadName",
        PublishError::Forbidden(_) => "NetStream.Publish.Denied",
        _ => "NetStream.Publish.Failed",
    }
}

struct Publisher {
    connection: Connection,
    publication: Publication,
    ingest: Ingest,
    audio: Option<TrackWriter>,
    video: Option<TrackWriter>,
}

impl Publisher {
    async fn run(&mut self) -> Result<(), End> {
        self.connection.session.accept_publish(now())?;
        let cancel = self.connection.context.cancel.clone();
        loop {
            if !self.handle_events().await? {
                return Ok(());
            }
            self.connection.flush().await?;
            if self.connection.more {
                // Whoever sends faster than real time must not keep the worker, whose thread this is, from its viewers, nor fill its
                // queue, which is every stream's.
                tokio::task::yield_now().await;
            }
            select! {
                result = self.connection.read() => result?,
                reason = self.publication.evicted() => return Err(self.connection.finish(reason)),
                () = cancel.cancelled() => return Err(self.connection.finish("the server is shutting down")),
            }
        }
    }

    /// False once the publication is over.
    async fn handle_events(&mut self) -> Result<bool, End> {
        let mut actions = Vec::new();
        while let Some(event) = self.connection.session.poll_event() {
            match event {
                Event::Media(media) => self.ingest.handle(&media, &mut actions),
                Event::Metadata(metadata) => tracing::debug!(path = %self.publication.stream().path(), ?metadata, "onMetaData"),
                Event::Ended => return Ok(false),
                Event::Publish(_) | Event::Play(_) | Event::Receive { .. } => {}
            }
            self.act(&mut actions).await?;
        }
        Ok(true)
    }

    /// Writes what waited to become whole.
    async fn finish(&mut self) {
        let mut actions = Vec::new();
        self.ingest.finish(&mut actions);
        let _ = self.act(&mut actions).await; // the connection is ending anyway
    }

    async fn act(&mut self, actions: &mut Vec<Action>) -> Result<(), End> {
        for action in actions.drain(..) {
            match action {
                Action::Unit(kind, unit) => {
                    let writer = match kind {
                        MediaKind::Audio => &mut self.audio,
                        MediaKind::Video => &mut self.video,
                    };
                    if let Some(writer) = writer
                        && !writer.write(unit, unix_now())
                    {
                        self.connection.context.metrics.queue_dropped.inc();
                    }
                }
                Action::Format(format) => {
                    let writer = match format.kind() {
                        MediaKind::Audio => &mut self.audio,
                        MediaKind::Video => &mut self.video,
                    };
                    match writer {
                        Some(writer) => writer.set_format(format),
                        None => match self.publication.add_track(format).await {
                            Ok(track) => *writer = Some(track),
                            Err(error) => return Err(self.connection.finish(&error.to_string())),
                        },
                    }
                }
                Action::Warn(warning) => {
                    tracing::info!(path = %self.publication.stream().path(), code = warning.code, message = warning.message, "warning");
                    self.publication.warn(warning);
                }
            }
        }
        Ok(())
    }
}
