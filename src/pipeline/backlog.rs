//! What a transcode of sound gives first: all that waited for its pipeline's start, at once.
//!
//! In: units as they come, and that none came for [`GAP`]. Out: those worth sending to real-time viewers: from the newest one on.
//! A browser puts such a burst into its jitter buffer and takes seconds to get rid of it, with sound behind the pictures all the while.

use std::time::Duration;

use crate::codec::AccessUnit;

/// The backlog is over when no unit comes for this long: less than the 20 ms of an Opus packet, more than making one takes.
pub(super) const GAP: Duration = Duration::from_millis(10);
/// Most units left out: 2 s of sound. What always comes faster is no backlog.
const MAX: u32 = 100;

/// Leaves out a backlog.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    newest: Option<AccessUnit>,
    left_out: u32,
    over: bool,
}

impl Backlog {
    /// For a transcode whose every unit counts.
    pub(super) fn none() -> Self {
        Self { over: true, ..Self::default() }
    }

    /// A unit came. Gives the one to send now.
    pub(super) fn push(&mut self, unit: AccessUnit) -> Option<AccessUnit> {
        if self.over {
            return Some(unit);
        }
        if self.newest.replace(unit).is_some() {
            self.left_out += 1;
            self.over = self.left_out >= MAX;
        }
        if self.over { self.newest.take() } else { None }
    }

    /// Whether [`Self::quiet`] is to be called when nothing comes for [`GAP`].
    pub(super) fn is_waiting(&self) -> bool {
        self.newest.is_some()
    }

    /// No unit came for [`GAP`]. Gives the one to send now.
    pub(super) fn quiet(&mut self) -> Option<AccessUnit> {
        self.over |= self.newest.is_some();
        self.newest.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(pts: i64) -> AccessUnit {
        AccessUnit { pts, dts: pts, key: true, data: bytes::Bytes::new() }
    }

    #[test]
    fn only_the_newest_unit_of_a_burst_is_sent() {
        let mut backlog = Backlog::default();
        assert!(!backlog.is_waiting() && backlog.quiet().is_none());
        for pts in 0..20 {
            assert_eq!(backlog.push(unit(pts)), None);
        }
        assert!(backlog.is_waiting());
        assert_eq!(backlog.quiet().map(|unit| unit.pts), Some(19));
        assert!(!backlog.is_waiting());
        // From here on all of them, bursts too.
        for pts in 20..40 {
            assert_eq!(backlog.push(unit(pts)).map(|unit| unit.pts), Some(pts));
        }
    }

    #[test]
    fn what_never_pauses_is_no_backlog() {
        let mut backlog = Backlog::default();
        let sent: Vec<i64> = (0..200).filter_map(|pts| backlog.push(unit(pts))).map(|unit| unit.pts).collect();
        assert_eq!(sent, (i64::from(MAX)..200).collect::<Vec<_>>());
    }

    #[test]
    fn recordings_keep_all() {
        assert_eq!(Backlog::none().push(unit(7)).map(|unit| unit.pts), Some(7));
    }
}
