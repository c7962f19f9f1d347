//! ICE-TCP connections (RFC 6544, RFC 4571 framing).
//!
//! In: accepted connections. Out: their frames as datagrams for the worker that the first one names, and the way back.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::shared::{Notice, Shared};
use crate::base::{Door, Places};
use crate::net::accept::{Acceptor, Arrival};
use crate::net::tcp::prepare;
use crate::rtp::framing::{FrameReader, FrameWriter};
use crate::sfu::peer::{Protocol, Tuple, peek_ufrag, worker_of_ufrag};

/// How long a connection may take to say by a STUN request whose it is.
const FIRST_FRAME_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may be silent: ICE checks come every few seconds, consent lasts 30 s (RFC 7675).
const SILENCE: Duration = Duration::from_secs(40);
/// Connections per worker that have not said yet whose they are, a quarter of them from one address: who means it says so within a round trip. Where one more comes, the oldest of those from the address that has the most is closed.
const NEW: Places = Places::new(256);
/// Longest first frame: a connectivity check has no more than a few hundred bytes.
const MAX_FIRST_FRAME: usize = 1500;
/// Datagrams waiting to be written to one connection: half a second of 5 Mbit/s. More than that is late anyway.
const WRITE_QUEUE: usize = 256;
/// How long what waits for a connection may take to be written, a full queue at most: 0.5 Mbit/s. Who takes less can't watch, and would be sent
/// to for ever.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// Frames of all connections waiting for the worker; their readers wait when it is full.
pub(super) const READ_QUEUE: usize = 256;

/// What comes from connections.
#[derive(Debug)]
pub(super) enum Input {
    Frame(Tuple, BytesMut),
    /// The connection is gone.
    Closed(Tuple, End),
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Closed or broken by the peer, silent, or no longer needed.
    Gone,
    /// The peer took nothing.
    Stalled,
}

/// Waits for a connection on any of the listeners; for ever without any.
pub(super) async fn accept(listeners: &mut [Acceptor]) -> Arrival {
    let next = |cx: &mut Context<'_>| {
        let mut ready = listeners.iter_mut().filter_map(|listener| match listener.poll_accept(cx) {
            Poll::Ready(arrival) => Some(arrival),
            Poll::Pending => None,
        });
        ready.next().map_or(Poll::Pending, Poll::Ready)
    };
    poll_fn(next).await
}

/// Where connections wait that have not said yet whose they are.
pub(super) type NewConnections = Door<CancellationToken>;

/// A worker's.
pub(super) fn new_connections() -> NewConnections {
    Door::new(NEW)
}

/// Reads a new connection's first frame and gives the connection to the worker it is for.
pub(super) fn first_frame<S: 'static>(mut stream: TcpStream, new: &NewConnections, shared: Arc<Shared<S>>, worker: usize) {
    let gives_way = CancellationToken::new();
    let (place, gone) = new.come(stream.peer_addr().ok().map(|address| address.ip()), gives_way.clone());
    if let Some(gone) = gone {
        gone.cancel();
    }
    tokio::task::spawn_local(async move {
        let read = async {
            prepare(&stream).ok()?;
            let tuple = Tuple { local: stream.local_addr().ok()?, remote: stream.peer_addr().ok()?, protocol: Protocol::Tcp };
            // Byte by byte up to the end of the first frame, so that nothing of the next one is lost when the connection moves on.
            let mut length = [0; 2];
            stream.read_exact(&mut length).await.ok()?;
            let length = usize::from(u16::from_be_bytes(length));
            if length > MAX_FIRST_FRAME {
                return None;
            }
            let mut frame = BytesMut::zeroed(length);
            stream.read_exact(&mut frame).await.ok()?;
            let owner = worker_of_ufrag(peek_ufrag(&frame)?)?;
            Some((stream.into_std().ok()?, tuple, frame, usize::from(owner)))
        };
        let found = tokio::select! {
            found = tokio::time::timeout(FIRST_FRAME_WITHIN, read) => found,
            () = gives_way.cancelled() => return,
        };
        drop(place);
        if let Ok(Some((stream, tuple, frame, owner))) = found {
            tracing::debug!(%worker, %owner, remote = %tuple.remote, "ICE-TCP connection");
            shared.notify(owner, Notice::Tcp(stream, tuple, frame));
        }
    });
}

/// Runs a connection on this worker. Gives the queue for what is to be written; dropping it ends the connection.
pub(super) fn adopt(stream: std::net::TcpStream, tuple: Tuple, input: mpsc::Sender<Input>) -> Option<mpsc::Sender<Bytes>> {
    let stream = TcpStream::from_std(stream).ok()?;
    let (queue, outgoing) = mpsc::channel(WRITE_QUEUE);
    tokio::task::spawn_local(async move {
        let (mut read, write) = stream.into_split();
        let mut writing = tokio::task::spawn_local(write_frames(write, outgoing));
        let reading = async {
            let mut reader = FrameReader::new();
            loop {
                match tokio::time::timeout(SILENCE, read.read_buf(reader.buffer())).await {
                    Ok(Ok(count)) if count > 0 => {}
                    _ => return,
                }
                loop {
                    match reader.next_frame() {
                        Ok(Some(frame)) => {
                            if input.send(Input::Frame(tuple, frame)).await.is_err() {
                                return;
                            }
                        }
                        Ok(None) => break,
                        Err(_) => return,
                    }
                }
            }
        };
        let end = tokio::select! {
            () = reading => End::Gone,
            end = &mut writing => end.unwrap_or(End::Gone),
        };
        writing.abort();
        let _ = input.send(Input::Closed(tuple, end)).await;
    });
    Some(queue)
}

async fn write_frames(mut stream: impl AsyncWrite + Unpin, mut outgoing: mpsc::Receiver<Bytes>) -> End {
    let mut writer = FrameWriter::new();
    while let Some(datagram) = outgoing.recv().await {
        writer.push(&datagram);
        while let Ok(more) = outgoing.try_recv() {
            writer.push(&more);
        }
        match tokio::time::timeout(WRITE_WITHIN, stream.write_all_buf(&mut writer.take())).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return End::Gone,
            Err(_) => return End::Stalled,
        }
    }
    End::Gone
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// Sends a picture of 10 KB each 40 ms to a reader of so many bytes a second, for so long. Gives when and how the connection ended, and how
    /// many frames found no place.
    #[allow(clippy::disallowed_methods)] // the runtime's clock, which the tests move
    async fn watch(bytes_a_second: usize, time: Duration) -> (Option<(Duration, End)>, usize) {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let (queue, outgoing) = mpsc::channel(WRITE_QUEUE);
        let begin = Instant::now();
        let writing = tokio::spawn(async move {
            let end = write_frames(far, outgoing).await;
            (begin.elapsed(), end)
        });
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; bytes_a_second / 10];
            while bytes_a_second > 0 && near.read_exact(&mut buffer).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            std::future::pending::<()>().await;
        });
        let mut dropped = 0;
        while begin.elapsed() < time && !writing.is_finished() {
            dropped += (0..10).filter(|_| queue.try_send(Bytes::from_static(&[7; 1000])).is_err()).count();
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        reading.abort();
        (futures_util::FutureExt::now_or_never(writing).map(Result::unwrap), dropped)
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_reading_is_let_go() {
        let (ended, _) = watch(0, Duration::from_secs(60)).await;
        let (after, end) = ended.expect("ended");
        assert_eq!(end, End::Stalled);
        assert!(after < Duration::from_secs(7), "{after:?}");
        // Whoever takes what is sent, and whoever is only half as fast, stays.
        assert_eq!(watch(300_000, Duration::from_secs(60)).await, (None, 0));
        let (ended, dropped) = watch(125_000, Duration::from_secs(60)).await;
        assert!(ended.is_none() && dropped > 0, "{ended:?} {dropped}");
    }
}
