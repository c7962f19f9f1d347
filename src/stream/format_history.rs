//! A track's formats, and the packet with which each began.
//!
//! In: how many packets were sent, and that the format changed. Out: the packets of each format, for whoever has to keep what belongs to
//! one apart from what belongs to the next, however far behind the writer it reads, and however often the format changed meanwhile.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::base::lock;
use crate::codec::Format;

/// Packets further back than this can't be told from those to come by their sequence numbers (RFC 3550 appendix A.1).
const HALF: u64 = 1 << 15;
/// Most spans that are remembered. Readers are seconds behind at most, and each change costs them a discontinuity.
const MAX_SPANS: usize = 32;

/// Counts a track's packets, and remembers where its stream's formats changed. Cheap to clone.
///
/// Changes are numbered by their stream, for all of its tracks alike: what belongs together has the same number. Pictures can't be parted
/// but at a key frame: sound that changes beside them changes alone, and the next key frame is the change of both.
#[derive(Debug, Clone)]
pub(crate) struct FormatHistory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    format: Mutex<Format>,
    /// The next packet's number; the lower 16 bits are its sequence number.
    next: AtomicU64,
    /// The newest change.
    change: AtomicU64,
    /// Of pictures: the sound beside them has changed alone.
    awaits_key: AtomicBool,
    /// Oldest first, never empty.
    spans: Mutex<VecDeque<Span>>,
}

/// The packets from one change to the next.
#[derive(Debug)]
struct Span {
    change: u64,
    /// The number of its first packet.
    from: u64,
    format: Format,
    /// The other tracks go on with what they were in.
    alone: bool,
}

impl FormatHistory {
    /// A track whose first packet will have this sequence number.
    pub(crate) fn new(format: Format, sequence_number: u16) -> Self {
        let from = u64::from(sequence_number);
        let spans = Mutex::new([Span { change: 0, from, format: format.clone(), alone: false }].into());
        let (next, change) = (AtomicU64::new(from), AtomicU64::new(0));
        Self(Arc::new(Inner { format: Mutex::new(format), next, change, awaits_key: AtomicBool::new(false), spans }))
    }

    pub(crate) fn format(&self) -> Format {
        lock(&self.0.format).clone()
    }

    /// Looks at the format now without copying it.
    pub(super) fn see<R>(&self, look: impl FnOnce(&Format) -> R) -> R {
        look(&lock(&self.0.format))
    }

    /// Clock rates of the format now, in Hz: its own and RTP's. Cheaper than [`Self::format`], which copies the parameter sets.
    pub(super) fn rates(&self) -> (u32, u32) {
        let format = lock(&self.0.format);
        (format.clock_rate(), format.rtp_clock_rate())
    }

    /// The format from here on. Those who keep formats apart see it by [`Self::mark`].
    pub(crate) fn set_format(&self, format: Format) {
        *lock(&self.0.format) = format;
    }

    /// So many packets are about to be sent.
    pub(crate) fn advance(&self, packets: usize) {
        self.0.next.fetch_add(packets as u64, Ordering::Relaxed);
    }

    /// What is sent from here on belongs to another format, its own or another track's.
    pub(crate) fn mark(&self, change: u64) {
        self.put(change, false, false);
    }

    /// What this track sends from here on is in another format, and the others go on.
    pub(crate) fn mark_alone(&self, change: u64) {
        self.put(change, false, true);
    }

    /// These are pictures beside sound that has changed alone: their next key frame is a change of both.
    pub(crate) fn await_key(&self) {
        self.0.awaits_key.store(true, Ordering::Relaxed);
    }

    /// Whether the next key frame is a change.
    pub(crate) fn awaits_key(&self) -> bool {
        self.0.awaits_key.load(Ordering::Relaxed)
    }

    /// What is sent from here on belongs to another publisher, or is the track's beginning: what was before is nobody's matter any more.
    pub(crate) fn begin(&self, change: u64) {
        self.put(change, true, false);
    }

    fn put(&self, change: u64, anew: bool, alone: bool) {
        let span = Span { change, from: self.0.next.load(Ordering::Relaxed), format: self.format(), alone };
        let mut spans = lock(&self.0.spans);
        // Nothing was sent since the last change, or it is forgotten. One of all tracks stays, since the others' packets belong to it.
        while spans.back().is_some_and(|last| anew || (last.from == span.from && (last.alone || !alone))) {
            spans.pop_back();
        }
        spans.push_back(span);
        if spans.len() > MAX_SPANS {
            spans.pop_front();
        }
        if !alone {
            self.0.awaits_key.store(false, Ordering::Relaxed);
        }
        // Whoever sees a packet sent after this has to see the change, too.
        self.0.change.store(change, Ordering::Release);
    }

    /// The newest change; 0 where there was none.
    pub(crate) fn change(&self) -> u64 {
        self.0.change.load(Ordering::Acquire)
    }

    /// The oldest change that is remembered.
    pub(crate) fn first_change(&self) -> u64 {
        lock(&self.0.spans).front().map_or(0, |span| span.change)
    }

    /// The newest change of all tracks.
    pub(crate) fn change_of_all(&self) -> u64 {
        let spans = lock(&self.0.spans);
        spans.iter().rfind(|span| !span.alone).or(spans.front()).map_or(0, |span| span.change)
    }

    /// The first change after that one, and whether the track changed alone.
    pub(crate) fn change_after(&self, change: u64) -> Option<(u64, bool)> {
        lock(&self.0.spans).iter().find(|span| span.change > change).map(|span| (span.change, span.alone))
    }

    /// The first change of all tracks after that one.
    fn change_of_all_after(&self, change: u64) -> Option<u64> {
        lock(&self.0.spans).iter().find(|span| span.change > change && !span.alone).map(|span| span.change)
    }

    /// The change with which a reader begins that wants what belongs to that one: where nothing was sent before the track changed alone, it is
    /// as good as changed with the others.
    pub(crate) fn settled(&self, change: u64) -> u64 {
        let spans = lock(&self.0.spans);
        let Some(at) = spans.iter().rposition(|span| span.change <= change) else { return change };
        let at_once = |span: &&Span| span.alone && span.from == spans[at].from;
        spans.iter().skip(at + 1).take_while(at_once).last().map_or(change, |span| span.change)
    }

    /// The format in which the track was after a change.
    pub(crate) fn format_at(&self, change: u64) -> Format {
        let spans = lock(&self.0.spans);
        let span = spans.iter().rfind(|span| span.change <= change).or(spans.front());
        span.map_or_else(|| self.format(), |span| span.format.clone())
    }

    /// The sequence number of the first packet after a change; `None` where that is too long ago to matter.
    pub(crate) fn begins(&self, change: u64) -> Option<u16> {
        self.sequence_number(|spans| spans.iter().rfind(|span| span.change <= change).map(|span| span.from))
    }

    /// The sequence number of the first packet behind what belongs to a change; `None` where everything since then does.
    pub(crate) fn ends(&self, change: u64) -> Option<u16> {
        if self.change() == change {
            return None; // mostly
        }
        self.sequence_number(|spans| spans.iter().find(|span| span.change > change).map(|span| span.from))
    }

    fn sequence_number(&self, number: impl FnOnce(&VecDeque<Span>) -> Option<u64>) -> Option<u16> {
        let number = number(&lock(&self.0.spans))?;
        let next = self.0.next.load(Ordering::Relaxed);
        (next.wrapping_sub(number) < HALF).then_some(number as u16)
    }
}

/// The change with which readers of these tracks go on that are done with what belongs to `done`: the next one that all of the tracks
/// have been through. `None`: they begin with the first one.
pub(crate) fn next_change(tracks: &[FormatHistory], done: Option<u64>) -> u64 {
    let first = tracks.iter().map(FormatHistory::first_change).max().unwrap_or(0);
    let Some(done) = done else { return first };
    let next = tracks.iter().filter_map(|track| track.change_of_all_after(done)).min();
    next.or_else(|| tracks.iter().map(FormatHistory::change_of_all).max()).unwrap_or(0).max(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_known_until_its_number_could_mean_another_packet() {
        let formats = FormatHistory::new(Format::Vp8, 65_530);
        assert_eq!((formats.change(), formats.begins(0), formats.ends(0)), (0, Some(65_530), None));
        formats.advance(10);
        formats.mark(1);
        assert_eq!((formats.change(), formats.begins(1), formats.ends(0), formats.ends(1)), (1, Some(4), Some(4), None));
        formats.advance(32_767);
        assert_eq!((formats.begins(0), formats.begins(1)), (None, Some(4)));
        formats.advance(1);
        assert_eq!((formats.begins(1), formats.ends(0)), (None, None));
        formats.mark(2);
        assert_eq!((formats.begins(2), formats.ends(1)), (Some(32_772), Some(32_772)));
    }

    #[test]
    fn every_change_is_remembered() {
        let opus = |channels| Format::Opus { channels };
        let formats = FormatHistory::new(opus(1), 0);
        // Another track's change, its own, and one without packets before the next.
        for (change, channels, packets) in [(1, 1, 10), (2, 2, 5), (3, 1, 0), (5, 2, 7)] {
            formats.set_format(opus(channels));
            formats.mark(change);
            formats.advance(packets);
        }
        let spans = |change| (formats.begins(change), formats.ends(change), formats.format_at(change));
        assert_eq!(spans(1), (Some(0), Some(10), opus(1)));
        assert_eq!(spans(2), (Some(10), Some(15), opus(2)));
        assert_eq!(spans(5), (Some(15), None, opus(2)));
        assert_eq!(spans(4), (Some(10), Some(15), opus(2)), "it had no such change, and was as after the one before");
        let all = |change: u64| Some((change, false));
        assert_eq!([0, 1, 2, 5].map(|change| formats.change_after(change)), [all(1), all(2), all(5), None]);
        // The next publisher begins anew.
        formats.begin(6);
        assert_eq!((formats.first_change(), formats.ends(2), formats.begins(2)), (6, Some(22), None));
        for change in 7..100 {
            formats.advance(1);
            formats.mark(change);
        }
        assert_eq!(formats.first_change(), 68, "it is bounded");
    }

    #[test]
    fn a_track_may_change_alone() {
        let opus = |channels| Format::Opus { channels };
        let (pictures, sound) = (FormatHistory::new(Format::Vp8, 0), FormatHistory::new(opus(1), 0));
        // The change, the channels from there on, whether it is of all tracks, and the packets that follow.
        for (change, channels, all, packets) in [(1, 2, false, 5), (2, 1, false, 5), (3, 1, true, 0), (4, 2, false, 0), (5, 3, false, 5)] {
            sound.set_format(opus(channels));
            if all {
                pictures.advance(10);
                pictures.mark(change);
                sound.mark(change);
            } else {
                sound.mark_alone(change);
            }
            sound.advance(packets);
        }
        let spans = |change| (sound.begins(change), sound.ends(change), sound.format_at(change));
        assert_eq!(spans(1), (Some(0), Some(5), opus(2)));
        assert_eq!(spans(2), (Some(5), Some(10), opus(1)));
        assert_eq!(spans(3), (Some(10), Some(10), opus(1)), "whoever has begun with it goes on");
        assert_eq!(spans(5), (Some(10), None, opus(3)));
        assert_eq!([0, 1, 2, 3, 5].map(|change| sound.settled(change)), [1, 1, 2, 5, 5], "whoever begins begins there");
        assert_eq!(
            [0, 1, 2, 3, 5].map(|change| sound.change_after(change)),
            [Some((1, true)), Some((2, true)), Some((3, false)), Some((5, true)), None]
        );
        assert_eq!((sound.change(), sound.change_of_all(), pictures.change()), (5, 3, 3));
        let both = [pictures, sound];
        assert_eq!([None, Some(0), Some(3)].map(|done| next_change(&both, done)), [0, 3, 3]);
    }

    #[test]
    fn readers_go_on_with_the_next_change_of_all_tracks() {
        // The changes of each track, what was done, and what is next.
        type Row<'a> = (&'a [&'a [u64]], Option<u64>, u64);
        let table: [Row<'_>; 9] = [
            (&[], None, 0),
            (&[&[]], None, 0),
            (&[&[], &[]], Some(0), 0),
            (&[&[1, 2], &[1, 2]], None, 0),
            (&[&[1, 2], &[1, 2]], Some(0), 1),
            (&[&[1, 2], &[1, 2]], Some(1), 2),
            (&[&[1, 2], &[1, 2]], Some(2), 2),
            // One that was no change of the other: it is as it was.
            (&[&[1, 3], &[3]], Some(1), 3),
            (&[&[1, 2, 3], &[1, 3]], Some(1), 2),
        ];
        for (changes, done, expected) in table {
            let tracks: Vec<_> = changes
                .iter()
                .map(|changes| {
                    let formats = FormatHistory::new(Format::Vp8, 0);
                    for change in *changes {
                        formats.advance(1);
                        formats.mark(*change);
                    }
                    formats
                })
                .collect();
            assert_eq!(next_change(&tracks, done), expected, "{changes:?} {done:?}");
        }
        // A track that joined or returned later has nothing of what was before.
        let (pictures, sound) = (FormatHistory::new(Format::Vp8, 0), FormatHistory::new(Format::Opus { channels: 1 }, 0));
        pictures.advance(1);
        pictures.mark(1);
        sound.begin(1);
        assert_eq!(next_change(&[pictures, sound], None), 1);
    }
}
