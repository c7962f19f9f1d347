//! RTCP: reports to viewers, feedback to publishers, and what both of them say.
//!
//! In: compound packets under SRTCP, time. Out: sender reports, receiver reports, NACK, PLI, FIR, REMB, transport-wide
//! feedback and BYE; retransmissions.

use std::time::{Duration, Instant};

use super::Worker;
use crate::base::NtpTime;
use crate::rtp::batch::ClockMapping;
use crate::rtp::rtcp::{
    Rtcp, SenderInfo, parse, write_bye, write_fir, write_nack, write_pli, write_receiver_report, write_remb, write_sdes_cname,
    write_sender_report,
};
use crate::rtp::srtp::MAX_SRTCP_OVERHEAD;
use crate::sfu::consumer::Outlet;
use crate::sfu::outbox::Outbox;
use crate::sfu::peer::Tuple;
use crate::sfu::producer::Source;
use crate::sfu::resends::MAX_AGE;
use crate::sfu::store::StoredPacket;
use crate::sfu::transport::{Srtp, Transport};

/// How often viewers get sender reports and publishers receiver reports: as libwebrtc does for video, and often enough to
/// follow a drifting clock.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Distance of the first sender reports of a viewer. libwebrtc can't line up sound and picture before it has two of both, and looks once a
/// second: with the usual distance sound would stay where it began for two seconds more.
const EARLY_INTERVAL: Duration = Duration::from_millis(100);
/// How many go out at that distance: until sound that has to be transcoded first has begun, too.
const EARLY_REPORTS: u8 = 5;
/// Most packets that NACKs of one datagram may name: as many as are told apart. A datagram of 64 KB could name 278,000.
const MAX_NAMES: usize = 4096;
/// RTCP goes out when it has grown to this size, so that it fits any path (SRTCP's overhead comes on top).
const MAX_COMPOUND: usize = 1100;

impl Worker {
    pub(super) fn handle_srtcp(&mut self, now: Instant, key: usize, datagram: &mut [u8], out: &mut impl Outbox) {
        let Some(srtp) = &mut self.transports[key].srtp else {
            self.stats.drop_srtp += 1;
            return;
        };
        let Ok(len) = srtp.receiver.open_rtcp(datagram) else {
            self.stats.drop_srtp += 1;
            return;
        };
        self.handle_rtcp(now, key, &datagram[..len], out);
    }

    pub(super) fn handle_rtcp(&mut self, now: Instant, key: usize, compound: &[u8], out: &mut impl Outbox) {
        let mut names = MAX_NAMES;
        for packet in parse(compound).flatten() {
            match packet {
                Rtcp::SenderReport { ssrc, info, reports } => {
                    self.note_sender_report(now, key, ssrc, &info);
                    reports.iter().for_each(|block| self.note_report(now, key, &block));
                }
                Rtcp::ReceiverReport { reports, .. } => reports.iter().for_each(|block| self.note_report(now, key, &block)),
                Rtcp::Nack { media_ssrc, lost, .. } => {
                    if let Some(consumer) = self.consumer_of_ssrc(key, media_ssrc) {
                        names -= self.retransmit(now, consumer, lost.iter().take(names), out);
                    }
                }
                Rtcp::Pli { media_ssrc, .. } => self.key_frame_requested(now, key, media_ssrc),
                Rtcp::Fir { entries, .. } => entries.iter().for_each(|(ssrc, _)| self.key_frame_requested(now, key, ssrc)),
                _ => {}
            }
        }
    }

    fn consumer_of_ssrc(&self, transport: usize, ssrc: u32) -> Option<usize> {
        let owns = |key: &usize| match self.consumers.get(*key).map(|consumer| &consumer.outlet) {
            Some(Outlet::Network { sender, .. }) => sender.owns(ssrc),
            _ => false,
        };
        self.transports.get(transport)?.consumers.iter().copied().find(owns)
    }

    fn note_sender_report(&mut self, now: Instant, key: usize, ssrc: u32, info: &SenderInfo) {
        let wallclock = self.wallclock(now);
        let transport = &mut self.transports[key];
        let Some(whose) = transport.find_ssrc(ssrc).filter(|whose| !whose.rtx) else { return };
        let theirs = info.ntp.to_unix_nanos();
        let offset = transport.ntp_offset.observe(info.ntp, wallclock);
        transport.note_sender_report(now, whose.producer, info);
        if let Some(producer) = self.producers.get_mut(whose.producer) {
            producer.set_clock(ClockMapping { rtp: info.rtp_timestamp, wallclock: theirs.wrapping_add(offset) });
        }
    }

    fn note_report(&mut self, now: Instant, key: usize, block: &crate::rtp::rtcp::ReportBlock) {
        let arrival = NtpTime::from_unix_nanos(self.wallclock(now));
        let Some(consumer) = self.consumer_of_ssrc(key, block.ssrc) else { return };
        if let Some(Outlet::Network { sender, .. }) = self.consumers.get_mut(consumer).map(|consumer| &mut consumer.outlet)
            && sender.ssrc == block.ssrc
        {
            sender.fraction_lost = block.fraction_lost;
            sender.rtt = block.round_trip(arrival).or(sender.rtt);
        }
    }

    /// Gives how many names there were.
    fn retransmit(&mut self, now: Instant, key: usize, lost: impl Iterator<Item = u16>, out: &mut impl Outbox) -> usize {
        let wallclock = self.wallclock(now);
        let Some(consumer) = self.consumers.get_mut(key) else { return 0 };
        let Outlet::Network { transport, sender } = &mut consumer.outlet else { return 0 };
        let Some(producer) = self.producers.get(consumer.producer) else { return 0 };
        let Some(path) = self.transports.get(*transport).and_then(Transport::path) else { return 0 };
        let store = &producer.store;
        // Pictures from before the last key frame are needed by nobody any more.
        let first = store.key_frame().unwrap_or_default();
        let is_of_use = |at: u64, packet: &StoredPacket| at >= first && now.saturating_duration_since(packet.arrival) <= MAX_AGE;
        let mut names = 0;
        for seq in lost {
            names += 1;
            let at = sender.original(seq).and_then(|seq| store.find(seq));
            let packet = at.and_then(|at| store.get(at).filter(|packet| is_of_use(at, packet)));
            let packet = packet.filter(|packet| sender.may_resend(now, seq, packet));
            let bytes = packet.map_or(0, |packet| sender.resend(now, wallclock, packet, &producer.rtp.extensions, path, out));
            if bytes == 0 {
                self.stats.nacks_unanswered += 1;
                continue;
            }
            self.stats.retransmissions += 1;
            self.stats.packets_out += 1;
            self.stats.bytes_out += bytes as u64;
        }
        names
    }

    fn key_frame_requested(&mut self, now: Instant, transport: usize, ssrc: u32) {
        let Some(key) = self.consumer_of_ssrc(transport, ssrc) else { return };
        self.stats.key_frame_requests_in += 1;
        let Some(consumer) = self.consumers.get_mut(key) else { return };
        let producer_key = consumer.producer;
        let Some(producer) = self.producers.get(producer_key) else { return };
        let heard = consumer.requests.ask(now, producer.store.key_frame());
        if !matches!(producer.source, Source::Network(_)) {
            // An RTMP encoder can't be asked for a key frame.
            consumer.restart_unless_answered(now, &producer.store);
            if consumer.wake_at().is_some() && !consumer.listed {
                consumer.listed = true;
                self.paced.push(key);
            }
        }
        if heard {
            self.request_key_frame_of(producer_key, now);
        } else {
            self.stats.key_frame_requests_refused += 1;
        }
    }

    /// Makes sender reports go out to a transport's peer from now on.
    pub(super) fn schedule_report(&mut self, now: Instant, key: usize) {
        let Some(transport) = self.transports.get_mut(key) else { return };
        let soon = now + EARLY_INTERVAL;
        transport.early_reports = EARLY_REPORTS;
        if transport.next_report.is_none_or(|at| at > soon) {
            transport.next_report = Some(soon);
            self.schedule(key);
        }
    }

    pub(super) fn send_reports_if_due(&mut self, now: Instant, key: usize, out: &mut impl Outbox) {
        let ntp = NtpTime::from_unix_nanos(self.wallclock(now));
        let wallclock = self.wallclock(now);
        let Some(transport) = self.transports.get_mut(key) else { return };
        if transport.next_report.is_none_or(|at| at > now) {
            return;
        }
        let interval = if transport.early_reports > 0 { EARLY_INTERVAL } else { REPORT_INTERVAL };
        transport.early_reports = transport.early_reports.saturating_sub(1);
        transport.next_report = (!transport.consumers.is_empty()).then_some(now + interval);
        if transport.path().is_none() {
            return;
        }
        let mut compound = std::mem::take(&mut self.scratch);
        for consumer in &transport.consumers {
            let Some(consumer) = self.consumers.get(*consumer) else { continue };
            let Outlet::Network { sender, .. } = &consumer.outlet else { continue };
            let Some(producer) = self.producers.get(consumer.producer) else { continue };
            let Some(timestamp) = producer.timestamp_at(wallclock).filter(|_| sender.packets > 0 && !sender.is_switching()) else {
                continue;
            };
            let rtp_timestamp = timestamp.wrapping_add(sender.timestamp_offset());
            let info = SenderInfo { ntp, rtp_timestamp, packets: sender.packets, octets: sender.octets };
            write_sender_report(&mut compound, sender.ssrc, &info, &[]);
            write_sdes_cname(&mut compound, sender.ssrc, &sender.cname);
            if compound.len() > MAX_COMPOUND - 300 {
                send_rtcp(transport.tuple.as_ref(), transport.srtp.as_deref_mut(), transport.plain.is_some(), &compound, out);
                compound.clear();
            }
        }
        transport.send_rtcp(&compound, out);
        compound.clear();
        self.scratch = compound;
    }

    pub(super) fn send_bye(&mut self, key: usize, ssrcs: &[u32], out: &mut impl Outbox) {
        let Some(transport) = self.transports.get_mut(key).filter(|_| !ssrcs.is_empty()) else { return };
        let mut compound = Vec::new();
        for chunk in ssrcs.chunks(31) {
            write_receiver_report(&mut compound, chunk[0], &[]);
            write_bye(&mut compound, chunk);
        }
        compound.truncate(MAX_COMPOUND);
        transport.send_rtcp(&compound, out);
    }

    /// Sends a publisher what it should know now. Whether to look again soon.
    pub(super) fn send_feedback(&mut self, now: Instant, key: usize, out: &mut impl Outbox) -> bool {
        let Some(transport) = self.transports.get_mut(key) else { return false };
        if transport.path().is_none() {
            return false;
        }
        let mut compound = std::mem::take(&mut self.scratch);
        let local_ssrc = transport.feedback_ssrc;
        let report = transport.next_receiver_report.is_none_or(|at| at <= now);
        if report {
            transport.next_receiver_report = Some(now + REPORT_INTERVAL);
            let blocks = transport.report_blocks(now);
            write_receiver_report(&mut compound, local_ssrc, &blocks);
            write_sdes_cname(&mut compound, local_ssrc, "headend");
        }
        let mut seqs = std::mem::take(&mut self.seqs);
        let mut remb = Vec::new();
        for index in 0..transport.inputs.len() {
            let input = &mut transport.inputs[index];
            let Some(producer) = self.producers.get_mut(input.producer) else { continue };
            let Some(media) = transport.ssrcs.iter().find(|ssrc| ssrc.producer == input.producer && !ssrc.rtx).map(|ssrc| ssrc.ssrc) else {
                continue;
            };
            seqs.clear();
            let mut wanted = self.key_frame_requests.contains(&input.producer);
            if let Some(nack) = &mut input.nack
                && nack.poll(now, input.rtt, &mut seqs)
                && producer.request_key_frame(now)
            {
                self.stats.key_frame_requests_out += 1;
                wanted = true;
            }
            write_nack(&mut compound, local_ssrc, media, &seqs);
            if wanted && producer.rtp.fir && !producer.rtp.pli {
                input.fir_count = input.fir_count.wrapping_add(1);
                write_fir(&mut compound, local_ssrc, media, input.fir_count);
            } else if wanted {
                write_pli(&mut compound, local_ssrc, media);
            }
            if report && producer.rtp.remb && !producer.rtp.transport_cc {
                remb.push(media);
            }
            if compound.len() > MAX_COMPOUND - 300 {
                transport.send_rtcp(&compound, out);
                compound.clear();
            }
        }
        if !remb.is_empty() {
            write_remb(&mut compound, local_ssrc, self.config.max_incoming_bitrate, &remb);
        }
        transport.send_rtcp(&compound, out);
        compound.clear();
        while transport.twcc.poll(now, local_ssrc, transport.twcc_ssrc, &mut compound) {
            transport.send_rtcp(&compound, out);
            compound.clear();
        }
        (self.scratch, self.seqs) = (compound, seqs);
        true
    }
}

impl Transport {
    fn send_rtcp(&mut self, compound: &[u8], out: &mut impl Outbox) {
        send_rtcp(self.tuple.as_ref(), self.srtp.as_deref_mut(), self.plain.is_some(), compound, out);
    }
}

/// Seals a compound packet and sends it; nothing if it is empty or the transport isn't connected.
fn send_rtcp(tuple: Option<&Tuple>, srtp: Option<&mut Srtp>, plain: bool, compound: &[u8], out: &mut impl Outbox) {
    let (Some(tuple), false) = (tuple, compound.is_empty()) else { return };
    if srtp.is_none() && !plain {
        return;
    }
    out.datagram(tuple, compound.len() + MAX_SRTCP_OVERHEAD, |buffer| {
        buffer[..compound.len()].copy_from_slice(compound);
        srtp.map_or(compound.len(), |srtp| srtp.sender.seal_rtcp(buffer, compound.len()).unwrap_or(0))
    });
}
