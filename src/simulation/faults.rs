//! What goes wrong in a life, and when.
//!
//! In: a seed's random numbers. Out: plans. A third of all lives has no fault at all: what holds for them is stricter.

use super::random::Random;
use super::{MS, SECOND};
use crate::base::MediaKind;

/// What a publisher does otherwise than it should, at a time of its media (ns since it began).
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// Nothing is sent for so long; then all of it at once.
    Stall(i64),
    /// Nothing is made for so long, of one kind or of both.
    Hole(i64, Option<MediaKind>),
    /// Stamps jump by so many ms and stay there.
    Jump(i64),
    /// One stamp is so many ms off.
    Outlier(i64, MediaKind),
    /// So many stamps are the same.
    Same(i64, MediaKind),
    /// One composition offset in ms.
    Composition(i64),
    /// Other parameters from the next key frame on (pictures), or at once (sound).
    Format(MediaKind),
    /// Other parameters with every unit, for so long; pictures are key frames meanwhile.
    Storm(MediaKind, i64),
    /// Bytes that make no sense.
    Garbage(MediaKind),
}

/// What happens to the server, at a time of the simulation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble {
    /// The segmenter's child dies.
    KillChild,
    /// The segmenter reads nothing for so long.
    Late(i64),
    /// The wall clock is set by so much.
    WallStep(i64),
    /// The operator ends the publication.
    Evict,
}

/// A fault in the server that the invariants have to find: it is planted where two parts of it meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plant {
    /// A byte is lost behind a chunk header of type 3 with an extended timestamp.
    LostByte,
    /// The wall clock that media is put on runs away from the real one.
    Drift,
    /// A viewer isn't sent some packets.
    LostPackets,
    /// The window isn't given a part.
    LostPart,
    /// A playlist says another TARGETDURATION after a while.
    OtherTarget,
    /// The recorder is given what comes after a reconnect twice.
    RecordedTwice,
}

/// How one publisher sends.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Pictures a second, between key frames, B-frames in a row.
    pub video: Option<(f64, u64, u64)>,
    /// Sampling rate and channels.
    pub audio: Option<(u32, u8)>,
    /// The first stamp in ms, and how many bits stamps have.
    pub first_stamp: i64,
    pub bits: u32,
    /// By how much stamps run faster than time.
    pub drift: f64,
    /// How much faster than real time it sends.
    pub speed: f64,
    /// The first key frame is missing.
    pub headless: bool,
    pub faults: Vec<(i64, Fault)>,
    /// Media time after which it goes.
    pub lasts: i64,
    /// How long after it went another one comes; `None`: nobody. Negative: while it is there.
    pub next_after: Option<i64>,
}

#[derive(Debug)]
pub(super) struct Script {
    pub plant: Option<Plant>,
    pub clean: bool,
    pub lasts: i64,
    pub publishers: Vec<(i64, Plan)>,
    /// Somebody who publishes on another path.
    pub other: Option<(i64, Plan)>,
    /// When the machine dies, as far as the recordings are concerned.
    pub crash_at: Option<i64>,
    /// Whether what is published is recorded.
    pub records: bool,
    pub troubles: Vec<(i64, Trouble)>,
    pub viewers: u64,
    pub window_bytes: usize,
    pub segment: i64,
    pub part: i64,
    pub on_conflict: crate::stream::OnConflict,
}

impl Script {
    /// Whether parts of each of its tracks can keep to 85 to 100 % of `part_target`: not where a sound frame is longer than a part, or
    /// one picture is too short and two are too long.
    pub(super) fn fits(&self, part_target: i64) -> bool {
        let fits = |each: f64| {
            let most = ((part_target - MS) as f64 / each).floor();
            most >= 1.0 && most * each >= part_target as f64 * 0.85 + 2.0 * MS as f64
        };
        self.publishers.iter().chain(&self.other).all(|(_, plan)| {
            let sound = plan.audio.is_none_or(|(rate, _)| [rate, 44_100, 48_000].iter().all(|rate| fits(1024e9 / f64::from(*rate))));
            sound && plan.video.is_none_or(|(fps, ..)| fits(1e9 / fps) || fps < 5.0) && plan.drift == 1.0
        })
    }

    pub(super) fn new(random: &mut Random) -> Self {
        let clean = random.chance(33);
        let lasts = random.range(12, 40) * SECOND;
        let mut publishers = Vec::new();
        let mut at = random.range(0, SECOND);
        let usual = plan(random, clean, lasts);
        let mut now = usual.clone();
        loop {
            let next = now.next_after.filter(|_| publishers.len() < 5);
            let end = at + (now.lasts as f64 / now.speed) as i64;
            publishers.push((at, now));
            let Some(next) = next else { break };
            at = (end + next).max(at + 100 * MS);
            if at > lasts {
                break;
            }
            now = if random.chance(50) { usual.clone() } else { plan(random, clean, lasts) };
            now.next_after = next_after(random, clean);
        }
        let mut troubles = Vec::new();
        for _ in 0..if clean { 0 } else { random.range(0, 3) } {
            let trouble = match random.range(0, 5) {
                0 | 1 => Trouble::KillChild,
                2 => Trouble::Late(random.range(100, 6000) * MS),
                3 => Trouble::WallStep(random.pick(&[-3600 * SECOND, -5 * SECOND, -300 * MS, 300 * MS, 5 * SECOND, 3600 * SECOND])),
                _ => Trouble::Evict,
            };
            troubles.push((random.range(SECOND, lasts), trouble));
        }
        troubles.sort_by_key(|(at, _)| *at);
        let (segment, part) = random.pick(&[(2000, 200), (2000, 200), (2000, 200), (1000, 100), (4000, 500), (500, 50), (6000, 1000)]);
        let mut script = Self {
            plant: None,
            clean,
            lasts,
            publishers,
            other: None,
            crash_at: None,
            records: true,
            troubles,
            viewers: random.next() % 4,
            window_bytes: if random.chance(10) { 40_000 } else { 256 << 20 },
            segment: segment * MS,
            part: part * MS,
            on_conflict: random.pick(&[
                crate::stream::OnConflict::WhenSilent,
                crate::stream::OnConflict::WhenSilent,
                crate::stream::OnConflict::TakeOver,
                crate::stream::OnConflict::Refuse,
            ]),
        };
        if random.chance(7) {
            script.other = Some((random.range(0, lasts / 2), plan(random, clean, lasts)));
        }
        if random.chance(20) {
            script.crash_at = Some(random.range(SECOND, lasts));
        } else {
            script.records = random.chance(60);
        }
        script
    }
}

fn next_after(random: &mut Random, clean: bool) -> Option<i64> {
    let returns = random.chance(if clean { 30 } else { 55 });
    returns
        .then(|| random.pick(&[-3 * SECOND, -500 * MS, 0, 20 * MS, 500 * MS, 2 * SECOND, 5 * SECOND, 9900 * MS, 10_100 * MS, 15 * SECOND]))
}

fn plan(random: &mut Random, clean: bool, life: i64) -> Plan {
    let rates = [30.0, 25.0, 30.0, 24_000.0 / 1001.0, 30_000.0 / 1001.0, 15.0, 50.0, 60.0, 10.0, 5.0, 2.0, 1.0, 120.0];
    let fps = random.pick(&rates[..if clean { 8 } else { rates.len() }]);
    let gops: [f64; 9] = [2.0, 1.0, 2.0, 4.0, 0.5, 10.0, 8.3, 1e9, 0.0];
    let gop = (random.pick(&gops[..if clean { 5 } else { gops.len() }]) * fps).clamp(1.0, 1e9) as u64;
    let video = random.chance(85).then(|| (fps, gop, random.pick(&[0, 0, 0, 1, 2, 3])));
    let audio = (video.is_none() || random.chance(80))
        .then(|| (random.pick(&[48_000, 44_100, 48_000, 32_000, 22_050, 16_000, 8_000, 96_000]), random.pick(&[2, 2, 1])));
    let first_stamp = if clean || random.chance(70) {
        random.pick(&[0, 0, 0, 1234, 5_000_000])
    } else {
        (1i64 << random.pick(&[24, 31, 32])) - random.range(100, 20_000)
    };
    let bits = if clean { 63 } else { random.pick(&[63, 63, 32, 32, 24]) };
    let mut faults = Vec::new();
    if !clean {
        let kind = |random: &mut Random| random.pick(&[MediaKind::Video, MediaKind::Audio]);
        for _ in 0..random.range(0, 5) {
            let sign = random.pick(&[-1, 1]);
            let fault = match random.range(0, 10) {
                0 => Fault::Stall(random.pick(&[100, 500, 1900, 2500, 5000, 12_000]) * MS),
                1 => {
                    let of = random.pick(&[None, Some(MediaKind::Video), Some(MediaKind::Audio)]);
                    Fault::Hole(random.pick(&[50, 100, 400, 1000, 2500, 3500, 8000]) * MS, of)
                }
                2 | 3 => Fault::Jump(sign * random.pick(&[10, 100, 450, 600, 1500, 5000, 60_000, 86_400_000, 1 << 31])),
                4 => Fault::Outlier(sign * random.pick(&[10, 100, 600, 3000, 100_000, 1 << 30]), kind(random)),
                5 => Fault::Same(random.range(1, 20), kind(random)),
                6 => Fault::Composition(random.pick(&[-40, -200, -5000, 7000, 9000, 8_388_607, -8_388_608])),
                7 => Fault::Format(kind(random)),
                8 => Fault::Storm(kind(random), 6 * SECOND),
                _ => Fault::Garbage(kind(random)),
            };
            faults.push((random.range(0, life), fault));
        }
        faults.sort_by_key(|(at, _)| *at);
    }
    Plan {
        video,
        audio,
        first_stamp,
        bits,
        drift: if clean || random.chance(80) { 1.0 } else { random.pick(&[0.75, 0.9, 0.99, 1.001, 1.01, 1.1, 1.25]) },
        speed: if clean || random.chance(90) { 1.0 } else { random.pick(&[1.1, 2.0, 10.0]) },
        headless: !clean && random.chance(5),
        faults,
        lasts: if random.chance(60) { life } else { random.range(300 * MS, life) },
        next_after: next_after(random, clean),
    }
}
