//! Real CMAF for tests, made by ffmpeg.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;

use super::boxes::Boxes;

/// A CMAF file cut into its initialization and its chunks.
pub(crate) struct Cut {
    pub(crate) init: Bytes,
    pub(crate) chunks: Vec<Bytes>,
}

/// Runs ffmpeg with `args` (split at spaces) and cuts the CMAF it makes.
pub(crate) fn ffmpeg_cmaf(args: &str) -> Cut {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.mp4");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(args.split_whitespace())
        .args(["-bitexact", "-f", "mp4"])
        .arg(&file)
        .status()
        .unwrap();
    assert!(status.success());
    cut(&std::fs::read(&file).unwrap())
}

/// Two-second GOPs of a moving picture, fragments of `frag` µs.
pub(crate) fn video(size: &str, seconds: u32, b_frames: u32, extra: &str) -> Cut {
    ffmpeg_cmaf(&format!(
        "-f lavfi -i testsrc2=size={size}:rate=30 -t {seconds} -c:v libx264 -preset ultrafast -tune zerolatency -bf {b_frames} -g 60 \
         -keyint_min 60 -sc_threshold 0 -pix_fmt yuv420p -video_track_timescale 90000 -movflags +cmaf+frag_keyframe+empty_moov+default_base_moof \
         -frag_duration 500000 {extra}"
    ))
}

pub(crate) fn audio(codec: &str, rate: u32, seconds: f32) -> Cut {
    ffmpeg_cmaf(&format!(
        "-f lavfi -i sine=frequency=440:sample_rate={rate} -t {seconds} -c:a {codec} -b:a 64k -movflags +cmaf+empty_moov+default_base_moof \
         -frag_duration 500000"
    ))
}

/// What the segmenter's own muxer makes of a GStreamer pipeline that ends in a coded stream.
pub(crate) fn cmafmux(source: &str) -> Cut {
    use gstreamer::prelude::*;
    gstreamer::init().unwrap();
    gstfmp4::plugin_register_static().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.mp4");
    let line = format!("{source} ! cmafmux fragment-duration=2000000000 chunk-duration=200000000 ! filesink location={}", file.display());
    let pipeline = gstreamer::parse::launch(&line).unwrap();
    pipeline.set_state(gstreamer::State::Playing).unwrap();
    let ends = [gstreamer::MessageType::Eos, gstreamer::MessageType::Error];
    let end = pipeline.bus().unwrap().timed_pop_filtered(gstreamer::ClockTime::from_seconds(30), &ends).unwrap();
    assert!(end.type_() == gstreamer::MessageType::Eos, "{end:?}");
    pipeline.set_state(gstreamer::State::Null).unwrap();
    cut(&std::fs::read(&file).unwrap())
}

pub(crate) fn cut(bytes: &[u8]) -> Cut {
    let mut init_end = 0;
    let mut chunks = Vec::new();
    let mut start = None;
    for item in Boxes::new(bytes) {
        let item = item.unwrap();
        match &item.name.0 {
            b"moov" => init_end = item.end(),
            b"moof" | b"styp" | b"prft" => _ = start.get_or_insert(item.offset),
            b"mdat" => chunks.push(Bytes::copy_from_slice(&bytes[start.take().unwrap()..item.end()])),
            _ => {}
        }
    }
    Cut { init: Bytes::copy_from_slice(&bytes[..init_end]), chunks }
}

/// What `ffprobe` says about `file` with these arguments, one line per thing.
pub(crate) fn ffprobe(file: &Path, args: &str) -> Vec<String> {
    let out = Command::new("ffprobe").args(["-v", "error", "-of", "csv=p=0"]).args(args.split_whitespace()).arg(file).output().unwrap();
    assert!(out.stderr.is_empty(), "ffprobe {args}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().lines().map(|l| l.trim_end_matches(',').to_owned()).filter(|l| !l.is_empty()).collect()
}
