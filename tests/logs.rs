//! What strangers can do to the log: neither fill it, nor read in it what is secret, nor write what they want.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::flv::{Clip, Connection, Publisher, make};
use common::{Server, get, request, wait_for};

const OFFER: &str = include_str!("../src/sdp/fixtures/obs_whip.sdp");

/// Connects, says something, and reads to the end.
fn say(port: u16, words: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(words).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // may be reset
    String::from_utf8_lossy(&answer).into_owned()
}

fn whip(server: &Server, target: &str, more: &str) -> String {
    let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/sdp\r\n{more}");
    say(server.http, format!("{head}Content-Length: {}\r\n\r\n{OFFER}", OFFER.len()).as_bytes())
}

/// Lines of a kind, and how many of it were left out, as the log says.
fn lines(log: &str, kind: &str) -> (usize, u64) {
    let (told, written): (Vec<_>, Vec<_>) = log.lines().filter(|line| line.contains(kind)).partition(|line| line.contains("left_out="));
    (written.len(), told.into_iter().map(left_out).sum())
}

fn left_out(line: &str) -> u64 {
    let number = line.split("left_out=").nth(1).unwrap_or("0");
    number.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[test]
fn a_flood_of_strangers_does_not_fill_the_log() {
    let server = Server::start_with("[webrtc]\nconnect_timeout = \"5s\"");
    let before = server.log().lines().count();
    let began = Instant::now();
    for _ in 0..2000 {
        say(server.rtmp, b"GET / HTTP/1.1\r\n\r\n");
        say(server.http, b"\x16\x03\x01\x02\x00\x01\x00\x01");
    }
    for number in 0..1000 {
        assert!(whip(&server, &format!("/live/cam{number}/whip"), "").starts_with("HTTP/1.1 201"));
    }
    let counted = || {
        let (_, text) = get(&server.url("/metrics")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("headend_log_lines_left_out_total ")).map(str::to_owned);
        line.unwrap().parse::<u64>().unwrap()
    };
    let told = || server.log().lines().map(left_out).sum::<u64>();
    assert!(counted() > 4000, "{}", counted());
    wait_for("all to be told", || lines(&server.log(), "session ended") >= (1, 1) && counted() == told(), || server.log());
    let log = server.log();
    for (kind, times) in [("RTMP connection ended by an error", 2000), ("does not speak HTTP", 2000), ("session created", 1000)] {
        let (written, left_out) = lines(&log, kind);
        assert_eq!(written as u64 + left_out, times, "{kind}");
    }
    // Of about six kinds: these, what each session is followed by, and what is told.
    let (written, most) = (log.lines().count() - before, 6 * (20 + began.elapsed().as_secs() as usize));
    assert!(written < most, "{written} lines in {:?}", began.elapsed());
}

#[test]
fn nothing_secret_is_in_the_log_and_nobody_writes_there_what_he_wants() {
    let server = Server::start_with(
        "[stream]\npublish_keys = [{ paths = \"**\", secret = \"PLANTED-key\" }]\nviewer_tokens = [{ paths = \"**\", secret = \"PLANTED-token\" }]\n",
    );
    let rtmp = |app: &str, tc_url: &str| {
        let mut connection = Connection::shake_hands(server.rtmp);
        connection.connect(app, tc_url, "");
        connection.command(0, "createStream", 2.0, &[]);
        std::thread::sleep(Duration::from_millis(100));
        connection
    };
    // Right keys.
    let clip = make(Clip { seconds: 30, ..Clip::default() });
    let _publisher = Publisher::start(server.rtmp, "live", "cam1?token=PLANTED-key", clip, |ts| ts);
    wait_for("the stream", || server.log().contains("stream started"), || server.log());
    let mut player = rtmp("live", "rtmp://127.0.0.1/live");
    player.command(1, "play", 3.0, &["cam1?token=PLANTED-token"]);
    player.wait_for(b"NetStream.Play.Start");
    let created = whip(&server, "/live/cam2/whip", "Authorization: Bearer PLANTED-key\r\n");
    let location = created.lines().find(|line| line.to_lowercase().starts_with("location: ")).unwrap();
    let session = location.rsplit('/').next().unwrap();
    let playlist = server.url("/live/cam1/index.m3u8?token=PLANTED-token");
    wait_for("the playlist", || get(&playlist).is_some_and(|(status, _)| status == 200), || server.log());
    // Wrong ones, by every way.
    let mut early = Connection::shake_hands(server.rtmp);
    early.command(0, "publish", 3.0, &["cam1?token=PLANTED-1", "live"]);
    wait_for("it to be refused", || server.log().contains("connect has to come first"), || server.log());
    for (number, (app, tc_url, command, name)) in [
        ("live?token=PLANTED-2", "rtmp://127.0.0.1/live?token=PLANTED-3", "publish", "cam3"),
        ("live", "rtmp://somebody:PLANTED-4@127.0.0.1/live", "publish", "cam3"),
        ("live", "rtmp://127.0.0.1/live", "publish", "cam3?token=PLANTED-5&x=PLANTED-6"),
        ("live", "rtmp://127.0.0.1/live", "play", "cam1?token=PLANTED-7"),
        ("live", "rtmp://127.0.0.1/live", "play", "rtmp://a:PLANTED-8@127.0.0.1/live/cam1?token=PLANTED-9"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut connection = rtmp(app, tc_url);
        for announced in ["releaseStream", "FCPublish", "getStreamLength", "PLANTED"] {
            connection.command(0, announced, 4.0, &[name]);
        }
        connection.command(1, command, 9.0, &[name]);
        let refused = |line: &&str| line.contains("RTMP publisher refused") || line.contains("RTMP player refused");
        wait_for("it to be refused", || server.log().lines().filter(refused).count() > number, || server.log());
    }
    for (method, path, header) in [
        ("GET", "/live/cam1/index.m3u8?token=PLANTED-10", "A: b"),
        ("GET", "/live/cam1/index.m3u8", "Authorization: Bearer PLANTED-11"),
        ("POST", "/live/cam4/whip?token=PLANTED-12", "A: b"),
        ("POST", "/live/cam4/whep", "Authorization: Bearer PLANTED-13"),
        ("DELETE", "/api/v1/streams/live/cam1?token=PLANTED-14", "Authorization: Bearer PLANTED-15"),
        ("DELETE", "/live/cam4/whip/PLANTED-16", "A: b"),
    ] {
        let (status, ..) =
            request(method, &server.url(path), &["-H", header, "-H", "Content-Type: application/sdp", "--data-binary", "v=0"]).unwrap();
        assert!((400..500).contains(&status), "{method} {path}: {status}");
    }
    say(server.rtmp, b"GET /live/cam1?token=PLANTED-17 HTTP/1.1\r\nAuthorization: Bearer PLANTED-18\r\n\r\n");
    say(server.http, b"\x03rtmp://somebody:PLANTED-19@127.0.0.1/live/cam1?token=PLANTED-20");
    say(server.http, b"GET /\x1b[31m\x00PLANTED-21 HTTP/1.1\r\n\r\n");
    let (status, ..) = request("DELETE", &server.url(&format!("/live/cam2/whip/{session}")), &[]).unwrap();
    assert!((200..300).contains(&status), "{status}");

    // Names that want to be lines of their own.
    let long = format!("FMLE\x1b[31m\nERROR the disk is full {}", "x".repeat(5000));
    let whole = Connection::publish_as(server.rtmp, "live", "cam5?token=PLANTED-key", &long);
    let agent = format!("User-Agent: {}\r\nAuthorization: Bearer PLANTED-key\r\n", "y".repeat(7000));
    whip(&server, "/live/cam6/whip", &agent);
    wait_for("both", || server.log().contains("xxxx") && server.log().contains("yyyy"), || server.log());
    drop(whole);
    let log = server.log();
    for line in log.lines() {
        assert!(!line.contains("PLANTED") && !line.contains(session), "{line}");
        assert!(!line.contains('\x1b') && !line.starts_with("ERROR") && line.len() < 1000, "{line}");
    }
    assert!(log.contains(&format!("session=\"{}\"", &session[..6])), "{log}");
}
