//! Retransmission packets (RFC 4588): the original with its sequence number in front of the payload, on a stream of its own.
//!
//! In: a packet as it was sent first, or a retransmission. Out: the other one.

use std::ops::Range;

use super::packet::{RtpError, RtpPacket, be16, set_payload_type, set_sequence_number, set_ssrc};

/// What a retransmission is longer than its original: the original sequence number.
pub(crate) const OSN_LEN: usize = 2;

/// What the retransmission stream calls itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RtxHeader {
    /// The retransmission's payload type.
    pub payload_type: u8,
    /// The retransmission stream's SSRC.
    pub ssrc: u32,
    /// The retransmission stream's next sequence number.
    pub sequence_number: u16,
}

/// Writes the retransmission of `original` (the packet as this receiver got it or should have got it: its sequence number is what
/// the receiver asked for) to `out`; timestamp, marker and extensions stay. Padding is left out. Gives header length and length.
pub(crate) fn encapsulate(original: &RtpPacket<'_>, rtx: RtxHeader, out: &mut [u8]) -> Result<(usize, usize), RtpError> {
    let (header_len, payload) = (original.header_len(), original.payload());
    let len = header_len + OSN_LEN + payload.len();
    let room = out.len();
    let Some(out) = out.get_mut(..len) else { return Err(RtpError::NoRoom { needed: len, room }) };
    out[..header_len].copy_from_slice(&original.bytes()[..header_len]);
    out[0] &= !0x20;
    out[header_len..header_len + OSN_LEN].copy_from_slice(&original.sequence_number().to_be_bytes());
    out[header_len + OSN_LEN..].copy_from_slice(payload);
    set_payload_type(out, rtx.payload_type);
    set_ssrc(out, rtx.ssrc);
    set_sequence_number(out, rtx.sequence_number);
    Ok((header_len, len))
}

/// Turns a retransmission back into the original in place: the header moves up by two bytes over the original sequence number, and
/// the original lies in the given range of `packet`. `None` if it carries nothing (padding only, as bandwidth probes are) or isn't RTP.
pub(crate) fn decapsulate(packet: &mut [u8], media_payload_type: u8, media_ssrc: u32) -> Option<Range<usize>> {
    let view = RtpPacket::parse(packet).ok()?;
    let (header_len, payload_len) = (view.header_len(), view.payload().len());
    if payload_len < OSN_LEN {
        return None;
    }
    let osn = be16(packet, header_len);
    packet.copy_within(..header_len, OSN_LEN);
    let range = OSN_LEN..header_len + payload_len;
    let original = &mut packet[range.clone()];
    original[0] &= !0x20;
    set_payload_type(original, media_payload_type);
    set_ssrc(original, media_ssrc);
    set_sequence_number(original, osn);
    Some(range)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtp::packet::{RtpHeader, write_header};

    const RTX: RtxHeader = RtxHeader { payload_type: 97, ssrc: 9, sequence_number: 500 };

    #[test]
    fn there_and_back() {
        let header = RtpHeader { marker: true, payload_type: 96, sequence_number: 65535, timestamp: 3, ssrc: 8 };
        let mut original = vec![0; 40];
        let len = write_header(&mut original, &header, &[(4, b"1")]).unwrap();
        original.truncate(len);
        original.extend_from_slice(b"payload");
        let mut out = [0; 64];
        let (header_len, len) = encapsulate(&RtpPacket::parse(&original).unwrap(), RTX, &mut out).unwrap();
        let rtx = RtpPacket::parse(&out[..len]).unwrap();
        assert_eq!(rtx.header_len(), header_len);
        assert_eq!((rtx.marker(), rtx.payload_type(), rtx.sequence_number(), rtx.ssrc()), (true, 97, 500, 9));
        assert_eq!((rtx.timestamp(), rtx.extension(4), rtx.payload()), (3, Some(&b"1"[..]), &b"\xFF\xFFpayload"[..]));
        let range = decapsulate(&mut out[..len], 96, 8).unwrap();
        assert_eq!(out[range], original);
        assert!(encapsulate(&RtpPacket::parse(&original).unwrap(), RTX, &mut [0; 20]).is_err());
    }

    #[test]
    fn padding_is_no_payload() {
        // Two bytes of payload and four of padding; then padding only.
        let mut packet = vec![0xA0, 97, 1, 244, 0, 0, 0, 3, 0, 0, 0, 9, 0, 7, 0, 0, 0, 4];
        let range = decapsulate(&mut packet, 96, 8).unwrap();
        assert_eq!(packet[range], [0x80, 96, 0, 7, 0, 0, 0, 3, 0, 0, 0, 8]);
        let mut probe = vec![0xA0, 97, 1, 244, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 4];
        assert_eq!(decapsulate(&mut probe, 96, 8), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), rtp_like: bool) {
            if rtp_like && !bytes.is_empty() {
                bytes[0] = 0x80 | (bytes[0] & 0x3F);
            }
            if let Some(range) = decapsulate(&mut bytes, 96, 8) {
                prop_assert!(RtpPacket::parse(&bytes[range]).is_ok());
            }
        }
    }
}
