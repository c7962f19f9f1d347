//! One RTMP connection, as the server: handshake, chunks, commands; publisher or player.
//!
//! In: bytes of the peer, timeouts, the owner's decisions (`accept_publish` …), media for a player. Out: bytes for the peer, and
//! events. It touches no socket and reads no clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::amf0::Value;
use super::chunk::{ChunkReader, ChunkWriter, Limits, Message, kind};
use super::command::{self, Command, Verb};
use super::error::{Position, Problem, RtmpError};
use super::flv;
use super::handshake::{HANDSHAKE_LEN, Handshake};
use super::target::Target;
use crate::base::wrap::TimestampExtender;

/// The window we announce, and acknowledge by where the peer announces none: what Flash Media Server uses.
const WINDOW: u32 = 2_500_000;
/// A smaller window than this is taken as this: acknowledgements are for the peer's good, not for ours.
const MIN_WINDOW: u32 = 4096;
/// Our chunks: big enough that a header per chunk is nothing, small enough that audio needn't wait long behind video.
const CHUNK_SIZE: usize = 64 * 1024;
/// Message streams a client may create. Real ones create one; 4 leaves room for those that try again.
const MAX_MESSAGE_STREAMS: u32 = 4;
/// Most bytes that are kept while the owner decides. It reads no more meanwhile, so this is about one read.
const MAX_HELD: usize = 256 * 1024;

/// Limits of time for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimeouts {
    /// From the connection's beginning to the end of the handshake.
    pub handshake: Duration,
    /// From there to `publish` or `play`; and for a publisher, without any byte.
    pub idle: Duration,
}

/// What a session tells its owner.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Wants to publish: answer with `accept_publish` or `reject_publish`.
    Publish(Target),
    /// Wants to play: answer with `accept_play` or `reject_play`.
    Play(Target),
    /// A publisher's audio or video.
    Media(Media),
    /// A publisher's `onMetaData`.
    Metadata(Value),
    /// A player wants less or more than all.
    Receive {
        /// Audio.
        audio: bool,
        /// Video.
        video: bool,
    },
    /// The publisher or player is done. No more media follows.
    Ended,
}

/// Audio or video as it stands in an FLV tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// `kind::AUDIO` or `kind::VIDEO`.
    pub kind: u8,
    /// Milliseconds, unwrapped: goes on beyond 2^32.
    pub timestamp: i64,
    /// The tag's body.
    pub body: Bytes,
    /// Where the message ended.
    pub at: Position,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Before `connect`.
    Stranger,
    Connected,
    /// `publish` was asked for and is being decided.
    WantsPublish,
    Publishing,
    WantsPlay,
    Playing,
    Done,
}

/// The server's side of a connection.
#[derive(Debug)]
pub struct ServerSession {
    timeouts: SessionTimeouts,
    handshake: Option<Handshake>,
    handshake_bytes: u64,
    reader: ChunkReader,
    writer: ChunkWriter,
    role: Role,
    app: String,
    tc_url: String,
    agent: Option<String>,
    /// Message stream of the publication or playback.
    stream: u32,
    streams_created: u32,
    /// Receive audio, receive video, not paused.
    receive: (bool, bool, bool),
    /// Audio and video together, so that both wrap (every 49.7 days) at the same place.
    timestamps: TimestampExtender,
    window: u32,
    acknowledged: u64,
    deadline: Option<Instant>,
    /// What came between `publish` or `play` and the owner's decision: some encoders don't wait for it.
    held: BytesMut,
    output: BytesMut,
    events: VecDeque<Event>,
    closing: bool,
    unknown_commands: u64,
}

impl ServerSession {
    /// A connection that was just accepted.
    pub fn new(now: Instant, timeouts: SessionTimeouts) -> Self {
        Self {
            timeouts,
            handshake: Some(Handshake::new()),
            handshake_bytes: 0,
            reader: ChunkReader::new(HANDSHAKE_LEN),
            writer: ChunkWriter::new(),
            role: Role::Stranger,
            app: String::new(),
            tc_url: String::new(),
            agent: None,
            stream: 0,
            streams_created: 0,
            receive: (true, true, true),
            timestamps: TimestampExtender::new(),
            window: WINDOW,
            acknowledged: 0,
            deadline: Some(now + timeouts.handshake),
            held: BytesMut::new(),
            output: BytesMut::new(),
            events: VecDeque::new(),
            closing: false,
            unknown_commands: 0,
        }
    }

    /// Takes bytes from the peer. Take all events and all output before the next call: that is what bounds them.
    /// After an error the connection has to be closed (what is in the output may be sent before).
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> Result<(), RtmpError> {
        if self.closing || bytes.is_empty() {
            return Ok(());
        }
        if self.role == Role::Publishing {
            self.deadline = Some(now + self.timeouts.idle);
        }
        let behind;
        let mut input = bytes;
        if let Some(handshake) = &mut self.handshake {
            let at = Position { byte: self.handshake_bytes, message_type: None };
            let step = handshake.handle_input(bytes).map_err(|p| p.at(at))?;
            self.handshake_bytes += bytes.len() as u64;
            self.output.extend_from_slice(&step.output);
            let Some(rest) = step.rest else { return Ok(()) };
            self.handshake = None;
            self.deadline = Some(now + self.timeouts.idle);
            behind = rest;
            input = &behind;
        }
        self.read_messages(now, input)
    }

    fn read_messages(&mut self, now: Instant, mut input: &[u8]) -> Result<(), RtmpError> {
        while !self.closing {
            if matches!(self.role, Role::WantsPublish | Role::WantsPlay) {
                if self.held.len() + input.len() > MAX_HELD {
                    let at = Position { byte: self.reader.position(), message_type: None };
                    return Err(Problem::TooMuchInAssembly { limit: MAX_HELD }.at(at));
                }
                self.held.extend_from_slice(input);
                break;
            }
            let Some(message) = self.reader.next_message(&mut input)? else { break };
            let at = Position { byte: self.reader.position(), message_type: Some(message.kind) };
            self.handle_message(now, message, at).map_err(|p| p.at(at))?;
        }
        let received = self.reader.position();
        if received - self.acknowledged >= u64::from(self.window) {
            self.acknowledged = received;
            // A sequence number, it wraps (RTMP 1.0 section 5.4.3).
            self.send_control(kind::ACKNOWLEDGEMENT, &(received as u32).to_be_bytes());
        }
        Ok(())
    }

    /// To be called when `poll_timeout`'s time has come: an error if the peer took too long.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), RtmpError> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let (after, waiting_for) = match (&self.handshake, self.role) {
            (Some(_), _) => (self.timeouts.handshake, "the handshake"),
            (None, Role::Publishing) => (self.timeouts.idle, "the publisher's media"),
            (None, _) => (self.timeouts.idle, "publish or play"),
        };
        self.deadline = None;
        let byte = if self.handshake.is_some() { self.handshake_bytes } else { self.reader.position() };
        Err(Problem::Timeout { after, waiting_for }.at(Position { byte, message_type: None }))
    }

    /// When `handle_timeout` wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Bytes to be sent.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        if self.output.is_empty() { None } else { Some(self.output.split().freeze()) }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether the connection is to be closed once the output is sent. Input is ignored from then on.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// How the client calls itself (`flashVer`).
    pub fn agent(&self) -> Option<&str> {
        self.agent.as_deref()
    }

    /// Bytes received, the handshake counted.
    pub fn received(&self) -> u64 {
        if self.handshake.is_some() { self.handshake_bytes } else { self.reader.position() }
    }

    /// Bytes held for messages that are not complete.
    pub fn in_assembly(&self) -> usize {
        self.reader.in_assembly()
    }

    /// Commands that nobody here knows, ignored so far.
    pub fn unknown_commands(&self) -> u64 {
        self.unknown_commands
    }

    /// Lets the publisher begin, and reads on in what it sent meanwhile: take events and output as after `handle_input`.
    pub fn accept_publish(&mut self, now: Instant) -> Result<(), RtmpError> {
        if self.role != Role::WantsPublish {
            return Ok(());
        }
        self.role = Role::Publishing;
        self.reader.set_limits(Limits::PUBLISHER);
        self.deadline = Some(now + self.timeouts.idle);
        self.send_stream_begin();
        self.send_status("status", "NetStream.Publish.Start", "Publishing.");
        let held = self.held.split();
        self.read_messages(now, &held)
    }

    /// Refuses the publisher with a sentence, and closes. `code` such as `NetStream.Publish.BadName`.
    pub fn reject_publish(&mut self, code: &str, description: &str) {
        self.refuse(code, description);
    }

    /// Lets the player begin, and reads on in what it sent meanwhile. Metadata and media follow by `send_metadata` and `send_media`.
    pub fn accept_play(&mut self, now: Instant) -> Result<(), RtmpError> {
        if self.role != Role::WantsPlay {
            return Ok(());
        }
        self.role = Role::Playing;
        // A player has nothing to say; that it is still there is told by TCP.
        self.deadline = None;
        self.send_stream_begin();
        self.send_status("status", "NetStream.Play.Reset", "Playing and resetting.");
        self.send_status("status", "NetStream.Play.Start", "Started playing.");
        let access = super::amf0::write(&[Value::text("|RtmpSampleAccess"), Value::Boolean(true), Value::Boolean(true)]);
        self.send(kind::DATA, self.stream, 0, access.into());
        let held = self.held.split();
        self.read_messages(now, &held)
    }

    /// Refuses the player with a sentence, and closes. `code` such as `NetStream.Play.StreamNotFound`.
    pub fn reject_play(&mut self, code: &str, description: &str) {
        self.refuse(code, description);
    }

    /// Sends a player `onMetaData`.
    pub fn send_metadata(&mut self, metadata: Value) {
        let body = super::amf0::write(&[Value::text("onMetaData"), metadata]);
        self.send(kind::DATA, self.stream, 0, body.into());
    }

    /// Sends a player a tag's body; `timestamp` in milliseconds, modulo 2^32.
    pub fn send_media(&mut self, kind: u8, timestamp: u32, body: Bytes) {
        if self.role == Role::Playing {
            self.send(kind, self.stream, timestamp, body);
        }
    }

    /// Tells the peer that it is over, with a sentence, and closes once that is sent: a publisher was taken over or the server stops,
    /// a player's stream has ended.
    pub fn finish(&mut self, reason: &str) {
        match self.role {
            Role::Publishing | Role::WantsPublish => self.send_status("status", "NetStream.Unpublish.Success", reason),
            Role::Playing | Role::WantsPlay => {
                self.send_status("status", "NetStream.Play.UnpublishNotify", reason);
                self.send_status("status", "NetStream.Play.Stop", reason);
                self.send_user_control(1, self.stream); // StreamEOF
            }
            Role::Stranger | Role::Connected | Role::Done => {}
        }
        self.role = Role::Done;
        self.closing = true;
    }

    fn handle_message(&mut self, now: Instant, message: Message, at: Position) -> Result<(), Problem> {
        match message.kind {
            kind::AUDIO | kind::VIDEO => {
                self.media(message.kind, message.timestamp, message.body, at);
                Ok(())
            }
            kind::COMMAND | kind::COMMAND_AMF3 => {
                let command = Command::read(message.kind, &message.body)?;
                self.handle_command(now, command, message.stream)
            }
            kind::DATA | kind::DATA_AMF3 if self.role == Role::Publishing => {
                // Metadata is for people only: what can't be read doesn't end the publication.
                if let Ok(Some(metadata)) = command::read_metadata(message.kind, &message.body) {
                    self.events.push_back(Event::Metadata(metadata));
                }
                Ok(())
            }
            kind::AGGREGATE => {
                for tag in flv::aggregate(&message.body, message.timestamp) {
                    self.media(tag.kind, tag.timestamp, tag.body, at);
                }
                Ok(())
            }
            kind::WINDOW_ACK_SIZE => {
                self.window = word(&message.body, 0)?.max(MIN_WINDOW);
                Ok(())
            }
            kind::USER_CONTROL => self.handle_user_control(&message.body),
            // Acknowledgements and the bandwidth the peer would like: TCP sees to that.
            _ => Ok(()),
        }
    }

    fn media(&mut self, kind: u8, timestamp: u32, body: Bytes, at: Position) {
        if self.role == Role::Publishing && matches!(kind, kind::AUDIO | kind::VIDEO) && !body.is_empty() {
            let timestamp = self.timestamps.extend(timestamp);
            self.events.push_back(Event::Media(Media { kind, timestamp, body, at }));
        }
    }

    fn handle_user_control(&mut self, body: &[u8]) -> Result<(), Problem> {
        let event = body.first_chunk::<2>().map(|b| u16::from_be_bytes(*b)).ok_or(Problem::ShortMessage { len: body.len() })?;
        if event == 6 {
            // PingRequest: the same time comes back as PingResponse (RTMP 1.0 section 7.1.7).
            self.send_user_control(7, word(body, 2)?);
        }
        Ok(())
    }

    fn handle_command(&mut self, now: Instant, Command { transaction, verb }: Command, stream: u32) -> Result<(), Problem> {
        let bad = |name: &str, why: &str| Err(Problem::Command { name: name.into(), why: why.into() });
        if self.role == Role::Stranger && !matches!(verb, Verb::Connect { .. }) {
            return bad(&format!("{verb:?}").chars().take(40).collect::<String>(), "connect has to come first");
        }
        match verb {
            Verb::Connect { app, tc_url, agent } => {
                if self.role != Role::Stranger {
                    return bad("connect", "it came a second time");
                }
                self.connect(transaction, app, tc_url, agent);
            }
            Verb::CreateStream => {
                if self.streams_created == MAX_MESSAGE_STREAMS {
                    return bad("createStream", "too many message streams; open another connection instead");
                }
                self.streams_created += 1;
                self.result(transaction, vec![Value::Null, Value::Number(f64::from(self.streams_created))]);
            }
            Verb::ReleaseStream | Verb::Probe => self.result(transaction, vec![Value::Null, Value::Undefined]),
            Verb::FcPublish(name) => {
                self.result(transaction, vec![Value::Null, Value::Undefined]);
                self.send(kind::COMMAND, 0, 0, command::status("onFCPublish", "status", "NetStream.Publish.Start", &name));
            }
            Verb::FcSubscribe(name) => {
                self.send(kind::COMMAND, 0, 0, command::status("onFCSubscribe", "status", "NetStream.Play.Start", &name));
            }
            Verb::Publish(name) => {
                if self.role != Role::Connected {
                    return bad("publish", "one connection carries one publication or playback");
                }
                self.begin(stream, Role::WantsPublish, &name);
            }
            Verb::Play(name) => {
                if self.role != Role::Connected {
                    return bad("play", "one connection carries one publication or playback");
                }
                self.begin(stream, Role::WantsPlay, &name);
            }
            Verb::FcUnpublish(name) => {
                self.result(transaction, vec![Value::Null, Value::Undefined]);
                self.send(kind::COMMAND, 0, 0, command::status("onFCUnpublish", "status", "NetStream.Unpublish.Success", &name));
                if self.role == Role::Publishing {
                    self.end(now);
                }
            }
            Verb::DeleteStream(id) if id.is_none_or(|id| id == self.stream) => self.end(now),
            Verb::CloseStream if stream == self.stream => self.end(now),
            Verb::DeleteStream(_) | Verb::CloseStream => {}
            Verb::GetStreamLength => self.result(transaction, vec![Value::Null, Value::Number(0.0)]),
            Verb::Pause(paused) => {
                let (code, text) = if paused { ("NetStream.Pause.Notify", "Paused.") } else { ("NetStream.Unpause.Notify", "Goes on.") };
                self.send_status("status", code, text);
                self.set_receive(|(audio, video, _)| (audio, video, !paused));
            }
            Verb::ReceiveAudio(on) => self.set_receive(|(_, video, running)| (on, video, running)),
            Verb::ReceiveVideo(on) => self.set_receive(|(audio, _, running)| (audio, on, running)),
            Verb::Seek => self.send_status("error", "NetStream.Seek.Failed", "A live stream can't be seeked."),
            Verb::Unknown(name) => {
                tracing::debug!(command = name, "unknown RTMP command ignored");
                self.unknown_commands += 1;
            }
        }
        Ok(())
    }

    fn connect(&mut self, transaction: f64, app: String, tc_url: String, agent: Option<String>) {
        if let Err(error) = Target::check_app(&app) {
            let info = command::info("error", "NetConnection.Connect.Rejected", &error.to_string());
            self.send(kind::COMMAND, 0, 0, command::answer("_error", transaction, vec![Value::Null, info]));
            self.role = Role::Done;
            self.closing = true;
            return;
        }
        self.send_control(kind::WINDOW_ACK_SIZE, &WINDOW.to_be_bytes());
        // Limit type 2, dynamic (RTMP 1.0 section 5.4.5).
        self.send_control(kind::SET_PEER_BANDWIDTH, &[&WINDOW.to_be_bytes()[..], &[2]].concat());
        self.writer.set_chunk_size(CHUNK_SIZE, &mut self.output);
        self.send(kind::COMMAND, 0, 0, command::connected(transaction));
        (self.app, self.tc_url, self.agent) = (app, tc_url, agent);
        self.role = Role::Connected;
    }

    /// `publish` or `play`: finds out where and asks the owner.
    fn begin(&mut self, stream: u32, role: Role, name: &str) {
        self.stream = stream;
        self.role = role;
        match Target::parse(&self.app, &self.tc_url, name) {
            Ok(target) => {
                self.events.push_back(if role == Role::WantsPublish { Event::Publish(target) } else { Event::Play(target) });
            }
            Err(error) if role == Role::WantsPublish => self.refuse("NetStream.Publish.BadName", &error.to_string()),
            Err(error) => self.refuse("NetStream.Play.StreamNotFound", &error.to_string()),
        }
    }

    fn refuse(&mut self, code: &str, description: &str) {
        self.send_status("error", code, description);
        self.role = Role::Done;
        self.closing = true;
    }

    /// The peer is done with its stream. The connection may be used again.
    fn end(&mut self, now: Instant) {
        match self.role {
            Role::Publishing => self.send_status("status", "NetStream.Unpublish.Success", "Publication ended."),
            Role::Playing => self.send_status("status", "NetStream.Play.Stop", "Playback ended."),
            Role::WantsPublish | Role::WantsPlay => {}
            Role::Stranger | Role::Connected | Role::Done => return,
        }
        self.reader.set_limits(Limits::STRANGER);
        self.role = Role::Connected;
        self.receive = (true, true, true);
        self.timestamps = TimestampExtender::new();
        self.deadline = Some(now + self.timeouts.idle);
        self.events.push_back(Event::Ended);
    }

    fn set_receive(&mut self, change: impl FnOnce((bool, bool, bool)) -> (bool, bool, bool)) {
        let before = self.receive;
        self.receive = change(before);
        if self.receive != before && self.role == Role::Playing {
            let (audio, video, running) = self.receive;
            self.events.push_back(Event::Receive { audio: audio && running, video: video && running });
        }
    }

    fn result(&mut self, transaction: f64, values: Vec<Value>) {
        if transaction != 0.0 {
            self.send(kind::COMMAND, 0, 0, command::answer("_result", transaction, values));
        }
    }

    fn send_status(&mut self, level: &str, code: &str, description: &str) {
        self.send(kind::COMMAND, self.stream, 0, command::status("onStatus", level, code, description));
    }

    fn send_stream_begin(&mut self) {
        self.send_user_control(0, self.stream);
    }

    fn send_user_control(&mut self, event: u16, value: u32) {
        self.send_control(kind::USER_CONTROL, &[&event.to_be_bytes()[..], &value.to_be_bytes()].concat());
    }

    fn send_control(&mut self, kind: u8, body: &[u8]) {
        self.send(kind, 0, 0, Bytes::copy_from_slice(body));
    }

    fn send(&mut self, kind: u8, stream: u32, timestamp: u32, body: Bytes) {
        self.writer.write(&Message { kind, stream, timestamp, body }, &mut self.output);
    }
}

fn word(body: &[u8], at: usize) -> Result<u32, Problem> {
    let bytes = body.get(at..).and_then(|b| b.first_chunk::<4>()).ok_or(Problem::ShortMessage { len: body.len() })?;
    Ok(u32::from_be_bytes(*bytes))
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
