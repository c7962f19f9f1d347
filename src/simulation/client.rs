//! An encoder's side of an RTMP connection: one or several publications, one after the other or at once.
//!
//! In: publishers, time, what the server answers. Out: bytes, and what must come out of them at the other end.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::faults::Plant;
use super::publisher::{Numbers, Publisher};
use super::random::Random;
use super::wire::{Extended, Habits, Wire};
use crate::rtmp::amf0::{self, Value};
use crate::rtmp::chunk::{ChunkReader, Limits, Message, kind};
use crate::rtmp::session::MediaMessage;

/// Bytes of C0, C1 and C2, and of the server's half.
const HANDSHAKE: usize = 1 + 1536 + 1536;
/// What the sockets of both sides hold: an encoder whose server doesn't read waits.
const IN_SOCKETS: usize = 128 << 10;
/// The first message that a client writes.
const CONNECT: f64 = 1.0;

/// How a publication ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    Delete,
    Unpublish,
    CloseStream,
    /// The socket is closed.
    Hangup,
    /// The socket is closed within a message.
    Cut,
    /// Nothing comes any more.
    Vanish,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// Until it begins.
    Waiting,
    /// `createStream` is answered with its transaction.
    Creating(f64),
    Asking,
    Live,
    Over,
}

/// One publication, as the encoder sees it.
#[derive(Debug)]
struct Feed {
    publisher: Publisher,
    /// Which publisher of the script it is, and on which path.
    index: usize,
    path: usize,
    begins_at: i64,
    stream: u32,
    stage: Stage,
    goodbye: Goodbye,
    /// The server said that it may publish.
    accepted: bool,
}

/// What the server's session has to give out next.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expected {
    pub kind: u8,
    pub timestamp: i64,
    pub body: Bytes,
}

/// What is told to the server's side of a connection.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub bytes: VecDeque<u8>,
    pub closed: bool,
}

/// An encoder.
#[derive(Debug)]
pub(super) struct Client {
    random: Random,
    wire: Wire,
    reader: ChunkReader,
    /// Bytes of the server's handshake that are still to come.
    handshake: usize,
    greeted: bool,
    connected: bool,
    /// Nothing comes any more, and nobody was told.
    vanished: bool,
    /// It writes what comes next without waiting for answers.
    hasty: bool,
    transaction: f64,
    created: u32,
    feeds: Vec<Feed>,
    /// By message stream.
    expected: HashMap<u32, VecDeque<Expected>>,
    pub sent: Sent,
    pub broken: Vec<String>,
}

impl Client {
    pub(super) fn new(mut random: Random, plant: Option<Plant>) -> Self {
        let mut habits = Habits::new(&mut random);
        if plant == Some(Plant::LostByte) {
            (habits.extended, habits.compresses) = (Extended::Repeated, false);
        }
        let mut reader = ChunkReader::new(0);
        reader.set_limits(Limits::PUBLISHER);
        Self {
            wire: Wire::new(habits, random.fork(), plant == Some(Plant::LostByte)),
            reader,
            handshake: HANDSHAKE,
            greeted: false,
            connected: false,
            vanished: false,
            hasty: random.chance(25),
            random,
            transaction: CONNECT,
            created: 0,
            feeds: Vec::new(),
            expected: HashMap::new(),
            sent: Sent::default(),
            broken: Vec::new(),
        }
    }

    /// It will publish this, too.
    pub(super) fn add(&mut self, index: usize, path: usize, begins_at: i64, publisher: Publisher) {
        let ways =
            [Goodbye::Delete, Goodbye::Unpublish, Goodbye::CloseStream, Goodbye::Hangup, Goodbye::Hangup, Goodbye::Cut, Goodbye::Vanish];
        let goodbye = self.random.pick(&ways);
        self.feeds.push(Feed { publisher, index, path, begins_at, stream: 0, stage: Stage::Waiting, goodbye, accepted: false });
    }

    /// Those that have not begun yet: the connection is gone, and they need another one.
    pub(super) fn take_waiting(&mut self) -> Vec<(usize, usize, i64, Publisher)> {
        let (waiting, begun) = std::mem::take(&mut self.feeds).into_iter().partition(|feed: &Feed| feed.stage == Stage::Waiting);
        self.feeds = begun;
        Vec::into_iter(waiting).map(|feed| (feed.index, feed.path, feed.begins_at, feed.publisher)).collect()
    }

    /// Whether nothing will come any more.
    pub(super) fn is_done(&self) -> bool {
        self.feeds.iter().all(|feed| feed.stage == Stage::Over)
    }

    /// Whether all of them have sent in real time and told the truth so far.
    pub(super) fn is_honest(&self) -> bool {
        !self.vanished && self.feeds.iter().all(|feed| feed.publisher.is_honest())
    }

    fn feed(&self, stream: u32) -> Option<&Feed> {
        self.feeds.iter().rev().find(|feed| feed.stream == stream && stream > 0)
    }

    /// Who publishes on a message stream: its number and its path.
    pub(super) fn who(&self, stream: u32) -> (usize, usize) {
        self.feed(stream).map_or((usize::MAX, 0), |feed| (feed.index, feed.path))
    }

    /// The server's session gave this out: the same must have been written, and nothing before it that didn't come out.
    pub(super) fn came_out(&mut self, stream: u32, media: &MediaMessage) {
        let came = Expected { kind: media.kind, timestamp: media.timestamp, body: media.body.clone() };
        let Some(wanted) = self.expected.get_mut(&stream).and_then(VecDeque::pop_front) else {
            return self.broken.push(format!("message stream {stream}: a message of {} bytes that was never written", came.body.len()));
        };
        let same_time = came.timestamp as u32 == wanted.timestamp as u32;
        if (came.kind, &came.body) != (wanted.kind, &wanted.body) || !same_time {
            let show = |message: &Expected| {
                let head = &message.body[..message.body.len().min(12)];
                format!("type {}, {} ms, {} bytes {head:02x?}", message.kind, message.timestamp as u32, message.body.len())
            };
            self.broken.push(format!("message stream {stream}: {} was written, {} came out", show(&wanted), show(&came)));
        }
    }

    /// A message stream is over at the server, and all that was written to it has come out unless `cut`.
    pub(super) fn came_to_end(&mut self, stream: u32, cut: bool) {
        let left = self.expected.remove(&stream).unwrap_or_default();
        if !left.is_empty() && !cut {
            self.broken.push(format!("message stream {stream}: it ended, and {} messages never came out", left.len()));
        }
    }

    /// The server took on what is published on a message stream, and its answer has come.
    pub(super) fn is_told(&self, stream: u32) -> bool {
        self.feed(stream).is_some_and(|feed| feed.accepted || feed.stage == Stage::Over)
    }

    /// What the server says.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let skip = self.handshake.min(bytes.len());
        self.handshake -= skip;
        let mut rest = &bytes[skip..];
        loop {
            match self.reader.next_message(&mut rest) {
                Ok(Some(message)) if message.kind == kind::COMMAND => self.answer(&message),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return self.broken.push(format!("the server's answer can't be read: {error}")),
            }
        }
    }

    fn answer(&mut self, message: &Message) {
        let Ok(values) = amf0::read(&message.body) else {
            return self.broken.push("a command of the server can't be read".into());
        };
        let name = values.first().and_then(Value::as_str).unwrap_or_default();
        let transaction = values.get(1).and_then(Value::as_number).unwrap_or(0.0);
        match name {
            "_result" if transaction == CONNECT => self.connected = true,
            "_result" => {
                let Some(number) = values.get(3).and_then(Value::as_number) else { return };
                let creating = self.feeds.iter().position(|feed| feed.stage == Stage::Creating(transaction));
                if let Some(at) = creating {
                    self.feeds[at].stream = number as u32;
                    self.publish(at);
                }
            }
            "onStatus" => {
                let code = values.get(3).and_then(|info| info.get("code")).and_then(Value::as_str).unwrap_or_default();
                let Some(feed) = self.feeds.iter_mut().rev().find(|feed| feed.stream == message.stream && message.stream > 0) else {
                    return;
                };
                match code {
                    "NetStream.Publish.Start" => {
                        feed.accepted = true;
                        if feed.stage == Stage::Asking {
                            feed.stage = Stage::Live;
                        }
                    }
                    // Some go on sending, as they don't listen; what they send is nobody's.
                    _ => feed.stage = Stage::Over,
                }
            }
            _ => {}
        }
    }

    /// Writes what is due.
    pub(super) fn turn(&mut self, now: i64, numbers: &mut Numbers) {
        if self.sent.closed {
            return;
        }
        for at in 0..self.feeds.len() {
            if self.feeds[at].stage == Stage::Waiting && now >= self.feeds[at].begins_at && self.may_begin() {
                self.begin(at);
            }
        }
        self.media(now, numbers);
        for at in 0..self.feeds.len() {
            let live = matches!(self.feeds[at].stage, Stage::Live | Stage::Asking);
            if live && self.feeds[at].publisher.next_at().is_none() {
                self.end(at);
            }
        }
        let written = self.wire.take();
        self.sent.bytes.extend(written);
    }

    /// Through the handshake and `connect`, as far as it is due.
    fn may_begin(&mut self) -> bool {
        if !self.greeted {
            self.greeted = true;
            let random = &mut self.random;
            let hello = std::iter::once(3).chain((0..1536).map(|i| if (4..8).contains(&i) { 0 } else { random.next() as u8 }));
            self.sent.bytes.extend(hello);
            self.sent.bytes.extend([7; 1536]);
            self.connect();
        }
        self.hasty || self.connected
    }

    fn connect(&mut self) {
        if self.random.chance(50) {
            self.wire.resize(4096);
        }
        let object = Value::Object(vec![
            ("app".into(), Value::text("live")),
            ("flashVer".into(), Value::text("FMLE/3.0 (compatible; simulation)")),
            ("tcUrl".into(), Value::text("rtmp://host/live")),
        ]);
        self.command(0, "connect", CONNECT, vec![object]);
    }

    fn command(&mut self, stream: u32, name: &str, transaction: f64, values: Vec<Value>) {
        let mut all = vec![Value::text(name), Value::Number(transaction)];
        all.extend(values);
        self.wire.write(vec![Message { kind: kind::COMMAND, stream, timestamp: 0, body: amf0::write(&all).into() }]);
    }

    fn name(&self, at: usize) -> Value {
        Value::text(format!("cam{}", self.feeds[at].path))
    }

    fn next_transaction(&mut self) -> f64 {
        self.transaction += 1.0;
        self.transaction
    }

    fn begin(&mut self, at: usize) {
        let name = self.name(at);
        if self.random.chance(80) {
            for announced in ["releaseStream", "FCPublish"] {
                let transaction = self.next_transaction();
                self.command(0, announced, transaction, vec![Value::Null, name.clone()]);
            }
        }
        let transaction = self.next_transaction();
        self.command(0, "createStream", transaction, vec![Value::Null]);
        self.created += 1;
        self.feeds[at].stage = Stage::Creating(transaction);
        if self.hasty {
            self.feeds[at].stream = self.created;
            self.publish(at);
        }
    }

    fn publish(&mut self, at: usize) {
        let (name, stream) = (self.name(at), self.feeds[at].stream);
        let transaction = self.next_transaction();
        self.command(stream, "publish", transaction, vec![Value::Null, name, Value::text("live")]);
        self.feeds[at].stage = Stage::Asking;
        self.expected.insert(stream, VecDeque::new());
        // The same name on another message stream: what comes on the older one is nobody's from now on.
        for other in 0..self.feeds.len() {
            let before = &self.feeds[other];
            if other != at && before.path == self.feeds[at].path && matches!(before.stage, Stage::Live | Stage::Asking) {
                self.feeds[other].stage = Stage::Over;
            }
        }
        if self.random.chance(70) {
            let metadata = Value::Object(vec![("width".into(), Value::Number(640.0)), ("encoder".into(), Value::text("simulation"))]);
            let body = amf0::write(&[Value::text("@setDataFrame"), Value::text("onMetaData"), metadata]);
            self.wire.write(vec![Message { kind: kind::DATA, stream, timestamp: 0, body: body.into() }]);
        }
    }

    /// Tags that are due, of all that may send.
    fn media(&mut self, now: i64, numbers: &mut Numbers) {
        let mut tags: Vec<(u32, MediaMessage)> = Vec::new();
        let mut bytes = self.sent.bytes.len();
        let mut made = Vec::new();
        while bytes < IN_SOCKETS {
            let hasty = self.hasty;
            let may_send = |feed: &Feed| feed.stage == Stage::Live || (hasty && feed.stage == Stage::Asking);
            let next = self.feeds.iter_mut().filter(|feed| may_send(feed)).filter_map(|feed| Some((feed.publisher.next_at()?, feed)));
            let Some((_, feed)) = next.filter(|(at, _)| *at <= now).min_by_key(|(at, _)| *at) else { break };
            feed.publisher.next(numbers, &mut made);
            for media in made.drain(..) {
                bytes += media.body.len() + 12;
                tags.push((feed.stream, media));
            }
        }
        self.write(tags);
    }

    fn write(&mut self, tags: Vec<(u32, MediaMessage)>) {
        let (mut messages, mut inside): (Vec<Message>, Vec<Vec<Expected>>) = Default::default();
        let mut tags = tags.into_iter().peekable();
        while let Some((stream, media)) = tags.next() {
            let mut parts = vec![media];
            if self.random.chance(self.wire.habits.aggregates) {
                let most = self.random.range(1, 7) as usize;
                while parts.len() < most
                    && let Some((_, media)) = tags.next_if(|(other, _)| *other == stream)
                {
                    parts.push(media);
                }
            }
            let timestamp = parts[0].timestamp as u32;
            let (kind, body) = match &parts[..] {
                [only] => (only.kind, only.body.clone()),
                _ => (kind::AGGREGATE, self.aggregate(&parts)),
            };
            messages.push(Message { kind, stream, timestamp, body });
            // Who sends nothing in a message sends nothing.
            let expected = parts.into_iter().filter(|media| !media.body.is_empty());
            inside.push(expected.map(|media| Expected { kind: media.kind, timestamp: media.timestamp, body: media.body }).collect());
        }
        let streams: Vec<u32> = messages.iter().map(|message| message.stream).collect();
        for index in self.wire.write(messages) {
            if let Some(expected) = self.expected.get_mut(&streams[index]) {
                expected.extend(inside[index].drain(..));
            }
        }
    }

    /// FLV tags in a row; their times may count from anywhere.
    fn aggregate(&mut self, parts: &[MediaMessage]) -> Bytes {
        let shift = self.random.pick(&[0, 0, parts[0].timestamp as u32, 12_345]);
        let mut body = Vec::new();
        for media in parts {
            let time = (media.timestamp as u32).wrapping_sub(shift).to_be_bytes();
            body.push(media.kind);
            body.extend(&(media.body.len() as u32).to_be_bytes()[1..]);
            body.extend([time[1], time[2], time[3], time[0], 0, 0, 0]);
            body.extend(&media.body);
            body.extend((11 + media.body.len() as u32).to_be_bytes());
        }
        body.into()
    }

    /// Ends a publication; the connection goes with it where it carries no other.
    fn end(&mut self, at: usize) {
        let (name, stream, goodbye) = (self.name(at), self.feeds[at].stream, self.feeds[at].goodbye);
        self.feeds[at].stage = Stage::Over;
        let alone = self.is_done();
        let written = self.wire.take();
        self.sent.bytes.extend(written);
        match goodbye {
            Goodbye::Vanish if alone => self.vanished = true,
            Goodbye::Hangup if alone => self.sent.closed = true,
            Goodbye::Cut if alone => {
                self.sent.closed = true;
                let begin = Message { kind: kind::VIDEO, stream, timestamp: 0, body: vec![0x27; 500].into() };
                self.wire.write(vec![begin]);
                let mut written = self.wire.take();
                let part = self.random.next() as usize % written.len();
                written.truncate(part);
                self.sent.bytes.extend(written);
            }
            Goodbye::CloseStream => self.command(stream, "closeStream", 0.0, vec![Value::Null]),
            Goodbye::Unpublish => {
                let transaction = self.next_transaction();
                self.command(0, "FCUnpublish", transaction, vec![Value::Null, name]);
                self.command(0, "deleteStream", 0.0, vec![Value::Null, Value::Number(f64::from(stream))]);
            }
            _ => self.command(0, "deleteStream", 0.0, vec![Value::Null, Value::Number(f64::from(stream))]),
        }
        // The next one on this connection comes when it comes, but a moment later.
        if !alone && self.hasty {
            self.hasty = self.random.chance(50);
        }
    }
}
