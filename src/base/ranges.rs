//! What a conditional or range request gets of a file (RFC 9110 sections 13 and 14).
//!
//! In: the request's headers as text, and the file's length, entity tag and time of last change. Out: which bytes of it, or why none. Pure.

use std::ops::Range;
use std::time::UNIX_EPOCH;

/// Most ranges of one request that are served; more than these are ignored together, as section 14.2 allows.
const MAX_RANGES: usize = 16;
/// Ranges nearer to each other than this, in bytes, are served as one: about what the head of a part takes.
const GAP: u64 = 80;

/// The headers that matter, as they came; each field is called as its header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Conditions<'a> {
    pub range: Option<&'a str>,
    pub if_range: Option<&'a str>,
    pub if_match: Option<&'a str>,
    pub if_none_match: Option<&'a str>,
    pub if_modified_since: Option<&'a str>,
    pub if_unmodified_since: Option<&'a str>,
}

/// What the file is now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version<'a> {
    /// Its entity tag, quotes included; a weak one begins with `W/`.
    pub etag: &'a str,
    /// When it last changed, in Unix seconds, if that is known.
    pub modified: Option<i64>,
    /// How many bytes it has; `None` where no range of it can be served.
    pub len: Option<u64>,
}

/// What to answer with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All of it: 200.
    Whole,
    /// These bytes: 206. One or more, none empty, none overlapping another.
    Parts(Vec<Range<u64>>),
    /// Nothing, the client has it: 304.
    NotModified,
    /// Nothing, the client wants another state of it: 412.
    Failed,
    /// Nothing, the range lies behind the end: 416.
    Unsatisfiable,
}

impl Conditions<'_> {
    /// Decides in the order of section 13.2.2.
    pub(crate) fn select(&self, version: Version<'_>) -> Selection {
        let Version { etag, modified, len } = version;
        match (self.if_match, self.if_unmodified_since.and_then(unix_seconds), modified) {
            (Some(tags), ..) if !tag_matches(tags, etag, false) => return Selection::Failed,
            (None, Some(time), Some(modified)) if modified > time => return Selection::Failed,
            _ => {}
        }
        match (self.if_none_match, self.if_modified_since.and_then(unix_seconds), modified) {
            (Some(tags), ..) if tag_matches(tags, etag, true) => return Selection::NotModified,
            (None, Some(time), Some(modified)) if modified <= time => return Selection::NotModified,
            _ => {}
        }
        let Some(len) = len else { return Selection::Whole };
        let fresh = self.if_range.is_none_or(|wanted| match wanted.trim() {
            tag if tag.starts_with('"') => tag == etag,
            date => modified.is_some() && unix_seconds(date) == modified,
        });
        parse_ranges(self.range.filter(|_| fresh), len)
    }
}

/// Whether every byte range of a `Range` header begins with the first byte, or there is none.
pub(crate) fn begins_at_the_start(range: Option<&str>) -> bool {
    match parse_ranges(range, u64::MAX) {
        Selection::Parts(parts) => parts.iter().all(|part| part.start == 0),
        Selection::Unsatisfiable => false,
        _ => true,
    }
}

/// Reads a `Range` header (section 14.2). What it can't make sense of asks for everything.
fn parse_ranges(header: Option<&str>, len: u64) -> Selection {
    let Some((unit, list)) = header.and_then(|header| header.trim().split_once('=')) else { return Selection::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Selection::Whole;
    }
    let mut ranges = Vec::new();
    let mut specs = 0;
    for spec in list.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
        specs += 1;
        let Some(range) = parse_range(spec, len).filter(|_| specs <= MAX_RANGES) else { return Selection::Whole };
        ranges.extend((!range.is_empty()).then_some(range));
    }
    match (specs, ranges.is_empty()) {
        (0, _) => Selection::Whole,
        (_, true) => Selection::Unsatisfiable,
        _ => Selection::Parts(coalesced(ranges)),
    }
}

/// One range, empty where it lies behind the end; `None` where it is none.
fn parse_range(spec: &str, len: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_once('-').map(|(first, last)| (first.trim(), last.trim()))?;
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    if first.is_empty() {
        return Some(len - number(last)?.min(len)..len);
    }
    let first = number(first)?;
    let end = if last.is_empty() { len } else { number(last).filter(|last| *last >= first)?.saturating_add(1).min(len) };
    Some(first.min(end)..end)
}

/// Joins what overlaps or nearly touches; the order of the request stays otherwise.
fn coalesced(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let near = |a: &Range<u64>, b: &Range<u64>| a.start <= b.end.saturating_add(GAP) && b.start <= a.end.saturating_add(GAP);
    let mut out: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for mut range in ranges {
        // At most sixteen: looking at all of them again is nothing.
        let mut place = out.len();
        while let Some(at) = out.iter().position(|other| near(other, &range)) {
            let other = out.remove(at);
            range = range.start.min(other.start)..range.end.max(other.end);
            place = place.min(at);
        }
        out.insert(place.min(out.len()), range);
    }
    out
}

/// Whether one of the tags in a list (or `*`) equals `etag`; weak ones compare equal only where `weak` allows it.
pub(crate) fn tag_matches(list: &str, etag: &str, weak: bool) -> bool {
    let opaque = |tag: &str| -> Option<String> {
        match tag.strip_prefix("W/") {
            Some(opaque) => weak.then(|| opaque.to_owned()),
            None => Some(tag.to_owned()),
        }
    };
    let wanted = opaque(etag);
    list.split(',').map(str::trim).any(|tag| tag == "*" || (tag.contains('"') && wanted.is_some() && opaque(tag) == wanted))
}

fn unix_seconds(date: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(date.trim()).ok()?;
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok())
}

/// A time as HTTP writes it (section 5.6.7); `None` before 1970 and after 9999.
pub(crate) fn http_date(unix_seconds: i64) -> Option<String> {
    const YEAR_10000: u64 = 253_402_300_800;
    let seconds = u64::try_from(unix_seconds).ok().filter(|seconds| *seconds < YEAR_10000)?;
    Some(httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ETAG: &str = "\"a\"";
    const MODIFIED: i64 = 1_700_000_000;

    fn select(conditions: Conditions<'_>) -> Selection {
        conditions.select(Version { etag: ETAG, modified: Some(MODIFIED), len: Some(1000) })
    }

    #[test]
    fn ranges() {
        use Selection::*;
        let parts = |list: &[(u64, u64)]| Parts(list.iter().map(|(start, end)| *start..*end).collect());
        for (header, wanted) in [
            (None, Whole),
            (Some("bytes=0-"), parts(&[(0, 1000)])),
            (Some("Bytes = 0-0"), parts(&[(0, 1)])),
            (Some("bytes=10-19"), parts(&[(10, 20)])),
            (Some(" bytes= 10 - 19 "), parts(&[(10, 20)])),
            (Some("bytes=990-1000"), parts(&[(990, 1000)])),
            (Some("bytes=990-99999999999999999999999"), parts(&[(990, 1000)])),
            (Some("bytes=-5"), parts(&[(995, 1000)])),
            (Some("bytes=-5000"), parts(&[(0, 1000)])),
            (Some("bytes=1000-"), Unsatisfiable),
            (Some("bytes=1000-2000"), Unsatisfiable),
            (Some("bytes=99999999999999999999999-"), Unsatisfiable),
            (Some("bytes=-0"), Unsatisfiable),
            (Some("bytes=5-4"), Whole),
            (Some("bytes=a-b"), Whole),
            (Some("bytes=-"), Whole),
            (Some("bytes=--5"), Whole),
            (Some("bytes=5"), Whole),
            (Some("bytes="), Whole),
            (Some("bytes=,"), Whole),
            (Some("bytes=+5-6"), Whole),
            (Some("bytes=0x5-6"), Whole),
            (Some("bytes 0-5"), Whole),
            (Some("items=0-1"), Whole),
            (Some("0-1"), Whole),
            (Some(""), Whole),
            // Several.
            (Some("bytes=0-1,500-501"), parts(&[(0, 2), (500, 502)])),
            (Some("bytes=500-501, 0-1"), parts(&[(500, 502), (0, 2)])),
            (Some("bytes=0-1,,5-6"), parts(&[(0, 7)])),
            (Some("bytes=0-600,500-999"), parts(&[(0, 1000)])),
            (Some("bytes=0-0,400-401,-1,200-500"), parts(&[(0, 1), (200, 501), (999, 1000)])),
            (Some("bytes=0-1,2000-"), parts(&[(0, 2)])),
            (Some("bytes=2000-,3000-"), Unsatisfiable),
            (Some("bytes=0-1,x"), Whole),
            (Some("bytes=0-1,9-5"), Whole),
            (Some(&format!("bytes={}", "0-,".repeat(MAX_RANGES))), parts(&[(0, 1000)])),
            (Some(&format!("bytes={}", "0-,".repeat(MAX_RANGES + 1))), Whole),
        ] {
            assert_eq!(select(Conditions { range: header, ..Conditions::default() }), wanted, "{header:?}");
        }
        let empty = Version { etag: ETAG, modified: None, len: Some(0) };
        assert_eq!(Conditions { range: Some("bytes=0-"), ..Conditions::default() }.select(empty), Unsatisfiable);
        let streamed = Version { len: None, ..empty };
        assert_eq!(Conditions { range: Some("bytes=0-5"), ..Conditions::default() }.select(streamed), Whole);
        for (header, start) in
            [(None, true), (Some("bytes=0-5"), true), (Some("bytes=5-"), false), (Some("bytes=-5"), false), (Some("x"), true)]
        {
            assert_eq!(begins_at_the_start(header), start, "{header:?}");
        }
    }

    #[test]
    fn conditions() {
        use Selection::*;
        let (then, before, later) = ("Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:19 GMT", "Wednesday, 15-Nov-23 22:13:20 GMT");
        let none = Conditions::default();
        let range = Conditions { range: Some("bytes=0-9"), ..none };
        let part = || Parts(std::iter::once(0..10).collect());
        for (conditions, wanted) in [
            (none, Whole),
            (Conditions { if_none_match: Some("\"a\""), ..range }, NotModified),
            (Conditions { if_none_match: Some("\"b\", W/\"a\""), ..none }, NotModified),
            (Conditions { if_none_match: Some("*"), ..none }, NotModified),
            (Conditions { if_none_match: Some("\"b\""), if_modified_since: Some(then), ..none }, Whole),
            (Conditions { if_none_match: Some("a"), ..none }, Whole),
            (Conditions { if_modified_since: Some(then), ..none }, NotModified),
            (Conditions { if_modified_since: Some(later), ..none }, NotModified),
            (Conditions { if_modified_since: Some("Tue Nov 14 22:13:20 2023"), ..none }, NotModified),
            (Conditions { if_modified_since: Some(before), ..none }, Whole),
            (Conditions { if_modified_since: Some("yesterday"), ..none }, Whole),
            (Conditions { if_match: Some("\"a\""), ..range }, part()),
            (Conditions { if_match: Some("\"b\""), ..range }, Failed),
            (Conditions { if_match: Some("W/\"a\""), ..range }, Failed),
            (Conditions { if_match: Some("*"), ..range }, part()),
            (Conditions { if_unmodified_since: Some(before), ..range }, Failed),
            (Conditions { if_unmodified_since: Some(then), ..range }, part()),
            (Conditions { if_match: Some("\"a\""), if_unmodified_since: Some(before), ..range }, part()),
            (Conditions { if_range: Some("\"a\""), ..range }, part()),
            (Conditions { if_range: Some("\"b\""), ..range }, Whole),
            (Conditions { if_range: Some("W/\"a\""), ..range }, Whole),
            (Conditions { if_range: Some(then), ..range }, part()),
            (Conditions { if_range: Some(later), ..range }, Whole),
            (Conditions { if_range: Some("nonsense"), ..range }, Whole),
            (Conditions { if_range: Some("\"a\""), ..none }, Whole),
        ] {
            assert_eq!(select(conditions), wanted, "{conditions:?}");
        }
        assert_eq!(http_date(MODIFIED).as_deref(), Some(then));
        assert_eq!((http_date(-1), http_date(i64::MAX)), (None, None));
    }

    #[test]
    fn tags() {
        for (list, etag, weak, same) in [
            ("\"a\", \"b\"", "\"b\"", false, true),
            ("*", "\"b\"", false, true),
            ("W/\"b\"", "\"b\"", true, true),
            ("\"b\"", "W/\"b\"", true, true),
            ("W/\"b\"", "\"b\"", false, false),
            ("W/\"b\"", "W/\"b\"", false, false),
            ("b", "\"b\"", true, false),
            ("", "\"b\"", true, false),
        ] {
            assert_eq!(tag_matches(list, etag, weak), same, "{list} {etag} {weak}");
        }
    }

    proptest! {
        #[test]
        fn parts_lie_within_and_apart(spec in "(bytes=)?[0-9,\\- ]{0,40}", len in 0u64..2000) {
            let conditions = Conditions { range: Some(&spec), ..Conditions::default() };
            if let Selection::Parts(parts) = conditions.select(Version { etag: ETAG, modified: None, len: Some(len) }) {
                prop_assert!(!parts.is_empty() && parts.len() <= MAX_RANGES);
                for (at, part) in parts.iter().enumerate() {
                    prop_assert!(part.start < part.end && part.end <= len);
                    prop_assert!(parts[at + 1..].iter().all(|other| other.end + GAP < part.start || part.end + GAP < other.start));
                }
            }
        }

        #[test]
        fn any_text_is_taken(text: String, other: String) {
            let conditions = Conditions {
                range: Some(&text), if_range: Some(&other), if_match: None, if_none_match: Some(&text),
                if_modified_since: Some(&other), if_unmodified_since: Some(&text),
            };
            let _ = select(conditions);
        }
    }
}
