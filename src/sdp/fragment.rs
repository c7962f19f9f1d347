//! Trickle-ICE fragments (`application/trickle-ice-sdpfrag`, RFC 8840 section 9), read and written.

use std::fmt::Write;

use super::offer::{Offer, check_ice, check_text};
use super::{SdpError, candidate};
use crate::sfu::ortc::{IceCandidate, IceParameters};

/// Most candidates of one fragment that are kept.
const MAX_CANDIDATES: usize = 32;

/// What a fragment says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The generation of ICE it is for; other than the session's current one, it asks for an ICE restart.
    pub ice: Option<IceParameters>,
    /// New candidates of the client.
    pub candidates: Vec<IceCandidate>,
    /// No more will come.
    pub end_of_candidates: bool,
}

impl Fragment {
    /// Reads a fragment: unlike in an offer, lines may stand without a session part. Lines of no interest are skipped, as
    /// RFC 8840 section 9.2 says.
    pub fn parse(bytes: &[u8]) -> Result<Self, SdpError> {
        let text = check_text(bytes)?;
        let mut fragment = Self::default();
        let (mut ufrag, mut pwd) = (None, None);
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            let mut chars = line.chars();
            if !matches!((chars.next(), chars.next()), (Some('a'..='z'), Some('='))) {
                return Err(SdpError::FragmentLine { line: line.chars().take(40).collect() });
            }
            let Some(attribute) = line.strip_prefix("a=") else { continue };
            let (key, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            match key {
                // The tagged section comes first and counts for all.
                "ice-ufrag" if ufrag.is_none() => ufrag = Some(value.to_owned()),
                "ice-pwd" if pwd.is_none() => pwd = Some(value.to_owned()),
                "candidate" if fragment.candidates.len() < MAX_CANDIDATES => fragment.candidates.extend(candidate::parse(value)),
                "end-of-candidates" => fragment.end_of_candidates = true,
                _ => {}
            }
        }
        fragment.ice = match (ufrag, pwd) {
            (Some(ufrag), Some(pwd)) => {
                check_ice(&ufrag, &pwd)?;
                Some(IceParameters { username_fragment: ufrag, password: pwd, ice_lite: false })
            }
            (None, None) => None,
            _ => {
                return Err(SdpError::Missing {
                    what: "a=ice-ufrag or a=ice-pwd",
                    why: "a fragment names both or neither (RFC 8840 section 9)",
                });
            }
        };
        Ok(fragment)
    }
}

/// What answers to an ICE restart say of the session: all that is kept of its offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FragmentHead(String);

impl FragmentHead {
    /// At most 32 mids and one `m=` line, less than 1 KB.
    pub(crate) fn of(offer: &Offer) -> Self {
        let mut out = String::from("a=ice-lite\r\n");
        let mut tagged = None;
        if offer.bundle {
            out.push_str("a=group:BUNDLE");
        }
        for section in offer.sections.iter().filter(|s| s.media.is_some()) {
            tagged.get_or_insert(section);
            if let (Some(mid), true) = (&section.mid, offer.bundle) {
                let _ = write!(out, " {mid}");
            }
        }
        if offer.bundle {
            out.push_str("\r\n");
        }
        if let Some(section) = tagged {
            let _ = write!(out, "m={} 9 {} {}\r\n", section.media_type, section.protocol, section.first_format);
            if let Some(mid) = &section.mid {
                let _ = write!(out, "a=mid:{mid}\r\n");
            }
        }
        out.shrink_to_fit();
        Self(out)
    }

    /// The answer to an ICE restart: our new credentials, with our candidates (RFC 9725 section 4.3.3).
    pub(crate) fn write(&self, ice: &IceParameters, candidates: &[IceCandidate]) -> String {
        let mut out = self.0.clone();
        let _ = write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ice.username_fragment, ice.password);
        candidates.iter().for_each(|c| candidate::write(&mut out, c));
        out.push_str("a=end-of-candidates\r\n");
        out
    }
}
