//! The derived tracks of a stream: made when somebody needs them, shared by all who do, stopped when nobody does.
//!
//! Starting one takes a moment. Who asks first starts it, the others wait for how that turns out; if it fails, the next one tries.

use std::time::{Duration, Instant};

use super::target::{TranscodeTarget, Why};
use crate::sfu::ProducerId;
use crate::stream::format_history::FormatHistory;

/// How long a derived track goes on when nobody uses it: a viewer who reloads the page finds it warm.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// Names a derived track. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DerivationId(u64);

/// A derived track at work, for somebody who uses it.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    /// To be released by.
    pub id: DerivationId,
    /// Its producer on the stream's home router.
    pub producer: ProducerId,
    pub formats: FormatHistory,
    /// In words.
    pub what: &'static str,
}

/// Somebody starts a derived track. Goes back by `started` or `failed`.
#[derive(Debug)]
#[must_use]
pub(crate) struct Starting(DerivationId);

/// What somebody who needs a derived track has to do.
#[derive(Debug)]
pub(super) enum Want<G> {
    Use(Running),
    /// Start it, once what is of no use to anybody has been stopped.
    Start(Starting, Vec<G>),
    /// Wait until somebody else has started it, or failed to, and ask again.
    Wait,
}

#[derive(Debug)]
struct Derivation<G> {
    id: DerivationId,
    source: ProducerId,
    why: Why,
    target: TranscodeTarget,
    users: usize,
    /// Since when it has had none.
    idle: Option<Instant>,
    /// `None` while it is being started.
    work: Option<Work<G>>,
}

#[derive(Debug)]
struct Work<G> {
    producer: ProducerId,
    formats: FormatHistory,
    guard: G,
}

/// What is reported about one.
#[derive(Debug)]
pub(crate) struct Derived<'a> {
    pub source: ProducerId,
    pub why: Why,
    pub target: TranscodeTarget,
    pub formats: &'a FormatHistory,
    pub users: usize,
}

/// One for each source and target, and those of older sources that still have users.
#[derive(Debug)]
pub(super) struct Derivations<G> {
    table: Vec<Derivation<G>>,
    ids: u64,
}

impl<G> Default for Derivations<G> {
    fn default() -> Self {
        Self { table: Vec::new(), ids: 0 }
    }
}

impl<G> Derivations<G> {
    /// Those at work.
    pub(super) fn all(&self) -> impl Iterator<Item = Derived<'_>> {
        self.table.iter().filter_map(|known| {
            let Derivation { source, why, target, users, work, .. } = known;
            Some(Derived { source: *source, why: *why, target: *target, users: *users, formats: &work.as_ref()?.formats })
        })
    }

    /// Somebody needs `target` made of `source`, for that reason. `published` are the producers there are.
    pub(super) fn want(&mut self, source: ProducerId, why: Why, target: TranscodeTarget, published: &[ProducerId]) -> Want<G> {
        if let Some(known) = self.table.iter_mut().find(|known| known.source == source && known.target == target) {
            return known.running().map_or(Want::Wait, Want::Use);
        }
        let obsolete = self.table.extract_if(.., |known| known.idle.is_some() && !published.contains(&known.source));
        let obsolete = obsolete.filter_map(|known| known.work).map(|work| work.guard).collect();
        self.ids += 1;
        let id = DerivationId(self.ids);
        self.table.push(Derivation { id, source, why, target, users: 0, idle: None, work: None });
        Want::Start(Starting(id), obsolete)
    }

    /// It works, and who started it uses it. Gives `guard` back where it is no longer wanted: the stream has ended.
    pub(super) fn started(&mut self, starting: &Starting, producer: ProducerId, formats: FormatHistory, guard: G) -> Result<Running, G> {
        let Some(known) = self.table.iter_mut().find(|known| known.id == starting.0 && known.work.is_none()) else { return Err(guard) };
        let what = known.target.derivation(known.why);
        known.users = 1;
        known.work = Some(Work { producer, formats: formats.clone(), guard });
        Ok(Running { id: known.id, producer, formats, what })
    }

    /// It could not be started. Says nothing about the next try.
    pub(super) fn failed(&mut self, starting: &Starting) {
        self.table.retain(|known| known.id != starting.0 || known.work.is_some());
    }

    /// Somebody needs it no more.
    pub(super) fn release(&mut self, id: DerivationId, now: Instant) {
        let Some(known) = self.table.iter_mut().find(|known| known.id == id && known.users > 0) else { return };
        known.users -= 1;
        known.idle = (known.users == 0).then_some(now);
    }

    /// The SFU lets the readers of `old` go on with `new`.
    pub(super) fn go_on_with(&mut self, old: ProducerId, new: ProducerId) {
        self.table.iter_mut().filter(|known| known.source == old).for_each(|known| known.source = new);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.table.iter().filter_map(|known| known.idle).min().map(|idle| idle + LINGER)
    }

    /// What nobody has used for long enough, in words, to be stopped.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<(&'static str, G)> {
        let over = self.table.extract_if(.., |known| known.idle.is_some_and(|idle| idle + LINGER <= now));
        over.filter_map(|known| Some((known.target.derivation(known.why), known.work?.guard))).collect()
    }

    /// All of them, to be stopped.
    pub(super) fn drain(&mut self) -> Vec<G> {
        self.table.drain(..).filter_map(|known| known.work).map(|work| work.guard).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

impl<G> Derivation<G> {
    /// For one more user; `None` while it is being started.
    fn running(&mut self) -> Option<Running> {
        let work = self.work.as_ref()?;
        self.users += 1;
        self.idle = None;
        Some(Running { id: self.id, producer: work.producer, formats: work.formats.clone(), what: self.target.derivation(self.why) })
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a time to count from
mod tests {
    use super::*;
    use crate::codec::Format;

    const S: Duration = Duration::from_secs(1);

    struct Bench {
        table: Derivations<&'static str>,
        source: ProducerId,
        t0: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self { table: Derivations::default(), source: ProducerId::next(), t0: Instant::now() }
        }

        fn want(&mut self, source: ProducerId, published: &[ProducerId]) -> Want<&'static str> {
            self.table.want(source, Why::Codec, TranscodeTarget::Opus, published)
        }

        fn start(&mut self, guard: &'static str) -> Running {
            let Want::Start(starting, obsolete) = self.want(self.source, &[self.source]) else { panic!("known") };
            assert!(obsolete.is_empty());
            self.table.started(&starting, ProducerId::next(), history(), guard).unwrap()
        }

        fn join(&mut self) -> Running {
            let Want::Use(running) = self.want(self.source, &[self.source]) else { panic!("not at work") };
            running
        }
    }

    fn history() -> FormatHistory {
        FormatHistory::new(Format::Opus { channels: 2 }, 0)
    }

    #[test]
    fn shared_and_stopped_a_while_after_the_last_one_left() {
        let mut bench = Bench::new();
        let first = bench.start("opus");
        let second = bench.join();
        assert_eq!((first.id, first.producer, first.what), (second.id, second.producer, "AAC → Opus"));
        assert_eq!(bench.table.all().map(|known| known.users).collect::<Vec<_>>(), [2]);
        let t0 = bench.t0;
        bench.table.release(first.id, t0);
        assert_eq!(bench.table.poll_timeout(), None, "one still needs it");
        bench.table.release(first.id, t0 + S);
        assert_eq!(bench.table.poll_timeout(), Some(t0 + S + LINGER));
        bench.table.release(first.id, t0 + 2 * S); // nobody has it
        assert_eq!(bench.table.poll_timeout(), Some(t0 + S + LINGER));
        // Somebody comes back, and goes: it lingers anew.
        let third = bench.join();
        assert!(bench.table.handle_timeout(t0 + 60 * S).is_empty());
        bench.table.release(third.id, t0 + 4 * S);
        assert!(bench.table.handle_timeout(t0 + 4 * S + LINGER - Duration::from_nanos(1)).is_empty());
        assert_eq!(bench.table.handle_timeout(t0 + 4 * S + LINGER), [("AAC → Opus", "opus")]);
        assert_eq!((bench.table.len(), bench.table.poll_timeout()), (0, None));
    }

    #[test]
    fn one_starts_it_and_the_others_wait() {
        let mut bench = Bench::new();
        let source = bench.source;
        let Want::Start(starting, _) = bench.want(source, &[source]) else { panic!("known") };
        assert!(matches!(bench.want(source, &[source]), Want::Wait));
        assert_eq!(bench.table.all().count(), 0, "nothing is told about it yet");
        bench.table.failed(&starting);
        let Want::Start(again, _) = bench.want(source, &[source]) else { panic!("known") };
        bench.table.failed(&starting); // said twice
        assert!(matches!(bench.want(source, &[source]), Want::Wait));
        assert!(bench.table.started(&again, ProducerId::next(), history(), "opus").is_ok());
        bench.table.failed(&again); // too late
        assert!(matches!(bench.want(source, &[source]), Want::Use(_)));
        // Another target, or another source, is another one.
        assert!(matches!(bench.table.want(source, Why::Codec, TranscodeTarget::H264, &[source]), Want::Start(..)));
        assert!(matches!(bench.want(ProducerId::next(), &[source]), Want::Start(..)));
    }

    #[test]
    fn it_goes_on_with_its_source() {
        let mut bench = Bench::new();
        let running = bench.start("opus");
        let (old, new) = (bench.source, ProducerId::next());
        bench.table.go_on_with(ProducerId::next(), ProducerId::next());
        bench.table.go_on_with(old, new);
        bench.source = new;
        assert_eq!(bench.join().id, running.id);
        // Also while it is being started.
        let Want::Start(starting, _) = bench.want(old, &[old]) else { panic!("known") };
        let newer = ProducerId::next();
        bench.table.go_on_with(old, newer);
        assert!(bench.table.started(&starting, ProducerId::next(), history(), "next").is_ok());
        assert!(matches!(bench.want(newer, &[newer]), Want::Use(_)));
    }

    #[test]
    fn what_was_made_of_a_source_that_is_gone_is_stopped_for_the_next_one_unless_used() {
        let mut bench = Bench::new();
        let running = bench.start("old");
        let next = ProducerId::next();
        let Want::Start(starting, obsolete) = bench.want(next, &[next]) else { panic!("known") };
        assert!(obsolete.is_empty(), "somebody uses it");
        bench.table.failed(&starting);
        bench.table.release(running.id, bench.t0);
        let Want::Start(starting, obsolete) = bench.want(next, &[next, bench.source]) else { panic!("known") };
        assert!(obsolete.is_empty(), "its source is there");
        bench.table.failed(&starting);
        let Want::Start(_, obsolete) = bench.want(next, &[next]) else { panic!("known") };
        assert_eq!(obsolete, ["old"]);
    }

    #[test]
    fn the_end_takes_everything() {
        let mut bench = Bench::new();
        let running = bench.start("opus");
        let Want::Start(starting, _) = bench.table.want(bench.source, Why::BFrames, TranscodeTarget::H264, &[bench.source]) else {
            panic!("known")
        };
        assert_eq!(bench.table.drain(), ["opus"]);
        assert_eq!(bench.table.started(&starting, ProducerId::next(), history(), "late").err(), Some("late"));
        bench.table.release(running.id, bench.t0);
        assert_eq!((bench.table.len(), bench.table.poll_timeout()), (0, None));
    }
}
