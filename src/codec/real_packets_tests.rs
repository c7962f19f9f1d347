//! Payloads that GStreamer 1.22's payloaders made, against what went into them.

use bytes::Bytes;

use super::{AccessUnit, Codec, Depacketized, Depacketizer, Format, aac, h264, payload_facts, payload_resolution, vp8};

/// Sequence number, timestamp, marker, payload.
type Packet = (u16, i64, bool, &'static str);

/// x264, 64x48, two slices per picture, one B-frame, MTU 120: what `rtph264pay` was fed.
const H264_ANNEXB: &str = "000000016764000aace411ec0440000003004000000f03c48944800000000168ebe04d2c8b00000165888403ffd23a0c4f97987fc22e55e4da908257d91d958d28fc52c15d4a6b9efc6fd74e601ec45e981a267fe1400bfa5ce7267d9f23c872b40058400f244d87127e45135781ea721c40cf2f098f3cf48357c4d3b0c626e13a0332882f7e11db853e8ca0c8bf5ecdcd089d78bb8e7b805beaeb60dd0e3a0f64c01f106fd592bc7876abc1f5fd000001651222100fffd24b2e965af8bff64d92b67bf1515f57430cd0abe135af8c3870753553fafc4b71b7aa0bd5275364a07a323048e486186ff6f40dff03b608dbe8ed32f977555561fe280d0bd24a15a734abdfd616d0ccb2ed174ed48a0144584f4b4f1917d1ff80b6a60ee557403b4bcf49116f4044e0bfb9c18129b639865ef9773566da25b931c32e846b829d0731a1c5b71b0b6413e7fd9cb4e300a97d3348b0d8f8dbbce6a3522f4239c6c7e44ffee87078eeb5eb6100000001419a29b1ff8180000001411268a6c7ffb08000000001019e45e49fc48100000101127917927fdd81";

const H264: &[Packet] = &[
    (
        65534,
        0,
        false,
        "7800176764000aace411ec0440000003004000000f03c4894480000668ebe04d2c8b00176764000aace411ec0440000003004000000f03c4894480000668ebe04d2c8b",
    ),
    (
        65535,
        0,
        false,
        "7c85888403ffd23a0c4f97987fc22e55e4da908257d91d958d28fc52c15d4a6b9efc6fd74e601ec45e981a267fe1400bfa5ce7267d9f23c872b40058400f244d87127e45135781ea721c40cf2f098f3cf48357c4d3b0c626e13a0332882f7e11db853e8ca0c8bf5ecdcd089d",
    ),
    (0, 0, false, "7c4578bb8e7b805beaeb60dd0e3a0f64c01f106fd592bc7876abc1f5fd"),
    (1, 0, false, "7800176764000aace411ec0440000003004000000f03c4894480000668ebe04d2c8b"),
    (
        2,
        0,
        false,
        "7c851222100fffd24b2e965af8bff64d92b67bf1515f57430cd0abe135af8c3870753553fafc4b71b7aa0bd5275364a07a323048e486186ff6f40dff03b608dbe8ed32f977555561fe280d0bd24a15a734abdfd616d0ccb2ed174ed48a0144584f4b4f1917d1ff80b6a60ee5",
    ),
    (
        3,
        0,
        true,
        "7c4557403b4bcf49116f4044e0bfb9c18129b639865ef9773566da25b931c32e846b829d0731a1c5b71b0b6413e7fd9cb4e300a97d3348b0d8f8dbbce6a3522f4239c6c7e44ffee87078eeb5eb61",
    ),
    (4, 0, true, "580007419a29b1ff81800008411268a6c7ffb080"),
    (5, 0, true, "180007019e45e49fc481000801127917927fdd81"),
];

/// vpx, 64x48, MTU 40.
const VP8: &[Packet] = &[
    (65534, 0, false, "9080a715b002009d012a40003000004708858588858488020200068e"),
    (65535, 0, true, "8080a7154fccc79bf15800feffab5080"),
    (0, 2999, true, "9080a716d1010001101000180018582ff400088c0000"),
];

/// voaacenc, 8 kHz mono, a frame of 128 bytes, MTU 70.
const AAC: &[Packet] = &[
    (
        65534,
        0,
        false,
        "0010040001484006f6c0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    ),
    (
        65535,
        0,
        false,
        "00100400000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    ),
    (0, 0, true, "00100400000000000000000000000000000000000000000e"),
];

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn assemble(format: &Format, packets: &[Packet]) -> (Vec<AccessUnit>, Vec<Format>) {
    let mut depacketizer = Depacketizer::new(format);
    let (mut units, mut formats) = (Vec::new(), Vec::new());
    for (seq, timestamp, marker, payload) in packets {
        depacketizer.push(&hex(payload), *timestamp, *seq, *marker);
        while let Some(output) = depacketizer.poll() {
            match output {
                Depacketized::Unit(unit) => units.push(unit),
                Depacketized::Format(format) => formats.push(format),
                Depacketized::Lost => panic!("nothing was lost"),
            }
        }
    }
    (units, formats)
}

#[test]
fn h264_with_slices_and_a_b_frame() {
    let (units, formats) = assemble(&Format::H264 { sps: Vec::new(), pps: Vec::new() }, H264);
    let annexb = hex(H264_ANNEXB);
    let (sets, slices): (Vec<_>, Vec<_>) = h264::annexb_nals(&annexb).partition(|nal| matches!(nal[0] & 0x1F, 7 | 8));
    assert_eq!(units.iter().flat_map(|unit| h264::avcc_nals(&unit.data, 4)).collect::<Vec<_>>(), slices);
    assert_eq!(formats, [Format::H264 { sps: vec![Bytes::copy_from_slice(sets[0])], pps: vec![Bytes::copy_from_slice(sets[1])] }]);
    assert_eq!((formats[0].resolution(), formats[0].may_reorder()), (Some((64, 48)), true));
    let facts: Vec<_> = units.iter().map(|unit| (unit.key, h264::unit_is_b(&unit.data), h264::unit_is_disposable(&unit.data))).collect();
    assert_eq!(facts, [(true, false, false), (false, false, false), (false, true, true)]);
    let disposable: Vec<_> = H264.iter().map(|packet| payload_facts(Codec::H264, &hex(packet.3)).disposable).collect();
    assert_eq!(disposable, [false, false, false, false, false, false, false, true]);
    let starts: Vec<_> = H264.iter().map(|packet| payload_facts(Codec::H264, &hex(packet.3)).starts_frame).collect();
    assert_eq!(starts, [true, true, false, true, false, false, true, true]);
}

#[test]
fn vp8_in_pieces() {
    let (units, _) = assemble(&Format::Vp8, VP8);
    assert_eq!(units.iter().map(|unit| (unit.pts, unit.key, unit.data.len())).collect::<Vec<_>>(), [(0, true, 36), (2999, false, 18)]);
    assert_eq!(vp8::frame_info(&units[0].data), Some(vp8::FrameInfo { key: true, resolution: Some((64, 48)) }));
    let facts: Vec<_> = VP8
        .iter()
        .map(|packet| payload_facts(Codec::Vp8, &hex(packet.3)))
        .map(|facts| (facts.key_frame_start, facts.starts_frame))
        .collect();
    assert_eq!(facts, [(true, true), (false, false), (false, true)]);
}

#[test]
fn aac_in_fragments() {
    let format = aac::AacConfig::format(aac::AacConfig::lc(8_000, 1).unwrap()).unwrap();
    let (units, _) = assemble(&format, AAC);
    assert_eq!(units.len(), 1);
    assert_eq!(units[0].data.len(), 128);
}

#[test]
fn sizes_are_read_from_payloads() {
    let sizes = |codec, packets: &[Packet]| -> Vec<_> {
        packets.iter().map(|(_, _, _, payload)| payload_resolution(codec, &hex(payload))).collect()
    };
    // Parameter sets in STAP-A, fragments of slices, parameter sets again.
    assert_eq!(sizes(Codec::H264, &H264[..4]), [Some((64, 48)), None, None, Some((64, 48))]);
    let sps = &hex(H264[0].3)[3..26];
    assert_eq!(payload_resolution(Codec::H264, sps), Some((64, 48)));
    for cut in 0..sps.len() {
        let _ = payload_resolution(Codec::H264, &sps[..cut]);
    }
    assert_eq!(payload_resolution(Codec::Opus, sps), None);
}
