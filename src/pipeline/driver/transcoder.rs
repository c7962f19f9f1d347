//! The transcoder: derived tracks on demand.
//!
//! In: [`TranscodeJob`]s from [`crate::stream`]. Out: access units with wall clock times, in sync with what they were made from. A job
//! survives its child: it goes on in another one.

use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::supervisor::{Job, JobEvent, PipelineMetrics, Supervisor};
use crate::base::MediaKind;
use crate::codec::aac::{self, AacConfig};
use crate::codec::{AccessUnit, Codec, Format, h264};
use crate::pipeline::backlog::{Backlog, GAP};
use crate::pipeline::error::PipelineError;
use crate::pipeline::format_span::FormatSpan;
use crate::pipeline::last_clock::LastClock;
use crate::pipeline::patience::Patience;
use crate::pipeline::source::{RtpSource, UnitSink};
use crate::pipeline::wire::{Message, Start};
use crate::stream::{TranscodeError, TranscodeGuard, TranscodeJob, TranscodeTarget, Transcoder};

/// First pause after a job that failed; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between jobs that fail.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Longest distance of key frames in pictures: 2 s at 30 a second; requests make it shorter.
const KEY_INT_MAX: u32 = 60;

/// How long a pipeline gets to give what is inside once nothing more comes, or comes in another format.
const FLUSH_TIME: Duration = Duration::from_millis(500);

/// Audio transcodes for each video transcode of the budget: about as many cost as much (docs/performance.md).
const AUDIO_PER_VIDEO: i64 = 16;

/// Makes derived tracks in GStreamer children.
#[derive(Debug, Clone)]
pub struct PipelineTranscoder {
    supervisor: Supervisor,
}

/// What is to be made.
#[derive(Debug, Clone, Copy)]
enum Goal {
    Derived(TranscodeTarget),
    /// AAC-LC of this rate and so many channels.
    AacLc(u32, u8),
}

/// A running transcode's place in the budget; its end.
struct Running {
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A place in the budget.
#[derive(Debug)]
struct Slot(Supervisor, MediaKind);

impl Slot {
    fn running(metrics: &PipelineMetrics, kind: MediaKind) -> &Gauge {
        match kind {
            MediaKind::Video => &metrics.video_transcodes,
            MediaKind::Audio => &metrics.audio_transcodes,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        Self::running(self.0.metrics(), self.1).dec();
        self.0.metrics().transcodes.dec();
        self.0.tell_budget_freed();
    }
}

impl PipelineTranscoder {
    /// With the children of `supervisor`.
    pub fn new(supervisor: Supervisor) -> Self {
        Self { supervisor }
    }

    fn slot(&self, kind: MediaKind) -> Result<Slot, TranscodeError> {
        let metrics = self.supervisor.metrics();
        let most = self.supervisor.config().transcode_max as i64;
        let most = if kind == MediaKind::Audio { most * AUDIO_PER_VIDEO } else { most };
        let running = Slot::running(metrics, kind);
        let taken = running.inner().fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < most).then_some(now + 1));
        match taken {
            Ok(_) => {
                metrics.transcodes.inc();
                Ok(Slot(self.supervisor.clone(), kind))
            }
            Err(running) => {
                metrics.transcodes_refused.inc();
                Err(TranscodeError::Budget(running as usize))
            }
        }
    }

    /// As [`Transcoder::start`], for any source and sink, on the current runtime.
    pub fn start_with<S: RtpSource, U: UnitSink>(
        &self,
        name: String,
        input: S,
        format: Format,
        target: TranscodeTarget,
        output: U,
    ) -> Result<TranscodeGuard, TranscodeError> {
        self.spawn(&Handle::current(), name, FormatSpan::current(input, None), format, Goal::Derived(target), output)
    }

    /// Makes AAC of one format of AAC of another one.
    pub(super) fn start_conversion<S: RtpSource, U: UnitSink>(
        &self,
        name: String,
        input: S,
        from: Format,
        to: &Format,
        output: U,
    ) -> Result<TranscodeGuard, TranscodeError> {
        let unencodable = || TranscodeError::Start(PipelineError::Unencodable(to.clone()).into());
        let Format::Aac { config, .. } = to else { return Err(unencodable()) };
        let config = AacConfig::parse(config).ok().filter(aac::is_encodable).ok_or_else(unencodable)?;
        let goal = Goal::AacLc(config.sample_rate, config.channels);
        self.spawn(&Handle::current(), name, FormatSpan::current(input, None), from, goal, output)
    }

    fn spawn<S: RtpSource, U: UnitSink>(
        &self,
        runtime: &Handle,
        name: String,
        input: FormatSpan<S>,
        format: Format,
        target: Goal,
        output: U,
    ) -> Result<TranscodeGuard, TranscodeError> {
        // What can never work is said once, not in a loop.
        let start = self.describe(&name, &format, target).map_err(|error| TranscodeError::Start(error.into()))?;
        let slot = self.slot(format.kind())?;
        let transcoder = self.clone();
        let task = runtime.spawn(async move {
            let _slot = slot;
            transcoder.run(start, input, target, output).await;
        });
        Ok(TranscodeGuard(Box::new(Running { task: task.abort_handle() })))
    }

    fn describe(&self, name: &str, format: &Format, target: Goal) -> Result<Start, PipelineError> {
        let template = match (format.codec(), target) {
            (Codec::Aac, Goal::AacLc(..)) => "transcode-aac-aac",
            (Codec::Aac, Goal::Derived(TranscodeTarget::Opus)) => "transcode-aac-opus",
            (Codec::Opus, Goal::Derived(TranscodeTarget::Aac)) => "transcode-opus-aac",
            (Codec::Vp8, Goal::Derived(TranscodeTarget::H264)) => "transcode-vp8-h264",
            (Codec::H264, Goal::Derived(TranscodeTarget::H264)) => "transcode-h264-noreorder",
            (from, to) => return Err(super::template::TemplateError::Missing(format!("{} to {to:?}", from.display_name())).into()),
        };
        let (sample_rate, channels) = match (target, format) {
            (Goal::AacLc(sample_rate, channels), _) => (sample_rate, channels),
            (_, Format::Aac { channels, .. } | Format::Opus { channels }) => (48_000, (*channels).clamp(1, 2)),
            _ => (48_000, 2),
        };
        let pixels = match format {
            Format::H264 { sps, .. } => {
                sps.first().and_then(|sps| h264::parse_sps(sps).ok()).map_or(1280 * 720, |info| info.width.saturating_mul(info.height))
            }
            _ => 1280 * 720,
        };
        let values = [
            ("channels", channels.to_string()),
            ("sample_rate", sample_rate.to_string()),
            ("bitrate", aac_bitrate(sample_rate, channels).to_string()),
            ("delay_ns", (VOAACENC_DELAY * 1_000_000_000 / u64::from(sample_rate.max(1))).to_string()),
            ("key_int_max", KEY_INT_MAX.to_string()),
            ("bitrate_kbps", bitrate_kbps(pixels).to_string()),
        ];
        let description = self.supervisor.templates().render(template, &values)?;
        Ok(Start { name: name.to_owned(), description, inputs: vec![format.clone()], cutting: None, reorder: 0 })
    }

    async fn run<S: RtpSource, U: UnitSink>(&self, mut start: Start, mut input: FormatSpan<S>, target: Goal, mut output: U) {
        let metrics = self.supervisor.metrics();
        let mut clock = LastClock::new(start.inputs.first().map_or(90_000, Format::rtp_clock_rate));
        tracing::info!(job = start.name, "transcode started");
        let (mut pause, mut patience) = (RETRY_FIRST, Patience::default());
        loop {
            let mut worked = false;
            // Opus is for viewers in real time; what waited while the pipeline started is of use to recordings only.
            let live = matches!(target, Goal::Derived(TranscodeTarget::Opus));
            let mut backlog = if live { Backlog::default() } else { Backlog::none() };
            match once(&self.supervisor, &mut start, &mut backlog, &mut input, &mut output, &mut clock, &mut worked).await {
                Ok(After::Over) => break,
                Ok(After::Again) => {}
                Ok(After::Changed(mut format)) => {
                    let wait = patience.wait(self.supervisor.clock().at());
                    if !wait.is_zero() {
                        metrics.rebuilds_delayed.inc();
                        tokio::time::sleep(wait).await;
                        metrics.changes_skipped.inc_by(input.catch_up());
                        format = input.format().unwrap_or(format);
                    }
                    match self.describe(&start.name, &format, target) {
                        Ok(changed) => {
                            tracing::info!(job = start.name, format = %format.codec_string(), "transcode goes on with another format");
                            start = changed;
                            continue;
                        }
                        Err(error) => tracing::warn!(job = start.name, %error, "transcode can't go on with another format"),
                    }
                }
                Err(error) => tracing::warn!(job = start.name, %error, "transcode can't go on yet"),
            }
            if worked {
                pause = RETRY_FIRST;
            }
            // Packets wait in the source meanwhile, or are dropped there.
            tokio::time::sleep(pause).await;
            pause = RETRY_MAX.min(pause * 2);
            input.request_key_frame();
        }
        tracing::info!(job = start.name, "transcode ended");
    }
}

/// What a picture of so many pixels needs at 30 a second: about 0.1 bit per pixel.
fn bitrate_kbps(pixels: u32) -> u32 {
    (pixels / 350).clamp(400, 8000)
}

/// What AAC-LC needs, in bits a second; voaacenc takes no more than 6 bits a sample.
fn aac_bitrate(sample_rate: u32, channels: u8) -> u32 {
    sample_rate.saturating_mul(5).min(64_000) * u32::from(channels)
}

/// How much later voaacenc gives what it is given, in samples.
const VOAACENC_DELAY: u64 = 1600;

impl Transcoder for PipelineTranscoder {
    fn start(&self, job: TranscodeJob) -> Result<TranscodeGuard, TranscodeError> {
        let (input, target) = (FormatSpan::current(job.input, job.input_formats), Goal::Derived(job.target));
        self.spawn(&job.runtime, job.name, input, job.input_format, target, job.output)
    }
}

enum After {
    /// The source or the sink is gone.
    Over,
    /// The child or the pipeline failed.
    Again,
    /// The source has another format.
    Changed(Format),
}

async fn once<S: RtpSource, U: UnitSink>(
    supervisor: &Supervisor,
    start: &mut Start,
    backlog: &mut Backlog,
    input: &mut FormatSpan<S>,
    output: &mut U,
    clock: &mut LastClock,
    worked: &mut bool,
) -> Result<After, PipelineError> {
    let codec = start.inputs.first().map_or(Codec::H264, Format::codec);
    let mut job = supervisor.start(start.clone()).await?;
    let sender = job.sender().clone();
    let mut feed = sender.input(0, codec);
    feed.set_clock(clock.mapping());
    loop {
        tokio::select! {
            batch = input.recv() => match batch {
                Some(batch) => {
                    clock.follow(&batch);
                    feed.send(std::slice::from_ref(&batch)).await;
                }
                None if input.go_on() => {
                    // Another track's format may have changed, not this one's.
                    if let Some(format) = input.format().filter(|format| start.inputs.first() != Some(format)) {
                        flush(job, output).await;
                        return Ok(After::Changed(format));
                    }
                }
                None => {
                    flush(job, output).await;
                    return Ok(After::Over);
                }
            },
            wanted = output.key_frame_requested() => match wanted {
                Some(()) => sender.force_key_frame(0),
                None => return Ok(After::Over),
            },
            event = job.recv() => match event {
                JobEvent::Lost => return Ok(After::Again),
                JobEvent::Message(Message::Unit { pts, dts, key, data, .. }) => {
                    *worked = true;
                    if let Some(unit) = backlog.push(AccessUnit { pts, dts, key, data }) {
                        output.write_at(unit);
                    }
                }
                JobEvent::Message(Message::FormatOut(_, _, format)) => output.set_format(format),
                JobEvent::Message(Message::KeyFrameRequest(..)) => input.request_key_frame(),
                JobEvent::Message(Message::Failed { reorder, text, .. }) => {
                    tracing::info!(job = start.name, "pipeline ended: {text}");
                    start.reorder = start.reorder.max(reorder);
                    return Ok(After::Again);
                }
                JobEvent::Message(Message::Eos(_)) => return Ok(After::Again),
                JobEvent::Message(_) => {}
            },
            () = tokio::time::sleep(GAP), if backlog.is_waiting() => {
                if let Some(unit) = backlog.quiet() {
                    output.write_at(unit);
                }
            }
        }
    }
}

/// Lets what is inside come out.
async fn flush(mut job: Job, output: &mut impl UnitSink) {
    let all = async {
        job.stop().await?;
        loop {
            match job.recv().await {
                JobEvent::Message(Message::Unit { pts, dts, key, data, .. }) => _ = output.write_at(AccessUnit { pts, dts, key, data }),
                JobEvent::Message(Message::FormatOut(_, _, format)) => output.set_format(format),
                JobEvent::Lost | JobEvent::Message(Message::Eos(_) | Message::Failed { .. }) => return Ok::<_, PipelineError>(()),
                JobEvent::Message(_) => {}
            }
        }
    };
    let _ = tokio::time::timeout(FLUSH_TIME, all).await; // or the child is gone with it
}
