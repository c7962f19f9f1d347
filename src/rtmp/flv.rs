//! FLV tags (Adobe FLV 10.1 annex E, and Enhanced RTMP's four-character codes), both ways: what RTMP's audio and video messages
//! carry.
//!
//! In: a message's body. Out: a sequence header, a picture or an audio frame, or an error that says what can't be carried; and bodies
//! for players. What is inside a sequence header or a picture is `codec`'s matter.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::chunk::kind;
use super::enhanced;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VideoTag {
    SequenceHeader(Bytes),
    Picture {
        /// What the tag says; whether it is an IDR picture is for `codec` to see.
        key: bool,
        /// Presentation minus decoding time in milliseconds.
        composition_ms: i32,
        /// NAL units behind lengths.
        data: Bytes,
    },
    /// The encoder ends or changes its sequence.
    EndOfSequence,
    /// Nothing to decode: a command frame, or metadata of Enhanced RTMP.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioTag {
    SequenceHeader(Bytes),
    /// A raw AAC frame.
    Frame(Bytes),
    /// Nothing to decode.
    Other,
}

/// Why a tag can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlvError {
    /// Shorter than its header.
    #[error("an {what} tag of {len} bytes ends within its header")]
    Truncated {
        /// "audio" or "video", and more.
        what: &'static str,
        /// How long it was.
        len: usize,
    },
    #[error(
        "Video over RTMP is carried as H.264 only, for now; this is {0}, so the stream goes on without pictures. Choose an H.264 encoder \
         (in OBS: Settings → Output → Video Encoder; in ffmpeg: -c:v libx264)."
    )]
    UnsupportedVideo(CodecName),
    #[error(
        "Audio over RTMP is carried as AAC only, for now; this is {0}, so the stream goes on without sound. Choose AAC (in OBS: Settings → \
         Output → Audio Encoder; in ffmpeg: -c:a aac)."
    )]
    UnsupportedAudio(CodecName),
}

/// A codec that isn't carried over RTMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodecName {
    /// From FLV's own numbers.
    Flv(&'static str),
    /// Enhanced RTMP's.
    FourCc([u8; 4]),
}

impl fmt::Display for CodecName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flv(name) => f.write_str(name),
            Self::FourCc(code) => enhanced::write_name(*code, f),
        }
    }
}

/// A tag, and which track of its kind it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read<T> {
    pub tag: T,
    /// Its track id; 0 but for Enhanced RTMP's several tracks.
    pub track: u8,
    /// The id of another track, in the same message or instead of the wanted one, which was left out.
    pub left_out: Option<u8>,
}

impl<T> Read<T> {
    fn only(tag: T) -> Self {
        Self { tag, track: 0, left_out: None }
    }
}

/// Reads the body of a video message; of several tracks the first one.
///
/// # Errors
/// As [`read_video_track`].
pub fn read_video(body: &Bytes) -> Result<VideoTag, FlvError> {
    read_video_track(body, None).map(|read| read.tag)
}

/// Reads the body of a video message; of several tracks `wanted`.
///
/// # Errors
/// It ends within its header, or its codec isn't carried.
pub fn read_video_track(body: &Bytes, wanted: Option<u8>) -> Result<Read<VideoTag>, FlvError> {
    let truncated = || FlvError::Truncated { what: "video", len: body.len() };
    let &first = body.first().ok_or_else(truncated)?;
    let frame_type = (first >> 4) & 7;
    if frame_type == 5 {
        return Ok(Read::only(VideoTag::Other));
    }
    if first & 0x80 != 0 {
        return read_enhanced_video(body, frame_type, wanted);
    }
    if first & 0x0F != 7 {
        let name = match first & 0x0F {
            1 => "JPEG",
            2 => "Sorenson H.263",
            3 | 6 => "screen video",
            4 | 5 => "VP6",
            8 => "H.263",
            9 => "MPEG-4 part 2",
            12 => "H.265 (old numbering)",
            13 => "AV1 (old numbering)",
            14 => "VP8 (old numbering)",
            15 => "VP9 (old numbering)",
            _ => "an unknown codec",
        };
        return Err(FlvError::UnsupportedVideo(CodecName::Flv(name)));
    }
    let header = body.first_chunk::<5>().ok_or_else(truncated)?;
    let data = body.slice(5..);
    Ok(Read::only(match header[1] {
        0 => VideoTag::SequenceHeader(data),
        1 => VideoTag::Picture { key: frame_type == 1, composition_ms: si24([header[2], header[3], header[4]]), data },
        2 => VideoTag::EndOfSequence,
        _ => VideoTag::Other,
    }))
}

fn read_enhanced_video(body: &Bytes, frame_type: u8, wanted: Option<u8>) -> Result<Read<VideoTag>, FlvError> {
    let truncated = || FlvError::Truncated { what: "enhanced video", len: body.len() };
    let packet_type = body.first().map_or(0, |first| first & 0x0F);
    let track = enhanced::read(body, packet_type, enhanced::VIDEO, wanted).ok_or_else(truncated)?;
    let read = |tag| Ok(Read { tag, track: track.id, left_out: track.other });
    if track.packet_type == 4 || track.other == Some(track.id) {
        return read(VideoTag::Other);
    }
    if track.fourcc != *b"avc1" {
        return Err(FlvError::UnsupportedVideo(CodecName::FourCc(track.fourcc)));
    }
    let key = frame_type == 1;
    read(match track.packet_type {
        0 => VideoTag::SequenceHeader(track.data.clone()),
        1 => {
            let time = track.data.first_chunk::<3>().ok_or_else(truncated)?;
            VideoTag::Picture { key, composition_ms: si24(*time), data: track.data.slice(3..) }
        }
        2 => VideoTag::EndOfSequence,
        3 => VideoTag::Picture { key, composition_ms: 0, data: track.data.clone() },
        _ => VideoTag::Other,
    })
}

/// Reads the body of an audio message; of several tracks the first one.
///
/// # Errors
/// As [`read_audio_track`].
pub fn read_audio(body: &Bytes) -> Result<AudioTag, FlvError> {
    read_audio_track(body, None).map(|read| read.tag)
}

/// Reads the body of an audio message; of several tracks `wanted`. An empty one marks silence.
///
/// # Errors
/// It ends within its header, or its codec isn't carried.
pub fn read_audio_track(body: &Bytes, wanted: Option<u8>) -> Result<Read<AudioTag>, FlvError> {
    let truncated = || FlvError::Truncated { what: "audio", len: body.len() };
    let Some(&first) = body.first() else { return Ok(Read::only(AudioTag::Other)) };
    let (packet_type, data, track, left_out) = match first >> 4 {
        10 => (*body.get(1).ok_or_else(truncated)?, body.slice(2..), 0, None),
        9 => {
            let track = enhanced::read(body, first & 0x0F, enhanced::AUDIO, wanted).ok_or_else(truncated)?;
            if track.other == Some(track.id) {
                return Ok(Read { tag: AudioTag::Other, track: track.id, left_out: track.other });
            }
            if track.fourcc != *b"mp4a" {
                return Err(FlvError::UnsupportedAudio(CodecName::FourCc(track.fourcc)));
            }
            (track.packet_type, track.data, track.id, track.other)
        }
        other => {
            let name = match other {
                0 | 3 => "PCM",
                1 => "ADPCM",
                2 | 14 => "MP3",
                4..=6 => "Nellymoser",
                7 => "G.711 A-law",
                8 => "G.711 µ-law",
                11 => "Speex",
                _ => "an unknown codec",
            };
            return Err(FlvError::UnsupportedAudio(CodecName::Flv(name)));
        }
    };
    let tag = match packet_type {
        0 => AudioTag::SequenceHeader(data),
        1 => AudioTag::Frame(data),
        _ => AudioTag::Other,
    };
    Ok(Read { tag, track, left_out })
}

/// Most tags of an aggregate message that are taken. Encoders put a few frames together; the limit keeps a message full of one-byte
/// tags from becoming many times its size in events.
const MAX_AGGREGATE_TAGS: usize = 1024;

/// One tag of an aggregate message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateTag {
    /// Message type id.
    pub kind: u8,
    /// Milliseconds, modulo 2^32, on the stream's timeline.
    pub timestamp: u32,
    /// The tag's body.
    pub body: Bytes,
}

/// Takes an aggregate message apart (FLV 10.1 annex E; RTMP 1.0 section 7.1.6), up to where it is cut off.
pub fn aggregate(body: &Bytes, timestamp: u32) -> Aggregate {
    Aggregate { body: body.clone(), timestamp, at: 0, shift: None, tags: 0 }
}

/// The audio and video in an aggregate message.
#[derive(Debug)]
pub struct Aggregate {
    body: Bytes,
    timestamp: u32,
    at: usize,
    /// From the tags' times to those of the message.
    shift: Option<u32>,
    tags: usize,
}

impl Aggregate {
    /// Whether everything in it has been returned.
    pub(crate) fn is_whole(&self) -> bool {
        self.at >= self.body.len()
    }
}

impl Iterator for Aggregate {
    type Item = AggregateTag;

    fn next(&mut self) -> Option<AggregateTag> {
        while self.tags < MAX_AGGREGATE_TAGS {
            let header = self.body.get(self.at..)?.first_chunk::<11>()?;
            let len = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
            let time = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
            let start = self.at + 11;
            let end = start + len;
            (end <= self.body.len()).then_some(())?;
            let kind = header[0] & 0x1F;
            // Behind each tag stands its length, four bytes.
            self.at = end + 4;
            let shift = *self.shift.get_or_insert(self.timestamp.wrapping_sub(time));
            if matches!(kind, kind::AUDIO | kind::VIDEO) {
                self.tags += 1;
                return Some(AggregateTag { kind, timestamp: time.wrapping_add(shift), body: self.body.slice(start..end) });
            }
        }
        None
    }
}

/// Writes the body of a video message with an AVCDecoderConfigurationRecord.
pub(crate) fn write_video_header(record: &[u8]) -> Bytes {
    [&[0x17, 0, 0, 0, 0][..], record].concat().into()
}

/// Writes the body of a video message with a picture in 4-byte lengths.
pub(crate) fn write_picture(key: bool, composition_ms: i32, data: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + data.len());
    out.put_u8(if key { 0x17 } else { 0x27 });
    out.put_u8(1);
    out.put_int(i64::from(composition_ms.clamp(-0x80_0000, 0x7F_FFFF)), 3);
    out.put_slice(data);
    out.freeze()
}

/// Writes the body of an audio message with an AudioSpecificConfig.
pub(crate) fn write_audio_header(config: &[u8]) -> Bytes {
    // For AAC the rate, size and channels in the first byte are fixed (FLV 10.1 section E.4.2.1).
    [&[0xAF, 0][..], config].concat().into()
}

/// Writes the body of an audio message with a raw AAC frame.
pub(crate) fn write_frame(frame: &[u8]) -> Bytes {
    [&[0xAF, 1][..], frame].concat().into()
}

fn si24(bytes: [u8; 3]) -> i32 {
    i32::from_be_bytes([bytes[0], bytes[1], bytes[2], 0]) >> 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn video(body: &[u8]) -> Result<VideoTag, FlvError> {
        read_video(&Bytes::copy_from_slice(body))
    }

    fn audio(body: &[u8]) -> Result<AudioTag, FlvError> {
        read_audio(&Bytes::copy_from_slice(body))
    }

    #[test]
    fn video_tags() {
        let data = || Bytes::from_static(b"xy");
        let picture = |key, composition_ms| VideoTag::Picture { key, composition_ms, data: data() };
        let table: &[(&[u8], VideoTag)] = &[
            (b"\x17\x00\x00\x00\x00xy", VideoTag::SequenceHeader(data())),
            (b"\x17\x01\x00\x00\x00xy", picture(true, 0)),
            (b"\x27\x01\x00\x00\x43xy", picture(false, 67)),
            (b"\x27\x01\xff\xff\xfexy", picture(false, -2)),
            (b"\x27\x01\x80\x00\x00xy", picture(false, -0x80_0000)),
            (b"\x17\x02\x00\x00\x00", VideoTag::EndOfSequence),
            (b"\x57\x00", VideoTag::Other),
            (b"\x90avc1xy", VideoTag::SequenceHeader(data())),
            (b"\x91avc1\x00\x00\x21xy", picture(true, 33)),
            (b"\xa3avc1xy", picture(false, 0)),
            (b"\x92avc1", VideoTag::EndOfSequence),
            (b"\x94avc1", VideoTag::Other),
            (b"\x97\x02abc\x01avc1\x00\x00\x21xy", picture(true, 33)),
            (b"\x96\x01avc1\x00\x00\x00\x21xy", picture(true, 33)),
            (b"\xd0\x00", VideoTag::Other),
        ];
        for (body, tag) in table {
            assert_eq!(video(body), Ok(tag.clone()), "{body:02x?}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        for (body, word) in [
            (&b"\x90hvc1xy"[..], "H.265"),
            (b"\x90av01", "AV1"),
            (b"\x90vp09", "VP9"),
            (b"\x90vvc1", "H.266"),
            (b"\x96\x10hvc1\x00\0\0\0", "H.265"),
            (b"\x12", "H.263"),
            (b"\x14", "VP6"),
            (b"\x1c", "H.265"),
        ] {
            let text = video(body).unwrap_err().to_string();
            assert!(text.contains(word) && text.contains("H.264 encoder"), "{text}");
        }
        for (body, word) in [
            (&b"\x2fxy"[..], "MP3"),
            (b"\xb2", "Speex"),
            (b"\x90Opus", "Opus"),
            (b"\x91fLaC", "FLAC"),
            (b"\x90ac-3", "AC-3"),
            (b"\x95\x01.mp3\x00", "MP3"),
            (b"\x72", "G.711"),
            (b"\xE2", "MP3"),
            (b"\x32", "PCM"),
        ] {
            let text = audio(body).unwrap_err().to_string();
            assert!(text.contains(word) && text.contains("AAC"), "{text}");
        }
        for body in [&b""[..], b"\x17", b"\x17\x01\x00\x00", b"\x91avc", b"\x91avc1\x00"] {
            assert!(matches!(video(body), Err(FlvError::Truncated { .. })), "{body:02x?}");
        }
    }

    #[test]
    fn audio_tags() {
        assert_eq!(audio(b"\xaf\x00\x12\x10"), Ok(AudioTag::SequenceHeader(Bytes::from_static(b"\x12\x10"))));
        assert_eq!(audio(b"\xaf\x01z"), Ok(AudioTag::Frame(Bytes::from_static(b"z"))));
        assert_eq!(audio(b"\x90mp4a\x12\x10"), Ok(AudioTag::SequenceHeader(Bytes::from_static(b"\x12\x10"))));
        assert_eq!(audio(b"\x91mp4az"), Ok(AudioTag::Frame(Bytes::from_static(b"z"))));
        assert_eq!(audio(b"\x95\x11mp4a\x00\0\0\x01z\x01\0\0\x01y"), Ok(AudioTag::Frame(Bytes::from_static(b"z"))));
        for other in [&b""[..], b"\x92mp4a", b"\x94mp4a\x01\x02", b"\xaf\x02"] {
            assert_eq!(audio(other), Ok(AudioTag::Other), "{other:02x?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read_video(&write_video_header(b"r")), Ok(VideoTag::SequenceHeader(Bytes::from_static(b"r"))));
        for (key, composition_ms) in [(true, 0), (false, -40), (false, 0x7F_FFFF)] {
            let want = VideoTag::Picture { key, composition_ms, data: Bytes::from_static(b"p") };
            assert_eq!(read_video(&write_picture(key, composition_ms, b"p")), Ok(want));
        }
        assert_eq!(read_audio(&write_audio_header(b"c")), Ok(AudioTag::SequenceHeader(Bytes::from_static(b"c"))));
        assert_eq!(read_audio(&write_frame(b"f")), Ok(AudioTag::Frame(Bytes::from_static(b"f"))));
    }

    #[test]
    fn aggregates() {
        let mut body = Vec::new();
        for (kind, time, data) in [(8u8, 100u32, &b"a"[..]), (9, 105, b"vv"), (18, 106, b"m"), (8, 121, b"b")] {
            body.push(kind);
            body.extend(&(data.len() as u32).to_be_bytes()[1..]);
            body.extend(&time.to_be_bytes()[1..]);
            body.extend([0, 0, 0, 0]);
            body.extend(data);
            body.extend((11 + data.len() as u32).to_be_bytes());
        }
        let tags: Vec<_> = aggregate(&body.clone().into(), 1000).map(|t| (t.kind, t.timestamp, t.body)).collect();
        let want = [(8, 1000, &b"a"[..]), (9, 1005, b"vv"), (8, 1021, b"b")];
        assert_eq!(tags, want.map(|(k, t, b)| (k, t, Bytes::from_static(b))));
        // How much of it came, how many tags, whether that was all.
        for (len, tags, whole) in
            [(28, 1, false), (16, 1, true), (15, 1, true), (12, 1, true), (11, 0, false), (0, 0, true), (body.len(), 3, true)]
        {
            let mut cut = aggregate(&body[..len].to_vec().into(), 0);
            assert_eq!((cut.by_ref().count(), cut.is_whole()), (tags, whole), "{len}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64), time in any::<u32>()) {
            let bytes = Bytes::from(bytes);
            let _ = (read_video(&bytes), read_audio(&bytes), aggregate(&bytes, time).count());
        }
    }
}
