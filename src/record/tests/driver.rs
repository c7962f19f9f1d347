//! The asynchronous side: from the input of a recording to the bytes of a response.

use super::*;
use crate::cmaf::Targets;
use crate::record::RecordConfig;
use crate::record::driver::Recordings;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn from_input_to_body() {
    let dir = tempfile::tempdir().unwrap();
    let (picture, sound) = two_tracks(4);
    let cancel = CancellationToken::new();
    let (clock, lots) = (crate::base::real_clock(), crate::base::Lots::new(crate::base::seeded(1)));
    let vitals = crate::base::Vitals::unwatched();
    let opened = Recordings::open(dir.path(), RecordConfig::default(), Targets::default(), clock, lots, cancel.clone(), &vitals);
    let recordings = opened.await.unwrap();
    let path = StreamPath::parse("live/cam1").unwrap();
    let mut input = recordings.record(&path).unwrap();
    let mut live_refused = false;
    for event in events(&[vec![(Codec::H264, &picture), (Codec::Aac, &sound)]]) {
        input.push(event);
        tokio::task::yield_now().await;
    }
    while !live_refused {
        if let Some(item) = recordings.list(None, None, 1).unwrap().items.first() {
            assert!(matches!(recordings.delete(item.id.as_str()).await, Err(RecordError::Live)));
            live_refused = true;
        }
        tokio::task::yield_now().await;
    }
    drop(input);
    while recordings.list(None, None, 1).unwrap().items.first().is_none_or(|item| item.live) {
        tokio::task::yield_now().await;
    }
    let page = recordings.list(Some("live/cam1"), None, 10).unwrap();
    let item = &page.items[0];
    assert_eq!(item.state, State::Finished);
    let request = VodRequest { path: format!("{}.mp4", item.id), ..VodRequest::default() };
    let response = recordings.vod(request.clone()).await.unwrap();
    let len = response.content_length;
    let blocks: Vec<_> = recordings.stream(response.body).map(|b| b.unwrap()).collect().await;
    assert_eq!(blocks.iter().map(|b| b.len() as u64).sum::<u64>(), len);
    let file = dir.path().join("out.mp4");
    std::fs::write(&file, blocks.concat()).unwrap();
    assert_eq!(decode(&file, "0:v"), 120);

    recordings.delete(item.id.as_str()).await.unwrap();
    assert!(matches!(recordings.vod(request).await, Err(RecordError::NotFound)));
    assert!(matches!(recordings.delete("../../x").await, Err(RecordError::NotFound)));
    cancel.cancel();
    recordings.closed().await;
    assert!(recordings.record(&path).is_none());
}
