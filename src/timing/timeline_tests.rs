use proptest::prelude::*;

use super::*;

const S: i64 = 1000 * MS;
const NOW: i64 = 1_700_000_000 * S;
/// Ticks are nanoseconds where nothing is said of them.
const RATE: u32 = NANOS;

fn place(t: &mut Timeline, track: usize, media: i64, now: i64) -> i64 {
    t.place(track, RATE, media, media, now).dts - NOW
}

/// One track's units (media time, arrival) in ms, and where they lie, in ms.
fn run(units: &[(i64, i64)]) -> Vec<i64> {
    let mut t = Timeline::default();
    let v = t.add_track();
    units.iter().map(|(media, at)| place(&mut t, v, media * MS, NOW + at * MS) / MS).collect()
}

#[test]
fn tracks_share_one_offset() {
    let mut t = Timeline::default();
    let (v, a) = (t.add_track(), t.add_track());
    assert_eq!(place(&mut t, v, 5 * S, NOW), 0);
    assert_eq!(place(&mut t, a, 5 * S + 20 * MS, NOW + 700 * MS), 20 * MS);
    assert_eq!(place(&mut t, v, 5 * S + 33 * MS, NOW + 740 * MS), 33 * MS);
}

#[test]
fn single_tracks() {
    /// What it is, media times and arrivals, and where the units lie.
    type Case<'a> = (&'a str, &'a [(i64, i64)], &'a [i64]);
    let table: [Case; 16] = [
        ("a stalled network", &[(0, 0), (33, 10_000), (9_000, 10_000)], &[0, 33, 9_000]),
        ("a step back by some ms", &[(0, 0), (66, 66), (52, 132), (200, 200)], &[0, 66, 99, 200]),
        ("the same stamp again", &[(0, 0), (40, 40), (40, 41), (40, 42), (80, 80)], &[0, 40, 41, 42, 80]),
        ("time that stands still", &[(0, 0), (0, 0), (0, 0), (0, 0), (40, 40)], &[0, 0, 0, 0, 40]),
        (
            "stamps that stand still while time goes on",
            &[(0, 0), (0, 100), (0, 200), (0, 300), (0, 400), (0, 600), (0, 700), (-9, 800), (0, 900), (900, 1_000), (1_000, 1_100)],
            &[0, 16, 33, 49, 66, 600, 700, 800, 900, 904, 1_000],
        ),
        (
            "stamps that go on where they stood still",
            &[(0, 0), (0, 300), (0, 600), (0, 900), (0, 1_200), (40, 1_300), (140, 1_400)],
            &[0, 16, 33, 900, 1_200, 1_240, 1_340],
        ),
        ("a repetition behind a stall", &[(0, 0), (40, 40), (40, 3_000), (80, 3_001), (120, 3_001)], &[0, 40, 60, 80, 120]),
        ("far in the future, once", &[(0, 0), (40, 40), (3_600_000, 80), (120, 120), (160, 160)], &[0, 40, 80, 120, 160]),
        ("seconds in the future, once", &[(0, 0), (40, 40), (2_900, 80), (120, 120), (160, 160)], &[0, 40, 80, 120, 160]),
        ("a jump forward", &[(0, 0), (40, 40), (50_000, 80), (50_040, 120)], &[0, 40, 80, 120]),
        ("a jump back", &[(90_000, 0), (90_040, 40), (0, 80), (40, 120)], &[0, 40, 80, 120]),
        ("24 bits", &[(16_777_180, 0), (4, 45), (44, 80)], &[0, 40, 80]),
        ("31 bits", &[(2_147_483_628, 0), (20, 45), (60, 80)], &[0, 40, 80]),
        ("33 bits of 90 kHz", &[(95_443_700, 0), (22, 45), (62, 80)], &[0, 39, 79]),
        ("a picture every ten seconds", &[(0, 0), (10_000, 10_000), (20_000, 20_000)], &[0, 10_000, 20_000]),
        ("a stall with a clock of its own", &[(0, 0), (40, 40), (80, 6_000), (6_040, 6_020)], &[0, 40, 80, 6_040]),
    ];
    for (what, units, expected) in table {
        assert_eq!(run(units), expected, "{what}");
    }
}

#[test]
fn slides_sent_at_once_keep_their_distance_once_it_is_known() {
    assert_eq!(run(&[(0, 0), (10_000, 1), (20_000, 2), (30_000, 3)]), [0, 1, 10_001, 20_001]);
    // With sound it is known at once.
    let mut t = Timeline::default();
    let (v, a) = (t.add_track(), t.add_track());
    place(&mut t, v, 0, NOW);
    (0..500).for_each(|n| assert_eq!(place(&mut t, a, n * 20 * MS, NOW), n * 20 * MS));
    assert_eq!(place(&mut t, v, 10 * S, NOW + 1), 10 * S);
}

#[test]
fn a_jump_moves_all_tracks_alike() {
    for jump in [100_000 * S, -4 * S, -100_000 * S] {
        let mut t = Timeline::default();
        let (v, a) = (t.add_track(), t.add_track());
        place(&mut t, v, 0, NOW);
        place(&mut t, a, 0, NOW);
        assert_eq!(place(&mut t, v, jump, NOW + 40 * MS), 40 * MS, "the timeline goes on with the time that passed");
        assert_eq!(place(&mut t, a, jump + 10 * MS, NOW + 55 * MS), 50 * MS, "audio follows video");
        assert_eq!(place(&mut t, v, jump + 33 * MS, NOW + 80 * MS), 73 * MS);
        assert_eq!(t.mended().jumps, 2);
    }
}

#[test]
fn a_track_that_jumps_alone_does_not_drag_the_other() {
    let mut t = Timeline::default();
    let (v, a) = (t.add_track(), t.add_track());
    place(&mut t, v, 0, NOW);
    place(&mut t, a, 0, NOW);
    assert_eq!(place(&mut t, a, 1000 * S, NOW + 20 * MS), 20 * MS);
    assert_eq!(place(&mut t, v, 33 * MS, NOW + 33 * MS), 33 * MS);
    assert_eq!(place(&mut t, a, 1000 * S + 20 * MS, NOW + 40 * MS), 40 * MS);
}

#[test]
fn tracks_ten_seconds_apart_stay_so() {
    for apart in [10 * S, -10 * S] {
        let mut t = Timeline::default();
        let (v, a) = (t.add_track(), t.add_track());
        for n in 0..50 {
            assert_eq!(place(&mut t, v, n * 40 * MS, NOW + n * 40 * MS), n * 40 * MS);
            assert_eq!(place(&mut t, a, apart + n * 40 * MS, NOW + n * 40 * MS), apart + n * 40 * MS);
        }
    }
}

#[test]
fn after_a_reconnect_time_does_not_go_back() {
    let mut t = Timeline::starting_after(NOW + 2 * S);
    let v = t.add_track();
    assert_eq!(place(&mut t, v, 0, NOW), 2 * S);
}

#[test]
fn composition_offsets() {
    /// What it is, presentation minus decoding time as stamped (every 40 ms) and as placed, decoding times as placed.
    type Case<'a> = (&'a str, &'a [i64], &'a [i64], &'a [i64]);
    let table: [Case; 5] = [
        ("none", &[0, 0, 0], &[0, 0, 0], &[0, 40, 80]),
        ("B-frames", &[80, 160, 40, 0], &[80, 160, 40, 0], &[0, 40, 80, 120]),
        ("all negative", &[-40, -40, -40], &[0, 0, 0], &[-40, 0, 40]),
        ("some negative", &[0, 80, -40, -40, 0], &[0, 80, 0, 0, 40], &[0, 40, 60, 80, 120]),
        ("absurd", &[0, 9_000_000, -9_000_000, 0], &[0, 0, 0, 0], &[0, 40, 80, 120]),
    ];
    for (what, stamped, expected, decoded) in table {
        let mut t = Timeline::default();
        let v = t.add_track();
        let placed: Vec<_> = (0..)
            .zip(stamped)
            .map(|(n, composition)| {
                let (dts, now) = (n * 40, NOW + n * 40 * MS);
                let placed = t.place(v, 1000, dts, dts + composition, now);
                (placed.pts - placed.dts, placed.dts - NOW / MS)
            })
            .collect();
        assert_eq!(placed.iter().map(|(composition, _)| *composition).collect::<Vec<_>>(), expected, "{what}");
        assert_eq!(placed.iter().map(|(_, dts)| *dts).collect::<Vec<_>>(), decoded, "{what}");
    }
}

#[test]
fn ticks_step_as_the_publishers_do() {
    for rate in [90_000, 48_000, 44_100] {
        let mut t = Timeline::default();
        let v = t.add_track();
        let mut last: Option<i64> = None;
        for n in 0..10_000 {
            let placed = t.place(v, rate, n * 1024, n * 1024, NOW + n * 1024 * S / i64::from(rate));
            if let Some(last) = last {
                assert!((placed.dts - last - 1024).abs() <= 1, "{rate} {n}");
            }
            last = Some(placed.dts);
        }
    }
}

#[test]
fn a_file_sent_at_once_is_kept_whole() {
    let mut t = Timeline::default();
    let (v, a) = (t.add_track(), t.add_track());
    let mut now = NOW;
    for n in 0..1500 {
        let video = t.place(v, RATE, n * 40 * MS, n * 40 * MS, now);
        let audio = t.place(a, RATE, n * 40 * MS, n * 40 * MS, now);
        assert_eq!((video.dts, audio.dts), (NOW + n * 40 * MS, NOW + n * 40 * MS));
        now += i64::try_from((video.wait.max(audio.wait)).as_nanos()).unwrap();
        assert!(video.dts - now < 91 * S);
    }
    assert!(now - NOW < 5 * S, "60 s of media in {} ms", (now - NOW) / MS);
    assert_eq!(t.mended(), Mended { waits: t.mended().waits, ..Mended::default() });
}

#[test]
fn a_slow_publishers_tracks_are_moved_together() {
    let mut t = Timeline::default();
    let (v, a) = (t.add_track(), t.add_track());
    for n in 0..2000 {
        let now = NOW + n * 50 * MS;
        let video = place(&mut t, v, n * 40 * MS, now) + NOW;
        let audio = place(&mut t, a, n * 40 * MS, now) + NOW;
        assert!(now - video < 2 * S && video - now < S, "{n}: {}", (now - video) / MS);
        assert!((video - audio).abs() < 30 * MS, "{n}: {}", (video - audio) / MS);
    }
    assert!(t.mended().drift > 15 * S);
    assert_eq!(t.mended().jumps, 0);
}

proptest! {
    #[test]
    fn decoding_always_rises_and_presentation_follows(
        steps in proptest::collection::vec((-3_000_000i64..5_000_000, -20_000i64..20_000, 0i64..2_000, 0usize..2), 1..200),
        rate in prop_oneof![Just(1000u32), Just(90_000), Just(48_000), Just(44_100)],
    ) {
        let mut t = Timeline::default();
        let tracks = [t.add_track(), t.add_track()];
        let (mut now, mut media, mut last) = (NOW, 0i64, [i64::MIN; 2]);
        for (step, composition, passed, track) in steps {
            // Mostly small steps, some of hours.
            media += if step % 7 == 0 { step } else { step % 100 } * i64::from(rate) / 1000;
            now += passed * MS;
            let placed = t.place(tracks[track], rate, media, media + composition * i64::from(rate) / 1000, now);
            prop_assert!(placed.dts > last[track]);
            prop_assert!(placed.pts >= placed.dts);
            last[track] = placed.dts;
        }
    }

    #[test]
    fn extremes_do_not_overflow(units in proptest::collection::vec((any::<i64>(), any::<i64>(), any::<i64>()), 1..50)) {
        let mut t = Timeline::default();
        let v = t.add_track();
        for (dts, pts, now) in units {
            t.place(v, 90_000, dts, pts, now);
        }
    }
}

#[test]
fn the_end_lies_behind_what_is_shown_last() {
    let mut timeline = Timeline::default();
    let track = timeline.add_track();
    let ms = 1_000_000;
    let mut last = 0;
    // I P B B: the P picture is decoded before, and shown after the others.
    for (dts, pts) in [(0, 40), (40, 160), (80, 80), (120, 120)] {
        let placed = timeline.place(track, 1000, dts, pts, 1_800_000_000_000 * ms + dts * ms);
        last = last.max(placed.pts);
    }
    assert_eq!(timeline.end() / ms, last + 40);
}

#[test]
fn nobody_is_held_and_nothing_jumps_where_the_machine_s_clock_is_set() {
    use crate::base::{Now, Wall};
    #[allow(clippy::disallowed_methods)] // the virtual clock has to begin somewhere
    let start = std::time::Instant::now();
    const FRAME: i64 = 40 * MS;
    // By how much it is set, and how long the publisher's crystal takes for 5000 ns.
    for (step, takes) in [(3600 * S, 5000), (-3600 * S, 5001), (3600 * S, 4999), (-3600 * S, 4999), (-2 * S, 5000)] {
        let wall = Wall::new(Now { at: start, wall: NOW });
        let mut timeline = Timeline::default();
        let track = timeline.add_track();
        let mut last: Option<i64> = None;
        for n in 0..25 * 1800 {
            let passed = n * FRAME / 5000 * takes;
            let (at, set) = (start + Duration::from_nanos(passed as u64), if n < 250 { 0 } else { step });
            if n % 25 == 0 {
                wall.observe(at, NOW + passed + set, true);
            }
            let now = wall.of(at);
            let placed = timeline.place(track, RATE, n * FRAME, n * FRAME, now);
            assert_eq!(placed.wait, Duration::ZERO, "{step} {takes} {n}");
            assert!((placed.dts - now).abs() < S, "{step} {takes} {n}: {} ms ahead", (placed.dts - now) / MS);
            assert!(last.is_none_or(|last| (placed.dts - last - FRAME).abs() <= (FRAME + MS) / 200), "{step} {takes} {n}");
            last = Some(placed.dts);
        }
        assert_eq!((timeline.mended().jumps, timeline.mended().waits), (0, 0));
    }
}
