//! The configuration section `[pipeline]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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
    /// How long a CMAF chunk (an LL-HLS part) should be, 50 ms to 2 s. None is longer than what playlists announce, which leaves room for
    /// whole pictures: 210 ms where 200 are asked for.
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

impl PipelineConfig {
    /// The bounds of segments and parts.
    pub fn targets(&self) -> Targets {
        Targets::new(self.segment_duration, self.part_duration)
    }

    /// What is wrong with the values, one sentence each, with the key.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |good: bool, text: &str| {
            if !good {
                problems.push(text.to_owned());
            }
        };
        check((1..=256).contains(&self.children_max), "pipeline.children_max must be 1 to 256");
        check((1..=256).contains(&self.jobs_per_child), "pipeline.jobs_per_child must be 1 to 256");
        check(self.transcode_max <= 1024, "pipeline.transcode_max must be at most 1024");
        let segment = self.segment_duration;
        check((Duration::from_millis(500)..=Duration::from_secs(30)).contains(&segment), "pipeline.segment_duration must be 500ms to 30s");
        let part = self.part_duration;
        check((Duration::from_millis(50)..=Duration::from_secs(2)).contains(&part), "pipeline.part_duration must be 50ms to 2s");
        check(part <= segment, "pipeline.part_duration must not be longer than pipeline.segment_duration");
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_sound_and_nonsense_is_named() {
        assert_eq!(PipelineConfig::default().problems(), Vec::<String>::new());
        let bad = PipelineConfig { children_max: 0, part_duration: Duration::from_secs(9), ..PipelineConfig::default() };
        assert_eq!(bad.problems().len(), 3);
    }
}
