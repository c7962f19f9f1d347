//! An ICE-lite agent (RFC 8445 section 2.5): it answers connectivity checks and follows the pair that the peer nominates.
//!
//! In: STUN datagrams with their tuple, and time. Out: answers on the tuple the request came on, and [`IceEvent`]s. A full agent would check
//! a pair before it uses it; this one checks those only to which a peer moves ([`Challenge`]).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use ring::hmac;

use super::stun::{self, Message, Writer};
use super::{Protocol, Tuple};
use crate::base::{Chance, random_text};
use crate::sfu::ortc::IceParameters;

/// RFC 7675 section 5.1: consent expires 30 s after the last valid check.
pub(super) const CONSENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Most tuples valid at once. A browser has a few interfaces times UDP and TCP; the least recently heard one makes room.
const MAX_TUPLES: usize = 8;
/// Most answers and checks waiting to be sent. They are polled after every datagram, so more than one is rare already.
const MAX_ANSWERS: usize = 16;
/// Characters of the ufrag that say which worker it belongs to: four hexadecimal digits.
const UFRAG_WORKER_LEN: usize = 4;
/// Random characters after them: 48 bits (RFC 8445 section 5.3 asks for 24).
const UFRAG_RANDOM_LEN: usize = 8;
/// When a check of ours that has no answer yet is sent again, after the first. Few: whoever stands there has not asked for them.
const REPEATS: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800)];
/// PRIORITY of our checks (RFC 8445 section 5.1.2.1): peer reflexive, component 1. Nobody chooses by it.
const CHECK_PRIORITY: u32 = 110 << 24 | 0xFFFF << 8 | 255;
/// Characters of the password: 143 bits (RFC 8445 section 5.3 asks for 128).
const PASSWORD_LEN: usize = 24;

/// The worker that a username fragment of ours belongs to. A ufrag is four lower-case hexadecimal digits (the worker's
/// index) and eight random letters or digits; anything else is not ours.
pub fn worker_of_ufrag(ufrag: &str) -> Option<u16> {
    let bytes = ufrag.as_bytes();
    if bytes.len() != UFRAG_WORKER_LEN + UFRAG_RANDOM_LEN || !bytes.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    let index = &ufrag[..UFRAG_WORKER_LEN];
    if index.bytes().any(|c| c.is_ascii_uppercase()) {
        return None;
    }
    u16::from_str_radix(index, 16).ok()
}

/// Our ufrag in a STUN request (the part of USERNAME before the colon), to find whom it is for. Cheap, and checks nothing:
/// the peer it leads to does.
pub fn peek_ufrag(datagram: &[u8]) -> Option<&str> {
    stun::peek_username(datagram)?.split_once(':').map(|(ours, _)| ours)
}

#[derive(Debug)]
struct Credentials {
    parameters: IceParameters,
    key: hmac::Key,
    /// Whether a valid check with them was seen.
    used: bool,
}

impl Credentials {
    fn new(worker: u16, chance: &mut Chance) -> Self {
        let parameters = IceParameters {
            username_fragment: format!("{worker:04x}{}", random_text(chance, UFRAG_RANDOM_LEN)),
            password: random_text(chance, PASSWORD_LEN),
            ice_lite: true,
        };
        let key = stun::key(&parameters.password);
        Self { parameters, key, used: false }
    }
}

/// What the agent reports to its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IceEvent {
    /// A check made this tuple valid.
    TupleAdded(Tuple),
    /// It is no longer valid.
    TupleRemoved(Tuple),
    /// The pair to use from now on.
    Selected(Tuple),
    /// This ufrag of ours is void after a restart.
    UfragRetired(String),
    /// No tuple has consent any more. Last event.
    Lost,
}

#[derive(Debug)]
struct ValidTuple {
    tuple: Tuple,
    last_check: Instant,
    /// Who is who there: the peer's ufrag and ours, of the last check. Browsers use a new one of their own with an old one of ours.
    names: (String, String),
    /// The peer has shown that it receives there: it has a TCP connection, got the handshake, or answered.
    proven: bool,
}

/// A path that the peer wants to move to. It knows the password and can send in anybody's name, so media follow only when it has shown that it
/// receives there: by the answer to a check of ours, whose transaction nobody else knows.
#[derive(Debug)]
struct Challenge {
    tuple: Tuple,
    names: (String, String),
    transaction: [u8; 12],
    request: Bytes,
    theirs: hmac::Key,
    /// When the check is repeated, and how often it was.
    repeat: Option<Instant>,
    repeats: usize,
}

/// The agent of one peer.
#[derive(Debug)]
pub(crate) struct IceLite {
    worker: u16,
    current: Credentials,
    /// The ones in use until a check with the `current` ones arrives.
    previous: Option<Credentials>,
    /// The peer's, ufrag and key, of this generation and the one before.
    theirs: VecDeque<(String, hmac::Key)>,
    tuples: Vec<ValidTuple>,
    selected: Option<Tuple>,
    /// Whether the peer moves without a challenge: until the handshake begins, which shows by itself that it receives where that goes.
    free: bool,
    challenge: Option<Challenge>,
    chance: Chance,
    tie_breaker: u64,
    /// When consent ends for a peer whose only connections (TCP) have broken.
    orphaned_until: Option<Instant>,
    /// The highest nomination number seen, where the peer sends numbers.
    nomination: Option<u32>,
    answers: VecDeque<(Tuple, Bytes)>,
    events: VecDeque<IceEvent>,
    rejected: u64,
}

impl IceLite {
    /// An agent with new credentials, whose ufrag leads to `worker`.
    pub(crate) fn new(worker: u16, chance: &mut Chance) -> Self {
        Self {
            worker,
            current: Credentials::new(worker, chance),
            previous: None,
            theirs: VecDeque::new(),
            tuples: Vec::new(),
            selected: None,
            free: true,
            challenge: None,
            tie_breaker: chance.random(),
            chance: Chance::from_rng(chance),
            orphaned_until: None,
            nomination: None,
            answers: VecDeque::new(),
            events: VecDeque::new(),
            rejected: 0,
        }
    }

    /// The credentials to signal.
    pub(crate) fn parameters(&self) -> &IceParameters {
        &self.current.parameters
    }

    /// The peer's credentials.
    pub(crate) fn set_remote(&mut self, theirs: &IceParameters) {
        self.theirs.truncate(1);
        self.theirs.push_front((theirs.username_fragment.clone(), stun::key(&theirs.password)));
    }

    /// The handshake begins: from now on a peer that moves has to show that it receives where it moves to.
    pub(crate) fn pin(&mut self) {
        if std::mem::take(&mut self.free)
            && let Some(selected) = self.selected
        {
            self.prove(&selected);
        }
    }

    fn prove(&mut self, tuple: &Tuple) {
        if let Some(valid) = self.tuples.iter_mut().find(|valid| valid.tuple == *tuple) {
            valid.proven = true;
        }
    }

    /// New credentials, for the peer's new ones; the old ones and their tuples go on until a check with the new ones arrives (RFC 8445 section 9).
    pub(crate) fn restart(&mut self, theirs: &IceParameters, chance: &mut Chance) -> &IceParameters {
        let old = std::mem::replace(&mut self.current, Credentials::new(self.worker, chance));
        self.set_remote(theirs);
        if old.used || self.previous.is_none() {
            self.previous = Some(old);
        } else {
            // The peer has never used them: what it uses now is `previous`, which stays.
            self.events.push_back(IceEvent::UfragRetired(old.parameters.username_fragment));
        }
        &self.current.parameters
    }

    /// The pair in use.
    pub(crate) fn selected(&self) -> Option<Tuple> {
        self.selected
    }

    /// Whether ICE has validated this tuple and consent for it is fresh.
    pub(crate) fn is_valid(&self, tuple: &Tuple) -> bool {
        self.selected.as_ref() == Some(tuple) || self.tuples.iter().any(|valid| valid.tuple == *tuple)
    }

    /// How many STUN messages were ignored: malformed, unauthenticated, or not binding requests.
    pub(crate) fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Handles a STUN datagram. False if it was ignored; then nothing was changed or allocated, and nothing is answered, so
    /// that nobody can be hit with answers to forged requests.
    pub(crate) fn handle(&mut self, now: Instant, tuple: Tuple, datagram: &[u8]) -> bool {
        let accepted = Message::parse(datagram).is_some_and(|message| self.handle_message(now, tuple, &message));
        self.rejected += u64::from(!accepted);
        accepted
    }

    fn handle_message(&mut self, now: Instant, tuple: Tuple, message: &Message<'_>) -> bool {
        if message.kind == stun::BINDING_SUCCESS {
            return self.handle_answer(tuple, message);
        }
        let Some((ufrag, theirs)) = message.username.and_then(|name| name.split_once(':')) else { return false };
        if message.kind != stun::BINDING_REQUEST {
            return false;
        }
        let is_current = ufrag == self.current.parameters.username_fragment;
        let credentials = if is_current { Some(&self.current) } else { self.previous.as_ref() };
        let Some(credentials) = credentials.filter(|c| c.parameters.username_fragment == ufrag && message.is_authentic(&c.key)) else {
            return false;
        };
        if let Some(kind) = message.unknown {
            // RFC 8489 section 6.3.1.
            let answer = Writer::new(stun::BINDING_ERROR, &message.transaction).error(420, "Unknown Attribute").unknown_attributes(kind);
            let answer = answer.finish(&credentials.key);
            self.answer(tuple, answer.into());
            return true;
        }
        if message.controlled {
            // RFC 8445 section 7.3.1.1: a lite agent is always the controlled one, so the peer has to be the other.
            let answer = Writer::new(stun::BINDING_ERROR, &message.transaction).error(487, "Role Conflict").finish(&credentials.key);
            self.answer(tuple, answer.into());
            return true;
        }
        let answer = Writer::new(stun::BINDING_SUCCESS, &message.transaction).mapped(tuple.remote).finish(&credentials.key);
        self.answer(tuple, answer.into());
        if is_current && !self.current.used {
            self.current.used = true;
            if let Some(old) = self.previous.take() {
                self.nomination = None;
                self.events.push_back(IceEvent::UfragRetired(old.parameters.username_fragment));
            }
        }
        self.validate(now, tuple, theirs, ufrag);
        self.follow_nomination(now, tuple, message);
        true
    }

    /// The answer to a check of ours.
    fn handle_answer(&mut self, tuple: Tuple, message: &Message<'_>) -> bool {
        let answers =
            |asked: &mut Challenge| asked.tuple == tuple && asked.transaction == message.transaction && message.is_authentic(&asked.theirs);
        let met = self.challenge.take_if(answers).is_some();
        if met {
            self.prove(&tuple);
            self.select(tuple);
        }
        met
    }

    fn answer(&mut self, tuple: Tuple, answer: Bytes) {
        if self.answers.len() == MAX_ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back((tuple, answer));
    }

    fn validate(&mut self, now: Instant, tuple: Tuple, theirs: &str, ours: &str) {
        self.orphaned_until = None;
        if let Some(valid) = self.tuples.iter_mut().find(|valid| valid.tuple == tuple) {
            valid.last_check = now;
            if (valid.names.0.as_str(), valid.names.1.as_str()) != (theirs, ours) {
                valid.names = (theirs.to_owned(), ours.to_owned());
            }
            return;
        }
        if self.tuples.len() == MAX_TUPLES {
            let others = self.tuples.iter().enumerate().filter(|(_, valid)| Some(valid.tuple) != self.selected);
            if let Some((oldest, _)) = others.min_by_key(|(_, valid)| valid.last_check) {
                let gone = self.tuples.swap_remove(oldest);
                self.events.push_back(IceEvent::TupleRemoved(gone.tuple));
            }
        }
        self.tuples.push(ValidTuple { tuple, last_check: now, names: (theirs.to_owned(), ours.to_owned()), proven: is_connection(&tuple) });
        self.events.push_back(IceEvent::TupleAdded(tuple));
    }

    /// The peer decides which pair is used (RFC 8445 section 8.1.1), not the source of the last check: a peer goes on
    /// checking pairs that it does not receive media on.
    fn follow_nomination(&mut self, now: Instant, tuple: Tuple, message: &Message<'_>) {
        let nominated = match message.nomination {
            Some(number) if self.nomination.is_none_or(|highest| number > highest) => {
                self.nomination = Some(number);
                true
            }
            Some(_) => false,
            None => message.use_candidate,
        };
        let goes_there = self.challenge.as_ref().is_some_and(|asked| asked.tuple == tuple);
        if nominated || goes_there || self.selected.is_none() {
            self.move_to(now, tuple);
        }
    }

    fn move_to(&mut self, now: Instant, tuple: Tuple) {
        let Some(valid) = self.tuples.iter().find(|valid| valid.tuple == tuple) else { return };
        if self.free || self.selected == Some(tuple) || valid.proven {
            self.challenge = None;
            self.select(tuple);
            return;
        }
        let asked = |asked: &Challenge| asked.tuple == tuple && asked.names == valid.names && asked.repeat.is_some();
        if !self.challenge.as_ref().is_some_and(asked) {
            self.challenge(now, tuple, valid.names.clone());
        }
    }

    fn select(&mut self, tuple: Tuple) {
        if self.selected != Some(tuple) {
            self.selected = Some(tuple);
            self.events.push_back(IceEvent::Selected(tuple));
        }
    }

    fn challenge(&mut self, now: Instant, tuple: Tuple, names: (String, String)) {
        let Some((_, key)) = self.theirs.iter().find(|(ufrag, _)| *ufrag == names.0) else { return };
        let transaction: [u8; 12] = self.chance.random();
        let request = Writer::new(stun::BINDING_REQUEST, &transaction)
            .username(&format!("{}:{}", names.0, names.1))
            .priority(CHECK_PRIORITY)
            .controlled(self.tie_breaker);
        let (request, theirs) = (Bytes::from(request.finish(key)), key.clone());
        self.answer(tuple, request.clone());
        self.challenge = Some(Challenge { tuple, names, transaction, request, theirs, repeat: Some(now + REPEATS[0]), repeats: 0 });
    }

    fn repeat_challenge(&mut self, now: Instant) {
        let Some(asked) = self.challenge.as_mut().filter(|asked| asked.repeat.is_some_and(|at| now >= at)) else { return };
        asked.repeats += 1;
        asked.repeat = REPEATS.get(asked.repeats).map(|after| now + *after);
        let (tuple, request) = (asked.tuple, asked.request.clone());
        self.answer(tuple, request);
    }

    /// Forgets a tuple at once: its TCP connection is gone. If it was the last one, the peer may come back with another one
    /// for as long as consent lasts.
    pub(crate) fn remove_tuple(&mut self, now: Instant, tuple: &Tuple) {
        if let Some(index) = self.tuples.iter().position(|valid| valid.tuple == *tuple) {
            let gone = self.tuples.swap_remove(index);
            self.events.push_back(IceEvent::TupleRemoved(*tuple));
            self.replace_selected(now);
            if self.tuples.is_empty() {
                self.orphaned_until = Some(gone.last_check + CONSENT_TIMEOUT);
            }
        }
    }

    /// Drops tuples whose consent has expired.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let events = &mut self.events;
        let before = self.tuples.len();
        self.tuples.retain(|valid| {
            let fresh = now.saturating_duration_since(valid.last_check) < CONSENT_TIMEOUT;
            if !fresh {
                events.push_back(IceEvent::TupleRemoved(valid.tuple));
            }
            fresh
        });
        let expired = self.tuples.len() < before;
        if expired {
            self.replace_selected(now);
        }
        self.repeat_challenge(now);
        let given_up = self.orphaned_until.is_some_and(|until| now >= until);
        if given_up || expired && self.tuples.is_empty() {
            self.orphaned_until = None;
            self.events.push_back(IceEvent::Lost);
        }
    }

    fn replace_selected(&mut self, now: Instant) {
        if self.selected.is_none_or(|selected| self.tuples.iter().any(|valid| valid.tuple == selected)) {
            return;
        }
        self.selected = None;
        if let Some(best) = self.tuples.iter().max_by_key(|valid| valid.last_check).map(|valid| valid.tuple) {
            self.move_to(now, best);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let expiry = self.tuples.iter().map(|valid| valid.last_check + CONSENT_TIMEOUT);
        let repeat = self.challenge.as_ref().and_then(|asked| asked.repeat);
        expiry.chain(self.orphaned_until).chain(repeat).min()
    }

    /// The next answer or check, and where to send it.
    pub(crate) fn poll_transmit(&mut self) -> Option<(Tuple, Bytes)> {
        self.answers.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<IceEvent> {
        self.events.pop_front()
    }
}

/// Whether losing this tuple is noticed by its transport (TCP) and not only by silence.
pub(super) fn is_connection(tuple: &Tuple) -> bool {
    tuple.protocol == Protocol::Tcp
}
