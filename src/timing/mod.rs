//! Floor 3: media time and order, the one owner of both.
//!
//! In: times as publishers and RTP give them, with the time of arrival. Out: times on the wall clock that never go back, and what was
//! mended on the way. What an ingest knows (decoding time, composition offset, key flag) is kept and travels with the packets
//! ([`crate::rtp::batch::UnitFacts`]); it is derived here only for sources that can't know it. Pure: time is an argument.

mod audio_clock;
mod drift;
mod media_clock;
mod order;
mod picture_order;
mod rate_watch;
mod stamp_rate;
mod timeline;

pub(crate) use audio_clock::AudioClock;
pub(crate) use media_clock::MediaClock;
pub(crate) use order::{Order, TooShallow};
pub(crate) use picture_order::PictureOrder;
pub(crate) use rate_watch::Beside;
pub(crate) use stamp_rate::StampRate;
pub(crate) use timeline::{Mended, Timeline};
