//! Commands (RTMP 1.0 section 7.2) as clients send them, and the answers that servers give.
//!
//! In: the body of a command message. Out: a `Command`; and bodies of answers. No state: order is judged by the session.

use bytes::Bytes;

use super::amf0::{self, AmfError, Value};
use super::chunk::kind;

/// Longest text that is kept of what a client calls itself, in characters.
const MAX_AGENT_LEN: usize = 200;

/// A command with what is used of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// What the answer has to carry; 0 where none is expected.
    pub transaction: f64,
    /// What is wanted.
    pub verb: Verb,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum Verb {
    /// `connect`
    Connect {
        /// The application, with whatever query the client put there.
        app: String,
        /// The URL connected to.
        tc_url: String,
        /// `flashVer`: how the client calls itself.
        agent: Option<String>,
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
    /// Nothing we know. Ignored and counted.
    Unknown(String),
}

impl Command {
    /// Reads a command message of type 20 or 17 (AMF3, which carries AMF0 behind a zero byte: RTMP 1.0 section 7.1.1; some clients
    /// leave the zero out).
    pub fn read(message_kind: u8, body: &[u8]) -> Result<Self, AmfError> {
        let body = match body.split_first() {
            Some((0, rest)) if message_kind == kind::COMMAND_AMF3 => rest,
            _ => body,
        };
        let values = amf0::read(body)?;
        let name = values.first().and_then(Value::as_str).unwrap_or_default().to_owned();
        let transaction = values.get(1).and_then(Value::as_number).unwrap_or(0.0);
        let object = values.get(2);
        // The arguments come behind the command object, which is null for most.
        let argument = |n: usize| values.get(3 + n);
        let text = |n: usize| argument(n).and_then(Value::as_str).unwrap_or_default().to_owned();
        let truth = |n: usize| argument(n).and_then(Value::as_bool).unwrap_or(true);
        let verb = match name.as_str() {
            "connect" => {
                let property = |name| object.and_then(|o| o.get(name)).and_then(Value::as_str);
                Verb::Connect {
                    app: property("app").unwrap_or_default().to_owned(),
                    tc_url: property("tcUrl").unwrap_or_default().to_owned(),
                    agent: property("flashVer").map(|a| a.chars().take(MAX_AGENT_LEN).collect()),
                }
            }
            "createStream" => Verb::CreateStream,
            "releaseStream" => Verb::ReleaseStream,
            "FCPublish" => Verb::FcPublish(text(0)),
            "publish" => Verb::Publish(text(0)),
            "FCUnpublish" => Verb::FcUnpublish(text(0)),
            "deleteStream" => Verb::DeleteStream(argument(0).and_then(Value::as_number).map(|n| n as u32)),
            "closeStream" => Verb::CloseStream,
            "play" => Verb::Play(text(0)),
            "play2" => Verb::Play(argument(0).and_then(|o| o.get("streamName")).and_then(Value::as_str).unwrap_or_default().to_owned()),
            "FCSubscribe" => Verb::FcSubscribe(text(0)),
            "getStreamLength" => Verb::GetStreamLength,
            "pause" | "pauseRaw" => Verb::Pause(truth(0)),
            "receiveAudio" => Verb::ReceiveAudio(truth(0)),
            "receiveVideo" => Verb::ReceiveVideo(truth(0)),
            "seek" => Verb::Seek,
            "_checkbw" | "checkBandwidth" => Verb::Probe,
            _ => Verb::Unknown(name.chars().take(64).collect()),
        };
        Ok(Self { transaction, verb })
    }
}

/// The body of `_result` or `_error`.
pub fn answer(name: &str, transaction: f64, values: Vec<Value>) -> Bytes {
    let mut all = vec![Value::text(name), Value::Number(transaction)];
    all.extend(values);
    amf0::write(&all).into()
}

/// The information object that most answers carry.
pub fn info(level: &str, code: &str, description: &str) -> Value {
    Value::Object(vec![
        ("level".into(), Value::text(level)),
        ("code".into(), Value::text(code)),
        ("description".into(), Value::text(description)),
    ])
}

/// The body of `onStatus` and its like (`onFCPublish` …).
pub fn status(name: &str, level: &str, code: &str, description: &str) -> Bytes {
    answer(name, 0.0, vec![Value::Null, info(level, code, description)])
}

/// The body of the answer to `connect` that lets the client in.
pub fn connected(transaction: f64) -> Bytes {
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
    answer("_result", transaction, vec![server, Value::Object(properties)])
}

/// What `onMetaData` (perhaps behind `@setDataFrame`) says: its properties. `None` for other data messages.
pub fn read_metadata(message_kind: u8, body: &[u8]) -> Result<Option<Value>, AmfError> {
    let body = match body.split_first() {
        Some((0, rest)) if message_kind == kind::DATA_AMF3 => rest,
        _ => body,
    };
    let mut values = amf0::read(body)?.into_iter().peekable();
    values.next_if(|v| v.as_str() == Some("@setDataFrame"));
    match values.next() {
        Some(name) if name.as_str() == Some("onMetaData") => Ok(values.next()),
        _ => Ok(None),
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
            ("selfdestruct", vec![], Verb::Unknown("selfdestruct".into())),
        ];
        for (text, rest, verb) in table {
            assert_eq!(Command::read(kind::COMMAND, &command(text, rest)), Ok(Command { transaction: 7.0, verb }));
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
    fn metadata_with_and_without_set_data_frame() {
        let properties = Value::Object(vec![("width".into(), Value::Number(640.0))]);
        let plain = amf0::write(&[Value::text("onMetaData"), properties.clone()]);
        let framed = amf0::write(&[Value::text("@setDataFrame"), Value::text("onMetaData"), properties.clone()]);
        for body in [plain, framed] {
            assert_eq!(read_metadata(kind::DATA, &body), Ok(Some(properties.clone())));
        }
        assert_eq!(read_metadata(kind::DATA, &amf0::write(&[Value::text("onTextData")])), Ok(None));
    }
}
