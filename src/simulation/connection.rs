//! A connection: an encoder, and the server's side of it.
//!
//! In: time. Out: publications, and what they are given. The glue is that of `rtmp/driver/connection.rs`: bytes into the session in
//! pieces of any size, its events to publications, the answers back.

use std::time::Duration;

use super::client::Client;
use super::faults::Plant;
use super::publication::{Answer, Publication, Who};
use super::publisher::{Numbers, Publisher};
use super::random::Random;
use super::server::Server;
use crate::base::UnixNanos;
use crate::rtmp::session::{Event, ServerSession, SessionTimeouts};

/// As the configuration has them by default.
const TIMEOUTS: SessionTimeouts = SessionTimeouts { handshake: Duration::from_secs(5), idle: Duration::from_secs(10) };
/// As `rtmp/driver/connection.rs` has it.
const READ_BUFFER: usize = 32 * 1024;

/// Waits for the answer about a message stream.
#[derive(Debug, Clone, Copy)]
struct Asking {
    stream: u32,
    since: UnixNanos,
    /// When to ask again.
    again: i64,
}

/// An encoder's connection.
pub(super) struct Connection {
    client: Client,
    random: Random,
    /// Largest piece that a read brings.
    piece: usize,
    session: Option<ServerSession>,
    publications: Vec<(u32, Publication)>,
    asking: Option<Asking>,
    unread_until: i64,
    over: bool,
}

impl Connection {
    pub(super) fn new(mut random: Random, plant: Option<Plant>) -> Self {
        let piece = random.pick(&[13, 150, 1460, READ_BUFFER, READ_BUFFER, READ_BUFFER]);
        let client = Client::new(random.fork(), plant);
        Self { client, random, piece, session: None, publications: Vec::new(), asking: None, unread_until: 0, over: false }
    }

    /// The encoder will publish this, too.
    pub(super) fn add(&mut self, index: usize, path: usize, begins_at: i64, publisher: Publisher) {
        self.client.add(index, path, begins_at, publisher);
    }

    /// What it has not begun to publish; with the connection gone it takes another one.
    pub(super) fn take_waiting(&mut self) -> Vec<(usize, usize, i64, Publisher)> {
        if self.over { self.client.take_waiting() } else { Vec::new() }
    }

    /// Whether all that is sent on it is sent in real time and is the truth.
    pub(super) fn is_honest(&self) -> bool {
        self.client.is_honest()
    }

    /// Lets the encoder send what is due, and the server read it.
    pub(super) fn turn(&mut self, server: &mut Server, numbers: &mut Numbers) {
        if self.over {
            return;
        }
        self.client.turn(server.now, numbers);
        if self.session.is_none() {
            if self.client.sent.bytes.is_empty() {
                return;
            }
            self.session = Some(ServerSession::new(server.at(), TIMEOUTS));
        }
        if let Err(why) = self.serve(server) {
            self.end(server, &why);
        }
        for what in std::mem::take(&mut self.client.broken) {
            server.fail(what);
        }
    }

    /// What the driver does until nothing is left to do now.
    fn serve(&mut self, server: &mut Server) -> Result<(), String> {
        self.evict(server);
        loop {
            if server.now < self.unread_until {
                return Ok(());
            }
            self.handle_events(server)?;
            self.answer()?;
            if server.now < self.unread_until {
                return Ok(());
            }
            if !self.read(server)? {
                break;
            }
        }
        let Some(session) = &mut self.session else { return Ok(()) };
        let at = server.at();
        if self.asking.is_none() && session.poll_timeout().is_some_and(|due| due <= at) {
            session.handle_timeout(at).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn evict(&mut self, server: &mut Server) {
        let due: Vec<(u32, &'static str)> =
            self.publications.iter().filter_map(|(stream, publication)| Some((*stream, publication.must_go(server)?))).collect();
        for (stream, why) in due {
            self.finish(server, stream, why);
        }
    }

    /// A publication ends because the server wants it to.
    fn finish(&mut self, server: &mut Server, stream: u32, why: &str) {
        if let Some(session) = &mut self.session {
            session.finish_stream(stream, why);
        }
        self.free(server, stream, true, why);
    }

    fn free(&mut self, server: &mut Server, stream: u32, cut: bool, why: &str) {
        if let Some(at) = self.publications.iter().position(|(other, _)| *other == stream) {
            self.client.came_to_end(stream, cut);
            self.publications.remove(at).1.end(server, why);
        }
    }

    /// Sends what the session answers; an error where it was the last word.
    fn answer(&mut self) -> Result<(), String> {
        let Some(session) = &mut self.session else { return Ok(()) };
        while let Some(output) = session.poll_output() {
            self.client.read(&output);
        }
        if session.is_closing() { Err("the server closes it".into()) } else { Ok(()) }
    }

    /// One read. False where there is nothing to read, or nothing may be read.
    fn read(&mut self, server: &mut Server) -> Result<bool, String> {
        let Some(session) = &mut self.session else { return Ok(false) };
        // Other streams of this connection don't wait for the one that is decided.
        let room = if self.asking.is_some() { session.room() } else { usize::MAX };
        let sent = &mut self.client.sent;
        let least = if self.piece == READ_BUFFER { READ_BUFFER as i64 } else { 1 };
        let len = (self.random.range(least, self.piece as i64 + 1) as usize).min(room).min(sent.bytes.len());
        if len == 0 {
            return if sent.closed && sent.bytes.is_empty() { Err("the peer closed the connection".into()) } else { Ok(false) };
        }
        let bytes: Vec<u8> = sent.bytes.drain(..len).collect();
        match session.handle_input(server.at(), &bytes) {
            Ok(()) => Ok(true),
            Err(error) => {
                server.fail(format!("the session can't go on: {error}"));
                Err(error.to_string())
            }
        }
    }

    fn handle_events(&mut self, server: &mut Server) -> Result<(), String> {
        if let Some(asking) = self.asking {
            if server.now < asking.again {
                return Ok(());
            }
            self.ask(server, asking)?;
        }
        while self.asking.is_none() && server.now >= self.unread_until {
            let Some(event) = self.session.as_mut().and_then(ServerSession::poll_event) else { break };
            match event {
                Event::Media(stream, media) => {
                    let Some((_, publication)) = self.publications.iter_mut().find(|(other, _)| *other == stream) else { continue };
                    self.client.came_out(stream, &media);
                    match publication.handle(server, &media, self.client.is_honest()) {
                        Some(wait) if wait.is_zero() => {}
                        Some(wait) => {
                            self.unread_until = server.now + wait.as_nanos() as i64;
                            if let Some(session) = &mut self.session {
                                session.touch(server.at() + wait);
                            }
                        }
                        None => self.finish(server, stream, "it can't go on"),
                    }
                }
                Event::Metadata(stream, metadata) => {
                    if let Some((_, publication)) = self.publications.iter_mut().find(|(other, _)| *other == stream) {
                        publication.metadata(server, &metadata);
                    }
                }
                Event::Publish(stream, target) => {
                    let (_, path) = self.client.who(stream);
                    if target.path.as_str() != format!("live/cam{path}") {
                        server.fail(format!("message stream {stream} wanted live/cam{path}, not {}", target.path));
                    }
                    self.ask(server, Asking { stream, since: server.wall(), again: 0 })?;
                }
                Event::Ended(stream) => self.free(server, stream, false, "the peer ended it"),
                Event::Play(..) | Event::Receive { .. } => server.fail("nobody wanted to play".into()),
            }
        }
        Ok(())
    }

    /// Asks whether it may publish.
    fn ask(&mut self, server: &mut Server, asking: Asking) -> Result<(), String> {
        let Asking { stream, since, .. } = asking;
        let ((index, path), honest) = (self.client.who(stream), self.client.is_honest());
        let patient = self.publications.is_empty();
        let answer = Publication::ask(server, Who { index, path, honest, since: patient.then_some(since) });
        let (now, at) = (server.now, server.at());
        let Some(session) = &mut self.session else { return Ok(()) };
        self.asking = None;
        match answer {
            Answer::Begun(publication) => {
                self.publications.push((stream, *publication));
                session.accept_publish(at, stream).map_err(|error| error.to_string())?;
                self.answer()?;
                if !self.client.is_told(stream) {
                    server.fail(format!("message stream {stream} may publish, and nobody told the encoder"));
                }
            }
            Answer::Hold(wait) => self.asking = Some(Asking { again: now + wait.as_nanos() as i64, ..asking }),
            Answer::Refused => {
                self.client.came_to_end(stream, true);
                let refused = session.reject_publish(at, stream, "NetStream.Publish.BadName", "somebody publishes there");
                refused.map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// The connection is over, and with it all that it publishes.
    pub(super) fn end(&mut self, server: &mut Server, why: &str) {
        if let Some(session) = &mut self.session {
            while let Some(output) = session.poll_output() {
                self.client.read(&output);
            }
        }
        // Whatever was read has come out, unless events were waiting.
        let cut = server.now < self.unread_until || !self.client.sent.bytes.is_empty();
        let streams: Vec<u32> = self.publications.iter().map(|(stream, _)| *stream).collect();
        for stream in streams {
            self.free(server, stream, cut, why);
        }
        self.over = true;
    }
}
