//! Cutting messages into datagrams and putting them together again.

use bytes::{Bytes, BytesMut};

use super::WireError;

/// The version in every frame. Parent and child are the same binary; a mismatch means that the binary was replaced under us.
pub(crate) const VERSION: u8 = 2;
/// Most bytes in one datagram. `SOCK_SEQPACKET` keeps message borders, so that a reader can never lose step, but a message must
/// fit the socket buffer (208 KiB by default) and takes one kernel allocation; 60 KiB stays far below both.
pub(crate) const MAX_FRAME: usize = 60 * 1024;
/// Longest message. A chunk of 2 s at 60 Mbit/s is 15 MB.
pub(crate) const MAX_MESSAGE: usize = 32 * 1024 * 1024;
/// Version, flags, two bytes reserved; in the first frame of several, the message's length instead of nothing.
pub(crate) const HEADER: usize = 8;

const FLAG_FIRST: u8 = 1;
const FLAG_LAST: u8 = 2;

/// The header of a frame whose message has `total` bytes.
pub(crate) fn header(first: bool, last: bool, total: usize) -> [u8; HEADER] {
    let flags = if first { FLAG_FIRST } else { 0 } | if last { FLAG_LAST } else { 0 };
    let [a, b, c, d] = (total as u32).to_be_bytes();
    [VERSION, flags, 0, 0, a, b, c, d]
}

/// The frames of a message that lies in two pieces: for each its header and its part of both.
pub(crate) fn split<'a>(head: &'a [u8], rest: &'a [u8]) -> impl Iterator<Item = ([u8; HEADER], &'a [u8], &'a [u8])> {
    const ROOM: usize = MAX_FRAME - HEADER;
    let total = head.len() + rest.len();
    let part = |piece: &'a [u8], from: usize, to: usize| piece.get(from.min(piece.len())..to.min(piece.len())).unwrap_or_default();
    (0..total).step_by(ROOM).map(move |from| {
        let to = (from + ROOM).min(total);
        let of_rest = part(rest, from.saturating_sub(head.len()), to.saturating_sub(head.len()));
        (header(from == 0, to == total, total), part(head, from, to), of_rest)
    })
}

/// Puts frames together. The frames of a message follow each other without others in between.
#[derive(Debug, Default)]
pub struct Assembler {
    pending: BytesMut,
    total: usize,
}

impl Assembler {
    /// Takes a frame; gives the message when it is complete.
    pub fn push(&mut self, frame: &[u8]) -> Result<Option<Bytes>, WireError> {
        let (head, part) = frame.split_at_checked(HEADER).ok_or(WireError::Truncated)?;
        if head[0] != VERSION {
            return Err(WireError::Version(head[0]));
        }
        let first = head[1] & FLAG_FIRST != 0;
        let last = head[1] & FLAG_LAST != 0;
        let total = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if total > MAX_MESSAGE || frame.len() > MAX_FRAME {
            return Err(WireError::TooLong(total));
        }
        if first != (self.total == 0) || (!first && total != self.total) || total == 0 {
            return Err(WireError::OutOfStep);
        }
        if first && last {
            return if part.len() == total { Ok(Some(Bytes::copy_from_slice(part))) } else { Err(WireError::OutOfStep) };
        }
        self.total = total;
        if self.pending.len() + part.len() > total {
            return Err(WireError::OutOfStep);
        }
        if first {
            // The length is the sender's word: memory follows what really comes.
            self.pending.reserve(total.min(4 * MAX_FRAME));
        }
        self.pending.extend_from_slice(part);
        if !last {
            return Ok(None);
        }
        if self.pending.len() != total {
            return Err(WireError::OutOfStep);
        }
        self.total = 0;
        Ok(Some(self.pending.split().freeze()))
    }
}
