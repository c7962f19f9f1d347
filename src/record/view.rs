//! A recording as players see it: segments and runs.
//!
//! In: the indexes of its tracks, read on from where they were read to before. Out: what the HLS and DASH views are made from.
//! Pure apart from [`View::refresh`].

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{UnixNanos, rescale};

use super::driver::recover::MAX_INDEX;
use super::driver::store::{Store, index_file};
use super::error::RecordError;
use super::index::{Epoch, HEADER, Record, Records};
use super::meta::Meta;

/// Seventy years in nanoseconds: sums of such times don't overflow, whatever an index says.
const FAR: i64 = 1 << 61;

/// A recording as players see it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct View {
    pub(super) tracks: Vec<TrackView>,
    /// Whether it is being recorded: then the last segment is not shown before it is whole.
    pub(super) live: bool,
    /// As announced from the beginning on, in seconds.
    pub(super) target_duration: Option<u64>,
}

/// One of its tracks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TrackView {
    pub(super) track: u32,
    pub(super) epochs: Vec<Epoch>,
    pub(super) segments: Vec<Segment>,
    /// How many fragments there are so far: what a progressive file made now covers.
    pub(super) fragments: u32,
    /// Bytes of the index that were read.
    parsed: u64,
}

/// A segment: adjacent fragments in one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Index into [`TrackView::epochs`].
    pub(super) epoch: u32,
    pub(super) number: u64,
    /// When its earliest sample is shown, in the timescale of its epoch.
    pub(super) time: u64,
    pub(super) duration: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) wallclock: UnixNanos,
    /// Whether it begins with a key frame.
    pub(super) independent: bool,
    complete: bool,
}

/// What plays without a discontinuity: one epoch, without a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    epoch: u32,
    /// Holes in the whole recording before it.
    holes: u64,
}

impl View {
    /// Reads on in the indexes.
    pub(super) fn refresh(&mut self, store: &Store, meta: &Meta) -> Result<(), RecordError> {
        self.live = meta.ended_at_ms.is_none();
        self.target_duration = meta.target_duration;
        for track in &meta.tracks {
            let at = match self.tracks.binary_search_by_key(&track.track, |t| t.track) {
                Ok(at) => at,
                Err(at) => {
                    let new = TrackView { track: track.track, epochs: vec![], segments: vec![], fragments: 0, parsed: 0 };
                    self.tracks.insert(at, new);
                    at
                }
            };
            let view = &mut self.tracks[at];
            let index = match store.open(&meta.id, &index_file(track.track)) {
                Err(RecordError::NotFound) => continue,
                other => other?,
            };
            let len = index.len()?;
            if len > MAX_INDEX {
                return Err(RecordError::Damaged("an index is larger than 512 MiB"));
            }
            if len > view.parsed {
                view.read_on(&index.read(view.parsed, (len - view.parsed) as usize)?);
            }
        }
        Ok(())
    }

    /// The segments of a track that can be played.
    pub(super) fn playable<'a>(&self, track: &'a TrackView) -> &'a [Segment] {
        match track.segments.split_last() {
            Some((last, rest)) if self.live && !last.complete => rest,
            _ => &track.segments,
        }
    }

    /// The segment that begins at `time` in the epoch with this number. One that still grows has no URL yet.
    pub(super) fn find<'a>(&self, track: &'a TrackView, epoch: u32, time: u64) -> Option<&'a Segment> {
        let index = track.epochs.iter().position(|e| e.epoch == epoch)? as u32;
        // Not by halving: where segments are cut inside a GOP with B-frames, all of one may be shown after the first picture of the next.
        self.playable(track).iter().find(|segment| (segment.epoch, segment.time) == (index, time))
    }

    /// For each number of a segment how many holes come before it: a hole is a number that no track has.
    fn holes(&self) -> BTreeMap<u64, u64> {
        let numbers: BTreeSet<u64> = self.tracks.iter().flat_map(|t| t.segments.iter().map(|s| s.number)).collect();
        let mut holes = BTreeMap::new();
        let mut count = 0;
        let mut before = None;
        for number in numbers {
            if before.is_none_or(|before| number - before > 1) {
                count += u64::from(before.is_some());
                holes.insert(number, count);
            }
            before = Some(number);
        }
        holes
    }

    /// All runs in order, with the playable segments of each track (by index) in them.
    pub(super) fn runs(&self) -> BTreeMap<Run, Vec<&[Segment]>> {
        let holes = self.holes();
        let mut runs = BTreeMap::new();
        for (index, track) in self.tracks.iter().enumerate() {
            let run_of = |segment: &Segment| Run {
                epoch: track.epochs[segment.epoch as usize].epoch,
                holes: holes.range(..=segment.number).next_back().map_or(0, |(_, count)| *count),
            };
            for part in self.playable(track).chunk_by(|a, b| run_of(a) == run_of(b)) {
                let tracks: &mut Vec<&[Segment]> = runs.entry(run_of(&part[0])).or_insert_with(|| vec![&[][..]; self.tracks.len()]);
                // A file can't have the same run twice unless it is damaged; then the later part wins.
                tracks[index] = part;
            }
        }
        runs
    }

    /// Presentation time of a segment on the timeline of its epoch, in nanoseconds.
    pub(super) fn start_nanos(track: &TrackView, segment: &Segment) -> i64 {
        let epoch = &track.epochs[segment.epoch as usize];
        rescale(i64::try_from(segment.time).unwrap_or(i64::MAX / 2), epoch.timescale.max(1), 1_000_000_000).min(FAR)
    }
}

impl TrackView {
    /// Takes in what follows in the index; a cut-off end is left for the next time.
    fn read_on(&mut self, bytes: &[u8]) {
        let mut records = if self.parsed == 0 { Records::of_file(bytes) } else { Records::of_tail(bytes) };
        for record in records.by_ref() {
            match record {
                Record::Epoch(epoch) => self.epochs.push(epoch),
                Record::Fragment(entry, _) => {
                    let Some(last) = self.epochs.last().filter(|e| e.epoch == entry.epoch) else { continue };
                    debug_assert!(last.timescale > 0);
                    self.fragments += 1;
                    let epoch = self.epochs.len() as u32 - 1;
                    let shown = entry.decode_time.saturating_add_signed(last.presentation_shift.saturating_add(i64::from(entry.earliest)));
                    let open = self.segments.last_mut();
                    match open {
                        Some(s) if s.number == entry.segment && s.epoch == epoch && s.offset.saturating_add(s.len) == entry.offset => {
                            s.time = s.time.min(shown);
                            s.duration = s.duration.saturating_add(u64::from(entry.duration));
                            s.len = s.len.saturating_add(u64::from(entry.len));
                            s.complete |= entry.last;
                        }
                        open => {
                            if let Some(before) = open {
                                before.complete = true;
                            }
                            self.segments.push(Segment {
                                epoch,
                                number: entry.segment,
                                time: shown,
                                duration: u64::from(entry.duration),
                                offset: entry.offset,
                                len: u64::from(entry.len),
                                wallclock: entry.wallclock,
                                independent: entry.independent,
                                complete: entry.last,
                            });
                        }
                    }
                }
            }
        }
        let good = records.good() as u64;
        debug_assert!(self.parsed > 0 || good == 0 || good >= HEADER.len() as u64);
        self.parsed += good;
    }
}

/// Name of the initialization of an epoch, below the recording's URL.
pub(super) fn init_name(track: u32, epoch: u32) -> String {
    format!("track-{track}-e{epoch}-init.mp4")
}

/// Name of a segment, likewise; `time` may be `$Time$`.
pub(super) fn segment_name(track: u32, epoch: u32, time: impl std::fmt::Display) -> String {
    format!("track-{track}-e{epoch}-t{time}.m4s")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::index::{FragmentEntry, HEADER, put_epoch, put_fragment};
    use super::*;
    use crate::base::{MediaKind, StreamPath};
    use crate::codec::Codec;
    use crate::record::{RecordingId, dash, hls};

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..10, any::<u64>(), Just(u64::MAX)]
    }

    fn an_epoch(epoch: u32, timescale: u32, presentation_shift: i64) -> Epoch {
        Epoch {
            epoch,
            init_len: u32::MAX,
            timescale,
            kind: MediaKind::Video,
            codec: Codec::H264,
            codec_string: "avc1".into(),
            resolution: Some((u32::MAX, u32::MAX)),
            sar: Some((u32::MAX, 1)),
            audio: Some((u32::MAX, 255)),
            presentation_shift,
        }
    }

    fn index(track: u32, entries: &[(u32, u64, u64, u64, u32, bool)]) -> TrackView {
        let mut bytes = HEADER.to_vec();
        let mut view = TrackView { track, epochs: vec![], segments: vec![], fragments: 0, parsed: 0 };
        for (epoch, segment, decode_time, offset, duration, last) in entries {
            let kind = if track == 0 { MediaKind::Video } else { MediaKind::Audio };
            let epoch = Epoch { kind, ..an_epoch(*epoch, 1 + *duration, i64::MIN) };
            put_epoch(&epoch, &mut bytes);
            let entry = FragmentEntry {
                epoch: epoch.epoch,
                segment: *segment,
                decode_time: *decode_time,
                offset: *offset,
                duration: *duration,
                len: u32::MAX,
                last: *last,
                wallclock: *decode_time as i64,
                ..FragmentEntry::default()
            };
            put_fragment(&entry, &[], &mut bytes);
        }
        view.read_on(&bytes);
        view
    }

    /// A picture alone in its segment, that is shown after those of the next one; and one at the head of its segment.
    #[test]
    fn segments_are_found_whatever_is_shown_first() {
        let mut bytes = HEADER.to_vec();
        let mut view = TrackView { track: 0, epochs: vec![], segments: vec![], fragments: 0, parsed: 0 };
        put_epoch(&an_epoch(0, 90_000, 0), &mut bytes);
        // Segment, when it is decoded, how much later it is shown.
        let pictures = [(0, 0, 1000), (0, 1000, 4000), (0, 2000, 1000), (1, 3000, 6000), (2, 4000, 0), (2, 5000, 0), (2, 6000, 4000)];
        for (at, (segment, decode_time, earliest)) in pictures.into_iter().enumerate() {
            let (offset, last) = (100 * at as u64, at == 6);
            let entry =
                FragmentEntry { segment, decode_time, earliest, offset, len: 100, duration: 1000, last, ..FragmentEntry::default() };
            put_fragment(&entry, &[], &mut bytes);
        }
        view.read_on(&bytes);
        let view = View { tracks: vec![view], live: true, target_duration: None };
        let track = &view.tracks[0];
        assert_eq!(track.segments.iter().map(|segment| segment.time).collect::<Vec<_>>(), [1000, 9000, 4000]);
        let text = hls::media(&view, 0, "").unwrap();
        for segment in &track.segments {
            assert_eq!(view.find(track, 0, segment.time), Some(segment));
            assert!(text.contains(&segment_name(0, 0, segment.time)), "{text}");
        }
    }

    #[test]
    fn the_longest_segment_is_known_where_the_clock_rate_changes() {
        let mut bytes = HEADER.to_vec();
        let mut view = TrackView { track: 0, epochs: vec![], segments: vec![], fragments: 0, parsed: 0 };
        // 2 s each, of sound of 8 kHz that goes on with 96 kHz.
        for (epoch, rate) in [(0, 8_000), (1, 96_000)] {
            put_epoch(&an_epoch(epoch, rate, 0), &mut bytes);
            let (segment, duration) = (u64::from(epoch), 2 * rate);
            let entry = FragmentEntry { epoch, segment, offset: 0, len: 100, duration, last: true, ..FragmentEntry::default() };
            put_fragment(&entry, &[], &mut bytes);
        }
        view.read_on(&bytes);
        let view = View { tracks: vec![view], live: false, target_duration: None };
        let meta = Meta::new(RecordingId::new(0, &mut crate::base::seeded(1)), StreamPath::parse("a").unwrap(), 0, None);
        let text = dash::manifest(&view, &meta, 0, "").unwrap();
        assert!(text.contains("maxSegmentDuration=\"PT2S\""), "{text}");
    }

    proptest! {
        /// Checksums say that a record is what was written, not that it makes sense.
        #[test]
        fn absurd_indexes_never_panic(
            a in proptest::collection::vec((0u32..4, number(), number(), number(), 0u32..u32::MAX, any::<bool>()), 0..8),
            b in proptest::collection::vec((0u32..4, number(), number(), number(), 0u32..u32::MAX, any::<bool>()), 0..8),
            live: bool,
        ) {
            let view = View { tracks: vec![index(0, &a), index(1, &b)], live, target_duration: Some(u64::MAX) };
            let meta = Meta::new(RecordingId::new(0, &mut crate::base::seeded(1)), StreamPath::parse("a").unwrap(), i64::MIN, None);
            let _ = hls::multivariant(&view, "");
            let _ = hls::media(&view, 0, "");
            let _ = hls::media(&view, 1, "");
            let _ = dash::manifest(&view, &meta, i64::MAX, "");
        }
    }
}
