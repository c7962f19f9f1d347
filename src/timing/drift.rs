//! Keeps a publisher's timeline near the wall clock, without a jump.
//!
//! In: how far each unit lies ahead of the wall clock when it comes. Out: by how much to move the timeline, and how long to leave the
//! publisher unread. Encoders' clocks are off by up to 200 ppm, which is 17 s a day; an overloaded encoder sends less than a second a
//! second; a file sent as fast as it can be read runs away. Pure.

use crate::base::UnixNanos;

const MS: i64 = 1_000_000;
const S: i64 = 1_000 * MS;

/// What a timeline may be off without being moved: network and encoders jitter, and a publisher begins with what it has waiting.
const DEAD_BAND: i64 = 750 * MS;
/// The timeline is moved until it is off by less.
const SETTLED: i64 = 250 * MS;
/// Moving by this part of the time that passes (0.5 %) is neither seen nor heard, and 25 times what crystals are off.
const GENTLE: i64 = 200;
/// From this lag on pictures are late for everybody, and the timeline is moved faster: from here to twice this by up to half of the time
/// that passes, so that an encoder at half of real time is still followed within 2 s.
const URGENT: i64 = S;
/// Units further ahead of the wall clock than this are not wanted yet, unless they come in a burst.
const MAX_LEAD: i64 = 1_500 * MS;
/// A publisher that gets this far from [`DEAD_BAND`] to [`MAX_LEAD`] at twice real time or faster pushes a file: what counts is that the
/// recording has all of it, soon. It may be this far ahead, so that what waits in its buffers is bounded by time as well.
const MAX_BURST: i64 = 90 * S;
/// Who goes on further ahead than this was put there by the publisher before: it isn't held for that, only for what it adds. Below
/// [`MAX_BURST`] by what a live publisher jitters.
const MAX_INHERITED: i64 = MAX_BURST - 2 * S;
/// How much less than its bound a publisher is ahead when it is read again: not every unit has to wait.
const SLACK: i64 = 100 * MS;
/// Media may come this many times as fast as real time: what takes it from the SFU carries it on in rounds of up to 100 ms, and must not
/// be overrun.
const MAX_SPEED: i64 = 16;
/// The same where the publisher has ended and another one waits for its place: a fifth of a key-frame cache in the longest round.
const HURRIED_SPEED: i64 = 32;
/// So much more may come at once: the backlog of a stall, a GOP that a relay kept. In media time.
const AT_ONCE: i64 = 8 * S;
/// The best of this time and of as much before it counts: what delays a unit only makes it later.
const WINDOW: i64 = S;
/// A lag that gets less by more than this from one window to the next is a stall's backlog coming in: it needs no help.
const RECOVERING: i64 = 100 * MS;
/// A lead that grows by more than this in a window is no clock that is off: it is a file, and waiting is all it needs.
const RUNNING_AWAY: i64 = 20 * MS;
/// A publisher that had to wait is not moved for this long.
const AFTER_WAIT: i64 = 10 * S;
/// The most that counts as passed between two units: a stall is not made up for at once.
const MAX_STEP: i64 = 200 * MS;

/// Leads beyond this (36 years) are all the same.
const FAR: i64 = 1 << 60;

/// What to do about a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Correction {
    /// Add this to the timeline from here on, in ns.
    pub(super) shift: i64,
    /// Leave the publisher unread for so long, in ns.
    pub(super) wait: i64,
}

/// Follows one publication.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// Largest lead in the window before this one, and in this one.
    before: Option<i64>,
    best: Option<i64>,
    /// How much the largest lead grew from one window to the next.
    trend: Option<i64>,
    began: UnixNanos,
    last: Option<UnixNanos>,
    /// Until when the timeline isn't moved back.
    waited_until: UnixNanos,
    moving: bool,
    /// When the lead was last within the dead band.
    calm: Option<UnixNanos>,
    /// A file is being pushed.
    bursting: bool,
    /// How much of its lead isn't its own doing: it began that far ahead.
    inherited: Option<i64>,
    /// Media time that may come at once, and when it was so much.
    allowance: Option<(i64, UnixNanos)>,
    /// The publisher has ended, and somebody waits for its place.
    hurried: bool,
}

impl Drift {
    /// A unit came at `now`, lies `lead` ahead of it, and is `advance` further than everything before it, in ns.
    pub(super) fn observe(&mut self, lead: i64, advance: i64, now: UnixNanos) -> Correction {
        let lead = lead.clamp(-FAR, FAR);
        let inherited = *self.inherited.get_or_insert((lead - MAX_INHERITED).max(0));
        // A lag uses it up.
        let lead = if lead > 0 { (lead - inherited).max(0) } else { lead };
        let since = now.saturating_sub(self.began);
        if self.best.is_none() || !(0..2 * WINDOW).contains(&since) {
            // The first unit, the first after a stall, or the clock was set.
            (self.before, self.trend, self.best, self.began) = (None, None, Some(lead), now);
        } else if since >= WINDOW {
            self.trend = self.before.zip(self.best).map(|(before, best)| best.saturating_sub(before));
            (self.before, self.best, self.began) = (self.best, Some(lead), now);
        } else {
            self.best = self.best.map(|best| best.max(lead));
        }
        let passed = self.last.map_or(0, |last| now.saturating_sub(last).clamp(0, MAX_STEP));
        self.last = Some(now);
        let wait = self.ahead(lead, now).max(self.too_fast(advance, now));
        if wait > 0 {
            self.waited_until = now.saturating_add(AFTER_WAIT);
            self.moving = false;
            return Correction { shift: 0, wait };
        }
        Correction { shift: self.shift(passed, now), wait: 0 }
    }

    /// The rest has to come soon: it isn't held to the wall clock any more.
    pub(super) fn hurry(&mut self) {
        self.hurried = true;
    }

    /// How long to wait for the wall clock to come nearer.
    fn ahead(&mut self, lead: i64, now: UnixNanos) -> i64 {
        if lead <= DEAD_BAND {
            (self.calm, self.bursting) = (Some(now), false);
        } else if lead > MAX_LEAD && !self.bursting {
            let since = self.calm.map_or(0, |calm| now.saturating_sub(calm));
            self.bursting = since < MAX_LEAD - DEAD_BAND;
            // Whoever has been held is not bursting because it is read again.
            self.calm = Some(i64::MIN);
        }
        if self.hurried {
            return 0;
        }
        let most = if self.bursting { MAX_BURST } else { MAX_LEAD };
        if lead > most { lead - most + SLACK } else { 0 }
    }

    /// How long to wait so that media doesn't come faster than it is carried on.
    fn too_fast(&mut self, advance: i64, now: UnixNanos) -> i64 {
        let speed = if self.hurried { HURRIED_SPEED } else { MAX_SPEED };
        let (left, at) = self.allowance.unwrap_or((AT_ONCE, now));
        let earned = now.saturating_sub(at).clamp(0, AT_ONCE).saturating_mul(speed);
        // Bounded only then: after a pause as much time has passed as is stepped over.
        let left = left.saturating_add(earned).saturating_sub(advance.clamp(0, AT_ONCE)).min(AT_ONCE);
        self.allowance = Some((left, now));
        if left < 0 { -left / speed } else { 0 }
    }

    fn shift(&mut self, passed: i64, now: UnixNanos) -> i64 {
        let (Some(before), Some(best), Some(trend)) = (self.before, self.best, self.trend) else { return 0 };
        let lead = before.max(best);
        self.moving = if self.moving { lead.abs() > SETTLED } else { lead.abs() > DEAD_BAND };
        if !self.moving {
            return 0;
        }
        if lead < 0 {
            if trend > RECOVERING {
                return 0;
            }
            let urgent = (-lead).saturating_sub(URGENT).clamp(0, URGENT);
            let by = passed / GENTLE + (i128::from(passed) * i128::from(urgent) / i128::from(2 * URGENT)) as i64;
            return by.min(-lead);
        }
        if trend > RUNNING_AWAY || now < self.waited_until { 0 } else { -(passed / GENTLE).min(lead) }
    }

    /// The timeline jumped: what was seen of it says nothing.
    pub(super) fn forget(&mut self) {
        let Self { waited_until, calm, bursting, inherited, allowance, hurried, .. } = *self;
        *self = Self { waited_until, calm, bursting, inherited, allowance, hurried, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: i64 = 40 * MS;

    /// A publisher whose frame `n` has media time `media(n)` and comes at `arrival(n)`, unless it is held back before. Gives the lead of
    /// each frame after correction, what the timeline was moved in all, and what was waited in all.
    fn run(frames: i64, media: impl Fn(i64) -> i64, arrival: impl Fn(i64) -> i64) -> (Vec<i64>, i64, i64) {
        let mut drift = Drift::default();
        let (mut moved, mut waited, mut free) = (0, 0, 0);
        let leads = (0..frames).map(|n| {
            let now = arrival(n).max(free);
            let lead = media(n) + moved - now;
            let correction = drift.observe(lead, media(n) - media(n - 1), now);
            moved += correction.shift;
            waited += correction.wait;
            free = now + correction.wait;
            lead
        });
        (leads.collect(), moved, waited)
    }

    #[test]
    fn a_good_clock_is_left_alone() {
        for delay in [0, 300 * MS, -300 * MS] {
            let jitter = |n: i64| (n * 7919) % 90 * MS;
            let (_, moved, waited) = run(10_000, |n| n * FRAME, |n| n * FRAME + delay + jitter(n));
            assert_eq!((moved, waited), (0, 0), "{delay}");
        }
    }

    #[test]
    fn a_day_of_200_ppm_stays_near() {
        for sign in [1, -1] {
            let (leads, _, waited) = run(25 * 86_400, |n| n * FRAME, |n| n * FRAME + sign * n * FRAME / 5000);
            assert!(leads.iter().all(|lead| lead.abs() < S), "{:?}", leads.iter().map(|lead| lead.abs()).max());
            assert_eq!(waited, 0);
        }
    }

    #[test]
    fn a_slow_publisher_is_followed() {
        for percent in [110, 125, 150] {
            let (leads, _, _) = run(5_000, |n| n * FRAME, |n| n * FRAME * percent / 100);
            assert!(leads.iter().all(|lead| *lead > -2 * S), "{percent}: {:?}", leads.iter().min());
        }
    }

    #[test]
    fn a_fast_publisher_waits_and_is_not_squeezed() {
        for percent in [95, 80, 60] {
            let (leads, moved, waited) = run(1_500, |n| n * FRAME, |n| n * FRAME * percent / 100);
            assert!(leads.iter().all(|lead| *lead <= MAX_LEAD + FRAME), "{percent}");
            assert_eq!(moved, 0, "{percent}");
            assert!(waited > 0);
        }
    }

    #[test]
    fn a_file_comes_at_a_bounded_speed_and_is_held_in_the_end() {
        for percent in [45, 10, 0] {
            let (leads, moved, waited) = run(10_000, |n| n * FRAME, |n| n * FRAME * percent / 100);
            assert!(leads.iter().all(|lead| *lead <= MAX_BURST + FRAME), "{percent}");
            assert_eq!(moved, 0, "{percent}");
            assert!(waited > 0, "{percent}");
        }
        let mut drift = Drift::default();
        let mut now = 0;
        for n in 0..2_250 {
            let correction = drift.observe(n * FRAME - now, FRAME, now);
            now += correction.wait;
        }
        assert!((4 * S..6 * S).contains(&now), "90 s of media in {} ms", now / MS);
    }

    #[test]
    fn a_pause_is_no_file() {
        for pause in [S, 9 * S, 60 * S] {
            let paused = |n: i64| n * FRAME + if n > 500 { pause } else { 0 };
            let (_, _, waited) = run(1_000, paused, paused);
            assert_eq!(waited, 0, "{pause}");
        }
    }

    #[test]
    fn the_rest_of_who_has_ended_comes_soon() {
        let mut drift = Drift::default();
        let mut now = 0;
        // 200 s of media, of which 100 s are still to come after 90 s and more were taken.
        for n in 0..5_000 {
            if n == 2_500 {
                assert!(now > 10 * S, "it was held: {now}");
                now = 0;
                drift.hurry();
                drift.forget();
                (drift.last, drift.allowance) = (None, None);
            }
            now += drift.observe(n * FRAME - now, FRAME, now).wait;
        }
        assert!((2_500 * MS..3_500 * MS).contains(&now), "100 s of media in {} ms", now / MS);
    }

    #[test]
    fn who_goes_on_where_another_ran_ahead_is_not_held_for_it() {
        for head in [0, 60 * S, 89 * S, 600 * S] {
            let jitter = |n: i64| (n * 7919) % 90 * MS;
            for early in [0, 300 * MS] {
                let (_, _, waited) = run(10_000, |n| head + n * FRAME, |n| n * FRAME + jitter(n) - if n > 0 { early } else { 0 });
                assert_eq!(waited, 0, "{head} {early}");
            }
            let (leads, _, waited) = run(10_000, |n| head + n * FRAME, |n| n * FRAME / 10);
            assert!(waited > 0 && leads.iter().all(|lead| *lead <= head.max(MAX_BURST) + 2 * S + FRAME), "a file is: {head}");
        }
    }

    #[test]
    fn a_stall_and_its_backlog_move_little() {
        for speed in [100, 4, 2] {
            let arrival = |n: i64| {
                let due = n * FRAME;
                if due < 10 * S { due } else { due.max(16 * S + (due - 10 * S) / speed) }
            };
            let (leads, moved, waited) = run(1_000, |n| n * FRAME, arrival);
            assert!(moved < 700 * MS, "{speed}: {moved}");
            assert_eq!(waited, 0);
            assert!(leads[999].abs() < S);
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut drift = Drift::default();
        for lead in [i64::MIN, i64::MAX, 0, i64::MIN / 2] {
            for now in [i64::MIN, 0, i64::MAX] {
                drift.observe(lead, lead, now);
            }
        }
    }
}
