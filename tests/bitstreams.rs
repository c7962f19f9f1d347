//! Bitstreams that no encoder here makes, or that few do: fields, HE-AAC that isn't announced, captions that are transcoded.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use std::process::Command;

use common::av::onsets;
use common::captions::captioned;
use common::flv::{Clip, Publisher, Tag, make};
use common::recorded::{finished_mp4, packets, wait_duration};
use common::{Server, decode, ffprobe, node};

const SHORT_LIVED: &str = "[stream]\nreconnect_window = \"1s\"\n[pipeline]\ntranscode_max = 8\n";

/// Writes bits from the most significant one on, with emulation prevention in the end (H.264 section 7.4.1.1).
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn bits(&mut self, value: u32, count: u32) -> &mut Self {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    fn ue(&mut self, value: u32) -> &mut Self {
        let length = 32 - (value + 1).leading_zeros();
        self.bits(0, length - 1).bits(value + 1, length)
    }

    fn align(&mut self) -> &mut Self {
        while !self.0.len().is_multiple_of(8) {
            self.0.push(false);
        }
        self
    }

    fn nal(&mut self, header: u8) -> Vec<u8> {
        self.bits(1, 1).align(); // rbsp_stop_one_bit
        let mut nal = vec![header];
        let mut zeros = 0;
        for byte in self.0.chunks(8).map(|bits| bits.iter().fold(0u8, |byte, bit| byte << 1 | u8::from(*bit))) {
            if zeros >= 2 && byte <= 3 {
                nal.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            nal.push(byte);
        }
        nal
    }
}

/// Macroblocks across, and down in a field: pictures of 64 by 64.
const ACROSS: u32 = 4;
const DOWN: u32 = 2;

/// Interlaced video of main profile whose frames are two fields each (PAFF), 25 a second, all macroblocks as they are (I_PCM).
struct Fields;

impl Fields {
    fn sps() -> Vec<u8> {
        let mut bits = Bits::default();
        bits.bits(77, 8).bits(0, 8).bits(30, 8).ue(0); // main profile, level 3
        bits.ue(0).ue(2).ue(1).bits(0, 1); // 4 bits of frame_num, order as decoded, one reference
        bits.ue(ACROSS - 1).ue(DOWN - 1).bits(0, 1).bits(0, 1).bits(1, 1); // frame_mbs_only_flag 0, no MBAFF
        bits.bits(0, 1).bits(0, 1); // no cropping, no VUI
        bits.nal(0x67)
    }

    fn pps() -> Vec<u8> {
        let mut bits = Bits::default();
        bits.ue(0).ue(0).bits(0, 2).ue(0).ue(0).ue(0).bits(0, 3).ue(0).ue(0).ue(0).bits(0, 3); // CAVLC
        bits.nal(0x68)
    }

    /// A field of one brightness.
    fn field(frame: u32, bottom: bool, idr: bool, luma: u8) -> Vec<u8> {
        let mut bits = Bits::default();
        bits.ue(0).ue(7).ue(0).bits(frame % 16, 4).bits(1, 1).bits(u32::from(bottom), 1);
        if idr {
            bits.ue(0).bits(0, 2);
        } else {
            bits.bits(0, 1);
        }
        bits.ue(0); // slice_qp_delta
        for _ in 0..ACROSS * DOWN {
            bits.ue(25).align();
            (0..256).for_each(|_| _ = bits.bits(u32::from(luma), 8));
            (0..128).for_each(|_| _ = bits.bits(128, 8));
        }
        bits.nal(if idr { 0x65 } else { 0x61 })
    }

    /// FLV tags of so many frames; `apart`: a message for each field.
    fn tags(frames: u32, gop: u32, apart: bool) -> Vec<Tag> {
        let (sps, pps) = (Self::sps(), Self::pps());
        let length = |nal: &[u8]| (nal.len() as u16).to_be_bytes().to_vec();
        let record = [&[1, sps[1], sps[2], sps[3], 0xFF, 0xE1][..], &length(&sps), &sps, &[1], &length(&pps), &pps].concat();
        let mut tags = vec![Tag { kind: 9, ts: 0, data: [&[0x17, 0, 0, 0, 0][..], &record].concat() }];
        for n in 0..frames {
            let (idr, luma) = (n % gop == 0, 20 + (n % 24) as u8 * 9);
            let unit = |nal: Vec<u8>| [&(nal.len() as u32).to_be_bytes()[..], &nal].concat();
            let [top, bottom] = [false, true].map(|bottom| unit(Self::field(n % gop, bottom, idr && !bottom, luma)));
            let head = [if idr { 0x17 } else { 0x27 }, 1, 0, 0, 0];
            let tag = |ts, head: [u8; 5], units: &[u8]| Tag { kind: 9, ts, data: [&head[..], units].concat() };
            if apart {
                tags.push(tag(n * 40, head, &top));
                tags.push(tag(n * 40 + 20, [0x27, 1, 0, 0, 0], &bottom));
            } else {
                tags.push(tag(n * 40, head, &[top, bottom].concat()));
            }
        }
        tags
    }
}

/// Numbers of the pictures that ffmpeg decodes, each by how bright it is.
fn brightness(input: &str, seconds: &str) -> Vec<i64> {
    let out = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i", input, "-t", seconds, "-map", "0:v:0", "-fps_mode", "passthrough"])
        .args(["-vf", "signalstats,metadata=print:key=lavfi.signalstats.YAVG:file=-", "-f", "null", "-"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let values = text.lines().filter_map(|line| line.split_once("YAVG=")).map(|(_, value)| value.trim().parse::<f64>().unwrap());
    values.map(|value| ((value - 20.0) / 9.0).round() as i64).collect()
}

#[test]
fn two_fields_are_one_picture() {
    let server = Server::start_with(SHORT_LIVED);
    let frames = 250;
    let mut publishers = [("together", false), ("apart", true)]
        .map(|(key, apart)| (key, Publisher::start(server.rtmp, "live", key, Fields::tags(frames, 50, apart), |ts| ts)));
    for (key, publisher) in &mut publishers {
        let path = format!("live/{key}");
        wait_duration(&server, &path, 4.0);
        for file in ["v.m3u8", "manifest.mpd"] {
            let seen = brightness(&server.url(&format!("/{path}/{file}")), "2");
            assert!(seen.len() >= 40 && seen.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 24), "{key} {file}: {seen:?}");
        }
        publisher.wait();
        let mp4 = finished_mp4(&server, &path);
        let right: Vec<i64> = (0..i64::from(frames)).map(|n| n % 24).collect();
        assert_eq!((packets(&mp4, "video"), brightness(&mp4, "20")), (u64::from(frames), right), "{key}: {}", server.log());
        let (good, complaints) = decode(&mp4, 60);
        assert!(good && complaints.is_empty(), "{key}: {complaints}");
    }
}

/// The frames of an ADTS file as FLV tags of AAC-LC, each of so many ms, over and over for so many seconds.
fn as_lc(file: &str, config: [u8; 2], seconds: f64) -> Vec<Tag> {
    let bytes = std::fs::read(format!("{}/tests/fixtures/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut frames = Vec::new();
    let mut rest = &bytes[..];
    while rest.len() > 7 {
        let length = usize::from(rest[3] & 3) << 11 | usize::from(rest[4]) << 3 | usize::from(rest[5]) >> 5;
        frames.push(rest[7..length].to_vec());
        rest = &rest[length..];
    }
    let mut tags = vec![Tag { kind: 8, ts: 0, data: [&[0xAF, 0][..], &config].concat() }];
    let count = (seconds * 24_000.0 / 1024.0) as usize;
    tags.extend((0..count).map(|n| {
        let ts = (n as f64 * 1024.0 / 24.0).round() as u32;
        Tag { kind: 8, ts, data: [&[0xAF, 1][..], &frames[n % frames.len()]].concat() }
    }));
    tags
}

#[test]
fn he_aac_that_is_announced_as_lc_has_its_own_speed() {
    let server = Server::start_with(SHORT_LIVED);
    let seconds = 14;
    let mut publishers = Vec::new();
    // AAC-LC of 24 kHz, stereo and mono: neither SBR nor parametric stereo is announced.
    for (key, file, config) in [("sbr", "he-aac.adts", [0x13, 0x10]), ("ps", "he-aac-v2.adts", [0x13, 0x08])] {
        let mut tags = make(Clip { seconds, ..Default::default() });
        tags.retain(|tag| tag.kind != 8);
        let sound = as_lc(file, config, f64::from(seconds));
        let count = sound.len() - 1;
        tags.extend(sound);
        tags.sort_by_key(|tag| (tag.ts, !tag.is_header()));
        publishers.push((key, count, Publisher::start(server.rtmp, "live", key, tags, |ts| ts)));
    }
    for (key, count, publisher) in &mut publishers {
        let path = format!("live/{key}");
        wait_duration(&server, &path, 5.0);
        let seen = node("mse.mjs", &[&server.url(&format!("/{path}"))]);
        eprintln!("{key} in a browser: {seen}");
        assert!(seen["a"]["ranges"] == 1 && seen["a"]["longer"].as_f64().unwrap().abs() <= 25.0, "{key}: {seen:#}");
        publisher.wait();
        let mp4 = finished_mp4(&server, &path);
        assert!(packets(&mp4, "audio") + 3 >= *count as u64, "{key}: {} of {count} frames", packets(&mp4, "audio"));
        let seen = ffprobe(&mp4);
        let sound = seen["streams"].as_array().unwrap().iter().find(|stream| stream["codec_type"] == "audio").unwrap();
        let lasts: f64 = sound["duration"].as_str().unwrap().parse().unwrap();
        assert!((lasts - f64::from(seconds)).abs() < 0.3, "{key}: {sound:#}");
        let heard = onsets(&mp4, 60, server.dir.path());
        assert_eq!(heard.complaints, "", "{key}");
        // The samples are 2.99 s long.
        let beeps: Vec<f64> = heard.beeps.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(beeps.len() >= 10 && beeps.iter().all(|apart| (0.95..1.05).contains(apart)), "{key}: {beeps:?}");
    }
}

#[test]
fn captions_pass_through_transcodes() {
    let server = Server::start_with(SHORT_LIVED);
    let clip = |b_frames, pixels| {
        let more = ["-pix_fmt", pixels];
        captioned(make(Clip { seconds: 34, gop: 60, b_frames, more: &more, ..Default::default() }))
    };
    // Made for HLS and DASH, as browsers lack 4:2:2; made for WebRTC, which has no B-frames.
    let _publishers = [("unusual", clip(0, "yuv422p")), ("reordered", clip(2, "yuv420p"))]
        .map(|(key, tags)| Publisher::start(server.rtmp, "live", key, tags, |ts| ts));
    for key in ["unusual", "reordered"] {
        server.wait_live(&format!("live/{key}"), 2);
        wait_duration(&server, &format!("live/{key}"), 1.0);
    }
    let url = server.url("/live/unusual/index.m3u8");
    let seen = node("captions.mjs", &["10", &url]);
    eprintln!("{seen:#}");
    assert_eq!(seen["seen"][0]["offered"], serde_json::json!(["CC1"]), "{seen:#}");
    assert!(seen["seen"][0]["said"].to_string().contains("HELLO"), "{seen:#}");
    // What WHEP viewers get, as it comes to them.
    let seen = node("whep_captions.mjs", &["5", &server.url("/live/reordered/whep"), &server.url("/live/unusual/whep")]);
    eprintln!("{seen:#}");
    for seen in seen["seen"].as_array().unwrap() {
        assert!(seen["frames"].as_u64() > Some(60) && seen["captions"].as_u64() >= seen["frames"].as_u64(), "{seen:#}");
    }
}
