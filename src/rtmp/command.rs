//! Commands (RTMP 1.0 section 7.2) as clients send them, and the answers that servers give.
//!
//! In: the body of a command message. Out: a `Command`; and bodies of answers. No state: order is judged by the session.

use bytes::Bytes;

use super::amf0::{self, AmfError, Value};
use super::chunk::kind;

/// Longest text that is kept of what a client calls itself, in characters.
const MAX_AGENT_LEN: usize = 200;
/// Codecs by their FourCC that Enhanced RTMP publishers may send and players may get, video and audio.
const CARRIED: [(&str, [&str; 1]); 2] = [("videoFourCcInfoMap", ["avc1"]), ("audioFourCcInfoMap", ["mp4a"])];
/// In a FourCcInfoMap: can be forwarded (Enhanced RTMP, "Enhancing NetConnection connect Command").
const CAN_FORWARD: f64 = 4.0;

/// A command with what is used of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Command {
    /// What the answer has to carry; 0 where none is expected.
    pub transaction: f64,
    pub verb: Verb,
    /// Something behind what is used could not be read.
    pub cut: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verb {
    /// `connect`
    Connect {
        /// The application, with whatever query the client put there.
        app: String,
        tc_url: String,
        /// `flashVer`: how the client calls itself.
        agent: Option<String>,
        /// It speaks Enhanced RTMP: wants to know which codecs are carried.
        enhanced: bool,
    },
    /// `createStream`
    CreateStream,
    /// `releaseStream`: end an old publication of that name. Answered, nothing more: who may take over is not decided here.
    ReleaseStream,
    /// `FCPublish`: announces `publish`.
    FcPublish(String),
    /// `publish`
    Publish(String),
    /// `FCUnpublish`: announces the end.
    FcUnpublish(String),
    /// `deleteStream`, with the message stream id where it is readable.
    DeleteStream(Option<u32>),
    /// `closeStream`: on the message stream it came by.
    CloseStream,
    /// `play` and `play2`
    Play(String),
    /// `FCSubscribe`: announces `play`.
    FcSubscribe(String),
    /// `getStreamLength`
    GetStreamLength,
    /// `pause` (true) or un-pause.
    Pause(bool),
    /// `receiveAudio`
    ReceiveAudio(bool),
    /// `receiveVideo`
    ReceiveVideo(bool),
    /// `seek`: not possible in a live stream.
    Seek,
    /// `_checkbw` and others that only want any answer.
    Probe,
    /// An answer to what we sent.
    Answer,
    /// Nothing we know.
    Unknown(String),
}

impl Command {
    /// Reads a command message of type 20 or 17 (AMF3). What can't be read is an error where it is the name that `publish` or `play`
    /// is about, or more than anybody needs; else what stands before it will do.
    pub(super) fn read(message_kind: u8, body: &[u8]) -> Result<Self, AmfError> {
        let (values, broken) = read_values(message_kind == kind::COMMAND_AMF3, body);
        if let Some(error) = broken.filter(|error| error.is_excess()) {
            return Err(error);
        }
        let name = values.first().and_then(Value::as_str).unwrap_or_default().to_owned();
        // The arguments come behind the command object, which is null for most, and left out by some.
        let first = if matches!(values.get(2), Some(Value::String(_) | Value::Number(_) | Value::Boolean(_))) { 2 } else { 3 };
        if let Some(error) = broken.filter(|_| values.len() <= first && matches!(name.as_str(), "publish" | "play" | "play2")) {
            return Err(error);
        }
        let transaction = values.get(1).and_then(Value::as_number).unwrap_or(0.0);
        let object = values.get(2);
        let argument = |n: usize| values.get(first + n);
        let text = |n: usize| match argument(n) {
            Some(Value::String(text)) => text.clone(),
            // A stream key of nothing but digits.
            Some(Value::Number(number)) if number.fract() == 0.0 => format!("{number:.0}"),
            _ => String::new(),
        };
        let truth = |n: usize| argument(n).and_then(Value::as_bool).unwrap_or(true);
        let verb = match name.as_str() {
            "connect" => {
                let property = |name| object.and_then(|o| o.get(name)).and_then(Value::as_str);
                Verb::Connect {
                    app: property("app").unwrap_or_default().to_owned(),
                    tc_url: property("tcUrl").unwrap_or_default().to_owned(),
                    agent: property("flashVer").map(|a| a.chars().take(MAX_AGENT_LEN).collect()),
                    enhanced: ["fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx"]
                        .iter()
                        .any(|name| object.and_then(|o| o.get(name)).is_some()),
                }
            }
            "createStream" => Verb::CreateStream,
            "releaseStream" => Verb::ReleaseStream,
            "FCPublish" => Verb::FcPublish(text(0)),
            "publish" => Verb::Publish(text(0)),
            "FCUnpublish" => Verb::FcUnpublish(text(0)),
            "deleteStream" => Verb::DeleteStream(argument(0).and_then(Value::as_number).map(|n| n as u32)),
            "closeStream" => Verb::CloseStream,
            // `play(false)` is how scripts stop.
            "play" if argument(0) == Some(&Value::Boolean(false)) => Verb::CloseStream,
            "play" => Verb::Play(text(0)),
            "play2" => Verb::Play(argument(0).and_then(|o| o.get("streamName")).and_then(Value::as_str).unwrap_or_default().to_owned()),
            "FCSubscribe" => Verb::FcSubscribe(text(0)),
            "getStreamLength" => Verb::GetStreamLength,
            "pause" | "pauseRaw" => Verb::Pause(truth(0)),
            "receiveAudio" => Verb::ReceiveAudio(truth(0)),
            "receiveVideo" => Verb::ReceiveVideo(truth(0)),
            "seek" => Verb::Seek,
            "_checkbw" | "checkBandwidth" => Verb::Probe,
            "_result" | "_error" | "onStatus" | "onBWDone" | "onBWCheck" => Verb::Answer,
            _ => Verb::Unknown(name.chars().take(64).collect()),
        };
        Ok(Self { transaction, verb, cut: broken.is_some() })
    }
}

/// The values of a body. AMF3 messages begin with the format of what follows, 0 for AMF0 (RTMP 1.0 section 7.1.1) or 3; some clients
/// leave that out.
fn read_values(amf3: bool, body: &[u8]) -> (Vec<Value>, Option<AmfError>) {
    match body.split_first() {
        Some((0, rest)) if amf3 => amf0::read_until_broken(rest),
        Some((3, rest)) if amf3 => amf0::read_amf3_until_broken(rest),
        // A string of AMF3; nothing begins with AMF0's "undefined".
        Some((6, _)) if amf3 => amf0::read_amf3_until_broken(body),
        _ => amf0::read_until_broken(body),
    }
}

/// The body of `_result` or `_error`.
pub(super) fn answer(name: &str, transaction: f64, values: Vec<Value>) -> Bytes {
    let mut all = vec![Value::text(name), Value::Number(transaction)];
    all.extend(values);
    amf0::write(&all).into()
}

/// The information object that most answers carry.
pub(super) fn info(level: &str, code: &str, description: &str) -> Value {
    Value::Object(vec![
        ("level".into(), Value::text(level)),
        ("code".into(), Value::text(code)),
        ("description".into(), Value::text(description)),
    ])
}

/// The body of `onStatus` and its like (`onFCPublish` …).
pub(super) fn status(name: &str, level: &str, code: &str, description: &str) -> Bytes {
    answer(name, 0.0, vec![Value::Null, info(level, code, description)])
}

/// The body of the answer to `connect` that accepts the client; with the codecs that are carried where it asks for them, so that it
/// doesn't send others.
pub(super) fn connected(transaction: f64, enhanced: bool) -> Bytes {
    let server = Value::Object(vec![
        // Clients look for a version of Flash Media Server here and some turn features off below 3.
        ("fmsVer".into(), Value::text("FMS/3,5,7,7009")),
        ("capabilities".into(), Value::Number(31.0)),
        ("mode".into(), Value::Number(1.0)),
    ]);
    let Value::Object(mut properties) = info("status", "NetConnection.Connect.Success", "Connection succeeded.") else {
        return Bytes::new();
    };
    // AMF0, whatever the client asked for.
    properties.push(("objectEncoding".into(), Value::Number(0.0)));
    if enhanced {
        let all = CARRIED.iter().flat_map(|(_, codecs)| codecs).map(|codec| Value::text(*codec));
        properties.push(("fourCcList".into(), Value::Array(all.collect())));
        for (name, codecs) in CARRIED {
            let codecs = codecs.iter().map(|codec| ((*codec).to_owned(), Value::Number(CAN_FORWARD)));
            properties.push((name.into(), Value::Object(codecs.collect())));
        }
        // None of its extensions: no reconnect request, no multitrack, no ModEx.
        properties.push(("capsEx".into(), Value::Number(0.0)));
    }
    answer("_result", transaction, vec![server, Value::Object(properties)])
}

/// What `onMetaData` (perhaps behind `@setDataFrame`) says: its properties, as far as they can be read, and what could not be.
/// `None` for other data messages.
pub(super) fn read_metadata(message_kind: u8, body: &[u8]) -> (Option<Value>, Option<AmfError>) {
    let (values, broken) = read_values(message_kind == kind::DATA_AMF3, body);
    let mut values = values.into_iter().peekable();
    values.next_if(|v| v.as_str() == Some("@setDataFrame"));
    match values.next() {
        Some(name) if name.as_str() == Some("onMetaData") => (values.next(), broken),
        _ => (None, broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(name: &str, rest: Vec<Value>) -> Vec<u8> {
        let mut values = vec![Value::text(name), Value::Number(7.0)];
        values.extend(rest);
        amf0::write(&values)
    }

    #[test]
    fn verbs() {
        let name = || Value::text("cam1");
        let table = [
            ("createStream", vec![Value::Null], Verb::CreateStream),
            ("publish", vec![Value::Null, name(), Value::text("live")], Verb::Publish("cam1".into())),
            ("publish", vec![], Verb::Publish(String::new())),
            ("play", vec![Value::Null, name(), Value::Number(-2000.0)], Verb::Play("cam1".into())),
            ("play2", vec![Value::Null, Value::Object(vec![("streamName".into(), name())])], Verb::Play("cam1".into())),
            ("deleteStream", vec![Value::Null, Value::Number(1.0)], Verb::DeleteStream(Some(1))),
            ("deleteStream", vec![Value::Null, Value::Number(f64::NAN)], Verb::DeleteStream(Some(0))),
            ("pause", vec![Value::Null, Value::Boolean(false), Value::Number(0.0)], Verb::Pause(false)),
            ("receiveVideo", vec![Value::Null, Value::Boolean(false)], Verb::ReceiveVideo(false)),
            ("play", vec![Value::Null, Value::Boolean(false)], Verb::CloseStream),
            ("publish", vec![name(), Value::text("live")], Verb::Publish("cam1".into())),
            ("publish", vec![Value::Null, Value::Number(12_345.0), Value::text("live")], Verb::Publish("12345".into())),
            ("publish", vec![Value::Null, Value::Number(f64::NAN)], Verb::Publish(String::new())),
            ("deleteStream", vec![Value::Number(2.0)], Verb::DeleteStream(Some(2))),
            ("_checkbw", vec![Value::Null], Verb::Probe),
            ("_result", vec![Value::Null], Verb::Answer),
            ("selfdestruct", vec![], Verb::Unknown("selfdestruct".into())),
        ];
        for (text, rest, verb) in table {
            assert_eq!(Command::read(kind::COMMAND, &command(text, rest)), Ok(Command { transaction: 7.0, verb, cut: false }));
        }
    }

    #[test]
    fn amf3_commands_with_and_without_the_zero() {
        let body = command("createStream", vec![Value::Null]);
        let wrapped = [&[0][..], &body].concat();
        for body in [&body, &wrapped] {
            assert_eq!(Command::read(kind::COMMAND_AMF3, body).unwrap().verb, Verb::CreateStream);
        }
    }

    #[test]
    fn commands_in_amf3() {
        // createStream, 7, null: behind the format byte 3, and without it
        let body = [&[6, 0x19][..], b"createStream", &[4, 7, 1]].concat();
        let wrapped = [&[3][..], &body].concat();
        // AMF0 with AMF3 values in it
        let switched = [amf0::write(&[Value::text("createStream")]), vec![0x11, 4, 7, 0x11, 1]].concat();
        for body in [body, wrapped, switched] {
            let want = Command { transaction: 7.0, verb: Verb::CreateStream, cut: false };
            assert_eq!(Command::read(kind::COMMAND_AMF3, &body), Ok(want));
        }
    }

    #[test]
    fn what_stands_behind_the_needed_may_be_unreadable() {
        let table = [
            (command("createStream", vec![]), [0x0E].as_slice(), Ok(Verb::CreateStream)),
            (command("publish", vec![Value::Null, Value::text("cam1")]), &[0x02, 0, 9, b'l'], Ok(Verb::Publish("cam1".into()))),
            (command("publish", vec![Value::Null]), &[0x02, 0, 9, b'c'], Err(AmfError::Truncated)),
            (command("play", vec![Value::Null]), &[0x0E], Err(AmfError::Marker(0x0E))),
        ];
        for (good, bad, want) in table {
            let seen = Command::read(kind::COMMAND, &[&good[..], bad].concat());
            assert_eq!(seen.map(|command| (command.verb, command.cut)), want.map(|verb| (verb, true)));
        }
    }

    #[test]
    fn transactions_of_any_kind() {
        for (value, want) in [
            (Value::Number(0.0), 0.0),
            (Value::Number(-3.0), -3.0),
            (Value::Number(f64::INFINITY), f64::INFINITY),
            (Value::Null, 0.0),
            (Value::text("4"), 0.0),
        ] {
            let body = amf0::write(&[Value::text("createStream"), value]);
            assert_eq!(Command::read(kind::COMMAND, &body).unwrap().transaction, want);
        }
        let body = amf0::write(&[Value::text("createStream"), Value::Number(f64::NAN)]);
        assert!(Command::read(kind::COMMAND, &body).unwrap().transaction.is_nan());
    }

    #[test]
    fn enhanced_clients_hear_what_is_carried() {
        let list =
            |name: &str| Value::Object(vec![("app".into(), Value::text("live")), (name.into(), Value::Array(vec![Value::text("hvc1")]))]);
        for (name, want) in [("fourCcList", true), ("videoFourCcInfoMap", true), ("capsEx", true), ("videoCodecs", false)] {
            let Verb::Connect { enhanced, .. } = Command::read(kind::COMMAND, &command("connect", vec![list(name)])).unwrap().verb else {
                panic!()
            };
            assert_eq!(enhanced, want, "{name}");
            let answer = amf0::read(&connected(1.0, enhanced)).unwrap();
            let codecs = answer[3].get("fourCcList");
            assert_eq!(codecs, want.then(|| Value::Array(vec![Value::text("avc1"), Value::text("mp4a")])).as_ref());
            assert_eq!(answer[3].get("videoFourCcInfoMap").and_then(|map| map.get("avc1")).is_some(), want);
        }
    }

    #[test]
    fn metadata_with_and_without_set_data_frame() {
        let properties = Value::Object(vec![("width".into(), Value::Number(640.0))]);
        let plain = amf0::write(&[Value::text("onMetaData"), properties.clone()]);
        let framed = amf0::write(&[Value::text("@setDataFrame"), Value::text("onMetaData"), properties.clone()]);
        for body in [&plain, &framed] {
            assert_eq!(read_metadata(kind::DATA, body), (Some(properties.clone()), None));
        }
        for format in [&[0][..], &[]] {
            assert_eq!(read_metadata(kind::DATA_AMF3, &[format, &framed].concat()), (Some(properties.clone()), None));
        }
        assert_eq!(read_metadata(kind::DATA, &amf0::write(&[Value::text("onTextData")])), (None, None));
        let broken = [&plain[..plain.len() - 3], &[0, 1, b'x', 0x0E]].concat();
        assert_eq!(read_metadata(kind::DATA, &broken), (Some(properties), Some(AmfError::Marker(0x0E))));
    }
}
