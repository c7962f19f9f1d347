use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::rtmp::error::{Problem, RtmpError};

/// Reads all of `input`, fed in pieces of `piece`.
fn read_with(reader: &mut ChunkReader, input: &[u8], piece: usize) -> Result<Vec<Message>, RtmpError> {
    let mut messages = Vec::new();
    for mut part in input.chunks(piece.max(1)) {
        while let Some(message) = reader.next_message(&mut part)? {
            messages.push(message);
        }
        assert!(part.is_empty());
    }
    assert_eq!(reader.position(), input.len() as u64);
    Ok(messages)
}

fn read(input: &[u8]) -> Result<Vec<Message>, RtmpError> {
    let mut reader = ChunkReader::new(0);
    reader.set_limits(Limits::PUBLISHER);
    read_with(&mut reader, input, input.len())
}

/// A chunk with a full header.
fn full(csid: u8, timestamp: u32, kind: u8, length: usize, data: &[u8]) -> Vec<u8> {
    let extended = timestamp >= 0xFF_FFFF;
    let mut out = vec![csid];
    out.extend(&timestamp.min(0xFF_FFFF).to_be_bytes()[1..]);
    out.extend(&(length as u32).to_be_bytes()[1..]);
    out.push(kind);
    out.extend(1u32.to_le_bytes());
    if extended {
        out.extend(timestamp.to_be_bytes());
    }
    out.extend(data);
    out
}

fn times(messages: &[Message]) -> Vec<u32> {
    messages.iter().map(|m| m.timestamp).collect()
}

#[test]
fn header_types_0_to_3() {
    let input = [
        full(4, 1000, kind::AUDIO, 2, b"aa"),
        // fmt 1: time +20, length 3, type video
        vec![0x44, 0, 0, 20, 0, 0, 3, 9, b'b', b'b', b'b'],
        // fmt 2: time +33
        vec![0x84, 0, 0, 33, b'c', b'c', b'c'],
        // fmt 3: all as before, +33 again
        vec![0xC4, b'd', b'd', b'd'],
        // fmt 0 again, then fmt 3: its field is the absolute time, taken as the difference (section 5.3.1.2.4)
        full(4, 2000, kind::AUDIO, 1, b"e"),
        vec![0xC4, b'f'],
        // An empty message
        full(5, 7, kind::DATA, 0, b""),
    ]
    .concat();
    for piece in 1..20 {
        let mut reader = ChunkReader::new(0);
        let messages = read_with(&mut reader, &input, piece).unwrap();
        let facts: Vec<_> = messages.iter().map(|m| (m.kind, m.timestamp, m.stream, &m.body[..])).collect();
        assert_eq!(
            facts,
            [
                (8, 1000, 1, &b"aa"[..]),
                (9, 1020, 1, b"bbb"),
                (9, 1053, 1, b"ccc"),
                (9, 1086, 1, b"ddd"),
                (8, 2000, 1, b"e"),
                (8, 4000, 1, b"f"),
                (18, 7, 1, b"")
            ]
        );
        assert_eq!(reader.in_assembly(), 0);
    }
}

#[test]
fn long_chunk_stream_ids() {
    for (basic, csid) in [(vec![0x00, 0], "64"), (vec![0x00, 255], "319"), (vec![0x01, 0, 1], "320"), (vec![0x01, 255, 255], "65599")] {
        let mut input = basic.clone();
        input.extend(&full(0, 5, kind::AUDIO, 1, b"x")[1..]);
        let mut again = basic;
        again[0] |= 0xC0;
        input.extend(again);
        input.push(b'y');
        let messages = read(&input).unwrap();
        assert_eq!(messages.iter().map(|m| &m.body[..]).collect::<Vec<_>>(), [b"x", b"y"], "{csid}");
    }
}

/// Regression: the reference reader has one assembly for all chunk streams; audio inside of video makes it panic or mixes them.
#[test]
fn audio_chunks_within_a_video_message() {
    let video: Vec<u8> = (0..400).map(|i| i as u8).collect();
    let input = [
        full(6, 40, kind::VIDEO, 400, &video[..128]),
        full(4, 21, kind::AUDIO, 200, &[0xAA; 128]),
        [&[0xC6][..], &video[128..256]].concat(),
        [&[0xC4][..], &[0xBB; 72]].concat(),
        full(2, 0, kind::WINDOW_ACK_SIZE, 4, &[0, 1, 0, 0]),
        [&[0xC6][..], &video[256..384]].concat(),
        [&[0xC6][..], &video[384..]].concat(),
    ]
    .concat();
    for piece in [1, 7, 128, 129, input.len()] {
        let mut reader = ChunkReader::new(0);
        let messages = read_with(&mut reader, &input, piece).unwrap();
        assert_eq!(messages.iter().map(|m| m.kind).collect::<Vec<_>>(), [8, 5, 9]);
        assert_eq!(messages[0].body, [[0xAA; 128].as_slice(), &[0xBB; 72]].concat());
        assert_eq!(messages[2].body, video);
        assert_eq!((messages[0].timestamp, messages[2].timestamp), (21, 40));
    }
}

#[test]
fn extended_timestamps() {
    let time = 0x0123_4567u32;
    let data = [9u8; 300];
    let first = full(6, time, kind::VIDEO, 300, &data[..128]);
    let with = [
        first.clone(),
        vec![0xC6],
        time.to_be_bytes().into(),
        data[..128].into(),
        vec![0xC6],
        time.to_be_bytes().into(),
        data[..44].into(),
    ];
    let without = [first, vec![0xC6], data[..128].into(), vec![0xC6], data[..44].into()];
    for input in [with.concat(), without.concat()] {
        for piece in [1, 2, 3, 5, 128, 1000] {
            // What follows is read rightly too, a difference in the extended field and its repetition included.
            let mut input = input.clone();
            input.extend([0x86, 0xFF, 0xFF, 0xFF, 0x01, 0, 0, 0]);
            input.extend(&data[..128]);
            input.extend([0xC6, 0x01, 0, 0, 0]);
            input.extend(&data[..128]);
            input.extend([0xC6, 0x01, 0, 0, 0]);
            input.extend(&data[..44]);
            // A new message by fmt 3 has the extended field in any case.
            input.extend([0xC6, 0x01, 0, 0, 0]);
            input.extend(&data[..128]);
            input.extend([0xC6, 0x01, 0, 0, 0]);
            input.extend(&data[..128]);
            input.extend([0xC6, 0x01, 0, 0, 0]);
            input.extend(&data[..44]);
            let mut reader = ChunkReader::new(0);
            let messages = read_with(&mut reader, &input, piece).unwrap();
            assert_eq!(times(&messages), [time, time + 0x0100_0000, time + 0x0200_0000], "{piece}");
            assert!(messages.iter().all(|m| m.body == data[..]));
        }
    }
}

/// The extended timestamp left out on a last chunk shorter than it: the next chunk's header is among the four bytes looked at.
#[test]
fn extended_timestamp_left_out_on_a_tiny_last_chunk() {
    let time = 0x0123_4567u32;
    for tail in 1..=4 {
        let data = vec![9u8; 128 + tail];
        let mut input = full(6, time, kind::VIDEO, data.len(), &data[..128]);
        input.push(0xC6);
        input.extend(&data[128..]);
        input.extend(full(4, 3, kind::AUDIO, 2, b"zz"));
        for piece in [1, 2, 1000] {
            let mut reader = ChunkReader::new(0);
            let messages = read_with(&mut reader, &input, piece).unwrap();
            assert_eq!(messages.iter().map(|m| m.body.len()).collect::<Vec<_>>(), [data.len(), 2], "{tail} {piece}");
        }
    }
}

#[test]
fn timestamps_wrap() {
    let input = [full(4, u32::MAX - 10, kind::AUDIO, 1, b"a"), vec![0x84, 0, 0, 21, b'b']].concat();
    assert_eq!(times(&read(&input).unwrap()), [u32::MAX - 10, 10]);
}

#[test]
fn chunk_size_is_obeyed_and_bounded() {
    let set = |size: u32| full(2, 0, kind::SET_CHUNK_SIZE, 4, &size.to_be_bytes());
    let input = [set(1), vec![4, 0, 0, 9, 0, 0, 3, 8, 1, 0, 0, 0, b'a', 0xC4, b'b', 0xC4, b'c']].concat();
    assert_eq!(read(&input).unwrap()[0].body, &b"abc"[..]);
    let input = [set(0x7FFF_FFFF), full(4, 0, kind::AUDIO, 500, &[1; 500])].concat();
    assert_eq!(read(&input).unwrap()[0].body.len(), 500);
    for bad in [0, 0x8000_0000, u32::MAX] {
        assert!(matches!(read(&set(bad)).unwrap_err().problem, Problem::BadChunkSize(found) if found == bad));
    }
    assert!(matches!(read(&full(2, 0, kind::SET_CHUNK_SIZE, 3, &[0; 3])).unwrap_err().problem, Problem::ShortMessage { len: 3 }));
}

/// What the four bytes behind a fmt 3 header that begins a message may be.
#[test]
fn extended_timestamps_of_messages_begun_by_type_3() {
    let time = 0x0123_4567u32;
    let repeated = |value: Option<u32>, data: &[u8]| {
        let value = value.map_or(Vec::new(), |value| value.to_be_bytes().to_vec());
        [&[0xC4][..], &value, data].concat()
    };
    let table = [
        // what the second and third message have there, their times
        ("the first one's time repeated: the same moment", [Some(time), Some(time)], [time, time]),
        ("their own times", [Some(time + 23), Some(time + 46)], [time + 23, time + 46]),
        ("nothing", [None, None], [time, time]),
        ("one way and the other", [None, Some(time + 46)], [time, time + 46]),
    ];
    for (name, values, wanted) in table {
        let input =
            [full(4, time, kind::AUDIO, 5, b"first"), repeated(values[0], b"\xAF\x01abc"), repeated(values[1], b"\xAF\x01xyz")].concat();
        for piece in [1, 2, 3, 5, 100] {
            let mut reader = ChunkReader::new(0);
            let messages = read_with(&mut reader, &input, piece).unwrap();
            assert_eq!(times(&messages), [time, wanted[0], wanted[1]], "{name} {piece}");
            assert_eq!(messages[1..].iter().map(|m| &m.body[..]).collect::<Vec<_>>(), [b"\xAF\x01abc", b"\xAF\x01xyz"], "{name} {piece}");
        }
    }
}

#[test]
fn extended_timestamps_at_the_very_edge() {
    for time in [0xFF_FFFE, 0xFF_FFFF, 0x100_0000, u32::MAX] {
        let input = [full(6, time, kind::VIDEO, 3, b"abc"), vec![0x86, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0xFF], b"def".to_vec()].concat();
        assert_eq!(times(&read(&input).unwrap()), [time, time.wrapping_add(0xFF_FFFF)]);
    }
}

#[test]
fn a_time_repeated_as_a_difference() {
    // After 40 ms the same distance again, after a day the same moment.
    for (time, next) in [(40, [80, 120]), (9_999, [19_998, 29_997]), (8_000_000, [8_000_000, 8_000_000])] {
        let input = [full(4, time, kind::AUDIO, 1, b"a"), vec![0xC4, b'b', 0xC4, b'c']].concat();
        assert_eq!(times(&read(&input).unwrap())[1..], next, "{time}");
    }
}

/// librtmp begins its control stream like that.
#[test]
fn a_chunk_stream_may_begin_with_type_1() {
    let input = [0x42, 0, 0, 5, 0, 0, 4, 4, 0, 7, 1, 2];
    let messages = read(&input).unwrap();
    assert_eq!((messages[0].kind, messages[0].stream, messages[0].timestamp, &messages[0].body[..]), (4, 0, 5, &[0, 7, 1, 2][..]));
}

#[test]
fn chunk_size_changes_in_the_middle_of_a_message() {
    let set = |size: u32| full(2, 0, kind::SET_CHUNK_SIZE, 4, &size.to_be_bytes());
    let data: Vec<u8> = (0..1000).map(|i| i as u8).collect();
    let chunk = |range: std::ops::Range<usize>| [&[0xC6][..], &data[range]].concat();
    for (size, ends) in [
        (1, (128..=1000).collect::<Vec<_>>()),
        (300, vec![128, 428, 728, 1000]),
        (0xFF_FFFF, vec![128, 1000]),
        (128, vec![128, 256, 384, 512, 640, 768, 896, 1000]),
    ] {
        let mut input = [full(6, 40, kind::VIDEO, 1000, &data[..128]), set(size)].concat();
        ends.windows(2).for_each(|end| input.extend(chunk(end[0]..end[1])));
        // A second one, whole with the new size.
        input.extend(full(6, 80, kind::VIDEO, 1, b"x"));
        for piece in [1, 13, 5000] {
            let messages = read_with(&mut ChunkReader::new(0), &input, piece).unwrap();
            assert_eq!(messages.iter().map(|m| m.body.len()).collect::<Vec<_>>(), [1000, 1], "{size}");
            assert_eq!(messages[0].body, data, "{size}");
        }
    }
}

#[test]
fn data_that_is_too_long_is_passed_over() {
    for kind in [kind::DATA, kind::DATA_AMF3, 16, 19, 99] {
        let long = 3 << 20;
        let mut input = full(5, 0, kind, long, &[7; 128]);
        input.extend(full(4, 3, kind::AUDIO, 2, b"in"));
        for _ in 1..long / 128 {
            input.push(0xC5);
            input.extend([7; 128]);
        }
        input.extend(full(5, 9, kind::DATA, 3, b"end"));
        for piece in [1000, 1 << 16] {
            let mut reader = ChunkReader::new(0);
            let messages = read_with(&mut reader, &input, piece).unwrap();
            assert_eq!(messages.iter().map(|m| &m.body[..]).collect::<Vec<_>>(), [&b"in"[..], b"end"], "{kind}");
            assert_eq!((reader.in_assembly(), reader.counters().oversized), (0, 1));
        }
    }
}

#[test]
fn abort_and_new_message_drop_what_was_begun() {
    let begun = full(6, 0, kind::VIDEO, 500, &[1; 128]);
    let abort = full(2, 0, kind::ABORT, 4, &6u32.to_be_bytes());
    for (name, between) in [("abort", abort), ("new message", vec![])] {
        let mut reader = ChunkReader::new(0);
        let input = [begun.clone(), between, full(6, 9, kind::VIDEO, 3, b"new")].concat();
        let messages = read_with(&mut reader, &input, 11).unwrap();
        assert_eq!(messages.iter().map(|m| &m.body[..]).collect::<Vec<_>>(), [b"new"], "{name}");
        assert_eq!((reader.in_assembly(), reader.counters().abandoned), (0, 1), "{name}");
    }
    // Aborting what isn't there is nothing.
    assert_eq!(read(&full(2, 0, kind::ABORT, 4, &99u32.to_be_bytes())).unwrap(), []);
}

#[test]
fn a_chunk_stream_may_begin_with_a_header_of_type_2() {
    let input = [&[2 << 6 | 5, 0, 0, 40][..], &full(5, 7, kind::AUDIO, 3, b"abc")[..], &[2 << 6 | 5, 0, 0, 20][..], &b"def"[..]].concat();
    for piece in [1, 1000] {
        let mut reader = ChunkReader::new(0);
        let messages = read_with(&mut reader, &input, piece).unwrap();
        let seen: Vec<_> = messages.iter().map(|message| (message.kind, message.timestamp, &message.body[..])).collect();
        assert_eq!(seen, [(0, 40, &b""[..]), (kind::AUDIO, 7, b"abc"), (kind::AUDIO, 27, b"def")], "in pieces of {piece}");
        assert_eq!((reader.counters().headless, reader.in_assembly()), (1, 0));
    }
}

#[test]
fn lies_and_floods_are_errors() {
    let stranger = |input: &[u8]| read_with(&mut ChunkReader::new(0), input, 1000).unwrap_err();
    let error = stranger(&full(6, 0, kind::VIDEO, 0xFF_FFFF, b""));
    assert!(matches!(error.problem, Problem::MessageTooLong { declared: 0xFF_FFFF, limit: 65536, before_publishing: true }));
    assert_eq!((error.at.byte, error.at.message_type), (12, Some(9)));
    let error = read(&full(6, 0, kind::VIDEO, (8 << 20) + 1, b"")).unwrap_err();
    assert!(matches!(error.problem, Problem::MessageTooLong { limit: 8_388_608, .. }), "{error}");
    let error = read(&full(3, 0, kind::COMMAND, 65537, b"")).unwrap_err();
    assert!(matches!(error.problem, Problem::MessageTooLong { limit: 65536, .. }), "{error}");
    let error = read(&[3 << 6 | 5, 0, 0, 0]).unwrap_err();
    assert!(matches!(error.problem, Problem::NoPreviousChunk { csid: 5, format: 3 }));
    let many: Vec<u8> = (0..65).flat_map(|i| [vec![0, i], full(0, 0, kind::AUDIO, 1, b"x")[1..].to_vec()].concat()).collect();
    assert!(matches!(read(&many).unwrap_err().problem, Problem::TooManyChunkStreams { limit: 64 }));
}

#[test]
fn memory_is_what_came_and_bounded_in_sum() {
    // 60 chunk streams that each declare 8 MiB and send little.
    let mut reader = ChunkReader::new(0);
    reader.set_limits(Limits::PUBLISHER);
    let begin: Vec<u8> = (3..63).flat_map(|csid| full(csid, 0, kind::VIDEO, 8 << 20, &[0; 128])).collect();
    read_with(&mut reader, &begin, 1000).unwrap();
    assert_eq!(reader.in_assembly(), 60 * 128);

    // And then send on, round robin.
    let chunk_size = 1 << 16;
    let mut input = full(2, 0, kind::SET_CHUNK_SIZE, 4, &(chunk_size as u32).to_be_bytes());
    let error = (0..)
        .find_map(|i: u32| {
            input.push(0xC0 | (3 + (i % 60) as u8));
            input.extend(std::iter::repeat_n(0, chunk_size));
            let mut rest = &input[..];
            let error = reader.next_message(&mut rest).err();
            input.clear();
            assert!(reader.in_assembly() <= 16 << 20);
            error
        })
        .unwrap();
    assert!(matches!(error.problem, Problem::TooMuchInAssembly { limit } if limit == 16 << 20));
}

#[test]
fn the_reference_reads_what_we_write() {
    use rml_rtmp::chunk_io::ChunkDeserializer;
    let mut writer = ChunkWriter::new();
    let mut out = BytesMut::new();
    let message = |timestamp, len| Message { kind: kind::VIDEO, stream: 1, timestamp, body: vec![7; len].into() };
    let messages = [message(0, 1), message(16_777_214, 128), message(16_777_215, 129), message(u32::MAX, 1000)];
    messages.iter().for_each(|m| writer.write(m, &mut out));
    writer.set_chunk_size(4096, &mut out);
    messages.iter().for_each(|m| writer.write(m, &mut out));

    let mut reference = ChunkDeserializer::new();
    let mut seen = Vec::new();
    let mut input = &out[..];
    while let Some(message) = reference.get_next_message(input).unwrap() {
        if message.type_id == kind::SET_CHUNK_SIZE {
            reference.set_max_chunk_size(4096).unwrap();
        } else {
            seen.push((message.timestamp.value, message.data.len()));
        }
        input = &[];
    }
    let want: Vec<_> = messages.iter().chain(&messages).map(|m| (m.timestamp, m.body.len())).collect();
    assert_eq!(seen, want);
    assert_eq!(read(&out).unwrap(), [&messages[..], &messages[..]].concat());
}

/// Writes messages as a most irregular encoder would: interleaved chunk by chunk over several chunk streams.
fn interleave(messages: &[Message], chunk_size: usize, choices: &[u8], compress: bool) -> (Vec<u8>, Vec<Message>) {
    let mut out = full(2, 0, kind::SET_CHUNK_SIZE, 4, &(chunk_size as u32).to_be_bytes());
    // Per chunk stream (csid 3 + index): queue of messages, how much of the first was sent, the last message begun.
    const STREAMS: usize = 4;
    let mut queues: Vec<(std::collections::VecDeque<Message>, usize, Option<Message>)> = vec![Default::default(); STREAMS];
    for (index, message) in messages.iter().enumerate() {
        queues[index % STREAMS].0.push_back(message.clone());
    }
    let mut order = Vec::new();
    for step in 0.. {
        let choice = usize::from(choices[step % choices.len()]);
        let Some(index) = (0..STREAMS).map(|i| (choice + i) % STREAMS).find(|&i| !queues[i].0.is_empty()) else { break };
        let csid = 3 + index as u8;
        let (queue, sent, last) = &mut queues[index];
        let message = queue[0].clone();
        if *sent == 0 {
            match last {
                Some(last) if compress && last.stream == message.stream => {
                    let delta = message.timestamp.wrapping_sub(last.timestamp);
                    let same = last.kind == message.kind && last.body.len() == message.body.len();
                    out.push(if same { 0x80 } else { 0x40 } | csid);
                    out.extend(&delta.min(0xFF_FFFF).to_be_bytes()[1..]);
                    if !same {
                        out.extend(&(message.body.len() as u32).to_be_bytes()[1..]);
                        out.push(message.kind);
                    }
                    if delta >= 0xFF_FFFF {
                        out.extend(delta.to_be_bytes());
                    }
                }
                _ => {
                    let mut head = full(csid, message.timestamp, message.kind, message.body.len(), b"");
                    head[8..12].copy_from_slice(&message.stream.to_le_bytes());
                    out.extend(head);
                }
            }
        } else {
            out.push(0xC0 | csid);
            let field = match last {
                Some(last) if compress && last.stream == message.stream => message.timestamp.wrapping_sub(last.timestamp),
                _ => message.timestamp,
            };
            if field >= 0xFF_FFFF {
                out.extend(field.to_be_bytes());
            }
        }
        let end = (*sent + chunk_size).min(message.body.len());
        out.extend(&message.body[*sent..end]);
        *sent = end;
        if end == message.body.len() {
            *sent = 0;
            *last = queue.pop_front();
            order.push(message);
        }
    }
    (out, order)
}

prop_compose! {
    fn any_message()(kind in prop::sample::select(vec![8u8, 9, 18, 20]), stream in 0u32..3, timestamp in prop_oneof![0u32..5000, any::<u32>()],
                     body in prop::collection::vec(any::<u8>(), 0..600)) -> Message {
        Message { kind, stream, timestamp, body: body.into() }
    }
}

proptest! {
    #[test]
    fn interleaved_messages_come_out_whole(messages in prop::collection::vec(any_message(), 0..20), chunk_size in 1usize..700,
                                           choices in prop::collection::vec(any::<u8>(), 1..50), piece in 1usize..900, compress in any::<bool>()) {
        let (input, order) = interleave(&messages, chunk_size, &choices, compress);
        let mut reader = ChunkReader::new(0);
        reader.set_limits(Limits::PUBLISHER);
        prop_assert_eq!(read_with(&mut reader, &input, piece).unwrap(), order);
        prop_assert_eq!(reader.in_assembly(), 0);
    }

    #[test]
    fn garbage_never_panics_nor_grows(input in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..10, Just(0xC4)], 0..4000), piece in 1usize..500) {
        let mut reader = ChunkReader::new(0);
        'all: for mut part in input.chunks(piece) {
            loop {
                match reader.next_message(&mut part) {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => break 'all,
                }
                prop_assert!(reader.in_assembly() <= input.len());
            }
        }
    }

    #[test]
    fn what_is_written_is_read(messages in prop::collection::vec(any_message(), 0..10), chunk_size in 1usize..2000, piece in 1usize..900) {
        let mut writer = ChunkWriter::new();
        let mut out = BytesMut::new();
        writer.set_chunk_size(chunk_size, &mut out);
        messages.iter().for_each(|m| writer.write(m, &mut out));
        let mut reader = ChunkReader::new(0);
        prop_assert_eq!(read_with(&mut reader, &out, piece).unwrap(), messages);
    }
}
