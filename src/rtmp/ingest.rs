//! From a publisher's FLV tags to what `stream` takes: formats and access units, per track.
//!
//! In: audio and video messages. Out: actions in order — a track's format (first or changed), an access unit, a warning for people, a
//! refusal. Hostile or odd tags are counted and left out; the other track goes on.

use crate::base::MediaKind;
use crate::codec::{AccessUnit, Format, FormatError, aac, h264};
use crate::stream::Warning;

use super::audio_clock::AudioClock;
use super::chunk::kind;
use super::flv::{self, AudioTag, FlvError, VideoTag};
use super::session::Media;

/// From this time between key frames on, a publisher is told. LL-HLS and DASH segments can't be shorter than it.
const LONG_GOP_MS: i64 = 4_000;
/// More between two pictures is another timeline (or a picture every few seconds), not a part of a GOP.
const JUMP_MS: i64 = 3_000;
/// Composition times beyond this are nonsense: 16 pictures (the most H.264 can reorder) at 2 a second.
const MAX_COMPOSITION_MS: i32 = 8_000;
/// Ticks of video per millisecond.
const VIDEO_TICKS: i64 = 90;

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The track of this format's kind begins, or goes on in another format.
    Format(Format),
    /// Write to the track.
    Unit(MediaKind, AccessUnit),
    /// Tell the publisher by way of page and API.
    Warn(Warning),
    /// End the publication with this sentence: it can't be carried.
    Refuse(String),
}

/// What was left out, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IngestCounters {
    /// Pictures and frames before a sequence header.
    pub before_header: u64,
    /// Tags that end within their header, sequence headers that make no sense, NAL units that overrun.
    pub damaged: u64,
    /// Frames in a codec that isn't carried.
    pub unsupported: u64,
    /// How often AAC's stamps were believed against the count of its samples: lost frames, jumps.
    pub audio_jumps: u64,
}

/// Turns tags into actions.
#[derive(Debug, Default)]
pub struct Ingest {
    video: Option<Video>,
    audio: Option<Audio>,
    counters: IngestCounters,
    /// Codes of warnings given already.
    warned: Vec<&'static str>,
}

#[derive(Debug)]
struct Video {
    format: Format,
    length_size: usize,
    last_dts: Option<i64>,
    highest_pts: i64,
    last_key: Option<i64>,
}

#[derive(Debug)]
struct Audio {
    format: Format,
    clock: AudioClock,
}

impl Ingest {
    /// For one publication.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was left out so far.
    pub fn counters(&self) -> IngestCounters {
        let audio_jumps = self.counters.audio_jumps + self.audio.as_ref().map_or(0, |audio| audio.clock.jumps());
        IngestCounters { audio_jumps, ..self.counters }
    }

    /// Takes a message; appends at most a few actions to `out`.
    pub fn handle(&mut self, media: &Media, out: &mut Vec<Action>) {
        match media.kind {
            kind::VIDEO => match flv::read_video(&media.body) {
                Ok(VideoTag::SequenceHeader(record)) => self.video_header(&record, out),
                Ok(VideoTag::Picture { composition_ms, data, .. }) => self.picture(media.timestamp, composition_ms, data, out),
                Ok(VideoTag::EndOfSequence | VideoTag::Other) => {}
                Err(FlvError::Unsupported(why)) => {
                    self.counters.unsupported += 1;
                    out.push(Action::Refuse(why));
                }
                Err(error) => self.damaged(media, &error),
            },
            kind::AUDIO => match flv::read_audio(&media.body) {
                Ok(AudioTag::SequenceHeader(config)) => self.audio_header(&config, out),
                Ok(AudioTag::Frame(data)) => match &mut self.audio {
                    Some(audio) if !data.is_empty() => {
                        let time = audio.clock.time(media.timestamp);
                        out.push(Action::Unit(MediaKind::Audio, AccessUnit { pts: time, dts: time, key: true, data }));
                    }
                    Some(_) => {}
                    None => self.counters.before_header += 1,
                },
                Ok(AudioTag::Other) => {}
                Err(FlvError::Unsupported(why)) => {
                    self.counters.unsupported += 1;
                    self.warn_once("audio_codec", || why, out);
                }
                Err(error) => self.damaged(media, &error),
            },
            _ => {}
        }
    }

    fn damaged(&mut self, media: &Media, error: &dyn std::error::Error) {
        self.counters.damaged += 1;
        tracing::debug!(at = %media.at, %error, "RTMP tag left out");
    }

    fn warn_once(&mut self, code: &'static str, message: impl FnOnce() -> String, out: &mut Vec<Action>) {
        if !self.warned.contains(&code) {
            self.warned.push(code);
            out.push(Action::Warn(Warning { code, message: message() }));
        }
    }

    fn bad_header(&mut self, code: &'static str, error: &FormatError, out: &mut Vec<Action>) {
        self.counters.damaged += 1;
        self.warn_once(code, || format!("The encoder's sequence header can't be used: {error}."), out);
    }

    fn video_header(&mut self, record: &[u8], out: &mut Vec<Action>) {
        let config = match h264::AvcConfig::parse(record) {
            // Some encoders send an empty record before they know better.
            Ok(config) if config.sps.is_empty() || config.pps.is_empty() => {
                self.counters.damaged += 1;
                return;
            }
            Ok(config) => config,
            Err(error) => return self.bad_header("video_header", &error, out),
        };
        let length_size = config.length_size;
        let format = config.into_format();
        match &mut self.video {
            Some(video) => {
                video.length_size = length_size;
                if video.format != format {
                    video.format = format.clone();
                    out.push(Action::Format(format));
                }
            }
            None => {
                self.video = Some(Video { format: format.clone(), length_size, last_dts: None, highest_pts: i64::MIN, last_key: None });
                out.push(Action::Format(format));
            }
        }
    }

    fn audio_header(&mut self, config: &bytes::Bytes, out: &mut Vec<Action>) {
        let (format, clock) = match aac_format(config) {
            Ok(parsed) => parsed,
            Err(error) => return self.bad_header("audio_header", &error, out),
        };
        // Encoders repeat it now and then; the clock goes on.
        if self.audio.as_ref().is_none_or(|audio| audio.format != format) {
            self.counters.audio_jumps = self.counters().audio_jumps;
            self.audio = Some(Audio { format: format.clone(), clock });
            out.push(Action::Format(format));
        }
    }

    fn picture(&mut self, timestamp: i64, composition_ms: i32, data: bytes::Bytes, out: &mut Vec<Action>) {
        let Some(video) = &mut self.video else {
            self.counters.before_header += 1;
            return;
        };
        let Ok(data) = h264::normalize_avcc(data, video.length_size) else {
            self.counters.damaged += 1;
            return;
        };
        let composition_ms = if composition_ms.abs() > MAX_COMPOSITION_MS { 0 } else { composition_ms };
        let dts = timestamp * VIDEO_TICKS;
        let pts = dts + i64::from(composition_ms) * VIDEO_TICKS;
        let key = h264::unit_is_key(&data);

        if key && let Some(format) = in_band_format(&data, &video.format) {
            video.format = format.clone();
            out.push(Action::Format(format));
        }
        if video.last_dts.is_none_or(|last| !(0..=JUMP_MS * VIDEO_TICKS).contains(&(dts - last))) {
            // The first one, or time jumped: what was seen before says nothing about order
            // or distances.
            (video.highest_pts, video.last_key) = (i64::MIN, None);
        }
        video.last_dts = Some(dts);
        let reordered = pts < video.highest_pts;
        video.highest_pts = video.highest_pts.max(pts);
        let since_key = dts - *video.last_key.get_or_insert(dts);
        if key {
            video.last_key = Some(dts);
        }
        if reordered {
            self.warn_once("b_frames", b_frames, out);
        }
        if since_key > LONG_GOP_MS * VIDEO_TICKS {
            self.warn_once("key_frame_interval", long_gop, out);
        }
        out.push(Action::Unit(MediaKind::Video, AccessUnit { pts, dts, key, data }));
    }
}

fn b_frames() -> String {
    "The video has B-frames, which WebRTC viewers can't show as they are and which delay everybody. Turn them off: in OBS \
     Settings → Output → Advanced, \"Max B-frames\" 0, or for x264 the option bframes=0 or tune zerolatency; in ffmpeg -bf 0."
        .into()
}

fn long_gop() -> String {
    format!(
        "More than {} s pass between key frames, so HLS and DASH segments are that long and players start late. Set the key-frame interval \
         to 2 s: in OBS Settings → Output → \"Keyframe Interval\" 2 s; in ffmpeg -g with twice the frame rate.",
        LONG_GOP_MS / 1000
    )
}

/// An AudioSpecificConfig's format, and a clock for it.
fn aac_format(config: &bytes::Bytes) -> Result<(Format, AudioClock), FormatError> {
    let parsed = aac::AacConfig::parse(config)?;
    let clock = AudioClock::new(parsed.sample_rate, parsed.frame_duration());
    Ok((aac::AacConfig::format(config.clone())?, clock))
}

/// The format that a key picture's own parameter sets make, if they are complete and not those of `format`: some encoders change
/// resolution without a new sequence header.
fn in_band_format(data: &[u8], format: &Format) -> Option<Format> {
    let Format::H264 { sps: known_sps, pps: known_pps } = format else { return None };
    let (mut sps, mut pps) = (Vec::new(), Vec::new());
    let mut news = false;
    for nal in h264::avcc_nals(data, 4) {
        let (list, known) = match h264::NalType::of(nal[0]) {
            h264::NalType::Sps => (&mut sps, known_sps),
            h264::NalType::Pps => (&mut pps, known_pps),
            _ => continue,
        };
        news |= !known.iter().any(|k| k == nal);
        list.push(bytes::Bytes::copy_from_slice(nal));
    }
    let usable = news && !sps.is_empty() && !pps.is_empty() && sps.iter().all(|nal| h264::parse_sps(nal).is_ok());
    usable.then_some(Format::H264 { sps, pps })
}

#[cfg(test)]
#[path = "ingest_tests.rs"]
mod tests;
