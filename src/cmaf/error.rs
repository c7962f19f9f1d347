//! Why bytes are not the CMAF we can use.

use super::four_cc::FourCc;

/// Why bytes are not the CMAF we can use. Offsets are counted from the start of the bytes given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CmafError {
    /// The bytes end inside a box; with more of the file this could be whole.
    #[error("box {name} at byte {offset} needs {need} bytes, but only {have} are there: the file is cut off")]
    Truncated {
        name: FourCc,
        /// Where it begins.
        offset: usize,
        /// How many bytes it declares.
        need: u64,
        /// How many there are.
        have: usize,
    },
    /// A box that must be there is not.
    #[error("there is no {name} box in {parent}")]
    Missing {
        name: FourCc,
        /// Where it was looked for (`file` at the top).
        parent: &'static str,
    },
    /// A box contradicts itself or another one.
    #[error("box {name} is damaged: {why}")]
    Damaged {
        name: FourCc,
        /// What was wrong.
        why: &'static str,
    },
    /// Well formed, but not CMAF as a segmenter here makes it.
    #[error("box {name} is not usable: {why}")]
    Unsupported {
        name: FourCc,
        /// What it asks for, and what is expected instead.
        why: &'static str,
    },
}
