//! A connection whose first line never ends: an address too long is 414, which hyper can't tell from a head too large (431). And one that
//! begins with another protocol, which hyper would answer by 400 to a peer that can't read it.
//!
//! In: the bytes of a connection. Out: the same bytes; or, where more of them than a head may have come without a line's end, an answer and
//! the connection's end; or a [`Stranger`]. Only the first request is looked at: whoever sends such an address begins with it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Buffer for an HTTP/1.1 head, and bound on one: 16 KiB is what common servers take.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// Written whole: the send buffer of a new connection has room for it.
const TOO_LONG: &[u8] = b"HTTP/1.1 414 URI Too Long\r\nContent-Type: application/json\r\nConnection: close\r\n\
Access-Control-Allow-Origin: *\r\nContent-Length: 69\r\n\r\n\
{\"error\":{\"code\":\"uri_too_long\",\"message\":\"the address is too long\"}}";

/// A connection to the HTTP port whose first byte is another protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Stranger {
    #[error("that is TLS: use http:// on this port, or put a reverse proxy with a certificate in front (see the README)")]
    Tls,
    /// RTMP's version, or RTMPE's.
    #[error("that is RTMP: its port is that of rtmp.listen")]
    Rtmp,
}

impl Stranger {
    fn of(first: u8) -> Option<Self> {
        match first {
            0x16 => Some(Self::Tls),
            0x03 | 0x06 => Some(Self::Rtmp),
            _ => None,
        }
    }

    /// Whether it is why a connection failed.
    pub(super) fn behind<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |error| error.source()).find_map(|error| {
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            inner.and_then(|inner| inner.downcast_ref::<Self>()).or_else(|| error.downcast_ref())
        })
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct FirstLine<T> {
    io: T,
    /// Bytes of the first line so far; `None` once it has ended.
    read: Option<usize>,
    /// How much of the answer has been written, where it is due.
    refusing: Option<usize>,
}

impl<T> FirstLine<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, read: Some(0), refusing: None }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for FirstLine<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.refusing.is_none() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
            let Some(read) = this.read else { return Poll::Ready(Ok(())) };
            let new = buf.filled().get(before..).unwrap_or_default();
            if let Some(stranger) = new.first().filter(|_| read == 0).and_then(|first| Stranger::of(*first)) {
                buf.set_filled(before);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, stranger)));
            }
            this.read = if new.contains(&b'\n') { None } else { Some(read + new.len()) };
            // Below that, hyper reads on; at it, it would answer itself.
            if this.read.is_none_or(|read| read < MAX_HEAD) || new.is_empty() {
                return Poll::Ready(Ok(()));
            }
            buf.set_filled(before);
            this.refusing = Some(0);
        }
        while let Some(left) = this.refusing.and_then(|written| TOO_LONG.get(written..)).filter(|left| !left.is_empty()) {
            let written = ready!(Pin::new(&mut this.io).poll_write(cx, left))?;
            if written == 0 {
                break;
            }
            this.refusing = this.refusing.map(|before| before + written);
        }
        // What else has come is read, or closing would reset the connection and might take the answer with it.
        let mut rest = [0; 4096];
        for _ in 0..MAX_HEAD * 16 / rest.len() {
            let mut sink = ReadBuf::new(&mut rest);
            match Pin::new(&mut this.io).poll_read(cx, &mut sink) {
                Poll::Ready(Ok(())) if !sink.filled().is_empty() => {}
                _ => break,
            }
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the address is too long")))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for FirstLine<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
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

    #[tokio::test]
    async fn an_endless_first_line_is_answered() {
        let (mut near, far) = tokio::io::duplex(4096);
        let mut io = FirstLine::new(far);
        let server = tokio::spawn(async move {
            let mut all = Vec::new();
            let end = io.read_to_end(&mut all).await;
            (all.len(), end.is_err())
        });
        let _ = near.write_all(&vec![b'a'; MAX_HEAD + 10]).await;
        let mut answer = String::new();
        near.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 414 ") && head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
        let (read, failed) = server.await.unwrap();
        assert!(failed && read < MAX_HEAD);
    }

    #[tokio::test]
    async fn other_protocols_are_named() {
        for (first, wanted) in [
            (&b"\x16\x03\x01\x02\x00"[..], Some(Stranger::Tls)),
            (b"\x03\x00\x00\x00\x00", Some(Stranger::Rtmp)),
            (b"\x06\x00", Some(Stranger::Rtmp)),
            (b"GET / HTTP/1.1\r\n\x03\x16", None),
            (b"\r\n\r\nGET / HTTP/1.1\r\n", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None),
        ] {
            let (mut near, far) = tokio::io::duplex(4096);
            near.write_all(first).await.unwrap();
            drop(near);
            let read = FirstLine::new(far).read_to_end(&mut Vec::new()).await;
            assert_eq!(read.as_ref().err().and_then(|error| Stranger::behind(error)), wanted.as_ref(), "{first:?}");
        }
        assert_eq!(Stranger::behind(&io::Error::other("x")), None);
    }

    #[tokio::test]
    async fn anything_behind_the_first_line_passes() {
        let (mut near, far) = tokio::io::duplex(4096);
        let mut io = FirstLine::new(far);
        let writing = tokio::spawn(async move {
            near.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            near.write_all(&vec![b'a'; 3 * MAX_HEAD]).await.unwrap();
        });
        let mut all = Vec::new();
        io.read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), 16 + 3 * MAX_HEAD);
        writing.await.unwrap();
    }
}
