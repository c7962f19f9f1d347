//! A worker, simulated browsers, a virtual clock, and seeded links between them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::{Event, Worker};
use crate::base::wrap::SeqExtender;
use crate::base::{MediaKind, Now, Wall};
use crate::codec::{Codec, payload_facts};
use crate::rtp::batch::{BatchWriter, RtpBatch, UnitFacts};
use crate::rtp::packet::{RtpHeader, RtpPacket, is_rtcp, write_header};
use crate::rtp::rtcp::{Rtcp, SenderInfo, parse, write_nack, write_pli, write_receiver_report};
use crate::rtp::rtx::decapsulate;
use crate::rtp::srtp::{MAX_SRTCP_OVERHEAD, MAX_SRTP_OVERHEAD};
use crate::sfu::config::SfuConfig;
use crate::sfu::id::{ConsumerId, ProducerId, RouterId, TransportId};
use crate::sfu::ortc::{
    DtlsRole, ExtensionIds, ParameterValue, RtcpFeedback, RtpCapabilities, RtpCodecParameters, RtpEncodingParameters,
    RtpHeaderExtensionParameters, RtpParameters, RtxParameters, extension_uri, is_rtx, router_capabilities,
};
use crate::sfu::outbox::{Outbox, Readiness};
use crate::sfu::peer::client::ClientPeer;
use crate::sfu::peer::{Certificate, PeerEvent, Protocol, Received, Tuple};
use crate::sfu::transport::Srtp;
use crate::sfu::types::{ConsumerInfo, ConsumerOptions, ProducerOptions};

pub(super) const DELAY: Duration = Duration::from_millis(10);
pub(super) const FRAME: Duration = Duration::from_millis(33);

#[allow(clippy::disallowed_methods)] // The virtual clock has to begin somewhere.
fn start() -> Instant {
    Instant::now()
}

pub(super) fn certificate() -> Certificate {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    CERTIFICATE.get_or_init(|| Certificate::generate().unwrap()).clone()
}

#[derive(Default)]
pub(super) struct VecOutbox {
    pub datagrams: Vec<(Tuple, Vec<u8>)>,
    pub batches: HashMap<ConsumerId, Vec<RtpBatch>>,
    pub full: bool,
}

impl Outbox for VecOutbox {
    fn datagram(&mut self, tuple: &Tuple, max_len: usize, write: impl FnOnce(&mut [u8]) -> usize) {
        let mut buffer = vec![0; max_len];
        let len = write(&mut buffer);
        buffer.truncate(len);
        if len > 0 {
            self.datagrams.push((*tuple, buffer));
        }
    }

    fn readiness(&mut self, _: ConsumerId) -> Readiness {
        if self.full { Readiness::Full } else { Readiness::Ready }
    }

    fn deliver(&mut self, consumer: ConsumerId, batch: RtpBatch) {
        self.batches.entry(consumer).or_default().push(batch);
    }
}

/// A media packet as a browser got it, retransmissions unpacked.
#[derive(Debug, Clone)]
pub(super) struct Got {
    pub at: Instant,
    pub ssrc: u32,
    pub seq: u64,
    pub timestamp: u32,
    pub payload: Vec<u8>,
    pub mid: Option<String>,
    pub again: bool,
}

pub(super) struct Browser {
    pub peer: ClientPeer,
    pub transport: TransportId,
    pub address: SocketAddr,
    pub srtp: Option<Srtp>,
    pub got: Vec<Got>,
    pub reports: Vec<(u32, SenderInfo)>,
    pub byes: Vec<u32>,
    pub plis: Vec<(Instant, u32)>,
    pub nacks: Vec<u16>,
    pub receiver_reports: usize,
    pub feedbacks: usize,
    pub nacking: bool,
    pub vanished: bool,
    consumers: Vec<ConsumerInfo>,
    extenders: HashMap<u32, SeqExtender>,
}

impl Browser {
    pub(super) fn video(&self) -> Vec<&Got> {
        let ssrcs: Vec<_> =
            self.consumers.iter().filter(|c| c.kind == MediaKind::Video).map(|c| c.rtp_parameters.encodings[0].ssrc).collect();
        self.got.iter().filter(|got| ssrcs.contains(&Some(got.ssrc))).collect()
    }

    /// In order of sequence numbers, each once.
    pub(super) fn video_in_order(&self) -> Vec<&Got> {
        let mut video = self.video();
        video.sort_by_key(|got| got.seq);
        video.dedup_by_key(|got| got.seq);
        video
    }
}

pub(super) struct Sim {
    pub now: Instant,
    pub worker: Worker,
    pub router: RouterId,
    pub out: VecOutbox,
    pub browsers: Vec<Browser>,
    pub events: Vec<Event>,
    /// Of 1000 RTP packets to browsers (or from them).
    pub lost_per_mille: u64,
    wire: BTreeMap<(Instant, u64), (bool, Tuple, Vec<u8>)>,
    sent: u64,
    random: u64,
}

fn flip(tuple: Tuple) -> Tuple {
    Tuple { local: tuple.remote, remote: tuple.local, protocol: tuple.protocol }
}

impl Sim {
    pub(super) fn new(seed: u64) -> Self {
        Self::with(seed, SfuConfig::default())
    }

    pub(super) fn with(seed: u64, config: SfuConfig) -> Self {
        let now = start();
        let mut worker =
            Worker::new(0, config, certificate(), Wall::new(Now { at: now, wall: 1_700_000_000_000_000_000 }), crate::base::seeded(seed));
        let router = worker.create_router();
        Self {
            now,
            worker,
            router,
            out: VecOutbox::default(),
            browsers: Vec::new(),
            events: Vec::new(),
            lost_per_mille: 0,
            wire: BTreeMap::new(),
            sent: 0,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 8
    }

    /// A browser that connects.
    pub(super) fn join(&mut self) -> usize {
        let index = self.browsers.len();
        let address = SocketAddr::from(([198, 51, 100, 1], 1000 + index as u16));
        let tuple = Tuple { local: address, remote: "192.0.2.1:8189".parse().unwrap(), protocol: Protocol::Udp };
        let (id, ice, dtls) = self.worker.create_transport(self.now, self.router).unwrap();
        let peer = ClientPeer::new(self.now, crate::base::seeded(9), &certificate(), DtlsRole::Client, &ice, &dtls, tuple);
        self.worker.connect_transport(self.now, id, peer.dtls_parameters(), peer.ice_parameters(), &mut self.out).unwrap();
        self.browsers.push(Browser {
            peer,
            transport: id,
            address,
            srtp: None,
            got: vec![],
            reports: vec![],
            byes: vec![],
            plis: vec![],
            nacks: vec![],
            receiver_reports: 0,
            feedbacks: 0,
            nacking: true,
            vanished: false,
            consumers: vec![],
            extenders: HashMap::new(),
        });
        index
    }

    pub(super) fn consume(&mut self, browser: usize, producer: ProducerId) -> ConsumerInfo {
        self.consume_with(browser, producer, |_| ())
    }

    pub(super) fn consume_with(&mut self, browser: usize, producer: ProducerId, change: impl FnOnce(&mut ConsumerOptions)) -> ConsumerInfo {
        let mut options = ConsumerOptions {
            producer,
            rtp_capabilities: viewer_capabilities(),
            mid: Some("m".into()),
            cname: "c".into(),
            drop_disposable: false,
            paused: false,
        };
        change(&mut options);
        let info = self.worker.consume(self.now, self.browsers[browser].transport, options, &mut self.out).unwrap();
        self.browsers[browser].consumers.push(info.clone());
        info
    }

    pub(super) fn produce_direct(&mut self, parameters: RtpParameters, kind: MediaKind) -> ProducerId {
        self.worker.produce_direct(self.router, None, ProducerOptions { kind, rtp_parameters: parameters }).unwrap()
    }

    /// Gives packets of whole units to a direct producer, with what their source would know of them.
    pub(super) fn feed(&mut self, producer: ProducerId, packets: Vec<Bytes>) {
        let timestamp = |packet: &Bytes| RtpPacket::parse(packet).ok().map(|packet| packet.timestamp());
        let facts = |packet: &Bytes| RtpPacket::parse(packet).ok().map(|packet| payload_facts(Codec::H264, packet.payload()));
        let mut batch = BatchWriter::default();
        for packets in packets.chunk_by(|a, b| timestamp(a) == timestamp(b)) {
            let of = || packets.iter().filter_map(facts);
            let (key, disposable) = (of().any(|facts| facts.key_frame_start), of().all(|facts| facts.disposable));
            let mut unit = Some(UnitFacts { composition: 0, key, disposable });
            packets.iter().for_each(|packet| batch.packet(unit.take(), |buffer| buffer.extend_from_slice(packet)));
        }
        self.worker.handle_batch(self.now, self.router, producer, batch.finish());
        self.worker.flush(self.now, &mut self.out);
        self.collect();
    }

    pub(super) fn joined(&mut self) -> usize {
        let browser = self.join();
        self.run(Duration::from_millis(300));
        assert!(self.browsers[browser].srtp.is_some(), "connected");
        browser
    }

    fn collect(&mut self) {
        for (tuple, datagram) in std::mem::take(&mut self.out.datagrams) {
            self.send(false, tuple, datagram);
        }
        for index in 0..self.browsers.len() {
            while let Some((tuple, datagram)) = self.browsers[index].peer.poll_transmit() {
                self.send(true, tuple, datagram.to_vec());
            }
            while let Some(event) = self.browsers[index].peer.poll_event() {
                if let PeerEvent::Connected(keys) = event {
                    self.browsers[index].srtp = Some(Srtp::new(&keys).unwrap());
                }
            }
        }
        self.events.extend(std::iter::from_fn(|| self.worker.poll_event()));
    }

    fn send(&mut self, to_server: bool, tuple: Tuple, datagram: Vec<u8>) {
        let media = matches!(datagram.first(), Some(128..=191)) && !is_rtcp(&datagram);
        if media && self.random() % 1000 < self.lost_per_mille {
            return;
        }
        self.sent += 1;
        self.wire.insert((self.now + DELAY, self.sent), (to_server, flip(tuple), datagram));
    }

    /// Sends RTP from a browser.
    pub(super) fn publish(&mut self, browser: usize, packet: &[u8]) {
        let header_len = RtpPacket::parse(packet).unwrap().header_len();
        let mut sealed = packet.to_vec();
        sealed.resize(packet.len() + MAX_SRTP_OVERHEAD, 0);
        let browser = &mut self.browsers[browser];
        let len = browser.srtp.as_mut().unwrap().sender.seal(&mut sealed, header_len, packet.len()).unwrap();
        sealed.truncate(len);
        let tuple = browser.peer.selected_tuple().unwrap();
        self.send(true, tuple, sealed);
    }

    pub(super) fn send_rtcp(&mut self, browser: usize, compound: &[u8]) {
        let mut sealed = compound.to_vec();
        sealed.resize(compound.len() + MAX_SRTCP_OVERHEAD, 0);
        let browser = &mut self.browsers[browser];
        let len = browser.srtp.as_mut().unwrap().sender.seal_rtcp(&mut sealed, compound.len()).unwrap();
        sealed.truncate(len);
        let tuple = browser.peer.selected_tuple().unwrap();
        self.send(true, tuple, sealed);
    }

    pub(super) fn send_pli(&mut self, browser: usize, ssrc: u32) {
        let mut compound = Vec::new();
        write_pli(&mut compound, 1, ssrc);
        self.send_rtcp(browser, &compound);
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.collect();
            let arrival = self.wire.first_key_value().map(|(key, _)| key.0);
            let clients = self.browsers.iter().filter(|b| !b.vanished).filter_map(|b| b.peer.poll_timeout()).min();
            let Some(next) = [arrival, self.worker.poll_timeout(), clients].into_iter().flatten().min().filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to_server, tuple, mut datagram) = entry.remove();
                if to_server {
                    self.worker.handle_datagram(self.now, tuple, &mut datagram, &mut self.out);
                } else if let Some(index) = self.browsers.iter().position(|browser| browser.address == tuple.local && !browser.vanished) {
                    self.receive(index, tuple, &mut datagram);
                }
            }
            self.worker.flush(self.now, &mut self.out);
            self.worker.handle_timeout(self.now, &mut self.out);
            for browser in self.browsers.iter_mut().filter(|browser| !browser.vanished) {
                if browser.peer.poll_timeout().is_some_and(|at| at <= self.now) {
                    browser.peer.handle_timeout(self.now);
                }
            }
        }
        self.now = end;
    }

    fn receive(&mut self, index: usize, tuple: Tuple, datagram: &mut [u8]) {
        let now = self.now;
        let browser = &mut self.browsers[index];
        match browser.peer.handle_datagram(now, tuple, datagram) {
            Received::Srtp => {
                let len = browser.srtp.as_mut().unwrap().receiver.open(datagram).unwrap();
                let nack = browser.take_rtp(now, &mut datagram[..len]);
                if let Some(compound) = nack {
                    self.send_rtcp(index, &compound);
                }
            }
            Received::Srtcp => {
                let len = browser.srtp.as_mut().unwrap().receiver.open_rtcp(datagram).unwrap();
                for packet in parse(&datagram[..len]) {
                    match packet.unwrap() {
                        Rtcp::SenderReport { ssrc, info, .. } => browser.reports.push((ssrc, info)),
                        Rtcp::ReceiverReport { .. } => browser.receiver_reports += 1,
                        Rtcp::Bye { ssrcs } => browser.byes.extend(ssrcs.iter()),
                        Rtcp::Pli { media_ssrc, .. } => browser.plis.push((now, media_ssrc)),
                        Rtcp::Nack { lost, .. } => browser.nacks.extend(lost.iter()),
                        Rtcp::TransportFeedback(_) => browser.feedbacks += 1,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

impl Browser {
    fn take_rtp(&mut self, now: Instant, packet: &mut [u8]) -> Option<Vec<u8>> {
        let view = RtpPacket::parse(packet).unwrap();
        let (ssrc, mid_id) = (view.ssrc(), self.consumers.first().map_or(0, |c| ExtensionIds::of(&c.rtp_parameters).mid));
        let mid = view.extension(mid_id).map(|mid| String::from_utf8(mid.to_vec()).unwrap());
        let rtx_of = self.consumers.iter().find_map(|consumer| {
            let encoding = &consumer.rtp_parameters.encodings[0];
            (encoding.rtx? == RtxParameters { ssrc }).then_some((encoding.ssrc?, consumer.rtp_parameters.codecs[0].payload_type))
        });
        let again = rtx_of.is_some();
        let range = match rtx_of {
            Some((media, payload_type)) => decapsulate(packet, payload_type, media).unwrap(),
            None => 0..packet.len(),
        };
        let view = RtpPacket::parse(&packet[range]).unwrap();
        let extender = self.extenders.entry(view.ssrc()).or_default();
        let before = extender.highest();
        let seq = extender.extend(view.sequence_number());
        let (timestamp, payload, ssrc) = (view.timestamp(), view.payload().to_vec(), view.ssrc());
        self.got.push(Got { at: now, ssrc, seq, timestamp, payload, mid, again });
        let missing: Vec<u16> = (before? + 1..seq).map(|seq| seq as u16).collect();
        if missing.is_empty() || !self.nacking {
            return None;
        }
        let mut compound = Vec::new();
        write_receiver_report(&mut compound, 1, &[]);
        write_nack(&mut compound, 1, ssrc, &missing);
        Some(compound)
    }
}

/// Like a Chromium: H.264, VP8, Opus, RTX, other numbers than the router's.
pub(super) fn viewer_capabilities() -> RtpCapabilities {
    let mut capabilities = router_capabilities().clone();
    for codec in &mut capabilities.codecs {
        codec.preferred_payload_type = codec.preferred_payload_type.map(|pt| if is_rtx(&codec.mime_type) { pt - 60 } else { pt + 7 });
        if let Some(ParameterValue::Number(apt)) = codec.parameters.get_mut("apt") {
            *apt += 7;
        }
    }
    capabilities
}

fn codec(mime_type: &str, payload_type: u8, clock_rate: u32) -> RtpCodecParameters {
    let fb = |kind: &str, parameter: &str| RtcpFeedback { kind: kind.into(), parameter: parameter.into() };
    RtpCodecParameters {
        mime_type: mime_type.into(),
        payload_type,
        clock_rate,
        channels: (clock_rate == 48_000).then_some(2),
        parameters: Default::default(),
        rtcp_feedback: vec![fb("nack", ""), fb("nack", "pli"), fb("transport-cc", "")],
    }
}

pub(super) fn h264(ssrc: u32) -> RtpParameters {
    RtpParameters {
        codecs: vec![codec("video/H264", 96, 90_000)],
        encodings: vec![RtpEncodingParameters { ssrc: Some(ssrc), ..Default::default() }],
        ..Default::default()
    }
}

pub(super) fn opus(ssrc: u32) -> RtpParameters {
    RtpParameters {
        codecs: vec![codec("audio/opus", 111, 48_000)],
        encodings: vec![RtpEncodingParameters { ssrc: Some(ssrc), ..Default::default() }],
        ..Default::default()
    }
}

/// As a browser publishes: RTX, mid, transport-wide sequence numbers.
pub(super) fn browser_h264() -> RtpParameters {
    let mut parameters = h264(500);
    parameters.mid = Some("0".into());
    parameters.codecs.push(RtpCodecParameters {
        parameters: [("apt".into(), ParameterValue::Number(96))].into(),
        rtcp_feedback: vec![],
        ..codec("video/rtx", 97, 90_000)
    });
    parameters.encodings[0].rtx = Some(RtxParameters { ssrc: 501 });
    parameters.header_extensions = vec![RtpHeaderExtensionParameters { uri: extension_uri::TRANSPORT_CC.into(), id: 5, encrypt: false }];
    parameters
}

/// An H.264 source: pictures of `packets_per_frame` packets, sequence numbers that go on.
pub(super) struct Source {
    pub seq: u16,
    pub timestamp: u32,
    pub packets_per_frame: usize,
    pub frames: u32,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Picture {
    Key,
    Predicted,
    Disposable,
}

impl Source {
    pub(super) fn new(seq: u16, timestamp: u32) -> Self {
        Self { seq, timestamp, packets_per_frame: 2, frames: 0 }
    }

    pub(super) fn packet(&mut self, payload: &[u8], marker: bool, extensions: &[(u8, &[u8])]) -> Bytes {
        let mut bytes = vec![0; 60 + payload.len()];
        let header = RtpHeader { marker, payload_type: 96, sequence_number: self.seq, timestamp: self.timestamp, ssrc: 500 };
        let len = write_header(&mut bytes, &header, extensions).unwrap();
        bytes[len..len + payload.len()].copy_from_slice(payload);
        bytes.truncate(len + payload.len());
        self.seq = self.seq.wrapping_add(1);
        bytes.into()
    }

    /// The next picture, 3000 ticks after the one before. Payloads end with the picture's number and the packet's place in it.
    pub(super) fn picture(&mut self, kind: Picture) -> Vec<Bytes> {
        self.timestamp = self.timestamp.wrapping_add(3000);
        self.frames += 1;
        let mut packets = Vec::new();
        if kind == Picture::Key {
            packets.push(self.packet(&[0x67, 0x42, 0xC0, 0x1F], false, &[]));
        }
        for place in 0..self.packets_per_frame {
            let first = if place == 0 { 0x88 } else { 0x08 };
            let header = match kind {
                Picture::Key => 0x65,
                Picture::Predicted => 0x41,
                Picture::Disposable => 0x01,
            };
            let number = self.frames.to_be_bytes();
            let payload = [header, first, number[2], number[3], place as u8];
            packets.push(self.packet(&payload, place + 1 == self.packets_per_frame, &[]));
        }
        packets
    }
}

/// The picture's number in a payload; `None` for parameter sets.
pub(super) fn number(payload: &[u8]) -> Option<u16> {
    (payload.len() == 5).then(|| u16::from_be_bytes([payload[2], payload[3]]))
}
