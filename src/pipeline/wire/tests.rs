use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::codec::Codec;
use crate::rtp::batch::{BatchWriter, ClockMapping, UnitFacts};

fn through_frames(message: &Message) -> Message {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    let mut assembler = Assembler::default();
    let mut whole = None;
    // Wherever the message is in two pieces.
    let (left, right) = bytes.split_at(bytes.len() / 3);
    for (head, part, of_rest) in split(left, right) {
        assert!(whole.is_none());
        let frame = [&head[..], part, of_rest].concat();
        assert!(frame.len() <= MAX_FRAME);
        whole = assembler.push(&frame).unwrap();
    }
    decode(whole.unwrap()).unwrap()
}

fn chunk(data: Bytes) -> Chunk {
    Chunk {
        track: 1,
        epoch: 7,
        segment: u64::MAX,
        first: true,
        last: false,
        end: true,
        independent: true,
        presentation_time: 1 << 40,
        duration: 18_000,
        wallclock: -5,
        data,
    }
}

#[test]
fn every_message_survives() {
    let h264 = Format::H264 { sps: vec![Bytes::from_static(&[0x67, 1])], pps: vec![Bytes::from_static(&[0x68])] };
    let aac = Format::Aac { config: Bytes::from_static(&[0x11, 0x90]), sample_rate: 48_000, channels: 2 };
    let init = TrackInit {
        track: 0,
        epoch: 3,
        codec: Codec::H264,
        codec_string: "avc1.64001f".into(),
        timescale: 90_000,
        resolution: Some((1920, 1080)),
        audio: None,
        data: Bytes::from_static(b"moov"),
    };
    let start = Start {
        name: "live/ü".into(),
        description: "appsrc name=in_0 ! fakesink".into(),
        inputs: vec![h264.clone(), aac.clone(), Format::Vp8, Format::Opus { channels: 2 }],
        cutting: Some(Cutting {
            segment: 2_000_000_000,
            part: 200_000_000,
            first_segment: 9,
            epoch: 4,
            not_before: [-1, 7],
            given: [i64::MIN, 5],
        }),
        reorder: 2,
    };
    let messages = [
        Message::Start(1, start.clone()),
        Message::Start(2, Start { cutting: None, inputs: vec![], ..start }),
        Message::Join(7, Join { description: "appsrc name=in_1 ! fakesink".into(), format: aac.clone() }),
        Message::Rtp {
            job: 1,
            input: 1,
            sent: i64::MAX,
            batch: RtpBatch::of_packets([&b"abc"[..], b""]).with_clock(Some(ClockMapping { rtp: u32::MAX, wallclock: i64::MIN })),
        },
        Message::Rtp { job: 1, input: 2, sent: -1, batch: with_facts() },
        Message::Rtp { job: 1, input: 0, sent: 0, batch: RtpBatch::default() },
        Message::ForceKeyFrame(3, 1),
        Message::Stop(9),
        Message::Remove(9),
        Message::Ping(u64::MAX),
        Message::Pong(1),
        Message::Started(1),
        Message::KeyFrameRequest(1, 0),
        Message::Init(1, init.clone()),
        Message::Init(1, TrackInit { resolution: None, audio: Some((44_100, 1)), codec: Codec::Aac, ..init }),
        Message::Chunk(1, chunk(Bytes::from(vec![5; 200_000])), -7),
        Message::Chunk(1, chunk(Bytes::from(vec![5; MAX_FRAME - HEADER - 50])), i64::MIN),
        Message::FormatOut(1, 0, aac),
        Message::Unit { job: 1, output: 0, pts: 5, dts: -4, key: true, data: Bytes::from_static(b"x") },
        Message::Eos(4),
        Message::Failed { job: 4, failure: Failure::Discontinuity, reorder: 3, text: "why".into() },
    ];
    for message in messages {
        assert_eq!(through_frames(&message), message);
    }
}

/// Packets of which some begin units.
fn with_facts() -> RtpBatch {
    let mut writer = BatchWriter::default();
    let units = [(7, true, false), (-1, false, true), (0, false, false)];
    for (composition, key, disposable) in units {
        writer.packet(Some(UnitFacts { composition, key, disposable }), |buffer| buffer.extend_from_slice(b"first"));
        writer.packet(None, |buffer| buffer.extend_from_slice(b"second"));
    }
    writer.finish()
}

#[test]
fn frames_out_of_step_are_refused() {
    let mut assembler = Assembler::default();
    assert_eq!(assembler.push(&header(false, true, 4)), Err(WireError::OutOfStep));
    assert_eq!(assembler.push(&[VERSION + 1; 20]), Err(WireError::Version(VERSION + 1)));
    assert_eq!(assembler.push(&[VERSION]), Err(WireError::Truncated));
    assert_eq!(assembler.push(&header(true, true, MAX_MESSAGE + 1)), Err(WireError::TooLong(MAX_MESSAGE + 1)));
    assert_eq!(assembler.push(&header(true, false, 10)), Ok(None));
    assert_eq!(assembler.push(&header(true, false, 10)), Err(WireError::OutOfStep));
    let mut longer = header(false, false, 10).to_vec();
    longer.extend([0; 11]);
    assert_eq!(assembler.push(&longer), Err(WireError::OutOfStep));
}

#[test]
fn too_long_for_one_frame() {
    let message = Message::Rtp { job: 1, input: 0, sent: 0, batch: RtpBatch::of_packets([vec![0; MAX_FRAME]]) };
    assert!(matches!(encode_frame(&message), Err(WireError::TooLong(_))));
}

#[test]
fn rtp_in_as_many_frames_as_needed() {
    let packets: Vec<Vec<u8>> = (0..200_u32).map(|n| vec![n as u8; 1200]).collect();
    let batches = [RtpBatch::of_packets(&packets[..70]), RtpBatch::default(), RtpBatch::of_packets(&packets[70..]), with_facts()];
    let mut got = Vec::new();
    let mut assembler = Assembler::default();
    let head = RtpHead { job: 7, input: 1, sent: 5, clock: Some(ClockMapping { rtp: 1, wallclock: 2 }) };
    let done = encode_rtp(head, &batches, &mut Joiner::new(Codec::Aac), &mut Vec::new(), |frame| {
        let message = decode(assembler.push(frame).unwrap().unwrap()).unwrap();
        let Message::Rtp { job: 7, input: 1, sent: 5, batch } = message else { panic!() };
        assert_eq!(batch.clock.is_some(), got.is_empty());
        got.extend(batch.iter().map(|packet| (packet.bytes.to_vec(), packet.unit)));
        true
    });
    assert!(done);
    let sent: Vec<_> = batches.iter().flat_map(RtpBatch::iter).map(|packet| (packet.bytes.to_vec(), packet.unit)).collect();
    assert_eq!(got, sent);
    assert!(!encode_rtp(head, &batches, &mut Joiner::new(Codec::Aac), &mut Vec::new(), |_| false));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600), kind in 0u8..16) {
        let _ = decode(Bytes::from(bytes.clone()));
        let mut typed = vec![kind];
        typed.extend(bytes);
        if let Ok(message) = decode(Bytes::from(typed)) {
            prop_assert_eq!(through_frames(&message), message);
        }
    }

    #[test]
    fn any_frames_are_survived(frames in proptest::collection::vec((0u8..4, 0u32..64, proptest::collection::vec(any::<u8>(), 0..64)), 0..20)) {
        let mut assembler = Assembler::default();
        for (flags, total, part) in frames {
            let mut frame = vec![VERSION, flags, 0, 0];
            frame.extend(total.to_be_bytes());
            frame.extend(part);
            let _ = assembler.push(&frame);
        }
    }
}
