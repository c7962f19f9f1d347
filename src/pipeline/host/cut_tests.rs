//! Tests of the cuts, on made-up encoders.

use bytes::Bytes;

use super::*;
use crate::pipeline::host::unit::Split;

const MS: i64 = 1_000_000;
const FRAME: i64 = 40 * MS;
const AUDIO: i64 = 21_333_333;

fn cutter(video: &[bool]) -> Cutter {
    cutter_of(2_000, 200, video)
}

/// For segments and parts of so many ms.
fn cutter_of(segment: u64, part: u64, video: &[bool]) -> Cutter {
    let (segment, part) = (segment * 1_000_000, part * 1_000_000);
    Cutter::new(Cutting { segment, part, first_segment: 5, epoch: 0, not_before: [i64::MIN; 2], given: [i64::MIN; 2] }, video)
}

fn unit(pts: i64, duration: i64, key: bool) -> Unit {
    Unit { pts, dts: pts, source: Some(pts), duration, key, data: Bytes::new() }
}

/// Pictures and sound as they come live, sound `lead` ns ahead.
fn run(cutter: &mut Cutter, until: i64, gop: i64, lead: i64) -> Vec<Placed> {
    let mut out = Vec::new();
    let (mut v, mut a) = (0, 0);
    while v < until {
        if a - lead <= v {
            cutter.push(a - lead, 1, unit(a, AUDIO, true), &mut out);
            a += AUDIO;
        } else {
            cutter.push(v, 0, unit(v, 0, (v / FRAME) % gop == 0), &mut out);
            v += FRAME;
        }
    }
    cutter.finish(&mut out);
    out
}

fn segments(out: &[Placed], track: usize) -> Vec<(u64, i64)> {
    out.iter()
        .filter(|placed| placed.track == track)
        .filter_map(|placed| match placed.split {
            Split::Segment(number) => Some((number, placed.unit.pts)),
            _ => None,
        })
        .collect()
}

#[test]
fn tracks_are_cut_at_the_same_times() {
    for lead in [0, 100 * MS, -100 * MS] {
        let out = run(&mut cutter(&[true, false]), 9_000 * MS, 25, lead);
        let (video, audio) = (segments(&out, 0), segments(&out, 1));
        assert_eq!(video, [(5, 0), (6, 2_000 * MS), (7, 4_000 * MS), (8, 6_000 * MS), (9, 8_000 * MS)]);
        assert_eq!(audio.len(), video.len());
        for (a, v) in audio.iter().zip(&video) {
            assert_eq!(a.0, v.0);
            assert!((a.1 - v.1).abs() <= AUDIO / 2 + 1, "{a:?} {v:?}");
        }
    }
}

#[test]
fn sound_of_a_cache_waits_for_its_pictures() {
    let mut cutter = cutter(&[true, false]);
    let mut out = Vec::new();
    (0..200).for_each(|n| cutter.push(0, 1, unit(n * AUDIO, AUDIO, true), &mut out));
    assert!(out.is_empty());
    (0..120).for_each(|n| cutter.push(100 * MS, 0, unit(n * FRAME, 0, n % 50 == 0), &mut out));
    assert_eq!(segments(&out, 0).len(), 3);
    assert_eq!(segments(&out, 1).len(), 3);
}

#[test]
fn sound_that_joins_late_goes_into_the_segments_of_its_time() {
    for late in [320, 2_520, 4_000, 10_000] {
        let mut cutter = cutter(&[true]);
        let mut out = Vec::new();
        let mut a = 0;
        for v in (0..20_000 * MS).step_by(FRAME as usize) {
            cutter.push(v, 0, unit(v, 0, (v / FRAME) % 25 == 0), &mut out);
            if v == late * MS {
                cutter.join(false);
            }
            while a + late * MS <= v {
                cutter.push(v, 1, unit(a, AUDIO, true), &mut out);
                a += AUDIO;
            }
        }
        cutter.finish(&mut out);
        let count = |track| out.iter().filter(|placed| placed.track == track).count() as i64;
        assert_eq!((count(0), count(1)), (500, a / AUDIO), "{late}");
        let (video, audio) = (segments(&out, 0), segments(&out, 1));
        assert!(audio.len() as i64 >= (19_000 - late) / 2_000, "{late}: {audio:?}");
        for (v, a) in video.iter().zip(&audio) {
            assert!(v.0 == a.0 && (v.1 - a.1).abs() <= FRAME + AUDIO, "{late}: {v:?} {a:?}");
        }
    }
}

#[test]
fn a_key_frame_is_asked_for_when_a_segment_is_long_enough() {
    let mut cutter = cutter(&[true]);
    let mut out = Vec::new();
    for n in 0..60 {
        cutter.push(0, 0, unit(n * FRAME, 0, n == 0), &mut out);
        assert_eq!(!cutter.take_asks().is_empty(), n * FRAME >= 1_900 * MS, "{n}");
    }
    assert!(cutter.take_wants_key().is_empty());
    assert_eq!(out.len(), 60);
}

#[test]
fn a_long_gop_is_cut_where_the_target_duration_wants_it() {
    // GOPs of 8 s; of 4 s, which fit.
    let out = run(&mut cutter(&[true, false]), 17_000 * MS, 200, 0);
    assert_eq!(segments(&out, 0), [(5, 0), (6, 4_200 * MS), (7, 8_000 * MS), (8, 12_200 * MS), (9, 16_000 * MS)]);
    assert_eq!(segments(&out, 1).len(), 5);
    let out = run(&mut cutter(&[true, false]), 17_000 * MS, 100, 0);
    assert_eq!(segments(&out, 0).iter().map(|(_, time)| time / MS).collect::<Vec<_>>(), [0, 4_000, 8_000, 12_000, 16_000]);
    // One key frame for all time.
    let out = run(&mut cutter(&[true, false]), 60_000 * MS, i64::MAX, 0);
    assert!(segments(&out, 0).windows(2).all(|pair| pair[1].1 - pair[0].1 == 4_200 * MS));
    assert_eq!(segments(&out, 0).len(), segments(&out, 1).len());
}

#[test]
fn chunks_and_their_lengths() {
    let out = run(&mut cutter(&[true, false]), 2_000 * MS, 25, 0);
    let cuts: Vec<i64> = out.iter().filter(|p| p.track == 0 && p.split != Split::None).map(|p| p.unit.pts / MS).collect();
    assert_eq!(cuts, [0, 200, 400, 600, 800, 1000, 1200, 1400, 1600, 1800]);
}

#[test]
fn the_last_part_of_sound_is_about_as_long_as_the_others() {
    // Frames of 44.1, 48 and 32 kHz, of AAC with SBR, and of 8 kHz, with GOPs of 1, 2, 3, 4 and 8 s.
    for frame in [23_219_955, AUDIO, 32_000_000, 46_439_909, 128_000_000] {
        for gop in [25, 50, 75, 100, 200] {
            let mut cutter = cutter(&[true, false]);
            let mut out = Vec::new();
            let mut sounds = 0;
            for n in 0..25 * 60 {
                cutter.push(n * FRAME, 0, unit(n * FRAME, 0, n % gop == 0), &mut out);
                while sounds * frame < (n + 1) * FRAME {
                    cutter.push(n * FRAME, 1, unit(sounds * frame, frame, true), &mut out);
                    sounds += 1;
                }
            }
            let cuts: Vec<(i64, bool)> = out
                .iter()
                .filter(|placed| placed.track == 1 && placed.split != Split::None)
                .map(|placed| (placed.unit.pts, matches!(placed.split, Split::Segment(_))))
                .collect();
            let parts: Vec<(i64, bool)> = cuts.windows(2).map(|pair| (pair[1].0 - pair[0].0, pair[1].1)).collect();
            assert!(parts.iter().all(|(length, _)| *length <= 210 * MS), "{frame} {gop}");
            // The first segment's length is not known, nor are those of GOPs that are cut in two.
            let last = parts.iter().filter(|(_, last)| *last).map(|(length, _)| *length).skip(2);
            let (shortest, most) = (last.min().unwrap(), 210 * MS / frame * frame);
            assert!(gop == 200 || shortest >= most - 2 * frame, "{frame} {gop}: {} ms", shortest / MS);
        }
    }
}

#[test]
fn sound_alone() {
    let mut cutter = cutter(&[false]);
    let mut out = Vec::new();
    for n in 0..300 {
        cutter.push(n * AUDIO, 0, unit(n * AUDIO, AUDIO, true), &mut out);
    }
    assert_eq!(out.len(), 300);
    let found = segments(&out, 0);
    assert_eq!(found.len(), 4);
    assert!(found.windows(2).all(|pair| (pair[1].1 - pair[0].1 - 2_000 * MS).abs() <= AUDIO), "{found:?}");
}

#[test]
fn chunks_of_reordered_pictures_are_as_long_as_others() {
    for b_frames in 1..4 {
        let mut cutter = cutter(&[true]);
        let mut out = Vec::new();
        let mut dts = -FRAME;
        for group in 0..200 {
            let base = group * (b_frames + 1) * FRAME;
            let order = if group == 0 { vec![0] } else { [base].into_iter().chain((1..=b_frames).map(|n| base - n * FRAME)).collect() };
            for pts in order {
                cutter.push(dts, 0, Unit { pts, dts, source: Some(dts), duration: 0, key: pts == 0, data: Bytes::new() }, &mut out);
                dts += FRAME;
            }
        }
        let begins: Vec<&Placed> = out.iter().filter(|placed| placed.split != Split::None).collect();
        for pair in begins.windows(2) {
            let length = pair[1].unit.dts - pair[0].unit.dts;
            assert!(length == 200 * MS || (length < 200 * MS && pair[1].split != Split::Chunk), "{length}");
        }
        // Nothing before a segment is shown after its beginning.
        let mut shown = i64::MIN;
        for placed in &out {
            assert!(b_frames == 3 || !matches!(placed.split, Split::Segment(_)) || placed.unit.pts > shown, "where it can be had");
            shown = shown.max(placed.unit.pts);
        }
    }
}

#[test]
fn stalled_pictures_do_not_stop_the_sound_and_go_on_in_its_segments() {
    let mut cutter = cutter(&[true, false]);
    let mut out = run(&mut cutter, 1_000 * MS, 25, 0);
    let mut a = out.iter().filter(|p| p.track == 1).map(|p| p.unit.pts).max().unwrap() + AUDIO;
    while a < 9_000 * MS {
        cutter.push(a, 1, unit(a, AUDIO, true), &mut out);
        a += AUDIO;
    }
    let last = *segments(&out, 1).last().unwrap();
    assert!(last.0 >= 8, "{last:?}");
    out.clear();
    // What was held back comes now: into the segments of its time, none of it lost, without a key frame.
    for v in (1_000 * MS..9_000 * MS).step_by(FRAME as usize) {
        cutter.push(a, 0, unit(v, 0, false), &mut out);
    }
    assert!(cutter.take_wants_key().is_empty());
    cutter.finish(&mut out);
    assert_eq!(out.iter().filter(|placed| placed.track == 0).count(), 200);
    let found = segments(&out, 0);
    assert_eq!(found.last().unwrap().0, last.0, "{found:?}");
    assert!((found.last().unwrap().1 - last.1).abs() <= FRAME, "{found:?} {last:?}");
}

#[test]
fn sound_and_pictures_ten_seconds_apart_are_cut_at_the_same_times() {
    for apart in [-10_000, -4_000, -300, 300, 4_000, 10_000] {
        let mut cutter = cutter(&[true, false]);
        let mut out = Vec::new();
        // When each comes; the pictures `apart` later than the sound.
        let mut coming: Vec<(i64, usize, i64)> = (0..600).map(|n| (n * FRAME + apart.max(0) * MS, 0, n * FRAME)).collect();
        coming.extend((0..1125).map(|n| (n * AUDIO - apart.min(0) * MS, 1, n * AUDIO)));
        coming.sort_unstable();
        let mut behind = Vec::new();
        for (now, track, pts) in coming {
            let unit = if track == 0 { unit(pts, 0, pts % (2_000 * MS) == 0) } else { unit(pts, AUDIO, true) };
            cutter.push(now, track, unit, &mut out);
            let reached = |track| out.iter().rev().find(|placed| placed.track == track).map(|placed| placed.unit.pts);
            if let (Some(v), Some(a)) = (reached(0), reached(1)) {
                behind.push((v - a).abs());
            }
        }
        cutter.finish(&mut out);
        let count = |track| out.iter().filter(|placed| placed.track == track).count();
        assert_eq!((count(0), count(1)), (600, 1125), "{apart}: nothing is lost");
        let (video, audio) = (segments(&out, 0), segments(&out, 1));
        assert_eq!(video.len(), audio.len(), "{apart}: {video:?} {audio:?}");
        for (v, a) in video.iter().zip(&audio) {
            assert!(v.0 == a.0 && (v.1 - a.1).abs() <= FRAME + AUDIO, "{apart}: {v:?} {a:?}");
        }
        // Once both come, they go on together.
        let later = behind.iter().rev().take(behind.len() / 4).max().unwrap();
        assert!(*later <= 2_500 * MS, "{apart}: {later}");
    }
}

/// A picture whose kind can be repeated: one slice.
fn picture(pts: i64, key: bool) -> Unit {
    let header = if key { 0x65 } else { 0x41 };
    Unit { data: Bytes::copy_from_slice(&[0, 0, 0, 5, header, 0x88, 0x84, 0x21, 0xA0]), ..unit(pts, 0, key) }
}

/// A cutter that can repeat pictures of constrained baseline, 360p.
fn repeating() -> Cutter {
    repeats(cutter(&[true, false]))
}

fn repeats(mut cutter: Cutter) -> Cutter {
    let hex = "0142c01effe100196742c01ed900a02ff97011000003000100000300320f162e4801000568cb83cb20";
    let record: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    cutter.format(0, &crate::codec::h264::AvcConfig::parse(&record).unwrap().into_format());
    cutter
}

#[test]
fn no_segment_is_too_long_whatever_is_said_of_when_pictures_are_shown() {
    let longest = |targets: Targets| targets.target_duration() as i64 * 1_000 * MS + 499 * MS;
    for (segment, part) in [(500, 50), (2_000, 200), (6_000, 1_000)] {
        let targets = Targets::new(std::time::Duration::from_millis(segment), std::time::Duration::from_millis(part));
        // Which picture is shown seconds after it was decoded, and whether others are as late from there on.
        for (late, stays) in [(0, false), (0, true), (25, false), (26, false), (60, false), (60, true), (100, true)] {
            for seconds in [1, 3, 7, 30] {
                let mut cutter = repeats(cutter_of(segment, part, &[true, false]));
                let mut out = Vec::new();
                for n in 0..25 * 60 {
                    let composition = if n == late || (stays && n > late) { seconds * 1_000 * MS } else { 0 };
                    let dts = n * FRAME;
                    cutter.push(dts, 0, Unit { pts: dts + composition, dts, ..picture(dts, n % 25 == 0) }, &mut out);
                    for a in dts / AUDIO..(dts + FRAME) / AUDIO {
                        cutter.push(dts, 1, unit(a * AUDIO, AUDIO, true), &mut out);
                    }
                }
                cutter.finish(&mut out);
                let name = format!("{segment} ms, picture {late} late by {seconds} s, others {stays}");
                assert!(!cutter.is_torn(), "{name}");
                for track in [0, 1] {
                    let of = || out.iter().filter(|placed| placed.track == track);
                    let begins: Vec<i64> =
                        of().filter(|placed| matches!(placed.split, Split::Segment(_))).map(|placed| placed.unit.dts).collect();
                    let end = of().map(|placed| placed.unit.dts).max();
                    let most = begins.iter().zip(begins.iter().skip(1).chain(&end)).map(|(a, b)| b - a).max().unwrap();
                    assert!(most <= longest(targets), "{name}: a segment of track {track} has {} ms", most / MS);
                }
                let came = out.iter().filter(|placed| placed.track == 0 && placed.unit.source.is_some()).count();
                assert_eq!(came, 25 * 60, "{name}");
            }
        }
    }
}

#[test]
fn a_burst_after_a_stall_is_cut_as_what_comes_live() {
    // What of the backlog comes first, and how long before the other: both come in messages of their own.
    for (first, before) in [(0, 0), (0, 40 * MS), (1, 0), (1, 100 * MS)] {
        let run = |stalled: bool| {
            let mut cutter = repeating();
            let mut out = Vec::new();
            let mut coming: Vec<(i64, bool, usize, i64)> = (0..500).map(|n| (n * FRAME, false, 0, n * FRAME)).collect();
            coming.extend((0..936).map(|n| (n * AUDIO, false, 1, n * AUDIO)));
            // Between 6 and 12 s nothing comes; then all of it, each track in one piece.
            for unit in coming.iter_mut().filter(|unit| stalled && unit.0 >= 6_000 * MS) {
                let late = unit.2 != first;
                unit.1 = late;
                unit.0 = unit.0.max(12_000 * MS - 1 + if late { before } else { 0 });
            }
            coming.sort_unstable();
            for (now, _, track, pts) in coming {
                let unit = if track == 0 { picture(pts, (pts / FRAME) % 50 == 0) } else { unit(pts, AUDIO, true) };
                cutter.push(now, track, unit, &mut out);
            }
            cutter.finish(&mut out);
            [0, 1].map(|track| {
                let mine = out.iter().filter(|placed| placed.track == track);
                mine.map(|placed| (placed.unit.pts, placed.split)).collect::<Vec<_>>()
            })
        };
        assert!(run(true) == run(false), "track {first} first, by {} ms", before / MS);
    }
}

#[test]
fn sound_without_the_promised_pictures_begins_after_a_while() {
    let mut cutter = cutter(&[true, false]);
    let mut out = Vec::new();
    for n in 0..150 {
        cutter.push(n * AUDIO, 1, unit(n * AUDIO, AUDIO, true), &mut out);
    }
    assert_eq!(segments(&out, 1)[0], (5, 0));
}

#[test]
fn pictures_go_on_without_sound_that_is_announced_and_join_it_at_a_key_frame() {
    // When sound comes, and from which time on, in ms; how many pictures have gone on after 2 s and when it comes; the picture with which
    // both begin anew.
    for (comes, from, early, alone, joined) in [
        (None, 0, 0, 250, None),
        (Some(2_500), 2_500, 0, 0, None),
        // All of it, only late.
        (Some(5_000), 0, 0, 125, None),
        (Some(5_000), 5_000, 0, 125, Some(6_000)),
        (Some(5_990), 5_990, 0, 149, Some(6_000)),
        (Some(6_010), 6_010, 0, 150, Some(8_000)),
    ] {
        let mut cutter = cutter(&[true, false]);
        let (mut out, mut given, mut heard): (Vec<Placed>, _, _) = (Vec::new(), 0, 0);
        for n in 0..250 {
            let now = n * FRAME;
            while let Some(comes) = comes.filter(|comes| comes * MS + heard * AUDIO <= now) {
                if heard == 0 {
                    given = out.iter().filter(|placed| placed.track == 0).count();
                }
                cutter.push(comes * MS + heard * AUDIO, 1, unit(from * MS + heard * AUDIO, AUDIO, true), &mut out);
                heard += 1;
            }
            cutter.push(now, 0, unit(now, 0, n % 50 == 0), &mut out);
            if n == 50 {
                assert_eq!(out.len(), early, "{comes:?}");
            }
            if cutter.is_joined() {
                assert_eq!(Some(now), joined.map(|joined| joined * MS), "{comes:?}");
                break;
            }
        }
        assert_eq!(cutter.is_joined(), joined.is_some(), "{comes:?}");
        cutter.finish(&mut out);
        let pictures: Vec<i64> = out.iter().filter(|placed| placed.track == 0).map(|placed| placed.unit.pts).collect();
        let all = joined.map_or(250, |joined| joined * MS / FRAME);
        assert_eq!(pictures, (0..all).map(|n| n * FRAME).collect::<Vec<_>>(), "{comes:?}: those before go on, each once");
        let given = if comes.is_none() { pictures.len() } else { given };
        assert!(given.abs_diff(alone) <= 1, "{comes:?}: {given} had gone on");
    }
}

#[test]
fn segments_of_sound_end_in_time_whatever_the_pictures_do() {
    let sound = |cutter: &mut Cutter, out: &mut Vec<Placed>, range: std::ops::Range<i64>| {
        range.for_each(|n| cutter.push(n * AUDIO, 1, unit(n * AUDIO, AUDIO, true), out));
    };
    let picture = |cutter: &mut Cutter, out: &mut Vec<Placed>, now: i64, pts: i64, dts: i64| {
        cutter.push(now, 0, Unit { pts, dts, source: Some(dts), duration: 0, key: pts == 0, data: Bytes::new() }, out);
    };
    let mut all = Vec::new();
    // All of the sound waits for pictures, and the end comes first.
    let (mut waiting, mut out) = (cutter(&[true, false]), Vec::new());
    picture(&mut waiting, &mut out, 0, 0, 0);
    (0..900).for_each(|n| waiting.push(100 * MS, 1, unit(n * AUDIO, AUDIO, true), &mut out));
    waiting.finish(&mut out);
    all.push(("held at the end", out, 900));
    // Pictures are decoded 3 s before they are shown: where the segment ends is known too late.
    let (mut early, mut out) = (cutter(&[true, false]), Vec::new());
    for n in 0..30 {
        picture(&mut early, &mut out, n * 1000 * MS, n * 1000 * MS + if n == 0 { 0 } else { 3000 * MS }, n * 1000 * MS);
        sound(&mut early, &mut out, n * 1000 * MS / AUDIO..(n + 1) * 1000 * MS / AUDIO);
    }
    early.finish(&mut out);
    all.push(("decoded early", out, 1406));
    for (name, out, count) in all {
        let begins: Vec<i64> = segments(&out, 1).iter().map(|(_, time)| *time).collect();
        let end = out.iter().filter(|placed| placed.track == 1).map(|placed| placed.unit.pts + AUDIO).max();
        let lengths: Vec<i64> = begins.iter().zip(begins.iter().skip(1).chain(&end)).map(|(a, b)| b - a).collect();
        assert!(lengths.iter().all(|length| *length < 4_500 * MS), "{name}: {lengths:?}");
        assert_eq!(out.iter().filter(|placed| placed.track == 1).count(), count, "{name}: all of it");
        assert!(segments(&out, 1).windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "{name}");
    }
}

#[test]
fn what_the_epoch_before_gave_is_left_out_of_each_kind() {
    let first = |out: &[Placed], track| out.iter().find(|placed| placed.track == track).map(|placed| placed.unit.pts);
    // As it came: the last picture at 1960 ms, a frame of sound at 1984 ms that was laid elsewhere.
    let mut begun = cutter(&[true, false]);
    (begun.not_before, begun.given) = ([2_050 * MS, 2_100 * MS], [93 * AUDIO - 11_111, 1_960 * MS]);
    let out = run(&mut begun, 4_000 * MS, 25, 0);
    assert_eq!(first(&out, 0), Some(2_000 * MS), "the key frame with which the next epoch begins");
    assert_eq!(first(&out, 1), Some(94 * AUDIO), "the frame that follows");
    // Of silence that was made here only the place counts.
    let mut begun = cutter(&[false]);
    (begun.not_before, begun.given) = ([2_050 * MS, i64::MIN], [93 * AUDIO, i64::MIN]);
    let mut out = Vec::new();
    (0..200).for_each(|n| begun.push(n * AUDIO, 0, Unit { source: None, ..unit(n * AUDIO, AUDIO, true) }, &mut out));
    assert_eq!(first(&out, 0), Some(96 * AUDIO), "half of it lies before 2050 ms");
}

#[test]
fn sound_that_goes_on_from_the_epoch_before_is_not_late() {
    // Pictures join sound that plays already, with a key frame from a cache: of the sound up to there nothing is left to give.
    for given in [0, 900, 1_500, 4_000] {
        let mut joined = cutter(&[true, false]);
        (joined.not_before[0], joined.given[0]) = (given * MS, given * MS);
        let mut out = Vec::new();
        (0..125).for_each(|n| joined.push(0, 0, unit(n * FRAME, 0, n % 25 == 0), &mut out));
        (0..250).for_each(|n| joined.push(3_100 * MS, 1, unit(n * AUDIO, AUDIO, true), &mut out));
        (125..150).for_each(|n| joined.push(3_200 * MS, 0, unit(n * FRAME, 0, n % 25 == 0), &mut out));
        joined.finish(&mut out);
        assert!(!joined.is_joined(), "{given}");
        let sounds = out.iter().filter(|placed| placed.track == 1).count() as i64;
        assert!((sounds - (250 - given * MS / AUDIO)).abs() <= 1, "{given}: {sounds}");
    }
}

#[test]
fn a_picture_at_a_parts_end_begins_the_next_where_nothing_follows() {
    // With these there is no room between a part and its target.
    let targets = Targets::new(std::time::Duration::from_secs(4), std::time::Duration::from_millis(500));
    assert_eq!(targets.part(), targets.part_target());
    for period in 420..=520 {
        let mut cutter = repeats(cutter_of(4_000, 500, &[true, false]));
        let mut out = Vec::new();
        let (mut v, mut a) = (0, 0);
        // Pictures stop after 10 s, sound goes on.
        while a < 16_000 * MS {
            if v <= a && v < 10_000 * MS {
                cutter.push(v, 0, picture(v, v % (4_000 * MS) < period * MS), &mut out);
                v += period * MS;
            } else {
                cutter.push(a, 1, unit(a, AUDIO, true), &mut out);
                a += AUDIO;
            }
        }
        let parts: Vec<i64> =
            out.iter().filter(|placed| placed.track == 0 && placed.split != Split::None).map(|placed| placed.unit.dts).collect();
        assert!(parts.last().is_some_and(|last| *last > 12_000 * MS), "{period}: the last picture is repeated, {parts:?}");
        for pair in parts.windows(2) {
            assert!(pair[1] - pair[0] <= targets.part_target(), "{period} ms apart: a part of {} µs", (pair[1] - pair[0]) / 1000);
        }
    }
}
