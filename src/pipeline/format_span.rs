//! The span of a track between two changes of its stream's formats.
//!
//! In: the track's packets, and where the formats changed. Out: the packets of one span, however late they are read, and however often the
//! formats changed since.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::source::RtpSource;
use crate::base::wrap::seq_newer;
use crate::codec::Format;
use crate::rtp::batch::{BatchPacket, ClockMapping, RtpBatch};
use crate::stream::FormatHistory;

/// The packets of one span. It ends by itself where the formats change.
#[derive(Debug)]
pub(crate) struct FormatSpan<S> {
    source: S,
    /// Tracks published as RTP have none: their formats change in band.
    formats: Option<FormatHistory>,
    /// The change with which this span began.
    change: u64,
    /// The first packet of this span, until it has come.
    from: Option<u16>,
    /// Came with packets that were left out.
    clock: Option<ClockMapping>,
    /// Came with the last of this span, and belongs to the next one.
    rest: RtpBatch,
    ends_at_key: Arc<AtomicBool>,
    over: bool,
}

impl<S: RtpSource> FormatSpan<S> {
    /// The span that has begun with the last change.
    pub(crate) fn current(source: S, formats: Option<FormatHistory>) -> Self {
        let change = formats.as_ref().map_or(0, FormatHistory::change);
        Self::at(source, formats, change)
    }

    /// The span that has begun with this change.
    pub(crate) fn at(source: S, formats: Option<FormatHistory>, change: u64) -> Self {
        let change = formats.as_ref().map_or(change, |formats| formats.settled(change));
        let (rest, ends_at_key) = (RtpBatch::default(), Arc::default());
        let from = formats.as_ref().and_then(|formats| formats.begins(change));
        Self { source, formats, change, from, clock: None, rest, ends_at_key, over: false }
    }

    /// Goes on with the next span. False where the track itself has ended.
    pub(crate) fn go_on(&mut self) -> bool {
        if let Some(formats) = &self.formats {
            self.change = formats.change_after(self.change).map_or(self.change, |(next, _)| next);
            self.from = formats.begins(self.change);
        }
        std::mem::take(&mut self.over)
    }

    /// Goes on with the newest span. Says how many are left out.
    pub(crate) fn catch_up(&mut self) -> u64 {
        let Some(formats) = &self.formats else { return 0 };
        let behind = formats.change().saturating_sub(self.change);
        if behind > 0 {
            self.change += behind;
            self.from = formats.begins(self.change);
            self.over = false;
        }
        behind
    }

    /// Goes on with the next span where the track changed alone. False where another track's span has ended as well, or its own not.
    pub(crate) fn go_on_alone(&mut self) -> bool {
        let next = self.formats.as_ref().and_then(|formats| formats.change_after(self.change));
        self.over && next.is_some_and(|(_, alone)| alone) && self.go_on()
    }

    /// The track's format in this span, where it is known out of band.
    pub(crate) fn format(&self) -> Option<Format> {
        self.formats.as_ref().map(|formats| formats.format_at(self.change))
    }

    /// Once this is set, the span ends before the next key frame, as far as its source marks them: the next span loses nothing.
    pub(crate) fn ends_at_key(&self) -> Arc<AtomicBool> {
        self.ends_at_key.clone()
    }

    /// What it reads from, for tests to fill.
    #[cfg(test)]
    pub(crate) fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// Leaves out what belongs to other spans.
    fn cut(&mut self, batch: &mut RtpBatch) {
        if let Some(from) = self.from {
            let old = batch.iter().take_while(|packet| before(packet, from)).count();
            batch.skip_front(old);
            if !batch.is_empty() {
                self.from = None;
            }
        }
        // Read after the packets came: a packet that was sent after a change comes with the knowledge of it.
        if let Some(until) = self.formats.as_ref().and_then(|formats| formats.ends(self.change)) {
            let mine = batch.iter().take_while(|packet| before(packet, until)).count();
            self.over |= mine < batch.len();
            self.rest = batch.split_off(mine);
        }
        if !self.over && self.ends_at_key.load(Ordering::Relaxed) {
            let key = batch.iter().position(|packet| packet.unit.is_some_and(|unit| unit.key));
            if let Some(key) = key {
                self.over = true;
                self.rest = batch.split_off(key);
            }
        }
    }
}

/// Whether a packet's sequence number is before `mark` (RFC 1982).
fn before(packet: &BatchPacket<'_>, mark: u16) -> bool {
    packet.rtp().is_some_and(|packet| seq_newer(mark, packet.sequence_number()))
}

impl<S: RtpSource> RtpSource for FormatSpan<S> {
    async fn recv(&mut self) -> Option<RtpBatch> {
        loop {
            if self.over {
                return None;
            }
            let mut batch = match std::mem::take(&mut self.rest) {
                rest if rest.is_empty() => self.source.recv().await?,
                rest => rest,
            };
            self.cut(&mut batch);
            self.clock = batch.clock.or(self.clock);
            if !batch.is_empty() {
                batch.clock = self.clock.take();
                return Some(batch);
            }
        }
    }

    fn request_key_frame(&self) {
        self.source.request_key_frame();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::FutureExt;

    use super::*;

    struct Batches(VecDeque<RtpBatch>);

    impl RtpSource for Batches {
        async fn recv(&mut self) -> Option<RtpBatch> {
            match self.0.pop_front() {
                Some(batch) => Some(batch),
                None => std::future::pending().await,
            }
        }

        fn request_key_frame(&self) {}
    }

    fn batch(numbers: std::ops::Range<u32>) -> RtpBatch {
        let packet = |number: u32| {
            let [_, _, high, low] = number.to_be_bytes();
            [&[0x80, 96, high, low][..], &[0; 8]].concat()
        };
        RtpBatch::of_packets(numbers.map(packet))
    }

    fn numbers(span: &mut FormatSpan<Batches>) -> Option<Vec<u16>> {
        let batch = span.recv().now_or_never()??;
        Some(batch.iter().map(|packet| packet.rtp().unwrap().sequence_number()).collect())
    }

    fn source(batches: &[std::ops::Range<u32>]) -> Batches {
        Batches(batches.iter().cloned().map(batch).collect())
    }

    #[test]
    fn packets_go_to_the_part_they_were_sent_in() {
        let formats = FormatHistory::new(Format::Vp8, 65_533);
        let all = [65_533..65_535, 65_535..65_538, 65_538..65_541];
        let mut before = FormatSpan::current(source(&all), Some(formats.clone()));
        formats.advance(2);
        assert_eq!(numbers(&mut before), Some(vec![65_533, 65_534]));
        formats.advance(2);
        formats.mark(1); // the next packet is number 1
        formats.advance(4);
        let mut after = FormatSpan::current(source(&all), Some(formats.clone()));
        assert_eq!(numbers(&mut before), Some(vec![65_535, 0]));
        assert!(before.recv().now_or_never().is_some_and(|end| end.is_none()), "it ends where the format changed");
        assert_eq!(numbers(&mut after), Some(vec![1]));
        assert_eq!(numbers(&mut after), Some(vec![2, 3, 4]));
        assert!(after.recv().now_or_never().is_none(), "it goes on");
        assert!(before.go_on());
        assert_eq!(numbers(&mut before), Some(vec![1]));
        assert_eq!(numbers(&mut before), Some(vec![2, 3, 4]));
    }

    #[test]
    fn who_had_to_wait_goes_on_with_the_newest_part() {
        let formats = FormatHistory::new(Format::Vp8, 0);
        for change in 1..5 {
            formats.advance(2);
            formats.mark(change);
        }
        formats.advance(2);
        let mut span = FormatSpan::at(source(&[0..5, 5..9, 9..10]), Some(formats), 0);
        assert_eq!(numbers(&mut span), Some(vec![0, 1]));
        assert_eq!((span.catch_up(), numbers(&mut span), numbers(&mut span)), (4, Some(vec![8]), Some(vec![9])));
        assert_eq!(span.catch_up(), 0);
    }

    /// Several changes before anybody has read the first packet: a file that is pushed at once.
    #[test]
    fn every_part_has_its_packets_however_late_it_is_read() {
        let opus = |channels| Format::Opus { channels };
        let formats = FormatHistory::new(opus(1), 0);
        for (change, channels) in [(1, 2), (2, 1)] {
            formats.advance(3);
            formats.set_format(opus(channels));
            formats.mark(change);
        }
        formats.advance(3);
        let all = [0..4, 4..8, 8..9];
        let parts: [(u64, &[&[u16]], u8); 3] = [(0, &[&[0, 1, 2]], 1), (1, &[&[3], &[4, 5]], 2), (2, &[&[6, 7], &[8]], 1)];
        let mut through = FormatSpan::at(source(&all), Some(formats.clone()), 0);
        for (change, batches, channels) in parts {
            let mut part = FormatSpan::at(source(&all), Some(formats.clone()), change);
            for span in [&mut part, &mut through] {
                assert_eq!(span.format(), Some(opus(channels)), "{change}");
                for expected in batches {
                    assert_eq!(numbers(span).as_deref(), Some(*expected), "{change}");
                }
                let over = span.recv().now_or_never().is_some_and(|end| end.is_none());
                assert_eq!((over, over && span.go_on()), (change < 2, change < 2), "{change}");
            }
        }
    }

    #[test]
    fn what_the_left_out_packets_said_of_the_clock_is_kept() {
        let formats = FormatHistory::new(Format::Vp8, 10);
        formats.advance(5);
        formats.mark(1);
        let clock = Some(ClockMapping { rtp: 1, wallclock: 2 });
        let batches = [batch(10..12).with_clock(clock), batch(12..15), batch(15..17)];
        let mut span = FormatSpan::current(Batches(batches.into()), Some(formats));
        let first = span.recv().now_or_never().flatten().map(|batch| (batch.len(), batch.clock));
        assert_eq!(first, Some((2, clock)));
    }

    #[test]
    fn it_ends_before_a_key_frame_where_that_is_wanted() {
        // Pictures of two packets each; every third is a key frame.
        let pictures = |from: u32, count: u32| {
            let whole = batch(2 * from..2 * (from + count));
            let places = whole.iter().enumerate().map(|(index, packet)| {
                let key = (from + index as u32 / 2).is_multiple_of(3);
                let facts = crate::rtp::batch::UnitFacts { composition: 0, key, disposable: false };
                (packet.range(), (index % 2 == 0).then_some(facts))
            });
            RtpBatch::of_places(whole.buffer().clone(), places.collect::<Vec<_>>())
        };
        for (second, given) in [(pictures(2, 3), Some(vec![4, 5])), (pictures(3, 3), None)] {
            let mut span = FormatSpan::current(Batches([pictures(0, 2), second].into()), None);
            assert_eq!(numbers(&mut span), Some(vec![0, 1, 2, 3]), "nobody asked");
            span.ends_at_key().store(true, Ordering::Relaxed);
            assert_eq!(numbers(&mut span), given);
            assert!(span.recv().now_or_never().is_some_and(|end| end.is_none()));
        }
    }

    #[test]
    fn a_track_published_as_rtp_has_one_part() {
        let mut span = FormatSpan::current(Batches([batch(1..3)].into()), None);
        assert_eq!(numbers(&mut span), Some(vec![1, 2]));
    }
}
