//! A connection that ends itself when nothing moves.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::rarely::Rarely;

/// Wraps a stream: once no byte has moved either way for `timeout` (and up to one `tick` more) while somebody waits for one, reading and
/// writing fail. Until the first byte was read, `first` counts instead. While somebody waits, the task runs once in a `tick`, the shorter one
/// of both: [`LazyTimer`](super::timer::LazyTimer) relies on it.
pub(super) struct IdleIo<T> {
    io: T,
    limit: Duration,
    timeout: Duration,
    tick: Duration,
    quiet: Duration,
    timer: Rarely<Pin<Box<Sleep>>>,
    /// Whether something moved since the timer was set: cheaper than setting it for each read and write.
    moved: bool,
}

impl<T> IdleIo<T> {
    pub(super) fn new(io: T, first: Duration, timeout: Duration) -> Self {
        let tick = first.min(timeout);
        Self { io, limit: first, timeout, tick, quiet: Duration::ZERO, timer: Rarely::new(Box::pin(sleep(tick))), moved: false }
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
        match Pin::new(&mut self.io).poll_write(cx, buf) {
            Poll::Ready(result) => {
                self.moved = true;
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_idle(cx),
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.io).poll_write_vectored(cx, bufs) {
            Poll::Ready(result) => {
                self.moved = true;
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_idle(cx),
        }
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const NEVER: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn the_first_byte_has_a_time_of_its_own() {
        let (_near, far) = tokio::io::duplex(16);
        let mut io = IdleIo::new(far, SHORT, NEVER);
        assert_eq!(io.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn ends_when_nothing_moves() {
        let (mut near, far) = tokio::io::duplex(16);
        let mut io = IdleIo::new(far, SHORT, SHORT);
        near.write_all(&[7, 8]).await.unwrap();
        assert_eq!((io.read_u8().await.unwrap(), io.read_u8().await.unwrap()), (7, 8));
        assert_eq!(io.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_moved_prolongs() {
        let (mut near, far) = tokio::io::duplex(16);
        let mut io = IdleIo::new(far, SHORT, NEVER);
        near.write_u8(7).await.unwrap();
        assert_eq!(io.read_u8().await.unwrap(), 7);
        // Beyond the first time: the longer one counts now.
        assert!(tokio::time::timeout(SHORT * 5, io.read_u8()).await.is_err());
    }

    #[tokio::test]
    async fn a_reader_that_stopped_reading_is_given_up() {
        let (_near, far) = tokio::io::duplex(16);
        let mut io = IdleIo::new(far, SHORT, SHORT);
        assert_eq!(io.write_all(&[0; 100]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
