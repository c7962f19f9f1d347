//! Sound of one epoch in one format, whatever its publisher changes it to.
//!
//! In: the packets of an epoch's track. Out: the same as long as they are in the epoch's format. An epoch of pictures ends with a key frame;
//! sound that has changed before is transcoded to the format so far. Where that can't be, silence takes its place, so that players go on.

use std::collections::VecDeque;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

use crate::base::{UnixNanos, rescale};
use crate::codec::aac::{self, AacConfig};
use crate::codec::{AccessUnit, Codec, Format, Packetizer};
use crate::pipeline::format_span::FormatSpan;
use crate::pipeline::last_clock::LastClock;
use crate::pipeline::source::{RtpSource, UnitSink};
use crate::rtp::batch::{BatchWriter, ClockMapping, RtpBatch, UnitFacts};
use crate::rtp::packet::{FIXED_HEADER_LEN, RtpHeader, write_header};
use crate::stream::TranscodeGuard;

/// Batches, and units, that wait in a converter: some seconds of sound, more than its pipeline takes to start.
const QUEUE: usize = 256;
/// Largest payload in bytes: nothing leaves this machine.
const MAX_PAYLOAD: usize = 8000;

/// A transcode to the epoch's format.
#[derive(Debug)]
pub(crate) struct Converter {
    /// `None`: what is inside still comes out.
    input: Option<mpsc::Sender<RtpBatch>>,
    units: mpsc::Receiver<AccessUnit>,
    _work: TranscodeGuard,
}

/// Its ends inside the transcode.
pub(super) fn ends() -> (Input, Output, impl FnOnce(TranscodeGuard) -> Converter) {
    let (input, batches) = mpsc::channel(QUEUE);
    let (sink, units) = mpsc::channel(QUEUE);
    (Input(batches), Output(sink), |work| Converter { input: Some(input), units, _work: work })
}

/// What a converter reads.
#[derive(Debug)]
pub(super) struct Input(mpsc::Receiver<RtpBatch>);

impl RtpSource for Input {
    async fn recv(&mut self) -> Option<RtpBatch> {
        self.0.recv().await
    }

    fn request_key_frame(&self) {}
}

/// What a converter writes.
#[derive(Debug)]
pub(super) struct Output(mpsc::Sender<AccessUnit>);

impl UnitSink for Output {
    fn write_at(&mut self, unit: AccessUnit) -> bool {
        self.0.try_send(unit).is_ok()
    }

    fn set_format(&mut self, _: Format) {}

    async fn key_frame_requested(&mut self) -> Option<()> {
        self.0.closed().await;
        None
    }
}

/// What becomes of sound that is to be converted.
#[derive(Debug)]
pub(crate) enum Conversion {
    Begun(Converter),
    /// Its formats change too often: it is asked for again with what comes next.
    Later,
    /// It can't be.
    Never,
}

/// Makes a converter of sound in the first format to the second.
pub(crate) type Convert = Box<dyn FnMut(&Format, &Format) -> Conversion + Send>;

/// A track of an epoch.
pub(crate) struct Bridge<S> {
    span: FormatSpan<S>,
    sound: Option<Box<Sound>>,
    /// It goes on through changes of all tracks.
    through: bool,
    over: bool,
}

impl<S: RtpSource> Bridge<S> {
    /// Pictures begin another epoch where they change.
    pub(crate) fn pictures(span: FormatSpan<S>) -> Self {
        Self { span, sound: None, through: false, over: false }
    }

    /// Sound of an epoch in `format`; `replaced` counts the frames that became silence.
    pub(crate) fn sound(span: FormatSpan<S>, format: Format, convert: Convert, replaced: Counter) -> Self {
        Self { span, sound: Some(Box::new(Sound::new(format, convert, replaced))), through: false, over: false }
    }

    /// Where the pictures beside it are made here, their key frames alone say where the epoch ends.
    pub(crate) fn through(self, through: bool) -> Self {
        Self { through, ..self }
    }
}

/// What has come of the track.
enum Came {
    Packets(Option<RtpBatch>),
    Converted(Option<AccessUnit>),
}

impl<S: RtpSource> RtpSource for Bridge<S> {
    async fn recv(&mut self) -> Option<RtpBatch> {
        let Self { span, sound, through, over } = self;
        let Some(sound) = sound else { return span.recv().await };
        loop {
            let came = match sound.converters.front_mut() {
                None if *over => return None,
                None => Came::Packets(span.recv().await),
                Some(converter) => tokio::select! {
                    unit = converter.units.recv() => Came::Converted(unit),
                    batch = span.recv(), if !*over => Came::Packets(batch),
                },
            };
            let out = match came {
                Came::Packets(Some(batch)) => sound.take(batch),
                Came::Packets(None) if if *through { span.go_on() } else { span.go_on_alone() } => {
                    sound.change(span.format());
                    None
                }
                Came::Packets(None) => {
                    *over = true;
                    sound.close();
                    None
                }
                Came::Converted(Some(unit)) => sound.converted(&unit),
                Came::Converted(None) => {
                    sound.converters.pop_front();
                    None
                }
            };
            if out.is_some() {
                return out;
            }
        }
    }

    fn request_key_frame(&self) {
        self.span.request_key_frame();
    }

    fn close(&mut self) -> bool {
        self.over = true;
        self.sound.as_mut().is_some_and(|sound| {
            sound.close();
            !sound.converters.is_empty()
        })
    }
}

/// What a packet says beside its payload.
#[derive(Debug, Clone, Copy)]
struct Header {
    payload_type: u8,
    sequence_number: u16,
    timestamp: u32,
    ssrc: u32,
}

struct Sound {
    /// The epoch's format, and how long a frame of it lasts in ns.
    format: Format,
    frame: i64,
    /// What comes is in this format.
    now: Format,
    /// How long a frame of it lasts, since it has changed.
    other: Option<i64>,
    convert: Convert,
    /// What comes has no converter yet.
    awaits_converter: bool,
    /// Oldest first; the last one takes what comes.
    converters: VecDeque<Converter>,
    clock: LastClock,
    /// Whether whoever reads knows the clock.
    clock_given: bool,
    packetizer: Packetizer,
    /// The last packet that was given, as it was given.
    last: Option<Header>,
    /// Where what was given ends, and what came.
    given: UnixNanos,
    came: UnixNanos,
    replaced: Counter,
}

/// How long a frame lasts, in ns.
fn frame(format: &Format) -> i64 {
    let Format::Aac { config, sample_rate, .. } = format else { return 0 };
    let samples = AacConfig::parse(config).map_or(1024, |config| config.frame_duration());
    rescale(i64::from(samples), *sample_rate, 1_000_000_000)
}

impl Sound {
    fn new(format: Format, convert: Convert, replaced: Counter) -> Self {
        Self {
            frame: frame(&format),
            now: format.clone(),
            other: None,
            convert,
            awaits_converter: false,
            converters: VecDeque::new(),
            clock: LastClock::new(format.rtp_clock_rate()),
            clock_given: false,
            packetizer: Packetizer::new(Codec::Aac, MAX_PAYLOAD),
            last: None,
            given: i64::MIN,
            came: i64::MIN,
            replaced,
            format,
        }
    }

    /// What comes from here on is in this format.
    fn change(&mut self, format: Option<Format>) {
        let Some(format) = format.filter(|format| *format != self.now) else { return };
        self.close();
        self.other = Some(frame(&format));
        self.now = format;
        self.begin_converter();
    }

    fn begin_converter(&mut self) {
        let conversion = (self.convert)(&self.now, &self.format);
        self.awaits_converter = matches!(conversion, Conversion::Later);
        if let Conversion::Begun(converter) = conversion {
            self.converters.push_back(converter);
        }
    }

    /// Nothing more goes into the converters.
    fn close(&mut self) {
        self.converters.iter_mut().for_each(|converter| converter.input = None);
    }

    fn take(&mut self, batch: RtpBatch) -> Option<RtpBatch> {
        self.clock.follow(&batch);
        let mapping = self.clock.mapping();
        self.came = mapping.map_or(i64::MIN, |mapping| mapping.wallclock + self.other.unwrap_or(self.frame));
        if self.other.is_none() {
            self.clock_given |= batch.clock.is_some();
            self.last = batch.iter().next_back().and_then(header).or(self.last);
            self.given = self.came;
            return Some(batch);
        }
        if self.last.is_none() {
            let before = |header: Header| Header { sequence_number: header.sequence_number.wrapping_sub(1), ..header };
            self.last = batch.iter().next().and_then(header).map(before);
        }
        if self.awaits_converter {
            self.begin_converter();
        }
        if let Some(input) = self.converters.back().and_then(|converter| converter.input.as_ref())
            && mapping.is_some()
            && input.try_send(batch.clone().with_clock(mapping)).is_ok()
        {
            return None;
        }
        self.silence(&batch)
    }

    /// As many frames in which nothing is heard as have come.
    fn silence(&mut self, batch: &RtpBatch) -> Option<RtpBatch> {
        let Format::Aac { config, .. } = &self.format else { return None };
        let data = aac::silence(&AacConfig::parse(config).ok()?)?;
        let mut out = BatchWriter::default();
        for packet in batch.iter().filter(|packet| packet.unit.is_some()) {
            let Some(came) = header(packet) else { continue };
            self.replaced.inc();
            self.put(came, data.clone(), &mut out);
        }
        self.finish(out)
    }

    fn converted(&mut self, unit: &AccessUnit) -> Option<RtpBatch> {
        let (mapping, last) = self.clock.mapping().zip(self.last)?;
        // Encoders give something before what they were given, and behind it.
        let middle = unit.pts + self.frame / 2;
        if middle < self.given || middle >= self.came {
            return None;
        }
        self.given = unit.pts + self.frame;
        let ticks = rescale(unit.pts - mapping.wallclock, 1_000_000_000, self.format.rtp_clock_rate());
        let mut out = BatchWriter::default();
        self.put(Header { timestamp: mapping.rtp.wrapping_add(ticks as u32), ..last }, unit.data.clone(), &mut out);
        self.finish(out)
    }

    /// Appends the packets of a unit with the next numbers.
    fn put(&mut self, like: Header, data: bytes::Bytes, out: &mut BatchWriter) {
        let mut next = self.last.map_or(like.sequence_number, |last| last.sequence_number.wrapping_add(1));
        let mut facts = Some(UnitFacts { composition: 0, key: true, disposable: false });
        let unit = AccessUnit { pts: 0, dts: 0, key: true, data };
        let Self { packetizer, format, last, .. } = self;
        packetizer.packetize(&unit, format, &mut |payload| {
            let Header { payload_type, timestamp, ssrc, .. } = like;
            let mut fixed = [0; FIXED_HEADER_LEN];
            let header = RtpHeader { marker: payload.marker, payload_type, sequence_number: next, timestamp, ssrc };
            if write_header(&mut fixed, &header, &[]).is_ok() {
                out.packet(facts.take(), |buffer| {
                    buffer.extend_from_slice(&fixed);
                    payload.write_to(buffer);
                });
                *last = Some(Header { sequence_number: next, ..like });
                next = next.wrapping_add(1);
            }
        });
    }

    fn finish(&mut self, out: BatchWriter) -> Option<RtpBatch> {
        let batch = out.finish();
        let given = batch.is_empty() || std::mem::replace(&mut self.clock_given, true);
        let clock: Option<ClockMapping> = if given { None } else { self.clock.mapping() };
        (!batch.is_empty()).then(|| batch.with_clock(clock))
    }
}

fn header(packet: crate::rtp::batch::BatchPacket<'_>) -> Option<Header> {
    let packet = packet.rtp()?;
    Some(Header {
        payload_type: packet.payload_type(),
        sequence_number: packet.sequence_number(),
        timestamp: packet.timestamp(),
        ssrc: packet.ssrc(),
    })
}

#[cfg(test)]
#[path = "bridge_tests.rs"]
mod tests;
