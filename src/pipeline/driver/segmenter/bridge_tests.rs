//! Sound that changes within an epoch; the test stands in for what converts it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt;

use super::*;
use crate::base::lock;
use crate::stream::FormatHistory;

const BEGIN: i64 = 1_700_000_000_000_000_000;
/// Ticks of a frame at 48 kHz, and ns.
const TICKS: u32 = 1920;
const FRAME: i64 = 21_333_333;

struct Packets(VecDeque<RtpBatch>);

impl RtpSource for Packets {
    async fn recv(&mut self) -> Option<RtpBatch> {
        match self.0.pop_front() {
            Some(batch) => Some(batch),
            None => std::future::pending().await,
        }
    }

    fn request_key_frame(&self) {}
}

fn aac(sample_rate: u32, channels: u8) -> Format {
    Format::Aac { config: AacConfig::lc(sample_rate, channels).unwrap(), sample_rate, channels }
}

/// Frame `number` of a track that begins shortly before both numbers wrap.
fn packet(number: u32) -> RtpBatch {
    let mut out = BatchWriter::default();
    let [_, _, high, low] = (65_530 + number).to_be_bytes();
    let timestamp = (u32::MAX - 5000).wrapping_add(number * TICKS).to_be_bytes();
    let facts = UnitFacts { composition: 0, key: true, disposable: false };
    out.packet(Some(facts), |buffer| {
        buffer.extend_from_slice(&[&[0x80, 97, high, low][..], &timestamp, &[0, 0, 0, 1, number as u8]].concat())
    });
    out.finish().with_clock((number == 0).then_some(ClockMapping { rtp: u32::MAX - 5000, wallclock: BEGIN }))
}

/// What the test holds of a converter.
struct Held {
    from: Format,
    batches: mpsc::Receiver<RtpBatch>,
    units: Option<mpsc::Sender<AccessUnit>>,
}

impl Held {
    fn came(&mut self) -> usize {
        std::iter::from_fn(|| self.batches.try_recv().ok()).count()
    }

    fn convert(&self, pts: i64) {
        let unit = AccessUnit { pts, dts: pts, key: true, data: Bytes::from_static(b"converted") };
        self.units.as_ref().unwrap().try_send(unit).unwrap();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Begun,
    Later,
    Never,
}

struct Bench {
    bridge: Bridge<Packets>,
    formats: FormatHistory,
    held: Arc<Mutex<Vec<Held>>>,
    replaced: Counter,
    sent: u32,
    change: u64,
}

impl Bench {
    fn new(format: Format, converts: bool) -> Self {
        Self::with_answers(format, if converts { |_| Answer::Begun } else { |_| Answer::Never })
    }

    /// With what becomes of the conversion that is asked for the so manieth time.
    fn with_answers(format: Format, answer: fn(usize) -> Answer) -> Self {
        let formats = FormatHistory::new(format.clone(), 65_530);
        let (held, replaced) = (Arc::new(Mutex::new(Vec::new())), Counter::default());
        let all = held.clone();
        let mut asked = 0;
        let convert = move |from: &Format, _: &Format| {
            asked += 1;
            let answer = answer(asked);
            if answer == Answer::Later {
                return Conversion::Later;
            }
            let ((input, output, converter), from) = (ends(), from.clone());
            lock(&all).push(Held { from, batches: input.0, units: Some(output.0) });
            if answer == Answer::Begun { Conversion::Begun(converter(TranscodeGuard(Box::new(())))) } else { Conversion::Never }
        };
        let span = FormatSpan::at(Packets(VecDeque::new()), Some(formats.clone()), 0);
        let bridge = Bridge::sound(span, format, Box::new(convert), replaced.clone());
        Self { bridge, formats, held, replaced, sent: 0, change: 0 }
    }

    fn send(&mut self, count: u32) {
        for number in self.sent..self.sent + count {
            self.bridge.span.source_mut().0.push_back(packet(number));
            self.formats.advance(1);
        }
        self.sent += count;
    }

    fn change(&mut self, format: Option<Format>) {
        self.change += 1;
        match format {
            Some(format) => {
                self.formats.set_format(format);
                self.formats.mark_alone(self.change);
            }
            None => self.formats.mark(self.change),
        }
    }

    /// What comes out until nothing more does: number and time of each packet, and whether it is as it came. The end is `None`.
    fn out(&mut self) -> Vec<Option<(u16, i64, bool)>> {
        let mut out = Vec::new();
        while let Some(batch) = self.bridge.recv().now_or_never() {
            let Some(batch) = batch else {
                out.push(None);
                break;
            };
            for packet in batch.iter() {
                let rtp = packet.rtp().unwrap();
                let time = i64::from(rtp.timestamp().wrapping_sub(u32::MAX - 5000)) * 100_000 / 9;
                out.push(Some((rtp.sequence_number(), time, rtp.payload().len() == 1)));
            }
        }
        out
    }
}

/// Packets `from..to` as they came.
fn straight(from: u32, to: u32) -> Vec<Option<(u16, i64, bool)>> {
    (from..to).map(|number| Some(((65_530 + number) as u16, i64::from(number * TICKS) * 100_000 / 9, true))).collect()
}

fn time(frames: i64) -> i64 {
    BEGIN + frames * FRAME
}

#[test]
fn sound_in_the_epoch_s_format_goes_through() {
    let mut bench = Bench::new(aac(48_000, 2), true);
    bench.send(10);
    bench.change(None);
    bench.send(3);
    assert_eq!(bench.out(), [straight(0, 10), vec![None]].concat(), "up to a change of all tracks");
    assert!(lock(&bench.held).is_empty());
}

#[test]
fn beside_pictures_that_are_made_here_it_goes_on() {
    let mut bench = Bench::new(aac(48_000, 2), true);
    bench.bridge.through = true;
    bench.send(3);
    bench.change(None);
    bench.send(3);
    assert_eq!(bench.out(), straight(0, 6));
    bench.change(Some(aac(48_000, 1)));
    bench.send(2);
    bench.change(None);
    bench.send(2);
    assert_eq!(bench.out(), []);
    let mut held = lock(&bench.held);
    assert_eq!((held[0].came(), held.len()), (4, 1), "the same goes on");
}

#[test]
fn other_sound_is_converted_up_to_the_next_change_of_all_tracks() {
    let mut bench = Bench::new(aac(48_000, 2), true);
    bench.send(10);
    bench.change(Some(aac(48_000, 1)));
    bench.send(10);
    assert_eq!(bench.out(), straight(0, 10));
    {
        let mut held = lock(&bench.held);
        assert_eq!((held[0].came(), held.len(), &held[0].from), (10, 1, &aac(48_000, 1)));
        // Encoders begin before what they were given.
        (8..18).for_each(|frame| held[0].convert(time(frame)));
    }
    let numbers = |out: Vec<Option<(u16, i64, bool)>>| {
        out.into_iter().map(|packet| packet.map(|(number, time, _)| (number, (time + FRAME / 2) / FRAME))).collect::<Vec<_>>()
    };
    assert_eq!(numbers(bench.out()), (10..18).map(|n| Some(((65_530 + n) as u16, n))).collect::<Vec<_>>());
    // Another format within the same GOP, while the first converter still has something.
    bench.change(Some(aac(44_100, 2)));
    bench.send(5);
    assert_eq!(bench.out(), []);
    {
        let mut held = lock(&bench.held);
        assert_eq!((held.len(), held[0].came(), held[1].came()), (2, 0, 5));
        (20..23).for_each(|frame| held[1].convert(time(frame)));
        (18..20).for_each(|frame| held[0].convert(time(frame)));
        held[0].units = None;
    }
    assert_eq!(numbers(bench.out()), (18..23).map(|n| Some(((65_530 + n) as u16, n))).collect::<Vec<_>>(), "in order");
    // The key frame: what is inside comes out, but for what lies beyond.
    bench.change(None);
    bench.send(2);
    assert_eq!(bench.out(), []);
    {
        let mut held = lock(&bench.held);
        (23..28).for_each(|frame| held[1].convert(time(frame)));
        held[1].units = None;
    }
    assert_eq!(numbers(bench.out()), [vec![Some((17, 23)), Some((18, 24))], vec![None]].concat());
    assert_eq!(bench.replaced.get(), 0);
}

#[test]
fn silence_takes_the_place_of_what_can_t_be_converted() {
    for (format, silent) in [
        (aac(48_000, 2), true),
        (aac(48_000, 6), true),
        (Format::Aac { config: Bytes::from_static(&[0x11, 0x80]), sample_rate: 48_000, channels: 2 }, false),
    ] {
        let mut bench = Bench::new(format.clone(), false);
        bench.send(4);
        bench.change(Some(aac(44_100, 1)));
        bench.send(5);
        let out = bench.out();
        assert_eq!(out[..4], straight(0, 4));
        let expected: Vec<_> = straight(4, if silent { 9 } else { 4 })
            .into_iter()
            .map(|packet| packet.map(|(number, time, _)| (number, time, false)))
            .collect();
        assert_eq!((&out[4..], bench.replaced.get()), (&expected[..], if silent { 5 } else { 0 }), "{format:?}");
        bench.change(None);
        bench.send(1);
        assert_eq!(bench.out(), [None]);
    }
    // A converter that gives up.
    let mut bench = Bench::new(aac(48_000, 2), true);
    bench.send(2);
    bench.change(Some(aac(48_000, 1)));
    bench.send(2);
    assert_eq!(bench.out(), straight(0, 2));
    lock(&bench.held).clear();
    bench.send(3);
    assert_eq!((bench.out().len(), bench.replaced.get()), (3, 3));
}

#[test]
fn sound_that_changes_too_often_is_silent_until_it_may_be_converted() {
    let mut bench = Bench::with_answers(aac(48_000, 2), |asked| if asked < 5 { Answer::Later } else { Answer::Begun });
    bench.send(2);
    for channels in [1, 2] {
        bench.change(Some(aac(48_000, channels)));
        bench.send(1);
    }
    let silent = |number| straight(number, number + 1).into_iter().map(|out| out.map(|(number, time, _)| (number, time, false)));
    assert_eq!(bench.out(), [straight(0, 2), silent(2).collect(), silent(3).collect()].concat());
    assert!(lock(&bench.held).is_empty());
    bench.send(3);
    assert_eq!(bench.out(), []);
    let mut held = lock(&bench.held);
    assert_eq!((held.len(), held[0].came(), bench.replaced.get()), (1, 3, 2));
    assert_eq!(held[0].from, aac(48_000, 2));
}

#[test]
fn what_is_inside_comes_out_when_it_is_closed() {
    let mut bench = Bench::new(aac(48_000, 2), true);
    // Nothing was sent before the change, but somebody had begun to read.
    bench.change(Some(aac(48_000, 1)));
    bench.send(3);
    assert_eq!(bench.out(), []);
    assert!(bench.bridge.close());
    {
        let mut held = lock(&bench.held);
        assert_eq!(held[0].came(), 3);
        held[0].convert(time(1));
        held[0].units = None;
    }
    bench.send(3);
    let [Some((65_530, _, false)), None] = bench.out()[..] else { panic!() };
}
