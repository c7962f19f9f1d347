//! Two publishers for one stream: which of them has it.
//!
//! In: the configured rule, who is there, and what is known of its silence. Out: a verdict.

use std::time::Duration;

use super::publisher::Generation;
use crate::base::UnixNanos;
use crate::stream::config::OnConflict;

/// Media that comes this long after somebody else asked for the path was on its way before, and shows no life.
const ON_THE_WAY: Duration = Duration::from_millis(500);
/// How long somebody who asks waits for the rest of a publisher that has ended, and was held because it was ahead of the clock.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
/// Whoever asked for a path within this time still waits for it.
const ASKED_LATELY: Duration = Duration::from_millis(300);
/// Bounds on the time between two looks at a publisher that may be gone: whether it is alive shows within one picture or two.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(10);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(100);

/// Who holds the place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incumbent {
    pub generation: Generation,
    pub last_media: LastMedia,
    /// It has said that it ended; what is left of it is still being written.
    pub ended: bool,
}

/// When media of a publisher came last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastMedia {
    pub at: UnixNanos,
    /// Whoever reads its connection said so. Else it may come past the stream, and only the SFU hears it.
    pub by_reader: bool,
}

/// Whether somebody who asked for the place at `asked` may still be waiting.
pub(super) fn still_asks(asked: UnixNanos, now: UnixNanos) -> bool {
    now.saturating_sub(asked) < nanos(ASKED_LATELY)
}

/// What the SFU said of a publisher's producers, whose media does not pass through the stream's writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    pub generation: Generation,
    /// Whether anything comes.
    pub speaks: bool,
}

/// Who gets the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The newcomer: nobody is there.
    Free,
    /// The newcomer; the other one has to go.
    TakeOver,
    Refuse,
    /// Not known yet: the newcomer waits so long, until the one who is there proves silent, or alive.
    Hold(Duration),
    /// Not known yet: the SFU has to be asked whether it hears the one who is there.
    Listen,
}

/// Judges. `heard` is the SFU's answer, if it was asked; `waiting_since` when a newcomer came that would rather wait than be refused.
pub(super) fn judge(
    rule: OnConflict,
    silence: Duration,
    incumbent: Option<Incumbent>,
    heard: Option<Heard>,
    waiting_since: Option<UnixNanos>,
    now: UnixNanos,
) -> Verdict {
    let Some(incumbent) = incumbent else { return Verdict::Free };
    let last_media = incumbent.last_media.at;
    let is_alive = || {
        let wait = waiting_since.and_then(|asked| look_again_after(asked, last_media, now, silence));
        wait.map_or(Verdict::Refuse, Verdict::Hold)
    };
    match rule {
        OnConflict::TakeOver => Verdict::TakeOver,
        _ if incumbent.ended => match waiting_since {
            Some(asked) if now.saturating_sub(asked) < nanos(ENDS_WITHIN) => Verdict::Hold(LOOK_AGAIN_MIN),
            _ => Verdict::TakeOver,
        },
        OnConflict::Refuse => Verdict::Refuse,
        OnConflict::WhenSilent if now.saturating_sub(last_media) < nanos(silence) => is_alive(),
        OnConflict::WhenSilent if incumbent.last_media.by_reader => Verdict::TakeOver,
        // What was heard of a publisher before says nothing about this one.
        OnConflict::WhenSilent => match heard.filter(|heard| heard.generation == incumbent.generation) {
            None => Verdict::Listen,
            Some(Heard { speaks: true, .. }) => is_alive(),
            Some(Heard { speaks: false, .. }) => Verdict::TakeOver,
        },
    }
}

/// When to look again whether the one who holds a path is silent, for somebody who asked for it at `asked`; `None` where it is alive.
fn look_again_after(asked: UnixNanos, last_media: UnixNanos, now: UnixNanos, silence: Duration) -> Option<Duration> {
    let (silence, on_the_way) = (nanos(silence), nanos(ON_THE_WAY));
    let alive = last_media > asked.saturating_add(on_the_way) || now > asked.saturating_add(silence).saturating_add(on_the_way);
    let left = last_media.saturating_add(silence).saturating_sub(now).max(0);
    (!alive).then(|| Duration::from_nanos(left as u64).clamp(LOOK_AGAIN_MIN, LOOK_AGAIN_MAX))
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn verdicts() {
        use OnConflict::{Refuse, TakeOver, WhenSilent};
        let [first, second] = [Generation::default().next(), Generation::default().next().next()];
        let by_reader = std::cell::Cell::new(false);
        let there = |seconds_ago| {
            let last_media = LastMedia { at: 100 * S - seconds_ago * S, by_reader: by_reader.get() };
            Some(Incumbent { generation: second, last_media, ended: false })
        };
        let heard = |generation, speaks| Some(Heard { generation, speaks });
        for (rule, incumbent, heard, verdict) in [
            (Refuse, None, None, Verdict::Free),
            (TakeOver, None, None, Verdict::Free),
            (WhenSilent, None, None, Verdict::Free),
            (WhenSilent, None, heard(first, true), Verdict::Free),
            (Refuse, there(50), None, Verdict::Refuse),
            (Refuse, there(50), heard(second, false), Verdict::Refuse),
            (TakeOver, there(0), None, Verdict::TakeOver),
            (TakeOver, there(0), heard(second, true), Verdict::TakeOver),
            // Media passed a moment ago: nobody needs to be asked.
            (WhenSilent, there(0), None, Verdict::Refuse),
            (WhenSilent, there(1), heard(second, false), Verdict::Refuse),
            // The clock was set back.
            (WhenSilent, there(-3600), heard(second, false), Verdict::Refuse),
            // None did: perhaps it is not published through writers.
            (WhenSilent, there(2), None, Verdict::Listen),
            (WhenSilent, there(2), heard(second, true), Verdict::Refuse),
            (WhenSilent, there(2), heard(second, false), Verdict::TakeOver),
            // While the SFU was asked about one, another one came.
            (WhenSilent, there(2), heard(first, false), Verdict::Listen),
            (WhenSilent, there(2), heard(first, true), Verdict::Listen),
        ] {
            let judged = judge(rule, Duration::from_secs(2), incumbent, heard, None, 100 * S);
            assert_eq!(judged, verdict, "{rule:?} {incumbent:?} {heard:?}");
        }
        // Whoever reads its connection knows: what the SFU hears is what was held back.
        by_reader.set(true);
        for (rule, incumbent, verdict) in [
            (Refuse, there(50), Verdict::Refuse),
            (WhenSilent, there(1), Verdict::Refuse),
            (WhenSilent, there(2), Verdict::TakeOver),
            (WhenSilent, there(50), Verdict::TakeOver),
        ] {
            assert_eq!(
                judge(rule, Duration::from_secs(2), incumbent, heard(second, true), None, 100 * S),
                verdict,
                "{rule:?} {incumbent:?}"
            );
        }
    }

    #[test]
    fn a_silence_of_any_length_is_compared_without_overflow() {
        let last_media = LastMedia { at: i64::MIN, by_reader: false };
        let incumbent = Some(Incumbent { generation: Generation::default(), last_media, ended: false });
        for (silence, now, verdict) in [
            (Duration::MAX, 0, Verdict::Listen),
            (Duration::ZERO, i64::MIN, Verdict::Listen),
            (Duration::from_nanos(1), i64::MIN, Verdict::Refuse),
            (Duration::from_secs(2), i64::MAX, Verdict::Listen),
        ] {
            assert_eq!(judge(OnConflict::WhenSilent, silence, incumbent, None, None, now), verdict, "{silence:?} {now}");
        }
    }

    #[test]
    fn silence_is_waited_for_and_life_is_not() {
        const MS: i64 = 1_000_000;
        let asked = 1_700_000_000_000 * MS;
        let table = [
            // last media and now in ms after the question, wait in ms
            (-1900, 0, Some(100)),
            (-1950, 0, Some(50)),
            (-1999, 0, Some(10)),
            (-100, 100, Some(100)),
            (400, 500, Some(100)),
            (400, 2350, Some(50)),
            (-3000, 100, Some(10)), // published as RTP: its bit rate falls a little later
            (501, 510, None),
            (-3000, 2501, None),
        ];
        for (last, now, wait) in table {
            let seen = look_again_after(asked, asked + last * MS, asked + now * MS, Duration::from_secs(2));
            assert_eq!(seen, wait.map(Duration::from_millis), "{last} {now}");
        }
    }

    #[test]
    fn who_would_rather_wait_is_held_where_others_are_refused() {
        use OnConflict::{Refuse, TakeOver, WhenSilent};
        let there = Generation::default().next();
        let heard = |speaks| Some(Heard { generation: there, speaks });
        let hold = |ms| Verdict::Hold(Duration::from_millis(ms));
        for (rule, last_media, heard, verdict) in [
            (WhenSilent, 9 * S, None, hold(100)),
            (WhenSilent, 10 * S, None, hold(100)),
            (WhenSilent, 11 * S, None, Verdict::Refuse), // alive
            (WhenSilent, 8 * S, None, Verdict::Listen),
            (WhenSilent, 8 * S, heard(true), hold(10)),
            (WhenSilent, 8 * S, heard(false), Verdict::TakeOver),
            (Refuse, 9 * S, None, Verdict::Refuse),
            (TakeOver, 9 * S, None, Verdict::TakeOver),
        ] {
            let last_media = LastMedia { at: last_media, by_reader: false };
            let incumbent = Some(Incumbent { generation: there, last_media, ended: false });
            let judged = judge(rule, Duration::from_secs(2), incumbent, heard, Some(10 * S), 10 * S);
            assert_eq!(judged, verdict, "{rule:?} {last_media:?} {heard:?}");
        }
        assert_eq!(judge(WhenSilent, Duration::from_secs(2), None, None, Some(10 * S), 10 * S), Verdict::Free);
        // One that has ended gets some time for what is left of it, however lately that came.
        for (rule, asked, verdict) in [
            (WhenSilent, Some(10 * S), hold(10)),
            (WhenSilent, Some(8 * S + 1), hold(10)),
            (WhenSilent, Some(8 * S), Verdict::TakeOver),
            (WhenSilent, None, Verdict::TakeOver),
            (Refuse, Some(9 * S), hold(10)),
            (Refuse, None, Verdict::TakeOver),
            (TakeOver, Some(10 * S), Verdict::TakeOver),
        ] {
            let incumbent = Some(Incumbent { generation: there, last_media: LastMedia { at: 10 * S, by_reader: true }, ended: true });
            assert_eq!(judge(rule, Duration::from_secs(2), incumbent, None, asked, 10 * S), verdict, "{rule:?} {asked:?}");
        }
    }
}
