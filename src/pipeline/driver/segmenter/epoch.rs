//! One epoch: one job, from its start to whatever ends it.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::event::{ChunkSink, SegmenterEvent};
use crate::base::{Clock, MANY_STREAMS, MediaKind, Rounds, UnixNanos, rescale};
use crate::cmaf::Chunk;
use crate::codec::{Codec, Format};
use crate::pipeline::driver::supervisor::{Job, JobEvent, JobInput, JobSender, PipelineMetrics, Supervisor};
use crate::pipeline::error::PipelineError;
use crate::pipeline::patience::Patience;
use crate::pipeline::source::RtpSource;
use crate::pipeline::wire::{Cutting, Failure, Join, Message, Start};
use crate::rtp::batch::RtpBatch;
use crate::stream::{FormatHistory, next_change};

/// How long a job that is stopped gets to flush what is inside.
const STOP_TIME: Duration = Duration::from_secs(2);

/// How long the other tracks of a job get once one of them failed to end.
const FAILED_STOP_TIME: Duration = Duration::from_millis(200);

/// Changes that an epoch which had to wait may lie behind: a file that was pushed at once is gone through to its end.
const BEHIND: u64 = 4;

/// What goes on from epoch to epoch.
#[derive(Debug)]
pub struct Continuity {
    /// Of the next epoch.
    pub epoch: u32,
    /// The first segment of the next epoch.
    pub next_segment: u64,
    /// By kind: when its last chunk ends.
    ends: [UnixNanos; 2],
    /// By kind: the decoding time of its last unit as it came.
    given: [UnixNanos; 2],
    /// How far pictures were seen to be reordered.
    pub reorder: u8,
    /// Why the last epoch's pipeline failed, if it did.
    pub failure: Option<String>,
    /// The change of formats whose packets are done with.
    pub(crate) done: Option<u64>,
    /// With what makes another epoch of it.
    patience: Patience,
    /// The next epoch had to wait.
    waited: bool,
    /// With sound that is converted to its epoch's format.
    pub(crate) conversions: Arc<Mutex<Patience>>,
    timescales: Vec<u32>,
    /// What its tracks carry, by their place in the job.
    kinds: Vec<MediaKind>,
}

impl Default for Continuity {
    fn default() -> Self {
        Self {
            epoch: 0,
            next_segment: 0,
            ends: [i64::MIN; 2],
            given: [i64::MIN; 2],
            reorder: 0,
            failure: None,
            done: None,
            patience: Patience::default(),
            waited: false,
            conversions: Arc::default(),
            timescales: Vec::new(),
            kinds: Vec::new(),
        }
    }
}

impl Continuity {
    /// How the next epoch, of tracks of these formats, is cut.
    pub(crate) fn begin(&mut self, segment: Duration, part: Duration, formats: &[Format]) -> Cutting {
        self.timescales = formats.iter().map(Format::clock_rate).collect();
        self.kinds = formats.iter().map(Format::kind).collect();
        Cutting {
            segment: segment.as_nanos() as u64,
            part: part.as_nanos() as u64,
            first_segment: self.next_segment,
            epoch: self.epoch,
            not_before: self.ends,
            given: self.given,
        }
    }

    /// An epoch of what belongs to `change` has ended so. Where the formats have changed since, it has been let out to its end; the next one goes
    /// on with the next change, though the publisher may be gone.
    pub(crate) fn end(&mut self, end: EpochEnd, formats: &[FormatHistory], change: u64) -> EpochEnd {
        let changed = formats.iter().any(|formats| formats.change_of_all() > change);
        match end {
            EpochEnd::Rebuild | EpochEnd::Left if changed => {
                self.done = Some(change);
                EpochEnd::Rebuild
            }
            end => end,
        }
    }

    /// How long the next epoch has to wait, which is wanted now.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        let wait = self.patience.wait(now);
        self.waited |= !wait.is_zero();
        wait
    }

    /// The change with which the next epoch begins, and how many are left out before it: those that came while it waited.
    pub(crate) fn next_change(&mut self, formats: &[FormatHistory]) -> (u64, u64) {
        let (next, newest) = (next_change(formats, self.done), next_change(formats, Some(u64::MAX)));
        let behind = newest.saturating_sub(next);
        if std::mem::take(&mut self.waited) && behind > BEHIND { (newest, behind) } else { (next, 0) }
    }

    /// A track of this format comes later than the others of its epoch.
    fn join(&mut self, format: &Format) {
        self.timescales.push(format.clock_rate());
        self.kinds.push(format.kind());
    }

    /// Pictures are track 0 and sound is track 1, also where sound comes alone: it stays what it was when pictures come later.
    pub(crate) fn number_of(&self, place: u32) -> u32 {
        self.kinds.get(place as usize).map_or(place, |kind| u32::from(*kind == MediaKind::Audio))
    }

    /// A chunk of the present epoch has come, whose last unit had the decoding time `given` as it came.
    pub(crate) fn chunk(&mut self, chunk: &Chunk, given: UnixNanos) {
        self.next_segment = self.next_segment.max(chunk.segment + 1);
        let place = chunk.track as usize;
        if let Some((timescale, kind)) = self.timescales.get(place).zip(self.kinds.get(place))
            && *timescale > 0
        {
            let (end, last) = (&mut self.ends[*kind as usize], &mut self.given[*kind as usize]);
            *last = (*last).max(given);
            *end = (*end).max(chunk.wallclock + rescale(chunk.duration as i64, *timescale, 1_000_000_000));
        }
    }
}

/// How an epoch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochEnd {
    /// The stream is over.
    Ended,
    /// Something changed: the next epoch can begin at once.
    Rebuild,
    /// The publisher went away.
    Left,
    /// The child died.
    Lost,
    /// The pipeline failed.
    Broken,
}

/// The tracks of an epoch.
#[derive(Debug)]
pub struct Tracks<S> {
    /// Their formats, video first.
    pub formats: Vec<Format>,
    /// Their packets, in the same order.
    pub sources: Vec<S>,
    /// Tracks that come later.
    pub later: Option<mpsc::Receiver<(Format, S)>>,
}

/// The pipeline of the input with that number.
fn description(supervisor: &Supervisor, n: usize, format: &Format) -> Result<String, PipelineError> {
    let config = supervisor.config();
    let template = match format.codec() {
        Codec::Aac => "segment-aac",
        Codec::Opus => "segment-opus",
        Codec::H264 | Codec::Vp8 => "segment-h264",
    };
    let values = [
        ("n", n.to_string()),
        ("segment_duration_ns", config.segment_duration.as_nanos().to_string()),
        ("part_duration_ns", config.part_duration.as_nanos().to_string()),
        ("timescale", format.clock_rate().to_string()),
    ];
    Ok(supervisor.templates().render(template, &values)?)
}

/// The next of the tracks that come later; waits for ever where none will.
async fn next_of<S>(later: &mut Option<mpsc::Receiver<(Format, S)>>) -> (Format, S) {
    match later {
        Some(tracks) => match tracks.recv().await {
            Some(track) => track,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Runs one epoch until `changed` says how it ends, or its tracks or its pipeline end by themselves. What is inside comes out.
pub async fn run_epoch<S: RtpSource>(
    supervisor: &Supervisor,
    name: &str,
    mut tracks: Tracks<S>,
    continuity: &mut Continuity,
    changed: impl Future<Output = EpochEnd>,
    sink: &mut impl ChunkSink,
) -> Result<EpochEnd, PipelineError> {
    let config = supervisor.config();
    let codecs: Vec<Codec> = tracks.formats.iter().map(Format::codec).collect();
    let descriptions: Result<String, _> = tracks.formats.iter().enumerate().map(|(n, format)| description(supervisor, n, format)).collect();
    let start = Start {
        name: name.to_owned(),
        description: descriptions?,
        cutting: Some(continuity.begin(config.segment_duration, config.part_duration, &tracks.formats)),
        reorder: continuity.reorder,
        inputs: tracks.formats,
    };
    let mut job = supervisor.start(start).await?;
    let sources = codecs.into_iter().zip(tracks.sources);
    let mut feeds = Feeds::new(job.sender(), supervisor.clock(), supervisor.metrics());
    sources.for_each(|(codec, source)| feeds.add(codec, source));
    tokio::pin!(changed);
    let mut begun = false;
    let end = loop {
        let event = tokio::select! {
            end = &mut changed => break end,
            () = feeds.ended() => break EpochEnd::Rebuild,
            (format, source) = next_of(&mut tracks.later) => {
                tracing::info!(stream = name, epoch = continuity.epoch, format = %format.codec_string(), "a track joins the epoch");
                continuity.join(&format);
                let codec = format.codec();
                let joined = match description(supervisor, feeds.count(), &format) {
                    Ok(description) => job.sender().join(Join { description, format }).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = joined {
                    tracing::warn!(stream = name, %error, "a track can't join the epoch");
                    break EpochEnd::Lost;
                }
                feeds.add(codec, source);
                continue;
            }
            event = job.recv() => event,
        };
        match event {
            JobEvent::Lost => break EpochEnd::Lost,
            JobEvent::Message(Message::KeyFrameRequest(_, input)) => feeds.request_key_frame(input),
            JobEvent::Message(Message::Failed { failure, reorder, text, .. }) => {
                tracing::info!(stream = name, epoch = continuity.epoch, "pipeline ended: {text}");
                continuity.reorder = continuity.reorder.max(reorder);
                break match failure {
                    Failure::Discontinuity => EpochEnd::Rebuild,
                    Failure::Broken => {
                        continuity.failure = Some(text);
                        EpochEnd::Broken
                    }
                };
            }
            JobEvent::Message(message) => begun |= give(message, continuity, sink),
        }
    };
    if matches!(end, EpochEnd::Ended | EpochEnd::Rebuild | EpochEnd::Left) {
        // Where nothing more comes, there may still be much: a file that was pushed at once.
        feeds.finish(if end == EpochEnd::Rebuild { Rest::OfThePast } else { Rest::All }).await;
        let rest = tokio::time::timeout(STOP_TIME, drain(&mut job, continuity, sink)).await;
        begun |= rest.unwrap_or_default();
    }
    if begun {
        continuity.epoch += 1;
    }
    Ok(end)
}

/// Stops the job and takes what comes out. Whether anything did.
async fn drain(job: &mut Job, continuity: &mut Continuity, sink: &mut impl ChunkSink) -> bool {
    let mut any = false;
    if job.stop().await.is_err() {
        return any;
    }
    loop {
        match job.recv().await {
            JobEvent::Lost | JobEvent::Message(Message::Eos(_)) => return any,
            // A track that never had anything can't end in order; the others still can.
            JobEvent::Message(Message::Failed { .. }) => break,
            JobEvent::Message(message) => any |= give(message, continuity, sink),
        }
    }
    while let Ok(JobEvent::Message(message)) = tokio::time::timeout(FAILED_STOP_TIME, job.recv()).await {
        any |= give(message, continuity, sink);
    }
    any
}

fn give(message: Message, continuity: &mut Continuity, sink: &mut impl ChunkSink) -> bool {
    match message {
        Message::Init(_, mut init) => {
            init.track = continuity.number_of(init.track);
            sink.take(SegmenterEvent::Init(init));
        }
        Message::Chunk(_, mut chunk, given) => {
            continuity.chunk(&chunk, given);
            chunk.track = continuity.number_of(chunk.track);
            sink.take(SegmenterEvent::Chunk(chunk));
        }
        _ => return false,
    }
    true
}

/// How long what was sent before an epoch's end takes to get here: the SFU hands packets over in well under a millisecond; the rest is
/// for a machine that has other things to do.
const REST_TIME: Duration = Duration::from_millis(50);

/// How long a source gets to give what is inside: sound that is being transcoded.
const INSIDE_TIME: Duration = Duration::from_secs(1);

/// What is still taken of the sources at an epoch's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// What comes within [`REST_TIME`]: the next epoch begins with what is still held.
    OfThePast,
    /// Everything, until nothing comes for [`REST_TIME`].
    All,
}

/// Packets are carried over in rounds of this length, the same for all streams: waking a task and a child for every picture and every
/// audio frame of many streams costs more than all that is done with them. A fifth of the usual part.
const SHORT: Rounds = Rounds::new(Duration::from_millis(40), Duration::ZERO);
/// Rounds where there are many streams: parts come later by half of the difference, and it costs less (docs/performance.md).
const LONG: Rounds = Rounds::new(Duration::from_millis(100), Duration::ZERO);
/// Most packets put into one message: about 300 KB, a large key frame's.
const MAX_PACKETS: usize = 256;

/// The time until the rounds of all streams begin together.
fn until_next_round(clock: &Clock, metrics: &PipelineMetrics) -> Duration {
    if metrics.jobs.get() > MANY_STREAMS { LONG } else { SHORT }.until_next(clock.unix())
}

/// Gives `first` and everything that has come since to the job, in few messages. False at the end of the source.
async fn give_all<S: RtpSource>(first: RtpBatch, source: &mut S, job: &mut JobInput) -> bool {
    let mut packets = first.len();
    let mut together = vec![first];
    loop {
        match source.recv().now_or_never() {
            Some(Some(next)) => {
                if next.clock.is_some() || packets + next.len() > MAX_PACKETS {
                    job.send(&together).await;
                    together.clear();
                    packets = 0;
                }
                packets += next.len();
                together.push(next);
            }
            rest => {
                job.send(&together).await;
                return rest.is_none();
            }
        }
    }
}

async fn give_rest<S: RtpSource>(rest: Rest, source: &mut S, job: &mut JobInput) {
    let (each, all) = match rest {
        Rest::OfThePast => (STOP_TIME, REST_TIME),
        Rest::All => (REST_TIME, STOP_TIME),
    };
    let _ = tokio::time::timeout(all, async {
        while let Ok(Some(batch)) = tokio::time::timeout(each, source.recv()).await {
            if !give_all(batch, source, job).await {
                return;
            }
        }
    })
    .await;
    if source.close() {
        let _ = tokio::time::timeout(INSIDE_TIME, async {
            while let Some(batch) = source.recv().await {
                if !give_all(batch, source, job).await {
                    return;
                }
            }
        })
        .await;
    }
}

/// Waits until the epoch is over.
async fn stopped(stop: &mut watch::Receiver<Option<Rest>>) -> Rest {
    stop.wait_for(Option::is_some).await.ok().and_then(|rest| *rest).unwrap_or(Rest::OfThePast)
}

/// The tasks that carry packets from the sources to the job.
struct Feeds {
    job: JobSender,
    clock: Clock,
    metrics: PipelineMetrics,
    tasks: JoinSet<()>,
    requests: Vec<mpsc::Sender<()>>,
    stop: watch::Sender<Option<Rest>>,
}

impl Feeds {
    fn new(job: &JobSender, clock: &Clock, metrics: &PipelineMetrics) -> Self {
        let (job, clock, metrics) = (job.clone(), clock.clone(), metrics.clone());
        Self { job, clock, metrics, tasks: JoinSet::new(), requests: Vec::new(), stop: watch::channel(None).0 }
    }

    /// How many inputs there are.
    fn count(&self) -> usize {
        self.requests.len()
    }

    /// The next input.
    fn add<S: RtpSource>(&mut self, codec: Codec, mut source: S) {
        let mut job = self.job.input(self.requests.len() as u8, codec);
        // One request waiting is as good as many.
        let (request, mut requested) = mpsc::channel(1);
        self.requests.push(request);
        let mut stop = self.stop.subscribe();
        let (clock, metrics) = (self.clock.clone(), self.metrics.clone());
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    batch = source.recv() => {
                        let Some(mut batch) = batch else { return };
                        let _ = tokio::time::timeout(until_next_round(&clock, &metrics), stopped(&mut stop)).await;
                        // As long as every round has something, the clock alone wakes this task, not the first picture of each.
                        loop {
                            if !give_all(batch, &mut source, &mut job).await {
                                return;
                            }
                            if tokio::time::timeout(until_next_round(&clock, &metrics), stopped(&mut stop)).await.is_ok() {
                                break;
                            }
                            if requested.try_recv().is_ok() {
                                source.request_key_frame();
                            }
                            batch = match source.recv().now_or_never() {
                                Some(Some(next)) => next,
                                Some(None) => return,
                                None => break,
                            };
                        }
                    },
                    Some(()) = requested.recv() => source.request_key_frame(),
                    rest = stopped(&mut stop) => return give_rest(rest, &mut source, &mut job).await,
                }
            }
        });
    }

    fn request_key_frame(&self, input: u8) {
        if let Some(request) = self.requests.get(usize::from(input)) {
            let _ = request.try_send(());
        }
    }

    /// Gives what was sent so far, up to where each track's part ends.
    async fn finish(mut self, rest: Rest) {
        let _ = self.stop.send(Some(rest)); // or all of them have ended
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_TIME, all).await;
    }

    /// Waits until the first source has ended.
    async fn ended(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_had_to_wait_goes_on_with_the_newest_change_or_one_after_the_other() {
        let start = crate::base::real_clock().at();
        // Changes since the last epoch's, whether the next one had to wait, with which it begins, and how many are left out.
        for (changes, waited, next, skipped) in [(1, true, 1, 0), (5, true, 1, 0), (6, true, 6, 5), (31, true, 31, 30), (6, false, 1, 0)] {
            let formats = FormatHistory::new(Format::Vp8, 0);
            for change in 1..=changes {
                formats.advance(1);
                formats.mark(change);
            }
            let mut continuity = Continuity { done: Some(0), ..Continuity::default() };
            let waits: Vec<bool> = (0..if waited { 5 } else { 4 }).map(|_| !continuity.wait(start).is_zero()).collect();
            assert_eq!(waits.last(), Some(&waited));
            let formats = [formats];
            assert_eq!(continuity.next_change(&formats), (next, skipped), "{changes} {waited}");
            assert_eq!(continuity.next_change(&formats).1, 0, "once");
        }
    }
}
