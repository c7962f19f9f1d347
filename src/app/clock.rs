//! The wall clock; `app` is a driver.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::UnixNanos;

/// Now.
#[allow(clippy::disallowed_methods)]
pub(super) fn unix_now() -> UnixNanos {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}
