//! A stream as a state machine: the nouns beside this file put together.

use std::time::{Duration, Instant};

use super::conflict::{Heard, Incumbent, LastMedia, Verdict, judge, still_asks};
use super::derivations::{DerivationId, Derivations, Derived, Running, Starting, Want};
use super::parked::Parked;
use super::publisher::{Generation, Newcomer, Place, Publisher};
use super::selection::{Choice, Otherwise, Wanted, choose};
use super::target::{TranscodeTarget, Why};
use super::tracks::{Replacement, Track, Tracks};
use super::viewers::{ViewerCounts, Viewers};
use super::warnings::{Warned, Warning, Warnings};
use crate::base::{MediaKind, Now, UnixNanos};
use crate::codec::{Codec, Format};
use crate::sfu::ProducerId;
use crate::stream::config::{BFrames, LongGops, OnConflict};
use crate::stream::format_history::FormatHistory;

/// How long a returning publisher has to bring back each of the tracks it had; what is missing then is taken off the stream.
/// Encoders send all their sequence headers within the first second.
pub(super) const TRACKS_RETURN_WITHIN: Duration = Duration::from_secs(5);
/// How long a stream with one track has to show its second: encoders send their sequence headers within a few ms of each other.
/// Viewers lose nothing by it but this time, and begin with the key-frame cache; thrown out for the second track they would lose more.
pub(super) const SETTLE: Duration = Duration::from_millis(150);

/// Codes of warnings about what was learnt of a track's pictures ([`Tracks::set_format`]).
const OF_PICTURES: [&str; 4] = ["b_frames", "b_frames_dropped", "key_frame_interval", "long_gops_kept"];

/// The configured rules that a stream lives by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub on_conflict: OnConflict,
    pub takeover_silence: Duration,
    pub reconnect_window: Duration,
    pub b_frames: BFrames,
    pub long_gops: LongGops,
}

/// What everybody is notified of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The first track is there.
    Started,
    /// The publisher went away or came back.
    PublisherChanged,
    /// The stream is over, and off the list.
    Ended { had_started: bool },
}

/// What the driver has to do.
#[derive(Debug)]
#[must_use]
pub(crate) enum Action<W, G> {
    Tell(Event),
    /// Close a published track's producer.
    Close(ProducerId),
    /// Let go of a writer; its producer closes with it.
    Release(W),
    /// Stop a transcode: nobody needs it.
    Stop(&'static str, G),
    /// Stop a transcode that the stream can't go on with.
    Abort(G),
}

/// What a newcomer hears.
#[derive(Debug)]
#[must_use]
pub(crate) enum Begin<W, G> {
    Begun(Begun, Vec<Action<W, G>>),
    /// Somebody else does.
    Refused,
    /// Come again after this time: somebody else does who may be gone.
    Hold(Duration),
    /// Ask the SFU whether anything comes by these producers, and come again with the answer.
    Listen(Generation, Vec<ProducerId>),
    /// There is nothing to publish to any more.
    Ended,
}

/// A publisher has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begun {
    /// By which it is known from here on.
    pub generation: Generation,
    /// Where the media of the publisher before it ended.
    pub media_end: UnixNanos,
    /// Whether somebody had to go for it.
    pub taken_over: bool,
}

/// How a track comes to its place.
#[derive(Debug)]
#[must_use]
pub(crate) enum Replace {
    /// Hand over the readers of this track, if there is one, and say how that went.
    Begun(Replacement, Option<Track>),
    /// Another one is just being put there: ask again once that is over.
    Wait,
    /// Another publisher is there, or the stream has ended.
    Gone,
}

/// What a consumer gets.
#[derive(Debug)]
#[must_use]
pub(crate) enum Selected<W, G> {
    Published {
        track: Track,
        drop_disposable: bool,
    },
    /// A derived track at work, to be released.
    Derived(Running),
    /// A derived track that the caller has to start, once the actions are carried out.
    Start(ToStart, Vec<Action<W, G>>),
    /// A derived track that somebody is starting: ask again once [`StreamCore::starts`] moves on.
    Wait,
}

/// A derived track to start.
#[derive(Debug)]
pub(crate) struct ToStart {
    pub starting: Starting,
    pub track: Track,
    pub target: TranscodeTarget,
    /// What is better than nothing where it can't be made.
    pub otherwise: Otherwise,
}

/// Why a consumer gets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoForm {
    NoTrack,
    /// Nothing that can be played can be made of this codec.
    CantDerive(Codec),
    /// The stream has ended.
    Ended,
}

/// How far a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// No track has come yet: nobody sees it.
    Announced,
    /// Since its first track.
    Live(Instant),
    Ended,
}

/// A stream. `W`: a writer that waits for its publisher; `G`: what keeps a transcode at work.
#[derive(Debug)]
pub(crate) struct StreamCore<W, G> {
    rules: Rules,
    life: Life,
    had_started: bool,
    place: Place,
    /// When somebody asked for the place who waits for it.
    asked: Option<UnixNanos>,
    tracks: Tracks,
    parked: Parked<W>,
    derivations: Derivations<G>,
    warnings: Warnings,
    viewers: Viewers,
    version: u64,
    starts: u64,
    /// When the stream ends unless a publisher returns.
    window_ends: Option<Instant>,
    /// When what the present publisher did not bring back is taken off.
    tracks_due: Option<Instant>,
}

impl<W, G> StreamCore<W, G> {
    /// A stream without anything.
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            life: Life::Announced,
            had_started: false,
            place: Place::default(),
            asked: None,
            tracks: Tracks::default(),
            parked: Parked::default(),
            derivations: Derivations::default(),
            warnings: Warnings::default(),
            viewers: Viewers::default(),
            version: 1,
            starts: 1,
            window_ends: None,
            tracks_due: None,
        }
    }

    /// Moves on when the tracks, the publisher's presence or the warnings change, and when the stream ends.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Moves on when a derived track has been started, or could not be.
    pub(crate) fn starts(&self) -> u64 {
        self.starts
    }

    /// Whether a track has come, ever.
    pub(crate) fn has_started(&self) -> bool {
        self.had_started
    }

    /// Whether it is over.
    pub(crate) fn has_ended(&self) -> bool {
        self.life == Life::Ended
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.window_ends, self.tracks_due, self.derivations.poll_timeout()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<Action<W, G>> {
        if self.window_ends.is_some_and(|due| due <= now) {
            return self.end();
        }
        let mut actions = Vec::new();
        if self.tracks_due.take_if(|due| *due <= now).is_some() {
            let gone = self.tracks.take_older(self.place.generation());
            actions.extend(self.parked.drain().into_iter().map(Action::Release));
            if !gone.is_empty() {
                self.version += 1;
            }
            actions.extend(gone.into_iter().map(|track| Action::Close(track.producer)));
        }
        let stopped = self.derivations.handle_timeout(now);
        if !stopped.is_empty() {
            self.version += 1;
        }
        actions.extend(stopped.into_iter().map(|(what, guard)| Action::Stop(what, guard)));
        actions
    }

    /// Ends the stream at once; nothing is left of it.
    pub(crate) fn end(&mut self) -> Vec<Action<W, G>> {
        if self.has_ended() {
            return Vec::new();
        }
        self.life = Life::Ended;
        self.place.close();
        (self.window_ends, self.tracks_due) = (None, None);
        self.version += 1;
        self.starts += 1;
        let mut actions = Vec::new();
        actions.extend(self.parked.drain().into_iter().map(Action::Release));
        actions.extend(self.derivations.drain().into_iter().map(Action::Abort));
        actions.extend(self.tracks.drain().into_iter().map(|track| Action::Close(track.producer)));
        actions.push(Action::Tell(Event::Ended { had_started: self.had_started }));
        actions
    }

    // The publisher.

    /// Who publishes now; nobody within the reconnect window.
    pub(crate) fn publisher(&self) -> Option<&Publisher> {
        self.place.holder()
    }

    /// The newest publisher, whether it is still there or not.
    pub(crate) fn generation(&self) -> Generation {
        self.place.generation()
    }

    /// Somebody wants to publish. `last_media`: what is known of the one who does; `heard`: the answer to [`Begin::Listen`].
    pub(crate) fn begin(&mut self, who: &Newcomer, last_media: LastMedia, heard: Option<Heard>, now: Now) -> Begin<W, G> {
        if self.has_ended() {
            return Begin::Ended;
        }
        let generation = self.place.generation();
        let incumbent = self.place.holder().map(|_| Incumbent { generation, last_media, ended: self.place.has_ended() });
        match judge(self.rules.on_conflict, self.rules.takeover_silence, incumbent, heard, who.waiting_since, now.wall) {
            Verdict::Refuse => return Begin::Refused,
            Verdict::Hold(wait) => {
                self.version += u64::from(!self.is_asked_for(now.wall));
                self.asked = Some(now.wall);
                return Begin::Hold(wait);
            }
            Verdict::Listen => return Begin::Listen(generation, self.tracks.all().map(|track| track.producer).collect()),
            Verdict::Free | Verdict::TakeOver => {}
        }
        let taken_over = self.place.take(who.clone(), now.wall);
        self.warnings.clear();
        (self.window_ends, self.asked) = (None, None);
        self.tracks_due = self.had_started.then(|| now.at + TRACKS_RETURN_WITHIN);
        self.version += 1;
        let begun = Begun { generation: self.place.generation(), media_end: self.place.media_end(), taken_over };
        Begin::Begun(begun, self.tell_of_publisher())
    }

    /// The publisher went: what it leaves waits for the one that returns. A stream that has shown nothing yet ends at once.
    pub(crate) fn leave(&mut self, generation: Generation, now: Now) -> Vec<Action<W, G>> {
        if !self.place.leave(generation, now.wall) {
            return Vec::new();
        }
        self.tracks_due = None;
        if !self.had_started {
            return self.end();
        }
        self.window_ends = Some(now.at + self.rules.reconnect_window);
        self.version += 1;
        self.tell_of_publisher()
    }

    fn tell_of_publisher(&self) -> Vec<Action<W, G>> {
        if self.had_started { vec![Action::Tell(Event::PublisherChanged)] } else { Vec::new() }
    }

    /// Whether somebody waits for the publisher's place. The version moves on when one comes.
    pub(crate) fn is_asked_for(&self, now: UnixNanos) -> bool {
        self.asked.is_some_and(|asked| still_asks(asked, now))
    }

    /// The publisher has said all there is; what is left of it is still being written.
    pub(crate) fn note_end(&mut self, generation: Generation) {
        self.place.note_end(generation);
    }

    /// Sends the publisher away, if there is one.
    pub(crate) fn evict(&mut self, why: &'static str) {
        self.version += u64::from(self.place.evict(why));
    }

    /// Sends that publisher away, if it is still there.
    pub(crate) fn evict_one(&mut self, generation: Generation, why: &'static str) {
        self.version += u64::from(self.place.evict_one(generation, why));
    }

    /// As [`Self::evict_one`], if it has brought no track.
    pub(crate) fn evict_silent(&mut self, generation: Generation, why: &'static str) {
        if !self.had_started {
            self.evict_one(generation, why);
        }
    }

    /// Why that publisher must go; `None` while it may stay.
    pub(crate) fn must_go(&self, generation: Generation) -> Option<&'static str> {
        self.place.must_go(generation)
    }

    /// Adds or replaces (by code) a warning.
    pub(crate) fn warn(&mut self, warning: Warning) -> Warned {
        let warned = self.warnings.add(warning);
        self.version += u64::from(matches!(warned, Warned::New | Warned::Replaced));
        warned
    }

    pub(crate) fn warnings(&self) -> &[Warning] {
        self.warnings.all()
    }

    // Its tracks.

    /// The published tracks now, video first.
    pub(crate) fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.tracks.all()
    }

    pub(crate) fn track(&self, producer: ProducerId) -> Option<&Track> {
        self.tracks.by_producer(producer)
    }

    /// Where the formats of a track changed; `None` if it is published as RTP, or gone.
    pub(crate) fn formats(&self, producer: ProducerId) -> Option<&FormatHistory> {
        self.tracks.formats(producer)
    }

    /// The writer that a new track of this publisher goes on with, if one that it can go on with is parked.
    pub(crate) fn unpark(&mut self, generation: Generation, codec: Codec) -> Option<W> {
        if self.is_present(generation) { self.parked.take(codec) } else { None }
    }

    /// Keeps the writer of a publisher that goes away, also for the one who took over, as long as its track stands; gives it back where it
    /// is of no use.
    pub(crate) fn park(&mut self, generation: Generation, codec: Codec, writer: W) -> Option<W> {
        if self.tracks.is_from(codec.kind(), generation) { self.parked.park(codec, writer) } else { Some(writer) }
    }

    /// A track of this publisher is about to take its place.
    pub(crate) fn replace(&mut self, generation: Generation, kind: MediaKind) -> Replace {
        if !self.is_present(generation) {
            return Replace::Gone;
        }
        match self.tracks.replace(kind, generation) {
            Some(replacement) => Replace::Begun(replacement, self.tracks.of_kind(kind).cloned()),
            None => Replace::Wait,
        }
    }

    /// The readers have been handed over from `handed_over`, or there was nothing to hand over: the track stands, also where another
    /// publisher has come meanwhile, who replaces it in turn. `None` where the stream has ended.
    pub(crate) fn put(
        &mut self,
        replacement: Replacement,
        track: Track,
        formats: Option<FormatHistory>,
        handed_over: Option<ProducerId>,
        now: Instant,
    ) -> Option<Vec<Action<W, G>>> {
        if !self.tracks.abandon(&replacement) {
            return None;
        }
        if let Some(old) = handed_over {
            self.derivations.go_on_with(old, track.producer);
        }
        let kind = track.kind;
        self.tracks.put(&replacement, track, formats);
        self.version += 1;
        // Dropped here and not earlier: its producer, which closes with it, has been replaced by then.
        let mut actions: Vec<_> = self.parked.release(kind).map(Action::Release).into_iter().collect();
        if self.life == Life::Announced {
            self.life = Life::Live(now);
            self.had_started = true;
            actions.push(Action::Tell(Event::Started));
        }
        Some(actions)
    }

    /// The track did not come to its place.
    pub(crate) fn abandon(&mut self, replacement: &Replacement) {
        self.version += u64::from(self.tracks.abandon(replacement));
    }

    /// A published track has other parameters now. True where that is news.
    pub(crate) fn set_format(&mut self, generation: Generation, format: &Format) -> bool {
        let before = self.tracks.of_kind(format.kind()).map(|track| track.format.clone());
        let changed = self.tracks.set_format(generation, format);
        if changed && format.kind() == MediaKind::Video && !before.is_some_and(|before| before.is_coded_like(format)) {
            // They are about pictures that were coded otherwise.
            self.warnings.retract(&OF_PICTURES);
        }
        self.version += u64::from(changed);
        changed
    }

    /// The key frame is about to be written that a change of the sound has waited for. Nobody waits for that: readers find it among packets.
    pub(crate) fn change_at_key(&mut self, generation: Generation) {
        self.tracks.change_at_key(generation);
    }

    /// B-frames were seen; `references`: ones that others refer to.
    pub(crate) fn set_reordered(&mut self, generation: Generation, references: bool) {
        self.version += u64::from(self.tracks.set_reordered(generation, references));
    }

    /// Key frames are further apart than players that come in want to wait.
    pub(crate) fn set_long_gops(&mut self, generation: Generation) {
        self.version += u64::from(self.tracks.set_long_gops(generation));
    }

    fn is_present(&self, generation: Generation) -> bool {
        self.place.holder().is_some() && self.place.generation() == generation
    }

    // Its consumers.

    /// The form of a track that fits.
    pub(crate) fn select(&mut self, wanted: Wanted<'_>) -> Result<Selected<W, G>, NoForm> {
        if self.has_ended() {
            return Err(NoForm::Ended);
        }
        let track = self.tracks.of_kind(wanted.kind).ok_or(NoForm::NoTrack)?;
        let from = track.format.codec();
        let (target, otherwise) = match choose(track, wanted, self.rules.b_frames, self.rules.long_gops).ok_or(NoForm::CantDerive(from))? {
            Choice::Published => return Ok(Selected::Published { track: track.clone(), drop_disposable: false }),
            Choice::WithoutDisposable => return Ok(Selected::Published { track: track.clone(), drop_disposable: true }),
            Choice::Derived { target, otherwise } => (target, otherwise),
        };
        let published: Vec<ProducerId> = self.tracks.all().map(|track| track.producer).collect();
        Ok(match self.derivations.want(track.producer, Why::of(track), target, &published) {
            Want::Use(running) => Selected::Derived(running),
            Want::Wait => Selected::Wait,
            Want::Start(starting, obsolete) => {
                let to_start = ToStart { starting, track: track.clone(), target, otherwise };
                Selected::Start(to_start, obsolete.into_iter().map(Action::Abort).collect())
            }
        })
    }

    /// A derived track has been started, and whoever started it uses it. Gives `guard` back where the stream has ended.
    pub(crate) fn started(&mut self, starting: &Starting, producer: ProducerId, formats: FormatHistory, guard: G) -> Result<Running, G> {
        let running = self.derivations.started(starting, producer, formats, guard)?;
        self.version += 1;
        self.starts += 1;
        Ok(running)
    }

    /// A derived track could not be started. Only those who wait for that start hear of it.
    pub(crate) fn start_failed(&mut self, starting: &Starting) {
        self.derivations.failed(starting);
        self.starts += 1;
    }

    /// A derived track is needed by one less.
    pub(crate) fn release(&mut self, id: DerivationId, now: Instant) {
        self.derivations.release(id, now);
    }

    /// The derived tracks at work.
    pub(crate) fn derived(&self) -> impl Iterator<Item = Derived<'_>> {
        self.derivations.all()
    }

    /// How long ago its first track came; `None` where it isn't live.
    pub(crate) fn age(&self, now: Instant) -> Option<Duration> {
        let Life::Live(since) = self.life else { return None };
        Some(now.saturating_duration_since(since))
    }

    /// How long the second track of a stream that has just begun is waited for; `None` where there is nothing to wait for.
    pub(crate) fn settling(&self, now: Instant) -> Option<Duration> {
        let left = SETTLE.checked_sub(self.age(now)?)?;
        (self.tracks.all().count() < 2 && !left.is_zero()).then_some(left)
    }

    /// Whether what consumes a published track now will be handed on when its publisher is replaced. Where not, it was chosen, or is
    /// being consumed, in the middle of that.
    pub(crate) fn stands(&self, producer: ProducerId) -> bool {
        !self.tracks.are_being_replaced() && self.track(producer).is_some()
    }

    /// A viewer comes. False where the stream has ended.
    pub(crate) fn attach_viewer(&mut self, protocol: &'static str) -> bool {
        let comes = !self.has_ended();
        if comes {
            self.viewers.attach(protocol);
        }
        comes
    }

    pub(crate) fn detach_viewer(&mut self, protocol: &'static str) {
        self.viewers.detach(protocol);
    }

    /// An HTTP player asked for something.
    pub(crate) fn note_http_viewer(&mut self, protocol: &'static str, who: u64, now: UnixNanos) {
        self.viewers.note_http(protocol, who, now);
    }

    /// Whether somebody gets what is published as it comes.
    pub(crate) fn is_watched(&self) -> bool {
        self.viewers.watch()
    }

    pub(crate) fn viewer_counts(&self, now: UnixNanos) -> ViewerCounts {
        self.viewers.counts(now)
    }

    /// What is held: writers parked, derived tracks at work or being started, tracks. For invariants.
    #[cfg(test)]
    pub(crate) fn held(&self) -> [usize; 3] {
        [self.parked.len(), self.derivations.len(), self.tracks.all().count()]
    }
}
