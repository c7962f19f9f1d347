//! The segmenter: a live stream becomes CMAF chunks.
//!
//! In: a stream's tracks as H.264 and AAC (derived where the publisher sends something else). Out: [`SegmenterEvent`]s in order.
//! One job per stream in a child; whatever breaks its timeline begins the next epoch, with the segment numbers going on.

pub(crate) mod bridge;
mod epoch;
mod event;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::base::wrap::timestamp_distance;
use crate::base::{MediaKind, lock, rescale};
use crate::codec::{Codec, Format};
use crate::stream::{DirectConsumer, FormatHistory, Generation, Lease, ProducerId, SelectError, Stream, Wanted, Warning};

use self::bridge::{Bridge, Conversion, Convert};
use super::supervisor::Supervisor;
use super::transcoder::PipelineTranscoder;
use crate::pipeline::error::PipelineError;
use crate::pipeline::format_span::FormatSpan;
use crate::pipeline::patience::Patience;
use crate::pipeline::source::RtpSource;

pub use self::epoch::{Continuity, EpochEnd, Tracks, run_epoch};
pub(crate) use self::event::ChunkSink;
pub use self::event::SegmenterEvent;

/// What players take as pictures.
const VIDEO: [Codec; 1] = [Codec::H264];
/// What players take as sound.
const AUDIO: [Codec; 1] = [Codec::Aac];
/// First pause after an epoch that failed; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// How often a track that is being made is looked at, until it is in time: rounds of some pictures, as a busy machine makes them, even out.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long a track that joins pictures waits for their next key frame: with it the next epoch begins, and none is lost. OBS makes one
/// every 8.3 s.
const JOIN_WITHIN: Duration = Duration::from_secs(10);
/// Sound that joins pictures within this time of their epoch's beginning is late, and belongs to what is there already: muxers send sound and
/// pictures up to ten seconds apart.
const LATE_WITHIN: Duration = Duration::from_secs(12);
/// Longest pause between epochs that fail.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Makes CMAF chunks of one stream.
#[derive(Debug)]
pub(crate) struct Segmenter;

/// What an epoch depends on.
#[derive(Debug, PartialEq, Eq)]
struct Signature(Vec<(MediaKind, ProducerId, Format)>);

impl Signature {
    /// Whether `other` has all of this, and more.
    fn is_joined_by(&self, other: &Self) -> bool {
        self.0.len() < other.0.len() && self.0.iter().all(|track| other.0.contains(track))
    }

    /// Whether `other` has the same tracks, in whatever formats.
    fn has_the_tracks_of(&self, other: &Self) -> bool {
        self.0.iter().map(|track| track.1).eq(other.0.iter().map(|track| track.1))
    }

    /// Whether `other` has the same tracks and pictures in the same format.
    fn has_the_pictures_of(&self, other: &Self) -> bool {
        let pictures = |signature: &Self| signature.0.iter().find(|track| track.0 == MediaKind::Video).map(|track| track.2.clone());
        self.has_the_tracks_of(other) && pictures(self) == pictures(other)
    }
}

impl Segmenter {
    /// Runs until the stream is over; `sink` gets [`SegmenterEvent::End`] last. Dropping the future stops at once, without `End`.
    pub(crate) async fn run(stream: Stream, supervisor: Supervisor, mut sink: impl ChunkSink) {
        let mut continuity = Continuity::default();
        let mut entrances = None;
        let mut pause = RETRY_FIRST;
        let mut seen = 0;
        let mut served = None;
        loop {
            let Some(publisher) = wait_for_publisher(&stream, served, &mut seen).await else { break };
            if continuity.next_segment == 0 {
                // Nothing is lost meanwhile: the pipeline begins with the key-frame cache.
                stream.settled().await;
            }
            let (before, epoch) = (continuity.next_segment, continuity.epoch);
            let mut at_once = true;
            let end = match Self::epoch(&stream, &supervisor, &mut continuity, &mut entrances, &mut seen, &mut sink).await {
                Ok(end) => end,
                Err(Trouble::Select(SelectError::Ended)) => break,
                Err(error) => {
                    if let Trouble::Pipeline(PipelineError::Quarantined(_)) = error {
                        stream.warn(crashes());
                    }
                    tracing::warn!(stream = %stream.path(), %error, "segmenter can't go on yet");
                    EpochEnd::Broken
                }
            };
            match end {
                EpochEnd::Ended => break,
                EpochEnd::Rebuild => pause = RETRY_FIRST,
                EpochEnd::Left => (pause, served) = (RETRY_FIRST, Some(publisher)),
                EpochEnd::Lost | EpochEnd::Broken => {
                    at_once = continuity.next_segment > before;
                    if at_once {
                        pause = RETRY_FIRST;
                    } else if let Some(text) = continuity.failure.take() {
                        let message = format!("HLS, DASH and recordings have nothing of this stream: its pipeline failed with \"{text}\".");
                        stream.warn(Warning { code: "pipeline_failed", message });
                    }
                    tokio::time::sleep(pause).await;
                    pause = RETRY_MAX.min(pause * 2);
                }
            }
            if continuity.epoch > epoch {
                supervisor.metrics().rebuilds.inc();
            }
            let wait = if at_once { continuity.wait(supervisor.clock().at()) } else { Duration::ZERO };
            if !wait.is_zero() {
                supervisor.metrics().rebuilds_delayed.inc();
                if end == EpochEnd::Rebuild {
                    stream.warn(changes_format());
                }
                if !waits_out(&stream, wait, &mut seen).await {
                    break;
                }
            }
        }
        sink.take(SegmenterEvent::End);
    }

    async fn epoch(
        stream: &Stream,
        supervisor: &Supervisor,
        continuity: &mut Continuity,
        entrances: &mut Option<Lease>,
        seen: &mut u64,
        sink: &mut impl ChunkSink,
    ) -> Result<EpochEnd, Trouble> {
        let signature = signature(stream);
        let formats: Vec<FormatHistory> = signature.0.iter().filter_map(|(_, producer, _)| stream.formats(*producer)).collect();
        let (mut change, skipped) = continuity.next_change(&formats);
        supervisor.metrics().changes_skipped.inc_by(skipped);
        // The next publisher has key frames of its own.
        entrances.take_if(|_| !has_long_gops(stream));
        let mut leases = Vec::new();
        let mut left_out = Vec::new();
        let (mut at_key, mut pictures_made) = (None, false);
        let (mut freed, mut freed_for_entrances) = (supervisor.budget_freed(), supervisor.budget_freed());
        // One track, at most.
        let (late, later) = mpsc::channel(1);
        let conversions = continuity.conversions.clone();
        let mut tracks = Tracks { formats: Vec::new(), sources: Vec::new(), later: Some(later) };
        for (kind, _, _) in &signature.0 {
            let codecs: &[Codec] = match kind {
                MediaKind::Video => &VIDEO,
                MediaKind::Audio => &AUDIO,
            };
            let wanted = Wanted { kind: *kind, codecs, in_order: false, come_in: false, browsers: true };
            let made = entrances.clone().filter(|_| *kind == MediaKind::Video);
            let selected = match made {
                Some(lease) => Ok(lease),
                None => stream.select(wanted).await,
            };
            let lease = match selected {
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
            if lease.derivation().is_some() && *kind == MediaKind::Video {
                // Pictures that are made have key frames of their own, so that sound beside them needn't wait for the published ones.
                change = formats.iter().map(FormatHistory::change).max().unwrap_or(change);
                pictures_made = true;
            }
            let span = FormatSpan::at(lease.consume_recent().await?, stream.formats(lease.producer()), change);
            at_key = at_key.or((*kind == MediaKind::Video).then(|| span.ends_at_key()));
            let format = span.format().unwrap_or_else(|| lease.format());
            tracks.sources.push(match kind {
                MediaKind::Video => Bridge::pictures(span),
                MediaKind::Audio => {
                    let replaced = supervisor.metrics().sound_replaced.clone();
                    Bridge::sound(span, format.clone(), conversion(stream, supervisor, &conversions), replaced).through(pictures_made)
                }
            });
            tracks.formats.push(format);
            leases.push(lease);
        }
        if tracks.formats.is_empty() {
            return Ok(EpochEnd::Broken);
        }
        let derived: Vec<_> = leases.iter().filter_map(Lease::derivation).collect();
        tracing::info!(stream = %stream.path(), epoch = continuity.epoch, ?derived, "segmenter started");
        let made = entrances.is_some();
        // They end by themselves where their formats change, however late that is read.
        let spans_end = derived.is_empty() && formats.len() == signature.0.len();
        let mut joins = None;
        let (mut signature, mut joined) = (signature, None);
        let began = supervisor.clock().unix();
        let changed = async {
            loop {
                // A publisher that went away leaves what it sent last in the pipeline: it is flushed, and the next one begins anew.
                if !stream.is_publishing() {
                    return EpochEnd::Left;
                }
                let now = self::signature(stream);
                match &at_key {
                    _ if now == signature || (spans_end && now.has_the_tracks_of(&signature)) => {}
                    // Up to the pictures' next key frame the sound is carried over.
                    Some(at_key) if pictures_made && now.has_the_pictures_of(&signature) => at_key.store(true, Ordering::Relaxed),
                    Some(_)
                        if spans_end
                            && signature.is_joined_by(&now)
                            && joined.is_none()
                            && supervisor.clock().unix() - began < LATE_WITHIN.as_nanos() as i64 =>
                    {
                        joined = Some(late_sound(stream, supervisor, &conversions, &late).await);
                        if let Some(Some(_)) = joined {
                            signature = now;
                        }
                        continue;
                    }
                    Some(at_key) if signature.is_joined_by(&now) => {
                        at_key.store(true, Ordering::Relaxed);
                        joins.get_or_insert_with(|| Box::pin(tokio::time::sleep(JOIN_WITHIN)));
                    }
                    _ => return EpochEnd::Rebuild,
                }
                tokio::select! {
                    count = stream.changed(*seen) => match count {
                        None => return EpochEnd::Ended,
                        Some(count) => *seen = count,
                    },
                    () = async { if let Some(joins) = &mut joins { joins.await } }, if joins.is_some() => return EpochEnd::Rebuild,
                    () = affordable(stream, &left_out, &mut freed) => {
                        tracing::info!(stream = %stream.path(), "a track that was left out can be transcoded now");
                        return EpochEnd::Rebuild;
                    }
                    lease = key_frames_made(stream, &mut freed_for_entrances), if !made && has_long_gops(stream) => {
                        tracing::info!(stream = %stream.path(), "its key frames are far apart, and a track that has more of them is there now");
                        *entrances = Some(lease);
                        return EpochEnd::Rebuild;
                    }
                }
            }
        };
        let end = run_epoch(supervisor, stream.path().as_str(), tracks, continuity, changed, sink).await?;
        let end = continuity.end(end, &formats, change);
        tracing::info!(stream = %stream.path(), epoch = continuity.epoch, ?end, "segmenter's epoch ended");
        Ok(end)
    }
}

/// What brings sound that has changed into the format of its epoch.
fn conversion(stream: &Stream, supervisor: &Supervisor, patience: &Arc<Mutex<Patience>>) -> Convert {
    let (stream, transcoder, patience) = (stream.clone(), PipelineTranscoder::new(supervisor.clone()), patience.clone());
    let clock = supervisor.clock().clone();
    Box::new(move |from, to| {
        if !lock(&patience).allows(clock.at()) {
            stream.warn(changes_format());
            return Conversion::Later;
        }
        let (input, output, converter) = bridge::ends();
        let name = format!("{} AAC → AAC", stream.path());
        match transcoder.start_conversion(name, input, from.clone(), to, output) {
            Ok(work) => Conversion::Begun(converter(work)),
            Err(error) => {
                let message = format!(
                    "HLS, DASH and recordings are silent from where the sound's format changed up to the next key frame: {error}. Change it only \
                     while nothing is published, or set the key-frame interval to 2 s."
                );
                stream.warn(Warning { code: "sound_replaced", message });
                Conversion::Never
            }
        }
    })
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

/// Gives sound that has come after the pictures of an epoch to it, as it was published. `None` where that can't be had.
async fn late_sound(
    stream: &Stream,
    supervisor: &Supervisor,
    conversions: &Arc<Mutex<Patience>>,
    later: &mpsc::Sender<(Format, Bridge<DirectConsumer>)>,
) -> Option<Lease> {
    let wanted = Wanted { kind: MediaKind::Audio, codecs: &AUDIO, in_order: false, come_in: false, browsers: true };
    // To make it of another codec takes time, in which its beginning is lost: it joins with a key frame.
    let mut sound = stream.tracks().into_iter().filter(|track| track.kind == MediaKind::Audio);
    sound.find(|track| AUDIO.contains(&track.format.codec()))?;
    let lease = stream.select(wanted).await.ok()?;
    let span = FormatSpan::current(lease.consume_recent().await.ok()?, stream.formats(lease.producer()));
    let format = span.format().unwrap_or_else(|| lease.format());
    let convert = conversion(stream, supervisor, conversions);
    let sound = Bridge::sound(span, format.clone(), convert, supervisor.metrics().sound_replaced.clone());
    later.send((format, sound)).await.ok()?;
    Some(lease)
}

fn signature(stream: &Stream) -> Signature {
    let mut tracks: Vec<_> = stream.tracks().into_iter().map(|track| (track.kind, track.producer, track.format)).collect();
    // One video and one audio track: what every player understands.
    tracks.dedup_by_key(|track| track.0);
    Signature(tracks)
}

fn has_long_gops(stream: &Stream) -> bool {
    stream.tracks().iter().any(|track| track.long_gops)
}

/// Waits until there is a track in which players find key frames, made of one that has them far apart, and is in time. Until then the
/// published one goes on: a transcode begins with the last key frame, which is seconds ago, or with the next one, which is far away.
async fn key_frames_made(stream: &Stream, freed: &mut watch::Receiver<()>) -> Lease {
    let wanted = Wanted { kind: MediaKind::Video, codecs: &VIDEO, in_order: false, come_in: true, browsers: true };
    loop {
        if let Ok(lease) = stream.select(wanted).await
            && lease.derivation().is_some()
            && let Ok(source) = lease.consume_direct().await
            && is_in_time(source, lease.format().rtp_clock_rate()).await
        {
            return lease;
        }
        if freed.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Waits until as much comes of a track as time passes: before, it makes up for what waited. False where it ends.
async fn is_in_time(mut source: impl RtpSource, clock_rate: u32) -> bool {
    let mut last = None;
    let mut passed = 0;
    let mut look = tokio::time::interval(LOOK_AGAIN);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            batch = source.recv() => {
                let Some(batch) = batch else { return false };
                let Some(newest) = batch.iter().next_back().and_then(|packet| packet.rtp()).map(|packet| packet.timestamp()) else { continue };
                passed += timestamp_distance(newest, *last.get_or_insert(newest));
                last = Some(newest);
            }
            _ = look.tick() => {
                let as_time = rescale(std::mem::take(&mut passed), clock_rate, 1_000_000_000) <= LOOK_AGAIN.as_nanos() as i64 * 3 / 2;
                if last.is_some() && as_time {
                    return true;
                }
            }
        }
    }
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

/// Waits for a publisher with tracks; one that has been `served` has to be there still, and one that came and went meanwhile has left what
/// it sent in the SFU. `None` once the stream is over.
async fn wait_for_publisher(stream: &Stream, served: Option<Generation>, seen: &mut u64) -> Option<Generation> {
    loop {
        let publisher = stream.generation();
        if !stream.tracks().is_empty() && (stream.is_publishing() || served != Some(publisher)) {
            return Some(publisher);
        }
        *seen = stream.changed(*seen).await?;
    }
}

/// Waits for so long, while nothing of the stream is made. False where it has ended meanwhile.
async fn waits_out(stream: &Stream, wait: Duration, seen: &mut u64) -> bool {
    let ended = async {
        while let Some(count) = stream.changed(*seen).await {
            *seen = count;
        }
    };
    tokio::time::timeout(wait, ended).await.is_err()
}

fn changes_format() -> Warning {
    let message = "The format (size, profile, sampling rate) or the timestamps change again and again, and each time HLS, DASH and recordings \
                   have to begin anew: they pause for up to 10 s then, until nothing has changed for 30 s. Make the encoder keep to one format."
        .into();
    Warning { code: "changes_format", message }
}

fn crashes() -> Warning {
    let message =
        "What is sent makes GStreamer crash. HLS, DASH and recordings begin anew each time, with growing pauses. Restart the encoder, or \
                   send another format. The log of the server says more."
            .into();
    Warning { code: "pipeline_crashes", message }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::rtp::batch::RtpBatch;

    /// Gives a picture of 33 ms every so often, until 10 s of them have come; then as time passes.
    struct Pictures {
        every: Duration,
        timestamp: Arc<AtomicU32>,
        left: u32,
    }

    impl RtpSource for Pictures {
        async fn recv(&mut self) -> Option<RtpBatch> {
            let late = self.timestamp.load(Ordering::Relaxed) < 90_000 * 10;
            tokio::time::sleep(if late { self.every } else { Duration::from_millis(33) }).await;
            self.left = self.left.checked_sub(1)?;
            let timestamp = self.timestamp.fetch_add(2970, Ordering::Relaxed) + 2970;
            Some(RtpBatch::of_packets([[&[0x80, 96, 0, 0][..], &timestamp.to_be_bytes(), &[0; 4]].concat()]))
        }

        fn request_key_frame(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_track_is_in_time_once_it_has_made_up_for_what_waited() {
        // How often a picture comes (ms), how many there are, how many seconds of them have come when the track is in time; `None` where it
        // ends.
        for (every, left, seconds) in [(33, 9999, Some(0.4..1.2)), (40, 9999, Some(0.3..1.2)), (8, 9999, Some(10.0..12.0)), (8, 10, None)] {
            let timestamp = Arc::new(AtomicU32::new(0));
            let source = Pictures { every: Duration::from_millis(every), timestamp: timestamp.clone(), left };
            assert_eq!(is_in_time(source, 90_000).await, seconds.is_some(), "{every}");
            let came = f64::from(timestamp.load(Ordering::Relaxed)) / 90_000.0;
            assert!(seconds.is_none_or(|seconds| seconds.contains(&came)), "{every}: {came}");
        }
    }
}
