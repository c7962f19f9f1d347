//! The handle of a router.
//!
//! In: what to make, connect and replace. Out: handles of what was made.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::direct::{DirectConsumer, DirectProducer};
use super::outbox::Reader;
use super::plain::PlainTransport;
use super::shard::{Shard, Shared, Upstream};
use super::shared::{Closer, Notice};
use super::webrtc::WebRtcTransport;
use crate::net::udp::UdpPort;
use crate::sfu::error::SfuError;
use crate::sfu::id::{ProducerId, RouterId};
use crate::sfu::ortc::{RtpCapabilities, router_capabilities};
use crate::sfu::types::{PlainTransportOptions, ProducerOptions, ProducerStats, Reading, WebRtcTransportOptions};

/// Events of a transport that wait to be read: there are three kinds, and ICE may connect again.
const EVENT_QUEUE: usize = 8;
/// Batches that wait for a reader in this process: a second of pictures and sound. What does not fit waits in the producer's store.
const READER_QUEUE: usize = 128;

/// A router: producers and their consumers on one worker. Dropping the last handle closes it and all in it.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    worker: usize,
    id: RouterId,
    runtime: Handle,
    _closer: Closer,
}

impl Router {
    pub(super) async fn create(shared: &Arc<Shared>, worker: usize) -> Result<Self, SfuError> {
        shared
            .call(worker, move |shard, _| {
                let id = shard.worker.create_router();
                let _closer = Closer::new(&shard.shared, worker, Notice::CloseRouter(id));
                let runtime = Handle::current(); // the worker's: this runs there
                Router { inner: Arc::new(Inner { shared: shard.shared.clone(), worker, id, runtime, _closer }) }
            })
            .await
    }

    pub(crate) fn worker(&self) -> usize {
        self.inner.worker
    }

    /// The runtime of the worker's thread. What feeds a producer of this router all the time is best run there: a packet that comes
    /// from the thread that forwards it wakes no other one. Nothing that takes long or blocks may: all viewers of the worker wait for it.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.inner.runtime
    }

    /// What producers may send to this router and consumers may get, as `routerRtpCapabilities`.
    pub(crate) fn rtp_capabilities(&self) -> &'static RtpCapabilities {
        router_capabilities()
    }

    /// Makes a transport for a browser.
    pub(crate) async fn create_webrtc_transport(&self, options: WebRtcTransportOptions) -> Result<WebRtcTransport, SfuError> {
        let (worker, router) = (self.inner.worker, self.inner.id);
        self.inner
            .shared
            .call(worker, move |shard, now| {
                let (id, ice_parameters, dtls_parameters) = shard.worker.create_transport(now, router)?;
                let (sender, events) = mpsc::channel(EVENT_QUEUE);
                shard.transports.insert(id, sender);
                let candidates = shard.shared.candidates.get();
                Ok(WebRtcTransport {
                    id,
                    ice_parameters,
                    ice_candidates: candidates.map(|lists| lists[usize::from(options.prefer_tcp)].clone()).unwrap_or_default(),
                    dtls_parameters,
                    events,
                    _closer: Closer::new(&shard.shared, worker, Notice::CloseTransport(id)),
                    shared: shard.shared.clone(),
                    worker,
                })
            })
            .await?
    }

    /// Makes a transport for RTP and RTCP as they are, on a UDP port of its own.
    #[cfg_attr(not(test), expect(dead_code, reason = "no adapter offers plain RTP yet; the SFU's own tests do"))]
    pub(crate) async fn create_plain_transport(&self, options: PlainTransportOptions) -> Result<PlainTransport, SfuError> {
        let (worker, router) = (self.inner.worker, self.inner.id);
        self.inner
            .shared
            .call(worker, move |shard, _| {
                let listen = |source| SfuError::Listen { address: options.listen, source };
                let socket = UdpPort::bind(options.listen, false).map_err(listen)?;
                let local_address = socket.local_addr();
                // Datagrams are told apart by port: the media port is for browsers on every address.
                if shard.out.ports.iter().any(|port| port.socket.local_addr().port() == local_address.port()) {
                    return Err(listen(std::io::ErrorKind::AddrInUse.into()));
                }
                let id = shard.worker.create_plain_transport(router, local_address.port(), options.comedia)?;
                shard.out.add_port(socket, id);
                let _closer = Closer::new(&shard.shared, worker, Notice::CloseTransport(id));
                Ok(PlainTransport { id, local_address, shared: shard.shared.clone(), worker, _closer })
            })
            .await?
    }

    /// A producer fed from this process. `rtp_parameters` has one codec and one encoding with SSRC.
    pub(crate) async fn produce_direct(&self, options: ProducerOptions) -> Result<DirectProducer, SfuError> {
        let (worker, router) = (self.inner.worker, self.inner.id);
        self.inner
            .shared
            .call(worker, move |shard, _| {
                let id = shard.worker.produce_direct(router, None, options)?;
                let (sender, key_frames) = mpsc::channel(1);
                shard.upstreams.insert((router, id), Upstream::Handle(sender));
                let _closer = Closer::new(&shard.shared, worker, Notice::CloseProducer(router, id));
                let link = &shard.shared.links[worker];
                let (media, refused) = (link.media.clone(), link.refused.clone());
                Ok(DirectProducer { id, router, media, refused, key_frames, _closer })
            })
            .await?
    }

    /// A consumer read by this process; video begins with the key-frame cache, if there is one, and sound with what comes.
    pub(crate) async fn consume_direct(&self, producer: ProducerId) -> Result<DirectConsumer, SfuError> {
        self.read(producer, Reading::Live).await
    }

    /// As [`Self::consume_direct`], but begins with all that is still held and can be decoded: for readers that keep what belongs
    /// together together, and don't play it at once.
    pub(crate) async fn consume_recent(&self, producer: ProducerId) -> Result<DirectConsumer, SfuError> {
        self.read(producer, Reading::Recent).await
    }

    async fn read(&self, producer: ProducerId, reading: Reading) -> Result<DirectConsumer, SfuError> {
        let (worker, router) = (self.inner.worker, self.inner.id);
        self.inner
            .shared
            .call(worker, move |shard, now| {
                let made = shard.worker.consume_batches(router, producer, reading)?;
                let (sender, batches) = mpsc::channel(READER_QUEUE);
                shard.out.readers.insert(made, Reader::Local(sender));
                shard.worker.start_batches(now, made, &mut shard.out);
                Ok(DirectConsumer {
                    id: made,
                    batches,
                    _closer: Closer::new(&shard.shared, worker, Notice::CloseConsumer(made)),
                    shared: shard.shared.clone(),
                    worker,
                })
            })
            .await?
    }

    /// Makes `producer` available on `to` (another worker) under the same id. Idempotent. The pipe ends with the producer.
    pub(crate) async fn pipe_to(&self, producer: ProducerId, to: &Router) -> Result<(), SfuError> {
        if self.inner.id == to.inner.id {
            return Ok(());
        }
        pipe(&self.inner.shared, (self.inner.worker, self.inner.id), (to.inner.worker, to.inner.id), producer).await
    }

    /// Lets the consumers of `old` go on with `new` from its next key frame, without a gap in their sequence numbers and with
    /// timestamps that go on from the wall clock. On all routers that `old` is piped to. `old` is then closed.
    /// Both must have the same codec.
    pub(crate) async fn replace_producer(&self, old: ProducerId, new: ProducerId) -> Result<(), SfuError> {
        if old == new {
            return Ok(());
        }
        let (shared, worker, router) = (&self.inner.shared, self.inner.worker, self.inner.id);
        let copies: Vec<(usize, RouterId)> = shared
            .call(worker, move |shard, _| {
                shard.worker.check_replacement(router, old, new)?;
                let copy = |reader: &Reader| match reader {
                    Reader::Pipe { worker, router, producer, .. } if *producer == old => Some((*worker, *router)),
                    _ => None,
                };
                Ok::<_, SfuError>(shard.out.readers.values().filter_map(copy).collect())
            })
            .await??;
        for (to_worker, to_router) in copies {
            // A copy that is just being closed has no viewers that could miss it.
            let piped = pipe(shared, (worker, router), (to_worker, to_router), new).await;
            let replaced = match piped {
                Ok(()) => {
                    shared
                        .call(to_worker, move |shard, now| shard.worker.replace_producer(now, to_router, old, new, &mut shard.out))
                        .await?
                }
                error => error,
            };
            if let Err(error) = replaced {
                tracing::warn!(worker = to_worker, %error, "can't replace the copy of a producer on another worker");
            }
        }
        shared.call(worker, move |shard, now| shard.worker.replace_producer(now, router, old, new, &mut shard.out)).await?
    }

    /// Lets a producer outlive its transport: it stays, silent, until it is replaced or closed, and its consumers with it.
    pub(crate) async fn keep_producer(&self, producer: ProducerId) -> Result<(), SfuError> {
        let router = self.inner.id;
        self.inner.shared.call(self.inner.worker, move |shard, _| shard.worker.keep_producer(router, producer)).await?
    }

    /// Closes a producer, its consumers (on every router it is piped to) with it.
    pub(crate) async fn close_producer(&self, producer: ProducerId) {
        let router = self.inner.id;
        let close = move |shard: &mut Shard, now| shard.worker.close_producer(now, router, producer, &mut shard.out);
        // A worker that is gone has closed it already.
        let _ = self.inner.shared.call(self.inner.worker, close).await;
    }

    /// Asks the source for a key frame (at most one request a second goes out per producer).
    #[cfg(test)]
    pub(crate) async fn request_key_frame(&self, producer: ProducerId) {
        let router = self.inner.id;
        let _ = self.inner.shared.call(self.inner.worker, move |shard, now| shard.worker.request_key_frame(now, router, producer)).await;
    }

    /// What is known about a producer.
    pub(crate) async fn producer_stats(&self, producer: ProducerId) -> Result<ProducerStats, SfuError> {
        let router = self.inner.id;
        self.inner.shared.call(self.inner.worker, move |shard, now| shard.worker.producer_stats(now, router, producer)).await?
    }
}

/// Pipes a producer from one router to another, if it isn't there yet.
async fn pipe(
    shared: &Arc<Shared>,
    (from_worker, from): (usize, RouterId),
    (to_worker, to): (usize, RouterId),
    producer: ProducerId,
) -> Result<(), SfuError> {
    let options: ProducerOptions = shared.call(from_worker, move |shard, _| shard.worker.describe_producer(from, producer)).await??;
    let made = shared
        .call(to_worker, move |shard, _| {
            if shard.worker.describe_producer(to, producer).is_ok() {
                return Ok(None);
            }
            shard.worker.produce_direct(to, Some(producer), options)?;
            shard.upstreams.insert((to, producer), Upstream::Pipe { worker: from_worker, router: from });
            Ok::<_, SfuError>(Some(Closer::new(&shard.shared, to_worker, Notice::CloseProducer(to, producer))))
        })
        .await??;
    // Until the pipe stands, the copy is closed if anything fails or the caller goes away.
    let Some(closer) = made else { return Ok(()) };
    shared
        .call(from_worker, move |shard, now| {
            let made = shard.worker.consume_batches(from, producer, Reading::Pipe)?;
            let media = shard.shared.links[to_worker].media.clone();
            shard.out.readers.insert(made, Reader::Pipe { media, worker: to_worker, router: to, producer });
            shard.worker.start_batches(now, made, &mut shard.out);
            Ok::<_, SfuError>(())
        })
        .await??;
    closer.disarm();
    Ok(())
}
