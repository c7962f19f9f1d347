//! The clocks, read here and handed down as an argument.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::stream::core::Now;

/// The time.
#[allow(clippy::disallowed_methods)] // a driver: the one place in `stream` that reads the clocks
pub(super) fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX));
    Now { at: Instant::now(), wall }
}
