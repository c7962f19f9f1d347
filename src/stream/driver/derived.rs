//! Derived tracks: made on demand from a published one, shared by all who need them, stopped when nobody does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

use super::live::{SelectError, Stream, Track};
use super::writer::{TrackWriter, WriterCore};
use crate::base::lock;
use crate::codec::{Codec, Format};
use crate::sfu::{DirectConsumer, ProducerId, Router, SfuError};
use crate::stream::format_history::FormatHistory;

/// How long a derived track goes on when nobody uses it: a viewer who reloads the page finds it warm.
const LINGER: Duration = Duration::from_secs(5);

/// What a derived track is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TranscodeTarget {
    /// Opus, 48 kHz, stereo or mono as the source.
    Opus,
    /// AAC-LC, 48 kHz.
    Aac,
    /// H.264 without reordering, key frames on request and at least every 2 s.
    H264,
}

impl TranscodeTarget {
    /// What turns `from` into `to`, if headend can.
    pub(super) fn between(from: Codec, to: Codec) -> Option<Self> {
        match (from, to) {
            (Codec::Aac, Codec::Opus) => Some(Self::Opus),
            (Codec::Opus, Codec::Aac) => Some(Self::Aac),
            (Codec::Vp8, Codec::H264) => Some(Self::H264),
            _ => None,
        }
    }

    /// In words, for people.
    fn derivation(self, from: Codec) -> &'static str {
        match (from, self) {
            (_, Self::Opus) => "AAC → Opus",
            (_, Self::Aac) => "Opus → AAC",
            (Codec::H264, Self::H264) => "H.264 without B-frames",
            (_, Self::H264) => "VP8 → H.264",
        }
    }

    /// What the publisher could do to make it unnecessary.
    pub(super) fn advice(self, from: Codec) -> Option<&'static str> {
        match (from, self) {
            (Codec::H264, Self::H264) => {
                Some("set B-frames to 0 in the encoder (OBS: Settings → Output → Advanced → Max B-frames 0, or tune zerolatency)")
            }
            (Codec::Vp8, Self::H264) => Some("publish H.264 (choose it on the publish page)"),
            _ => None, // RTMP knows no Opus and browsers send no AAC: nothing to be done
        }
    }

    /// The format it has as far as it is known beforehand.
    fn format(self, from: &Format) -> Format {
        let source_channels = match from {
            Format::Aac { channels, .. } | Format::Opus { channels } => (*channels).min(2),
            _ => 2,
        };
        match self {
            Self::Opus => Format::Opus { channels: source_channels },
            // AudioSpecificConfig: AAC-LC (2), 48 kHz (index 3), one or two channels (ISO/IEC 14496-3 section 1.6.2.1).
            Self::Aac => Format::Aac {
                config: bytes::Bytes::from_static(if source_channels == 1 { &[0x11, 0x88] } else { &[0x11, 0x90] }),
                sample_rate: 48_000,
                channels: source_channels,
            },
            Self::H264 => Format::H264 { sps: Vec::new(), pps: Vec::new() },
        }
    }
}

/// One derived track to be made.
#[derive(Debug)]
pub struct TranscodeJob {
    /// For logs: `live/cam1 AAC → Opus`.
    pub name: String,
    /// The source.
    pub input: DirectConsumer,
    /// The source's format.
    pub input_format: Format,
    /// Where the source's format changes; `None` if it is published as RTP.
    pub input_formats: Option<FormatHistory>,
    /// What to make.
    pub target: TranscodeTarget,
    /// Where it goes, with `write_at`. Key-frame requests come out of it. For H.264 and AAC, `set_format` is called with the
    /// parameter sets once they are known.
    pub output: TrackWriter,
    /// Where it is best fed and read: the thread of the worker that the source comes from and the output goes to.
    pub runtime: Handle,
}

/// Why there is no derived track.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranscodeError {
    /// The budget of transcodes is used up.
    #[error("the transcoding budget is used up ({0} at work)")]
    Budget(usize),
    /// It did not start.
    #[error("the transcoder did not start: {0}")]
    Start(String),
}

/// Dropping it stops the transcode.
pub struct TranscodeGuard(#[allow(dead_code)] pub Box<dyn std::any::Any + Send + Sync>);

impl std::fmt::Debug for TranscodeGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TranscodeGuard")
    }
}

/// What makes derived tracks: plugged in by `app`.
pub trait Transcoder: Send + Sync + 'static {
    /// Starts a job; it goes on until the guard is dropped, and survives crashes of what does the work.
    fn start(&self, job: TranscodeJob) -> Result<TranscodeGuard, TranscodeError>;
}

/// The shared form in which a transcoder is plugged in.
pub type SharedTranscoder = Arc<dyn Transcoder>;

/// A derived track at work.
#[derive(Debug)]
pub(super) struct Derived {
    source: Mutex<ProducerId>,
    pub from: Codec,
    pub target: TranscodeTarget,
    producer: ProducerId,
    formats: FormatHistory,
    users: AtomicUsize,
    _guard: TranscodeGuard,
}

impl Derived {
    /// Its codec now.
    pub fn codec(&self) -> Codec {
        self.formats.format().codec()
    }

    /// What it is made from.
    fn source(&self) -> ProducerId {
        *lock(&self.source)
    }

    /// How many leases it has.
    pub fn users(&self) -> usize {
        self.users.load(Ordering::Relaxed)
    }

    /// In words.
    pub fn derivation(&self) -> &'static str {
        self.target.derivation(self.from)
    }
}

impl Stream {
    /// A lease on the derived track, started if it isn't at work.
    pub(super) async fn derive(&self, track: &Track, target: TranscodeTarget) -> Result<Lease, SelectError> {
        let _one_at_a_time = self.0.deriving.lock().await;
        if let Some(lease) = self.lease_running(track, target) {
            return Ok(lease);
        }
        let from = track.format.codec();
        let Some(transcoder) = self.0.hub.0.transcoder.get() else {
            return Err(TranscodeError::Start("no transcoder is configured".into()).into());
        };
        let input = self.0.home.consume_direct(track.producer).await?;
        let core = WriterCore::new(&self.0.home, target.format(&track.format), self.path().as_str()).await?;
        let (producer, formats) = (core.producer(), core.formats().clone());
        let name = format!("{} {}", self.path(), target.derivation(from));
        let input_formats = self.formats(track.producer);
        let input_format = input_formats.as_ref().map_or_else(|| track.format.clone(), FormatHistory::format);
        let (output, runtime) = (TrackWriter::derived(core), self.0.home.runtime().clone());
        let job = TranscodeJob { name, input, input_format, input_formats, target, output, runtime };
        let guard = transcoder.start(job)?;
        tracing::info!(path = %self.path(), what = target.derivation(from), "derived track started");
        let derived = Arc::new(Derived {
            source: Mutex::new(track.producer),
            from,
            target,
            producer,
            formats,
            users: AtomicUsize::new(0),
            _guard: guard,
        });
        {
            let mut state = self.state();
            if state.ended {
                return Err(SelectError::Ended);
            }
            // What was made from a producer that is no longer there is of no use to anybody new.
            let sources: Vec<ProducerId> = state.tracks.iter().map(|entry| entry.track.producer).collect();
            state.derived.retain(|known| sources.contains(&known.source()) || known.users() > 0);
            state.derived.push(derived.clone());
        }
        self.touch();
        Ok(Lease::derived(self.clone(), derived))
    }

    fn lease_running(&self, track: &Track, target: TranscodeTarget) -> Option<Lease> {
        let state = self.state();
        let found = state.derived.iter().find(|known| known.source() == track.producer && known.target == target)?;
        Some(Lease::derived(self.clone(), found.clone()))
    }

    /// The SFU let the readers of `old` go on with `new`.
    pub(super) fn derived_go_on_with(&self, old: ProducerId, new: ProducerId) {
        for derived in &self.state().derived {
            let mut source = lock(&derived.source);
            if *source == old {
                *source = new;
            }
        }
    }

    /// Nobody uses `derived` just now: stops it if that stays so.
    fn release(&self, derived: Arc<Derived>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return; // the process is ending
        };
        let stream = self.clone();
        runtime.spawn(async move {
            tokio::time::sleep(LINGER).await;
            let stopped = {
                let mut state = stream.state();
                let before = state.derived.len();
                state.derived.retain(|known| !(Arc::ptr_eq(known, &derived) && known.users() == 0));
                before != state.derived.len()
            };
            if stopped {
                tracing::info!(path = %stream.path(), what = derived.derivation(), "derived track stopped, nobody needs it");
                stream.touch();
            }
        });
    }
}

/// A track to consume.
#[derive(Debug, Clone)]
pub struct Lease(Arc<LeaseInner>);

#[derive(Debug)]
struct LeaseInner {
    stream: Stream,
    what: What,
}

#[derive(Debug)]
enum What {
    Published { track: Track, drop_disposable: bool },
    Derived(Arc<Derived>),
}

impl Lease {
    pub(super) fn published(stream: Stream, track: Track, drop_disposable: bool) -> Self {
        Self(Arc::new(LeaseInner { stream, what: What::Published { track, drop_disposable } }))
    }

    fn derived(stream: Stream, derived: Arc<Derived>) -> Self {
        derived.users.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(LeaseInner { stream, what: What::Derived(derived) }))
    }

    /// The form it has.
    pub fn format(&self) -> Format {
        match &self.0.what {
            What::Published { track, .. } => {
                let state = self.0.stream.state();
                let now = state.tracks.iter().find(|entry| entry.track.producer == track.producer);
                now.map_or_else(|| track.format.clone(), |entry| entry.track.format.clone())
            }
            What::Derived(derived) => derived.formats.format(),
        }
    }

    /// Whether it is made from the published one, in words ("AAC → Opus").
    pub fn derivation(&self) -> Option<&'static str> {
        match &self.0.what {
            What::Published { .. } => None,
            What::Derived(derived) => Some(derived.derivation()),
        }
    }

    /// Whether the disposable pictures must be left out for in-order viewers (`webrtc.b_frames = "drop"`).
    pub fn drop_disposable(&self) -> bool {
        matches!(self.0.what, What::Published { drop_disposable: true, .. })
    }

    /// The producer on the stream's home router.
    pub fn producer(&self) -> ProducerId {
        match &self.0.what {
            What::Published { track, .. } => track.producer,
            What::Derived(derived) => derived.producer,
        }
    }

    /// The producer, made available on `router` (piped there if it is another worker).
    pub async fn producer_on(&self, router: &Router) -> Result<ProducerId, SfuError> {
        let home = &self.0.stream.0.home;
        if router.worker() != home.worker() {
            home.pipe_to(self.producer(), router).await?;
        }
        Ok(self.producer())
    }

    /// Its packets, read by this process.
    pub async fn consume_direct(&self) -> Result<DirectConsumer, SfuError> {
        self.0.stream.0.home.consume_direct(self.producer()).await
    }

    /// As [`Self::consume_direct`], with the sound that is still held.
    pub async fn consume_recent(&self) -> Result<DirectConsumer, SfuError> {
        self.0.stream.0.home.consume_recent(self.producer()).await
    }
}

impl Drop for LeaseInner {
    fn drop(&mut self) {
        if let What::Derived(derived) = &self.what
            && derived.users.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.stream.release(derived.clone());
        }
    }
}
