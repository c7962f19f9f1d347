//! Floor 0: the words everything else is written in.
//!
//! In: nothing. Out: ids, stream paths, units, media kinds. No I/O, and no clock is read but through what a driver hands in.

mod budget;
mod chance;
mod clock;
#[cfg(test)]
mod clock_tests;
mod door;
mod id;
mod kind;
mod lock;
mod path;
mod pattern;
pub(crate) mod query;
pub(crate) mod ranges;
mod rounds;
mod setting;
mod source;
mod tries;
mod units;
mod vital;
mod wall;
pub(crate) mod wrap;

pub(crate) use budget::{Budget, Share};
pub use chance::seeded;
pub(crate) use chance::{Chance, Lots, random_text};
pub use clock::Clock;
#[cfg(test)]
pub(crate) use clock_tests::real_clock;
pub(crate) use door::{AtDoor, Door, Places};
pub(crate) use id::{Id, shown};
pub use kind::MediaKind;
pub(crate) use lock::{lock, read, write};
pub(crate) use path::PathError;
pub use path::StreamPath;
pub(crate) use pattern::pattern_matches;
pub(crate) use query::{keys_in_query, percent_decode};
pub(crate) use rounds::{MANY_STREAMS, Rounds};
pub(crate) use setting::{Bounds, Section, SettingError, duration_text};
pub(crate) use tries::{Look, Tries};
pub(crate) use units::{NtpTime, UnixNanos, date_time, rescale};
pub(crate) use vital::{Vital, Vitals};
pub(crate) use wall::{Now, Observed, Setting, Wall};
