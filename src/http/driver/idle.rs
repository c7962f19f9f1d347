//! A connection that ends itself when nothing moves, or too little of what its client is sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::rarely::Rarely;
use crate::http::{HttpMetrics, Reading};

/// Over how long a client's rate is taken: a phone that goes through a tunnel comes back within it.
const RATE_OVER: Duration = Duration::from_secs(30);

/// How fast a client has to take what it is sent.
#[derive(Debug)]
pub(super) struct Pace {
    /// In bytes/s; 0: as it likes.
    pub(super) min_rate: u32,
    pub(super) reading: Reading,
    pub(super) metrics: HttpMetrics,
}

/// Wraps a stream: once no byte has moved either way for `timeout` (and up to one `tick` more) while somebody waits for one, reading and
/// writing fail. Until the first byte was read, `first` counts instead. While somebody waits, the task runs once in a `tick`, the shorter one
/// of both: [`LazyTimer`](super::timer::LazyTimer) relies on it. They fail as well where a client that could always have had more took less than
/// its [`Pace`], or holds on to what has to go.
pub(super) struct IdleIo<T> {
    io: T,
    limit: Duration,
    timeout: Duration,
    tick: Duration,
    quiet: Duration,
    timer: Rarely<Pin<Box<Sleep>>>,
    /// Whether something moved since the timer was set: cheaper than setting it for each read and write.
    moved: bool,
    pace: Pace,
    /// Whether the client had no room for more when it was last given something.
    blocked: bool,
    /// For how long that was so whenever it was looked at, and what it took meanwhile.
    behind: Duration,
    taken: u64,
}

impl<T> IdleIo<T> {
    pub(super) fn new(io: T, first: Duration, timeout: Duration, pace: Pace) -> Self {
        let tick = first.min(timeout);
        let timer = Rarely::new(Box::pin(sleep(tick)));
        let (quiet, behind) = (Duration::ZERO, Duration::ZERO);
        Self { io, limit: first, timeout, tick, quiet, timer, moved: false, pace, blocked: false, behind, taken: 0 }
    }

    /// Once in a tick: whether the client is too slow.
    fn is_too_slow(&mut self) -> bool {
        if self.pace.reading.is_recalled() {
            self.pace.metrics.recalled.inc();
            return true;
        }
        if !self.blocked || self.pace.reading.may_pause() {
            (self.behind, self.taken) = (Duration::ZERO, 0);
            return false;
        }
        self.behind += self.tick;
        if self.behind < RATE_OVER {
            return false;
        }
        let least = u128::from(self.pace.min_rate) * self.behind.as_millis() / 1000;
        let slow = u128::from(self.taken) < least;
        (self.behind, self.taken) = (Duration::ZERO, 0);
        if slow {
            self.pace.metrics.slow.inc();
        }
        slow
    }

    fn note_written(&mut self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(count)) => {
                (self.moved, self.blocked) = (true, false);
                self.taken += *count as u64;
            }
            Poll::Ready(Err(_)) => self.moved = true,
            Poll::Pending => self.blocked = true,
        }
    }

    /// Called when the stream has nothing for us: fails when that has lasted too long.
    fn poll_idle<R>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        loop {
            ready!(Pin::new(&mut self.timer).poll(cx));
            if self.moved {
                (self.moved, self.quiet, self.limit) = (false, Duration::ZERO, self.timeout);
            } else {
                self.quiet += self.tick;
            }
            if self.is_too_slow() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly")));
            }
            if self.quiet >= self.limit {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing moved on the connection for too long")));
            }
            self.timer.set(Box::pin(sleep(self.tick)));
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for IdleIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Ready(result) => {
                self.moved = true;
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_idle(cx),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for IdleIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note_written(&result);
        if result.is_pending() { self.poll_idle(cx) } else { result }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note_written(&result);
        if result.is_pending() { self.poll_idle(cx) } else { result }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::package::{Left, Part, Recall, Segment};

    const SHORT: Duration = Duration::from_millis(20);
    const NEVER: Duration = Duration::from_secs(3600);

    fn any_pace() -> Pace {
        Pace { min_rate: 0, reading: Reading::default(), metrics: HttpMetrics::default() }
    }

    /// Sends 2 MB to a client that takes so many bytes in one go and then waits so long. Gives how many it got, if it got no more in the end.
    #[allow(clippy::disallowed_methods)] // the runtime's clock, which the tests move
    async fn download(bytes: usize, every: Duration, reading: Reading) -> Result<(), (usize, Duration)> {
        const SIZE: usize = 2 << 20;
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let pace = Pace { min_rate: 8192, reading, metrics: HttpMetrics::default() };
        let mut io = IdleIo::new(far, Duration::from_secs(10), Duration::from_secs(120), pace);
        let begin = tokio::time::Instant::now();
        let sending = tokio::spawn(async move { io.write_all(&vec![7; SIZE]).await.map_err(|_| begin.elapsed()) });
        let (mut got, mut buffer) = (0, vec![0; bytes]);
        while got < SIZE {
            let len = bytes.min(SIZE - got);
            if near.read_exact(&mut buffer[..len]).await.is_err() {
                break;
            }
            got += len;
            tokio::time::sleep(every).await;
        }
        sending.await.unwrap().map_err(|after| (got, after))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_to_take_what_it_is_sent() {
        let seconds = Duration::from_secs;
        // 100 bytes a second; the same in one piece each minute; nothing but the first byte.
        for (bytes, every) in [(100, seconds(1)), (6000, seconds(60)), (1, seconds(3600))] {
            let (_, after) = download(bytes, every, Reading::default()).await.unwrap_err();
            assert!(after <= seconds(60), "{bytes} {every:?}: {after:?}");
        }
        // A phone on 2G, 20 KB/s, also where it comes in pieces.
        for (bytes, every) in [(2000, Duration::from_millis(100)), (200_000, seconds(10)), (400_000, seconds(20))] {
            assert_eq!(download(bytes, every, Reading::default()).await, Ok(()), "{bytes} {every:?}");
        }
        // A recording may be paused.
        let reading = Reading::default();
        let _held = reading.recording();
        assert_eq!(download(1 << 20, seconds(100), reading.clone()).await, Ok(()));
        assert!(download(100, seconds(600), reading.clone()).await.unwrap_err().1 > seconds(100));
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_on_to_what_has_to_go_is_cut_off() {
        let part = Part { duration: 1, independent: true, data: vec![7; 100].into() };
        let segment = Arc::new(Segment {
            number: 1,
            epoch: 0,
            wallclock: 0,
            presentation_time: 0,
            duration: 1,
            timescale: 1,
            parts: vec![part],
            complete: true,
            timeline: None,
            recall: Recall::default(),
        });
        let (reading, left) = (Reading::default(), Left::new(0));
        let held = reading.segment(segment.clone());
        // 100 KB/s, fast enough otherwise; the segment leaves its window on the way.
        let download = download(10_000, Duration::from_millis(100), reading.clone());
        let leave = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            left.leave([segment]);
        };
        let (ended, ()) = tokio::join!(download, leave);
        assert!(ended.unwrap_err().1 <= Duration::from_secs(10));
        // Whoever is done with it goes on.
        drop(held);
        assert_eq!(super::tests::download(10_000, Duration::from_millis(100), reading).await, Ok(()));
    }

    #[tokio::test]
    async fn the_first_byte_has_a_time_of_its_own() {
        let (_near, far) = tokio::io::duplex(16);
        let mut io = IdleIo::new(far, SHORT, NEVER, any_pace());
        assert_eq!(io.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn ends_when_nothing_moves() {
        let (mut near, far) = tokio::io::duplex(16);
        let mut io = IdleIo::new(far, SHORT, SHORT, any_pace());
        near.write_all(&[7, 8]).await.unwrap();
        assert_eq!((io.read_u8().await.unwrap(), io.read_u8().await.unwrap()), (7, 8));
        assert_eq!(io.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_moved_prolongs() {
        let (mut near, far) = tokio::io::duplex(16);
        let mut io = IdleIo::new(far, SHORT, NEVER, any_pace());
        near.write_u8(7).await.unwrap();
        assert_eq!(io.read_u8().await.unwrap(), 7);
        // Beyond the first time: the longer one counts now.
        assert!(tokio::time::timeout(SHORT * 5, io.read_u8()).await.is_err());
    }

    #[tokio::test]
    async fn a_reader_that_stopped_reading_is_given_up() {
        let (_near, far) = tokio::io::duplex(16);
        let mut io = IdleIo::new(far, SHORT, SHORT, any_pace());
        assert_eq!(io.write_all(&[0; 100]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
