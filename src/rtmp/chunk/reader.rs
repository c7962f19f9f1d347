//! Chunks in, messages out.

use bytes::{Bytes, BytesMut};

use super::{DEFAULT_CHUNK_SIZE, Message, kind};
use crate::rtmp::error::{Position, Problem, RtmpError};

/// Most chunk streams a peer may use. Encoders use 3 to 6.
const MAX_CHUNK_STREAMS: usize = 64;
/// A chunk can't be longer than the longest message.
const MAX_CHUNK_SIZE: u32 = 0x00FF_FFFF;
/// Basic header 3, message header 11, extended timestamp 4.
const MAX_HEADER_LEN: usize = 18;
/// In the timestamp field: look at the extended timestamp.
const EXTENDED: u32 = 0x00FF_FFFF;
/// Longest of all messages that are not audio or video: a command or its like, see `amf0::MAX_BYTES`. Longer data (metadata with a
/// table of all key frames or a picture in it) and what nobody here reads is skipped.
const MAX_COMMAND_LEN: usize = 64 * 1024;
/// A fmt 0 header's time is also the difference for fmt 3 headers that begin the next messages (RTMP 1.0 section 5.3.1.2.4). Beyond this,
/// in milliseconds, that is taken for no difference: encoders write fmt 3 for a second message of the same moment.
const MAX_REPEATED_TIME: u32 = 10_000;

/// How much may be in assembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest audio, video or aggregate message, in bytes.
    pub media: usize,
    /// All incomplete messages together, in bytes.
    pub total: usize,
}

impl Limits {
    /// Before the peer has a stream: nothing but commands is due.
    pub const STRANGER: Self = Self { media: MAX_COMMAND_LEN, total: 4 * MAX_COMMAND_LEN };
    /// A publisher: a key frame of 8 MiB is a 4K all-intra picture at 2 Gbit/s; twice that for audio and others interleaved in it.
    pub const PUBLISHER: Self = Self { media: 8 << 20, total: 16 << 20 };
}

/// Reassembles messages from chunks, each chunk stream on its own.
#[derive(Debug)]
pub struct ChunkReader {
    limits: Limits,
    chunk_size: usize,
    streams: Vec<ChunkStream>,
    /// Bytes of incomplete messages, over all chunk streams.
    in_assembly: usize,
    state: State,
    header: [u8; MAX_HEADER_LEN],
    header_len: usize,
    /// Bytes taken for an extended timestamp that turned out to be payload.
    replay: [u8; 4],
    replay_len: usize,
    /// Bytes consumed.
    position: u64,
    counters: ReaderCounters,
}

/// What was odd, and read nevertheless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReaderCounters {
    /// Incomplete messages thrown away because the peer aborted them or began another one on the same chunk stream.
    pub abandoned: u64,
    /// Data and unknown messages skipped because they were too long.
    pub oversized: u64,
    /// Chunk streams that began with a header that says neither length nor type.
    pub headless: u64,
    /// Headers without the extended timestamp that they should have repeated.
    pub bare_headers: u64,
    /// Aborts that don't say of what.
    pub short: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Header,
    Payload { stream: usize, left: usize },
}

#[derive(Debug)]
struct ChunkStream {
    csid: u32,
    timestamp: u32,
    /// The last timestamp field, or extended timestamp: absolute after fmt 0, a difference after fmt 1 and 2.
    field: u32,
    /// The last header but fmt 3 was fmt 0: `field` is a time, not a difference.
    absolute: bool,
    extended: bool,
    length: usize,
    kind: u8,
    message_stream: u32,
    assembling: bool,
    /// The message is too long to be kept, though not to be passed over.
    skip: bool,
    /// Bytes of the message that came so far.
    came: usize,
    body: BytesMut,
}

impl ChunkStream {
    /// Throws an incomplete message away; gives the bytes that this frees.
    fn abandon(&mut self) -> usize {
        (self.assembling, self.skip, self.came) = (false, false, 0);
        std::mem::take(&mut self.body).len()
    }

    /// The time of a message that a fmt 3 header begins.
    fn implied_time(&self) -> u32 {
        let repeated = if self.absolute && self.field > MAX_REPEATED_TIME { 0 } else { self.field };
        self.timestamp.wrapping_add(repeated)
    }

    /// The time of a message that a fmt 3 header begins with `value` where the extended timestamp should be; `None` if it isn't one:
    /// some repeat it, some write the message's own time, and some leave it out.
    fn extended_time(&self, value: u32) -> Option<u32> {
        let own_time = (value.wrapping_sub(self.timestamp) as i32).unsigned_abs() <= MAX_REPEATED_TIME;
        if value == self.field { Some(self.implied_time()) } else { own_time.then_some(value) }
    }
}

impl ChunkReader {
    /// At the first byte behind the handshake, of which `position` bytes came before.
    pub fn new(position: u64) -> Self {
        Self {
            limits: Limits::STRANGER,
            chunk_size: DEFAULT_CHUNK_SIZE,
            streams: Vec::new(),
            in_assembly: 0,
            state: State::Header,
            header: [0; MAX_HEADER_LEN],
            header_len: 0,
            replay: [0; 4],
            replay_len: 0,
            position,
            counters: ReaderCounters::default(),
        }
    }

    /// Changes what may be in assembly, for messages that begin from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Bytes consumed so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes held for incomplete messages.
    pub fn in_assembly(&self) -> usize {
        self.in_assembly
    }

    /// What was odd so far.
    pub fn counters(&self) -> ReaderCounters {
        self.counters
    }

    /// Takes bytes off the front of `input` until a message is complete; `None` when `input` is used up. Set Chunk Size and Abort
    /// are obeyed here and not passed on. After an error the connection can't be read any further.
    pub fn next_message(&mut self, input: &mut &[u8]) -> Result<Option<Message>, RtmpError> {
        loop {
            let message = if self.replay_len > 0 {
                let replay = self.replay;
                let mut rest = &replay[..self.replay_len];
                self.replay_len = 0;
                let message = self.advance(&mut rest)?;
                // A replay of four bytes can't lead to another one: that takes a header of at least five.
                self.replay[..rest.len()].copy_from_slice(rest);
                self.replay_len = rest.len();
                message
            } else {
                self.advance(input)?
            };
            match message {
                Some(message) => {
                    if let Some(message) = self.obey(message)? {
                        return Ok(Some(message));
                    }
                }
                None if input.is_empty() && self.replay_len == 0 => return Ok(None),
                None => {}
            }
        }
    }

    /// One step: until a message is complete, or `input` or a header ended.
    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Message>, RtmpError> {
        if let State::Header = self.state
            && !self.read_header(input)?
        {
            return Ok(None);
        }
        if self.replay_len > 0 {
            // The payload begins in what has to be replayed.
            return Ok(None);
        }
        match self.state {
            State::Payload { stream, left } => self.read_payload(stream, left, input),
            State::Header => Ok(None),
        }
    }

    fn error(&self, problem: Problem, message_type: Option<u8>) -> RtmpError {
        problem.at(Position { byte: self.position, message_type })
    }

    /// How long the header at hand is, as far as its bytes tell.
    fn header_need(&self) -> usize {
        if self.header_len == 0 {
            return 1;
        }
        let format = self.header[0] >> 6;
        let basic = match self.header[0] & 0x3F {
            0 => 2,
            1 => 3,
            _ => 1,
        };
        let need = basic + [11, 7, 3, 0][usize::from(format)];
        if self.header_len < need {
            return need;
        }
        let extended = match format {
            3 => self.find(self.csid(basic)).is_some_and(|i| self.streams[i].extended),
            _ => be24(&self.header[basic..]) == EXTENDED,
        };
        need + if extended { 4 } else { 0 }
    }

    fn csid(&self, basic: usize) -> u32 {
        match basic {
            1 => u32::from(self.header[0] & 0x3F),
            2 => 64 + u32::from(self.header[1]),
            // RTMP 1.0 section 5.3.1.1: the third byte counts 256.
            _ => 64 + u32::from(self.header[1]) + 256 * u32::from(self.header[2]),
        }
    }

    fn find(&self, csid: u32) -> Option<usize> {
        self.streams.iter().position(|s| s.csid == csid)
    }

    /// Collects a chunk header and makes its chunk stream ready. True when complete.
    fn read_header(&mut self, input: &mut &[u8]) -> Result<bool, RtmpError> {
        loop {
            let need = self.header_need();
            if self.header_len == need && need > 0 {
                break;
            }
            let n = (need - self.header_len).min(input.len());
            if n == 0 {
                return Ok(false);
            }
            self.header[self.header_len..self.header_len + n].copy_from_slice(&input[..n]);
            self.header_len += n;
            self.position += n as u64;
            *input = &input[n..];
        }
        let format = self.header[0] >> 6;
        let basic = match self.header[0] & 0x3F {
            0 => 2,
            1 => 3,
            _ => 1,
        };
        let csid = self.csid(basic);
        let index = match self.find(csid) {
            Some(index) => index,
            // librtmp begins its control stream with fmt 1, so that is let pass with message stream 0; and fmt 2, as other servers do, with a
            // message of nothing.
            None if format == 3 => return Err(self.error(Problem::NoPreviousChunk { csid, format }, None)),
            None if self.streams.len() == MAX_CHUNK_STREAMS => {
                return Err(self.error(Problem::TooManyChunkStreams { limit: MAX_CHUNK_STREAMS }, None));
            }
            None => {
                self.counters.headless += u64::from(format == 2);
                self.streams.push(ChunkStream {
                    csid,
                    timestamp: 0,
                    field: 0,
                    absolute: false,
                    extended: false,
                    length: 0,
                    kind: 0,
                    message_stream: 0,
                    assembling: false,
                    skip: false,
                    came: 0,
                    body: BytesMut::new(),
                });
                self.streams.len() - 1
            }
        };
        let header = self.header;
        let header_len = std::mem::take(&mut self.header_len);
        let fields = &header[basic..header_len];
        let stream = &mut self.streams[index];
        if format < 3 {
            if stream.assembling {
                // A new message before the last one was complete: the peer gave it up.
                self.in_assembly -= stream.abandon();
                self.counters.abandoned += 1;
            }
            stream.absolute = format == 0;
            stream.field = be24(fields);
            stream.extended = stream.field == EXTENDED;
            if format < 2 {
                stream.length = be24(&fields[3..]) as usize;
                stream.kind = fields[6];
            }
            if format == 0 {
                stream.message_stream = u32::from_le_bytes([fields[7], fields[8], fields[9], fields[10]]);
            }
        }
        let mut begins_at = None;
        if stream.extended {
            let at = header_len - 4;
            let value = u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            if format < 3 {
                stream.field = value;
            } else {
                // On a continuation the extended timestamp is repeated (RTMP 1.0 section 5.3.1.3), but some encoders leave it out. Then
                // these four bytes are payload.
                begins_at = if stream.assembling { None } else { stream.extended_time(value) };
                let known = if stream.assembling { value == stream.field || value == stream.timestamp } else { begins_at.is_some() };
                if !known {
                    self.replay.copy_from_slice(&header[at..header_len]);
                    self.replay_len = 4;
                    self.position -= 4;
                    self.counters.bare_headers += 1;
                }
            }
        }
        if !stream.assembling {
            // fmt 3 begins a new message with the same difference as before (section 5.3.1.2.4).
            stream.timestamp = match format {
                0 => stream.field,
                3 => begins_at.unwrap_or_else(|| stream.implied_time()),
                _ => stream.timestamp.wrapping_add(stream.field),
            };
            let (declared, kind) = (stream.length, stream.kind);
            let limit = match kind {
                kind::AUDIO | kind::VIDEO | kind::AGGREGATE => self.limits.media,
                _ => MAX_COMMAND_LEN,
            };
            stream.skip = declared > limit && can_be_skipped(kind);
            if declared > limit && !stream.skip {
                let before_publishing = self.limits == Limits::STRANGER;
                return Err(self.error(Problem::MessageTooLong { declared, limit, before_publishing }, Some(kind)));
            }
            (stream.assembling, stream.came) = (true, 0);
        }
        let left = (stream.length - stream.came).min(self.chunk_size);
        self.state = State::Payload { stream: index, left };
        Ok(true)
    }

    fn read_payload(&mut self, index: usize, left: usize, input: &mut &[u8]) -> Result<Option<Message>, RtmpError> {
        let n = left.min(input.len());
        let (data, rest) = input.split_at(n);
        *input = rest;
        self.position += n as u64;
        let stream = &mut self.streams[index];
        stream.came += n;
        let complete = stream.came >= stream.length;
        self.state = if complete || n == left { State::Header } else { State::Payload { stream: index, left: left - n } };
        if stream.skip {
            if complete {
                stream.abandon();
                self.counters.oversized += 1;
            }
            return Ok(None);
        }
        let body = if n == stream.length {
            // Most audio frames: whole in one chunk and one read.
            Bytes::copy_from_slice(data)
        } else {
            if self.in_assembly + n > self.limits.total {
                let kind = stream.kind;
                return Err(self.error(Problem::TooMuchInAssembly { limit: self.limits.total }, Some(kind)));
            }
            if stream.body.is_empty() {
                // The rest is in the same read as a rule. What has not come gets no memory.
                stream.body.reserve(stream.length.min(n + rest.len()));
            }
            stream.body.extend_from_slice(data);
            self.in_assembly += n;
            if !complete {
                return Ok(None);
            }
            self.in_assembly -= stream.length;
            std::mem::take(&mut stream.body).freeze()
        };
        stream.assembling = false;
        Ok(Some(Message { kind: stream.kind, stream: stream.message_stream, timestamp: stream.timestamp, body }))
    }

    /// Obeys the messages that are about chunks; gives back the others.
    fn obey(&mut self, message: Message) -> Result<Option<Message>, RtmpError> {
        if !matches!(message.kind, kind::SET_CHUNK_SIZE | kind::ABORT) {
            return Ok(Some(message));
        }
        let Some(value) = message.body.first_chunk::<4>().map(|b| u32::from_be_bytes(*b)) else {
            if message.kind == kind::ABORT {
                self.counters.short += 1;
                return Ok(None);
            }
            return Err(self.error(Problem::ShortMessage { len: message.body.len() }, Some(message.kind)));
        };
        if message.kind == kind::SET_CHUNK_SIZE {
            if value == 0 || value > i32::MAX as u32 {
                return Err(self.error(Problem::BadChunkSize(value), Some(message.kind)));
            }
            self.chunk_size = value.min(MAX_CHUNK_SIZE) as usize;
        } else if let Some(index) = self.find(value) {
            let stream = &mut self.streams[index];
            if stream.assembling {
                self.in_assembly -= stream.abandon();
                self.counters.abandoned += 1;
            }
        }
        Ok(None)
    }
}

/// What may be left out when it is too long: data, and what nobody here reads. Not what the protocol itself needs.
fn can_be_skipped(kind: u8) -> bool {
    let control = kind::SET_CHUNK_SIZE..=kind::SET_PEER_BANDWIDTH;
    let needed = matches!(kind, kind::AUDIO | kind::VIDEO | kind::AGGREGATE | kind::COMMAND | kind::COMMAND_AMF3);
    !needed && !control.contains(&kind)
}

fn be24(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
}
