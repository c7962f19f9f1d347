//! The machine's clocks: the one place where they are read, once a second.
//!
//! In: what they say. Out: the clock that everybody else is handed, kept at the machine's wall clock by its rule, and how far it is from that.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::MissedTickBehavior;

use crate::base::{Clock, Observed, Setting, UnixNanos};
use crate::record::driver::Recordings;
use crate::stream::Hub;

/// How often the machine's wall clock is looked at: who publishes right after it was set has times of the old one for at most as long.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest time that reading both clocks may take. In between the thread may have been stopped, and their difference would be wrong.
const AT_ONCE: Duration = Duration::from_millis(5);

/// By how many seconds the machine's wall clock is ahead.
pub(super) type Deviation = Gauge<f64, AtomicU64>;

/// The clock of a server that starts now.
pub(super) fn start() -> Clock {
    Clock::new(monotonic, machine())
}

/// tokio's, by which timers end: it is the machine's but where a test stops it.
#[allow(clippy::disallowed_methods)] // the one place
pub(super) fn monotonic() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The machine's wall clock.
#[allow(clippy::disallowed_methods)] // the one place
fn machine() -> UnixNanos {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Keeps the clock at the machine's for as long as it is polled.
pub(super) async fn keep(clock: Clock, hub: Hub, recordings: Recordings, gauge: Deviation) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let (at, machine, after) = (clock.at(), machine(), clock.at());
        if after.saturating_duration_since(at) > AT_ONCE {
            continue;
        }
        let observed = hub.while_idle(|idle| clock.wall().observe(at, machine, !idle || recordings.is_recording()));
        gauge.set(seconds(observed.deviation));
        tell(observed);
    }
}

fn tell(Observed { deviation, setting }: Observed) {
    let by = seconds(deviation);
    match setting {
        Setting::Leave => {}
        Setting::Step => tracing::warn!(seconds = by, "the machine's clock was set, and ours with it"),
        Setting::Slew => tracing::warn!(
            seconds = by,
            "the machine's clock was set while something is live: ours follows by 2 ms a second, or at once when nothing is live any more"
        ),
    }
}

fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}
