//! The lines of a session description (RFC 8866), as clients really write them.
//!
//! In: text. Out: the session's attributes and the `m=` sections with theirs. Lines that nothing here needs (`o=`, `s=`, `t=`, `c=` …) may be
//! missing or stand in any order; what is there must be lines of SDP. Names of attributes are in lower case afterwards; those that nobody
//! here asks for are left out, so that a text can't be made to weigh more than it says.

use super::error::{SdpError, WrongLine};

/// What `m=` lines may be about.
const MEDIA: [&str; 6] = ["audio", "video", "text", "application", "message", "image"];
/// Longest piece of a client's text in an error, in characters.
const MAX_SHOWN: usize = 60;
/// The attributes that offers are asked for.
const KNOWN: [&str; 25] = [
    "bundle-only",
    "candidate",
    "extmap",
    "fingerprint",
    "fmtp",
    "group",
    "ice-lite",
    "ice-options",
    "ice-pwd",
    "ice-ufrag",
    "inactive",
    "mid",
    "msid",
    "recvonly",
    "rid",
    "rtcp-fb",
    "rtcp-mux",
    "rtcp-mux-only",
    "rtcp-rsize",
    "rtpmap",
    "sendonly",
    "sendrecv",
    "setup",
    "ssrc",
    "ssrc-group",
];
/// Most lines with one of these attributes. Chromium's offer for audio and video has 170, with simulcast 190.
const MAX_ATTRIBUTES: usize = 2048;
/// Longest value of one, in bytes. The longest are H.264's parameter sets in `a=fmtp`, some hundreds.
const MAX_VALUE: usize = 2048;
/// Longest protocol or format of an `m=` line that is kept, in bytes: `UDP/TLS/RTP/SAVPF` has 17, `webrtc-datachannel` 18.
const MAX_WORD: usize = 64;
/// Most formats of an `m=` line that are kept: of RTP there are 128.
const MAX_FORMATS: usize = 128;

/// `a=key` or `a=key:value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    /// One of [`KNOWN`].
    pub(super) key: &'static str,
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
        let mut attributes = 0;
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
                    let (key, value) = (key.trim(), value.trim());
                    let Some(key) = KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(key)) else { continue };
                    attributes += 1;
                    if attributes > MAX_ATTRIBUTES {
                        return Err(wrong(WrongLine::TooMany { limit: MAX_ATTRIBUTES }));
                    }
                    if value.len() > MAX_VALUE {
                        return Err(wrong(WrongLine::TooLong { length: value.len(), limit: MAX_VALUE }));
                    }
                    let attribute = Attribute { key, value: value.to_owned() };
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
        let formats: Vec<String> = words.take(MAX_FORMATS).map(str::to_owned).collect();
        let short = [&protocol].into_iter().chain(&formats).all(|word| word.len() <= MAX_WORD);
        let good = MEDIA.contains(&media.as_str()) && !formats.is_empty() && short;
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
        let attribute = |key, value: &str| Attribute { key, value: value.into() };
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
