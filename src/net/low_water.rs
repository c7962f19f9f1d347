//! How much has to come before whoever waits for a socket is woken.
//!
//! In: a stream socket, bytes. Out: whether the kernel agrees.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Wakes those who wait for something to read only once so many `bytes` are there (`SO_RCVLOWAT`), or the peer has closed. Whoever reads
/// without waiting gets what is there.
///
/// # Errors
/// As `setsockopt(2)`.
pub(crate) fn set_low_water(socket: &impl AsFd, bytes: usize) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let len = libc::socklen_t::try_from(std::mem::size_of_val(&value)).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel reads `len` bytes behind the pointer, which are `value`; it writes nothing there.
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, std::ptr::from_ref(&value).cast(), len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_reader_is_woken_by_enough_and_by_the_end() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        set_low_water(&socket, 1000).unwrap();
        let mut same = socket.try_clone().unwrap();
        let socket = tokio::net::TcpStream::from_std(socket).unwrap();
        let woken = async |within| tokio::time::timeout(Duration::from_millis(within), socket.readable()).await.is_ok();
        peer.write_all(&[1; 10]).unwrap();
        assert!(!woken(100).await, "by ten bytes");
        let mut buffer = [0; 4096];
        assert_eq!(same.read(&mut buffer).unwrap(), 10, "though they are there");
        peer.write_all(&[1; 1000]).unwrap();
        assert!(woken(5000).await);
        assert_eq!(socket.try_read(&mut buffer).unwrap(), 1000);
        peer.write_all(&[1; 10]).unwrap();
        set_low_water(&socket, 1).unwrap();
        assert!(woken(5000).await, "by what was there before");
        assert_eq!(socket.try_read(&mut buffer).unwrap(), 10);
        set_low_water(&socket, 1000).unwrap();
        drop(peer);
        assert!(woken(5000).await, "by the end");
    }
}
