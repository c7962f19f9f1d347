//! A path to one peer: for browsers ICE and DTLS below and SRTP in the middle; producers and consumers above.
//!
//! In: what the peer machine says. Out: which producer a packet belongs to, and how to send to the peer.

use std::time::{Duration, Instant};

use super::id::{RouterId, TransportId};
use super::ortc::ProducerRtp;
use super::peer::{Peer, SrtpKeys, Tuple};
use super::producer::Producer;
use super::sender::Path;
use super::types::ProducerStats;
use crate::base::MediaKind;
use crate::rtp::clock::ClockOffset;
use crate::rtp::nack::{NackConfig, NackGenerator};
use crate::rtp::packet::RtpPacket;
use crate::rtp::receive_stats::ReceiveStats;
use crate::rtp::rtcp::{ReportBlock, SenderInfo};
use crate::rtp::srtp::{Keying, SrtpError, SrtpReceiver, SrtpSender};
use crate::rtp::twcc::{FEEDBACK_INTERVAL, TwccReceiver};

/// Both directions of SRTP.
pub(super) struct Srtp {
    /// What we send with.
    pub sender: SrtpSender,
    /// What we receive with.
    pub receiver: SrtpReceiver,
}

impl Srtp {
    /// From what DTLS agreed on.
    pub(super) fn new(keys: &SrtpKeys) -> Result<Self, SrtpError> {
        let profile = keys.profile;
        Ok(Self {
            sender: SrtpSender::new(&Keying::new(profile, &keys.local_key, &keys.local_salt)?)?,
            receiver: SrtpReceiver::new(&Keying::new(profile, &keys.remote_key, &keys.remote_salt)?)?,
        })
    }
}

impl std::fmt::Debug for Srtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Srtp").finish_non_exhaustive()
    }
}

/// An SSRC that a peer sends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ssrc {
    pub ssrc: u32,
    /// Slab key of the producer.
    pub producer: usize,
    /// Its retransmission stream.
    pub rtx: bool,
}

/// What a plain transport is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain {
    /// The port of its own socket.
    pub port: u16,
    /// The peer's address is learned from the first RTP packet it sends.
    pub comedia: bool,
}

/// A path to one browser, or to somebody who speaks RTP as it is.
#[derive(Debug)]
pub(super) struct Transport {
    pub id: TransportId,
    pub router: RouterId,
    /// ICE and DTLS; `None` for a plain transport.
    pub peer: Option<Peer>,
    pub plain: Option<Plain>,
    /// Once DTLS is done.
    pub srtp: Option<Box<Srtp>>,
    /// Where to send media.
    pub tuple: Option<Tuple>,
    /// Slab keys of its consumers.
    pub consumers: Vec<usize>,
    /// Slab keys of its producers.
    pub producers: Vec<usize>,
    /// The SSRCs its peer sends with, as far as known. A handful: searched from the front.
    pub ssrcs: Vec<Ssrc>,
    /// When its timer in the worker's heap fires, if there is one.
    pub scheduled: Option<Instant>,
    /// When reports are due.
    pub next_report: Option<Instant>,
    /// How many of the next reports follow soon on each other.
    pub early_reports: u8,
    /// What is received, one for each producer.
    pub inputs: Vec<Input>,
    /// Our SSRC in feedback to the peer.
    pub feedback_ssrc: u32,
    /// When the peer's tracks are reported on next.
    pub next_receiver_report: Option<Instant>,
    /// Added to the peer's NTP time, it gives ours: the same for all its tracks, so that they stay in sync.
    pub ntp_offset: ClockOffset,
    /// Arrivals by transport-wide sequence number.
    pub twcc: TwccReceiver,
    /// An SSRC of the peer that feedback on the whole transport is addressed to.
    pub twcc_ssrc: u32,
}

impl Transport {
    /// One that waits for its peer: a browser, or anybody who sends RTP as it is (`plain`).
    pub(super) fn new(id: TransportId, router: RouterId, peer: Option<Peer>, plain: Option<Plain>, feedback_ssrc: u32) -> Self {
        Self {
            id,
            router,
            peer,
            plain,
            srtp: None,
            tuple: None,
            consumers: Vec::new(),
            producers: Vec::new(),
            ssrcs: Vec::new(),
            scheduled: None,
            next_report: None,
            early_reports: 0,
            inputs: Vec::new(),
            feedback_ssrc,
            next_receiver_report: None,
            ntp_offset: ClockOffset::new(),
            twcc: TwccReceiver::new(FEEDBACK_INTERVAL),
            twcc_ssrc: 0,
        }
    }

    /// How to send media, once that is possible.
    pub(super) fn path(&self) -> Option<Path<'_>> {
        let tuple = self.tuple.as_ref()?;
        match &self.srtp {
            Some(srtp) => Some(Path { tuple, srtp: Some(&srtp.sender) }),
            None => self.plain.map(|_| Path { tuple, srtp: None }),
        }
    }

    pub(super) fn find_ssrc(&self, ssrc: u32) -> Option<Ssrc> {
        self.ssrcs.iter().find(|known| known.ssrc == ssrc).copied()
    }

    /// A producer was made on it.
    pub(super) fn add_producer(&mut self, producer: usize, rtp: &ProducerRtp) {
        self.producers.push(producer);
        self.ssrcs.extend(rtp.ssrc.map(|ssrc| Ssrc { ssrc, producer, rtx: false }));
        self.ssrcs.extend(rtp.rtx_ssrc.map(|ssrc| Ssrc { ssrc, producer, rtx: true }));
        self.inputs.push(Input::new(producer, rtp));
    }

    /// A producer was closed.
    pub(super) fn forget_producer(&mut self, producer: usize) {
        self.producers.retain(|other| *other != producer);
        self.inputs.retain(|input| input.producer != producer);
        let srtp = &mut self.srtp;
        self.ssrcs.retain(|ssrc| {
            let stays = ssrc.producer != producer;
            if let Some(srtp) = srtp.as_mut().filter(|_| !stays) {
                srtp.receiver.forget(ssrc.ssrc);
            }
            stays
        });
    }

    fn input(&mut self, producer: usize) -> Option<&mut Input> {
        self.inputs.iter_mut().find(|input| input.producer == producer)
    }

    /// A packet went into the producer's store as its newest.
    pub(super) fn note_packet(&mut self, now: Instant, key: usize, rtx: bool, producer: &Producer) {
        let Some(packet) = producer.store.end().checked_sub(1).and_then(|index| producer.store.get(index)) else { return };
        let Some(input) = self.input(key) else { return };
        if rtx {
            input.stats.on_recovered(packet.seq, packet.bytes().len());
        } else {
            input.stats.on_packet(now, packet.seq, packet.timestamp, packet.bytes().len());
        }
        if let Some(nack) = &mut input.nack {
            nack.on_packet(now, packet.seq, packet.key_frame_start);
        }
    }

    /// Notes the transport-wide sequence number of a packet, if it has one.
    pub(super) fn note_transport_wide_seq(&mut self, now: Instant, id: u8, packet: &RtpPacket<'_>) {
        if id != 0
            && let Some([high, low]) = packet.extension(id)
        {
            self.twcc.on_packet(now, u16::from_be_bytes([*high, *low]));
            self.twcc_ssrc = packet.ssrc();
        }
    }

    pub(super) fn note_sender_report(&mut self, now: Instant, producer: usize, info: &SenderInfo) {
        if let Some(input) = self.input(producer) {
            input.stats.on_sender_report(now, info.ntp);
        }
    }

    /// What to report on the producers' streams.
    pub(super) fn report_blocks(&mut self, now: Instant) -> Vec<ReportBlock> {
        let ssrcs = &self.ssrcs;
        let blocks = self.inputs.iter_mut().filter_map(|input| {
            let ssrc = ssrcs.iter().find(|ssrc| ssrc.producer == input.producer && !ssrc.rtx)?;
            input.stats.report_block(now, ssrc.ssrc)
        });
        blocks.collect()
    }

    /// Adds what is known of a producer's stream on the network.
    pub(super) fn add_stats(&self, producer: usize, stats: &mut ProducerStats) {
        let Some(input) = self.inputs.iter().find(|input| input.producer == producer) else { return };
        stats.rtt = input.rtt.map(|rtt| rtt.as_secs_f64());
        stats.lost = input.stats.lost();
        stats.jitter = input.stats.jitter().as_secs_f64();
    }
}

/// What is received of one producer.
#[derive(Debug)]
pub(super) struct Input {
    /// Slab key of the producer.
    pub producer: usize,
    /// Asks for lost packets, if the peer answers.
    pub nack: Option<NackGenerator>,
    /// Round trip time to the peer, if known.
    pub rtt: Option<Duration>,
    /// Counts FIRs.
    pub fir_count: u8,
    stats: ReceiveStats,
}

impl Input {
    fn new(producer: usize, rtp: &ProducerRtp) -> Self {
        let video = rtp.codec.kind() == MediaKind::Video;
        let config = NackConfig { key_frames: video, ..NackConfig::default() };
        let nack = rtp.nack.then(|| NackGenerator::new(config));
        Self { producer, nack, rtt: None, fir_count: 0, stats: ReceiveStats::new(rtp.clock_rate) }
    }
}
