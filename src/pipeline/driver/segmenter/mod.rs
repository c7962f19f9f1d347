//! The segmenter: a live stream becomes CMAF chunks.
//!
//! In: a stream's tracks as H.264 and AAC (derived where the publisher sends something else). Out: [`SegmenterEvent`]s in order.
//! One job per stream in a child; whatever breaks its timeline begins the next epoch, with the segment numbers going on.

mod epoch;
mod event;

use std::time::Duration;

use tokio::sync::watch;

use crate::base::MediaKind;
use crate::codec::{Codec, Format};
use crate::stream::{Lease, ProducerId, SelectError, Stream, Wanted, Warning};

use super::supervisor::{PipelineCounters, Supervisor};
use crate::pipeline::error::PipelineError;
use crate::pipeline::part::Part;

pub use self::epoch::{EpochEnd, Presentation, Tracks, run_epoch};
pub(crate) use self::event::ChunkSink;
pub use self::event::SegmenterEvent;

/// What players take as pictures.
const VIDEO: [Codec; 1] = [Codec::H264];
/// What players take as sound.
const AUDIO: [Codec; 1] = [Codec::Aac];
/// First pause after an epoch that failed; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between epochs that fail.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Makes CMAF chunks of one stream.
#[derive(Debug)]
pub(crate) struct Segmenter;

/// What an epoch depends on.
#[derive(Debug, PartialEq, Eq)]
struct Signature(Vec<(MediaKind, ProducerId, Format)>);

impl Segmenter {
    /// Runs until the stream is over; `sink` gets [`SegmenterEvent::End`] last. Dropping the future stops at once, without `End`.
    pub(crate) async fn run(stream: Stream, supervisor: Supervisor, mut sink: impl ChunkSink) {
        let mut presentation = Presentation::default();
        let mut pause = RETRY_FIRST;
        let mut seen = 0;
        loop {
            if !wait_for_publisher(&stream, &mut seen).await {
                break;
            }
            if presentation.next_segment == 0 {
                // Nothing is lost meanwhile: the pipeline begins with the key-frame cache.
                stream.settled().await;
            }
            let (before, epoch) = (presentation.next_segment, presentation.epoch);
            let end = match Self::epoch(&stream, &supervisor, &mut presentation, &mut seen, &mut sink).await {
                Ok(end) => end,
                Err(Trouble::Select(SelectError::Ended)) => break,
                Err(error) => {
                    tracing::warn!(stream = %stream.path(), %error, "segmenter can't go on yet");
                    EpochEnd::Broken
                }
            };
            match end {
                EpochEnd::Ended => break,
                EpochEnd::Rebuild => pause = RETRY_FIRST,
                EpochEnd::Lost | EpochEnd::Broken => {
                    if presentation.next_segment > before {
                        pause = RETRY_FIRST;
                    } else if let Some(text) = presentation.failure.take() {
                        let message = format!("HLS, DASH and recordings have nothing of this stream: its pipeline failed with \"{text}\".");
                        stream.warn(Warning { code: "pipeline_failed", message });
                    }
                    tokio::time::sleep(pause).await;
                    pause = RETRY_MAX.min(pause * 2);
                }
            }
            if presentation.epoch > epoch {
                PipelineCounters::add(&supervisor.counters().rebuilds, 1);
            }
        }
        sink.take(SegmenterEvent::End);
    }

    async fn epoch(
        stream: &Stream,
        supervisor: &Supervisor,
        presentation: &mut Presentation,
        seen: &mut u64,
        sink: &mut impl ChunkSink,
    ) -> Result<EpochEnd, Trouble> {
        let signature = signature(stream);
        let mut leases = Vec::new();
        let mut left_out = Vec::new();
        let mut freed = supervisor.budget_freed();
        let mut tracks = Tracks { formats: Vec::new(), sources: Vec::new() };
        for (kind, _, _) in &signature.0 {
            let codecs: &[Codec] = match kind {
                MediaKind::Video => &VIDEO,
                MediaKind::Audio => &AUDIO,
            };
            let wanted = Wanted { kind: *kind, codecs, in_order: false, browsers: true };
            let lease = match stream.select(wanted).await {
                Ok(lease) => lease,
                // The other track is worth having alone.
                Err(error @ (SelectError::CantDerive { .. } | SelectError::Transcode(_))) if signature.0.len() > 1 => {
                    tracing::warn!(stream = %stream.path(), %error, "{kind} is left out of HLS, DASH and recordings");
                    if let SelectError::Transcode(_) = error {
                        left_out.push(wanted);
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let formats = stream.formats(lease.producer());
            tracks.sources.push(Part::current(lease.consume_recent().await?, formats));
            tracks.formats.push(lease.format());
            leases.push(lease);
        }
        if tracks.formats.is_empty() {
            return Ok(EpochEnd::Broken);
        }
        let derived: Vec<_> = leases.iter().filter_map(Lease::derivation).collect();
        tracing::info!(stream = %stream.path(), epoch = presentation.epoch, ?derived, "segmenter started");
        let changed = async {
            loop {
                tokio::select! {
                    count = stream.changed(*seen) => match count {
                        None => return EpochEnd::Ended,
                        Some(count) => *seen = count,
                    },
                    () = affordable(stream, &left_out, &mut freed) => {
                        tracing::info!(stream = %stream.path(), "a track that was left out can be transcoded now");
                        return EpochEnd::Rebuild;
                    }
                }
                // A publisher that went away leaves what it sent last in the pipeline: it is let out, and the next one begins anew.
                if !stream.is_publishing() || self::signature(stream) != signature {
                    return EpochEnd::Rebuild;
                }
            }
        };
        let end = run_epoch(supervisor, stream.path().as_str(), tracks, presentation, changed, sink).await?;
        tracing::info!(stream = %stream.path(), epoch = presentation.epoch, ?end, "segmenter's epoch ended");
        Ok(end)
    }
}

/// Why an epoch could not begin.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error(transparent)]
    Sfu(#[from] crate::stream::SfuError),
}

fn signature(stream: &Stream) -> Signature {
    let mut tracks: Vec<_> = stream.tracks().into_iter().map(|track| (track.kind, track.producer, track.format)).collect();
    // One video and one audio track: what every player understands.
    tracks.dedup_by_key(|track| track.0);
    Signature(tracks)
}

/// Waits until one of the tracks that were left out can be had: it is being made then, and found by the next epoch. To begin an epoch in the
/// hope of it would cost every stream that waits a discontinuity.
async fn affordable(stream: &Stream, left_out: &[Wanted<'_>], freed: &mut watch::Receiver<()>) {
    loop {
        if left_out.is_empty() || freed.changed().await.is_err() {
            return std::future::pending().await;
        }
        for wanted in left_out {
            if stream.select(*wanted).await.is_ok() {
                return;
            }
        }
    }
}

/// False once the stream is over.
async fn wait_for_publisher(stream: &Stream, seen: &mut u64) -> bool {
    while !stream.is_publishing() || stream.tracks().is_empty() {
        match stream.changed(*seen).await {
            Some(count) => *seen = count,
            None => return false,
        }
    }
    true
}
