//! What goes, and what stays: clocks that leap, recordings that are short.

use std::time::{Duration, Instant};

use super::*;
use crate::base::Clock;
use crate::cmaf::Targets;
use crate::record::RecordConfig;
use crate::record::driver::Recordings;
use tokio_util::sync::CancellationToken;

const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;

#[test]
fn what_ends_too_short_goes_but_not_where_it_goes_on_with_one_before() {
    let (picture, _) = two_tracks(6);
    let all = events(&[vec![(Codec::H264, &picture)]]);
    let rest = |house: &House| -> Vec<f64> {
        let items = house.catalogue.list(None, None, 9).unwrap().items;
        assert_eq!(house.store.list().unwrap().len(), items.len(), "files and list agree");
        items.iter().map(|item| item.duration.round()).collect()
    };
    for (lengths, kept) in
        [(0..=u64::MAX, vec![6.0]), (5900..=u64::MAX, vec![6.0]), (6500..=u64::MAX, vec![]), (3000..=3000, vec![2.0, 4.0])]
    {
        let house = House::new();
        let mut session = house.session_of(lengths.clone());
        all.iter().enumerate().for_each(|(at, event)| session.handle(event.clone(), NOW + at as i64 * SECOND / 5));
        session.end(NOW + 9 * SECOND);
        assert_eq!(rest(&house), kept, "{lengths:?}");
    }
}

/// tokio's time, which stands still but where a test moves it.
#[allow(clippy::disallowed_methods)] // a driver's clock
fn at() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A server of one run on a folder, with a clock that may be set.
struct Run {
    clock: Clock,
    recordings: Recordings,
    cancel: CancellationToken,
}

impl Run {
    /// Starts when the machine's clock says `wall`.
    async fn start(dir: &Path, wall: i64) -> Self {
        let (clock, lots, cancel) =
            (Clock::new(at, wall), crate::base::Lots::new(crate::base::seeded(wall as u64)), CancellationToken::new());
        let vitals = crate::base::Vitals::unwatched();
        let opened = Recordings::open(dir, RecordConfig::default(), Targets::default(), clock.clone(), lots, cancel.clone(), &vitals);
        Self { clock, recordings: opened.await.unwrap(), cancel }
    }

    /// Somebody sets the machine's clock, and ours follows.
    async fn leap(&self, by: i64) {
        self.clock.wall().observe(at(), self.clock.unix() + by, false);
        self.pass(0).await;
    }

    /// Time passes, and retention looks.
    async fn pass(&self, nanos: i64) {
        tokio::time::advance(Duration::from_nanos(nanos as u64)).await;
        // One more look, which has ended when the next begins.
        tokio::time::sleep(Duration::from_secs(20)).await;
    }

    fn count(&self) -> usize {
        self.recordings.list(None, None, 10).unwrap().items.len()
    }

    async fn end(self) -> i64 {
        self.cancel.cancel();
        self.recordings.closed().await;
        self.clock.unix()
    }
}

/// What a segmenter says of so many seconds of pictures.
pub(super) fn events_of(seconds: u32) -> Vec<RecordEvent> {
    events(&[vec![(Codec::H264, &video("320x180", seconds, 0, ""))]])
}

/// Puts a recording that ended at `NOW` into a data folder.
pub(super) fn record(dir: &Path, events: &[RecordEvent]) -> RecordingId {
    let (store, catalogue) = (Store::new(dir.join("recordings")), Arc::new(Catalogue::default()));
    let (path, chance) = (StreamPath::parse("live/cam1").unwrap(), crate::base::seeded(SESSIONS.fetch_add(1, Ordering::Relaxed)));
    let mut session = Session::new(store, catalogue.clone(), Arc::default(), path, 0..=u64::MAX, TARGET_DURATION, chance);
    events.iter().for_each(|event| session.handle(event.clone(), NOW));
    session.end(NOW);
    catalogue.candidates().remove(0).id
}

/// A data folder with one recording.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &events_of(1));
    dir
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_leaps_a_week_ahead_deletes_nothing_by_age() {
    let dir = folder();
    let run = Run::start(dir.path(), NOW + HOUR).await;
    run.pass(HOUR).await;
    assert_eq!(run.count(), 1);
    run.leap(8 * DAY).await;
    run.pass(HOUR).await;
    assert_eq!(run.count(), 1, "it is hours old");
    // And back.
    run.leap(-8 * DAY).await;
    run.pass(HOUR).await;
    assert_eq!(run.count(), 1);
    // Ahead again, also across a restart.
    run.leap(8 * DAY).await;
    run.pass(6 * HOUR).await;
    let wall = run.end().await;
    let run = Run::start(dir.path(), wall + HOUR).await;
    run.pass(6 * HOUR).await;
    assert_eq!(run.count(), 1);
    // It stays there for a day in all.
    run.pass(13 * HOUR).await;
    assert_eq!(run.count(), 0);
    run.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_leapt_while_the_server_was_down_deletes_nothing_by_age() {
    // By what the run before wrote, and, without that, by what its recordings say.
    for known in [true, false] {
        let dir = folder();
        let run = Run::start(dir.path(), NOW + HOUR).await;
        let wall = run.end().await;
        if !known {
            std::fs::remove_file(dir.path().join("recordings/clock")).unwrap();
        }
        let run = Run::start(dir.path(), wall + 30 * DAY).await;
        run.pass(22 * HOUR).await;
        assert_eq!(run.count(), 1, "{known}");
        // Somebody sets it right.
        run.leap(-30 * DAY).await;
        run.pass(6 * DAY - HOUR).await;
        assert_eq!(run.count(), 1, "{known}");
        // By a clock that is right it goes when it is a week old.
        run.pass(3 * HOUR).await;
        assert_eq!(run.count(), 0, "{known}");
        run.end().await;
    }
}
