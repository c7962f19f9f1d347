//! A job's owner side.

use std::cell::RefCell;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::child::{Child, Reservation};
use super::counters::PipelineCounters;
use crate::pipeline::error::PipelineError;
use crate::pipeline::wire::{JobId, Message, Start, encode_rtp};
use crate::sfu::RtpBatch;

/// Events waiting for a job's owner: several seconds of chunks of two tracks, or of audio packets of 10 ms. A slower owner loses the job.
const MAX_EVENTS: usize = 1024;

/// What a job tells its owner.
#[derive(Debug)]
pub enum JobEvent {
    /// The child said so.
    Message(Message),
    /// The child is gone. The last event.
    Lost,
}

/// The way in of a job. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JobSender {
    child: Arc<Child>,
    id: JobId,
}

thread_local! {
    /// For building frames without allocating.
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl JobSender {
    /// Hands over packets of input `input`. Never waits: false where the child does not read fast enough (they are dropped and counted).
    pub fn rtp(&self, input: u8, batch: &RtpBatch) -> bool {
        let mut bytes = 0;
        let sent = FRAME.with_borrow_mut(|frame| {
            encode_rtp(self.id, input, batch.clock, &batch.packets, frame, |frame| {
                bytes += frame.len() as u64;
                self.child.try_frame(frame)
            })
        });
        PipelineCounters::add(&self.child.counters.rtp_bytes, bytes);
        if !sent {
            PipelineCounters::add(&self.child.counters.rtp_batches_dropped, 1);
        }
        sent
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

/// Starts a job on a child.
pub async fn start(reservation: Reservation, start: Start) -> Result<Job, PipelineError> {
    let child = Arc::clone(&reservation.0);
    let (sender, events) = mpsc::channel(MAX_EVENTS);
    let id = child.add(sender);
    drop(reservation);
    let job = Job { sender: JobSender { child, id }, events };
    let child = &job.sender.child;
    if !child.is_alive() {
        return Err(PipelineError::ChildGone);
    }
    child.send(&Message::Start(id, start)).await?;
    PipelineCounters::add(&child.counters.jobs_started, 1);
    Ok(job)
}

impl Job {
    /// The way in.
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
