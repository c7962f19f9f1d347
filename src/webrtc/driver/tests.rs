//! Viewers that come in the wrong moment, against a real SFU: while a stream begins, and while its publisher is being replaced.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{SessionRequest, WebRtcService};
use crate::base::StreamPath;
use crate::codec::Format;
use crate::sfu::{SfuConfig, WorkerPool};
use crate::stream::{BFrames, Hub, HubOptions, Publication, PublishRequest, Stream, StreamConfig};
use crate::webrtc::{Role, WebRtcConfig, WebRtcError};

const OFFER: &[u8] = include_bytes!("../../sdp/fixtures/chromium156_recvonly.sdp");
const VIDEO: Format = Format::H264 { sps: Vec::new(), pps: Vec::new() };
const AUDIO: Format = Format::Opus { channels: 2 };

struct Bench {
    path: StreamPath,
    hub: Hub,
    service: WebRtcService,
}

impl Bench {
    fn new() -> Self {
        let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let (clock, lots) = (crate::base::real_clock(), crate::base::Lots::new(crate::base::seeded(1)));
        let workers = Arc::new(
            WorkerPool::start(&SfuConfig { listen, workers: 2, ..Default::default() }, &clock, &lots, &crate::base::Vitals::unwatched())
                .unwrap(),
        );
        let hub = Hub::new(HubOptions {
            config: StreamConfig::default(),
            b_frames: BFrames::default(),
            workers,
            clock,
            lots,
            vitals: crate::base::Vitals::unwatched(),
        });
        let service = WebRtcService::new(WebRtcConfig::default(), hub.clone());
        Self { path: "live/cam1".parse().unwrap(), hub, service }
    }

    async fn publish(&self) -> Publication {
        let request = PublishRequest { path: self.path.clone(), protocol: "rtmp", remote: None, agent: None, key: None };
        self.hub.publish(request).await.unwrap()
    }

    /// The answer to a viewer.
    async fn watch(&self) -> Result<String, WebRtcError> {
        let request = SessionRequest { path: &self.path, offer: OFFER, key: None, agent: None, remote: None };
        self.service.create(Role::Viewer, request).await.map(|created| created.answer)
    }
}

/// Waits until a viewer has begun to choose its tracks, or has had time enough to.
async fn somebody_watches(stream: &Stream) {
    for _ in 0..500 {
        if stream.viewer_counts().total > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_viewer_between_the_first_and_the_second_track_gets_both() {
    let bench = Bench::new();
    let mut publication = bench.publish().await;
    let _video = publication.add_track(VIDEO).await.unwrap();
    let (answer, _audio) = tokio::join!(bench.watch(), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        publication.add_track(AUDIO).await.unwrap()
    });
    let answer = answer.unwrap();
    assert_eq!(answer.matches("a=sendonly").count(), 2, "{answer}");
}

#[tokio::test]
async fn a_viewer_whose_publisher_is_just_being_replaced_begins_again() {
    let bench = Bench::new();
    let mut publication = bench.publish().await;
    let _video = publication.add_track(VIDEO).await.unwrap();
    let _audio = publication.add_track(AUDIO).await.unwrap();
    let stream = publication.stream().clone();
    // The middle of a replacement: the old producer is closed, and the stream still names it.
    publication.router().close_producer(stream.tracks()[0].producer).await;
    let (answer, _video) = tokio::join!(bench.watch(), async {
        somebody_watches(&stream).await;
        publication.add_track(VIDEO).await.unwrap()
    });
    let answer = answer.unwrap();
    assert_eq!(answer.matches("a=sendonly").count(), 2, "{answer}");
    assert_eq!(stream.viewer_counts().total, 1, "what was begun before has gone");
}

#[tokio::test]
async fn a_replacement_that_does_not_end_is_answered_with_a_sentence() {
    let bench = Bench::new();
    let mut publication = bench.publish().await;
    let _video = publication.add_track(VIDEO).await.unwrap();
    publication.router().close_producer(publication.stream().tracks()[0].producer).await;
    let error = bench.watch().await.unwrap_err();
    assert_eq!(error.code(), "changing");
}
