//! One connection's socket and session, and the streams that it publishes and plays.

use std::future::ready;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::select;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::Context;
use super::connecting::Connecting;
use super::play::Player;
use super::publish::{self, Publisher, Refusal};
use super::rounds;
use super::slot::{Slot, SlotWake};
use crate::base::Share;
use crate::net::low_water::set_low_water;
use crate::rtmp::oddity::Oddity;
use crate::rtmp::session::{Event, MAX_ACTIVE, ServerSession};
use crate::rtmp::{Problem, RtmpError, Target};
use crate::stream::Publication;

/// Read at once at most: a key frame in a few reads, and 1000 connections hold 32 MiB.
const READ_BUFFER: usize = 32 * 1024;
/// How long a peer may take to take our answers, which are small, and to close after our last word.
const GOODBYE: Duration = Duration::from_secs(1);
/// What is still read from a peer after our last word, so that closing doesn't make its kernel throw that word away.
const MAX_LINGER: usize = 4 << 20;

/// Most bytes that are read ahead of a publisher that is held, while somebody waits for its place: more than its kernel and ours hold together
/// of one that is gone. Whoever has more to say is alive.
const MAX_AHEAD: usize = 16 << 20;
/// How often a publisher that is held is looked after while somebody waits for its place.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The last word to peers when the server goes.
const SHUTTING_DOWN: &str = "the server is shutting down";

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
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
    /// It has not begun, and others came.
    #[error("it published and played nothing, and too many connections have not begun (rtmp.max_connecting)")]
    GaveWay,
    /// All that was asked for was refused.
    #[error("refused")]
    Refused,
    #[error("{SHUTTING_DOWN}")]
    ShuttingDown,
}

/// A socket with its session.
pub(super) struct Connection {
    socket: TcpStream,
    session: ServerSession,
    buffer: Box<[u8]>,
    /// The last read filled the buffer: more is waiting.
    more: bool,
    peer: SocketAddr,
    context: Arc<Context>,
    /// What it holds: incomplete messages, and what a player has not taken.
    share: Share,
    /// What the peer has not taken yet, and until when it has to take some of it.
    unsent: BytesMut,
    stalled_at: Instant,
    slots: [Slot; MAX_ACTIVE],
    /// The SFU's worker on whose thread this runs, if it does on one.
    worker: Option<usize>,
    /// It is read in rounds with others, see [`rounds`].
    in_rounds: bool,
    /// Bytes that were read ahead of a publisher that is held.
    ahead: usize,
    /// Why nothing more can be read: it is over once what was read ahead is written.
    read_to: Option<End>,
    /// Until it has published something, or plays.
    connecting: Connecting,
}

/// What woke the connection up.
enum Wake {
    Read(std::io::Result<usize>),
    Written(std::io::Result<usize>),
    Round,
    Slot(usize, SlotWake),
    SessionTimeout,
    Stalled,
    GivesWay,
    Cancelled,
}

/// Serves a connection to its end.
pub(super) async fn serve(context: Arc<Context>, socket: TcpStream, peer: SocketAddr, connecting: Connecting) {
    context.metrics.connections.inc();
    // Answers are small and awaited.
    let _ = socket.set_nodelay(true);
    // A player whose machine vanished is noticed although it never sends.
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    let _ = SockRef::from(&socket).set_tcp_keepalive(&keepalive);
    let served = Connection::new(context.clone(), socket, peer, connecting).serve().await;
    let metrics = &context.metrics;
    metrics.connections.dec();
    let Some((mut connection, end)) = served else { return };
    match &end {
        End::Protocol(error) => {
            metrics.errors.inc();
            metrics.strangers.inc_by(u64::from(matches!(error.problem, Problem::NotRtmp { .. })));
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
    fn new(context: Arc<Context>, socket: TcpStream, peer: SocketAddr, connecting: Connecting) -> Self {
        let now = context.now();
        Self {
            socket,
            session: ServerSession::new(now, context.session_timeouts()),
            buffer: vec![0; READ_BUFFER].into(),
            more: false,
            peer,
            share: context.budget.share(),
            context,
            unsent: BytesMut::new(),
            stalled_at: now.into(),
            slots: [const { Slot::Free }; MAX_ACTIVE],
            worker: None,
            in_rounds: false,
            ahead: 0,
            read_to: None,
            connecting,
        }
    }

    /// To its end, which comes back with it; `None` if a worker of the SFU took it along in dying.
    async fn serve(mut self) -> Option<(Self, End)> {
        let (peer, mut step) = (self.peer, self.run().await);
        loop {
            let home = match step {
                Ok(home) => home,
                Err(end) => {
                    self.free_all(&end.to_string()).await;
                    self.report_oddities();
                    return Some((self, end));
                }
            };
            // On the thread that forwards what comes, so that a packet is sent to viewers by whoever read it.
            let moved = home.spawn(async move {
                let mut here = self.move_here()?;
                let step = here.run().await;
                Ok::<_, End>((here, step))
            });
            (self, step) = match AbortOnDropHandle::new(moved).await {
                Ok(Ok(back)) => back,
                Ok(Err(end)) => {
                    tracing::warn!(%peer, %end, "RTMP connection lost");
                    return None;
                }
                Err(error) => {
                    tracing::error!(%peer, %error, "RTMP connection lost");
                    return None;
                }
            };
        }
    }

    /// Lets the runtime that this is called in look after the socket from now on.
    fn move_here(mut self) -> Result<Self, End> {
        self.socket = TcpStream::from_std(self.socket.into_std()?)?;
        Ok(self)
    }

    /// Until the end, or until it is to go on in another runtime.
    async fn run(&mut self) -> Result<Handle, End> {
        loop {
            if let Some(home) = self.handle_events().await? {
                return Ok(home);
            }
            self.report_oddities();
            self.ahead = 0;
            if let Some(end) = self.read_to.take() {
                return Err(end);
            }
            if !self.more {
                self.session.caught_up();
            }
            self.take_output();
            if self.session.is_closing() {
                return Err(End::Refused);
            }
            if self.slots.iter().any(Slot::has_begun) {
                self.connecting.begun();
            }
            self.choose_rounds()?;
            let more = std::mem::take(&mut self.more);
            if more {
                // Whoever sends faster than real time must not keep the worker, whose thread this is, from its viewers, nor fill its
                // queue, which is every stream's.
                tokio::task::yield_now().await;
            }
            match self.wait(more).await {
                Wake::Read(n) => self.take_input(n?)?,
                Wake::Round => self.read_what_is_there()?,
                Wake::Written(n) => self.written(n?),
                Wake::Slot(index, wake) => self.handle_slot(index, wake).await,
                Wake::SessionTimeout => self.session.handle_timeout(self.context.now())?,
                Wake::Stalled => return Err(End::Stalled(self.context.config.player_timeout)),
                Wake::GivesWay => return Err(End::GaveWay),
                Wake::Cancelled => return Err(self.shut_down()),
            }
        }
    }

    /// Cancel safe, all of it: between socket and session nothing is awaited.
    async fn wait(&mut self, more: bool) -> Wake {
        // A peer that doesn't take our answers is not asked for more questions.
        let may_ask = self.unsent.len() <= self.context.config.player_buffer;
        let deadline = self.session.poll_timeout().map(Instant::from);
        let now = self.context.hub.clock().now();
        let round = Instant::from(now.at) + if self.in_rounds { rounds::ROUNDS.until_next(now.wall) } else { Duration::ZERO };
        let (mut reader, mut writer) = self.socket.split();
        let [a, b, c, d] = &mut self.slots;
        select! {
            n = reader.read(&mut self.buffer), if may_ask => Wake::Read(n),
            () = sleep_until(round), if self.in_rounds && may_ask && !more => Wake::Round,
            () = ready(()), if may_ask && more => Wake::Round,
            n = writer.write(&self.unsent), if !self.unsent.is_empty() => Wake::Written(n),
            wake = a.next() => Wake::Slot(0, wake),
            wake = b.next() => Wake::Slot(1, wake),
            wake = c.next() => Wake::Slot(2, wake),
            wake = d.next() => Wake::Slot(3, wake),
            () = sleep_until(self.stalled_at), if !self.unsent.is_empty() => Wake::Stalled,
            () = sleep_until(deadline.unwrap_or(self.stalled_at)), if deadline.is_some() => Wake::SessionTimeout,
            () = self.connecting.gives_way() => Wake::GivesWay,
            () = self.context.cancel.cancelled() => Wake::Cancelled,
        }
    }

    /// Many publishers whom nobody watches are read together.
    fn choose_rounds(&mut self) -> Result<(), End> {
        let publishes = |slot: &Slot| matches!(slot, Slot::Publisher(publisher) if !publisher.is_watched());
        let patient = self.slots.iter().all(|slot| slot.is_free() || publishes(slot)) && !self.slots.iter().all(Slot::is_free);
        let in_rounds = rounds::apply(self.context.metrics.publishers.get(), !patient);
        if in_rounds != self.in_rounds {
            set_low_water(&self.socket, if in_rounds { rounds::LOW_WATER } else { 1 })?;
            self.in_rounds = in_rounds;
        }
        Ok(())
    }

    /// Reads although the runtime was not told that there is something.
    fn read_what_is_there(&mut self) -> Result<(), End> {
        match (&*SockRef::from(&self.socket)).read(&mut self.buffer) {
            Ok(n) => self.take_input(n),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn take_input(&mut self, n: usize) -> Result<(), End> {
        if n == 0 {
            return Err(End::Closed);
        }
        self.more = n == self.buffer.len();
        self.context.metrics.received.inc_by(n as u64);
        self.session.handle_input(self.context.now(), &self.buffer[..n])?;
        for slot in &self.slots {
            if let Slot::Publisher(publisher) = slot
                && self.session.take_heard(publisher.stream())
            {
                publisher.note_media();
            }
        }
        let in_assembly = self.session.in_assembly();
        self.share.set(in_assembly + self.unsent.len() + self.ahead);
        if in_assembly > self.unsent.len() && self.share.is_over() {
            return Err(End::OverBudget(in_assembly));
        }
        Ok(())
    }

    fn written(&mut self, n: usize) {
        self.context.metrics.sent.inc_by(n as u64);
        self.unsent.advance(n);
        self.stalled_at = (self.context.now() + self.context.config.player_timeout).into();
        if self.unsent.is_empty() && self.unsent.capacity() > self.context.config.player_buffer {
            self.unsent = BytesMut::new();
        }
    }

    fn take_output(&mut self) {
        while let Some(output) = self.session.poll_output() {
            if self.unsent.is_empty() {
                self.stalled_at = (self.context.now() + self.context.config.player_timeout).into();
            }
            self.unsent.extend_from_slice(&output);
        }
        self.share.set(self.session.in_assembly() + self.unsent.len());
    }

    /// Obeys the session; says where to go on, if not here.
    async fn handle_events(&mut self) -> Result<Option<Handle>, End> {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Media(stream, media) => {
                    let Some(index) = self.slot_of(stream) else { continue };
                    let Slot::Publisher(publisher) = &mut self.slots[index] else { continue };
                    match publisher.handle(&media).await {
                        Ok(wait) if wait.is_zero() => {}
                        Ok(wait) => {
                            let evicted = self.hold(index, wait).await;
                            // It was not silent: it was not listened to.
                            self.session.touch(self.context.now());
                            if let Some(why) = evicted {
                                tracing::info!(peer = %self.peer, ahead = self.ahead, why, "what is left of an RTMP publisher is left out");
                                self.session.finish_stream(stream, why);
                                self.free(index, why).await;
                            }
                        }
                        Err(error) => {
                            let why = error.to_string();
                            self.session.finish_stream(stream, &why);
                            self.free(index, &why).await;
                        }
                    }
                }
                Event::Publish(stream, target) => {
                    if let Some(home) = self.publish(stream, target).await? {
                        return Ok(Some(home));
                    }
                }
                Event::Play(stream, target) => self.play(stream, target).await?,
                Event::Receive { stream, audio, video } => {
                    if let Some(Slot::Player(player)) = self.slot_of(stream).map(|index| &mut self.slots[index]) {
                        player.set_wanted(audio, video);
                    }
                }
                Event::Metadata(stream, metadata) => {
                    tracing::debug!(peer = %self.peer, ?metadata, "onMetaData");
                    if let Some(Slot::Publisher(publisher)) = self.slot_of(stream).map(|index| &mut self.slots[index]) {
                        publisher.metadata(&metadata).await;
                    }
                }
                Event::Ended(stream) => {
                    if let Some(index) = self.slot_of(stream) {
                        self.free(index, "the peer ended it").await;
                    }
                }
            }
        }
        Ok(None)
    }

    /// Leaves a publisher that is ahead of the clock unread for a while; says why, if it has to go. While somebody waits for its place, what it
    /// has sent is read all the same: whether it is alive, has ended or is gone without a word is behind that.
    async fn hold(&mut self, index: usize, wait: Duration) -> Option<&'static str> {
        let until = Instant::from(self.context.now() + wait);
        loop {
            let Slot::Publisher(publisher) = &mut self.slots[index] else { return None };
            let asked_for = publisher.is_asked_for();
            let ended = self.read_to.is_some() || !self.session.publishes(publisher.stream());
            if asked_for && ended && publisher.hurry() {
                return None;
            }
            let reads = asked_for && !ended && self.ahead < MAX_AHEAD && !self.share.is_over();
            if asked_for && !ended && !reads {
                publisher.note_media();
            }
            let read = select! {
                biased;
                why = publisher.evicted() => return Some(why),
                () = self.context.cancel.cancelled() => return None,
                () = sleep_until(until) => return None,
                n = self.socket.read(&mut self.buffer), if reads => n,
                () = publisher.asked_for(), if !asked_for => continue,
                () = tokio::time::sleep(LOOK_AGAIN), if asked_for => continue,
            };
            let taken = read.map_err(End::from).and_then(|n| {
                self.ahead += n;
                self.take_input(n)
            });
            self.read_to = taken.err();
        }
    }

    async fn publish(&mut self, stream: u32, target: Target) -> Result<Option<Handle>, End> {
        let publication = match self.ask(&target).await? {
            Ok(publication) => publication,
            Err(error) => {
                self.context.metrics.refused.inc();
                tracing::info!(path = %target.path, peer = %self.peer, %error, "RTMP publisher refused");
                self.session.reject_publish(self.context.now(), stream, error.code(), &error.to_string())?;
                return Ok(None);
            }
        };
        tracing::info!(path = %publication.stream().path(), peer = %self.peer, agent = self.session.agent(), "RTMP publisher began");
        if publication.has_taken_over() {
            self.session.oddities().note(Oddity::Predecessor);
        }
        let home = publication.router();
        let (worker, runtime) = (home.worker(), home.runtime().clone());
        let alone = self.slots.iter().all(Slot::is_free);
        let Some(place) = self.slots.iter().position(Slot::is_free) else { return Ok(None) };
        self.slots[place] = Slot::Publisher(Box::new(Publisher::new(stream, publication, self.context.clone(), self.peer)));
        self.session.accept_publish(self.context.now(), stream)?;
        if alone && self.worker != Some(worker) {
            self.worker = Some(worker);
            return Ok(Some(runtime));
        }
        Ok(None)
    }

    /// Asks the hub, for each of what may be meant until a key fits. What the peer sends while the hub waits for another publisher to
    /// prove silent is read, as far as there is room for it: so it is seen if the peer goes away.
    async fn ask(&mut self, target: &Target) -> Result<Result<Publication, Refusal>, End> {
        let (context, cancel) = (self.context.clone(), self.context.cancel.clone());
        let (remote, agent) = (self.peer.ip().to_canonical(), self.session.agent().map(str::to_owned));
        // Other streams of this connection don't wait for this one.
        let patient = self.slots.iter().all(Slot::is_free);
        let decide = async move { publish::ask(&context, target, remote, agent, patient).await };
        let mut decide = std::pin::pin!(decide);
        loop {
            let room = if patient { self.session.room().min(self.buffer.len()) } else { 0 };
            let n = select! {
                biased;
                answer = &mut decide => return Ok(answer),
                () = cancel.cancelled() => return Err(self.shut_down()),
                n = self.socket.read(&mut self.buffer[..room]), if room > 0 => n?,
            };
            self.take_input(n)?;
        }
    }

    async fn play(&mut self, stream: u32, target: Target) -> Result<(), End> {
        match Player::open(stream, &target, self.context.clone(), self.peer).await {
            Ok(mut player) => {
                tracing::info!(path = %player.path(), peer = %self.peer, agent = self.session.agent(), "RTMP player began");
                let Some(place) = self.slots.iter().position(Slot::is_free) else { return Ok(()) };
                self.session.accept_play(self.context.now(), stream)?;
                player.begin(&mut self.session);
                self.slots[place] = Slot::Player(Box::new(player));
            }
            Err(error) => {
                self.context.metrics.refused.inc();
                tracing::info!(path = %target.path, peer = %self.peer, %error, "RTMP player refused");
                self.session.reject_play(self.context.now(), stream, error.code(), &error.to_string())?;
            }
        }
        Ok(())
    }

    async fn handle_slot(&mut self, index: usize, wake: SlotWake) {
        let backlog = if self.share.is_over() { usize::MAX } else { self.unsent.len() };
        match (&mut self.slots[index], wake) {
            (Slot::Publisher(publisher), SlotWake::Evicted(why)) => {
                self.session.finish_stream(publisher.stream(), why);
                self.free(index, why).await;
            }
            (Slot::Publisher(publisher), SlotWake::Silent) => {
                if let Err(error) = publisher.quiet().await {
                    let why = error.to_string();
                    self.session.finish_stream(publisher.stream(), &why);
                    self.free(index, &why).await;
                }
            }
            (Slot::Player(player), SlotWake::Player(wake)) => {
                if let Err(error) = player.handle(wake, &mut self.session, backlog).await {
                    let why = error.to_string();
                    self.session.finish_stream(player.stream(), &why);
                    self.free(index, &why).await;
                }
            }
            _ => {}
        }
    }

    fn slot_of(&self, stream: u32) -> Option<usize> {
        self.slots.iter().position(|slot| slot.stream() == Some(stream))
    }

    async fn free(&mut self, index: usize, why: &str) {
        match std::mem::replace(&mut self.slots[index], Slot::Free) {
            Slot::Publisher(publisher) => publisher.end(self.session.received(), why).await,
            Slot::Player(player) => player.end(why),
            Slot::Free => {}
        }
    }

    async fn free_all(&mut self, why: &str) {
        for index in 0..self.slots.len() {
            self.free(index, why).await;
        }
    }

    /// What the session put up with: in the metrics, once in the log, and where the publisher can change it on the stream's page.
    fn report_oddities(&mut self) {
        for (oddity, times, first) in self.session.oddities().take_news() {
            self.context.metrics.count_oddity(oddity, times);
            if first {
                tracing::info!(peer = %self.peer, what = oddity.name(), "{}", oddity.sentence());
            }
            for slot in &self.slots {
                if let (Slot::Publisher(publisher), Some(advice)) = (slot, oddity.advice()) {
                    publisher.warn(oddity.name(), advice);
                }
            }
        }
    }

    /// The last word of a server that stops.
    fn shut_down(&mut self) -> End {
        self.session.finish(SHUTTING_DOWN);
        End::ShuttingDown
    }

    /// Sends what is left, then closes in a way that lets the peer read it.
    async fn goodbye(&mut self) {
        let goodbye = async {
            self.take_output();
            self.socket.write_all(&self.unsent).await?;
            self.context.metrics.sent.inc_by(self.unsent.len() as u64);
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
