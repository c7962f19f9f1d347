//! File descriptors: how many this process may have, and which of them are not for strangers.
//!
//! In: a descriptor that was just made. Out: whether it is one of the last. Nothing is counted: the kernel gives the lowest number that is
//! free (POSIX.1-2017, XSH 2.6), so a high one says that all below it are taken.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Fewest that are kept: a dozen recordings of two tracks, and some children that begin.
const LEAST_RESERVE: u64 = 64;

/// Raises the number of descriptors that this process may have to the most that the system lets it have; gives that, nothing where there is
/// no bound.
///
/// # Errors
/// As `setrlimit(2)`.
pub(crate) fn raise_limit() -> io::Result<Option<u64>> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(maximum)
}

/// The limit with which as many descriptors can be given to peers, and the reserve is left.
pub(crate) fn limit_for(wanted: u64) -> u64 {
    wanted.saturating_add((wanted / 9 + 1).max(LEAST_RESERVE))
}

/// Whether a descriptor is one of those that are kept for recordings and children: a tenth, and no fewer than 64 (of a limit below 128, half).
/// Whoever made it for a peer gives it back at once.
pub(crate) fn is_of_reserve(descriptor: &impl AsFd) -> bool {
    let number = u64::try_from(descriptor.as_fd().as_raw_fd()).unwrap_or(0);
    getrlimit(Resource::Nofile).current.is_some_and(|limit| number >= limit - reserve(limit))
}

fn reserve(limit: u64) -> u64 {
    (limit / 10).max(LEAST_RESERVE).min(limit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_kept_and_what_is_wanted_fits_beside_it() {
        for (limit, kept) in [(0, 0), (1, 0), (64, 32), (100, 50), (256, 64), (640, 64), (1024, 102), (20_000, 2000)] {
            assert_eq!(reserve(limit), kept, "{limit}");
        }
        for wanted in (0..3000).chain([25_000, 1_000_000]) {
            let limit = limit_for(wanted);
            assert!(limit < 2 * LEAST_RESERVE || limit - reserve(limit) >= wanted, "{wanted}");
        }
        assert_eq!(limit_for(u64::MAX), u64::MAX);
    }

    #[test]
    fn the_last_numbers_are_the_reserve() {
        let limit = raise_limit().unwrap().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, Some(limit));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_of_reserve(&file));
        let last = rustix::io::fcntl_dupfd_cloexec(&file, i32::try_from(limit).unwrap() - 1).unwrap();
        assert!(is_of_reserve(&last));
    }
}
