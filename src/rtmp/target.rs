//! Which stream a connection is about: `app`, `tcUrl` and the stream name, as encoders split them, put together again.
//!
//! In: three texts from the peer. Out: a `StreamPath` and the key shown with it, or a sentence saying what to change.

use crate::base::{PathError, StreamPath};

/// What to publish or play, and with which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `<app>/<name>`.
    pub path: StreamPath,
    /// From `?token=` or `?key=`: of the name, else of the app, else of the tcUrl.
    pub key: Option<String>,
}

impl Target {
    /// Puts `<app>/<name>` together. Each of the three may have a query; slashes at the ends don't matter; with an empty name the app
    /// alone is the path (`rtmp://host/live/cam1` with an empty stream key). Prefixes such as `mp4:`, which players put before
    /// names, are left out.
    pub fn parse(app: &str, tc_url: &str, name: &str) -> Result<Self, PathError> {
        let (app, app_query) = split_query(app);
        let (name, name_query) = split_query(name);
        let (_, url_query) = split_query(tc_url);
        let name = ["mp4:", "flv:", "mp3:"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        let key = [name_query, app_query, url_query].into_iter().find_map(key_of);
        let (app, name) = (app.trim_matches('/'), name.trim_matches('/'));
        let path = match (app.is_empty(), name.is_empty()) {
            (false, false) => StreamPath::parse(&format!("{app}/{name}"))?,
            (true, _) => StreamPath::parse(name)?,
            (false, true) => StreamPath::parse(app)?,
        };
        Ok(Self { path, key })
    }

    /// Whether `app` could begin a path at all, so that a wrong one is refused at `connect` already.
    pub fn check_app(app: &str) -> Result<(), PathError> {
        match split_query(app).0.trim_matches('/') {
            "" => Ok(()),
            app => StreamPath::parse(app).map(|_| ()),
        }
    }
}

/// Longest key that is looked at, in bytes. Signed tokens (JWT) have a few KiB.
const MAX_KEY_LEN: usize = 8 * 1024;

fn split_query(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

fn key_of(query: &str) -> Option<String> {
    query.split(['&', '?']).find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let wanted = matches!(name, "token" | "key") && !value.is_empty() && value.len() <= MAX_KEY_LEN;
        wanted.then(|| percent_decode(value))
    })
}

/// RFC 3986 section 2.1; what isn't a valid escape stays as it is.
fn percent_decode(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_as_encoders_send_them() {
        let table = [
            // app, tcUrl, name, path, key
            ("live", "rtmp://h/live", "cam1", "live/cam1", None),
            ("live/", "rtmp://h/live/", "cam1", "live/cam1", None),
            ("live/x", "rtmp://h/live/x", "cam1", "live/x/cam1", None),
            ("live", "rtmp://h/live", "x/cam1", "live/x/cam1", None),
            ("live", "rtmp://h/live", "cam1?token=s3cret", "live/cam1", Some("s3cret")),
            ("live", "rtmp://h/live", "cam1?a=b&key=s%20%2b%zz", "live/cam1", Some("s +%zz")),
            ("live?token=app", "rtmp://h/live?token=url", "cam1", "live/cam1", Some("app")),
            ("live", "rtmp://h/live?token=url", "cam1?x=1", "live/cam1", Some("url")),
            ("live?token=app", "", "cam1?key=name", "live/cam1", Some("name")),
            ("live/cam1", "rtmp://h/live/cam1", "", "live/cam1", None),
            ("live/cam1", "rtmp://h/live/cam1", "?token=t", "live/cam1", Some("t")),
            ("", "rtmp://h/", "cam1", "cam1", None),
            ("vids", "", "mp4:cam1", "vids/cam1", None),
            ("live", "", "cam1?token=", "live/cam1", None),
        ];
        for (app, url, name, path, key) in table {
            let target = Target::parse(app, url, name).unwrap();
            assert_eq!((target.path.as_str(), target.key.as_deref()), (path, key), "{app} {url} {name}");
        }
    }

    #[test]
    fn refused_with_a_sentence() {
        for (app, name) in [("api", "x"), ("live", "../etc"), ("live", "a b"), ("", ""), ("live", "ä"), ("/", "/")] {
            assert!(Target::parse(app, "", name).is_err(), "{app}/{name}");
        }
        assert!(Target::check_app("live/x?token=1").is_ok());
        assert!(Target::check_app("").is_ok());
        assert!(Target::check_app("ws").is_err());
    }
}
