//! What a session does about commands: connecting, and beginning, steering and ending streams.
//!
//! In: commands in any order. Out: answers, and the session's events. One connection carries several streams, one after the other or
//! at once, each on a message stream of its own.

use std::time::Instant;

use crate::rtmp::amf0::Value;
use crate::rtmp::chunk::{Limits, kind};
use crate::rtmp::command::{self, Command, Verb};
use crate::rtmp::error::Problem;
use crate::rtmp::oddity::Oddity;
use crate::rtmp::target::Target;

use super::streams::{MAX_ACTIVE, State};
use super::{Event, ServerSession, WINDOW};

/// Our chunks: big enough that a header per chunk is nothing, small enough that audio needn't wait long behind video.
const CHUNK_SIZE: usize = 64 * 1024;
/// `createStream` that may come before one of the message streams is used. Real clients create one, or one per stream.
const MAX_CREATED_IN_A_ROW: u32 = 8;

impl ServerSession {
    pub(super) fn handle_command(&mut self, now: Instant, command: Command, stream: u32) -> Result<(), Problem> {
        let Command { transaction, verb, cut } = command;
        if !self.connected && !matches!(verb, Verb::Connect { .. }) {
            // Its name alone: what follows may be a key, and errors are logged.
            let name = format!("{verb:?}").chars().take_while(char::is_ascii_alphanumeric).collect();
            return Err(Problem::NotConnected { name });
        }
        if cut {
            self.oddities.note(Oddity::UnreadableCommand);
        }
        match verb {
            Verb::Connect { app, tc_url, agent, enhanced } => self.connect(transaction, app, tc_url, agent, enhanced),
            Verb::CreateStream => {
                if self.created_in_a_row == MAX_CREATED_IN_A_ROW {
                    return Err(Problem::TooManyMessageStreams);
                }
                self.created_in_a_row += 1;
                self.streams_created += 1;
                // Answered whatever the transaction: without its number the client can't go on.
                self.answer(transaction, vec![Value::Null, Value::Number(f64::from(self.streams_created))]);
            }
            Verb::ReleaseStream | Verb::Probe => self.result(transaction, vec![Value::Null, Value::Undefined]),
            Verb::FcPublish(name) => {
                self.result(transaction, vec![Value::Null, Value::Undefined]);
                self.send(kind::COMMAND, 0, 0, command::status("onFCPublish", "status", "NetStream.Publish.Start", &name));
            }
            Verb::FcSubscribe(name) => {
                self.result(transaction, vec![Value::Null, Value::Undefined]);
                self.send(kind::COMMAND, 0, 0, command::status("onFCSubscribe", "status", "NetStream.Play.Start", &name));
            }
            Verb::Publish(name) => self.begin(stream, State::WantsPublish, &name),
            Verb::Play(name) => self.begin(stream, State::WantsPlay, &name),
            Verb::FcUnpublish(name) => {
                self.result(transaction, vec![Value::Null, Value::Undefined]);
                self.send(kind::COMMAND, 0, 0, command::status("onFCUnpublish", "status", "NetStream.Unpublish.Success", &name));
                if let Some(id) = self.published_as(&name) {
                    self.end(now, id);
                }
            }
            Verb::DeleteStream(id) => {
                let meant = id.map_or_else(|| self.streams.meant(stream), |id| self.streams.get(id).map(|stream| stream.id));
                // Some send 0, or nothing that is a number.
                let meant = meant.or_else(|| self.streams.meant(0).filter(|_| id == Some(0)));
                if let Some(id) = meant {
                    self.end(now, id);
                }
            }
            Verb::CloseStream => {
                if let Some(id) = self.streams.meant(stream) {
                    self.end(now, id);
                }
            }
            Verb::GetStreamLength => self.result(transaction, vec![Value::Null, Value::Number(0.0)]),
            Verb::Pause(paused) => {
                let (code, text) = if paused { ("NetStream.Pause.Notify", "Paused.") } else { ("NetStream.Unpause.Notify", "Goes on.") };
                self.send_status(stream, "status", code, text);
                self.set_receive(stream, |(audio, video, _)| (audio, video, !paused));
            }
            Verb::ReceiveAudio(on) => self.set_receive(stream, |(_, video, running)| (on, video, running)),
            Verb::ReceiveVideo(on) => self.set_receive(stream, |(audio, _, running)| (audio, on, running)),
            // ffmpeg waits for the first word and gives up on an error.
            Verb::Seek => {
                self.send_status(stream, "status", "NetStream.Seek.Notify", "A live stream can't be seeked, it goes on as it is.")
            }
            Verb::Answer => {}
            Verb::Unknown(name) => {
                tracing::debug!(command = name, "unknown RTMP command");
                self.oddities.note(Oddity::UnknownCommand);
                if transaction != 0.0 {
                    let why = format!("{name}: there is no such command here");
                    let info = command::info("error", "NetConnection.Call.Failed", &why);
                    self.send(kind::COMMAND, 0, 0, command::answer("_error", transaction, vec![Value::Null, info]));
                }
            }
        }
        Ok(())
    }

    fn connect(&mut self, transaction: f64, app: String, tc_url: String, agent: Option<String>, enhanced: bool) {
        if let Err(error) = Target::check_app(&app) {
            let info = command::info("error", "NetConnection.Connect.Rejected", &error.to_string());
            self.send(kind::COMMAND, 0, 0, command::answer("_error", transaction, vec![Value::Null, info]));
            self.closing |= self.streams.is_empty();
            return;
        }
        if self.connected {
            // What is published or played goes on; what begins later belongs to the new app.
            self.oddities.note(Oddity::RepeatedConnect);
        } else {
            self.send_control(kind::WINDOW_ACK_SIZE, &WINDOW.to_be_bytes());
            // Limit type 2, dynamic (RTMP 1.0 section 5.4.5).
            self.send_control(kind::SET_PEER_BANDWIDTH, &[&WINDOW.to_be_bytes()[..], &[2]].concat());
            self.writer.set_chunk_size(CHUNK_SIZE, &mut self.output);
        }
        self.send(kind::COMMAND, 0, 0, command::connected(transaction, enhanced));
        (self.app, self.tc_url, self.agent) = (app, tc_url, agent);
        self.connected = true;
    }

    /// `publish` or `play`: finds out where and asks the owner.
    fn begin(&mut self, id: u32, wants: State, name: &str) {
        self.created_in_a_row = 0;
        let publishes = wants.is_publisher();
        let target = match Target::parse(&self.app, &self.tc_url, name) {
            Ok(target) => target,
            Err(error) => {
                let code = if publishes { "NetStream.Publish.BadName" } else { "NetStream.Play.StreamNotFound" };
                self.oddities.note(Oddity::RefusedStream);
                self.send_status(id, "error", code, &error.to_string());
                self.closing |= self.streams.is_empty();
                return;
            }
        };
        if id == 0 || id > self.streams_created {
            self.oddities.note(Oddity::UnknownMessageStream);
        }
        if target.mended {
            self.oddities.note(Oddity::StreamName);
        }
        let refusal = |code: &'static str, why: String| (if publishes { "NetStream.Publish.Failed" } else { code }, why);
        match self.streams.get(id) {
            Some(stream) if publishes && stream.state == State::Publishing && stream.path == target.path => {
                self.oddities.note(Oddity::RepeatedPublish);
                return self.send_publish_start(id);
            }
            Some(stream) if stream.state.is_publisher() != publishes => {
                let why = format!("message stream {id} is in use the other way round; take another one (createStream)");
                let (code, why) = refusal("NetStream.Play.Failed", why);
                self.oddities.note(Oddity::RefusedStream);
                return self.send_status(id, "error", code, &why);
            }
            _ => {}
        }
        // The same message stream with another name, or the same name on another message stream: the older one ends.
        let replaced: Vec<u32> = self
            .streams
            .iter()
            .filter(|stream| stream.id == id || (publishes && stream.state.is_publisher() && stream.path == target.path))
            .map(|stream| stream.id)
            .collect();
        replaced.into_iter().for_each(|id| self.end_stream(id));
        if !self.streams.begin(id, wants, target.path.clone()) {
            let (code, why) = refusal("NetStream.Play.Failed", format!("one connection carries at most {MAX_ACTIVE} streams at once"));
            self.oddities.note(Oddity::RefusedStream);
            return self.send_status(id, "error", code, &why);
        }
        if !self.streams.is_publishing() {
            // The owner takes its time, and reads nothing meanwhile.
            self.deadline = None;
        }
        self.events.push_back(if publishes { Event::Publish(id, target) } else { Event::Play(id, target) });
    }

    /// The peer is done with a stream. The connection may be used again.
    fn end(&mut self, now: Instant, id: u32) {
        self.end_stream(id);
        if !self.streams.is_publishing() {
            self.reader.set_limits(Limits::STRANGER);
            self.deadline = self.streams.is_empty().then_some(now + self.timeouts.idle);
        }
    }

    fn end_stream(&mut self, id: u32) {
        let Some(ended) = self.streams.end(id) else { return };
        match ended.state {
            State::Publishing => self.send_status(id, "status", "NetStream.Unpublish.Success", "Publication ended."),
            State::Playing => self.send_status(id, "status", "NetStream.Play.Stop", "Playback ended."),
            State::WantsPublish | State::WantsPlay => {}
        }
        self.events.push_back(Event::Ended(id));
    }

    /// The publication that `FCUnpublish` means: by its name, or the only one.
    fn published_as(&self, name: &str) -> Option<u32> {
        let mut publications = self.streams.iter().filter(|stream| stream.state == State::Publishing);
        let only = publications.next().filter(|_| publications.next().is_none()).map(|stream| stream.id);
        let path = Target::parse(&self.app, &self.tc_url, name).ok().map(|target| target.path);
        let named = self.streams.iter().find(|stream| stream.state == State::Publishing && Some(&stream.path) == path.as_ref());
        named.map(|stream| stream.id).or(only)
    }

    fn set_receive(&mut self, id: u32, change: impl FnOnce((bool, bool, bool)) -> (bool, bool, bool)) {
        let meant = self.streams.meant(id);
        let Some(stream) = meant.and_then(|id| self.streams.get_mut(id)) else { return };
        let before = stream.receive;
        stream.receive = change(before);
        if stream.receive != before && stream.state == State::Playing {
            let (audio, video, running) = stream.receive;
            self.events.push_back(Event::Receive { stream: stream.id, audio: audio && running, video: video && running });
        }
    }

    fn answer(&mut self, transaction: f64, values: Vec<Value>) {
        self.send(kind::COMMAND, 0, 0, command::answer("_result", transaction, values));
    }

    /// An answer where one is expected: notifications have the transaction 0.
    fn result(&mut self, transaction: f64, values: Vec<Value>) {
        if transaction != 0.0 {
            self.answer(transaction, values);
        }
    }
}
