//! Reads media playlists as a strict player does.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A segment of a media playlist.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Segment {
    pub number: u64,
    pub discontinuity: u64,
    pub map: String,
    /// PROGRAM-DATE-TIME, ms of the day.
    pub pdt: Option<f64>,
    /// Seconds; 0 where the segment is not complete.
    pub duration: f64,
    /// Empty where it is not complete.
    pub uri: String,
    /// Duration (s), URI, INDEPENDENT.
    pub parts: Vec<(f64, String, bool)>,
}

/// A media playlist.
#[derive(Debug, Clone, Default)]
pub(crate) struct Playlist {
    pub target: f64,
    pub part_target: f64,
    pub sequence: u64,
    pub discontinuity_sequence: u64,
    pub skipped: u64,
    pub segments: Vec<Segment>,
    pub hint: Option<String>,
    /// URI, LAST-MSN, LAST-PART.
    pub reports: Vec<(String, u64, u64)>,
    pub ended: bool,
}

fn attribute<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = line.split_once(':')?.1;
    while !rest.is_empty() {
        let (key, tail) = rest.split_once('=')?;
        let (value, next) = match tail.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"')?;
                (&quoted[..end], quoted[end + 1..].strip_prefix(',').unwrap_or(""))
            }
            None => tail.split_once(',').unwrap_or((tail, "")),
        };
        if key == name {
            return Some(value);
        }
        rest = next;
    }
    None
}

fn time_of_day(text: &str) -> f64 {
    let time = text.split_once('T').unwrap().1.trim_end_matches('Z');
    let mut fields = time.split(':').map(|field| field.parse::<f64>().unwrap());
    let (h, m, s) = (fields.next().unwrap(), fields.next().unwrap(), fields.next().unwrap());
    ((h * 60.0 + m) * 60.0 + s) * 1000.0
}

/// Parses a media playlist; panics at what the specification forbids.
pub(crate) fn parse(text: &str) -> Playlist {
    let mut list = Playlist::default();
    let mut map = String::new();
    let mut discontinuity = 0;
    let mut open =
        Segment { number: 0, discontinuity: 0, map: String::new(), pdt: None, duration: 0.0, uri: String::new(), parts: Vec::new() };
    let fresh = open.clone();
    assert!(text.starts_with("#EXTM3U\n"), "{text}");
    for line in text.lines() {
        let value = line.split_once(':').map_or("", |(_, value)| value);
        if line.starts_with("#EXT-X-TARGETDURATION:") {
            list.target = value.parse().unwrap();
        } else if line.starts_with("#EXT-X-PART-INF:") {
            list.part_target = attribute(line, "PART-TARGET").unwrap().parse().unwrap();
        } else if line.starts_with("#EXT-X-MEDIA-SEQUENCE:") {
            list.sequence = value.parse().unwrap();
        } else if line.starts_with("#EXT-X-DISCONTINUITY-SEQUENCE:") {
            list.discontinuity_sequence = value.parse().unwrap();
            discontinuity = list.discontinuity_sequence;
        } else if line.starts_with("#EXT-X-SKIP:") {
            list.skipped = attribute(line, "SKIPPED-SEGMENTS").unwrap().parse().unwrap();
        } else if line == "#EXT-X-DISCONTINUITY" {
            discontinuity += 1;
        } else if line.starts_with("#EXT-X-MAP:") {
            map = attribute(line, "URI").unwrap().to_owned();
        } else if line.starts_with("#EXT-X-PROGRAM-DATE-TIME:") {
            open.pdt = Some(time_of_day(value));
        } else if line.starts_with("#EXT-X-PART:") {
            let duration = attribute(line, "DURATION").unwrap().parse().unwrap();
            open.parts.push((duration, attribute(line, "URI").unwrap().to_owned(), attribute(line, "INDEPENDENT") == Some("YES")));
        } else if line.starts_with("#EXTINF:") {
            open.duration = value.split(',').next().unwrap().parse().unwrap();
        } else if line.starts_with("#EXT-X-PRELOAD-HINT:") {
            list.hint = attribute(line, "URI").map(str::to_owned);
        } else if line.starts_with("#EXT-X-RENDITION-REPORT:") {
            let number = |name| attribute(line, name).unwrap().parse().unwrap();
            list.reports.push((attribute(line, "URI").unwrap().to_owned(), number("LAST-MSN"), number("LAST-PART")));
        } else if line == "#EXT-X-ENDLIST" {
            list.ended = true;
        } else if !line.starts_with('#') && !line.is_empty() {
            open.uri = line.to_owned();
            let number = list.sequence + list.skipped + list.segments.len() as u64;
            list.segments.push(Segment { number, discontinuity, map: map.clone(), ..open });
            open = fresh.clone();
        }
    }
    if !open.parts.is_empty() {
        let number = list.sequence + list.skipped + list.segments.len() as u64;
        list.segments.push(Segment { number, discontinuity, map, ..open });
    }
    list
}

impl Playlist {
    /// Media sequence number and part index of what comes next.
    pub(crate) fn next(&self) -> (u64, usize) {
        // What is hinted at may begin the next segment.
        let hinted = self.hint.as_deref().and_then(|hint| {
            let mut numbers = hint.split(['-', '.']).skip(1);
            Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        });
        if let Some(hinted) = hinted {
            return hinted;
        }
        match self.segments.last() {
            Some(last) if last.uri.is_empty() => (last.number, last.parts.len()),
            Some(last) => (last.number + 1, 0),
            None => (self.sequence, 0),
        }
    }
}

/// One kept-alive HTTP connection: what it takes to ask for a part the moment it is there.
pub(crate) struct Client {
    stream: TcpStream,
    port: u16,
}

impl Client {
    pub(crate) fn new(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream, port }
    }

    /// GET; status and body.
    pub(crate) fn get(&mut self, path: &str) -> (u16, Vec<u8>) {
        write!(self.stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", self.port).unwrap();
        let mut bytes = Vec::new();
        let mut more = |bytes: &mut Vec<u8>| {
            let mut buffer = [0; 65536];
            let n = self.stream.read(&mut buffer).unwrap();
            assert!(n > 0, "{path}: the connection broke off");
            bytes.extend(&buffer[..n]);
        };
        let head = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            more(&mut bytes);
        };
        let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
        let status = text.split_whitespace().nth(1).unwrap().parse().unwrap();
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length: ")).map(|length| length.trim().parse::<usize>().unwrap());
        if let Some(length) = length {
            while bytes.len() < head + length {
                more(&mut bytes);
            }
            return (status, bytes[head..head + length].to_vec());
        }
        assert!(text.contains("transfer-encoding: chunked"), "{text}");
        let mut body = Vec::new();
        let mut at = head;
        loop {
            let line = loop {
                if let Some(end) = bytes[at..].windows(2).position(|two| two == b"\r\n") {
                    break end;
                }
                more(&mut bytes);
            };
            let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..at + line]).unwrap(), 16).unwrap();
            at += line + 2;
            while bytes.len() < at + size + 2 {
                more(&mut bytes);
            }
            body.extend(&bytes[at..at + size]);
            at += size + 2;
            if size == 0 {
                return (status, body);
            }
        }
    }

    /// A file that must be there.
    pub(crate) fn file(&mut self, path: &str) -> Vec<u8> {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        body
    }

    /// A media playlist.
    pub(crate) fn playlist(&mut self, path: &str) -> Playlist {
        let body = self.file(path);
        parse(std::str::from_utf8(&body).unwrap())
    }
}
