//! Habits of real encoders and players that no specification has, as scripts against the session.

use super::tests::{Client, body, handshake, target};
use super::*;
use crate::rtmp::amf0;

impl Client {
    fn on(&mut self, stream: u32, name: &str, arguments: Vec<Value>) {
        let mut all = vec![Value::Null];
        all.extend(arguments);
        self.message(kind::COMMAND, stream, 0, &body(name, 9.0, all)).unwrap();
    }

    fn publish(&mut self, stream: u32, name: &str) {
        self.on(stream, "publish", vec![Value::text(name), Value::text("live")]);
    }

    fn play(&mut self, stream: u32, name: &str) {
        self.on(stream, "play", vec![Value::text(name), Value::Number(-2000.0)]);
    }

    fn accept(&mut self) -> Vec<Event> {
        let events = self.events();
        for event in &events {
            match event {
                Event::Publish(stream, _) => self.server.accept_publish(self.now, *stream).unwrap(),
                Event::Play(stream, _) => self.server.accept_play(self.now, *stream).unwrap(),
                _ => {}
            }
        }
        events
    }

    /// Publishing `live/<name>` for each name, on message streams 1, 2 ….
    fn with_publications(names: &[&str]) -> Self {
        let mut client = Self::connected("live", "rtmp://h/live");
        for (index, name) in names.iter().enumerate() {
            client.on(0, "createStream", vec![]);
            client.publish(index as u32 + 1, name);
            client.accept();
        }
        client.heard();
        client
    }

    fn picture(&mut self, stream: u32) -> Vec<Event> {
        self.message(kind::VIDEO, stream, 40, b"picture").unwrap();
        self.events()
    }

    fn count(&mut self, oddity: Oddity) -> u64 {
        self.server.oddities().of(oddity)
    }

    /// The descriptions of the statuses said.
    fn sentences(&mut self) -> Vec<String> {
        self.listen();
        let said = self.said.drain(..).filter(|message| message.kind == kind::COMMAND);
        let values = said.flat_map(|message| amf0::read(&message.body).unwrap());
        values.filter_map(|value| value.get("description").and_then(Value::as_str).map(str::to_owned)).collect()
    }
}

fn streams_of_media(events: &[Event]) -> Vec<u32> {
    events.iter().filter_map(|event| if let Event::Media(stream, _) = event { Some(*stream) } else { None }).collect()
}

const STARTED: &str = "onStatus NetStream.Publish.Start";
const UNPUBLISHED: &str = "onStatus NetStream.Unpublish.Success";

#[test]
fn publish_again_on_the_same_message_stream() {
    let mut client = Client::with_publications(&["a"]);
    for name in ["a", "/a", "a?token=x", "rtmp://h/live/a"] {
        client.publish(1, name);
        assert_eq!((client.events(), client.heard()), (vec![], vec![STARTED.to_owned()]), "{name}: said again, nothing begins");
    }
    assert_eq!((client.count(Oddity::RepeatedPublish), streams_of_media(&client.picture(1))), (4, vec![1]));

    client.publish(1, "b");
    assert_eq!(client.accept(), [Event::Ended(1), Event::Publish(1, target("live/b", None))]);
    assert_eq!(client.heard(), [UNPUBLISHED, STARTED]);
    assert_eq!(streams_of_media(&client.picture(1)), [1]);
}

#[test]
fn the_same_name_on_another_message_stream() {
    let mut client = Client::with_publications(&["a"]);
    client.on(0, "createStream", vec![]);
    client.publish(2, "a");
    assert_eq!(client.accept(), [Event::Ended(1), Event::Publish(2, target("live/a", None))]);
    assert_eq!(client.heard(), ["_result", UNPUBLISHED, STARTED]);
    assert_eq!(streams_of_media(&client.picture(2)), [2]);
    assert_eq!(streams_of_media(&client.picture(1)), [0u32; 0], "of the one that ended");
}

#[test]
fn every_way_to_end_and_to_begin_again() {
    let endings: [(u32, &str, Vec<Value>); 9] = [
        (0, "deleteStream", vec![Value::Number(1.0)]),
        (1, "deleteStream", vec![Value::Number(1.0)]),
        (0, "deleteStream", vec![Value::Number(0.0)]),
        (1, "deleteStream", vec![Value::Number(f64::NAN)]),
        (0, "deleteStream", vec![]),
        (1, "closeStream", vec![]),
        (0, "closeStream", vec![]),
        (0, "FCUnpublish", vec![Value::text("a")]),
        (0, "FCUnpublish", vec![]),
    ];
    for (stream, name, arguments) in endings {
        for create in [false, true] {
            for other in ["a", "b"] {
                let mut client = Client::with_publications(&["a"]);
                client.on(stream, name, arguments.clone());
                assert_eq!(client.accept(), [Event::Ended(1)], "{name} {arguments:?}");
                assert!(client.heard().contains(&UNPUBLISHED.to_owned()));
                // Some end in three ways at once.
                client.on(0, "FCUnpublish", vec![Value::text("a")]);
                client.on(1, "closeStream", vec![]);
                client.on(0, "deleteStream", vec![Value::Number(1.0)]);
                assert_eq!(client.events(), []);
                assert!(client.server.poll_timeout().is_some(), "it may not stay idle for ever");
                let id = if create {
                    client.on(0, "createStream", vec![]);
                    2
                } else {
                    1
                };
                client.publish(id, other);
                assert_eq!(client.accept(), [Event::Publish(id, target(&format!("live/{other}"), None))]);
                assert_eq!(streams_of_media(&client.picture(id)), [id]);
                assert!(!client.server.is_closing());
            }
        }
    }
}

#[test]
fn an_encoder_may_go_on_like_that_for_ever() {
    let mut client = Client::connected("live", "");
    for round in 1..50 {
        client.on(0, "createStream", vec![]);
        client.publish(round, "a");
        client.accept();
        assert_eq!(streams_of_media(&client.picture(round)), [round]);
        client.on(0, "FCUnpublish", vec![Value::text("a")]);
        assert_eq!(client.events(), [Event::Ended(round)]);
    }
}

#[test]
fn several_streams_at_once() {
    let mut client = Client::with_publications(&["a", "b"]);
    let both = [client.picture(1), client.picture(2)].concat();
    assert_eq!(streams_of_media(&both), [1, 2]);
    // Each has its own time.
    client.message(kind::AUDIO, 2, u32::MAX - 5, b"x").unwrap();
    client.message(kind::AUDIO, 1, 60, b"x").unwrap();
    client.message(kind::AUDIO, 2, 5, b"x").unwrap();
    let times: Vec<_> = client.events().iter().map(|e| if let Event::Media(s, m) = e { (*s, m.timestamp) } else { panic!() }).collect();
    assert_eq!(times, [(2, -6), (1, 60), (2, 5)]);
    assert_eq!(streams_of_media(&client.picture(7)), [0u32; 0], "nobody knows whose");
    assert_eq!(client.count(Oddity::UnexpectedMedia), 1);

    // A refused third one, and a misnamed one, leave them alone.
    client.publish(3, "c");
    client.events();
    client.server.reject_publish(client.now, 3, "NetStream.Publish.BadName", "live/c is being published already").unwrap();
    client.publish(3, "../c");
    assert_eq!(client.heard(), ["onStatus NetStream.Publish.BadName", "onStatus NetStream.Publish.BadName"]);
    assert!(!client.server.is_closing());
    // What it sends nevertheless is not taken for theirs.
    assert_eq!(streams_of_media(&client.picture(3)), [0u32; 0]);

    client.on(0, "FCUnpublish", vec![Value::text("b")]);
    assert_eq!(client.events(), [Event::Ended(2)]);
    assert_eq!(streams_of_media(&[client.picture(2), client.picture(1)].concat()), [1]);
    client.server.finish_stream(1, "another publisher took over");
    assert!(client.server.is_closing());
}

/// What a hasty client sends behind a request that is refused is read nevertheless: for the other streams of the connection it is as
/// if nobody had asked.
#[test]
fn what_comes_behind_a_refused_stream_is_read() {
    for (asked, plays) in [(2, false), (2, true)] {
        for piece in [1, 7, 1000] {
            let mut client = Client::with_publications(&["a"]);
            let mut input = BytesMut::new();
            let name = if plays { "play" } else { "publish" };
            let ask = body(name, 0.0, vec![Value::Null, Value::text("b"), Value::text("live")]);
            let messages = [
                (kind::COMMAND, asked, ask),
                (kind::VIDEO, 1, b"one".into()),
                (kind::VIDEO, asked, b"two".into()),
                (kind::AUDIO, 1, b"three".into()),
            ];
            for (kind, stream, body) in messages {
                client.writer.write(&Message { kind, stream, timestamp: 40, body: body.into() }, &mut input);
            }
            let (mut seen, mut refused) = (Vec::new(), false);
            for part in input.chunks(piece) {
                client.send(part).unwrap();
                for event in client.events() {
                    match event {
                        Event::Publish(..) | Event::Play(..) => refused = true,
                        other => seen.push(other),
                    }
                }
                // The owner takes its time.
                if refused && client.server.room() < 262_144 - 20 {
                    refused = false;
                    if plays {
                        client.server.reject_play(client.now, asked, "NetStream.Play.StreamNotFound", "nobody is there").unwrap();
                    } else {
                        client.server.reject_publish(client.now, asked, "NetStream.Publish.BadName", "somebody is there").unwrap();
                    }
                    seen.extend(client.events());
                }
            }
            assert!(!refused && !client.server.is_closing());
            let bodies = seen.iter().filter_map(|event| if let Event::Media(1, media) = event { Some(&media.body[..]) } else { None });
            assert_eq!(bodies.collect::<Vec<_>>(), [&b"one"[..], b"three"], "{name} in pieces of {piece}");
        }
    }
}

#[test]
fn as_many_as_there_is_room_for() {
    let mut client = Client::with_publications(&["a", "b", "c", "d"]);
    client.publish(5, "e");
    assert_eq!(client.sentences(), ["one connection carries at most 4 streams at once"]);
    assert_eq!((client.events(), client.server.is_closing(), client.count(Oddity::RefusedStream)), (vec![], false, 1));
    assert_eq!(streams_of_media(&client.picture(4)), [4]);
}

#[test]
fn message_streams_that_were_never_created() {
    for id in [0, 1, 7, u32::MAX] {
        for media in [0, 1, 7] {
            let mut client = Client::connected("live", "");
            client.publish(id, "a");
            assert_eq!(client.accept(), [Event::Publish(id, target("live/a", None))]);
            assert_eq!(client.heard(), ["_result NetConnection.Connect.Success", STARTED]);
            assert_eq!(streams_of_media(&client.picture(media)), [id], "{media}");
            assert_eq!(client.count(Oddity::UnknownMessageStream), 1);
            assert_eq!(client.count(Oddity::MisaddressedMedia), u64::from(media != id));
        }
    }
}

#[test]
fn transactions_of_any_kind_are_answered_alike() {
    let mut client = Client::connected("live", "");
    client.said.clear();
    let transactions = [0.0, -1.0, 2.0, 2.0, f64::NAN, 1e300];
    for (index, transaction) in transactions.into_iter().enumerate() {
        client.command("createStream", transaction, vec![Value::Null]).unwrap();
        let answer = amf0::read(&client.said.pop().unwrap().body).unwrap();
        let seen = answer[1].as_number().unwrap();
        assert!(seen == transaction || (seen.is_nan() && transaction.is_nan()), "{answer:?}");
        assert_eq!(answer[3], Value::Number(index as f64 + 1.0));
    }
    client.command("createStream", 3.0, vec![]).unwrap();
    assert_eq!(client.heard(), ["_result"], "without a command object");
}

#[test]
fn names_that_are_no_names_are_told() {
    for name in ["../x", "a b", "x/../y", "rtmp://h/api/x", "ä"] {
        let mut client = Client::connected("live", "");
        client.said.clear();
        client.publish(1, name);
        let sentence = client.sentences().remove(0);
        assert!(sentence.contains("stream path"), "{sentence}");
        assert!(client.server.is_closing() && client.events().is_empty());
    }
    let mut client = Client::connected("live", "");
    let unreadable = [&body("publish", 3.0, vec![Value::Null])[..], &[0x02, 0, 9, b'c']].concat();
    assert!(client.message(kind::COMMAND, 1, 0, &unreadable).is_err(), "rather than publishing the app");
}

#[test]
fn commands_that_nobody_knows_are_answered() {
    let mut client = Client::with_publications(&["a"]);
    for (name, transaction, heard) in [
        ("setDataFrame", 5.0, vec!["_error NetConnection.Call.Failed"]),
        ("setDataFrame", 0.0, vec![]),
        ("", 7.0, vec!["_error NetConnection.Call.Failed"]),
        ("_result", 4.0, vec![]),
        ("onStatus", 0.0, vec![]),
        ("_checkbw", 6.0, vec!["_result"]),
        ("checkBandwidth", 6.0, vec!["_result"]),
        ("releaseStream", 6.0, vec!["_result"]),
        ("getStreamLength", 6.0, vec!["_result"]),
        ("FCSubscribe", 6.0, vec!["_result", "onFCSubscribe NetStream.Play.Start"]),
        ("FCPublish", 6.0, vec!["_result", "onFCPublish NetStream.Publish.Start"]),
    ] {
        client.command(name, transaction, vec![Value::Null, Value::text("x")]).unwrap();
        assert_eq!(client.heard(), heard, "{name} {transaction}");
    }
    assert_eq!(client.count(Oddity::UnknownCommand), 3);
    // Not a command at all.
    for body in [&b""[..], &[5], &[0; 9], &[0x0E], &[2, 0, 9, b'x']] {
        client.message(kind::COMMAND, 0, 0, body).unwrap();
    }
    assert_eq!(streams_of_media(&client.picture(1)), [1]);
}

#[test]
fn commands_and_data_in_amf3() {
    let mut client = Client::connected("live", "");
    // publish, 3, null, "a": AMF3 from the beginning; switched to for each value; AMF0 behind the format byte, and without it.
    let amf3 = [&[3, 6, 0x0F][..], b"publish", &[4, 3, 1, 6, 3, b'a']].concat();
    let switched = [&amf0::write(&[Value::text("publish"), Value::Number(3.0)])[..], &[0x11, 1, 0x11, 6, 3, b'a']].concat();
    let plain = body("publish", 3.0, vec![Value::Null, Value::text("a")]);
    for (index, body) in [amf3, [&[0][..], &switched].concat(), [&[0][..], &plain].concat(), plain].into_iter().enumerate() {
        client.message(kind::COMMAND_AMF3, index as u32 + 1, 0, &body).unwrap();
        let wanted = Event::Publish(index as u32 + 1, target("live/a", None));
        assert!(client.accept().contains(&wanted), "{index}");
    }
    let properties = Value::Object(vec![("width".into(), Value::Number(640.0))]);
    let values = [Value::text("@setDataFrame"), Value::text("onMetaData")];
    let amf3 = [&amf0::write(&values)[..], &[0x11, 0x0A, 0x0B, 1, 11], b"width", &[4, 0x85, 0, 1]].concat();
    client.message(kind::DATA_AMF3, 4, 0, &[&[0][..], &amf3].concat()).unwrap();
    client.message(kind::DATA, 4, 0, &amf3).unwrap();
    assert_eq!(client.events(), [Event::Metadata(4, properties.clone()), Event::Metadata(4, properties)]);
}

#[test]
fn metadata_of_any_size_and_kind_ends_nothing() {
    let frame = |value: &[u8]| [&amf0::write(&[Value::text("@setDataFrame"), Value::text("onMetaData")])[..], value].concat();
    let object = |properties: Vec<(String, Value)>| amf0::write(&[Value::Object(properties)]);
    let keys = |n: usize| object((0..n).map(|i| (format!("key{i}"), Value::Number(i as f64))).collect());
    let table = [
        ("megabytes", frame(&object(vec![("x".into(), Value::text("y".repeat(3 << 20)))])), 0, Oddity::OversizedData),
        ("thousands of keys", frame(&keys(2000)), 1, Oddity::UnreadableCommand),
        ("more than are read", frame(&keys(4200)), 1, Oddity::OversizedData),
        ("nested", frame(&[3, 0, 1, b'a'].repeat(200)), 1, Oddity::UnreadableMetadata),
        (
            "a date, a reference, a long string",
            frame(&[
                8, 0, 0, 0, 9, 0, 1, b'd', 0x0B, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'r', 7, 0, 1, 0, 1, b's', 0x0C, 0, 0, 0, 1, b'x', 0,
                0, 9,
            ]),
            1,
            Oddity::UnreadableCommand,
        ),
        ("an unknown marker", frame(&[3, 0, 1, b'a', 0x13, 1, 2, 3]), 1, Oddity::UnreadableMetadata),
        ("cut off", frame(&[3, 0, 200, b'a']), 1, Oddity::UnreadableMetadata),
        ("nothing", vec![], 0, Oddity::UnreadableCommand),
        ("no name", vec![0x0E, 1, 2], 0, Oddity::UnreadableMetadata),
    ];
    for (name, body, events, oddity) in table {
        let mut client = Client::with_publications(&["a"]);
        client.message(kind::DATA, 1, 0, &body).unwrap();
        let seen = client.events().len();
        assert_eq!(seen, if oddity == Oddity::OversizedData { 0 } else { events }, "{name}");
        let counted = u64::from(matches!(oddity, Oddity::OversizedData | Oddity::UnreadableMetadata));
        assert_eq!(client.count(oddity), counted, "{name}");
        assert_eq!(streams_of_media(&client.picture(1)), [1], "{name}");
    }
}

#[test]
fn aggregates_with_offsets_and_back_pointers() {
    let tag = |kind: u8, time: u32, data: &[u8], back: u32| {
        let head =
            [&[kind][..], &(data.len() as u32).to_be_bytes()[1..], &time.to_be_bytes()[1..], &[(time >> 24) as u8, 9, 9, 9]].concat();
        [&head[..], data, &back.to_be_bytes()].concat()
    };
    let mut client = Client::with_publications(&["a"]);
    // The tags' own times begin anywhere, also beyond 24 bits; back pointers may be wrong, and the last one missing.
    let first = 0x0123_4567;
    let mut body =
        [tag(8, first, b"a", 12), tag(18, first, b"meta", 15), tag(9, first + 10, b"vv", 0), tag(8, first + 21, b"b", 99)].concat();
    body.truncate(body.len() - 4);
    client.message(kind::AGGREGATE, 1, 5000, &body).unwrap();
    let seen: Vec<_> = client
        .events()
        .iter()
        .map(|e| if let Event::Media(_, m) = e { (m.kind, m.timestamp, m.body.to_vec()) } else { panic!() })
        .collect();
    assert_eq!(seen, [(8, 5000, b"a".to_vec()), (9, 5010, b"vv".to_vec()), (8, 5021, b"b".to_vec())]);
    assert_eq!(client.server.oddities().of(Oddity::CutAggregate), 0);
    body.truncate(body.len() - 1);
    client.message(kind::AGGREGATE, 1, 6000, &body).unwrap();
    assert_eq!((client.events().len(), client.server.oddities().of(Oddity::CutAggregate)), (2, 1));
}

#[test]
fn a_handshake_that_does_not_answer_ours_is_counted() {
    let mut client = Client::new();
    client.send(&handshake()).unwrap();
    assert_eq!(client.count(Oddity::HandshakeAnswer), 1);
}

#[test]
fn control_messages_of_all_kinds() {
    let mut client = Client::with_publications(&["a"]);
    client.said.clear();
    let answers = |client: &mut Client, kind: u8, body: &[u8]| {
        client.message(kind, 0, 0, body).unwrap();
        client.said.drain(..).map(|m| (m.kind, m.body.to_vec())).collect::<Vec<_>>()
    };
    for limit in [0, 1, 2, 9] {
        let size = 100_000 + u32::from(limit);
        let asked = [&size.to_be_bytes()[..], &[limit]].concat();
        let wanted = vec![(kind::WINDOW_ACK_SIZE, size.to_be_bytes().to_vec())];
        assert_eq!(answers(&mut client, kind::SET_PEER_BANDWIDTH, &asked), wanted);
        assert_eq!(answers(&mut client, kind::SET_PEER_BANDWIDTH, &asked), [], "said once");
    }
    assert_eq!(answers(&mut client, kind::USER_CONTROL, &[0, 6, 1, 2, 3, 4]), [(kind::USER_CONTROL, vec![0, 7, 1, 2, 3, 4])]);
    assert_eq!(answers(&mut client, kind::USER_CONTROL, &[0, 6]), [(kind::USER_CONTROL, vec![0, 7, 0, 0, 0, 0])]);
    assert_eq!(answers(&mut client, kind::USER_CONTROL, &[0, 7, 0, 0, 0, 0]), []);
    assert_eq!(answers(&mut client, kind::USER_CONTROL, &[0, 3, 0, 0, 0, 1, 0, 0, 0xB, 0xB8]), [], "SetBufferLength");
    assert_eq!(answers(&mut client, kind::ACKNOWLEDGEMENT, &[0, 0, 0, 1]), []);
    assert_eq!(client.count(Oddity::UnknownControl), 0);
    assert_eq!(answers(&mut client, kind::USER_CONTROL, &[0, 0x1A, 0, 0, 0, 0]), [], "SWFVerify");
    assert_eq!(answers(&mut client, kind::USER_CONTROL, &[0xFF, 0xFF]), []);
    for kind in [0, 7, 10, 16, 19, 21, 23, 99, 255] {
        assert_eq!(answers(&mut client, kind, b"whatever"), []);
    }
    assert_eq!((client.count(Oddity::UnknownControl), client.count(Oddity::UnknownMessage)), (2, 9));
    for (kind, body) in [
        (kind::USER_CONTROL, &[][..]),
        (kind::USER_CONTROL, &[0]),
        (kind::WINDOW_ACK_SIZE, &[]),
        (kind::WINDOW_ACK_SIZE, &[0, 0, 1]),
        (kind::SET_PEER_BANDWIDTH, &[]),
        (kind::SET_PEER_BANDWIDTH, &[0, 1]),
        (kind::ABORT, &[]),
        (kind::ABORT, &[0, 0, 0]),
    ] {
        assert_eq!(answers(&mut client, kind, body), [], "{kind} {body:?}");
    }
    assert_eq!(answers(&mut client, kind::ACKNOWLEDGEMENT, &[]), []);
    assert_eq!(client.count(Oddity::ShortControl), 8);
    assert_eq!(streams_of_media(&client.picture(1)), [1]);
    client.server.send_ping(7);
    client.listen();
    assert_eq!(client.said.pop().map(|m| (m.kind, m.body.to_vec())), Some((kind::USER_CONTROL, vec![0, 6, 0, 0, 0, 7])));
}

#[test]
fn players_stop_seek_pause_and_play_again() {
    let mut client = Client::connected("live", "");
    client.on(0, "createStream", vec![]);
    client.play(1, "a");
    assert_eq!(client.accept(), [Event::Play(1, target("live/a", None))]);
    client.heard();
    let none: [Event; 0] = [];
    let receive = |audio, video| Event::Receive { stream: 1, audio, video };
    client.on(1, "seek", vec![Value::Number(1000.0)]);
    assert_eq!((client.heard(), client.events()), (vec!["onStatus NetStream.Seek.Notify".to_owned()], none.to_vec()));
    // On another message stream than the one played on, there is no other.
    client.on(0, "pause", vec![Value::Boolean(true), Value::Number(0.0)]);
    client.on(0, "pause", vec![Value::Boolean(true), Value::Number(0.0)]);
    client.on(1, "pauseRaw", vec![Value::Boolean(false), Value::Number(0.0)]);
    client.on(1, "receiveVideo", vec![Value::Boolean(false)]);
    assert_eq!(client.events(), [receive(false, false), receive(true, true), receive(true, false)]);
    client.heard();
    // The same, and another one, in its place.
    for name in ["a", "b"] {
        client.play(1, name);
        assert_eq!(client.accept(), [Event::Ended(1), Event::Play(1, target(&format!("live/{name}"), None))]);
        assert_eq!(client.heard(), ["onStatus NetStream.Play.Stop", "onStatus NetStream.Play.Reset", "onStatus NetStream.Play.Start"]);
    }
    let options = Value::Object(vec![("oldStreamName".into(), Value::text("b")), ("streamName".into(), Value::text("c"))]);
    client.on(1, "play2", vec![options]);
    assert_eq!(client.accept(), [Event::Ended(1), Event::Play(1, target("live/c", None))]);
    client.on(1, "play", vec![Value::Boolean(false)]);
    assert_eq!(client.events(), [Event::Ended(1)]);
    assert!(!client.server.is_closing() && client.server.poll_timeout().is_some());
}

#[test]
fn two_are_played_and_one_published_at_once() {
    let mut client = Client::with_publications(&["a"]);
    client.play(2, "b");
    client.play(3, "b");
    // The second waits for the first to be decided.
    assert_eq!([client.accept().len(), client.accept().len()], [1, 1]);
    client.heard();
    for stream in [1, 2, 3] {
        client.server.send_media(stream, kind::VIDEO, 40, Bytes::from_static(b"p"));
    }
    client.listen();
    assert_eq!(client.said.drain(..).map(|m| m.stream).collect::<Vec<_>>(), [2, 3], "not to the publication");
    assert_eq!(streams_of_media(&client.picture(1)), [1]);
    client.on(2, "receiveAudio", vec![Value::Boolean(false)]);
    assert_eq!(client.events(), [Event::Receive { stream: 2, audio: false, video: true }]);
    client.on(0, "deleteStream", vec![Value::Number(2.0)]);
    assert_eq!(client.events(), [Event::Ended(2)]);
    client.server.finish("the server is shutting down");
    assert!(client.server.is_closing());
    let heard = client.heard();
    assert!(heard.contains(&UNPUBLISHED.to_owned()) && heard.contains(&"onStatus NetStream.Play.UnpublishNotify".to_owned()), "{heard:?}");
}

#[test]
fn a_player_whose_publisher_goes_and_returns() {
    let mut client = Client::connected("live", "");
    client.play(1, "a");
    client.accept();
    client.heard();
    client.server.send_unpublished(1, "the stream has ended");
    assert_eq!(client.heard(), ["onStatus NetStream.Play.UnpublishNotify", "onStatus NetStream.Play.Stop"]);
    assert!(!client.server.is_closing());
    client.server.send_published(1);
    client.server.send_media(1, kind::AUDIO, 7, Bytes::from_static(b"x"));
    client.listen();
    assert!(client.said.iter().any(|m| m.kind == kind::AUDIO && m.stream == 1));
    assert_eq!(client.heard(), ["onStatus NetStream.Play.PublishNotify", "onStatus NetStream.Play.Start"]);
}

#[test]
fn connects_of_all_kinds() {
    let connect = |transaction: Value, object: Value, rest: Vec<Value>| {
        let mut client = Client::new();
        client.send(&handshake()).unwrap();
        let values: Vec<Value> = [vec![Value::text("connect"), transaction, object], rest].concat();
        client.message(kind::COMMAND, 0, 0, &amf0::write(&values)).unwrap();
        client
    };
    let object = |properties: &[(&str, Value)]| Value::Object(properties.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect());
    let live = || ("app", Value::text("live"));
    let table = [
        ("nothing", object(&[]), vec![], "a"),
        ("app", object(&[live()]), vec![], "live/a"),
        ("only tcUrl", object(&[("tcUrl", Value::text("rtmp://h:1935/live"))]), vec![], "live/a"),
        ("null app", object(&[("app", Value::Null), ("tcUrl", Value::text("rtmp://h/live"))]), vec![], "live/a"),
        ("no object", Value::Null, vec![], "a"),
        ("AMF3", object(&[live(), ("objectEncoding", Value::Number(3.0))]), vec![], "live/a"),
        ("more arguments", object(&[live()]), vec![Value::text("user"), Value::text("pass"), Value::Array(vec![])], "live/a"),
        ("unknown properties", object(&[live(), ("pageUrl", Value::Undefined), ("x", Value::Array(vec![Value::Null]))]), vec![], "live/a"),
    ];
    for (name, object, rest, path) in table {
        let mut client = connect(Value::Number(1.0), object, rest);
        let answer = client.said.iter().find(|m| m.kind == kind::COMMAND).map(|m| amf0::read(&m.body).unwrap()).unwrap();
        assert_eq!((answer[0].as_str(), answer[1].as_number()), (Some("_result"), Some(1.0)), "{name}");
        assert_eq!(answer[3].get("objectEncoding"), Some(&Value::Number(0.0)), "{name}");
        assert_eq!(answer[3].get("fourCcList"), None, "{name}");
        client.publish(1, "a");
        assert_eq!(client.events(), [Event::Publish(1, target(path, None))], "{name}");
    }
    let offer = [live(), ("fourCcList", Value::Array(vec![Value::text("hvc1"), Value::text("av01")]))];
    let client = connect(Value::Number(1.0), object(&offer), vec![]);
    let answer = client.said.iter().find(|m| m.kind == kind::COMMAND).map(|m| amf0::read(&m.body).unwrap()).unwrap();
    assert_eq!(answer[3].get("fourCcList"), Some(&Value::Array(vec![Value::text("avc1"), Value::text("mp4a")])));
    // A transaction that is no number.
    assert!(connect(Value::text("1"), object(&[live()]), vec![]).heard().contains(&"_result NetConnection.Connect.Success".to_owned()));
}

#[test]
fn a_second_connect_is_answered_and_ends_nothing() {
    let mut client = Client::with_publications(&["a"]);
    let app = |app: &str| vec![Value::Object(vec![("app".into(), Value::text(app))])];
    client.command("connect", 5.0, app("other")).unwrap();
    assert_eq!(client.heard(), ["_result NetConnection.Connect.Success"]);
    assert_eq!((client.events(), client.count(Oddity::RepeatedConnect)), (vec![], 1));
    assert_eq!(streams_of_media(&client.picture(1)), [1]);
    client.publish(2, "b");
    assert_eq!(client.events(), [Event::Publish(2, target("other/b", None))]);
    client.server.accept_publish(client.now, 2).unwrap();
    client.heard();
    client.command("connect", 6.0, app("api")).unwrap();
    assert_eq!(client.heard(), ["_error NetConnection.Connect.Rejected"]);
    assert!(!client.server.is_closing(), "two are being published");
}
