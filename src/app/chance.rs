//! The machine's chance: the one place where it is asked for.

use crate::base::Lots;

/// What all ids, credentials and first numbers come from.
#[allow(clippy::disallowed_methods)] // the one place
pub(super) fn lots() -> Lots {
    Lots::new(rand::make_rng())
}
