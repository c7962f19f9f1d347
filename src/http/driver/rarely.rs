//! A future beside a busy one, polled only when it has something to say.
//!
//! In: a future that hardly ever ends. Out: the same future, which costs next to nothing while its task runs for other reasons: a
//! cancellation token takes a lock that all connections share each time it is polled, and a timer registers its waker.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_util::task::{ArcWake, waker};

use crate::base::lock;

/// See the module.
#[derive(Debug)]
pub(super) struct Rarely<F> {
    future: F,
    gate: Arc<Gate>,
    /// Wakes `gate`.
    waker: Waker,
    /// The waker that `gate` has.
    task: Option<Waker>,
}

#[derive(Debug)]
struct Gate {
    woken: AtomicBool,
    /// Locked when the task changes, and when it is woken: both are rare.
    task: Mutex<Option<Waker>>,
}

impl ArcWake for Gate {
    fn wake_by_ref(gate: &Arc<Self>) {
        gate.woken.store(true, Ordering::Release);
        if let Some(task) = &*lock(&gate.task) {
            task.wake_by_ref();
        }
    }
}

impl<F> Rarely<F> {
    pub(super) fn new(future: F) -> Self {
        let gate = Arc::new(Gate { woken: AtomicBool::new(true), task: Mutex::new(None) });
        let waker = waker(gate.clone());
        Self { future, gate, waker, task: None }
    }

    /// Another one in its place.
    pub(super) fn set(&mut self, future: F) {
        self.future = future;
        self.gate.woken.store(true, Ordering::Release);
    }
}

impl<F: Future + Unpin> Future for Rarely<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        // Put there before looking, so that a wake-up in between is not lost.
        if this.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            *lock(&this.gate.task) = Some(cx.waker().clone());
            this.task = Some(cx.waker().clone());
        }
        if !this.gate.woken.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        this.gate.woken.store(false, Ordering::SeqCst);
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn is_polled_when_it_was_woken() {
        let polled = Arc::new(AtomicUsize::new(0));
        let token = CancellationToken::new();
        let mut cancelled = Box::pin(token.clone().cancelled_owned());
        let counter = polled.clone();
        let mut rarely = Rarely::new(poll_fn(move |cx| {
            counter.fetch_add(1, Ordering::Relaxed);
            cancelled.as_mut().poll(cx)
        }));
        for _ in 0..10 {
            assert!(futures_util::poll!(&mut rarely).is_pending());
        }
        assert_eq!(polled.load(Ordering::Relaxed), 1);
        let cancel = tokio::spawn(async move { token.cancel() });
        rarely.await;
        cancel.await.unwrap();
        assert_eq!(polled.load(Ordering::Relaxed), 2);
    }
}
