//! Writes one recording.
//!
//! In: chunks with the initialization of their epoch. Out: files as `mod.rs` lists them. Blocking: it runs where blocking is
//! allowed. The data of a chunk is written before its index record, and synced before it, so that an index never promises
//! what isn't there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::{Chance, StreamPath, UnixNanos, rescale};
use crate::cmaf::{Chunk, Init, TrackInit, encode_samples, read_fragment, read_init};

use super::disk::DiskFile;
use super::replace::replace_on;
use super::store::{Store, index_file, track_file};
use crate::record::error::{RecordError, Tried};
use crate::record::id::RecordingId;
use crate::record::index::{Epoch, FragmentEntry, HEADER, put_epoch, put_fragment};
use crate::record::meta::{Meta, State, TrackMeta};

/// Longest time between two syncs: what a power cut may cost.
const SYNC_NANOS: i64 = 2_000_000_000;

/// Most fragments between two syncs, however fast they come: after a crash they all are compared with their checksums.
pub(super) const SYNC_FRAGMENTS: usize = 256;

/// Whether what was written has to reach the disk now: `since` ns after the last time, as the wall clock has it, which may have been set back, and
/// so many fragments later.
fn sync_is_due(since: i64, fragments: usize, segment_ends: bool) -> bool {
    fragments >= SYNC_FRAGMENTS || !(0..SYNC_NANOS).contains(&since) || (segment_ends && since >= SYNC_NANOS / 2)
}

/// Writes one recording.
#[derive(Debug)]
pub(crate) struct Writer {
    store: Store,
    dir: PathBuf,
    meta: Meta,
    tracks: BTreeMap<u32, Track>,
    spans: Spans,
    bytes: u64,
    synced_at: UnixNanos,
    /// Fragments since then.
    unsynced: usize,
    /// A sync failed: what was written before may never reach the disk, although later syncs say so (fsync(2)).
    in_doubt: bool,
}

#[derive(Debug)]
struct Track {
    index: Box<dyn DiskFile>,
    index_len: u64,
    data: Option<Data>,
}

/// The file of the track's current epoch.
#[derive(Debug)]
struct Data {
    epoch: u32,
    file: Box<dyn DiskFile>,
    len: u64,
    init: Init,
}

impl Writer {
    /// Makes the folder and its `meta.json`.
    pub(crate) fn create(
        store: &Store,
        path: &StreamPath,
        now: UnixNanos,
        started_at: UnixNanos,
        target_duration: u64,
        chance: &mut Chance,
    ) -> Result<Self, RecordError> {
        let meta = Meta::new(RecordingId::new(now, chance), path.clone(), started_at / 1_000_000, Some(target_duration));
        let dir = store.dir(&meta.id);
        let (store, disk) = (store.clone(), store.disk());
        let made = disk.make_dir(&dir).and_then(|()| disk.sync_dir(store.root())).map_err(RecordError::io(Tried::Make, &dir));
        if let Err(error) = made.and_then(|()| write_meta(&store, &meta)) {
            // It would lie there until the next start.
            drop(disk.remove_dir(&dir));
            return Err(error);
        }
        let (tracks, spans, in_doubt) = (BTreeMap::new(), Spans::default(), false);
        Ok(Self { store, dir, meta, tracks, spans, bytes: 0, synced_at: now, unsynced: 0, in_doubt })
    }

    /// What there is now, with its present length and size.
    pub(crate) fn meta(&self) -> Meta {
        Meta { duration_ms: self.spans.duration_ms(), bytes: self.bytes, ..self.meta.clone() }
    }

    /// Length of what plays, in milliseconds.
    pub(crate) fn duration_ms(&self) -> u64 {
        self.spans.duration_ms()
    }

    /// How many epoch files there are in all.
    pub(crate) fn epochs(&self) -> usize {
        self.spans.0.len()
    }

    /// Appends a chunk; a new epoch gets its file.
    ///
    /// # Errors
    /// [`RecordError::Media`] when this chunk is not CMAF (nothing is written, the recording can go on); anything else ends it.
    pub(crate) fn chunk(&mut self, init: &TrackInit, chunk: &Chunk, now: UnixNanos) -> Result<(), RecordError> {
        let current = self.tracks.get(&chunk.track).and_then(|t| t.data.as_ref()).map(|d| d.epoch);
        if current != Some(chunk.epoch) {
            self.begin_epoch(init)?;
        }
        let Some(track) = self.tracks.get_mut(&chunk.track) else { return Ok(()) };
        let Some(data) = track.data.as_mut() else { return Ok(()) };

        let mut records = Vec::new();
        let mut at = 0usize;
        while at < chunk.data.len() {
            let bytes = &chunk.data[at..];
            let fragment = read_fragment(bytes, data.init.defaults)?;
            let end = if at + fragment.end < chunk.data.len() && has_moof(&bytes[fragment.end..]) { fragment.end } else { bytes.len() };
            let entry = FragmentEntry {
                epoch: chunk.epoch,
                segment: chunk.segment,
                first: chunk.first && at == 0,
                last: chunk.last && at + end == chunk.data.len(),
                independent: if at == 0 { chunk.independent } else { fragment.samples[0].sync },
                offset: data.len + at as u64,
                len: end as u32,
                data_at: fragment.data.start as u32,
                data_len: fragment.data.len() as u32,
                crc: crc32fast::hash(&bytes[..end]),
                decode_time: fragment.decode_time,
                duration: u32::try_from(fragment.duration()).unwrap_or(u32::MAX),
                wallclock: chunk.wallclock,
                earliest: fragment.earliest_shown(),
            };
            let mut samples = Vec::with_capacity(fragment.samples.len() * 4);
            encode_samples(&fragment.samples, &mut samples);
            put_fragment(&entry, &samples, &mut records);
            self.spans.note(chunk.epoch, &data.init, &entry);
            at += end;
            self.unsynced += 1;
        }
        data.file.write_at(&chunk.data, data.len).map_err(RecordError::io(Tried::Write, &self.dir))?;
        data.len += chunk.data.len() as u64;
        track.index.write_at(&records, track.index_len).map_err(RecordError::io(Tried::Write, &self.dir))?;
        track.index_len += records.len() as u64;
        self.bytes += (chunk.data.len() + records.len()) as u64;

        if sync_is_due(now.saturating_sub(self.synced_at), self.unsynced, chunk.last) {
            self.sync(now)?;
        }
        Ok(())
    }

    fn begin_epoch(&mut self, init: &TrackInit) -> Result<(), RecordError> {
        let parsed = read_init(&init.data)?;
        let create = |path: PathBuf| self.store.disk().create(&path).map_err(RecordError::io(Tried::Make, &path));
        let file = create(self.dir.join(track_file(init.track, init.epoch)))?;
        file.write_at(&init.data, 0).map_err(RecordError::io(Tried::Write, &self.dir))?;
        // Without it nothing plays that the index will promise; and nobody comes back to the file before.
        let previous = self.tracks.get(&init.track).and_then(|t| t.data.as_ref()).map(|data| data.file.sync());
        if let Err(error) = file.sync().and(previous.unwrap_or(Ok(()))) {
            self.in_doubt = true;
            return Err(RecordError::io(Tried::Sync, &self.dir)(error));
        }
        let track = match self.tracks.entry(init.track) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let index = create(self.dir.join(index_file(init.track)))?;
                index.write_at(&HEADER, 0).map_err(RecordError::io(Tried::Write, &self.dir))?;
                self.bytes += HEADER.len() as u64;
                entry.insert(Track { index, index_len: HEADER.len() as u64, data: None })
            }
        };
        let mut record = Vec::new();
        let epoch = Epoch {
            epoch: init.epoch,
            init_len: init.data.len() as u32,
            timescale: parsed.timescale,
            kind: init.codec.kind(),
            codec: init.codec,
            codec_string: init.codec_string.clone(),
            resolution: init.resolution,
            sar: parsed.sar,
            audio: init.audio,
            presentation_shift: parsed.presentation_shift,
        };
        put_epoch(&epoch, &mut record);
        track.index.write_at(&record, track.index_len).map_err(RecordError::io(Tried::Write, &self.dir))?;
        track.index_len += record.len() as u64;
        track.data = Some(Data { epoch: init.epoch, file, len: init.data.len() as u64, init: parsed });
        self.bytes += (init.data.len() + record.len()) as u64;
        // The name of the new file has to survive a power cut too.
        self.store.disk().sync_dir(&self.dir).map_err(RecordError::io(Tried::Sync, &self.dir))?;
        if self.meta.note(TrackMeta::of(init)) {
            write_meta(&self.store, &self.meta())?;
        }
        Ok(())
    }

    /// Makes everything so far survive a power cut.
    pub(crate) fn sync(&mut self, now: UnixNanos) -> Result<(), RecordError> {
        (self.synced_at, self.unsynced) = (now, 0);
        let data = self.tracks.values().filter_map(|track| track.data.as_ref()).map(|data| &data.file);
        let synced = data.chain(self.tracks.values().map(|track| &track.index)).try_for_each(|file| file.sync());
        self.in_doubt |= synced.is_err();
        synced.map_err(RecordError::io(Tried::Sync, &self.dir))
    }

    /// Ends the recording. What `meta.json` says then comes back, also when it could not be written, or when nobody knows what is on the disk: the
    /// next start finds the recording unfinished, looks, and closes it.
    pub(crate) fn finish(mut self, error: Option<&RecordError>, now: UnixNanos) -> Meta {
        self.meta = self.meta();
        self.meta.ended_at_ms = Some(now / 1_000_000);
        self.meta.state = if error.is_some() { State::Failed } else { State::Finished };
        self.meta.error = error.map(ToString::to_string);
        let synced = self.sync(now);
        if let Err(error) = synced.and_then(|()| if self.in_doubt { Ok(()) } else { write_meta(&self.store, &self.meta) }) {
            tracing::warn!(recording = %self.meta.id, %error, "the recording could not be closed properly; the next start will");
        }
        self.meta
    }
}

/// Replaces `meta.json` as a whole.
pub(crate) fn write_meta(store: &Store, meta: &Meta) -> Result<(), RecordError> {
    let json = serde_json::to_vec_pretty(meta).map_err(|_| RecordError::Damaged("meta.json can't be made"))?;
    let target = store.dir(&meta.id).join("meta.json");
    replace_on(store.disk(), &target, &json).map_err(RecordError::io(Tried::Write, &target))
}

fn has_moof(bytes: &[u8]) -> bool {
    crate::cmaf::Boxes::new(bytes).any(|item| item.is_ok_and(|item| item.name.0 == *b"moof"))
}

/// When each epoch begins and ends on its own timeline, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Spans(BTreeMap<u32, (i64, i64)>);

impl Spans {
    fn note(&mut self, epoch: u32, init: &Init, entry: &FragmentEntry) {
        self.add(epoch, init.timescale, init.presentation_shift, entry);
    }

    pub(crate) fn add(&mut self, epoch: u32, timescale: u32, shift: i64, entry: &FragmentEntry) {
        let nanos = |ticks: i64| rescale(ticks, timescale.max(1), 1_000_000_000);
        let start =
            i64::try_from(entry.decode_time).unwrap_or(i64::MAX / 2).saturating_add(shift).saturating_add(i64::from(entry.earliest));
        let (begin, end) = (nanos(start).max(0), nanos(start.saturating_add(i64::from(entry.duration))));
        let span = self.0.entry(epoch).or_insert((begin, end));
        *span = (span.0.min(begin), span.1.max(end));
    }

    pub(crate) fn duration_ms(&self) -> u64 {
        self.0.values().map(|(start, end)| end.saturating_sub(*start).max(0) as u64 / 1_000_000).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reaches_the_disk_whatever_the_wall_clock_does() {
        const S: i64 = 1_000_000_000;
        const FEW: usize = SYNC_FRAGMENTS - 1;
        for (since, fragments, segment_ends, due) in [
            (0, FEW, false, false),
            (S / 2, FEW, true, false),
            (S, FEW, true, true),
            (S, FEW, false, false),
            (2 * S, 1, false, true),
            (3600 * S, 1, false, true),
            // A file that is pushed at once.
            (0, SYNC_FRAGMENTS, false, true),
            // Set back by an hour.
            (-3600 * S, 1, false, true),
            (-1, 1, false, true),
            (i64::MIN, 1, false, true),
        ] {
            assert_eq!(sync_is_due(since, fragments, segment_ends), due, "{since} {fragments} {segment_ends}");
        }
    }
}
