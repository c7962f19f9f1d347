//! Replaces a small file as a whole.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// A power cut leaves the old file or the new one.
pub(crate) fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = file.with_added_extension("new");
    let mut writing = File::create(&new)?;
    writing.write_all(bytes)?;
    writing.sync_data()?;
    std::fs::rename(&new, file)?;
    sync_parent(file)
}

/// What was made in the folder of `path`, or has another name there now, survives a power cut.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
