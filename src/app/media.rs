//! Runs the segmenter of every live stream, and hands what it makes to the live window and the recording alike.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::clock::unix_now;
use crate::base::StreamPath;
use crate::package::{Live, Presentation};
use crate::pipeline::{ChunkSink, Segmenter, SegmenterEvent, Supervisor};
use crate::record::RecordEvent;
use crate::record::driver::{RecorderInput, Recordings};
use crate::stream::{Hub, Stream, StreamEvent};

/// How long an ended presentation can still be fetched: players read their last segments, and see the end in the playlist.
const AFTER_THE_END: Duration = Duration::from_secs(20);

/// What every stream's media goes through.
#[derive(Debug, Clone)]
pub(super) struct Media {
    pub hub: Hub,
    pub supervisor: Supervisor,
    pub live: Live,
    pub recordings: Recordings,
}

/// Both takers of a stream's chunks.
struct Takers {
    presentation: Presentation,
    recorder: Option<RecorderInput>,
}

impl ChunkSink for Takers {
    fn take(&mut self, event: SegmenterEvent) {
        let record = match &event {
            SegmenterEvent::Init(init) => RecordEvent::Init(init.clone()),
            SegmenterEvent::Chunk(chunk) => RecordEvent::Chunk(chunk.clone()),
            SegmenterEvent::End => RecordEvent::End,
        };
        if let Some(recorder) = &mut self.recorder {
            recorder.push(record);
        }
        match event {
            SegmenterEvent::Init(init) => self.presentation.init(init),
            SegmenterEvent::Chunk(chunk) => self.presentation.chunk(chunk),
            SegmenterEvent::End => self.presentation.end(),
        }
    }
}

impl Media {
    /// Serves every stream that begins, until `stop`; returns when the last segmenter has ended.
    pub async fn run(self, stop: CancellationToken) {
        let mut events = self.hub.events();
        let mut running: HashSet<(StreamPath, i64)> = HashSet::new();
        let mut tasks = JoinSet::new();
        let mut begin = |stream: Stream, tasks: &mut JoinSet<(StreamPath, i64)>| {
            let key = (stream.path().clone(), stream.started_at());
            if running.insert(key.clone()) {
                let media = self.clone();
                let stop = stop.clone();
                tasks.spawn(async move {
                    media.segment(stream, stop).await;
                    key
                });
            }
            if running.len() > 4 * tasks.len() + 64 {
                let live: HashSet<_> = self.hub.streams().iter().map(|stream| (stream.path().clone(), stream.started_at())).collect();
                running.retain(|key| live.contains(key));
            }
        };
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(StreamEvent::Started(stream)) => begin(stream, &mut tasks),
                    Ok(_) => {}
                    // Too far behind: what is live is looked up.
                    Err(RecvError::Lagged(_)) => self.hub.streams().into_iter().for_each(|stream| begin(stream, &mut tasks)),
                    Err(RecvError::Closed) => break,
                },
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                () = stop.cancelled() => break,
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn segment(&self, stream: Stream, stop: CancellationToken) {
        let path = stream.path().clone();
        let presentation = self.live.begin(&path, unix_now());
        let takers = Takers { presentation: presentation.clone(), recorder: self.recordings.record(&path) };
        Segmenter::run(stream, self.supervisor.clone(), takers).await;
        presentation.end();
        tokio::select! {
            () = tokio::time::sleep(AFTER_THE_END) => self.live.remove(&path, &presentation),
            () = stop.cancelled() => {}
        }
    }
}
