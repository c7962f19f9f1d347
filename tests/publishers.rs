//! Publishers whose encoder has gone mad, or who mean harm: what each may cost, and that others don't notice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use std::time::Duration;

use common::flv::{Clip, Publisher, Tag, make};
use common::hls::parse;
use common::recorded::{finished_mp4, packets, recording, video_frames};
use common::{Server, children_of, get, wait_for};

fn metric(server: &Server, name: &str) -> f64 {
    let (_, text) = get(&server.url("/metrics")).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("headend_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// CPU seconds that the server and its children have used.
fn cpu(server: &Server) -> f64 {
    let used = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<f64> = stat.rsplit(')').next().unwrap().split_whitespace().filter_map(|field| field.parse().ok()).collect();
        fields.get(10..12).map_or(0.0, |times| times.iter().sum::<f64>() / 100.0)
    };
    used(server.pid()) + children_of(server.pid()).into_iter().map(used).sum::<f64>()
}

/// How often the newest recording of a path begins anew.
fn discontinuities(server: &Server, path: &str) -> usize {
    let hls = recording(server, path).unwrap()["urls"]["hls"].as_str().unwrap().replace("index.m3u8", "track-0.m3u8");
    get(&server.url(&hls)).unwrap().1.matches("EXT-X-DISCONTINUITY\n").count()
}

/// Ends, and begins again, with what is sent in real time up to here (ms).
const STORM: u32 = 10_000;

/// Pictures of `a` and `b` in turns, each with its header.
fn alternating_pictures(a: &[Tag], b: &[Tag]) -> Vec<Tag> {
    let both = [a, b].map(|clip| {
        let header = clip.iter().find(|tag| tag.kind == 9 && tag.is_header()).unwrap();
        (header.clone(), clip.iter().filter(|tag| tag.kind == 9 && !tag.is_header()).cloned().collect::<Vec<_>>())
    });
    let pictures = (0..both[0].1.len()).flat_map(|number| {
        let (header, pictures) = &both[number % 2];
        let picture = pictures[number].clone();
        [Tag { ts: picture.ts, ..header.clone() }, picture]
    });
    let sound = a.iter().filter(|tag| tag.kind == 8).cloned();
    let mut tags: Vec<Tag> = pictures.chain(sound).filter(|tag| tag.ts < STORM).collect();
    tags.sort_by_key(|tag| (tag.ts, !tag.is_header()));
    tags
}

/// `clip` with another header, of one channel and of two, before each frame of sound.
fn alternating_sound(clip: &[Tag]) -> Vec<Tag> {
    let mut tags = Vec::new();
    for tag in clip.iter().filter(|tag| tag.ts < STORM) {
        if tag.kind == 8 && !tag.is_header() {
            let config: &[u8] = if tags.len() % 2 == 0 { &[0x11, 0x90] } else { &[0x11, 0x88] };
            tags.push(Tag { kind: 8, ts: tag.ts, data: [&[0xAF, 0][..], config].concat() });
        }
        tags.push(tag.clone());
    }
    tags
}

/// Each change of a format once began a pipeline, an epoch and a file: thirty a second of each.
#[test]
fn formats_that_alternate_cost_few_pipelines() {
    let clip = |size, gop| make(Clip { size, gop, seconds: 38, fps: "30", ..Default::default() });
    let (honest, keys, other_keys) = (clip("320x180", 30), clip("320x180", 1), clip("160x90", 1));
    let header = |tag: &&Tag| tag.is_header() && tag.kind != 18;
    let headers = honest.iter().filter(header).map(|tag| Tag { ts: STORM, ..tag.clone() });
    let after: Vec<Tag> = headers.chain(honest.iter().filter(|tag| tag.ts >= STORM).cloned()).collect();
    let server = Server::start();
    let mut beside = Publisher::start(server.rtmp, "live", "beside", honest.clone(), |ts| ts);
    server.wait_live("live/beside", 2);
    let (jobs, used) = (metric(&server, "pipeline_jobs_started_total"), cpu(&server));
    let storms = [("pictures", alternating_pictures(&keys, &other_keys)), ("sound", alternating_sound(&honest))];
    let mut publishers: Vec<_> = storms
        .into_iter()
        .map(|(name, storm)| Publisher::start(server.rtmp, "live", name, [storm, after.clone()].concat(), |ts| ts))
        .collect();
    std::thread::sleep(Duration::from_millis(u64::from(STORM)));
    let (jobs, used) = (metric(&server, "pipeline_jobs_started_total") - jobs, cpu(&server) - used);
    let skipped = metric(&server, "pipeline_changes_skipped_total");
    eprintln!("{jobs} jobs, {used:.2} s of CPU, {skipped} changes left out");
    // Sound that changes between key frames is converted as well.
    let each = 4.0 + f64::from(STORM) / 2000.0;
    assert!(jobs <= 3.0 * each + 2.0, "{jobs} jobs");
    assert!(used < f64::from(STORM) / 1000.0 * 0.7, "{used} s of CPU");
    assert!(skipped > 50.0, "{skipped} changes left out");
    for name in ["pictures", "sound"] {
        let told =
            || get(&server.url(&format!("/api/v1/streams/live/{name}"))).is_some_and(|(_, body)| body.contains("\"changes_format\""));
        wait_for("the publisher to be told", told, || server.log());
    }
    assert_eq!(server.log().matches("changes_format").count(), 2, "once each");
    publishers.iter_mut().for_each(Publisher::wait);
    for name in ["pictures", "sound"] {
        // All that came after the pause that it was in.
        let segments = parse(&get(&server.url(&format!("/live/{name}/v.m3u8"))).unwrap().1).segments;
        let newest = segments.last().unwrap().discontinuity;
        let whole: f64 = segments.iter().filter(|segment| segment.discontinuity == newest).map(|segment| segment.duration).sum();
        eprintln!("{name}: {whole} s in one piece");
        assert!(whole > 15.0, "{name}: {whole} s in one piece at the end\n{}", server.log());
    }
    beside.wait();
    assert_eq!(discontinuities(&server, "live/beside"), 0);
    let (kept, sent) = (packets(&finished_mp4(&server, "live/beside"), "video"), video_frames(&honest) as u64);
    assert!(kept + 1 >= sent, "{kept} of {sent} pictures of the stream beside");
}
