//! Readers and writers on one machine: neither takes the other's threads.

use std::time::Duration;

use super::*;
use crate::cmaf::Targets;
use crate::record::RecordConfig;
use crate::record::driver::Recordings;
use crate::record::mp4::Snapshot;
use crate::record::vod::Vod;
use tokio_util::sync::CancellationToken;

/// How many ask at once: more than the runtime has threads for what blocks.
const READERS: usize = 600;

async fn open(dir: &Path) -> Recordings {
    let (clock, lots) = (crate::base::real_clock(), crate::base::Lots::new(crate::base::seeded(1)));
    let config = RecordConfig { max_age: Duration::ZERO, ..Default::default() };
    let (cancel, vitals) = (CancellationToken::new(), crate::base::Vitals::unwatched());
    Recordings::open(dir, config, Targets::default(), clock, lots, cancel, &vitals).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_disk_that_hangs_cost_a_recording_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let one = retention::events_of(4);
    let ids: Vec<_> = (0..20).map(|_| retention::record(dir.path(), &one)).collect();
    let recordings = open(dir.path()).await;
    // A pipe that nobody writes to: who opens it waits, as on a disk that hangs.
    let indexes: Vec<_> = ids.iter().map(|id| dir.path().join(format!("recordings/{id}/index-0"))).collect();
    for index in &indexes {
        std::fs::remove_file(index).unwrap();
        assert!(Command::new("mkfifo").arg(index).status().unwrap().success());
    }
    let readers: Vec<_> = (0..READERS)
        .map(|at| {
            let path = format!("{}{}", ids[at % ids.len()], [".mp4", "/index.m3u8"][at / ids.len() % 2]);
            let recordings = recordings.clone();
            tokio::spawn(async move { recordings.vod(VodRequest { path, ..VodRequest::default() }).await.map(drop) })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;

    // Both for what else blocks, and for a recording.
    let other = tokio::task::spawn_blocking(|| ());
    tokio::time::timeout(Duration::from_secs(10), other).await.expect("other work waits behind the readers").unwrap();
    let path = StreamPath::parse("live/other").unwrap();
    let mut input = recordings.record(&path).unwrap();
    one.iter().for_each(|event| input.push(event.clone()));
    drop(input);
    let finished = async {
        loop {
            match recordings.list(Some("live/other"), None, 1).unwrap().items.first() {
                Some(item) if !item.live => break item.clone(),
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let item = tokio::time::timeout(Duration::from_secs(10), finished).await.expect("a recording waits behind the readers");
    assert!((item.duration - 4.0).abs() < 0.1, "{}", item.duration);

    assert!(readers.iter().all(|reader| !reader.is_finished()), "they have waited all the time");
    readers.iter().for_each(tokio::task::JoinHandle::abort);
    for index in &indexes {
        // Whoever is there to read goes on, and finds nothing.
        drop(std::fs::OpenOptions::new().read(true).write(true).open(index).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layout_is_made_once_for_all_who_want_it() {
    let dir = tempfile::tempdir().unwrap();
    let id = retention::record(dir.path(), &retention::events_of(4));
    let recordings = open(dir.path()).await;
    let readers = (0..READERS).map(|_| {
        let (recordings, path) = (recordings.clone(), format!("{id}.mp4"));
        tokio::spawn(async move { recordings.vod(VodRequest { path, ..VodRequest::default() }).await.unwrap() })
    });
    let readers: Vec<_> = readers.collect();
    let mut responses = Vec::new();
    for reader in readers {
        responses.push(reader.await.unwrap());
    }
    assert_eq!(recordings.layouts_in_use(), 1);
}

/// A growing recording has a state for each of its chunks, and each is another layout.
#[test]
fn layouts_in_use_are_bounded() {
    let house = House::new();
    let id = house.record(&retention::events_of(4));
    let meta = house.catalogue.meta(id.as_str()).unwrap();
    let vod = Vod::new(house.store.clone(), 0);
    let first = vod.lay_out(&meta, &Snapshot::testing(2), NOW).unwrap();
    let second = |vod: &Vod| vod.lay_out(&meta, &Snapshot::testing(3), NOW);
    assert!(matches!(second(&vod), Err(RecordError::Busy)));
    assert!(Arc::ptr_eq(&vod.lay_out(&meta, &Snapshot::testing(2), NOW).unwrap(), &first), "there already");
    // As long as a download has it, kept or not.
    vod.forget(&id);
    assert!(matches!(second(&vod), Err(RecordError::Busy)));
    drop(first);
    second(&vod).unwrap();
}
