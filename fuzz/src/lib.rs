//! What headend does with bytes that strangers send, one function per parser: any input is fine, a panic, an overflow of the stack or
//! unbounded memory is a bug.
//!
//! In: bytes. Out: nothing; assertions on what must hold whatever the bytes are. `tests/fuzz_smoke.rs` runs the same functions over
//! mutations of [`seeds`], `cargo fuzz run NAME` over what libFuzzer finds.

#![allow(clippy::expect_used)] // what fails here is found

mod seeds;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use headend::inside::base::{StreamPath, seeded};
use headend::inside::cmaf::{self, SampleDefaults};
use headend::inside::codec::{AccessUnit, Codec, Depacketized, Depacketizer, Format, Packetizer, aac, h264, opus, vp8};
use headend::inside::package::MediaName;
use headend::inside::pipeline::wire;
use headend::inside::record::RecordingId;
use headend::inside::record::index::Records;
use headend::inside::rtmp::amf0;
use headend::inside::rtmp::chunk::{ChunkReader, ChunkWriter, Limits, Message};
use headend::inside::rtmp::session::{Event, ServerSession, SessionTimeouts};
use headend::inside::rtmp::{Target, flv};
use headend::inside::rtp::packet::{RtpPacket, header_len};
use headend::inside::rtp::rtcp::{self, Rtcp};
use headend::inside::rtp::srtp::{Keying, SrtpProfile, SrtpReceiver, SrtpSender};
use headend::inside::sdp::{Answer, Fragment, Offer, SectionAnswer};
use headend::inside::sfu::ortc::{DtlsParameters, DtlsRole, IceParameters};
use headend::inside::sfu::peer::client::ClientPeer;
use headend::inside::sfu::peer::{Certificate, DtlsSession, Peer, Protocol, Tuple, peek_ufrag, worker_of_ufrag};

use seeds::handshake;
pub(crate) use seeds::seeds;

/// A target: takes any bytes.
pub(crate) type Run = fn(&[u8]);

/// Every target by its name.
pub(crate) const TARGETS: [(&str, Run); 19] = [
    ("rtmp_session", rtmp_session),
    ("rtmp_chunks", rtmp_chunks),
    ("amf0", amf0_values),
    ("flv", flv_tags),
    ("rtp_packet", rtp_packet),
    ("rtcp", rtcp_compound),
    ("srtp_open", srtp_open),
    ("ice_peer", ice_peer),
    ("dtls", dtls),
    ("sdp_offer", sdp_offer),
    ("sdp_fragment", sdp_fragment),
    ("depacketize", depacketize),
    ("parameter_sets", parameter_sets),
    ("h264_messages", h264_messages),
    ("aac_messages", aac_messages),
    ("cmaf", cmaf_boxes),
    ("names", names),
    ("record_index", record_index),
    ("pipeline_wire", pipeline_wire),
];

/// Time is an argument everywhere, so one moment and steps from it will do; here it is read once.
#[allow(clippy::disallowed_methods)]
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(|| Certificate::generate().expect("a certificate can be made"));

/// Cuts the input as a network would: each piece as long as the two bytes before it say.
fn pieces(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let ([high, low], rest) = data.split_first_chunk()?;
        let (piece, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()));
        data = rest;
        Some(piece)
    })
}

/// A connection after its handshake, as the server's owner drives it.
pub(crate) fn rtmp_session(data: &[u8]) {
    let mut now = *EPOCH;
    let timeouts = SessionTimeouts { handshake: Duration::from_secs(10), idle: Duration::from_secs(10) };
    let mut session = ServerSession::new(now, timeouts);
    // An odd first byte: the handshake is the input's matter too.
    let begin = if data.first().is_some_and(|first| first & 1 == 1) { Vec::new() } else { handshake() };
    for piece in std::iter::once(&begin[..]).chain(pieces(data.get(1..).unwrap_or_default())) {
        let result = session.handle_input(now, piece);
        while session.poll_output().is_some() {}
        let mut failed = result.is_err();
        while let Some(event) = session.poll_event() {
            match event {
                Event::Publish(stream, _) => failed |= session.accept_publish(now, stream).is_err(),
                Event::Play(stream, _) => failed |= session.accept_play(now, stream).is_err(),
                Event::Media(_, media) => {
                    let _ = (flv::read_video(&media.body), flv::read_audio(&media.body));
                }
                _ => {}
            }
        }
        if failed {
            return;
        }
        assert!(session.in_assembly() <= 32 << 20, "a session holds {} bytes", session.in_assembly());
        now += Duration::from_millis(10);
        if session.handle_timeout(now).is_err() {
            return;
        }
    }
}

/// Chunks alone, with a publisher's limits; and whatever comes out can be written and read again.
pub(crate) fn rtmp_chunks(data: &[u8]) {
    let mut reader = ChunkReader::new(0);
    reader.set_limits(Limits::PUBLISHER);
    for mut piece in pieces(data) {
        loop {
            match reader.next_message(&mut piece) {
                Ok(Some(message)) => round_trip(&message),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(reader.in_assembly() <= Limits::PUBLISHER.total);
    }
}

fn round_trip(message: &Message) {
    let mut out = BytesMut::new();
    ChunkWriter::new().write(message, &mut out);
    let mut reader = ChunkReader::new(0);
    reader.set_limits(Limits::PUBLISHER);
    let read = reader.next_message(&mut &out[..]);
    assert_eq!(read.ok().flatten().as_ref(), Some(message));
}

/// AMF0; what was read is read the same after writing.
pub(crate) fn amf0_values(data: &[u8]) {
    let _ = amf0::read_amf3_until_broken(data);
    if let Ok(values) = amf0::read(data) {
        let written = amf0::write(&values);
        // AMF3 within it, and bytes that are no UTF-8, are written longer than they came.
        if written.len() > amf0::MAX_BYTES {
            return;
        }
        // Compared as bytes: NaN is not equal to itself.
        let again = amf0::read(&written).expect("what was written can be read");
        assert_eq!(amf0::write(&again), written);
    }
}

/// Bodies of audio, video and aggregate messages; targets as clients name them.
pub(crate) fn flv_tags(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let wanted = data.last().copied();
    let _ = (flv::read_video(&body), flv::read_audio(&body));
    let _ = (flv::read_video_track(&body, wanted), flv::read_audio_track(&body, wanted));
    assert!(flv::aggregate(&body, 7).count() <= data.len() / 11);
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, '\n');
    let mut next = || parts.next().unwrap_or_default();
    let _ = Target::parse(next(), next(), next());
}

/// An RTP packet with all that its view gives.
pub(crate) fn rtp_packet(data: &[u8]) {
    let _ = header_len(data);
    let Ok(packet) = RtpPacket::parse(data) else { return };
    assert!(packet.header_len() + packet.payload().len() + packet.padding_len() == data.len());
    assert!(packet.csrcs().count() <= 15);
    for (id, value) in packet.extensions().take(300) {
        let _ = (packet.extension(id), packet.extension_range(id), value.len());
    }
    for codec in [Codec::H264, Codec::Vp8, Codec::Opus] {
        let _ = headend::inside::codec::payload_facts(codec, packet.payload());
    }
}

/// A compound RTCP packet, looked at to the last list.
pub(crate) fn rtcp_compound(data: &[u8]) {
    for packet in rtcp::parse(data).flatten() {
        match packet {
            Rtcp::SenderReport { reports, .. } | Rtcp::ReceiverReport { reports, .. } => assert!(reports.iter().count() <= 31),
            Rtcp::Sdes(sdes) => assert!(sdes.cnames().count() <= 31),
            Rtcp::Bye { ssrcs } | Rtcp::Remb { ssrcs, .. } => assert!(ssrcs.iter().count() <= 255),
            Rtcp::Nack { lost, .. } => assert!(lost.iter().count() <= 17 * data.len()),
            Rtcp::Fir { entries, .. } => assert!(entries.iter().count() <= data.len()),
            Rtcp::TransportFeedback(feedback) => assert!(feedback.statuses().count() <= usize::from(u16::MAX)),
            _ => {}
        }
    }
}

/// SRTP and SRTCP that nobody sealed; and what we seal can be opened.
pub(crate) fn srtp_open(data: &[u8]) {
    let Some((first, packet)) = data.split_first() else { return };
    let profiles = [SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80, SrtpProfile::AeadAes256Gcm];
    let profile = profiles[usize::from(*first) % profiles.len()];
    let keying = Keying::new(profile, &vec![3; profile.key_len()], &vec![5; profile.salt_len()]).expect("the lengths are the profile's");
    let mut receiver = SrtpReceiver::new(&keying).expect("keys fit");
    let mut sender = SrtpSender::new(&keying).expect("keys fit");
    assert!(receiver.open(&mut packet.to_vec()).is_err(), "nobody sealed that");
    assert!(receiver.open_rtcp(&mut packet.to_vec()).is_err(), "nobody sealed that");
    if let Ok(header) = header_len(packet) {
        let mut sealed = packet.to_vec();
        sealed.resize(packet.len() + profile.tag_len(), 0);
        let len = sender.seal(&mut sealed, header, packet.len()).expect("an RTP packet can be sealed");
        let opened = receiver.open(&mut sealed[..len]).expect("what was sealed can be opened");
        assert_eq!(&sealed[..opened], packet);
    }
}

fn tuple(port: u16) -> Tuple {
    let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    Tuple { local: address(8189), remote: address(port), protocol: Protocol::Udp }
}

/// Datagrams from strangers to a peer that waits for its browser.
pub(crate) fn ice_peer(data: &[u8]) {
    let now = *EPOCH;
    let mut peer = Peer::new(now, &CERTIFICATE, 0, &mut seeded(0));
    let theirs = IceParameters { username_fragment: "abcd".into(), password: "abcdefghijklmnopqrstuv".into(), ice_lite: false };
    let _ = peer.connect(now, DtlsParameters { role: DtlsRole::Client, fingerprints: vec![CERTIFICATE.fingerprint().clone()] }, &theirs);
    // The first byte: whether a browser has come before the stranger.
    if data.first().is_some_and(|first| first & 1 == 1) {
        let mut browser =
            ClientPeer::new(now, seeded(1), &CERTIFICATE, DtlsRole::Client, peer.ice_parameters(), &peer.dtls_parameters(), tuple(5000));
        browser.handle_timeout(now);
        while let Some((tuple, datagram)) = browser.poll_transmit() {
            peer.handle_datagram(now, tuple, &datagram);
        }
    }
    for (index, datagram) in pieces(data.get(1..).unwrap_or_default()).enumerate().take(64) {
        let _ = peek_ufrag(datagram).and_then(worker_of_ufrag);
        peer.handle_datagram(now, tuple(5000 + (index % 3) as u16), datagram);
        while peer.poll_event().is_some() {}
        let answer: usize = std::iter::from_fn(|| peer.poll_transmit()).map(|(_, bytes)| bytes.len()).sum();
        assert!(answer <= 8192, "{answer} bytes for one datagram of {}", datagram.len());
    }
    peer.handle_timeout(now + Duration::from_secs(60));
}

/// DTLS records to a server, before anything is authenticated.
pub(crate) fn dtls(data: &[u8]) {
    let now = *EPOCH;
    let role = if data.first().is_some_and(|first| first & 1 == 1) { DtlsRole::Client } else { DtlsRole::Server };
    let Ok(mut session) = DtlsSession::new(now, &CERTIFICATE, role, std::slice::from_ref(CERTIFICATE.fingerprint())) else { return };
    for datagram in pieces(data.get(1..).unwrap_or_default()).take(64) {
        session.handle_datagram(now, datagram);
        while session.poll_transmit().is_some() {}
        while session.poll_event().is_some() {}
        assert!(!session.is_established(), "nobody proved anything");
    }
    session.handle_timeout(now + Duration::from_secs(2));
}

/// An SDP offer, and an answer to it that takes nothing.
pub(crate) fn sdp_offer(data: &[u8]) {
    let Ok(offer) = Offer::parse(data) else { return };
    for section in &offer.sections {
        let Some(media) = &section.media else { continue };
        for codec in media.codecs() {
            let _ = media.payload_types_of(codec).count();
        }
    }
    let ours = Peer::new(*EPOCH, &CERTIFICATE, 0, &mut seeded(0));
    let sections = vec![SectionAnswer::Inactive; offer.sections.len()];
    let dtls = ours.dtls_parameters();
    let text =
        Answer { offer: &offer, session_id: 1, ice: ours.ice_parameters(), candidates: &[], dtls: &dtls, sections: &sections }.write();
    // What a stranger wrote must not become a line of its own in what we say.
    assert!(text.lines().all(|line| line.as_bytes().get(1) == Some(&b'=')), "{text}");
}

/// A trickle-ICE fragment.
pub(crate) fn sdp_fragment(data: &[u8]) {
    if let Ok(fragment) = Fragment::parse(data) {
        assert!(fragment.candidates.len() <= 32);
    }
}

/// RTP payloads of one codec: two bytes before each say its place and its length.
pub(crate) fn depacketize(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else { return };
    let format = match first % 4 {
        0 => Format::H264 { sps: Vec::new(), pps: Vec::new() },
        1 => Format::Vp8,
        2 => Format::Aac { config: Bytes::from_static(&[0x11, 0x90]), sample_rate: 48_000, channels: 2 },
        _ => Format::Opus { channels: 2 },
    };
    let mut depacketizer = Depacketizer::new(&format);
    let (mut seq, mut timestamp) = (u16::MAX - 3, 0);
    while let [step, len, tail @ ..] = rest {
        // Bits: marker, a new picture, how many packets are missing before this one.
        let (payload, tail) = tail.split_at((usize::from(*len) * 4).min(tail.len()));
        rest = tail;
        seq = seq.wrapping_add(1 + u16::from(step >> 6));
        timestamp += i64::from(step & 2) * 1500;
        let _ = headend::inside::codec::payload_facts(format.codec(), payload);
        depacketizer.push(payload, timestamp, seq, step & 1 == 1);
        while let Some(output) = depacketizer.poll() {
            if let Depacketized::Unit(unit) = output {
                repacketize(&unit, &format);
            }
        }
    }
    depacketizer.finish();
    while depacketizer.poll().is_some() {}
}

/// A publisher's messages of H.264: each one's first byte is what its container says, and the first message a sequence header.
pub(crate) fn h264_messages(data: &[u8]) {
    let (mut assembler, mut out) = (h264::Assembler::new(), Vec::new());
    for (index, message) in pieces(data).enumerate() {
        let Some((says, message)) = message.split_first() else { continue };
        if index == 0 || says & 0xC0 == 0xC0 {
            let _ = assembler.header(message, &mut out);
        } else {
            let stamp = h264::Stamp { dts_ms: index as i64 * 10 + i64::from(says & 0x3E), composition_ms: 0 };
            assembler.push(stamp, says & 1 == 1, &message.to_vec().into(), &mut out);
        }
    }
    assembler.finish(&mut out);
    let mut format = Format::H264 { sps: Vec::new(), pps: Vec::new() };
    for item in out {
        match item {
            h264::Assembled::Format(now) => format = now,
            h264::Assembled::Picture(h264::Picture { key, data, .. }) => {
                assert!(!data.is_empty());
                repacketize(&AccessUnit { pts: 0, dts: 0, key, data }, &format);
            }
            h264::Assembled::Notice(_) => {}
        }
    }
}

/// A publisher's messages of AAC, wrapped or not.
pub(crate) fn aac_messages(data: &[u8]) {
    let (mut unwrapper, mut known) = (aac::Unwrapper::new(), None);
    for message in pieces(data) {
        let out = unwrapper.unwrap(&Bytes::copy_from_slice(message), known.as_ref());
        assert!(out.frames.iter().map(Bytes::len).sum::<usize>() <= message.len());
        known = out.config.and_then(|config| aac::AacConfig::parse(&config).ok()).or(known);
    }
}

/// What came out of one publisher goes on to viewers.
fn repacketize(unit: &AccessUnit, format: &Format) {
    let mut packetizer = Packetizer::new(format.codec(), 1200);
    packetizer.packetize(unit, format, &mut |payload| assert!(payload.len() <= 1200 && !payload.is_empty()));
}

/// Codec configurations and parameter sets.
pub(crate) fn parameter_sets(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    match first % 6 {
        0 => {
            if let Ok(config) = h264::AvcConfig::parse(data) {
                let format = config.into_format();
                let _ = (format.codec_string(), format.resolution(), format.may_reorder(), format.rtp_fmtp());
            }
        }
        1 => {
            if let Ok(info) = h264::parse_sps(data) {
                let _ = info.may_reorder();
            }
            let _ = (h264::sps_id(data), h264::pps_id(data), h264::pps_sps_id(data));
        }
        2 => {
            for size in 1..=4 {
                let split = h264::split_nals(data, size);
                assert!(split.nals.iter().map(|nal| nal.len()).sum::<usize>() <= data.len());
                assert!(h264::avcc_nals(data, size).map(<[u8]>::len).sum::<usize>() <= data.len());
            }
            let _ = (h264::unit_is_b(data), h264::unit_is_disposable(data));
            let mut out = Vec::new();
            h264::annexb_to_avcc(data, &mut out);
            h264::avcc_to_annexb(data, &mut out);
        }
        3 => {
            if let Ok(config) = aac::AacConfig::parse(data) {
                let _ = (config.codec_string(), config.frame_duration());
            }
            let _ = aac::AacConfig::format(Bytes::copy_from_slice(data));
        }
        4 => {
            let _ = (opus::packet_duration(data), opus::packet_channels(data));
        }
        _ => {
            let _ = (vp8::frame_info(data), vp8::payload_facts(data), vp8::Descriptor::parse(data));
        }
    }
}

/// CMAF: initializations, fragments, and what is changed in them.
pub(crate) fn cmaf_boxes(data: &[u8]) {
    let _ = cmaf::read_init(data);
    if let Ok(fragment) = cmaf::read_fragment(data, SampleDefaults::default()) {
        assert!(fragment.samples.len() <= cmaf::MAX_SAMPLES_PER_FRAGMENT);
        assert!(fragment.data.end <= data.len() && fragment.moof.end <= data.len());
        let mut table = Vec::new();
        cmaf::encode_samples(&fragment.samples, &mut table);
        let mut read = Vec::new();
        assert!(cmaf::decode_samples(&table, &mut read).is_some() && read == fragment.samples);
    }
    let _ = cmaf::decode_samples(data, &mut Vec::new());
    if let Ok(moved) = cmaf::shift_times(data, -3000, 3000) {
        assert!(moved.len() <= data.len() + cmaf::MAX_SAMPLES_PER_FRAGMENT * 4);
    }
    let _ = cmaf::add_edit_list(data, 3000);
}

/// Names in URLs: streams, playlists and segments, recordings.
pub(crate) fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(path) = StreamPath::parse(&text) {
        assert!(!path.as_str().split('/').any(|segment| segment.is_empty() || segment == "." || segment == ".."));
    }
    if let Some(name) = MediaName::parse(&text) {
        assert_eq!(name.to_string(), text, "every file has one name");
    }
    if let Some(id) = RecordingId::parse(&text) {
        assert!(!id.to_string().contains(['/', '.']), "{id}");
    }
}

/// The index of a recording after a crash, or after somebody edited it.
pub(crate) fn record_index(data: &[u8]) {
    for mut records in [Records::of_file(data), Records::of_tail(data)] {
        assert!(records.by_ref().count() <= data.len());
        assert!(records.good() <= data.len());
    }
}

/// What a pipeline's child sends, frame by frame and as a whole message.
pub(crate) fn pipeline_wire(data: &[u8]) {
    let mut assembler = wire::Assembler::default();
    for frame in pieces(data) {
        match assembler.push(frame) {
            Ok(Some(message)) => {
                let _ = wire::decode(message);
            }
            Ok(None) => {}
            Err(_) => break,
        }
    }
    if let Ok(message) = wire::decode(Bytes::copy_from_slice(data)) {
        let mut out = Vec::new();
        wire::encode(&message, &mut out);
        assert_eq!(wire::decode(out.into()), Ok(message), "what was read is written the same");
    }
}
