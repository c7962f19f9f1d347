//! What is published: made once by ffmpeg into `target/bench-media`, read from FLV, repeated without end on one timeline.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use headend::inside::rtmp::chunk::kind;

use crate::Result;

/// Seconds that the media last: a whole number of pictures (30 a second) and of AAC frames (1024 samples at 48 kHz) alike, so that
/// repeating it leaves no gap.
const SECONDS: u64 = 16;
const FPS: u64 = 30;
const PICTURES: usize = (SECONDS * FPS) as usize;
const AUDIO_FRAMES: usize = (SECONDS * 48_000 / 1024) as usize;

/// What to encode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    name: &'static str,
    size: &'static str,
    kbps: u32,
}

/// 720p30 at 1.5 Mbit/s.
pub(crate) const SMALL: Recipe = Recipe { name: "720p30-1500k", size: "1280x720", kbps: 1500 };
/// 1080p30 at 4 Mbit/s.
pub(crate) const LARGE: Recipe = Recipe { name: "1080p30-4000k", size: "1920x1080", kbps: 4000 };

/// Messages to publish, and the headers before them.
#[derive(Debug)]
pub(crate) struct Media {
    /// Sequence headers: video, audio.
    pub headers: Vec<(u8, Bytes)>,
    pictures: Vec<Bytes>,
    audio: Vec<Bytes>,
}

/// A message of the endless stream.
#[derive(Debug, Clone)]
pub(crate) struct Tag {
    /// When it is due, from the beginning of publishing.
    pub at: Duration,
    /// Message type id.
    pub kind: u8,
    /// The body.
    pub body: Bytes,
    /// Pictures are counted from 0; audio has the number of the picture before it.
    pub picture: u64,
}

impl Media {
    /// Made, if it isn't there yet, and read.
    pub(crate) fn load(recipe: Recipe) -> Result<Self> {
        let path = make(recipe)?;
        let file = std::fs::read(&path)?;
        let mut media = Self { headers: Vec::new(), pictures: Vec::new(), audio: Vec::new() };
        let mut rest = Bytes::from(file).slice(13..);
        while rest.len() > 15 {
            let kind = rest[0];
            let len = u32::from_be_bytes([0, rest[1], rest[2], rest[3]]) as usize;
            let body = rest.slice(11..11 + len);
            match (kind, body[1]) {
                (kind::VIDEO | kind::AUDIO, 0) => media.headers.push((kind, body)),
                (kind::VIDEO, 1) => media.pictures.push(body),
                (kind::AUDIO, 1) => media.audio.push(body),
                _ => {}
            }
            rest = rest.slice(11 + len + 4..);
        }
        if media.headers.len() != 2 || media.pictures.len() < PICTURES || media.audio.len() < AUDIO_FRAMES {
            return Err(format!("{} is not what was asked for; delete it", path.display()).into());
        }
        media.pictures.truncate(PICTURES);
        media.audio.truncate(AUDIO_FRAMES);
        Ok(media)
    }

    /// The messages in the order of their times, again and again.
    pub(crate) fn tags(&self) -> impl Iterator<Item = Tag> + '_ {
        let (mut picture, mut frame) = (0u64, 0u64);
        std::iter::from_fn(move || {
            let video_at = Duration::from_nanos(picture * 1_000_000_000 / FPS);
            let audio_at = Duration::from_nanos(frame * 1_024_000_000_000 / 48_000);
            Some(if video_at <= audio_at {
                picture += 1;
                let number = picture - 1;
                let body = self.pictures[number as usize % PICTURES].clone();
                Tag { at: video_at, kind: kind::VIDEO, body, picture: number }
            } else {
                frame += 1;
                let body = self.audio[(frame - 1) as usize % AUDIO_FRAMES].clone();
                Tag { at: audio_at, kind: kind::AUDIO, body, picture: picture - 1 }
            })
        })
    }
}

fn make(recipe: Recipe) -> Result<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-media");
    let path = dir.join(format!("{}.flv", recipe.name));
    if path.exists() {
        return Ok(path);
    }
    std::fs::create_dir_all(&dir)?;
    let unfinished = dir.join(format!("{}.part.flv", recipe.name));
    let seconds = (SECONDS + 1).to_string();
    let rate = format!("{}k", recipe.kbps);
    let picture = format!("testsrc2=size={}:rate={FPS},noise=alls=12:allf=t", recipe.size);
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"])
        .args(["-t", &seconds, "-c:v", "libx264", "-preset", "superfast", "-pix_fmt", "yuv420p", "-bf", "0"])
        .args(["-b:v", &rate, "-maxrate", &rate, "-bufsize", &rate, "-g", "60", "-keyint_min", "60", "-sc_threshold", "0"])
        .args(["-c:a", "aac", "-b:a", "128k", "-ac", "2", "-f", "flv"])
        .arg(&unfinished)
        .status()
        .map_err(|error| format!("can't run ffmpeg: {error}"))?;
    if !status.success() {
        return Err("ffmpeg could not make the media".into());
    }
    std::fs::rename(&unfinished, &path)?;
    Ok(path)
}
