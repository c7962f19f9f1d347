//! Messages in, chunks out.

use bytes::{BufMut, Bytes, BytesMut};

use super::{DEFAULT_CHUNK_SIZE, Message, kind};

/// Cuts messages into chunks. Every message begins with a full header (fmt 0): 11 bytes more than the tightest form, and players
/// can't lose their place when a message before it was left out.
#[derive(Debug)]
pub struct ChunkWriter {
    chunk_size: usize,
}

impl ChunkWriter {
    /// With the default chunk size.
    pub fn new() -> Self {
        Self { chunk_size: DEFAULT_CHUNK_SIZE }
    }

    /// Writes Set Chunk Size and uses `size` (at least 128) from then on.
    pub fn set_chunk_size(&mut self, size: usize, out: &mut BytesMut) {
        let size = size.clamp(DEFAULT_CHUNK_SIZE, 0x00FF_FFFF);
        let body = Bytes::copy_from_slice(&(size as u32).to_be_bytes());
        self.write(&Message { kind: kind::SET_CHUNK_SIZE, stream: 0, timestamp: 0, body }, out);
        self.chunk_size = size;
    }

    /// Appends `message` to `out`. Bodies are at most 2^24 - 1 bytes; what is beyond would not fit the header and is cut.
    pub fn write(&self, message: &Message, out: &mut BytesMut) {
        let body = &message.body[..message.body.len().min(0x00FF_FFFF)];
        let chunks = body.len().div_ceil(self.chunk_size).max(1);
        out.reserve(16 + body.len() + chunks * 5);
        let csid = csid_for(message.kind);
        let extended = message.timestamp >= 0x00FF_FFFF;
        out.put_u8(csid);
        out.put_uint(u64::from(if extended { 0x00FF_FFFF } else { message.timestamp }), 3);
        out.put_uint(body.len() as u64, 3);
        out.put_u8(message.kind);
        out.put_u32_le(message.stream);
        if extended {
            out.put_u32(message.timestamp);
        }
        for (index, chunk) in body.chunks(self.chunk_size).enumerate() {
            if index > 0 {
                out.put_u8(0xC0 | csid);
                if extended {
                    out.put_u32(message.timestamp);
                }
            }
            out.put_slice(chunk);
        }
    }
}

impl Default for ChunkWriter {
    fn default() -> Self {
        Self::new()
    }
}

/// Protocol control has to be on chunk stream 2 (RTMP 1.0 section 5.4); the others are as servers usually have them.
fn csid_for(kind: u8) -> u8 {
    match kind {
        kind::SET_CHUNK_SIZE..=kind::SET_PEER_BANDWIDTH => 2,
        kind::AUDIO => 4,
        kind::VIDEO => 6,
        kind::DATA => 5,
        _ => 3,
    }
}
