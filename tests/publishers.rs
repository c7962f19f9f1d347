//! Publishers whose encoder has gone mad, or who mean harm: what each may cost, and that others don't notice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use std::process::Command;
use std::time::Duration;

use common::flv::{Clip, Publisher, Tag, join, make, parse as parse_flv};
use common::hls::parse;
use common::recorded::{finished_mp4, packets, recording, video_frames};
use common::{Server, children_of, get, wait_for};

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
    let (jobs, used) = (server.metric("pipeline_jobs_started_total"), cpu(&server));
    let storms = [("pictures", alternating_pictures(&keys, &other_keys)), ("sound", alternating_sound(&honest))];
    let mut publishers: Vec<_> = storms
        .into_iter()
        .map(|(name, storm)| Publisher::start(server.rtmp, "live", name, [storm, after.clone()].concat(), |ts| ts))
        .collect();
    std::thread::sleep(Duration::from_millis(u64::from(STORM)));
    let (jobs, used) = (server.metric("pipeline_jobs_started_total") - jobs, cpu(&server) - used);
    let skipped = server.metric("pipeline_changes_skipped_total");
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

/// Noise, of which each picture has some 580 KB: 138 Mbit/s. The times go on for so many rounds of it.
fn noise(rounds: u32) -> Vec<Tag> {
    let args = "-v error -nostdin -f rawvideo -pixel_format yuv420p -video_size 640x360 -framerate 30 -t 3 -i /dev/urandom \
                -c:v libx264 -preset ultrafast -qp 2 -g 30 -bf 0 -pix_fmt yuv420p -f flv -flvflags no_duration_filesize -";
    let made = Command::new("ffmpeg").args(args.split_whitespace()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    join(&vec![parse_flv(&made.stdout); rounds as usize])
}

/// Four segments were kept of each stream, whatever they weighed.
#[test]
fn a_fat_publisher_takes_no_more_memory_than_it_may() {
    const WINDOW: f64 = 24e6;
    let server = Server::start_with("[package]\nmax_bytes = 24000000\n[record]\nenabled = false");
    let honest = make(Clip { seconds: 22, ..Default::default() });
    let mut beside = Publisher::start(server.rtmp, "live", "beside", honest, |ts| ts);
    server.wait_live("live/beside", 2);
    let before = server.memory();
    let tags = noise(5);
    let bytes: usize = tags.iter().map(|tag| tag.data.len()).sum();
    assert!(bytes > 200_000_000, "{bytes} bytes in 15 s");
    let mut fat = Publisher::start(server.rtmp, "live", "fat", tags, |ts| ts);
    let mut most = (0.0, 0);
    while !fat.is_over() {
        std::thread::sleep(Duration::from_millis(200));
        let now = (server.metric("package_windows_bytes"), server.memory().saturating_sub(before));
        most = (f64::max(most.0, now.0), most.1.max(now.1));
    }
    fat.wait();
    eprintln!("{bytes} bytes were sent; the windows held {} at most, and the server grew by {}", most.0, most.1);
    let others = 2e6;
    assert!(most.0 > 10e6 && most.0 <= WINDOW + others, "{}", most.0);
    // The window, 16 MB for new viewers, and what is on its way.
    assert!(most.1 < 120_000_000, "it grew by {} bytes", most.1);
    assert!(server.log().contains("too_large"), "the publisher is told\n{}", server.log());
    beside.wait();
    let list = parse(&get(&server.url("/live/beside/v.m3u8")).unwrap().1);
    let one_piece = |segment: &common::hls::Segment| segment.discontinuity == list.segments[0].discontinuity;
    assert!(list.segments.len() >= 10 && list.segments.iter().all(one_piece), "{list:?}");
}

#[test]
fn who_sends_more_than_it_may_is_sent_away() {
    let server = Server::start_with("[stream]\nmax_bitrate = 20000000");
    let honest = make(Clip { seconds: 12, ..Default::default() });
    let mut beside = Publisher::start(server.rtmp, "live", "beside", honest, |ts| ts);
    server.wait_live("live/beside", 2);
    let _fat = Publisher::start(server.rtmp, "live", "fat", noise(2), |ts| ts);
    wait_for("the publisher to be sent away", || server.log().contains("stream.max_bitrate"), || server.log());
    beside.wait();
    assert_eq!(server.log().matches("stream.max_bitrate").count(), 1, "{}", server.log());
}
