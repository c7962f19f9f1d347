//! Stream paths such as `live/cam1`: parsed once at the edge, never nonsense afterwards.

use std::sync::Arc;

/// First path segments that belong to headend itself; publishing there is refused.
pub(crate) const RESERVED_SEGMENTS: [&str; 8] = ["api", "vod", "ws", "socket.io", "static", "metrics", "healthz", "readyz"];

/// Most segments a path may have.
const MAX_SEGMENTS: usize = 8;
/// Longest segment, in bytes.
const MAX_SEGMENT_LEN: usize = 64;

/// Names a stream: 1–8 segments of `[A-Za-z0-9_.-]{1,64}`, none of them `.` or `..`, the first not reserved.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamPath(Arc<str>);

/// Why a text is not a [`StreamPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// No text at all.
    #[error("the stream path is empty; use something like live/cam1")]
    Empty,
    /// More than eight segments.
    #[error("the stream path has more than {MAX_SEGMENTS} segments")]
    TooManySegments,
    /// A segment that is empty, too long, `.`, `..`, or has a character outside `[A-Za-z0-9_.-]`.
    #[error("the stream path segment {0:?} is not 1 to {MAX_SEGMENT_LEN} characters of A-Z a-z 0-9 _ . - (and not . or ..)")]
    BadSegment(String),
    /// The first segment is one of [`RESERVED_SEGMENTS`].
    #[error("a stream path can't begin with {0:?}: headend uses that for itself")]
    Reserved(String),
}

impl StreamPath {
    /// Parses a path. Leading and trailing slashes are an error, as everything else that isn't a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        for (index, segment) in text.split('/').enumerate() {
            if index == MAX_SEGMENTS {
                return Err(PathError::TooManySegments);
            }
            let good = (1..=MAX_SEGMENT_LEN).contains(&segment.len())
                && segment != "."
                && segment != ".."
                && segment.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-'));
            if !good {
                return Err(PathError::BadSegment(segment.chars().take(MAX_SEGMENT_LEN).collect()));
            }
            if index == 0 && RESERVED_SEGMENTS.contains(&segment) {
                return Err(PathError::Reserved(segment.to_owned()));
            }
        }
        Ok(Self(text.into()))
    }

    /// The path as text, without slashes at the ends.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for StreamPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for StreamPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl std::str::FromStr for StreamPath {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text)
    }
}

impl serde::Serialize for StreamPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for StreamPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_paths() {
        for text in ["live/cam1", "a", "a/b/c/d/e/f/g/h", "A-b_c.9", "live/api"] {
            assert_eq!(StreamPath::parse(text).map(|p| p.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn bad_paths() {
        let long = "x".repeat(65);
        for text in
            ["", "/", "/a", "a/", "a//b", ".", "a/..", "../a", "a b", "ä", "a/b/c/d/e/f/g/h/i", "api", "api/x", "vod/1", &long, "a%2f"]
        {
            assert!(StreamPath::parse(text).is_err(), "{text}");
        }
    }
}
