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

/// What there is around `at`. `None` where the segment there begins with a key frame, and where there are no pictures.
pub(super) fn entrances(snapshot: &Snapshot, at: UnixNanos) -> Option<KeyFrames> {
    let listed = snapshot.video()?.listed();
    let begins = |segment: &&Segment| segment.parts.first().is_some_and(|part| part.independent);
    let into = |segment: &Segment| segment.wallclock + INTO.min(segment.duration_nanos() / 2);
    let there = listed.partition_point(|segment| segment.wallclock <= at).checked_sub(1)?;
    if begins(&listed[there].as_ref()) {
        return None;
    }
    let before = listed[..there].iter().map(AsRef::as_ref).rfind(begins);
    let next = listed[there..].iter().map(AsRef::as_ref).find(begins);
    Some(KeyFrames { before: before.map(into), next: next.map(into) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::cmaf::TrackInit;
    use crate::codec::Codec;
    use crate::package::{Part, TrackSnapshot};

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
