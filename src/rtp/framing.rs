//! The framing that carries datagrams in a TCP stream: two bytes of length before each (RFC 4571).
//!
//! In: bytes of a stream; datagrams. Out: whole datagrams; framed bytes to send.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest frame taken: SRTP, DTLS and STUN stay below 1500 bytes, data channels may fill a little more.
pub(crate) const MAX_FRAME: usize = 8 * 1024;
/// Most bytes waiting for a slow receiver. Media older than this (half a second at 8 Mbit/s) is of no use: new frames are dropped.
const MAX_PENDING: usize = 512 * 1024;

/// Why a stream can't be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FrameError {
    /// A frame longer than [`MAX_FRAME`]: this is not ICE-TCP, or the stream is out of step.
    #[error("a frame of {0} bytes was announced on an ICE-TCP connection; {MAX_FRAME} is the most that is taken")]
    TooLong(usize),
}

/// Takes datagrams out of a stream. Holds at most one frame and what was read with it.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
}

impl FrameReader {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Where to read the stream into (`AsyncReadExt::read_buf`): never holds more than one frame beyond what
    /// [`Self::next_frame`] has returned, if that is called until `None` after each read of up to [`MAX_FRAME`] bytes.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(MAX_FRAME);
        &mut self.buffer
    }

    /// Adds bytes of the stream.
    #[cfg(test)]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole datagram. Empty frames are left out.
    ///
    /// # Errors
    /// See [`FrameError`]; the connection is to be closed.
    pub(crate) fn next_frame(&mut self) -> Result<Option<BytesMut>, FrameError> {
        loop {
            let Some(header) = self.buffer.first_chunk::<2>() else { return Ok(None) };
            let length = usize::from(u16::from_be_bytes(*header));
            if length > MAX_FRAME {
                return Err(FrameError::TooLong(length));
            }
            if self.buffer.len() < 2 + length {
                return Ok(None);
            }
            self.buffer.advance(2);
            if length > 0 {
                return Ok(Some(self.buffer.split_to(length)));
            }
        }
    }
}

/// Frames datagrams for a stream, and holds what the connection has no room for yet, within a bound.
#[derive(Debug, Default)]
pub(crate) struct FrameWriter {
    pending: BytesMut,
    dropped: u64,
}

impl FrameWriter {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a datagram. False if it was dropped: longer than [`MAX_FRAME`], or the receiver is too slow.
    pub(crate) fn push(&mut self, datagram: &[u8]) -> bool {
        let fits = datagram.len() <= MAX_FRAME && self.pending.len() + 2 + datagram.len() <= MAX_PENDING;
        if fits {
            self.pending.put_u16(datagram.len() as u16);
            self.pending.put_slice(datagram);
        } else {
            self.dropped += 1;
        }
        fits
    }

    /// What is to be written next; tell by [`Self::advance`] how much was. Or give the buffer to `write_buf`.
    #[cfg(test)]
    pub(crate) fn pending(&mut self) -> &mut BytesMut {
        &mut self.pending
    }

    /// Takes everything at once.
    pub(crate) fn take(&mut self) -> Bytes {
        self.pending.split().freeze()
    }

    /// `count` bytes were written.
    #[cfg(test)]
    pub(crate) fn advance(&mut self, count: usize) {
        self.pending.advance(count.min(self.pending.len()));
    }

    /// How many datagrams were dropped.
    #[cfg(test)]
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn too_long_frames_end_the_stream() {
        let mut reader = FrameReader::new();
        reader.push(&[0x20, 0x01]);
        assert_eq!(reader.next_frame(), Err(FrameError::TooLong(8193)));
    }

    #[test]
    fn a_slow_receiver_is_bounded() {
        let mut writer = FrameWriter::new();
        let taken = (0..10_000).filter(|_| writer.push(&[0; 1200])).count();
        assert_eq!(taken, MAX_PENDING / 1202);
        assert_eq!(writer.dropped(), 10_000 - taken as u64);
        assert!(writer.pending().len() <= MAX_PENDING);
        writer.advance(1202);
        assert!(writer.push(&[0; 1200]) && !writer.push(&[0; MAX_FRAME + 1]));
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
            cut in 1_usize..50,
        ) {
            let mut writer = FrameWriter::new();
            frames.iter().for_each(|frame| { writer.push(frame); });
            let mut reader = FrameReader::new();
            let mut got = vec![];
            for chunk in writer.take().chunks(cut) {
                reader.push(chunk);
                while let Some(frame) = reader.next_frame().unwrap() { got.push(frame.to_vec()); }
            }
            prop_assert_eq!(got, frames.into_iter().filter(|frame| !frame.is_empty()).collect::<Vec<_>>());
        }

        #[test]
        fn garbage_never_panics_and_is_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            let mut reader = FrameReader::new();
            for chunk in bytes.chunks(1000) {
                reader.push(chunk);
                loop {
                    match reader.next_frame() {
                        Ok(Some(frame)) => prop_assert!(frame.len() <= MAX_FRAME),
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                }
                prop_assert!(reader.buffer.len() <= MAX_FRAME + 1002);
            }
        }
    }
}
