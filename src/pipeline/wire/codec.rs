//! Messages to bytes and back.

use bytes::{Buf, Bytes};

use super::{Cutting, Failure, HEADER, JobId, Join, Joiner, MAX_FRAME, MAX_INPUTS, MAX_MESSAGE, Message, Start, WireError, header};
use crate::base::UnixNanos;
use crate::cmaf::{Chunk, TrackInit};
use crate::codec::{Codec, Format};
use crate::rtp::batch::{BatchPacket, ClockMapping, RtpBatch, UnitFacts};

/// Most packets in one message: as many as fit a frame at the smallest size that carries anything.
const MAX_PACKETS: usize = MAX_FRAME / 14;
/// Most bytes before a packet: its length, and the facts of its unit.
const PACKET_HEAD: usize = 4 + 5;
/// Most parameter sets of one kind; H.264 allows 32 SPS and 256 PPS.
const MAX_PARAMETER_SETS: usize = 256;

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }
    fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }
    fn bytes(&mut self, value: &[u8]) {
        self.u32(value.len() as u32);
        self.0.extend_from_slice(value);
    }
    fn format(&mut self, format: &Format) {
        match format {
            Format::H264 { sps, pps } => {
                self.u8(0);
                for sets in [sps, pps] {
                    self.u32(sets.len() as u32);
                    sets.iter().for_each(|set| self.bytes(set));
                }
            }
            Format::Vp8 => self.u8(1),
            Format::Aac { config, sample_rate, channels } => {
                self.u8(2);
                self.bytes(config);
                self.u32(*sample_rate);
                self.u8(*channels);
            }
            Format::Opus { channels } => {
                self.u8(3);
                self.u8(*channels);
            }
        }
    }
}

fn codec_number(codec: Codec) -> u8 {
    match codec {
        Codec::H264 => 0,
        Codec::Vp8 => 1,
        Codec::Aac => 2,
        Codec::Opus => 3,
    }
}

/// Appends the message's bytes to `out`, without frame headers.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    let rest = encode_head(message, out);
    out.extend_from_slice(rest);
}

/// As [`encode`], but what a chunk ends with, its bytes, is given back instead of copied.
pub(crate) fn encode_head<'a>(message: &'a Message, out: &mut Vec<u8>) -> &'a [u8] {
    let mut w = Writer(out);
    match message {
        Message::Start(job, start) => {
            w.u8(1);
            w.u32(*job);
            w.bytes(start.name.as_bytes());
            w.bytes(start.description.as_bytes());
            w.u8(start.reorder);
            w.u8(start.cutting.is_some().into());
            if let Some(cutting) = start.cutting {
                w.u64(cutting.segment);
                w.u64(cutting.part);
                w.u64(cutting.first_segment);
                w.u32(cutting.epoch);
                cutting.not_before.into_iter().chain(cutting.given).for_each(|time| w.i64(time));
            }
            w.u8(start.inputs.len() as u8);
            start.inputs.iter().for_each(|format| w.format(format));
        }
        Message::Join(job, join) => {
            w.u8(16);
            w.u32(*job);
            w.bytes(join.description.as_bytes());
            w.format(&join.format);
        }
        Message::Rtp { job, input, sent, batch } => {
            rtp_head(&mut w, RtpHead { job: *job, input: *input, sent: *sent, clock: batch.clock });
            w.u32(batch.len() as u32);
            for packet in batch.iter() {
                rtp_packet(&mut w, packet);
            }
        }
        Message::ForceKeyFrame(job, output) => {
            w.u8(3);
            w.u32(*job);
            w.u8(*output);
        }
        Message::Stop(job) => {
            w.u8(4);
            w.u32(*job);
        }
        Message::Remove(job) => {
            w.u8(15);
            w.u32(*job);
        }
        Message::Ping(number) => {
            w.u8(5);
            w.u64(*number);
        }
        Message::Pong(number) => {
            w.u8(6);
            w.u64(*number);
        }
        Message::Started(job) => {
            w.u8(7);
            w.u32(*job);
        }
        Message::KeyFrameRequest(job, input) => {
            w.u8(8);
            w.u32(*job);
            w.u8(*input);
        }
        Message::Init(job, init) => {
            w.u8(9);
            w.u32(*job);
            w.u32(init.track);
            w.u32(init.epoch);
            w.u8(codec_number(init.codec));
            w.bytes(init.codec_string.as_bytes());
            w.u32(init.timescale);
            let (width, height) = init.resolution.unwrap_or_default();
            w.u32(width);
            w.u32(height);
            let (rate, channels) = init.audio.unwrap_or_default();
            w.u32(rate);
            w.u8(channels);
            w.bytes(&init.data);
        }
        Message::Chunk(job, chunk, given) => {
            w.u8(10);
            w.u32(*job);
            w.i64(*given);
            w.u32(chunk.track);
            w.u32(chunk.epoch);
            w.u64(chunk.segment);
            let (first, last, independent, end) = (chunk.first, chunk.last, chunk.independent, chunk.end);
            w.u8(u8::from(first) | u8::from(last) << 1 | u8::from(independent) << 2 | u8::from(end) << 3);
            w.u64(chunk.presentation_time);
            w.u64(chunk.duration);
            w.i64(chunk.wallclock);
            w.u32(chunk.data.len() as u32);
            return &chunk.data;
        }
        Message::FormatOut(job, output, format) => {
            w.u8(11);
            w.u32(*job);
            w.u8(*output);
            w.format(format);
        }
        Message::Unit { job, output, pts, dts, key, data } => {
            w.u8(12);
            w.u32(*job);
            w.u8(*output);
            w.i64(*pts);
            w.i64(*dts);
            w.u8((*key).into());
            w.bytes(data);
        }
        Message::Eos(job) => {
            w.u8(13);
            w.u32(*job);
        }
        Message::Failed { job, failure, reorder, text } => {
            w.u8(14);
            w.u32(*job);
            w.u8(match failure {
                Failure::Discontinuity => 0,
                Failure::Broken => 1,
            });
            w.u8(*reorder);
            w.bytes(text.as_bytes());
        }
    }
    &[]
}

fn rtp_head(w: &mut Writer<'_>, RtpHead { job, input, sent, clock }: RtpHead) {
    w.u8(2);
    w.u32(job);
    w.u8(input);
    w.i64(sent);
    w.u8(clock.is_some().into());
    if let Some(clock) = clock {
        w.u32(clock.rtp);
        w.i64(clock.wallclock);
    }
}

/// Bits of a packet's first byte: whether facts of its unit follow, and what they say.
const HAS_FACTS: u8 = 1;
const KEY: u8 = 2;
const DISPOSABLE: u8 = 4;

/// Gives where the packet itself begins.
fn rtp_packet(w: &mut Writer<'_>, packet: BatchPacket<'_>) -> usize {
    match packet.unit {
        Some(unit) => {
            w.u8(HAS_FACTS | if unit.key { KEY } else { 0 } | if unit.disposable { DISPOSABLE } else { 0 });
            w.u32(unit.composition.cast_unsigned());
        }
        None => w.u8(0),
    }
    w.bytes(packet.bytes);
    w.0.len() - packet.bytes.len()
}

/// What stands before the packets of one input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RtpHead {
    pub job: JobId,
    pub input: u8,
    /// When they are sent.
    pub sent: UnixNanos,
    /// What puts their times on the wall clock, where that has to be sent.
    pub clock: Option<ClockMapping>,
}

/// Gives the packets of `batches`, joined where `joiner` can, as frames of [`Message::Rtp`] to `out`, as many in each as fit; `buffer` is
/// for reuse. `head.clock` goes with the first frame, the batches' own is not looked at. Packets that fit no frame are left out. False as
/// soon as `out` gives false.
pub(crate) fn encode_rtp(
    mut head: RtpHead,
    batches: &[RtpBatch],
    joiner: &mut Joiner,
    buffer: &mut Vec<u8>,
    mut out: impl FnMut(&[u8]) -> bool,
) -> bool {
    let mut rest = batches.iter().flat_map(RtpBatch::iter).peekable();
    loop {
        buffer.clear();
        buffer.resize(HEADER, 0);
        let mut w = Writer(buffer);
        rtp_head(&mut w, head);
        head.clock = None;
        let count_at = w.0.len();
        w.u32(0);
        let mut count = 0_u32;
        while let Some(packet) = rest.peek().copied() {
            if w.0.len() + PACKET_HEAD + packet.bytes.len() > MAX_FRAME && count > 0 {
                break;
            }
            rest.next();
            if packet.bytes.len() <= MAX_FRAME - 64 {
                let at = rtp_packet(&mut w, packet);
                joiner.join(packet, &mut rest, w.0, at);
                let len = (w.0.len() - at) as u32;
                w.0[at - 4..at].copy_from_slice(&len.to_be_bytes());
                count += 1;
            }
        }
        buffer[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
        let frame = header(true, true, buffer.len() - HEADER);
        buffer[..HEADER].copy_from_slice(&frame);
        if !out(buffer) {
            return false;
        }
        if rest.peek().is_none() {
            return true;
        }
    }
}

/// A message that must fit one frame, with its frame header.
pub fn encode_frame(message: &Message) -> Result<Vec<u8>, WireError> {
    let mut out = vec![0; HEADER];
    encode(message, &mut out);
    if out.len() > MAX_FRAME {
        return Err(WireError::TooLong(out.len()));
    }
    let head = header(true, true, out.len() - HEADER);
    out[..HEADER].copy_from_slice(&head);
    Ok(out)
}

struct Reader<'a>(&'a mut Bytes);

impl Reader<'_> {
    fn u8(&mut self) -> Result<u8, WireError> {
        self.0.try_get_u8().map_err(|_| WireError::Truncated)
    }
    fn u32(&mut self) -> Result<u32, WireError> {
        self.0.try_get_u32().map_err(|_| WireError::Truncated)
    }
    fn u64(&mut self) -> Result<u64, WireError> {
        self.0.try_get_u64().map_err(|_| WireError::Truncated)
    }
    fn i64(&mut self) -> Result<i64, WireError> {
        self.0.try_get_i64().map_err(|_| WireError::Truncated)
    }
    fn bytes(&mut self) -> Result<Bytes, WireError> {
        let len = self.u32()? as usize;
        if len > self.0.len() {
            return Err(WireError::Truncated);
        }
        Ok(self.0.split_to(len))
    }
    fn text(&mut self) -> Result<String, WireError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| WireError::NotText)
    }
    fn flag(&mut self) -> Result<bool, WireError> {
        Ok(self.u8()? != 0)
    }
    /// A count of things of at least `size` bytes each.
    fn count(&mut self, most: usize, size: usize) -> Result<usize, WireError> {
        let count = self.u32()? as usize;
        if count > most {
            return Err(WireError::TooLong(count));
        }
        if count * size > self.0.len() {
            return Err(WireError::Truncated);
        }
        Ok(count)
    }
    fn codec(&mut self) -> Result<Codec, WireError> {
        Ok(match self.u8()? {
            0 => Codec::H264,
            1 => Codec::Vp8,
            2 => Codec::Aac,
            3 => Codec::Opus,
            value => return Err(WireError::Unknown { what: "codec", value }),
        })
    }
    fn format(&mut self) -> Result<Format, WireError> {
        Ok(match self.codec()? {
            Codec::H264 => {
                let mut sets = || -> Result<Vec<Bytes>, WireError> {
                    let count = self.count(MAX_PARAMETER_SETS, 4)?;
                    (0..count).map(|_| self.bytes()).collect()
                };
                Format::H264 { sps: sets()?, pps: sets()? }
            }
            Codec::Vp8 => Format::Vp8,
            Codec::Aac => Format::Aac { config: self.bytes()?, sample_rate: self.u32()?, channels: self.u8()? },
            Codec::Opus => Format::Opus { channels: self.u8()? },
        })
    }
}

/// Reads a message as [`encode`] wrote it (what [`super::Assembler`] gives).
pub fn decode(mut bytes: Bytes) -> Result<Message, WireError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(WireError::TooLong(bytes.len()));
    }
    let mut r = Reader(&mut bytes);
    let message = match r.u8()? {
        1 => {
            let (job, name, description, reorder) = (r.u32()?, r.text()?, r.text()?, r.u8()?);
            let cutting = if r.flag()? {
                Some(Cutting {
                    segment: r.u64()?,
                    part: r.u64()?,
                    first_segment: r.u64()?,
                    epoch: r.u32()?,
                    not_before: [r.i64()?, r.i64()?],
                    given: [r.i64()?, r.i64()?],
                })
            } else {
                None
            };
            let count = usize::from(r.u8()?);
            if count > MAX_INPUTS {
                return Err(WireError::TooLong(count));
            }
            let inputs = (0..count).map(|_| r.format()).collect::<Result<_, _>>()?;
            Message::Start(job, Start { name, description, inputs, cutting, reorder })
        }
        2 => {
            let (job, input, sent) = (r.u32()?, r.u8()?, r.i64()?);
            let clock = if r.flag()? { Some(ClockMapping { rtp: r.u32()?, wallclock: r.i64()? }) } else { None };
            let count = r.count(MAX_PACKETS, 5)?;
            // Packets stay where they are: the batch is the message and their places in it.
            let whole = r.0.clone();
            let mut places = Vec::with_capacity(count);
            for _ in 0..count {
                let flags = r.u8()?;
                let facts = |composition: u32| UnitFacts {
                    composition: composition.cast_signed(),
                    key: flags & KEY != 0,
                    disposable: flags & DISPOSABLE != 0,
                };
                let unit = if flags & HAS_FACTS != 0 { Some(facts(r.u32()?)) } else { None };
                let len = r.bytes()?.len();
                let end = whole.len() - r.0.len();
                places.push(((end - len) as u32..end as u32, unit));
            }
            Message::Rtp { job, input, sent, batch: RtpBatch::of_places(whole, places).with_clock(clock) }
        }
        3 => Message::ForceKeyFrame(r.u32()?, r.u8()?),
        4 => Message::Stop(r.u32()?),
        5 => Message::Ping(r.u64()?),
        6 => Message::Pong(r.u64()?),
        7 => Message::Started(r.u32()?),
        8 => Message::KeyFrameRequest(r.u32()?, r.u8()?),
        9 => {
            let (job, track, epoch, codec) = (r.u32()?, r.u32()?, r.u32()?, r.codec()?);
            let (codec_string, timescale) = (r.text()?, r.u32()?);
            let resolution = Some((r.u32()?, r.u32()?)).filter(|size| *size != (0, 0));
            let audio = Some((r.u32()?, r.u8()?)).filter(|audio| *audio != (0, 0));
            let data = r.bytes()?;
            Message::Init(job, TrackInit { track, epoch, codec, codec_string, timescale, resolution, audio, data })
        }
        10 => {
            let (job, given, track, epoch, segment, flags) = (r.u32()?, r.i64()?, r.u32()?, r.u32()?, r.u64()?, r.u8()?);
            Message::Chunk(
                job,
                Chunk {
                    track,
                    epoch,
                    segment,
                    first: flags & 1 != 0,
                    last: flags & 2 != 0,
                    independent: flags & 4 != 0,
                    end: flags & 8 != 0,
                    presentation_time: r.u64()?,
                    duration: r.u64()?,
                    wallclock: r.i64()?,
                    data: r.bytes()?,
                },
                given,
            )
        }
        11 => Message::FormatOut(r.u32()?, r.u8()?, r.format()?),
        12 => Message::Unit { job: r.u32()?, output: r.u8()?, pts: r.i64()?, dts: r.i64()?, key: r.flag()?, data: r.bytes()? },
        13 => Message::Eos(r.u32()?),
        14 => {
            let job = r.u32()?;
            let failure = match r.u8()? {
                0 => Failure::Discontinuity,
                1 => Failure::Broken,
                value => return Err(WireError::Unknown { what: "failure", value }),
            };
            Message::Failed { job, failure, reorder: r.u8()?, text: r.text()? }
        }
        15 => Message::Remove(r.u32()?),
        16 => Message::Join(r.u32()?, Join { description: r.text()?, format: r.format()? }),
        value => return Err(WireError::Unknown { what: "message", value }),
    };
    if bytes.is_empty() { Ok(message) } else { Err(WireError::Trailing(bytes.len())) }
}
