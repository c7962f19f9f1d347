//! What an HTTP server asks and answers, without HTTP.
//!
//! In: method, name and the conditional headers as text. Out: status, headers and a body that is read block by block.
//! What the conditional headers mean is for [`crate::base::ranges`].

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::base::ranges::Conditions;
use crate::cmaf::Piece;

use super::driver::store::{Store, StoredFile};
use super::error::RecordError;
use super::id::RecordingId;
use super::mp4::Mp4;

/// Bytes per block of a body: large enough that reading is not the bottleneck, small enough for a thousand downloads at once.
pub(crate) const BLOCK: usize = 256 * 1024;

/// Track files that a download keeps open: it goes back and forth between the tracks, epoch after epoch.
const OPEN_FILES: usize = 4;

/// A request below `/vod/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct VodRequest {
    /// What follows `/vod/`, such as `<id>.mp4` or `<id>/index.m3u8`, percent-decoded.
    pub path: String,
    // The headers of a conditional request, as they came.
    pub range: Option<String>,
    pub if_range: Option<String>,
    pub if_match: Option<String>,
    pub if_none_match: Option<String>,
    pub if_modified_since: Option<String>,
    pub if_unmodified_since: Option<String>,
    /// Who asks, as far as clients can be told apart.
    pub client: u64,
    /// What goes behind every URI in playlists and manifests, such as `?token=x`; empty for nothing.
    pub query: String,
}

impl VodRequest {
    /// The name of the recording that it is for.
    pub(super) fn recording(&self) -> Result<&str, RecordError> {
        match self.path.split_once('/') {
            Some((id, _)) => Ok(id),
            None => self.path.strip_suffix(".mp4").ok_or(RecordError::NotFound),
        }
    }

    pub(super) fn conditions(&self) -> Conditions<'_> {
        Conditions {
            range: self.range.as_deref(),
            if_range: self.if_range.as_deref(),
            if_match: self.if_match.as_deref(),
            if_none_match: self.if_none_match.as_deref(),
            if_modified_since: self.if_modified_since.as_deref(),
            if_unmodified_since: self.if_unmodified_since.as_deref(),
        }
    }
}

/// What to answer. With `HEAD` leave out the body; everything else stays.
#[derive(Debug)]
pub(crate) struct VodResponse {
    /// 200, 206, 304, 412 or 416.
    pub status: u16,
    pub content_type: &'static str,
    /// `Content-Length`; of several parts that of their bytes alone.
    pub content_length: u64,
    /// `Content-Range` of 206 with one part, and of 416.
    pub content_range: Option<String>,
    /// Length of the whole file.
    pub total: u64,
    /// Whether to say `Accept-Ranges: bytes`.
    pub accept_ranges: bool,
    /// `ETag`, quotes included.
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    pub cache_control: &'static str,
    pub content_disposition: Option<String>,
    /// The bytes; empty for 304, 412 and 416.
    pub body: VodBody,
}

/// The bytes of a response.
#[derive(Debug)]
pub(crate) enum VodBody {
    Bytes(Bytes),
    /// On disk, to be read block by block (`Recordings::stream`).
    File(VodReader),
    /// Several ranges of a file, for `multipart/byteranges`.
    Parts(Vec<(Range<u64>, VodReader)>),
}

/// Where the bytes of a [`VodReader`] come from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Mp4(Arc<Mp4>),
    File(String, u64),
}

/// Reads a range of a recording, [`BLOCK`] bytes at a time. Blocking.
#[derive(Debug)]
pub(crate) struct VodReader {
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
    pub(crate) fn remaining(&self) -> u64 {
        self.left.end.saturating_sub(self.left.start)
    }

    /// The next block; `None` at the end.
    ///
    /// # Errors
    /// When a file can't be read or is shorter than its index says; the rest is lost then.
    pub(crate) fn next_block(&mut self) -> Result<Option<Bytes>, RecordError> {
        let block = self.read_block();
        // Who takes its time between two blocks must not keep what recordings need.
        self.open.retain(|(_, file)| !file.is_of_reserve());
        block
    }

    fn read_block(&mut self) -> Result<Option<Bytes>, RecordError> {
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
