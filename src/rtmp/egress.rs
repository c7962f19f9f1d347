//! From a stream's RTP to a player's FLV tags.
//!
//! In: RTP batches of at most one audio and one video track, and how much the player has not taken yet. Out: tag bodies on one
//! timeline in milliseconds, beginning with a key frame; what a slow player can't take is left out up to the next key frame.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::base::wrap::{TimestampExtender, timestamp_distance};
use crate::base::{MediaKind, UnixNanos, rescale};
use crate::codec::{AccessUnit, Depacketized, Depacketizer, Format, h264};
use crate::rtp::batch::{ClockMapping, RtpBatch};
use crate::rtp::packet::RtpPacket;

use super::chunk::kind;
use super::flv;

/// Audio that waits for the video's first key frame, which defines the beginning: 5 s at 48 kHz. Then it goes on without video.
const MAX_WAITING_AUDIO: usize = 256;
/// Pictures looked back on for a decoding time, where the SPS doesn't say how far they are reordered: 4 is what encoders use at most.
const DEFAULT_REORDER: usize = 4;

/// A tag for the player.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    /// `kind::AUDIO` or `kind::VIDEO`.
    pub kind: u8,
    /// Milliseconds from the player's beginning, modulo 2^32.
    pub timestamp: u32,
    pub body: Bytes,
}

/// Makes one player's tags.
#[derive(Debug)]
pub(super) struct Egress {
    video: Option<Video>,
    audio: Option<Audio>,
    /// The wall clock at the player's time 0.
    origin: Option<UnixNanos>,
    waiting_audio: VecDeque<(UnixNanos, Bytes)>,
    max_backlog: usize,
    /// The player takes too little: leave out until a key frame.
    behind: bool,
    wants_audio: bool,
    wants_video: bool,
    dropped: u64,
}

#[derive(Debug)]
struct Input {
    depacketizer: Depacketizer,
    format: Format,
    /// The header has to be sent before the next unit.
    header_due: bool,
    clock: Option<ClockMapping>,
    timestamps: TimestampExtender,
}

#[derive(Debug)]
struct Video {
    input: Input,
    waits_for_key: bool,
    times: DecodingTimes,
}

#[derive(Debug)]
struct Audio {
    input: Input,
    last_ms: i64,
}

impl Egress {
    /// For a player who may have `max_backlog` bytes unsent.
    pub(super) fn new(max_backlog: usize) -> Self {
        Self {
            video: None,
            audio: None,
            origin: None,
            waiting_audio: VecDeque::new(),
            max_backlog,
            behind: false,
            wants_audio: true,
            wants_video: true,
            dropped: 0,
        }
    }

    /// A track begins, or is another one from now on.
    pub(super) fn set_track(&mut self, format: Format) {
        let kind = format.kind();
        let depacketizer = Depacketizer::new(&format);
        let input = Input { depacketizer, format, header_due: true, clock: None, timestamps: TimestampExtender::new() };
        match kind {
            MediaKind::Video => {
                let mut times = DecodingTimes::new(&input.format);
                if let Some(before) = self.video.take() {
                    times.last = before.times.last;
                }
                self.video = Some(Video { input, waits_for_key: true, times });
            }
            MediaKind::Audio => {
                let last_ms = self.audio.take().map_or(i64::MIN, |audio| audio.last_ms);
                self.audio = Some(Audio { input, last_ms });
            }
        }
    }

    /// The sound goes on in another format, on the clock that its first batch told.
    pub(super) fn set_sound(&mut self, format: Format) {
        if let Some(audio) = &mut self.audio {
            audio.input.depacketizer = Depacketizer::new(&format);
        }
        self.set_format(format);
    }

    /// What the player wants now (`receiveAudio`, `receiveVideo`, `pause`).
    pub(super) fn set_wanted(&mut self, audio: bool, video: bool) {
        if video
            && !self.wants_video
            && let Some(track) = &mut self.video
        {
            track.waits_for_key = true;
        }
        (self.wants_audio, self.wants_video) = (audio, video);
    }

    /// Whether nothing can be shown before a key frame comes.
    pub(super) fn needs_key_frame(&self) -> bool {
        self.wants_video && self.video.as_ref().is_some_and(|video| video.waits_for_key)
    }

    /// Pictures and frames left out because the player was too slow.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes a batch of a track. `backlog` is how many bytes wait to be sent to the player;
    /// more than its bound where it has to let go for other reasons.
    pub(super) fn handle(&mut self, kind: MediaKind, batch: &RtpBatch, backlog: usize, out: &mut Vec<Tag>) {
        let input = match kind {
            MediaKind::Video => self.video.as_mut().map(|v| &mut v.input),
            MediaKind::Audio => self.audio.as_mut().map(|a| &mut a.input),
        };
        let Some(input) = input else { return };
        if batch.clock.is_some() {
            input.clock = batch.clock;
        }
        let mut units = Vec::new();
        for packet in batch.iter().filter_map(|packet| packet.rtp()) {
            input.push(packet, &mut units);
        }
        let mut sent = 0;
        for unit in units {
            let before = out.len();
            match unit {
                Depacketized::Format(format) => self.set_format(format),
                Depacketized::Lost => {
                    if let (MediaKind::Video, Some(video)) = (kind, &mut self.video) {
                        video.waits_for_key = true;
                    }
                }
                Depacketized::Unit(unit) => match kind {
                    MediaKind::Video => self.picture(unit, backlog.saturating_add(sent), out),
                    MediaKind::Audio => self.frame(unit, backlog.saturating_add(sent), out),
                },
            }
            sent += out[before..].iter().map(|tag| tag.body.len()).sum::<usize>();
        }
    }

    fn set_format(&mut self, format: Format) {
        match format.kind() {
            MediaKind::Video => {
                if let Some(video) = &mut self.video {
                    let last = video.times.last;
                    video.times = DecodingTimes { last, ..DecodingTimes::new(&format) };
                    (video.input.format, video.input.header_due) = (format, true);
                }
            }
            MediaKind::Audio => {
                if let Some(audio) = &mut self.audio {
                    (audio.input.format, audio.input.header_due) = (format, true);
                }
            }
        }
    }

    /// Whether the player is too slow for this unit: from the bound on, until a key frame finds half of it free.
    fn too_slow(&mut self, key: bool, backlog: usize) -> bool {
        self.behind = if self.behind { !key || backlog > self.max_backlog / 2 } else { backlog > self.max_backlog };
        self.dropped += u64::from(self.behind);
        self.behind
    }

    fn picture(&mut self, unit: AccessUnit, backlog: usize, out: &mut Vec<Tag>) {
        if !self.wants_video || self.too_slow(unit.key, backlog) {
            if let Some(video) = &mut self.video {
                video.waits_for_key = true;
            }
            return;
        }
        let Some(video) = &mut self.video else { return };
        if video.waits_for_key && !unit.key {
            return;
        }
        let Some(time) = video.input.wallclock(unit.pts) else { return };
        let record = match (&video.input.format, video.input.header_due) {
            (Format::H264 { sps, pps }, true) => match h264::write_avc_config(sps, pps) {
                Ok(record) => Some(record),
                // Its parameter sets have not been seen yet.
                Err(_) => return,
            },
            _ => None,
        };
        let origin = *self.origin.get_or_insert(time);
        let (pts, dts) = video.times.next(ms_since(origin, time));
        (video.waits_for_key, video.input.header_due) = (false, false);
        if let Some(record) = record {
            out.push(Tag { kind: kind::VIDEO, timestamp: dts as u32, body: flv::write_video_header(&record) });
        }
        let body = flv::write_picture(unit.key, (pts - dts) as i32, &unit.data);
        out.push(Tag { kind: kind::VIDEO, timestamp: dts as u32, body });
        self.release_audio(out);
    }

    fn frame(&mut self, unit: AccessUnit, backlog: usize, out: &mut Vec<Tag>) {
        let audio_only = self.video.is_none();
        if !self.wants_audio {
            return;
        }
        // Sound goes on while only pictures are left out, but not beyond the bound; alone, every frame is a key frame.
        if if audio_only { self.too_slow(true, backlog) } else { backlog > self.max_backlog } {
            self.dropped += u64::from(!audio_only);
            return;
        }
        let Some(time) = self.audio.as_ref().and_then(|audio| audio.input.wallclock(unit.pts)) else { return };
        self.waiting_audio.push_back((time, unit.data));
        if self.origin.is_none() && (audio_only || !self.wants_video || self.waiting_audio.len() >= MAX_WAITING_AUDIO) {
            self.origin = self.waiting_audio.front().map(|(time, _)| *time);
        }
        self.release_audio(out);
    }

    /// Sends the audio that waited, once there is a beginning; what lies before it is left out.
    fn release_audio(&mut self, out: &mut Vec<Tag>) {
        let (Some(origin), Some(audio)) = (self.origin, &mut self.audio) else { return };
        for (time, data) in self.waiting_audio.drain(..) {
            let ms = ms_since(origin, time);
            if ms < 0 {
                continue;
            }
            // A player stops at times that go back.
            let ms = ms.max(audio.last_ms);
            audio.last_ms = ms;
            if audio.input.header_due
                && let Format::Aac { config, .. } = &audio.input.format
            {
                out.push(Tag { kind: kind::AUDIO, timestamp: ms as u32, body: flv::write_audio_header(config) });
                audio.input.header_due = false;
            }
            out.push(Tag { kind: kind::AUDIO, timestamp: ms as u32, body: flv::write_frame(&data) });
        }
    }
}

impl Input {
    fn push(&mut self, packet: RtpPacket<'_>, units: &mut Vec<Depacketized>) {
        let time = self.timestamps.extend(packet.timestamp());
        self.depacketizer.push(packet.payload(), time, packet.sequence_number(), packet.marker());
        while let Some(unit) = self.depacketizer.poll() {
            units.push(unit);
        }
    }

    fn wallclock(&self, rtp: i64) -> Option<UnixNanos> {
        let clock = self.clock?;
        let ticks = timestamp_distance(rtp as u32, clock.rtp);
        Some(clock.wallclock + rescale(ticks, self.format.rtp_clock_rate(), 1_000_000_000))
    }
}

fn ms_since(origin: UnixNanos, time: UnixNanos) -> i64 {
    rescale(time - origin, 1_000_000_000, 1000)
}

/// Decoding times, which RTP doesn't carry, from presentation times in decoding order: the least presentation time among the
/// last few pictures (none can be decoded later than that one is shown), and always after the one before.
#[derive(Debug)]
struct DecodingTimes {
    window: VecDeque<i64>,
    depth: usize,
    last: i64,
}

impl DecodingTimes {
    fn new(format: &Format) -> Self {
        let depth = match format {
            Format::H264 { sps, .. } if h264::may_reorder(sps) => {
                let stated = sps.first().and_then(|nal| h264::parse_sps(nal).ok()).and_then(|info| info.max_reorder);
                stated.map_or(DEFAULT_REORDER, |depth| (depth as usize).min(16))
            }
            _ => 0,
        };
        Self { window: VecDeque::new(), depth, last: i64::MIN }
    }

    /// Presentation and decoding time of the next picture, in milliseconds, neither negative.
    fn next(&mut self, pts: i64) -> (i64, i64) {
        self.window.push_back(pts);
        if self.window.len() > self.depth + 1 {
            self.window.pop_front();
        }
        let least = self.window.iter().copied().min().unwrap_or(pts);
        let dts = least.max(self.last.saturating_add(1)).max(0);
        self.last = dts;
        (pts.max(dts), dts)
    }
}

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;
