//! Who comes to a TCP port, and what to do when there are too few file descriptors.
//!
//! In: a listener. Out: connections, each of which may stay or is to be refused. What goes wrong is said in the log, once in a while.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Interval, MissedTickBehavior, Sleep, interval, sleep};

use super::files;

/// Pause after nothing could be accepted, mostly for lack of descriptors or memory: some time for others to give theirs back. Those who knock
/// wait in the kernel's queue meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// Time between two lines about one port.
const SILENCE: Duration = Duration::from_secs(10);

/// Whoever came.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    /// Whether few descriptors are left, so that this one is to be closed after a word, if the protocol has one. It is in the log already.
    pub few_files: bool,
}

/// Accepts connections.
#[derive(Debug)]
pub(crate) struct Acceptor {
    /// For the log: RTMP.
    protocol: &'static str,
    listener: TcpListener,
    /// Nothing is accepted before its end.
    pause: Option<Pin<Box<Sleep>>>,
    /// When the next line may be written.
    line: Interval,
    /// Refused since the last line.
    refused: u64,
}

impl Acceptor {
    /// Must be made within a runtime.
    pub(crate) fn new(protocol: &'static str, listener: TcpListener) -> Self {
        let mut line = interval(SILENCE);
        line.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { protocol, listener, pause: None, line, refused: 0 }
    }

    /// The next one. Nothing is lost, not even a pause, where it is dropped before it is ready.
    pub(crate) async fn accept(&mut self) -> Arrival {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    pub(crate) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(cx)) {
                Ok((stream, peer)) => {
                    let few_files = files::is_of_reserve(&stream);
                    if few_files {
                        self.tell_of_few(cx);
                    }
                    return Poll::Ready(Arrival { stream, peer, few_files });
                }
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    if self.line.poll_tick(cx).is_ready() {
                        tracing::warn!(%error, "{} connections can't be accepted; is the limit of open files (ulimit -n) too low?", self.protocol);
                    }
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                }
            }
        }
    }

    fn tell_of_few(&mut self, cx: &mut Context<'_>) {
        self.refused += 1;
        if self.line.poll_tick(cx).is_ready() {
            let refused = std::mem::take(&mut self.refused);
            let protocol = self.protocol;
            tracing::warn!(
                refused,
                "{protocol} connections are refused: nearly all open files that the system allows (ulimit -n) are in use"
            );
        }
    }
}

/// Whether only the one connection is gone: Linux tells its errors at `accept` (accept(2), "Error handling"). The next one may be taken at once.
fn is_of_the_peer(error: &io::Error) -> bool {
    const THEIRS: [i32; 10] = [
        libc::ECONNABORTED,
        libc::EPERM, // a firewall's rule
        libc::EPROTO,
        libc::ENETDOWN,
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        libc::ENONET,
        libc::EHOSTUNREACH,
        libc::EOPNOTSUPP,
        libc::ENETUNREACH,
    ];
    error.raw_os_error().is_some_and(|code| THEIRS.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tcp::listen;

    #[test]
    fn errors_of_one_connection_are_no_reason_to_pause() {
        for (code, theirs) in [
            (libc::ECONNABORTED, true),
            (libc::EPROTO, true),
            (libc::EHOSTUNREACH, true),
            (libc::EMFILE, false),
            (libc::ENFILE, false),
            (libc::ENOBUFS, false),
            (libc::ENOMEM, false),
            (libc::EINVAL, false),
        ] {
            assert_eq!(is_of_the_peer(&io::Error::from_raw_os_error(code)), theirs, "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_comes_at_once_and_then_after_a_while() {
        let mut acceptor = Acceptor::new("test", listen("127.0.0.1:0".parse().unwrap()).unwrap());
        let mut lines = Vec::new();
        for _ in 0..300 {
            poll_fn(|cx| {
                acceptor.tell_of_few(cx);
                Poll::Ready(())
            })
            .await;
            lines.push(acceptor.refused == 0);
            tokio::time::sleep(PAUSE).await;
        }
        let at: Vec<_> = lines.iter().enumerate().filter(|(_, line)| **line).map(|(at, _)| at / 100).collect();
        assert_eq!(at, [0, 1, 2]);
    }

    #[tokio::test]
    async fn who_comes_is_let_in() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut acceptor = Acceptor::new("test", listener);
        let client = TcpStream::connect(address).await.unwrap();
        let arrival = acceptor.accept().await;
        assert_eq!((arrival.peer, arrival.few_files), (client.local_addr().unwrap(), false));
    }
}
