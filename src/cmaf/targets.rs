//! How long segments and parts may be: said once, before the first one is made, and kept by all that follow.
//!
//! In: the lengths that the configuration asks for. Out: the bounds that the cuts keep and the playlists announce. They can't change
//! (RFC 8216bis section 6.2.1), so they leave room for whatever an encoder does. Pure.

use std::time::Duration;

const SECOND: i64 = 1_000_000_000;
const MS: i64 = 1_000_000;

/// Lengths of the pictures of the usual rates: 23.976, 24, 25, 29.97, 30, 50 and 60 a second.
const PICTURES: [i64; 7] = [41_708_333, 41_666_667, 40_000_000, 33_366_667, 33_333_333, 20_000_000, 16_683_333];
/// How far a sum of such lengths is off where times are whole milliseconds, as RTMP's are.
const JITTER: i64 = 1_200_000;
/// How much longer than the target duration a segment may be: EXTINF counts rounded. Sound ends up to half a frame behind the pictures, which
/// is 70 ms at most, and the last picture lasts a little longer.
const ROUNDED: i64 = 330_000_000;

/// What is longer than whole seconds by no more is still rounded down, also after it was rounded to ticks.
const ROUNDS_DOWN: i64 = SECOND / 2 - MS;

/// The bounds of one server's segments and parts, in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targets {
    segment: i64,
    part: i64,
    part_target: i64,
}

impl Default for Targets {
    /// Segments of 2 s and parts of 200 ms.
    fn default() -> Self {
        Self::new(Duration::from_secs(2), Duration::from_millis(200))
    }
}

impl Targets {
    /// For segments of at least `segment` and parts of about `part`.
    pub fn new(segment: Duration, part: Duration) -> Self {
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX).clamp(MS, 3600 * SECOND);
        let part = nanos(part);
        // A part that ends as soon as it is as long as wanted must not be too short for what is announced.
        let part_target = part_target(part);
        Self { segment: nanos(segment), part: part.max(shortest(part_target)), part_target }
    }

    /// How long a segment should be: the first key frame after it ends it. Key frames that are 2 s apart are never exactly so.
    pub fn segment(&self) -> i64 {
        self.segment
    }

    /// EXT-X-TARGETDURATION, in seconds: twice the wanted length, so that a GOP of up to that is one segment.
    pub fn target_duration(&self) -> u64 {
        (2 * self.segment as u64).div_ceil(SECOND as u64).max(1)
    }

    /// The longest a segment may be: its EXTINF, rounded, is no longer than the target duration (RFC 8216bis section 4.4.3.1).
    pub fn longest_segment(&self) -> i64 {
        self.target_duration() as i64 * SECOND + ROUNDED
    }

    /// The longest a segment of sound may be where pictures don't decide where it ends.
    pub fn longest_sound(&self) -> i64 {
        self.target_duration() as i64 * SECOND + ROUNDS_DOWN
    }

    /// How long a part should be.
    pub fn part(&self) -> i64 {
        self.part
    }

    /// PART-TARGET: no part is longer.
    pub fn part_target(&self) -> i64 {
        self.part_target
    }

    /// Shortest a part may be that neither is INDEPENDENT nor ends its segment (RFC 8216bis section 4.4.4.9).
    pub fn shortest_part(&self) -> i64 {
        shortest(self.part_target)
    }
}

/// 85 % of it (RFC 8216bis section 4.4.4.9).
fn shortest(part_target: i64) -> i64 {
    (part_target * 85).div_euclid(100) + 1
}

/// The shortest target from the wanted length on for which a whole number of pictures fits between 85 % of it and itself, at all usual
/// rates: 210 ms for 200. Where there is none within half as much again, at as many rates as can be.
fn part_target(part: i64) -> i64 {
    let fits = |target: i64| {
        let fit = |picture: &&i64| {
            let most = (target - JITTER) / **picture;
            most * **picture >= target * 85 / 100 + JITTER
        };
        PICTURES.iter().filter(fit).count()
    };
    let first = part.div_euclid(MS) + i64::from(part % MS != 0);
    let mut best = (0, first * MS);
    for ms in first..=(part * 3 / 2 / MS).max(first) {
        let count = fits(ms * MS);
        if count > best.0 {
            best = (count, ms * MS);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(segment: u64, part: u64) -> Targets {
        Targets::new(Duration::from_millis(segment), Duration::from_millis(part))
    }

    #[test]
    fn usual_rates_fit_the_part_target() {
        // What is asked for (ms), what is announced.
        for (part, target) in [(50, 68), (100, 135), (200, 210), (250, 252), (333, 333), (500, 500), (1000, 1000), (2000, 2000)] {
            let targets = targets(2000, part);
            assert_eq!(targets.part_target() / MS, target, "{part}");
            assert!(targets.part_target() >= targets.part() && targets.shortest_part() <= targets.part());
        }
        let targets = targets(2000, 200);
        for picture in PICTURES {
            let length = (targets.part_target() - JITTER) / picture * picture;
            assert!((targets.shortest_part()..=targets.part_target()).contains(&length), "{picture}");
        }
    }

    #[test]
    fn segments_have_room() {
        for (segment, target) in [(500, 1), (1000, 2), (2000, 4), (2500, 5), (6000, 12), (30_000, 60)] {
            let targets = targets(segment, 200);
            assert_eq!(targets.target_duration(), target, "{segment}");
            let rounded = (targets.longest_segment() + 140 * MS + SECOND / 2) / SECOND;
            assert!(rounded as u64 <= target, "{segment}");
        }
    }
}
