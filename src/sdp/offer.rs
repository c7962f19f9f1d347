//! A client's offer, read and checked for what a BUNDLEd, ICE-lite, DTLS-SRTP answer needs.

use super::media::OfferedMedia;
use super::text::{Attribute, Description, Section};
use super::{MAX_SDP_BYTES, SdpError, candidate};
use crate::base::MediaKind;
use crate::sfu::ortc::{DtlsFingerprint, DtlsParameters, DtlsRole, IceCandidate, IceParameters};

/// Most `m=` sections. A publisher or viewer here has one or two; a conference page could have more.
const MAX_SECTIONS: usize = 32;
/// Most candidates kept: an ICE-lite agent answers checks and never needs them, they are for logs.
const MAX_CANDIDATES: usize = 32;
/// Most fingerprints kept; clients send one.
const MAX_FINGERPRINTS: usize = 8;
/// Longest `mid`: what a one-byte header extension can carry (RFC 8285 section 4.2).
const MAX_MID_LEN: usize = 16;

/// An offer that can be answered.
#[derive(Debug, Clone)]
pub struct Offer {
    /// In the order of the offer; the answer must have as many in the same order.
    pub sections: Vec<OfferedSection>,
    /// Whether the offer groups its sections by BUNDLE (RFC 9143). Without, it has one section only.
    pub bundle: bool,
    /// The client's credentials.
    pub ice: IceParameters,
    /// Whether more candidates may follow by PATCH (`a=ice-options:trickle`).
    pub trickle: bool,
    /// The client's role and certificates.
    pub dtls: DtlsParameters,
    /// The client's candidates as far as the offer has them.
    pub candidates: Vec<IceCandidate>,
}

/// One `m=` section.
#[derive(Debug, Clone)]
pub struct OfferedSection {
    /// `a=mid`, at most 16 characters; there is none only in offers of one section without BUNDLE.
    pub mid: Option<String>,
    /// What it offers; `None` for what can only be rejected (data channels, unknown media or transports, port 0, outside BUNDLE).
    pub media: Option<OfferedMedia>,
    /// The media type of the `m=` line, to be repeated in a rejection.
    pub media_type: String,
    /// The transport of the `m=` line, to be repeated.
    pub protocol: String,
    /// The first format of the `m=` line, to be repeated in a rejection.
    pub first_format: String,
}

impl Offer {
    /// Reads an offer. Never panics, whatever the bytes are; what it keeps has at most a small multiple of the text's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, SdpError> {
        let session = Description::parse(check_text(bytes)?)?;
        let sections = &session.sections;
        if sections.is_empty() {
            return Err(SdpError::Missing { what: "m= sections", why: "there is nothing to send or receive" });
        }
        if sections.len() > MAX_SECTIONS {
            return Err(SdpError::TooManySections { count: sections.len(), limit: MAX_SECTIONS });
        }
        let mids = read_mids(sections)?;
        let group = read_bundle(&session, &mids)?;
        let in_bundle = |index: usize| match (&group, mids.get(index)) {
            (Some(group), Some(Some(mid))) => group.iter().any(|m| m == mid),
            (Some(_), _) => false,
            (None, _) => true,
        };
        let usable = |index: usize| sections.get(index).is_some_and(|s| is_offered(s) && in_bundle(index));
        if group.is_none() && sections.iter().filter(|s| is_offered(s)).count() > 1 {
            return Err(SdpError::Missing {
                what: "a=group:BUNDLE over its m= sections",
                why: "all media share one transport here (bundlePolicy \"max-bundle\", RFC 9725 section 4.2)",
            });
        }
        // The offerer-tagged section (the first of the group, RFC 9143 section 7.1) has the transport for all of them.
        let tagged = match group.as_ref().and_then(|g| g.first()) {
            Some(first) => mids.iter().position(|mid| mid.as_deref() == Some(first)),
            None => (0..sections.len()).find(|i| usable(*i)),
        };
        let transport = Transport { session: &session.attributes, tagged: tagged.and_then(|i| sections.get(i)), sections };
        let mut offered = Vec::with_capacity(sections.len());
        for (index, section) in sections.iter().enumerate() {
            let media = if usable(index) { read_media(&session.attributes, section)? } else { None };
            offered.push(OfferedSection {
                mid: mids.get(index).cloned().flatten(),
                media,
                media_type: section.media.clone(),
                protocol: section.protocol.clone(),
                first_format: section.formats.first().cloned().unwrap_or_else(|| "0".to_owned()),
            });
        }
        Ok(Self {
            sections: offered,
            bundle: group.is_some(),
            ice: transport.ice()?,
            // libdatachannel (OBS) separates the options by commas.
            trickle: transport.all("ice-options").any(|o| o.split([' ', ',']).any(|word| word.eq_ignore_ascii_case("trickle"))),
            dtls: transport.dtls()?,
            candidates: transport.all("candidate").filter_map(candidate::parse).take(MAX_CANDIDATES).collect(),
        })
    }
}

/// UTF-8 text of a bearable size without control characters other than line ends and tabs, so that whatever is echoed in an
/// answer can't add lines to it.
pub(super) fn check_text(bytes: &[u8]) -> Result<&str, SdpError> {
    if bytes.len() > MAX_SDP_BYTES {
        return Err(SdpError::TooLarge(bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| SdpError::NotUtf8)?;
    if let Some(at) = text.bytes().position(|c| c.is_ascii_control() && !matches!(c, b'\r' | b'\n' | b'\t')) {
        return Err(SdpError::ControlCharacter { at });
    }
    if let Some((at, _)) = text.match_indices('\r').find(|(at, _)| text.as_bytes().get(at + 1).is_some_and(|c| *c != b'\n')) {
        return Err(SdpError::LoneCarriageReturn { at });
    }
    Ok(text)
}

fn value<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    attributes.iter().find(|a| a.key == key).map(|a| a.value.as_str())
}

fn has(section: &Section, key: &str) -> bool {
    section.attributes.iter().any(|a| a.key == key)
}

/// Port 0 means "not offered" (RFC 3264 section 5.1), except in bundle-only sections (RFC 9143 section 6).
fn is_offered(section: &Section) -> bool {
    section.port != 0 || has(section, "bundle-only")
}

fn read_mids(sections: &[Section]) -> Result<Vec<Option<String>>, SdpError> {
    let mut mids: Vec<Option<String>> = Vec::with_capacity(sections.len());
    for section in sections {
        let mid = value(&section.attributes, "mid");
        if let Some(mid) = mid {
            let good = (1..=MAX_MID_LEN).contains(&mid.len()) && mid.bytes().all(is_token);
            if !good {
                return Err(SdpError::BadMid { mid: mid.chars().take(MAX_MID_LEN).collect(), limit: MAX_MID_LEN });
            }
            if mids.iter().any(|m| m.as_deref() == Some(mid)) {
                return Err(SdpError::MidTwice { mid: mid.to_owned() });
            }
        }
        mids.push(mid.map(str::to_owned));
    }
    Ok(mids)
}

/// `token-char` of RFC 8866 section 9.
fn is_token(c: u8) -> bool {
    c.is_ascii_graphic()
        && !matches!(c, b'"' | b'(' | b')' | b',' | b'/' | b':' | b';' | b'<' | b'=' | b'>' | b'?' | b'@' | b'[' | b'\\' | b']')
}

/// The mids of the (first) BUNDLE group, all of which exist.
fn read_bundle(session: &Description, mids: &[Option<String>]) -> Result<Option<Vec<String>>, SdpError> {
    let group = session.attributes.iter().filter(|a| a.key == "group").find_map(|a| {
        let mut words = a.value.split_ascii_whitespace();
        words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("BUNDLE"))
            .then(|| words.take(MAX_SECTIONS).map(str::to_owned).collect::<Vec<_>>())
    });
    let Some(group) = group.filter(|g| !g.is_empty()) else { return Ok(None) };
    match group.iter().find(|mid| !mids.contains(&Some((*mid).clone()))) {
        Some(mid) => Err(SdpError::UnknownMid { mid: mid.clone() }),
        None => Ok(Some(group)),
    }
}

/// `None` for media and transports that can only be rejected.
fn read_media(session: &[Attribute], section: &Section) -> Result<Option<OfferedMedia>, SdpError> {
    let kind = match section.media.as_str() {
        "audio" => MediaKind::Audio,
        "video" => MediaKind::Video,
        _ => return Ok(None),
    };
    const PROTOCOLS: [&str; 6] =
        ["UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "TCP/TLS/RTP/SAVPF", "TCP/TLS/RTP/SAVP", "RTP/SAVPF", "RTP/SAVP"];
    if !PROTOCOLS.iter().any(|known| known.eq_ignore_ascii_case(&section.protocol)) {
        return Ok(None);
    }
    // Session level does not count: RFC 5761 section 5.1.3 has it at media level.
    if !has(section, "rtcp-mux") && !has(section, "rtcp-mux-only") {
        return Err(SdpError::Missing { what: "a=rtcp-mux in a media section", why: "RTP and RTCP share one transport here (RFC 5761)" });
    }
    let payload_types: Vec<u8> = section.formats.iter().filter_map(|f| f.parse().ok()).filter(|pt| *pt < 128).take(128).collect();
    Ok(Some(OfferedMedia::read(kind, &payload_types, session, &section.attributes)))
}

/// Where the attributes of the one transport stand: in the offerer-tagged section, at session level, or (in offers of
/// less careful writers) in some other section.
struct Transport<'a> {
    session: &'a [Attribute],
    tagged: Option<&'a Section>,
    sections: &'a [Section],
}

impl<'a> Transport<'a> {
    fn places(&self) -> impl Iterator<Item = &'a [Attribute]> + use<'a> {
        let tagged = self.tagged.map(|s| s.attributes.as_slice());
        tagged.into_iter().chain([self.session]).chain(self.sections.iter().map(|s| s.attributes.as_slice()))
    }

    /// All values of an attribute in the first place that has any.
    fn all(&self, key: &'static str) -> impl Iterator<Item = &'a str> + use<'a> {
        let place = self.places().find(|place| value(place, key).is_some()).unwrap_or(&[]);
        place.iter().filter(move |a| a.key == key).map(|a| a.value.as_str())
    }

    fn ice(&self) -> Result<IceParameters, SdpError> {
        let why = "ICE can't check a connection without it (RFC 8839 section 5.4)";
        let ufrag = self.all("ice-ufrag").next().ok_or(SdpError::Missing { what: "a=ice-ufrag", why })?;
        let pwd = self.all("ice-pwd").next().ok_or(SdpError::Missing { what: "a=ice-pwd", why })?;
        check_ice(ufrag, pwd)?;
        let ice_lite = value(self.session, "ice-lite").is_some();
        if ice_lite {
            return Err(SdpError::IceLite);
        }
        Ok(IceParameters { username_fragment: ufrag.to_owned(), password: pwd.to_owned(), ice_lite })
    }

    fn dtls(&self) -> Result<DtlsParameters, SdpError> {
        let mut fingerprints = Vec::new();
        let mut refused = None;
        for text in self.all("fingerprint").take(MAX_FINGERPRINTS) {
            match read_fingerprint(text) {
                Some(fingerprint) => fingerprints.push(fingerprint),
                None => refused = Some(text.chars().take(100).collect::<String>()),
            }
        }
        if fingerprints.is_empty() {
            return Err(match refused {
                Some(text) => SdpError::BadFingerprint { text },
                None => SdpError::Missing { what: "a=fingerprint", why: "the media could not be encrypted (DTLS-SRTP, RFC 5763)" },
            });
        }
        let role = match self.all("setup").next().map(str::to_ascii_lowercase).as_deref() {
            // Without the attribute an offer means `active` (RFC 4145 section 4), and we wait in both cases.
            None | Some("actpass") => DtlsRole::Auto,
            Some("active") => DtlsRole::Client,
            Some("passive") => DtlsRole::Server,
            Some(other) => {
                return Err(SdpError::BadSetup { role: other.chars().take(20).collect() });
            }
        };
        Ok(DtlsParameters { role, fingerprints })
    }
}

/// `ice-ufrag` has 4 to 256 and `ice-pwd` 22 to 256 characters of `[A-Za-z0-9+/]` (RFC 8839 section 5.4). Some clients also
/// use `-` and `_`, which hurts nobody.
pub(super) fn check_ice(ufrag: &str, pwd: &str) -> Result<(), SdpError> {
    let good = |text: &str, min: usize| {
        (min..=256).contains(&text.len())
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'-' | b'_' | b'='))
    };
    if !good(ufrag, 4) {
        return Err(SdpError::BadUfrag);
    }
    if !good(pwd, 22) {
        return Err(SdpError::BadPwd);
    }
    Ok(())
}

/// RFC 8122 section 5; SHA-1 and older are refused.
fn read_fingerprint(text: &str) -> Option<DtlsFingerprint> {
    let (algorithm, value) = text.trim().split_once(' ')?;
    let algorithm = algorithm.to_ascii_lowercase();
    let bytes = match algorithm.as_str() {
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return None,
    };
    let value = value.trim().to_ascii_uppercase();
    let hex = |pair: &str| pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit());
    (value.split(':').count() == bytes && value.split(':').all(hex)).then_some(DtlsFingerprint { algorithm, value })
}
