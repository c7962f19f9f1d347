//! Patterns of stream paths, as settings have them.

/// Whether `path` fits `pattern` segment by segment: `*` stands for any text within one, `**` at the end for one segment or more.
pub(crate) fn pattern_matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    let mut patterns = pattern.split('/').peekable();
    while let Some(wanted) = patterns.next() {
        if wanted == "**" && patterns.peek().is_none() {
            return segments.next().is_some();
        }
        match segments.next() {
            Some(segment) if segment_matches(wanted, segment) => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

/// `*` stands for any text, also none. Linear: each literal piece is looked for after the one before it.
fn segment_matches(pattern: &str, segment: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(rest) = pieces.next().and_then(|first| segment.strip_prefix(first)) else { return false };
    let mut rest = rest;
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("live/cam1", "live/cam1", true),
            ("live/cam1", "live/cam2", false),
            ("live/*", "live/cam1", true),
            ("live/*", "live/a/b", false),
            ("live/**", "live/a/b", true),
            ("live/**", "live", false),
            ("**", "a", true),
            ("**", "a/b/c", true),
            ("*", "a/b", false),
            ("live/cam*x", "live/cam12x", true),
            ("live/cam*x", "live/cam12", false),
            ("live/*a*b", "live/xxaxxb", true),
            ("live/*a*b", "live/b", false),
            ("live/ab*ab", "live/ab", false),
        ] {
            assert_eq!(pattern_matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
