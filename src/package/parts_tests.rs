//! Which parts are listed, and when a segment is listed as a whole.

use super::hls::BlockingReload;
use super::tests::{NOW, chunk, init, media, plenty, window};
use super::window::Window;
use super::*;
use crate::cmaf::{Chunk, Targets};

#[test]
fn players_come_in_at_a_segments_start_or_well_behind_it() {
    let text = media(&window(5, 5).snapshot(), 1);
    let entrances: Vec<bool> = (0..5).map(|part| text.contains(&format!("URI=\"a-1700000005.{part}.m4s\",INDEPENDENT=YES\n"))).collect();
    assert_eq!(entrances, [true, false, true, true, true], "{text}");
}

/// Between two segments the older one is neither listed as a whole nor is a part behind it promised.
#[test]
fn a_segment_is_listed_as_a_whole_with_the_next_ones_first_part() {
    for (track, name) in [(0, 'v'), (1, 'a')] {
        let (last, hint) = (format!("{name}-1700000002.m4s\n"), format!("URI=\"{name}-1700000003.0.m4s\""));
        let part = format!("URI=\"{name}-1700000002.8.m4s\"");
        let reload = BlockingReload { msn: Some(1_700_000_002), part: None };
        let state = |window: &Window| {
            let snapshot = window.snapshot();
            let (text, met) = (media(&snapshot, track), reload.is_met(snapshot.track(track).unwrap()));
            assert!(text.contains(&part), "{text}");
            (text.contains(&last), met, text.contains(&hint), text.contains("#EXT-X-PRELOAD-HINT"))
        };
        assert!(!state(&window(2, 9)).0);
        assert_eq!(state(&window(3, 0)), (false, false, false, false), "its last part is there");
        assert_eq!(state(&window(3, 1)), (true, true, true, true));
        let only = window(1, 0).snapshot();
        assert!(media(&only, track).contains(&format!("{name}-1700000000.m4s\n")), "the only one is listed at once");
        assert!(media(&only, track).contains(&format!("URI=\"{name}-1700000001.0.m4s\"")), "with the next one's first part promised");
        let mut over = window(2, 9);
        over.chunk(Chunk { end: true, ..chunk(track, 0, 2, 9) });
        assert_eq!(state(&over), (false, false, false, false), "its epoch is over");
        over.init(init(track, 1));
        over.chunk(chunk(track, 1, 3, 0));
        assert_eq!(state(&over), (true, true, true, true), "the next one has begun");
        let mut ended = window(3, 0);
        ended.end();
        assert!(media(&ended.snapshot(), track).contains(&last));
    }
}

#[test]
fn parts_are_listed_from_where_players_are_sent_back_to() {
    let mut window = Window::new(&PackageConfig::default(), Targets::default(), NOW, 0, plenty());
    window.init(init(0, 0));
    window.init(init(1, 0));
    let mut first = Vec::new();
    for position in 0..80 {
        for track in [0, 1] {
            // Key frames 10 s apart.
            let independent = track == 1 || position % 50 == 0;
            window.chunk(Chunk { independent, ..chunk(track, 0, position / 10, position % 10) });
        }
        let snapshot = window.snapshot();
        let begins = |name: char| {
            (0..8).find(|number| media(&snapshot, u32::from(name == 'a')).contains(&format!("URI=\"{name}-170000000{number}.0.m4s")))
        };
        assert_eq!(begins('v'), begins('a'), "at {position}");
        first.push(begins('v').unwrap());
    }
    // From the first key frame, for 4 s longer than players are sent back there, and no further than three target durations (12 s).
    assert_eq!((first[40], first[55], first[59]), (0, 0, 0));
    assert_eq!((first[68], first[69], first[72]), (0, 1, 1));
    assert_eq!((first[73], first[79]), (5, 5));
}

#[test]
fn behind_an_epochs_end_nothing_is_promised_of_it() {
    let mut window = window(2, 9);
    let hints = |window: &Window| [0, 1].map(|track| media(&window.snapshot(), track).matches("#EXT-X-PRELOAD-HINT").count());
    assert_eq!(hints(&window), [1, 1]);
    window.chunk(Chunk { end: true, ..chunk(0, 0, 2, 9) });
    assert_eq!(hints(&window), [0, 1], "pictures end first");
    window.chunk(Chunk { end: true, ..chunk(1, 0, 2, 9) });
    assert_eq!(hints(&window), [0, 0]);
    window.init(init(0, 1));
    window.chunk(chunk(0, 1, 3, 0));
    let text = media(&window.snapshot(), 0);
    let (map, hint) = (text.find("v-init-1700000001.mp4").unwrap(), text.find("#EXT-X-PRELOAD-HINT").unwrap());
    assert!(map < hint && hints(&window) == [1, 0], "{text}");
}
