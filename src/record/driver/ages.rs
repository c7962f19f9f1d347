//! Watches the clock that recordings age by, across restarts.
//!
//! In: now, by both clocks. Out: the time by which ages count, or none; a file beside the recordings.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::replace;
use crate::base::{Now, UnixNanos};
use crate::record::aging::Aging;

/// How often what is believed is written down. A crash costs the doubt of so much time.
const SAVE_INTERVAL: Duration = Duration::from_secs(600);

/// The clock of retention.
#[derive(Debug)]
pub(super) struct Ages {
    file: PathBuf,
    aging: Aging,
    looked_at: Instant,
    saved_at: Option<Instant>,
    counted: bool,
}

impl Ages {
    /// With what the run before wrote into `file`; without that, `newest` is the latest time known.
    pub(super) fn open(file: PathBuf, newest: Option<UnixNanos>, now: Now) -> Self {
        let written = std::fs::read_to_string(&file).ok();
        let aging = written.and_then(|text| Aging::parse(&text)).unwrap_or_else(|| Aging::new(newest.unwrap_or(now.wall)));
        Self { file, aging, looked_at: now.at, saved_at: None, counted: true }
    }

    /// The time by which recordings are as old as they are; `None` while the clock is doubted. Blocking.
    pub(super) fn look(&mut self, now: Now) -> Option<UnixNanos> {
        let passed = now.at.saturating_duration_since(self.looked_at);
        self.looked_at = now.at;
        let counts = self.aging.look(now.wall, passed);
        let changed = std::mem::replace(&mut self.counted, counts) != counts;
        if changed && counts {
            tracing::info!("recordings are deleted by age again");
        } else if changed {
            tracing::warn!(
                hours = self.aging.hours_ahead(),
                "the clock is not where it should be: nothing is deleted by age until it is back, or for a day; sizes still count"
            );
        }
        if changed || self.saved_at.is_none_or(|at| now.at.saturating_duration_since(at) >= SAVE_INTERVAL) {
            self.saved_at = Some(now.at);
            self.save();
        }
        counts.then_some(now.wall)
    }

    /// Writes down what is believed. Blocking.
    pub(super) fn save(&self) {
        if let Err(error) = replace(&self.file, self.aging.text().as_bytes()) {
            tracing::debug!(file = %self.file.display(), %error, "the time can't be written down; a clock that leaps until the next start may not be noticed");
        }
    }
}
