//! One step at a time: what a packet costs in each place it passes, what a playlist costs to write.
//!
//! `cargo bench --bench micro`. The whole way, on sockets, is measured by `load`.

#![allow(clippy::unwrap_used)] // a benchmark that can't begin has nothing to say

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use headend::inside::base::StreamPath;
use headend::inside::cmaf::{Chunk, Targets, TrackInit};
use headend::inside::codec::{AccessUnit, Codec, Format, Packetizer, payload_facts};
use headend::inside::package::{BlockingReload, Live, PackageConfig, Presentation};
use headend::inside::rtp::packet::{RtpHeader, RtpPacket, set_sequence_number, set_ssrc, set_timestamp, write_header};
use headend::inside::rtp::rewrite::Rewriter;
use headend::inside::rtp::srtp::{Keying, SrtpProfile, SrtpReceiver, SrtpSender};

/// Bytes of a packet as video has them.
const PACKET: usize = 1200;
/// 2026-11-21, in ns.
const NOW: i64 = 1_795_000_000_000_000_000;
const PROFILES: [SrtpProfile; 2] = [SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80];

fn main() {
    divan::main();
}

fn packet(room: usize) -> (Vec<u8>, usize) {
    let mut packet = vec![0x5A; PACKET + room];
    let header = RtpHeader { marker: false, payload_type: 96, sequence_number: 0, timestamp: 90_000, ssrc: 7 };
    let len = write_header(&mut packet, &header, &[(3, &[0, 1][..])]).unwrap();
    (packet, len)
}

fn keying(profile: SrtpProfile) -> Keying {
    Keying::new(profile, &vec![1; profile.key_len()], &vec![2; profile.salt_len()]).unwrap()
}

#[divan::bench(args = PROFILES)]
fn srtp_seal_in_place(bencher: Bencher<'_, '_>, profile: SrtpProfile) {
    let sender = SrtpSender::new(&keying(profile)).unwrap();
    let (mut packet, header_len) = packet(profile.tag_len());
    let mut index = 0u64;
    bencher.counter(BytesCount::new(PACKET)).bench_local(|| {
        set_sequence_number(&mut packet, index as u16);
        sender.seal_with_index(black_box(&mut packet), header_len, PACKET, index).unwrap();
        index += 1;
    });
}

#[divan::bench(args = PROFILES)]
fn srtp_open_in_place(bencher: Bencher<'_, '_>, profile: SrtpProfile) {
    let (sender, mut receiver) = (SrtpSender::new(&keying(profile)).unwrap(), SrtpReceiver::new(&keying(profile)).unwrap());
    let (mut packet, header_len) = packet(profile.tag_len());
    let mut index = 0u64;
    bencher
        .counter(BytesCount::new(PACKET))
        .with_inputs(|| {
            set_sequence_number(&mut packet, index as u16);
            let mut sealed = packet.clone();
            sender.seal_with_index(&mut sealed, header_len, PACKET, index).unwrap();
            index += 1;
            sealed
        })
        .bench_local_values(|mut sealed| receiver.open(black_box(&mut sealed)).unwrap());
}

/// What each consumer does to each packet before it is sealed: new numbers, a copy, three fields.
#[divan::bench]
fn consumer_rewrite(bencher: Bencher<'_, '_>) {
    let (source, _) = packet(0);
    let mut arena = source.clone();
    let mut rewriter = Rewriter::new(1000);
    let mut seq = 1u64 << 16;
    bencher.bench_local(|| {
        let numbers = rewriter.map(seq, seq as u32).unwrap();
        arena.copy_from_slice(black_box(&source));
        set_sequence_number(&mut arena, numbers.sequence_number());
        set_timestamp(&mut arena, numbers.timestamp);
        set_ssrc(&mut arena, 9);
        seq += 1;
    });
}

/// What a producer looks at, once per packet.
#[divan::bench]
fn parse_packet_with_facts(bencher: Bencher<'_, '_>) {
    let (source, _) = packet(0);
    bencher.bench_local(|| {
        let packet = RtpPacket::parse(black_box(&source)).unwrap();
        payload_facts(Codec::H264, packet.payload())
    });
}

/// A picture of 1.5 Mbit/s and a key frame of 4 Mbit/s.
#[divan::bench(args = [6_000, 120_000])]
fn h264_packetize(bencher: Bencher<'_, '_>, len: usize) {
    let mut data = vec![0x5A; len];
    data[..5].copy_from_slice(&[0, 0, 0, 0, 0x65]);
    let nal = (len as u32 - 4).to_be_bytes();
    data[..4].copy_from_slice(&nal);
    let unit = AccessUnit { pts: 0, dts: 0, key: true, data: data.into() };
    let format = Format::H264 { sps: vec![Bytes::from_static(&[0x67, 0x42, 0xC0, 0x1F])], pps: vec![Bytes::from_static(&[0x68, 0xCE])] };
    let mut packetizer = Packetizer::new(Codec::H264, PACKET);
    let mut out = Vec::with_capacity(PACKET);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        packetizer.packetize(&unit, &format, &mut |payload| {
            out.clear();
            payload.write_to(black_box(&mut out));
        });
    });
}

/// A live stream with audio and video and its full window of 30 s.
fn presentation() -> Presentation {
    let live = Live::new(PackageConfig::default(), Targets::default(), 1 << 30);
    let presentation = live.begin(&StreamPath::parse("live/cam1").unwrap(), NOW);
    for (track, codec, timescale) in [(0, Codec::H264, 90_000u32), (1, Codec::Aac, 48_000)] {
        let codec_string = if track == 0 { "avc1.64001f" } else { "mp4a.40.2" }.to_owned();
        let (resolution, audio) = if track == 0 { (Some((1280, 720)), None) } else { (None, Some((48_000, 2))) };
        let data = Bytes::from_static(&[0; 700]);
        presentation.init(TrackInit { track, epoch: 0, codec, codec_string, timescale, resolution, audio, data });
    }
    (0..200).for_each(|position| push(&presentation, position));
    presentation
}

/// Part `position` of both tracks: 200 ms each, ten to a segment.
fn push(presentation: &Presentation, position: u64) {
    for (track, timescale) in [(0, 90_000), (1, 48_000)] {
        presentation.chunk(Chunk {
            track,
            epoch: 0,
            segment: position / 10,
            first: position.is_multiple_of(10),
            last: position % 10 == 9,
            end: false,
            independent: position.is_multiple_of(10) || track == 1,
            presentation_time: position * timescale / 5,
            duration: timescale / 5,
            wallclock: NOW + position as i64 * 200_000_000,
            data: Bytes::from_static(&[0; 30_000]),
        });
    }
}

/// A query makes it the asker's own, so that it is written each time.
#[divan::bench]
fn write_media_playlist(bencher: Bencher<'_, '_>) {
    let presentation = presentation();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    bencher.bench_local(|| runtime.block_on(presentation.playlist(0, BlockingReload::default(), false, "?token=x")).unwrap());
}

/// As most get it.
#[divan::bench]
fn kept_media_playlist(bencher: Bencher<'_, '_>) {
    let presentation = presentation();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    bencher.bench_local(|| runtime.block_on(presentation.playlist(0, BlockingReload::default(), false, "")).unwrap());
}

#[divan::bench]
fn write_manifest(bencher: Bencher<'_, '_>) {
    let presentation = presentation();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    bencher.bench_local(|| runtime.block_on(presentation.manifest(NOW, "/api/v1/time", "")).unwrap());
}

/// A part of both tracks comes in.
#[divan::bench]
fn take_a_part(bencher: Bencher<'_, '_>) {
    let presentation = presentation();
    let mut position = 200;
    bencher.bench_local(|| {
        push(&presentation, position);
        position += 1;
    });
}
