//! Downloads: ranges, states of what grows, and recordings of next to nothing.

use super::*;

/// Who stops at once leaves something that plays, too.
#[test]
fn recordings_of_next_to_nothing_play() {
    let house = House::new();
    let (picture, short, sound) =
        (video("320x180", 1, 0, "-frames:v 1"), video("320x180", 1, 0, "-frames:v 15"), audio("aac", 48_000, 0.5));
    let blip = audio("aac", 48_000, 0.02);
    for (name, tracks, frames) in [
        ("one picture", vec![(Codec::H264, &picture)], 1),
        ("half a second", vec![(Codec::H264, &short), (Codec::Aac, &sound)], 15),
        ("sound only", vec![(Codec::Aac, &sound)], 0),
        ("one picture and sound", vec![(Codec::H264, &picture), (Codec::Aac, &sound)], 1),
        ("a blip", vec![(Codec::Aac, &blip)], 0),
    ] {
        let id = house.record(&events(std::slice::from_ref(&tracks)));
        let file = house.dir.path().join(format!("{id}.mp4"));
        std::fs::write(&file, bytes(house.get(&format!("{id}.mp4")).unwrap())).unwrap();
        let dir = house.dir.path().join(format!("{id}-files"));
        std::fs::create_dir(&dir).unwrap();
        for index in ["index.m3u8", "manifest.mpd"] {
            let text = house.text(&format!("{id}/{index}"));
            std::fs::write(dir.join(index), &text).unwrap();
        }
        for track in 0..tracks.len() {
            let text = house.text(&format!("{id}/track-{track}.m3u8"));
            std::fs::write(dir.join(format!("track-{track}.m3u8")), &text).unwrap();
            export(&house, &id, &dir, &text);
        }
        for input in [file, dir.join("index.m3u8"), dir.join("manifest.mpd")] {
            if frames > 0 {
                let seen = ffprobe(&input, "-select_streams v:0 -count_packets -show_entries stream=nb_read_packets");
                assert_eq!(seen.last().unwrap(), &frames.to_string(), "{name} {input:?}");
            }
            if tracks.iter().any(|(codec, _)| *codec == Codec::Aac) {
                let seen = ffprobe(&input, "-select_streams a:0 -count_packets -show_entries stream=nb_read_packets");
                assert!(seen.last().unwrap().parse::<u32>().unwrap() > 0, "{name} {input:?}");
            }
        }
        let duration = house.catalogue.get(id.as_str()).unwrap().duration;
        assert!(duration > 0.0 && duration < 1.0, "{name}: {duration}");
    }
}

/// Bytes of another layout under 206 would spoil the file that a client has begun, whoever came in between.
#[test]
fn a_download_goes_on_in_its_own_state_or_begins_anew() {
    let house = House::new();
    let (picture, sound) = two_tracks(8);
    let all = events(&[vec![(Codec::H264, &picture), (Codec::Aac, &sound)]]);
    let (first, rest) = all.split_at(all.len() / 2);
    let (second, third) = rest.split_at(rest.len() / 2);
    let mut session = house.session(u64::MAX);
    let clock = std::cell::Cell::new(NOW);
    let record = |session: &mut Session, events: &[RecordEvent]| {
        events.iter().for_each(|event| session.handle(event.clone(), NOW));
        session.report();
        clock.set(clock.get() + 6 * SECOND);
    };
    let get = |client: u64, range: Option<&str>| {
        let path = format!("{}.mp4", house.newest().id);
        let range = range.map(str::to_owned);
        house.answer(VodRequest { path, range, client, ..VodRequest::default() }, clock.get()).unwrap()
    };
    let (a, b, stranger, pair) = (1, 2, 3, 4);
    record(&mut session, first);
    let whole_a = bytes(get(a, None));
    assert_eq!(get(stranger, Some("bytes=1000-")).status, 200, "it may have something older");
    get(pair, Some("bytes=0-99"));
    record(&mut session, second);
    let whole_b = bytes(get(b, Some("bytes=0-")));
    assert!(whole_b.len() > whole_a.len());
    get(pair, None);
    record(&mut session, third);
    session.end(NOW + 10 * SECOND);
    for _ in 0..2 {
        for (client, whole) in [(a, &whole_a), (b, &whole_b)] {
            for (range, wanted) in
                [("bytes=1000-", &whole[1000..]), ("bytes=-500", &whole[whole.len() - 500..]), ("bytes=700-799", &whole[700..800])]
            {
                let part = get(client, Some(range));
                assert_eq!((part.status, part.total), (206, whole.len() as u64), "{client} {range}");
                assert!(bytes(part) == wanted, "{client} {range}");
            }
        }
        // Two behind one address, of whom nobody knows who asks.
        let uncertain = get(pair, Some("bytes=1000-"));
        assert_eq!((uncertain.status, uncertain.content_length), (200, whole_b.len() as u64));
        assert_eq!(get(9, Some("bytes=1000-")).status, 200, "somebody has an older state");
    }
    // What names its state gets it all the same.
    let tag = get(a, Some("bytes=5-9")).etag;
    let path = format!("{}.mp4", house.newest().id);
    let request = VodRequest { path, range: Some("bytes=1000-".into()), if_range: tag, client: 77, ..VodRequest::default() };
    assert!(bytes(house.answer(request, NOW).unwrap()) == whole_a[1000..]);
}

#[test]
fn several_ranges_of_a_recording() {
    let house = House::new();
    let (picture, _) = two_tracks(4);
    let id = house.record(&events(&[vec![(Codec::H264, &picture)]]));
    let whole = bytes(house.get(&format!("{id}.mp4")).unwrap());
    let get = |range: &str| {
        let request = VodRequest { path: format!("{id}.mp4"), range: Some(range.to_owned()), ..VodRequest::default() };
        house.answer(request, NOW + 10 * SECOND).unwrap()
    };
    let parts = get("bytes=5000-5099,0-99");
    assert_eq!((parts.status, parts.total, parts.content_range.clone()), (206, whole.len() as u64, None));
    assert!(bytes(parts) == [&whole[5000..5100], &whole[..100]].concat());
    let joined = get("bytes=0-99,50-199");
    assert_eq!(joined.content_range, Some(format!("bytes 0-199/{}", whole.len())));
    assert_eq!(get(&format!("bytes=0-0{}", ",-1".repeat(40))).status, 200);
    let nothing = get("bytes=99999999-");
    assert_eq!((nothing.status, nothing.content_range), (416, Some(format!("bytes */{}", whole.len()))));
    let modified = get("bytes=0-1").last_modified.unwrap();
    let request = VodRequest { path: format!("{id}.mp4"), if_modified_since: Some(modified), ..VodRequest::default() };
    assert_eq!(house.answer(request, NOW).unwrap().status, 304);
}
