//! Where segments and chunks are cut: at the same times on every track.
//!
//! In: access units of all tracks of a job, each track in order. Out: the same units, each with the cut to be made before it.
//! The first video track decides (at its key frames); sound waits until the pictures have passed its time, so that it is cut
//! at the nearest frame border. Pure: no clock, no GStreamer.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::pipeline::wire::Cutting;

/// Sound waits for pictures at most this long after it came: pictures at 4 a second still cut it exactly, and so do those of
/// a key-frame cache, which come as fast as they can.
const HOLD_MAX: i64 = 250_000_000;
/// At the beginning sound waits longer, for the first key frame; then it goes on alone.
const HOLD_START: i64 = 3_000_000_000;
/// Most audio frames waiting: 20 s, longer than any key-frame cache.
const HELD_MAX: usize = 1024;
/// Pictures that are so far behind the sound no longer decide about the cuts.
const VIDEO_STALLED: i64 = 2_000_000_000;

/// An access unit on the wall clock (ns).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Presentation time.
    pub pts: i64,
    /// Decoding time.
    pub dts: i64,
    /// How long it lasts, where known (audio), else 0.
    pub duration: i64,
    /// Whether decoding can start here.
    pub key: bool,
    /// The coded bytes.
    pub data: Bytes,
}

/// What to cut before a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Nothing.
    None,
    /// A chunk ends.
    Chunk,
    /// A segment ends (or the track begins); the unit begins the one with this number.
    Segment(u64),
}

/// A unit that may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Which track.
    pub track: usize,
    /// The cut before it.
    pub split: Split,
    /// The unit.
    pub unit: Unit,
}

#[derive(Debug)]
struct Track {
    video: bool,
    /// The segment it is in.
    segment: Option<u64>,
    chunk_start: i64,
    max_pts: i64,
    /// When each came, and what.
    held: VecDeque<(i64, Unit)>,
}

/// Decides about the cuts of one job.
#[derive(Debug)]
pub struct Cutter {
    segment: i64,
    part: i64,
    tracks: Vec<Track>,
    /// Number and time of the newest segment; older ones are only needed by tracks that are behind.
    cuts: VecDeque<(u64, i64)>,
    first: u64,
    not_before: i64,
    /// Tracks that need a key frame to go on.
    wants_key: Vec<usize>,
    /// A key frame would end a segment that is long enough.
    asks: Vec<usize>,
}

/// A track that is behind by more segments goes on in the oldest of these.
const CUTS_KEPT: usize = 64;

impl Cutter {
    /// For tracks of which `video` tells which are pictures.
    pub fn new(cutting: Cutting, video: &[bool]) -> Self {
        let tracks = video
            .iter()
            .map(|video| Track { video: *video, segment: None, chunk_start: 0, max_pts: i64::MIN, held: VecDeque::new() })
            .collect();
        Self {
            segment: cutting.segment as i64,
            part: cutting.part as i64,
            tracks,
            cuts: VecDeque::new(),
            first: cutting.first_segment,
            not_before: cutting.not_before,
            wants_key: Vec::new(),
            asks: Vec::new(),
        }
    }

    /// The time at which the first segment begins.
    pub fn begin(&self) -> Option<i64> {
        self.cuts.front().map(|(_, time)| *time).filter(|_| !self.cuts.is_empty())
    }

    /// Tracks that need a key frame to go on, since the last call.
    pub fn take_wants_key(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.wants_key)
    }

    /// Tracks on which a key frame would be welcome now, to end a segment, since the last call.
    pub fn take_asks(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.asks)
    }

    /// Takes a unit that came at `now` (ns of any clock that goes on evenly); appends what may go on now.
    pub fn push(&mut self, now: i64, track: usize, unit: Unit, out: &mut Vec<Placed>) {
        if unit.pts < self.not_before {
            return;
        }
        if self.tracks[track].video {
            self.push_video(track, unit, out);
        } else {
            self.tracks[track].held.push_back((now, unit));
        }
        self.release(now, out);
    }

    /// Gives what is still held, at the end.
    pub fn finish(&mut self, out: &mut Vec<Placed>) {
        if !self.cuts.is_empty() {
            for track in 0..self.tracks.len() {
                while let Some((_, unit)) = self.tracks[track].held.pop_front() {
                    self.place(track, unit, out);
                }
            }
        }
    }

    fn master(&self) -> Option<usize> {
        self.tracks.iter().position(|track| track.video)
    }

    fn push_video(&mut self, track: usize, unit: Unit, out: &mut Vec<Placed>) {
        if self.master() == Some(track) {
            // Key frames that are 2 s apart are never exactly so.
            let due = self.cuts.back().is_none_or(|(_, last)| unit.pts - last >= self.segment - self.segment / 20);
            if due && unit.key {
                self.cut(unit.pts);
            } else if due {
                self.asks.push(track);
            }
        }
        let state = &mut self.tracks[track];
        if self.cuts.is_empty() || (state.segment.is_none() && !unit.key) {
            self.wants_key.push(track);
            return;
        }
        self.place(track, unit, out);
    }

    fn cut(&mut self, time: i64) {
        let number = self.cuts.back().map_or(self.first, |(number, _)| number + 1);
        self.cuts.push_back((number, time));
        if self.cuts.len() > CUTS_KEPT {
            self.cuts.pop_front();
        }
    }

    fn release(&mut self, now: i64, out: &mut Vec<Placed>) {
        let master = self.master();
        for track in 0..self.tracks.len() {
            if self.tracks[track].video {
                continue;
            }
            while let Some((came, front)) = self.tracks[track].held.front() {
                let (begin, middle, waited) = (front.pts, front.pts + front.duration / 2, now - came);
                if let Some(master) = master {
                    let shown = self.tracks[master].max_pts;
                    if shown < middle {
                        let patience = if self.cuts.is_empty() { HOLD_START } else { HOLD_MAX };
                        if waited < patience && self.tracks[track].held.len() < HELD_MAX {
                            break;
                        }
                        let alone = self.cuts.is_empty() || (shown < middle - VIDEO_STALLED && self.due(middle));
                        if alone {
                            self.cut(begin);
                        }
                    }
                } else if self.cuts.is_empty() || self.due(middle) {
                    self.cut(begin);
                }
                if let Some((_, unit)) = self.tracks[track].held.pop_front() {
                    self.place(track, unit, out);
                }
            }
        }
    }

    fn due(&self, time: i64) -> bool {
        self.cuts.back().is_none_or(|(_, last)| time - last >= self.segment)
    }

    fn place(&mut self, track: usize, unit: Unit, out: &mut Vec<Placed>) {
        let state = &mut self.tracks[track];
        let middle = unit.pts + unit.duration / 2;
        // Pictures belong to the segment of their key frame: those decoded after it are shown after it.
        let Some((number, _)) = self.cuts.iter().rev().find(|(_, time)| *time <= middle).copied() else {
            return;
        };
        let anchor = unit.pts > state.max_pts;
        let split = match state.segment {
            Some(current) if number <= current => {
                // Not at every key frame: LL-HLS wants all parts but the last of a segment to have 85 % of the target (RFC 8216bis, 4.4.4.9).
                if anchor && unit.dts - state.chunk_start >= self.part * 85 / 100 { Split::Chunk } else { Split::None }
            }
            _ if state.video && !unit.key => {
                // The cut was made without the pictures: they go on at a key frame.
                self.wants_key.push(track);
                return;
            }
            _ => Split::Segment(number),
        };
        if let Split::Segment(number) = split {
            state.segment = Some(number);
        }
        if split != Split::None {
            state.chunk_start = unit.dts;
        }
        state.max_pts = state.max_pts.max(unit.pts);
        out.push(Placed { track, split, unit });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const FRAME: i64 = 40 * MS;
    const AUDIO: i64 = 21_333_333;

    fn cutter(video: &[bool]) -> Cutter {
        let cutting = Cutting { segment: 2_000_000_000, part: 200_000_000, first_segment: 5, epoch: 0, not_before: i64::MIN };
        Cutter::new(cutting, video)
    }

    fn unit(pts: i64, duration: i64, key: bool) -> Unit {
        Unit { pts, dts: pts, duration, key, data: Bytes::new() }
    }

    /// Pictures and sound as they come live, sound `lead` ns ahead.
    fn run(cutter: &mut Cutter, until: i64, gop: i64, lead: i64) -> Vec<Placed> {
        let mut out = Vec::new();
        let (mut v, mut a) = (0, 0);
        while v < until {
            if a - lead <= v {
                cutter.push(a - lead, 1, unit(a, AUDIO, true), &mut out);
                a += AUDIO;
            } else {
                cutter.push(v, 0, unit(v, 0, (v / FRAME) % gop == 0), &mut out);
                v += FRAME;
            }
        }
        cutter.finish(&mut out);
        out
    }

    fn segments(out: &[Placed], track: usize) -> Vec<(u64, i64)> {
        out.iter()
            .filter(|placed| placed.track == track)
            .filter_map(|placed| match placed.split {
                Split::Segment(number) => Some((number, placed.unit.pts)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn tracks_are_cut_at_the_same_times() {
        for lead in [0, 100 * MS, -100 * MS] {
            let out = run(&mut cutter(&[true, false]), 9_000 * MS, 25, lead);
            let (video, audio) = (segments(&out, 0), segments(&out, 1));
            assert_eq!(video, [(5, 0), (6, 2_000 * MS), (7, 4_000 * MS), (8, 6_000 * MS), (9, 8_000 * MS)]);
            assert_eq!(audio.len(), video.len());
            for (a, v) in audio.iter().zip(&video) {
                assert_eq!(a.0, v.0);
                assert!((a.1 - v.1).abs() <= AUDIO / 2 + 1, "{a:?} {v:?}");
            }
        }
    }

    #[test]
    fn sound_of_a_cache_waits_for_its_pictures() {
        let mut cutter = cutter(&[true, false]);
        let mut out = Vec::new();
        (0..200).for_each(|n| cutter.push(0, 1, unit(n * AUDIO, AUDIO, true), &mut out));
        assert!(out.is_empty());
        (0..120).for_each(|n| cutter.push(100 * MS, 0, unit(n * FRAME, 0, n % 50 == 0), &mut out));
        assert_eq!(segments(&out, 0).len(), 3);
        assert_eq!(segments(&out, 1).len(), 3);
    }

    #[test]
    fn a_key_frame_is_asked_for_when_a_segment_is_long_enough() {
        let mut cutter = cutter(&[true]);
        let mut out = Vec::new();
        for n in 0..60 {
            cutter.push(0, 0, unit(n * FRAME, 0, n == 0), &mut out);
            assert_eq!(!cutter.take_asks().is_empty(), n * FRAME >= 1_900 * MS, "{n}");
        }
        assert!(cutter.take_wants_key().is_empty());
        assert_eq!(out.len(), 60);
    }

    #[test]
    fn long_gops_make_long_segments() {
        let out = run(&mut cutter(&[true, false]), 17_000 * MS, 200, 0);
        assert_eq!(segments(&out, 0), [(5, 0), (6, 8_000 * MS), (7, 16_000 * MS)]);
        assert_eq!(segments(&out, 1).len(), 3);
    }

    #[test]
    fn chunks_and_their_lengths() {
        let out = run(&mut cutter(&[true, false]), 2_000 * MS, 25, 0);
        let cuts: Vec<i64> = out.iter().filter(|p| p.track == 0 && p.split != Split::None).map(|p| p.unit.pts / MS).collect();
        assert_eq!(cuts, [0, 200, 400, 600, 800, 1000, 1200, 1400, 1600, 1800]);
    }

    #[test]
    fn sound_alone() {
        let mut cutter = cutter(&[false]);
        let mut out = Vec::new();
        for n in 0..300 {
            cutter.push(n * AUDIO, 0, unit(n * AUDIO, AUDIO, true), &mut out);
        }
        assert_eq!(out.len(), 300);
        let found = segments(&out, 0);
        assert_eq!(found.len(), 4);
        assert!(found.windows(2).all(|pair| (pair[1].1 - pair[0].1 - 2_000 * MS).abs() <= AUDIO), "{found:?}");
    }

    #[test]
    fn chunks_begin_only_where_nothing_before_is_shown_later() {
        let mut cutter = cutter(&[true]);
        let mut out = Vec::new();
        let mut dts = -2 * FRAME;
        for group in 0..20 {
            let base = group * 3 * FRAME;
            let order = if group == 0 { vec![0] } else { vec![base, base - 2 * FRAME, base - FRAME] };
            for pts in order {
                cutter.push(dts, 0, Unit { pts, dts, duration: 0, key: pts == 0, data: Bytes::new() }, &mut out);
                dts += FRAME;
            }
        }
        let mut shown = i64::MIN;
        for placed in &out {
            if placed.split == Split::Chunk {
                assert!(placed.unit.pts > shown);
            }
            shown = shown.max(placed.unit.pts);
        }
        assert!(out.iter().filter(|p| p.split == Split::Chunk).count() > 5);
    }

    #[test]
    fn stalled_pictures_do_not_stop_the_sound_and_come_back_at_a_key_frame() {
        let mut cutter = cutter(&[true, false]);
        let mut out = run(&mut cutter, 1_000 * MS, 25, 0);
        let mut a = out.iter().filter(|p| p.track == 1).map(|p| p.unit.pts).max().unwrap() + AUDIO;
        while a < 9_000 * MS {
            cutter.push(a, 1, unit(a, AUDIO, true), &mut out);
            a += AUDIO;
        }
        let last = *segments(&out, 1).last().unwrap();
        assert!(last.0 >= 8, "{last:?}");
        out.clear();
        cutter.push(a, 0, unit(a, 0, false), &mut out);
        assert_eq!(cutter.take_wants_key(), [0]);
        cutter.push(a, 0, unit(a + FRAME, 0, true), &mut out);
        assert_eq!(segments(&out, 0).len(), 1);
    }

    #[test]
    fn sound_without_the_promised_pictures_begins_after_a_while() {
        let mut cutter = cutter(&[true, false]);
        let mut out = Vec::new();
        for n in 0..150 {
            cutter.push(n * AUDIO, 1, unit(n * AUDIO, AUDIO, true), &mut out);
        }
        assert_eq!(segments(&out, 1)[0], (5, 0));
    }
}
