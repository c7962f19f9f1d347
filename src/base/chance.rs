//! Chance as an argument: what is decided by lot comes from a generator that is handed in, so that a simulation replays.
//!
//! In: a seed, drawn by a driver. Out: ids, credentials, numbers to begin with.

use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::id::Id;
use super::lock::lock;

/// A generator whose numbers can't be guessed from those before (credentials are made of them).
pub(crate) type Chance = StdRng;

/// A generator that gives the same for the same seed: for tests and simulations.
pub fn seeded(seed: u64) -> Chance {
    Chance::seed_from_u64(seed)
}

/// Gives everybody a generator of their own, all of them made from one. Cheap to clone; clones share what is left.
#[derive(Debug, Clone)]
pub(crate) struct Lots(Arc<Mutex<Chance>>);

impl Lots {
    pub(crate) fn new(chance: Chance) -> Self {
        Self(Arc::new(Mutex::new(chance)))
    }

    pub(crate) fn draw(&self) -> Chance {
        Chance::from_rng(&mut *lock(&self.0))
    }

    pub(crate) fn id(&self) -> Id {
        random_text(&mut lock(&self.0), 22)
    }
}

/// So many characters of `[A-Za-z0-9]`, about 6 bits each.
pub(crate) fn random_text(chance: &mut Chance, len: usize) -> String {
    chance.sample_iter(rand::distr::Alphanumeric).take(len).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same() {
        let text = |seed| random_text(&mut seeded(seed), 22);
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
        let (one, other) = (Lots::new(seeded(4)), Lots::new(seeded(4)));
        let drawn = [one.id(), one.clone().id(), random_text(&mut one.draw(), 22), random_text(&mut one.draw(), 22)];
        assert_eq!(drawn, [other.id(), other.id(), random_text(&mut other.draw(), 22), random_text(&mut other.draw(), 22)]);
        assert_eq!(drawn.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert!(text(3).len() == 22 && text(3).bytes().all(|c| c.is_ascii_alphanumeric()));
    }
}
