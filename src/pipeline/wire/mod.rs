//! What parent and child send each other.
//!
//! In and out: [`Message`]s, each one or more datagrams on a Unix `SOCK_SEQPACKET` pair, which the child has as its standard input.
//! Numbers are big-endian. The parser takes any bytes: it never panics and never allocates more than came.

mod codec;
mod frame;
mod joiner;

use bytes::Bytes;

pub(crate) use codec::{RtpHead, encode_head, encode_rtp};
pub use codec::{decode, encode, encode_frame};
pub use frame::Assembler;
pub(crate) use frame::{HEADER, MAX_FRAME, MAX_MESSAGE, VERSION, header, split};
pub(crate) use joiner::Joiner;

use crate::base::UnixNanos;
use crate::cmaf::{Chunk, TrackInit};
use crate::codec::Format;
use crate::rtp::batch::RtpBatch;

/// Names a job within one child. Never reused within a child's life.
pub(crate) type JobId = u32;

/// Most inputs (tracks) of a job: one video, and room for more audio than anybody sends.
pub(crate) const MAX_INPUTS: usize = 8;

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// They end too early.
    #[error("the message ends too early")]
    Truncated,
    /// There is more than the message.
    #[error("{0} bytes too many after the message")]
    Trailing(usize),
    /// Another version of the format.
    #[error("wire format version {0}, expected {VERSION}: the program was replaced while running; restart it")]
    Version(u8),
    /// A kind or an enumerated value nobody knows.
    #[error("unknown {what} {value}")]
    Unknown {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u8,
    },
    /// Longer than allowed.
    #[error("{0} bytes are too long")]
    TooLong(usize),
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    NotText,
    /// A frame came that doesn't continue the message before it.
    #[error("frames out of step")]
    OutOfStep,
}

/// How a job's tracks are cut into segments and chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutting {
    /// Segments are at least this long, in ns.
    pub segment: u64,
    /// Chunks are at least 85 % of this, in ns.
    pub part: u64,
    pub first_segment: u64,
    /// Goes into every [`TrackInit`] and [`Chunk`].
    pub epoch: u32,
    /// By [`MediaKind`](crate::base::MediaKind): nothing that was shown before this goes in, it has been cut already by the job before
    /// this one. Sound doesn't end with a picture: one time for both would repeat sound, or drop the key frame with which the next
    /// epoch begins, and its whole GOP.
    pub(crate) not_before: [UnixNanos; 2],
    /// By kind: the decoding time, as it came, of the last unit that the job before this one gave. What is on a grid or was mended lies
    /// elsewhere in each job.
    pub(crate) given: [UnixNanos; 2],
}

/// A job to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// For logs: `live/cam1`.
    pub name: String,
    /// A pipeline as for gst-launch: `appsrc`s named `in_0`, `in_1` …; for each input `n` an `appsink` named `chunks_n` (CMAF) or `units_n`.
    pub description: String,
    /// What comes in, video first.
    pub inputs: Vec<Format>,
    /// Present where chunks are made.
    pub cutting: Option<Cutting>,
    /// Pictures that are known to be held back for reordering, at least (0 where nothing is known).
    pub reorder: u8,
}

/// A track that comes later than its job's others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// As [`Start::description`], of the one input that is next.
    pub description: String,
    /// What comes in.
    pub format: Format,
}

/// Why a job ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The stream can't go on in this pipeline (its format or its timeline changed): build another one at once.
    Discontinuity,
    Broken,
}

/// A message. Those up to `Ping` go to the child, the others to the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Starts a job.
    Start(JobId, Start),
    /// Another track of a job that runs.
    Join(JobId, Join),
    /// RTP packets of one input. A batch too long for one frame is sent as several messages.
    Rtp {
        /// For which job.
        job: JobId,
        /// For which input.
        input: u8,
        /// When they were sent, by the parent's wall clock: the child has none of its own.
        sent: UnixNanos,
        /// The packets.
        batch: RtpBatch,
    },
    /// A viewer of output `output` wants a key frame.
    ForceKeyFrame(JobId, u8),
    /// Ends a job: what is inside comes out, then `Eos`.
    Stop(JobId),
    /// Takes a job away at once, whatever is inside.
    Remove(JobId),
    /// Are you alive?
    Ping(u64),

    /// Yes.
    Pong(u64),
    /// The job runs.
    Started(JobId),
    /// Input `.1` needs a key frame from its publisher.
    KeyFrameRequest(JobId, u8),
    /// A track's initialization.
    Init(JobId, TrackInit),
    /// A chunk, and the decoding time of its last unit as it came (`i64::MIN`: all of it was made here).
    Chunk(JobId, Chunk, UnixNanos),
    /// The format of what comes out of output `.1`.
    FormatOut(JobId, u8, Format),
    /// A derived access unit.
    Unit {
        /// Of which job.
        job: JobId,
        /// Of which output.
        output: u8,
        /// Presentation time.
        pts: UnixNanos,
        /// Decoding time.
        dts: UnixNanos,
        /// Whether decoding can start here.
        key: bool,
        /// The coded bytes.
        data: Bytes,
    },
    /// The job has ended as asked.
    Eos(JobId),
    /// The job has ended by itself.
    Failed {
        /// Which.
        job: JobId,
        /// What to do.
        failure: Failure,
        /// Pictures that turned out to be held back for reordering.
        reorder: u8,
        /// For people.
        text: String,
    },
}

#[cfg(test)]
mod tests;
