//! Floor 0: the words everything else is written in.
//!
//! In: nothing. Out: ids, stream paths, units, media kinds. No I/O, no clock reading.

mod chance;
mod id;
mod kind;
mod lock;
mod path;
pub mod query;
pub mod ranges;
mod units;
pub mod wrap;

pub use chance::{Chance, random_text, seeded};
pub use id::{Id, random_id};
pub use kind::MediaKind;
pub use lock::{lock, read, write};
pub use path::{PathError, RESERVED_SEGMENTS, StreamPath};
pub use query::{keys_in_query, percent_decode};
pub use units::{NtpTime, UnixNanos, rescale};
