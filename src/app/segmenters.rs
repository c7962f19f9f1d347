//! Runs the segmenter of every live stream, and hands what it makes to the live window and the recording alike.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::base::{MediaKind, StreamPath};
use crate::codec::Codec;
use crate::package::{Live, Presentation};
use crate::pipeline::{ChunkSink, Segmenter, SegmenterEvent, Supervisor};
use crate::record::RecordEvent;
use crate::record::driver::{RecorderInput, Recordings};
use crate::stream::{Hub, Stream, StreamEvent, StreamInfo, Warning};

/// How long an ended presentation can still be fetched: players read their last segments, and see the end in the playlist.
const AFTER_THE_END: Duration = Duration::from_secs(20);

/// How long a stream may be without a segment before its publisher is warned: longer than the usual distance of key frames.
const NOTHING_WITHIN: Duration = Duration::from_secs(10);

const TOO_LARGE: &str = "HLS and DASH leave out what doesn't fit into their memory: not even two segments of this stream do. Lower the bit rate or the \
                         distance of key frames, or raise package.max_bytes or package.max_total_bytes.";

/// A segmenter for every live stream, and who takes what it makes.
#[derive(Debug, Clone)]
pub(super) struct Segmenters {
    pub hub: Hub,
    pub supervisor: Supervisor,
    pub live: Live,
    pub recordings: Recordings,
}

/// Both takers of a stream's chunks.
struct Takers {
    stream: Stream,
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
            SegmenterEvent::Chunk(chunk) => {
                if !self.presentation.chunk(chunk) {
                    self.stream.warn(Warning { code: "too_large", message: TOO_LARGE.into() });
                }
            }
            SegmenterEvent::End => self.presentation.end(),
        }
    }
}

impl Segmenters {
    /// Serves every stream that begins, until `stop`; returns when the last segmenter has ended.
    pub(super) async fn run(self, stop: CancellationToken) {
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
        let presentation = self.live.begin(&path, self.hub.clock().unix());
        let takers = Takers { stream: stream.clone(), presentation: presentation.clone(), recorder: self.recordings.record(&path) };
        let watched = stream.clone();
        let served = async {
            tokio::select! {
                () = Segmenter::run(stream, self.supervisor.clone(), takers) => {}
                () = tell_of_nothing(&watched, &presentation) => {}
            }
        };
        if AssertUnwindSafe(served).catch_unwind().await.is_err() {
            tracing::error!(%path, "the segmenter of this stream has failed by a bug: its publisher is sent away, to begin anew");
            watched.evict("the server could not go on with this stream");
        }
        presentation.end();
        tokio::select! {
            () = tokio::time::sleep(AFTER_THE_END) => self.live.remove(&path, &presentation),
            () = stop.cancelled() => {}
        }
    }
}

/// Warns the publisher where nothing has come of a stream for a while, and says why. Never returns.
async fn tell_of_nothing(stream: &Stream, presentation: &Presentation) {
    tokio::time::sleep(NOTHING_WITHIN).await;
    let (snapshot, info) = (presentation.snapshot(), stream.info().await);
    let has = |kind: MediaKind| snapshot.tracks.iter().any(|track| track.kind() == kind && !track.segments.is_empty());
    let pictures = info.tracks.iter().any(|track| track.kind == MediaKind::Video);
    if !has(MediaKind::Video) && (pictures || !has(MediaKind::Audio)) {
        let what = if has(MediaKind::Audio) { "no pictures" } else { "nothing" };
        let message = format!("HLS, DASH and recordings have {what} of this stream: {}", why_nothing(&info));
        stream.warn(Warning { code: "no_segments", message });
    }
    std::future::pending().await
}

/// What the first segment of a stream waits for, as far as its tracks show.
fn why_nothing(info: &StreamInfo) -> &'static str {
    let Some(video) = info.tracks.iter().find(|track| track.kind == MediaKind::Video) else {
        return match info.tracks.first() {
            None => "nothing that can be played has come. Publish H.264 or VP8, AAC or Opus.",
            Some(sound) if sound.packets == 0 => "its sound was announced, but has not come.",
            Some(_) => "its sound could not be read. The log of the server says more.",
        };
    };
    match video {
        _ if video.packets == 0 => "its pictures were announced, but have not come.",
        _ if video.codec == Codec::H264 && video.width.is_none() => {
            "the parameter sets of its pictures (SPS, PPS) have not come. Make the encoder send a sequence header, or repeat them before key frames."
        }
        _ if video.key_frames == 0 => {
            "no key frame has come yet. Set the key-frame interval to 2 s: in OBS Settings → Output → \"Keyframe Interval\" 2 s; in ffmpeg -g with twice the frame rate."
        }
        _ if video.frames < 2 => "only one picture has come so far, and how long it is shown tells the next one.",
        _ => "its pictures could not be read. The log of the server says more.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{TrackInfo, ViewerCounts};

    #[test]
    fn a_stream_without_segments_is_told_why() {
        let track = |kind, codec, packets, width, key_frames| TrackInfo {
            kind,
            codec,
            codec_string: String::new(),
            width,
            height: width,
            sample_rate: None,
            channels: None,
            b_frames: false,
            bitrate: 0,
            packets,
            lost: 0,
            key_frames,
            frames: packets,
        };
        let (video, audio) = (MediaKind::Video, MediaKind::Audio);
        for (tracks, wanted) in [
            (vec![], "nothing that can be played"),
            (vec![track(audio, Codec::Aac, 0, None, 0)], "announced"),
            (vec![track(audio, Codec::Aac, 9, None, 0)], "log"),
            (vec![track(video, Codec::H264, 0, None, 0), track(audio, Codec::Aac, 9, None, 0)], "pictures were announced"),
            (vec![track(video, Codec::H264, 9, None, 0)], "parameter sets"),
            (vec![track(video, Codec::H264, 9, Some(640), 0)], "key frame"),
            (vec![track(video, Codec::Vp8, 9, None, 0)], "key frame"),
            (vec![track(video, Codec::H264, 1, Some(640), 1)], "only one picture"),
            (vec![track(video, Codec::H264, 9, Some(640), 3)], "log"),
        ] {
            let info = StreamInfo {
                path: StreamPath::parse("live/a").unwrap(),
                started_at_ms: 0,
                publisher: None,
                tracks,
                derived: Vec::new(),
                viewers: ViewerCounts::default(),
                warnings: Vec::new(),
            };
            assert!(why_nothing(&info).contains(wanted), "{wanted}: {}", why_nothing(&info));
        }
    }
}
