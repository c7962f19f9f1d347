//! What a consumer sends to one peer: packets under its own numbers, retransmissions, and what its sender reports say.
//!
//! In: packets of the producer's store. Out: RTP packets written and sealed in place in the worker's send arena.

use std::time::{Duration, Instant};

use super::ortc::{ExtensionIds, RtpParameters, is_rtx};
use super::outbox::Outbox;
use super::peer::Tuple;
use super::resends::Resends;
use super::store::StoredPacket;
use crate::base::wrap::timestamp_distance;
use crate::base::{NtpTime, UnixNanos, rescale};
use crate::rtp::packet::{RtpHeader, RtpPacket, write_header};
use crate::rtp::rewrite::{Rewriter, Rewritten};
use crate::rtp::srtp::{MAX_SRTP_OVERHEAD, SrtpSender};

/// The `mid` goes with the first packets only: until then every receiver has learned the SSRC (RFC 8843 section 15.1).
const PACKETS_WITH_MID: u16 = 100;
/// Most bytes a header with all our extensions can have: 12 fixed, 4 for the block, `mid` 17, abs-send-time 4, level 2, orientation 2.
const MAX_HEADER: usize = 12 + 4 + 28;

/// What sealing and sending needs from the transport.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path<'a> {
    pub tuple: &'a Tuple,
    /// With which keys; `None` sends RTP as it is.
    pub srtp: Option<&'a SrtpSender>,
}

/// The retransmission stream (RFC 4588).
#[derive(Debug)]
struct Rtx {
    ssrc: u32,
    payload_type: u8,
    /// Extended: it is the SRTP packet index as well.
    next: u64,
}

/// The sending side of a consumer.
#[derive(Debug)]
pub(super) struct Sender {
    pub ssrc: u32,
    /// RTP packets sent, without retransmissions, as sender reports count them.
    pub packets: u32,
    /// Payload bytes sent, likewise.
    pub octets: u32,
    /// Round trip time, from receiver reports.
    pub rtt: Option<Duration>,
    /// Fraction lost of the last receiver report, in 1/256.
    pub fraction_lost: u8,
    pub cname: String,
    payload_type: u8,
    rtx: Option<Rtx>,
    extensions: ExtensionIds,
    mid: Vec<u8>,
    with_mid: u16,
    rewriter: Rewriter,
    timestamp_offset: u32,
    last: Option<(u32, Instant)>,
    anchor: Option<(u32, UnixNanos)>,
    resends: Resends,
}

impl Sender {
    /// For a consumer's parameters. `first_seq` and `first_rtx_seq` are random.
    pub(super) fn new(parameters: &RtpParameters, first_seq: u16, first_rtx_seq: u16) -> Self {
        let encoding = parameters.encodings.first().cloned().unwrap_or_default();
        let codec = parameters.codecs.iter().find(|codec| !is_rtx(&codec.mime_type));
        let rtx_codec = parameters.codecs.iter().find(|codec| is_rtx(&codec.mime_type));
        // The first numbers stay in the lower half, so that losing the first packets can't hide a rollover from the receiver
        // (RFC 3711 section 3.3.1).
        let rtx = encoding.rtx.zip(rtx_codec).map(|(rtx, codec)| Rtx {
            ssrc: rtx.ssrc,
            payload_type: codec.payload_type,
            next: u64::from(first_rtx_seq & 0x7FFF),
        });
        Self {
            ssrc: encoding.ssrc.unwrap_or_default(),
            packets: 0,
            octets: 0,
            rtt: None,
            fraction_lost: 0,
            cname: parameters.rtcp.cname.clone().unwrap_or_default(),
            payload_type: codec.map_or(0, |codec| codec.payload_type),
            rtx,
            extensions: ExtensionIds::of(parameters),
            mid: parameters.mid.as_deref().unwrap_or_default().as_bytes().to_vec(),
            with_mid: PACKETS_WITH_MID,
            rewriter: Rewriter::new(first_seq & 0x7FFF),
            timestamp_offset: 0,
            last: None,
            anchor: None,
            resends: Resends::new(),
        }
    }

    /// Whether this SSRC is its media or its retransmission stream.
    pub(super) fn owns(&self, ssrc: u32) -> bool {
        self.ssrc == ssrc || self.rtx.as_ref().is_some_and(|rtx| rtx.ssrc == ssrc)
    }

    /// The packet with this number of the same source is the next one to send: numbers go on without a gap.
    pub(super) fn resume(&mut self, seq: u64) {
        self.rewriter.resume(seq);
    }

    /// The source is about to change: `timestamp` is what a packet captured at `wallclock` would be sent with.
    pub(super) fn set_anchor(&mut self, timestamp: u32, wallclock: UnixNanos) {
        self.anchor = Some((timestamp, wallclock));
    }

    /// The first packet of another source: `seq` is the next one to send, its `timestamp` (in ticks of `clock_rate`) was captured at
    /// `captured`. What goes out goes on from the wall clock, but never back.
    pub(super) fn switch(&mut self, now: Instant, seq: u64, timestamp: u32, captured: UnixNanos, clock_rate: u32) {
        let out = match (self.anchor.take(), self.last) {
            (Some(anchor), Some(last)) => continued_timestamp(now, anchor, last, captured, clock_rate),
            _ => timestamp.wrapping_add(self.timestamp_offset),
        };
        self.rewriter.sync_to(seq, timestamp, out);
        self.timestamp_offset = out.wrapping_sub(timestamp);
    }

    /// Whether the next packet comes from another source than the last one.
    pub(super) fn is_switching(&self) -> bool {
        self.anchor.is_some()
    }

    /// What is added to the source's timestamps.
    pub(super) fn timestamp_offset(&self) -> u32 {
        self.timestamp_offset
    }

    /// Leaves a packet out without a gap. False: it has to be sent.
    pub(super) fn skip(&mut self, packet: &StoredPacket) -> bool {
        self.rewriter.skip(packet.seq)
    }

    /// Sends a packet. Gives its size on the wire, `None` if it came too late to be sent.
    pub(super) fn send(
        &mut self,
        now: Instant,
        wallclock: UnixNanos,
        packet: &StoredPacket,
        source: &ExtensionIds,
        path: Path<'_>,
        out: &mut impl Outbox,
    ) -> Option<usize> {
        let rewritten = self.rewriter.map(packet.seq, packet.timestamp)?;
        let header = self.header(packet, rewritten);
        let with_mid = self.with_mid > 0;
        self.with_mid = self.with_mid.saturating_sub(1);
        let sent = self.write(&header, rewritten.index, None, with_mid, self.send_time(now, wallclock, packet), packet, source, path, out);
        if sent > 0 {
            self.packets = self.packets.wrapping_add(1);
            let octets = u32::from(packet.payload_end - packet.payload_start);
            self.octets = self.octets.wrapping_add(octets);
            self.resends.note_sent(octets);
            self.last = Some((rewritten.timestamp, now));
        }
        Some(sent)
    }

    /// The source's number of the packet sent with number `seq`, if there was one.
    pub(super) fn original(&self, seq: u16) -> Option<u64> {
        self.rewriter.original(seq)
    }

    /// Whether the packet that was sent with number `seq` may be sent again now: not twice in a round trip, within a share of what is sent.
    pub(super) fn may_resend(&mut self, now: Instant, seq: u16, packet: &StoredPacket) -> bool {
        let octets = u32::from(packet.payload_end - packet.payload_start);
        self.resends.take(now, seq, octets, self.rtt)
    }

    /// Sends a packet again: as RTX where the viewer has it, else as it was. Gives its size on the wire, 0 if it can't be sent.
    pub(super) fn resend(
        &mut self,
        now: Instant,
        wallclock: UnixNanos,
        packet: &StoredPacket,
        source: &ExtensionIds,
        path: Path<'_>,
        out: &mut impl Outbox,
    ) -> usize {
        let Some(rewritten) = self.rewriter.map(packet.seq, packet.timestamp) else { return 0 };
        let mut header = self.header(packet, rewritten);
        let send_time = self.send_time(now, wallclock, packet);
        let Some(rtx) = &mut self.rtx else {
            return self.write(&header, rewritten.index, None, true, send_time, packet, source, path, out);
        };
        let index = rtx.next;
        rtx.next += 1;
        (header.ssrc, header.payload_type, header.sequence_number) = (rtx.ssrc, rtx.payload_type, index as u16);
        self.write(&header, index, Some(rewritten.sequence_number()), true, send_time, packet, source, path, out)
    }

    fn header(&self, packet: &StoredPacket, rewritten: Rewritten) -> RtpHeader {
        RtpHeader {
            marker: packet.marker,
            payload_type: self.payload_type,
            sequence_number: rewritten.sequence_number(),
            timestamp: rewritten.timestamp,
            ssrc: self.ssrc,
        }
    }

    /// What abs-send-time says. Without RTX a retransmission repeats the packet under the same SRTP index, which is only safe with
    /// the very same bytes (RFC 3711 section 9.1): then it is the time at which the packet came.
    fn send_time(&self, now: Instant, wallclock: UnixNanos, packet: &StoredPacket) -> UnixNanos {
        if self.rtx.is_some() {
            return wallclock;
        }
        wallclock - i64::try_from(now.saturating_duration_since(packet.arrival).as_nanos()).unwrap_or(0)
    }

    #[allow(clippy::too_many_arguments)] // one call per packet; a struct of the same fields would only be unpacked again
    fn write(
        &self,
        header: &RtpHeader,
        index: u64,
        original_seq: Option<u16>,
        with_mid: bool,
        send_time: UnixNanos,
        packet: &StoredPacket,
        source: &ExtensionIds,
        path: Path<'_>,
        out: &mut impl Outbox,
    ) -> usize {
        let ids = &self.extensions;
        let mut list: [(u8, &[u8]); 4] = [(0, &[]); 4];
        let mut count = 0;
        let mut add = |id: u8, value| {
            list[count] = (id, value);
            count += 1;
        };
        let abs_send_time = ((NtpTime::from_unix_nanos(send_time).0 >> 14) as u32).to_be_bytes();
        if ids.abs_send_time != 0 {
            add(ids.abs_send_time, &abs_send_time[1..]);
        }
        // Without RTX always, for the same reason as in `send_time`.
        if ids.mid != 0 && !self.mid.is_empty() && (with_mid || self.rtx.is_none()) {
            add(ids.mid, &self.mid);
        }
        for (ours, theirs) in [(ids.audio_level, source.audio_level), (ids.video_orientation, source.video_orientation)] {
            if ours != 0 && theirs != 0 {
                let value = RtpPacket::parse(packet.bytes()).ok().and_then(|packet| packet.extension(theirs));
                if let Some(value) = value.filter(|value| value.len() == 1) {
                    add(ours, value);
                }
            }
        }
        let extensions = &list[..count];
        let payload = packet.payload();
        let room = MAX_HEADER + 2 + payload.len() + MAX_SRTP_OVERHEAD;
        let mut written = 0;
        out.datagram(path.tuple, room, |buffer| {
            written = fill(buffer, header, extensions, original_seq, payload, path.srtp, index).unwrap_or(0);
            written
        });
        written
    }
}

/// The timestamp for something captured at `captured`, when `anchor` gives a timestamp and the wall clock it stands for, and `last` is
/// the last one sent and when. Goes by the wall clock unless that would go back or far away, as it does between different clocks.
fn continued_timestamp(now: Instant, anchor: (u32, UnixNanos), last: (u32, Instant), captured: UnixNanos, clock_rate: u32) -> u32 {
    /// How far the wall clock may lead away from what has passed since the last packet.
    const TRUST: i64 = 10;
    let rate = i64::from(clock_rate);
    let passed = i64::try_from(now.saturating_duration_since(last.1).as_nanos()).unwrap_or(i64::MAX);
    let by_time = rescale(passed, 1_000_000_000, clock_rate).max(rate / 30);
    let by_clock = anchor.0.wrapping_add(rescale(captured.saturating_sub(anchor.1), 1_000_000_000, clock_rate) as u32);
    let ahead = timestamp_distance(by_clock, last.0);
    if ahead > 0 && (ahead - by_time).abs() <= TRUST * rate { by_clock } else { last.0.wrapping_add(by_time as u32) }
}

fn fill(
    buffer: &mut [u8],
    header: &RtpHeader,
    extensions: &[(u8, &[u8])],
    original_seq: Option<u16>,
    payload: &[u8],
    srtp: Option<&SrtpSender>,
    index: u64,
) -> Option<usize> {
    let header_len = write_header(buffer, header, extensions).ok()?;
    let mut len = header_len;
    if let Some(seq) = original_seq {
        buffer.get_mut(len..len + 2)?.copy_from_slice(&seq.to_be_bytes());
        len += 2;
    }
    buffer.get_mut(len..len + payload.len())?.copy_from_slice(payload);
    len += payload.len();
    match srtp {
        Some(srtp) => srtp.seal_with_index(buffer, header_len, len, index).ok(),
        None => Some(len),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a virtual clock has to begin somewhere
mod tests {
    use super::*;

    #[test]
    fn timestamps_go_on_from_the_wall_clock_but_never_back() {
        let (t, s) = (Instant::now(), 1_000_000_000);
        let now = t + Duration::from_secs(3);
        // captured relative to the anchor, last sent timestamp, expected
        for (captured, last, expected) in [
            (3 * s, 90_000, 100_000 + 270_000),
            (3 * s, 0xFFFF_FFF0, 100_000 + 270_000),
            (-s, 100_000, 100_000 + 270_000),       // the new clock is behind: by what has passed
            (3600 * s, 100_000, 100_000 + 270_000), // or far ahead
        ] {
            assert_eq!(continued_timestamp(now, (100_000, 50 * s), (last, t), 50 * s + captured, 90_000), expected, "{captured}");
        }
    }
}
