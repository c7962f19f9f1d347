//! Keys and tokens as clients show them: in a query, percent-encoded or not.
//!
//! In: a query, or the text of a Bearer header. Out: what the text may mean. The rule, for every protocol alike: a key is kept as it was
//! written, and opens what any of its [`readings`] opens. So a secret with `+`, `%`, `&` or a blank in it works raw where the protocol lets
//! it through, percent-encoded (RFC 3986), and as a form writes it (`+` for a blank).

use std::borrow::Cow;

/// Parameters that show a key, best first. The password stands where other servers ask for a user and a password.
const NAMES: [&str; 4] = ["token", "key", "pass", "password"];
/// Longest key that is looked at, in bytes. Signed tokens (JWT) have a few KiB.
const MAX_KEY_LEN: usize = 8 * 1024;
/// Ends of a key that are tried: behind each of so many `&` and `?`, which may belong to it where somebody wrote it raw.
const MAX_ENDS: usize = 8;

/// The key in a query, as it was written, up to the end of the query: whether what follows the next `&` belongs to it is for [`readings`].
pub(crate) fn shown_key(query: &str) -> Option<&str> {
    NAMES.iter().find_map(|name| value_of(query, name))
}

/// Everything that a query may be showing, likeliest first and each once.
pub(crate) fn keys_in_query(query: &str) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for reading in NAMES.iter().filter_map(|name| value_of(query, name)).flat_map(readings) {
        if !keys.iter().any(|key| *key == reading) {
            keys.push(reading.into_owned());
        }
    }
    keys
}

/// The first parameter `name` that has a value, with all that follows it.
fn value_of<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut at = 0;
    for pair in query.split(['&', '?']) {
        if pair.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).is_some_and(|value| !value.is_empty()) {
            return query.get(at + name.len() + 1..);
        }
        at += pair.len() + 1;
    }
    None
}

/// A shown key up to its first `&` or `?`: all of it, unless it was written raw with one of them in it.
pub(crate) fn first_part(shown: &str) -> &str {
    &shown[..shown.find(['&', '?']).unwrap_or(shown.len())]
}

/// Everything that a shown key may mean, the likeliest first, none longer than 8 KiB.
pub(crate) fn readings(shown: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let ends = shown.match_indices(['&', '?']).map(|(at, _)| at).take(MAX_ENDS - 1).chain([shown.len()]);
    ends.filter(|end| (1..=MAX_KEY_LEN).contains(end)).flat_map(|end| {
        let raw = &shown[..end];
        let decoded = percent_decode(raw);
        let form = raw.contains('+').then(|| Cow::Owned(percent_decode(&raw.replace('+', " ")).into_owned()));
        let as_it_is = matches!(decoded, Cow::Owned(_)).then_some(Cow::Borrowed(raw));
        [Some(decoded), as_it_is, form].into_iter().flatten()
    })
}

/// RFC 3986 section 2.1; what isn't a valid escape stays as it is, as `+` does.
pub(crate) fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = match tail {
            [high, low, ..] if byte == b'%' => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        out.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Escapes everything but unreserved characters (RFC 3986 section 2.3): safe in a URL, a playlist's attribute and XML.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])));
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|d| d as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_in_queries() {
        for (query, wanted) in [
            ("token=abc", Some("abc")),
            ("a=1&key=k", Some("k")),
            ("token=&key=k", Some("k")),
            ("token=abc&_HLS_msn=3", Some("abc&_HLS_msn=3")),
            ("user=a&pass=b", Some("b")),
            ("mytoken=a", None),
            ("Token=a", None),
            ("token", None),
            ("token=", None),
            ("", None),
            ("a?token=x", Some("x")),
            ("token=a=b==", Some("a=b==")),
        ] {
            assert_eq!(shown_key(query), wanted, "{query}");
        }
        assert_eq!((first_part("a%26b&c"), first_part("abc"), first_part("a?b")), ("a%26b", "abc", "a"));
    }

    #[test]
    fn what_is_written_raw_or_encoded_or_by_a_form_is_among_the_readings() {
        for secret in
            ["abc", "a+b", "a/b==", "a&b", "a%b", "50%25", "a#b", "a?b", "a b", "a\"b", "it's", "<a>", "é", "a&b?c+d e%41", "日本"]
        {
            let encoded = percent_encode(secret);
            assert!(encoded.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._~%".contains(&c)), "{encoded}");
            let form = encoded.replace("%20", "+");
            for written in [secret, &encoded, &form] {
                let query = format!("x=1&token={written}");
                assert!(readings(shown_key(&query).unwrap()).any(|reading| reading == secret), "{secret:?} as {query:?}");
                let query = format!("{query}&_HLS_msn=7");
                assert!(readings(shown_key(&query).unwrap()).any(|reading| reading == secret), "{secret:?} as {query:?}");
            }
        }
    }

    #[test]
    fn keys_are_found_however_they_are_written() {
        let table: &[(&str, &[&str])] = &[
            ("token=abc", &["abc"]),
            ("a=b&key=abc", &["abc"]),
            ("token=abc&a=b", &["abc", "abc&a=b"]),
            ("token=a%2Bb", &["a+b", "a%2Bb"]),
            ("token=a+b", &["a+b", "a b"]),
            ("token=a=b==", &["a=b=="]),
            ("token=a/b", &["a/b"]),
            ("token=a&b", &["a", "a&b"]),
            ("token=a%26b", &["a&b", "a%26b"]),
            ("token=50%", &["50%"]),
            ("token=é", &["é"]),
            ("token=%C3%A9", &["é", "%C3%A9"]),
            ("key=k&token=t", &["t", "k", "k&token=t"]),
            ("user=u&pass=p", &["p"]),
            ("x?token=t", &["t"]),
            ("token=&key=k", &["k"]),
            ("token=", &[]),
            ("tokens=t", &[]),
            ("", &[]),
        ];
        for (query, want) in table {
            assert_eq!(keys_in_query(query), *want, "{query}");
        }
        assert!(keys_in_query(&format!("token={}", "x".repeat(MAX_KEY_LEN + 1))).is_empty());
    }

    #[test]
    fn escapes() {
        for (text, wanted) in [
            ("a%20b", "a b"),
            ("%zz%2", "%zz%2"),
            ("100%", "100%"),
            ("%2B+", "++"),
            ("%C3%A9é", "éé"),
            ("", ""),
            ("s+%2b%zz%", "s++%zz%"),
            ("%ff", "\u{FFFD}"),
        ] {
            assert_eq!(percent_decode(text), wanted, "{text}");
        }
    }

    proptest! {
        /// The written key is among the readings, whether its writer escaped it or not.
        #[test]
        fn any_key_is_among_its_readings(key in "\\PC{1,20}") {
            let escaped: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
            for query in [format!("a=b&token={escaped}"), format!("a=b&token={escaped}&c=d")] {
                prop_assert!(keys_in_query(&query).contains(&key), "{}", query);
            }
            if !key.starts_with(['&', '?']) && !key.contains('%') {
                prop_assert!(keys_in_query(&format!("a=b&token={key}")).contains(&key), "{}", key);
            }
        }

        #[test]
        fn any_text_survives_its_escapes(text: String, more: String) {
            let encoded = percent_encode(&text);
            prop_assert_eq!(percent_decode(&encoded), text.as_str());
            let _ = shown_key(&more).map(|shown| readings(shown).count());
            prop_assert!(readings(&more).count() <= 3 * MAX_ENDS);
            let _ = percent_decode(&more);
        }
    }
}
