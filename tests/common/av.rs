//! Measures with ffmpeg when flashes are seen and beeps are heard.

use std::path::Path;
use std::process::Command;

/// A flash at the edge of what was read has its beep there too, if it is no further out than this (s).
const EDGE: f64 = 0.1;

/// When something begins, in seconds of the input's timeline.
#[derive(Debug, Default)]
pub(crate) struct Onsets {
    pub flashes: Vec<f64>,
    pub beeps: Vec<f64>,
    /// What ffmpeg complained about.
    pub complaints: String,
}

/// Reads `seconds` of an input, whose timestamps are kept as they are.
pub(crate) fn onsets(input: &str, seconds: u32, dir: &Path) -> Onsets {
    let (video, audio) = (dir.join("av-video.txt"), dir.join("av-audio.txt"));
    // As counts of ticks: `pts_time` has six digits. By pipes: where the format changes ffmpeg opens what it writes to anew.
    let v = format!("scale=32:32,settb=1/{TICKS},signalstats,metadata=print:key=lavfi.signalstats.YAVG:file='pipe\\:3'");
    let a = format!(
        "aformat=sample_rates=48000:channel_layouts=mono,asetnsamples=96,asettb=1/{TICKS},astats=metadata=1:reset=1,ametadata=print:key=lavfi.astats.Overall.RMS_level:file='pipe\\:4'"
    );
    let out = Command::new("sh")
        .args(["-c", "video=$1 audio=$2; shift 2; exec timeout 60 ffmpeg \"$@\" 3>\"$video\" 4>\"$audio\"", "sh"])
        .args([&video, &audio])
        .args(["-v", "warning", "-nostdin", "-copyts", "-t", &seconds.to_string(), "-i", input])
        .args(["-map", "0:v?", "-map", "0:a?"])
        .args(["-fps_mode", "passthrough", "-vf", &v, "-af", &a, "-f", "null", "-"])
        .output()
        .expect("ffmpeg runs");
    Onsets {
        flashes: rises(&std::fs::read_to_string(&video).unwrap_or_default(), 190.0),
        beeps: rises(&std::fs::read_to_string(&audio).unwrap_or_default(), -25.0),
        complaints: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}

/// Ticks a second of what `onsets` reads: pictures' and sound's times are whole numbers of them.
const TICKS: u32 = 1_440_000;

/// Where the value of a metadata dump rises over a threshold.
fn rises(text: &str, threshold: f64) -> Vec<f64> {
    let mut at = None;
    let mut above = true;
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some((_, ticks)) = line.split_once("pts:") {
            at = ticks.split_whitespace().next().and_then(|ticks| Some(ticks.parse::<i64>().ok()? as f64 / f64::from(TICKS)));
        } else if let Some((_, value)) = line.split_once('=') {
            let now = value.trim().parse::<f64>().unwrap_or(f64::NEG_INFINITY) > threshold;
            if now && !above {
                found.extend(at);
            }
            above = now;
        }
    }
    found
}

impl Onsets {
    /// For every flash how much later (ms) the nearest beep is, and for every beep how much earlier the nearest flash. Those that come
    /// before or after all of the other kind (at the edges of what was read) are left out.
    pub(crate) fn apart(&self) -> Vec<f64> {
        let nearest = |from: &[f64], to: &[f64]| -> Vec<f64> {
            let (Some(first), Some(last)) = (to.first(), to.last()) else { return Vec::new() };
            from.iter()
                .filter(|at| **at > first - EDGE && **at < last + EDGE)
                .filter_map(|at| to.iter().map(|other| (other - at) * 1000.0).min_by(|a, b| a.abs().total_cmp(&b.abs())))
                .collect()
        };
        let mut apart = nearest(&self.flashes, &self.beeps);
        apart.extend(nearest(&self.beeps, &self.flashes).iter().map(|ms| -ms));
        apart
    }

    /// Fails unless at least `count` flashes have a beep, and every flash and every beep the other within `within` ms. Beeps are found to
    /// 2 ms, and FLV's times are whole milliseconds.
    pub(crate) fn assert_in_sync(&self, what: &str, count: usize, within: f64) {
        let apart = self.apart();
        eprintln!("{what}: beeps after flashes, ms: {apart:.1?}");
        assert!(apart.len() >= 2 * count, "{what}: {self:?}");
        assert!(apart.iter().all(|ms| ms.abs() <= within), "{what}: {apart:.1?} {self:?}");
    }
}
