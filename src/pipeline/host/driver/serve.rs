//! The child's main loop: messages from the parent to jobs.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gstreamer::prelude::*;

use super::confine::confine;
use super::job::Job;
use super::output::Output;
use super::report::Reporter;
use crate::pipeline::wire::{Assembler, JobId, MAX_FRAME, Message, decode};

/// Most jobs at once, whatever the parent says.
const MAX_JOBS: usize = 1024;

/// Runs a child until its parent closes the socket. `headend pipeline-host` calls nothing else. The socket is standard input, so that
/// it is inherited without unsafe code and nothing else is.
pub fn host_main() -> ExitCode {
    // A panic on any thread of ours must not leave a half dead child behind.
    std::panic::set_hook(Box::new(|info| {
        tracing::error!("{info}");
    }));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("GStreamer child: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    confine()?;
    let socket = socket2::Socket::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let output = Output::start(socket.try_clone()?)?;
    gstreamer::init()?;
    gstfmp4::plugin_register_static()?;
    let over = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&over);
    let preloading = std::thread::Builder::new().name("preload".into()).spawn(move || preload(&until))?;
    let served = serve(socket, output);
    // A process that ends while a thread of it loads plugins crashes in GLib.
    over.store(true, Ordering::Relaxed);
    let _ = preloading.join();
    served
}

/// Until the parent closes the socket.
fn serve(socket: socket2::Socket, output: Output) -> Result<(), Box<dyn std::error::Error>> {
    let mut host = Host { jobs: HashMap::new(), output };
    let receiver = std::os::unix::net::UnixDatagram::from(std::os::fd::OwnedFd::from(socket));
    let mut assembler = Assembler::default();
    let mut buffer = vec![0; MAX_FRAME];
    loop {
        let length = match receiver.recv(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if let Some(message) = assembler.push(&buffer[..length])? {
            host.handle(decode(message)?);
        }
    }
}

/// What the first viewer by WebRTC of a stream from OBS waits for. Loading libav's codecs takes up to 400 ms, which would be 400 ms without
/// sound; a child has started before anybody asks, and pays once.
const PRELOADED: [&str; 5] = ["aacparse", "avdec_aac", "audioconvert", "audioresample", "opusenc"];

/// Loads plugins beside the work, until it is `over`. What is missing is reported by the job that needs it.
fn preload(over: &AtomicBool) {
    for name in PRELOADED {
        if over.load(Ordering::Relaxed) {
            return;
        }
        if let Some(factory) = gstreamer::ElementFactory::find(name)
            && let Ok(element) = factory.create().build()
        {
            // Some of what takes time is only done on the way to READY.
            let _ = element.set_state(gstreamer::State::Ready);
            let _ = element.set_state(gstreamer::State::Null);
        }
    }
}

struct Host {
    jobs: HashMap<JobId, Job>,
    output: Output,
}

impl Host {
    fn handle(&mut self, message: Message) {
        match message {
            Message::Start(id, start) => {
                if self.jobs.len() >= MAX_JOBS || self.jobs.contains_key(&id) {
                    return Reporter::new(self.output.clone(), id).broken("the child can't take this job");
                }
                match Job::start(id, start, self.output.clone()) {
                    Ok(job) => {
                        self.jobs.insert(id, job);
                        let _ = self.output.send(Message::Started(id));
                    }
                    Err(error) => Reporter::new(self.output.clone(), id).broken(&error.to_string()),
                }
            }
            Message::Join(id, join) => {
                if let Some(Err(error)) = self.jobs.get_mut(&id).map(|job| job.join(join)) {
                    Reporter::new(self.output.clone(), id).broken(&error.to_string());
                }
            }
            Message::Rtp { job, input, sent, batch } => {
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.rtp(usize::from(input), sent, &batch);
                }
            }
            Message::ForceKeyFrame(job, output) => {
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.force_key_frame(usize::from(output));
                }
            }
            Message::Stop(job) => {
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.stop();
                }
            }
            Message::Remove(job) => {
                self.jobs.remove(&job);
            }
            Message::Ping(number) => {
                let _ = self.output.send(Message::Pong(number));
            }
            // The rest is what this side says.
            _ => {}
        }
    }
}
