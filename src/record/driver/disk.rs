//! The disk below the recordings: what is asked of it, and the machine's.
//!
//! In: paths and bytes. Out: bytes, or what the system said. Tests put one in its place that fails.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::base::UnixNanos;
use crate::net::files::is_of_reserve;

/// What recordings ask of a disk. All of it blocks.
pub(crate) trait Disk: Debug + Send + Sync {
    /// Makes a folder, and those above it.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a file that is not there yet, to be written.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file to be read.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file to be cut.
    fn open_to_cut(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// What is in a folder: names, and how long the files are.
    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, u64)>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all that is in it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// What was made in a folder, or has another name there now, survives a power cut.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Bytes free for us; `None` where the system doesn't say.
    fn free(&self, path: &Path) -> Option<u64>;
}

/// An open file.
pub(crate) trait DiskFile: Debug + Send {
    fn len(&self) -> io::Result<u64>;
    /// Whether it has one of the last descriptors, so that nobody may keep it open for long.
    fn is_of_reserve(&self) -> bool;
    /// When it was written to last.
    fn modified(&self) -> io::Result<UnixNanos>;
    /// All of `bytes`, from `offset` on.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// All of `bytes`, from `offset` on.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// What was written survives a power cut.
    fn sync(&self) -> io::Result<()>;
}

/// The machine's.
#[derive(Debug)]
pub(crate) struct MachineDisk;

impl Disk for MachineDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).create_new(true).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn open_to_cut(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).open(path)?))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, u64)>> {
        let entries = std::fs::read_dir(path)?.flatten();
        Ok(entries.map(|entry| (entry.file_name(), entry.metadata().map_or(0, |data| data.len()))).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn free(&self, path: &Path) -> Option<u64> {
        let stat = rustix::fs::statvfs(path).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        self.metadata().map(|data| data.len())
    }

    fn is_of_reserve(&self) -> bool {
        is_of_reserve(self)
    }

    fn modified(&self) -> io::Result<UnixNanos> {
        let since = self.metadata()?.modified()?.duration_since(UNIX_EPOCH);
        Ok(since.map_or(0, |since| UnixNanos::try_from(since.as_nanos()).unwrap_or(UnixNanos::MAX)))
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
