//! The wall clock.

use crate::base::UnixNanos;

/// Now.
#[allow(clippy::disallowed_methods)]
pub(crate) fn unix_now() -> UnixNanos {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}
