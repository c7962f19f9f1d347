//! A publisher that comes back, readers in this process, and pipes.

use std::time::Duration;

use super::sim::{FRAME, Picture, Sim, Source, h264, number};
use crate::base::MediaKind;
use crate::rtp::batch::{ClockMapping, RtpBatch};
use crate::sfu::types::{ProducerOptions, Reading};
use crate::sfu::worker::Event;

#[test]
fn viewers_go_on_with_the_publisher_that_came_back() {
    let mut sim = Sim::new(11);
    let old = sim.produce_direct(h264(500), MediaKind::Video);
    let viewer = sim.joined();
    sim.consume(viewer, old);
    let mut source = Source::new(100, 1_000_000);
    for index in 0..30 {
        sim.feed(old, source.picture(if index == 0 { Picture::Key } else { Picture::Predicted }));
        sim.run(FRAME);
    }
    sim.run(Duration::from_secs(3));
    let new = sim.produce_direct(h264(777), MediaKind::Video);
    sim.worker.replace_producer(sim.now, sim.router, old, new, &mut sim.out).unwrap();
    let mut source = Source::new(40_000, 5);
    for index in 0..30 {
        // It begins in the middle of a GOP.
        sim.feed(new, source.picture(if index == 10 { Picture::Key } else { Picture::Predicted }));
        sim.run(FRAME);
    }
    let video = sim.browsers[viewer].video();
    assert!(video.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
    let at = video.windows(2).position(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) > 3000).unwrap();
    // 30 pictures, 3 s of silence, 10 pictures that can't be decoded: 3.3 s and a bit.
    let gap = f64::from(video[at + 1].timestamp - video[at].timestamp) / 90_000.0;
    assert!((3.3..3.45).contains(&gap), "{gap}");
    assert_eq!(video[at + 1].payload[0], 0x67);
    assert!(sim.events.contains(&Event::ProducerClosed(sim.router, old)));
    assert!(sim.events.contains(&Event::KeyFrameWanted(sim.router, new)));
    assert!(sim.worker.replace_producer(sim.now, sim.router, old, new, &mut sim.out).is_err());
}

#[test]
fn readers_begin_with_the_cache_and_lose_nothing_when_slow() {
    let mut sim = Sim::new(12);
    let producer = sim.produce_direct(h264(500), MediaKind::Video);
    let mut source = Source::new(0, 0);
    for index in 0..10 {
        sim.feed(producer, source.picture(if index == 4 { Picture::Key } else { Picture::Predicted }));
        sim.run(FRAME);
    }
    let reader = sim.worker.consume_batches(sim.router, producer, Reading::Live).unwrap();
    sim.worker.start_batches(sim.now, reader, &mut sim.out);
    sim.out.full = true;
    for _ in 0..10 {
        sim.feed(producer, source.picture(Picture::Predicted));
        sim.run(FRAME);
    }
    sim.out.full = false;
    sim.run(Duration::from_millis(50));
    let batches = &sim.out.batches[&reader];
    let seqs: Vec<u16> = batches.iter().flat_map(|batch| batch.iter()).map(|packet| packet.rtp().unwrap().sequence_number()).collect();
    assert_eq!(seqs, (8..8 + seqs.len() as u16).collect::<Vec<_>>());
    assert_eq!(seqs.len(), 1 + 16 * 2);
    assert!(batches[0].clock.is_some() && batches[1..].iter().all(|batch| batch.clock.is_none()));
    let clock = ClockMapping { rtp: source.timestamp, wallclock: 1 };
    sim.worker.handle_batch(
        sim.now,
        sim.router,
        producer,
        RtpBatch::of_packets(source.picture(Picture::Predicted)).with_clock(Some(clock)),
    );
    sim.worker.flush(sim.now, &mut sim.out);
    let told = sim.out.batches[&reader].last().unwrap().clock.unwrap();
    assert_eq!((told.rtp, told.wallclock), (source.timestamp, 33_333_334));
}

#[test]
fn a_pipe_carries_the_cache_then_live_to_viewers_elsewhere() {
    let (mut here, mut there) = (Sim::new(13), Sim::new(14));
    let producer = here.produce_direct(h264(500), MediaKind::Video);
    let mut source = Source::new(0, 0);
    for index in 0..20 {
        here.feed(producer, source.picture(if index == 10 { Picture::Key } else { Picture::Predicted }));
        here.run(FRAME);
    }
    let options: ProducerOptions = here.worker.describe_producer(here.router, producer).unwrap();
    let copy = there.worker.produce_direct(there.router, Some(producer), options).unwrap();
    assert_eq!(copy, producer);
    let viewer = there.joined();
    there.consume(viewer, copy);
    let pipe = here.worker.consume_batches(here.router, producer, Reading::Pipe).unwrap();
    here.worker.start_batches(here.now, pipe, &mut here.out);
    let carry = |here: &mut Sim, there: &mut Sim| {
        for batch in here.out.batches.remove(&pipe).unwrap_or_default() {
            there.worker.handle_batch(there.now, there.router, producer, batch);
        }
        there.worker.flush(there.now, &mut there.out);
        there.run(FRAME);
    };
    carry(&mut here, &mut there);
    for _ in 0..10 {
        here.feed(producer, source.picture(Picture::Predicted));
        here.run(FRAME);
        carry(&mut here, &mut there);
    }
    let mut got: Vec<u16> = there.browsers[viewer].video().iter().filter_map(|got| number(&got.payload)).collect();
    got.dedup();
    assert_eq!(got, (11..=30).collect::<Vec<u16>>());
    here.worker.close_producer(here.now, here.router, producer, &mut here.out);
    here.run(FRAME);
    assert!(here.events.contains(&Event::ConsumerClosed(pipe)));
}
