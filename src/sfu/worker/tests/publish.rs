//! From a publishing browser: recovery of losses, key-frame requests, reports.

use std::time::Duration;

use super::sim::{FRAME, Picture, Sim, Source, browser_h264, h264, number};
use crate::base::{MediaKind, NtpTime};
use crate::rtp::rtcp::{SenderInfo, write_sender_report};
use crate::sfu::ortc::{RtpEncodingParameters, RtpHeaderExtensionParameters, extension_uri};
use crate::sfu::types::{ProducerOptions, Reading};

fn publisher(sim: &mut Sim) -> (usize, crate::sfu::ProducerId) {
    let browser = sim.joined();
    let options = ProducerOptions { kind: MediaKind::Video, rtp_parameters: browser_h264() };
    let producer = sim.worker.produce(sim.browsers[browser].transport, options).unwrap();
    (browser, producer)
}

#[test]
fn a_browser_publishes_and_another_watches() {
    let mut sim = Sim::new(21);
    let (browser, producer) = publisher(&mut sim);
    let viewer = sim.joined();
    sim.consume(viewer, producer);
    sim.run(Duration::from_millis(50));
    assert_eq!(sim.browsers[browser].plis.len(), 1, "a viewer waits");
    let mut source = Source::new(65_000, 0);
    for index in 0..100 {
        for packet in source.picture(if index == 0 { Picture::Key } else { Picture::Predicted }) {
            sim.publish(browser, &packet);
        }
        sim.run(FRAME);
    }
    let mut got: Vec<u16> = sim.browsers[viewer].video().iter().filter_map(|got| number(&got.payload)).collect();
    got.dedup();
    assert_eq!(got, (1..=100).collect::<Vec<u16>>());
    assert!(sim.browsers[browser].receiver_reports >= 3);
    let stats = sim.worker.producer_stats(sim.now, sim.router, producer).unwrap();
    assert_eq!((stats.packets, stats.frames, stats.key_frames, stats.lost), (201, 100, 1, 0));
    assert_eq!(stats.key_frame_requests, 1);
    assert!(stats.bitrate > 0);
}

#[test]
fn lost_packets_are_asked_for_and_recovered_by_rtx() {
    let mut sim = Sim::new(22);
    let (browser, producer) = publisher(&mut sim);
    let viewer = sim.joined();
    sim.consume(viewer, producer);
    let mut source = Source::new(0, 0);
    for packet in source.picture(Picture::Key) {
        sim.publish(browser, &packet);
    }
    sim.run(FRAME);
    let lost = source.picture(Picture::Predicted);
    sim.publish(browser, &lost[0]);
    for packet in source.picture(Picture::Predicted) {
        sim.publish(browser, &packet);
    }
    sim.run(Duration::from_millis(60));
    let seq = u16::from_be_bytes([lost[1][2], lost[1][3]]);
    assert!(sim.browsers[browser].nacks.contains(&seq));
    // As RTX: own SSRC and number, the original number before the payload.
    let mut rtx = lost[1][..12].to_vec();
    rtx[1] = (rtx[1] & 0x80) | 97;
    rtx[2..4].copy_from_slice(&7u16.to_be_bytes());
    rtx[8..12].copy_from_slice(&501u32.to_be_bytes());
    rtx.extend_from_slice(&lost[1][2..4]);
    rtx.extend_from_slice(&lost[1][12..]);
    sim.publish(browser, &rtx);
    sim.run(Duration::from_millis(60));
    let payloads: Vec<Vec<u8>> = sim.browsers[viewer].video_in_order().iter().map(|got| got.payload.clone()).collect();
    assert!(payloads.contains(&lost[1][12..].to_vec()));
    assert_eq!(sim.worker.stats().recovered, 1);
    assert_eq!(sim.worker.producer_stats(sim.now, sim.router, producer).unwrap().lost, 0);
}

#[test]
fn many_viewers_make_one_key_frame_request_a_second() {
    let mut sim = Sim::new(23);
    let (browser, producer) = publisher(&mut sim);
    let viewers: Vec<usize> = (0..4).map(|_| sim.joined()).collect();
    let ssrcs: Vec<u32> = viewers.iter().map(|v| sim.consume(*v, producer).rtp_parameters.encodings[0].ssrc.unwrap()).collect();
    let mut source = Source::new(0, 0);
    for index in 0..90 {
        if index % 30 == 0 {
            for packet in source.picture(Picture::Key) {
                sim.publish(browser, &packet);
            }
        }
        for (viewer, ssrc) in viewers.iter().zip(&ssrcs) {
            sim.send_pli(*viewer, *ssrc);
        }
        sim.run(FRAME);
    }
    let plis = &sim.browsers[browser].plis;
    assert!((3..=4).contains(&plis.len()), "{} PLIs", plis.len());
    assert!(plis.windows(2).all(|pair| pair[1].0 - pair[0].0 >= Duration::from_millis(990)));
    assert!(sim.worker.stats().key_frame_requests_in > 300);
}

#[test]
fn sender_reports_set_the_clock_and_transport_feedback_goes_out() {
    let mut sim = Sim::new(24);
    let (browser, producer) = publisher(&mut sim);
    let reader = sim.worker.consume_batches(sim.router, producer, Reading::Live).unwrap();
    sim.worker.start_batches(sim.now, reader, &mut sim.out);
    let mut source = Source::new(0, 90_000);
    for index in 0u16..20 {
        if index == 10 {
            let mut compound = Vec::new();
            let ntp = NtpTime::from_unix_nanos(55_000_000_000);
            write_sender_report(&mut compound, 500, &SenderInfo { ntp, rtp_timestamp: source.timestamp, packets: 1, octets: 1 }, &[]);
            sim.send_rtcp(browser, &compound);
        }
        source.timestamp += 3000;
        let kind = if index == 0 { 0x65 } else { 0x41 };
        let packet = source.packet(&[kind, 0x88, 0, 0, 0], true, &[(5, &index.to_be_bytes())]);
        sim.publish(browser, &packet);
        sim.run(FRAME);
    }
    assert!(sim.browsers[browser].feedbacks >= 3, "{}", sim.browsers[browser].feedbacks);
    let clocks: Vec<_> = sim.out.batches[&reader].iter().filter_map(|batch| batch.clock).collect();
    assert_eq!(clocks.len(), 2, "by arrival, then by report");
    let seconds = (clocks[1].wallclock - clocks[0].wallclock) as f64 / 1e9;
    let ticks = f64::from(clocks[1].rtp - clocks[0].rtp) / 90_000.0;
    // The report names the picture before, which came one picture earlier.
    assert!((seconds - ticks).abs() < 0.04, "{seconds} {ticks}");
}

#[test]
fn an_unsignalled_ssrc_is_found_by_payload_type() {
    let mut sim = Sim::new(25);
    let browser = sim.joined();
    let mut parameters = h264(1);
    parameters.encodings[0].ssrc = None;
    let options = ProducerOptions { kind: MediaKind::Video, rtp_parameters: parameters };
    let producer = sim.worker.produce(sim.browsers[browser].transport, options).unwrap();
    for packet in Source::new(0, 0).picture(Picture::Key) {
        sim.publish(browser, &packet);
    }
    sim.run(FRAME);
    assert_eq!(sim.worker.producer_stats(sim.now, sim.router, producer).unwrap().packets, 3);
}

#[test]
fn of_a_simulcast_publisher_the_first_layer_is_taken() {
    let mut sim = Sim::new(26);
    let browser = sim.joined();
    let mut parameters = h264(1);
    parameters.encodings[0] = RtpEncodingParameters { rid: Some("h".into()), ..Default::default() };
    parameters.encodings.push(RtpEncodingParameters { rid: Some("l".into()), ..Default::default() });
    parameters.header_extensions = vec![RtpHeaderExtensionParameters { uri: extension_uri::RID.into(), id: 2, encrypt: false }];
    let options = ProducerOptions { kind: MediaKind::Video, rtp_parameters: parameters };
    let producer = sim.worker.produce(sim.browsers[browser].transport, options).unwrap();
    let mut layers = [("l", 10u32), ("h", 11)].map(|(rid, ssrc)| (Source::new(0, 0), rid, ssrc));
    for index in 0..10 {
        for (source, rid, ssrc) in &mut layers {
            let rid = (2, rid.as_bytes());
            // The RID goes with the first packets only.
            let mut packet = source.packet(&[0x41, 0x88, 0, 0, 0], true, if index < 3 { std::slice::from_ref(&rid) } else { &[] }).to_vec();
            packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
            sim.publish(browser, &packet);
        }
    }
    sim.run(FRAME);
    assert_eq!(sim.worker.producer_stats(sim.now, sim.router, producer).unwrap().packets, 10);
    assert_eq!(sim.worker.stats().drop_unknown_ssrc, 10);
}

#[test]
fn a_kept_producer_stays_silent_without_its_transport_until_it_is_replaced() {
    let mut sim = Sim::new(27);
    let (browser, old) = publisher(&mut sim);
    let (other, fleeting) = publisher(&mut sim);
    let viewer = sim.joined();
    let ssrc = sim.consume(viewer, old).rtp_parameters.encodings[0].ssrc.unwrap();
    let send = |sim: &mut Sim, browser: usize, source: &mut Source| {
        for index in 0..30 {
            for packet in source.picture(if index == 0 { Picture::Key } else { Picture::Predicted }) {
                sim.publish(browser, &packet);
            }
            sim.run(FRAME);
        }
    };
    send(&mut sim, browser, &mut Source::new(100, 0));
    sim.worker.keep_producer(sim.router, old).unwrap();
    sim.run(Duration::from_secs(1)); // what was asked before may be asked again
    let asked = sim.worker.producer_stats(sim.now, sim.router, old).unwrap().key_frame_requests;
    for gone in [browser, other] {
        let transport = sim.browsers[gone].transport;
        sim.worker.close_transport(sim.now, transport, &mut sim.out);
    }
    // Without being kept a producer goes with its transport.
    assert!(sim.worker.producer_stats(sim.now, sim.router, fleeting).is_err());
    let stats = sim.worker.producer_stats(sim.now, sim.router, old).unwrap();
    assert_eq!((stats.frames, stats.key_frames), (30, 1));
    // There is nobody to ask for a key frame: a viewer who wants one begins again with the last picture there is.
    sim.send_pli(viewer, ssrc);
    sim.run(Duration::from_secs(3));
    let before = sim.browsers[viewer].video().len();
    assert_eq!(before, 2 * (30 * 2 + 1));
    let plis: usize = [browser, other].iter().map(|gone| sim.browsers[*gone].plis.len()).sum();
    assert!(plis as u64 <= asked);

    let (again, new) = publisher(&mut sim);
    sim.worker.replace_producer(sim.now, sim.router, old, new, &mut sim.out).unwrap();
    assert!(sim.worker.producer_stats(sim.now, sim.router, old).is_err());
    send(&mut sim, again, &mut Source::new(40_000, 5));
    let video = sim.browsers[viewer].video();
    assert_eq!(video.len(), before + 30 * 2 + 1);
    assert!(video.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
    // Kept once more: the second publisher may come and go as well.
    sim.worker.keep_producer(sim.router, new).unwrap();
    let transport = sim.browsers[again].transport;
    sim.worker.close_transport(sim.now, transport, &mut sim.out);
    sim.worker.close_producer(sim.now, sim.router, new, &mut sim.out);
    assert!(sim.worker.keep_producer(sim.router, new).is_err());
}
