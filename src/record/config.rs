//! The `[record]` section of the configuration.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::{Bounds, Section, pattern_matches};

/// Recordings: what is recorded and how long it is kept.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordConfig {
    /// Whether publications are recorded. Default true.
    pub enabled: bool,
    /// Which paths, by the same patterns as keys: `*` for any text within one segment, a closing `/**` for everything below. Default
    /// all (`["**"]`).
    pub paths: Vec<String>,
    /// Finished recordings older than this are deleted. Default 7 days; `"0s"` keeps them forever.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// All recordings together stay below this: whichever path holds most gives its oldest finished one first. Default `"20GiB"`; 0 is no
    /// limit.
    pub max_bytes: ByteSize,
    /// So much of the disk stays free: below it finished recordings are deleted likewise, then recording stops. Default `"1GiB"`.
    pub min_free_bytes: ByteSize,
    /// At most so many recordings are kept: whichever path has most of them gives its oldest. 1 to 1000000, default 100000: each takes four or
    /// more files, and half a kilobyte of memory.
    pub max_recordings: usize,
    /// A recording that is shorter than this at its end is deleted then, but not where it goes on with one before. 0s to 1min, default 0s:
    /// all is kept that plays, be it one picture.
    #[serde(with = "humantime_serde")]
    pub min_duration: Duration,
    /// A recording longer than this goes on in a new one, cut between two segments. 1 minute to 24 hours, default 12 hours.
    #[serde(with = "humantime_serde")]
    pub max_duration: Duration,
}

impl Default for RecordConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            paths: vec!["**".to_owned()],
            max_age: Duration::from_secs(7 * 86_400),
            max_bytes: ByteSize(20 << 30),
            min_free_bytes: ByteSize(1 << 30),
            max_recordings: 100_000,
            min_duration: Duration::ZERO,
            max_duration: Duration::from_secs(12 * 3600),
        }
    }
}

impl Section for RecordConfig {
    const NAME: &'static str = "record";

    fn check(&self, bounds: &mut Bounds) {
        bounds.number("max_recordings", self.max_recordings, 1..=1_000_000);
        bounds.duration("min_duration", self.min_duration, Duration::ZERO..=Duration::from_secs(60));
        bounds.duration("max_duration", self.max_duration, Duration::from_secs(60)..=Duration::from_secs(24 * 3600));
    }
}

impl RecordConfig {
    /// Whether a stream at `path` is recorded.
    pub fn records(&self, path: &str) -> bool {
        self.enabled && self.paths.iter().any(|pattern| pattern_matches(pattern, path))
    }
}

/// A number of bytes; in the configuration a number or a text such as `"20GiB"`, `"500 MB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A text that is no [`ByteSize`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size; write a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, such as \"20GiB\"")]
pub struct SizeError(String);

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

impl std::str::FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit = unit.trim();
        let factor = if unit.is_empty() { Some(1) } else { UNITS.iter().find(|(n, _)| n.eq_ignore_ascii_case(unit)).map(|(_, f)| *f) };
        let bytes = match (number.parse::<u64>(), number.parse::<f64>(), factor) {
            (Ok(whole), _, Some(factor)) => whole.checked_mul(factor),
            (_, Ok(fraction), Some(factor)) => Some(fraction * factor as f64).filter(|b| *b < 1e19).map(|b| b as u64),
            _ => None,
        };
        bytes.map(Self).ok_or_else(|| SizeError(text.to_owned()))
    }
}

impl std::fmt::Display for ByteSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor)) {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => f.write_str("0"),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(u64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Number(bytes) => Ok(Self(bytes)),
            Raw::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("20GiB", 20 << 30), ("1 gb", 1_000_000_000), ("0", 0), ("1.5KiB", 1536), ("7", 7), ("10 B", 10)] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "GiB", "-1", "1XB", "1e3", "99999999999TiB", "1.2.3"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!(ByteSize(20 << 30).to_string(), "20GiB");
        assert_eq!(ByteSize(1500).to_string(), "1500B");
    }

    #[test]
    fn patterns() {
        for (pattern, path, yes) in [
            ("**", "live/cam1", true),
            ("live/*", "live/cam1", true),
            ("live/*", "live/a/b", false),
            ("live/**", "live/a/b", true),
            ("*/cam?", "live/cam1", false),
            ("live/cam*", "live/cam", true),
            ("", "live", false),
            ("*", "live", true),
            ("*a*a*a*a*a*a*a*ab", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            let config = RecordConfig { paths: vec![pattern.to_owned()], ..RecordConfig::default() };
            assert_eq!(config.records(path), yes, "{pattern} {path}");
        }
        assert!(!RecordConfig { enabled: false, ..RecordConfig::default() }.records("live"));
    }

    #[test]
    fn round_trip() {
        let json = serde_json::to_string(&RecordConfig::default()).unwrap();
        assert!(json.contains("\"20GiB\"") && json.contains("\"7days\""), "{json}");
        let back: RecordConfig = serde_json::from_str(&json).unwrap();
        assert_eq!(back.max_bytes, ByteSize(20 << 30));
        assert!(serde_json::from_str::<RecordConfig>("{\"max_size\": 1}").is_err());
    }
}
