//! An RTMP publisher that sends prepared FLV tags as they are, with any timestamps: what ffmpeg would mend, it does not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// An FLV tag: an RTMP message of type 8 (audio), 9 (video) or 18 (metadata).
#[derive(Clone)]
pub(crate) struct Tag {
    pub kind: u8,
    /// Milliseconds.
    pub ts: u32,
    pub data: Vec<u8>,
}

impl Tag {
    /// Metadata or a sequence header.
    pub(crate) fn is_header(&self) -> bool {
        self.kind == 18 || self.data.get(1) == Some(&0)
    }
}

/// A picture that is white for the first tenth of each second, and a beep of 1 kHz at the same time.
pub(crate) const FLASH: &str = "drawbox=t=fill:c=white:enable='lt(mod(t,1),0.1)'";
pub(crate) const BEEP: &str = "aevalsrc='if(lt(mod(t,1),0.1),0.8*sin(2*PI*1000*t),0)':s=";

/// What [`make`] makes.
#[derive(Clone, Copy)]
pub(crate) struct Clip<'a> {
    pub size: &'a str,
    /// As ffmpeg writes rates.
    pub fps: &'a str,
    pub gop: u32,
    pub b_frames: u32,
    pub audio_rate: u32,
    pub channels: u32,
    pub seconds: u32,
    /// More output options of ffmpeg.
    pub more: &'a [&'a str],
}

impl Default for Clip<'_> {
    fn default() -> Self {
        Self { size: "320x180", fps: "30", gop: 30, b_frames: 0, audio_rate: 48000, channels: 2, seconds: 6, more: &[] }
    }
}

/// Encodes flashes and beeps into FLV tags.
pub(crate) fn make(clip: Clip<'_>) -> Vec<Tag> {
    let video = format!("testsrc2=size={}:rate={},{FLASH}", clip.size, clip.fps);
    let audio = format!("{BEEP}{}", clip.audio_rate);
    let (gop, b, seconds, channels) =
        (clip.gop.to_string(), clip.b_frames.to_string(), clip.seconds.to_string(), clip.channels.to_string());
    let mut child = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio, "-t", &seconds])
        .args([
            "-c:v",
            "libx264",
            "-preset",
            "superfast",
            "-threads",
            "2",
            "-pix_fmt",
            "yuv420p",
            "-g",
            &gop,
            "-sc_threshold",
            "0",
            "-bf",
            &b,
        ])
        .args(["-c:a", "aac", "-b:a", "96k", "-ac", &channels])
        .args(clip.more)
        .args(["-f", "flv", "-flvflags", "no_duration_filesize", "-"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("ffmpeg runs");
    let mut flv = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut flv).unwrap();
    assert!(child.wait().unwrap().success());
    parse(&flv)
}

/// The tags of an FLV file.
pub(crate) fn parse(flv: &[u8]) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut at = 9 + 4;
    while let Some(head) = flv.get(at..at + 11) {
        let len = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        let ts = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
        let Some(data) = flv.get(at + 11..at + 11 + len) else { break };
        tags.push(Tag { kind: head[0] & 31, ts, data: data.to_vec() });
        at += 11 + len + 4;
    }
    // ffmpeg closes with an empty end-of-sequence picture.
    tags.retain(|tag| !(tag.kind == 9 && tag.data.get(1) == Some(&2)));
    tags
}

/// One clip after the other on one timeline.
pub(crate) fn join(clips: &[Vec<Tag>]) -> Vec<Tag> {
    let mut out: Vec<Tag> = Vec::new();
    for clip in clips {
        let offset = out.iter().map(|tag| tag.ts).max().map_or(0, |last| last.div_ceil(1000) * 1000);
        out.extend(clip.iter().cloned().map(|tag| Tag { ts: tag.ts + offset, ..tag }));
    }
    out
}

fn amf_string(out: &mut Vec<u8>, text: &str) {
    out.push(2);
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

fn amf_number(out: &mut Vec<u8>, number: f64) {
    out.push(0);
    out.extend(number.to_be_bytes());
}

/// Writes RTMP messages, each chunk of at most [`CHUNK`] bytes, with whole headers.
pub(crate) struct Connection {
    stream: TcpStream,
    seen: Arc<Mutex<Vec<u8>>>,
}

const CHUNK: usize = 4096;

impl Connection {
    /// Connects and publishes `app/key`.
    pub(crate) fn publish(port: u16, app: &str, key: &str) -> Self {
        Self::publish_as(port, app, key, "")
    }

    /// The same by the name that the client gives itself.
    pub(crate) fn publish_as(port: u16, app: &str, key: &str, agent: &str) -> Self {
        let mut connection = Self::shake_hands(port);
        connection.connect(app, &format!("rtmp://127.0.0.1:{port}/{app}"), agent);
        connection.command(0, "createStream", 2.0, &[]);
        // A command on a stream that does not exist yet would be refused.
        std::thread::sleep(Duration::from_millis(100));
        connection.command(1, "publish", 3.0, &[key, "live"]);
        connection.wait_for(b"NetStream.Publish.Start");
        connection
    }

    /// Only the handshake.
    pub(crate) fn shake_hands(port: u16) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut hello = vec![0u8; 1537];
        hello[0] = 3;
        stream.write_all(&hello).unwrap();
        let mut answer = vec![0u8; 1 + 2 * 1536];
        stream.read_exact(&mut answer).unwrap();
        stream.write_all(&answer[1..1537]).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut reader = stream.try_clone().unwrap();
        let into = seen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                into.lock().unwrap().extend(&bytes[..n]);
            }
        });
        let mut connection = Self { stream, seen };
        connection.message(2, 1, 0, 0, &(CHUNK as u32).to_be_bytes());
        connection
    }

    /// The command `connect`, and its answer.
    pub(crate) fn connect(&mut self, app: &str, tc_url: &str, agent: &str) {
        let mut connect = Vec::new();
        amf_string(&mut connect, "connect");
        amf_number(&mut connect, 1.0);
        connect.push(3);
        for (name, value) in [("app", app), ("type", "nonprivate"), ("tcUrl", tc_url), ("flashVer", agent)] {
            connect.extend((name.len() as u16).to_be_bytes());
            connect.extend(name.as_bytes());
            amf_string(&mut connect, value);
        }
        connect.extend([0, 0, 9]);
        self.message(3, 20, 0, 0, &connect);
        self.wait_for(b"NetConnection.Connect.Success");
    }

    /// Any command with texts.
    pub(crate) fn command(&mut self, stream: u32, name: &str, transaction: f64, texts: &[&str]) {
        let mut command = Vec::new();
        amf_string(&mut command, name);
        amf_number(&mut command, transaction);
        command.push(5);
        texts.iter().for_each(|text| amf_string(&mut command, text));
        self.message(if stream == 0 { 3 } else { 4 }, 20, stream, 0, &command);
    }

    /// Until the server has said something.
    pub(crate) fn wait_for(&self, what: &[u8]) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.seen.lock().unwrap().windows(what.len()).any(|window| window == what) {
            assert!(Instant::now() < deadline, "the server did not say {}", String::from_utf8_lossy(what));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn message(&mut self, chunk_stream: u8, kind: u8, stream: u32, ts: u32, data: &[u8]) {
        let chunk = if kind == 1 { 128 } else { CHUNK };
        let extended = ts >= 0xFF_FFFF;
        let mut out = vec![chunk_stream];
        out.extend(&(if extended { 0xFF_FFFF } else { ts }).to_be_bytes()[1..]);
        out.extend(&(data.len() as u32).to_be_bytes()[1..]);
        out.push(kind);
        out.extend(stream.to_le_bytes());
        for (index, part) in data.chunks(chunk).enumerate() {
            if index > 0 {
                out.push(0xC0 | chunk_stream);
            }
            if extended {
                out.extend(ts.to_be_bytes());
            }
            out.extend(part);
        }
        self.stream.write_all(&out).unwrap_or_else(|error| panic!("the server hung up: {error}"));
    }

    /// Sends a tag with its timestamp.
    pub(crate) fn send(&mut self, tag: &Tag) {
        let chunk_stream = match tag.kind {
            8 => 4,
            9 => 6,
            _ => 5,
        };
        self.message(chunk_stream, tag.kind, 1, tag.ts, &tag.data);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both); // the reading thread holds the socket too
    }
}

/// A publisher at work on a thread of its own.
pub(crate) struct Publisher {
    thread: Option<std::thread::JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    /// Of every video tag that was sent: its timestamp before rewriting (ms), when it was sent (ms of Unix time).
    pub sent: Arc<Mutex<Vec<(u32, f64)>>>,
}

impl Publisher {
    /// Sends `tags` at the pace of their timestamps, each with the timestamp that `rewrite` gives for it; hangs up at the end.
    pub(crate) fn start(port: u16, app: &str, key: &str, tags: Vec<Tag>, rewrite: impl Fn(u32) -> u32 + Send + 'static) -> Self {
        Self::start_timed(port, app, key, tags.into_iter().map(|tag| (tag.ts, tag)).collect(), rewrite)
    }

    /// As [`Self::start`], each tag so many ms after the beginning.
    pub(crate) fn start_timed(
        port: u16,
        app: &str,
        key: &str,
        tags: Vec<(u32, Tag)>,
        rewrite: impl Fn(u32) -> u32 + Send + 'static,
    ) -> Self {
        Self::over(Connection::publish(port, app, key), tags, rewrite)
    }

    /// As [`Self::start_timed`], over a connection that publishes already.
    pub(crate) fn over(mut connection: Connection, tags: Vec<(u32, Tag)>, rewrite: impl Fn(u32) -> u32 + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (stopped, note) = (stop.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            for (due, mut tag) in tags {
                let due = began + Duration::from_millis(u64::from(due));
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let original = tag.ts;
                tag.ts = rewrite(tag.ts);
                connection.send(&tag);
                if tag.kind == 9 && !tag.is_header() {
                    note.lock().unwrap().push((original, unix_ms()));
                }
            }
        });
        Self { thread: Some(thread), stop, sent }
    }

    /// Whether everything was sent.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(std::thread::JoinHandle::is_finished)
    }

    /// Until everything was sent.
    pub(crate) fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the publisher sent everything");
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Milliseconds of Unix time.
pub(crate) fn unix_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() * 1000.0
}
