//! What is done with recordings that a crash left open.
//!
//! In: the store at the start. Out: the catalogue; recordings that were live are cut at the last fragment that is whole on disk
//! and closed.

use crate::base::UnixNanos;

use super::store::{Store, index_file, track_file, track_of_index};
use super::writer::{SYNC_FRAGMENTS, Spans, write_meta};
use crate::record::catalogue::Catalogue;
use crate::record::error::RecordError;
use crate::record::id::RecordingId;
use crate::record::index::{Epoch, FragmentEntry, Record, Records};
use crate::record::meta::{Meta, State};

/// How many of the last fragments of a track are compared with their checksums: twice as many as are written between two syncs, since before the
/// last that was whole there may be another that was not.
const CHECKED: usize = 2 * SYNC_FRAGMENTS;

/// Largest index that is read: a day of audio and video at 5 chunks a second is below 100 MB.
pub(crate) const MAX_INDEX: u64 = 512 << 20;

/// Reads all recordings into `catalogue`, closing those that were live. A recording that can't be read is passed over with a
/// warning; its files stay.
pub(crate) fn load(store: &Store, catalogue: &Catalogue, now: UnixNanos) -> Result<(), RecordError> {
    store.sweep();
    for id in store.list()? {
        match load_one(store, &id, now) {
            Ok(Some(meta)) => catalogue.put(meta),
            Ok(None) => {
                tracing::info!(recording = %id, "a recording in which nothing was written yet is removed");
                store.delete(&id).unwrap_or_else(|error| tracing::warn!(recording = %id, %error, "an empty recording can't be removed"));
            }
            Err(error) => tracing::warn!(recording = %id, %error, "a recording can't be read and is not listed; its files are left alone"),
        }
    }
    Ok(())
}

/// `None`: there is nothing in it.
fn load_one(store: &Store, id: &RecordingId, now: UnixNanos) -> Result<Option<Meta>, RecordError> {
    let meta = match store.read_small(id, "meta.json") {
        Ok(bytes) => Meta::from_json(&bytes)?,
        Err(RecordError::NotFound) if !has_index(store, id) => return Ok(None),
        Err(error) => return Err(error),
    };
    if meta.state == State::Live { close(store, meta, now) } else { Ok(Some(meta)) }
}

fn has_index(store: &Store, id: &RecordingId) -> bool {
    store.files(id).iter().any(|(name, _)| name.to_str().is_some_and(|n| track_of_index(n).is_some()))
}

/// Cuts and closes a recording that nobody writes any more.
pub(crate) fn close(store: &Store, mut meta: Meta, now: UnixNanos) -> Result<Option<Meta>, RecordError> {
    let mut spans = Spans::default();
    let mut fragments = 0;
    let mut last_written = meta.started_at_ms;
    for track in &meta.tracks {
        match cut(store, &meta.id, track.track, &mut spans) {
            Ok((count, modified)) => {
                fragments += count;
                last_written = last_written.max(modified / 1_000_000);
            }
            Err(RecordError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    if fragments == 0 {
        return Ok(None);
    }
    meta.state = State::Recovered;
    meta.duration_ms = spans.duration_ms();
    meta.ended_at_ms = Some(last_written.min(now / 1_000_000).max(meta.started_at_ms));
    meta.bytes = store.size(&meta.id);
    if let Err(error) = write_meta(store, &meta) {
        tracing::warn!(recording = %meta.id, %error, "a recording left open by a crash can't be closed on the disk; it plays, and the next start tries again");
    }
    tracing::info!(recording = %meta.id, path = %meta.path, duration_ms = meta.duration_ms, "a recording left open by a crash is closed");
    Ok(Some(meta))
}

/// Cuts the index of a track behind its last good record whose data is on disk, and the data behind that. Gives the number of fragments left, and
/// when the last one was written.
fn cut(store: &Store, id: &RecordingId, track: u32, spans: &mut Spans) -> Result<(usize, UnixNanos), RecordError> {
    let index = store.open(id, &index_file(track))?;
    if index.len()? > MAX_INDEX {
        return Err(RecordError::Damaged("an index is larger than 512 MiB"));
    }
    let (bytes, modified) = (index.read(0, MAX_INDEX as usize)?, index.modified()?);
    // Where the record begins, whose epoch it is, what it says.
    let mut found: Vec<(usize, Epoch, Option<FragmentEntry>)> = Vec::new();
    let mut epoch = None;
    let mut records = Records::of_file(&bytes);
    let mut end = records.good();
    while let Some(record) = records.next() {
        match record {
            Record::Epoch(new) => {
                found.push((end, new.clone(), None));
                epoch = Some(new);
            }
            Record::Fragment(entry, _) => {
                if let Some(epoch) = epoch.clone().filter(|e| e.epoch == entry.epoch) {
                    found.push((end, epoch, Some(entry)));
                }
            }
        }
        end = records.good();
    }
    let mut good = end;
    let (mut checked, mut keep) = (0, found.len());
    for (index, (start, epoch, entry)) in found.iter().enumerate().rev() {
        let whole = match entry {
            Some(entry) => is_whole(store, id, track, entry)?,
            None => is_there(store, id, track, epoch)?,
        };
        checked += 1;
        if !whole {
            (good, keep, checked) = (*start, index, 0);
        } else if checked >= CHECKED {
            break;
        }
    }
    found.truncate(keep);
    store.cut(id, &index_file(track), good as u64)?;
    if let Some((_, epoch, entry)) = found.last() {
        let end = entry.map_or(u64::from(epoch.init_len), |e| e.offset + u64::from(e.len));
        store.cut(id, &track_file(track, epoch.epoch), end)?;
    }
    let mut fragments = 0;
    for (_, epoch, entry) in &found {
        if let Some(entry) = entry {
            spans.add(epoch.epoch, epoch.timescale, epoch.presentation_shift, entry);
            fragments += 1;
        }
    }
    Ok((fragments, modified))
}

/// Whether a fragment is on the disk. What can't be read now may be there all the same, and must not be cut away.
fn is_whole(store: &Store, id: &RecordingId, track: u32, entry: &FragmentEntry) -> Result<bool, RecordError> {
    match store.open(id, &track_file(track, entry.epoch)).and_then(|file| file.read(entry.offset, entry.len as usize)) {
        Ok(bytes) => Ok(bytes.len() == entry.len as usize && crc32fast::hash(&bytes) == entry.crc),
        Err(RecordError::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_there(store: &Store, id: &RecordingId, track: u32, epoch: &Epoch) -> Result<bool, RecordError> {
    match store.open(id, &track_file(track, epoch.epoch)).and_then(|file| file.len()) {
        Ok(len) => Ok(len >= u64::from(epoch.init_len)),
        Err(RecordError::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}
