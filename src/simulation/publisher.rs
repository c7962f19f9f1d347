//! A publisher: FLV tags as an encoder would send them, with its faults.
//!
//! In: a plan. Out: tags, each with the time at which it is sent. A unit carries its number, by which it is found again.

use bytes::Bytes;

use super::MS;
use super::faults::{Fault, Plan};
use super::random::Random;
use crate::base::MediaKind;
use crate::codec::aac::AacConfig;
use crate::rtmp::chunk::kind;
use crate::rtmp::flv;
use crate::rtmp::session::MediaMessage;

/// Constrained baseline 640x360, main 640x360 (the same with another profile), and high 1920x1080.
const RECORDS: [&str; 2] = [
    "0142c01effe100196742c01ed900a02ff97011000003000100000300320f162e4801000568cb83cb20",
    "01640028ffe1001b67640028acd940780227e5c044000003000400000300f03c60c65801000668eae3cb22c0fdf8f800",
];

/// Numbers of units, of each kind, for the whole simulation.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    video: u64,
    audio: u64,
}

/// One publisher.
#[derive(Debug)]
pub(super) struct Publisher {
    pub plan: Plan,
    began: i64,
    random: Random,
    /// Media time of the next picture and the next frame.
    pictures: u64,
    frames: u64,
    /// Place in the GOP.
    in_gop: u64,
    record: usize,
    change: bool,
    offset: i64,
    held_until: i64,
    holes: [i64; 2],
    same: [(i64, i64); 2],
    outlier: [Option<i64>; 2],
    composition: Option<i64>,
    garbage: [bool; 2],
    begun: [bool; 2],
    storms: [i64; 2],
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap_or(0)).collect()
}

/// Its number, as bytes that need no emulation prevention.
fn numbered(mut data: Vec<u8>, number: u64, len: usize) -> Vec<u8> {
    data.extend((0..5).rev().map(|group| 0x80 | (number >> (7 * group)) as u8));
    let len = len.max(data.len());
    data.resize(len, 0xA5);
    data
}

/// The number in a unit; `None` where the server made it.
pub(super) fn number_of(kind: MediaKind, data: &[u8]) -> Option<u64> {
    let bytes = match kind {
        MediaKind::Audio => data.get(1..6)?,
        MediaKind::Video => {
            let mut rest = data;
            loop {
                let len = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
                let nal = rest.get(4..4 + len)?;
                match nal.first()? & 31 {
                    1 | 5 => break nal.get(2..7)?,
                    // Only what is repeated has a delimiter.
                    9 => return None,
                    _ => rest = &rest[4 + len..],
                }
            }
        }
    };
    bytes.iter().all(|byte| byte & 0x80 != 0).then(|| bytes.iter().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7F)))
}

impl Publisher {
    pub(super) fn new(plan: Plan, began: i64, random: Random) -> Self {
        Self {
            plan,
            began,
            random,
            pictures: 0,
            frames: 0,
            in_gop: 0,
            record: 0,
            change: true,
            offset: 0,
            held_until: 0,
            holes: [0; 2],
            same: [(0, 0); 2],
            outlier: [None; 2],
            composition: None,
            garbage: [false; 2],
            begun: [false; 2],
            storms: [0; 2],
        }
    }

    /// Whether it has sent in real time and told the truth so far.
    pub(super) fn is_honest(&self) -> bool {
        self.plan.faults.is_empty() && self.plan.drift == 1.0 && self.plan.speed == 1.0 && self.plan.bits == 63
    }

    fn video_time(&self) -> Option<i64> {
        self.plan.video.map(|(fps, ..)| (self.pictures as f64 * 1e9 / fps) as i64)
    }

    fn audio_time(&self) -> Option<i64> {
        self.plan.audio.map(|(rate, _)| (self.frames as i128 * 1024 * 1_000_000_000 / i128::from(rate)) as i64)
    }

    /// When the next tag is sent; `None` once it is over.
    pub(super) fn next_at(&self) -> Option<i64> {
        let media = [self.video_time(), self.audio_time()].into_iter().flatten().min()?;
        (media < self.plan.lasts).then(|| (self.began + (media as f64 / self.plan.speed) as i64).max(self.held_until))
    }

    /// Sends the next tags: a unit, with headers before it where there are some.
    pub(super) fn next(&mut self, numbers: &mut Numbers, out: &mut Vec<MediaMessage>) {
        let Some(at) = self.next_at() else { return };
        let (video, audio) = (self.video_time(), self.audio_time());
        let picture = video.is_some_and(|video| audio.is_none_or(|audio| video <= audio));
        let media = if picture { video } else { audio }.unwrap_or_default();
        while let Some((_, fault)) = self.plan.faults.first().copied().filter(|(when, _)| *when <= media) {
            self.plan.faults.remove(0);
            self.commit(fault, media, at);
        }
        if picture { self.picture(media, numbers, out) } else { self.frame(media, numbers, out) }
    }

    fn commit(&mut self, fault: Fault, media: i64, at: i64) {
        match fault {
            Fault::Stall(time) => self.held_until = at + time,
            Fault::Hole(time, of) => {
                for kind in [MediaKind::Video, MediaKind::Audio].into_iter().filter(|kind| of.is_none_or(|of| of == *kind)) {
                    self.holes[kind as usize] = media + time;
                }
            }
            Fault::Jump(ms) => self.offset += ms,
            Fault::Outlier(ms, kind) => self.outlier[kind as usize] = Some(ms),
            Fault::Same(count, kind) => self.same[kind as usize].0 = count,
            Fault::Composition(ms) => self.composition = Some(ms),
            Fault::Format(MediaKind::Video) => {
                self.record ^= 1;
                self.change = true;
            }
            Fault::Format(MediaKind::Audio) => {
                if let Some((rate, channels)) = &mut self.plan.audio {
                    let frames = self.frames as f64 / f64::from(*rate);
                    (*rate, *channels) = if *rate == 48_000 { (44_100, 3 - *channels) } else { (48_000, *channels) };
                    self.frames = (frames * f64::from(*rate)).ceil() as u64;
                    self.begun[MediaKind::Audio as usize] = false;
                }
            }
            Fault::Storm(kind, time) => self.storms[kind as usize] = media + time,
            Fault::Garbage(kind) => self.garbage[kind as usize] = true,
        }
    }

    fn stamp(&mut self, kind: MediaKind, media: i64) -> i64 {
        let true_stamp = self.plan.first_stamp + self.offset + (media as f64 * self.plan.drift / MS as f64) as i64;
        let (left, last) = &mut self.same[kind as usize];
        let stamp = if *left > 0 {
            *left -= 1;
            *last
        } else {
            true_stamp + self.outlier[kind as usize].take().unwrap_or(0)
        };
        *last = stamp;
        if self.plan.bits < 63 { stamp & ((1 << self.plan.bits) - 1) } else { stamp }
    }

    fn tag(&self, kind: u8, timestamp: i64, body: Bytes) -> MediaMessage {
        MediaMessage { kind, timestamp, body, at: Default::default() }
    }

    fn picture(&mut self, media: i64, numbers: &mut Numbers, out: &mut Vec<MediaMessage>) {
        let (_, gop, b_frames) = self.plan.video.unwrap_or((1.0, 1, 0));
        self.pictures += 1;
        if media < self.storms[MediaKind::Video as usize] {
            self.record ^= 1;
            (self.change, self.in_gop) = (true, 0);
        }
        let key = self.in_gop == 0;
        if media < self.holes[MediaKind::Video as usize] {
            // What follows a hole is a key frame: it is a pause of the camera, not a loss.
            self.in_gop = 0;
            return;
        }
        let stamp = self.stamp(MediaKind::Video, media);
        if std::mem::take(&mut self.garbage[MediaKind::Video as usize]) {
            let junk: Vec<u8> = (0..self.random.range(1, 60)).map(|_| self.random.next() as u8).collect();
            let body = [&[0x27, 1, 0, 0, 0][..], &junk].concat();
            out.push(self.tag(kind::VIDEO, stamp, body.into()));
        }
        if key && std::mem::take(&mut self.change) {
            let header = flv::write_video_header(&hex(RECORDS[self.record]));
            out.push(self.tag(kind::VIDEO, stamp, header));
        }
        // I P B B P B B: decoded so, the first B before the P in time.
        let place = if self.in_gop == 0 { 0 } else { (self.in_gop - 1) % (b_frames + 1) };
        let whole = gop - (gop - 1) % (b_frames + 1);
        let (composition, disposable) = match (b_frames, self.in_gop) {
            (0, _) => (0, false),
            (_, 0) => (1, false),
            _ if place == 0 => (b_frames + 1, false),
            _ => (0, true),
        };
        let frame_ms = self.plan.video.map_or(33.0, |(fps, ..)| 1000.0 / fps);
        let composition = self.composition.take().unwrap_or((composition as f64 * frame_ms).round() as i64);
        self.in_gop = if self.in_gop + 1 >= whole.max(1) { 0 } else { self.in_gop + 1 };
        if self.plan.headless && !self.begun[MediaKind::Video as usize] && self.pictures < 200 {
            if key {
                return;
            }
        } else {
            self.begun[MediaKind::Video as usize] = true;
        }
        numbers.video += 1;
        let head = match (key, disposable) {
            (true, _) => [0x65, 0x88],
            (_, false) => [0x41, 0x9A],
            (_, true) => [0x01, 0x9E],
        };
        let len = if key { 1500 } else { self.random.range(10, 60) as usize };
        let nal = numbered(head.to_vec(), numbers.video, len);
        let data = [&(nal.len() as u32).to_be_bytes()[..], &nal].concat();
        let body = flv::write_picture(key, composition as i32, &data);
        out.push(self.tag(kind::VIDEO, stamp, body));
    }

    fn frame(&mut self, media: i64, numbers: &mut Numbers, out: &mut Vec<MediaMessage>) {
        let (rate, mut channels) = self.plan.audio.unwrap_or((48_000, 2));
        self.frames += 1;
        if media < self.storms[MediaKind::Audio as usize] {
            channels = 3 - channels;
            self.plan.audio = Some((rate, channels));
            self.begun[MediaKind::Audio as usize] = false;
        }
        if media < self.holes[MediaKind::Audio as usize] {
            return;
        }
        let stamp = self.stamp(MediaKind::Audio, media);
        if std::mem::take(&mut self.garbage[MediaKind::Audio as usize]) {
            let junk: Vec<u8> = (0..self.random.range(0, 40)).map(|_| self.random.next() as u8 & 0x7F).collect();
            out.push(self.tag(kind::AUDIO, stamp, [&[0xAF, 0][..], &junk].concat().into()));
        }
        if !std::mem::replace(&mut self.begun[MediaKind::Audio as usize], true) {
            let header = flv::write_audio_header(&AacConfig::lc(rate, channels).unwrap_or_default());
            out.push(self.tag(kind::AUDIO, stamp, header));
        }
        numbers.audio += 1;
        let frame = numbered(vec![0x21], numbers.audio, 12);
        out.push(self.tag(kind::AUDIO, stamp, flv::write_frame(&frame)));
    }
}
