//! Names of the playlists, initializations, segments and parts below a stream's path.
//!
//! `v.m3u8` and `a.m3u8`; `v-init-7.mp4`; `v-1700000012.m4s`; `v-1700000012.3.m4s`. Numbers never repeat ([`first_number`]), not even after
//! a restart with a clock that was set back, so everything but the playlists may be cached for ever.

use crate::base::UnixNanos;
use crate::cmaf::Targets;

/// What a name below a stream's path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaName {
    /// A track's media playlist.
    Playlist {
        /// As in `Chunk::track`.
        track: u32,
    },
    /// A track's initialization.
    Init {
        /// As in `Chunk::track`.
        track: u32,
        /// Media sequence number of the presentation's beginning plus the epoch.
        number: u64,
    },
    /// A segment.
    Segment {
        /// As in `Chunk::track`.
        track: u32,
        /// Media sequence number.
        number: u64,
    },
    /// A part of a segment.
    Part {
        /// As in `Chunk::track`.
        track: u32,
        /// Media sequence number.
        number: u64,
        /// Index within the segment.
        part: usize,
    },
}

const SECOND: i64 = 1_000_000_000;
/// The beginning of 2020.
const YEAR_2020: UnixNanos = 1_577_836_800 * SECOND;

/// The media sequence number with which a presentation begins at `now`: the Unix time in seconds; or the half seconds since 2020 where segments
/// may be as short, so that numbers are not used up faster than time passes and those of another run of the server lie before it. `unused` is
/// beyond all numbers of this run and of those before it: the clock may have been set back, or encoders that break off every moment may have
/// made shorter segments.
pub(super) fn first_number(now: UnixNanos, targets: Targets, unused: u64) -> u64 {
    // Below 2^31 all the time: ffmpeg takes a DASH number for an `int`, and asks for negative ones beyond.
    let number = match targets.segment() < SECOND {
        true if now >= YEAR_2020 => (now - YEAR_2020) / (SECOND / 2),
        true => now / (SECOND / 2),
        false => now / SECOND,
    };
    u64::try_from(number).unwrap_or(0).max(unused)
}

/// What numbers count, for who keeps one from one run of the server to the next.
pub(super) fn unit(targets: Targets) -> &'static str {
    if targets.segment() < SECOND { "half seconds since 2020" } else { "Unix seconds" }
}

/// Letters of the tracks, by number. A stream has one video and one audio track; the others leave room for more.
const LETTERS: [&str; 4] = ["v", "a", "b", "c"];

fn letter(track: u32) -> &'static str {
    LETTERS.get(track as usize).copied().unwrap_or("x")
}

impl MediaName {
    /// Reads a name; `None` where it is none of ours.
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, extension) = name.rsplit_once('.')?;
        let track_of = |text: &str| LETTERS.iter().position(|known| *known == text).map(|at| at as u32);
        match extension {
            "m3u8" => Some(Self::Playlist { track: track_of(stem)? }),
            "mp4" => {
                let (track, number) = stem.split_once("-init-")?;
                Some(Self::Init { track: track_of(track)?, number: digits(number)? })
            }
            "m4s" => {
                let (track, rest) = stem.split_once('-')?;
                let track = track_of(track)?;
                Some(match rest.split_once('.') {
                    Some((number, part)) => Self::Part { track, number: digits(number)?, part: usize::try_from(digits(part)?).ok()? },
                    None => Self::Segment { track, number: digits(rest)? },
                })
            }
            _ => None,
        }
    }
}

/// Digits only: neither signs nor blanks, so that every file has one name.
fn digits(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

impl std::fmt::Display for MediaName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Playlist { track } => write!(f, "{}.m3u8", letter(track)),
            Self::Init { track, number } => write!(f, "{}-init-{number}.mp4", letter(track)),
            Self::Segment { track, number } => write!(f, "{}-{number}.m4s", letter(track)),
            Self::Part { track, number, part } => write!(f, "{}-{number}.{part}.m4s", letter(track)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_read_back() {
        for name in [
            MediaName::Playlist { track: 0 },
            MediaName::Init { track: 1, number: 1_700_000_000 },
            MediaName::Segment { track: 0, number: 0 },
            MediaName::Part { track: 1, number: u64::MAX, part: 17 },
        ] {
            assert_eq!(MediaName::parse(&name.to_string()), Some(name));
        }
    }

    #[test]
    fn others_are_none_of_ours() {
        for text in [
            "",
            "v",
            ".m3u8",
            "z.m3u8",
            "v-.m4s",
            "v-1.m4s.x",
            "v-+1.m4s",
            "v-01.m4s",
            "v-1.-2.m4s",
            "v-init.mp4",
            "../v.m3u8",
            "v-99999999999999999999.m4s",
        ] {
            assert_eq!(MediaName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn first_numbers() {
        let targets = |ms| Targets::new(std::time::Duration::from_millis(ms), std::time::Duration::from_millis(100));
        for (now, segment, unused, wanted) in [
            (1_700_000_000_900_000_000, 2000, 0, 1_700_000_000),
            (1_700_000_000_900_000_000, 1000, 5, 1_700_000_000),
            (1_700_000_000_900_000_000, 999, 0, 244_326_401),
            (1_700_000_000_900_000_000, 500, 0, 244_326_401),
            (2_100_000_000_000_000_000, 2000, 0, 2_100_000_000),
            (2_100_000_000_000_000_000, 500, 0, 1_044_326_400),
            // A clock that was never set.
            (1_000_000_000_000_000_000, 500, 0, 2_000_000_000),
            // The clock was set back.
            (1_600_000_000_000_000_000, 2000, 1_700_000_000, 1_700_000_000),
            (-5, 2000, 0, 0),
            (-5, 500, 7, 7),
        ] {
            assert_eq!(first_number(now, targets(segment), unused), wanted, "{now} {segment} {unused}");
            assert!(wanted < 1 << 31, "ffmpeg's int");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            if let Some(name) = MediaName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
