//! One child process and its socket.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::event::JobEvent;
use super::metrics::PipelineMetrics;
use crate::base::{Clock, lock};
use crate::net::quiet::Quiet;
use crate::pipeline::error::PipelineError;
use crate::pipeline::quarantine::{Quarantine, Victim};
use crate::pipeline::wire::{Assembler, JobId, MAX_FRAME, Message, WireError, decode, encode_frame};

/// How long children get to end by themselves.
pub(super) const SHUTDOWN_TIME: Duration = Duration::from_secs(2);
/// Socket buffer each way: the bound on RTP under way to a child (2 s of two 4 Mbit/s streams; the kernel counts its overhead too)
/// and on chunks under way back. It replaces a queue in this process.
const SOCKET_BUFFER: usize = 4 << 20;
/// How often the child is looked after.
const TICK: Duration = Duration::from_secs(1);
/// It is asked whether it lives every so many ticks.
const PING_TICKS: u32 = 2;
/// It is killed after so many ticks without an answer.
const HUNG_TICKS: u32 = 5;
/// A child without jobs ends after so many ticks, to give back its memory.
const IDLE_TICKS: u32 = 60;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It was stopped.
    Asked,
    /// By itself, or killed because it hung.
    Died,
}

/// The parent's side of a child.
#[derive(Debug)]
pub(super) struct Child {
    /// Its process id.
    pub pid: Option<u32>,
    /// For one job, which others shall not die of.
    pub alone: bool,
    socket: Quiet<UnixDatagram>,
    jobs: Mutex<HashMap<JobId, (Victim, mpsc::Sender<JobEvent>)>>,
    quarantine: Arc<Mutex<Quarantine>>,
    clock: Clock,
    /// Jobs promised but not started yet.
    reserved: AtomicUsize,
    next_job: AtomicU32,
    alive: AtomicBool,
    closing: CancellationToken,
    killing: CancellationToken,
    ended: CancellationToken,
    /// Jobs to remove whose message found the socket full.
    leftover: Mutex<Vec<JobId>>,
    pub metrics: PipelineMetrics,
}

/// A place for a job on a child.
#[derive(Debug)]
pub(super) struct Reservation(pub Arc<Child>);

impl Drop for Reservation {
    fn drop(&mut self) {
        self.0.reserved.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Child {
    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    pub(super) fn job_count(&self) -> usize {
        lock(&self.jobs).len() + self.reserved.load(Ordering::Relaxed)
    }

    pub(super) fn reserve(self: Arc<Self>) -> Reservation {
        self.reserved.fetch_add(1, Ordering::Relaxed);
        Reservation(self)
    }

    /// Makes a job known.
    pub(super) fn add(&self, name: String, events: mpsc::Sender<JobEvent>) -> JobId {
        let id = self.next_job.fetch_add(1, Ordering::Relaxed);
        let job = Victim { name, began: self.clock.at() };
        lock(&self.jobs).insert(id, (job, events));
        self.metrics.jobs.inc();
        id
    }

    /// Forgets a job, here and in the child.
    pub(super) fn remove(&self, id: JobId) {
        if lock(&self.jobs).remove(&id).is_some() {
            self.metrics.jobs.dec();
        }
        if self.alone {
            self.close();
        } else if self.is_alive() && !self.try_message(&Message::Remove(id)) {
            lock(&self.leftover).push(id);
        }
    }

    /// Sends a small message if there is room.
    pub(super) fn try_message(&self, message: &Message) -> bool {
        encode_frame(message).is_ok_and(|frame| self.try_frame(&frame))
    }

    /// Sends a frame if there is room.
    pub(super) fn try_frame(&self, frame: &[u8]) -> bool {
        self.socket.socket().send(frame).is_ok()
    }

    /// Sends a message that must fit one frame, waiting for room.
    pub(super) async fn send(&self, message: &Message) -> Result<(), PipelineError> {
        self.send_frame(&encode_frame(message)?).await
    }

    /// Sends a frame, waiting for room.
    pub(super) async fn send_frame(&self, frame: &[u8]) -> Result<(), PipelineError> {
        tokio::select! {
            () = self.ended.cancelled() => Err(PipelineError::ChildGone),
            sent = self.send_waiting(frame) => sent.map_err(|_| PipelineError::ChildGone),
        }
    }

    async fn send_waiting(&self, frame: &[u8]) -> std::io::Result<()> {
        loop {
            match self.socket.socket().send(frame) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.socket.writable().await?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                sent => return sent.map(drop),
            }
        }
    }

    pub(super) fn close(&self) {
        self.closing.cancel();
    }

    pub(super) fn kill(&self) {
        self.killing.cancel();
    }

    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    fn dispatch(&self, message: Message) -> Option<u64> {
        let id = match &message {
            Message::Pong(number) => return Some(*number),
            Message::Started(id) | Message::KeyFrameRequest(id, _) | Message::FormatOut(id, ..) | Message::Eos(id) => *id,
            Message::Init(id, _) => *id,
            Message::Chunk(id, chunk, _) => {
                self.metrics.chunks.inc();
                self.metrics.chunk_bytes.inc_by(chunk.data.len() as u64);
                *id
            }
            Message::Unit { job, .. } => *job,
            Message::Failed { job, .. } => {
                self.metrics.jobs_failed.inc();
                *job
            }
            _ => return None,
        };
        let mut jobs = lock(&self.jobs);
        if let Some((_, events)) = jobs.get(&id)
            && events.try_send(JobEvent::Message(message)).is_err()
        {
            // Its owner sees the closed channel after what is in it, as if the child had died.
            jobs.remove(&id);
            self.metrics.jobs.dec();
            self.metrics.jobs_overrun.inc();
        }
        None
    }
}

/// Starts a child. `first`: GStreamer may look whether plugins changed; later children trust the registry, which saves them half a second.
pub(super) fn spawn(
    program: &Path,
    registry: Option<&Path>,
    first: bool,
    alone: bool,
    quarantine: &Arc<Mutex<Quarantine>>,
    clock: &Clock,
    metrics: &PipelineMetrics,
) -> Result<(Arc<Child>, oneshot::Receiver<End>), PipelineError> {
    let failed = |source| PipelineError::Spawn { program: program.to_owned(), source };
    let (ours, theirs) = socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::SEQPACKET, None).map_err(failed)?;
    for socket in [&ours, &theirs] {
        // Less than asked for is granted silently; whatever it is, is the bound.
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    }
    ours.set_nonblocking(true).map_err(failed)?;
    // std has no type for SOCK_SEQPACKET; its datagram socket makes the same system calls.
    let socket = Quiet::new(UnixDatagram::from(OwnedFd::from(ours))).map_err(failed)?;
    let mut command = tokio::process::Command::new(program);
    command
        .arg("pipeline-host")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        // Ctrl-C in a terminal is for the parent, which then ends its children in order.
        .process_group(0)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_passed_on)))
        .env("GST_REGISTRY_FORK", "no")
        .env("GST_DEBUG_NO_COLOR", "1");
    if let Some(registry) = registry {
        command.env("GST_REGISTRY", registry);
    }
    if !first {
        command.env("GST_REGISTRY_UPDATE", "no");
    }
    let process = command.spawn().map_err(failed)?;
    tracing::info!(pid = process.id(), "GStreamer child started");
    metrics.children_started.inc();
    metrics.children.inc();
    let child = Arc::new(Child {
        pid: process.id(),
        alone,
        socket,
        jobs: Mutex::default(),
        quarantine: Arc::clone(quarantine),
        clock: clock.clone(),
        reserved: AtomicUsize::new(0),
        next_job: AtomicU32::new(1),
        alive: AtomicBool::new(true),
        closing: CancellationToken::new(),
        killing: CancellationToken::new(),
        ended: CancellationToken::new(),
        leftover: Mutex::default(),
        metrics: metrics.clone(),
    });
    let (tell, ended) = oneshot::channel();
    tokio::spawn(watch(Arc::clone(&child), process, tell));
    Ok((child, ended))
}

/// Whether a child gets this variable of the environment: what GStreamer, GLib and the loader go by. No keys and tokens, which may be there
/// as settings.
fn is_passed_on(name: &str) -> bool {
    let families = ["GST_", "LC_", "G_", "ORC_", "LD_", "XDG_"];
    ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "RUST_BACKTRACE"].contains(&name) || families.iter().any(|family| name.starts_with(family))
}

async fn watch(child: Arc<Child>, mut process: tokio::process::Child, tell: oneshot::Sender<End>) {
    let pid = process.id();
    let end = tokio::select! {
        // Where what it says can't be dealt with, its jobs go on in another one.
        end = AssertUnwindSafe(serve(&child)).catch_unwind() => end.unwrap_or(End::Died),
        () = child.killing.cancelled() => End::Asked,
        status = process.wait() => {
            tracing::warn!(pid, ?status, "GStreamer child died");
            End::Died
        }
    };
    child.alive.store(false, Ordering::Relaxed);
    if end == End::Asked && !child.killing.is_cancelled() {
        // The socket's other end closes when this one is shut down; then it ends by itself.
        let _ = child.socket.socket().shutdown(std::net::Shutdown::Both);
        tokio::select! {
            _ = process.wait() => {}
            () = child.killing.cancelled() => {}
            () = tokio::time::sleep(SHUTDOWN_TIME) => {}
        }
    }
    let _ = process.kill().await;
    let jobs = std::mem::take(&mut *lock(&child.jobs));
    child.metrics.jobs.dec_by(jobs.len() as i64);
    child.metrics.children.dec();
    if end == End::Died {
        child.metrics.children_died.inc();
    }
    let (victims, owners): (Vec<_>, Vec<_>) = jobs.into_values().unzip();
    if end == End::Died {
        // Before their owners start them again.
        lock(&child.quarantine).died(child.clock.at(), &victims);
    }
    for events in owners {
        // Where there is no room, the closed channel says the same.
        let _ = events.try_send(JobEvent::Lost);
    }
    child.ended.cancel();
    let _ = tell.send(end);
}

/// Reads what the child says until it is gone.
async fn serve(child: &Arc<Child>) -> End {
    let mut assembler = Assembler::default();
    let mut buffer = vec![0; MAX_FRAME];
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut ticks, mut silent, mut idle) = (0_u32, 0_u32, 0_u32);
    loop {
        tokio::select! {
            biased;
            () = child.closing.cancelled() => return End::Asked,
            _ = tick.tick() => {
                ticks = ticks.wrapping_add(1);
                silent += 1;
                if silent > HUNG_TICKS {
                    tracing::warn!("GStreamer child does not answer; it is killed");
                    child.metrics.children_hung.inc();
                    return End::Died;
                }
                if ticks % PING_TICKS == 0 {
                    child.try_message(&Message::Ping(u64::from(ticks)));
                }
                let leftover = std::mem::take(&mut *lock(&child.leftover));
                for id in leftover {
                    child.remove(id);
                }
                idle = if child.job_count() == 0 { idle + 1 } else { 0 };
                if idle > IDLE_TICKS {
                    tracing::info!("GStreamer child ended: it had nothing to do");
                    return End::Asked;
                }
            }
            received = child.socket.read(|socket| socket.recv(&mut buffer)) => match received {
                Ok(0) | Err(_) => return End::Died,
                Ok(length) => match take(child, &mut assembler, &buffer[..length]) {
                    // Whatever it says, it lives; but only a pong says that it still takes jobs.
                    Ok(Some(_)) => silent = 0,
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(%error, "GStreamer child speaks nonsense; it is killed");
                        return End::Died;
                    }
                },
            },
        }
    }
}

fn take(child: &Child, assembler: &mut Assembler, frame: &[u8]) -> Result<Option<u64>, WireError> {
    match assembler.push(frame)? {
        Some(message) => Ok(child.dispatch(decode(message)?)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_see_no_secrets() {
        for name in ["PATH", "HOME", "LANG", "LC_ALL", "GST_PLUGIN_PATH", "GST_DEBUG", "XDG_CACHE_HOME", "LD_LIBRARY_PATH", "TMPDIR"] {
            assert!(is_passed_on(name), "{name}");
        }
        for name in ["HEADEND_STREAM__PUBLISH_KEYS", "HEADEND_CONFIG", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "", "path", "MY_PATH"] {
            assert!(!is_passed_on(name), "{name}");
        }
    }
}
