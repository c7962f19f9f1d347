//! The receiver's side of transport-wide congestion control (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//!
//! In: transport-wide sequence numbers and when they came. Out: feedback packets, every 100 ms or so.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::rtcp::write_transport_feedback;
use crate::base::wrap::SeqExtender;

/// How often feedback is sent; libwebrtc's senders expect 50 to 250 ms.
pub(crate) const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);
/// Most packets remembered: 2 s at 40 Mbit/s. A jump beyond it begins anew.
const MAX_PACKETS: u64 = 8192;
/// Most losses that a feedback begins with: it has to have room for packets that came.
const MAX_LEADING_LOSSES: usize = 200;
/// How long what was reported is kept, to report again around a packet that came late.
const KEEP: i64 = 500_000;

/// Records arrivals on one transport and makes feedback of them.
#[derive(Debug, Clone)]
pub(crate) struct TwccReceiver {
    interval: Duration,
    extender: SeqExtender,
    /// Time 0 of the arrivals: the first packet, a second earlier, so that rounding never goes below 0.
    epoch: Option<Instant>,
    /// The number of the front of `arrivals`.
    first: u64,
    /// In microseconds since `epoch`; `None`: not come (yet).
    arrivals: VecDeque<Option<i64>>,
    /// The first number to report: everything before it was, or is not worth it.
    report_from: u64,
    /// Whether something came that was not reported.
    pending: bool,
    next_feedback: Option<Instant>,
    feedback_count: u8,
}

impl TwccReceiver {
    /// One that has seen nothing; [`FEEDBACK_INTERVAL`] is a good interval.
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            extender: SeqExtender::new(),
            epoch: None,
            first: 0,
            arrivals: VecDeque::new(),
            report_from: 0,
            pending: false,
            next_feedback: None,
            feedback_count: 0,
        }
    }

    /// A packet came with this number in its header extension. Duplicates and what is too old are ignored.
    pub(crate) fn on_packet(&mut self, now: Instant, seq: u16) {
        let epoch = *self.epoch.get_or_insert(now);
        let arrival = 1_000_000 + now.saturating_duration_since(epoch).as_micros() as i64;
        let seq = self.extender.extend(seq);
        if self.arrivals.is_empty() {
            self.first = seq;
            self.report_from = seq;
        }
        let end = self.first + self.arrivals.len() as u64;
        if seq < self.first {
            if end - seq > MAX_PACKETS {
                return;
            }
            for _ in seq..self.first {
                self.arrivals.push_front(None);
            }
            self.first = seq;
        } else if seq >= end {
            if seq - end >= MAX_PACKETS {
                self.arrivals.clear();
                self.first = seq;
                self.report_from = seq;
            }
            while seq - self.first >= MAX_PACKETS {
                self.arrivals.pop_front();
                self.first += 1;
            }
            self.arrivals.resize((seq - self.first + 1) as usize, None);
        }
        let slot = &mut self.arrivals[(seq - self.first) as usize];
        if slot.is_some() {
            return;
        }
        *slot = Some(arrival);
        self.report_from = self.report_from.max(self.first).min(seq);
        self.pending = true;
        self.next_feedback.get_or_insert(now + self.interval);
    }

    /// When it is time, appends one feedback packet (below 1200 bytes) to `out` and says so; to be called until it says no, each
    /// packet for a datagram of its own.
    pub(crate) fn poll(&mut self, now: Instant, sender_ssrc: u32, media_ssrc: u32, out: &mut Vec<u8>) -> bool {
        if !self.pending || self.next_feedback.is_none_or(|at| now < at) {
            return false;
        }
        let skip = (self.report_from.max(self.first) - self.first) as usize;
        let arrivals = &self.arrivals.make_contiguous()[skip..];
        let Some(lost) = arrivals.iter().position(Option::is_some) else {
            self.pending = false;
            return false;
        };
        // Losses since the feedback before come first; very many of them are left to the gap in the numbers.
        let lost = if lost > MAX_LEADING_LOSSES { lost } else { 0 };
        let base = self.first + (skip + lost) as u64;
        let named = write_transport_feedback(out, sender_ssrc, media_ssrc, base as u16, self.feedback_count, &arrivals[lost..]);
        self.feedback_count = self.feedback_count.wrapping_add(1);
        self.report_from = base + named as u64;
        self.pending = self.arrivals.range((self.report_from - self.first) as usize..).any(Option::is_some);
        if !self.pending {
            self.next_feedback = None;
            self.forget_old(now);
        }
        true
    }

    fn forget_old(&mut self, now: Instant) {
        let Some(epoch) = self.epoch else { return };
        let oldest = 1_000_000 + now.saturating_duration_since(epoch).as_micros() as i64 - KEEP;
        // The last one stays, as the place to go on from.
        while self.first + 1 < self.report_from && self.arrivals.front().is_some_and(|arrival| arrival.is_none_or(|at| at < oldest)) {
            self.arrivals.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the origin of the virtual clock
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtp::rtcp::{Rtcp, parse};

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    type Feedback = (u8, Vec<(u16, Option<i64>)>);

    /// All feedback at `now`: feedback counts, and the packets that it says came, with the arrival in milliseconds.
    fn poll(receiver: &mut TwccReceiver, now: Instant) -> Vec<Feedback> {
        let mut all = Vec::new();
        let mut out = Vec::new();
        while receiver.poll(now, 1, 2, &mut out) {
            assert!(out.len() < 1200);
            let Some(Ok(Rtcp::TransportFeedback(feedback))) = parse(&out).next() else { panic!() };
            all.push((feedback.feedback_count, feedback.statuses().map(|(seq, at)| (seq, at.map(|at| at / 1000 - 1000))).collect()));
            out.clear();
        }
        all
    }

    #[test]
    fn reports_what_came_and_what_did_not() {
        let start = Instant::now();
        let mut receiver = TwccReceiver::new(FEEDBACK_INTERVAL);
        receiver.on_packet(start, 65_534);
        receiver.on_packet(start + ms(4), 65_535);
        receiver.on_packet(start + ms(8), 1);
        receiver.on_packet(start + ms(9), 1);
        assert_eq!(poll(&mut receiver, start + ms(99)), []);
        let expected = vec![(65_534, Some(0)), (65_535, Some(4)), (0, None), (1, Some(8))];
        assert_eq!(poll(&mut receiver, start + ms(100)), [(0, expected)]);
        // The late one is reported, with what came after it once more.
        receiver.on_packet(start + ms(108), 0);
        receiver.on_packet(start + ms(112), 3);
        assert_eq!(poll(&mut receiver, start + ms(208)), [(1, vec![(0, Some(108)), (1, Some(8)), (2, None), (3, Some(112))])]);
    }

    #[test]
    fn long_feedback_is_split_and_jumps_begin_anew() {
        let start = Instant::now();
        let mut receiver = TwccReceiver::new(FEEDBACK_INTERVAL);
        for i in 0..1000u16 {
            receiver.on_packet(start, i.wrapping_add(65_000));
        }
        let all = poll(&mut receiver, start + ms(100));
        assert_eq!(all.iter().map(|(_, packets)| packets.len()).collect::<Vec<_>>(), [450, 450, 100]);
        assert_eq!(all.iter().map(|(count, _)| *count).collect::<Vec<_>>(), [0, 1, 2]);
        receiver.on_packet(start + ms(200), 20_000);
        assert_eq!(poll(&mut receiver, start + ms(300)), [(3, vec![(20_000, Some(200))])]);
        // Losses between two feedbacks are named.
        receiver.on_packet(start + ms(310), 20_003);
        let expected = vec![(20_001, None), (20_002, None), (20_003, Some(310))];
        assert_eq!(poll(&mut receiver, start + ms(410)), [(4, expected)]);
        receiver.on_packet(start + ms(500), 20_500);
        assert_eq!(poll(&mut receiver, start + ms(600)), [(5, vec![(20_500, Some(500))])]);
        // A pause of a minute, longer than a delta can say.
        receiver.on_packet(start + ms(60_000), 20_501);
        assert_eq!(poll(&mut receiver, start + ms(60_100)), [(6, vec![(20_501, Some(60_000))])]);
        assert!(receiver.arrivals.len() <= 2);
    }

    proptest! {
        #[test]
        fn every_packet_is_reported_with_its_arrival(steps in proptest::collection::vec((-20i32..40, 0u64..30), 1..300)) {
            let start = Instant::now();
            let mut receiver = TwccReceiver::new(FEEDBACK_INTERVAL);
            let (mut now, mut seq) = (start, 100i32);
            let mut came = std::collections::BTreeMap::new();
            let mut reported = std::collections::BTreeMap::new();
            receiver.on_packet(now, 100);
            came.insert(100u16, 0i64);
            for (step, wait) in steps {
                seq = (seq + step).max(60);
                now += ms(wait);
                receiver.on_packet(now, seq as u16);
                came.entry(seq as u16).or_insert((now - start).as_millis() as i64);
                for (_, packets) in poll(&mut receiver, now) {
                    reported.extend(packets.into_iter().filter_map(|(seq, at)| Some((seq, at?))));
                }
                prop_assert!(receiver.arrivals.len() as u64 <= MAX_PACKETS);
            }
            for (_, packets) in poll(&mut receiver, now + ms(100)) {
                reported.extend(packets.into_iter().filter_map(|(seq, at)| Some((seq, at?))));
            }
            // A repetition that comes when the first is forgotten (500 ms) looks new, so the arrival may be later.
            for (seq, at) in &came {
                prop_assert!(reported.get(seq).is_some_and(|reported| reported >= at), "{} {}", seq, at);
            }
        }
    }
}
