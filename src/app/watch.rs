//! Watches over what must live: the workers, the keepers, the servers.
//!
//! In: tasks, [`Vitals`] for what lower floors start, panics. Out: which of them has ended first, and whether the workers answer. Whoever
//! supervises headend starts it again in a second; a server of which a part is missing would be found out by its viewers.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::base::Vitals;
use crate::http::Readiness;

/// How often workers are asked for an answer, and how long it may take: a worker that takes a tenth of that drops media.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Longest message of a panic in the log: it may hold what a peer sent.
const MAX_MESSAGE: usize = 200;

/// The watch.
pub(super) struct Watch {
    vitals: Vitals,
    ended: mpsc::UnboundedReceiver<&'static str>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let (tell, ended) = mpsc::unbounded_channel(); // each of them ends once
        let vitals = Vitals::new(move |name| {
            let _ = tell.send(name); // nobody listens any more at the end
        });
        Self { vitals, ended }
    }

    /// For what others start.
    pub(super) fn vitals(&self) -> Vitals {
        self.vitals.clone()
    }

    /// Runs what must not end before the server does.
    pub(super) fn spawn<T: Send + 'static>(&self, name: &'static str, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let vital = self.vitals.vital(name);
        tokio::spawn(async move {
            let _vital = vital;
            task.await
        })
    }

    /// The name of the first that has ended. Nothing is lost where this is dropped before.
    pub(super) async fn ended(&mut self) -> &'static str {
        match self.ended.recv().await {
            Some(name) => name,
            None => std::future::pending().await, // not while `vitals` is here
        }
    }
}

/// Asks whether the workers answer for as long as it is polled; without, the server is not ready.
pub(super) async fn keep_asking<F: Future<Output = bool>>(answer: impl Fn() -> F, readiness: Readiness) {
    let mut interval = tokio::time::interval(ANSWER_WITHIN);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answered = true;
    loop {
        interval.tick().await;
        let answers = answer().await;
        readiness.set_stuck(!answers);
        if answers != answered {
            answered = answers;
            if answers {
                tracing::warn!("the SFU's workers answer again");
            } else {
                tracing::error!("an SFU worker has not answered for {ANSWER_WITHIN:?}: not ready until it does");
            }
        }
    }
}

/// Counts panics from now on, and writes them to the log like everything else.
pub(super) fn log_panics(counter: Counter) {
    std::panic::set_hook(Box::new(move |panic| {
        counter.inc();
        let message: String = panic.payload_as_str().unwrap_or("no message").chars().take(MAX_MESSAGE).collect();
        let thread = std::thread::current().name().unwrap_or("without a name").to_owned();
        let location = panic.location().map(ToString::to_string);
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(thread, location, message = ?message, %backtrace, "this is a bug: a panic");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_panics_or_returns_is_named() {
        let mut watch = Watch::new();
        watch.spawn("lives", std::future::pending::<()>());
        let panics = watch.spawn("panics", async { panic!("planted") });
        assert_eq!(watch.ended().await, "panics");
        assert!(panics.await.is_err());
        assert_eq!(watch.spawn("returns", async { 7 }).await.unwrap(), 7);
        assert_eq!(watch.ended().await, "returns");
        let vital = watch.vitals().vital("a thread");
        std::thread::spawn(move || drop(vital)).join().unwrap();
        assert_eq!(watch.ended().await, "a thread");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_is_ready_while_its_workers_answer() {
        let readiness = Readiness::new();
        readiness.set(true);
        let clock = crate::app::clock::start();
        let begun = clock.at();
        let answer = || {
            let now = clock.at();
            async move { (now - begun).as_secs() % 20 < 10 }
        };
        let observed = async {
            let mut seen = Vec::new();
            for _ in 0..3 {
                tokio::time::sleep(ANSWER_WITHIN * 5).await;
                seen.push(readiness.get());
                tokio::time::sleep(ANSWER_WITHIN * 5).await;
            }
            seen
        };
        tokio::select! {
            () = keep_asking(answer, readiness.clone()) => {}
            seen = observed => assert_eq!(seen, [true, false, true]),
        }
    }
}
