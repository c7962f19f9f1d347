//! Every fuzz target over mutations of its seeds and over noise, the same ones in every run: a second of what `cargo fuzz` does for hours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

#[path = "../fuzz/src/lib.rs"]
mod targets;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Mutations per target: all targets together stay below a few seconds in an unoptimized build.
const ROUNDS: usize = 10_000;
/// Longest noise.
const NOISE: usize = 600;

fn mutate(random: &mut StdRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = match seeds {
        [] => Vec::new(),
        seeds => seeds[random.random_range(0..seeds.len())].clone(),
    };
    if bytes.is_empty() || random.random_range(0..8) == 0 {
        let len = random.random_range(0..NOISE);
        return (0..len).map(|_| random.random()).collect();
    }
    for _ in 0..random.random_range(1..8) {
        let at = random.random_range(0..bytes.len().max(1));
        match random.random_range(0..7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), random.random()),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            4 if at < bytes.len() => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][random.random_range(0..5)],
            5 => {
                let to = (at + random.random_range(0..64)).min(bytes.len());
                let piece = bytes[at.min(to)..to].to_vec();
                let into = random.random_range(0..=bytes.len());
                bytes.splice(into..into, piece);
            }
            _ => {
                let to = (at + 4).min(bytes.len());
                let word = random.random::<u32>().to_be_bytes();
                bytes[at.min(to)..to].iter_mut().zip(word).for_each(|(byte, new)| *byte = new);
            }
        }
    }
    bytes
}

#[test]
fn no_input_is_too_much() {
    for (name, target) in targets::TARGETS {
        let seeds = targets::seeds(name);
        assert!(!seeds.is_empty() && seeds.iter().all(|seed| !seed.is_empty()), "{name} has nothing to begin from");
        seeds.iter().for_each(|seed| target(seed));
        let mut random = StdRng::seed_from_u64(0x5EED);
        for round in 0..ROUNDS {
            let input = mutate(&mut random, &seeds);
            let result = std::panic::catch_unwind(|| target(&input));
            assert!(result.is_ok(), "{name} panics, round {round}, on these {} bytes: {input:02x?}", input.len());
        }
    }
}
