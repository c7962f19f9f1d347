//! From a direct producer to viewers: fast start, recovery, left-out pictures, reports.

use std::time::Duration;

use super::sim::{FRAME, Picture, Sim, Source, h264, number, opus, viewer_capabilities};
use crate::base::MediaKind;
use crate::sfu::config::SfuConfig;
use crate::sfu::ortc::is_rtx;
use crate::sfu::types::TransportEvent;
use crate::sfu::worker::Event;

fn numbers(sim: &Sim, browser: usize) -> Vec<u16> {
    let mut numbers: Vec<u16> = sim.browsers[browser].video_in_order().iter().filter_map(|got| number(&got.payload)).collect();
    numbers.dedup();
    numbers
}

fn assert_continuous(sim: &Sim, browser: usize) {
    let seqs: Vec<u64> = sim.browsers[browser].video_in_order().iter().map(|got| got.seq).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{seqs:?}");
}

#[test]
fn live_pictures_reach_all_viewers_as_they_were() {
    let mut sim = Sim::new(1);
    let producer = sim.produce_direct(h264(500), MediaKind::Video);
    let viewers: Vec<usize> = (0..3).map(|_| sim.joined()).collect();
    for viewer in &viewers {
        sim.consume(*viewer, producer);
    }
    let mut source = Source::new(65_530, 0xFFFF_F000);
    let mut sent = Vec::new();
    for index in 0..30 {
        let packets = source.picture(if index == 3 { Picture::Key } else { Picture::Predicted });
        if index >= 3 {
            sent.extend(packets.iter().map(|packet| packet[12..].to_vec()));
        }
        sim.feed(producer, packets);
        sim.run(FRAME);
    }
    for viewer in viewers {
        let got = sim.browsers[viewer].video();
        assert_eq!(got.iter().map(|got| got.payload.clone()).collect::<Vec<_>>(), sent);
        assert_eq!(got[0].timestamp, 0xFFFF_F000u32.wrapping_add(4 * 3000));
        assert_eq!(got[0].mid.as_deref(), Some("m"));
        assert_continuous(&sim, viewer);
    }
    assert!(sim.events.contains(&Event::KeyFrameWanted(sim.router, producer)), "nothing was cached when they joined");
    assert_eq!(sim.worker.stats().packets_out, 3 * sent.len() as u64);
}

#[test]
fn a_late_viewer_gets_the_gop_paced_with_its_timestamps_then_live() {
    let mut sim = Sim::new(2);
    let producer = sim.produce_direct(h264(500), MediaKind::Video);
    let mut source = Source::new(0, 0);
    for index in 0..60 {
        sim.feed(producer, source.picture(if index % 50 == 5 { Picture::Key } else { Picture::Predicted }));
        sim.run(FRAME);
    }
    let viewer = sim.joined();
    sim.consume(viewer, producer);
    let asked = sim.now;
    sim.run(Duration::from_millis(40));
    // Pictures 56 to 60 are there: the key frame with its parameter sets first, 2 ms apart.
    assert_eq!(numbers(&sim, viewer), [56, 57, 58, 59, 60]);
    let video = sim.browsers[viewer].video();
    assert_eq!(video[0].payload[0], 0x67);
    assert_eq!(video.last().unwrap().timestamp - video[0].timestamp, 4 * 3000);
    let took = video.last().unwrap().at - asked;
    assert!((Duration::from_millis(16)..Duration::from_millis(30)).contains(&took), "{took:?}");
    for _ in 0..10 {
        sim.feed(producer, source.picture(Picture::Predicted));
        sim.run(FRAME);
    }
    assert_eq!(numbers(&sim, viewer), (56..=70).collect::<Vec<u16>>());
    assert_continuous(&sim, viewer);
    assert_eq!(sim.worker.stats().fast_starts, 1);
    assert!(!sim.events.iter().any(|event| matches!(event, Event::KeyFrameWanted(..))));
}

#[test]
fn a_newer_key_frame_is_jumped_to() {
    let mut sim = Sim::new(3);
    let producer = sim.produce_direct(h264(500), MediaKind::Video);
    let mut source = Source::new(0, 0);
    for index in 0..200 {
        sim.feed(producer, source.picture(if index == 0 { Picture::Key } else { Picture::Predicted }));
        sim.run(FRAME);
    }
    let viewer = sim.joined();
    sim.consume(viewer, producer);
    sim.run(Duration::from_millis(30));
    let key = source.frames as u16 + 1;
    sim.feed(producer, source.picture(Picture::Key));
    sim.run(Duration::from_millis(200));
    let got = numbers(&sim, viewer);
    assert!(got[0] == 1 && got.len() < 40, "{got:?}");
    assert_eq!(got.last(), Some(&key));
    assert_continuous(&sim, viewer);
}

#[test]
fn without_fast_start_or_cache_viewers_wait_for_a_key_frame() {
    let mut sim = Sim::with(4, SfuConfig { fast_start: false, ..Default::default() });
    let producer = sim.produce_direct(h264(500), MediaKind::Video);
    let mut source = Source::new(0, 0);
    sim.feed(producer, source.picture(Picture::Key));
    let viewer = sim.joined();
    sim.consume(viewer, producer);
    sim.feed(producer, source.picture(Picture::Predicted));
    sim.run(FRAME);
    assert!(numbers(&sim, viewer).is_empty());
    sim.feed(producer, source.picture(Picture::Key));
    sim.feed(producer, source.picture(Picture::Predicted));
    sim.run(FRAME);
    assert_eq!(numbers(&sim, viewer), [3, 4]);
}

#[test]
fn nacked_packets_come_again_with_and_without_rtx() {
    for rtx in [true, false] {
        let mut sim = Sim::new(5);
        let producer = sim.produce_direct(h264(500), MediaKind::Video);
        let viewer = sim.joined();
        let info = sim.consume_with(viewer, producer, |options| {
            options.rtp_capabilities.codecs.retain(|codec| rtx || !is_rtx(&codec.mime_type));
        });
        assert_eq!(info.rtp_parameters.encodings[0].rtx.is_some(), rtx);
        let mut source = Source::new(65_500, 0);
        sim.feed(producer, source.picture(Picture::Key));
        sim.run(FRAME);
        sim.lost_per_mille = 100;
        for _ in 0..150 {
            sim.feed(producer, source.picture(Picture::Predicted));
            sim.run(FRAME);
        }
        sim.lost_per_mille = 0;
        sim.feed(producer, source.picture(Picture::Predicted));
        sim.run(Duration::from_millis(500));
        let stats = sim.worker.stats();
        assert!(stats.retransmissions > 10, "{stats:?}");
        assert_eq!(sim.browsers[viewer].got.iter().any(|got| got.again), rtx);
        // A retransmission can get lost as well, and this browser asks once: a few may be missing.
        let missing = 152 - numbers(&sim, viewer).len();
        assert!(missing <= 4, "{missing} pictures missing");
    }
}

#[test]
fn disposable_pictures_are_left_out_without_gaps() {
    let mut sim = Sim::new(6);
    let producer = sim.produce_direct(h264(500), MediaKind::Video);
    let (all, some) = (sim.joined(), sim.joined());
    sim.consume(all, producer);
    sim.consume_with(some, producer, |options| options.drop_disposable = true);
    let mut source = Source::new(65_000, 0);
    let mut waiting = Vec::new();
    for index in 0..300 {
        let kind = match index {
            0 => Picture::Key,
            n if n % 3 == 0 => Picture::Predicted,
            _ => Picture::Disposable,
        };
        waiting.extend(source.picture(kind));
        // One by one, then, as out of a pipe, several at once.
        if index < 100 || index % 4 == 3 {
            sim.feed(producer, std::mem::take(&mut waiting));
        }
        sim.run(FRAME);
    }
    assert_eq!(numbers(&sim, all).len(), 300);
    assert_eq!(numbers(&sim, some), (0..100).map(|n| 3 * n + 1).collect::<Vec<u16>>());
    assert_continuous(&sim, all);
    assert_continuous(&sim, some);
}

#[test]
fn sound_and_picture_are_reported_on_one_clock() {
    let mut sim = Sim::new(7);
    let (video, audio) = (sim.produce_direct(h264(500), MediaKind::Video), sim.produce_direct(opus(600), MediaKind::Audio));
    let viewer = sim.joined();
    let video_ssrc = sim.consume(viewer, video).rtp_parameters.encodings[0].ssrc.unwrap();
    sim.consume(viewer, audio);
    let mut source = Source::new(0, 1000);
    let mut sound = Source::new(0, 77_777);
    for index in 0..100 {
        sim.feed(video, source.picture(if index == 0 { Picture::Key } else { Picture::Predicted }));
        sound.timestamp += 1584; // 33 ms at 48 kHz
        let packet = sound.packet(b"opus", true, &[]);
        sim.feed(audio, vec![packet]);
        sim.run(FRAME);
    }
    let reports = &sim.browsers[viewer].reports;
    let at = |ours: bool| reports.iter().filter(|(ssrc, _)| (*ssrc == video_ssrc) == ours).map(|(_, info)| *info).next_back().unwrap();
    let (video, audio) = (at(true), at(false));
    assert_eq!(video.ntp, audio.ntp);
    // Both began at the same moment with these timestamps.
    let seconds = |ticks: u32, rate: f64| f64::from(ticks) / rate;
    let offset = seconds(video.rtp_timestamp - 4000, 90_000.0) - seconds(audio.rtp_timestamp - 79_361, 48_000.0);
    assert!(offset.abs() < 0.001, "{offset}");
    assert!(video.packets > 150 && reports.len() >= 6);
}

#[test]
fn a_pli_to_a_source_that_cannot_answer_restarts_from_the_cache() {
    let mut sim = Sim::new(8);
    let producer = sim.produce_direct(h264(500), MediaKind::Video);
    let viewer = sim.joined();
    let ssrc = sim.consume(viewer, producer).rtp_parameters.encodings[0].ssrc.unwrap();
    let mut source = Source::new(0, 0);
    for index in 0..10 {
        sim.feed(producer, source.picture(if index == 0 { Picture::Key } else { Picture::Predicted }));
        sim.run(FRAME);
    }
    sim.send_pli(viewer, ssrc);
    sim.run(Duration::from_millis(700));
    let keys = sim.browsers[viewer].video().iter().filter(|got| got.payload[0] == 0x67).count();
    assert_eq!(keys, 2);
    assert_continuous(&sim, viewer);
    // Where the source answers, nothing is repeated.
    sim.run(Duration::from_secs(3));
    sim.send_pli(viewer, ssrc);
    sim.run(Duration::from_millis(100));
    sim.feed(producer, source.picture(Picture::Key));
    sim.run(Duration::from_millis(700));
    assert_eq!(sim.browsers[viewer].video().iter().filter(|got| got.payload[0] == 0x67).count(), 3);
    assert_eq!(sim.worker.stats().key_frame_requests_in, 2);
}

#[test]
fn pausing_and_resuming_goes_on_where_it_can_be_decoded() {
    let mut sim = Sim::new(9);
    let producer = sim.produce_direct(h264(500), MediaKind::Video);
    let viewer = sim.joined();
    let consumer = sim.consume_with(viewer, producer, |options| options.paused = true).id;
    let mut source = Source::new(0, 0);
    let mut step = |sim: &mut Sim, count, kind| {
        for _ in 0..count {
            sim.feed(producer, source.picture(kind));
            sim.run(FRAME);
        }
    };
    step(&mut sim, 1, Picture::Key);
    assert!(numbers(&sim, viewer).is_empty());
    sim.worker.set_paused(sim.now, consumer, false, &mut sim.out).unwrap();
    step(&mut sim, 5, Picture::Predicted);
    sim.worker.set_paused(sim.now, consumer, true, &mut sim.out).unwrap();
    step(&mut sim, 5, Picture::Predicted);
    sim.worker.set_paused(sim.now, consumer, false, &mut sim.out).unwrap();
    step(&mut sim, 5, Picture::Predicted);
    assert_eq!(numbers(&sim, viewer), (1..=16).collect::<Vec<u16>>());
    assert_continuous(&sim, viewer);
}

#[test]
fn closing_says_bye_and_consent_loss_closes() {
    let mut sim = Sim::new(10);
    let producer = sim.produce_direct(h264(500), MediaKind::Video);
    let (stays, vanishes) = (sim.joined(), sim.joined());
    let ssrc = sim.consume(stays, producer).rtp_parameters.encodings[0].ssrc.unwrap();
    sim.consume(vanishes, producer);
    sim.browsers[vanishes].vanished = true;
    sim.run(Duration::from_secs(40));
    let closed =
        |sim: &Sim, browser: usize| sim.events.contains(&Event::Transport(sim.browsers[browser].transport, TransportEvent::Closed));
    assert!(closed(&sim, vanishes) && !closed(&sim, stays));
    assert_eq!((sim.worker.stats().transports, sim.worker.stats().consumers), (1, 1));
    sim.worker.close_producer(sim.now, sim.router, producer, &mut sim.out);
    sim.run(Duration::from_millis(50));
    assert_eq!(sim.browsers[stays].byes, [ssrc]);
    sim.worker.close_router(sim.now, sim.router, &mut sim.out);
    sim.run(Duration::from_millis(50));
    assert!(closed(&sim, stays));
    let stats = sim.worker.stats();
    assert_eq!((stats.routers, stats.transports, stats.producers, stats.consumers), (0, 0, 0, 0));
    assert_eq!(viewer_capabilities().codecs.len(), 11);
}
