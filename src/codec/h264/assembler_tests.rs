use proptest::prelude::*;

use super::super::avcc_nals;
use super::super::samples::{SAMPLES, hex};
use super::super::sps::{SpsInfo, parse_sps};
use super::*;

/// High profile with picture order counts; the same interlaced.
const HIGH: usize = 0;
const INTERLACED: usize = 6;
/// Constrained baseline.
const BASELINE: usize = 1;

const I: u32 = 7;
const P: u32 = 5;

fn config(sample: usize) -> AvcConfig {
    AvcConfig::parse(&hex(SAMPLES[sample].avcc)).unwrap()
}

fn header(sample: usize) -> Vec<u8> {
    hex(SAMPLES[sample].avcc)
}

#[derive(Clone, Copy)]
struct Head {
    nal: u8,
    first_mb: u32,
    kind: u32,
    frame_num: u32,
    poc: u32,
    field: Option<bool>,
}

fn head(idr: bool, frame_num: u32) -> Head {
    let (nal, kind) = if idr { (0x65, I) } else { (0x41, P) };
    Head { nal, first_mb: 0, kind, frame_num, poc: frame_num * 2, field: None }
}

/// A slice as the parameter sets of `sample` want it.
fn slice(sample: usize, head: Head) -> Vec<u8> {
    let info: SpsInfo = parse_sps(&config(sample).sps[0]).unwrap();
    let mut bits = String::new();
    let ue = |value: u32| {
        let code = format!("{:b}", value + 1);
        "0".repeat(code.len() - 1) + &code
    };
    let fixed = |value: u32, len: u8| format!("{value:0len$b}", len = usize::from(len));
    bits += &(ue(head.first_mb) + &ue(head.kind) + &ue(0));
    bits += &fixed(head.frame_num, info.frame_num_bits);
    if info.interlaced {
        bits += match head.field {
            None => "0",
            Some(false) => "10",
            Some(true) => "11",
        };
    }
    if head.nal & 0x1F == 5 {
        bits += &ue(0);
    }
    if info.pic_order_cnt_type == 0 {
        bits += &fixed(head.poc, info.poc_lsb_bits);
    }
    bits += "1";
    while !bits.len().is_multiple_of(8) {
        bits.push('0');
    }
    let bytes = bits.as_bytes().chunks(8).map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 2).unwrap());
    std::iter::once(head.nal).chain(bytes).chain([0x55; 20]).collect()
}

fn message(nals: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    nals.iter().for_each(|nal| put_nal(&mut out, nal));
    out
}

fn at(ms: i64) -> Stamp {
    Stamp { dts_ms: ms, composition_ms: 0 }
}

/// What comes out, shortly: `F` for a format, then pictures as their time, `K` for key frames, and the types of their NAL units.
fn told(out: &[Assembled]) -> Vec<String> {
    out.iter()
        .map(|item| match item {
            Assembled::Format(format) => format!("F {}", format.codec_string()),
            Assembled::Notice(notice) => format!("{notice:?}"),
            Assembled::Picture(picture) => {
                let kinds: Vec<_> = avcc_nals(&picture.data, 4).map(|nal| (nal[0] & 0x1F).to_string()).collect();
                let nth = if picture.nth > 0 { format!("+{}", picture.nth) } else { String::new() };
                format!("{}{nth}{} {}", picture.stamp.dts_ms, if picture.key { "K" } else { "" }, kinds.join(" "))
            }
        })
        .collect()
}

fn run(messages: &[(i64, bool, Vec<u8>)], headers: &[(usize, Vec<u8>)]) -> (Vec<String>, AssemblerCounters) {
    let (mut assembler, mut out) = (Assembler::new(), Vec::new());
    for (index, (ms, flagged, data)) in messages.iter().enumerate() {
        for (_, record) in headers.iter().filter(|(before, _)| *before == index) {
            let _ = assembler.header(record, &mut out);
        }
        assembler.push(at(*ms), *flagged, &data.clone().into(), &mut out);
    }
    assembler.finish(&mut out);
    (told(&out), assembler.counters())
}

#[test]
fn parameter_sets_from_anywhere() {
    let c = config(BASELINE);
    let (sps, pps) = (&c.sps[0][..], &c.pps[0][..]);
    let (idr, p, next) = (slice(BASELINE, head(true, 0)), slice(BASELINE, head(false, 1)), slice(BASELINE, head(true, 0)));
    let other: Vec<u8> = [&sps[..3], &[31], &sps[4..]].concat();
    let gop = |sets: &[&[u8]]| {
        vec![(0, true, message(&[sets, &[&idr]].concat())), (40, false, message(&[&p])), (80, true, message(&[sets, &[&next]].concat()))]
    };
    let annexb = |nals: &[&[u8]]| nals.iter().flat_map(|nal| [&[0, 0, 1][..], nal].concat()).collect::<Vec<u8>>();
    let plain = ["F avc1.42c01e", "0K 5", "40 1", "80K 5"];
    let stale = ["F avc1.42c01f", "0K 5", "40 1", "80K 5"];
    type Row<'a> = (&'a str, Vec<(i64, bool, Vec<u8>)>, Vec<(usize, Vec<u8>)>, Vec<&'a str>, u64);
    let table: Vec<Row<'_>> = vec![
        ("a header", gop(&[]), vec![(0, header(BASELINE))], plain.to_vec(), 0),
        ("a header, again and again", gop(&[]), (0..3).map(|at| (at, header(BASELINE))).collect(), plain.to_vec(), 0),
        ("in band", gop(&[sps, pps]), vec![], plain.to_vec(), 0),
        ("in band with a delimiter", gop(&[&[9, 0x10], sps, pps]), vec![], plain.to_vec(), 0),
        ("both", gop(&[sps, pps]), vec![(0, header(BASELINE))], plain.to_vec(), 0),
        ("an empty header first", gop(&[]), vec![(0, vec![]), (0, header(BASELINE))], plain.to_vec(), 0),
        ("an empty header, then in band", gop(&[sps, pps]), vec![(0, hex("0142c01effe000"))], plain.to_vec(), 0),
        ("a header in Annex B", gop(&[]), vec![(0, annexb(&[sps, pps]))], plain.to_vec(), 0),
        ("a header without PPS", gop(&[pps]), vec![(0, [&header(BASELINE)[..6 + 2 + sps.len()], &[0]].concat())], plain.to_vec(), 0),
        ("stale headers", gop(&[&other, pps]), vec![(0, header(BASELINE)), (2, header(BASELINE))], stale.to_vec(), 0),
        ("a late header", gop(&[]), vec![(1, header(BASELINE))], vec!["F avc1.42c01e", "40 1", "80K 5"], 1),
        ("none", gop(&[]), vec![], vec!["NoParameterSets"], 3),
        (
            "in band, beginning within a GOP",
            vec![(0, false, message(&[&p])), (40, true, message(&[sps, pps, &idr]))],
            vec![],
            vec!["F avc1.42c01e", "40K 5"],
            1,
        ),
        (
            "in a message of their own",
            vec![(0, false, message(&[sps, pps])), (0, true, message(&[&idr])), (40, false, message(&[&p]))],
            vec![],
            vec!["F avc1.42c01e", "0K 5", "40 1"],
            0,
        ),
        (
            "another SPS with a key frame",
            [gop(&[sps, pps]), vec![(120, true, message(&[&other, pps, &idr]))]].concat(),
            vec![],
            [&plain[..], &["F avc1.42c01f", "120K 5"]].concat(),
            0,
        ),
        (
            "another header within a GOP counts from the key frame on",
            [gop(&[]), vec![(120, false, message(&[&slice(BASELINE, head(false, 1))])), (160, true, message(&[&idr]))]].concat(),
            vec![(0, header(BASELINE)), (3, [&header(BASELINE)[..8], &other, &header(BASELINE)[8 + sps.len()..]].concat())],
            [&plain[..], &["120 1", "F avc1.42c01f", "160K 5"]].concat(),
            0,
        ),
    ];
    for (name, messages, headers, wanted, before) in table {
        let (got, counters) = run(&messages, &headers);
        assert_eq!((got, counters.before_sets), (wanted.iter().map(|s| (*s).to_owned()).collect(), before), "{name}");
    }
}

#[test]
fn picture_parameter_sets_that_change_within_a_gop_stay_in_band() {
    let c = config(BASELINE);
    let mut other = c.pps[0].to_vec();
    other.extend([0x11, 0x22]);
    let (idr, p, q) = (slice(BASELINE, head(true, 0)), slice(BASELINE, head(false, 1)), slice(BASELINE, head(false, 2)));
    let messages = [
        (0, true, message(&[&c.sps[0], &c.pps[0], &idr])),
        (40, false, message(&[&other, &p])),
        (80, false, message(&[&other, &q])),
        (120, true, message(&[&idr])),
    ];
    let (got, _) = run(&messages, &[]);
    assert_eq!(got, ["F avc1.42c01e", "0K 5", "40 8 1", "80 1", "F avc1.42c01e", "120K 5"]);
}

#[test]
fn the_sps_in_use_stands_first() {
    let (a, b) = (config(BASELINE), config(HIGH));
    // Ids of the second pair: SPS 1 and PPS 1, which refers to it.
    let mut sps = b.sps[0].to_vec();
    sps.splice(4..4, []); // its id stands in the first bit behind the level
    let bits: String = sps[4..].iter().map(|byte| format!("{byte:08b}")).collect();
    let moved = format!("010{}", &bits[1..]);
    let mut tail: Vec<u8> =
        moved.as_bytes().chunks(8).map(|c| u8::from_str_radix(&format!("{:0<8}", std::str::from_utf8(c).unwrap()), 2).unwrap()).collect();
    sps.truncate(4);
    sps.append(&mut tail);
    let pps = [0x68, 0b0100_1011, 0x80];
    // first_mb 0, I, PPS 1
    let idr_1 = [0x65, 0b1000_1000, 0b0100_0001, 0x55, 0x55, 0x55];
    let idr_0 = slice(BASELINE, head(true, 0));
    let messages = [
        (0, true, message(&[&a.sps[0], &a.pps[0], &sps, &pps, &idr_0])),
        (40, true, message(&[&idr_1])),
        (80, true, message(&[&idr_1])),
        (120, true, message(&[&idr_0])),
    ];
    let (got, _) = run(&messages, &[]);
    assert_eq!(got, ["F avc1.42c01e", "0K 5", "F avc1.640028", "40K 5", "80K 5", "F avc1.42c01e", "120K 5"]);
}

#[test]
fn what_nobody_decodes_is_left_out() {
    let c = config(BASELINE);
    let (idr, p) = (slice(BASELINE, head(true, 0)), slice(BASELINE, head(false, 1)));
    for kind in [0u8, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31] {
        let strange = [kind, 0x41, 0x9A, 0x55];
        let messages = [(0, true, message(&[&strange, &c.sps[0], &c.pps[0], &strange, &idr])), (40, false, message(&[&p, &strange]))];
        let (got, counters) = run(&messages, &[]);
        assert_eq!((&got[1..], counters.foreign, counters.damaged), (&["0K 5".to_owned(), "40 1".to_owned()][..], 3, 0), "{kind}");
    }
    let ends = [(0, true, message(&[&[9, 0xF0], &c.sps[0], &c.pps[0], &[6, 5, 1, 0, 0x80], &idr, &[12, 0xFF, 0x80], &[10], &[11]]))];
    assert_eq!(run(&ends, &[]).0[1..], ["0K 6 5"]);
}

#[test]
fn pictures_in_several_messages_and_several_in_one() {
    let c = config(HIGH);
    let with = |head: Head, first_mb| slice(HIGH, Head { first_mb, ..head });
    let (idr, p, q) = (head(true, 0), head(false, 1), head(false, 2));
    let sets = |nals: &[&[u8]]| message(&[&[&c.sps[0][..], &c.pps[0]][..], nals].concat());
    let one = |nal: Vec<u8>| message(&[&nal]);
    type Row = (&'static str, Vec<(i64, bool, Vec<u8>)>, Vec<&'static str>, u64);
    let table: Vec<Row> = vec![
        (
            "slices in messages",
            vec![
                (0, true, sets(&[&with(idr, 0)])),
                (0, true, one(with(idr, 100))),
                (40, false, one(with(p, 0))),
                (40, false, one(with(p, 100))),
                (80, false, one(with(q, 0))),
            ],
            vec!["0K 5 5", "40 1 1", "80 1"],
            0,
        ),
        (
            "slices with a time each",
            vec![
                (0, true, sets(&[&with(idr, 0)])),
                (3, true, one(with(idr, 100))),
                (40, false, one(with(p, 0))),
                (43, false, one(with(p, 100))),
            ],
            vec!["0K 5 5", "40 1 1"],
            0,
        ),
        (
            "information in messages",
            vec![
                (0, false, one(vec![6, 5, 1, 0, 0x80])),
                (0, true, sets(&[&with(idr, 0)])),
                (40, false, one(vec![6, 5, 1, 0, 0x80])),
                (40, false, one(with(p, 0))),
            ],
            vec!["0K 6 5", "40 6 1"],
            0,
        ),
        (
            "slices from the second picture on: one is lost, and no other",
            vec![
                (0, true, sets(&[&with(idr, 0)])),
                (40, false, one(with(p, 0))),
                (80, false, one(with(q, 0))),
                (80, false, one(with(q, 100))),
                (120, false, one(with(head(false, 3), 0))),
                (120, false, one(with(head(false, 3), 100))),
            ],
            vec!["0K 5", "40 1", "80 1", "120 1 1"],
            1,
        ),
        (
            "three pictures in a message",
            vec![
                (0, true, sets(&[&with(idr, 0), &with(idr, 100), &with(p, 0), &[9, 0x10], &with(q, 0)])),
                (120, false, one(with(head(false, 3), 0))),
            ],
            vec!["0K 5 5", "0+1K 1", "0+2 1", "120 1"],
            0,
        ),
        (
            "pictures with the same time",
            vec![(0, true, sets(&[&with(idr, 0)])), (0, false, one(with(p, 0))), (0, false, one(with(q, 0)))],
            vec!["0K 5", "0 1", "0 1"],
            0,
        ),
        (
            "slices in any order",
            vec![(0, true, sets(&[&with(idr, 100), &with(idr, 0), &with(idr, 50)])), (40, false, message(&[&with(p, 9), &with(p, 0)]))],
            vec!["SliceOrder", "0K 5 5 5", "40 1 1"],
            0,
        ),
    ];
    for (name, messages, wanted, damaged) in table {
        let (mut got, counters) = run(&messages, &[]);
        // The format comes with the first picture, a notice as soon as it is seen.
        got.retain(|text| !text.starts_with("F "));
        // Flags on pictures that hold no key frame are another test's matter.
        let got: Vec<_> = got.iter().map(|text| text.replace("+1K", "+1")).collect();
        let wanted: Vec<_> = wanted.iter().map(|text| text.replace("+1K", "+1")).collect();
        assert_eq!((got, counters.damaged), (wanted, damaged), "{name}");
    }
}

#[test]
fn two_fields_are_one_picture() {
    let c = config(INTERLACED);
    let field = |idr, frame_num, bottom| {
        slice(INTERLACED, Head { field: Some(bottom), poc: frame_num * 2 + u32::from(bottom), ..head(idr, frame_num) })
    };
    // The second field of an IDR picture is no IDR picture itself.
    let pair = |idr, frame_num| [field(idr, frame_num, false), field(false, frame_num, true)];
    let sets =
        |nals: &[Vec<u8>]| message(&[&[&c.sps[0][..], &c.pps[0]][..], &nals.iter().map(|nal| &nal[..]).collect::<Vec<_>>()].concat());
    let plain = |nals: &[Vec<u8>]| message(&nals.iter().map(|nal| &nal[..]).collect::<Vec<_>>());
    let (first, second) = (pair(true, 0), pair(false, 1));
    let together = [(0, true, sets(&first)), (40, false, plain(&second))];
    let apart =
        [(0, true, sets(&first[..1])), (20, false, plain(&first[1..])), (40, false, plain(&second[..1])), (60, false, plain(&second[1..]))];
    let frame = slice(INTERLACED, head(false, 2));
    let lone = [(0, true, sets(&first)), (40, false, plain(&second[..1])), (80, false, plain(&[frame]))];
    for (name, messages, wanted) in [
        ("together", &together[..], vec!["0K 5 1", "40 1 1"]),
        ("apart", &apart, vec!["0K 5 1", "40 1 1"]),
        ("a field without the other", &lone, vec!["0K 5 1", "40 1", "80 1"]),
    ] {
        assert_eq!(run(messages, &[]).0[1..], wanted, "{name}");
    }
}

#[test]
fn normal_pictures_wait_for_nothing() {
    let (mut assembler, mut out) = (Assembler::new(), Vec::new());
    assembler.header(&header(HIGH), &mut out).unwrap();
    assembler.push(at(0), true, &message(&[&slice(HIGH, head(true, 0))]).into(), &mut out);
    assert!(out.is_empty(), "the first one waits until it is known to be whole");
    assembler.time_passed(0, &mut out);
    assert!(out.is_empty());
    assembler.time_passed(21, &mut out);
    assert_eq!(told(&out), ["F avc1.640028", "0K 5"]);
    for frame_num in 1..5 {
        out.clear();
        assembler.push(at(40), false, &message(&[&slice(HIGH, head(false, frame_num))]).into(), &mut out);
        assert_eq!(told(&out), ["40 1"]);
    }
}

#[test]
fn key_frames() {
    let recovery = |frames: u8| vec![6, 6, 1, if frames == 0 { 0xC0 } else { 0x50 }, 0x80];
    let c = config(HIGH);
    let sets: Vec<&[u8]> = vec![&c.sps[0], &c.pps[0]];
    let pic = |idr: bool, kind: u32, frame_num: u32| slice(HIGH, Head { kind, ..head(idr, frame_num) });
    // Each picture: NAL units, whether the container flags it. Then which are key frames.
    type Pictures = Vec<(Vec<Vec<u8>>, bool)>;
    let idr = || (vec![pic(true, I, 0)], true);
    let p = |n, flagged| (vec![pic(false, P, n)], flagged);
    let table: Vec<(&str, Pictures, Vec<bool>)> = vec![
        ("IDR pictures", vec![idr(), p(1, false), idr(), p(1, false)], vec![true, false, true, false]),
        ("without flags", vec![(vec![pic(true, I, 0)], false), p(1, false), (vec![pic(true, I, 0)], false)], vec![true, false, true]),
        ("all flagged", vec![idr(), p(1, true), p(2, true), p(3, true)], vec![true, false, false, false]),
        (
            "P flagged where IDR pictures come",
            vec![idr(), p(1, false), idr(), p(1, false), p(2, true)],
            vec![true, false, true, false, false],
        ),
        ("P flagged soon after", vec![idr(), p(1, true), p(2, false), p(3, true)], vec![true, false, false, false]),
        (
            "P flagged where none come",
            vec![idr(), p(1, false), p(2, false), p(3, false), p(4, true), p(5, false), p(6, true)],
            vec![true, false, false, false, true, false, true],
        ),
        ("flagged I picture", vec![idr(), p(1, false), (vec![pic(false, I, 2)], true), idr()], vec![true, false, true, true]),
        ("I picture that isn't flagged", vec![idr(), (vec![pic(false, I, 1)], false)], vec![true, false]),
        ("recovery point", vec![idr(), idr(), (vec![recovery(0), pic(false, I, 1)], false)], vec![true, true, true]),
        ("gradual recovery", vec![idr(), p(1, false), (vec![recovery(1), pic(false, P, 2)], true)], vec![true, false, true]),
        (
            "gradual recovery that isn't flagged",
            vec![idr(), p(1, false), (vec![recovery(1), pic(false, P, 2)], false)],
            vec![true, false, true],
        ),
        (
            "gradual recovery among IDR pictures",
            vec![idr(), p(1, false), idr(), (vec![recovery(1), pic(false, P, 2)], false)],
            vec![true, false, true, false],
        ),
    ];
    for (name, pictures, wanted) in table {
        let (mut assembler, mut out) = (Assembler::new(), Vec::new());
        for (index, (nals, flagged)) in pictures.iter().enumerate() {
            let first = if index == 0 { sets.clone() } else { Vec::new() };
            let nals = first.into_iter().chain(nals.iter().map(|nal| &nal[..])).collect::<Vec<_>>();
            assembler.push(at(index as i64 * 1000), *flagged, &message(&nals).into(), &mut out);
        }
        assembler.finish(&mut out);
        let got: Vec<bool> =
            out.iter().filter_map(|item| if let Assembled::Picture(picture) = item { Some(picture.key) } else { None }).collect();
        assert_eq!(got, wanted, "{name}");
    }
}

#[test]
fn viewers_will_notice() {
    let c = config(BASELINE);
    let idr = slice(BASELINE, head(true, 0));
    // PPS 0 of SPS 0 with two slice groups.
    let groups = [0x68, 0b1100_0100, 0x80];
    let turned = [6, 47, 3, 0x08, 0x00, 0x80, 0x80];
    let partition = [&[0x42][..], &idr[1..]].concat();
    for (nals, wanted) in [
        (vec![&c.sps[0][..], &groups, &idr], "SliceGroups"),
        (vec![&c.sps[0][..], &c.pps[0], &turned, &idr], "Rotated(90)"),
        (vec![&c.sps[0][..], &c.pps[0], &partition], "Partitions"),
    ] {
        let twice = [(0, true, message(&nals)), (40, true, message(&nals))];
        let (got, _) = run(&twice, &[]);
        assert_eq!(got.iter().filter(|text| *text == wanted).count(), 1, "{got:?}");
    }
}

#[test]
fn a_picture_of_one_slice_stays_where_it_is() {
    let (mut assembler, mut out) = (Assembler::new(), Vec::new());
    assembler.header(&header(HIGH), &mut out).unwrap();
    for (ms, lone) in [(0, true), (40, true), (80, false)] {
        let head = |first_mb| Head { first_mb, ..head(ms == 0, ms as u32 / 40) };
        let slices = [slice(HIGH, head(0)), slice(HIGH, head(10))];
        let nals: Vec<&[u8]> = slices.iter().take(if lone { 1 } else { 2 }).map(|slice| &slice[..]).collect();
        let sent: bytes::Bytes = message(&nals).into();
        assembler.push(at(ms), ms == 0, &sent, &mut out);
        assembler.finish(&mut out);
        let Some(Assembled::Picture(picture)) = out.iter().find(|item| matches!(item, Assembled::Picture(_))) else { panic!("{out:?}") };
        assert_eq!(picture.data.as_ptr() == sent.as_ptr(), lone, "{ms}");
        assert!(sent.starts_with(&picture.data));
        out.clear();
    }
}

proptest! {
    #[test]
    fn garbage_is_bounded(messages in prop::collection::vec((any::<i16>(), any::<bool>(), prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0x65), Just(0x67), any::<u8>()], 0..80)), 0..20), headers in any::<bool>()) {
        let (mut assembler, mut out) = (Assembler::new(), Vec::new());
        if headers {
            assembler.header(&header(HIGH), &mut out).unwrap();
        }
        let mut came = 0;
        for (ms, flagged, data) in messages {
            came += data.len();
            assembler.push(at(i64::from(ms)), flagged, &data.into(), &mut out);
        }
        assembler.finish(&mut out);
        let went: usize = out.iter().map(|item| if let Assembled::Picture(picture) = item { picture.data.len() } else { 0 }).sum();
        prop_assert!(went <= came * 5);
    }
}
