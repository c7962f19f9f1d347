//! Ten streams at once, with viewers of every kind: and when they have gone, nothing of them is left.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use std::collections::BTreeMap;

use common::flv::{Clip, Publisher, Tag, make};
use common::{Process, Server, decode, get, node, wait_for};

const STREAMS: usize = 10;
/// What goes up and down; all but what is kept on purpose (recordings, connections that a client keeps, warm children).
const GAUGES: [&str; 12] = [
    "streams",
    "viewers",
    "sfu_routers",
    "sfu_transports",
    "sfu_producers",
    "sfu_consumers",
    "sfu_stored_bytes",
    "pipeline_jobs",
    "pipeline_transcodes",
    "rtmp_connections",
    "rtmp_publishers",
    "rtmp_players",
];

/// The gauges now, and the sessions of WebRTC.
fn gauges(server: &Server) -> BTreeMap<String, u64> {
    let (_, text) = get(&server.url("/metrics")).expect("metrics");
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let plain = name.trim_start_matches("headend_").split('{').next().unwrap_or_default();
        if GAUGES.contains(&plain) || plain == "webrtc_sessions" {
            *found.entry(plain.to_owned()).or_default() += value.parse::<f64>().unwrap() as u64;
        }
    }
    assert!(GAUGES.iter().all(|name| found.contains_key(*name)), "{text}");
    found
}

fn open_files(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

/// Ten publishers come, are watched, and go. Gives the gauges at the height of it.
fn round(server: &Server, tags: &[Tag]) -> BTreeMap<String, u64> {
    let path = |index: usize| format!("live/cam{index}");
    let publish = |index: usize| Publisher::start(server.rtmp, "live", &format!("cam{index}"), tags.to_vec(), |ts| ts);
    let publishers: Vec<Publisher> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..STREAMS).map(|index| scope.spawn(move || publish(index))).collect();
        starting.into_iter().map(|started| started.join().unwrap()).collect()
    });
    (0..STREAMS).for_each(|index| server.wait_live(&path(index), 2));
    let _player = Process::start("ffmpeg", &["-v", "error", "-nostdin", "-i", &server.rtmp_url(&path(0)), "-f", "null", "-"]);
    let url = server.url(&format!("/{}/whep", path(1)));
    let viewers = std::thread::spawn(move || node("many.mjs", &[&url, "4", "both"]));
    let hls = [2, 3].map(|index| {
        let url = server.url(&format!("/{}/index.m3u8", path(index)));
        std::thread::spawn(move || decode(&url, 2))
    });
    let mut highest = BTreeMap::new();
    let all_watched = || {
        highest = gauges(server);
        highest.get("webrtc_sessions") >= Some(&4)
            && highest["viewers"] >= 5
            && highest["rtmp_players"] == 1
            && highest["pipeline_transcodes"] >= 1
    };
    wait_for("everybody to watch", all_watched, || server.log());
    let seen = viewers.join().unwrap();
    let viewers = seen["viewers"].as_array().unwrap_or_else(|| panic!("{seen:#}"));
    assert!(viewers.len() == 4 && viewers.iter().all(|viewer| viewer["frames"].as_u64() >= Some(20)), "{seen:#}");
    for player in hls {
        let (good, complaints) = player.join().unwrap();
        assert!(good, "{complaints}");
    }
    drop(publishers);
    highest
}

#[test]
fn ten_streams_come_and_go_and_leave_nothing_behind() {
    let server = Server::start_with("[stream]\nreconnect_window = \"100ms\"\n");
    let tags = make(Clip { size: "160x90", fps: "15", gop: 15, seconds: 40, ..Default::default() });
    let before = gauges(&server);
    assert!(before.values().all(|value| *value == 0), "{before:?}");
    let mut left = Vec::new();
    for number in 1..=2 {
        let highest = round(&server, &tags);
        eprintln!("round {number}, at its height: {highest:?}");
        assert_eq!((highest["streams"], highest["rtmp_publishers"]), (STREAMS as u64, STREAMS as u64), "{highest:?}");
        assert!(highest["sfu_producers"] >= 2 * STREAMS as u64 && highest["pipeline_jobs"] >= STREAMS as u64, "{highest:?}");
        wait_for("everything to be gone", || gauges(&server).values().all(|value| *value == 0), || format!("{:?}", gauges(&server)));
        left.push((server.memory() / 1024, open_files(&server)));
    }
    eprintln!("resident KiB and open files after each round: {left:?}");
    // The first round fills pools and caches; the second one needs no more than it.
    let [(memory, files), (memory_after, files_after)] = left[..] else { panic!() };
    assert!(memory_after < memory + memory / 4 + 8192, "{left:?}");
    assert!(files_after <= files + 4, "{left:?}");
}
