//! The lines of a session description (RFC 8866), as clients really write them.
//!
//! In: text. Out: the session's attributes and the `m=` sections with theirs. Lines that nothing here needs (`o=`, `s=`, `t=`, `c=` …) may be
//! missing or stand in any order; what is there must be lines of SDP. Names of attributes are in lower case afterwards.

use super::error::{SdpError, WrongLine};

/// What `m=` lines may be about.
const MEDIA: [&str; 6] = ["audio", "video", "text", "application", "message", "image"];
/// Longest piece of a client's text in an error, in characters.
const MAX_SHOWN: usize = 60;

/// `a=key` or `a=key:value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) key: String,
    /// Empty where there is none.
    pub(super) value: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Description {
    /// What stands before the first section.
    pub(super) attributes: Vec<Attribute>,
    pub(super) sections: Vec<Section>,
}

/// An `m=` line and what belongs to it.
#[derive(Debug, Clone)]
pub(super) struct Section {
    /// In lower case.
    pub(super) media: String,
    pub(super) port: u16,
    /// As written, such as `UDP/TLS/RTP/SAVPF`.
    pub(super) protocol: String,
    /// Never empty.
    pub(super) formats: Vec<String>,
    pub(super) attributes: Vec<Attribute>,
}

impl Description {
    pub(super) fn parse(text: &str) -> Result<Self, SdpError> {
        let mut description = Self::default();
        for (number, line) in text.trim_start_matches('\u{FEFF}').lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
            let wrong = |wrong: WrongLine| SdpError::Line { number, line: line.chars().take(MAX_SHOWN).collect(), wrong };
            if line.is_empty() {
                continue;
            }
            let (kind, value) = match line.split_once('=') {
                Some((kind, value)) if kind.len() == 1 && kind.bytes().all(|c| c.is_ascii_alphabetic()) => (kind, value.trim()),
                _ => return Err(wrong(WrongLine::NoLine)),
            };
            match kind.to_ascii_lowercase().as_str() {
                "v" if value != "0" => return Err(wrong(WrongLine::Version)),
                "m" => description.sections.push(Section::parse(value).ok_or_else(|| wrong(WrongLine::Media))?),
                "a" => {
                    let (key, value) = value.split_once(':').unwrap_or((value, ""));
                    let attribute = Attribute { key: key.trim().to_ascii_lowercase(), value: value.trim().to_owned() };
                    description.sections.last_mut().map_or(&mut description.attributes, |section| &mut section.attributes).push(attribute);
                }
                _ => {}
            }
        }
        Ok(description)
    }
}

impl Section {
    fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let media = words.next()?.to_ascii_lowercase();
        // How many ports there are does not matter: with rtcp-mux it is one.
        let port = words.next()?.split('/').next()?.parse().ok()?;
        let protocol = words.next().filter(|protocol| protocol.split('/').all(|part| !part.is_empty()))?.to_owned();
        let formats: Vec<String> = words.map(str::to_owned).collect();
        let good = MEDIA.contains(&media.as_str()) && !formats.is_empty();
        good.then_some(Self { media, port, protocol, formats, attributes: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_clients_write_them() {
        let text = "\u{FEFF}A=Group:BUNDLE 0 \n\nm=Audio  9/2 UDP/TLS/RTP/SAVPF   111 \r\n a=RTPMAP: 111 opus/48000/2\na=Recvonly\n";
        let read = Description::parse(text).unwrap();
        let attribute = |key: &str, value: &str| Attribute { key: key.into(), value: value.into() };
        assert_eq!(read.attributes, [attribute("group", "BUNDLE 0")]);
        let section = &read.sections[0];
        assert_eq!((section.media.as_str(), section.port, section.protocol.as_str()), ("audio", 9, "UDP/TLS/RTP/SAVPF"));
        assert_eq!(section.formats, ["111"]);
        assert_eq!(section.attributes, [attribute("rtpmap", "111 opus/48000/2"), attribute("recvonly", "")]);
    }

    #[test]
    fn what_is_no_sdp_is_named_with_its_line() {
        for (text, line) in [
            ("hello", "line 1"),
            ("v=0\r\nhello", "line 2"),
            ("v=1\r\n", "line 1"),
            ("v=0\nab=c", "line 2"),
            ("v=0\n1=c", "line 2"),
            ("=", "line 1"),
            ("m=audio 9", "line 1"),
            ("m=audio x UDP/TLS/RTP/SAVPF 1", "line 1"),
            ("m=audio 70000 UDP/TLS/RTP/SAVPF 1", "line 1"),
            ("m=audio 9 UDP//RTP 1", "line 1"),
            ("m=smell 9 UDP/TLS/RTP/SAVPF 1", "line 1"),
            ("{\"sdp\":\"v=0\"}", "line 1"),
        ] {
            let error = Description::parse(text).unwrap_err().to_string();
            assert!(error.contains("can't be read") && error.contains(line), "{text}: {error}");
        }
    }
}
