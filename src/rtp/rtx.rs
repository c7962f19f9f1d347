//! Retransmission packets (RFC 4588): the original with its sequence number in front of the payload, on a stream of its own.
//!
//! In: a retransmission. Out: the packet as it was sent first. (`sfu/sender.rs` writes retransmissions, straight into what is sent.)

use std::ops::Range;

use super::packet::{RtpPacket, be16, set_payload_type, set_sequence_number, set_ssrc};

/// What a retransmission is longer than its original: the original sequence number.
const OSN_LEN: usize = 2;

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

    #[test]
    fn the_original_comes_back() {
        let header = RtpHeader { marker: true, payload_type: 96, sequence_number: 65535, timestamp: 3, ssrc: 8 };
        let mut original = vec![0; 40];
        let len = write_header(&mut original, &header, &[(4, b"1")]).unwrap();
        original.truncate(len);
        original.extend_from_slice(b"payload");
        let mut rtx = vec![0; 40];
        let header = RtpHeader { payload_type: 97, sequence_number: 500, ssrc: 9, ..header };
        let len = write_header(&mut rtx, &header, &[(4, b"1")]).unwrap();
        rtx.truncate(len);
        rtx.extend_from_slice(b"\xFF\xFFpayload");
        let range = decapsulate(&mut rtx, 96, 8).unwrap();
        assert_eq!(rtx[range], original);
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
