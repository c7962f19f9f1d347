//! The whole server in virtual time, with seeded faults: what finds the faults that nobody has thought of.
//!
//! In: a seed. Out: a life of some publishers, viewers, a segmenter, a window and a recorder, and every invariant that broke in it. No
//! sockets, no GStreamer, no clock: encoders write RTMP's bytes, which go through `rtmp::session` and `rtmp::ingest`, the timeline, the
//! SFU's worker, the segmenter's pure parts, `package` and `record`, put together as the drivers do it. A muxer of the simulation's own
//! writes boxes whose samples say which units they are; recordings are read again as players read them.
//!
//! A seed that fails is shown with how to replay it.
//!
//! That it finds faults: `planted_faults_are_found` plants some where parts of the server meet ([`faults::Plant`]). And this is found
//! again when the line that mends it is taken out:
//!
//! | taken out | seed | what it says |
//! |---|---|---|
//! | `part.max(shortest(…))` in `Targets::new` | 24 | parts of 50 ms where 85 % of 68 are the least |

#![allow(clippy::unwrap_used, clippy::print_stderr)] // tests

mod client;
mod connection;
mod core;
mod faults;
mod invariants;
mod muxer;
mod publication;
mod publisher;
mod random;
mod recording;
mod segmenter;
mod server;
mod viewer;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use faults::Plant;
use world::World;

const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;

/// What is broken in the life of a seed.
fn live(seed: u64, plant: Option<Plant>, verbose: bool) -> (Vec<String>, BTreeMap<String, u64>) {
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, plant, verbose);
        world.run();
        world.result()
    }));
    lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        (vec![format!("panicked: {}", text.unwrap_or_default())], BTreeMap::new())
    })
}

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Lives of `count` seeds from `first` on.
fn lives(first: u64, count: u64) {
    let mut counts = BTreeMap::<String, u64>::new();
    let mut failed = Vec::new();
    for seed in first..first + count {
        let (broken, counted) = live(seed, None, false);
        for (what, count) in counted {
            *counts.entry(what).or_default() += count;
        }
        if let Some(what) = broken.first() {
            eprintln!("seed {seed}: {what}\n  SIMULATION_SEED={seed} cargo test --lib simulation::replay -- --nocapture");
            failed.push(seed);
        }
    }
    eprintln!("{counts:#?}");
    assert!(failed.is_empty(), "{} of {count} lives failed: {failed:?}", failed.len());
}

/// The usual seeds, in parts that run beside each other.
macro_rules! usual_lives {
    ($($name:ident: $first:literal,)*) => { $(
        #[test]
        fn $name() {
            lives($first, 100);
        }
    )* };
}

usual_lives! {
    lives_from_0: 0,
    lives_from_100: 100,
    lives_from_200: 200,
    lives_from_300: 300,
    lives_from_400: 400,
    lives_from_500: 500,
    lives_from_600: 600,
    lives_from_700: 700,
    lives_from_800: 800,
    lives_from_900: 900,
}

/// What is planted is found within these seeds, and said so.
#[test]
fn planted_faults_are_found() {
    for (plant, says) in [
        (Plant::LostByte, "message stream"),
        (Plant::Drift, "ahead of the wall clock"),
        (Plant::LostPackets, "no key frame begins there"),
        (Plant::LostPart, "isn't what the segmenter made"),
        (Plant::OtherTarget, "TARGETDURATION"),
        (Plant::RecordedTwice, "the recording's"),
    ] {
        let found = (0..60).find(|seed| live(*seed, Some(plant), false).0.iter().any(|what| what.contains(says)));
        eprintln!("{plant:?}: seed {found:?}");
        assert!(found.is_some(), "{plant:?} was not found");
    }
}

/// `make simulate`: `SIMULATION_SEEDS` lives from `SIMULATION_FIRST` on.
#[test]
fn many_lives() {
    let Some(count) = environment("SIMULATION_SEEDS") else { return };
    lives(environment("SIMULATION_FIRST").unwrap_or(0), count);
}

/// Shows the steps of `SIMULATION_SEED`.
#[test]
fn replay() {
    let Some(seed) = environment("SIMULATION_SEED") else { return };
    let (broken, counts) = live(seed, None, true);
    eprintln!("{counts:#?}");
    assert!(broken.is_empty(), "{broken:#?}");
}
