//! One connection's socket and session, until it is known what it wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::budget::Share;
use super::{Context, now, play, publish};
use crate::rtmp::RtmpError;
use crate::rtmp::session::{Event, ServerSession};

/// Read at once at most: a key frame in a few reads, and 1000 connections hold 32 MiB.
const READ_BUFFER: usize = 32 * 1024;
/// How long a peer may take to take our answers, which are small, and to close after our last word.
const GOODBYE: Duration = Duration::from_secs(1);
/// What is still read from a peer after our last word, so that closing doesn't make its kernel throw that word away.
const MAX_LINGER: usize = 4 << 20;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The peer closed it.
    #[error("the peer closed the connection")]
    Closed,
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The peer broke the protocol or was too slow.
    #[error(transparent)]
    Protocol(#[from] RtmpError),
    /// The peer does not take what we send.
    #[error("the peer took nothing for {0:?}")]
    Stalled(Duration),
    /// All connections together hold too much, and this one much of it.
    #[error("the server is out of memory for RTMP, and this connection holds {0} bytes of incomplete messages")]
    OverBudget(usize),
    /// We said the last word.
    #[error("{0}")]
    Finished(String),
}

/// A socket with its session.
pub(super) struct Connection {
    pub(super) socket: TcpStream,
    pub(super) session: ServerSession,
    pub(super) buffer: Box<[u8]>,
    /// The last read filled the buffer: more is waiting.
    pub(super) more: bool,
    pub(super) peer: SocketAddr,
    pub(super) context: Arc<Context>,
    /// What it holds: incomplete messages, or what a player has not taken.
    pub(super) share: Share,
}

/// Serves a connection to its end.
pub(super) async fn serve(context: Arc<Context>, socket: TcpStream, peer: SocketAddr) {
    context.metrics.connections.inc();
    // Answers are small and awaited.
    let _ = socket.set_nodelay(true);
    // A player whose machine vanished is noticed although it never sends.
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    let _ = socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive);
    let session = ServerSession::new(now(), context.session_timeouts());
    let share = context.budget.share();
    let buffer = vec![0; READ_BUFFER].into();
    let connection = Connection { socket, session, buffer, more: false, peer, context: context.clone(), share };
    let served = connection.serve().await;
    let metrics = &context.metrics;
    metrics.connections.dec();
    let Some((mut connection, end)) = served else { return };
    match &end {
        End::Protocol(error) => {
            metrics.errors.inc();
            tracing::info!(%peer, %error, "RTMP connection ended by an error");
        }
        End::OverBudget(_) => {
            metrics.errors.inc();
            tracing::warn!(%peer, %end, "RTMP connection ended");
        }
        end => tracing::debug!(%peer, %end, "RTMP connection ended"),
    }
    connection.goodbye().await;
}

impl Connection {
    /// To its end, which comes back with it; `None` if a worker of the SFU took it along in dying.
    async fn serve(mut self) -> Option<(Self, End)> {
        loop {
            if let Err(end) = self.flush().await {
                return Some((self, end));
            }
            while let Some(event) = self.session.poll_event() {
                let result = match event {
                    Event::Publish(target) => {
                        let (back, result) = publish::publish(self, target).await?;
                        self = back;
                        result
                    }
                    Event::Play(target) => play::play(&mut self, target).await,
                    Event::Media(_) | Event::Metadata(_) | Event::Receive { .. } | Event::Ended => Ok(()),
                };
                if let Err(end) = result {
                    return Some((self, end));
                }
            }
            if self.session.is_closing() {
                return Some((self, End::Finished("refused".into())));
            }
            let cancel = self.context.cancel.clone();
            let result = tokio::select! {
                result = self.read() => result,
                () = cancel.cancelled() => Err(self.finish("the server is shutting down")),
            };
            if let Err(end) = result {
                return Some((self, end));
            }
        }
    }

    /// Lets the runtime that this is called in look after the socket from now on.
    pub(super) fn move_here(self) -> Result<Self, End> {
        let Self { socket, session, buffer, more, peer, context, share } = self;
        let socket = TcpStream::from_std(socket.into_std()?)?;
        Ok(Self { socket, session, buffer, more, peer, context, share })
    }

    /// Waits for bytes or the session's timeout, and feeds the session. Cancel safe: between socket and session nothing is awaited.
    pub(super) async fn read(&mut self) -> Result<(), End> {
        let read = self.socket.read(&mut self.buffer);
        let n = match self.session.poll_timeout() {
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), read).await {
                Ok(n) => n?,
                Err(_) => {
                    self.session.handle_timeout(now())?;
                    return Ok(());
                }
            },
            None => read.await?,
        };
        if n == 0 {
            return Err(End::Closed);
        }
        self.more = n == self.buffer.len();
        self.context.metrics.received.inc_by(n as u64);
        self.session.handle_input(now(), &self.buffer[..n])?;
        self.share.set(self.session.in_assembly());
        if self.share.is_over() {
            return Err(End::OverBudget(self.session.in_assembly()));
        }
        Ok(())
    }

    /// Sends what the session has to say.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        while let Some(output) = self.session.poll_output() {
            self.context.metrics.sent.inc_by(output.len() as u64);
            let limit = self.context.config.player_timeout;
            tokio::time::timeout(limit, self.socket.write_all(&output)).await.map_err(|_| End::Stalled(limit))??;
        }
        Ok(())
    }

    /// The last word.
    pub(super) fn finish(&mut self, reason: &str) -> End {
        self.session.finish(reason);
        End::Finished(reason.to_owned())
    }

    /// Sends what is left, then closes in a way that lets the peer read it.
    async fn goodbye(&mut self) {
        let goodbye = async {
            self.flush().await?;
            self.socket.shutdown().await?;
            let mut left = MAX_LINGER;
            while left > 0 {
                match self.socket.read(&mut self.buffer).await? {
                    0 => break,
                    n => left = left.saturating_sub(n),
                }
            }
            Ok::<(), End>(())
        };
        // A peer that doesn't listen any more is gone without it.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }
}
