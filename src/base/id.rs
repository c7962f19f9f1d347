//! Random identifiers that are safe in URLs and hard to guess.

/// An opaque identifier: 22 characters of `[A-Za-z0-9]`, about 131 bits, so that knowing it is permission enough
/// for a session resource (RFC 9725 section 4.1 asks for unguessable URLs). [`super::Lots::id`] makes one.
pub(crate) type Id = String;

/// Characters of an id that may be shown: enough to tell sessions apart in a log, and far from enough to end one.
const SHOWN: usize = 6;

/// What may be shown of an id.
pub(crate) fn shown(id: &str) -> &str {
    id.get(..SHOWN).unwrap_or_default()
}
