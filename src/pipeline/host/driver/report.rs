//! How a job says that it has ended by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::output::Output;
use crate::pipeline::wire::{Failure, JobId, Message};

/// Reports to the parent that a job has ended by itself, once: one error makes a pipeline's elements fail one after the other.
#[derive(Debug, Clone)]
pub(super) struct Reporter {
    output: Output,
    job: JobId,
    told: Arc<AtomicBool>,
}

impl Reporter {
    pub(super) fn new(output: Output, job: JobId) -> Self {
        Self { output, job, told: Arc::default() }
    }

    pub(super) fn broken(&self, text: &str) {
        self.failed(Failure::Broken, 0, text.to_owned());
    }

    /// The job can't go on; `reorder` is how many pictures wait to be shown, where that is why.
    pub(super) fn failed(&self, failure: Failure, reorder: u8, text: String) {
        if !self.told.swap(true, Ordering::Relaxed) {
            // Without room the parent isn't reading, and will find the job gone.
            let _ = self.output.send(Message::Failed { job: self.job, failure, reorder, text });
        }
    }
}
