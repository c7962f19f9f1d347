//! TCP listeners.
//!
//! In: an address to bind. Out: connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections the kernel holds until they are accepted. Encoders and players of a whole site come back at once after a network failure.
const BACKLOG: i32 = 1024;

/// Listens on `address`, where `[::]` stands for IPv4 too; on a machine without IPv6 for IPv4 alone.
///
/// # Errors
/// As `bind(2)` and `listen(2)`. Must be called inside a tokio runtime.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let everywhere = address.is_ipv6() && address.ip().is_unspecified();
    match open(address, false, false) {
        Err(error) if everywhere && is_unknown_family(&error) => {
            open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), false, false)
        }
        other => other,
    }
}

/// Listens on exactly `address`: an IPv6 socket takes IPv6 only. With `reuse_port`, several listeners may bind the same address and the
/// kernel spreads connections over them.
///
/// # Errors
/// As `bind(2)` and `listen(2)`. Must be called inside a tokio runtime.
pub(crate) fn listen_one_family(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    open(address, true, reuse_port)
}

/// Whether a socket could not be opened because the machine does not have IPv6.
pub(crate) fn is_unknown_family(error: &io::Error) -> bool {
    let by_kind = matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported);
    by_kind || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn open(address: SocketAddr, only_v6: bool, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // So that a restart needn't wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Prepares an accepted connection for media: no Nagle delay.
///
/// # Errors
/// The connection is gone already.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_listeners_share_a_port() {
        let first = listen_one_family("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let address = first.local_addr().unwrap();
        let second = listen_one_family(address, true).unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (stream, remote) = tokio::select! { a = first.accept() => a.unwrap(), b = second.accept() => b.unwrap() };
        prepare(&stream).unwrap();
        assert_eq!(remote, client.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = listen(first.local_addr().unwrap());
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn all_addresses_means_ipv4_too() {
        let listener = listen("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_ok());
    }
}
