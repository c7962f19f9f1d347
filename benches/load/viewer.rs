//! A WebRTC viewer: WHEP, ICE, DTLS and SRTP over a UDP socket of its own, as a browser's, without a decoder.
//!
//! In: a WHEP URL. Out: what came, when, and whether anything was missing.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use headend::inside::codec::{Codec, payload_facts};
use headend::inside::net::udp::{RecvBatch, SendBatch, UdpPort};
use headend::inside::rtp::packet::RtpPacket;
use headend::inside::rtp::rtcp::{ReportBlock, write_receiver_report, write_sdes_cname};
use headend::inside::rtp::srtp::{Keying, SrtpReceiver, SrtpSender};
use headend::inside::sfu::ortc::DtlsRole;
use headend::inside::sfu::peer::client::ClientPeer;
use headend::inside::sfu::peer::{Certificate, PeerEvent, Protocol, Received, SrtpKeys, Tuple};
use tokio::task::JoinHandle;

use crate::sdp::{self, Answer};
use crate::stamp;
use crate::{BoxError, Result};

/// RTCP reports as often as browsers send them.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Our own SSRC in reports.
const OWN_SSRC: u32 = 0xBE9C;

/// What all viewers of a thread share.
pub(crate) struct Gallery {
    http: reqwest::Client,
    certificate: Certificate,
    received: RefCell<RecvBatch>,
    sending: RefCell<SendBatch>,
}

/// What became of one viewer, from the POST on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// RTP packets, by their headers.
    pub packets: u64,
    /// Their bytes, SRTP tags included.
    pub bytes: u64,
    /// Sequence numbers that never came.
    pub lost: u64,
    /// Packets that were opened.
    pub opened: u64,
    /// Packets that could not be opened: an error of the server's or of ours.
    pub broken: u64,
    /// DTLS done.
    pub connected: Option<Duration>,
    /// The first packet of a key frame opened.
    pub key_frame_began: Option<Duration>,
    /// A whole key frame opened, from its first packet to the one with the marker, without a gap.
    pub key_frame_whole: Option<Duration>,
    /// Stamped pictures that came whole, and when.
    pub pictures: Vec<(u64, Instant)>,
    /// Why it ended, if it did.
    pub ended: Option<String>,
}

/// A viewer at work; ends when dropped.
pub(crate) struct Viewer {
    seen: Rc<RefCell<Seen>>,
    task: JoinHandle<()>,
}

impl Viewer {
    /// A look at what it has seen.
    pub(crate) fn seen(&self) -> std::cell::Ref<'_, Seen> {
        self.seen.borrow()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gallery {
    /// With one certificate for all.
    pub(crate) fn new() -> Result<Rc<Self>> {
        let sending = RefCell::new(SendBatch::new());
        let received = RefCell::new(RecvBatch::new());
        Ok(Rc::new(Self { http: reqwest::Client::new(), certificate: Certificate::generate()?, received, sending }))
    }

    /// Begins to watch `url`. With `open_all`, every packet is decrypted; otherwise those up to the first whole key frame, and only
    /// the headers of what follows are looked at: the generator shares the machine with the server.
    pub(crate) fn join(self: &Rc<Self>, url: String, open_all: bool) -> Viewer {
        let seen = Rc::new(RefCell::new(Seen::default()));
        let (gallery, shown) = (self.clone(), seen.clone());
        let task = tokio::task::spawn_local(async move {
            let result = watch(&gallery, &url, open_all, &shown).await;
            shown.borrow_mut().ended = Some(result.map_or_else(|error| error.to_string(), |()| "the server closed the session".into()));
        });
        Viewer { seen, task }
    }
}

struct Watching<'a> {
    began: Instant,
    answer: Answer,
    open_all: bool,
    seen: &'a RefCell<Seen>,
    crypto: Option<(SrtpReceiver, SrtpSender)>,
    tracks: Vec<TrackWatch>,
}

/// What is known of one SSRC.
struct TrackWatch {
    ssrc: u32,
    video: bool,
    /// Extended sequence numbers: the first one, the highest, how many came.
    first: u64,
    highest: u64,
    count: u64,
    /// The picture being received: its timestamp, how many packets it should have had by now, its stamp.
    picture: Option<Picture>,
}

#[derive(Debug, Clone, Copy)]
struct Picture {
    timestamp: u32,
    first_seq: u64,
    packets: u64,
    key: bool,
    number: Option<u64>,
}

async fn watch(gallery: &Gallery, url: &str, open_all: bool, seen: &RefCell<Seen>) -> std::result::Result<(), BoxError> {
    let began = Instant::now();
    let offer = sdp::offer(gallery.certificate.fingerprint());
    let posted = gallery.http.post(url).header("content-type", "application/sdp").body(offer).send().await?;
    let status = posted.status();
    let text = posted.text().await?;
    if status != reqwest::StatusCode::CREATED {
        return Err(format!("WHEP answered {status}: {text}").into());
    }
    let answer = sdp::read_answer(&text)?;
    let port = UdpPort::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), false)?;
    let tuple = Tuple { local: port.local_addr(), remote: answer.candidate, protocol: Protocol::Udp };
    let mut peer =
        ClientPeer::new(Instant::now(), rand::make_rng(), &gallery.certificate, DtlsRole::Client, &answer.ice, &answer.dtls, tuple);
    let mut watching = Watching { began, answer, open_all, seen, crypto: None, tracks: Vec::new() };
    let mut report_at = Instant::now() + REPORT_INTERVAL;
    peer.handle_timeout(Instant::now());
    loop {
        watching.follow(&mut peer)?;
        {
            let mut sending = gallery.sending.borrow_mut();
            while let Some((tuple, datagram)) = peer.poll_transmit() {
                sending.push(tuple.remote, tuple.local.ip(), &datagram);
            }
            if Instant::now() >= report_at {
                report_at = Instant::now() + REPORT_INTERVAL;
                watching.report(tuple, &mut sending);
            }
            if !sending.is_empty() {
                sending.flush(&port)?;
            }
        }
        let wake = peer.poll_timeout().map_or(report_at, |at| at.min(report_at));
        tokio::select! {
            readable = port.readable() => readable?,
            () = tokio::time::sleep_until(wake.into()) => {}
        }
        let mut batch = gallery.received.borrow_mut();
        // Errors are ICMP's; nothing to receive is none.
        if port.recv_batch(&mut batch).is_ok() {
            let now = Instant::now();
            for datagram in batch.iter_mut() {
                match peer.handle_datagram(now, tuple, datagram.bytes) {
                    Received::Srtp => watching.take(now, datagram.bytes),
                    // The server's first packets come right behind its last handshake message: the keys are needed at once.
                    Received::Consumed => watching.follow(&mut peer)?,
                    _ => {}
                }
            }
        }
        peer.handle_timeout(Instant::now());
    }
}

fn crypto(keys: &SrtpKeys) -> Result<(SrtpReceiver, SrtpSender)> {
    let profile = keys.profile;
    let theirs = Keying::new(profile, &keys.remote_key, &keys.remote_salt)?;
    let ours = Keying::new(profile, &keys.local_key, &keys.local_salt)?;
    Ok((SrtpReceiver::new(&theirs)?, SrtpSender::new(&ours)?))
}

impl Watching<'_> {
    fn follow(&mut self, peer: &mut ClientPeer) -> Result<()> {
        while let Some(event) = peer.poll_event() {
            match event {
                PeerEvent::Connected(keys) => {
                    self.crypto = Some(crypto(&keys)?);
                    self.seen.borrow_mut().connected = Some(self.began.elapsed());
                }
                PeerEvent::Closed(reason) => return Err(reason.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, now: Instant, packet: &mut [u8]) {
        let Ok(header) = RtpPacket::parse(packet) else { return };
        let (ssrc, payload_type) = (header.ssrc(), header.payload_type());
        let (seq16, timestamp, marker) = (header.sequence_number(), header.timestamp(), header.marker());
        let video = payload_type == self.answer.video_payload_type;
        if !video && payload_type != self.answer.audio_payload_type {
            return; // RTX: we ask for none
        }
        let mut seen = self.seen.borrow_mut();
        seen.packets += 1;
        seen.bytes += packet.len() as u64;
        let track = match self.tracks.iter().position(|track| track.ssrc == ssrc) {
            Some(at) => &mut self.tracks[at],
            None => {
                let first = u64::from(seq16) + (1 << 16);
                self.tracks.push(TrackWatch { ssrc, video, first, highest: first, count: 0, picture: None });
                let last = self.tracks.len() - 1;
                &mut self.tracks[last]
            }
        };
        let seq = track.highest.wrapping_add_signed(i64::from(seq16.wrapping_sub(track.highest as u16) as i16));
        track.highest = track.highest.max(seq);
        track.count += 1;
        let open = self.open_all || seen.key_frame_whole.is_none();
        if let (true, Some((receiver, _))) = (open, &mut self.crypto) {
            match receiver.open(packet) {
                Ok(len) => {
                    seen.opened += 1;
                    if track.video {
                        track.look_into(&packet[..len], (seq, timestamp, marker), (self.began, now), &mut seen);
                    }
                }
                Err(_) => seen.broken += 1,
            }
        }
        seen.lost = self.tracks.iter().map(|track| (track.highest - track.first + 1).saturating_sub(track.count)).sum();
    }

    fn report(&mut self, tuple: Tuple, sending: &mut SendBatch) {
        let Some((_, sender)) = &mut self.crypto else { return };
        let blocks: Vec<_> = self
            .tracks
            .iter()
            .map(|track| ReportBlock {
                ssrc: track.ssrc,
                fraction_lost: 0,
                cumulative_lost: 0,
                highest_seq: track.highest as u32,
                jitter: 0,
                last_sr: 0,
                delay_since_last_sr: 0,
            })
            .collect();
        let mut packet = Vec::with_capacity(256);
        write_receiver_report(&mut packet, OWN_SSRC, &blocks);
        write_sdes_cname(&mut packet, OWN_SSRC, "bench");
        let len = packet.len();
        packet.resize(len + 64, 0);
        if let Ok(len) = sender.seal_rtcp(&mut packet, len) {
            sending.push(tuple.remote, IpAddr::V4(Ipv4Addr::LOCALHOST), &packet[..len]);
        }
    }
}

impl TrackWatch {
    fn look_into(&mut self, packet: &[u8], (seq, timestamp, marker): (u64, u32, bool), (began, now): (Instant, Instant), seen: &mut Seen) {
        let Ok(packet) = RtpPacket::parse(packet) else { return };
        let payload = packet.payload();
        let facts = payload_facts(Codec::H264, payload);
        let mut picture = match self.picture {
            Some(picture) if picture.timestamp == timestamp => picture,
            _ => Picture { timestamp, first_seq: seq, packets: 0, key: false, number: None },
        };
        picture.packets += 1;
        picture.key |= facts.key_frame_start;
        if picture.number.is_none() {
            picture.number = stamp::find(payload).next();
        }
        if picture.key && seen.key_frame_began.is_none() {
            seen.key_frame_began = Some(now - began);
        }
        if marker {
            let whole = seq - picture.first_seq + 1 == picture.packets;
            if whole && picture.key && seen.key_frame_whole.is_none() {
                seen.key_frame_whole = Some(now - began);
            }
            if let (true, Some(number)) = (whole, picture.number) {
                seen.pictures.push((number, now));
            }
        }
        self.picture = Some(picture);
    }
}
