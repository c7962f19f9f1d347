//! What an HTTP server asks and answers, without HTTP.
//!
//! In: method, name and the conditional headers as text. Out: status, headers and a body that is read block by block.
//! RFC 9110 sections 13 and 14.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::cmaf::Piece;

use super::error::RecordError;
use super::id::RecordingId;
use super::mp4::Mp4;
use super::store::{Store, StoredFile};

/// Bytes per block of a body: large enough that reading is not the bottleneck, small enough for a thousand downloads at once.
pub const BLOCK: usize = 256 * 1024;

/// Track files that a download keeps open: it goes back and forth between the tracks, epoch after epoch.
const OPEN_FILES: usize = 4;

/// A request below `/vod/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VodRequest {
    /// What follows `/vod/`, such as `<id>.mp4` or `<id>/index.m3u8`, percent-decoded.
    pub path: String,
    /// `Range`.
    pub range: Option<String>,
    /// `If-Range`.
    pub if_range: Option<String>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
    /// What goes behind every URI in playlists and manifests, such as `?token=x`; empty for nothing.
    pub query: String,
}

/// What to answer. With `HEAD` leave out the body; everything else stays.
#[derive(Debug)]
pub struct VodResponse {
    /// 200, 206, 304 or 416.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Content-Length`.
    pub content_length: u64,
    /// `Content-Range` of 206 and 416.
    pub content_range: Option<String>,
    /// Whether to say `Accept-Ranges: bytes`.
    pub accept_ranges: bool,
    /// `ETag`, quotes included.
    pub etag: Option<String>,
    /// `Cache-Control`.
    pub cache_control: &'static str,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// The bytes; empty for 304 and 416.
    pub body: VodBody,
}

/// The bytes of a response.
#[derive(Debug)]
pub enum VodBody {
    /// In memory.
    Bytes(Bytes),
    /// On disk, to be read block by block ([`super::driver::body_stream`]).
    File(VodReader),
}

/// Where the bytes of a [`VodReader`] come from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Mp4(Arc<Mp4>),
    File(String, u64),
}

/// Reads a range of a recording, [`BLOCK`] bytes at a time. Blocking.
#[derive(Debug)]
pub struct VodReader {
    store: Store,
    id: RecordingId,
    source: Source,
    left: Range<u64>,
    open: VecDeque<(String, StoredFile)>,
}

impl VodReader {
    pub(super) fn new(store: Store, id: RecordingId, source: Source, range: Range<u64>) -> Self {
        Self { store, id, source, left: range, open: VecDeque::new() }
    }

    /// Bytes still to come.
    pub fn remaining(&self) -> u64 {
        self.left.end.saturating_sub(self.left.start)
    }

    /// The next block; `None` at the end.
    ///
    /// # Errors
    /// When a file can't be read or is shorter than its index says; the rest is lost then.
    pub fn next_block(&mut self) -> Result<Option<Bytes>, RecordError> {
        let mut out = BytesMut::new();
        while out.len() < BLOCK {
            let max = (BLOCK - out.len()) as u32;
            let piece = match &self.source {
                Source::Mp4(mp4) => mp4.layout.piece(self.left.clone(), max),
                Source::File(_, base) => (self.remaining() > 0).then(|| Piece::File {
                    track: 0,
                    file: 0,
                    offset: base + self.left.start,
                    len: self.remaining().min(u64::from(max)) as u32,
                }),
            };
            let bytes = match piece {
                None => break,
                Some(Piece::Header(bytes)) => bytes,
                Some(Piece::File { track, file, offset, len }) => {
                    let name = match &self.source {
                        Source::Mp4(mp4) => mp4.file(track, file).unwrap_or_default().to_owned(),
                        Source::File(name, _) => name.clone(),
                    };
                    let bytes = self.file(&name)?.read(offset, len as usize)?;
                    if bytes.len() < len as usize {
                        return Err(RecordError::Damaged("a track file is shorter than its index says"));
                    }
                    Bytes::from(bytes)
                }
            };
            self.left.start += bytes.len() as u64;
            if out.is_empty() && (bytes.len() == BLOCK || self.remaining() == 0) {
                return Ok(Some(bytes));
            }
            out.extend_from_slice(&bytes);
        }
        Ok((!out.is_empty()).then(|| out.freeze()))
    }

    fn file(&mut self, name: &str) -> Result<&StoredFile, RecordError> {
        match self.open.iter().position(|(open, _)| open == name) {
            Some(at) => {
                if let Some(found) = self.open.remove(at) {
                    self.open.push_front(found);
                }
            }
            None => {
                self.open.truncate(OPEN_FILES - 1);
                self.open.push_front((name.to_owned(), self.store.open(&self.id, name)?));
            }
        }
        self.open.front().map(|(_, file)| file).ok_or(RecordError::NotFound)
    }
}

/// What a `Range` header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything: no range, one of another unit, several (which a server may ignore), or nonsense.
    Whole,
    /// One range.
    Part(Range<u64>),
    /// One that begins behind the end.
    Unsatisfiable,
}

/// Reads a `Range` header (RFC 9110 section 14.2).
pub(super) fn parse_range(header: Option<&str>, len: u64) -> Wanted {
    let Some(spec) = header.and_then(|h| h.trim().strip_prefix("bytes=")) else { return Wanted::Whole };
    let Some((first, last)) = spec.trim().split_once('-').filter(|_| !spec.contains(',')) else { return Wanted::Whole };
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (number(first.trim()), number(last.trim()), first.trim().is_empty(), last.trim().is_empty()) {
        (Some(first), Some(last), ..) if last < first => Wanted::Whole,
        (Some(first), ..) if first >= len => Wanted::Unsatisfiable,
        (Some(first), Some(last), ..) => Wanted::Part(first..last.saturating_add(1).min(len)),
        (Some(first), None, _, true) => Wanted::Part(first..len),
        (None, Some(0), true, _) => Wanted::Unsatisfiable,
        (None, Some(_), true, _) if len == 0 => Wanted::Unsatisfiable,
        (None, Some(suffix), true, _) => Wanted::Part(len - suffix.min(len)..len),
        _ => Wanted::Whole,
    }
}

/// Whether one of the tags in a list (or `*`) equals `etag`; weak ones compare equal only where `weak` allows it.
pub(super) fn tag_matches(list: &str, etag: &str, weak: bool) -> bool {
    list.split(',').map(str::trim).any(|tag| tag == "*" || tag == etag || (weak && tag.strip_prefix("W/") == Some(etag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        use Wanted::*;
        for (header, want) in [
            (None, Whole),
            (Some("bytes=0-"), Part(0..100)),
            (Some("bytes=0-0"), Part(0..1)),
            (Some("bytes=10-19"), Part(10..20)),
            (Some("bytes=90-1000"), Part(90..100)),
            (Some("bytes=90-99999999999999999999999"), Part(90..100)),
            (Some("bytes=-5"), Part(95..100)),
            (Some("bytes=-500"), Part(0..100)),
            (Some("bytes=100-"), Unsatisfiable),
            (Some("bytes=99999999999999999999999-"), Unsatisfiable),
            (Some("bytes=-0"), Unsatisfiable),
            (Some("bytes=5-4"), Whole),
            (Some("bytes=0-1,5-6"), Whole),
            (Some("bytes=a-b"), Whole),
            (Some("bytes=-"), Whole),
            (Some("bytes=5"), Whole),
            (Some("bytes=+5-6"), Whole),
            (Some("items=0-1"), Whole),
        ] {
            assert_eq!(parse_range(header, 100), want, "{header:?}");
        }
        assert_eq!(parse_range(Some("bytes=0-"), 0), Unsatisfiable);
    }

    #[test]
    fn tags() {
        assert!(tag_matches("\"a\", \"b\"", "\"b\"", false));
        assert!(tag_matches("*", "\"b\"", false));
        assert!(tag_matches("W/\"b\"", "\"b\"", true));
        assert!(!tag_matches("W/\"b\"", "\"b\"", false));
        assert!(!tag_matches("b", "\"b\"", true));
    }
}
