//! Which jobs may share a child, where some of them may be what children die of.
//!
//! In: what died together. Out: whether a job goes to the others, to a child of its own, or waits. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A job whose child died so often with it gets one of its own.
const TWICE: u32 = 2;
/// Who began so shortly before its child died, and as much later than all others, is suspected first: what children die of is mostly the
/// first thing that they are given.
const NEW: Duration = Duration::from_secs(30);
/// First pause of a job that is suspected before others, so that those are back first: to start fifteen takes half a second. Also of one that
/// has died alone twice, doubled each time from then on; the first time may have been anything, and its viewers wait.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause: what it dies of may be gone when the publisher restarts its encoder.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A suspicion is dropped when its job's children have lived for so long.
const FORGET: Duration = Duration::from_secs(600);
/// Most suspects that are remembered: those of 256 children that died together.
const MAX_SUSPECTS: usize = 4096;

/// A job of a child that died.
#[derive(Debug, Clone)]
pub(crate) struct Victim {
    /// What the job is called, in each of its children.
    pub name: String,
    pub began: Instant,
}

/// Where a job is to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Wherever there is room.
    Shared,
    /// In a child of its own.
    Alone,
    /// Nowhere, for so long.
    Later(Duration),
}

#[derive(Debug)]
struct Suspect {
    deaths: u32,
    /// Deaths of which nobody else can be the cause.
    lone_deaths: u32,
    /// It is suspected before all that died with it.
    first: bool,
    died: Instant,
    not_before: Instant,
}

/// The jobs whose children died.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    suspects: HashMap<String, Suspect>,
}

impl Quarantine {
    /// A child died with these jobs.
    pub(crate) fn died(&mut self, now: Instant, victims: &[Victim]) {
        self.suspects.retain(|_, suspect| now.saturating_duration_since(suspect.died) < FORGET);
        let newest = newest(now, victims);
        let mut before = None;
        for victim in victims {
            if self.suspects.len() >= MAX_SUSPECTS && !self.suspects.contains_key(&victim.name) {
                continue;
            }
            let none = Suspect { deaths: 0, lone_deaths: 0, first: false, died: now, not_before: now };
            let suspect = self.suspects.entry(victim.name.clone()).or_insert(none);
            before = Some(suspect.died);
            if suspect.deaths > 0 && suspect.died == now {
                continue; // a stream's conversions have one name
            }
            suspect.deaths += 1;
            suspect.died = now;
            if victims.len() == 1 {
                if let Some(times) = suspect.lone_deaths.checked_sub(1) {
                    suspect.not_before = now + PAUSE_MAX.min(PAUSE * 2_u32.saturating_pow(times.min(16)));
                }
                suspect.lone_deaths += 1;
            } else if newest == Some(&victim.name) {
                suspect.first = true;
                suspect.not_before = now + PAUSE;
            }
        }
        // It was this one: who died with it before is beyond suspicion.
        if let ([culprit], Some(before)) = (victims, before) {
            self.suspects.retain(|name, suspect| *name == culprit.name || suspect.died != before || suspect.lone_deaths > 0);
        }
    }

    /// Where a job of this name is started now.
    pub(crate) fn place(&self, now: Instant, name: &str) -> Place {
        let Some(suspect) = self.suspects.get(name).filter(|suspect| now.saturating_duration_since(suspect.died) < FORGET) else {
            return Place::Shared;
        };
        match suspect.not_before.saturating_duration_since(now) {
            Duration::ZERO if suspect.first || suspect.deaths >= TWICE => Place::Alone,
            Duration::ZERO => Place::Shared,
            wait => Place::Later(wait),
        }
    }
}

/// The one that began much later than all others, if there is one.
fn newest(now: Instant, victims: &[Victim]) -> Option<&String> {
    let newest = victims.iter().max_by_key(|victim| victim.began)?;
    let age = |victim: &Victim| now.saturating_duration_since(victim.began);
    let others = victims.iter().filter(|victim| victim.name != newest.name).map(age).min()?;
    (age(newest) < NEW && others > age(newest) * 2 + PAUSE).then_some(&newest.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A supervisor's children in virtual time: sixteen jobs each, of which one kills the child it is in some time after it was started.
    struct Bench {
        quarantine: Quarantine,
        start: Instant,
        /// Of each job that runs: its child, and when it began (ms).
        running: HashMap<String, (usize, u64)>,
        children: usize,
        shared: usize,
        /// Of each job: how often it was lost, and when it was back each time.
        lost: HashMap<String, u32>,
        back: HashMap<String, Vec<u64>>,
        /// When the poisonous job began.
        poison: Vec<u64>,
    }

    const POISON: &str = "poison";

    impl Bench {
        fn new() -> Self {
            Self {
                quarantine: Quarantine::default(),
                start: crate::base::real_clock().at(),
                running: HashMap::new(),
                children: 1,
                shared: 0,
                lost: HashMap::new(),
                back: HashMap::new(),
                poison: Vec::new(),
            }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn start(&mut self, ms: u64, name: &str) {
            let child = match self.quarantine.place(self.at(ms), name) {
                Place::Later(_) => return,
                Place::Shared => self.shared,
                Place::Alone => {
                    self.children += 1;
                    self.children
                }
            };
            self.running.insert(name.to_owned(), (child, ms));
            self.back.entry(name.to_owned()).or_default().push(ms);
            if name == POISON {
                self.poison.push(ms);
            }
        }

        fn die(&mut self, ms: u64, child: usize) {
            let of = |running: &HashMap<String, (usize, u64)>| -> Vec<(String, u64)> {
                running.iter().filter(|(_, job)| job.0 == child).map(|(name, job)| (name.clone(), job.1)).collect()
            };
            let dead = of(&self.running);
            let victims: Vec<Victim> = dead.iter().map(|(name, began)| Victim { name: name.clone(), began: self.at(*began) }).collect();
            self.quarantine.died(self.at(ms), &victims);
            if child == self.shared {
                self.children += 1;
                self.shared = self.children;
            }
            for (name, _) in dead {
                self.running.remove(&name);
                *self.lost.entry(name).or_default() += 1;
            }
        }

        /// Up to so many ms: jobs are started when they may be, and the poison takes so long to kill.
        fn run(&mut self, names: &[String], poison_comes: u64, kills_after: u64, until: u64) {
            for ms in (0..until).step_by(50) {
                for name in names.iter().map(String::as_str).chain((ms >= poison_comes).then_some(POISON)) {
                    if !self.running.contains_key(name) {
                        self.start(ms, name);
                    }
                }
                if let Some((child, _)) = self.running.get(POISON).copied().filter(|(_, began)| ms >= began + kills_after) {
                    self.die(ms, child);
                }
            }
        }
    }

    #[test]
    fn others_are_back_first_and_lose_their_child_once_or_twice() {
        let names: Vec<String> = (0..15).map(|number| format!("live/{number}")).collect();
        // When the poison comes, how long it takes to kill, and how often the others are lost: once, where it is the newest; as often as it
        // takes to tell, where all began together.
        for (comes, kills_after, lost) in [(60_000, 0, 1), (60_000, 5000, 1), (60_000, 25_000, 1), (0, 0, 2), (0, 40_000, 2)] {
            let mut bench = Bench::new();
            bench.run(&names, comes, kills_after, 600_000);
            for name in &names {
                assert_eq!((bench.lost[name], bench.running.contains_key(name)), (lost, true), "{comes} {kills_after} {name}");
                let back = &bench.back[name];
                assert!(back[1] <= bench.poison[1], "{comes} {kills_after} {name}: {back:?} {:?}", bench.poison);
            }
            let pauses: Vec<u64> = bench.poison.windows(2).map(|two| two[1] - two[0] - kills_after).collect();
            assert!(bench.poison.len() > 10 && pauses.iter().rev().take(2).all(|pause| *pause >= 30_000 - 50), "{pauses:?}");
        }
    }

    #[test]
    fn who_died_with_the_culprit_is_beyond_suspicion() {
        let mut bench = Bench::new();
        let names: Vec<String> = (0..3).map(|number| format!("live/{number}")).collect();
        bench.run(&names, 60_000, 1000, 70_000);
        assert_eq!(bench.quarantine.suspects.len(), 1, "{:?}", bench.quarantine);
        let now = bench.at(70_000);
        bench
            .quarantine
            .died(now, &[Victim { name: names[0].clone(), began: bench.at(0) }, Victim { name: names[1].clone(), began: bench.at(0) }]);
        assert_eq!([0, 1, 2].map(|name| bench.quarantine.place(now, &names[name])), [Place::Shared; 3], "their first time");
    }

    #[test]
    fn a_suspicion_is_dropped_after_a_while() {
        let mut quarantine = Quarantine::default();
        let start = crate::base::real_clock().at();
        let both = ["a", "b"].map(|name| Victim { name: name.into(), began: start });
        quarantine.died(start, &both);
        assert_eq!(quarantine.place(start, "a"), Place::Shared);
        let again = start + PAUSE;
        quarantine.died(again, &both);
        assert_eq!((quarantine.place(again, "a"), quarantine.place(again, "c")), (Place::Alone, Place::Shared));
        let later = again + FORGET;
        assert_eq!(quarantine.place(later, "a"), Place::Shared);
        quarantine.died(later, &both[..1]);
        assert_eq!(quarantine.place(later, "a"), Place::Shared, "the first time may have been anything");
        let soon = later + PAUSE;
        quarantine.died(soon, &both[..1]);
        assert_eq!(quarantine.place(soon, "a"), Place::Later(PAUSE));
        assert_eq!(quarantine.place(soon + PAUSE, "a"), Place::Alone);
        // Names don't pile up.
        let many: Vec<Victim> = (0..2 * MAX_SUSPECTS).map(|number| Victim { name: number.to_string(), began: start }).collect();
        quarantine.died(later, &many);
        assert_eq!(quarantine.suspects.len(), MAX_SUSPECTS);
    }
}
