//! One server for a data folder: two of them would cut each other's recordings, each of which looks broken off to the other one.
//!
//! In: the folder. Out: a lock that ends with the process, however that ends.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The file that is locked. Its text is the process id of whoever holds it.
const NAME: &str = "lock";

/// The lock; held until it is dropped.
#[derive(Debug)]
pub(super) struct DataLock {
    _file: File,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    #[error(
        "another headend{} keeps its recordings in {}; end it, or give this one another folder: data_dir, or --data-dir",
        .pid.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        .folder.display()
    )]
    Taken { folder: PathBuf, pid: Option<u32> },
    #[error("{}: {source}", .file.display())]
    Io { file: PathBuf, source: std::io::Error },
}

impl DataLock {
    /// Makes the folder where there is none.
    pub(super) fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(NAME);
        let failed = |source| LockError::Io { file: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(|source| LockError::Io { file: folder.to_owned(), source })?;
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let read = (&mut file).take(20).read_to_string(&mut pid);
                let pid = read.ok().and_then(|_| pid.trim().parse().ok());
                return Err(LockError::Taken { folder: folder.to_owned(), pid });
            }
            // Some network file systems can't lock: better two servers that are one by agreement than none.
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {
                tracing::warn!(file = %path.display(), %error, "the data folder can't be locked; take care that no other headend uses it");
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("not/there/yet");
        let first = DataLock::take(&folder).unwrap();
        let error = DataLock::take(&folder).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())) && error.contains("--data-dir"), "{error}");
        drop(first);
        DataLock::take(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_cant_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = DataLock::take(&file.join("data")).unwrap_err().to_string();
        assert!(error.contains("file/data"), "{error}");
    }
}
