//! RTCP on the wire: compound packets read by an iterator, and single packets written one after the other.
//!
//! In: the bytes of a compound packet. Out: its packets as views (RFC 3550 section 6, RFC 4585, RFC 5104, REMB, transport-wide
//! feedback); and appended to a buffer, the same the other way.

mod report;
mod transport_feedback;
mod write;

pub use report::ReportBlock;
pub(crate) use report::{ReportBlocks, SenderInfo};
pub(crate) use transport_feedback::{TransportFeedback, write_transport_feedback};
pub(crate) use write::write_sender_report;
pub use write::{write_bye, write_fir, write_nack, write_pli, write_receiver_report, write_remb, write_sdes_cname};

use super::packet::{be16, be32};

const SR: u8 = 200;
const RR: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const RTPFB: u8 = 205;
const PSFB: u8 = 206;
const FMT_NACK: u8 = 1;
const FMT_TRANSPORT_CC: u8 = 15;
const FMT_PLI: u8 = 1;
const FMT_FIR: u8 = 4;
const FMT_AFB: u8 = 15;

/// Why (the rest of) a compound packet can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RtcpError {
    /// The frame is broken: not version 2, or the length leads beyond the end. Nothing after it can be read.
    #[error("RTCP packet at byte {0} is not version 2 or overruns the datagram")]
    Framing(usize),
    /// One packet's contents don't fit its length; the next ones can be read.
    #[error("RTCP packet of type {packet_type} is too short for its contents")]
    Contents {
        /// Its type, such as 200.
        packet_type: u8,
    },
}

/// One packet of a compound packet.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Rtcp<'a> {
    /// RFC 3550 section 6.4.1.
    SenderReport {
        /// Who sends.
        ssrc: u32,
        /// What it has sent, and when "now" is.
        info: SenderInfo,
        /// What it has received.
        reports: ReportBlocks<'a>,
    },
    /// RFC 3550 section 6.4.2.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// What it has received.
        reports: ReportBlocks<'a>,
    },
    /// RFC 3550 section 6.5.
    Sdes(Sdes<'a>),
    /// RFC 3550 section 6.6.
    Bye {
        /// Who leaves.
        ssrcs: Ssrcs<'a>,
    },
    /// Generic NACK, RFC 4585 section 6.2.1.
    Nack {
        /// Who asks.
        sender_ssrc: u32,
        /// Of which stream.
        media_ssrc: u32,
        /// The sequence numbers asked for.
        lost: NackedSeqs<'a>,
    },
    /// Picture loss indication, RFC 4585 section 6.3.1.
    Pli {
        /// Who asks.
        sender_ssrc: u32,
        /// Of which stream.
        media_ssrc: u32,
    },
    /// Full intra requests, RFC 5104 section 4.3.1.
    Fir {
        /// Who asks.
        sender_ssrc: u32,
        /// Of which streams.
        entries: FirEntries<'a>,
    },
    /// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03).
    Remb {
        /// Who estimates.
        sender_ssrc: u32,
        /// In bit/s.
        bitrate: u64,
        /// For which streams.
        ssrcs: Ssrcs<'a>,
    },
    /// Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    TransportFeedback(TransportFeedback<'a>),
    /// Anything else.
    Other {
        /// Its type.
        packet_type: u8,
        /// Its count or format, 0 to 31.
        count: u8,
        /// Without the first four bytes and padding.
        body: &'a [u8],
    },
}

/// Reads a compound packet (reduced-size ones too, RFC 5506). Ends at the first framing error; errors in one packet's contents don't
/// hide the others, so `parse(bytes).flatten()` gives all that can be understood.
pub fn parse(bytes: &[u8]) -> Compound<'_> {
    Compound { bytes, at: 0 }
}

/// Iterates over the packets of a compound packet.
#[derive(Debug, Clone)]
pub struct Compound<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Rtcp<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let rest = &self.bytes[self.at..];
        let framing = RtcpError::Framing(self.at);
        let len = if rest.len() >= 4 && rest[0] >> 6 == 2 { 4 + 4 * usize::from(be16(rest, 2)) } else { usize::MAX };
        if len > rest.len() {
            self.at = self.bytes.len();
            return Some(Err(framing));
        }
        self.at += len;
        let packet_type = rest[1];
        let contents = RtcpError::Contents { packet_type };
        let mut body = &rest[4..len];
        if rest[0] & 0x20 != 0 {
            match body.last().map(|last| usize::from(*last)) {
                Some(padding) if padding > 0 && padding <= body.len() => body = &body[..body.len() - padding],
                _ => return Some(Err(contents)),
            }
        }
        Some(parse_one(packet_type, rest[0] & 0x1F, body).ok_or(contents))
    }
}

fn parse_one(packet_type: u8, count: u8, body: &[u8]) -> Option<Rtcp<'_>> {
    let word = |at: usize| (body.len() >= at + 4).then(|| be32(body, at));
    let other = Rtcp::Other { packet_type, count, body };
    Some(match (packet_type, count) {
        (SR, _) => {
            let info = SenderInfo::parse(body.get(4..24)?);
            Rtcp::SenderReport { ssrc: word(0)?, info, reports: ReportBlocks::parse(body.get(24..)?, count)? }
        }
        (RR, _) => Rtcp::ReceiverReport { ssrc: word(0)?, reports: ReportBlocks::parse(body.get(4..)?, count)? },
        (SDES, _) => Rtcp::Sdes(Sdes { body, chunks: count }),
        (BYE, _) => Rtcp::Bye { ssrcs: Ssrcs(body.get(..4 * usize::from(count))?) },
        (RTPFB, FMT_NACK) => Rtcp::Nack { sender_ssrc: word(0)?, media_ssrc: word(4)?, lost: NackedSeqs(&body[8..]) },
        (RTPFB, FMT_TRANSPORT_CC) => Rtcp::TransportFeedback(TransportFeedback::parse(body)?),
        (PSFB, FMT_PLI) => Rtcp::Pli { sender_ssrc: word(0)?, media_ssrc: word(4)? },
        (PSFB, FMT_FIR) => Rtcp::Fir { sender_ssrc: word(0)?, entries: FirEntries(body.get(8..)?) },
        (PSFB, FMT_AFB) if body.get(8..12) == Some(b"REMB") => {
            let word = word(12)?;
            let (ssrcs, exponent, mantissa) = ((word >> 24) as usize, (word >> 18) & 0x3F, word & 0x3_FFFF);
            let bitrate = u64::from(mantissa).checked_shl(exponent).filter(|rate| rate >> exponent == u64::from(mantissa));
            let ssrcs = Ssrcs(body.get(16..16 + 4 * ssrcs)?);
            Rtcp::Remb { sender_ssrc: be32(body, 0), bitrate: bitrate.unwrap_or(u64::MAX), ssrcs }
        }
        _ => other,
    })
}

/// A list of SSRCs.
#[derive(Debug, Clone, Copy)]
pub struct Ssrcs<'a>(&'a [u8]);

impl<'a> Ssrcs<'a> {
    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = u32> + 'a {
        self.0.chunks_exact(4).map(|chunk| be32(chunk, 0))
    }
}

/// The sequence numbers of a NACK, unpacked from PID and BLP (RFC 4585 section 6.2.1).
#[derive(Debug, Clone, Copy)]
pub struct NackedSeqs<'a>(&'a [u8]);

impl<'a> NackedSeqs<'a> {
    /// Each of them: at most 17 for every four bytes.
    pub fn iter(self) -> impl Iterator<Item = u16> + 'a {
        self.0.chunks_exact(4).flat_map(|item| {
            let (pid, blp) = (be16(item, 0), be16(item, 2));
            std::iter::once(pid).chain((0..16u16).filter(move |bit| blp >> bit & 1 == 1).map(move |bit| pid.wrapping_add(bit + 1)))
        })
    }
}

/// The entries of a full intra request.
#[derive(Debug, Clone, Copy)]
pub struct FirEntries<'a>(&'a [u8]);

impl<'a> FirEntries<'a> {
    /// Each as media SSRC and command sequence number; the same number again is a repetition.
    pub fn iter(self) -> impl Iterator<Item = (u32, u8)> + 'a {
        self.0.chunks_exact(8).map(|entry| (be32(entry, 0), entry[4]))
    }
}

/// Source descriptions.
#[derive(Debug, Clone, Copy)]
pub struct Sdes<'a> {
    body: &'a [u8],
    chunks: u8,
}

impl<'a> Sdes<'a> {
    /// The CNAME of each SSRC that has one. Bytes: it ought to be UTF-8.
    pub fn cnames(self) -> impl Iterator<Item = (u32, &'a [u8])> + 'a {
        let (mut rest, mut chunks) = (self.body, self.chunks);
        std::iter::from_fn(move || {
            while chunks > 0 && rest.len() >= 4 {
                chunks -= 1;
                let (ssrc, mut cname, mut at) = (be32(rest, 0), None, 4);
                // Items until a zero byte, then on to the next multiple of four.
                while at < rest.len() && rest[at] != 0 {
                    let Some(len) = rest.get(at + 1).map(|len| usize::from(*len)) else { break };
                    let Some(value) = rest.get(at + 2..at + 2 + len) else {
                        at = rest.len();
                        break;
                    };
                    if rest[at] == 1 && cname.is_none() {
                        cname = Some(value);
                    }
                    at += 2 + len;
                }
                rest = rest.get((at / 4 + 1) * 4..).unwrap_or(&[]);
                if let Some(cname) = cname {
                    return Some((ssrc, cname));
                }
            }
            None
        })
    }
}

#[cfg(test)]
mod tests;
