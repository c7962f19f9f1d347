//! A player's connection: a stream's tracks as tags.

use std::future::pending;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::select;
use tokio::time::{Instant, sleep_until};

use super::connection::{Connection, End};
use super::now;
use crate::base::{MediaKind, StreamPath};
use crate::codec::{Codec, Format, h264};
use crate::rtmp::Target;
use crate::rtmp::amf0::Value;
use crate::rtmp::egress::{Egress, Tag};
use crate::rtmp::session::Event;
use crate::rtp::batch::RtpBatch;
use crate::sfu::DirectConsumer;
use crate::stream::{SelectError, Stream, Wanted};

/// When a track ended though its stream goes on, it is looked for again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// Looks the stream up, and plays until one of the two ends it. `Ok` means that the connection can be used again, or is closing by
/// itself.
pub(super) async fn play(connection: &mut Connection, target: Target) -> Result<(), End> {
    let allowed = target.readings().find(|(path, key)| connection.context.hub.may_view(path, *key)).map(|(path, _)| path.clone());
    let path = allowed.clone().unwrap_or_else(|| target.path.clone());
    let opened = match allowed {
        Some(path) => open(connection, &path).await,
        None => Err(("NetStream.Play.Failed", format!("watching {path} needs the right token (rtmp://…/{path}?token=…)"))),
    };
    let (stream, _viewer, video, audio) = match opened {
        Ok(opened) => opened,
        Err((code, why)) => {
            connection.context.metrics.refused.inc();
            tracing::info!(%path, peer = %connection.peer, why, "RTMP player refused");
            connection.session.reject_play(code, &why);
            return Ok(());
        }
    };
    tracing::info!(%path, peer = %connection.peer, agent = connection.session.agent(), "RTMP player began");
    connection.context.metrics.players.inc();
    let mut egress = Egress::new(connection.context.config.player_buffer);
    let result = Player { connection, stream, video: None, audio: None, egress: &mut egress }.run(video, audio).await;
    let metrics = &connection.context.metrics;
    metrics.players.dec();
    metrics.player_dropped.inc_by(egress.dropped());
    let why = match &result {
        Ok(()) => "it stopped".to_owned(),
        Err(end) => end.to_string(),
    };
    tracing::info!(%path, peer = %connection.peer, dropped = egress.dropped(), why, "RTMP player ended");
    result
}

type Opened = (Stream, crate::stream::Viewer, Option<Track>, Option<Track>);

async fn open(connection: &Connection, path: &StreamPath) -> Result<Opened, (&'static str, String)> {
    let not_found = |why: String| ("NetStream.Play.StreamNotFound", why);
    let stream = connection.context.hub.stream(path).ok_or_else(|| not_found(format!("nobody is publishing {path}")))?;
    let viewer = stream.attach_viewer("rtmp").await.map_err(|error| not_found(error.to_string()))?;
    let (video, audio) = (select_track(&stream, MediaKind::Video).await, select_track(&stream, MediaKind::Audio).await);
    match (video, audio) {
        (Err(error), Err(SelectError::NoTrack(_))) | (Err(SelectError::NoTrack(_)), Err(error)) | (Err(error), Err(_)) => {
            Err(not_found(error.to_string()))
        }
        (video, audio) => {
            for error in [video.as_ref().err(), audio.as_ref().err()].into_iter().flatten() {
                tracing::debug!(%path, %error, "RTMP player goes without a track");
            }
            Ok((stream, viewer, video.ok(), audio.ok()))
        }
    }
}

/// A track being consumed.
struct Track {
    format: Format,
    consumer: DirectConsumer,
    /// Keeps a derived track going, and knows when the format changes.
    lease: crate::stream::Lease,
}

async fn select_track(stream: &Stream, kind: MediaKind) -> Result<Track, SelectError> {
    let codecs: &[Codec] = match kind {
        MediaKind::Video => &[Codec::H264],
        MediaKind::Audio => &[Codec::Aac],
    };
    let lease = stream.select(Wanted { kind, codecs, in_order: false }).await?;
    let consumer = lease.consume_direct().await?;
    Ok(Track { format: lease.format(), consumer, lease })
}

struct Player<'a> {
    connection: &'a mut Connection,
    stream: Stream,
    video: Option<Track>,
    audio: Option<Track>,
    egress: &'a mut Egress,
}

/// What woke the player up.
enum Wake {
    Read(std::io::Result<usize>),
    Written(std::io::Result<usize>),
    Batch(MediaKind, Option<RtpBatch>),
    Changed(Option<u64>),
    Retry,
    Stalled,
    Cancelled,
}

impl Player<'_> {
    async fn run(mut self, video: Option<Track>, audio: Option<Track>) -> Result<(), End> {
        self.connection.session.accept_play(now())?;
        self.connection.session.send_metadata(metadata(video.as_ref().map(|t| &t.format), audio.as_ref().map(|t| &t.format)));
        self.set_track(MediaKind::Video, video);
        self.set_track(MediaKind::Audio, audio);
        let cancel = self.connection.context.cancel.clone();
        let stall_limit = self.connection.context.config.player_timeout;
        let mut unsent = BytesMut::new();
        let mut stalled_at: Instant = (now() + stall_limit).into();
        let mut retry_at: Option<Instant> = None;
        let mut seen = 0;
        let mut tags = Vec::new();
        loop {
            while let Some(output) = self.connection.session.poll_output() {
                if unsent.is_empty() {
                    stalled_at = (now() + stall_limit).into();
                }
                unsent.extend_from_slice(&output);
            }
            self.connection.share.set(unsent.len());
            // A player that doesn't take our answers is not asked for more questions.
            let may_ask = unsent.len() <= self.connection.context.config.player_buffer;
            let (mut reader, mut writer) = self.connection.socket.split();
            let wake = select! {
                n = reader.read(&mut self.connection.buffer), if may_ask => Wake::Read(n),
                n = writer.write(&unsent), if !unsent.is_empty() => Wake::Written(n),
                () = sleep_until(stalled_at), if !unsent.is_empty() => Wake::Stalled,
                batch = receive(&mut self.video) => Wake::Batch(MediaKind::Video, batch),
                batch = receive(&mut self.audio) => Wake::Batch(MediaKind::Audio, batch),
                changes = self.stream.changed(seen) => Wake::Changed(changes),
                () = sleep_until(retry_at.unwrap_or(stalled_at)), if retry_at.is_some() => Wake::Retry,
                () = cancel.cancelled() => Wake::Cancelled,
            };
            match wake {
                Wake::Read(n) => {
                    let n = n?;
                    if n == 0 {
                        return Err(End::Closed);
                    }
                    self.connection.context.metrics.received.inc_by(n as u64);
                    self.connection.session.handle_input(now(), &self.connection.buffer[..n])?;
                    if !self.handle_events() {
                        return self.send_rest(unsent).await;
                    }
                }
                Wake::Written(n) => {
                    let n = n?;
                    self.connection.context.metrics.sent.inc_by(n as u64);
                    unsent.advance(n);
                    stalled_at = (now() + stall_limit).into();
                    if unsent.is_empty() && unsent.capacity() > self.connection.context.config.player_buffer {
                        unsent = BytesMut::new();
                    }
                }
                Wake::Batch(kind, Some(batch)) => {
                    if kind == MediaKind::Audio {
                        self.follow_audio_format();
                    }
                    let backlog = if self.connection.share.is_over() { usize::MAX } else { unsent.len() };
                    self.egress.handle(kind, &batch, backlog, &mut tags);
                    for Tag { kind, timestamp, body } in tags.drain(..) {
                        self.connection.session.send_media(kind, timestamp, body);
                    }
                    if self.egress.needs_key_frame()
                        && let Some(track) = &self.video
                    {
                        track.consumer.request_key_frame();
                    }
                }
                Wake::Batch(kind, None) => {
                    self.drop_track(kind);
                    retry_at = Some((now() + RETRY).into());
                }
                Wake::Changed(Some(changes)) => {
                    seen = changes;
                    self.select_missing().await;
                }
                Wake::Retry => {
                    retry_at = None;
                    self.select_missing().await;
                }
                Wake::Changed(None) => return self.end("the stream has ended", unsent).await,
                Wake::Cancelled => return self.end("the server is shutting down", unsent).await,
                Wake::Stalled => return Err(End::Stalled(stall_limit)),
            }
        }
    }

    /// False once the player is done.
    fn handle_events(&mut self) -> bool {
        while let Some(event) = self.connection.session.poll_event() {
            match event {
                Event::Receive { audio, video } => self.egress.set_wanted(audio, video),
                Event::Ended => return false,
                Event::Publish(_) | Event::Play(_) | Event::Media(_) | Event::Metadata(_) => {}
            }
        }
        true
    }

    fn set_track(&mut self, kind: MediaKind, track: Option<Track>) {
        if let Some(track) = &track {
            self.egress.set_track(track.format.clone());
        }
        match kind {
            MediaKind::Video => self.video = track,
            MediaKind::Audio => self.audio = track,
        }
    }

    /// AAC's configuration is not in its packets, as H.264's is, so it is asked for.
    fn follow_audio_format(&mut self) {
        if let Some(track) = &mut self.audio {
            let format = track.lease.format();
            if format != track.format {
                self.egress.set_track(format.clone());
                track.format = format;
            }
        }
    }

    fn drop_track(&mut self, kind: MediaKind) {
        match kind {
            MediaKind::Video => self.video = None,
            MediaKind::Audio => self.audio = None,
        }
    }

    async fn select_missing(&mut self) {
        for (kind, missing) in [(MediaKind::Video, self.video.is_none()), (MediaKind::Audio, self.audio.is_none())] {
            if missing && let Ok(track) = select_track(&self.stream, kind).await {
                self.set_track(kind, Some(track));
            }
        }
    }

    async fn end(self, reason: &str, unsent: BytesMut) -> Result<(), End> {
        let end = self.connection.finish(reason);
        self.send_rest(unsent).await?;
        Err(end)
    }

    /// Sends what must come before the session's next word: nothing may be left out in the middle of a message.
    async fn send_rest(self, unsent: BytesMut) -> Result<(), End> {
        let limit = Duration::from_secs(1);
        tokio::time::timeout(limit, self.connection.socket.write_all(&unsent)).await.map_err(|_| End::Stalled(limit))??;
        Ok(())
    }
}

async fn receive(track: &mut Option<Track>) -> Option<RtpBatch> {
    match track {
        Some(track) => track.consumer.recv().await,
        None => pending().await,
    }
}

/// `onMetaData` as players like to see it.
fn metadata(video: Option<&Format>, audio: Option<&Format>) -> Value {
    let mut properties = vec![("server".to_owned(), Value::text("headend"))];
    let mut number = |name: &str, value: f64| properties.push((name.to_owned(), Value::Number(value)));
    if let Some(Format::H264 { sps, .. }) = video {
        number("videocodecid", 7.0);
        if let Some(info) = sps.first().and_then(|nal| h264::parse_sps(nal).ok()) {
            number("width", f64::from(info.width));
            number("height", f64::from(info.height));
            if let Some(fps) = info.fps {
                number("framerate", fps);
            }
        }
    }
    if let Some(Format::Aac { sample_rate, channels, .. }) = audio {
        number("audiocodecid", 10.0);
        number("audiosamplerate", f64::from(*sample_rate));
        number("audiochannels", f64::from(*channels));
    }
    Value::Object(properties)
}
