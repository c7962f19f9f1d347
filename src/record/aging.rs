//! Whether the clock may be believed where it makes recordings old: by it they are deleted, and a clock that leaps a week ahead would
//! delete them all.
//!
//! In: what the wall clock says, and how much time has really passed. Out: whether ages count. Pure.

use std::time::Duration;

use crate::base::UnixNanos;

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// Further than this a clock is not off by being set right.
const LEAP: i64 = HOUR;
/// So long a server may be down without its clock being doubted: nobody can say how long it really was.
const DOWN: i64 = DAY;
/// A clock that has leapt is believed after so much time that really passed: long enough for somebody to see that it is wrong.
const DOUBTED_FOR: Duration = Duration::from_secs(24 * 3600);

/// What is believed of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aging {
    /// The time as it should be: believed once, and gone on since with the time that passed.
    believed: UnixNanos,
    /// What the clock said last.
    said: UnixNanos,
    /// For how long it has been doubted.
    doubted: Duration,
    /// The server was down before, nobody knows for how long.
    was_down: bool,
}

impl Aging {
    /// At a start. `last`: the latest time that is known of the run before.
    pub(super) fn new(last: UnixNanos) -> Self {
        Self { believed: last, said: last, doubted: Duration::ZERO, was_down: true }
    }

    /// The clock says `wall`, `passed` after the look before. Whether ages by it count.
    pub(super) fn look(&mut self, wall: UnixNanos, passed: Duration) -> bool {
        let nanos = i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX);
        let ahead = if self.was_down { DOWN } else { LEAP };
        let fits = |from: UnixNanos| (-LEAP..=ahead).contains(&wall.saturating_sub(from.saturating_add(nanos)));
        let (fits_belief, fits_itself) = (fits(self.believed), fits(self.said));
        self.doubted = if fits_itself { self.doubted.saturating_add(passed) } else { Duration::ZERO };
        self.said = wall;
        if fits_belief || self.doubted >= DOUBTED_FOR {
            *self = Self { believed: wall, said: wall, doubted: Duration::ZERO, was_down: false };
            return true;
        }
        self.believed = self.believed.saturating_add(nanos);
        false
    }

    /// How many hours the clock is ahead of what is believed.
    pub(super) fn hours_ahead(&self) -> i64 {
        self.said.saturating_sub(self.believed) / HOUR
    }

    /// As text, for the next run: Unix seconds, and seconds.
    pub(super) fn text(&self) -> String {
        format!("{} {} {}\n", self.believed / SECOND, self.said / SECOND, self.doubted.as_secs())
    }

    /// What the run before wrote; `None` where that makes no sense.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(str::parse::<i64>);
        let mut next = || numbers.next()?.ok();
        let (believed, said, doubted) = (next()?, next()?, next()?);
        let nanos = |seconds: i64| seconds.checked_mul(SECOND);
        Some(Self {
            believed: nanos(believed)?,
            said: nanos(said)?,
            doubted: Duration::from_secs(u64::try_from(doubted).ok()?),
            was_down: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000 * SECOND;
    const MINUTE: i64 = 60 * SECOND;

    /// A server that runs: how far its clock moves, how much time passes, and whether ages count then.
    fn run(steps: &[(i64, i64, bool)]) {
        let mut wall = NOW;
        let mut aging = Aging::new(NOW);
        assert!(aging.look(NOW, Duration::ZERO));
        for (step, (moves, passes, counts)) in steps.iter().enumerate() {
            wall += moves;
            assert_eq!(aging.look(wall, Duration::from_nanos(*passes as u64)), *counts, "step {step} of {steps:?}");
        }
    }

    #[test]
    fn a_clock_that_leaps_is_doubted_until_a_day_has_passed() {
        // As it should be, also where it is slewed, set by minutes, or where the machine was busy.
        run(&[(MINUTE, MINUTE, true), (59 * MINUTE, 0, true), (-59 * MINUTE, MINUTE, true), (3 * DAY, 3 * DAY, true)]);
        // A week ahead: for a day of running.
        run(&[(7 * DAY, MINUTE, false), (23 * HOUR, 23 * HOUR, false), (HOUR, HOUR, true), (MINUTE, MINUTE, true)]);
        // A week ahead and back: at once as before.
        run(&[(7 * DAY, MINUTE, false), (HOUR, HOUR, false), (-7 * DAY + MINUTE, MINUTE, true)]);
        // Back, and ahead again.
        run(&[(-DAY, MINUTE, false), (DAY, MINUTE, true)]);
        // Another leap while it is doubted: another day.
        run(&[
            (7 * DAY, 0, false),
            (20 * HOUR, 20 * HOUR, false),
            (7 * DAY, 0, false),
            (20 * HOUR, 20 * HOUR, false),
            (4 * HOUR, 4 * HOUR, true),
        ]);
        // By two hours, which is a leap too.
        run(&[(2 * HOUR, MINUTE, false), (0, MINUTE, false)]);
        // As far as numbers go.
        run(&[(i64::MAX - NOW, MINUTE, false), (0, MINUTE, false), (NOW - i64::MAX, MINUTE, true)]);
    }

    #[test]
    fn at_a_start_a_day_is_believed() {
        for (gap, counts) in
            [(0, true), (DAY - MINUTE, true), (DAY + MINUTE, false), (8 * DAY, false), (-HOUR / 2, true), (-2 * HOUR, false), (-NOW, false)]
        {
            let mut aging = Aging::new(NOW);
            assert_eq!(aging.look(NOW + gap, Duration::ZERO), counts, "{gap}");
            // A board without a battery for its clock is told the time after a while.
            assert!(counts || aging.look(NOW + MINUTE, Duration::from_secs(30)), "{gap}");
        }
    }

    #[test]
    fn doubt_goes_on_in_the_next_run() {
        let mut aging = Aging::new(NOW);
        assert!(aging.look(NOW, Duration::ZERO));
        assert!(!aging.look(NOW + 8 * DAY, Duration::from_secs(10)));
        assert!(!aging.look(NOW + 8 * DAY + 20 * HOUR, Duration::from_secs(20 * 3600)));
        assert_eq!(aging.hours_ahead(), 8 * 24 - 1);
        let mut next = Aging::parse(&aging.text()).unwrap();
        assert!(!next.look(NOW + 8 * DAY + 21 * HOUR, Duration::ZERO), "downtime is no running time");
        assert!(next.look(NOW + 8 * DAY + 25 * HOUR, Duration::from_secs(4 * 3600)));
        // And without doubt nothing is left of it.
        assert_eq!(Aging::parse(&next.text()), Some(Aging { was_down: true, ..Aging::new(NOW + 8 * DAY + 25 * HOUR) }));
        for text in ["", "1 2", "a b c", "1 2 -3", "99999999999999999 1 1"] {
            assert_eq!(Aging::parse(text), None, "{text}");
        }
    }
}
