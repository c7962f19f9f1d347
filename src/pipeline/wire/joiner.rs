//! Fragments of one NAL unit joined on their way to a child.
//!
//! In: the RTP packets of a track. Out: the same, but runs of fragments (FU-A, RFC 6184 section 5.8) as one long fragment, and numbers that
//! follow each other all the same. Packets are short for the sake of networks; between two processes each of them only costs what taking
//! it apart and putting it in order costs.

use std::iter::Peekable;

use super::MAX_FRAME;
use crate::codec::Codec;
use crate::rtp::batch::BatchPacket;
use crate::rtp::packet::{FIXED_HEADER_LEN, set_sequence_number};

/// The NAL unit type of a fragment.
const FU_A: u8 = 28;
/// Bits of its second byte: the NAL unit begins, and ends, with it.
const START: u8 = 0x80;
/// See [`START`].
const END: u8 = 0x40;

/// Joins the fragments of one input.
#[derive(Debug)]
pub(crate) struct Joiner {
    h264: bool,
    /// How many packets are fewer than there were.
    fewer: u16,
    /// The RTP timestamp of the last unit whose source said what it knows. Such sources send in order, and nothing is lost on the way.
    known: Option<u32>,
}

#[derive(Clone, Copy)]
struct Fragment<'a> {
    seq: u16,
    marker: bool,
    indicator: u8,
    head: u8,
    body: &'a [u8],
}

impl Joiner {
    pub(crate) fn new(codec: Codec) -> Self {
        Self { h264: codec == Codec::H264, fewer: 0, known: None }
    }

    /// `packet` was written to `out`, from `at` on. Appends to it what of `rest` can be joined.
    pub(super) fn join<'a>(
        &mut self,
        packet: BatchPacket<'a>,
        rest: &mut Peekable<impl Iterator<Item = BatchPacket<'a>>>,
        out: &mut Vec<u8>,
        at: usize,
    ) {
        let Some(rtp) = packet.rtp() else { return };
        if packet.unit.is_some() {
            self.known = Some(rtp.timestamp());
        }
        set_sequence_number(&mut out[at..], rtp.sequence_number().wrapping_sub(self.fewer));
        let Some(mut last) = self.fragment(packet) else { return };
        while let Some(next) =
            rest.peek().and_then(|next| self.following(last, *next)).filter(|next| out.len() + next.body.len() <= MAX_FRAME)
        {
            out.extend_from_slice(next.body);
            self.fewer = self.fewer.wrapping_add(1);
            last = next;
            rest.next();
        }
        out[at + 1] = (out[at + 1] & 0x7F) | (u8::from(last.marker) << 7);
        out[at + FIXED_HEADER_LEN + 1] |= last.head & END;
    }

    /// The packet as a fragment that may be joined with others.
    fn fragment<'a>(&self, packet: BatchPacket<'a>) -> Option<Fragment<'a>> {
        let rtp = packet.rtp().filter(|rtp| self.h264 && self.known == Some(rtp.timestamp()))?;
        let plain = rtp.header_len() == FIXED_HEADER_LEN && FIXED_HEADER_LEN + rtp.payload().len() == packet.bytes.len();
        match rtp.payload() {
            [indicator, head, body @ ..] if plain && indicator & 0x1F == FU_A => {
                Some(Fragment { seq: rtp.sequence_number(), marker: rtp.marker(), indicator: *indicator, head: *head, body })
            }
            _ => None,
        }
    }

    /// The next packet, where it goes on with the same NAL unit.
    fn following<'a>(&self, last: Fragment<'a>, next: BatchPacket<'a>) -> Option<Fragment<'a>> {
        let goes_on = |next: &Fragment<'_>| {
            next.seq == last.seq.wrapping_add(1)
                && next.indicator == last.indicator
                && (next.head ^ last.head) & 0x1F == 0
                && last.head & END == 0
                && next.head & START == 0
        };
        self.fragment(next).filter(|_| next.unit.is_none()).filter(goes_on)
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, Bytes};

    use super::super::{Assembler, Message, RtpHead, decode, encode_rtp};
    use super::*;
    use crate::codec::{AccessUnit, Depacketized, Depacketizer, Format, Packetizer};
    use crate::rtp::batch::{BatchWriter, RtpBatch, UnitFacts};
    use crate::rtp::packet::{RtpHeader, write_header};

    const FACTS: UnitFacts = UnitFacts { composition: 0, key: true, disposable: false };

    fn format() -> Format {
        Format::H264 { sps: vec![Bytes::from_static(&[0x67, 1, 2])], pps: vec![Bytes::from_static(&[0x68, 3])] }
    }

    fn unit(kinds: &[(u8, usize)]) -> AccessUnit {
        let mut data = Vec::new();
        for (kind, len) in kinds {
            data.put_u32(*len as u32);
            data.push(*kind);
            data.extend((1..*len).map(|n| n as u8 | 1));
        }
        AccessUnit { pts: 0, dts: 0, key: kinds.iter().any(|(kind, _)| kind & 0x1F == 5), data: data.into() }
    }

    fn batch(unit: &AccessUnit, seq: &mut u16, timestamp: u32, facts: Option<UnitFacts>) -> RtpBatch {
        let (mut batch, mut facts) = (BatchWriter::default(), facts);
        Packetizer::new(Codec::H264, 1160).packetize(unit, &format(), &mut |payload| {
            let header = RtpHeader { marker: payload.marker, payload_type: 96, sequence_number: *seq, timestamp, ssrc: 1 };
            let mut fixed = [0; FIXED_HEADER_LEN];
            write_header(&mut fixed, &header, &[]).unwrap();
            batch.packet(facts.take(), |buffer| {
                buffer.extend_from_slice(&fixed);
                payload.write_to(buffer);
            });
            *seq = seq.wrapping_add(1);
        });
        batch.finish()
    }

    /// What a child gets: sequence numbers, and payloads with timestamp and marker.
    fn through(joiner: &mut Joiner, batches: &[RtpBatch]) -> Vec<(u16, u32, bool, Vec<u8>)> {
        let mut got = Vec::new();
        encode_rtp(RtpHead { job: 1, input: 0, sent: 0, clock: None }, batches, joiner, &mut Vec::new(), |frame| {
            assert!(frame.len() <= MAX_FRAME);
            let Message::Rtp { batch, .. } = decode(Assembler::default().push(frame).unwrap().unwrap()).unwrap() else { panic!() };
            got.extend(batch.iter().map(|packet| {
                let rtp = packet.rtp().unwrap();
                (rtp.sequence_number(), rtp.timestamp(), rtp.marker(), rtp.payload().to_vec())
            }));
            true
        });
        got
    }

    fn units(packets: &[(u16, u32, bool, Vec<u8>)]) -> Vec<Option<AccessUnit>> {
        let mut depacketizer = Depacketizer::new(&format());
        let mut out = Vec::new();
        for (seq, timestamp, marker, payload) in packets {
            depacketizer.push(payload, i64::from(*timestamp), *seq, *marker);
            while let Some(output) = depacketizer.poll() {
                out.push(match output {
                    Depacketized::Unit(unit) => Some(AccessUnit { pts: 0, dts: 0, ..unit }),
                    Depacketized::Lost => None,
                    Depacketized::Format(format) => panic!("{format:?}"),
                });
            }
        }
        out
    }

    #[test]
    fn long_units_arrive_whole_in_few_packets() {
        // Slices of one picture, small and large, of one frame and of several.
        let sent =
            [&[(0x65, 150_000)][..], &[(0x41, 500)], &[(0x41, 9_000), (0x41, 700), (0x41, 7_000)], &[(0x06, 30), (0x01, 20_000)]].map(unit);
        for facts in [Some(FACTS), None] {
            let (mut seq, mut joiner) = (65_500_u16, Joiner::new(Codec::H264));
            let batches: Vec<RtpBatch> = sent.iter().zip(1..).map(|(unit, at)| batch(unit, &mut seq, at * 3000, facts)).collect();
            let got = through(&mut joiner, &batches);
            assert_eq!(units(&got), sent.iter().cloned().map(Some).collect::<Vec<_>>());
            assert!(got.windows(2).all(|two| two[1].0 == two[0].0.wrapping_add(1)), "numbers follow each other");
            let all: usize = batches.iter().map(RtpBatch::len).sum();
            assert!(if facts.is_some() { got.len() < 16 } else { got.len() == all }, "{} of {all}", got.len());
        }
    }

    #[test]
    fn what_is_lost_stays_lost() {
        let (mut seq, mut joiner) = (7_u16, Joiner::new(Codec::H264));
        let whole = [unit(&[(0x65, 5_000)]), unit(&[(0x41, 6_000)]), unit(&[(0x41, 7_000)])];
        let mut batches: Vec<RtpBatch> = whole.iter().zip(1..).map(|(unit, at)| batch(unit, &mut seq, at * 3000, Some(FACTS))).collect();
        let second = batches[1].clone();
        let rest = batches[1].split_off(2);
        let gap = RtpBatch::of_places(rest.buffer().clone(), rest.iter().skip(1).map(|packet| (packet.range(), packet.unit)));
        batches.insert(2, gap);
        assert!(second.len() > 4);
        let got = units(&through(&mut joiner, &batches));
        assert_eq!(got, [Some(whole[0].clone()), None, Some(whole[2].clone())]);
    }

    #[test]
    fn other_codecs_are_left_alone() {
        let mut seq = 7;
        let batch = batch(&unit(&[(0x65, 5_000)]), &mut seq, 3000, Some(FACTS));
        for codec in [Codec::Vp8, Codec::Aac, Codec::Opus] {
            assert_eq!(through(&mut Joiner::new(codec), std::slice::from_ref(&batch)).len(), batch.len());
        }
    }
}
