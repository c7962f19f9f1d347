//! The parent's side: children, and what runs in them for a stream.

pub(crate) mod segmenter;
pub(super) mod supervisor;
pub(super) mod template;
pub(super) mod transcoder;
