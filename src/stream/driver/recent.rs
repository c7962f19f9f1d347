//! What a stream's tracks count, as of a moment ago.

use std::time::{Duration, Instant};

use crate::sfu::{ProducerId, ProducerStats, Router};
use crate::stream::core::Track;

/// What the worker counted of each track, as of a moment ago: whoever asks the API doesn't ask the thread that forwards media.
#[derive(Debug, Default)]
pub(super) struct RecentStats {
    at: Option<Instant>,
    tracks: Vec<(ProducerId, ProducerStats)>,
}

/// How old what the API says may be.
const RECENT: Duration = Duration::from_millis(250);

impl RecentStats {
    /// Asks the worker, where that is due.
    pub(super) async fn refresh(&mut self, now: Instant, home: &Router, tracks: &[Track]) {
        let recent = self.at.is_some_and(|at| now.saturating_duration_since(at) < RECENT);
        if recent && tracks.iter().all(|track| self.tracks.iter().any(|(known, _)| *known == track.producer)) {
            return;
        }
        self.at = Some(now);
        self.tracks.clear();
        for track in tracks {
            let stats = home.producer_stats(track.producer).await.unwrap_or_default();
            self.tracks.push((track.producer, stats));
        }
    }

    pub(super) fn of(&self, producer: ProducerId) -> ProducerStats {
        self.tracks.iter().find(|(known, _)| *known == producer).map(|(_, stats)| stats.clone()).unwrap_or_default()
    }
}
