//! RTMP's chunk layer (RTMP 1.0 section 5.3): messages cut into chunks, several chunk streams interleaved.
//!
//! In: bytes. Out: whole messages; and the way back. Memory grows with the bytes that came, never with the length that a header
//! declares, and is bounded per message, per connection, and by the number of chunk streams.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

use bytes::Bytes;

pub(crate) use reader::ReaderCounters;
pub use reader::{ChunkReader, Limits};
pub use writer::ChunkWriter;

/// The chunk size both sides begin with (RTMP 1.0 section 5.4.1).
pub(crate) const DEFAULT_CHUNK_SIZE: usize = 128;

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Message type id (RTMP 1.0 sections 5.4 and 7.1).
    pub kind: u8,
    /// Message stream id: 0 for the connection, otherwise as `createStream` gave.
    pub stream: u32,
    /// Milliseconds, modulo 2^32.
    pub timestamp: u32,
    /// The body.
    pub body: Bytes,
}

/// Message type ids by their names in RTMP 1.0 (sections 5.4 and 7.1). Data and commands are in AMF0 where the name says nothing else.
pub mod kind {
    /// Set Chunk Size.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message.
    pub const ABORT: u8 = 2;
    /// Acknowledgement.
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// User Control.
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size.
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// Set Peer Bandwidth.
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// Audio.
    pub const AUDIO: u8 = 8;
    /// Video.
    pub const VIDEO: u8 = 9;
    /// Data, AMF3.
    pub const DATA_AMF3: u8 = 15;
    /// Command, AMF3.
    pub const COMMAND_AMF3: u8 = 17;
    /// Data, AMF0.
    pub const DATA: u8 = 18;
    /// Command, AMF0.
    pub const COMMAND: u8 = 20;
    /// Aggregate: FLV tags in a row.
    pub const AGGREGATE: u8 = 22;
}
