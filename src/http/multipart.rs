//! `multipart/byteranges` (RFC 9110 section 14.6): what stands around several ranges of a file.
//!
//! In: the ranges. Out: the head of each part, the tail, and how long all of it is. The bytes are the caller's.

use std::ops::Range;

use bytes::Bytes;

use crate::base::Lots;

/// See the module.
#[derive(Debug)]
pub(super) struct Multipart {
    /// For the whole answer.
    pub(super) content_type: String,
    /// What comes before the bytes of each part.
    pub(super) heads: Vec<Bytes>,
    /// What comes behind the last.
    pub(super) tail: Bytes,
    /// Of everything.
    pub(super) length: u64,
}

impl Multipart {
    /// Around these ranges of a file of `total` bytes.
    pub(super) fn around(ranges: &[Range<u64>], total: u64, content_type: &str, lots: &Lots) -> Self {
        // Random, so that nobody can write a file that has it.
        let boundary = lots.id();
        let head = |(at, range): (usize, &Range<u64>)| {
            let begin = if at == 0 { "" } else { "\r\n" };
            let (first, last) = (range.start, range.end.saturating_sub(1));
            format!("{begin}--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: bytes {first}-{last}/{total}\r\n\r\n").into()
        };
        let heads: Vec<Bytes> = ranges.iter().enumerate().map(head).collect();
        let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let length = bytes + heads.iter().chain([&tail]).map(|bytes| bytes.len() as u64).sum::<u64>();
        Self { content_type: format!("multipart/byteranges; boundary={boundary}"), heads, tail, length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_by_its_own_rules() {
        let file = b"0123456789";
        let ranges = [7..9, 0..3];
        let multipart = Multipart::around(&ranges, 10, "video/mp4", &Lots::new(crate::base::seeded(1)));
        let mut body = Vec::new();
        for (head, range) in multipart.heads.iter().zip(&ranges) {
            body.extend_from_slice(head);
            body.extend_from_slice(&file[range.start as usize..range.end as usize]);
        }
        body.extend_from_slice(&multipart.tail);
        assert_eq!(body.len() as u64, multipart.length);
        let boundary = multipart.content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let text = String::from_utf8(body).unwrap();
        let parts: Vec<&str> = text.split(&format!("--{boundary}")).collect();
        assert_eq!(parts.len(), 4);
        assert_eq!(parts[1], "\r\nContent-Type: video/mp4\r\nContent-Range: bytes 7-8/10\r\n\r\n78\r\n");
        assert_eq!(parts[2], "\r\nContent-Type: video/mp4\r\nContent-Range: bytes 0-2/10\r\n\r\n012\r\n");
        assert_eq!((parts[0], parts[3]), ("", "--\r\n"));
    }
}
