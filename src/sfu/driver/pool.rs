//! The worker threads and their sockets.
//!
//! In: the configuration. Out: threads that run, the addresses they listen on, and their end.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::outbox::NetOutbox;
use super::router::Router;
use super::shard::{Queues, Shard, Shared};
use super::shared::{COMMAND_QUEUE, Link, MEDIA_QUEUE, Notice, STRAY_QUEUE};
use super::tcp;
use crate::base::{Clock, Lots, Section, Vital, Vitals, lock};
use crate::net::accept::Acceptor;
use crate::net::interfaces::expand_wildcard;
use crate::net::tcp::{is_unknown_family, listen_one_family};
use crate::net::udp::UdpPort;
use crate::sfu::config::SfuConfig;
use crate::sfu::error::SfuError;
use crate::sfu::peer::{Certificate, host_candidates};
use crate::sfu::stats::WorkerStats;
use crate::sfu::worker::Worker;

/// The worker threads and their sockets.
#[derive(Debug)]
pub(crate) struct WorkerPool {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What a worker's thread reports once it listens.
type Started = Result<Vec<SocketAddr>, SfuError>;

impl WorkerPool {
    /// Opens the sockets and starts the threads. Blocks for the few milliseconds that takes.
    ///
    /// # Errors
    /// An address can't be listened on, or a value of the configuration is out of its bounds.
    pub(crate) fn start(config: &SfuConfig, clock: &Clock, lots: &Lots, vitals: &Vitals) -> Result<WorkerPool, SfuError> {
        config.sound()?;
        config.listen.iter().try_for_each(|address| check_free(*address))?;
        let count = match config.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(256),
            workers => workers,
        };
        let certificate = Certificate::generate()?;
        let (mut links, mut queues) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
            let (media, media_queue) = mpsc::channel(MEDIA_QUEUE);
            let (strays, stray_queue) = mpsc::channel(STRAY_QUEUE);
            let (notices, notice_queue) = mpsc::unbounded_channel();
            links.push(Link { commands, media, strays, notices, refused: Arc::default() });
            queues.push((Queues { commands: command_queue, media: media_queue, strays: stray_queue }, notice_queue));
        }
        let shared = Arc::new(Shared { links, config: config.clone(), candidates: std::sync::OnceLock::new() });
        let mut pool = WorkerPool { shared: shared.clone(), addresses: config.listen.clone(), threads: Mutex::new(Vec::new()) };
        for (index, (queues, notices)) in queues.into_iter().enumerate() {
            let worker = Worker::new(index as u16, config.clone(), certificate.clone(), clock.wall().clone(), lots.draw());
            let (shared, addresses, clock) = (shared.clone(), pool.addresses.clone(), clock.clone());
            let vital = vitals.vital("a worker of the SFU");
            let (report, started) = std::sync::mpsc::sync_channel::<Started>(1);
            let thread = std::thread::Builder::new()
                .name(format!("sfu-{index}"))
                .spawn(move || run(index, worker, clock, shared, &addresses, count > 1, queues, notices, &report, vital))
                .map_err(SfuError::Thread)?;
            lock(&pool.threads).push(thread);
            // The first worker settles which port 0 has become, and which addresses exist at all.
            pool.addresses = started.recv().map_err(|_| SfuError::ThreadEnded)??;
        }
        let media = pool.media_addresses();
        let tcp: &[SocketAddr] = if config.ice_tcp { &media } else { &[] };
        let candidates = [false, true].map(|prefer_tcp| host_candidates(&media, tcp, &config.announced_addresses, prefer_tcp));
        let _ = shared.candidates.set(candidates);
        tracing::info!(workers = count, listen = ?pool.addresses, "SFU is up");
        Ok(pool)
    }

    /// How many workers there are, at least 1.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub(crate) fn len(&self) -> usize {
        self.shared.links.len()
    }

    /// Where browsers can reach the workers on this machine, wildcards expanded to the interfaces' addresses.
    pub(crate) fn media_addresses(&self) -> Vec<SocketAddr> {
        self.addresses.iter().flat_map(|address| expand_wildcard(*address).unwrap_or_default()).collect()
    }

    /// Counters and gauges of all workers together. Workers that are gone count no more.
    pub(crate) async fn stats(&self) -> WorkerStats {
        let mut sum = WorkerStats::default();
        for worker in 0..self.len() {
            let stats = self.shared.call(worker, move |shard, _| {
                let mut stats = shard.worker.stats();
                stats.drop_send += shard.out.lost();
                stats.drop_queue_full += shard.shared.links[worker].refused.load(Ordering::Relaxed);
                stats
            });
            if let Ok(stats) = stats.await {
                sum.add(&stats);
            }
        }
        sum
    }

    /// Whether all workers answer, each within this time.
    pub(crate) async fn answer_within(&self, time: Duration) -> bool {
        let answers = (0..self.len()).map(|worker| tokio::time::timeout(time, self.shared.call(worker, |_, _| ())));
        join_all(answers).await.iter().all(|answer| matches!(answer, Ok(Ok(()))))
    }

    /// Makes a router on worker `worker` (0 to `len() - 1`).
    pub(crate) async fn create_router(&self, worker: usize) -> Result<Router, SfuError> {
        Router::create(&self.shared, worker).await
    }

    /// Ends all workers: transports send DTLS close_notify, sockets close. Returns when they have.
    pub(crate) async fn shutdown(&self) {
        self.stop();
        let threads = std::mem::take(&mut *lock(&self.threads));
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count()).await;
        if joined.is_ok_and(|panicked| panicked > 0) {
            tracing::error!("an SFU worker had died before shutdown");
        }
    }

    /// Does something on a worker's thread.
    #[cfg(test)]
    pub(super) async fn plant(&self, worker: usize, what: impl FnOnce(&mut Shard, std::time::Instant) + Send + 'static) {
        let _ = self.shared.call(worker, what).await;
    }

    fn stop(&self) {
        for worker in 0..self.len() {
            self.shared.notify(worker, Notice::Stop);
        }
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        self.stop();
    }
}

#[allow(clippy::too_many_arguments)] // the thread's whole inheritance, handed over once
fn run(
    index: usize,
    worker: Worker,
    clock: Clock,
    shared: Arc<Shared>,
    addresses: &[SocketAddr],
    reuse_port: bool,
    queues: Queues,
    notices: mpsc::UnboundedReceiver<Notice>,
    report: &std::sync::mpsc::SyncSender<Started>,
    _vital: Vital,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = report.send(Err(SfuError::Thread(error)));
            return;
        }
    };
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let (ports, listeners) = match listen(addresses, shared.config.ice_tcp, reuse_port) {
            Ok(opened) => opened,
            Err(error) => {
                let _ = report.send(Err(error));
                return;
            }
        };
        let _ = report.send(Ok(ports.iter().map(UdpPort::local_addr).collect()));
        let (tcp_in, tcp_out) = mpsc::channel(tcp::READ_QUEUE);
        Shard::new(index, worker, clock, NetOutbox::new(ports), shared, tcp_in, notices).run(queues, listeners, tcp_out).await;
    });
}

fn listen(addresses: &[SocketAddr], ice_tcp: bool, reuse_port: bool) -> Result<(Vec<UdpPort>, Vec<Acceptor>), SfuError> {
    let (mut ports, mut listeners) = (Vec::new(), Vec::new());
    let mut unavailable = None;
    for address in addresses {
        let opened = open(*address, ice_tcp, reuse_port);
        match opened {
            Ok((port, listener)) => {
                ports.push(port);
                listeners.extend(listener);
            }
            // A machine without IPv6 has no [::]; the default configuration names it all the same.
            Err(source) if address.is_ipv6() && address.ip().is_unspecified() && is_unknown_family(&source) => {
                tracing::debug!(%address, %source, "IPv6 isn't available");
                unavailable = Some(SfuError::Listen { address: *address, source });
            }
            Err(source) => return Err(SfuError::Listen { address: *address, source }),
        }
    }
    match unavailable {
        Some(error) if ports.is_empty() => Err(error),
        _ => Ok((ports, listeners)),
    }
}

fn open(address: SocketAddr, ice_tcp: bool, reuse_port: bool) -> io::Result<(UdpPort, Option<Acceptor>)> {
    /// A port that is free for UDP may be taken for TCP: with port 0 another one is tried.
    const TRIES: usize = 16;
    let mut tries = if address.port() == 0 { TRIES } else { 1 };
    loop {
        tries -= 1;
        let port = UdpPort::bind(address, reuse_port)?;
        if !ice_tcp {
            return Ok((port, None));
        }
        match listen_one_family(port.local_addr(), reuse_port) {
            Ok(listener) => return Ok((port, Some(Acceptor::new("ICE-TCP", listener)))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether another process has the address. With `SO_REUSEPORT` a second server of the same user could bind it as well, and each of
/// them would get half of the datagrams.
fn check_free(address: SocketAddr) -> Result<(), SfuError> {
    match std::net::UdpSocket::bind(address) {
        Err(source) if source.kind() == io::ErrorKind::AddrInUse => Err(SfuError::Listen { address, source }),
        // Other errors come again, and are dealt with, when the workers bind it.
        _ => Ok(()),
    }
}
