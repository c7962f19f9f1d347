//! Random identifiers that are safe in URLs and hard to guess.

/// An opaque identifier: 22 characters of `[A-Za-z0-9]`, about 131 bits, so that knowing it is permission enough
/// for a session resource (RFC 9725 section 4.1 asks for unguessable URLs). [`super::Lots::id`] makes one.
pub(crate) type Id = String;
