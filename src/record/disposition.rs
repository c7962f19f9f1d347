//! `Content-Disposition` (RFC 6266): the name under which a download is kept.
//!
//! In: any name. Out: a header's value that no name can break out of: an ASCII name for old clients, and the real one (RFC 8187) where that
//! differs.

use std::fmt::Write;

/// Longest name, in bytes: what common file systems take.
const MAX_NAME: usize = 255;

/// An attachment of this name. Slashes become dashes; what file systems and shells choke on, underscores.
pub(super) fn attachment(name: &str) -> String {
    let cut = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MAX_NAME).last().unwrap_or(0);
    let (kept, extension) = if cut < name.len() { (cut.saturating_sub(4), ".mp4") } else { (cut, "") };
    let kept = (0..=kept).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    let name: String = name[..kept]
        .trim_matches([' ', '.', '/'])
        .chars()
        .map(|c| match c {
            '/' | '\\' => '-',
            '"' | '*' | ':' | '<' | '>' | '?' | '|' | '%' => '_',
            c if c.is_control() => '_',
            c => c,
        })
        .collect();
    let name = if name.is_empty() { format!("recording{extension}") } else { name + extension };
    let plain: String = name.chars().map(|c| if c.is_ascii() { c } else { '_' }).collect();
    let mut out = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        out.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            // `attr-char` of RFC 8187 section 3.2.1.
            if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        for (name, wanted) in [
            ("live/cam1.mp4", "filename=\"live-cam1.mp4\""),
            ("a b;c.mp4", "filename=\"a b;c.mp4\""),
            ("a\"b\\c.mp4", "filename=\"a_b-c.mp4\""),
            ("../../etc/passwd", "filename=\"etc-passwd\""),
            ("a\r\nSet-Cookie: x", "filename=\"a__Set-Cookie_ x\""),
            ("100%20.mp4", "filename=\"100_20.mp4\""),
            ("", "filename=\"recording\""),
            ("...", "filename=\"recording\""),
            ("Küche.mp4", "filename=\"K_che.mp4\"; filename*=UTF-8''K%C3%BCche.mp4"),
            ("日本 1.mp4", "filename=\"__ 1.mp4\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC%201.mp4"),
        ] {
            assert_eq!(attachment(name), format!("attachment; {wanted}"), "{name:?}");
        }
        let long = attachment(&format!("{}.mp4", "é".repeat(300)));
        assert!(long.contains(".mp4\"") && long.ends_with(".mp4"), "{long}");
    }

    proptest! {
        #[test]
        fn no_name_breaks_out(name: String) {
            let value = attachment(&name);
            prop_assert!(value.bytes().all(|byte| (0x20..0x7F).contains(&byte)));
            prop_assert_eq!(value.matches('"').count(), 2);
            prop_assert!(value.len() < 4 * MAX_NAME + 100);
        }
    }
}
