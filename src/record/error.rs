//! What can go wrong with recordings.

use std::path::{Path, PathBuf};

use crate::cmaf::CmafError;

use super::retention::StopReason;

/// What can go wrong with recordings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RecordError {
    /// No such recording, or nothing of that name in it.
    #[error("there is no such recording, or it has no such file")]
    NotFound,
    /// It is being recorded: end the stream first.
    #[error("this recording is still live; stop the publisher before deleting it")]
    Live,
    /// Nothing playable has been written yet.
    #[error("nothing of this recording can be played yet; try again in a few seconds")]
    Empty,
    /// The state that the request insists on (`If-Match`) is not known here.
    #[error("the recording is not in the state that If-Match names")]
    PreconditionFailed,
    /// `cursor` was not made by this server.
    #[error("the cursor is not one that this server gave; start again without it")]
    BadCursor,
    /// Recording stopped because there is no room.
    #[error("recording stopped: {0}")]
    Stopped(StopReason),
    /// The disk said no.
    #[error("{tried} {path} failed: {source}")]
    Io { tried: Tried, path: PathBuf, source: std::io::Error },
    /// The segmenter's bytes or the stored ones are not what they should be.
    #[error("the media of this recording can't be used: {0}")]
    Media(#[from] CmafError),
    /// The stored index or meta data is damaged.
    #[error("the recording is damaged: {0}")]
    Damaged(&'static str),
    /// So much is being read, or the disk is so slow, that this has no place.
    #[error("too much is being read of recordings at the moment, or the disk is slow; try again in a few seconds")]
    Busy,
    /// Reading is not possible because the server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// What was tried with a file or a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried {
    List,
    Open,
    Inspect,
    Read,
    Make,
    Write,
    Sync,
    Cut,
    Delete,
}

impl std::fmt::Display for Tried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::List => "listing",
            Self::Open => "opening",
            Self::Inspect => "looking at",
            Self::Read => "reading",
            Self::Make => "making",
            Self::Write => "writing to",
            Self::Sync => "syncing",
            Self::Cut => "cutting",
            Self::Delete => "deleting",
        })
    }
}

impl RecordError {
    /// Names what was tried with the disk.
    pub(super) fn io(tried: Tried, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| match source.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound,
            _ => Self::Io { tried, path: path.to_owned(), source },
        }
    }

    /// The status code an HTTP server answers with (RFC 9110 section 15).
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::Live => 409,
            Self::PreconditionFailed => 412,
            Self::BadCursor => 400,
            Self::Empty | Self::Busy | Self::ShuttingDown => 503,
            Self::Stopped(_) => 507,
            Self::Io { .. } | Self::Media(_) | Self::Damaged(_) => 500,
        }
    }

    /// For machines.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Live => "recording_live",
            Self::Empty => "recording_empty",
            Self::PreconditionFailed => "precondition_failed",
            Self::Busy => "busy",
            Self::BadCursor => "bad_cursor",
            Self::Stopped(_) => "no_room",
            Self::Io { .. } => "io",
            Self::Media(_) | Self::Damaged(_) => "recording_damaged",
            Self::ShuttingDown => "shutting_down",
        }
    }
}
