//! Replaces a small file as a whole.

use std::io;
use std::path::Path;

use super::disk::{Disk, MachineDisk};

/// A power cut leaves the old file or the new one.
pub(crate) fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_on(&MachineDisk, file, bytes)
}

/// On a disk.
pub(super) fn replace_on(disk: &dyn Disk, file: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = file.with_added_extension("new");
    // One that was begun before; where it can't be removed, it can't be made again either.
    drop(disk.remove_file(&new));
    let writing = disk.create(&new)?;
    writing.write_at(bytes, 0)?;
    writing.sync()?;
    disk.rename(&new, file)?;
    disk.sync_dir(folder_of(file))
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}
