//! The bounds of settings: the one way in which a section of the configuration says what is wrong with its values.
//!
//! In: a section. Out: for each bad value its key, the value, and what is allowed.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A value that a setting can't have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {value}; it must be {allowed}")]
pub struct SettingError {
    /// Section and key as in the file, with the place in a list as a number: `stream.publish_keys.0.secret`.
    pub key: String,
    /// What was written.
    pub value: String,
    /// What may be written instead: a range, or a description.
    pub allowed: String,
}

/// A section of the configuration whose values have bounds.
pub(crate) trait Section {
    /// What stands in brackets in the file.
    const NAME: &'static str;

    /// Shows each value that has bounds to `bounds`.
    fn check(&self, bounds: &mut Bounds);

    /// Everything that is wrong with it. Empty: it can be used.
    fn problems(&self) -> Vec<SettingError> {
        let mut bounds = Bounds { section: Self::NAME, broken: Vec::new() };
        self.check(&mut bounds);
        bounds.broken
    }

    /// Refuses to go on with values out of bounds, for those who are handed a section by others than the loader.
    fn sound(&self) -> Result<(), SettingError> {
        self.problems().into_iter().next().map_or(Ok(()), Err)
    }
}

/// Collects what is out of bounds in one section.
#[derive(Debug)]
pub(crate) struct Bounds {
    section: &'static str,
    broken: Vec<SettingError>,
}

impl Bounds {
    pub(crate) fn number<T: Copy + PartialOrd + Display>(&mut self, key: &str, value: T, range: RangeInclusive<T>) {
        self.require(range.contains(&value), key, value, format_args!("{} to {}", range.start(), range.end()));
    }

    pub(crate) fn duration(&mut self, key: &str, value: Duration, range: RangeInclusive<Duration>) {
        let allowed = format_args!("{} to {}", duration_text(*range.start()), duration_text(*range.end()));
        self.require(range.contains(&value), key, duration_text(value), allowed);
    }

    /// Anything else: whether the value is good, how it is shown, and what it must be.
    pub(crate) fn require(&mut self, good: bool, key: &str, value: impl Display, allowed: impl Display) {
        if !good {
            let key = format!("{}.{key}", self.section);
            self.broken.push(SettingError { key, value: value.to_string(), allowed: allowed.to_string() });
        }
    }
}

/// A duration as it can be written in the file: `200ms`, `10min`.
pub(crate) fn duration_text(duration: Duration) -> String {
    const UNITS: [(&str, u128); 6] =
        [("h", 3_600_000_000_000), ("min", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];
    let nanos = duration.as_nanos();
    let unit = UNITS.iter().find(|(_, unit)| nanos > 0 && nanos.is_multiple_of(*unit));
    unit.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", nanos / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_they_are_read() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1500ns"),
            (20_000, "20us"),
            (200_000_000, "200ms"),
            (90_000_000_000, "90s"),
            (600_000_000_000, "10min"),
            (86_400_000_000_000, "24h"),
        ] {
            assert_eq!(duration_text(Duration::from_nanos(nanos)), text);
        }
    }

    struct Pair(u32, Duration);

    impl Section for Pair {
        const NAME: &'static str = "pair";

        fn check(&self, bounds: &mut Bounds) {
            bounds.number("count", self.0, 1..=9);
            bounds.duration("wait", self.1, Duration::from_millis(50)..=Duration::from_secs(60));
            bounds.require(self.0 != 5, "count", self.0, "anything but 5");
        }
    }

    #[test]
    fn every_bad_value_is_named_with_its_bounds() {
        let (short, long) = (Duration::from_millis(49), Duration::from_secs(61));
        for (pair, sentences) in [
            (Pair(1, Duration::from_millis(50)), &[][..]),
            (Pair(9, Duration::from_secs(60)), &[]),
            (Pair(5, Duration::from_secs(1)), &["pair.count is 5; it must be anything but 5"]),
            (Pair(0, short), &["pair.count is 0; it must be 1 to 9", "pair.wait is 49ms; it must be 50ms to 1min"]),
            (Pair(10, long), &["pair.count is 10; it must be 1 to 9", "pair.wait is 61s; it must be 50ms to 1min"]),
        ] {
            assert_eq!(pair.problems().iter().map(ToString::to_string).collect::<Vec<_>>(), sentences);
        }
    }
}
