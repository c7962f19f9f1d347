//! Keeps a mark on the disk that segment numbers have not reached, so that they don't repeat when the clock was set back while the server was
//! down: a board without a battery for its clock begins hours or years before the time at which it lost its power.
//!
//! In: the numbers that are in use. Out: a file in the data folder, and what the next run may begin with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::package::Live;
use crate::record::driver::replace;

/// The file in the data folder: a number, and what it counts.
const FILE: &str = "segment-numbers";
/// How often numbers are looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// How far the mark is ahead when it is written: more segments than all streams together begin until the next look, by a large factor. What is
/// left of it is lost with each crash, so it is small beside the numbers that there are.
const AHEAD: u64 = 256;
/// A mark from here on is of a clock that was set wrong, into the future: ffmpeg takes numbers for an `int`, and the rest has to last for years.
const TOO_HIGH: u64 = (1 << 31) - (1 << 26);

/// The mark of one data folder.
pub(super) struct Numbers {
    live: Live,
    file: PathBuf,
    /// What the file says.
    mark: u64,
    /// What it said at first: as long as no number beyond it is used, there is nothing to keep, however often the server crashes.
    first: u64,
    failed: bool,
}

impl Numbers {
    /// Lets numbers begin beyond the mark of the run before.
    pub(super) fn open(live: Live, data_dir: &Path) -> Self {
        let file = data_dir.join(FILE);
        let mark = match std::fs::read_to_string(&file) {
            Ok(text) => parse(&text, live.number_unit()).unwrap_or_else(|| {
                tracing::warn!(file = %file.display(), "the mark of segment numbers is not used: it is of other settings or of a wrong clock");
                0
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "the mark of segment numbers can't be read");
                0
            }
        };
        live.number_from(mark);
        Self { live, file, mark, first: mark, failed: false }
    }

    /// Keeps the mark ahead of the numbers for as long as it is polled.
    pub(super) async fn keep(&mut self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let unused = self.live.unused_number();
            if unused > self.first && unused + AHEAD / 2 > self.mark {
                self.write(unused + AHEAD).await;
            }
        }
    }

    /// Nothing is live any more: the next run begins right behind this one.
    pub(super) async fn close(&mut self) {
        let unused = self.live.unused_number();
        if unused > self.first && unused != self.mark {
            self.write(unused).await;
        }
    }

    async fn write(&mut self, mark: u64) {
        let (file, text) = (self.file.clone(), format!("{mark} {}\n", self.live.number_unit()));
        let written = tokio::task::spawn_blocking(move || replace(&file, text.as_bytes())).await;
        match written.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(()) => (self.mark, self.failed) = (mark, false),
            // Once, not at each look.
            Err(error) if !std::mem::replace(&mut self.failed, true) => {
                tracing::warn!(file = %self.file.display(), %error, "the mark of segment numbers can't be written; if the clock is set back while the server is down, players may see old media from caches");
            }
            Err(_) => {}
        }
    }
}

/// The mark in a file's text; `None` where it is of no use.
fn parse(text: &str, unit: &str) -> Option<u64> {
    let (mark, counts) = text.trim_end().split_once(' ')?;
    mark.parse().ok().filter(|mark| counts == unit && *mark < TOO_HIGH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::StreamPath;
    use crate::cmaf::Targets;
    use crate::package::PackageConfig;

    fn live(segment_ms: u64) -> Live {
        let targets = Targets::new(Duration::from_millis(segment_ms), Duration::from_millis(100));
        Live::new(PackageConfig::default(), targets, 1 << 30)
    }

    /// The first number of a presentation that begins at a second.
    fn begins_with(live: &Live, second: i64) -> u64 {
        live.begin(&StreamPath::parse("live/a").unwrap(), second * 1_000_000_000).snapshot().first_number
    }

    #[test]
    fn a_mark_counts_or_is_left_alone() {
        for (text, segment_ms, first) in [
            (Some("1700000256 Unix seconds\n"), 2000, 1_700_000_256),
            (Some("1700000256 Unix seconds"), 1000, 1_700_000_256),
            (Some("1600000000 Unix seconds\n"), 2000, 1_700_000_000),
            (Some("300000000 half seconds since 2020\n"), 500, 300_000_000),
            // Of other settings, of a wrong clock, or nonsense.
            (Some("1700000256 Unix seconds\n"), 500, 244_326_400),
            (Some("300000000 half seconds since 2020\n"), 2000, 1_700_000_000),
            (Some("2147483647 Unix seconds\n"), 2000, 1_700_000_000),
            (Some("-5 Unix seconds\n"), 2000, 1_700_000_000),
            (Some("Unix seconds\n"), 2000, 1_700_000_000),
            (Some(""), 2000, 1_700_000_000),
            (None, 2000, 1_700_000_000),
        ] {
            let dir = tempfile::tempdir().unwrap();
            if let Some(text) = text {
                std::fs::write(dir.path().join(FILE), text).unwrap();
            }
            let live = live(segment_ms);
            Numbers::open(live.clone(), dir.path());
            assert_eq!(begins_with(&live, 1_700_000_000), first, "{text:?} {segment_ms}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_go_on_after_a_crash_and_after_an_end_with_a_clock_that_was_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let text = || std::fs::read_to_string(dir.path().join(FILE)).ok();
        let first = live(2000);
        let mut numbers = Numbers::open(first.clone(), dir.path());
        numbers.close().await;
        assert_eq!(text(), None, "nothing was live");
        first.number_from(1_700_000_000);
        // Polled for a while, then gone: a crash.
        let _ = tokio::time::timeout(INTERVAL * 3, numbers.keep()).await;
        assert_eq!(text().as_deref(), Some("1700000256 Unix seconds\n"));

        let second = live(2000);
        let mut numbers = Numbers::open(second.clone(), dir.path());
        let _ = tokio::time::timeout(INTERVAL * 3, numbers.keep()).await;
        assert_eq!(text().as_deref(), Some("1700000256 Unix seconds\n"), "nothing was live in this run");
        assert_eq!(begins_with(&second, 1_600_000_000), 1_700_000_256);
        second.number_from(1_700_000_300);
        numbers.close().await;
        let third = live(2000);
        Numbers::open(third.clone(), dir.path());
        assert_eq!(begins_with(&third, 1_600_000_000), 1_700_000_300, "nothing is lost by an end in order");
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let live = live(2000);
        let mut numbers = Numbers::open(live.clone(), &dir.path().join("gone"));
        live.number_from(7);
        numbers.close().await;
        assert!(numbers.failed && live.unused_number() == 7);
    }
}
