//! The wall clock that the whole server goes by: a line over the monotonic clock. It is put on the machine's wall clock once, and bent where
//! that one is set later.
//!
//! In: moments of the monotonic clock; now and then what the machine's wall clock says. Out: the time of day of each moment, the same for
//! everybody who asks. While something is live it never goes back and never jumps: media timelines lie on it. Pure.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::lock::lock;
use super::units::UnixNanos;

const MS: i64 = 1_000_000;
/// What the machine's wall clock may be off without anything being done, in ns. It is read between two readings of the monotonic clock, and
/// programs that keep time leave more than this to a step (128 ms in ntpd, 400 ms in systemd-timesyncd); less they mend by slewing, which
/// the monotonic clock follows by itself.
const NEGLIGIBLE: i64 = 50 * MS;
/// While something is live, the clock is moved by one part in so many of the time that passes: 0.2 %. A publisher's timeline is moved by up
/// to 0.5 % after the clock, without a jump, and its own crystal takes part of that.
const SLEW: i64 = 500;

/// One moment by both clocks: deadlines are kept by the one that is never set, what is shown to people goes by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// By the monotonic clock.
    pub(crate) at: Instant,
    pub(crate) wall: UnixNanos,
}

/// What is done where the machine's wall clock is somewhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Nothing: it is as good as right, or on its way.
    Leave,
    /// The clock goes there by [`SLEW`].
    Slew,
    /// The clock is there at once.
    Step,
}

/// The rule. The machine's wall clock is `deviation` ns ahead of ours, and `astray` ns ahead of where ours is going.
pub(crate) fn setting(deviation: i64, astray: i64, live: bool) -> Setting {
    let matters = |difference: i64| difference.unsigned_abs() > NEGLIGIBLE.unsigned_abs();
    match live {
        false if matters(deviation) => Setting::Step,
        _ if matters(astray) => Setting::Slew,
        _ => Setting::Leave,
    }
}

/// What came of looking at the machine's wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observed {
    /// By how much it was ahead of ours, in ns.
    pub(crate) deviation: i64,
    /// What is done about it. Each step of the machine's clock gives something else than [`Setting::Leave`] once, or twice where it is
    /// slewed until nothing is live any more.
    pub(crate) setting: Setting,
}

/// How far our clock lies ahead of the line that it was put on, in ns since that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Bend {
    /// Since when.
    from: i64,
    /// By how much then.
    offset: i64,
    /// By how much in the end.
    towards: i64,
}

impl Bend {
    fn offset_at(self, since: i64) -> i64 {
        let most = since.saturating_sub(self.from).max(0) / SLEW;
        self.offset.saturating_add(self.towards.saturating_sub(self.offset).clamp(-most, most))
    }
}

/// The bend for many readers without a lock, one of whom may be in the middle of a packet. The one that holds is never written to: two take
/// turns, and a reader that was overtaken by two writers looks again.
#[derive(Debug, Default)]
struct Bent {
    /// How many were written.
    version: AtomicU64,
    turns: [[AtomicI64; 3]; 2],
    writer: Mutex<()>,
}

impl Bent {
    fn read(&self) -> Bend {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let [from, offset, towards] = self.turn(version).each_ref().map(|value| value.load(Ordering::Relaxed));
            // Whoever saw a value of two versions later sees their numbers as well.
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return Bend { from, offset, towards };
            }
        }
    }

    fn change(&self, change: impl FnOnce(Bend) -> Option<Bend>) {
        let _alone = lock(&self.writer);
        let Some(Bend { from, offset, towards }) = change(self.read()) else { return };
        let next = self.version.load(Ordering::Relaxed).wrapping_add(1);
        fence(Ordering::Release);
        for (slot, value) in self.turn(next).iter().zip([from, offset, towards]) {
            slot.store(value, Ordering::Relaxed);
        }
        self.version.store(next, Ordering::Release);
    }

    fn turn(&self, version: u64) -> &[AtomicI64; 3] {
        let [even, odd] = &self.turns;
        if version.is_multiple_of(2) { even } else { odd }
    }
}

/// Says what time of day a moment is. Cheap to clone; all clones are the same clock.
#[derive(Debug, Clone)]
pub(crate) struct Wall {
    anchor: Now,
    bent: Arc<Bent>,
}

impl Wall {
    /// Begins at a moment of both clocks.
    pub(crate) fn new(anchor: Now) -> Self {
        Self { anchor, bent: Arc::default() }
    }

    /// The time of day at `at`, also of the past.
    pub(crate) fn of(&self, at: Instant) -> UnixNanos {
        let since = self.since(at);
        self.anchor.wall.saturating_add(since).saturating_add(self.bent.read().offset_at(since))
    }

    /// At `at` the machine's wall clock says `machine`. `live`: something goes on whose times must not jump.
    pub(crate) fn observe(&self, at: Instant, machine: UnixNanos, live: bool) -> Observed {
        let since = self.since(at);
        let mut observed = Observed { deviation: 0, setting: Setting::Leave };
        self.bent.change(|bend| {
            let offset = bend.offset_at(since);
            let wanted = machine.saturating_sub(self.anchor.wall).saturating_sub(since);
            let deviation = wanted.saturating_sub(offset);
            observed = Observed { deviation, setting: setting(deviation, wanted.saturating_sub(bend.towards), live) };
            match observed.setting {
                Setting::Leave => None,
                Setting::Slew => Some(Bend { from: since, offset, towards: wanted }),
                Setting::Step => Some(Bend { from: since, offset: wanted, towards: wanted }),
            }
        });
        observed
    }

    /// In ns since the anchor.
    fn since(&self, at: Instant) -> i64 {
        let nanos = |from: Instant, to: Instant| i64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(i64::MAX);
        if at >= self.anchor.at { nanos(self.anchor.at, at) } else { -nanos(at, self.anchor.at) }
    }
}

#[cfg(test)]
#[path = "wall_tests.rs"]
mod tests;
