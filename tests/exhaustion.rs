//! What runs out: the server says so, goes on with what it has, and recovers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::flv::{Clip, Connection, Publisher, Tag, make};
use common::{Server, children_of, decode, get, recorded, signal, wait_for};
use serde_json::Value;

/// A client that came early and keeps its connection.
struct Early(TcpStream);

impl Early {
    fn get(&mut self, path: &str) -> (u16, String) {
        write!(self.0, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or_else(|| panic!("no length: {head}"));
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), String::from_utf8(body).unwrap())
    }

    fn recorded_seconds(&mut self, path: &str) -> f64 {
        let list: Value = serde_json::from_str(&self.get("/api/v1/recordings").1).unwrap();
        let item = list["items"].as_array().unwrap().iter().find(|item| item["path"] == path);
        item.and_then(|item| item["duration"].as_f64()).unwrap_or(0.0)
    }
}

/// What the server says first, within a moment; nothing where it says nothing.
fn first_words(mut stream: &TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut bytes = [0; 1024];
    match stream.read(&mut bytes) {
        Ok(count) => Some(String::from_utf8_lossy(&bytes[..count]).into_owned()),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => None,
        Err(_) => Some(String::new()),
    }
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).unwrap()
}

fn clip() -> Vec<Tag> {
    make(Clip { seconds: 90, ..Clip::default() })
}

/// Who takes all file descriptors that strangers may have stops neither recordings nor the replacement of a child.
#[test]
fn connections_leave_files_for_recordings_and_children() {
    let server = Server::start_by(&["prlimit", "--nofile=256:256"], "header_timeout = \"5min\"");
    let log = || server.log();
    assert!(server.log().contains("fewer open files than the configured maxima need"), "{}", server.log());
    let _first = Publisher::start(server.rtmp, "live", "first", clip(), |ts| ts);
    server.wait_live("live/first", 2);
    recorded::wait_duration(&server, "live/first", 1.0);
    let mut early = Early(connect(server.http));
    assert_eq!(early.get("/readyz").0, 200);
    // Is connected before the flood, and begins to send in it.
    let second = Connection::publish(server.rtmp, "live", "second");

    let flood: Vec<TcpStream> = (0..300).map(|_| connect(server.http)).collect();
    let words = |stream: &TcpStream| first_words(stream).unwrap_or_default();
    let mut refused = 0;
    wait_for("HTTP to refuse", || flood[290..].iter().any(|stream| words(stream).starts_with("HTTP/1.1 503 ")), log);
    for stream in &flood[..290] {
        refused += usize::from(words(stream).starts_with("HTTP/1.1 503 "));
    }
    assert!((50..250).contains(&refused), "{refused} were refused");
    for port in [server.rtmp, server.media] {
        let closed: Vec<TcpStream> = (0..300).map(|_| connect(port)).collect();
        wait_for("the connections to be closed", || closed.iter().all(|stream| first_words(stream).is_some()), log);
    }
    let (_, metrics) = early.get("/metrics");
    for counter in ["http_few_files_total", "rtmp_few_files_total 300", "sfu_tcp_few_files_total 300"] {
        assert!(metrics.contains(counter), "{counter}");
    }

    // A new recording begins while nobody else gets in.
    let _second = Publisher::over(second, clip().into_iter().map(|tag| (tag.ts, tag)).collect(), |ts| ts);
    wait_for("the second recording", || early.recorded_seconds("live/second") > 1.0, log);
    let children = children_of(server.pid());
    assert!(!children.is_empty());
    children.iter().for_each(|pid| signal(*pid, "KILL"));
    wait_for("another child", || children_of(server.pid()).iter().any(|pid| !children.contains(pid)), log);
    let before = ["live/first", "live/second"].map(|path| (path, early.recorded_seconds(path)));
    for (path, before) in before {
        wait_for("the recording to go on", || early.recorded_seconds(path) > before + 2.0, log);
    }
    let late = connect(server.http);
    wait_for("word that it is still full", || words(&late).starts_with("HTTP/1.1 503 "), log);
    assert_eq!(early.get("/readyz").0, 200);

    drop(flood);
    wait_for("those to be let in who come now", || get(&server.url("/readyz")).is_some_and(|(status, _)| status == 200), log);
    let _third = Publisher::start(server.rtmp, "live", "third", clip(), |ts| ts);
    server.wait_live("live/third", 2);
    recorded::wait_duration(&server, "live/third", 1.0);
    let (good, complaints) = decode(&server.url("/live/first/index.m3u8"), 2);
    assert!(good, "{complaints}");
    let lines = server.log().lines().filter(|line| line.contains("connections are refused")).count();
    assert!((1..20).contains(&lines), "{lines} lines");
}
