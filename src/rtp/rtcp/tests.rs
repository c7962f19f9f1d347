//! Writers and the parser against each other, against an independent implementation, and against garbage.

use proptest::prelude::*;
use rtc_rtcp::goodbye::Goodbye;
use rtc_rtcp::packet::unmarshal;
use rtc_rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::source_description::SourceDescription;
use rtc_rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;

use super::*;
use crate::base::NtpTime;

const BLOCK: ReportBlock = ReportBlock {
    ssrc: 0x0102_0304,
    fraction_lost: 85,
    cumulative_lost: 0x12_3456,
    highest_seq: 0x0001_FFFF,
    jitter: 77,
    last_sr: 0xAABB_CCDD,
    delay_since_last_sr: 65536,
};
const INFO: SenderInfo = SenderInfo { ntp: NtpTime(0x1122_3344_5566_7788), rtp_timestamp: u32::MAX, packets: 5, octets: 6000 };

fn one(bytes: &[u8]) -> Rtcp<'_> {
    let mut packets = parse(bytes);
    let packet = packets.next().unwrap().unwrap();
    assert!(packets.next().is_none());
    packet
}

#[test]
fn a_compound_packet_as_another_implementation_reads_it() {
    let mut out = Vec::new();
    write_sender_report(&mut out, 1, &INFO, &[BLOCK]);
    write_receiver_report(&mut out, 1, &[]);
    write_sdes_cname(&mut out, 1, "somebody");
    write_nack(&mut out, 1, 2, &[65534, 65535, 3, 14, 15, 900]);
    write_pli(&mut out, 1, 2);
    write_fir(&mut out, 1, 2, 9);
    write_remb(&mut out, 1, 2_500_000, &[5, 6]);
    write_bye(&mut out, &[1, 7]);
    assert_eq!(parse(&out).filter(Result::is_ok).count(), 8);

    let packets = unmarshal(&mut &out[..]).unwrap();
    let sr = packets[0].as_any().downcast_ref::<SenderReport>().unwrap();
    assert_eq!((sr.ssrc, sr.ntp_time, sr.rtp_time, sr.packet_count, sr.octet_count), (1, INFO.ntp.0, u32::MAX, 5, 6000));
    assert_eq!(sr.reports[0].total_lost, 0x12_3456);
    assert_eq!((sr.reports[0].last_sender_report, sr.reports[0].delay, sr.reports[0].jitter), (0xAABB_CCDD, 65536, 77));
    assert!(packets[1].as_any().downcast_ref::<ReceiverReport>().unwrap().reports.is_empty());
    let sdes = packets[2].as_any().downcast_ref::<SourceDescription>().unwrap();
    assert_eq!(sdes.chunks[0].items[0].text, "somebody");
    let nack = packets[3].as_any().downcast_ref::<TransportLayerNack>().unwrap();
    let seqs: Vec<u16> = nack.nacks.iter().flat_map(|pair| pair.packet_list()).collect();
    assert_eq!(seqs, [65534, 65535, 3, 14, 15, 900]);
    assert_eq!(nack.nacks.len(), 3);
    assert_eq!(packets[4].as_any().downcast_ref::<PictureLossIndication>().unwrap().media_ssrc, 2);
    let fir = packets[5].as_any().downcast_ref::<FullIntraRequest>().unwrap();
    assert_eq!((fir.fir[0].ssrc, fir.fir[0].sequence_number), (2, 9));
    let remb = packets[6].as_any().downcast_ref::<ReceiverEstimatedMaximumBitrate>().unwrap();
    assert_eq!((remb.bitrate, &remb.ssrcs[..]), (2_500_000.0, &[5, 6][..]));
    assert_eq!(packets[7].as_any().downcast_ref::<Goodbye>().unwrap().sources, [1, 7]);
}

#[test]
fn round_trips() {
    let mut out = Vec::new();
    write_sender_report(&mut out, 1, &INFO, &[BLOCK, ReportBlock { cumulative_lost: -5, ..BLOCK }]);
    let Rtcp::SenderReport { ssrc: 1, info: INFO, reports } = one(&out) else { panic!() };
    assert_eq!(reports.iter().collect::<Vec<_>>(), [BLOCK, ReportBlock { cumulative_lost: -5, ..BLOCK }]);

    out.clear();
    write_nack(&mut out, 3, 4, &[65535, 0, 1, 40]);
    let Rtcp::Nack { sender_ssrc: 3, media_ssrc: 4, lost } = one(&out) else { panic!() };
    assert_eq!(lost.iter().collect::<Vec<_>>(), [65535, 0, 1, 40]);

    for bitrate in [0, 1, 262_143, 262_144, 10_000_000, u64::MAX] {
        out.clear();
        write_remb(&mut out, 3, bitrate, &[9]);
        let Rtcp::Remb { bitrate: read, ssrcs, .. } = one(&out) else { panic!() };
        assert!(read <= bitrate && bitrate - read <= bitrate >> 17, "{bitrate} {read}");
        assert_eq!(ssrcs.iter().collect::<Vec<_>>(), [9]);
    }

    out.clear();
    write_fir(&mut out, 3, 4, 5);
    let Rtcp::Fir { sender_ssrc: 3, entries } = one(&out) else { panic!() };
    assert_eq!(entries.iter().collect::<Vec<_>>(), [(4, 5)]);

    for cname in ["", "a", "ab", "abc", "abcd"] {
        out.clear();
        write_sdes_cname(&mut out, 8, cname);
        let Rtcp::Sdes(sdes) = one(&out) else { panic!() };
        assert_eq!(sdes.cnames().collect::<Vec<_>>(), [(8, cname.as_bytes())]);
    }
}

#[test]
fn many_blocks_and_many_nacks_are_split() {
    let mut out = Vec::new();
    write_sender_report(&mut out, 1, &INFO, &[BLOCK; 70]);
    let counts: Vec<usize> = parse(&out)
        .map(|packet| match packet.unwrap() {
            Rtcp::SenderReport { reports, .. } | Rtcp::ReceiverReport { reports, .. } => reports.iter().count(),
            _ => panic!(),
        })
        .collect();
    assert_eq!(counts, [31, 31, 8]);
    out.clear();
    let seqs: Vec<u16> = (0..1000).map(|i| i * 20).collect();
    write_nack(&mut out, 1, 2, &seqs);
    let read: Vec<u16> = parse(&out)
        .flat_map(|packet| match packet.unwrap() {
            Rtcp::Nack { lost, .. } => lost.iter(),
            _ => panic!(),
        })
        .collect();
    assert_eq!(read, seqs);
}

#[test]
fn several_sdes_chunks_and_unknown_types() {
    // SSRC 1: NOTE "x", CNAME "ab"; SSRC 2: nothing; SSRC 3: CNAME "c". Then APP, then a broken frame.
    let bytes = [
        &[0x83, 202, 0, 7, 0, 0, 0, 1, 7, 1, b'x', 1, 2, b'a', b'b', 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 1, 1, b'c', 0][..],
        &[0x85, 204, 0, 1, 1, 2, 3, 4],
        &[0x80, 201, 0, 9],
    ]
    .concat();
    let packets: Vec<_> = parse(&bytes).collect();
    let Ok(Rtcp::Sdes(sdes)) = packets[0] else { panic!() };
    assert_eq!(sdes.cnames().collect::<Vec<_>>(), [(1, &b"ab"[..]), (3, &b"c"[..])]);
    assert!(matches!(packets[1], Ok(Rtcp::Other { packet_type: 204, count: 5, body: [1, 2, 3, 4] })));
    assert_eq!(packets[2].unwrap_err(), RtcpError::Framing(40));
    assert_eq!(packets.len(), 3);
}

#[test]
fn one_bad_packet_does_not_hide_the_next() {
    let bytes = [0x81, 201, 0, 1, 0, 0, 0, 1, 0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
    let packets: Vec<_> = parse(&bytes).collect();
    assert_eq!(packets[0].unwrap_err(), RtcpError::Contents { packet_type: 201 });
    assert!(matches!(packets[1], Ok(Rtcp::Pli { sender_ssrc: 1, media_ssrc: 2 })));
}

#[test]
fn round_trip_time() {
    let block = ReportBlock { last_sr: 0xFFFF_0000, delay_since_last_sr: 0x0001_0000, ..BLOCK };
    let at = |middle: u32| NtpTime(u64::from(middle) << 16);
    // LSR 1 s before the 32 bits wrap, held 1 s, back 0.5 s after.
    assert_eq!(block.round_trip(at(0x8000)), Some(std::time::Duration::from_millis(500)));
    assert_eq!(block.round_trip(at(u32::MAX)), Some(std::time::Duration::ZERO));
    assert_eq!(block.round_trip(at(0xF000_0000)), None);
    assert_eq!(ReportBlock { last_sr: 0, ..block }.round_trip(at(0x8000)), None);
}

#[test]
fn feedback_as_another_implementation_reads_it() {
    let ms = 1000;
    let arrivals = [Some(5_000 * ms), None, Some(5_010 * ms), Some(5_009 * ms), None, None, Some(5_300 * ms)];
    let mut out = Vec::new();
    assert_eq!(write_transport_feedback(&mut out, 1, 2, 65533, 9, &arrivals), 7);
    let packets = unmarshal(&mut &out[..]).unwrap();
    let theirs = packets[0].as_any().downcast_ref::<TransportLayerCc>().unwrap();
    assert_eq!((theirs.base_sequence_number, theirs.packet_status_count, theirs.fb_pkt_count), (65533, 7, 9));
    assert_eq!(theirs.reference_time, 78);
    let deltas: Vec<i64> = theirs.recv_deltas.iter().map(|delta| delta.delta).collect();
    assert_eq!(deltas, [8000, 10_000, -1000, 291_000]);
    let Rtcp::TransportFeedback(feedback) = one(&out) else { panic!() };
    let read: Vec<_> = feedback.statuses().collect();
    assert_eq!(read[0], (65533, Some(5_000 * ms)));
    assert_eq!(read.iter().map(|(_, arrival)| *arrival).collect::<Vec<_>>(), arrivals);
    assert_eq!(read[3].0, 0);
}

#[test]
fn feedback_stops_where_it_must() {
    let mut out = Vec::new();
    assert_eq!(write_transport_feedback(&mut out, 1, 2, 0, 0, &[]), 0);
    assert_eq!(write_transport_feedback(&mut out, 1, 2, 0, 0, &[None; 2]), 0);
    let mut late = vec![None; 450];
    late.push(Some(0));
    assert_eq!(write_transport_feedback(&mut out, 1, 2, 0, 0, &late), 0);
    assert!(out.is_empty());
    assert_eq!(write_transport_feedback(&mut out, 1, 2, 0, 0, &[None, Some(70_000), None]), 2);
    let Rtcp::TransportFeedback(feedback) = one(&out) else { panic!() };
    assert_eq!(feedback.statuses().collect::<Vec<_>>(), [(0, None), (1, Some(70_000))]);
    assert!(unmarshal(&mut &out[..]).is_ok());
    out.clear();
    assert_eq!(write_transport_feedback(&mut out, 1, 2, 0, 0, &[Some(0), None, Some(9_000_000)]), 1);
    out.clear();
    assert_eq!(write_transport_feedback(&mut out, 1, 2, 0, 0, &[Some(1_000_000); 1000]), 450);
    out.clear();
    // All deltas large.
    let arrivals: Vec<_> = (0..450).map(|i| Some(i * 70_000)).collect();
    assert_eq!(write_transport_feedback(&mut out, 1, 2, 0, 0, &arrivals), 450);
    assert!(out.len() < 1200, "{}", out.len());
}

proptest! {
    #[test]
    fn feedback_round_trip(
        start in -100_000_000i64..100_000_000,
        base: u16,
        steps in proptest::collection::vec((prop_oneof![3 => Just(0i64), 3 => 0i64..2000, 1 => -50_000i64..100_000], any::<bool>()), 0..440),
    ) {
        let mut at = start;
        let mut arrivals = vec![Some(start)];
        for (step, arrived) in steps {
            at += step;
            arrivals.push(arrived.then_some(at));
        }
        let mut out = Vec::new();
        let count = write_transport_feedback(&mut out, 1, 2, base, 3, &arrivals);
        prop_assert_eq!(count, arrivals.iter().rposition(Option::is_some).unwrap() + 1);
        let Rtcp::TransportFeedback(feedback) = one(&out) else { panic!() };
        let read: Vec<_> = feedback.statuses().collect();
        prop_assert_eq!(read.len(), count);
        for (index, (seq, arrival)) in read.into_iter().enumerate() {
            prop_assert_eq!(seq, base.wrapping_add(index as u16));
            prop_assert_eq!(arrival.is_some(), arrivals[index].is_some());
            if let (Some(read), Some(written)) = (arrival, arrivals[index]) {
                prop_assert!((read - written).abs() <= 125, "{} {}", read, written);
            }
        }
        prop_assert!(unmarshal(&mut &out[..]).is_ok());
    }

    #[test]
    fn any_bytes_are_safe(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), packet_type in 198u8..208, count: u8) {
        if bytes.len() >= 4 {
            bytes[0] = 0x80 | (count & 0x3F);
            bytes[1] = packet_type;
            let words = ((bytes.len() / 4 - 1) as u16).to_be_bytes();
            bytes[2..4].copy_from_slice(&words);
            if bytes.len() >= 16 && count & 0x40 != 0 {
                bytes[12..16].copy_from_slice(b"REMB");
            }
        }
        for packet in parse(&bytes).flatten() {
            match packet {
                Rtcp::SenderReport { reports, .. } | Rtcp::ReceiverReport { reports, .. } => prop_assert!(reports.iter().count() <= 31),
                Rtcp::Sdes(sdes) => prop_assert!(sdes.cnames().count() <= 31),
                Rtcp::Bye { ssrcs } | Rtcp::Remb { ssrcs, .. } => prop_assert!(ssrcs.iter().count() <= 255),
                Rtcp::Nack { lost, .. } => prop_assert!(lost.iter().count() <= 17 * bytes.len() / 4),
                Rtcp::Fir { entries, .. } => prop_assert!(entries.iter().count() <= bytes.len() / 8),
                Rtcp::TransportFeedback(feedback) => prop_assert!(feedback.statuses().count() <= 65535),
                _ => {}
            }
        }
    }
}
