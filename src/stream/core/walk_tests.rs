//! Publishers, viewers, transcodes and time in any order: what must hold whatever happens.

#![allow(clippy::disallowed_methods)] // a time to count from

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::derivations::{DerivationId, Starting};
use super::*;
use crate::base::{MediaKind, Now};
use crate::codec::{Codec, Format};
use crate::sfu::ProducerId;
use crate::stream::config::{BFrames, LongGops, OnConflict};
use crate::stream::format_history::FormatHistory;

#[derive(Debug, Clone, Copy)]
enum Step {
    Begin,
    Leave(usize),
    Evict,
    Replace(usize, usize),
    Put { which: usize, handed_over: bool },
    Abandon(usize),
    Park(usize, usize),
    Unpark(usize, usize),
    SetFormat(usize, usize),
    Reorder(usize),
    Select(usize, usize),
    Started(usize),
    StartFailed(usize),
    Release(usize),
    Attach,
    Detach,
    Warn(usize),
    Wait(u64),
    End,
}

fn step() -> impl Strategy<Value = Step> {
    let n = || 0..8_usize;
    prop_oneof![
        4 => Just(Step::Begin),
        3 => n().prop_map(Step::Leave),
        1 => Just(Step::Evict),
        6 => (n(), n()).prop_map(|(who, format)| Step::Replace(who, format)),
        6 => (n(), any::<bool>()).prop_map(|(which, handed_over)| Step::Put { which, handed_over }),
        1 => n().prop_map(Step::Abandon),
        3 => (n(), n()).prop_map(|(who, format)| Step::Park(who, format)),
        3 => (n(), n()).prop_map(|(who, format)| Step::Unpark(who, format)),
        2 => (n(), n()).prop_map(|(who, format)| Step::SetFormat(who, format)),
        2 => n().prop_map(Step::Reorder),
        6 => (n(), n()).prop_map(|(kind, codec)| Step::Select(kind, codec)),
        4 => n().prop_map(Step::Started),
        2 => n().prop_map(Step::StartFailed),
        4 => n().prop_map(Step::Release),
        2 => Just(Step::Attach),
        2 => Just(Step::Detach),
        1 => n().prop_map(Step::Warn),
        5 => (0..6_000_u64).prop_map(Step::Wait),
        1 => (0..20_u8).prop_map(|n| if n == 0 { Step::End } else { Step::Wait(20) }),
    ]
}

/// Something that the state machine keeps for its driver: it has to come back.
#[derive(Debug)]
struct Token(Rc<Cell<usize>>);

impl Token {
    fn new(alive: &Rc<Cell<usize>>) -> Self {
        alive.set(alive.get() + 1);
        Self(alive.clone())
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The driver's side of a stream.
struct Walk {
    core: StreamCore<Token, Token>,
    alive: Rc<Cell<usize>>,
    now: Instant,
    t0: Instant,
    begun: Vec<Generation>,
    present: Vec<Generation>,
    replacing: Vec<(Replacement, Format, Option<ProducerId>)>,
    starting: Vec<Starting>,
    leases: Vec<DerivationId>,
    viewers: usize,
    open: Vec<ProducerId>,
    ends: usize,
    version: u64,
}

const WINDOW: Duration = Duration::from_secs(10);

fn format(n: usize) -> Format {
    match n % 4 {
        0 => Format::H264 { sps: Vec::new(), pps: Vec::new() },
        1 => Format::Vp8,
        2 => Format::Opus { channels: 1 + (n / 4) as u8 },
        _ => Format::Aac { config: bytes::Bytes::new(), sample_rate: 48_000, channels: 2 },
    }
}

fn pick<T: Copy>(list: &[T], n: usize) -> Option<T> {
    list.get(n % list.len().max(1)).copied()
}

impl Walk {
    fn new(on_conflict: OnConflict) -> Self {
        let rules = Rules {
            on_conflict,
            takeover_silence: Duration::from_secs(2),
            reconnect_window: WINDOW,
            b_frames: BFrames::Transcode,
            long_gops: LongGops::Transcode,
        };
        let now = Instant::now();
        Self {
            core: StreamCore::new(rules),
            alive: Rc::default(),
            now,
            t0: now,
            begun: Vec::new(),
            present: Vec::new(),
            replacing: Vec::new(),
            starting: Vec::new(),
            leases: Vec::new(),
            viewers: 0,
            open: Vec::new(),
            ends: 0,
            version: 1,
        }
    }

    fn time(&self) -> Now {
        Now { at: self.now, wall: (self.now - self.t0).as_nanos() as i64 }
    }

    fn token(&self) -> Token {
        Token::new(&self.alive)
    }

    fn carry_out(&mut self, actions: Vec<Action<Token, Token>>) {
        for action in actions {
            match action {
                Action::Close(producer) => {
                    let at = self.open.iter().position(|open| *open == producer).expect("closed twice, or never published");
                    self.open.swap_remove(at);
                }
                Action::Tell(Event::Ended { had_started }) => {
                    assert_eq!(had_started, self.core.has_started());
                    self.ends += 1;
                }
                Action::Tell(_) => assert_eq!(self.ends, 0, "nothing is told about a stream that has ended"),
                Action::Release(token) | Action::Stop(_, token) | Action::Abort(token) => drop(token),
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Begin => {
                let who = Newcomer { protocol: "rtmp", remote: None, agent: None, waiting_since: None };
                let heard = self.begun.last().map(|last| Heard { generation: *last, speaks: false });
                if let Begin::Begun(begun, actions) = self.core.begin(&who, LastMedia { at: 0, by_reader: false }, heard, self.time()) {
                    assert!(self.begun.last().is_none_or(|last| *last < begun.generation));
                    self.begun.push(begun.generation);
                    self.present.push(begun.generation);
                    self.carry_out(actions);
                }
            }
            Step::Leave(n) => {
                if let Some(generation) = pick(&self.present, n) {
                    self.present.retain(|present| *present != generation);
                    let actions = self.core.leave(generation, self.time());
                    self.carry_out(actions);
                }
            }
            Step::Evict => self.core.evict("ended by the operator"),
            Step::Replace(who, n) => {
                let Some(generation) = pick(&self.begun, who) else { return };
                let format = format(n);
                if let Replace::Begun(replacement, old) = self.core.replace(generation, format.kind()) {
                    assert_eq!(self.begun.last(), Some(&generation), "only the present publisher");
                    self.replacing.push((replacement, format, old.map(|old| old.producer)));
                }
            }
            Step::Put { which, handed_over } => {
                if self.replacing.is_empty() {
                    return;
                }
                let (replacement, format, old) = self.replacing.swap_remove(which % self.replacing.len());
                let producer = ProducerId::next();
                let track = Track::new(format.clone(), producer);
                let handed_over = old.filter(|_| handed_over);
                let put = self.core.put(replacement, track, Some(FormatHistory::new(format, 0)), handed_over, self.now);
                // Handed over or closed: either way the SFU has closed the old one.
                if let Some(actions) = put {
                    self.open.retain(|open| Some(*open) != old);
                    self.open.push(producer);
                    self.carry_out(actions);
                }
            }
            Step::Abandon(which) => {
                if !self.replacing.is_empty() {
                    let (replacement, ..) = self.replacing.swap_remove(which % self.replacing.len());
                    self.core.abandon(&replacement);
                }
            }
            Step::Park(who, n) => {
                let Some(generation) = pick(&self.begun, who) else { return };
                let writer = self.token();
                let _ = self.core.park(generation, format(n).codec(), writer);
            }
            Step::Unpark(who, n) => {
                let Some(generation) = pick(&self.begun, who) else { return };
                let _ = self.core.unpark(generation, format(n).codec());
            }
            Step::SetFormat(who, n) => {
                if let Some(generation) = pick(&self.begun, who) {
                    self.core.set_format(generation, &format(n));
                }
            }
            Step::Reorder(who) => {
                if let Some(generation) = pick(&self.begun, who) {
                    self.core.set_reordered(generation, who % 2 == 0);
                }
            }
            Step::Select(kind, codec) => {
                let kind = if kind % 2 == 0 { MediaKind::Video } else { MediaKind::Audio };
                let codec = [Codec::H264, Codec::Vp8, Codec::Opus, Codec::Aac][codec % 4];
                match self.core.select(Wanted { kind, codecs: &[codec], in_order: true, come_in: true, browsers: true }) {
                    Ok(Selected::Derived(running)) => self.leases.push(running.id),
                    Ok(Selected::Start(to_start, actions)) => {
                        self.starting.push(to_start.starting);
                        self.carry_out(actions);
                    }
                    Ok(Selected::Wait) => assert!(!self.starting.is_empty(), "somebody has to end the wait"),
                    Ok(Selected::Published { .. }) | Err(_) => {}
                }
            }
            Step::Started(which) => {
                if self.starting.is_empty() {
                    return;
                }
                let starting = self.starting.swap_remove(which % self.starting.len());
                let guard = self.token();
                let formats = FormatHistory::new(Format::Opus { channels: 2 }, 0);
                if let Ok(running) = self.core.started(&starting, ProducerId::next(), formats, guard) {
                    self.leases.push(running.id);
                }
            }
            Step::StartFailed(which) => {
                if !self.starting.is_empty() {
                    let starting = self.starting.swap_remove(which % self.starting.len());
                    self.core.start_failed(&starting);
                }
            }
            Step::Release(which) => {
                if !self.leases.is_empty() {
                    let lease = self.leases.swap_remove(which % self.leases.len());
                    self.core.release(lease, self.now);
                }
            }
            Step::Attach => self.viewers += usize::from(self.core.attach_viewer("webrtc")),
            Step::Detach => {
                if let Some(left) = self.viewers.checked_sub(1) {
                    self.viewers = left;
                    self.core.detach_viewer("webrtc");
                }
            }
            Step::Warn(n) => {
                self.core.warn(Warning { code: ["a", "b", "c"][n % 3], message: n.to_string() });
            }
            Step::Wait(ms) => self.wait(Duration::from_millis(ms)),
            Step::End => {
                let actions = self.core.end();
                self.carry_out(actions);
            }
        }
    }

    /// Time passes, and what comes due is done in its time.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            let actions = self.core.handle_timeout(self.now);
            self.carry_out(actions);
            assert!(self.core.poll_timeout().is_none_or(|next| next > self.now), "done, and done with");
        }
        self.now = until;
    }

    fn check(&mut self) {
        let core = &self.core;
        assert!(core.version() >= self.version);
        self.version = core.version();
        let in_peace = self.begun.iter().filter(|generation| core.must_go(**generation).is_none()).count();
        assert!(in_peace <= 1, "two publishers");
        assert!(core.publisher().is_none() || !self.present.is_empty());
        let [parked, derived, tracks] = core.held();
        assert!(parked <= 2 && tracks <= 2);
        let users: usize = core.derived().map(|derived| derived.users).sum();
        assert_eq!(core.viewer_counts(0).total, self.viewers);
        if core.has_ended() {
            assert_eq!((parked, derived, tracks, users, core.poll_timeout(), self.ends), (0, 0, 0, 0, None, 1));
            assert!(core.publisher().is_none() && self.open.is_empty());
        } else {
            assert_eq!(users, self.leases.len());
            assert!(derived <= self.starting.len() + core.derived().count());
            let listed: Vec<_> = core.tracks().map(|track| track.producer).collect();
            assert!(listed.len() == self.open.len() && self.open.iter().all(|open| listed.contains(open)), "{listed:?} {:?}", self.open);
            if core.publisher().is_none() && !self.begun.is_empty() {
                assert!(core.poll_timeout().is_some_and(|due| due <= self.now + WINDOW), "nobody publishes, and it would stay for ever");
            }
        }
    }

    /// Everybody goes.
    fn finish(mut self) {
        while !self.present.is_empty() {
            self.take(Step::Leave(0));
        }
        while !self.leases.is_empty() {
            self.take(Step::Release(0));
        }
        while !self.starting.is_empty() {
            self.take(Step::StartFailed(0));
        }
        while self.viewers > 0 {
            self.take(Step::Detach);
        }
        self.wait(WINDOW);
        self.check();
        assert!(self.begun.is_empty() || self.core.has_ended());
        assert_eq!(self.alive.get(), 0, "everything was given back");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens(rule in 0..3_usize, steps in proptest::collection::vec(step(), 0..250)) {
        let mut walk = Walk::new([OnConflict::Refuse, OnConflict::TakeOver, OnConflict::WhenSilent][rule]);
        for step in steps {
            walk.take(step);
            walk.check();
        }
        walk.finish();
    }
}
