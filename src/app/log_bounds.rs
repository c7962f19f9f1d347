//! How many lines strangers can put into the log.
//!
//! In: events on their way to the log, the time. Out: whether each is written, how many were not, and what they said. Each place in the code that logs
//! has a bucket of its own, so that a flood of one kind hides no other one. Errors are always written, and so is everything below info, which
//! is off unless somebody asks for it.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::base::lock;

/// Lines of one place at once: a restarted server with twenty encoders that come back leaves nothing out.
const PER_PLACE: u32 = 20;
/// Time in which a place gets another line.
const PLACE_REFILL: Duration = Duration::from_secs(1);
/// Lines of all places together at once, warnings not counted.
const IN_ALL: u32 = 200;
/// Time in which they get another one.
const ALL_REFILL: Duration = Duration::from_millis(50);
/// What is left out is told this often.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(10);
/// Longest text by which lines that were left out are described, in characters.
const MAX_LIKE: usize = 80;

/// What may be written now.
#[derive(Debug)]
struct Bucket {
    most: u32,
    refill: Duration,
    /// When it will be full again.
    full_at: Instant,
}

impl Bucket {
    fn new(most: u32, refill: Duration, now: Instant) -> Self {
        Self { most, refill, full_at: now }
    }

    fn has_one(&self, now: Instant) -> bool {
        self.full_at.saturating_duration_since(now) <= self.refill * (self.most - 1)
    }

    fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.refill;
    }
}

/// A place in the code that logs.
#[derive(Debug)]
struct Place {
    bucket: Bucket,
    left_out: u64,
    /// What the first one said that was left out.
    like: String,
}

#[derive(Debug)]
struct State {
    all: Bucket,
    /// As many as there are in the code.
    places: HashMap<Identifier, Place>,
}

/// The bounds of a log that has begun. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct LogBounds {
    state: Arc<Mutex<State>>,
    now: fn() -> Instant,
    left_out: Counter,
}

impl LogBounds {
    /// `now`: the clock by which time passes.
    pub(super) fn new(now: fn() -> Instant) -> Self {
        let state = State { all: Bucket::new(IN_ALL, ALL_REFILL, now()), places: HashMap::new() };
        Self { state: Arc::new(Mutex::new(state)), now, left_out: Counter::default() }
    }

    /// Lines left out so far.
    pub(super) fn left_out(&self) -> &Counter {
        &self.left_out
    }

    /// Tells of what was left out, for as long as it is polled.
    pub(super) async fn keep_telling(self) {
        let mut interval = tokio::time::interval(TELL_EVERY);
        loop {
            interval.tick().await;
            self.tell();
        }
    }

    /// Writes a line for each place of which something was left out since the last time.
    pub(super) fn tell(&self) {
        let mut left_out = Vec::new();
        for place in lock(&self.state).places.values_mut().filter(|place| place.left_out > 0) {
            left_out.push((std::mem::take(&mut place.left_out), std::mem::take(&mut place.like)));
        }
        for (left_out, like) in left_out {
            tracing::warn!(left_out, like, "there were too many lines of one kind: some are left out");
        }
    }

    fn lets_through(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        let level = *metadata.level();
        // What is told here is bounded by itself.
        if level == Level::ERROR || level > Level::INFO || metadata.target() == module_path!() {
            return true;
        }
        let now = (self.now)();
        let State { all, places } = &mut *lock(&self.state);
        let new = || Place { bucket: Bucket::new(PER_PLACE, PLACE_REFILL, now), left_out: 0, like: String::new() };
        let place = places.entry(metadata.callsite()).or_insert_with(new);
        let counts = level == Level::INFO;
        if place.bucket.has_one(now) && (!counts || all.has_one(now)) {
            place.bucket.take(now);
            if counts {
                all.take(now);
            }
            return true;
        }
        if place.left_out == 0 {
            event.record(&mut Message(&mut place.like));
        }
        place.left_out += 1;
        self.left_out.inc();
        false
    }
}

impl<S: Subscriber> Layer<S> for LogBounds {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.lets_through(event)
    }
}

/// Takes the message of an event, its beginning.
struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(Beginning(self.0), "{value:?}"); // ends where there is no more room
        }
    }
}

/// Takes text up to [`MAX_LIKE`].
struct Beginning<'a>(&'a mut String);

impl Write for Beginning<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_LIKE.saturating_sub(self.0.chars().count());
        self.0.extend(text.chars().take(room));
        if room == 0 { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    static MILLIS: AtomicU64 = AtomicU64::new(0);

    /// A clock that the test moves.
    fn now() -> Instant {
        static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *BEGAN.get_or_init(|| crate::base::real_clock().at()) + Duration::from_millis(MILLIS.load(Ordering::Relaxed))
    }

    /// What gets through.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Written {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            struct All(String);
            impl Visit for All {
                fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                    let _ = write!(self.0, "{}={value:?} ", field.name());
                }
            }
            let mut all = All(String::new());
            event.record(&mut all);
            lock(&self.0).push(all.0);
        }
    }

    fn takes(written: &Written) -> Vec<String> {
        std::mem::take(&mut *lock(&written.0))
    }

    /// All in one test: the clock is one for all.
    #[test]
    fn a_flood_of_one_kind_hides_no_other_and_what_is_left_out_is_told() {
        let (bounds, written) = (LogBounds::new(now), Written::default());
        let subscriber = tracing_subscriber::registry().with(written.clone()).with(bounds.clone());
        let pass = |millis: u64| MILLIS.fetch_add(millis, Ordering::Relaxed);
        let flood = |times: u64| (0..times).for_each(|number| tracing::info!(number, "a stranger \x1b[31m came {}", "x".repeat(200)));
        tracing::subscriber::with_default(subscriber, || {
            flood(5000);
            tracing::info!("another kind");
            (0..100).for_each(|_| tracing::warn!("a warning"));
            (0..100).for_each(|_| tracing::error!("an error"));
            (0..100).for_each(|_| tracing::debug!("asked for"));
            let lines = takes(&written);
            let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
            assert_eq!(["a stranger", "another kind", "a warning", "an error", "asked for"].map(count), [20, 1, 20, 100, 100]);
            assert_eq!(bounds.left_out().get(), 4980 + 80);

            bounds.tell();
            let mut lines = takes(&written);
            lines.sort();
            assert_eq!(lines.len(), 2, "{lines:?}");
            let (flood_line, warning) = (&lines[0], &lines[1]);
            assert!(flood_line.contains("left_out=4980") && !flood_line.contains('\x1b') && flood_line.len() < 250, "{flood_line}");
            assert!(warning.contains("left_out=80 like=\"a warning\""), "{warning}");
            bounds.tell();
            assert_eq!(takes(&written).len(), 0, "once");

            // Another one each second, and as many as at first after a while.
            for (millis, times, through) in [(1000, 10, 1), (999, 10, 0), (1, 10, 1), (3500, 10, 3), (100_000, 100, 20)] {
                pass(millis);
                flood(times);
                assert_eq!(takes(&written).len(), through, "after {millis} ms");
            }
            bounds.tell();
            let told: Vec<_> = takes(&written);
            assert_eq!(told.len(), 1);
            assert!(told[0].contains("left_out=115"), "{told:?}");

            // Many kinds together have a bound, too; it doesn't hold back warnings.
            pass(100_000);
            macro_rules! kinds {
                ($($kind:literal)*) => { $((0..30).for_each(|_| tracing::info!($kind));)* };
            }
            kinds!("a" "b" "c" "d" "e" "f" "g" "h" "i" "j" "k" "l" "m");
            tracing::warn!("a warning at last");
            assert_eq!(takes(&written).len(), 201);
        });
    }
}
