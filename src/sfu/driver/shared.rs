//! How handles reach workers, and workers each other.
//!
//! In: closures to run on a worker, media for it. Out: answers; nothing waits but who asks. `S` is what a worker's thread owns.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use bytes::BytesMut;
use tokio::sync::{mpsc, oneshot};

use crate::rtp::batch::RtpBatch;
use crate::sfu::config::SfuConfig;
use crate::sfu::error::{Noun, SfuError};
use crate::sfu::id::{ConsumerId, ProducerId, RouterId, TransportId};
use crate::sfu::ortc::IceCandidate;
use crate::sfu::peer::Tuple;

/// Commands waiting for a worker: who asks for more waits. A hundred viewers joining at once are a few hundred.
pub(super) const COMMAND_QUEUE: usize = 256;
/// STUN requests that came to another worker's socket, waiting for the one whose transport they name. Anybody can send them who has heard the
/// name once, so what publishers send doesn't wait behind them.
pub(super) const STRAY_QUEUE: usize = 64;
/// One of them.
pub(super) type Stray = (Tuple, BytesMut);
/// Batches, and datagrams of known paths, waiting for a worker: 20 ms of 500 streams with sound and 30 pictures a second are 1500.
pub(super) const MEDIA_QUEUE: usize = 4096;

/// Runs on a worker's thread.
pub(super) type Command<S> = Box<dyn FnOnce(&mut S, Instant) + Send>;

/// What comes to a worker from this process.
#[derive(Debug)]
pub(super) enum Incoming {
    /// Of a direct producer or a pipe.
    Batch { router: RouterId, producer: ProducerId, batch: RtpBatch },
    /// A datagram that came to another worker's socket, on a validated path.
    Datagram(Tuple, BytesMut),
}

/// A notice that must arrive and that nobody waits for.
pub(super) enum Notice {
    /// The last handle of a router is gone.
    CloseRouter(RouterId),
    /// The handle of a transport is gone.
    CloseTransport(TransportId),
    /// A direct producer's handle, or the source of a piped one, is gone.
    CloseProducer(RouterId, ProducerId),
    /// A direct consumer's handle is gone.
    CloseConsumer(ConsumerId),
    /// A direct consumer's reader wants a key frame.
    KeyFrameFor(ConsumerId),
    /// A copy of a producer on another worker wants a key frame.
    KeyFrame(RouterId, ProducerId),
    /// Another worker's transport has, or no longer has, this path.
    Route(Tuple, usize, bool),
    /// Another worker's transport has, or no longer has, this name.
    Ufrag(String, usize, bool),
    /// A TCP connection whose first frame says that it is for this worker.
    Tcp(std::net::TcpStream, Tuple, BytesMut),
    Stop,
}

/// The way to one worker.
pub(super) struct Link<S> {
    pub(super) commands: mpsc::Sender<Command<S>>,
    pub(super) media: mpsc::Sender<Incoming>,
    pub(super) strays: mpsc::Sender<Stray>,
    /// Unbounded because closing must neither wait nor fail; bounded in fact: each handle closes once, each validated path and each name
    /// is announced twice, key-frame requests are throttled by their producer.
    pub(super) notices: mpsc::UnboundedSender<Notice>,
    /// Batches of direct producers that `media` had no room for.
    pub(super) refused: Arc<AtomicU64>,
}

/// What all handles and workers share.
pub(super) struct Shared<S> {
    pub(super) links: Vec<Link<S>>,
    pub(super) config: SfuConfig,
    /// Host candidates, UDP preferred and TCP preferred.
    pub(super) candidates: std::sync::OnceLock<[Vec<IceCandidate>; 2]>,
}

impl<S> std::fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("workers", &self.links.len()).finish_non_exhaustive()
    }
}

impl<S> Shared<S> {
    /// Runs `command` on a worker and waits for what it gives. What a caller that has gone away would have got is dropped there:
    /// handles in it close what they stand for.
    pub(super) async fn call<R: Send + 'static>(
        &self,
        worker: usize,
        command: impl FnOnce(&mut S, Instant) -> R + Send + 'static,
    ) -> Result<R, SfuError> {
        let link = self.links.get(worker).ok_or(SfuError::NotFound(Noun::Worker))?;
        let (answer, result) = oneshot::channel();
        let command: Command<S> = Box::new(move |shard, now| {
            let _ = answer.send(command(shard, now));
        });
        link.commands.send(command).await.map_err(|_| SfuError::WorkerGone)?;
        result.await.map_err(|_| SfuError::WorkerGone)
    }

    /// Sends a worker a command without waiting. Nothing happens if the worker is gone.
    pub(super) fn notify(&self, worker: usize, notice: Notice) {
        if let Some(link) = self.links.get(worker) {
            let _ = link.notices.send(notice);
        }
    }
}

/// Sends a notice when it is dropped: the part of a handle that closes.
pub(super) struct Closer {
    notices: Option<mpsc::UnboundedSender<Notice>>,
    worker: usize,
    notice: Option<Notice>,
}

impl Closer {
    pub(super) fn new<S>(shared: &Shared<S>, worker: usize, notice: Notice) -> Self {
        let notices = shared.links.get(worker).map(|link| link.notices.clone());
        Self { notices, worker, notice: Some(notice) }
    }

    /// Nothing is to be closed any more.
    pub(super) fn disarm(mut self) {
        self.notice = None;
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        if let (Some(notices), Some(notice)) = (&self.notices, self.notice.take()) {
            let _ = notices.send(notice); // a worker that is gone has closed it already
        }
    }
}

impl std::fmt::Debug for Closer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Closer").field("worker", &self.worker).finish_non_exhaustive()
    }
}
