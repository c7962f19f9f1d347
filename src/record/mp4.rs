//! The progressive MP4 of a recording, as it is or as it was.
//!
//! In: a recording and the number of fragments of each track to cover. Out: where its bytes are. A snapshot has a name, which
//! is its `ETag`: a download broken off while recording goes on with the very same file.

use bytes::Bytes;

use crate::cmaf::{FragmentRef, Init, ProgressiveLayout, ProgressiveTrack, progressive, read_init};

use super::driver::recover::MAX_INDEX;
use super::driver::store::{Store, index_file, track_file};
use super::error::RecordError;
use super::index::{Record, Records};
use super::meta::Meta;
use super::view::View;

/// Version of the layout: a headend that lays out files differently must not continue old downloads.
const LAYOUT_VERSION: u32 = 1;

/// Longest name that is parsed: 16 tracks.
const MAX_TAG: usize = 400;

/// How many fragments of each track a progressive file covers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Snapshot(Vec<(u32, u32)>);

impl Snapshot {
    /// All there is now.
    pub(super) fn of(view: &View) -> Self {
        Self(view.tracks.iter().filter(|t| t.fragments > 0).map(|t| (t.track, t.fragments)).collect())
    }

    #[cfg(test)]
    pub(super) fn testing(fragments: u32) -> Self {
        Self(vec![(0, fragments)])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Strong entity tag, quotes included.
    pub(super) fn etag(&self) -> String {
        let mut out = format!("\"{LAYOUT_VERSION}");
        for (track, count) in &self.0 {
            out.push_str(&format!("-{track}x{count}"));
        }
        out.push('"');
        out
    }

    /// The snapshot that a tag names, if this recording has come so far.
    pub(super) fn parse(tag: &str, view: &View) -> Option<Self> {
        let inner = tag.trim().strip_prefix('"')?.strip_suffix('"').filter(|t| t.len() <= MAX_TAG)?;
        let mut parts = inner.split('-');
        parts.next()?.parse().ok().filter(|v: &u32| *v == LAYOUT_VERSION)?;
        let mut tracks = Vec::new();
        for part in parts {
            let (track, count) = part.split_once('x')?;
            let (track, count): (u32, u32) = (track.parse().ok()?, count.parse().ok()?);
            let known = view.tracks.iter().find(|t| t.track == track)?;
            if count == 0 || count > known.fragments || tracks.last().is_some_and(|(before, _)| *before >= track) {
                return None;
            }
            tracks.push((track, count));
        }
        // Written in another way it would be another tag for the same bytes.
        let snapshot = Self(tracks);
        (!snapshot.is_empty() && snapshot.etag() == format!("\"{inner}\"")).then_some(snapshot)
    }
}

/// A progressive file.
#[derive(Debug)]
pub(super) struct Mp4 {
    pub(super) layout: ProgressiveLayout,
    /// File name by index of the track and of the epoch.
    files: Vec<Vec<String>>,
}

impl Mp4 {
    pub(super) fn file(&self, track: u16, epoch: u16) -> Option<&str> {
        Some(self.files.get(usize::from(track))?.get(usize::from(epoch))?)
    }

    /// About how much memory this takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.layout.memory() + self.files.iter().flatten().map(|f| f.capacity() + 24).sum::<usize>()
    }

    /// Lays out the file. Reads the indexes and the initializations; about a second for twelve hours.
    pub(super) fn build(store: &Store, meta: &Meta, snapshot: &Snapshot) -> Result<Self, RecordError> {
        let mut sources = Vec::new();
        for (track, count) in &snapshot.0 {
            sources.push(Source::read(store, meta, *track, *count)?);
        }
        let tracks: Vec<_> =
            sources.iter().map(|s| ProgressiveTrack { epochs: &s.epochs, fragments: &s.fragments, samples: &s.samples }).collect();
        let layout = progressive(&tracks, u64::try_from(meta.started_at_ms / 1000).unwrap_or(0))?;
        Ok(Self { layout, files: sources.into_iter().map(|s| s.files).collect() })
    }
}

struct Source {
    epochs: Vec<(u32, Init)>,
    fragments: Vec<FragmentRef>,
    samples: Bytes,
    files: Vec<String>,
}

impl Source {
    fn read(store: &Store, meta: &Meta, track: u32, count: u32) -> Result<Self, RecordError> {
        let index = store.open(&meta.id, &index_file(track))?;
        if index.len()? > MAX_INDEX {
            return Err(RecordError::Damaged("an index is larger than 512 MiB"));
        }
        let bytes = Bytes::from(index.read(0, MAX_INDEX as usize)?);
        let mut source = Self { epochs: vec![], fragments: Vec::with_capacity(count as usize), samples: bytes.clone(), files: vec![] };
        let mut current = None;
        for record in Records::of_file(&bytes) {
            match record {
                Record::Epoch(epoch) => current = Some((epoch, None)),
                Record::Fragment(entry, samples_at) => {
                    let Some((epoch, position)) = current.as_mut().filter(|(e, _)| e.epoch == entry.epoch) else { continue };
                    if source.fragments.len() == count as usize {
                        break;
                    }
                    let position = match *position {
                        Some(position) => position,
                        None => {
                            let name = track_file(track, epoch.epoch);
                            let init = store.open(&meta.id, &name)?.read(0, (epoch.init_len as usize).min(1 << 20))?;
                            source.epochs.push((epoch.epoch, read_init(&init)?));
                            source.files.push(name);
                            let new = u16::try_from(source.files.len() - 1).map_err(|_| RecordError::Damaged("too many epochs"))?;
                            *position = Some(new);
                            new
                        }
                    };
                    source.fragments.push(FragmentRef {
                        decode_time: entry.decode_time,
                        data_offset: entry.offset + u64::from(entry.data_at),
                        data_len: entry.data_len,
                        samples_at: samples_at as u32,
                        duration: entry.duration,
                        epoch: position,
                    });
                }
            }
        }
        if source.fragments.len() < count as usize {
            return Err(RecordError::Damaged("the index has fewer fragments than it had"));
        }
        Ok(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::MediaKind;
    use crate::cmaf::{Sample, encode_samples, testing};
    use crate::codec::Codec;
    use crate::record::index::{Epoch, FragmentEntry, HEADER, put_epoch, put_fragment};
    use crate::record::{RecordingId, TrackMeta};

    /// Six hours of picture and sound in chunks of 200 ms, of which only the indexes and initializations exist.
    #[test]
    fn six_hours_are_laid_out() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned());
        let mut meta = Meta::new(RecordingId::new(0, &mut crate::base::seeded(1)), crate::base::StreamPath::parse("a").unwrap(), 0, None);
        std::fs::create_dir(store.dir(&meta.id)).unwrap();
        let (picture, sound) = (testing::video("320x180", 1, 0, ""), testing::audio("aac", 48_000, 1.0));
        let count = 6 * 3600 * 5u32;
        let mut parts = Vec::new();
        for (track, cut, duration, samples, size) in [(0, &picture, 3000, 6u32, 16_000), (1, &sound, 1024, 9, 400)] {
            let init = read_init(&cut.init).unwrap();
            let (kind, codec) = if track == 0 { (MediaKind::Video, Codec::H264) } else { (MediaKind::Audio, Codec::Aac) };
            let (codec_string, resolution, audio) = (init.codec_string.clone(), init.resolution, init.audio);
            meta.note(TrackMeta { track, kind, codec, codec_string: codec_string.clone(), resolution, audio });
            let (init_len, timescale) = (cut.init.len() as u32, init.timescale);
            let epoch =
                Epoch { epoch: 0, init_len, timescale, kind, codec, codec_string, resolution, sar: None, audio, presentation_shift: 0 };
            let mut index = HEADER.to_vec();
            put_epoch(&epoch, &mut index);
            let mut table = Vec::new();
            encode_samples(&vec![Sample { duration, size, cts: 0, sync: track == 1 }; samples as usize], &mut table);
            let len = samples * size + 200;
            for n in 0..u64::from(count) {
                let entry = FragmentEntry {
                    segment: n / 10,
                    offset: u64::from(init_len) + n * u64::from(len),
                    len,
                    data_at: 200,
                    data_len: samples * size,
                    decode_time: n * u64::from(samples * duration),
                    duration: samples * duration,
                    ..FragmentEntry::default()
                };
                put_fragment(&entry, &table, &mut index);
            }
            std::fs::write(store.dir(&meta.id).join(index_file(track)), &index).unwrap();
            std::fs::write(store.dir(&meta.id).join(track_file(track, 0)), &cut.init).unwrap();
            parts.push((track, count));
        }
        let mp4 = Mp4::build(&store, &meta, &Snapshot(parts)).unwrap();
        assert!(mp4.layout.len() > 10 << 30, "{}", mp4.layout.len());
        assert_eq!(mp4.layout.extents().len(), 2 * count as usize);
        // About 5 bytes per sample of header and 16 per fragment.
        assert!(mp4.memory() < 16 << 20, "{}", mp4.memory());
    }
}
