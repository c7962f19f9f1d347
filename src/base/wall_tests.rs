use std::time::Duration;

use super::*;

const S: i64 = 1_000 * MS;
const HOUR: i64 = 3_600 * S;
const T0: UnixNanos = 1_800_000_000 * S;

#[allow(clippy::disallowed_methods)] // the virtual clock has to begin somewhere
fn start() -> Instant {
    Instant::now()
}

#[test]
fn the_rule() {
    use Setting::{Leave, Slew, Step};
    let small = NEGLIGIBLE;
    for (deviation, astray, live, wanted) in [
        // Nothing was set.
        (0, 0, true, Leave),
        (small, small, true, Leave),
        (-small, -small, false, Leave),
        // It was set.
        (small + 1, small + 1, true, Slew),
        (-2 * S, -2 * S, true, Slew),
        (HOUR, HOUR, true, Slew),
        (-HOUR, -HOUR, false, Step),
        (small + 1, small + 1, false, Step),
        // It is on its way.
        (HOUR, 0, true, Leave),
        (HOUR, small, true, Leave),
        // Nothing is live any more before it got there.
        (HOUR, 0, false, Step),
        // It was set again, and back.
        (HOUR + 2 * S, 2 * S, true, Slew),
        (0, -HOUR, true, Slew),
        (0, -HOUR, false, Slew),
        // Whatever a broken machine says.
        (i64::MIN, i64::MIN, true, Slew),
        (i64::MAX, i64::MIN, false, Step),
    ] {
        assert_eq!(setting(deviation, astray, live), wanted, "{deviation} {astray} {live}");
    }
}

/// A machine on which virtual time passes, and our clock on it, looked at once a second.
struct Machine {
    wall: Wall,
    at: Instant,
    /// What the machine's wall clock says.
    set: UnixNanos,
    live: bool,
    settings: Vec<Setting>,
    /// The furthest that ours went back, and the fastest and slowest that it went, in ns per second.
    back: i64,
    rates: (i64, i64),
}

impl Machine {
    fn new(live: bool) -> Self {
        let at = start();
        let wall = Wall::new(Now { at, wall: T0 });
        Self { wall, at, set: T0, live, settings: Vec::new(), back: 0, rates: (S, S) }
    }

    fn ours(&self) -> UnixNanos {
        self.wall.of(self.at)
    }

    fn pass(&mut self, seconds: i64) -> &mut Self {
        for _ in 0..seconds {
            let before = self.ours();
            self.at += Duration::from_secs(1);
            self.set += S;
            let passed = self.ours() - before;
            self.rates = (self.rates.0.min(passed), self.rates.1.max(passed));
            let seen = self.ours();
            let observed = self.wall.observe(self.at, self.set, self.live);
            assert_eq!(observed.deviation, self.set - seen);
            self.back = self.back.max(seen - self.ours());
            if observed.setting != Setting::Leave {
                self.settings.push(observed.setting);
            }
        }
        self
    }

    fn deviation(&self) -> i64 {
        self.set - self.ours()
    }
}

#[test]
fn what_is_live_sees_no_jump() {
    // A step of the machine's clock, how long it takes until ours is there.
    for (step, takes) in [(2 * S, 1_000), (-2 * S, 1_000), (-S, 500), (S, 500), (300 * MS, 150), (-300 * MS, 150), (40 * MS, 0)] {
        let mut machine = Machine::new(true);
        machine.pass(5).set += step;
        machine.pass(1 + takes);
        let left = if takes == 0 { step } else { 0 };
        assert!((machine.deviation() - left).abs() <= MS, "{step}: {} left", machine.deviation());
        assert!(machine.pass(100).deviation() == left, "{step}");
        assert_eq!(machine.settings, vec![Setting::Slew; usize::from(takes > 0)], "{step}");
        assert_eq!(machine.back, 0);
        assert!(machine.rates.0 >= S - S / SLEW && machine.rates.1 <= S + S / SLEW, "{:?}", machine.rates);
    }
}

#[test]
fn an_hour_is_set_once_nothing_is_live() {
    for step in [HOUR, -HOUR] {
        let mut machine = Machine::new(true);
        machine.pass(5).set += step;
        machine.pass(600);
        assert_eq!((machine.back, machine.settings.as_slice()), (0, &[Setting::Slew][..]));
        assert!((step - machine.deviation()).abs() <= 600 * S / SLEW);
        machine.live = false;
        machine.pass(1);
        assert_eq!((machine.deviation(), machine.settings.as_slice()), (0, &[Setting::Slew, Setting::Step][..]));
        machine.live = true;
        machine.pass(100);
        assert_eq!((machine.deviation(), machine.settings.len()), (0, 2));
    }
}

#[test]
fn an_idle_server_is_set_at_once() {
    // An hour, a leap second, and what a machine slept or a snapshot is old: the monotonic clock stood still meanwhile.
    for step in [HOUR, -HOUR, -S, 100_000 * HOUR, 60 * MS] {
        let mut machine = Machine::new(false);
        machine.pass(5).set += step;
        machine.pass(1);
        assert_eq!((machine.deviation(), machine.settings.as_slice()), (0, &[Setting::Step][..]), "{step}");
    }
}

#[test]
fn a_clock_that_is_set_back_and_forth_leaves_nothing_behind() {
    let mut machine = Machine::new(true);
    machine.pass(5).set += HOUR;
    machine.pass(100).set -= HOUR;
    machine.pass(200);
    assert_eq!((machine.deviation(), machine.back), (0, 0));
    assert_eq!(machine.settings, [Setting::Slew, Setting::Slew]);
}

#[test]
fn all_clones_are_one_clock_and_the_past_stays_in_order() {
    let at = start() + Duration::from_secs(100);
    let wall = Wall::new(Now { at, wall: T0 });
    let other = wall.clone();
    assert_eq!(wall.observe(at, T0 + HOUR, true).setting, Setting::Slew);
    let times: Vec<UnixNanos> = (0..200_u64).map(|second| other.of(at + Duration::from_secs(second) - Duration::from_secs(100))).collect();
    assert!(times.is_sorted() && times[100] == T0 && times[0] == T0 - 100 * S);
    assert_eq!(times[199], T0 + 99 * S + 99 * S / SLEW);
}

#[test]
fn extremes_do_not_overflow() {
    let at = start();
    for (anchor, machine) in [(i64::MAX, i64::MIN), (i64::MIN, i64::MAX), (0, i64::MIN), (i64::MAX, i64::MAX)] {
        let wall = Wall::new(Now { at, wall: anchor });
        for live in [true, false, true] {
            wall.observe(at + Duration::from_secs(1), machine, live);
            wall.of(at + Duration::from_secs(1 << 40));
        }
    }
}

#[test]
fn readers_see_whole_bends_while_others_write() {
    let at = start();
    let wall = Wall::new(Now { at, wall: 0 });
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0_u64;
                    while !done.load(Ordering::Relaxed) || reads == 0 {
                        let Bend { from, offset, towards } = wall.bent.read();
                        assert!(from == offset && offset == towards, "{from} {offset} {towards}");
                        reads += 1;
                    }
                })
            })
            .collect();
        for n in 0..200_000 {
            wall.bent.change(|_| Some(Bend { from: n, offset: n, towards: n }));
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert_eq!(wall.bent.read().from, 199_999);
}
