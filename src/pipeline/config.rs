//! The configuration section `[pipeline]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Bounds, Section, duration_text};
use crate::cmaf::Targets;

/// Configuration of the GStreamer pipelines.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineConfig {
    /// Most child processes, 1 to 256. Together with `jobs_per_child` it bounds how many pipelines run at once.
    pub children_max: usize,
    /// Pipelines (a stream's segmenter, or one transcode) per child, 1 to 256. Fewer: a crash touches fewer streams; more: less memory.
    pub jobs_per_child: usize,
    /// How long a CMAF segment should be, 500 ms to 30 s. Video is cut at the first key frame after it, at the latest after twice that, rounded
    /// up to a second: the target duration that playlists announce.
    #[serde(with = "humantime_serde")]
    pub segment_duration: Duration,
    /// How long a CMAF chunk (an LL-HLS part) should be, 50 ms to 2 s and not longer than a segment. None is longer than what playlists
    /// announce, which leaves room for whole pictures: 210 ms where 200 are asked for.
    #[serde(with = "humantime_serde")]
    pub part_duration: Duration,
    /// Most transcodes of pictures at work at once, 0 (never transcode) to 1024; 16 times as many of sound, which costs little. The
    /// default is the number of cores.
    pub transcode_max: usize,
    /// A folder with the operator's own templates: a file there replaces the built-in one of the same name.
    pub templates_dir: Option<PathBuf>,
    /// Where GStreamer's plugin registry is kept between starts. The default is GStreamer's own place in the user's cache.
    pub registry: Option<PathBuf>,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            children_max: 64,
            jobs_per_child: 16,
            segment_duration: Duration::from_secs(2),
            part_duration: Duration::from_millis(200),
            transcode_max: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            templates_dir: None,
            registry: None,
        }
    }
}

impl Section for PipelineConfig {
    const NAME: &'static str = "pipeline";

    fn check(&self, bounds: &mut Bounds) {
        bounds.number("children_max", self.children_max, 1..=256);
        bounds.number("jobs_per_child", self.jobs_per_child, 1..=256);
        bounds.duration("segment_duration", self.segment_duration, Duration::from_millis(500)..=Duration::from_secs(30));
        bounds.duration("part_duration", self.part_duration, Duration::from_millis(50)..=Duration::from_secs(2));
        let (part, segment) = (duration_text(self.part_duration), duration_text(self.segment_duration));
        let allowed = format_args!("at most pipeline.segment_duration, {segment}");
        bounds.require(self.part_duration <= self.segment_duration, "part_duration", part, allowed);
        bounds.number("transcode_max", self.transcode_max, 0..=1024);
    }
}

impl PipelineConfig {
    /// The bounds of segments and parts.
    pub fn targets(&self) -> Targets {
        Targets::new(self.segment_duration, self.part_duration)
    }
}
