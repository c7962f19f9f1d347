//! Why an RTMP connection ends.
//!
//! In: what a part found wrong. Out: an error that also says where in the connection it was: after how many bytes, and in which
//! message.

use std::time::Duration;

use rml_rtmp::handshake::HandshakeError;

/// Where in a connection something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Bytes received before it, the handshake counted.
    pub byte: u64,
    /// The type id of the message it was in (RTMP 1.0 section 6), once known.
    pub message_type: Option<u8>,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at byte {}", self.byte)?;
        match self.message_type {
            Some(id) => write!(f, " in message type {id}"),
            None => Ok(()),
        }
    }
}

/// An error with its position.
#[derive(Debug, thiserror::Error)]
#[error("{problem} ({at})")]
pub struct RtmpError {
    pub at: Position,
    #[source]
    pub problem: Problem,
}

/// What was wrong with a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The first byte is not RTMP version 3.
    #[error("the peer does not speak RTMP: it began with {first:#04x} instead of 0x03{}", hint(*.first))]
    NotRtmp {
        /// The byte that came.
        first: u8,
    },
    /// The handshake library refused.
    #[error("the handshake failed: {0}")]
    Handshake(#[from] HandshakeError),
    /// Something did not come in time.
    #[error("nothing came for {after:?} while waiting for {waiting_for}")]
    Timeout { after: Duration, waiting_for: &'static str },
    /// A chunk with a compressed header came first on its chunk stream, so there is nothing to complete it from.
    #[error("chunk stream {csid} begins with a header of type {format}, which refers to a chunk that never came")]
    NoPreviousChunk {
        /// The chunk stream.
        csid: u32,
        /// `fmt`, 2 or 3.
        format: u8,
    },
    /// More chunk streams than any encoder uses.
    #[error("more than {limit} chunk streams")]
    TooManyChunkStreams { limit: usize },
    /// A message declares more than is allowed.
    #[error("a message declares {declared} bytes; at most {limit} are allowed{}", if *.before_publishing { " before publishing" } else { "" })]
    MessageTooLong {
        /// What the header says.
        declared: usize,
        limit: usize,
        /// Whether the limit is the lower one for peers that have no stream yet.
        before_publishing: bool,
    },
    /// All the incomplete messages together are too long.
    #[error("more than {limit} bytes of incomplete messages")]
    TooMuchInAssembly { limit: usize },
    /// Set Chunk Size with 0 or with the highest bit set (RTMP 1.0 section 5.4.1).
    #[error("a chunk size of {0} is not allowed")]
    BadChunkSize(u32),
    /// Set Chunk Size without a whole number: where chunks end from now on is not known.
    #[error("Set Chunk Size has {len} bytes, too few to say where chunks end from now on")]
    ShortMessage { len: usize },
    /// A command or data message is not AMF0, or is beyond its bounds.
    #[error("bad AMF0: {0}")]
    Amf(#[from] super::amf0::AmfError),
    #[error("bad command {name:?}: connect has to come first")]
    NotConnected { name: String },
    #[error("bad command \"createStream\": too many message streams that nothing is done with")]
    TooManyMessageStreams,
}

/// What the first byte says about who connects.
fn hint(first: u8) -> &'static str {
    match first {
        0x16 => " (that is TLS: use rtmp://, not rtmps://, on this port)",
        0x06 | 0x08 => " (that is encrypted RTMPE, which is not supported: use rtmp://)",
        b'P' => " (that looks like HTTP, or like RTMP in HTTP (RTMPT), which is not supported: use rtmp:// on this port)",
        b'G' | b'H' | b'O' | b'D' => " (that looks like HTTP: this is the RTMP port)",
        _ => "",
    }
}

impl Problem {
    /// Puts a problem in its place.
    pub fn at(self, at: Position) -> RtmpError {
        RtmpError { at, problem: self }
    }
}
