//! A worker's thread: waits for sockets, commands, media and time, and lets the sans-IO worker do the rest.
//!
//! In: everything that can wake a worker. Out: its events, to handles and to other workers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use futures_util::future::select_all;
use tokio::sync::mpsc;

use super::outbox::{NetOutbox, Reader};
use super::shared::{self, Incoming, Notice, Stray};
use super::steer::Steer;
use super::tcp;
use crate::base::Clock;
use crate::net::accept::{Acceptor, Arrival};
use crate::net::udp::RecvBatch;
use crate::sfu::error::SfuError;
use crate::sfu::id::{ProducerId, RouterId, TransportId};
use crate::sfu::peer::{Protocol, Tuple};
use crate::sfu::types::{ConsumerInfo, ConsumerOptions, ProducerOptions, TransportEvent};
use crate::sfu::worker::{Event, Owner, Worker};

/// Receive calls per socket and wake-up: about 32 super-packets each, so that one socket can't starve the rest.
const RECEIVES_PER_WAKE: usize = 4;
/// Commands and batches taken per wake-up, for the same reason.
const MESSAGES_PER_WAKE: usize = 512;
/// STUN requests taken per wake-up that came to other workers' sockets, after everything else.
const STRAYS_PER_WAKE: usize = 16;
/// Longest one that is handed over, in bytes: connectivity checks have some hundred.
const MAX_STRAY: usize = 1500;

/// What all handles and workers share.
pub(super) type Shared = shared::Shared<Shard>;

impl Shared {
    /// Receives a track from a transport's peer.
    pub(super) async fn produce(&self, worker: usize, transport: TransportId, options: ProducerOptions) -> Result<ProducerId, SfuError> {
        self.call(worker, move |shard, _| shard.worker.produce(transport, options)).await?
    }

    /// Sends a track to a transport's peer.
    pub(super) async fn consume(&self, worker: usize, transport: TransportId, options: ConsumerOptions) -> Result<ConsumerInfo, SfuError> {
        self.call(worker, move |shard, now| shard.worker.consume(now, transport, options, &mut shard.out)).await?
    }
}

/// Whom to ask for a key frame of a direct producer.
pub(super) enum Upstream {
    Handle(mpsc::Sender<()>),
    /// The worker it is piped from.
    Pipe {
        worker: usize,
        router: RouterId,
    },
}

/// What a worker's thread owns.
pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) worker: Worker,
    clock: Clock,
    pub(super) out: NetOutbox,
    pub(super) shared: Arc<Shared>,
    pub(super) transports: HashMap<TransportId, mpsc::Sender<TransportEvent>>,
    pub(super) upstreams: HashMap<(RouterId, ProducerId), Upstream>,
    pub(super) tcp_in: mpsc::Sender<tcp::Input>,
    new_tcp: tcp::NewConnections,
    notices: mpsc::UnboundedReceiver<Notice>,
    /// The first worker sees to it for all, unless the kernel refuses.
    steer: Option<Steer>,
    stopping: bool,
}

/// The receiving ends of a worker's queues.
pub(super) struct Queues {
    pub(super) commands: mpsc::Receiver<shared::Command<Shard>>,
    pub(super) media: mpsc::Receiver<Incoming>,
    pub(super) strays: mpsc::Receiver<Stray>,
}

impl Shard {
    pub(super) fn new(
        index: usize,
        worker: Worker,
        clock: Clock,
        out: NetOutbox,
        shared: Arc<Shared>,
        tcp_in: mpsc::Sender<tcp::Input>,
        notices: mpsc::UnboundedReceiver<Notice>,
    ) -> Self {
        let (transports, upstreams) = (HashMap::new(), HashMap::new());
        let steer = (index == 0 && shared.links.len() > 1).then(Steer::default);
        let new_tcp = tcp::new_connections();
        Self { index, worker, clock, out, shared, transports, upstreams, tcp_in, new_tcp, notices, steer, stopping: false }
    }

    /// Runs until it is stopped.
    pub(super) async fn run(mut self, mut queues: Queues, mut listeners: Vec<Acceptor>, mut tcp_out: mpsc::Receiver<tcp::Input>) {
        let mut received = RecvBatch::new();
        let mut media = Vec::with_capacity(MESSAGES_PER_WAKE);
        while !self.stopping {
            let mut first_command = None;
            let mut first_notice = None;
            let mut first_tcp = None;
            let mut first_stray = None;
            let mut connection = None;
            let due = self.steer.as_ref().and_then(Steer::poll_timeout);
            let deadline = self.worker.poll_timeout().into_iter().chain(due).min();
            tokio::select! {
                _ = select_all(self.out.ports.iter().map(|port| Box::pin(port.socket.readable()))) => {}
                _ = select_all(self.out.ports.iter().map(|port| Box::pin(port.socket.writable()))), if self.out.ports.iter().any(|p| p.blocked) => {}
                count = queues.media.recv_many(&mut media, MESSAGES_PER_WAKE) => {
                    if count == 0 { break }
                }
                command = queues.commands.recv() => first_command = command,
                notice = self.notices.recv() => first_notice = notice,
                input = tcp_out.recv() => first_tcp = input,
                stray = queues.strays.recv() => first_stray = stray,
                arrival = tcp::accept(&mut listeners) => connection = Some(arrival),
                () = sleep_until(deadline) => {}
            }
            let now = self.clock.at();
            if let Some(notice) = first_notice {
                self.take_notice(now, notice);
            }
            self.take_notices(now);
            if let Some(arrival) = connection {
                self.take_connection(arrival);
            }
            self.receive(now, &mut received);
            let more = MESSAGES_PER_WAKE - media.len();
            for message in media.drain(..).chain(std::iter::from_fn(|| queues.media.try_recv().ok()).take(more)) {
                self.take_media(now, message);
            }
            for input in first_tcp.into_iter().chain(std::iter::from_fn(|| tcp_out.try_recv().ok()).take(MESSAGES_PER_WAKE)) {
                self.take_tcp(now, input);
            }
            for (tuple, mut bytes) in
                first_stray.into_iter().chain(std::iter::from_fn(|| queues.strays.try_recv().ok()).take(STRAYS_PER_WAKE))
            {
                self.worker.handle_datagram(now, tuple, &mut bytes, &mut self.out);
            }
            self.worker.flush(now, &mut self.out);
            for command in first_command.into_iter().chain(std::iter::from_fn(|| queues.commands.try_recv().ok()).take(MESSAGES_PER_WAKE)) {
                command(&mut self, now);
            }
            self.worker.handle_timeout(now, &mut self.out);
            self.tell_events(now);
            if let Some(Err(error)) = self.steer.as_mut().map(|steer| steer.handle_timeout(now, &self.out.ports)) {
                tracing::debug!(%error, "the kernel spreads datagrams over the workers by itself");
                self.steer = None;
            }
            self.out.flush();
        }
        let now = self.clock.at();
        self.worker.close(now, &mut self.out);
        self.tell_events(now);
        self.out.flush();
    }

    fn receive(&mut self, now: Instant, received: &mut RecvBatch) {
        for index in 0..self.out.ports.len() {
            for _ in 0..RECEIVES_PER_WAKE {
                let port = &self.out.ports[index];
                let number = port.socket.local_addr().port();
                // WouldBlock, or an ICMP error of an earlier send: nothing to read either way.
                let Ok(_) = port.socket.recv_batch(received) else { break };
                for datagram in received.iter_mut() {
                    let local = std::net::SocketAddr::new(datagram.local, number);
                    let tuple = Tuple { local, remote: datagram.remote, protocol: Protocol::Udp };
                    self.take_datagram(now, tuple, datagram.bytes);
                }
            }
        }
    }

    fn take_notices(&mut self, now: Instant) {
        for _ in 0..MESSAGES_PER_WAKE {
            let Ok(notice) = self.notices.try_recv() else { break };
            self.take_notice(now, notice);
        }
    }

    fn take_datagram(&mut self, now: Instant, tuple: Tuple, datagram: &mut [u8]) {
        let mut owner = self.worker.owner_of(&tuple, datagram);
        if owner == Owner::Nobody {
            // Its path may have become valid on another worker a moment ago: the notice was sent before the answer that the peer
            // answers here. Without it the first DTLS flight would be lost, and a second with it.
            self.take_notices(now);
            owner = self.worker.owner_of(&tuple, datagram);
        }
        match owner {
            Owner::Named(worker) => {
                let taken = datagram.len() <= MAX_STRAY
                    && self.shared.links.get(worker).is_some_and(|link| link.strays.try_send((tuple, BytesMut::from(&*datagram))).is_ok());
                self.worker.stats_mut().handovers += 1;
                self.worker.stats_mut().drop_handover += u64::from(!taken);
            }
            Owner::Worker(worker) => {
                let taken = self.shared.links.get(worker).is_some_and(|link| {
                    let message = Incoming::Datagram(tuple, BytesMut::from(&*datagram));
                    link.media.try_send(message).is_ok()
                });
                self.worker.stats_mut().handovers += 1;
                self.worker.stats_mut().drop_handover += u64::from(!taken);
            }
            // Nobody's are counted there.
            Owner::Here | Owner::Nobody => self.worker.handle_datagram(now, tuple, datagram, &mut self.out),
        }
    }

    fn take_media(&mut self, now: Instant, message: Incoming) {
        match message {
            Incoming::Batch { router, producer, batch } => self.worker.handle_batch(now, router, producer, batch),
            Incoming::Datagram(tuple, mut bytes) => self.worker.handle_datagram(now, tuple, &mut bytes, &mut self.out),
        }
    }

    fn take_connection(&mut self, Arrival { stream, few_files, .. }: Arrival) {
        if few_files {
            self.worker.stats_mut().tcp_few_files += 1;
        } else {
            tcp::first_frame(stream, &self.new_tcp, self.shared.clone(), self.index);
        }
    }

    fn take_tcp(&mut self, now: Instant, input: tcp::Input) {
        match input {
            tcp::Input::Frame(tuple, mut bytes) => self.worker.handle_datagram(now, tuple, &mut bytes, &mut self.out),
            tcp::Input::Closed(tuple, end) => {
                self.worker.stats_mut().tcp_stalled += u64::from(end == tcp::End::Stalled);
                self.out.tcp.remove(&tuple);
                self.worker.handle_disconnected(now, &tuple, &mut self.out);
            }
        }
    }

    fn take_notice(&mut self, now: Instant, notice: Notice) {
        let (worker, out) = (&mut self.worker, &mut self.out);
        match notice {
            Notice::CloseRouter(id) => worker.close_router(now, id, out),
            Notice::CloseTransport(id) => worker.close_transport(now, id, out),
            Notice::CloseProducer(router, id) => worker.close_producer(now, router, id, out),
            Notice::CloseConsumer(id) => worker.close_consumer(id, out),
            Notice::KeyFrameFor(id) => worker.request_key_frame_for(now, id),
            Notice::KeyFrame(router, id) => worker.request_key_frame(now, router, id),
            Notice::Route(tuple, owner, valid) => {
                worker.set_foreign_route(tuple, owner, valid);
                if let Some(steer) = &mut self.steer {
                    steer.set_route(now, &tuple, owner, valid);
                }
            }
            Notice::Ufrag(ufrag, owner, valid) => worker.set_foreign_ufrag(ufrag, owner, valid),
            Notice::Tcp(stream, tuple, frame) => self.adopt(now, stream, tuple, frame),
            Notice::Stop => self.stopping = true,
        }
    }

    fn adopt(&mut self, now: Instant, stream: std::net::TcpStream, tuple: Tuple, mut frame: BytesMut) {
        // As many connections as there may be transports, and none for a name that was made up: each needs a transport.
        if self.out.tcp.len() >= self.shared.config.max_transports || !self.worker.is_for_somebody(&frame) {
            return;
        }
        let Some(queue) = tcp::adopt(stream, tuple, self.tcp_in.clone()) else { return };
        self.out.tcp.insert(tuple, queue);
        self.worker.handle_datagram(now, tuple, &mut frame, &mut self.out);
    }

    fn tell_events(&mut self, now: Instant) {
        while let Some(event) = self.worker.poll_event() {
            match event {
                Event::Transport(id, event) => self.tell_transport(id, event),
                Event::Route(tuple, valid) => {
                    if !valid && tuple.protocol == Protocol::Tcp {
                        self.out.tcp.remove(&tuple);
                    }
                    for worker in (0..self.shared.links.len()).filter(|worker| *worker != self.index && tuple.protocol == Protocol::Udp) {
                        self.shared.notify(worker, Notice::Route(tuple, self.index, valid));
                    }
                    if let Some(steer) = &mut self.steer {
                        steer.set_route(now, &tuple, self.index, valid);
                    }
                }
                Event::Ufrag(ufrag, valid) => {
                    for worker in (0..self.shared.links.len()).filter(|worker| *worker != self.index) {
                        self.shared.notify(worker, Notice::Ufrag(ufrag.clone(), self.index, valid));
                    }
                }
                Event::KeyFrameWanted(router, producer) => match self.upstreams.get(&(router, producer)) {
                    // One request that waits to be read is enough.
                    Some(Upstream::Handle(handle)) => drop(handle.try_send(())),
                    Some(Upstream::Pipe { worker, router }) => self.shared.notify(*worker, Notice::KeyFrame(*router, producer)),
                    None => {}
                },
                Event::ProducerClosed(router, producer) => {
                    self.upstreams.remove(&(router, producer));
                }
                Event::ConsumerClosed(id) => {
                    if let Some(Reader::Pipe { worker, router, producer, .. }) = self.out.readers.remove(&id) {
                        self.shared.notify(worker, Notice::CloseProducer(router, producer));
                    }
                }
            }
        }
    }

    fn tell_transport(&mut self, id: TransportId, event: TransportEvent) {
        if event == TransportEvent::Closed {
            self.out.remove_port(id);
            if let Some(events) = self.transports.remove(&id) {
                let _ = events.try_send(event);
            }
        } else if let Some(events) = self.transports.get(&id)
            // The last place is kept for `Closed`.
            && events.capacity() > 1
        {
            let _ = events.try_send(event);
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
