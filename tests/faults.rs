//! What goes wrong in real life: crashes, reconnects, strangers. Everyone else's streams go on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use common::{Process, Server, Source, children_of, decode, get, node_in_background, publish, signal, wait_for};
use serde_json::Value;

fn media_playlist(server: &Server) -> String {
    get(&server.url("/live/cam1/v.m3u8")).map(|(_, text)| text).unwrap_or_default()
}

#[test]
fn a_killed_pipeline_child_costs_a_discontinuity_and_nothing_else() {
    let server = Server::start();
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    wait_for("a playlist", || media_playlist(&server).contains("#EXTINF"), || server.log());
    let children = children_of(server.pid());
    assert!(!children.is_empty());
    children.iter().for_each(|pid| signal(*pid, "KILL"));
    wait_for("the stream to go on", || media_playlist(&server).contains("#EXT-X-DISCONTINUITY\n"), || server.log());
    let (good, complaints) = decode(&server.url("/live/cam1/index.m3u8"), 3);
    assert!(good, "{complaints}");
    assert_eq!(server.api("/api/v1/streams/live/cam1")["publisher"]["protocol"], "rtmp", "the publisher noticed nothing");
}

#[test]
fn after_kill_9_live_resumes_and_the_recording_plays() {
    let mut server = Server::start();
    {
        let _publisher = publish(&server.rtmp_url("live/cam1"), Source::default());
        server.wait_live("live/cam1", 2);
        let recorded = || server.api("/api/v1/recordings")["items"][0]["duration"].as_f64() > Some(5.0);
        wait_for("five seconds to be recorded", recorded, || server.log());
        server.kill();
    }
    // As if the clock had been set back by a day while the server was down.
    let mark = server.dir.path().join("data/segment-numbers");
    let numbers = std::fs::read_to_string(&mark).unwrap();
    let ahead = numbers.split_once(' ').unwrap().0.parse::<u64>().unwrap() + 86_400;
    std::fs::write(&mark, format!("{ahead} Unix seconds\n")).unwrap();
    server.restart();
    let item = server.api("/api/v1/recordings")["items"][0].clone();
    assert_eq!((&item["live"], &item["state"]), (&Value::from(false), &Value::from("recovered")), "{item:#}");
    assert!(item["duration"].as_f64() > Some(4.0), "at most one fragment is lost: {item:#}");
    let (good, complaints) = decode(&server.url(item["urls"]["mp4"].as_str().unwrap()), 60);
    assert!(good && complaints.is_empty(), "{complaints}");
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    let (second, playlist) = (format!("\nv-{}.m4s\n", ahead + 1), || media_playlist(&server));
    wait_for("numbers beyond all before", || playlist().contains(&second), playlist);
    let (good, complaints) = decode(&server.url("/live/cam1/index.m3u8"), 3);
    assert!(good, "{complaints}");
}

#[test]
fn a_publisher_that_returns_finds_its_viewers() {
    let server = Server::start();
    let mut first = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    let mut viewer = node_in_background("stay.mjs", &[&server.url("/live/cam1/whep")]);
    wait_for("the viewer to see it", || viewer.output().contains("playing"), || viewer.output());
    first.kill();
    let publishing = || !server.api("/api/v1/streams/live/cam1")["publisher"].is_null();
    wait_for("the server to notice", || !publishing(), || server.log());
    let _second = publish(&server.rtmp_url("live/cam1"), Source::default());
    wait_for("the publisher to be back", publishing, || server.log());
    let pictures = || viewer.output().lines().rev().find_map(|line| line.strip_prefix("pictures ")?.parse::<u32>().ok()).unwrap_or(0);
    let before = pictures();
    wait_for("the viewer to see it again", || pictures() > before + 60, || viewer.output() + &server.log());
    assert_eq!(server.api("/api/v1/streams/live/cam1")["viewers"]["by_protocol"]["webrtc"], 1, "the same session");
    assert!(viewer.is_running() || viewer.wait());
    wait_for("the discontinuity in HLS", || media_playlist(&server).contains("#EXT-X-DISCONTINUITY\n"), || media_playlist(&server));
}

#[test]
fn a_second_publisher_is_refused_while_the_first_is_alive() {
    let server = Server::start();
    let mut first = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    let mut second = publish(&server.rtmp_url("live/cam1"), Source { seconds: 5, ..Default::default() });
    assert!(!second.wait());
    assert!(first.is_running());
    // A frozen one is taken over.
    signal(first.pid(), "STOP");
    let taken_over = || {
        let mut third: Process = publish(&server.rtmp_url("live/cam1"), Source { seconds: 1, ..Default::default() });
        third.wait()
    };
    wait_for("the takeover", taken_over, || server.log());
    signal(first.pid(), "CONT");
}

#[test]
fn sigterm_ends_everything_in_order_within_five_seconds() {
    let mut server = Server::start();
    let mut publisher = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    let recorded = || server.api("/api/v1/recordings")["items"][0]["duration"].as_f64() > Some(3.0);
    wait_for("three seconds to be recorded", recorded, || server.log());
    let children = children_of(server.pid());
    let (took, good) = server.terminate();
    assert!(good && took < Duration::from_secs(5), "{took:?}\n{}", server.log());
    publisher.wait();
    for child in children {
        let gone = || !std::path::Path::new(&format!("/proc/{child}")).exists();
        wait_for("the children to be gone", gone, String::new);
    }
    server.restart();
    let item = server.api("/api/v1/recordings")["items"][0].clone();
    assert_eq!(item["state"], "finished", "{item:#}");
}

#[test]
fn a_child_that_hangs_ends_with_its_parent() {
    let mut server = Server::start();
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    wait_for("a playlist", || media_playlist(&server).contains("#EXTINF"), || server.log());
    let children = children_of(server.pid());
    assert!(!children.is_empty());
    children.iter().for_each(|pid| signal(*pid, "STOP"));
    server.kill();
    // Whoever adopts it may be slow to ask how it ended.
    let ended = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ")
    };
    wait_for("the children to end", || children.iter().all(ended), String::new);
}

#[test]
fn strangers_do_not_disturb_a_stream() {
    let server = Server::start();
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    let packets = || server.api("/api/v1/streams/live/cam1")["tracks"][0]["packets"].as_u64().unwrap();
    let mut noise: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut bytes = |n: usize| -> Vec<u8> {
        (0..n)
            .map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise as u8
            })
            .collect()
    };
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for round in 0..50 {
        for port in [server.rtmp, server.http, server.media] {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let _ = stream.write_all(&[3]); // what an RTMP handshake begins with, and nonsense elsewhere
            let _ = stream.write_all(&bytes(1536 + round * 100));
        }
        // STUN, DTLS and RTP by their first byte (RFC 7983), and noise after it.
        for first in [0, 1, 20, 22, 128, 144, 200] {
            let mut datagram = bytes(40 + round * 20);
            datagram[0] = first;
            let _ = udp.send_to(&datagram, ("127.0.0.1", server.media));
        }
    }
    let before = packets();
    wait_for("packets to go on", || packets() > before + 60, || server.log());
    let (good, complaints) = decode(&server.url("/live/cam1/index.m3u8"), 2);
    assert!(good, "{complaints}");
}
