//! The threads that write recordings.
//!
//! In: what to do for a recording, one thing at a time. Out: what came of it. They are not the runtime's, whose threads may all be waiting
//! for what somebody reads: a recording would lose chunks meanwhile.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::record::error::RecordError;

/// Recordings that may wait for the disk at a time, each on a thread of its own: where it hangs for some, the others go on. More than these wait
/// in line, and lose chunks once they have waited for long.
const THREADS: usize = 64;
/// A thread that has nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(10);

/// The threads that write recordings.
#[derive(Debug)]
pub(super) struct Writers {
    // Nothing but its threads is used.
    runtime: Option<Runtime>,
}

impl Writers {
    pub(super) fn new() -> std::io::Result<Self> {
        let runtime =
            Builder::new_current_thread().max_blocking_threads(THREADS).thread_keep_alive(IDLE).thread_name("recordings").build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// # Errors
    /// [`RecordError::ShuttingDown`] where `work` gave up by a bug.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, RecordError> {
        let runtime = self.runtime.as_ref().ok_or(RecordError::ShuttingDown)?;
        runtime.spawn_blocking(work).await.map_err(|_| RecordError::ShuttingDown)
    }
}

impl Drop for Writers {
    /// Doesn't wait for a disk that hangs.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_hangs_for_some_stops_no_others() {
        let writers = Writers::new().unwrap();
        let (release, hangs) = std::sync::mpsc::channel::<()>();
        let hangs = std::sync::Arc::new(std::sync::Mutex::new(hangs));
        let hung: Vec<_> = (0..THREADS - 1)
            .map(|_| {
                let hangs = hangs.clone();
                Box::pin(writers.run(move || crate::base::lock(&hangs).recv().is_err()))
            })
            .collect();
        let all = futures_util::future::join_all(hung);
        tokio::pin!(all);
        // They begin when they are asked for.
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut all).await.is_err());
        for number in 0..100 {
            let done = tokio::time::timeout(Duration::from_secs(10), writers.run(move || number)).await;
            assert_eq!(done.unwrap().unwrap(), number);
        }
        // A bug in one is its own affair.
        assert!(matches!(writers.run(|| panic!("a bug")).await, Err::<(), _>(RecordError::ShuttingDown)));
        assert!(writers.run(|| ()).await.is_ok());
        drop(release);
        assert!(all.await.iter().all(Result::is_ok));
    }
}
