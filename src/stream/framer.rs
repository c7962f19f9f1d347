//! Access units to RTP packets of one producer: formats, timestamps, sizes.
//!
//! In: access units. Out: a batch of RTP packets with the unit's facts. Pure.

use rand::RngExt;

use crate::base::{Chance, MediaKind};
use crate::codec::{AccessUnit, Codec, Format, Packetizer};
use crate::rtp::batch::{BatchWriter, RtpBatch, UnitFacts};
use crate::rtp::packet::{FIXED_HEADER_LEN, RtpHeader, write_header};
use crate::sfu::ortc::{ParameterValue, RtcpFeedback, RtcpParameters, RtpCodecParameters, RtpEncodingParameters, RtpParameters};

/// Largest RTP payload in bytes. With the RTP header (12), header extensions (up to 24), the SRTP tag (16) and UDP over IPv6 (48) a packet
/// stays below 1280 bytes, which every IPv6 path carries (RFC 8200 section 5).
const MAX_PAYLOAD: usize = 1160;
/// Payload types inside this process; consumers use their viewers' own.
const VIDEO_PAYLOAD_TYPE: u8 = 96;
/// See [`VIDEO_PAYLOAD_TYPE`].
const AUDIO_PAYLOAD_TYPE: u8 = 97;

/// Makes the RTP packets of one track.
#[derive(Debug)]
pub(super) struct Framer {
    codec: Codec,
    packetizer: Packetizer,
    ssrc: u32,
    next_sequence_number: u16,
    timestamp_base: u32,
}

impl Framer {
    /// Begins with a random SSRC, sequence number and timestamp (RFC 3550 section 5.1).
    pub(super) fn new(codec: Codec, chance: &mut Chance) -> Self {
        Self {
            codec,
            packetizer: Packetizer::new(codec, MAX_PAYLOAD),
            ssrc: chance.random(),
            next_sequence_number: chance.random(),
            timestamp_base: chance.random(),
        }
    }

    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    pub(super) fn next_sequence_number(&self) -> u16 {
        self.next_sequence_number
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    pub(super) fn payload_type(&self) -> u8 {
        match self.codec.kind() {
            MediaKind::Video => VIDEO_PAYLOAD_TYPE,
            MediaKind::Audio => AUDIO_PAYLOAD_TYPE,
        }
    }

    /// What is added to the timestamps given to [`Framer::packetize`].
    pub(super) fn timestamp_base(&self) -> u32 {
        self.timestamp_base
    }

    /// The packets of one access unit, with `timestamp` plus the base. None where there is nothing in it worth sending.
    pub(super) fn packetize(&mut self, unit: &AccessUnit, format: &Format, timestamp: u32, facts: UnitFacts) -> RtpBatch {
        let timestamp = timestamp.wrapping_add(self.timestamp_base());
        let count = unit.data.len() / MAX_PAYLOAD + 3;
        let mut batch = BatchWriter::with_capacity(unit.data.len() + count * (FIXED_HEADER_LEN + 8), count);
        let mut facts = Some(facts);
        let payload_type = self.payload_type();
        let Self { packetizer, ssrc, next_sequence_number, .. } = self;
        packetizer.packetize(unit, format, &mut |payload| {
            let header = RtpHeader { marker: payload.marker, payload_type, sequence_number: *next_sequence_number, timestamp, ssrc: *ssrc };
            let mut fixed = [0; FIXED_HEADER_LEN];
            if write_header(&mut fixed, &header, &[]).is_ok() {
                batch.packet(facts.take(), |buffer| {
                    buffer.extend_from_slice(&fixed);
                    payload.write_to(buffer);
                });
                *next_sequence_number = next_sequence_number.wrapping_add(1);
            }
        });
        batch.finish()
    }
}

/// What a producer fed with [`Framer`]'s packets says of itself.
pub(super) fn direct_rtp_parameters(format: &Format, ssrc: u32, payload_type: u8, cname: &str) -> RtpParameters {
    let channels = match format {
        Format::Aac { channels, .. } => Some(*channels),
        Format::Opus { .. } => Some(2), // always "opus/48000/2", RFC 7587 section 7
        _ => None,
    };
    let parameters = format
        .rtp_fmtp()
        .into_iter()
        .map(|(name, value)| {
            // Hexadecimal ones may look like numbers ("640028").
            let number = if matches!(name, "profile-level-id" | "config") { None } else { value.parse().ok() };
            (name.to_string(), number.map_or_else(|| ParameterValue::Text(value.to_string()), ParameterValue::Number))
        })
        .collect();
    let rtcp_feedback = match format.kind() {
        MediaKind::Video => vec![
            RtcpFeedback { kind: "nack".into(), parameter: String::new() },
            RtcpFeedback { kind: "nack".into(), parameter: "pli".into() },
            RtcpFeedback { kind: "ccm".into(), parameter: "fir".into() },
        ],
        MediaKind::Audio => Vec::new(),
    };
    RtpParameters {
        codecs: vec![RtpCodecParameters {
            mime_type: format!("{}/{}", format.kind(), format.codec().encoding_name()),
            payload_type,
            clock_rate: format.rtp_clock_rate(),
            channels,
            parameters,
            rtcp_feedback,
        }],
        encodings: vec![RtpEncodingParameters { ssrc: Some(ssrc), ..Default::default() }],
        rtcp: RtcpParameters { cname: Some(cname.to_owned()), ..Default::default() },
        ..Default::default()
    }
}
