//! A job's owner side.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::child::{Child, Reservation};
use super::event::JobEvent;
use crate::base::Clock;
use crate::codec::Codec;
use crate::pipeline::error::PipelineError;
use crate::pipeline::wire::{JobId, Join, Joiner, Message, RtpHead, Start, encode_rtp};
use crate::rtp::batch::{ClockMapping, RtpBatch};

/// Events waiting for a job's owner: several seconds of chunks of two tracks, or of audio packets of 10 ms. A slower owner loses the job.
const MAX_EVENTS: usize = 1024;

/// The way in of a job. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JobSender {
    child: Arc<Child>,
    id: JobId,
    clock: Clock,
}

/// How long packets wait for a child that doesn't read: it is busy starting another job's pipeline, or dead.
const PATIENCE: Duration = Duration::from_millis(500);

/// The way in of one input.
#[derive(Debug)]
pub struct JobInput {
    sender: JobSender,
    input: u8,
    /// A clock mapping whose batch was dropped goes with the next one.
    clock: Option<ClockMapping>,
    joiner: Joiner,
    frame: Vec<u8>,
}

impl JobInput {
    /// What is known of the clock before the first batch says anything.
    pub fn set_clock(&mut self, clock: Option<ClockMapping>) {
        self.clock = clock;
    }

    /// Hands over packets, waiting for room (half a second at most). Only the first of `batches` may have a clock mapping. False where
    /// they were dropped; that is counted.
    pub async fn send(&mut self, batches: &[RtpBatch]) -> bool {
        self.clock = batches.iter().find_map(|batch| batch.clock).or(self.clock);
        let JobSender { child, id, clock } = &self.sender;
        let mut late: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        let head = RtpHead { job: *id, input: self.input, sent: clock.unix(), clock: self.clock };
        encode_rtp(head, batches, &mut self.joiner, &mut self.frame, |frame| {
            bytes += frame.len() as u64;
            if !late.is_empty() || !child.try_frame(frame) {
                late.push(frame.to_vec());
            }
            true
        });
        let waiting = async {
            for frame in &late {
                child.send_frame(frame).await?;
            }
            Ok::<_, PipelineError>(())
        };
        let sent = late.is_empty() || tokio::time::timeout(PATIENCE, waiting).await.is_ok_and(|sent| sent.is_ok());
        if sent {
            self.clock = None;
            child.metrics.rtp_bytes.inc_by(bytes);
        } else {
            child.metrics.rtp_dropped.inc();
        }
        sent
    }
}

impl JobSender {
    /// The way in of input `input`, which is in `codec`.
    pub fn input(&self, input: u8, codec: Codec) -> JobInput {
        JobInput { sender: self.clone(), input, clock: None, joiner: Joiner::new(codec), frame: Vec::new() }
    }

    /// Adds a track.
    pub(crate) async fn join(&self, join: Join) -> Result<(), PipelineError> {
        self.child.send(&Message::Join(self.id, join)).await
    }

    /// Asks output `output`'s encoder for a key frame.
    pub fn force_key_frame(&self, output: u8) {
        let _ = self.child.try_message(&Message::ForceKeyFrame(self.id, output));
    }
}

/// A running job. Dropping it takes it down at once.
#[derive(Debug)]
pub struct Job {
    sender: JobSender,
    events: mpsc::Receiver<JobEvent>,
}

pub(super) async fn start(reservation: Reservation, start: Start, clock: Clock) -> Result<Job, PipelineError> {
    let child = Arc::clone(&reservation.0);
    let (sender, events) = mpsc::channel(MAX_EVENTS);
    let id = child.add(start.name.clone(), sender);
    drop(reservation);
    let job = Job { sender: JobSender { child, id, clock }, events };
    let child = &job.sender.child;
    if !child.is_alive() {
        return Err(PipelineError::ChildGone);
    }
    child.send(&Message::Start(id, start)).await?;
    child.metrics.jobs_started.inc();
    Ok(job)
}

impl Job {
    pub fn sender(&self) -> &JobSender {
        &self.sender
    }

    /// Lets what is inside come out; [`Message::Eos`] is the last message then.
    pub async fn stop(&self) -> Result<(), PipelineError> {
        self.sender.child.send(&Message::Stop(self.sender.id)).await
    }

    /// The next event; [`JobEvent::Lost`] for ever once the child is gone. Cancel safe.
    pub async fn recv(&mut self) -> JobEvent {
        self.events.recv().await.unwrap_or(JobEvent::Lost)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.sender.child.remove(self.sender.id);
    }
}
