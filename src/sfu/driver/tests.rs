//! Two workers on real loopback sockets: viewers on both, by UDP and TCP, a publisher, pipes, closing.

#![allow(clippy::disallowed_methods)] // the clients of these tests are no part of the server

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{Router, WebRtcTransport, WorkerPool};
use crate::base::{Lots, MediaKind, Vitals, real_clock, seeded};
use crate::rtp::batch::RtpBatch;
use crate::rtp::framing::{FrameReader, FrameWriter};
use crate::rtp::packet::{RtpHeader, RtpPacket, write_header};
use crate::rtp::rtcp::{Rtcp, parse};
use crate::rtp::srtp::MAX_SRTP_OVERHEAD;
use crate::sfu::config::SfuConfig;
use crate::sfu::error::SfuError;
use crate::sfu::ortc::{DtlsRole, RtpCodecParameters, RtpEncodingParameters, RtpParameters, router_capabilities};
use crate::sfu::peer::client::ClientPeer;
use crate::sfu::peer::{Certificate, PeerEvent, Protocol, Received, Tuple};
use crate::sfu::transport::Srtp;
use crate::sfu::types::{ConsumerOptions, PlainTransportOptions, ProducerOptions, TransportEvent, WebRtcTransportOptions};

/// Far beyond what anything here takes; a test that hangs fails by it.
const PATIENCE: Duration = Duration::from_secs(20);

fn lots() -> Lots {
    Lots::new(seeded(5))
}

fn pool(workers: usize) -> WorkerPool {
    let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    WorkerPool::start(&SfuConfig { listen, workers, ..Default::default() }, &real_clock(), &lots(), &Vitals::unwatched()).unwrap()
}

fn vp8() -> ProducerOptions {
    let codec = RtpCodecParameters {
        mime_type: "video/VP8".into(),
        payload_type: 96,
        clock_rate: 90_000,
        channels: None,
        parameters: Default::default(),
        rtcp_feedback: vec![],
    };
    let encodings = vec![RtpEncodingParameters { ssrc: Some(500), ..Default::default() }];
    ProducerOptions { kind: MediaKind::Video, rtp_parameters: RtpParameters { codecs: vec![codec], encodings, ..Default::default() } }
}

/// Everything of a producer.
fn wish(producer: crate::sfu::ProducerId) -> ConsumerOptions {
    ConsumerOptions {
        producer,
        rtp_capabilities: router_capabilities().clone(),
        mid: None,
        cname: "c".into(),
        drop_disposable: false,
        paused: false,
    }
}

/// A VP8 key frame in one packet, or a predicted one.
fn picture(seq: u16, key: bool) -> Bytes {
    let mut bytes = [0; 12 + 11];
    let header = RtpHeader { marker: true, payload_type: 96, sequence_number: seq, timestamp: u32::from(seq) * 3000, ssrc: 500 };
    write_header(&mut bytes, &header, &[]).unwrap();
    bytes[12..].copy_from_slice(&[0x10, u8::from(!key), 0, 0, 0x9D, 0x01, 0x2A, 16, 0, 16, 0]);
    Bytes::copy_from_slice(&bytes)
}

enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream, FrameReader),
}

impl Wire {
    async fn recv(&mut self) -> Option<BytesMut> {
        match self {
            Wire::Udp(socket) => {
                let mut buffer = BytesMut::zeroed(2048);
                let len = socket.recv(&mut buffer).await.ok()?;
                buffer.truncate(len);
                Some(buffer)
            }
            Wire::Tcp(stream, reader) => loop {
                if let Some(frame) = reader.next_frame().unwrap() {
                    return Some(frame);
                }
                if stream.read_buf(reader.buffer()).await.ok()? == 0 {
                    return None;
                }
            },
        }
    }

    async fn send(&mut self, datagram: &[u8]) {
        match self {
            Wire::Udp(socket) => drop(socket.send(datagram).await),
            Wire::Tcp(stream, _) => {
                let mut writer = FrameWriter::new();
                writer.push(datagram);
                drop(stream.write_all(&writer.take()).await);
            }
        }
    }
}

struct Browser {
    peer: ClientPeer,
    wire: Wire,
    tuple: Tuple,
    srtp: Option<Srtp>,
    transport: WebRtcTransport,
}

impl Browser {
    async fn new(router: &Router, protocol: &str) -> Self {
        let transport = router.create_webrtc_transport(WebRtcTransportOptions::default()).await.unwrap();
        let candidate = transport.ice_candidates.iter().find(|candidate| candidate.protocol == protocol).unwrap();
        let remote = SocketAddr::new(candidate.address.parse().unwrap(), candidate.port);
        let (wire, local, protocol) = if protocol == "tcp" {
            let stream = TcpStream::connect(remote).await.unwrap();
            let local = stream.local_addr().unwrap();
            (Wire::Tcp(stream, FrameReader::new()), local, Protocol::Tcp)
        } else {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.connect(remote).await.unwrap();
            let local = socket.local_addr().unwrap();
            (Wire::Udp(socket), local, Protocol::Udp)
        };
        let tuple = Tuple { local, remote, protocol };
        let certificate = Certificate::generate().unwrap();
        let (ice, dtls) = (&transport.ice_parameters, &transport.dtls_parameters);
        let peer = ClientPeer::new(Instant::now(), seeded(7), &certificate, DtlsRole::Client, ice, dtls, tuple);
        transport.connect(peer.dtls_parameters(), peer.ice_parameters().clone()).await.unwrap();
        Self { peer, wire, tuple, srtp: None, transport }
    }

    /// Goes on until something came under SRTP, or until connected if there is nothing to wait for.
    async fn step(&mut self) -> Option<BytesMut> {
        while let Some((_, datagram)) = self.peer.poll_transmit() {
            self.wire.send(&datagram).await;
        }
        while let Some(event) = self.peer.poll_event() {
            if let PeerEvent::Connected(keys) = event {
                self.srtp = Some(Srtp::new(&keys).unwrap());
            }
        }
        let deadline = self.peer.poll_timeout().unwrap();
        tokio::select! {
            received = self.wire.recv() => {
                let mut datagram = received?;
                if self.peer.handle_datagram(Instant::now(), self.tuple, &datagram) == Received::Srtp {
                    let len = self.srtp.as_mut().unwrap().receiver.open(&mut datagram).unwrap();
                    datagram.truncate(len);
                    return Some(datagram);
                }
            }
            () = tokio::time::sleep_until(deadline.into()) => self.peer.handle_timeout(Instant::now()),
        }
        None
    }

    async fn connected(&mut self) {
        while self.srtp.is_none() {
            self.step().await;
        }
    }

    async fn watch(&mut self, producer: crate::sfu::ProducerId) {
        self.transport.consume(wish(producer)).await.unwrap();
    }

    async fn timestamps(mut self, count: usize) -> (Self, Vec<u32>) {
        let mut seen = Vec::new();
        while seen.len() < count {
            if let Some(packet) = self.step().await {
                seen.push(RtpPacket::parse(&packet).unwrap().timestamp());
            }
        }
        (self, seen)
    }
}

/// A viewer by TCP that stops reading, and one that goes on.
#[tokio::test]
async fn a_viewer_that_stops_reading_is_let_go() {
    let pool = pool(1);
    let router = pool.create_router(0).await.unwrap();
    let producer = router.produce_direct(vp8()).await.unwrap();
    assert!(producer.send(RtpBatch::of_packets([picture(0, true)])));
    let mut stopped = Browser::new(&router, "tcp").await;
    stopped.watch(producer.id).await;
    stopped.connected().await;
    let mut other = Browser::new(&router, "udp").await;
    other.watch(producer.id).await;
    other.connected().await;
    let sending = async {
        let mut packet = picture(1, false).to_vec();
        packet.resize(1100, 7);
        for seq in 1_u16.. {
            packet[2..4].copy_from_slice(&seq.to_be_bytes());
            producer.send(RtpBatch::of_packets([Bytes::copy_from_slice(&packet)]));
            if seq.is_multiple_of(100) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if pool.stats().await.tcp_stalled > 0 {
                return;
            }
        }
    };
    timeout(PATIENCE, async { tokio::join!(sending, other.timestamps(100)) }).await.expect("in time");
}

#[tokio::test]
async fn viewers_on_two_workers_get_every_picture() {
    let pool = pool(2);
    let (here, there) = (pool.create_router(0).await.unwrap(), pool.create_router(1).await.unwrap());
    let producer = here.produce_direct(vp8()).await.unwrap();
    for seq in 0..5 {
        assert!(producer.send(RtpBatch::of_packets([picture(seq, seq == 0)])));
    }
    here.pipe_to(producer.id, &there).await.unwrap();
    here.pipe_to(producer.id, &there).await.unwrap();
    let mut viewers = Vec::new();
    // With this many, some surely come to the socket of the worker that is not theirs.
    for index in 0..8 {
        let router = if index % 2 == 0 { &here } else { &there };
        let mut browser = Browser::new(router, if index < 6 { "udp" } else { "tcp" }).await;
        browser.watch(producer.id).await;
        viewers.push(tokio::spawn(async move { timeout(PATIENCE, browser.timestamps(5)).await.expect("in time") }));
    }
    let mut browsers = Vec::new();
    for viewer in viewers {
        let (browser, seen) = viewer.await.unwrap();
        assert_eq!(seen, (0..5).map(|n| n * 3000).collect::<Vec<u32>>());
        browsers.push(browser);
    }
    assert!(producer.send(RtpBatch::of_packets([picture(5, false)])));
    let mut watching = Vec::new();
    for browser in browsers {
        let (mut browser, seen) = timeout(PATIENCE, browser.timestamps(1)).await.expect("in time");
        assert_eq!(seen, [15_000]);
        assert_eq!(browser.transport.events.recv().await, Some(TransportEvent::IceConnected));
        assert_eq!(browser.transport.events.recv().await, Some(TransportEvent::Connected));
        // To be counted before they leave: a farewell to a closed connection is a dropped datagram.
        watching.push(browser);
    }
    let stats = pool.stats().await;
    assert_eq!((stats.routers, stats.producers, stats.packets_out, stats.fast_starts), (2, 2, 48, 8));
    assert_eq!((stats.drop_send, stats.drop_handover), (0, 0));
    drop((watching, producer));
    // Closing spreads over the pipe: both copies are gone once a command has gone round.
    timeout(PATIENCE, async {
        while pool.stats().await.producers > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("closed");
    drop((here, there));
    pool.shutdown().await;
    assert!(matches!(pool.create_router(0).await, Err(SfuError::WorkerGone)));
}

#[tokio::test]
async fn datagrams_come_to_their_sessions_worker_once_the_kernel_knows_it() {
    let pool = pool(2);
    let mut browsers = Vec::new();
    for index in 0..10 {
        let router = pool.create_router(index % 2).await.unwrap();
        let mut browser = Browser::new(&router, "udp").await;
        timeout(PATIENCE, browser.connected()).await.expect("in time");
        browsers.push((router, browser));
    }
    let steered = async {
        loop {
            let before = pool.stats().await;
            for (_, browser) in &mut browsers {
                browser.wire.send(&[0x80, 201, 0, 7, 0, 0, 0, 1]).await;
            }
            let after = loop {
                let stats = pool.stats().await;
                if stats.datagrams_in >= before.datagrams_in + browsers.len() as u64 {
                    break stats;
                }
            };
            if after.handovers == before.handovers {
                break after;
            }
        }
    };
    // A hash of the addresses lets none of ten go astray once in a thousand times.
    let stats = timeout(PATIENCE, steered).await.expect("none is handed over any more");
    assert_eq!((stats.drop_handover, stats.drop_unknown_peer), (0, 0));
    // Whoever leaves and comes again is found, from the same port or another.
    let (router, browser) = browsers.swap_remove(0);
    drop(browser);
    let mut again = Browser::new(&router, "udp").await;
    timeout(PATIENCE, again.connected()).await.expect("in time");
    drop((again, browsers));
    pool.shutdown().await;
}

#[tokio::test]
async fn a_browser_publishes_to_a_reader_in_this_process() {
    let pool = pool(1);
    let router = pool.create_router(0).await.unwrap();
    let mut browser = Browser::new(&router, "udp").await;
    timeout(PATIENCE, browser.connected()).await.expect("in time");
    let producer = browser.transport.produce(vp8()).await.unwrap();
    let mut reader = router.consume_direct(producer).await.unwrap();
    reader.request_key_frame();
    let plain = picture(7, true);
    let mut sealed = plain.to_vec();
    sealed.resize(plain.len() + MAX_SRTP_OVERHEAD, 0);
    let len = browser.srtp.as_mut().unwrap().sender.seal(&mut sealed, 12, plain.len()).unwrap();
    browser.wire.send(&sealed[..len]).await;
    let batch = timeout(PATIENCE, reader.recv()).await.expect("in time").unwrap();
    assert!(batch.iter().map(|packet| packet.bytes).eq([&plain[..]]));
    assert!(batch.clock.is_some());
    assert_eq!(router.producer_stats(producer).await.unwrap().key_frames, 1);
    drop(browser);
    assert!(timeout(PATIENCE, reader.recv()).await.expect("in time").is_none());
    assert!(matches!(router.producer_stats(producer).await, Err(SfuError::NotFound(_))));
    pool.shutdown().await;
}

#[tokio::test]
async fn key_frame_requests_travel_back_through_a_pipe() {
    let pool = pool(2);
    let (here, there) = (pool.create_router(0).await.unwrap(), pool.create_router(1).await.unwrap());
    let mut producer = here.produce_direct(vp8()).await.unwrap();
    here.pipe_to(producer.id, &there).await.unwrap();
    there.request_key_frame(producer.id).await;
    assert_eq!(timeout(PATIENCE, producer.key_frame_requested()).await.expect("in time"), Some(()));
    let newer = here.produce_direct(vp8()).await.unwrap();
    here.replace_producer(producer.id, newer.id).await.unwrap();
    assert_eq!(timeout(PATIENCE, producer.key_frame_requested()).await.expect("in time"), None);
    assert!(there.producer_stats(newer.id).await.is_ok());
    assert!(there.producer_stats(producer.id).await.is_err());
    pool.shutdown().await;
}

#[tokio::test]
async fn plain_rtp_goes_in_and_out() {
    let pool = pool(1);
    let router = pool.create_router(0).await.unwrap();
    let inward = router.create_plain_transport(PlainTransportOptions { comedia: true, ..Default::default() }).await.unwrap();
    let outward = router.create_plain_transport(PlainTransportOptions::default()).await.unwrap();
    let producer = inward.produce(vp8()).await.unwrap();
    let (sender, receiver) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    outward.connect(receiver.local_addr().unwrap()).await.unwrap();
    let ssrc = outward.consume(wish(producer)).await.unwrap().rtp_parameters.encodings[0].ssrc.unwrap();
    sender.send_to(&picture(3, true), inward.local_address).await.unwrap();
    let mut buffer = [0; 2048];
    let (len, from) = timeout(PATIENCE, receiver.recv_from(&mut buffer)).await.expect("in time").unwrap();
    let packet = RtpPacket::parse(&buffer[..len]).unwrap();
    assert_eq!((packet.ssrc(), packet.timestamp(), packet.payload()), (ssrc, 9000, &picture(3, true)[12..]));
    assert_eq!(from, outward.local_address);
    // Sender reports come as well, on the same port.
    let (len, _) = timeout(PATIENCE, receiver.recv_from(&mut buffer)).await.expect("in time").unwrap();
    assert!(matches!(parse(&buffer[..len]).next(), Some(Ok(Rtcp::SenderReport { .. }))));
    // The publisher's address is learned: nobody else can join in.
    receiver.send_to(&picture(4, false), inward.local_address).await.unwrap();
    sender.send_to(&picture(4, false), inward.local_address).await.unwrap();
    timeout(PATIENCE, receiver.recv_from(&mut buffer)).await.expect("in time").unwrap();
    assert_eq!(pool.stats().await.drop_unknown_peer, 1);
    drop((inward, outward));
    timeout(PATIENCE, async { while pool.stats().await.transports > 0 {} }).await.expect("closed");
    pool.shutdown().await;
}

#[test]
fn an_address_that_is_taken_is_said() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = vec![taken.local_addr().unwrap()];
    assert!(matches!(
        WorkerPool::start(&SfuConfig { listen, ..Default::default() }, &real_clock(), &lots(), &Vitals::unwatched()),
        Err(SfuError::Listen { .. })
    ));
    assert!(matches!(
        WorkerPool::start(&SfuConfig { listen: vec![], ..Default::default() }, &real_clock(), &lots(), &Vitals::unwatched()),
        Err(SfuError::Setting(_))
    ));
}

#[tokio::test]
async fn a_worker_that_panics_is_told_of_and_the_others_go_on() {
    let (tell, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let vitals = Vitals::new(move |name| {
        let _ = tell.send(name);
    });
    let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    let pool = WorkerPool::start(&SfuConfig { listen, workers: 2, ..Default::default() }, &real_clock(), &lots(), &vitals).unwrap();
    assert!(pool.answer_within(PATIENCE).await);
    pool.plant(1, |_, _| panic!("planted")).await;
    assert_eq!(timeout(PATIENCE, ended.recv()).await.expect("told of"), Some("a worker of the SFU"));
    assert!(!pool.answer_within(PATIENCE).await, "at once");
    assert!(pool.create_router(0).await.is_ok() && pool.create_router(1).await.is_err());
    pool.shutdown().await;
}

#[tokio::test]
async fn a_worker_that_hangs_does_not_answer() {
    let pool = pool(2);
    let (go_on, held) = std::sync::mpsc::channel::<()>();
    let hang = pool.plant(1, move |_, _| assert!(held.recv().is_err(), "until it is let go"));
    let asked = async {
        assert!(!pool.answer_within(Duration::from_millis(50)).await);
        drop(go_on);
        assert!(pool.answer_within(PATIENCE).await);
    };
    tokio::join!(hang, asked);
    pool.shutdown().await;
}
