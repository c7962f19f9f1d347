//! The service that `http` calls.
//!
//! In: requests. Out: sessions, each a task of its own that ends with its transport, its stream, DELETE, or shutdown.

mod request;
mod role;
mod session;
mod setup;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Bound, Role, WebRtcConfig, WebRtcError, WebRtcMetrics};
use crate::base::{StreamPath, shown};
use crate::sdp::Fragment;
use crate::stream::Hub;
use request::Command;
use session::Session;
use table::{Handle, Slot, Table};

pub(crate) use request::{PatchOutcome, SessionCreated, SessionRequest};

/// Making a session may have to start a transcoder (a cold start takes about 0.6 s); beyond this something is broken.
const SETUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Commands that may wait for a session's task. Each comes from an HTTP request of the session's owner, who waits for the
/// answer; more than a handful means a client gone mad, which then waits in line.
const COMMAND_QUEUE: usize = 8;
/// A session's task answers at once unless its SFU worker hangs.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest part of a client's name for itself that is kept, in characters.
const MAX_AGENT_CHARS: usize = 200;

/// WHIP and WHEP. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct WebRtcService {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: WebRtcConfig,
    links: Vec<String>,
    hub: Hub,
    table: Arc<Table>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl WebRtcService {
    /// A service for the streams of `hub`.
    pub(crate) fn new(config: WebRtcConfig, hub: Hub) -> Self {
        Self {
            inner: Arc::new(Inner {
                links: config.link_headers(),
                table: Arc::new(Table::new(config.max_sessions, config.connecting())),
                config,
                hub,
                tasks: TaskTracker::new(),
                shutdown: CancellationToken::new(),
            }),
        }
    }

    pub(crate) fn metrics(&self) -> &WebRtcMetrics {
        self.inner.table.metrics()
    }

    /// The values of the `Link` headers that answers to POST and OPTIONS carry (RFC 9725 section 4.6).
    pub(crate) fn links(&self) -> &[String] {
        &self.inner.links
    }

    /// A PATCH on a session: trickled candidates or an ICE restart. `if_match` is the header's value.
    pub(crate) async fn patch(
        &self,
        role: Role,
        path: &StreamPath,
        id: &str,
        if_match: Option<&str>,
        body: &[u8],
    ) -> Result<PatchOutcome, WebRtcError> {
        let commands = self.commands(role, path, id)?;
        let fragment = Fragment::parse(body)?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Patch { if_match: if_match.map(str::to_owned), fragment, reply };
        self.ask(&commands, command, answer).await?
    }

    /// Ends a session.
    pub(crate) async fn delete(&self, role: Role, path: &StreamPath, id: &str) -> Result<(), WebRtcError> {
        let commands = self.commands(role, path, id)?;
        let (reply, answer) = oneshot::channel();
        self.ask(&commands, Command::Delete { reply }, answer).await
    }

    /// Ends all sessions, refuses new ones, and returns when all tasks have ended.
    pub(crate) async fn shutdown(&self) {
        self.inner.shutdown.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Begins to publish (RFC 9725 section 4.2) or to watch (draft-ietf-wish-whep section 4.2). Dropping the future before it is done leaves
    /// nothing behind.
    pub(crate) async fn create(&self, role: Role, request: SessionRequest<'_>) -> Result<SessionCreated, WebRtcError> {
        let path = request.path.clone();
        let result = match tokio::time::timeout(SETUP_TIMEOUT, self.try_create(role, request)).await {
            Ok(result) => result,
            Err(_) => Err(WebRtcError::SetupTimeout(SETUP_TIMEOUT.as_secs())),
        };
        if let Err(error) = &result {
            self.inner.table.metrics().refused(role.protocol(), error.code());
            tracing::debug!(protocol = role.protocol(), %path, %error, "session refused");
        }
        result
    }

    async fn try_create(&self, role: Role, request: SessionRequest<'_>) -> Result<SessionCreated, WebRtcError> {
        if self.inner.shutdown.is_cancelled() {
            return Err(WebRtcError::ShuttingDown);
        }
        let max = self.inner.config.max_sessions;
        let full = || Bound::Sessions(max);
        let permit = self.inner.table.permit().ok_or_else(full)?;
        let connecting = self.inner.table.connecting(request.remote);
        let prepared = async {
            match role {
                Role::Publisher => setup::publisher(&self.inner.hub, &request).await,
                Role::Viewer => setup::viewer(&self.inner.hub, &request).await,
            }
        };
        let prepared = tokio::select! {
            prepared = prepared => prepared?,
            () = connecting.gives_way.cancelled() => return Err(Bound::Connecting.into()),
        };
        let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
        let lots = self.inner.hub.lots();
        let (id, etag) = (lots.id(), lots.id());
        let slot = Slot::take(&self.inner.table, permit, id.clone(), Handle { role, path: request.path.clone(), commands });
        let agent: String = request.agent.unwrap_or("-").chars().take(MAX_AGENT_CHARS).collect();
        tracing::info!(protocol = role.protocol(), path = %request.path, session = shown(&id), remote = ?request.remote, %agent, "session created");
        let answer = prepared.answer.clone();
        let session = Session::new(prepared, etag.clone(), lots.clone(), queue, slot, connecting);
        self.inner.tasks.spawn(session.run(self.inner.config.connect_timeout, self.inner.shutdown.clone()));
        Ok(SessionCreated { id, answer, etag })
    }

    fn commands(&self, role: Role, path: &StreamPath, id: &str) -> Result<mpsc::Sender<Command>, WebRtcError> {
        self.inner.table.commands(role, path, id).ok_or(WebRtcError::NoSuchSession)
    }

    /// A session that ends meanwhile drops its queue, and the answer with it.
    async fn ask<T>(&self, commands: &mpsc::Sender<Command>, command: Command, answer: oneshot::Receiver<T>) -> Result<T, WebRtcError> {
        let exchange = async {
            commands.send(command).await.map_err(|_| WebRtcError::NoSuchSession)?;
            answer.await.map_err(|_| WebRtcError::NoSuchSession)
        };
        match tokio::time::timeout(COMMAND_TIMEOUT, exchange).await {
            Ok(result) => result,
            Err(_) => Err(WebRtcError::SetupTimeout(COMMAND_TIMEOUT.as_secs())),
        }
    }
}
