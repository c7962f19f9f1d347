//! The whole server in virtual time, with seeded faults: what finds the faults that nobody has thought of.
//!
//! In: a seed. Out: a life of some publishers, viewers, a segmenter and a window, and every invariant that broke in it. No sockets, no
//! GStreamer, no clock: FLV tags go through `rtmp::ingest`, the timeline, the SFU's worker, the segmenter's pure parts and `package`, put
//! together as the drivers do it. Boxes are not written: a chunk's bytes say which units are in it. The recording is the list of chunks.
//!
//! A seed that fails is shown with how to replay it.
//!
//! That it finds faults: this one is found again when the line that mends it is taken out.
//!
//! | taken out | seed | what it says |
//! |---|---|---|
//! | `part.max(shortest(…))` in `Targets::new` | 24 | parts of 50 ms where 85 % of 68 are the least |

#![allow(clippy::unwrap_used, clippy::print_stderr)] // tests

mod connection;
mod core;
mod faults;
mod invariants;
mod publisher;
mod random;
mod segmenter;
mod server;
mod viewer;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;

/// What is broken in the life of a seed.
fn live(seed: u64, verbose: bool) -> (Vec<String>, BTreeMap<String, u64>) {
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, verbose);
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
        let (broken, counted) = live(seed, false);
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
    let (broken, counts) = live(seed, true);
    eprintln!("{counts:#?}");
    assert!(broken.is_empty(), "{broken:#?}");
}
