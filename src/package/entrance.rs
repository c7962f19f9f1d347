//! Where a player that comes in can begin to show pictures.
//!
//! In: a snapshot, where on the wall clock a player would begin. Out: the key frames around it. Pure.

use super::snapshot::{NANOS, Segment, Snapshot};
use crate::base::UnixNanos;

/// How far into the segment that begins with a key frame, in ns: a player takes the segment that lies there from its beginning, and what
/// comes while it reads one list after the other must not take it into the next segment.
const INTO: i64 = NANOS as i64 / 2;

/// The key frames around a place without one: browsers drop pictures up to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyFrames {
    /// In the segment of the last key frame before it, unless that has left the window.
    pub(super) before: Option<UnixNanos>,
    /// In the segment of the first one behind it, if that has come.
    pub(super) next: Option<UnixNanos>,
}

/// Whether a segment begins with a key frame.
fn begins(segment: &Segment) -> bool {
    segment.parts.first().is_some_and(|part| part.independent)
}

/// What there is around `at`. `None` where the segment there begins with a key frame, and where there are no pictures.
pub(super) fn entrances(snapshot: &Snapshot, at: UnixNanos) -> Option<KeyFrames> {
    let listed = snapshot.video()?.listed();
    let into = |segment: &Segment| segment.wallclock + INTO.min(segment.duration_nanos() / 2);
    let there = listed.partition_point(|segment| segment.wallclock <= at).checked_sub(1)?;
    if begins(&listed[there]) {
        return None;
    }
    let before = listed[..there].iter().rfind(|segment| begins(segment));
    let next = listed[there..].iter().find(|segment| begins(segment));
    Some(KeyFrames { before: before.map(|segment| into(segment)), next: next.map(|segment| into(segment)) })
}

/// Where the earliest segment begins that somebody may be playing from who came in since a player would have begun at `at`. `None` where all
/// segments since begin with a key frame: then nobody is sent back.
pub(super) fn sent_back_to(snapshot: &Snapshot, at: UnixNanos) -> Option<UnixNanos> {
    let listed = snapshot.video()?.listed();
    let there = listed.partition_point(|segment| segment.wallclock <= at).saturating_sub(1);
    if listed.get(there..)?.iter().all(|segment| begins(segment)) {
        return None;
    }
    listed.get(..=there)?.iter().rfind(|segment| begins(segment)).map(|segment| segment.wallclock)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::cmaf::TrackInit;
    use crate::codec::Codec;
    use crate::package::{Part, Recall, TrackSnapshot};

    const S: i64 = NANOS as i64;

    /// Segments of 2 s from the wall clock's 0 on: `K` begins with a key frame, `p` doesn't.
    fn stream(codec: Codec, segments: &str) -> Snapshot {
        let segment = |(at, key): (usize, char)| {
            Arc::new(Segment {
                number: at as u64,
                epoch: 0,
                wallclock: at as i64 * 2 * S,
                presentation_time: 0,
                duration: 180_000,
                timescale: 90_000,
                // The second part's key frame is none to begin with.
                parts: [key == 'K', true].map(|independent| Part { duration: 90_000, independent, data: Bytes::new() }).to_vec(),
                complete: true,
                timeline: None,
                recall: Recall::default(),
            })
        };
        let init = TrackInit {
            track: 0,
            epoch: 0,
            codec,
            codec_string: String::new(),
            timescale: 90_000,
            resolution: None,
            audio: None,
            data: Bytes::new(),
        };
        let segments = segments.chars().enumerate().map(segment).collect();
        let track = TrackSnapshot {
            track: 0,
            inits: vec![Arc::new(init)],
            segments,
            between: false,
            unlisted: 0,
            peak_bitrate: 0,
            average_bitrate: 0,
        };
        Snapshot { tracks: vec![track], ..Default::default() }
    }

    #[test]
    fn where_somebody_may_still_be_coming_in() {
        for (segments, at, expected) in [
            ("KKKK", 5 * S, None),
            ("KpKpKp", 7 * S, Some(4 * S)),
            ("KpKpKp", 8 * S, Some(8 * S)),
            ("KpKpK", 8 * S, None),
            ("KppppKK", 11 * S, None),
            ("KppppKK", 9 * S, Some(0)),
            ("Kpppp", 60 * S, Some(0)),
            ("ppp", 3 * S, None),
            ("pK", -1, None),
            ("", 0, None),
        ] {
            assert_eq!(sent_back_to(&stream(Codec::H264, segments), at), expected, "{segments} at {at}");
        }
    }

    #[test]
    fn the_key_frames_around_a_place() {
        let around = |before, next| Some(KeyFrames { before, next });
        for (segments, at, expected) in [
            ("KKKK", 5 * S, None),
            ("KppKppKpp", 6 * S, None),
            ("KppKppKpp", 6 * S - 1, around(Some(S / 2), Some(13 * S / 2))),
            ("KppKppKpp", 10 * S, around(Some(13 * S / 2), Some(25 * S / 2))),
            ("KppKppKpp", 17 * S, around(Some(25 * S / 2), None)),
            ("Kpppppppp", 17 * S, around(Some(S / 2), None)),
            ("pppppKppp", 3 * S, around(None, Some(21 * S / 2))),
            ("ppp", 3 * S, around(None, None)),
            // Before the window, and in a gap behind it.
            ("ppK", -1, None),
            ("Kpp", 60 * S, around(Some(S / 2), None)),
            ("", 0, None),
        ] {
            assert_eq!(entrances(&stream(Codec::H264, segments), at), expected, "{segments} at {at}");
            assert_eq!(entrances(&stream(Codec::Aac, segments), at), None, "sound has an entrance everywhere");
        }
    }
}
