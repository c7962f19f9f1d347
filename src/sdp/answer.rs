//! Answers, written.

use std::fmt::Write;

use super::candidate;
use super::offer::{Offer, OfferedSection};
use crate::sfu::ortc::{CodecSpecificParameters, DtlsParameters, DtlsRole, IceCandidate, IceParameters, ParameterValue, RtpParameters};

/// What becomes of one offered section.
#[derive(Debug, Clone)]
pub enum SectionAnswer {
    /// Not taken, now or later: port 0 (RFC 3264 section 6).
    Rejected,
    /// The transport is shared, but no media flows (a stream without that kind of track).
    Inactive,
    /// We receive what the client sends (`a=recvonly`).
    Receive(RtpParameters),
    /// We send (`a=sendonly`).
    Send {
        /// What is sent.
        parameters: RtpParameters,
        /// The stream id of `a=msid`: tracks with the same one play in sync.
        stream_id: String,
        /// The track id of `a=msid`.
        track_id: String,
    },
}

/// Everything an answer says. `sections` must have as many entries as the offer.
#[derive(Debug, Clone)]
pub struct Answer<'a> {
    /// The offer it answers.
    pub offer: &'a Offer,
    /// Session id of the `o=` line; numeric (RFC 8866 section 5.2).
    pub session_id: u64,
    /// Our credentials.
    pub ice: &'a IceParameters,
    /// All our candidates: none come later, `a=end-of-candidates` follows them.
    pub candidates: &'a [IceCandidate],
    /// Our certificate. The role follows from the offer's.
    pub dtls: &'a DtlsParameters,
    /// One for each section of the offer, in its order.
    pub sections: &'a [SectionAnswer],
}

impl Answer<'_> {
    /// The text.
    pub fn write(&self) -> String {
        let mut out = String::with_capacity(4096);
        let _ = write!(out, "v=0\r\no=- {} 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", self.session_id);
        out.push_str("a=ice-lite\r\n");
        let answers: Vec<(&OfferedSection, SectionAnswer)> =
            self.offer.sections.iter().enumerate().map(|(i, section)| (section, self.answer_of(i, section))).collect();
        if self.offer.bundle {
            out.push_str("a=group:BUNDLE");
            for (section, answer) in &answers {
                if let (Some(mid), false) = (&section.mid, matches!(answer, SectionAnswer::Rejected)) {
                    let _ = write!(out, " {mid}");
                }
            }
            out.push_str("\r\n");
        }
        out.push_str("a=msid-semantic: WMS *\r\n");
        // The candidates of the bundle stand in the answerer-tagged section, which is the first accepted one.
        let mut with_candidates = true;
        for (section, answer) in &answers {
            match answer {
                SectionAnswer::Rejected => write_rejected(&mut out, section),
                SectionAnswer::Inactive => {
                    let codecs = section.media.as_ref().and_then(|m| m.placeholder()).unwrap_or_default();
                    self.write_section(&mut out, section, "inactive", &codecs, with_candidates);
                }
                SectionAnswer::Receive(parameters) => self.write_section(&mut out, section, "recvonly", parameters, with_candidates),
                SectionAnswer::Send { parameters, stream_id, track_id } => {
                    self.write_section(&mut out, section, "sendonly", parameters, with_candidates);
                    let _ = write!(out, "a=msid:{stream_id} {track_id}\r\n");
                    write_sources(&mut out, parameters, stream_id, track_id);
                }
            }
            with_candidates &= matches!(answer, SectionAnswer::Rejected);
        }
        out
    }

    /// What was decided, except that a section without anything usable in it can't even be inactive.
    fn answer_of(&self, index: usize, section: &OfferedSection) -> SectionAnswer {
        let placeholder = section.media.as_ref().and_then(|m| m.placeholder());
        match (self.sections.get(index), &section.media) {
            (None, _) | (_, None) => SectionAnswer::Rejected,
            (Some(SectionAnswer::Inactive), _) if placeholder.is_none() => SectionAnswer::Rejected,
            (Some(answer), _) => answer.clone(),
        }
    }

    fn write_section(&self, out: &mut String, section: &OfferedSection, direction: &str, parameters: &RtpParameters, candidates: bool) {
        let _ = write!(out, "m={} 9 {}", section.media_type, section.protocol);
        for codec in &parameters.codecs {
            let _ = write!(out, " {}", codec.payload_type);
        }
        out.push_str("\r\nc=IN IP4 0.0.0.0\r\n");
        if let Some(mid) = &section.mid {
            let _ = write!(out, "a=mid:{mid}\r\n");
        }
        let _ = write!(out, "a={direction}\r\na=rtcp-mux\r\n");
        if section.media.as_ref().is_some_and(|m| m.rtcp_rsize) {
            out.push_str("a=rtcp-rsize\r\n");
        }
        let _ = write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", self.ice.username_fragment, self.ice.password);
        for fingerprint in &self.dtls.fingerprints {
            let _ = write!(out, "a=fingerprint:{} {}\r\n", fingerprint.algorithm, fingerprint.value);
        }
        // Ours is the other role; where the client leaves the choice we wait, so that its first flight meets a ready server.
        let setup = if self.offer.dtls.role == DtlsRole::Server { "active" } else { "passive" };
        let _ = write!(out, "a=setup:{setup}\r\n");
        if candidates {
            self.candidates.iter().for_each(|c| candidate::write(out, c));
            out.push_str("a=end-of-candidates\r\n");
        }
        write_formats(out, parameters);
    }
}

fn write_rejected(out: &mut String, section: &OfferedSection) {
    let _ = write!(out, "m={} 0 {} {}\r\nc=IN IP4 0.0.0.0\r\n", section.media_type, section.protocol, section.first_format);
    if let Some(mid) = &section.mid {
        let _ = write!(out, "a=mid:{mid}\r\n");
    }
    out.push_str("a=inactive\r\n");
}

fn write_formats(out: &mut String, parameters: &RtpParameters) {
    for codec in &parameters.codecs {
        let pt = codec.payload_type;
        let name = codec.mime_type.split_once('/').map_or(codec.mime_type.as_str(), |(_, name)| name);
        let _ = write!(out, "a=rtpmap:{pt} {name}/{}", codec.clock_rate);
        match codec.channels {
            Some(channels) if channels > 1 => {
                let _ = write!(out, "/{channels}\r\n");
            }
            _ => out.push_str("\r\n"),
        }
        write_fmtp(out, pt, &codec.parameters);
        for feedback in &codec.rtcp_feedback {
            let space = if feedback.parameter.is_empty() { "" } else { " " };
            let _ = write!(out, "a=rtcp-fb:{pt} {}{space}{}\r\n", feedback.kind, feedback.parameter);
        }
    }
    for extension in &parameters.header_extensions {
        let _ = write!(out, "a=extmap:{} {}\r\n", extension.id, extension.uri);
    }
}

fn write_fmtp(out: &mut String, payload_type: u8, parameters: &CodecSpecificParameters) {
    for (index, (name, value)) in parameters.iter().enumerate() {
        if index == 0 {
            let _ = write!(out, "a=fmtp:{payload_type} ");
        } else {
            out.push(';');
        }
        let _ = match value {
            ParameterValue::Number(number) => write!(out, "{name}={number}"),
            ParameterValue::Text(text) => write!(out, "{name}={text}"),
        };
    }
    if !parameters.is_empty() {
        out.push_str("\r\n");
    }
}

/// `a=ssrc` and `a=ssrc-group:FID` (RFC 5576) of what we send.
fn write_sources(out: &mut String, parameters: &RtpParameters, stream_id: &str, track_id: &str) {
    for encoding in &parameters.encodings {
        let Some(ssrc) = encoding.ssrc else { continue };
        let rtx = encoding.rtx.map(|rtx| rtx.ssrc);
        if let Some(rtx) = rtx {
            let _ = write!(out, "a=ssrc-group:FID {ssrc} {rtx}\r\n");
        }
        for ssrc in [Some(ssrc), rtx].into_iter().flatten() {
            if let Some(cname) = &parameters.rtcp.cname {
                let _ = write!(out, "a=ssrc:{ssrc} cname:{cname}\r\n");
            }
            let _ = write!(out, "a=ssrc:{ssrc} msid:{stream_id} {track_id}\r\n");
        }
    }
}
