//! Names of recordings: random, sortable by time, safe as a folder and in a URL.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::base::{Chance, UnixNanos};

/// Digits of the time: milliseconds since 1970 in base 36 need nine until the year 5188.
const TIME_DIGITS: usize = 9;
/// Random digits: 88 bits, more than anybody can try.
const RANDOM_DIGITS: usize = 17;

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Names a recording: 26 characters of `[0-9a-z]`, the first nine of which sort by starting time. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordingId(Arc<str>);

impl RecordingId {
    /// A new one for a recording that starts at `now`.
    pub fn new(now: UnixNanos, chance: &mut Chance) -> Self {
        use rand::RngExt;
        let mut millis = (now / 1_000_000).max(0) as u64;
        let mut text = [b'0'; TIME_DIGITS + RANDOM_DIGITS];
        for digit in text[..TIME_DIGITS].iter_mut().rev() {
            *digit = DIGITS[(millis % 36) as usize];
            millis /= 36;
        }
        for digit in &mut text[TIME_DIGITS..] {
            *digit = DIGITS[chance.random_range(0..36)];
        }
        Self(String::from_utf8_lossy(&text).into())
    }

    /// Parses what came from outside; `None` for everything that [`RecordingId::new`] can't have made, so that it is safe in a file name.
    pub fn parse(text: &str) -> Option<Self> {
        let good = text.len() == TIME_DIGITS + RANDOM_DIGITS && text.bytes().all(|c| DIGITS.contains(&c));
        good.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RecordingId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RecordingId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for RecordingId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not the id of a recording"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::seeded;

    #[test]
    fn ids_sort_by_time_and_parse() {
        let (a, b) =
            (RecordingId::new(1_700_000_000_000_000_000, &mut seeded(2)), RecordingId::new(1_700_000_000_001_000_000, &mut seeded(1)));
        assert_ne!(a, RecordingId::new(1_700_000_000_000_000_000, &mut seeded(3)));
        assert!(a < b);
        assert_eq!(RecordingId::parse(a.as_str()), Some(a));
        for text in ["", "..", "../../../etc/passwd0000000", &"A".repeat(26), &"a".repeat(25), &"a".repeat(27), &"ä".repeat(13)] {
            assert_eq!(RecordingId::parse(text), None, "{text}");
        }
    }
}
