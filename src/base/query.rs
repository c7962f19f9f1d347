//! What stands behind the `?` of an address, read alike whatever protocol brought it.
//!
//! In: the text between `?` and the end. Out: decoded values, and the keys that it shows.

/// Longest key that is looked at, in bytes. Signed tokens (JWT) have a few KiB.
const MAX_KEY_LEN: usize = 8 * 1024;
/// Parameters that show a key, best first. The password stands where other servers ask for a user and a password.
const KEY_NAMES: [&str; 4] = ["token", "key", "pass", "password"];

/// RFC 3986 section 2.1; what isn't a valid escape stays as it is, and so does `+`.
pub fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let escaped = (byte == b'%').then(|| Some((hex(ahead.next()?)?, hex(ahead.next()?)?))).flatten();
        match escaped {
            Some((high, low)) => {
                out.push(high << 4 | low);
                bytes = ahead;
            }
            None => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|d| d as u8)
}

/// The keys that a query may be showing, likeliest first and each once. People write keys into addresses with and without escapes, so one
/// text can be read in several ways: decoded; as it stands; with `+` for a blank, as forms have it; and, where a bare `&` may be a
/// part of the key, with all that follows. At most four per parameter name.
pub fn keys_in_query(query: &str) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for name in KEY_NAMES {
        let Some(at) = value_of(query, name) else { continue };
        let (value, rest) = (query[at..].split(['&', '?']).next().unwrap_or_default(), &query[at..]);
        if value.is_empty() || rest.len() > MAX_KEY_LEN {
            continue;
        }
        let readings = [percent_decode(value), value.to_owned(), percent_decode(&value.replace('+', " ")), percent_decode(rest)];
        for reading in readings {
            if !keys.contains(&reading) {
                keys.push(reading);
            }
        }
    }
    keys
}

/// Where the value of the first parameter `name` begins.
fn value_of(query: &str, name: &str) -> Option<usize> {
    let mut at = 0;
    for pair in query.split(['&', '?']) {
        if let Some((found, value)) = pair.split_once('=')
            && found == name
            && !value.is_empty()
        {
            return Some(at + found.len() + 1);
        }
        at += pair.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decoding() {
        for (text, want) in [("a%20b", "a b"), ("s+%2b%zz%", "s++%zz%"), ("%C3%A9é", "éé"), ("%ff", "\u{FFFD}"), ("", ""), ("%2", "%2")]
        {
            assert_eq!(percent_decode(text), want, "{text}");
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
        fn garbage_never_panics(text in "[token=key&?%+aé0-9]{0,60}") {
            let _ = (percent_decode(&text), keys_in_query(&text));
        }
    }
}
