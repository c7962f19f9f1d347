//! Garbage from strangers and from peers.

use std::time::Duration;

use super::sim::{FRAME, Picture, Sim, Source, browser_h264, h264, opus};
use crate::base::MediaKind;
use crate::rtp::rtcp::write_nack;
use crate::sfu::config::SfuConfig;
use crate::sfu::error::SfuError;
use crate::sfu::peer::{Protocol, Tuple};
use crate::sfu::types::{ProducerOptions, Reading};
use crate::sfu::worker::{Event, Owner};

#[test]
fn garbage_from_strangers_and_peers_changes_nothing() {
    let mut sim = Sim::new(31);
    let producer = sim.produce_direct(h264(500), MediaKind::Video);
    let viewer = sim.joined();
    sim.consume(viewer, producer);
    let stranger = Tuple { local: "192.0.2.1:8189".parse().unwrap(), remote: "203.0.113.5:5".parse().unwrap(), protocol: Protocol::Udp };
    let own = Tuple { remote: sim.browsers[viewer].address, ..stranger };
    let mut random = 7u64;
    for round in 0..20_000u32 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let len = (random >> 33) as usize % 80;
        let mut datagram: Vec<u8> = (0..len).map(|index| (random >> (index % 8 * 8)) as u8 ^ (round >> (index % 3 * 8)) as u8).collect();
        if let Some(first) = datagram.first_mut() {
            *first = [0, 1, 20, 22, 63, 128, 144, 160, 191, 255][round as usize % 10];
        }
        let tuple = if round % 2 == 0 { stranger } else { own };
        assert_ne!(sim.worker.owner_of(&stranger, &datagram), Owner::Here);
        sim.worker.handle_datagram(sim.now, tuple, &mut datagram, &mut sim.out);
        assert!(sim.out.datagrams.is_empty(), "an answer to garbage");
    }
    sim.feed(producer, vec![bytes::Bytes::from_static(b"\x80"), bytes::Bytes::new()]);
    let mut source = Source::new(0, 0);
    sim.feed(producer, source.picture(Picture::Key));
    sim.run(FRAME);
    assert_eq!(sim.browsers[viewer].video().len(), 3);
    let stats = sim.worker.stats();
    assert!(stats.drop_unknown_peer >= 10_000 && stats.drop_srtp > 1000, "{stats:?}");
}

#[test]
fn rtcp_garbage_from_a_viewer_is_survived() {
    let mut sim = Sim::new(32);
    let producer = sim.produce_direct(h264(500), MediaKind::Video);
    let viewer = sim.joined();
    let ssrc = sim.consume(viewer, producer).rtp_parameters.encodings[0].ssrc.unwrap().to_be_bytes();
    let mut source = Source::new(0, 0);
    sim.feed(producer, source.picture(Picture::Key));
    for kind in 192..=223u8 {
        for count in 0..32u8 {
            let mut packet = vec![0x80 | count, kind, 0, 5];
            packet.extend_from_slice(&[0xFF; 4]);
            packet.extend_from_slice(&ssrc);
            packet.extend_from_slice(&[0xFF; 12]);
            sim.send_rtcp(viewer, &packet);
        }
        sim.run(Duration::from_millis(5));
    }
    sim.feed(producer, source.picture(Picture::Predicted));
    sim.run(Duration::from_secs(1));
    assert!(sim.browsers[viewer].video().len() >= 5);
}

#[test]
fn bounds_are_kept_and_said() {
    let config = SfuConfig { max_transports: 1, max_producers: 2, max_consumers: 1, ..Default::default() };
    let mut sim = Sim::with(33, config);
    let video = sim.produce_direct(h264(1), MediaKind::Video);
    sim.produce_direct(opus(2), MediaKind::Audio);
    let viewer = sim.joined();
    let third = ProducerOptions { kind: MediaKind::Audio, rtp_parameters: opus(3) };
    assert!(matches!(sim.worker.produce_direct(sim.router, None, third), Err(SfuError::TooMany(_))));
    assert!(matches!(sim.worker.create_transport(sim.now, sim.router), Err(SfuError::TooMany(_))));
    sim.consume(viewer, video);
    assert!(matches!(sim.worker.consume_batches(sim.router, video, Reading::Live), Err(SfuError::TooMany(_))));
}

#[test]
fn contradicting_parameters_are_refused() {
    let mut sim = Sim::new(34);
    let browser = sim.joined();
    let transport = sim.browsers[browser].transport;
    let good = browser_h264();
    sim.worker.produce(transport, ProducerOptions { kind: MediaKind::Video, rtp_parameters: good.clone() }).unwrap();
    let change = |change: &dyn Fn(&mut crate::sfu::ortc::RtpParameters)| {
        let mut parameters = good.clone();
        parameters.encodings[0].ssrc = Some(9);
        parameters.encodings[0].rtx = None;
        change(&mut parameters);
        parameters
    };
    let bad = [
        good.clone(), // SSRC in use
        change(&|p| p.codecs.clear()),
        change(&|p| p.codecs[0].mime_type = "video/x".into()),
        change(&|p| p.codecs[0].payload_type = 200),
        change(&|p| p.codecs[0].payload_type = 72),
        change(&|p| p.codecs[1].payload_type = 96),
        change(&|p| p.codecs[0].clock_rate = 0),
        change(&|p| p.codecs[0].clock_rate = 8000),
        change(&|p| p.header_extensions[0].id = 0),
        change(&|p| p.header_extensions[0].id = 15),
        change(&|p| p.mid = Some("12345678901234567".into())),
    ];
    for rtp_parameters in bad {
        let options = ProducerOptions { kind: MediaKind::Video, rtp_parameters: rtp_parameters.clone() };
        let refused = sim.worker.produce(transport, options);
        assert!(refused.as_ref().is_err_and(SfuError::is_bad_parameters), "{rtp_parameters:?}: {refused:?}");
    }
    let options = ProducerOptions { kind: MediaKind::Audio, rtp_parameters: change(&|_| ()) };
    assert!(sim.worker.produce(transport, options).is_err());
}

/// What comes to a worker and names a transport of another one goes there only if there is one of that name.
#[test]
fn a_name_that_nobody_has_is_nobodys() {
    let check = |ufrag: &str| {
        let name = format!("{ufrag}:abcd");
        let mut attribute = vec![0, 6, 0, name.len() as u8];
        attribute.extend(name.as_bytes());
        attribute.resize(attribute.len().next_multiple_of(4), 0);
        let mut request = vec![0, 1, 0, attribute.len() as u8, 0x21, 0x12, 0xA4, 0x42];
        request.extend([7; 12]);
        request.extend(attribute);
        request
    };
    let mut sim = Sim::new(37);
    let stranger = Tuple { local: "192.0.2.1:8189".parse().unwrap(), remote: "203.0.113.5:5".parse().unwrap(), protocol: Protocol::Udp };
    let invented = check("0001Zz9Zz9Zz");
    assert_eq!(sim.worker.owner_of(&stranger, &invented), Owner::Nobody);
    sim.worker.set_foreign_ufrag("0001Zz9Zz9Zz".to_owned(), 1, true);
    assert_eq!(sim.worker.owner_of(&stranger, &invented), Owner::Named(1));
    sim.worker.set_foreign_ufrag("0001Zz9Zz9Zz".to_owned(), 1, false);
    assert_eq!(sim.worker.owner_of(&stranger, &invented), Owner::Nobody);
    // Our own ones are announced to the others, and taken back.
    let viewer = sim.joined();
    let transport = sim.browsers[viewer].transport;
    let names = |sim: &mut Sim, wanted: bool| {
        sim.events.extend(std::iter::from_fn(|| sim.worker.poll_event()));
        let found = |event: &Event| matches!(event, Event::Ufrag(_, valid) if *valid == wanted);
        sim.events.iter().filter(|event| found(event)).count()
    };
    assert_eq!((names(&mut sim, true), names(&mut sim, false)), (1, 0));
    let theirs = sim.browsers[viewer].peer.ice_parameters().clone();
    sim.worker.restart_ice(transport, &theirs).unwrap();
    assert_eq!(names(&mut sim, true), 2);
    sim.worker.close_transport(sim.now, transport, &mut sim.out);
    sim.run(Duration::from_secs(1));
    assert_eq!(names(&mut sim, false), 2);
}

/// One viewer names all the packets it was sent, again and again: 30 such NACKs once fetched 1,900 times their size.
#[test]
fn a_storm_of_nacks_gets_a_share_of_what_is_sent() {
    let mut sim = Sim::new(35);
    let producer = sim.produce_direct(h264(500), MediaKind::Video);
    let viewer = sim.joined();
    let ssrc = sim.consume(viewer, producer).rtp_parameters.encodings[0].ssrc.unwrap();
    let mut source = Source::new(0, 0);
    sim.feed(producer, source.picture(Picture::Key));
    let mut payload = vec![0; 1000];
    payload[..2].copy_from_slice(&[0x41, 0x08]);
    for _ in 0..300 {
        source.timestamp = source.timestamp.wrapping_add(3000);
        let packets = (0..10).map(|place| source.packet(&payload, place == 9, &[])).collect();
        sim.feed(producer, packets);
        sim.run(FRAME);
    }
    let last = sim.browsers[viewer].video().last().unwrap().seq as u16;
    let all: Vec<u16> = (0..4096).map(|behind| last.wrapping_sub(4095 - behind)).collect();
    let mut compound = Vec::new();
    write_nack(&mut compound, 1, ssrc, &all);
    let before = sim.worker.stats();
    for _ in 0..30 {
        sim.send_rtcp(viewer, &compound);
    }
    sim.run(Duration::from_millis(50));
    let first = sim.worker.stats();
    // What was saved up, of what is younger than 2 s, and each packet once.
    let resent = first.retransmissions - before.retransmissions;
    assert!((450..=525).contains(&resent), "{resent}");
    for _ in 0..200 {
        sim.send_rtcp(viewer, &compound);
        sim.run(Duration::from_millis(5));
    }
    let then = sim.worker.stats();
    assert!(then.bytes_out - before.bytes_out < 600_000, "{} bytes", then.bytes_out - before.bytes_out);
    assert!(then.nacks_unanswered - before.nacks_unanswered > 500_000);
    // Who goes on gets a quarter of what goes on.
    for _ in 0..30 {
        source.timestamp = source.timestamp.wrapping_add(3000);
        let packets = (0..10).map(|place| source.packet(&payload, place == 9, &[])).collect();
        sim.feed(producer, packets);
        sim.run(FRAME);
        let last = sim.browsers[viewer].video().last().unwrap().seq as u16;
        let mut compound = Vec::new();
        write_nack(&mut compound, 1, ssrc, &(0..60).map(|behind| last.wrapping_sub(59 - behind)).collect::<Vec<_>>());
        sim.send_rtcp(viewer, &compound);
    }
    let share = sim.worker.stats().retransmissions - then.retransmissions;
    assert!((60..=85).contains(&share), "{share} of 300");
}

/// A viewer moves its session to somebody else's address, of which it can send as well.
#[test]
fn media_do_not_go_where_nobody_asked_for_them() {
    let mut sim = Sim::new(38);
    let producer = sim.produce_direct(h264(500), MediaKind::Video);
    let viewer = sim.joined();
    sim.consume(viewer, producer);
    let own = sim.browsers[viewer].peer.selected_tuple().unwrap();
    let victim = Tuple { local: "203.0.113.9:9".parse().unwrap(), ..own };
    let peer = &mut sim.browsers[viewer].peer;
    peer.add_tuple(sim.now, victim);
    peer.nominate(sim.now, victim);
    let mut source = Source::new(0, 0);
    for index in 0..90 {
        sim.feed(producer, source.picture(if index == 0 { Picture::Key } else { Picture::Predicted }));
        sim.run(FRAME);
    }
    assert_eq!(sim.browsers[viewer].video().len(), 181);
}

fn restarts(sim: &Sim, viewer: usize) -> usize {
    sim.browsers[viewer].video().iter().filter(|got| got.payload[0] == 0x67).count()
}

/// A viewer asks for key frames without end, first of a source that can't be asked: 8 s of pictures each time.
#[test]
fn who_asks_for_key_frames_without_end_is_not_sent_them() {
    let mut sim = Sim::new(39);
    let producer = sim.produce_direct(h264(500), MediaKind::Video);
    let viewer = sim.joined();
    let ssrc = sim.consume(viewer, producer).rtp_parameters.encodings[0].ssrc.unwrap();
    let mut source = Source::new(0, 0);
    let frames = 120 * 30;
    for index in 0..frames {
        sim.feed(producer, source.picture(if index % 240 == 0 { Picture::Key } else { Picture::Predicted }));
        sim.send_pli(viewer, ssrc);
        sim.run(FRAME);
    }
    // Each picture twice at most; it was up to five times.
    let (keys, packets) = (restarts(&sim, viewer), sim.browsers[viewer].video().len());
    assert!((16..=36).contains(&keys), "{keys} key frames");
    assert!(packets < 2 * frames * 2, "{packets} packets");
}

/// The same of a browser that publishes: the key frames it makes cost all its viewers.
#[test]
fn one_viewer_does_not_decide_on_a_publishers_key_frames() {
    let mut sim = Sim::new(40);
    let browser = sim.joined();
    let transport = sim.browsers[browser].transport;
    let options = ProducerOptions { kind: MediaKind::Video, rtp_parameters: browser_h264() };
    let producer = sim.worker.produce(transport, options).unwrap();
    let viewer = sim.joined();
    let ssrc = sim.consume(viewer, producer).rtp_parameters.encodings[0].ssrc.unwrap();
    let mut source = Source::new(0, 0);
    let mut key_frames = 0;
    for _ in 0..120 * 30 {
        let asked = std::mem::take(&mut sim.browsers[browser].plis).len();
        key_frames += asked.min(1);
        for packet in source.picture(if asked > 0 || source.frames == 0 { Picture::Key } else { Picture::Predicted }) {
            sim.publish(browser, &packet);
        }
        sim.send_pli(viewer, ssrc);
        sim.run(FRAME);
    }
    assert!((15..=26).contains(&key_frames), "{key_frames} key frames in 120 s");
    assert!(sim.worker.stats().key_frame_requests_refused > 1000);
}

/// A viewer isn't sent again what no decoder needs any more.
#[test]
fn what_is_before_the_last_key_frame_is_not_sent_again() {
    let mut sim = Sim::new(36);
    let producer = sim.produce_direct(h264(500), MediaKind::Video);
    let viewer = sim.joined();
    let ssrc = sim.consume(viewer, producer).rtp_parameters.encodings[0].ssrc.unwrap();
    let mut source = Source::new(0, 0);
    for kind in [Picture::Key, Picture::Predicted, Picture::Key, Picture::Predicted] {
        sim.feed(producer, source.picture(kind));
        sim.run(FRAME);
    }
    let numbers: Vec<u16> = sim.browsers[viewer].video().iter().map(|got| got.seq as u16).collect();
    assert_eq!(numbers.len(), 10);
    let mut compound = Vec::new();
    write_nack(&mut compound, 1, ssrc, &numbers);
    sim.send_rtcp(viewer, &compound);
    sim.run(FRAME);
    assert_eq!(sim.worker.stats().retransmissions, 5);
}
