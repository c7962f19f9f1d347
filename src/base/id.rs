//! Random identifiers that are safe in URLs and hard to guess.

use super::chance::random_text;

/// An opaque identifier: 22 characters of `[A-Za-z0-9]`, about 131 bits, so that knowing it is permission enough
/// for a session resource (RFC 9725 section 4.1 asks for unguessable URLs).
pub(crate) type Id = String;

/// Makes a new random [`Id`].
pub(crate) fn random_id() -> Id {
    random_text(&mut rand::make_rng(), 22)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_url_safe_and_differ() {
        let (a, b) = (random_id(), random_id());
        assert_eq!(a.len(), 22);
        assert!(a.bytes().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(a, b);
    }
}
