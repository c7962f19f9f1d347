//! What end-to-end tests share: a real headend process on free ports, real publishers, Node scripts in a real browser.
//!
//! Everything that is started is ended when its handle is dropped, by its own pid. Waiting is for conditions, with a bound.

#![allow(dead_code)] // each test binary uses a part of it
#![allow(clippy::disallowed_methods)] // real processes take real time

pub(crate) mod av;
pub(crate) mod captions;
pub(crate) mod flv;
pub(crate) mod hls;
pub(crate) mod nginx;
pub(crate) mod recorded;

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take to come up on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A port that is free for TCP and UDP. Never the same twice, and none of those that the kernel gives to whoever doesn't ask for one: between
/// here and the server's start, nobody takes it.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Another process begins elsewhere: what its predecessor left may still be closing.
    let begin = std::process::id() % 12_000 * 16;
    for _ in 0..1000 {
        let port = 20_000 + ((begin + TAKEN.fetch_add(1, Ordering::Relaxed)) % 12_000) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// A running headend.
pub(crate) struct Server {
    child: Child,
    pub http: u16,
    pub rtmp: u16,
    pub media: u16,
    pub dir: Arc<tempfile::TempDir>,
    config: PathBuf,
    /// What starts it, with arguments, and becomes it: the process id stays.
    starter: Vec<String>,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// With defaults, but for ports and folders.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// With more TOML: keys of `[sfu]` first, then whole sections (`[http]` and `[rtmp]` are taken).
    pub(crate) fn start_with(more: &str) -> Self {
        Self::start_at("127.0.0.1", more)
    }

    /// With WebRTC media on another address.
    pub(crate) fn start_media(address: &str) -> Self {
        Self::start_at(address, "")
    }

    /// With keys of `[http]`.
    pub(crate) fn start_http(http: &str) -> Self {
        Self::start_in("127.0.0.1", http, "", &[])
    }

    /// By a program that becomes it, such as `prlimit` or `env`, with keys of `[http]`.
    pub(crate) fn start_by(starter: &[&str], http: &str) -> Self {
        Self::start_in("127.0.0.1", http, "", starter)
    }

    fn start_at(media_address: &str, more: &str) -> Self {
        Self::start_in(media_address, "", more, &[])
    }

    fn start_in(media_address: &str, more_http: &str, more: &str, starter: &[&str]) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let (http, rtmp, media) = (free_port(), free_port(), free_port());
        let config = dir.path().join("headend.toml");
        let text = format!(
            "data_dir = {:?}\n[http]\nlisten = \"127.0.0.1:{http}\"\n{more_http}\n[rtmp]\nlisten = \"127.0.0.1:{rtmp}\"\n[sfu]\nlisten = [\"{media_address}:{media}\"]\n{more}\n",
            dir.path().join("data")
        );
        std::fs::write(&config, text).unwrap();
        let starter = starter.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (child, log) = spawn(&config, &starter);
        let server = Self { child, http, rtmp, media, dir, config, starter, log };
        server.wait_ready();
        server
    }

    fn wait_ready(&self) {
        let url = self.url("/readyz");
        wait_for("the server to be ready", || get(&url).map(|(status, _)| status) == Some(200), || self.log());
    }

    /// Starts it again with the same ports and data, after [`Server::kill`].
    pub(crate) fn restart(&mut self) {
        let _ = self.child.wait();
        let (child, log) = spawn(&self.config, &self.starter);
        self.child = child;
        self.log = log;
        self.wait_ready();
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; gives how long it took to end and whether it ended well.
    pub(crate) fn terminate(&mut self) -> (Duration, bool) {
        let began = Instant::now();
        signal(self.pid(), "TERM");
        let status = self.child.wait().unwrap();
        (began.elapsed(), status.success())
    }

    /// Waits for its end by itself; gives its exit code.
    pub(crate) fn wait_end(&mut self) -> Option<i32> {
        let log = self.log.clone();
        let mut status = None;
        let mut ended = || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        };
        wait_for("the server to end", &mut ended, || log.lock().unwrap().clone());
        status.unwrap().code()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    pub(crate) fn rtmp_url(&self, path: &str) -> String {
        format!("rtmp://127.0.0.1:{}/{path}", self.rtmp)
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// JSON of the API.
    pub(crate) fn api(&self, path: &str) -> Value {
        let (status, body) = get(&self.url(path)).expect("the API answers");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// One of `/metrics`, without labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = get(&self.url("/metrics")).unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("headend_{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Resident memory, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Waits until the API says that a stream has `tracks` tracks.
    pub(crate) fn wait_live(&self, path: &str, tracks: usize) {
        let url = self.url(&format!("/api/v1/streams/{path}"));
        let live = || {
            let Some((200, body)) = get(&url) else { return false };
            let info: Value = serde_json::from_str(&body).unwrap();
            info["tracks"].as_array().is_some_and(|known| known.len() >= tracks) && info["tracks"][0]["packets"].as_u64() > Some(0)
        };
        wait_for(&format!("{path} to be live"), live, || self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.log());
        }
    }
}

fn spawn(config: &Path, starter: &[String]) -> (Child, Arc<Mutex<String>>) {
    let whole: Vec<&str> = starter.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_headend")]).collect();
    let mut command = Command::new(whole[0]);
    command.args(&whole[1..]);
    let mut child = command
        .args(["serve", "--config"])
        .arg(config)
        .env("RUST_BACKTRACE", "1")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = collect(child.stderr.take().unwrap());
    (child, log)
}

/// Reads a pipe to the end on a thread of its own, so that nobody is held up by it.
fn collect(pipe: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let log = Arc::new(Mutex::new(String::new()));
    let into = log.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut log = into.lock().unwrap();
            if log.len() < 4 << 20 {
                log.push_str(&line);
                log.push('\n');
            }
        }
    });
    log
}

pub(crate) fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

/// The processes that a process has started.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    // Children are listed by the thread that started them.
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    children
}

/// Waits for a condition; `context` is shown when it does not come.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool, context: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}\n{}", context());
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Any process that a test started.
pub(crate) struct Process {
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Process {
    pub(crate) fn start(program: &str, args: &[&str]) -> Self {
        Self::start_with(program, args, &[])
    }

    /// With environment variables.
    pub(crate) fn start_with(program: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.args(args).envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup.sh --test installs it"));
        let output = collect(child.stderr.take().unwrap());
        Self { child, output }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end; whether it went well.
    pub(crate) fn wait(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How ffmpeg is to publish.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub size: &'a str,
    pub fps: u32,
    pub gop: u32,
    pub b_frames: u32,
    /// Whether B-frames may refer to each other, as in x264 by default.
    pub b_pyramid: bool,
    pub video: bool,
    pub audio: bool,
    pub seconds: u32,
}

impl Default for Source<'_> {
    fn default() -> Self {
        Self { size: "640x360", fps: 30, gop: 60, b_frames: 0, b_pyramid: true, video: true, audio: true, seconds: 120 }
    }
}

/// ffmpeg publishing a test picture and a tone over RTMP, in real time.
pub(crate) fn publish(url: &str, source: Source<'_>) -> Process {
    let Source { size, fps, gop, b_frames, .. } = source;
    let picture = format!("testsrc2=size={size}:rate={fps}");
    let (seconds, gop, b_frames) = (source.seconds.to_string(), gop.to_string(), b_frames.to_string());
    let mut args = vec!["-hide_banner", "-loglevel", "warning", "-re"];
    if source.video {
        args.extend(["-f", "lavfi", "-i", &picture]);
    }
    if source.audio {
        args.extend(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]);
    }
    args.extend(["-t", &seconds]);
    if source.video {
        args.extend(["-c:v", "libx264", "-preset", "ultrafast", "-g", &gop, "-keyint_min", &gop, "-sc_threshold", "0"]);
        args.extend(["-b-pyramid", if source.b_pyramid { "normal" } else { "none" }]);
        args.extend(["-bf", &b_frames, "-b:v", "1000k", "-pix_fmt", "yuv420p"]);
    }
    if source.audio {
        args.extend(["-c:a", "aac", "-b:a", "96k", "-ac", "2"]);
    }
    args.extend(["-f", "flv", url]);
    Process::start("ffmpeg", &args)
}

/// GET; status and body, or nothing where there was no answer.
pub(crate) fn get(url: &str) -> Option<(u16, String)> {
    let (status, _, body) = request("GET", url, &[])?;
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}

/// A request by curl; status, headers and body.
pub(crate) fn request(method: &str, url: &str, more: &[&str]) -> Option<(u16, String, Vec<u8>)> {
    let mut command = Command::new("curl");
    command.args(["-sS", "-i", "--max-time", "20", "-X", method, "--suppress-connect-headers"]);
    if method == "HEAD" {
        command.arg("--head");
    }
    let out = command.args(more).arg(url).output().ok()?;
    let split = out.stdout.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&out.stdout[..split]).into_owned();
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, head.to_lowercase(), out.stdout[split + 4..].to_vec()))
}

/// A script of tests/e2e, with what it printed as JSON.
pub(crate) fn node(script: &str, args: &[&str]) -> Value {
    node_with(script, args, &[])
}

/// The same with environment variables.
pub(crate) fn node_with(script: &str, args: &[&str], env: &[(&str, &str)]) -> Value {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e");
    let out = Command::new("timeout")
        .args(["90", "node", script])
        .args(args)
        .envs(env.iter().copied())
        .current_dir(dir)
        .output()
        .expect("node runs");
    let text = String::from_utf8_lossy(&out.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|_| panic!("{script} printed no JSON: {text}\n{}", String::from_utf8_lossy(&out.stderr)))
}

/// A script of tests/e2e in the background.
pub(crate) fn node_in_background(script: &str, args: &[&str]) -> Process {
    node_in_background_with(script, args, &[])
}

/// The same with environment variables.
pub(crate) fn node_in_background_with(script: &str, args: &[&str], env: &[(&str, &str)]) -> Process {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e").join(script);
    let mut all = vec![path.to_str().unwrap()];
    all.extend(args);
    Process::start_with("node", &all, env)
}

/// What ffprobe says about streams and format, as JSON.
pub(crate) fn ffprobe(input: &str) -> Value {
    let out = Command::new("timeout")
        .args(["60", "ffprobe", "-v", "error", "-count_packets", "-show_streams", "-show_format", "-of", "json", input])
        .output()
        .unwrap();
    assert!(out.status.success(), "ffprobe {input}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Decodes an input with ffmpeg, `seconds` at most; gives what it complained about.
pub(crate) fn decode(input: &str, seconds: u32) -> (bool, String) {
    let out = Command::new("timeout")
        .args(["60", "ffmpeg", "-v", "warning", "-nostdin", "-i", input, "-t", &seconds.to_string(), "-f", "null", "-"])
        .output()
        .unwrap();
    (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
}
