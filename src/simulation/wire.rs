//! What an encoder writes on the wire: RTMP's chunks, as irregular as they may be.
//!
//! In: messages. Out: bytes, and the order in which the messages are whole. It shares nothing with the server's reader or writer.

use std::collections::VecDeque;

use super::random::Random;
use crate::rtmp::chunk::{Message, kind};

/// Chunk sizes that encoders announce, and some that nobody would.
const CHUNK_SIZES: [usize; 12] = [1, 7, 64, 127, 128, 129, 333, 1000, 4096, 4097, 60_000, 65_536];
/// In the timestamp field: look at the extended timestamp.
const EXTENDED: u32 = 0x00FF_FFFF;
/// A time of more than this in a header of type 0 is no difference for headers of type 3 that begin messages.
const MAX_REPEATED_TIME: u32 = 10_000;

/// What stands behind a header of type 3 where the one before it had an extended timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extended {
    /// The same (RTMP 1.0 section 5.3.1.3).
    Repeated,
    /// The message's own time.
    Own,
    /// Nothing.
    LeftOut,
}

/// How an encoder writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    /// Before how many chunks in a thousand another chunk size is set, also within a message.
    pub resizes: u64,
    /// Headers are as short as they can be; else all of type 0.
    pub compresses: bool,
    pub extended: Extended,
    /// Chunks of messages on several chunk streams go through each other.
    pub interleaves: bool,
    /// Chunk streams of sound, of pictures, and of all else.
    pub chunk_streams: [u32; 3],
    /// How many tags in a hundred begin an aggregate, where there are several.
    pub aggregates: u64,
}

impl Habits {
    /// A third writes as OBS does.
    pub(super) fn new(random: &mut Random) -> Self {
        if random.chance(33) {
            let chunk_streams = [4, 4, 3];
            return Self { resizes: 0, compresses: true, extended: Extended::Repeated, interleaves: false, chunk_streams, aggregates: 0 };
        }
        Self {
            resizes: random.pick(&[0, 0, 1, 20]),
            compresses: random.chance(80),
            extended: random.pick(&[Extended::Repeated, Extended::Own, Extended::LeftOut]),
            interleaves: random.chance(50),
            chunk_streams: random.pick(&[[4, 6, 3], [4, 4, 3], [63, 64, 8], [319, 320, 5], [65_599, 4, 3], [7, 9, 70]]),
            aggregates: random.pick(&[0, 0, 10, 60]),
        }
    }
}

/// What the last header on a chunk stream said.
#[derive(Debug, Clone, Copy)]
struct Last {
    csid: u32,
    stream: u32,
    kind: u8,
    len: usize,
    timestamp: u32,
    field: u32,
    absolute: bool,
}

/// A message of which some chunks are written.
#[derive(Debug)]
struct Begun {
    index: usize,
    message: Message,
    sent: usize,
}

/// Writes one connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub habits: Habits,
    random: Random,
    loses: bool,
    chunk_size: usize,
    last: Vec<Last>,
    out: Vec<u8>,
}

impl Wire {
    /// `loses`: a byte behind each header of type 3 with an extended timestamp.
    pub(super) fn new(habits: Habits, random: Random, loses: bool) -> Self {
        Self { habits, random, loses, chunk_size: 128, last: Vec::new(), out: Vec::new() }
    }

    /// Bytes that were written.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Writes them all; says in which order they are whole.
    pub(super) fn write(&mut self, messages: Vec<Message>) -> Vec<usize> {
        let mut queues: Vec<(u32, VecDeque<Begun>)> = Vec::new();
        for (index, message) in messages.into_iter().enumerate() {
            let csid = self.csid(message.kind);
            let begun = Begun { index, message, sent: 0 };
            // In one queue they stay in order.
            match queues.iter_mut().find(|(other, _)| *other == csid || !self.habits.interleaves) {
                Some((_, queue)) => queue.push_back(begun),
                None => queues.push((csid, VecDeque::from([begun]))),
            }
        }
        let mut whole = Vec::new();
        while !queues.is_empty() {
            if self.random.next() % 1000 < self.habits.resizes {
                let size = self.random.pick(&CHUNK_SIZES);
                self.resize(size);
            }
            let at = self.random.next() as usize % queues.len();
            let queue = &mut queues[at].1;
            let Some(begun) = queue.front_mut() else { break };
            if self.chunk(begun) {
                whole.extend(queue.pop_front().map(|begun| begun.index));
            }
            queues.retain(|(_, queue)| !queue.is_empty());
        }
        whole
    }

    /// Sets the chunk size.
    pub(super) fn resize(&mut self, size: usize) {
        let body = (size as u32).to_be_bytes().to_vec().into();
        let mut begun = Begun { index: 0, message: Message { kind: kind::SET_CHUNK_SIZE, stream: 0, timestamp: 0, body }, sent: 0 };
        while !self.chunk(&mut begun) {}
        self.chunk_size = size;
    }

    fn csid(&self, kind: u8) -> u32 {
        let [sound, pictures, others] = self.habits.chunk_streams;
        match kind {
            kind::SET_CHUNK_SIZE..=kind::SET_PEER_BANDWIDTH => 2,
            kind::AUDIO => sound,
            kind::VIDEO | kind::AGGREGATE => pictures,
            _ => others,
        }
    }

    /// Writes one chunk. True where the message is whole with it.
    fn chunk(&mut self, begun: &mut Begun) -> bool {
        let csid = self.csid(begun.message.kind);
        if begun.sent == 0 {
            self.begin(csid, &begun.message)
        } else {
            self.go_on(csid, &begun.message)
        }
        let end = (begun.sent + self.chunk_size).min(begun.message.body.len());
        self.out.extend(&begun.message.body[begun.sent..end]);
        begun.sent = end;
        end == begun.message.body.len()
    }

    fn basic(&mut self, format: u8, csid: u32) {
        match csid {
            0..64 => self.out.push(format << 6 | csid as u8),
            64..320 => self.out.extend([format << 6, (csid - 64) as u8]),
            _ => self.out.extend([format << 6 | 1, (csid - 64) as u8, ((csid - 64) >> 8) as u8]),
        }
    }

    fn begin(&mut self, csid: u32, message: &Message) {
        let before = self.last.iter().position(|last| last.csid == csid).map(|at| self.last.swap_remove(at));
        let (len, time) = (message.body.len(), message.timestamp);
        let usable = before.filter(|last| self.habits.compresses && last.stream == message.stream);
        let (format, field, absolute) = match usable {
            None => (0, time, true),
            Some(last) => {
                let difference = time.wrapping_sub(last.timestamp);
                let same = last.len == len && last.kind == message.kind;
                let implied = if last.absolute && last.field > MAX_REPEATED_TIME { 0 } else { last.field };
                let own = last.field >= EXTENDED && last.absolute && self.habits.extended == Extended::Own;
                // Others than differences of a whole day go on as they are.
                let follows = if own { difference <= MAX_REPEATED_TIME } else { difference == implied && implied < EXTENDED };
                if same && follows {
                    (3, last.field, last.absolute)
                } else if (difference as i32) < 0 && self.random.chance(50) {
                    (0, time, true)
                } else {
                    (if same { 2 } else { 1 }, difference, false)
                }
            }
        };
        self.basic(format, csid);
        if format < 3 {
            self.out.extend(&field.min(EXTENDED).to_be_bytes()[1..]);
        }
        if format < 2 {
            self.out.extend(&(len as u32).to_be_bytes()[1..]);
            self.out.push(message.kind);
        }
        if format == 0 {
            self.out.extend(message.stream.to_le_bytes());
        }
        self.last.push(Last { csid, stream: message.stream, kind: message.kind, len, timestamp: time, field, absolute });
        if format < 3 && field >= EXTENDED {
            self.out.extend(field.to_be_bytes());
        } else if format == 3 {
            self.extend(field, time);
        }
    }

    fn go_on(&mut self, csid: u32, message: &Message) {
        self.basic(3, csid);
        let field = self.last.iter().find(|last| last.csid == csid).map_or(0, |last| last.field);
        self.extend(field, message.timestamp);
    }

    /// The extended timestamp behind a header of type 3.
    fn extend(&mut self, field: u32, time: u32) {
        match self.habits.extended {
            _ if field < EXTENDED => {}
            Extended::Repeated if self.loses => self.out.extend(&field.to_be_bytes()[1..]),
            Extended::Repeated => self.out.extend(field.to_be_bytes()),
            Extended::Own => self.out.extend(time.to_be_bytes()),
            Extended::LeftOut => {}
        }
    }
}
