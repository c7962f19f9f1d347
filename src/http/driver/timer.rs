//! hyper's deadlines without timers of their own: registering one for every head costs more than reading it.
//!
//! In: deadlines. Out: whether they have passed, whenever the connection's task runs; [`IdleIo`](super::idle::IdleIo) wakes it often enough.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// For connections whose task is woken from time to time anyway.
#[derive(Debug, Clone, Copy)]
pub(super) struct LazyTimer;

/// Ready when it is polled after its deadline. Wakes nobody.
struct Deadline(Instant);

impl Timer for LazyTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Deadline(deadline))
    }

    #[allow(clippy::disallowed_methods)] // `http` is a driver; this clock stands still where tests stop it
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if LazyTimer.now() >= self.0 { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Sleep for Deadline {}
