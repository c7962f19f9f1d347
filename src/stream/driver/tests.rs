//! What the state machine decides, carried out by a real SFU.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::base::{Lots, MediaKind, StreamPath, lock, real_clock, seeded};
use crate::codec::{AccessUnit, Codec, Format};
use crate::sfu::{SfuConfig, WorkerPool};
use crate::stream::config::{BFrames, OnConflict, StreamConfig};
use crate::stream::core::Wanted;

const H264: Format = Format::H264 { sps: Vec::new(), pps: Vec::new() };
const OPUS: Format = Format::Opus { channels: 2 };
/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(10);

fn hub(config: StreamConfig) -> Hub {
    let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    let (clock, lots) = (real_clock(), Lots::new(seeded(1)));
    let workers = Arc::new(
        WorkerPool::start(&SfuConfig { listen, workers: 1, ..Default::default() }, &clock, &lots, &crate::base::Vitals::unwatched())
            .unwrap(),
    );
    Hub::new(HubOptions { config, b_frames: BFrames::default(), workers, clock, lots, vitals: crate::base::Vitals::unwatched() })
}

fn request() -> PublishRequest {
    PublishRequest { path: path(), protocol: "rtmp", remote: None, agent: None, key: None }
}

fn path() -> StreamPath {
    "live/cam1".parse().unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("it takes too long")
}

/// Writes sound until the reader gets some of it.
async fn write_until_read(writer: &mut TrackWriter, reader: &mut crate::sfu::DirectConsumer) {
    soon(async {
        loop {
            let at = real_clock().unix();
            let pts = at / 1_000_000 * 48;
            let unit = AccessUnit { pts, dts: pts, key: true, data: Bytes::from_static(&[0xfc, 1, 2, 3]) };
            assert!(writer.write(unit, at).sent);
            if let Ok(batch) = tokio::time::timeout(Duration::from_millis(20), reader.recv()).await {
                batch.expect("the reader was closed");
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn readers_go_on_when_a_publisher_is_taken_over() {
    let hub = hub(StreamConfig { on_conflict: OnConflict::TakeOver, ..Default::default() });
    let mut first = hub.publish(request()).await.unwrap();
    let mut writer = first.add_track(OPUS).await.unwrap();
    let stream = first.stream().clone();
    let wanted = Wanted { kind: MediaKind::Audio, codecs: &[Codec::Opus], in_order: false, come_in: false, browsers: true };
    let mut reader = stream.select(wanted).await.unwrap().consume_direct().await.unwrap();
    write_until_read(&mut writer, &mut reader).await;
    let mut second = hub.publish(request()).await.unwrap();
    assert_eq!(soon(first.evicted()).await, "another publisher took over");
    drop((writer, first));
    assert_eq!(stream.state().see(|core| core.held()[0]), 1, "its writer waits for the other one's track");
    let mut writer = second.add_track(OPUS).await.unwrap();
    write_until_read(&mut writer, &mut reader).await;
    assert!(stream.is_publishing());
}

#[tokio::test]
async fn of_two_who_ask_at_once_one_publishes() {
    let hub = hub(StreamConfig { on_conflict: OnConflict::Refuse, ..Default::default() });
    let (one, other) = tokio::join!(hub.publish(request()), hub.publish(request()));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    drop((one, other));
    // It had shown nothing: it is over at once.
    assert!(hub.publish(request()).await.is_ok());
}

#[tokio::test]
async fn a_stream_is_told_of_and_ends_when_nobody_returns() {
    let hub = hub(StreamConfig { reconnect_window: Duration::from_millis(200), ..Default::default() });
    let mut events = hub.events();
    let mut next = async || soon(events.recv()).await.unwrap();
    let mut publication = hub.publish(request()).await.unwrap();
    assert!(hub.stream(&path()).is_none(), "it has no track");
    let writer = publication.add_track(H264).await.unwrap();
    assert!(matches!(next().await, StreamEvent::Started(_)));
    let stream = hub.stream(&path()).unwrap();
    let producer = stream.tracks()[0].producer;
    drop((publication, writer));
    assert!(matches!(next().await, StreamEvent::PublisherChanged(_)) && !stream.is_publishing());
    let mut publication = hub.publish(request()).await.unwrap();
    assert!(matches!(next().await, StreamEvent::PublisherChanged(_)) && stream.is_publishing());
    let writer = publication.add_track(H264).await.unwrap();
    assert_eq!(stream.tracks()[0].producer, producer, "the returning track goes on");
    drop((publication, writer));
    assert!(matches!(next().await, StreamEvent::PublisherChanged(_)));
    assert!(matches!(next().await, StreamEvent::Ended(ended) if ended == path()));
    assert!(hub.stream(&path()).is_none() && soon(stream.changed(0)).await.is_none());
}

/// Counts what it starts, and refuses if it is told to.
#[derive(Default)]
struct Counting {
    started: AtomicUsize,
    refuses: AtomicBool,
    at_work: Arc<()>,
    outputs: Mutex<Vec<TrackWriter>>,
}

impl Transcoder for Counting {
    fn start(&self, job: TranscodeJob) -> Result<TranscodeGuard, TranscodeError> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(TranscodeError::Budget(0));
        }
        self.started.fetch_add(1, Ordering::Relaxed);
        lock(&self.outputs).push(job.output);
        Ok(TranscodeGuard(Box::new(self.at_work.clone())))
    }
}

#[tokio::test]
async fn a_derived_track_is_started_once_for_all_and_ends_with_the_stream() {
    let hub = hub(StreamConfig::default());
    let transcoder = Arc::new(Counting::default());
    hub.set_transcoder(transcoder.clone());
    let mut publication = hub.publish(request()).await.unwrap();
    let _writer = publication.add_track(OPUS).await.unwrap();
    let stream = publication.stream().clone();
    let wanted = Wanted { kind: MediaKind::Audio, codecs: &[Codec::Aac], in_order: false, come_in: false, browsers: true };
    transcoder.refuses.store(true, Ordering::Relaxed);
    let (one, other) = soon(async { tokio::join!(stream.select(wanted), stream.select(wanted)) }).await;
    assert!(matches!((one, other), (Err(SelectError::Transcode(_)), Err(SelectError::Transcode(_)))), "each one hears why");
    transcoder.refuses.store(false, Ordering::Relaxed);
    let (one, other) = soon(async { tokio::join!(stream.select(wanted), stream.select(wanted)) }).await;
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!((one.producer(), transcoder.started.load(Ordering::Relaxed)), (other.producer(), 1));
    assert_eq!(stream.info().await.derived.iter().map(|derived| derived.users).collect::<Vec<_>>(), [2]);
    drop(one);
    assert_eq!(stream.info().await.derived[0].users, 1);
    hub.shutdown();
    assert_eq!(Arc::strong_count(&transcoder.at_work), 1, "stopped");
    assert!(matches!(stream.select(wanted).await, Err(SelectError::Ended)));
}
