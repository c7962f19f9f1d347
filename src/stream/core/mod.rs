//! What is decided about a stream: who publishes it, which form of which track a consumer gets, what is made for whom, when it ends.
//!
//! In: what publishers, viewers and transcoders do, with the time. Out: answers, and [`Action`]s to be carried out in their order.
//! It reads no clock, waits for nothing and holds no lock; what belongs to the driver (a parked writer `W`, a transcode at work `G`) it keeps
//! for it and gives back. After each call the driver compares [`StreamCore::version`] and [`StreamCore::starts`], which say that those
//! who wait should look again, and [`StreamCore::poll_timeout`], at which it calls [`StreamCore::handle_timeout`].

mod conflict;
mod derivations;
mod http_viewers;
mod parked;
mod placement;
mod publisher;
mod selection;
mod stream;
#[cfg(test)]
mod stream_tests;
mod target;
mod tracks;
mod viewers;
#[cfg(test)]
mod walk_tests;
mod warnings;

pub(crate) use conflict::{Heard, LastMedia};
pub(crate) use derivations::Running;
pub(crate) use placement::worker_for_viewer;
pub(crate) use publisher::{Generation, Newcomer};
pub(crate) use stream::{Action, Begin, Begun, Event, NoForm, Replace, Rules, Selected, StreamCore, ToStart};
pub(crate) use tracks::Replacement;
pub(crate) use warnings::Warned;

pub(crate) use selection::Otherwise;
pub(crate) use selection::Wanted;
pub use target::TranscodeTarget;
pub(crate) use target::Why;
pub(crate) use tracks::Track;
pub(crate) use viewers::ViewerCounts;
pub(crate) use warnings::Warning;
