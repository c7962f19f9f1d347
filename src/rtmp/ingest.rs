//! From a publisher's FLV tags to what `stream` takes: formats and access units, per track.
//!
//! In: audio and video messages. Out: actions in order — a track's format (first or changed), an access unit, a warning for people.
//! Hostile or odd tags, and codecs that aren't carried, are counted and left out; the other track goes on.

use bytes::Bytes;

use crate::base::{MediaKind, UnixNanos};
use crate::codec::h264::{Assembled, Stamp};
use crate::codec::{AccessUnit, Format, FormatError, aac, h264};
use crate::stream::Warning;
use crate::timing::{AudioClock, Beside, StampRate};

use super::amf0::Value;
use super::chunk::kind;
use super::flv::{self, AudioTag, FlvError, VideoTag};
use super::notices;
use super::repeats::Repeats;
use super::session::MediaMessage;

/// Ticks of video per millisecond.
const VIDEO_TICKS: i64 = 90;
/// Frames that may come before their configuration until the publisher is warned: a second of sound.
const PATIENCE: usize = 50;
/// Pictures without the sound that was announced, until the publisher is warned.
const SILENT_MS: i64 = 5_000;
/// Messages that come twice until the publisher is warned.
const REPEATS_TOLD: u64 = 10;
/// Between pictures of one message where nobody says how far they are apart: 120 a second.
const CLOSE_TICKS: i64 = 750;

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// The track of this format's kind begins, or goes on in another format.
    Format(Format),
    /// Write to the track.
    Unit(MediaKind, AccessUnit),
    /// Warn the publisher by way of page and API.
    Warn(Warning),
}

/// What was left out, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct IngestCounters {
    /// Pictures and frames before a sequence header or parameter sets.
    pub before_header: u64,
    /// Tags that end within their header, sequence headers and parameter sets that make no sense, NAL units that overrun.
    pub damaged: u64,
    /// NAL units of types that nobody decodes, taken out of their pictures.
    pub foreign: u64,
    /// Frames in a codec that isn't carried.
    pub unsupported: u64,
    /// Messages that came twice in a row.
    pub repeated: u64,
    /// How often AAC's stamps were believed against the count of its samples: lost frames, jumps.
    pub audio_jumps: u64,
}

/// Turns tags into actions.
#[derive(Debug, Default)]
pub(crate) struct Ingest {
    assembler: h264::Assembler,
    assembled: Vec<Assembled>,
    video: Video,
    audio: Option<Audio>,
    unwrapper: aac::Unwrapper,
    announced: Announced,
    repeats: Repeats,
    /// Of the stamps of pictures and of sound.
    rates: Rates,
    /// Frames before there was a configuration.
    frames_lost: usize,
    /// The tracks that are carried, by their ids in Enhanced RTMP: the first ones that came.
    video_track: Option<u8>,
    audio_track: Option<u8>,
    counters: IngestCounters,
    /// Codes of warnings given already.
    warned: Vec<&'static str>,
}

#[derive(Debug, Default)]
struct Rates {
    pictures: StampRate,
    sound: StampRate,
    /// The latest stamp of a picture.
    picture_ms: Option<i64>,
}

#[derive(Debug, Default)]
struct Video {
    /// How long a picture lasts, in ticks, by the parameter sets.
    frame: Option<i64>,
}

#[derive(Debug)]
struct Audio {
    format: Format,
    config: aac::AacConfig,
    clock: AudioClock,
}

/// What became of sound that a sequence header announces.
#[derive(Debug, Default)]
enum Announced {
    #[default]
    No,
    Yes,
    /// Since the picture of this time at least.
    Missing(i64),
    Came,
}

impl Ingest {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// What was left out so far.
    pub(crate) fn counters(&self) -> IngestCounters {
        let audio_jumps = self.counters.audio_jumps + self.audio.as_ref().map_or(0, |audio| audio.clock.jumps());
        let video = self.assembler.counters();
        IngestCounters {
            before_header: self.counters.before_header + video.before_sets,
            damaged: self.counters.damaged + video.damaged,
            foreign: video.foreign,
            audio_jumps,
            ..self.counters
        }
    }

    /// Takes a message that came at `now`; appends at most a few actions to `out`.
    pub(crate) fn handle(&mut self, media: &MediaMessage, now: UnixNanos, out: &mut Vec<Action>) {
        if self.repeats.is_one(media) {
            self.counters.repeated += 1;
            if self.counters.repeated >= REPEATS_TOLD {
                self.warn_once("repeated", notices::repeated, out);
            }
            return;
        }
        match media.kind {
            kind::VIDEO => self.video(media, out),
            kind::AUDIO => {
                self.assembler.time_passed(self.rates.pictures.right(media.timestamp), &mut self.assembled);
                self.take_assembled(out);
                self.audio(media, now, out);
            }
            _ => {}
        }
    }

    /// Whether a picture waits for what follows it.
    pub(crate) fn is_waiting(&self) -> bool {
        self.assembler.is_waiting()
    }

    /// Nothing has come for a while: no more slices of the picture that waits for them will.
    pub(crate) fn quiet(&mut self, out: &mut Vec<Action>) {
        self.assembler.quiet(&mut self.assembled);
        self.take_assembled(out);
    }

    /// The publication has ended: the picture that waited for the rest of its slices is whole.
    pub(crate) fn finish(&mut self, out: &mut Vec<Action>) {
        self.assembler.finish(&mut self.assembled);
        self.take_assembled(out);
    }

    fn video(&mut self, media: &MediaMessage, out: &mut Vec<Action>) {
        let read = match flv::read_video_track(&media.body, self.video_track) {
            Ok(read) => read,
            Err(error) => return self.unreadable(media, "video_codec", error, out),
        };
        if let Some(id) = read.left_out {
            self.left_out("video_tracks", id, out);
        }
        match read.tag {
            VideoTag::SequenceHeader(record) => {
                self.video_track = Some(read.track);
                self.video_header(&record, out);
            }
            VideoTag::Picture { key, composition_ms, data } => {
                self.video_track = Some(read.track);
                let rate = &self.rates.pictures;
                let stamp = Stamp { dts_ms: rate.right(media.timestamp), composition_ms: rate.right_distance(composition_ms) };
                self.rates.picture_ms = Some(media.timestamp);
                self.assembler.push(stamp, key, &data, &mut self.assembled);
                self.take_assembled(out);
            }
            VideoTag::EndOfSequence | VideoTag::Other => {}
        }
    }

    fn audio(&mut self, media: &MediaMessage, now: UnixNanos, out: &mut Vec<Action>) {
        let read = match flv::read_audio_track(&media.body, self.audio_track) {
            Ok(read) => read,
            Err(error) => return self.unreadable(media, "audio_codec", error, out),
        };
        if let Some(id) = read.left_out {
            self.left_out("audio_tracks", id, out);
        }
        match read.tag {
            AudioTag::SequenceHeader(config) => {
                self.audio_track = Some(read.track);
                self.audio_header(&config, out);
            }
            AudioTag::Frame(data) => {
                self.audio_track = Some(read.track);
                self.frames(media.timestamp, now, &data, out);
            }
            AudioTag::Other => {}
        }
    }

    fn frames(&mut self, timestamp: i64, now: UnixNanos, data: &Bytes, out: &mut Vec<Action>) {
        let unwrapped = self.unwrapper.unwrap(data, self.audio.as_ref().map(|audio| &audio.config));
        self.counters.damaged += u64::from(unwrapped.damaged);
        if unwrapped.inseparable {
            self.warn_once("audio_blocks", notices::inseparable, out);
        }
        if let Some(config) = &unwrapped.config {
            self.audio_header(config, out);
        }
        let Some(audio) = &mut self.audio else {
            self.counters.before_header += unwrapped.frames.len() as u64;
            self.frames_lost += unwrapped.frames.len();
            if self.frames_lost > PATIENCE {
                self.warn_once("audio_header", notices::no_audio_header, out);
            }
            return;
        };
        self.announced = Announced::Came;
        let mut other_rate = false;
        for (index, data) in unwrapped.frames.into_iter().enumerate() {
            // Those of one tag follow each other closely.
            let later = index as i64 * 1000 * i64::from(audio.config.frame_duration()) / i64::from(audio.config.sample_rate.max(1));
            let stamp = self.rates.sound.right(timestamp).saturating_add(later);
            let picture_ms = self.rates.picture_ms.map(|stamp| self.rates.pictures.right(stamp));
            let time = audio.clock.time(stamp, Beside { arrived: now, picture_ms });
            out.push(Action::Unit(MediaKind::Audio, AccessUnit { pts: time, dts: time, key: true, data }));
            if let Some(found) = audio.clock.take_other_rate() {
                self.rates.sound.correct(found.since_ms, found.rate);
                if found.pictures {
                    let latest = self.rates.picture_ms.unwrap_or(timestamp);
                    self.rates.pictures.correct_softly(found.since_ms, found.rate, latest);
                }
                other_rate = true;
            }
        }
        if other_rate {
            let (rate, pictures) = (self.rates.sound.rate(), self.rates.pictures.rate() != 1.0);
            self.warn_once("clock_rate", || notices::clock_rate(rate, pictures), out);
        }
    }

    /// Facts that a publisher sends in its `onMetaData`, as numbers or in words.
    pub(crate) fn metadata(&mut self, metadata: &Value, out: &mut Vec<Action>) {
        let names = ["rotation", "rotate", "videorotation", "displayrotation", "orientation"];
        let degrees =
            |value: &Value| value.as_number().or_else(|| value.as_str()?.trim().parse().ok()).filter(|degrees| degrees.is_finite());
        let turned = names.iter().find_map(|name| degrees(metadata.get(name)?)).map(|degrees| degrees.rem_euclid(360.0) as u16);
        if let Some(degrees) = turned.filter(|degrees| *degrees % 90 == 0 && *degrees > 0) {
            self.warn_once("rotation", || notices::rotated(degrees), out);
        }
    }

    fn left_out(&mut self, code: &'static str, id: u8, out: &mut Vec<Action>) {
        self.counters.unsupported += 1;
        self.warn_once(code, || notices::another_track(code, id), out);
    }

    fn unreadable(&mut self, media: &MediaMessage, code: &'static str, error: FlvError, out: &mut Vec<Action>) {
        match error {
            FlvError::UnsupportedVideo(_) | FlvError::UnsupportedAudio(_) => {
                self.counters.unsupported += 1;
                self.warn_once(code, || error.to_string(), out);
            }
            FlvError::Truncated { .. } => self.damaged(media, &error),
        }
    }

    fn damaged(&mut self, media: &MediaMessage, error: &dyn std::error::Error) {
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
        match self.assembler.header(record, &mut self.assembled) {
            Ok(h264::Header::Empty) => self.counters.damaged += 1,
            Ok(_) => {}
            Err(error) => self.bad_header("video_header", &error, out),
        }
        self.take_assembled(out);
    }

    fn take_assembled(&mut self, out: &mut Vec<Action>) {
        let mut assembled = std::mem::take(&mut self.assembled);
        for item in assembled.drain(..) {
            match item {
                Assembled::Format(format) => self.video_format(format, out),
                Assembled::Picture(picture) => self.picture(picture, out),
                Assembled::Notice(notice) => {
                    let warning = notices::of_notice(notice);
                    self.warn_once(warning.code, || warning.message, out);
                }
            }
        }
        self.assembled = assembled;
    }

    fn video_format(&mut self, format: Format, out: &mut Vec<Action>) {
        let info = match &format {
            Format::H264 { sps, .. } => sps.first().and_then(|sps| h264::parse_sps(sps).ok()),
            _ => None,
        };
        if let Some(info) = info {
            self.video.frame = info.fps.filter(|fps| *fps >= 1.0).map(|fps| (VIDEO_TICKS as f64 * 1000.0 / fps) as i64);
            for warning in notices::of_sps(&info) {
                self.warn_once(warning.code, || warning.message, out);
            }
        }
        out.push(Action::Format(format));
    }

    fn audio_header(&mut self, config: &Bytes, out: &mut Vec<Action>) {
        // ffmpeg sends an empty one where its input is ADTS; the real one follows, or is in the frames.
        if config.is_empty() {
            return;
        }
        let (parsed, format) = match aac::AacConfig::parse(config).and_then(|parsed| Ok((parsed, aac::AacConfig::format(config.clone())?)))
        {
            Ok(both) => both,
            Err(error) => return self.bad_header("audio_header", &error, out),
        };
        if let Some(warning) = notices::of_audio(&parsed) {
            self.warn_once(warning.code, || warning.message, out);
        }
        if matches!(self.announced, Announced::No) {
            self.announced = Announced::Yes;
        }
        // Encoders repeat it now and then; the clock goes on.
        if self.audio.as_ref().is_none_or(|audio| audio.format != format) {
            self.counters.audio_jumps = self.counters().audio_jumps;
            let clock = AudioClock::new(parsed.sample_rate, parsed.frame_duration());
            self.audio = Some(Audio { format: format.clone(), config: parsed, clock });
            out.push(Action::Format(format));
        }
    }

    fn picture(&mut self, picture: h264::Picture, out: &mut Vec<Action>) {
        let h264::Picture { stamp, nth, key, data } = picture;
        let video = &mut self.video;
        // Pictures of one message follow each other as the parameter sets say, or closely.
        let dts = stamp.dts_ms * VIDEO_TICKS + i64::from(nth) * video.frame.unwrap_or(CLOSE_TICKS);
        let pts = dts + i64::from(stamp.composition_ms) * VIDEO_TICKS;
        out.push(Action::Unit(MediaKind::Video, AccessUnit { pts, dts, key, data }));
        match self.announced {
            Announced::Yes => self.announced = Announced::Missing(stamp.dts_ms),
            Announced::Missing(since) if stamp.dts_ms - since >= SILENT_MS => self.warn_once("no_sound", notices::no_sound, out),
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "ingest_tests.rs"]
mod tests;
