//! Strangers who mean harm: each attack as it would be made, over real sockets, and what it may cost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use common::flv::{Clip, Connection, Publisher, make};
use common::{Server, get, request, wait_for};

/// What OBS offers.
const OFFER: &str = include_str!("../src/sdp/fixtures/obs_whip.sdp");
/// Largest offer that is read, in bytes.
const LARGEST: usize = 64 * 1024;

/// POSTs an offer; gives the status.
fn whip(server: &Server, path: &str, offer: &Path) -> u16 {
    post(&server.url(&format!("/{path}/whip")), offer)
}

fn post(url: &str, offer: &Path) -> u16 {
    let data = format!("@{}", offer.display());
    request("POST", url, &["-H", "Content-Type: application/sdp", "--data-binary", &data]).unwrap().0
}

/// 64 KB of lines each, made so that much would be kept of them for as long as a session is half open. `a=rtcp-fb:*` once weighed 7.6 MB.
#[test]
fn a_half_open_session_keeps_little_of_its_offer() {
    let server = Server::start();
    let offer = server.dir.path().join("offer.sdp");
    let types = (0..96).chain(97..128).map(|pt| pt.to_string()).collect::<Vec<_>>().join(" ");
    let maps = (0..128).map(|pt| format!("a=rtpmap:{pt} H264/90000\r\n")).collect::<String>();
    let everything = OFFER.replace("SAVPF 96\r\n", &format!("SAVPF 96 {types}\r\n{maps}"));
    assert_ne!(everything, OFFER);
    let fill = |line: &dyn Fn(usize) -> String| {
        let mut text = everything.clone();
        for line in (0..).map(line) {
            if text.len() + line.len() + 2 > LARGEST {
                break;
            }
            text.push_str(&line);
            text.push_str("\r\n");
        }
        text
    };
    std::fs::write(&offer, OFFER).unwrap();
    assert_eq!(whip(&server, "live/first", &offer), 201);
    for (kind, (name, text, status)) in [
        ("one long line of feedback", everything.clone() + "a=rtcp-fb:* nack " + &"A".repeat(50_000) + "\r\n", 400),
        ("feedback for all", fill(&|at| format!("a=rtcp-fb:* nack {at}{}", "A".repeat(2000))), 201),
        (
            "parameters",
            fill(&|at| format!("a=fmtp:{} {}", at % 128, (0..90).map(|name| format!("p{name}=aaaaaaaaaaaaaaa;")).collect::<String>())),
            201,
        ),
        ("extensions", fill(&|at| format!("a=extmap:{} urn:{at}:{}", 1 + at % 14, "A".repeat(1000))), 201),
        ("what nobody knows", fill(&|at| format!("a=x{at}:{}", "A".repeat(1000))), 201),
        ("many lines", fill(&|_| "a=mid:1".to_owned()), 400),
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::write(&offer, text).unwrap();
        let before = server.memory();
        for session in 0..30 {
            assert_eq!(whip(&server, &format!("live/{kind}x{session}"), &offer), status, "{name}");
        }
        let each = server.memory().saturating_sub(before) / 30;
        eprintln!("{name}: {each} bytes a session");
        assert!(each < 500_000, "{name}: {each} bytes a session");
    }
}

/// Half-open WHIP sessions and RTMP publishers that say nothing once took all the streams there may be.
#[test]
fn silent_publishers_take_no_streams() {
    let server = Server::start_with("[stream]\nmax_streams = 2\nmax_silent_publishers = 8");
    let offer = server.dir.path().join("offer.sdp");
    std::fs::write(&offer, OFFER).unwrap();
    let mut silent = Vec::new();
    for number in 0..12 {
        assert_eq!(whip(&server, &format!("live/whip{number}"), &offer), 201, "nobody is refused for what others do");
        silent.push(Connection::publish(server.rtmp, "live", &format!("rtmp{number}")));
    }
    let waiting = || server.metric("silent_publishers");
    wait_for("the oldest to give way", || waiting() <= 8.0, || server.log());
    assert!(server.metric("silent_publishers_gave_way_total") >= 16.0);
    assert_eq!(server.metric("streams"), 0.0);
    // Meanwhile those get in that mean it, as many as there may be.
    let clip = || make(Clip { seconds: 30, ..Default::default() });
    let _publishers = ["a", "b"].map(|name| {
        let publisher = Publisher::start(server.rtmp, "live", name, clip(), |ts| ts);
        server.wait_live(&format!("live/{name}"), 2);
        publisher
    });
    assert_eq!(whip(&server, "live/c", &offer), 503, "the server is full");
    // Those who were there before hear so when they begin to send.
    let tags = clip();
    let last = silent.last_mut().unwrap();
    for tag in tags.iter().take(20) {
        last.send(tag);
    }
    wait_for("word that the server is full", || server.log().contains("stream.max_streams"), || server.log());
    assert_eq!(server.metric("streams"), 2.0);
}

/// Connections to the ICE-TCP port that say nothing, or ask for somebody that there isn't, once kept browsers behind firewalls out.
#[test]
fn silent_tcp_connections_keep_nobody_out() {
    let server = Server::start();
    let connect = || TcpStream::connect(("127.0.0.1", server.media)).unwrap();
    let silent: Vec<TcpStream> = (0..700).map(|_| connect()).collect();
    // A binding request whose user is nobody's: the worker's four digits, and letters.
    let names = (0..40).map(|number| format!("{:04x}Zz9Zz{number:02}:abcd", number % 2));
    let invented: Vec<TcpStream> = names
        .map(|name| {
            let mut attribute = vec![0, 6, 0, name.len() as u8];
            attribute.extend(name.as_bytes());
            attribute.resize(attribute.len().next_multiple_of(4), 0);
            let mut request = vec![0, 1, 0, attribute.len() as u8, 0x21, 0x12, 0xA4, 0x42];
            request.extend([7; 12]);
            request.extend(attribute);
            let mut stream = connect();
            stream.write_all(&(request.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&request).unwrap();
            stream
        })
        .collect();
    let is_closed = |stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        matches!((&*stream).read(&mut [0]), Ok(0))
            || (&*stream).read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    };
    wait_for("those with invented names to be closed", || invented.iter().all(is_closed), || server.log());
    wait_for("the oldest to be closed", || silent.iter().take(100).all(is_closed), || server.log());
    let new: Vec<TcpStream> = (0..20).map(|_| connect()).collect();
    // As slow as it may be, it would still say who it is.
    std::thread::sleep(Duration::from_millis(700));
    assert!(!new.iter().any(is_closed), "who comes now has its time");
    assert!(silent.iter().rev().take(20).all(|stream| !is_closed(stream)), "so have those before");
}

/// Half-open WHEP sessions, each with a transport and consumers, once took all the sessions there may be.
#[test]
fn viewers_who_do_not_connect_keep_nobody_out() {
    let server = Server::start_with("[webrtc]\nmax_sessions = 16\nmax_connecting = 1000");
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", make(Clip { seconds: 60, ..Default::default() }), |ts| ts);
    server.wait_live("live/cam1", 2);
    let offer = server.dir.path().join("offer.sdp");
    std::fs::write(&offer, include_str!("../src/sdp/fixtures/chromium156_recvonly.sdp")).unwrap();
    let url = server.url("/live/cam1/whep");
    let knock = |times: usize| (0..times).for_each(|_| assert_eq!(post(&url, &offer), 201, "nobody is refused for what others do"));
    knock(20);
    let sessions = || {
        let (_, text) = get(&server.url("/metrics")).unwrap();
        let line = text.lines().find(|line| line.starts_with("headend_webrtc_sessions{protocol=\"whep\"}")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    wait_for("the oldest to give way", || sessions() <= 8.0, || server.log());
    assert!(server.metric("webrtc_sessions_gave_way_total") >= 12.0);
    // Who means it is in, and stays, whoever else comes.
    let seen = std::thread::scope(|scope| {
        let viewer = scope.spawn(|| common::node("whep.mjs", &[&url, "6"]));
        wait_for("the viewer to connect", || server.log().contains("session connected"), || server.log());
        knock(20);
        viewer.join().unwrap()
    });
    assert!(seen["played"].as_f64() > Some(4.0), "of 6 s: {seen:#}");
}

/// Connections that say nothing once took all of RTMP's.
#[test]
fn silent_rtmp_connections_keep_nobody_out() {
    let server = Server::start();
    let connect = || TcpStream::connect(("127.0.0.1", server.rtmp)).unwrap();
    let mut silent: Vec<TcpStream> = (0..200).map(|_| connect()).collect();
    let all_came = || server.metric("rtmp_accepted_total") >= 200.0 && server.metric("rtmp_connections") <= 128.0;
    wait_for("the oldest to give way", all_came, || server.log());
    assert!(server.metric("rtmp_gave_way_total") >= 72.0);
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", make(Clip { seconds: 30, ..Default::default() }), |ts| ts);
    server.wait_live("live/cam1", 2);
    silent.extend((0..200).map(|_| connect()));
    wait_for("them to give way, too", || server.metric("rtmp_gave_way_total") >= 200.0, || server.log());
    assert_eq!(server.metric("streams"), 1.0, "who publishes stays");
}

/// Addresses and counters were once shown to anybody, and the admin token taken from wherever it stood.
#[test]
fn what_is_the_operators_is_not_shown_to_others() {
    let server = Server::start_with("[api]\nadmin_token = \"s3cret\"");
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", make(Clip { seconds: 60, ..Default::default() }), |ts| ts);
    server.wait_live("live/cam1", 2);
    let stranger = ["-H", "X-Forwarded-For: 192.0.2.1"];
    let operator = ["-H", "X-Forwarded-For: 192.0.2.1", "-H", "Authorization: Bearer s3cret"];
    let wrong = ["-H", "X-Forwarded-For: 192.0.2.1", "-H", "Authorization: Bearer other"];
    for (headers, metrics, address) in [(&[][..], 200, true), (&stranger, 401, false), (&operator, 200, true), (&wrong, 403, false)] {
        assert_eq!(request("GET", &server.url("/metrics"), headers).unwrap().0, metrics, "{headers:?}");
        for url in ["/api/v1/streams", "/api/v1/streams/live/cam1"] {
            let (status, _, body) = request("GET", &server.url(url), headers).unwrap();
            let text = String::from_utf8_lossy(&body);
            assert_eq!((status, text.contains("live/cam1"), text.contains("127.0.0.1")), (200, true, address), "{headers:?}: {text}");
        }
    }
    // What stands in an address is logged and sent on: there the token is none.
    let ended =
        |query: &str, headers: &[&str]| request("DELETE", &server.url(&format!("/api/v1/streams/live/cam1{query}")), headers).unwrap().0;
    assert_eq!((ended("?token=s3cret", &[]), ended("", &wrong)), (401, 403));
    assert_eq!(request("GET", &server.url("/metrics?token=s3cret"), &stranger).unwrap().0, 401);
    assert_eq!(ended("", &operator), 204);
}

/// Somebody who tries one key after another. From another machine: those on this one may all come through a reverse proxy.
#[test]
fn keys_can_not_be_tried_without_end() {
    let server =
        Server::start_http("trusted_proxies = [\"127.0.0.1\"]\n[stream]\nviewer_tokens = [{ paths = \"live/*\", secret = \"t1\" }]");
    let _publisher = Publisher::start(server.rtmp, "live", "cam1", make(Clip { seconds: 60, ..Default::default() }), |ts| ts);
    let playlist = server.url("/live/cam1/index.m3u8?token=t1");
    wait_for("the playlist", || get(&playlist).is_some_and(|(status, _)| status == 200), || server.log());
    let ask = |from: &str, key: &str| {
        let from = format!("X-Forwarded-For: {from}");
        let began = Instant::now();
        let status = request("GET", &server.url(&format!("/live/cam1/index.m3u8?token={key}")), &["-H", &from]).unwrap().0;
        (status, began.elapsed() >= Duration::from_secs(1))
    };
    for number in 0..11 {
        assert_eq!(ask("192.0.2.1", &format!("wrong{number}")), (403, false), "{number}");
    }
    assert_eq!(ask("192.0.2.1", "wrong"), (403, true), "it waits");
    assert_eq!(ask("192.0.2.1", "t1"), (200, true), "so does whoever sits beside it, once");
    assert_eq!(ask("192.0.2.1", "t1"), (200, false));
    assert_eq!(ask("192.0.2.2", "wrong"), (403, false), "elsewhere nobody waits");
    let ask = &ask;
    let unseen = std::thread::scope(|scope| {
        let all: Vec<_> = (0..40).map(|number| scope.spawn(move || ask("192.0.2.1", &format!("more{number}")))).collect();
        all.into_iter().map(|one| one.join().unwrap().0).filter(|status| *status == 429).count()
    });
    assert!(unseen > 0, "most are not even looked at");
    assert_eq!(server.metric("http_keys_unseen_total"), unseen as f64);
    assert_eq!(server.metric("http_wrong_keys_total"), (13 + 40 - unseen) as f64);
}
