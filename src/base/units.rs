//! Time as numbers: Unix nanoseconds, NTP timestamps, dates, and rescaling between clock rates.

use chrono::{DateTime, SecondsFormat};

/// Nanoseconds since 1970-01-01 UTC: the timeline on which the tracks of a stream are in sync.
pub(crate) type UnixNanos = i64;

/// Seconds between 1900 (NTP's epoch) and 1970 (Unix's), RFC 5905 section 6.
const NTP_UNIX_OFFSET_S: i64 = 2_208_988_800;

/// An NTP timestamp, 32.32 fixed point seconds since 1900 (RFC 5905 section 6), as RTCP sender reports carry it.
/// Times after 2036-02-07 wrap into NTP era 1 and are read as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NtpTime(pub u64);

impl NtpTime {
    pub fn from_unix_nanos(t: UnixNanos) -> Self {
        let seconds = t.div_euclid(1_000_000_000) + NTP_UNIX_OFFSET_S;
        let nanos = t.rem_euclid(1_000_000_000) as u64;
        let fraction = ((nanos << 32) + 500_000_000) / 1_000_000_000;
        Self((((seconds as u64) & 0xFFFF_FFFF) << 32).wrapping_add(fraction))
    }

    /// To Unix nanoseconds; seconds below 2^31 are taken as era 1 (2036 and later).
    pub fn to_unix_nanos(self) -> UnixNanos {
        let mut seconds = (self.0 >> 32) as i64;
        if seconds < 1 << 31 {
            seconds += 1 << 32;
        }
        let nanos = (((self.0 & 0xFFFF_FFFF) * 1_000_000_000 + (1 << 31)) >> 32) as i64;
        (seconds - NTP_UNIX_OFFSET_S) * 1_000_000_000 + nanos
    }

    /// The middle 32 bits, as in `LSR` and `DLSR` (RFC 3550 section 6.4.1).
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// A date and time as RFC 3339 and ISO 8601 have them: UTC, with milliseconds.
pub(crate) fn date_time(t: UnixNanos) -> String {
    let moment = DateTime::from_timestamp_millis(t.div_euclid(1_000_000)).unwrap_or_default();
    moment.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// `value * to / from`, rounded to nearest, without overflow for any `i64` value. `from` must not be 0.
pub(crate) fn rescale(value: i64, from: u32, to: u32) -> i64 {
    debug_assert!(from != 0);
    let from = i128::from(from.max(1));
    let scaled = i128::from(value) * i128::from(to);
    ((scaled + if scaled < 0 { -(from / 2) } else { from / 2 }) / from) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000Z"),
            (1_798_761_599_999_999_999, "2026-12-31T23:59:59.999Z"),
            (i64::MAX, "2262-04-11T23:47:16.854Z"),
            (i64::MIN, "1677-09-21T00:12:43.145Z"),
        ] {
            assert_eq!(date_time(nanos), text);
        }
    }

    #[test]
    fn ntp_round_trip() {
        for t in [0, 1_700_000_000_123_456_789, 2_085_978_496_000_000_001, 1] {
            let back = NtpTime::from_unix_nanos(t).to_unix_nanos();
            assert!((back - t).abs() <= 1, "{t} {back}");
        }
    }

    #[test]
    fn rescale_rounds() {
        assert_eq!(rescale(1000, 1000, 90_000), 90_000);
        assert_eq!(rescale(1, 90_000, 1_000_000_000), 11_111);
        assert_eq!(rescale(-1, 90_000, 1_000_000_000), -11_111);
        assert_eq!(rescale(i64::MAX, 90_000, 90_000), i64::MAX);
    }
}
