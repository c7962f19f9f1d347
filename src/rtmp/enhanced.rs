//! The headers of Enhanced RTMP (veovera, version 2): four-character codes, modifiers, several tracks in one message.
//!
//! In: a message's body behind its first byte. Out: packet type and code of the track that is carried, its bytes, and whether there are others.

use std::fmt;

use bytes::Bytes;

/// `ModEx`: a modifier stands before the packet type proper.
const MOD_EX: u8 = 7;
/// Most modifiers of one message. One kind is defined; a message full of them is no message.
const MAX_MODIFIERS: usize = 8;

/// One track of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnhancedTrack {
    /// `VideoPacketType` or `AudioPacketType`.
    pub packet_type: u8,
    pub fourcc: [u8; 4],
    /// 0 where the message has no track ids.
    pub id: u8,
    /// What follows the header.
    pub data: Bytes,
    /// The id of another track in the message.
    pub other: Option<u8>,
}

/// What differs between audio and video.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// The packet type of `Multitrack`.
    pub multitrack: u8,
}

pub(super) const VIDEO: Kind = Kind { multitrack: 6 };
pub(super) const AUDIO: Kind = Kind { multitrack: 5 };

/// Reads the header. `packet_type` is the low half of the first byte, `at` where the next one stands. Of several tracks the one called `wanted`
/// comes back, or the first one. `None` where it ends too early.
pub(super) fn read(body: &Bytes, packet_type: u8, kind: Kind, wanted: Option<u8>) -> Option<EnhancedTrack> {
    let (mut packet_type, mut at) = (packet_type, 1);
    for _ in 0..MAX_MODIFIERS {
        if packet_type != MOD_EX {
            break;
        }
        let mut size = usize::from(*body.get(at)?) + 1;
        at += 1;
        if size == 256 {
            size = usize::from(u16::from_be_bytes(*body.get(at..)?.first_chunk()?)) + 1;
            at += 2;
        }
        // The upper half says which modifier it is. The one there is, nanoseconds of a timestamp, is finer than any clock here.
        packet_type = body.get(at + size)? & 0x0F;
        at += size + 1;
    }
    if packet_type != kind.multitrack {
        let fourcc = *body.get(at..)?.first_chunk()?;
        return Some(EnhancedTrack { packet_type, fourcc, id: 0, data: body.slice(at + 4..), other: None });
    }
    let head = *body.get(at)?;
    at += 1;
    let (many, many_codecs) = (head >> 4 != 0, head >> 4 == 2);
    let mut common = [0; 4];
    if !many_codecs {
        common = *body.get(at..)?.first_chunk()?;
        at += 4;
    }
    let mut found: Option<EnhancedTrack> = None;
    let mut other = None;
    // Ids are a byte, so there are at most 256; each takes at least as much of the message.
    while at < body.len() {
        let mut fourcc = common;
        if many_codecs {
            fourcc = *body.get(at..)?.first_chunk()?;
            at += 4;
        }
        let id = *body.get(at)?;
        at += 1;
        let mut end = body.len();
        if many {
            let size = body.get(at..)?.first_chunk::<3>()?;
            at += 3;
            end = at + u32::from_be_bytes([0, size[0], size[1], size[2]]) as usize;
        }
        if end > body.len() {
            break;
        }
        let is_wanted = wanted == Some(id) || (wanted.is_none() && found.is_none());
        if is_wanted && found.as_ref().is_none_or(|track| wanted == Some(id) && track.id != id) {
            found = Some(EnhancedTrack { packet_type: head & 0x0F, fourcc, id, data: body.slice(at..end), other: None });
        } else {
            other = Some(id);
        }
        at = end;
    }
    match found {
        Some(track) => Some(EnhancedTrack { other, ..track }),
        // Only others: the message is whole all the same.
        None => other.map(|id| EnhancedTrack { packet_type: head & 0x0F, fourcc: common, id, data: Bytes::new(), other: Some(id) }),
    }
}

/// Writes what a four-character code stands for, for people.
pub(super) fn write_name(fourcc: [u8; 4], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let text = String::from_utf8_lossy(&fourcc);
    let known = match &fourcc {
        b"hvc1" | b"hev1" => "H.265",
        b"vvc1" => "H.266",
        b"av01" => "AV1",
        b"vp09" => "VP9",
        b"vp08" => "VP8",
        b"Opus" => "Opus",
        b"fLaC" => "FLAC",
        b"ac-3" => "Dolby AC-3",
        b"ec-3" => "Dolby E-AC-3",
        b".mp3" => "MP3",
        _ => return write!(f, "an unknown codec (Enhanced RTMP {text:?})"),
    };
    write!(f, "{known} (Enhanced RTMP {})", text.trim())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Packet type, code, track id, data, another track's id.
    type Seen = (u8, [u8; 4], u8, Vec<u8>, Option<u8>);

    fn video(body: &[u8], wanted: Option<u8>) -> Option<Seen> {
        let body = Bytes::copy_from_slice(body);
        let track = read(&body, body.first()? & 0x0F, VIDEO, wanted)?;
        Some((track.packet_type, track.fourcc, track.id, track.data.to_vec(), track.other))
    }

    #[test]
    fn tracks_and_modifiers() {
        type Row<'a> = (&'a str, &'a [u8], Option<u8>, (u8, &'a [u8; 4], u8, &'a [u8], Option<u8>));
        let table: [Row<'_>; 9] = [
            ("plain", b"\x91avc1xy", None, (1, b"avc1", 0, b"xy", None)),
            ("one track", b"\x96\x01avc1\x00xy", None, (1, b"avc1", 0, b"xy", None)),
            ("one that isn't wanted", b"\x96\x01avc1\x03xy", Some(0), (1, b"avc1", 3, b"", Some(3))),
            ("many of one codec", b"\x96\x11avc1\x00\0\0\x02xy\x01\0\0\x01z", None, (1, b"avc1", 0, b"xy", Some(1))),
            ("the second of them", b"\x96\x11avc1\x00\0\0\x02xy\x01\0\0\x01z", Some(1), (1, b"avc1", 1, b"z", Some(0))),
            ("many codecs", b"\x96\x20hvc1\x00\0\0\x02xyavc1\x01\0\0\x01z", Some(1), (0, b"avc1", 1, b"z", Some(0))),
            ("a modifier", b"\x97\x02abc\x01avc1xy", None, (1, b"avc1", 0, b"xy", None)),
            ("two modifiers", b"\x97\x02abc\x07\x00d\x03avc1xy", None, (3, b"avc1", 0, b"xy", None)),
            ("a modifier of several tracks", b"\x97\x00a\x06\x00avc1\x00xy", None, (0, b"avc1", 0, b"xy", None)),
        ];
        for (name, body, wanted, (packet_type, fourcc, id, data, other)) in table {
            assert_eq!(video(body, wanted), Some((packet_type, *fourcc, id, data.to_vec(), other)), "{name}");
        }
        let long = [&b"\x97\xFF\x01\x00"[..], &[7; 257], b"\x01avc1xy"].concat();
        assert_eq!(video(&long, None).map(|track| track.0), Some(1));
        for cut in [
            &b"\x91avc"[..],
            b"\x97",
            b"\x97\x05ab",
            b"\x97\xFF\x01",
            b"\x96",
            b"\x96\x01avc",
            b"\x96\x11avc1\x00\0\0\x09x",
            b"\x97\x00a\x07\x00a\x07\x00a\x07",
        ] {
            assert_eq!(video(cut, None), None, "{cut:02x?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(prop_oneof![Just(0x97u8), Just(0x96), Just(7), any::<u8>()], 1..64), wanted in any::<Option<u8>>()) {
            if let Some(track) = video(&bytes, wanted) {
                prop_assert!(track.3.len() < bytes.len());
            }
        }
    }
}
