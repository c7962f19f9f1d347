//! A client of our own, and rml_rtmp's, against the session; no sockets.

use proptest::prelude::*;

use super::*;
use crate::rtmp::amf0;

const TIMEOUTS: SessionTimeouts = SessionTimeouts { handshake: Duration::from_secs(5), idle: Duration::from_secs(10) };

/// A moment to count from: only differences matter.
#[allow(clippy::disallowed_methods)]
fn start() -> Instant {
    Instant::now()
}

/// The client's side: writes commands, reads what the server says.
pub(super) struct Client {
    pub(super) now: Instant,
    pub(super) server: ServerSession,
    pub(super) writer: ChunkWriter,
    reader: ChunkReader,
    /// Bytes of the server's handshake still to be skipped.
    skip: usize,
    pub(super) said: Vec<Message>,
}

impl Client {
    pub(super) fn new() -> Self {
        let now = start();
        let server = ServerSession::new(now, TIMEOUTS);
        let mut reader = ChunkReader::new(0);
        reader.set_limits(Limits::PUBLISHER);
        Self { now, server, writer: ChunkWriter::new(), reader, skip: HANDSHAKE_LEN as usize, said: Vec::new() }
    }

    /// Through the handshake and `connect`.
    pub(super) fn connected(app: &str, tc_url: &str) -> Self {
        let mut client = Self::new();
        client.send(&handshake()).unwrap();
        let object = Value::Object(vec![
            ("app".into(), Value::text(app)),
            ("flashVer".into(), Value::text("FMLE/3.0 (compatible; test)")),
            ("tcUrl".into(), Value::text(tc_url)),
        ]);
        client.command("connect", 1.0, vec![object]).unwrap();
        client
    }

    /// Up to the answer to `publish`.
    pub(super) fn publishing() -> Self {
        let mut client = Self::connected("live", "rtmp://host/live");
        client.command("releaseStream", 2.0, vec![Value::Null, Value::text("cam1")]).unwrap();
        client.command("FCPublish", 3.0, vec![Value::Null, Value::text("cam1")]).unwrap();
        client.command("createStream", 4.0, vec![Value::Null]).unwrap();
        client.on_stream("publish", 5.0, vec![Value::Null, Value::text("cam1?token=k"), Value::text("live")]).unwrap();
        client
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), RtmpError> {
        let result = self.server.handle_input(self.now, bytes);
        self.server.caught_up();
        self.listen();
        result
    }

    pub(super) fn message(&mut self, kind: u8, stream: u32, timestamp: u32, body: &[u8]) -> Result<(), RtmpError> {
        let mut out = BytesMut::new();
        self.writer.write(&Message { kind, stream, timestamp, body: Bytes::copy_from_slice(body) }, &mut out);
        self.send(&out)
    }

    pub(super) fn command(&mut self, name: &str, transaction: f64, rest: Vec<Value>) -> Result<(), RtmpError> {
        self.message(kind::COMMAND, 0, 0, &body(name, transaction, rest))
    }

    pub(super) fn on_stream(&mut self, name: &str, transaction: f64, rest: Vec<Value>) -> Result<(), RtmpError> {
        self.message(kind::COMMAND, 1, 0, &body(name, transaction, rest))
    }

    /// Reads what the server has said meanwhile.
    pub(super) fn listen(&mut self) {
        while let Some(output) = self.server.poll_output() {
            let skipped = self.skip.min(output.len());
            self.skip -= skipped;
            let mut rest = &output[skipped..];
            while let Some(message) = self.reader.next_message(&mut rest).unwrap() {
                self.said.push(message);
            }
        }
    }

    /// The commands the server said since the last call, as "name code" or "name".
    pub(super) fn heard(&mut self) -> Vec<String> {
        self.listen();
        let commands = self.said.drain(..).filter(|m| m.kind == kind::COMMAND);
        let text = commands.map(|message| {
            let values = amf0::read(&message.body).unwrap();
            let code = values.iter().find_map(|v| v.get("code")).and_then(Value::as_str);
            [values[0].as_str(), code].into_iter().flatten().collect::<Vec<_>>().join(" ")
        });
        text.collect()
    }

    pub(super) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.server.poll_event()).collect()
    }
}

pub(super) fn handshake() -> Vec<u8> {
    let mut bytes = vec![0; HANDSHAKE_LEN as usize];
    bytes[0] = 3;
    bytes
}

pub(super) fn body(name: &str, transaction: f64, rest: Vec<Value>) -> Vec<u8> {
    let mut values = vec![Value::text(name), Value::Number(transaction)];
    values.extend(rest);
    amf0::write(&values)
}

pub(super) fn target(path: &str, key: Option<&str>) -> Target {
    Target { path: crate::base::StreamPath::parse(path).unwrap(), key: key.map(str::to_owned), otherwise: Vec::new(), mended: false }
}

#[test]
fn a_publisher_from_handshake_to_end() {
    let mut client = Client::publishing();
    assert_eq!(
        client.heard(),
        ["_result NetConnection.Connect.Success", "_result", "_result", "onFCPublish NetStream.Publish.Start", "_result"]
    );
    assert_eq!(client.events(), [Event::Publish(1, target("live/cam1", Some("k")))]);
    assert_eq!(client.server.agent(), Some("FMLE/3.0 (compatible; test)"));
    client.server.accept_publish(client.now, 1).unwrap();
    assert_eq!(client.heard(), ["onStatus NetStream.Publish.Start"]);

    let metadata = Value::Object(vec![("width".into(), Value::Number(1280.0))]);
    client.message(kind::DATA, 1, 0, &amf0::write(&[Value::text("@setDataFrame"), Value::text("onMetaData"), metadata.clone()])).unwrap();
    client.message(kind::VIDEO, 1, 40, b"video").unwrap();
    client.message(kind::AUDIO, 1, 46, b"audio").unwrap();
    client.message(kind::AUDIO, 1, 46, b"").unwrap();
    let events = client.events();
    assert_eq!(events[0], Event::Metadata(1, metadata));
    let media: Vec<_> =
        events[1..].iter().map(|e| if let Event::Media(_, m) = e { (m.kind, m.timestamp, &m.body[..]) } else { panic!() }).collect();
    assert_eq!(media, [(9, 40, &b"video"[..]), (8, 46, b"audio")]);

    client.command("FCUnpublish", 6.0, vec![Value::Null, Value::text("cam1")]).unwrap();
    client.command("deleteStream", 7.0, vec![Value::Null, Value::Number(1.0)]).unwrap();
    assert_eq!(client.events(), [Event::Ended(1)]);
    assert_eq!(client.heard(), ["_result", "onFCUnpublish NetStream.Unpublish.Success", "onStatus NetStream.Unpublish.Success"]);
    assert!(!client.server.is_closing());
}

#[test]
fn an_encoder_that_does_not_wait_loses_nothing() {
    let mut client = Client::publishing();
    client.message(kind::VIDEO, 1, 0, b"header").unwrap();
    client.message(kind::VIDEO, 1, 40, &[7; 100_000]).unwrap();
    assert_eq!(client.events(), [Event::Publish(1, target("live/cam1", Some("k")))]);
    client.server.accept_publish(client.now, 1).unwrap();
    let lens: Vec<_> = client.events().iter().map(|e| if let Event::Media(_, m) = e { m.body.len() } else { 0 }).collect();
    assert_eq!(lens, [6, 100_000]);

    let mut client = Client::publishing();
    let error = (0..100).find_map(|_| client.send(&[0; 10_000]).err()).unwrap();
    assert!(matches!(error.problem, Problem::TooMuchInAssembly { .. }), "{error}");
}

#[test]
fn a_player_from_handshake_to_end() {
    let mut client = Client::connected("live", "rtmp://host/live?token=v");
    client.command("createStream", 2.0, vec![Value::Null]).unwrap();
    client.command("getStreamLength", 3.0, vec![Value::Null, Value::text("cam1")]).unwrap();
    client.on_stream("play", 0.0, vec![Value::Null, Value::text("cam1"), Value::Number(-2000.0)]).unwrap();
    assert_eq!(client.events(), [Event::Play(1, target("live/cam1", Some("v")))]);
    client.heard();
    client.server.accept_play(client.now, 1).unwrap();
    client.server.send_media(1, kind::VIDEO, 0xFFFF_FFF0, Bytes::from_static(b"picture"));
    client.listen();
    let picture = client.said.iter().find(|m| m.kind == kind::VIDEO).unwrap();
    assert_eq!((picture.timestamp, picture.stream, &picture.body[..]), (0xFFFF_FFF0, 1, &b"picture"[..]));
    assert_eq!(client.heard(), ["onStatus NetStream.Play.Reset", "onStatus NetStream.Play.Start"]);
    assert_eq!(client.server.poll_timeout(), None, "a player may be silent");

    client.on_stream("receiveAudio", 0.0, vec![Value::Null, Value::Boolean(false)]).unwrap();
    client.on_stream("pause", 0.0, vec![Value::Null, Value::Boolean(true), Value::Number(0.0)]).unwrap();
    client.on_stream("pause", 0.0, vec![Value::Null, Value::Boolean(false), Value::Number(0.0)]).unwrap();
    let receive = |audio, video| Event::Receive { stream: 1, audio, video };
    assert_eq!(client.events(), [receive(false, true), receive(false, false), receive(false, true)]);

    client.server.finish("The stream has ended.");
    assert!(client.server.is_closing());
    client.listen();
    let eof = client.said.iter().find(|m| m.kind == kind::USER_CONTROL && m.body[..2] == [0, 1]);
    assert_eq!(eof.map(|m| &m.body[2..]), Some(&[0, 0, 0, 1][..]), "StreamEOF");
    let heard = client.heard();
    assert_eq!(heard.last().map(String::as_str), Some("onStatus NetStream.Play.Stop"));
}

#[test]
fn refusals_are_told_and_close() {
    let mut client = Client::connected("api", "rtmp://host/api");
    assert_eq!(client.heard(), ["_error NetConnection.Connect.Rejected"]);
    assert!(client.server.is_closing());

    let mut client = Client::connected("live", "");
    client.command("createStream", 2.0, vec![Value::Null]).unwrap();
    client.heard();
    client.on_stream("publish", 3.0, vec![Value::Null, Value::text("../etc/passwd")]).unwrap();
    assert_eq!((client.heard(), client.events()), (vec!["onStatus NetStream.Publish.BadName".to_owned()], vec![]));
    assert!(client.server.is_closing());

    let mut client = Client::publishing();
    client.heard();
    client.server.reject_publish(client.now, 1, "NetStream.Publish.BadName", "live/cam1 is being published already").unwrap();
    assert_eq!(client.heard(), ["onStatus NetStream.Publish.BadName"]);
    assert!(client.server.is_closing());

    let mut client = Client::connected("live", "");
    client.on_stream("play", 3.0, vec![Value::Null, Value::text("nobody")]).unwrap();
    client.heard();
    client.server.reject_play(client.now, 1, "NetStream.Play.StreamNotFound", "nobody is publishing live/nobody").unwrap();
    assert_eq!(client.heard(), ["onStatus NetStream.Play.StreamNotFound"]);
    assert!(client.server.is_closing());
}

#[test]
fn commands_out_of_order_are_errors_with_a_place() {
    let mut client = Client::new();
    client.send(&handshake()).unwrap();
    let error = client.command("publish", 1.0, vec![Value::Null, Value::text("cam1?key=s3cret")]).unwrap_err();
    assert!(error.to_string().contains("\"Publish\": connect has to come first"), "no key gets into a log: {error}");
    assert!(error.at.byte > HANDSHAKE_LEN && error.at.message_type == Some(20), "{error}");

    let mut client = Client::publishing();
    client.server.accept_publish(client.now, 1).unwrap();
    client.heard();
    client.on_stream("play", 1.0, vec![Value::Null, Value::text("x")]).unwrap();
    assert_eq!(client.heard(), ["onStatus NetStream.Play.Failed"], "one message stream can't do both");
    assert!(!client.server.is_closing());

    let mut client = Client::connected("live", "");
    assert!((0..10).any(|_| client.command("createStream", 2.0, vec![Value::Null]).is_err()));
    let mut client = Client::connected("live", "");
    client.command("unheardOf", 9.0, vec![]).unwrap();
    assert_eq!(client.server.oddities().of(Oddity::UnknownCommand), 1);
}

/// Regression: 400 KB of nested objects in a command, before any authentication.
#[test]
fn an_amf_bomb_is_an_error() {
    for len in [60_000, 400_000] {
        let mut client = Client::new();
        client.send(&handshake()).unwrap();
        let mut bomb = body("connect", 1.0, vec![]);
        bomb.extend([3, 0, 1, b'a'].repeat(len / 4));
        assert!(client.message(kind::COMMAND, 0, 0, &bomb).is_err());
    }
}

#[test]
fn timeouts_of_each_stage() {
    let late = |client: &mut Client, after: u64| {
        let deadline = client.server.poll_timeout().unwrap();
        assert_eq!(deadline, client.now + Duration::from_secs(after));
        assert!(client.server.handle_timeout(deadline - Duration::from_millis(1)).is_ok());
        client.server.handle_timeout(deadline).unwrap_err().to_string()
    };
    let mut client = Client::new();
    assert!(late(&mut client, 5).contains("waiting for the handshake"));
    let mut client = Client::new();
    client.send(&[3]).unwrap();
    client.send(&[0; 100]).unwrap();
    assert!(late(&mut client, 5).contains("at byte 101"));
    let mut client = Client::connected("live", "");
    assert!(late(&mut client, 10).contains("publish or play"));
    let mut client = Client::publishing();
    client.server.accept_publish(client.now, 1).unwrap();
    client.now += Duration::from_secs(9);
    client.message(kind::AUDIO, 1, 0, b"x").unwrap();
    assert!(late(&mut client, 45).contains("the publisher's media"), "how often it sends nobody knows yet");
    let mut client = Client::publishing();
    client.server.accept_publish(client.now, 1).unwrap();
    for stamp in 0..5 {
        client.message(kind::AUDIO, 1, stamp, b"x").unwrap();
    }
    assert!(late(&mut client, 10).contains("the publisher's media"));
}

#[test]
fn pings_are_answered() {
    let mut client = Client::publishing();
    client.server.accept_publish(client.now, 1).unwrap();
    client.said.clear();
    client.message(kind::USER_CONTROL, 0, 0, &[0, 6, 1, 2, 3, 4]).unwrap();
    assert_eq!(client.said.pop().map(|m| (m.kind, m.body)), Some((kind::USER_CONTROL, Bytes::from_static(&[0, 7, 1, 2, 3, 4]))));
}

#[test]
fn acknowledgement_windows_of_any_size() {
    // The window that the peer announces, the size of its messages, and how many acknowledgements a hundred of those get.
    for (window, size, at_least, at_most) in [
        // Whoever asks for none may be gone already: what is sent to a closed socket costs the end of the stream.
        (None, 100_000, 0, 0),
        (Some(0), 100_000, 0, 0),
        (Some(1), 1000, 20, 25),
        (Some(4096), 1000, 20, 25),
        (Some(10_000), 1000, 9, 11),
        (Some(2_500_000), 100_000, 3, 4),
        (Some(u32::MAX), 1000, 0, 0),
    ] {
        let mut client = Client::publishing();
        client.server.accept_publish(client.now, 1).unwrap();
        if let Some(window) = window {
            client.message(kind::WINDOW_ACK_SIZE, 0, 0, &u32::to_be_bytes(window)).unwrap();
        }
        client.said.clear();
        for _ in 0..100 {
            client.message(kind::VIDEO, 1, 0, &vec![0; size]).unwrap();
            client.events();
        }
        let acknowledged: Vec<u32> = client
            .said
            .iter()
            .filter(|m| m.kind == kind::ACKNOWLEDGEMENT)
            .map(|m| u32::from_be_bytes(m.body[..].try_into().unwrap()))
            .collect();
        assert!((at_least..=at_most).contains(&acknowledged.len()), "{window:?}: {acknowledged:?}");
        assert!(acknowledged.windows(2).all(|pair| pair[1] > pair[0]));
        assert_eq!(client.server.oddities().of(Oddity::AckWindow), u64::from(window.is_some_and(|window| window < 4096)));
    }
}

#[test]
fn nothing_is_acknowledged_while_more_waits_to_be_read() {
    let mut client = Client::publishing();
    client.server.accept_publish(client.now, 1).unwrap();
    client.message(kind::WINDOW_ACK_SIZE, 0, 0, &u32::to_be_bytes(4096)).unwrap();
    client.said.clear();
    let mut picture = BytesMut::new();
    client.writer.write(&Message { kind: kind::VIDEO, stream: 1, timestamp: 0, body: vec![0; 10_000].into() }, &mut picture);
    client.server.handle_input(client.now, &picture).unwrap();
    client.listen();
    assert_eq!(client.said.len(), 0);
    client.server.caught_up();
    client.listen();
    assert_eq!(client.said.iter().map(|m| m.kind).collect::<Vec<_>>(), [kind::ACKNOWLEDGEMENT]);
}

#[test]
fn timestamps_wrap_over_both_tracks() {
    let mut client = Client::publishing();
    client.server.accept_publish(client.now, 1).unwrap();
    client.events();
    let stamps = [u32::MAX - 50, u32::MAX - 30, u32::MAX, 10, u32::MAX - 5, 30, 5_000_000, 4_999_000];
    for (i, stamp) in stamps.into_iter().enumerate() {
        client.message(if i % 2 == 0 { kind::VIDEO } else { kind::AUDIO }, 1, stamp, b"x").unwrap();
    }
    let base = i64::from(u32::MAX);
    let want = [base - 50, base - 30, base, base + 11, base - 5, base + 31, base + 5_000_001, base + 4_999_001];
    let times: Vec<_> = client.events().iter().map(|e| if let Event::Media(_, m) = e { m.timestamp } else { 0 }).collect();
    assert_eq!(times, want);
}

/// An independent client: rml_rtmp's.
#[test]
fn the_reference_client_publishes() {
    use rml_rtmp::sessions::{ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult, PublishRequestType};
    let mut us = Client::new();
    us.send(&handshake()).unwrap();
    let (mut them, first) = ClientSession::new(ClientSessionConfig::new()).unwrap();
    let mut to_us: Vec<Vec<u8>> = Vec::new();
    let mut happened = Vec::new();
    let mut take = |results: Vec<ClientSessionResult>, to_us: &mut Vec<Vec<u8>>| {
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => to_us.push(packet.bytes),
                ClientSessionResult::RaisedEvent(event) => happened.push(event),
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
    };
    take(first, &mut to_us);
    take(vec![them.request_connection("live".into()).unwrap()], &mut to_us);
    let mut connected = false;
    for _ in 0..20 {
        for bytes in std::mem::take(&mut to_us) {
            us.server.handle_input(us.now, &bytes).unwrap();
        }
        if us.events().contains(&Event::Publish(1, target("live/cam1", None))) {
            us.server.accept_publish(us.now, 1).unwrap();
        }
        while let Some(output) = us.server.poll_output() {
            take(them.handle_input(&output).unwrap(), &mut to_us);
        }
        if !connected && them.request_publishing("cam1".into(), PublishRequestType::Live).map(|r| take(vec![r], &mut to_us)).is_ok() {
            connected = true;
        }
    }
    assert!(happened.contains(&ClientSessionEvent::ConnectionRequestAccepted), "{happened:?}");
    assert!(happened.contains(&ClientSessionEvent::PublishRequestAccepted), "{happened:?}");
}

proptest! {
    #[test]
    fn garbage_after_the_handshake_never_panics(input in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..24], 0..3000), publishing in any::<bool>()) {
        let mut client = if publishing { Client::publishing() } else { Client::connected("live", "") };
        if publishing {
            client.server.accept_publish(client.now, 1).unwrap();
        }
        let _ = client.server.handle_input(client.now, &input);
        prop_assert!(client.server.in_assembly() <= input.len());
    }

    #[test]
    fn garbage_commands_never_panic(body in prop::collection::vec(0u8..24, 0..300), name in "connect|publish|play|play2|pause|deleteStream", stream in 0u32..3) {
        let mut client = Client::connected("live", "");
        let mut command = amf0::write(&[Value::text(name), Value::Number(1.0), Value::Null]);
        command.extend(body);
        let _ = client.message(kind::COMMAND, stream, 0, &command);
    }
}
