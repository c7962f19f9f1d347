//! Real sockets on loopback.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn bind(address: &str) -> UdpPort {
    UdpPort::bind(address.parse().unwrap(), false).unwrap()
}

fn reach(port: &UdpPort, host: &str) -> SocketAddr {
    SocketAddr::new(ip(host), port.local_addr().port())
}

/// Receives until `count` datagrams are there: payload, remote and local address of each.
async fn receive(port: &UdpPort, count: usize) -> Vec<(Vec<u8>, SocketAddr, IpAddr)> {
    let mut batch = RecvBatch::new();
    let mut got = vec![];
    let all = async {
        while got.len() < count {
            port.readable().await.unwrap();
            match port.recv_batch(&mut batch) {
                Ok(count) => {
                    assert_eq!(batch.iter_mut().count(), count);
                    got.extend(batch.iter_mut().map(|datagram| (datagram.bytes.to_vec(), datagram.remote, datagram.local)));
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), all).await.expect("the datagrams to arrive");
    got
}

async fn flush(batch: &mut SendBatch, port: &UdpPort) {
    while !batch.flush(port).unwrap() {
        port.writable().await.unwrap();
    }
    assert!(batch.is_empty());
}

#[tokio::test]
async fn answers_leave_from_the_address_that_was_asked() {
    let server = bind("0.0.0.0:0");
    let client = bind("127.0.0.1:0");
    let mut batch = SendBatch::new();
    batch.push(reach(&server, "127.0.0.2"), ip("127.0.0.1"), b"question");
    flush(&mut batch, &client).await;
    let (question, remote, local) = receive(&server, 1).await.remove(0);
    assert_eq!((&question[..], remote, local), (&b"question"[..], client.local_addr(), ip("127.0.0.2")));
    let mut answers = SendBatch::new();
    answers.push(remote, local, b"answer");
    answers.push(remote, ip("0.0.0.0"), b"from anywhere");
    flush(&mut answers, &server).await;
    let got = receive(&client, 2).await;
    assert_eq!((&got[0].0[..], got[0].1), (&b"answer"[..], reach(&server, "127.0.0.2")));
    assert_eq!((&got[1].0[..], got[1].1), (&b"from anywhere"[..], reach(&server, "127.0.0.1")));
}

#[tokio::test]
async fn ipv6_is_its_own_socket_with_the_same_port() {
    let v4 = bind("0.0.0.0:0");
    let Ok(v6) = UdpPort::bind(SocketAddr::new(ip("::"), v4.local_addr().port()), false) else {
        return; // No IPv6 on this machine.
    };
    let client = bind("[::1]:0");
    let mut batch = SendBatch::new();
    (0..3).for_each(|i| batch.push(reach(&v6, "::1"), ip("::1"), &[i; 100]));
    flush(&mut batch, &client).await;
    let got = receive(&v6, 3).await;
    assert!(
        got.iter()
            .enumerate()
            .all(|(i, (bytes, remote, local))| { bytes[..] == [i as u8; 100] && *remote == client.local_addr() && *local == ip("::1") })
    );
    let mut answers = SendBatch::new();
    answers.push(client.local_addr(), ip("::1"), b"back");
    flush(&mut answers, &v6).await;
    assert_eq!(receive(&client, 1).await[0].1, reach(&v6, "::1"));
}

#[tokio::test]
async fn runs_to_one_peer_become_super_packets() {
    let (sender, receiver, other) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let (to, local) = (receiver.local_addr(), ip("127.0.0.1"));
    println!("GSO: {}, buffers: {:?}", sender.supports_gso(), sender.buffer_sizes());
    // Sizes and how many messages they make: a shorter one ends a run, a longer one begins another.
    for (sizes, messages) in [
        (vec![1200; 10], 1),
        (vec![1200, 1200, 700, 1200], 2),
        (vec![700, 1200, 1200], 2),
        (vec![1200; 64], 2),
        (vec![100; 64], 1),
        (vec![100; 65], 2),
        (vec![1], 1),
        (vec![5, 4, 3, 2, 1], 3),
    ] {
        let mut batch = SendBatch::new();
        let payloads: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, size)| vec![i as u8; *size]).collect();
        payloads.iter().for_each(|payload| batch.push(to, local, payload));
        flush(&mut batch, &sender).await;
        let expected = if sender.supports_gso() { messages } else { sizes.len() as u64 };
        assert_eq!(batch.counters().messages, expected, "{sizes:?}");
        assert_eq!(batch.counters().packets, sizes.len() as u64);
        assert_eq!(batch.counters().bytes, sizes.iter().sum::<usize>() as u64);
        let got: Vec<Vec<u8>> = receive(&receiver, sizes.len()).await.into_iter().map(|datagram| datagram.0).collect();
        assert_eq!(got, payloads);
    }
    // Interleaved destinations are not joined, and each gets its own.
    let mut batch = SendBatch::new();
    for i in 0..6_u8 {
        batch.push(if i % 2 == 0 { to } else { other.local_addr() }, local, &[i; 50]);
    }
    flush(&mut batch, &sender).await;
    assert_eq!(receive(&receiver, 3).await.iter().map(|datagram| datagram.0[0]).collect::<Vec<_>>(), [0, 2, 4]);
    assert_eq!(receive(&other, 3).await.iter().map(|datagram| datagram.0[0]).collect::<Vec<_>>(), [1, 3, 5]);
}

#[tokio::test]
async fn packets_are_written_in_place() {
    let (sender, receiver) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let (to, local) = (receiver.local_addr(), ip("127.0.0.1"));
    let mut batch = SendBatch::new();
    for (text, committed) in [("one", true), ("lost", false), ("two", true)] {
        let room = batch.begin(to, local, 1500).unwrap();
        room[..text.len()].copy_from_slice(text.as_bytes());
        if committed {
            batch.commit(text.len());
        }
    }
    assert!(batch.begin(to, local, 1_000_000).is_none());
    batch.commit(3);
    flush(&mut batch, &sender).await;
    let got: Vec<_> = receive(&receiver, 2).await.into_iter().map(|datagram| datagram.0).collect();
    assert_eq!(got, [b"one", b"two"]);
}

#[tokio::test]
async fn one_refused_packet_does_not_hold_up_the_others() {
    let (sender, receiver) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let (to, local) = (receiver.local_addr(), ip("127.0.0.1"));
    let mut batch = SendBatch::new();
    batch.push(to, local, b"before");
    // An address that is not ours, and a port that does not exist.
    batch.push(to, ip("192.0.2.77"), b"forged");
    batch.push(SocketAddr::new(ip("127.0.0.1"), 0), local, b"nowhere");
    batch.push(to, local, b"after");
    flush(&mut batch, &sender).await;
    let got: Vec<_> = receive(&receiver, 2).await.into_iter().map(|datagram| datagram.0).collect();
    assert_eq!(got, [b"before".to_vec(), b"after".to_vec()]);
    assert_eq!((batch.counters().refused, batch.counters().packets), (2, 2));
}

#[tokio::test]
async fn one_port_is_shared_by_several_sockets() {
    let first = UdpPort::bind("127.0.0.1:0".parse().unwrap(), true).unwrap();
    let second = UdpPort::bind(first.local_addr(), true).unwrap();
    let clients: Vec<_> = (0..32).map(|_| bind("127.0.0.1:0")).collect();
    for client in &clients {
        let mut batch = SendBatch::new();
        batch.push(first.local_addr(), ip("127.0.0.1"), b"hello");
        flush(&mut batch, client).await;
    }
    let mut count = HashMap::new();
    let mut batch = RecvBatch::new();
    while count.values().sum::<usize>() < clients.len() {
        let port = tokio::select! { _ = first.readable() => &first, _ = second.readable() => &second };
        if let Ok(received) = port.recv_batch(&mut batch) {
            *count.entry(std::ptr::from_ref(port) as usize).or_insert(0) += received;
        }
    }
    assert_eq!(count.len(), 2, "the kernel spreads 4-tuples over the sockets");
}

#[tokio::test]
async fn without_gso_everything_still_arrives() {
    let (sender, receiver) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut batch = SendBatch::new();
    for i in 0..10_u8 {
        batch.push(receiver.local_addr(), ip("127.0.0.1"), &vec![i; if i == 9 { 10 } else { 1000 }]);
    }
    batch.disable_gso();
    flush(&mut batch, &sender).await;
    assert_eq!(batch.counters().messages, 10);
    let got: Vec<_> = receive(&receiver, 10).await.into_iter().map(|datagram| (datagram.0[0], datagram.0.len())).collect();
    assert_eq!(got, (0..10).map(|i| (i, if i == 9 { 10 } else { 1000 })).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_kernel_buffer_keeps_one_flush_and_drops_the_older() {
    let sender = bind("127.0.0.1:0");
    sender.set_send_buffer_size(4096).unwrap();
    let receiver = bind("127.0.0.1:0");
    let mut batch = SendBatch::new();
    batch.disable_gso();
    // Loopback empties the send buffer at once, so the full buffer is played: what `flush` does on WouldBlock.
    let fill = |batch: &mut SendBatch, value: u8| (0..3).for_each(|_| batch.push(receiver.local_addr(), ip("127.0.0.1"), &[value; 100]));
    fill(&mut batch, 1);
    assert!(!batch.no_room());
    fill(&mut batch, 2);
    assert!(!batch.no_room());
    assert_eq!(batch.counters().dropped, 3);
    fill(&mut batch, 3);
    flush(&mut batch, &sender).await;
    let got: Vec<_> = receive(&receiver, 6).await.into_iter().map(|datagram| datagram.0[0]).collect();
    assert_eq!(got, [2, 2, 2, 3, 3, 3]);
}

#[test]
fn the_arena_is_bounded() {
    let mut batch = SendBatch::new();
    let to = "127.0.0.1:9".parse().unwrap();
    (0..10_000).for_each(|_| batch.push(to, ip("127.0.0.1"), &[0; 1200]));
    assert!(batch.is_full());
    assert_eq!(batch.counters().dropped, 10_000 - 4 * 1024 * 1024 / 1200);
}

/// Sockets that share an address, and what each sender's datagram came to.
async fn steered(host: &str, runs: u16) {
    let first = UdpPort::bind(SocketAddr::new(ip(host), 0), true).unwrap();
    let sockets: Vec<UdpPort> = (1..3).map(|_| UdpPort::bind(first.local_addr(), true).unwrap()).collect();
    let sockets: Vec<UdpPort> = std::iter::once(first).chain(sockets).collect();
    let address = sockets[0].local_addr();
    let senders: Vec<std::net::UdpSocket> = (0..120).map(|_| std::net::UdpSocket::bind((ip(host), 0)).unwrap()).collect();
    let mut steering = Steering::default();
    // Strangers, so that the tree is deep.
    (0..runs).for_each(|stranger| steering.set(stranger.wrapping_mul(31), stranger % 2));
    let port = |sender: &std::net::UdpSocket| sender.local_addr().unwrap().port();
    for round in 0..2 {
        let expected = |sender: &std::net::UdpSocket| (port(sender) / 3 + round) % 3;
        senders.iter().for_each(|sender| steering.set(port(sender), expected(sender)));
        sockets[1].steer(&steering).unwrap();
        for sender in &senders {
            sender.send_to(&port(sender).to_be_bytes(), address).unwrap();
        }
        for (index, socket) in sockets.iter().enumerate() {
            let due: Vec<u16> = senders.iter().filter(|sender| usize::from(expected(sender)) == index).map(port).collect();
            let mut got: Vec<u16> = receive(socket, due.len()).await.iter().map(|(_, remote, _)| remote.port()).collect();
            got.sort_unstable();
            let mut due = due;
            due.sort_unstable();
            assert_eq!(got, due, "socket {index} of {host} with {runs} runs");
        }
    }
}

#[tokio::test]
async fn the_kernel_gives_each_sender_to_its_socket() {
    for host in ["127.0.0.1", "::1"] {
        for runs in [0, 1, 700] {
            steered(host, runs).await;
        }
    }
}
