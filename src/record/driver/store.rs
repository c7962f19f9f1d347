//! The folder of all recordings.
//!
//! In: ids and names of files. Out: their bytes. The one place that reads, lists and deletes finished recordings, so that
//! keeping them elsewhere (S3) later touches no reader; growing ones are written by `writer` next to it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile, MachineDisk};
use super::replace::folder_of;
use crate::base::UnixNanos;
use crate::record::error::{RecordError, Tried};
use crate::record::id::RecordingId;

/// Largest small file (`meta.json`, an initialization) that is read whole.
const MAX_SMALL: u64 = 1 << 20;

/// The folder of all recordings, `data_dir/recordings`.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Store {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self::on(Arc::new(MachineDisk), root)
    }

    /// On another disk than the machine's.
    pub(crate) fn on(disk: Arc<dyn Disk>, root: PathBuf) -> Self {
        Self { root, disk }
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Makes the folder where there is none.
    pub(crate) fn make(&self) -> Result<(), RecordError> {
        let made = self.disk.make_dir(&self.root).and_then(|()| self.disk.sync_dir(folder_of(&self.root)));
        made.map_err(RecordError::io(Tried::Make, &self.root))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn dir(&self, id: &RecordingId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// All recordings, in no order. Folders with other names are left alone.
    pub(crate) fn list(&self) -> Result<Vec<RecordingId>, RecordError> {
        let entries = match self.disk.list(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(RecordError::io(Tried::List, &self.root)(error)),
        };
        Ok(entries.iter().filter_map(|(name, _)| RecordingId::parse(name.to_str()?)).collect())
    }

    /// The files of a recording, and how long they are.
    pub(crate) fn files(&self, id: &RecordingId) -> Vec<(OsString, u64)> {
        self.disk.list(&self.dir(id)).unwrap_or_default()
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
        let file = self.disk.open(&path).map_err(RecordError::io(Tried::Open, &path))?;
        Ok(StoredFile { file, path })
    }

    /// Cuts a file behind `len` bytes, if it is longer.
    pub(crate) fn cut(&self, id: &RecordingId, name: &str, len: u64) -> Result<(), RecordError> {
        if self.open(id, name)?.len()? <= len {
            return Ok(());
        }
        let path = self.dir(id).join(name);
        let cut = self.disk.open_to_cut(&path).and_then(|file| file.set_len(len).and_then(|()| file.sync()));
        cut.map_err(RecordError::io(Tried::Cut, &path))
    }

    /// Deletes a recording: it is renamed first, so that half of it is never listed.
    pub(crate) fn delete(&self, id: &RecordingId) -> Result<(), RecordError> {
        let (dir, gone) = (self.dir(id), self.root.join(format!("deleted-{id}")));
        let renamed = self.disk.rename(&dir, &gone).and_then(|()| self.disk.sync_dir(&self.root));
        renamed.map_err(RecordError::io(Tried::Delete, &dir))?;
        self.disk.remove_dir(&gone).map_err(RecordError::io(Tried::Delete, &gone))
    }

    /// Deletes what a crash in the middle of a deletion left.
    pub(crate) fn sweep(&self) {
        for (name, _) in self.disk.list(&self.root).unwrap_or_default() {
            let path = self.root.join(&name);
            if name.to_str().and_then(|n| n.strip_prefix("deleted-")).and_then(RecordingId::parse).is_some()
                && let Err(error) = self.disk.remove_dir(&path)
            {
                tracing::warn!(path = %path.display(), %error, "a deleted recording can't be removed");
            }
        }
    }

    /// Bytes of all files of a recording.
    pub(crate) fn size(&self, id: &RecordingId) -> u64 {
        self.files(id).iter().map(|(_, len)| len).sum()
    }

    /// Bytes free for us on the disk; `None` where the system doesn't say.
    pub(crate) fn free(&self) -> Option<u64> {
        self.disk.free(&self.root)
    }
}

/// An open file of a recording.
#[derive(Debug)]
pub(crate) struct StoredFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
}

impl StoredFile {
    /// Whether few file descriptors are left besides it, so that it is not to be kept open.
    pub(crate) fn is_of_reserve(&self) -> bool {
        self.file.is_of_reserve()
    }

    pub(crate) fn len(&self) -> Result<u64, RecordError> {
        self.file.len().map_err(RecordError::io(Tried::Inspect, &self.path))
    }

    /// When it was written to last.
    pub(crate) fn modified(&self) -> Result<UnixNanos, RecordError> {
        self.file.modified().map_err(RecordError::io(Tried::Inspect, &self.path))
    }

    /// From `offset` on, `len` bytes or what is there.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, RecordError> {
        let there = usize::try_from(self.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(there)];
        self.file.read_at(&mut bytes, offset).map_err(RecordError::io(Tried::Read, &self.path))?;
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
