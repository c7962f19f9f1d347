//! Connections that come in the wrong moment, or carry more than one stream, over real sockets.

#![allow(clippy::disallowed_methods)] // the clients of these tests are no part of the server

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::base::{Lots, real_clock, seeded};
use crate::rtmp::amf0::{self, Value};
use crate::rtmp::chunk::{ChunkReader, ChunkWriter, Limits, Message, kind};
use crate::rtmp::handshake::HANDSHAKE_LEN;
use crate::sfu::{SfuConfig, WorkerPool};
use crate::stream::{AccessRule, BFrames, HubOptions, StreamConfig};

/// No answer takes longer, on a machine under load.
const LIMIT: Duration = Duration::from_secs(20);

struct Bench {
    address: SocketAddr,
    hub: Hub,
    metrics: RtmpMetrics,
    cancel: CancellationToken,
}

impl Bench {
    fn metrics_text(&self) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        self.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    fn start(config: RtmpConfig, stream: StreamConfig) -> Self {
        let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let (clock, lots) = (real_clock(), Lots::new(seeded(1)));
        let workers = Arc::new(
            WorkerPool::start(&SfuConfig { listen, workers: 2, ..Default::default() }, &clock, &lots, &crate::base::Vitals::unwatched())
                .unwrap(),
        );
        let hub = Hub::new(HubOptions {
            config: stream,
            b_frames: BFrames::default(),
            workers,
            clock,
            lots,
            vitals: crate::base::Vitals::unwatched(),
        });
        let cancel = CancellationToken::new();
        let config = RtmpConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..config };
        let server = RtmpServer::bind(config, hub.clone(), cancel.clone()).unwrap();
        let (address, metrics) = (server.local_addr(), server.metrics().clone());
        tokio::spawn(server.run());
        Self { address, hub, metrics, cancel }
    }

    /// With a reconnect window of 100 ms.
    fn usual() -> Self {
        let stream = StreamConfig { reconnect_window: Duration::from_millis(100), ..StreamConfig::default() };
        Self::start(RtmpConfig::default(), stream)
    }

    async fn connect(&self) -> Client {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let mut handshake = vec![0; HANDSHAKE_LEN as usize];
        handshake[0] = 3;
        socket.write_all(&handshake).await.unwrap();
        socket.read_exact(&mut handshake).await.unwrap();
        let mut reader = ChunkReader::new(0);
        reader.set_limits(Limits::PUBLISHER);
        let mut client = Client { socket, reader, writer: ChunkWriter::new(), unread: BytesMut::new() };
        client.command(0, "connect", Value::Object(vec![("app".into(), Value::text("live"))]), None).await;
        client.heard("NetConnection.Connect.Success").await;
        client
    }

    async fn publisher(&self, name: &str) -> Client {
        let mut client = self.connect().await;
        client.command(1, "publish", Value::Null, Some(name)).await;
        client.heard("NetStream.Publish.Start").await;
        client.sound(1, 0).await;
        self.until(|| self.hub.stream(&format!("live/{name}").parse().unwrap()).is_some()).await;
        client
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !condition() {
            assert!(Instant::now() < deadline, "it never came to be");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn publishes(&self, name: &str) -> bool {
        self.hub.stream(&format!("live/{name}").parse().unwrap()).is_some_and(|stream| stream.is_publishing())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

struct Client {
    socket: TcpStream,
    reader: ChunkReader,
    writer: ChunkWriter,
    unread: BytesMut,
}

impl Client {
    async fn message(&mut self, kind: u8, stream: u32, timestamp: u32, body: Vec<u8>) {
        let mut out = BytesMut::new();
        self.writer.write(&Message { kind, stream, timestamp, body: body.into() }, &mut out);
        let _ = self.socket.write_all(&out).await; // the other side may have gone
    }

    async fn command(&mut self, stream: u32, name: &str, object: Value, argument: Option<&str>) {
        let mut values = vec![Value::text(name), Value::Number(1.0), object];
        values.extend(argument.map(Value::text));
        self.message(kind::COMMAND, stream, 0, amf0::write(&values)).await;
    }

    /// A sequence header and a frame of AAC.
    async fn sound(&mut self, stream: u32, timestamp: u32) {
        self.message(kind::AUDIO, stream, timestamp, vec![0xAF, 0, 0x11, 0x90]).await;
        self.message(kind::AUDIO, stream, timestamp, vec![0xAF, 1, 0x21, 0x10, 0x04]).await;
    }

    async fn next(&mut self) -> Option<Message> {
        loop {
            let mut rest = &self.unread[..];
            let before = rest.len();
            let message = self.reader.next_message(&mut rest).unwrap();
            let used = before - rest.len();
            let _ = self.unread.split_to(used);
            if message.is_some() {
                return message;
            }
            let n = tokio::time::timeout(LIMIT, self.socket.read_buf(&mut self.unread)).await.expect("nothing came").unwrap_or(0);
            if n == 0 {
                return None;
            }
        }
    }

    /// Waits for a command with this code; gives its message stream and description. `None` at the end of the connection.
    async fn try_heard(&mut self, code: &str) -> Option<(u32, String)> {
        while let Some(message) = self.next().await {
            if message.kind == kind::COMMAND {
                let values = amf0::read(&message.body).unwrap();
                let text = |name: &str| values.iter().find_map(|value| value.get(name)).and_then(Value::as_str).map(str::to_owned);
                if text("code").as_deref() == Some(code) {
                    return Some((message.stream, text("description").unwrap_or_default()));
                }
            }
        }
        None
    }

    async fn heard(&mut self, code: &str) -> (u32, String) {
        self.try_heard(code).await.unwrap_or_else(|| panic!("the connection ended before {code}"))
    }

    /// Waits for audio; gives the message stream.
    async fn heard_sound(&mut self) -> u32 {
        loop {
            match self.next().await {
                Some(message) if message.kind == kind::AUDIO => return message.stream,
                Some(_) => {}
                None => panic!("the connection ended before any sound"),
            }
        }
    }
}

#[tokio::test]
async fn two_are_published_on_one_connection() {
    let bench = Bench::usual();
    let mut client = bench.publisher("a").await;
    client.command(2, "publish", Value::Null, Some("b")).await;
    assert_eq!(client.heard("NetStream.Publish.Start").await.0, 2);
    client.sound(2, 0).await;
    bench.until(|| bench.publishes("a") && bench.publishes("b")).await;
    assert_eq!(bench.metrics.publishers.get(), 2);
    // A third is refused, alone; and one ends, alone.
    client.command(3, "publish", Value::Null, Some("../c")).await;
    assert_eq!(client.heard("NetStream.Publish.BadName").await.0, 3);
    client.command(0, "FCUnpublish", Value::Null, Some("b")).await;
    bench.until(|| !bench.publishes("b")).await;
    client.sound(1, 100).await;
    assert!(bench.publishes("a"));
    // What was published comes back on the same connection.
    client.command(2, "publish", Value::Null, Some("b")).await;
    client.heard("NetStream.Publish.Start").await;
    client.sound(2, 200).await;
    bench.until(|| bench.publishes("b")).await;
    drop(client);
    bench.until(|| !bench.publishes("a") && !bench.publishes("b") && bench.metrics.publishers.get() == 0).await;
}

#[tokio::test]
async fn a_predecessor_that_is_silent_is_waited_out() {
    let bench = Bench::usual();
    let mut old = bench.publisher("a").await; // and never a word again
    let asked = Instant::now();
    let mut new = bench.connect().await;
    new.command(1, "publish", Value::Null, Some("a")).await;
    // What it sends without waiting is not lost.
    new.sound(1, 0).await;
    new.heard("NetStream.Publish.Start").await;
    let waited = Instant::now() - asked;
    assert!((Duration::from_millis(1500)..Duration::from_secs(6)).contains(&waited), "{waited:?}");
    assert_eq!(old.heard("NetStream.Unpublish.Success").await.1, "another publisher took over");
    bench.until(|| bench.metrics_text().contains("rtmp_oddities_total{what=\"predecessor\"} 1")).await;
    assert!(old.next().await.is_none_or(|message| message.kind != kind::COMMAND));
}

#[tokio::test]
async fn a_predecessor_that_is_alive_stays() {
    let bench = Bench::usual();
    let mut old = bench.publisher("a").await;
    let mut new = bench.connect().await;
    new.command(1, "publish", Value::Null, Some("a")).await;
    let alive = async {
        for ms in (0..).step_by(20) {
            old.sound(1, ms).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let refused = tokio::select! {
        () = alive => unreachable!(),
        refused = new.heard("NetStream.Publish.BadName") => refused,
    };
    assert!(refused.1.contains("is being published already"), "{}", refused.1);
    assert!(bench.publishes("a") && new.next().await.is_none());
}

/// What a predecessor does that is held because it sent a file at once.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    Leaves,
    Unpublishes,
    FallsSilent,
    GoesOn,
}

/// Sends `seconds` of media at once, five frames of `size` bytes a second, then what `then` says. Most of it hasn't been read when somebody else
/// asks for the path. Whether that one comes before the end of all.
async fn succeed(then: Then, seconds: u32, size: usize) -> bool {
    let frame = [&[0xAF, 1, 0x21, 0x10, 0x04][..], &vec![0; size]].concat();
    let bench = Bench::usual();
    let mut old = bench.publisher("a").await;
    for n in 1..=5 * seconds {
        old.message(kind::AUDIO, 1, n * 200, frame.clone()).await;
    }
    match then {
        Then::Leaves => old.socket.shutdown().await.unwrap(),
        Then::Unpublishes => old.command(0, "FCUnpublish", Value::Null, Some("a")).await,
        Then::FallsSilent | Then::GoesOn => {}
    }
    let goes_on = async {
        for n in (5 * seconds + 1..).take_while(|_| then == Then::GoesOn) {
            old.message(kind::AUDIO, 1, n * 200, frame.clone()).await;
        }
        std::future::pending().await
    };
    let asks = async {
        // It is being held.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let asked = Instant::now();
        let mut new = bench.connect().await;
        new.command(1, "publish", Value::Null, Some("a")).await;
        new.heard(if then == Then::GoesOn { "NetStream.Publish.BadName" } else { "NetStream.Publish.Start" }).await;
        let waited = Instant::now() - asked;
        // Two seconds, and what a machine under load takes.
        assert!(waited < Duration::from_secs(4), "{then:?} {seconds}: {waited:?}");
    };
    tokio::select! {
        () = goes_on => unreachable!(),
        () = asks => {}
    }
    let last_word = if then == Then::GoesOn { None } else { old.try_heard("NetStream.Unpublish.Success").await };
    last_word.is_some_and(|(_, why)| why == "another publisher took over")
}

#[tokio::test]
async fn a_predecessor_that_is_held_is_read_to_its_end() {
    let table = [
        (Then::Leaves, 50, 400, false),
        (Then::Unpublishes, 50, 400, false),
        // There isn't the time for so much.
        (Then::Leaves, 1_200, 400, true),
        (Then::FallsSilent, 50, 400, true),
        (Then::FallsSilent, 1_200, 400, true),
        (Then::GoesOn, 0, 100_000, false),
    ];
    let seen = futures_util::future::join_all(table.map(|(then, seconds, size, _)| succeed(then, seconds, size))).await;
    for ((then, seconds, _, taken_over), seen) in table.into_iter().zip(seen) {
        assert_eq!(seen, taken_over, "{then:?} {seconds}");
    }
}

#[tokio::test]
async fn a_player_may_come_first_and_stay() {
    let bench = Bench::usual();
    let mut player = bench.connect().await;
    player.command(1, "play", Value::Null, Some("a")).await;
    player.heard("NetStream.Play.Start").await;
    bench.until(|| bench.metrics.waiting_players.get() == 1).await;
    for _ in 0..2 {
        let mut publisher = bench.publisher("a").await;
        player.heard("NetStream.Play.PublishNotify").await;
        let sound = async {
            for ms in (20..).step_by(20) {
                publisher.sound(1, ms).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = sound => unreachable!(),
            stream = player.heard_sound() => assert_eq!(stream, 1),
        }
        assert_eq!(bench.metrics.waiting_players.get(), 0);
        drop(publisher);
        player.heard("NetStream.Play.UnpublishNotify").await;
        bench.until(|| bench.metrics.waiting_players.get() == 1).await;
    }
    // It goes over to something else on the same connection.
    let _other = bench.publisher("b").await;
    player.command(1, "play", Value::Null, Some("b")).await;
    player.heard("NetStream.Play.Start").await;
    bench.until(|| bench.metrics.waiting_players.get() == 0).await;
    drop(player);
    bench.until(|| bench.metrics.players.get() == 0).await;
}

#[tokio::test]
async fn who_waits_hears_the_first_word() {
    let bench = Bench::usual();
    let mut player = bench.connect().await;
    player.command(1, "play", Value::Null, Some("a")).await;
    bench.until(|| bench.metrics.waiting_players.get() == 1).await;
    let mut publisher = bench.connect().await;
    publisher.command(1, "publish", Value::Null, Some("a")).await;
    publisher.heard("NetStream.Publish.Start").await;
    publisher.message(kind::AUDIO, 1, 0, vec![0xAF, 0, 0x11, 0x90]).await;
    for n in 0..20u8 {
        publisher.message(kind::AUDIO, 1, 21 * u32::from(n), vec![0xAF, 1, 0x21, 0x10, n]).await;
    }
    let mut heard = Vec::new();
    while heard.len() < 20 {
        let message = player.next().await.unwrap();
        if message.kind == kind::AUDIO && message.body[1] == 1 {
            heard.push(message.body[4]);
        }
    }
    assert_eq!(heard, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn waiting_has_bounds() {
    let config = RtmpConfig { play_wait: Duration::from_millis(300), max_waiting_players: 1, ..RtmpConfig::default() };
    let bench = Bench::start(config, StreamConfig::default());
    let (mut first, mut second) = (bench.connect().await, bench.connect().await);
    first.command(1, "play", Value::Null, Some("a")).await;
    first.heard("NetStream.Play.Start").await;
    second.command(1, "play", Value::Null, Some("a")).await;
    assert_eq!(second.heard("NetStream.Play.StreamNotFound").await.1, "nobody is publishing live/a");
    assert!(first.heard("NetStream.Play.Stop").await.1.contains("rtmp.play_wait"));
    assert!(first.try_heard("nothing").await.is_none(), "closed");

    let bench = Bench::start(RtmpConfig { play_wait: Duration::ZERO, ..RtmpConfig::default() }, StreamConfig::default());
    let mut player = bench.connect().await;
    player.command(1, "play", Value::Null, Some("a")).await;
    player.heard("NetStream.Play.StreamNotFound").await;
}

#[tokio::test]
async fn two_are_played_and_one_published_on_one_connection() {
    let bench = Bench::usual();
    let mut client = bench.publisher("a").await;
    for stream in [2, 3] {
        client.command(stream, "play", Value::Null, Some("a")).await;
        assert_eq!(client.heard("NetStream.Play.Start").await.0, stream);
    }
    let mut heard = Vec::new();
    for ms in (20..).step_by(20) {
        client.sound(1, ms).await;
        heard.push(client.heard_sound().await);
        if heard.contains(&2) && heard.contains(&3) {
            break;
        }
    }
    client.command(2, "closeStream", Value::Null, None).await;
    client.heard("NetStream.Play.Stop").await;
    assert_eq!((bench.metrics.players.get(), bench.publishes("a")), (1, true));
}

#[tokio::test]
async fn an_encoder_that_comes_back_every_moment_gets_in_every_time() {
    let bench = Bench::usual();
    for _ in 0..10 {
        let publisher = bench.publisher("a").await;
        assert!(bench.publishes("a"));
        drop(publisher);
    }
}

#[tokio::test]
async fn who_may_not_publish_is_told_why() {
    let rule = AccessRule { paths: "live/*".into(), secret: "k".into() };
    let bench = Bench::start(RtmpConfig::default(), StreamConfig { publish_keys: vec![rule], ..StreamConfig::default() });
    for (name, wanted) in [("a", "?token="), ("a?x=y", "?token="), ("a?token=no", "is wrong"), ("rtmp://user:no@h/live/a", "is wrong")] {
        let mut client = bench.connect().await;
        client.command(1, "publish", Value::Null, Some(name)).await;
        let (_, sentence) = client.heard("NetStream.Publish.Denied").await;
        assert!(sentence.starts_with("publishing to live/a needs") && sentence.contains(wanted), "{name}: {sentence}");
    }
    for name in ["a?token=k", "rtmp://user:k@h/live/b"] {
        let mut client = bench.connect().await;
        client.command(1, "publish", Value::Null, Some(name)).await;
        client.heard("NetStream.Publish.Start").await;
    }
}

#[tokio::test]
async fn strangers_are_shown_the_door_at_once() {
    let bench = Bench::usual();
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00", b"\x06", b"\x00"] {
        let mut socket = TcpStream::connect(bench.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(LIMIT, socket.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.is_empty(), "{read:?}");
    }
    bench.until(|| bench.metrics.errors.get() == 4 && bench.metrics.strangers.get() == 4).await;
}

#[tokio::test]
async fn what_was_odd_is_counted_and_told() {
    let bench = Bench::usual();
    let mut client = bench.publisher("a").await;
    client.command(1, "publish", Value::Null, Some(" rtmp://h/live/b\r\n")).await;
    client.heard("NetStream.Publish.Start").await;
    client.message(kind::DATA, 1, 0, vec![7; 70_000]).await;
    client.sound(1, 20).await;
    bench.until(|| bench.publishes("b")).await;
    let stream = bench.hub.stream(&"live/b".parse().unwrap()).unwrap();
    let deadline = Instant::now() + LIMIT;
    loop {
        let codes: Vec<_> = stream.info().await.warnings.iter().map(|warning| warning.code).collect();
        if codes.contains(&"stream_name") && codes.contains(&"oversized_data") {
            break;
        }
        assert!(Instant::now() < deadline, "{codes:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let text = bench.metrics_text();
    assert!(text.contains("rtmp_oddities_total{what=\"stream_name\"} 1") && text.contains("what=\"oversized_data\"} 1"), "{text}");
}

#[tokio::test]
async fn many_are_read_in_rounds_and_whoever_is_watched_at_once() {
    let bench = Bench::usual();
    let mut clients = Vec::new();
    for number in 0..12 {
        clients.push(bench.publisher(&format!("cam{number}")).await);
    }
    let received = bench.metrics.received.get();
    for client in &mut clients {
        client.sound(1, 40).await;
    }
    // Each sends 12 and 20 bytes or so.
    bench.until(|| bench.metrics.received.get() >= received + 12 * 30).await;
    // More than what wakes before its round.
    let mut frame = vec![0xAF, 1];
    frame.resize(3 << 20, 0x21);
    clients[3].message(kind::AUDIO, 1, 60, frame).await;
    bench.until(|| bench.metrics.received.get() >= received + (3 << 20)).await;
    let mut player = bench.connect().await;
    player.command(1, "play", Value::Null, Some("cam0")).await;
    player.heard("NetStream.Play.Start").await;
    for ms in (60..).step_by(20) {
        clients[0].sound(1, ms).await;
        if tokio::time::timeout(Duration::from_millis(20), player.heard_sound()).await.is_ok() {
            break;
        }
    }
    let stream = bench.hub.stream(&"live/cam1".parse().unwrap()).unwrap();
    stream.evict("for a reason");
    clients[1].heard("NetStream.Unpublish.Success").await;
    drop(clients.remove(11));
    bench.until(|| !bench.publishes("cam11")).await;
    assert!(bench.publishes("cam2"));
}
