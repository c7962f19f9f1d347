//! One RTMP connection, as the server: handshake, chunks, commands; publishers and players.
//!
//! In: bytes of the peer, timeouts, the owner's decisions (`accept_publish` …), media for players. Out: bytes for the peer, and
//! events. It touches no socket and reads no clock. What peers do otherwise than they should is put up with and counted (`Oddity`).

mod commands;
mod pace;
mod streams;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::amf0::Value;
use super::chunk::{ChunkReader, ChunkWriter, Limits, Message, ReaderCounters, kind};
use super::command::{self, Command};
use super::error::{Position, Problem, RtmpError};
use super::flv;
use super::handshake::{HANDSHAKE_LEN, Handshake};
use super::oddity::{Oddities, Oddity};
use super::target::Target;
use pace::Pace;
use streams::{State, Streams};

pub(crate) use streams::MAX_ACTIVE;

/// The window we announce: what Flash Media Server uses.
const WINDOW: u32 = 2_500_000;
/// A smaller window than this is taken as this: acknowledgements are for the peer's good, not for ours.
const MIN_WINDOW: u32 = 4096;
/// Most bytes that are kept while the owner decides: it reads no more meanwhile than there is room for.
const MAX_HELD: usize = 256 * 1024;

/// User control events (RTMP 1.0 section 7.1.7; 31 and 32 are Flash Media Server's).
mod control {
    pub(super) const STREAM_BEGIN: u16 = 0;
    pub(super) const STREAM_EOF: u16 = 1;
    pub(super) const PING_REQUEST: u16 = 6;
    pub(super) const PING_RESPONSE: u16 = 7;
    /// StreamDry, SetBufferLength, StreamIsRecorded, PingResponse, buffer empty and ready: nothing to do.
    pub(super) const OTHERS: [u16; 8] = [STREAM_BEGIN, STREAM_EOF, 2, 3, 4, PING_RESPONSE, 31, 32];
}

/// Limits of time for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimeouts {
    /// From the connection's beginning to the end of the handshake.
    pub handshake: Duration,
    /// From there to `publish` or `play`; and for a publisher, without any byte, at least: who makes pauses may make them.
    pub idle: Duration,
}

/// What a session reports to its owner. Numbers are message stream ids: a connection can carry several streams.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Wants to publish: answer with `accept_publish` or `reject_publish`.
    Publish(u32, Target),
    /// Wants to play: answer with `accept_play` or `reject_play`.
    Play(u32, Target),
    /// A publisher's audio or video.
    Media(u32, MediaMessage),
    /// A publisher's `onMetaData`.
    Metadata(u32, Value),
    /// A player wants less or more than all.
    Receive {
        /// Which.
        stream: u32,
        /// Audio.
        audio: bool,
        /// Video.
        video: bool,
    },
    /// The publisher or player is done. No more media follows.
    Ended(u32),
}

/// Audio or video as it stands in an FLV tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaMessage {
    /// `kind::AUDIO` or `kind::VIDEO`.
    pub kind: u8,
    /// Milliseconds, unwrapped: goes on beyond 2^32.
    pub timestamp: i64,
    /// The tag's body.
    pub body: Bytes,
    /// Where the message ended.
    pub at: Position,
}

/// The server's side of a connection.
#[derive(Debug)]
pub struct ServerSession {
    timeouts: SessionTimeouts,
    handshake: Option<Handshake>,
    handshake_bytes: u64,
    reader: ChunkReader,
    writer: ChunkWriter,
    connected: bool,
    app: String,
    tc_url: String,
    agent: Option<String>,
    streams: Streams,
    streams_created: u32,
    /// `createStream` since the last `publish` or `play`.
    created_in_a_row: u32,
    /// What the peer wants acknowledged, if it does. Most publishers announce no window, and are sent nothing: an encoder that is done closes its
    /// socket while its kernel still holds the end of its stream, and whatever reaches a closed socket makes that kernel throw the end away.
    window: Option<u32>,
    announced_window: u32,
    acknowledged: u64,
    deadline: Option<Instant>,
    pace: Pace,
    /// What came between `publish` or `play` and the owner's decision: some encoders don't wait for it.
    held: BytesMut,
    output: BytesMut,
    events: VecDeque<Event>,
    closing: bool,
    oddities: Oddities,
    seen_in_reader: ReaderCounters,
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
            connected: false,
            app: String::new(),
            tc_url: String::new(),
            agent: None,
            streams: Streams::default(),
            streams_created: 0,
            created_in_a_row: 0,
            window: None,
            announced_window: WINDOW,
            acknowledged: 0,
            deadline: Some(now + timeouts.handshake),
            pace: Pace::default(),
            held: BytesMut::new(),
            output: BytesMut::new(),
            events: VecDeque::new(),
            closing: false,
            oddities: Oddities::default(),
            seen_in_reader: ReaderCounters::default(),
        }
    }

    /// Takes bytes from the peer. Take all events and all output before the next call: that is what bounds them.
    /// After an error the connection has to be closed (what is in the output may be sent before).
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> Result<(), RtmpError> {
        if self.closing || bytes.is_empty() {
            return Ok(());
        }
        let behind;
        let mut input = bytes;
        if let Some(handshake) = &mut self.handshake {
            let at = Position { byte: self.handshake_bytes, message_type: None };
            let step = handshake.handle_input(bytes).map_err(|p| p.at(at))?;
            self.handshake_bytes += bytes.len() as u64;
            self.output.extend_from_slice(&step.output);
            let Some(rest) = step.rest else { return Ok(()) };
            if step.unanswered {
                self.oddities.note(Oddity::HandshakeAnswer);
            }
            self.handshake = None;
            self.deadline = Some(now + self.timeouts.idle);
            behind = rest;
            input = &behind;
        }
        let read = self.read_messages(now, input);
        if self.streams.is_publishing() {
            self.deadline = Some(now + self.idle());
        }
        read
    }

    /// How long a peer may be silent.
    fn idle(&self) -> Duration {
        if self.streams.is_publishing() { self.pace.silence(self.timeouts.idle) } else { self.timeouts.idle }
    }

    fn read_messages(&mut self, now: Instant, mut input: &[u8]) -> Result<(), RtmpError> {
        while !self.closing {
            if self.streams.is_undecided() {
                if input.len() > self.room() {
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
        self.count_oddities_of_reader();
        Ok(())
    }

    /// Nothing waits to be read: acknowledges what came, where the peer asked for that. Not before: a peer of whom more waits may be gone, and
    /// one that stops until it is acknowledged has nothing more on its way.
    pub fn caught_up(&mut self) {
        let received = self.reader.position();
        if self.window.is_some_and(|window| received - self.acknowledged >= u64::from(window)) {
            self.acknowledged = received;
            // A sequence number, it wraps (RTMP 1.0 section 5.4.3).
            self.send_control(kind::ACKNOWLEDGEMENT, &(received as u32).to_be_bytes());
        }
    }

    fn count_oddities_of_reader(&mut self) {
        let (now, before) = (self.reader.counters(), self.seen_in_reader);
        self.seen_in_reader = now;
        self.oddities.add(Oddity::AbandonedMessage, now.abandoned - before.abandoned);
        self.oddities.add(Oddity::OversizedData, now.oversized - before.oversized);
        self.oddities.add(Oddity::HeadlessChunk, now.headless - before.headless);
        self.oddities.add(Oddity::BareHeader, now.bare_headers - before.bare_headers);
        self.oddities.add(Oddity::ShortControl, now.short - before.short);
    }

    /// To be called when `poll_timeout`'s time has come: an error if the peer took too long.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), RtmpError> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let (after, waiting_for) = match &self.handshake {
            Some(_) => (self.timeouts.handshake, "the handshake"),
            None if self.streams.is_publishing() => (self.idle(), "the publisher's media"),
            None => (self.timeouts.idle, "publish or play"),
        };
        self.deadline = None;
        Err(Problem::Timeout { after, waiting_for }.at(Position { byte: self.received(), message_type: None }))
    }

    /// The peer was left unread until now: its silence doesn't count.
    pub fn touch(&mut self, now: Instant) {
        if self.deadline.is_some() {
            self.deadline = Some(now + self.idle());
        }
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

    /// Bytes held for messages that are not complete, and while the owner decides.
    pub fn in_assembly(&self) -> usize {
        self.reader.in_assembly() + self.held.len()
    }

    /// Most bytes that may be put in now. Without bound while nothing has to be decided.
    pub fn room(&self) -> usize {
        if self.streams.is_undecided() { MAX_HELD - self.held.len().min(MAX_HELD) } else { usize::MAX }
    }

    /// Whether a stream publishes: that it has ended is known before the media in front of that was taken.
    pub fn publishes(&self, stream: u32) -> bool {
        self.streams.get(stream).is_some_and(|stream| stream.state == State::Publishing)
    }

    /// Whether media came for a stream since the last call.
    pub fn take_heard(&mut self, stream: u32) -> bool {
        self.streams.get_mut(stream).is_some_and(|stream| std::mem::take(&mut stream.heard))
    }

    /// What was odd so far, and put up with.
    pub fn oddities(&mut self) -> &mut Oddities {
        &mut self.oddities
    }

    /// Lets the publisher begin, and reads on in what it sent meanwhile: take events and output as after `handle_input`.
    pub fn accept_publish(&mut self, now: Instant, stream: u32) -> Result<(), RtmpError> {
        if !self.decide(stream, State::WantsPublish, State::Publishing) {
            return Ok(());
        }
        self.reader.set_limits(Limits::PUBLISHER);
        self.deadline = Some(now + self.timeouts.idle);
        self.send_publish_start(stream);
        self.read_held(now)
    }

    /// Refuses the publisher with a sentence, and closes unless the connection carries others: then it reads on in what came meanwhile,
    /// as `accept_publish` does. `code` such as `NetStream.Publish.BadName`.
    pub fn reject_publish(&mut self, now: Instant, stream: u32, code: &str, description: &str) -> Result<(), RtmpError> {
        self.refuse(now, stream, code, description)
    }

    /// Lets the player begin, and reads on in what it sent meanwhile. Metadata and media follow by `send_metadata` and `send_media`.
    pub fn accept_play(&mut self, now: Instant, stream: u32) -> Result<(), RtmpError> {
        if !self.decide(stream, State::WantsPlay, State::Playing) {
            return Ok(());
        }
        if !self.streams.is_publishing() {
            // A player has nothing to say; that it is still there shows by TCP.
            self.deadline = None;
        }
        self.send_user_control(control::STREAM_BEGIN, stream);
        self.send_status(stream, "status", "NetStream.Play.Reset", "Playing and resetting.");
        self.send_status(stream, "status", "NetStream.Play.Start", "Started playing.");
        let access = super::amf0::write(&[Value::text("|RtmpSampleAccess"), Value::Boolean(true), Value::Boolean(true)]);
        self.send(kind::DATA, stream, 0, access.into());
        self.read_held(now)
    }

    /// Refuses the player with a sentence, and closes unless the connection carries others: then it reads on in what came meanwhile, as
    /// `accept_play` does. `code` such as `NetStream.Play.StreamNotFound`.
    pub fn reject_play(&mut self, now: Instant, stream: u32, code: &str, description: &str) -> Result<(), RtmpError> {
        self.refuse(now, stream, code, description)
    }

    /// Sends a player `onMetaData`.
    pub fn send_metadata(&mut self, stream: u32, metadata: Value) {
        let body = super::amf0::write(&[Value::text("onMetaData"), metadata]);
        self.send(kind::DATA, stream, 0, body.into());
    }

    /// Sends a player a tag's body; `timestamp` in milliseconds, modulo 2^32.
    pub fn send_media(&mut self, stream: u32, kind: u8, timestamp: u32, body: Bytes) {
        if self.streams.get(stream).is_some_and(|stream| stream.state == State::Playing) {
            self.send(kind, stream, timestamp, body);
        }
    }

    /// Notifies a player that the publisher is gone. It may stay: `send_published` says that one is back.
    pub fn send_unpublished(&mut self, stream: u32, reason: &str) {
        self.send_status(stream, "status", "NetStream.Play.UnpublishNotify", reason);
        self.send_status(stream, "status", "NetStream.Play.Stop", reason);
        self.send_user_control(control::STREAM_EOF, stream);
    }

    /// Notifies a player that waited that a publisher is there.
    pub fn send_published(&mut self, stream: u32) {
        self.send_user_control(control::STREAM_BEGIN, stream);
        self.send_status(stream, "status", "NetStream.Play.PublishNotify", "A publisher is there.");
        self.send_status(stream, "status", "NetStream.Play.Start", "Started playing.");
    }

    /// Asks the peer for a sign of life, which keeps the way to a player open that gets nothing for long. `time` in milliseconds.
    pub fn send_ping(&mut self, time: u32) {
        self.send_user_control(control::PING_REQUEST, time);
    }

    /// Notifies the peer that one of its streams is over, with a sentence; closes unless the connection carries others.
    pub fn finish_stream(&mut self, stream: u32, reason: &str) {
        match self.streams.end(stream).map(|ended| ended.state) {
            Some(State::Publishing | State::WantsPublish) => self.send_status(stream, "status", "NetStream.Unpublish.Success", reason),
            Some(State::Playing | State::WantsPlay) => self.send_unpublished(stream, reason),
            None => {}
        }
        self.closing |= self.streams.is_empty();
    }

    /// Notifies the peer that it is over, with a sentence, and closes once that is sent: a publisher was taken over or the server stops,
    /// a player's stream has ended.
    pub fn finish(&mut self, reason: &str) {
        let streams: Vec<u32> = self.streams.iter().map(|stream| stream.id).collect();
        streams.into_iter().for_each(|stream| self.finish_stream(stream, reason));
        self.closing = true;
    }

    fn decide(&mut self, stream: u32, from: State, to: State) -> bool {
        match self.streams.get_mut(stream) {
            Some(stream) if stream.state == from => {
                stream.state = to;
                true
            }
            _ => false,
        }
    }

    fn read_held(&mut self, now: Instant) -> Result<(), RtmpError> {
        let held = self.held.split();
        self.read_messages(now, &held)
    }

    fn refuse(&mut self, now: Instant, stream: u32, code: &str, description: &str) -> Result<(), RtmpError> {
        self.send_status(stream, "error", code, description);
        self.streams.end(stream);
        self.closing |= self.streams.is_empty();
        // Else the next bytes would be taken for what follows the message that asked.
        self.read_held(now)
    }

    fn handle_message(&mut self, now: Instant, message: Message, at: Position) -> Result<(), Problem> {
        match message.kind {
            kind::AUDIO | kind::VIDEO => {
                self.pace.note(now);
                self.media(message.stream, message.kind, message.timestamp, message.body, at)
            }
            kind::COMMAND | kind::COMMAND_AMF3 => {
                let command = Command::read(message.kind, &message.body)?;
                self.handle_command(now, command, message.stream)?;
            }
            kind::DATA | kind::DATA_AMF3 => self.data(message),
            kind::AGGREGATE => {
                let mut tags = flv::aggregate(&message.body, message.timestamp);
                for tag in tags.by_ref() {
                    self.media(message.stream, tag.kind, tag.timestamp, tag.body, at);
                }
                if !tags.is_whole() {
                    self.oddities.note(Oddity::CutAggregate);
                }
            }
            kind::WINDOW_ACK_SIZE => {
                let Some(asked) = self.word(&message.body) else { return Ok(()) };
                if asked < MIN_WINDOW {
                    self.oddities.note(Oddity::AckWindow);
                }
                // A peer that waits for an acknowledgement soon gets one; one that names no window doesn't wait.
                self.window = (asked > 0).then_some(asked.max(MIN_WINDOW));
            }
            kind::SET_PEER_BANDWIDTH => {
                // TCP sees to the bandwidth; but the peer hears back what it asked for, whatever the limit type (section 5.4.5).
                let Some(asked) = self.word(&message.body) else { return Ok(()) };
                if asked != self.announced_window {
                    self.announced_window = asked;
                    self.send_control(kind::WINDOW_ACK_SIZE, &asked.to_be_bytes());
                }
            }
            kind::USER_CONTROL => self.handle_user_control(&message.body),
            kind::ACKNOWLEDGEMENT => {}
            _ => self.oddities.note(Oddity::UnknownMessage),
        }
        Ok(())
    }

    fn media(&mut self, stream: u32, kind: u8, timestamp: u32, body: Bytes, at: Position) {
        if !matches!(kind, kind::AUDIO | kind::VIDEO) || body.is_empty() {
            return;
        }
        match self.streams.published_by(stream) {
            Some((stream, exact)) => {
                let timestamp = stream.timeline.extend(timestamp);
                stream.heard = true;
                self.events.push_back(Event::Media(stream.id, MediaMessage { kind, timestamp, body, at }));
                if !exact {
                    self.oddities.note(Oddity::MisaddressedMedia);
                }
            }
            None => self.oddities.note(Oddity::UnexpectedMedia),
        }
    }

    /// Metadata is for people only: what can't be read doesn't end the publication.
    fn data(&mut self, message: Message) {
        let Some((stream, _)) = self.streams.published_by(message.stream) else {
            self.oddities.note(Oddity::UnexpectedMedia);
            return;
        };
        let id = stream.id;
        let (metadata, broken) = command::read_metadata(message.kind, &message.body);
        if broken.is_some() {
            self.oddities.note(Oddity::UnreadableMetadata);
        }
        self.events.extend(metadata.map(|metadata| Event::Metadata(id, metadata)));
    }

    fn handle_user_control(&mut self, body: &[u8]) {
        match body.split_first_chunk::<2>().map(|(event, value)| (u16::from_be_bytes(*event), value)) {
            // The same time comes back.
            Some((control::PING_REQUEST, time)) => self.send_user_control(control::PING_RESPONSE, word(time).unwrap_or(0)),
            Some((event, _)) if control::OTHERS.contains(&event) => {}
            Some(_) => self.oddities.note(Oddity::UnknownControl),
            None => self.oddities.note(Oddity::ShortControl),
        }
    }

    /// The number that a control message carries. One without says nothing, which is no reason to end a publication.
    fn word(&mut self, body: &[u8]) -> Option<u32> {
        let word = word(body);
        if word.is_none() {
            self.oddities.note(Oddity::ShortControl);
        }
        word
    }

    fn send_publish_start(&mut self, stream: u32) {
        self.send_user_control(control::STREAM_BEGIN, stream);
        self.send_status(stream, "status", "NetStream.Publish.Start", "Publishing.");
    }

    fn send_status(&mut self, stream: u32, level: &str, code: &str, description: &str) {
        self.send(kind::COMMAND, stream, 0, command::status("onStatus", level, code, description));
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

fn word(body: &[u8]) -> Option<u32> {
    body.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod habits_tests;
#[cfg(test)]
mod tests;
