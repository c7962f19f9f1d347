//! Which stream a connection is about: `app`, `tcUrl` and the stream name, as encoders split them, put together again.
//!
//! In: three texts from the peer. Out: a `StreamPath` and the keys shown with it, or a sentence saying what to change. People paste
//! addresses into fields that want a part of one, and clients cut addresses in places of their own; what names one stream beyond
//! doubt is understood.

use std::borrow::Cow;

use crate::base::{PathError, StreamPath, keys_in_query, percent_decode, query};

/// Media types that players put before names (`mp4:cam1`).
const PREFIXES: [&str; 10] = ["mp4", "flv", "mp3", "f4v", "m4v", "m4a", "mov", "id3", "raw", "smil"];
/// What comes along when a text is copied out of a command or a configuration.
const QUOTES: [(char, char); 6] = [('"', '"'), ('\'', '\''), ('`', '`'), ('<', '>'), ('“', '”'), ('‘', '’')];
/// The instance of an application that is meant where none is named.
const DEFAULT_INSTANCE: &str = "_definst_";
/// Most keys that are tried: three texts with a few readings each.
const MAX_KEYS: usize = 16;

/// What to publish or play, and with which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `<app>/<name>`.
    pub path: StreamPath,
    /// The likeliest key shown: of the name, else of the app, else of the tcUrl.
    pub key: Option<String>,
    /// What else may be meant, likeliest first: the same with another key; and where the client took a slash in a key for the
    /// end of the app, another path. To be looked at where `key` doesn't open `path`.
    pub otherwise: Vec<(StreamPath, Option<String>)>,
    /// Whether the name was not written as it should be, but understood: blanks around it, a whole address, `&` for `?`.
    pub mended: bool,
}

impl Target {
    /// Puts `<app>/<name>` together. Each of the three may have a query and escapes; slashes at the ends and double ones don't matter,
    /// nor does what can't be seen at the ends (blanks, line ends, NUL, byte order marks). With an empty name the app alone is the path
    /// (`rtmp://host/live/cam1` with an empty stream key); without an app that of the tcUrl is taken. A whole address as the name
    /// stands for itself. Quotes around a text, and the options that librtmp takes behind an address (`cam1 live=1`), are not part of it.
    pub fn parse(app: &str, tc_url: &str, name: &str) -> Result<Self, PathError> {
        let (app_part, url, name_part) = (Part::read(app), Part::read(tc_url), Part::read(name));
        let keys = keys_of([&name_part, &app_part, &url]);
        let stem = if app_part.segments.is_empty() && app_part.query.is_empty() && url.is_url { &url } else { &app_part };
        let path = if name_part.is_url && !name_part.segments.is_empty() {
            StreamPath::parse(&name_part.segments.join("/"))
        } else {
            joined(stem, &name_part)
        };
        let mut readings = Vec::new();
        if let Ok(path) = &path {
            readings.extend(keys.into_iter().map(|key| (path.clone(), Some(key))));
            if readings.is_empty() {
                readings.push((path.clone(), None));
            }
        }
        // `rtmp://host/live/cam1?token=a/b` comes as the app `live/cam1?token=a` with the name `b` from clients that look for the last slash.
        if !app_part.query.is_empty()
            && !name_part.is_url
            && !name_part.segments.is_empty()
            && let Ok(path) = joined(&app_part, &Part::default())
        {
            let query = format!("{}/{}", app_part.query, tidy(name));
            readings.extend(keys_in_query(&query).into_iter().take(MAX_KEYS).map(|key| (path.clone(), Some(key))));
        }
        if readings.is_empty() {
            path?;
        }
        let mut readings = readings.into_iter();
        let (path, key) = readings.next().ok_or(PathError::Empty)?;
        Ok(Self { path, key, otherwise: readings.collect(), mended: name_part.mended })
    }

    /// Everything that may be meant, likeliest first.
    pub fn readings(&self) -> impl Iterator<Item = (&StreamPath, Option<&str>)> {
        let first = std::iter::once((&self.path, self.key.as_deref()));
        first.chain(self.otherwise.iter().map(|(path, key)| (path, key.as_deref())))
    }

    /// Whether `app` could begin a path at all, so that a wrong one is refused at `connect` already.
    pub fn check_app(app: &str) -> Result<(), PathError> {
        let app = Part::read(app);
        if app.segments.is_empty() { Ok(()) } else { StreamPath::parse(&app.segments.join("/")).map(|_| ()) }
    }
}

fn joined(app: &Part, name: &Part) -> Result<StreamPath, PathError> {
    let mut segments: Vec<&str> = app.segments.iter().map(String::as_str).collect();
    if segments.len() > 1 && segments.last() == Some(&DEFAULT_INSTANCE) {
        segments.pop();
    }
    segments.extend(name.segments.iter().map(String::as_str));
    StreamPath::parse(&segments.join("/"))
}

/// All keys shown, each once: those of the queries before the passwords in front of hosts.
fn keys_of(parts: [&Part; 3]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    let queries = parts.iter().flat_map(|part| keys_in_query(&part.query));
    for key in queries.chain(parts.iter().flat_map(|part| part.passwords.clone())) {
        if keys.len() < MAX_KEYS && !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// One of the three texts, taken apart.
#[derive(Debug, Default)]
struct Part {
    /// What is between slashes, decoded.
    segments: Vec<String>,
    query: String,
    /// It was a whole address.
    is_url: bool,
    /// What the password in `user:password@` before the host may mean.
    passwords: Vec<String>,
    mended: bool,
}

impl Part {
    fn read(text: &str) -> Self {
        let tidied = tidy(text);
        // Some escape all of it, the scheme and the question mark too. Else a password is taken out before anything is decoded: it may have
        // every character that parts the rest.
        let unescaped = percent_decode(tidied);
        let whole = if is_address(tidied) || !is_address(&unescaped) { tidied } else { &unescaped };
        let (password, address) = without_authority(whole);
        let (path, query) = split_query(address.unwrap_or(whole));
        let (path, options) = split_options(path);
        let decoded = percent_decode(path);
        let (path, inner) = split_query(tidy(&decoded));
        let odd = !options.is_empty() || path.len() != decoded.len() || address.is_some() || has_ampersand(whole);
        let mut part = Self { mended: tidied != text || odd, is_url: address.is_some(), ..Self::default() };
        part.passwords = password.map(|password| query::readings(password).map(Cow::into_owned).collect()).unwrap_or_default();
        part.query = [inner, query].into_iter().filter(|query| !query.is_empty()).collect::<Vec<_>>().join("&");
        part.segments = path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
        if let Some(last) = part.segments.last_mut() {
            *last = without_prefix(last).to_owned();
        }
        if let Some(first) = part.segments.first_mut() {
            *first = without_prefix(first).to_owned();
        }
        part.segments.retain(|segment| !segment.is_empty());
        part
    }
}

/// Without what can't be seen at the ends, and quotes around it; what follows a NUL is not part of a text either.
fn tidy(text: &str) -> &str {
    let text = text.trim_matches(invisible);
    let text = text.split('\0').next().unwrap_or_default().trim_end_matches(invisible);
    let quoted = QUOTES.iter().find_map(|(open, close)| text.strip_prefix(*open)?.strip_suffix(*close));
    quoted.map_or(text, |inner| inner.trim_matches(invisible))
}

fn is_address(text: &str) -> bool {
    scheme_end(text).is_some()
}

/// Where `rtmp://` ends; or 0 before `host:1935/`, from which the scheme was left out.
fn scheme_end(text: &str) -> Option<usize> {
    if let Some((scheme, _)) = text.split_once("://") {
        let is_scheme = !scheme.is_empty() && scheme.bytes().all(|c| c.is_ascii_alphanumeric());
        return is_scheme.then_some(scheme.len() + 3);
    }
    let (host, rest) = text.split_once(':')?;
    let (port, _) = rest.split_once('/')?;
    let is_host = host.contains('.') && host.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-'));
    (is_host && is_port(port)).then_some(0)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit())
}

/// The password (or the user, where that stands alone) in front of an address's host, and what follows the host; `None` where it is none.
fn without_authority(text: &str) -> (Option<&str>, Option<&str>) {
    let Some(rest) = scheme_end(text).and_then(|end| text.get(end..)) else { return (None, None) };
    let end = |from: usize| rest[from..].find(['/', '?']).map_or(rest.len(), |at| from + at);
    let host_is_whole = |authority: &str| {
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let port = host.rsplit_once(']').map_or(host, |(_, port)| port).split_once(':').map(|(_, port)| port);
        port.is_none_or(is_port)
    };
    let mut at = end(0);
    // A password with a raw slash or question mark in it.
    if !host_is_whole(&rest[..at])
        && let Some(host) = rest.rfind('@')
    {
        at = end(host);
    }
    let (authority, path) = rest.split_at(at);
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    (user.map(|user| user.split_once(':').map_or(user, |(_, password)| password)), Some(path))
}

/// At the first blank, if what follows reads like `live=1`.
fn split_options(path: &str) -> (&str, &str) {
    let is_option = |rest: &str| {
        let name = rest.trim_start_matches(['-', ' ']).split_once('=').map_or("", |(name, _)| name);
        !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric())
    };
    path.split_once(char::is_whitespace).filter(|(_, rest)| is_option(rest)).unwrap_or((path, ""))
}

fn invisible(c: char) -> bool {
    // Byte order mark, zero-width and direction marks: they come along when text is copied.
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{FEFF}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}')
}

/// At the first `?`; or `&`, which can't be part of a path and is often written for it.
fn split_query(text: &str) -> (&str, &str) {
    text.split_once(['?', '&']).map_or((text, ""), |(path, query)| (path.trim_end_matches(invisible), query))
}

fn has_ampersand(text: &str) -> bool {
    text.find(['?', '&']).is_some_and(|at| text.as_bytes()[at] == b'&')
}

fn without_prefix(segment: &str) -> &str {
    match segment.split_once(':') {
        Some((prefix, rest)) if PREFIXES.contains(&prefix) => rest,
        _ => segment,
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
