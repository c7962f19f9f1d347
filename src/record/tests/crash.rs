//! kill -9, power cuts, torn writes: what is on disk plays.

use super::*;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Records without an end, damages the files and starts again. Gives back the house after the new start.
fn crash(events: &[RecordEvent], damage: impl FnOnce(&Path)) -> (House, RecordingId) {
    let house = House::new();
    let mut session = house.session(u64::MAX);
    events.iter().for_each(|event| session.handle(event.clone(), NOW));
    session.report();
    let id = house.newest().id;
    drop(session);
    let again = House::new();
    copy(&house.store.dir(&id), &again.store.dir(&id));
    damage(&again.store.dir(&id));
    recover::load(&again.store, &again.catalogue, NOW + 60 * SECOND).unwrap();
    (again, id)
}

fn cut_to(dir: &Path, name: &str, len: u64) {
    std::fs::OpenOptions::new().write(true).open(dir.join(name)).unwrap().set_len(len).unwrap();
}

#[test]
fn a_killed_server_loses_nothing_that_was_written() {
    let (picture, sound) = two_tracks(4);
    let events = events(&[vec![(Codec::H264, &picture), (Codec::Aac, &sound)]]);
    let (house, id) = crash(&events, |_| {});
    let item = house.catalogue.get(id.as_str()).unwrap();
    assert_eq!((item.state, item.live), (State::Recovered, false));
    assert!((item.duration - 4.0).abs() < 0.1);
    let file = house.dir.path().join("out.mp4");
    std::fs::write(&file, bytes(house.get(&format!("{id}.mp4")).unwrap())).unwrap();
    assert_eq!(decode(&file, "0:v"), 120);
    // A second start finds it closed.
    let catalogue = Catalogue::default();
    recover::load(&house.store, &catalogue, NOW + 90 * SECOND).unwrap();
    assert_eq!(catalogue.get(id.as_str()).unwrap(), item);
}

#[test]
fn cut_off_at_any_place_it_plays_up_to_there() {
    let (picture, sound) = two_tracks(4);
    let events = events(&[vec![(Codec::H264, &picture), (Codec::Aac, &sound)]]);
    for name in ["track-0-e0.mp4", "index-0", "track-1-e0.mp4"] {
        for step in 0..12u64 {
            let (house, id) = crash(&events, |dir| {
                let len = std::fs::metadata(dir.join(name)).unwrap().len();
                cut_to(dir, name, len * step / 12 + step % 3);
            });
            let Ok(item) = house.catalogue.get(id.as_str()) else {
                panic!("{name} cut at {step}/12: the other track is still there");
            };
            assert_eq!(item.state, State::Recovered);
            let file = house.dir.path().join("out.mp4");
            std::fs::write(&file, bytes(house.get(&format!("{id}.mp4")).unwrap())).unwrap();
            let streams = ffprobe(&file, "-show_entries stream=codec_type");
            if step % 4 == 3 {
                let frames = if streams.iter().any(|s| s == "video") { decode(&file, "0:v") } else { 0 };
                assert!(frames == 120 || (name != "track-1-e0.mp4" && frames < 120), "{name} {step}: {frames}");
            }
            assert!(house.text(&format!("{id}/index.m3u8")).contains("track-"));
        }
    }
}

#[test]
fn a_torn_last_write_is_cut() {
    let (picture, _) = two_tracks(4);
    let events = events(&[vec![(Codec::H264, &picture)]]);
    // Zeros where data should be: the file was made longer, the bytes never came.
    let (house, id) = crash(&events, |dir| {
        let path = dir.join("track-0-e0.mp4");
        let mut bytes = std::fs::read(&path).unwrap();
        let len = bytes.len();
        bytes[len - 2000..].fill(0);
        std::fs::write(&path, bytes).unwrap();
    });
    let file = house.dir.path().join("out.mp4");
    std::fs::write(&file, bytes(house.get(&format!("{id}.mp4")).unwrap())).unwrap();
    let frames = decode(&file, "0:v");
    assert!((90..120).contains(&frames), "{frames}");
    // Nothing at all.
    let (house, id) = crash(&events, |dir| cut_to(dir, "index-0", 0));
    assert!(house.catalogue.get(id.as_str()).is_err());
    assert!(!house.store.dir(&id).exists(), "an empty recording goes");
}
