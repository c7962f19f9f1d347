//! RTP packets on the wire: a view that copies nothing, a header writer, in-place setters, and what kind a datagram is.
//!
//! In: the bytes of a datagram. Out: its fields (RFC 3550 section 5.1) and header extensions (RFC 8285), by offset.

use std::ops::Range;

/// Length of the header without CSRCs and extension, in bytes.
pub(crate) const FIXED_HEADER_LEN: usize = 12;
/// Extension profile of the one-byte form (RFC 8285 section 4.2).
const ONE_BYTE_PROFILE: u16 = 0xBEDE;
/// Extension profile of the two-byte form, without its four application bits (RFC 8285 section 4.3).
const TWO_BYTE_PROFILE: u16 = 0x1000;

/// Why bytes are not an RTP packet, or a header can't be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RtpError {
    /// The packet ends before the named part does.
    #[error("RTP packet of {len} bytes ends inside its {part}")]
    Truncated {
        /// Which part.
        part: &'static str,
        /// How long the packet is.
        len: usize,
    },
    /// Not version 2.
    #[error("RTP version {0}, only 2 exists")]
    Version(u8),
    /// The padding length is 0 or more than there is behind the header.
    #[error("RTP padding of {0} bytes does not fit behind the header")]
    Padding(u8),
    /// An extension element can't be written: id 0, or a value of more than 255 bytes.
    #[error("RTP header extension id {id} with {len} bytes can't be written")]
    Extension {
        /// Its id.
        id: u8,
        /// Its length in bytes.
        len: usize,
    },
    /// The output is too short.
    #[error("an RTP header of {needed} bytes does not fit in {room}")]
    NoRoom {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        room: usize,
    },
}

/// What a datagram on a multiplexed port is, by its first byte (RFC 7983 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatagramKind {
    /// 0 to 3.
    Stun,
    /// 20 to 63.
    Dtls,
    /// 128 to 191: RTP or RTCP, see [`is_rtcp`].
    Rtp,
    /// ZRTP, TURN channels and what nobody defined.
    Other,
}

/// Tells apart what shares a port (RFC 7983 section 7).
pub(crate) fn demux(first_byte: u8) -> DatagramKind {
    match first_byte {
        0..=3 => DatagramKind::Stun,
        20..=63 => DatagramKind::Dtls,
        128..=191 => DatagramKind::Rtp,
        _ => DatagramKind::Other,
    }
}

/// Whether a datagram of kind [`DatagramKind::Rtp`] is RTCP: its packet type is 192 to 223 (RFC 5761 section 4).
pub(crate) fn is_rtcp(bytes: &[u8]) -> bool {
    bytes.get(1).is_some_and(|second| (192..=223).contains(second))
}

/// A packet whose header has been checked. Copies nothing.
#[derive(Debug, Clone, Copy)]
pub struct RtpPacket<'a> {
    bytes: &'a [u8],
    extension_start: usize,
    header_len: usize,
    payload_end: usize,
}

impl<'a> RtpPacket<'a> {
    /// Checks the header and the padding. Malformed extension *elements* are no error: iterating them just ends there.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtpError> {
        let layout = HeaderLayout::of(bytes)?;
        let mut payload_end = bytes.len();
        if bytes[0] & 0x20 != 0 {
            let padding = if payload_end > layout.header_len { bytes[payload_end - 1] } else { 0 };
            if padding == 0 || usize::from(padding) > payload_end - layout.header_len {
                return Err(RtpError::Padding(padding));
            }
            payload_end -= usize::from(padding);
        }
        Ok(Self { bytes, extension_start: layout.extension_start, header_len: layout.header_len, payload_end })
    }

    /// The whole packet.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The marker bit.
    pub fn marker(&self) -> bool {
        self.bytes[1] & 0x80 != 0
    }

    /// 0 to 127.
    pub fn payload_type(&self) -> u8 {
        self.bytes[1] & 0x7F
    }

    /// As on the wire.
    pub fn sequence_number(&self) -> u16 {
        be16(self.bytes, 2)
    }

    /// In ticks of the payload's clock rate.
    pub fn timestamp(&self) -> u32 {
        be32(self.bytes, 4)
    }

    /// The synchronisation source.
    pub fn ssrc(&self) -> u32 {
        be32(self.bytes, 8)
    }

    /// The contributing sources, 0 to 15.
    pub fn csrcs(self) -> impl Iterator<Item = u32> + 'a {
        let bytes = self.bytes;
        (0..usize::from(bytes[0] & 0x0F)).map(move |index| be32(bytes, FIXED_HEADER_LEN + 4 * index))
    }

    /// Bytes before the payload: fixed header, CSRCs and extension.
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// Without padding.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_len..self.payload_end]
    }

    /// Bytes of padding at the end, its count byte included; 0 without.
    pub fn padding_len(&self) -> usize {
        self.bytes.len() - self.payload_end
    }

    /// The value of the first extension element with this id (1 to 255).
    pub fn extension(&self, id: u8) -> Option<&'a [u8]> {
        self.extension_range(id).map(|range| &self.bytes[range])
    }

    /// Where in the packet the value of that element lies.
    pub fn extension_range(&self, id: u8) -> Option<Range<usize>> {
        self.ranges().find(|(found, _)| *found == id).map(|(_, range)| range)
    }

    /// All extension elements, in order: id and value. Empty if the extension has neither form of RFC 8285.
    pub fn extensions(self) -> impl Iterator<Item = (u8, &'a [u8])> + 'a {
        let bytes = self.bytes;
        self.ranges().map(move |(id, range)| (id, &bytes[range]))
    }

    fn ranges(&self) -> Elements<'a> {
        let start = self.extension_start;
        if start == self.header_len {
            return Elements { bytes: self.bytes, at: 0, end: 0, two_byte: false };
        }
        let profile = be16(self.bytes, start);
        let two_byte = profile & 0xFFF0 == TWO_BYTE_PROFILE;
        let known = two_byte || profile == ONE_BYTE_PROFILE;
        Elements { bytes: self.bytes, at: start + 4, end: if known { self.header_len } else { 0 }, two_byte }
    }
}

/// Bytes before the payload, checked against the packet's length (but not its padding).
pub fn header_len(bytes: &[u8]) -> Result<usize, RtpError> {
    HeaderLayout::of(bytes).map(|layout| layout.header_len)
}

struct HeaderLayout {
    /// Where the extension begins; equals `header_len` without one.
    extension_start: usize,
    header_len: usize,
}

impl HeaderLayout {
    fn of(bytes: &[u8]) -> Result<Self, RtpError> {
        let truncated = |part| RtpError::Truncated { part, len: bytes.len() };
        if bytes.len() < FIXED_HEADER_LEN {
            return Err(truncated("fixed header"));
        }
        let version = bytes[0] >> 6;
        if version != 2 {
            return Err(RtpError::Version(version));
        }
        let extension_start = FIXED_HEADER_LEN + 4 * usize::from(bytes[0] & 0x0F);
        if bytes.len() < extension_start {
            return Err(truncated("CSRC list"));
        }
        let mut header_len = extension_start;
        if bytes[0] & 0x10 != 0 {
            if bytes.len() < extension_start + 4 {
                return Err(truncated("extension header"));
            }
            header_len += 4 + 4 * usize::from(be16(bytes, extension_start + 2));
            if bytes.len() < header_len {
                return Err(truncated("extension"));
            }
        }
        Ok(Self { extension_start, header_len })
    }
}

/// Walks extension elements.
struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    two_byte: bool,
}

impl Iterator for Elements<'_> {
    type Item = (u8, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.end {
            let first = self.bytes[self.at];
            // A zero byte is padding in both forms; in the one-byte form so is any byte with id 0 (RFC 8285 section 4.2).
            let (id, len, value) = if self.two_byte {
                if first == 0 {
                    self.at += 1;
                    continue;
                }
                if self.at + 1 >= self.end {
                    break;
                }
                (first, usize::from(self.bytes[self.at + 1]), self.at + 2)
            } else {
                match first >> 4 {
                    0 => {
                        self.at += 1;
                        continue;
                    }
                    // Reserved: ends the whole extension.
                    15 => break,
                    id => (id, usize::from(first & 0x0F) + 1, self.at + 1),
                }
            };
            if value + len > self.end {
                break;
            }
            self.at = value + len;
            return Some((id, value..value + len));
        }
        self.at = self.end;
        None
    }
}

/// The fields of the fixed header that vary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RtpHeader {
    /// The marker bit.
    pub marker: bool,
    /// 0 to 127; higher bits are cut off.
    pub payload_type: u8,
    /// As on the wire.
    pub sequence_number: u16,
    /// In ticks of the payload's clock rate.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: u32,
}

/// Writes a header without CSRCs at the start of `out` and gives its length. The extension, if `extensions` (id and value)
/// is not empty, has the one-byte form where every element allows it (ids 1 to 14, 1 to 16 bytes), else the two-byte form.
pub fn write_header(out: &mut [u8], header: &RtpHeader, extensions: &[(u8, &[u8])]) -> Result<usize, RtpError> {
    let two_byte = extensions.iter().any(|(id, value)| *id > 14 || !(1..=16).contains(&value.len()));
    let overhead = if two_byte { 2 } else { 1 };
    let mut body = 0;
    for (id, value) in extensions {
        if *id == 0 || value.len() > 255 {
            return Err(RtpError::Extension { id: *id, len: value.len() });
        }
        body += overhead + value.len();
    }
    let body = body.next_multiple_of(4);
    let needed = FIXED_HEADER_LEN + if extensions.is_empty() { 0 } else { 4 + body };
    let room = out.len();
    let Some(out) = out.get_mut(..needed) else { return Err(RtpError::NoRoom { needed, room }) };
    out[0] = if extensions.is_empty() { 0x80 } else { 0x90 };
    out[1] = (header.payload_type & 0x7F) | if header.marker { 0x80 } else { 0 };
    out[2..4].copy_from_slice(&header.sequence_number.to_be_bytes());
    out[4..8].copy_from_slice(&header.timestamp.to_be_bytes());
    out[8..12].copy_from_slice(&header.ssrc.to_be_bytes());
    if !extensions.is_empty() {
        let profile = if two_byte { TWO_BYTE_PROFILE } else { ONE_BYTE_PROFILE };
        out[12..14].copy_from_slice(&profile.to_be_bytes());
        // At most 255 elements of 257 bytes would overrun the 16-bit word count only beyond 262140 bytes.
        let words = u16::try_from(body / 4).map_err(|_| RtpError::NoRoom { needed, room })?;
        out[14..16].copy_from_slice(&words.to_be_bytes());
        let mut at = 16;
        for (id, value) in extensions {
            if two_byte {
                out[at] = *id;
                out[at + 1] = value.len() as u8;
            } else {
                out[at] = (*id << 4) | (value.len() as u8 - 1);
            }
            at += overhead;
            out[at..at + value.len()].copy_from_slice(value);
            at += value.len();
        }
        out[at..].fill(0);
    }
    Ok(needed)
}

/// Sets the payload type (0 to 127) and leaves the marker.
pub(crate) fn set_payload_type(packet: &mut [u8], payload_type: u8) {
    if packet.len() >= FIXED_HEADER_LEN {
        packet[1] = (packet[1] & 0x80) | (payload_type & 0x7F);
    }
}

/// Sets the sequence number.
pub fn set_sequence_number(packet: &mut [u8], sequence_number: u16) {
    if packet.len() >= FIXED_HEADER_LEN {
        packet[2..4].copy_from_slice(&sequence_number.to_be_bytes());
    }
}

/// Sets the timestamp.
pub fn set_timestamp(packet: &mut [u8], timestamp: u32) {
    if packet.len() >= FIXED_HEADER_LEN {
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
    }
}

/// Sets the SSRC.
pub fn set_ssrc(packet: &mut [u8], ssrc: u32) {
    if packet.len() >= FIXED_HEADER_LEN {
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    }
}

pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: RtpHeader = RtpHeader { marker: true, payload_type: 96, sequence_number: 65535, timestamp: 0xFFFF_FFFE, ssrc: 7 };

    #[test]
    fn header_round_trip_one_byte_form() {
        let mut out = [0xAA; 64];
        let len = write_header(&mut out, &HEADER, &[(1, b"abc"), (14, &[9; 16])]).unwrap();
        assert_eq!(len, 12 + 4 + 24);
        assert_eq!(be16(&out, 12), ONE_BYTE_PROFILE);
        let packet = RtpPacket::parse(&out).unwrap();
        assert!(packet.marker());
        assert_eq!((packet.payload_type(), packet.sequence_number()), (96, 65535));
        assert_eq!((packet.timestamp(), packet.ssrc()), (0xFFFF_FFFE, 7));
        assert_eq!(packet.extensions().collect::<Vec<_>>(), [(1, &b"abc"[..]), (14, &[9; 16][..])]);
        assert_eq!(packet.extension(2), None);
        assert_eq!(packet.payload(), &[0xAA; 64 - 40]);
    }

    #[test]
    fn two_byte_form_when_needed() {
        for element in [(15u8, &b"x"[..]), (1, b""), (1, &[1; 17]), (255, &[2; 255])] {
            let mut out = [0; 400];
            let len = write_header(&mut out, &HEADER, &[element, (2, b"yy")]).unwrap();
            assert_eq!(be16(&out, 12), TWO_BYTE_PROFILE);
            let packet = RtpPacket::parse(&out[..len]).unwrap();
            assert_eq!(packet.header_len(), len);
            assert_eq!(packet.extensions().collect::<Vec<_>>(), [element, (2, &b"yy"[..])]);
        }
        assert_eq!(write_header(&mut [0; 400], &HEADER, &[(0, b"x")]), Err(RtpError::Extension { id: 0, len: 1 }));
        assert_eq!(write_header(&mut [0; 15], &HEADER, &[(1, b"x")]), Err(RtpError::NoRoom { needed: 20, room: 15 }));
    }

    #[test]
    fn application_bits_of_the_two_byte_profile_are_ignored() {
        let mut out = [0; 64];
        let len = write_header(&mut out, &HEADER, &[(20, b"x")]).unwrap();
        out[13] = 0x01;
        assert_eq!(RtpPacket::parse(&out[..len]).unwrap().extension(20), Some(&b"x"[..]));
    }

    #[test]
    fn elements_end_at_id_15_and_at_overruns() {
        // One-byte form: padding, id 1, then 15.
        let mut bytes = vec![0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xBE, 0xDE, 0, 2, 0, 0x10, 5, 0xF0, 0x20, 6, 0, 0];
        assert_eq!(RtpPacket::parse(&bytes).unwrap().extensions().collect::<Vec<_>>(), [(1, &[5u8][..])]);
        bytes[19] = 0x2F; // 16 bytes in a space of four
        assert_eq!(RtpPacket::parse(&bytes).unwrap().extensions().count(), 1);
        bytes[12] = 0; // a profile nobody knows
        assert_eq!(RtpPacket::parse(&bytes).unwrap().extensions().count(), 0);
    }

    #[test]
    fn padding_and_csrcs() {
        let mut bytes = vec![0xA1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 1, 2, 0, 0, 3];
        let packet = RtpPacket::parse(&bytes).unwrap();
        assert_eq!((packet.payload(), packet.padding_len()), (&[1u8, 2][..], 3));
        assert_eq!(packet.csrcs().collect::<Vec<_>>(), [8]);
        for bad in [0, 6] {
            *bytes.last_mut().unwrap() = bad;
            assert_eq!(RtpPacket::parse(&bytes).unwrap_err(), RtpError::Padding(bad));
        }
        assert_eq!(RtpPacket::parse(&bytes[..16]).unwrap_err(), RtpError::Padding(0));
        assert!(matches!(RtpPacket::parse(&bytes[..15]), Err(RtpError::Truncated { .. })));
    }

    #[test]
    fn setters() {
        let mut out = [0; 32];
        let len = write_header(&mut out, &HEADER, &[(3, &[0, 0])]).unwrap();
        let packet = &mut out[..len];
        set_payload_type(packet, 111);
        set_sequence_number(packet, 4);
        set_timestamp(packet, 5);
        set_ssrc(packet, 6);
        let view = RtpPacket::parse(packet).unwrap();
        assert_eq!((view.marker(), view.payload_type(), view.sequence_number()), (true, 111, 4));
        assert_eq!((view.timestamp(), view.ssrc(), view.extension(3)), (5, 6, Some(&[0u8, 0][..])));
        set_payload_type(&mut [0; 1], 111); // too short for a header: left as it is
    }

    #[test]
    fn kinds_of_datagrams() {
        for (first, kind) in [(0, DatagramKind::Stun), (3, DatagramKind::Stun), (4, DatagramKind::Other), (19, DatagramKind::Other)] {
            assert_eq!(demux(first), kind);
        }
        for (first, kind) in [(20, DatagramKind::Dtls), (63, DatagramKind::Dtls), (64, DatagramKind::Other), (127, DatagramKind::Other)] {
            assert_eq!(demux(first), kind);
        }
        for (first, kind) in [(128, DatagramKind::Rtp), (191, DatagramKind::Rtp), (192, DatagramKind::Other)] {
            assert_eq!(demux(first), kind);
        }
        for (second, rtcp) in [(96, false), (191, false), (192, true), (200, true), (206, true), (223, true), (224, false)] {
            assert_eq!(is_rtcp(&[0x80, second]), rtcp, "{second}");
        }
        assert!(!is_rtcp(&[0x80]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), like_rtp: bool, id: u8) {
            if like_rtp && bytes.len() > 16 {
                bytes[0] = 0x90 | (bytes[0] & 0x21);
                let at = FIXED_HEADER_LEN + 4 * usize::from(bytes[0] & 0x0F);
                if bytes.len() > at + 4 {
                    bytes[at..at + 3].copy_from_slice(&[if id & 1 == 0 { 0xBE } else { 0x10 }, if id & 1 == 0 { 0xDE } else { 0 }, 0]);
                    bytes[at + 3] &= 0x0F;
                }
            }
            if let Ok(packet) = RtpPacket::parse(&bytes) {
                let total: usize = packet.extensions().map(|(_, value)| value.len()).sum();
                prop_assert!(total <= packet.header_len());
                prop_assert_eq!(packet.header_len() + packet.payload().len() + packet.padding_len(), bytes.len());
                let _ = packet.extension(id);
                let _ = packet.csrcs().count();
            }
        }
    }
}
