//! Media from ffmpeg as RTP, as the SFU would hand it over.
#![allow(dead_code)] // each test file uses its part

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes};
use tokio::sync::mpsc;

use headend::inside::base::Clock;
use headend::inside::cmaf::{Chunk, read_fragment, read_init};
use headend::inside::codec::{AccessUnit, Format, Packetizer, h264};
use headend::inside::pipeline::segmenter::{Continuity, EpochEnd, SegmenterEvent, Tracks, run_epoch};
use headend::inside::pipeline::{PipelineConfig, PipelineTranscoder, RtpSource, Supervisor, UnitSink};
use headend::inside::rtp::batch::{BatchWriter, ClockMapping, RtpBatch};
use headend::inside::stream::TranscodeTarget;

/// When all test media begin.
pub(crate) const BEGIN: i64 = 1_800_000_000_000_000_000;

pub(crate) fn supervisor() -> Supervisor {
    Supervisor::with_program(PipelineConfig::default(), env!("CARGO_BIN_EXE_headend").into(), clock())
}

pub(crate) fn clock() -> Clock {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Clock::new(Instant::now, unix.as_nanos() as i64)
}

pub(crate) fn ffmpeg(args: &[&str], out: &Path) {
    let status = Command::new("ffmpeg").args(["-v", "error", "-y"]).args(args).arg(out).status().unwrap();
    assert!(status.success());
}

/// H.264 and AAC as OBS sends them.
pub(crate) fn flv(dir: &Path, seconds: u32, fps: u32, gop: u32, b_frames: u32) -> PathBuf {
    let path = dir.join("source.flv");
    let video = format!("testsrc2=size=320x180:rate={fps}:duration={seconds}");
    let audio = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let (gop, b_frames) = (gop.to_string(), b_frames.to_string());
    let args = ["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio, "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt"];
    let more = ["yuv420p", "-g", &gop, "-keyint_min", &gop, "-sc_threshold", "0", "-bf", &b_frames, "-c:a", "aac", "-ac", "2"];
    ffmpeg(&[&args[..], &more[..]].concat(), &path);
    path
}

/// One track: its format, and its units with times in ns (`pts`, `dts`).
#[derive(Debug, Clone)]
pub(crate) struct TestTrack {
    pub format: Format,
    pub units: Vec<AccessUnit>,
}

pub(crate) fn read_flv(path: &Path) -> Vec<TestTrack> {
    let data = std::fs::read(path).unwrap();
    let (mut video, mut audio) = (None::<TestTrack>, None::<TestTrack>);
    let mut at = 13;
    while at + 11 < data.len() {
        let head = &data[at..at + 11];
        let size = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        let ms = i64::from(u32::from_be_bytes([head[7], head[4], head[5], head[6]]));
        let body = &data[at + 11..at + 11 + size];
        at += 11 + size + 4;
        let ns = |ms: i64| ms * 1_000_000;
        match head[0] {
            8 if body[1] == 0 => {
                let config = Bytes::copy_from_slice(&body[2..]);
                let format = Format::Aac { config, sample_rate: 48_000, channels: 2 };
                audio = Some(TestTrack { format, units: Vec::new() });
            }
            8 => audio.as_mut().unwrap().units.push(AccessUnit {
                pts: ns(ms),
                dts: ns(ms),
                key: true,
                data: Bytes::copy_from_slice(&body[2..]),
            }),
            9 if body[1] == 0 => {
                let format = h264::AvcConfig::parse(&body[5..]).unwrap().into_format();
                video = Some(TestTrack { format, units: Vec::new() });
            }
            9 if body[1] == 1 => {
                let offset = (i32::from_be_bytes([body[2], body[3], body[4], 0]) >> 8) as i64;
                let data = Bytes::copy_from_slice(&body[5..]);
                video.as_mut().unwrap().units.push(AccessUnit { pts: ns(ms + offset), dts: ns(ms), key: body[0] >> 4 == 1, data });
            }
            _ => {}
        }
    }
    video.into_iter().chain(audio).collect()
}

/// A source fed by the test.
pub(crate) struct TestSource {
    pub batches: mpsc::Receiver<RtpBatch>,
    pub key_requests: Arc<Mutex<u32>>,
}

impl RtpSource for TestSource {
    async fn recv(&mut self) -> Option<RtpBatch> {
        self.batches.recv().await
    }

    fn request_key_frame(&self) {
        *self.key_requests.lock().unwrap() += 1;
    }
}

/// Turns units into RTP, one batch each.
pub(crate) struct Sender {
    packetizer: Packetizer,
    format: Format,
    seq: u16,
    said: bool,
}

impl Sender {
    pub(crate) fn new(format: &Format) -> Self {
        // Close to the wrap of both numbers, so that all tests cross it.
        Self { packetizer: Packetizer::new(format.codec(), 1200), format: format.clone(), seq: 65_500, said: false }
    }

    fn rtp_time(&self, ns: i64) -> u32 {
        let ticks = ns as i128 * i128::from(self.format.rtp_clock_rate()) / 1_000_000_000;
        (u32::MAX - 100_000).wrapping_add(ticks as u32)
    }

    pub(crate) fn batch(&mut self, unit: &AccessUnit) -> RtpBatch {
        let time = self.rtp_time(unit.pts);
        let mut packets = BatchWriter::default();
        self.packetizer.packetize(unit, &self.format, &mut |payload| {
            packets.packet(None, |packet| {
                packet.put_u8(0x80);
                packet.put_u8(96 | u8::from(payload.marker) << 7);
                packet.put_u16(self.seq);
                packet.put_u32(time);
                packet.put_u32(1);
                payload.write_to(packet);
            });
            self.seq = self.seq.wrapping_add(1);
        });
        let clock = (!std::mem::replace(&mut self.said, true)).then_some(ClockMapping { rtp: self.rtp_time(0), wallclock: BEGIN });
        packets.finish().with_clock(clock)
    }
}

/// Sends all tracks in decoding order, `speed` times faster than live.
pub(crate) fn play(media: &[TestTrack], speed: f64) -> Vec<TestSource> {
    play_changed(media, speed, |_, _| {})
}

/// As [`play`]; `change` may change each batch of each track.
pub(crate) fn play_changed(
    media: &[TestTrack],
    speed: f64,
    mut change: impl FnMut(usize, &mut RtpBatch) + Send + 'static,
) -> Vec<TestSource> {
    let mut order: Vec<(i64, usize, AccessUnit)> = Vec::new();
    let (mut senders, mut sources, mut ways) = (Vec::new(), Vec::new(), Vec::new());
    for (index, track) in media.iter().enumerate() {
        order.extend(track.units.iter().map(|unit| (unit.dts, index, unit.clone())));
        senders.push(Sender::new(&track.format));
        let (way, batches) = mpsc::channel(64);
        ways.push(way);
        sources.push(TestSource { batches, key_requests: Arc::default() });
    }
    order.sort_by_key(|(dts, index, _)| (*dts, *index));
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let mut now = 0.0;
        for (dts, index, unit) in order {
            while now < dts as f64 {
                tick.tick().await;
                now += 5e6 * speed;
            }
            let mut batch = senders[index].batch(&unit);
            change(index, &mut batch);
            if ways[index].send(batch).await.is_err() {
                return;
            }
        }
    });
    sources
}

/// Runs one epoch over all of `media`.
pub(crate) async fn segment(
    supervisor: &Supervisor,
    media: &[TestTrack],
    continuity: &mut Continuity,
    speed: f64,
    changed: impl Future<Output = EpochEnd>,
) -> (EpochEnd, Vec<SegmenterEvent>) {
    segment_sources(supervisor, media, play(media, speed), continuity, changed).await
}

/// As [`segment`], with sources made by the test.
pub(crate) async fn segment_sources(
    supervisor: &Supervisor,
    media: &[TestTrack],
    sources: Vec<TestSource>,
    continuity: &mut Continuity,
    changed: impl Future<Output = EpochEnd>,
) -> (EpochEnd, Vec<SegmenterEvent>) {
    let tracks = Tracks { formats: media.iter().map(|track| track.format.clone()).collect(), sources, later: None };
    let events = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&events);
    let mut sink = move |event| taken.lock().unwrap().push(event);
    let epoch = run_epoch(supervisor, "live/test", tracks, continuity, changed, &mut sink);
    let end = tokio::time::timeout(Duration::from_secs(60), epoch).await.unwrap().unwrap();
    let events = std::mem::take(&mut *events.lock().unwrap());
    (end, events)
}

/// Opus packets of an Ogg file (RFC 7845), with the pre-skip as it comes.
pub(crate) fn read_ogg_opus(path: &Path) -> TestTrack {
    let data = std::fs::read(path).unwrap();
    let (mut packets, mut packet, mut at) = (Vec::new(), Vec::new(), 0);
    while at + 27 < data.len() {
        let lacing = &data[at + 27..at + 27 + usize::from(data[at + 26])];
        at += 27 + lacing.len();
        for &length in lacing {
            packet.extend_from_slice(&data[at..at + usize::from(length)]);
            at += usize::from(length);
            if length < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
    }
    let unit = |(n, data)| AccessUnit { pts: n as i64 * 20_000_000, dts: n as i64 * 20_000_000, key: true, data: Bytes::from(data) };
    TestTrack { format: Format::Opus { channels: 2 }, units: packets.into_iter().skip(2).enumerate().map(unit).collect() }
}

/// VP8 frames of an IVF file, times in ms.
pub(crate) fn read_ivf(path: &Path) -> TestTrack {
    let data = std::fs::read(path).unwrap();
    let (rate, scale) = (u32::from_le_bytes(data[16..20].try_into().unwrap()), u32::from_le_bytes(data[20..24].try_into().unwrap()));
    let mut units = Vec::new();
    let mut at = 32;
    while at + 12 < data.len() {
        let size = u32::from_le_bytes(data[at..at + 4].try_into().unwrap()) as usize;
        let ticks = i64::from_le_bytes(data[at + 4..at + 12].try_into().unwrap());
        let frame = Bytes::copy_from_slice(&data[at + 12..at + 12 + size]);
        let pts = ticks * 1_000_000_000 * i64::from(scale) / i64::from(rate);
        units.push(AccessUnit { pts, dts: pts, key: frame[0] & 1 == 0, data: frame });
        at += 12 + size;
    }
    TestTrack { format: Format::Vp8, units }
}

/// Collects what a transcode gives, with times since [`BEGIN`].
#[derive(Clone, Default)]
pub(crate) struct TestSink {
    pub units: Arc<Mutex<Vec<AccessUnit>>>,
    pub format: Arc<Mutex<Option<Format>>>,
    /// A key frame is wanted whenever as many units have come.
    pub want_key_after: Option<usize>,
    pub asked: bool,
}

impl UnitSink for TestSink {
    fn write_at(&mut self, unit: AccessUnit) -> bool {
        self.units.lock().unwrap().push(AccessUnit { pts: unit.pts - BEGIN, dts: unit.dts - BEGIN, ..unit });
        true
    }

    fn set_format(&mut self, format: Format) {
        *self.format.lock().unwrap() = Some(format);
    }

    async fn key_frame_requested(&mut self) -> Option<()> {
        if let Some(after) = self.want_key_after
            && !self.asked
        {
            while self.units.lock().unwrap().len() < after {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.asked = true;
            return Some(());
        }
        std::future::pending().await
    }
}

/// Transcodes all of `track` but what stays inside the encoder.
pub(crate) async fn transcode(
    supervisor: &Supervisor,
    track: &TestTrack,
    target: TranscodeTarget,
    sink: TestSink,
    speed: f64,
) -> TestTrack {
    let transcoder = PipelineTranscoder::new(supervisor.clone());
    // The source stays open, so that what is still inside comes out before the job ends.
    let mut sources = play(std::slice::from_ref(track), speed);
    let (keep, batches) = mpsc::channel(64);
    let mut inner = sources.remove(0);
    let requests = Arc::clone(&inner.key_requests);
    let carry = tokio::spawn(async move {
        while let Some(batch) = inner.recv().await {
            keep.send(batch).await.unwrap();
        }
        keep
    });
    let source = TestSource { batches, key_requests: requests };
    let guard = transcoder.start_with("test".into(), source, track.format.clone(), target, sink.clone()).unwrap();
    let keep = carry.await.unwrap();
    // Done when nothing has come for a while.
    let mut before = usize::MAX;
    loop {
        let now = sink.units.lock().unwrap().len();
        if now == before {
            break;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    drop((guard, keep));
    let units = std::mem::take(&mut *sink.units.lock().unwrap());
    TestTrack { format: sink.format.lock().unwrap().clone().unwrap(), units }
}

/// Files of one track: initialization and chunks.
pub(crate) fn write_track(dir: &Path, name: &str, events: &[SegmenterEvent], track: u32, epoch: u32) -> std::path::PathBuf {
    let mut data = Vec::new();
    for event in events {
        match event {
            SegmenterEvent::Init(init) if init.track == track && init.epoch == epoch => data.extend_from_slice(&init.data),
            SegmenterEvent::Chunk(chunk) if chunk.track == track && chunk.epoch == epoch => data.extend_from_slice(&chunk.data),
            _ => {}
        }
    }
    let path = dir.join(name);
    std::fs::write(&path, data).unwrap();
    path
}

pub(crate) fn chunks(events: &[SegmenterEvent], track: u32, epoch: u32) -> Vec<Chunk> {
    let of = |event: &SegmenterEvent| match event {
        SegmenterEvent::Chunk(chunk) if chunk.track == track && chunk.epoch == epoch => Some(chunk.clone()),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

/// Decodes a file; gives the hash and time of each frame.
pub(crate) fn decoded(path: &Path, stream: &str) -> Vec<(i64, String)> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-copyts", "-i"])
        .arg(path)
        .args(["-map", stream, "-fps_mode", "passthrough", "-enc_time_base", "1:90000", "-f", "framemd5", "-"])
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            (fields[2].parse().unwrap(), fields[5].to_owned())
        })
        .collect()
}

/// What must hold for the chunks of any track: numbers and flags, times without holes.
pub(crate) fn check_chunks(chunks: &[Chunk], slack: u64) {
    assert!(chunks[0].first && chunks[0].independent);
    for pair in chunks.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        assert_eq!(b.first, a.last, "{a:?} {b:?}");
        assert_eq!(b.segment, a.segment + u64::from(b.first));
        let end = a.presentation_time + a.duration;
        assert!(end.abs_diff(b.presentation_time) <= slack, "{} {} {}", a.presentation_time, a.duration, b.presentation_time);
        assert!(a.wallclock < b.wallclock);
        assert!(!b.first || b.independent);
    }
}

/// When each sample of a track is shown, in ns since [`BEGIN`]: `tfdt`, composition offset and edit list, put on the wall clock by what
/// the chunk says of its earliest sample. Fails where readers are known to disagree about it.
pub(crate) fn shown(events: &[SegmenterEvent], track: u32, epoch: u32) -> Vec<i64> {
    let init = events.iter().find_map(|event| match event {
        SegmenterEvent::Init(init) if init.track == track && init.epoch == epoch => Some(init),
        _ => None,
    });
    let init = read_init(&init.unwrap().data).unwrap();
    let mut shown = Vec::new();
    let mut next = None;
    for chunk in chunks(events, track, epoch) {
        let fragment = read_fragment(&chunk.data, init.defaults).unwrap();
        // Each duration is rounded by itself.
        let slack = fragment.samples.len() as u64;
        assert!(next.is_none_or(|next: u64| next.abs_diff(fragment.decode_time) <= slack), "{next:?} {}", fragment.decode_time);
        next = Some(fragment.decode_time + fragment.duration());
        // Shaka and hls.js take `tfdt` for when the chunk is shown. (FLV's times are whole milliseconds.)
        let apart = fragment.decode_time.abs_diff(chunk.presentation_time);
        assert!(apart <= u64::from(init.timescale / 1000), "{} {}", fragment.decode_time, chunk.presentation_time);
        let mut at = fragment.decode_time as i64 + init.presentation_shift;
        // Where a segment begins. Chunks within it are cut at any picture, also where one decoded later is shown earlier.
        if chunk.first {
            let earliest = at + i64::from(fragment.earliest_shown());
            assert!(earliest.abs_diff(chunk.presentation_time as i64) <= u64::from(init.timescale / 1000));
        }
        for sample in &fragment.samples {
            // ffmpeg adds the lowest of all.
            assert!(sample.cts >= 0, "a negative composition offset");
            let ticks = (at + i64::from(sample.cts) - chunk.presentation_time as i64) as f64;
            shown.push(chunk.wallclock - BEGIN + (ticks * 1e9 / f64::from(init.timescale)) as i64);
            at += i64::from(sample.duration);
        }
    }
    shown.sort_unstable();
    shown
}

/// Segments of two tracks begin at the same times, to half an audio frame.
pub(crate) fn check_alignment(video: &[Chunk], audio: &[Chunk]) {
    let starts = |chunks: &[Chunk]| chunks.iter().filter(|chunk| chunk.first).map(|c| (c.segment, c.wallclock)).collect::<Vec<_>>();
    let (video, audio) = (starts(video), starts(audio));
    assert_eq!(video.len(), audio.len(), "{video:?} {audio:?}");
    for (v, a) in video.iter().zip(&audio) {
        assert_eq!(v.0, a.0);
        assert!((v.1 - a.1).abs() <= 12_000_000, "{v:?} {a:?}");
    }
}

impl Sender {
    /// Goes on where another sender's numbers ended.
    pub(crate) fn go_on_after(&mut self, other: &Sender) {
        self.seq = other.seq;
        self.said = true;
    }
}

/// A source of batches that are there already.
pub(crate) fn from_batches(batches: Vec<RtpBatch>, pause: Duration) -> TestSource {
    let (way, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(pause);
        for batch in batches {
            tick.tick().await;
            if way.send(batch).await.is_err() {
                return;
            }
        }
    });
    TestSource { batches: receiver, key_requests: Arc::default() }
}

/// As [`play`], but what has times from `gap_end` on is sent as if it had come at `gap_begin`.
pub(crate) fn play_compressed(media: &[TestTrack], speed: f64, gap_end: i64, gap_begin: i64) -> Vec<TestSource> {
    let mut senders: Vec<Sender> = media.iter().map(|track| Sender::new(&track.format)).collect();
    let pause = Duration::from_secs_f64(0.01 / speed);
    media
        .iter()
        .zip(&mut senders)
        .map(|(track, sender)| {
            let mut timed: Vec<(i64, RtpBatch)> = Vec::new();
            for unit in &track.units {
                let at = if unit.dts >= gap_end { unit.dts - gap_end + gap_begin } else { unit.dts };
                timed.push((at, sender.batch(unit)));
            }
            let mut batches = Vec::new();
            let mut now = 0;
            for (at, batch) in timed {
                while now < at {
                    now += 10_000_000;
                    batches.push(RtpBatch::default());
                }
                batches.push(batch);
            }
            from_batches(batches, pause)
        })
        .collect()
}
