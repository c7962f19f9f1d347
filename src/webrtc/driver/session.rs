//! The task of one session: owns the transport and what it is joined to, and ends them together.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::request::{Command, PatchOutcome};
use super::role::Role;
use super::setup::Prepared;
use super::table::{Connecting, Slot};
use crate::base::{Lots, shown};
use crate::sdp::{Fragment, FragmentHead};
use crate::sfu::ortc::IceParameters;
use crate::sfu::{TransportEvent, WebRtcTransport};
use crate::webrtc::WebRtcError;
use crate::webrtc::patch::{PatchAction, decide};

#[derive(Debug)]
pub(super) struct Session {
    // Dropped in this order: the transport first, so that nothing is sent for a stream that has gone.
    transport: WebRtcTransport,
    role: Role,
    restart: FragmentHead,
    remote_ice: IceParameters,
    etag: String,
    lots: Lots,
    commands: mpsc::Receiver<Command>,
    slot: Slot,
    /// Until it has connected.
    connecting: Option<Connecting>,
}

impl Session {
    pub(super) fn new(
        prepared: Prepared,
        etag: String,
        lots: Lots,
        commands: mpsc::Receiver<Command>,
        slot: Slot,
        connecting: Connecting,
    ) -> Self {
        let Prepared { restart, remote_ice, answer: _, transport, role } = prepared;
        Self { transport, role, restart, remote_ice, etag, lots, commands, slot, connecting: Some(connecting) }
    }

    /// Runs until the session is over.
    pub(super) async fn run(mut self, connect_timeout: Duration, shutdown: CancellationToken) {
        let (role, path, id) = (self.slot.role, self.slot.path.clone(), self.slot.id.clone());
        let (why, deleted) = self.serve(connect_timeout, &shutdown).await;
        tracing::info!(protocol = role.protocol(), %path, session = shown(&id), why, "session ended");
        // Gone from the table before DELETE is answered, so that the client's next request meets a 404, and a publisher's
        // next POST a free path.
        drop(self);
        if let Some(reply) = deleted {
            let _ = reply.send(());
        }
    }

    async fn serve(&mut self, connect_timeout: Duration, shutdown: &CancellationToken) -> (&'static str, Option<oneshot::Sender<()>>) {
        let deadline = tokio::time::sleep(connect_timeout);
        tokio::pin!(deadline);
        loop {
            let waits = self.connecting.as_ref().map(|connecting| connecting.gives_way.clone());
            let connected = waits.is_none();
            let gives_way = async {
                match &waits {
                    Some(waits) => waits.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = gives_way => return ("too many sessions have not connected (webrtc.max_connecting)", None),
                () = shutdown.cancelled() => return ("the server is shutting down", None),
                command = self.commands.recv() => match command {
                    None => return ("its handle is gone", None),
                    Some(Command::Delete { reply }) => return ("the client ended it", Some(reply)),
                    Some(Command::Patch { if_match, fragment, reply }) => {
                        let _ = reply.send(self.patch(if_match.as_deref(), &fragment).await);
                    }
                },
                event = self.transport.events.recv() => match event {
                    Some(TransportEvent::Closed) | None => return ("the connection was lost or closed", None),
                    Some(TransportEvent::Connected) if !connected => {
                        self.connecting = None;
                        self.slot.connected();
                        tracing::info!(protocol = self.slot.role.protocol(), path = %self.slot.path, session = shown(&self.slot.id), "session connected");
                        if let Role::Publishing(publishing) = &mut self.role
                            && let Err(error) = publishing.connected().await
                        {
                            tracing::warn!(path = %self.slot.path, session = shown(&self.slot.id), %error, "can't add the publisher's tracks");
                            return ("its tracks could not be added", None);
                        }
                    }
                    Some(event) => tracing::debug!(session = shown(&self.slot.id), ?event, "transport"),
                },
                () = &mut deadline, if !connected => return ("it did not connect in time (webrtc.connect_timeout)", None),
                why = self.role.ended() => return (why, None),
            }
        }
    }

    async fn patch(&mut self, if_match: Option<&str>, fragment: &Fragment) -> Result<PatchOutcome, WebRtcError> {
        match decide(&self.etag, &self.remote_ice, if_match, fragment)? {
            PatchAction::Trickle => {
                // ICE-lite: the client's checks show its addresses (RFC 8445 section 2.5).
                tracing::debug!(
                    session = shown(&self.slot.id),
                    candidates = fragment.candidates.len(),
                    end = fragment.end_of_candidates,
                    "trickle"
                );
                Ok(PatchOutcome::Trickled)
            }
            PatchAction::Restart(ice) => {
                let ours = self.transport.restart_ice(ice.clone()).await?;
                self.remote_ice = ice;
                self.etag = self.lots.id();
                tracing::info!(protocol = self.slot.role.protocol(), path = %self.slot.path, session = shown(&self.slot.id), "ICE restart");
                let fragment = self.restart.write(&ours, &self.transport.ice_candidates);
                Ok(PatchOutcome::Restarted { fragment, etag: self.etag.clone() })
            }
        }
    }
}
