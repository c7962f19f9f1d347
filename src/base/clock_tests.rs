//! The machine's clock, for tests of drivers.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Clock;

/// The machine's clock.
#[allow(clippy::disallowed_methods)] // tests read it where `app` would
pub(crate) fn real_clock() -> Clock {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Clock::new(Instant::now, unix.as_nanos() as i64)
}

#[test]
fn both_times_of_now_belong_together() {
    let clock = real_clock();
    let (before, now, after) = (clock.at(), clock.now(), clock.clone().now());
    assert!(before <= now.at && now.at <= after.at && now.wall <= after.wall);
    assert_eq!(after.wall - now.wall, (after.at - now.at).as_nanos() as i64);
}
