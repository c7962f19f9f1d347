//! Puts a publisher's media clock on the wall clock, once for all its tracks, and mends its jumps.
//!
//! In: decoding times as the publisher stamps them, with the time of arrival. Out: the offset to add to them. Pure.

use crate::base::UnixNanos;

/// Furthest a decoding time may step ahead of the time that passed since the unit before, in ns. Above what buffering in an
/// encoder or a network does, below what anybody would want to wait for.
const MAX_STEP_AHEAD: i64 = 3_000_000_000;
/// Furthest a decoding time may step back and still count as sloppy stamping rather than a new timeline, in ns.
const MAX_STEP_BACK: i64 = 500_000_000;
/// How far a track's first unit may lie from the time of arrival on the timeline of the tracks before it, in ns.
const MAX_START_SKEW: i64 = 10_000_000_000;

/// Where one track stands.
#[derive(Debug, Clone, Copy)]
struct TrackTime {
    /// Wall clock minus media clock, in ns.
    offset: i64,
    /// Media time of the last unit, in ns.
    last_media: i64,
    /// When it arrived.
    last_arrival: UnixNanos,
}

/// One publication's timeline. Tracks are named by small numbers, as given by [`Timeline::add_track`].
#[derive(Debug, Default)]
pub(super) struct Timeline {
    tracks: Vec<Option<TrackTime>>,
    /// No unit may be put before this: where the publisher before a reconnect ended.
    floor: UnixNanos,
}

impl Timeline {
    /// Begins a timeline on which nothing comes before `floor`.
    pub fn starting_after(floor: UnixNanos) -> Self {
        Self { tracks: Vec::new(), floor }
    }

    /// Adds a track.
    pub fn add_track(&mut self) -> usize {
        self.tracks.push(None);
        self.tracks.len() - 1
    }

    /// The offset (wall clock minus media clock, ns) for a unit of `track` with decoding time `media` (ns) that arrived at `now`.
    /// It stays the same until the publisher's clock jumps; then all tracks that jump together get the same new one.
    pub fn offset(&mut self, track: usize, media: i64, now: UnixNanos) -> i64 {
        let offset = match self.tracks.get(track).copied().flatten() {
            Some(at) => {
                let step = media.saturating_sub(at.last_media);
                let passed = now.saturating_sub(at.last_arrival).max(0);
                // After a stall, media from before it comes in a burst: what does not lie in the future is no jump either.
                let not_ahead = step <= passed.saturating_add(MAX_STEP_AHEAD) || media.saturating_add(at.offset) <= now;
                if step >= -MAX_STEP_BACK && not_ahead {
                    at.offset
                } else {
                    let expected = at.last_media.saturating_add(at.offset).saturating_add(passed);
                    self.other_offset_near(track, media, expected, MAX_STEP_BACK).unwrap_or(expected.saturating_sub(media))
                }
            }
            None => {
                let expected = now.max(self.floor);
                self.other_offset_near(track, media, expected, MAX_START_SKEW).unwrap_or(expected.saturating_sub(media))
            }
        };
        if let Some(slot) = self.tracks.get_mut(track) {
            *slot = Some(TrackTime { offset, last_media: media, last_arrival: now });
        }
        offset
    }

    /// An offset of another track that would put `media` near `expected`: tracks that jumped together stay in sync.
    fn other_offset_near(&self, track: usize, media: i64, expected: UnixNanos, within: i64) -> Option<i64> {
        self.tracks
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != track)
            .filter_map(|(_, at)| at.map(|at| at.offset))
            .find(|offset| (media.saturating_add(*offset)).abs_diff(expected) <= within.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const S: i64 = 1000 * MS;
    const NOW: i64 = 1_700_000_000 * S;

    #[test]
    fn tracks_share_one_offset() {
        let mut t = Timeline::default();
        let (v, a) = (t.add_track(), t.add_track());
        let first = t.offset(v, 5 * S, NOW);
        assert_eq!(first, NOW - 5 * S);
        assert_eq!(t.offset(a, 5 * S + 20 * MS, NOW + 700 * MS), first);
        assert_eq!(t.offset(v, 5 * S + 33 * MS, NOW + 40 * MS), first);
    }

    #[test]
    fn a_stalled_network_is_no_jump() {
        let mut t = Timeline::default();
        let v = t.add_track();
        let first = t.offset(v, 0, NOW);
        assert_eq!(t.offset(v, 33 * MS, NOW + 10 * S), first);
        assert_eq!(t.offset(v, 9 * S, NOW + 10 * S), first, "caught up in a burst, in time that had passed");
    }

    #[test]
    fn faster_than_real_time_is_no_jump() {
        let mut t = Timeline::default();
        let v = t.add_track();
        let first = t.offset(v, 0, NOW);
        for i in 1..1000 {
            assert_eq!(t.offset(v, i * 33 * MS, NOW + i), first);
        }
    }

    #[test]
    fn a_jump_moves_all_tracks_alike() {
        for jump in [100_000 * S, -4 * S, -100_000 * S] {
            let mut t = Timeline::default();
            let (v, a) = (t.add_track(), t.add_track());
            let first = t.offset(v, 0, NOW);
            t.offset(a, 0, NOW);
            let second = t.offset(v, jump, NOW + 40 * MS);
            assert_ne!(first, second);
            assert_eq!(jump + second, NOW + 40 * MS, "the timeline goes on with the time that passed");
            assert_eq!(t.offset(a, jump + 10 * MS, NOW + 50 * MS), second, "audio follows video");
            assert_eq!(t.offset(v, jump + 33 * MS, NOW + 80 * MS), second);
        }
    }

    #[test]
    fn a_track_that_jumps_alone_does_not_drag_the_other() {
        let mut t = Timeline::default();
        let (v, a) = (t.add_track(), t.add_track());
        let first = t.offset(v, 0, NOW);
        t.offset(a, 0, NOW);
        let audio = t.offset(a, 1000 * S, NOW + 20 * MS);
        assert_ne!(audio, first);
        assert_eq!(t.offset(v, 33 * MS, NOW + 33 * MS), first);
        assert_eq!(t.offset(a, 1000 * S + 20 * MS, NOW + 40 * MS), audio);
    }

    #[test]
    fn after_a_reconnect_time_does_not_go_back() {
        let mut t = Timeline::starting_after(NOW + 2 * S);
        let v = t.add_track();
        assert_eq!(t.offset(v, 0, NOW), NOW + 2 * S);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut t = Timeline::default();
        let v = t.add_track();
        for media in [i64::MIN, i64::MAX, 0, i64::MAX, i64::MIN] {
            t.offset(v, media, NOW);
        }
    }
}
