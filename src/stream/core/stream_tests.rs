//! A stream's life as tables and stories: races, returns, ends.

#![allow(clippy::disallowed_methods)] // a time to count from

use std::time::{Duration, Instant};

use super::derivations::LINGER;
use super::stream::{SETTLE, TRACKS_RETURN_WITHIN};
use super::*;
use crate::base::{MediaKind, Now};
use crate::codec::{Codec, Format};
use crate::sfu::ProducerId;
use crate::stream::config::{BFrames, LongGops, OnConflict};
use crate::stream::format_history::FormatHistory;

const WINDOW: Duration = Duration::from_secs(10);
const S: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_nanos(1);

type Core = StreamCore<&'static str, &'static str>;
type Actions = Vec<Action<&'static str, &'static str>>;

fn h264() -> Format {
    Format::H264 { sps: Vec::new(), pps: Vec::new() }
}

fn opus() -> Format {
    Format::Opus { channels: 2 }
}

fn history(format: Format) -> FormatHistory {
    FormatHistory::new(format, 0)
}

struct Bench {
    core: Core,
    t0: Instant,
}

impl Bench {
    fn new(on_conflict: OnConflict) -> Self {
        let rules = Rules {
            on_conflict,
            takeover_silence: 2 * S,
            reconnect_window: WINDOW,
            b_frames: BFrames::Transcode,
            long_gops: LongGops::Transcode,
        };
        Self { core: StreamCore::new(rules), t0: Instant::now() }
    }

    /// A stream with one track, published.
    fn live() -> (Self, Generation, ProducerId) {
        let mut bench = Self::new(OnConflict::TakeOver);
        let generation = bench.begin(Duration::ZERO);
        let (producer, actions) = bench.add(generation, h264(), Duration::ZERO);
        assert_eq!(said(&actions), ["started"]);
        (bench, generation, producer)
    }

    fn now(&self, after: Duration) -> Now {
        Now { at: self.t0 + after, wall: after.as_nanos() as i64 }
    }

    fn try_begin(&mut self, after: Duration, heard: Option<Heard>) -> Begin<&'static str, &'static str> {
        let who = Newcomer { protocol: "rtmp", remote: None, agent: None, waiting_since: None };
        self.core.begin(&who, LastMedia { at: 0, by_reader: false }, heard, self.now(after))
    }

    fn begin(&mut self, after: Duration) -> Generation {
        let Begin::Begun(begun, _) = self.try_begin(after, None) else { panic!("refused") };
        begun.generation
    }

    fn leave(&mut self, generation: Generation, after: Duration) -> Vec<String> {
        let now = self.now(after);
        said(&self.core.leave(generation, now))
    }

    fn replace(&mut self, generation: Generation, kind: MediaKind) -> (Replacement, Option<ProducerId>) {
        let Replace::Begun(replacement, old) = self.core.replace(generation, kind) else { panic!("not now") };
        (replacement, old.map(|track| track.producer))
    }

    fn put(&mut self, replacement: Replacement, format: Format, handed_over: Option<ProducerId>) -> Option<(ProducerId, Actions)> {
        let producer = ProducerId::next();
        let track = Track::new(format.clone(), producer);
        let actions = self.core.put(replacement, track, Some(history(format)), handed_over, self.t0)?;
        Some((producer, actions))
    }

    fn add(&mut self, generation: Generation, format: Format, after: Duration) -> (ProducerId, Actions) {
        let (replacement, old) = self.replace(generation, format.kind());
        let t0 = self.t0;
        self.t0 += after;
        let put = self.put(replacement, format, old);
        self.t0 = t0;
        put.unwrap()
    }

    fn due(&mut self, after: Duration) -> Vec<String> {
        said(&self.core.handle_timeout(self.t0 + after))
    }

    fn timeout(&self) -> Option<Duration> {
        self.core.poll_timeout().map(|due| due - self.t0)
    }

    fn select(&mut self, kind: MediaKind, codec: Codec) -> Result<Selected<&'static str, &'static str>, NoForm> {
        self.core.select(Wanted { kind, codecs: &[codec], in_order: false, come_in: true, browsers: true })
    }

    fn start_opus(&mut self, guard: &'static str) -> Running {
        let Ok(Selected::Start(to_start, _)) = self.select(MediaKind::Audio, Codec::Aac) else { panic!("known") };
        self.core.started(&to_start.starting, ProducerId::next(), history(opus()), guard).unwrap()
    }
}

fn said(actions: &Actions) -> Vec<String> {
    let word = |action: &Action<&'static str, &'static str>| match action {
        Action::Tell(Event::Started) => "started".to_owned(),
        Action::Tell(Event::PublisherChanged) => "publisher changed".to_owned(),
        Action::Tell(Event::Ended { had_started }) => format!("ended {had_started}"),
        Action::Close(producer) => format!("close {producer}"),
        Action::Release(writer) => format!("release {writer}"),
        Action::Stop(what, guard) => format!("stop {guard} {what}"),
        Action::Abort(guard) => format!("abort {guard}"),
    };
    actions.iter().map(word).collect()
}

#[test]
fn a_stream_is_announced_with_its_first_track_and_once() {
    let mut bench = Bench::new(OnConflict::Refuse);
    let first = bench.begin(Duration::ZERO);
    assert!(!bench.core.has_started());
    assert_eq!(said(&bench.add(first, h264(), Duration::ZERO).1), ["started"]);
    assert!(said(&bench.add(first, opus(), Duration::ZERO).1).is_empty());
    assert!(bench.core.has_started());
}

#[test]
fn a_stream_that_showed_nothing_ends_with_its_publisher() {
    let mut bench = Bench::new(OnConflict::Refuse);
    let first = bench.begin(Duration::ZERO);
    assert_eq!(bench.leave(first, S), ["ended false"]);
    assert!(bench.core.has_ended() && bench.core.poll_timeout().is_none());
    assert!(matches!(bench.try_begin(S, None), Begin::Ended));
}

#[test]
fn conflicts() {
    use OnConflict::{Refuse, TakeOver, WhenSilent};
    for (rule, heard, outcome) in [
        (Refuse, None, "refused"),
        (TakeOver, None, "begun"),
        (WhenSilent, None, "listen"),
        (WhenSilent, Some(true), "refused"),
        (WhenSilent, Some(false), "begun"),
    ] {
        let mut bench = Bench::new(rule);
        let first = bench.begin(Duration::ZERO);
        let (producer, _) = bench.add(first, h264(), Duration::ZERO);
        let heard = heard.map(|speaks| Heard { generation: first, speaks });
        let seen = match bench.try_begin(60 * S, heard) {
            Begin::Begun(begun, actions) => {
                assert!(begun.taken_over && begun.generation > first);
                assert_eq!(said(&actions), ["publisher changed"]);
                assert_eq!(bench.core.must_go(first), Some("another publisher took over"));
                "begun"
            }
            Begin::Listen(generation, producers) => {
                assert_eq!((generation, producers), (first, vec![producer]));
                "listen"
            }
            Begin::Refused => "refused",
            Begin::Hold(_) | Begin::Ended => "other",
        };
        assert_eq!(seen, outcome, "{rule:?} {heard:?}");
        assert_eq!(bench.core.must_go(first).is_some(), outcome == "begun");
    }
}

#[test]
fn a_free_place_needs_no_rule() {
    for rule in [OnConflict::Refuse, OnConflict::TakeOver, OnConflict::WhenSilent] {
        let mut bench = Bench::new(rule);
        let first = bench.begin(Duration::ZERO);
        bench.add(first, h264(), Duration::ZERO);
        assert_eq!(bench.leave(first, S), ["publisher changed"]);
        let Begin::Begun(begun, _) = bench.try_begin(2 * S, None) else { panic!("{rule:?}") };
        assert!(!begun.taken_over && begun.generation.is_returning());
        assert_eq!(begun.media_end, S.as_nanos() as i64, "where the media ended");
    }
}

#[test]
fn the_reconnect_window() {
    for (returns, alive) in [(Duration::ZERO, true), (WINDOW - TICK, true), (WINDOW, false), (WINDOW + S, false)] {
        let (mut bench, first, producer) = Bench::live();
        bench.leave(first, S);
        assert_eq!(bench.timeout(), Some(S + WINDOW));
        let due = bench.due(S + returns);
        if alive {
            assert!(due.is_empty());
            let second = bench.begin(S + returns);
            assert_eq!(bench.timeout(), Some(S + returns + TRACKS_RETURN_WITHIN), "the window is over");
            assert!(bench.leave(first, 2 * S).is_empty(), "the old one has nothing to say");
            assert_eq!(bench.core.must_go(second), None);
        } else {
            assert_eq!(due, [format!("close {producer}"), "ended true".into()]);
            assert!(matches!(bench.try_begin(S + returns, None), Begin::Ended));
        }
    }
}

#[test]
fn each_absence_has_a_window_of_its_own() {
    let (mut bench, first, _) = Bench::live();
    bench.leave(first, Duration::ZERO);
    let second = bench.begin(9 * S);
    bench.add(second, h264(), 9 * S);
    assert!(bench.due(10 * S).is_empty(), "the first window is no longer of interest");
    bench.leave(second, 12 * S);
    assert!(bench.due(21 * S).is_empty());
    assert_eq!(bench.due(22 * S).last().map(String::as_str), Some("ended true"));
}

#[test]
fn what_does_not_return_is_taken_off() {
    let (mut bench, first, pictures) = Bench::live();
    let (sound, _) = bench.add(first, opus(), Duration::ZERO);
    assert_eq!(bench.core.park(first, Codec::H264, "pictures"), None);
    assert_eq!(bench.core.park(first, Codec::Opus, "sound"), None);
    bench.leave(first, Duration::ZERO);
    let second = bench.begin(S);
    assert_eq!(bench.core.unpark(second, Codec::H264), Some("pictures"));
    let (replacement, old) = bench.replace(second, MediaKind::Video);
    assert_eq!(old, Some(pictures));
    bench.put(replacement, h264(), None).unwrap();
    assert!(bench.due(S + TRACKS_RETURN_WITHIN - TICK).is_empty());
    let version = bench.core.version();
    assert_eq!(bench.due(S + TRACKS_RETURN_WITHIN), ["release sound".to_owned(), format!("close {sound}")]);
    assert!(bench.core.version() > version);
    assert_eq!((bench.core.held(), bench.timeout()), ([0, 0, 1], None));
}

#[test]
fn what_is_missing_waits_with_the_publisher_that_went_again() {
    let (mut bench, first, _) = Bench::live();
    bench.leave(first, Duration::ZERO);
    let second = bench.begin(S);
    bench.leave(second, 2 * S);
    assert_eq!(bench.timeout(), Some(2 * S + WINDOW));
    assert!(bench.due(S + TRACKS_RETURN_WITHIN).is_empty());
    assert_eq!(bench.core.held(), [0, 0, 1]);
}

#[test]
fn which_writer_a_returning_track_goes_on_with() {
    for (returning, goes_on, released) in [
        (h264(), Some("pictures"), &[][..]),
        (Format::Vp8, None, &["release pictures"]), // another codec: the writer goes once the track stands
        (opus(), None, &[]),
    ] {
        let (mut bench, first, _) = Bench::live();
        assert_eq!(bench.core.park(first, Codec::H264, "pictures"), None);
        bench.leave(first, Duration::ZERO);
        let second = bench.begin(S);
        assert_eq!(bench.core.unpark(first, returning.codec()), None, "an old publisher gets nothing");
        assert_eq!(bench.core.unpark(second, returning.codec()), goes_on);
        assert_eq!(said(&bench.add(second, returning, S).1), released);
    }
}

#[test]
fn writers_that_are_of_no_use_are_given_back() {
    let (mut bench, first, _) = Bench::live();
    assert_eq!(bench.core.park(first, Codec::Opus, "no track"), Some("no track"));
    assert_eq!(bench.core.park(first, Codec::H264, "one"), None);
    assert_eq!(bench.core.park(first, Codec::Vp8, "two"), Some("two"), "one of a kind");
    let second = bench.begin(S);
    assert_eq!(said(&bench.add(second, h264(), S).1), ["release one"], "another one stands in its place");
    assert_eq!(bench.core.park(first, Codec::H264, "late"), Some("late"));
    assert_eq!(bench.core.park(second, Codec::H264, "three"), None);
    assert_eq!(said(&bench.core.end()).first().map(String::as_str), Some("release three"));
    assert_eq!(bench.core.park(second, Codec::H264, "ended"), Some("ended"));
}

#[test]
fn who_takes_over_goes_on_with_the_writers_whenever_they_come() {
    // The one who has to go gives up its writer before the other one's track comes, while it takes its place, or after.
    for when in ["before", "while", "after"] {
        let (mut bench, first, producer) = Bench::live();
        let Begin::Begun(begun, _) = bench.try_begin(S, None) else { panic!("refused") };
        assert_eq!((begun.taken_over, begun.media_end), (true, S.as_nanos() as i64));
        let second = begun.generation;
        if when == "before" {
            assert_eq!(bench.core.park(first, Codec::H264, "writer"), None);
        }
        let goes_on = bench.core.unpark(second, Codec::H264);
        assert_eq!(goes_on.is_some(), when == "before");
        let (replacement, old) = bench.replace(second, MediaKind::Video);
        assert_eq!(old, Some(producer));
        if when == "while" {
            assert_eq!(bench.core.park(first, Codec::H264, "writer"), None, "its producer must stay until it is replaced");
        }
        let (_, actions) = bench.put(replacement, h264(), old).unwrap();
        assert_eq!(said(&actions).len(), usize::from(when == "while"), "and go then");
        if when == "after" {
            assert_eq!(bench.core.park(first, Codec::H264, "writer"), Some("writer"));
        }
        assert_eq!(bench.core.held(), [0, 0, 1], "{when}");
    }
}

#[test]
fn an_old_publisher_speaks_after_a_new_one_began() {
    let (mut bench, first, _) = Bench::live();
    let second = bench.begin(S);
    let version = bench.core.version();
    assert!(matches!(bench.core.replace(first, MediaKind::Video), Replace::Gone));
    assert!(bench.leave(first, S).is_empty());
    assert_eq!(bench.core.version(), version);
    assert!(
        bench.core.set_format(first, &Format::H264 { sps: vec![bytes::Bytes::from_static(b"x")], pps: Vec::new() }),
        "its track is still there"
    );
    bench.add(second, h264(), S);
    let version = bench.core.version();
    assert!(!bench.core.set_format(first, &Format::H264 { sps: vec![bytes::Bytes::from_static(b"y")], pps: Vec::new() }));
    bench.core.set_reordered(first, true);
    assert_eq!(bench.core.version(), version);
    assert!(bench.core.publisher().is_some());
}

#[test]
fn a_new_publisher_comes_while_the_old_one_puts_its_track() {
    let (mut bench, first, zero) = Bench::live();
    let (replacement, old) = bench.replace(first, MediaKind::Video);
    assert_eq!(old, Some(zero));
    let second = bench.begin(S);
    assert!(matches!(bench.core.replace(second, MediaKind::Video), Replace::Wait), "one at a time");
    let version = bench.core.version();
    let (one, _) = bench.put(replacement, h264(), Some(zero)).unwrap();
    assert!(bench.core.version() > version, "who waits is woken");
    // The readers are with the track of the old one now: that is what the new one replaces.
    let (replacement, old) = bench.replace(second, MediaKind::Video);
    assert_eq!(old, Some(one));
    let (two, _) = bench.put(replacement, h264(), Some(one)).unwrap();
    assert_eq!(bench.core.tracks().map(|track| track.producer).collect::<Vec<_>>(), [two]);
    assert!(bench.due(S + TRACKS_RETURN_WITHIN).is_empty(), "it came back");
}

#[test]
fn a_replacement_that_comes_to_nothing_leaves_the_place() {
    let (mut bench, first, producer) = Bench::live();
    let (replacement, _) = bench.replace(first, MediaKind::Video);
    assert!(!bench.core.stands(producer));
    let version = bench.core.version();
    bench.core.abandon(&replacement);
    assert!(bench.core.version() > version && bench.core.stands(producer));
    let _again = bench.replace(first, MediaKind::Video);
}

#[test]
fn the_end_comes_while_a_track_is_replaced() {
    let (mut bench, first, producer) = Bench::live();
    let (replacement, _) = bench.replace(first, MediaKind::Video);
    assert_eq!(said(&bench.core.end()), [format!("close {producer}"), "ended true".into()]);
    assert!(bench.put(replacement, h264(), Some(producer)).is_none(), "the driver closes the new one itself");
    assert_eq!(bench.core.held(), [0, 0, 0]);
    let (mut bench, first, _) = Bench::live();
    let (replacement, _) = bench.replace(first, MediaKind::Video);
    let _ = bench.core.end();
    let version = bench.core.version();
    bench.core.abandon(&replacement);
    assert_eq!(bench.core.version(), version);
}

#[test]
fn the_end_takes_everything_once_and_refuses_what_comes_then() {
    let (mut bench, first, pictures) = Bench::live();
    let (sound, _) = bench.add(first, opus(), Duration::ZERO);
    let running = bench.start_opus("aac");
    assert_eq!(bench.core.park(first, Codec::H264, "writer"), None);
    assert!(bench.core.attach_viewer("webrtc"));
    bench.core.evict("the server is shutting down");
    let all = ["release writer".to_owned(), "abort aac".into(), format!("close {pictures}"), format!("close {sound}"), "ended true".into()];
    assert_eq!(said(&bench.core.end()), all);
    assert!(bench.core.end().is_empty() && bench.due(3600 * S).is_empty());
    assert_eq!(bench.core.must_go(first), Some("the server is shutting down"));
    assert!(bench.leave(first, S).is_empty());
    assert!(!bench.core.attach_viewer("webrtc"));
    assert!(matches!(bench.select(MediaKind::Video, Codec::H264), Err(NoForm::Ended)));
    assert!(matches!(bench.core.replace(first, MediaKind::Video), Replace::Gone));
    bench.core.release(running.id, bench.t0);
    bench.core.detach_viewer("webrtc");
    assert_eq!((bench.core.held(), bench.core.viewer_counts(0).total, bench.timeout()), ([0, 0, 0], 0, None));
}

#[test]
fn settling() {
    let mut bench = Bench::new(OnConflict::Refuse);
    let settling = |bench: &Bench, after| bench.core.settling(bench.t0 + after);
    assert_eq!(settling(&bench, Duration::ZERO), None, "nobody sees it yet");
    let first = bench.begin(Duration::ZERO);
    bench.add(first, h264(), S);
    for (after, left) in
        [(S, Some(SETTLE)), (S + SETTLE - TICK, Some(TICK)), (S + SETTLE, None), (60 * S, None), (Duration::ZERO, Some(SETTLE))]
    {
        assert_eq!(settling(&bench, after), left, "{after:?}");
    }
    bench.add(first, opus(), S);
    assert_eq!(settling(&bench, S), None, "both are there");
    let _ = bench.core.end();
    assert_eq!(settling(&bench, S), None);
}

#[test]
fn what_a_consumer_gets() {
    let (mut bench, first, pictures) = Bench::live();
    assert!(matches!(bench.select(MediaKind::Audio, Codec::Opus), Err(NoForm::NoTrack)));
    assert!(matches!(bench.select(MediaKind::Video, Codec::Vp8), Err(NoForm::CantDerive(Codec::H264))));
    let Ok(Selected::Published { track, drop_disposable: false }) = bench.select(MediaKind::Video, Codec::H264) else { panic!("no") };
    assert_eq!(track.producer, pictures);
    bench.core.set_reordered(first, false);
    let in_order = Wanted { kind: MediaKind::Video, codecs: &[Codec::H264], in_order: true, come_in: true, browsers: true };
    let Ok(Selected::Start(to_start, _)) = bench.core.select(in_order) else { panic!("no") };
    assert!(to_start.otherwise == Otherwise::WithoutDisposable && to_start.target == TranscodeTarget::H264);
    assert!(matches!(bench.core.select(in_order), Ok(Selected::Wait)));
    let (version, starts) = (bench.core.version(), bench.core.starts());
    bench.core.start_failed(&to_start.starting);
    assert_eq!(bench.core.version(), version, "a failed start is nothing to those who watch for changes: they would try again and again");
    assert!(bench.core.starts() > starts, "only to those who wait for it");
    assert!(matches!(bench.core.select(in_order), Ok(Selected::Start(..))));
}

#[test]
fn a_derived_track_lingers_and_follows_its_publisher() {
    let (mut bench, first, _) = Bench::live();
    let (sound, _) = bench.add(first, opus(), Duration::ZERO);
    let running = bench.start_opus("aac");
    bench.leave(first, Duration::ZERO);
    let second = bench.begin(S);
    let (replacement, old) = bench.replace(second, MediaKind::Audio);
    assert_eq!(old, Some(sound));
    bench.put(replacement, opus(), old).unwrap();
    let Ok(Selected::Derived(again)) = bench.select(MediaKind::Audio, Codec::Aac) else { panic!("begun again") };
    assert_eq!(again.id, running.id);
    for _ in 0..2 {
        bench.core.release(running.id, bench.t0 + 20 * S);
    }
    bench.due(20 * S); // pictures did not return
    assert_eq!(bench.timeout(), Some(20 * S + LINGER));
    assert_eq!(bench.due(20 * S + LINGER), ["stop aac Opus → AAC"]);
}

#[test]
fn a_start_that_the_end_overtakes_is_given_back() {
    let (mut bench, first, _) = Bench::live();
    bench.add(first, opus(), Duration::ZERO);
    let Ok(Selected::Start(to_start, _)) = bench.select(MediaKind::Audio, Codec::Aac) else { panic!("known") };
    let starts = bench.core.starts();
    let _ = bench.core.end();
    assert!(bench.core.starts() > starts, "who waits for it is woken");
    assert_eq!(bench.core.started(&to_start.starting, ProducerId::next(), history(opus()), "late").err(), Some("late"));
    bench.core.start_failed(&to_start.starting);
    assert_eq!(bench.core.held(), [0, 0, 0]);
}

#[test]
fn warnings_are_news_once_and_a_publishers_own() {
    let (mut bench, _, _) = Bench::live();
    let warning = |message: &str| Warning { code: "b_frames", message: message.into() };
    for (message, warned, news) in [("1", Warned::New, true), ("1", Warned::Known, false), ("2", Warned::Replaced, true)] {
        let version = bench.core.version();
        assert_eq!((bench.core.warn(warning(message)), bench.core.version() > version), (warned, news));
    }
    bench.begin(S);
    assert!(bench.core.warnings().is_empty());
}

#[test]
fn what_was_said_of_pictures_goes_with_them() {
    let (mut bench, first, _) = Bench::live();
    let warning = |code| Warning { code, message: code.into() };
    let codes = ["b_frames", "b_frames_dropped", "key_frame_interval", "long_gops_kept", "fast"];
    let told = |bench: &Bench| bench.core.warnings().iter().map(|warning| warning.code).collect::<Vec<_>>();
    for code in codes {
        bench.core.warn(warning(code));
    }
    bench.core.set_reordered(first, true);
    bench.core.set_long_gops(first);
    let coded = |sps: &'static [u8], pps: &'static [u8]| Format::H264 {
        sps: vec![bytes::Bytes::from_static(sps)],
        pps: vec![bytes::Bytes::from_static(pps)],
    };
    let learnt = |bench: &Bench| bench.core.tracks().next().map(|track| (track.reordered, track.long_gops));
    assert!(bench.core.set_format(first, &coded(&[0x67, 1], &[0x68, 1])));
    assert_eq!((told(&bench), learnt(&bench)), (vec!["fast"], Some((false, false))), "an encoder with other settings");
    for code in codes {
        bench.core.warn(warning(code));
    }
    bench.core.set_reordered(first, true);
    assert!(bench.core.set_format(first, &coded(&[0x67, 1], &[0x68, 2])));
    assert_eq!((told(&bench).len(), learnt(&bench)), (5, Some((true, false))), "the same, with another PPS");
}
