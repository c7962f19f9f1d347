//! The folder of all recordings.
//!
//! In: ids and names of files. Out: their bytes. The one place that reads, lists and deletes finished recordings, so that
//! keeping them elsewhere (S3) later touches no reader; growing ones are written by `writer` next to it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::replace::sync_parent;
use crate::net::files::is_of_reserve;
use crate::record::error::{RecordError, Tried};
use crate::record::id::RecordingId;

/// Largest small file (`meta.json`, an initialization) that is read whole.
const MAX_SMALL: u64 = 1 << 20;

/// The folder of all recordings, `data_dir/recordings`.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn dir(&self, id: &RecordingId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// All recordings, in no order. Folders with other names are left alone.
    pub(crate) fn list(&self) -> Result<Vec<RecordingId>, RecordError> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(RecordError::io(Tried::List, &self.root)(error)),
        };
        Ok(entries.flatten().filter_map(|entry| RecordingId::parse(entry.file_name().to_str()?)).collect())
    }

    /// A small file, whole.
    pub(crate) fn read_small(&self, id: &RecordingId, name: &str) -> Result<Vec<u8>, RecordError> {
        let file = self.open(id, name)?;
        if file.len()? > MAX_SMALL {
            return Err(RecordError::Damaged("a file that should be small is larger than 1 MiB"));
        }
        file.read(0, MAX_SMALL as usize)
    }

    pub(crate) fn open(&self, id: &RecordingId, name: &str) -> Result<StoredFile, RecordError> {
        let path = self.dir(id).join(name);
        let file = File::open(&path).map_err(RecordError::io(Tried::Open, &path))?;
        let of_reserve = is_of_reserve(&file);
        Ok(StoredFile { file, path, of_reserve })
    }

    /// Deletes a recording: it is renamed first, so that half of it is never listed.
    pub(crate) fn delete(&self, id: &RecordingId) -> Result<(), RecordError> {
        let (dir, gone) = (self.dir(id), self.root.join(format!("deleted-{id}")));
        std::fs::rename(&dir, &gone).and_then(|()| sync_parent(&gone)).map_err(RecordError::io(Tried::Delete, &dir))?;
        std::fs::remove_dir_all(&gone).map_err(RecordError::io(Tried::Delete, &gone))
    }

    /// Deletes what a crash in the middle of a deletion left.
    pub(crate) fn sweep(&self) {
        for entry in std::fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.to_str().and_then(|n| n.strip_prefix("deleted-")).and_then(RecordingId::parse).is_some()
                && let Err(error) = std::fs::remove_dir_all(entry.path())
            {
                tracing::warn!(path = %entry.path().display(), %error, "a deleted recording can't be removed");
            }
        }
    }

    /// Bytes of all files of a recording.
    pub(crate) fn size(&self, id: &RecordingId) -> u64 {
        let entries = std::fs::read_dir(self.dir(id)).into_iter().flatten().flatten();
        entries.filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum()
    }

    /// Bytes free for us on the disk; `None` where the system doesn't say.
    pub(crate) fn free(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.root).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }
}

/// An open file of a recording.
#[derive(Debug)]
pub(crate) struct StoredFile {
    file: File,
    path: PathBuf,
    of_reserve: bool,
}

impl StoredFile {
    /// Whether few file descriptors were left when it was opened, so that it is not to be kept open.
    pub(crate) fn is_of_reserve(&self) -> bool {
        self.of_reserve
    }

    pub(crate) fn len(&self) -> Result<u64, RecordError> {
        self.file.metadata().map(|m| m.len()).map_err(RecordError::io(Tried::Inspect, &self.path))
    }

    /// From `offset` on, `len` bytes or what is there.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, RecordError> {
        let there = usize::try_from(self.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(there)];
        self.file.read_exact_at(&mut bytes, offset).map_err(RecordError::io(Tried::Read, &self.path))?;
        Ok(bytes)
    }
}

pub(crate) fn track_file(track: u32, epoch: u32) -> String {
    format!("track-{track}-e{epoch}.mp4")
}

pub(crate) fn index_file(track: u32) -> String {
    format!("index-{track}")
}

pub(crate) fn track_of_index(name: &str) -> Option<u32> {
    name.strip_prefix("index-")?.parse().ok()
}
