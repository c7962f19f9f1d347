//! Sockets that wake their thread for what arrives, and not each time the kernel has sent something.
//!
//! In: a non-blocking socket. Out: waiting for something to read, and, only where it is asked for, for room to write.
//! The runtime's own sockets listen for both all the time: then each datagram that leaves the send buffer is an event, and a
//! thread that only forwards is woken twice for everything it does.
#![allow(unsafe_code)]

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixDatagram;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket that keeps one descriptor for its whole life.
///
/// # Safety
/// It owns the descriptor that `as_raw_fd` names, names no other, and closes it only when it is dropped.
pub(crate) unsafe trait Steady: AsRawFd + AsFd {}

// SAFETY: std's sockets own one descriptor.
unsafe impl Steady for UdpSocket {}
// SAFETY: as above.
unsafe impl Steady for UnixDatagram {}

/// A socket registered for reading only.
#[derive(Debug)]
pub(crate) struct Quiet<S: Steady>(AsyncFd<S>);

impl<S: Steady> Quiet<S> {
    /// Takes a non-blocking socket.
    ///
    /// # Errors
    /// The runtime doesn't take it. Must be called inside a tokio runtime.
    pub(crate) fn new(socket: S) -> io::Result<Self> {
        // SAFETY: this is what `Steady` promises; `AsyncFd` deregisters the socket before it drops it.
        Ok(Self(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?))
    }

    /// The socket, to write to it without waiting.
    pub(crate) fn socket(&self) -> &S {
        self.0.get_ref()
    }

    /// Waits until there may be something to read. Cancel safe.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.0.readable().await.map(|mut guard| guard.retain_ready())
    }

    /// Reads without waiting. After `WouldBlock` [`Self::readable`] waits for what comes next.
    ///
    /// # Errors
    /// As `read` says.
    pub(crate) fn try_read<T>(&self, read: impl FnOnce(&S) -> io::Result<T>) -> io::Result<T> {
        self.0.try_io(Interest::READABLE, read)
    }

    /// Reads, waiting for something. Cancel safe.
    ///
    /// # Errors
    /// As `read` says, but for `WouldBlock`.
    pub(crate) async fn read<T>(&self, read: impl FnMut(&S) -> io::Result<T>) -> io::Result<T> {
        self.0.async_io(Interest::READABLE, read).await
    }

    /// Waits until there may be room to write. Cancel safe. To be called after a write said `WouldBlock`: it costs a few system calls.
    ///
    /// # Errors
    /// No file descriptor is left, or the runtime is shutting down.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        // The second descriptor is the same socket: it lets this wait be registered, and forgotten, by itself.
        let second = self.0.get_ref().as_fd().try_clone_to_owned()?;
        // SAFETY: an `OwnedFd` is open until it is dropped, which `AsyncFd` does after deregistering it.
        let second = unsafe { AsyncFd::register_with_interest(second, Interest::WRITABLE) }?;
        second.writable().await.map(|mut guard| guard.retain_ready())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pair() -> (Quiet<UnixDatagram>, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Quiet::new(ours).unwrap(), theirs)
    }

    #[tokio::test]
    async fn what_arrives_is_read_and_then_waited_for() {
        let (ours, theirs) = pair();
        let mut buffer = [0; 8];
        assert_eq!(ours.try_read(|socket| socket.recv(&mut buffer)).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        theirs.send(b"one").unwrap();
        ours.readable().await.unwrap();
        assert_eq!(ours.try_read(|socket| socket.recv(&mut buffer)).unwrap(), 3);
        let waiting = ours.read(|socket| socket.recv(&mut buffer));
        let (read, ()) = tokio::join!(waiting, async { theirs.send(b"three").map(drop).unwrap() });
        assert_eq!(read.unwrap(), 5);
    }

    #[tokio::test]
    async fn room_is_waited_for() {
        let (ours, theirs) = pair();
        while ours.socket().send(&[0; 1024]).is_ok() {}
        assert!(tokio::time::timeout(Duration::from_millis(50), ours.writable()).await.is_err(), "the socket is full");
        let mut buffer = [0; 1024];
        theirs.set_nonblocking(true).unwrap();
        while theirs.recv(&mut buffer).is_ok() {}
        tokio::time::timeout(Duration::from_secs(5), ours.writable()).await.unwrap().unwrap();
        ours.socket().send(&[0; 1024]).unwrap();
    }
}
