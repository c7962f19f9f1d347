//! Real clients — ffmpeg, GStreamer's rtmp2sink and librtmp (which OBS has too) — against the session behind a plain TCP loop.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::egress::Egress;
use super::ingest::{Action, Ingest};
use super::session::{Event, ServerSession, SessionTimeouts};
use super::testing::Source;
use super::{Oddity, RtmpError};
use crate::base::MediaKind;
use crate::codec::{AccessUnit, Format};

/// No client here needs more than a second or two; a machine under load may.
const LIMIT: Duration = Duration::from_secs(20);
const TIMEOUTS: SessionTimeouts = SessionTimeouts { handshake: Duration::from_secs(10), idle: Duration::from_secs(10) };

#[allow(clippy::disallowed_methods)] // real sockets
fn now() -> Instant {
    Instant::now()
}

/// Ends the client when the test is over, however it ends.
struct Client(Option<Child>);

impl Client {
    fn start(program: &str, args: &[&str]) -> Self {
        let child = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self(Some(child.unwrap_or_else(|error| panic!("{program} has to be installed (scripts/setup.sh): {error}"))))
    }

    fn output(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn accept(listener: &TcpListener) -> TcpStream {
    let deadline = now() + LIMIT;
    loop {
        match listener.accept() {
            Ok((socket, _)) => {
                socket.set_nonblocking(false).unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
                return socket;
            }
            Err(_) => {
                assert!(now() < deadline, "the client did not connect");
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    }
}

/// Reads once and feeds the session, and sends its answers. False at the end.
fn pump(socket: &mut TcpStream, session: &mut ServerSession) -> bool {
    pump_into(socket, session, &mut Vec::new())
}

/// As `pump`, and keeps what came.
fn pump_into(socket: &mut TcpStream, session: &mut ServerSession, raw: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 8192];
    let alive = match socket.read(&mut buffer) {
        Ok(0) => false,
        Ok(n) => {
            raw.extend_from_slice(&buffer[..n]);
            session.handle_input(now(), &buffer[..n]).unwrap();
            true
        }
        Err(error) => matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    };
    while let Some(output) = session.poll_output() {
        // A publisher that has said all may be gone already.
        let _ = socket.write_all(&output);
    }
    alive
}

#[derive(Default)]
struct Published {
    target: String,
    key: Option<String>,
    agent: Option<String>,
    metadata: bool,
    ended: bool,
    formats: Vec<Format>,
    video: Vec<AccessUnit>,
    audio: Vec<AccessUnit>,
    warnings: Vec<&'static str>,
    unknown_commands: u64,
    /// All bytes that came.
    raw: Vec<u8>,
}

/// Lets one client publish to its end.
fn record(program: &str, args: impl Fn(u16) -> Vec<String>) -> Published {
    let (listener, port) = listen();
    let args = args(port);
    let client = Client::start(program, &args.iter().map(String::as_str).collect::<Vec<_>>());
    let mut socket = accept(&listener);
    let mut session = ServerSession::new(now(), TIMEOUTS);
    let (mut ingest, mut seen, mut actions) = (Ingest::new(), Published::default(), Vec::new());
    let deadline = now() + LIMIT;
    while pump_into(&mut socket, &mut session, &mut seen.raw) && !seen.ended {
        assert!(now() < deadline, "{program} did not end");
        while let Some(event) = session.poll_event() {
            match event {
                Event::Publish(stream, target) => {
                    (seen.target, seen.key) = (target.path.to_string(), target.key);
                    session.accept_publish(now(), stream).unwrap();
                }
                Event::Media(_, media) => ingest.handle(&media, 0, &mut actions),
                Event::Metadata(..) => seen.metadata = true,
                Event::Ended(_) => seen.ended = true,
                other => panic!("{other:?}"),
            }
        }
    }
    seen.agent = session.agent().map(str::to_owned);
    seen.unknown_commands = session.oddities().of(Oddity::UnknownCommand);
    drop(socket);
    ingest.finish(&mut actions);
    let output = client.output();
    assert!(!seen.target.is_empty(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    for action in actions {
        match action {
            Action::Format(format) => seen.formats.push(format),
            Action::Unit(MediaKind::Video, unit) => seen.video.push(unit),
            Action::Unit(MediaKind::Audio, unit) => seen.audio.push(unit),
            Action::Warn(warning) => seen.warnings.push(warning.code),
        }
    }
    assert_eq!((ingest.counters().damaged, ingest.counters().before_header, ingest.counters().audio_jumps), (0, 0, 0), "{program}");
    seen
}

/// What holds for every publisher: formats first, key frame first, times that rise, audio without jitter.
fn check(seen: &Published, pictures: usize) {
    assert_eq!(seen.target, "live/cam1");
    assert_eq!(seen.unknown_commands, 0);
    assert!(seen.metadata && seen.ended);
    let codecs: Vec<_> = seen.formats.iter().map(|f| f.codec().display_name()).collect();
    assert!(codecs.len() == 2 && codecs.contains(&"H.264") && codecs.contains(&"AAC"), "{codecs:?}");
    assert_eq!(seen.video.len(), pictures);
    assert!(seen.video[0].key);
    assert!(seen.video.windows(2).all(|w| w[1].dts > w[0].dts));
    assert!(seen.video.iter().all(|u| u.pts >= u.dts));
    assert!(seen.audio.len() > 40);
    assert!(seen.audio.windows(2).all(|w| w[1].pts - w[0].pts == 1024));
}

fn ffmpeg(extra: &str, url: &str) -> Vec<String> {
    let input =
        "-hide_banner -loglevel error -f lavfi -i testsrc2=size=320x240:rate=25:duration=2 -f lavfi -i sine=sample_rate=44100:duration=2";
    format!("{input} -c:v libx264 -preset veryfast -g 25 -pix_fmt yuv420p {extra} -c:a aac -f flv {url}")
        .split(' ')
        .map(str::to_owned)
        .collect()
}

#[test]
fn ffmpeg_publishes() {
    let seen = record("ffmpeg", |port| ffmpeg("-tune zerolatency", &format!("rtmp://127.0.0.1:{port}/live/cam1?token=k%21")));
    check(&seen, 50);
    assert_eq!(seen.key.as_deref(), Some("k!"));
    assert!(seen.agent.is_some_and(|agent| agent.contains("Lavf")));
    assert_eq!(seen.video.iter().filter(|u| u.key).count(), 2);
    assert!(seen.video.iter().all(|u| u.pts == u.dts));
    assert_eq!(seen.warnings, [""; 0]);
}

/// Feeds a recorded connection in pieces of `piece` bytes, letting the publisher in; gives its access units, up to an error.
fn replay(raw: &[u8], piece: usize) -> (Vec<AccessUnit>, Option<RtmpError>) {
    let start = now();
    let mut session = ServerSession::new(start, TIMEOUTS);
    let (mut ingest, mut actions) = (Ingest::new(), Vec::new());
    let mut error = None;
    for part in raw.chunks(piece) {
        error = session.handle_input(start, part).err();
        while let Some(event) = session.poll_event() {
            match event {
                Event::Publish(stream, _) => error = session.accept_publish(start, stream).err().or(error),
                Event::Media(_, media) => ingest.handle(&media, 0, &mut actions),
                _ => {}
            }
        }
        assert!(session.poll_output().is_none_or(|output| output.len() < 64 * 1024));
        if error.is_some() {
            break;
        }
    }
    let units = actions.into_iter().filter_map(|a| if let Action::Unit(_, unit) = a { Some(unit) } else { None });
    (units.collect(), error)
}

/// A real connection gives the same in any pieces; damaged in any place it is an error or goes on, but nothing worse.
#[test]
fn a_recorded_connection_in_pieces_and_damaged() {
    let seen = record("ffmpeg", |port| ffmpeg("-tune zerolatency -t 1", &format!("rtmp://127.0.0.1:{port}/live/cam1")));
    let (whole, error) = replay(&seen.raw, seen.raw.len());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(whole.len(), seen.video.len() + seen.audio.len());
    for piece in [1, 7, 128, 1460] {
        let (units, error) = replay(&seen.raw, piece);
        assert!(units == whole && error.is_none(), "{piece}: {error:?}");
    }
    let mut errors = 0;
    let mut state = 1u32;
    for _ in 0..200 {
        let mut raw = seen.raw.clone();
        for _ in 0..3 {
            // A small generator with a fixed seed, so that a failure comes again.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = 3073 + (state >> 8) as usize % (raw.len() - 3073);
            raw[at] ^= 1 << (state >> 5 & 7);
        }
        errors += usize::from(replay(&raw, 1460).1.is_some());
    }
    assert!(errors > 0, "some damage hits a header");
}

#[test]
fn ffmpeg_publishes_b_frames() {
    let seen = record("ffmpeg", |port| ffmpeg("-bf 2", &format!("rtmp://127.0.0.1:{port}/live/cam1")));
    check(&seen, 50);
    assert!(seen.video.iter().any(|u| u.pts > u.dts));
    assert_eq!(seen.warnings, [""; 0], "order is told by the stream, which places the times");
}

/// GStreamer's tags through `sink`.
fn gstreamer(sink: &str) -> Vec<String> {
    let video = "videotestsrc num-buffers=50 ! video/x-raw,format=I420,width=320,height=240,framerate=25/1 ! x264enc tune=zerolatency key-int-max=25 ! h264parse ! mux.";
    let audio = "audiotestsrc num-buffers=100 ! audio/x-raw,rate=48000,channels=2 ! voaacenc ! aacparse ! mux.";
    format!("-q {video} {audio} flvmux name=mux streamable=true ! {sink}").split_whitespace().map(str::to_owned).collect()
}

#[test]
fn gstreamer_rtmp2sink_publishes() {
    let seen = record("gst-launch-1.0", |port| gstreamer(&format!("rtmp2sink location=rtmp://127.0.0.1:{port}/live/cam1")));
    check(&seen, 50);
    assert_eq!(seen.warnings, [""; 0]);
}

#[test]
fn librtmp_publishes() {
    let seen = record("gst-launch-1.0", |port| gstreamer(&format!("rtmpsink location=rtmp://127.0.0.1:{port}/live/cam1")));
    check(&seen, 50);
}

#[test]
fn refused_publishers_see_the_sentence() {
    let (listener, port) = listen();
    let args = ffmpeg("-tune zerolatency", &format!("rtmp://127.0.0.1:{port}/live/cam1"));
    let client = Client::start("ffmpeg", &args.iter().map(String::as_str).collect::<Vec<_>>());
    let mut socket = accept(&listener);
    let mut session = ServerSession::new(now(), TIMEOUTS);
    let deadline = now() + LIMIT;
    while !session.is_closing() && pump(&mut socket, &mut session) {
        assert!(now() < deadline);
        if let Some(Event::Publish(stream, _)) = session.poll_event() {
            session.reject_publish(now(), stream, "NetStream.Publish.BadName", "live/cam1 is being published already").unwrap();
        }
    }
    while pump(&mut socket, &mut session) {
        assert!(now() < deadline);
    }
    let output = client.output();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("live/cam1 is being published already"), "{said}");
}

/// What ffmpeg published goes through RTP to a player: ffprobe.
#[test]
fn ffmpeg_plays_what_ffmpeg_published() {
    for extra in ["-tune zerolatency", "-bf 2"] {
        let published = record("ffmpeg", |port| ffmpeg(extra, &format!("rtmp://127.0.0.1:{port}/live/cam1")));
        let mut units: Vec<(MediaKind, &AccessUnit)> =
            published.video.iter().map(|u| (MediaKind::Video, u)).chain(published.audio.iter().map(|u| (MediaKind::Audio, u))).collect();
        units.sort_by_key(|(kind, unit)| match kind {
            MediaKind::Video => unit.dts * 1000 / 90_000,
            MediaKind::Audio => unit.dts * 1000 / 44_100,
        });

        let (listener, port) = listen();
        let url = format!("rtmp://127.0.0.1:{port}/live/cam1");
        let entries = "stream=codec_name,width,sample_rate,nb_read_packets";
        let client = Client::start("ffprobe", &["-v", "error", "-count_packets", "-show_entries", entries, "-of", "flat", &url]);
        let mut socket = accept(&listener);
        let mut session = ServerSession::new(now(), TIMEOUTS);
        let deadline = now() + LIMIT;
        let mut done = false;
        while !done && pump(&mut socket, &mut session) {
            assert!(now() < deadline);
            if let Some(Event::Play(stream, target)) = session.poll_event() {
                assert_eq!(target.path.as_str(), "live/cam1");
                session.accept_play(now(), stream).unwrap();
                let mut egress = Egress::new(1 << 20);
                let source = |codec| Source::new(published.formats.iter().find(|f| f.kind() == codec).unwrap().clone(), 0);
                let (mut video, mut audio) = (source(MediaKind::Video), source(MediaKind::Audio));
                egress.set_track(video.format.clone());
                egress.set_track(audio.format.clone());
                let mut tags = Vec::new();
                for (kind, unit) in &units {
                    let source = if *kind == MediaKind::Video { &mut video } else { &mut audio };
                    egress.handle(*kind, &source.unit(unit), 0, &mut tags);
                }
                tags.drain(..).for_each(|tag| session.send_media(stream, tag.kind, tag.timestamp, tag.body));
                session.finish("The stream has ended.");
                done = true;
            }
        }
        while pump(&mut socket, &mut session) {
            assert!(now() < deadline);
            socket.shutdown(std::net::Shutdown::Write).ok();
        }
        let output = client.output();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        for want in ["\"h264\"", "width=320", "\"aac\"", "sample_rate=\"44100\"", "nb_read_packets=\"50\""] {
            assert!(said.contains(want), "{extra}: {want} in {said}");
        }
        assert!(!said.contains("non monoton"), "{said}");
    }
}
