//! Access units through both halves of the RTP payload format, with loss and wrap-around.

use bytes::Bytes;
use proptest::prelude::*;

use super::avcc::put_nal;
use super::config::AvcConfig;
use super::samples::{SAMPLES, hex};
use super::{Depacketizer, Packetizer, avcc_nals, payload_facts};
use crate::codec::payload::MIN_MTU;
use crate::codec::{AccessUnit, Depacketized, Format};

fn format(sample: usize) -> Format {
    AvcConfig::parse(&hex(SAMPLES[sample].avcc)).unwrap().into_format()
}

fn unknown() -> Format {
    Format::H264 { sps: Vec::new(), pps: Vec::new() }
}

fn unit(pts: i64, nals: &[&[u8]]) -> AccessUnit {
    let mut data = Vec::new();
    nals.iter().for_each(|nal| put_nal(&mut data, nal));
    let key = nals.iter().any(|nal| nal[0] & 0x1F == 5);
    AccessUnit { pts, dts: pts, key, data: Bytes::from(data) }
}

type Packet = (Vec<u8>, i64, bool);

fn packets(units: &[AccessUnit], format: &Format, mtu: usize) -> Vec<Packet> {
    let mut packetizer = Packetizer::new(mtu);
    let mut packets = Vec::new();
    for unit in units {
        let before = packets.len();
        let count = packetizer.packetize(unit, format, &mut |payload| {
            assert!(!payload.is_empty() && payload.len() <= mtu.max(MIN_MTU));
            let mut bytes = Vec::new();
            payload.write_to(&mut bytes);
            packets.push((bytes, unit.pts, payload.marker));
        });
        assert_eq!(packets.len() - before, count);
        assert!(packets[before..].iter().rev().enumerate().all(|(index, packet)| packet.2 == (index == 0)), "marker on the last only");
    }
    packets
}

fn poll_all(depacketizer: &mut Depacketizer) -> Vec<Depacketized> {
    std::iter::from_fn(|| depacketizer.poll()).collect()
}

fn assemble(depacketizer: &mut Depacketizer, packets: &[Packet], first_seq: u16, lost: &[usize]) -> Vec<Depacketized> {
    let mut out = Vec::new();
    for (index, (payload, timestamp, marker)) in packets.iter().enumerate() {
        if !lost.contains(&index) {
            depacketizer.push(payload, *timestamp, first_seq.wrapping_add(index as u16), *marker);
            out.extend(poll_all(depacketizer));
        }
    }
    depacketizer.finish();
    out.extend(poll_all(depacketizer));
    out
}

fn units(outputs: &[Depacketized]) -> Vec<AccessUnit> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Depacketized::Unit(unit) => Some(unit.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn parameter_sets_go_in_band_and_come_out_as_format() {
    let idr = [&[0x65, 0x88][..], &[7; 5000]].concat();
    let unit = unit(90_000, &[&[0x09, 0x10], &[0x06, 0x05, 0x01, 0x00, 0x80], &idr, &[0x0C, 0xFF, 0x80]]);
    let packets = packets(&[unit], &format(0), 1200);
    // STAP-A with SPS, PPS and SEI; then the IDR slice in 5 fragments of equal size.
    assert_eq!(packets.len(), 6);
    assert_eq!(packets[0].0[0], 0x78);
    assert_eq!(avcc_nals(&packets[0].0[1..], 2).map(|nal| nal[0] & 0x1F).collect::<Vec<_>>(), [7, 8, 6]);
    assert!(packets[1..5].iter().all(|packet| packet.0.len() == packets[1].0.len()));
    assert!(payload_facts(&packets[0].0).key_frame_start && payload_facts(&packets[1].0).key_frame_start);
    assert!(!payload_facts(&packets[2].0).starts_frame);

    let mut depacketizer = Depacketizer::new(&unknown());
    let out = assemble(&mut depacketizer, &packets, 65_534, &[]);
    let Depacketized::Unit(back) = &out[1] else { panic!("{out:?}") };
    assert_eq!((out.len(), &out[0]), (2, &Depacketized::Format(format(0))));
    assert!(back.key);
    assert_eq!(avcc_nals(&back.data, 4).collect::<Vec<_>>(), [&[0x06, 0x05, 0x01, 0x00, 0x80][..], &idr]);
    // The same again changes nothing; other parameter sets do.
    let again: Vec<Packet> = packets.iter().map(|packet| (packet.0.clone(), 180_000, packet.2)).collect();
    assert_eq!(assemble(&mut depacketizer, &again, 4, &[]).len(), 1);
    let other = self::packets(&[super::round_trip_tests::unit(270_000, &[&idr])], &format(1), 1200);
    assert_eq!(assemble(&mut depacketizer, &other, 10, &[])[0], Depacketized::Format(format(1)));
}

#[test]
fn parameter_sets_in_band_already_are_not_doubled() {
    let Format::H264 { sps, pps } = format(0) else { panic!() };
    let idr: &[u8] = &[0x65, 0x88, 1];
    for (nals, kinds) in [
        (vec![&sps[0][..], &pps[0], idr], vec![7, 8, 5]),
        (vec![&sps[0][..], idr], vec![7, 8, 5]),
        (vec![&pps[0][..], idr], vec![7, 8, 5]),
        (vec![idr], vec![7, 8, 5]),
    ] {
        let packets = packets(&[unit(0, &nals)], &format(0), 1200);
        assert_eq!(avcc_nals(&packets[0].0[1..], 2).map(|nal| nal[0] & 0x1F).collect::<Vec<_>>(), kinds);
    }
    assert_eq!(packets(&[unit(0, &[&[0x41, 0x9A]])], &format(0), 1200)[0].0, [0x41, 0x9A]);
    assert!(packets(&[unit(0, &[&[0x09, 0x10]])], &format(0), 1200).is_empty());
}

#[test]
fn loss_takes_damaged_units_only() {
    let big = [&[0x41, 0x9A][..], &[9; 3000]].concat();
    let sent: Vec<_> = (0..4).map(|index| unit(index * 3000, &[&big])).collect();
    let packets = packets(&sent, &unknown(), 1200);
    assert_eq!(packets.len(), 12);
    for lost in 3..9 {
        let out = assemble(&mut Depacketizer::new(&unknown()), &packets, 65_530, &[lost]);
        assert_eq!(out.iter().filter(|output| **output == Depacketized::Lost).count(), 1, "{lost}");
        let damaged = lost / 3;
        let expected: Vec<_> = sent.iter().enumerate().filter(|(index, _)| *index != damaged).map(|(_, unit)| unit.clone()).collect();
        assert_eq!(units(&out), expected, "{lost}");
        let at = out.iter().position(|output| *output == Depacketized::Lost).unwrap();
        assert!(at == damaged, "told before what follows: {lost}");
    }
    // A whole unit away is told, too; joining in the middle of one is no loss.
    let out = assemble(&mut Depacketizer::new(&unknown()), &packets, 0, &[3, 4, 5]);
    assert_eq!((out.len(), &out[1]), (4, &Depacketized::Lost));
    let out = assemble(&mut Depacketizer::new(&unknown()), &packets[1..], 0, &[]);
    assert_eq!(out.len(), 3);
}

#[test]
fn never_ending_fragments_are_bounded() {
    let mut depacketizer = Depacketizer::new(&unknown());
    let piece = [&[0x5C, 0x01][..], &[1; 60_000]].concat();
    depacketizer.push(&[0x5C, 0x81, 0x9A], 0, 0, false);
    for seq in 1..1000 {
        depacketizer.push(&piece, 0, seq, false);
    }
    depacketizer.push(&[0x5C, 0x41, 1], 0, 1000, true);
    assert_eq!(poll_all(&mut depacketizer), [Depacketized::Lost]);
}

#[test]
fn damaged_payloads() {
    let table: [&[u8]; 6] = [
        &[0x5C],             // FU-A without its header
        &[0x5C, 0x01, 1],    // a fragment without its start
        &[0x18],             // empty STAP-A
        &[0x78, 0, 9, 0x41], // overrun
        &[0x1D, 1, 2, 3],    // FU-B
        &[0x5C, 0x81, 0x9A], // an end that never comes
    ];
    for payload in table {
        let mut depacketizer = Depacketizer::new(&unknown());
        depacketizer.push(&[0x41, 0x9A], 0, 0, true);
        depacketizer.push(payload, 3000, 1, true);
        depacketizer.push(&[0x41, 0x9A], 6000, 2, true);
        let out = poll_all(&mut depacketizer);
        assert!(matches!(&out[..], [Depacketized::Unit(_), Depacketized::Lost, Depacketized::Unit(_)]), "{payload:x?} {out:?}");
    }
}

fn nal() -> impl Strategy<Value = Vec<u8>> {
    let header = prop_oneof![Just(0x65u8), Just(0x41), Just(0x01), Just(0x06)];
    (header, prop_oneof![prop::collection::vec(any::<u8>(), 1..40), prop::collection::vec(any::<u8>(), 1..6000)]).prop_map(
        |(header, mut body)| {
            body[0] |= 0x80;
            body.insert(0, header);
            body
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn round_trip(
        pictures in prop::collection::vec(prop::collection::vec(nal(), 1..24), 1..6), mtu in 0usize..1500, first_seq in any::<u16>(),
        lose in prop::collection::vec(any::<prop::sample::Index>(), 1..3), markers in any::<bool>(),
    ) {
        let sent: Vec<_> = pictures.iter().enumerate()
            .map(|(index, nals)| unit(index as i64 * 3000, &nals.iter().map(Vec::as_slice).collect::<Vec<_>>())).collect();
        let mut packets = packets(&sent, &format(0), mtu);
        if !markers {
            packets.iter_mut().for_each(|packet| packet.2 = false);
        }
        let out = assemble(&mut Depacketizer::new(&format(0)), &packets, first_seq, &[]);
        let expected: Vec<_> = sent.iter().cloned().map(Depacketized::Unit).collect();
        prop_assert_eq!(&out, &expected);

        let lost: Vec<_> = lose.iter().map(|index| index.index(packets.len())).collect();
        let out = assemble(&mut Depacketizer::new(&format(0)), &packets, first_seq, &lost);
        // Units whose packets all came must be there when markers say where units end, and none comes that differs but by NAL
        // units at its beginning (which nobody can know of).
        for unit in units(&out) {
            let original = sent.iter().find(|sent| sent.pts == unit.pts).unwrap();
            // Nor can anybody know of a missing end of the whole stream, where no marker ever came.
            let marked = packets.iter().enumerate().any(|(index, packet)| packet.2 && !lost.contains(&index));
            let cut = !marked && unit.pts == sent[sent.len() - 1].pts && lost.contains(&(packets.len() - 1));
            prop_assert!(cut || original.data.ends_with(&unit.data));
        }
        if markers {
            for unit in &sent {
                let whole = packets.iter().enumerate().all(|(index, packet)| packet.1 != unit.pts || !lost.contains(&index));
                prop_assert!(!whole || units(&out).contains(unit));
            }
        }
    }

    #[test]
    fn never_panics(packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), prop_oneof![Just(0x7Cu8), Just(0x78), any::<u8>()], 0i64..4, any::<u16>(), any::<bool>()), 0..40)) {
        let mut depacketizer = Depacketizer::new(&unknown());
        for (mut payload, first, timestamp, seq, marker) in packets {
            payload.insert(0, first);
            depacketizer.push(&payload, timestamp, seq % 50, marker);
        }
        depacketizer.finish();
        poll_all(&mut depacketizer);
    }

    #[test]
    fn packetizing_garbage(data in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..300), key in any::<bool>(), mtu in 0usize..200) {
        let unit = AccessUnit { pts: 0, dts: 0, key, data: Bytes::from(data) };
        packets(&[unit], &format(0), mtu);
    }
}

#[test]
fn payload_types_that_nobody_offered() {
    let Format::H264 { sps, pps } = format(1) else { panic!() };
    let idr: &[u8] = &[0x65, 0x88, 1, 2, 3, 4];
    let stap = |kind: u8, before: &[u8], each: &[u8]| {
        let nals = [&sps[0][..], &pps[0]].map(|nal| [&(nal.len() as u16).to_be_bytes()[..], each, nal].concat()).concat();
        [&[0x60 | kind][..], before, &nals].concat()
    };
    let single = vec![idr.to_vec()];
    let fragments =
        |first: u8, don: &[u8]| vec![[&[0x60 | first, 0x85][..], don, &idr[1..3]].concat(), [&[0x7C, 0x45][..], &idr[3..]].concat()];
    let strange = |kind: u8| vec![vec![kind, 1, 2, 3], idr.to_vec(), vec![kind, 1, 2, 3]];
    let table = [
        ("STAP-A", stap(24, &[], &[]), single.clone()),
        ("STAP-A that ends with zeros", [stap(24, &[], &[]), vec![0; 5]].concat(), single.clone()),
        ("STAP-B", stap(25, &[0, 9], &[]), single.clone()),
        ("MTAP16", stap(26, &[0, 9], &[1, 0, 0]), single.clone()),
        ("MTAP24", stap(27, &[0, 9], &[1, 0, 0, 0]), single),
        ("FU-A", stap(24, &[], &[]), fragments(28, &[])),
        ("FU-B", stap(24, &[], &[]), fragments(29, &[0, 9])),
        ("type 0", stap(24, &[], &[]), strange(0)),
        ("type 17", stap(24, &[], &[]), strange(17)),
        ("type 30", stap(24, &[], &[]), strange(30)),
        ("type 31", stap(24, &[], &[]), strange(31)),
    ];
    for (name, sets, rest) in table {
        let count = rest.len();
        // What comes before, so that it is known where the picture begins.
        let before: &[u8] = &[0x41, 0x9A];
        let mut packets = vec![(before.to_vec(), -3000, true), (sets, 0, false)];
        packets.extend(rest.into_iter().enumerate().map(|(index, payload)| (payload, 0, index + 1 == count)));
        let out = assemble(&mut Depacketizer::new(&unknown()), &packets, 7, &[]);
        let wanted = [Depacketized::Format(format(1)), Depacketized::Unit(unit(0, &[idr]))];
        assert_eq!(out[1..], wanted, "{name}");
    }
}

#[test]
fn what_a_packetizer_marks_as_a_beginning_is_one() {
    // Intra refresh: a P picture is a place to start at.
    let units_in = [AccessUnit { key: true, ..unit(0, &[&[0x41, 0x9A, 1]]) }, unit(3000, &[&[0x41, 0x9A, 2]])];
    let out = assemble(&mut Depacketizer::new(&unknown()), &packets(&units_in, &format(0), 1200), 0, &[]);
    assert_eq!(units(&out), units_in);
}

#[test]
fn captions_and_changed_picture_parameter_sets_stay_in_the_unit() {
    let Format::H264 { sps, pps } = format(0) else { panic!() };
    let captions: &[u8] = &[0x06, 4, 8, 0xB5, 0, 0x31, b'G', b'A', b'9', b'4', 3, 0x80];
    let other = [&pps[0][..], &[0x11]].concat();
    let (idr, p): (&[u8], &[u8]) = (&[0x65, 0x88, 1], &[0x41, 0x9A, 1]);
    let sent =
        [unit(0, &[captions, idr]), unit(3000, &[&other, captions, p]), unit(6000, &[captions, p]), unit(9000, &[&sps[0], &other, idr])];
    let out = assemble(&mut Depacketizer::new(&format(0)), &packets(&sent, &format(0), 1200), 0, &[]);
    let changed = Format::H264 { sps: sps.clone(), pps: vec![other.clone().into()] };
    let [first, second, third, last] = [sent[0].clone(), sent[1].clone(), sent[2].clone(), unit(9000, &[idr])].map(Depacketized::Unit);
    assert_eq!(out, [first, second, third, Depacketized::Format(changed), last]);
}
