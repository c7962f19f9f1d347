//! Floor 6: recordings: crash-safe store, catalogue, retention, VOD views.
//!
//! In: the CMAF tracks of a stream as its segmenter makes them. Out: files below `recordings/<id>/`, the list of them, and
//! the same bytes as progressive MP4, HLS and DASH. No protocol, no HTTP: [`VodResponse`] is what the HTTP floor sends.
//!
//! # On disk
//! - `meta.json`: [`Meta`], rewritten whole (temporary file, rename) at the start, with each new epoch and at the end.
//! - `track-<n>-e<epoch>.mp4`: initialization and fragments of track `n`; each epoch has a file of its own.
//! - `index-<n>`: append-only, what lies where in those files (see [`index`]). Written after the data and synced after it.
//!
//! # URLs, below `/vod/`
//! - `<id>.mp4`: progressive MP4, with Range, also while recording.
//! - `<id>/index.m3u8`, `<id>/track-<n>.m3u8`: HLS. `<id>/manifest.mpd`: DASH.
//! - `<id>/track-<n>-e<epoch>-init.mp4`, `<id>/track-<n>-e<epoch>-t<decode time>.m4s`: what both of them refer to; never changes.

mod aging;
mod catalogue;
mod config;
mod dash;
mod disposition;
mod downloads;
pub(crate) mod driver;
mod error;
mod hls;
mod id;
pub(crate) mod index;
mod meta;
mod mp4;
mod request;
mod retention;
mod session;
mod view;
mod vod;

pub(crate) use catalogue::Recording;
pub(crate) use config::RecordConfig;
pub(crate) use error::RecordError;
pub use id::RecordingId;
#[cfg(test)]
pub(crate) use meta::{Meta, State, TrackMeta};
pub(crate) use request::{VodBody, VodRequest};
pub(crate) use session::RecordEvent;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
