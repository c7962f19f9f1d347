//! ffmpeg by plain RTP in, a real Chromium out: joining in the middle of a GOP of 10 s, it has to decode at once.

#![allow(clippy::disallowed_methods)] // the clients of these tests are no part of the server

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Router, WebRtcTransport, WorkerPool};
use crate::base::MediaKind;
use crate::sfu::config::SfuConfig;
use crate::sfu::ortc::{
    DtlsFingerprint, DtlsParameters, DtlsRole, IceParameters, ParameterValue, RtcpFeedback, RtpCapabilities, RtpCodecCapability,
    RtpCodecParameters, RtpHeaderExtension, RtpParameters, extension_uri,
};
use crate::sfu::types::{ConsumerOptions, PlainTransportOptions, ProducerOptions, WebRtcTransportOptions};

const PAGE: &str = "<video id=v autoplay muted></video><script>(async () => {
  const pc = new RTCPeerConnection();
  pc.addTransceiver('video', {direction: 'recvonly'});
  pc.ontrack = e => { v.srcObject = new MediaStream([e.track]); };
  await pc.setLocalDescription();
  const answer = await fetch('/offer', {method: 'POST', body: pc.localDescription.sdp});
  await pc.setRemoteDescription({type: 'answer', sdp: await answer.text()});
  setInterval(async () => {
    for (const s of (await pc.getStats()).values()) if (s.type == 'inbound-rtp')
      fetch('/state', {method: 'POST', body: [s.framesDecoded|0, s.pliCount|0, s.freezeCount|0, s.packetsLost|0, pc.connectionState].join(' ')});
  }, 100);
})()</script>";

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn request(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        let count = stream.read_buf(&mut bytes).await.unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        if count == 0 || text.contains("\r\n\r\n") && body.len() >= length.unwrap_or(0) {
            return (head.split(' ').nth(1).unwrap_or_default().to_owned(), body.to_owned());
        }
    }
}

fn line<'a>(sdp: &'a str, prefix: &str) -> &'a str {
    sdp.lines().find_map(|line| line.strip_prefix(prefix)).unwrap_or_default().trim()
}

/// What the offer's first H.264 with packetization mode 1 and its RTX look like as capabilities.
fn capabilities(offer: &str) -> RtpCapabilities {
    let fmtp = |wanted: &str| {
        offer
            .lines()
            .filter_map(|line| line.strip_prefix("a=fmtp:"))
            .find(|line| line.contains(wanted))
            .and_then(|line| line.split(' ').next())
    };
    let payload_type: u8 = fmtp("packetization-mode=1;profile-level-id=42e01f").unwrap().parse().unwrap();
    let rtx: u8 = fmtp(&format!("apt={payload_type}")).unwrap().parse().unwrap();
    let codec = |name: &str, payload_type, parameters| RtpCodecCapability {
        kind: MediaKind::Video,
        mime_type: format!("video/{name}"),
        preferred_payload_type: Some(payload_type),
        clock_rate: 90_000,
        channels: None,
        parameters,
        rtcp_feedback: [("nack", ""), ("nack", "pli")].map(|(a, b)| RtcpFeedback { kind: a.into(), parameter: b.into() }).into(),
    };
    let text = |text: &str| ParameterValue::Text(text.into());
    let h264 = [("packetization-mode".into(), text("1")), ("profile-level-id".into(), text("42e01f"))].into();
    let extension = |uri: &str| {
        let id = offer.lines().filter_map(|line| line.strip_prefix("a=extmap:")).find(|line| line.ends_with(uri)).unwrap();
        RtpHeaderExtension {
            kind: MediaKind::Video,
            uri: uri.into(),
            preferred_id: id.split(' ').next().unwrap().parse().unwrap(),
            preferred_encrypt: false,
            direction: None,
        }
    };
    RtpCapabilities {
        codecs: vec![
            codec("H264", payload_type, h264),
            codec("rtx", rtx, [("apt".into(), ParameterValue::Number(payload_type.into()))].into()),
        ],
        header_extensions: vec![extension(extension_uri::MID), extension(extension_uri::ABS_SEND_TIME)],
    }
}

fn answer(transport: &WebRtcTransport, parameters: &RtpParameters) -> String {
    let (media, rtx) = (&parameters.codecs[0], &parameters.codecs[1]);
    let (ice, dtls) = (&transport.ice_parameters, &transport.dtls_parameters.fingerprints[0]);
    let ssrc = parameters.encodings[0].ssrc.unwrap();
    let rtx_ssrc = parameters.encodings[0].rtx.unwrap().ssrc;
    let (pt, rpt) = (media.payload_type, rtx.payload_type);
    let mut sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\na=group:BUNDLE 0\r\nm=video 9 UDP/TLS/RTP/SAVPF {pt} {rpt}\r\n\
         c=IN IP4 127.0.0.1\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=setup:passive\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n\
         a=fingerprint:{} {}\r\na=rtpmap:{pt} H264/90000\r\na=fmtp:{pt} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
         a=rtcp-fb:{pt} nack\r\na=rtcp-fb:{pt} nack pli\r\na=rtpmap:{rpt} rtx/90000\r\na=fmtp:{rpt} apt={pt}\r\na=msid:s t\r\n\
         a=ssrc-group:FID {ssrc} {rtx_ssrc}\r\na=ssrc:{ssrc} cname:c\r\na=ssrc:{rtx_ssrc} cname:c\r\n",
        ice.username_fragment, ice.password, dtls.algorithm, dtls.value
    );
    for extension in &parameters.header_extensions {
        sdp += &format!("a=extmap:{} {}\r\n", extension.id, extension.uri);
    }
    for candidate in transport.ice_candidates.iter().filter(|candidate| candidate.protocol == "udp") {
        sdp += &format!("a=candidate:1 1 udp {} {} {} typ host\r\n", candidate.priority, candidate.address, candidate.port);
    }
    sdp
}

async fn publish(router: &Router) -> (crate::sfu::ProducerId, super::PlainTransport, Killed) {
    let transport = router.create_plain_transport(PlainTransportOptions { comedia: true, ..Default::default() }).await.unwrap();
    let codec = RtpCodecParameters {
        mime_type: "video/H264".into(),
        payload_type: 96,
        clock_rate: 90_000,
        channels: None,
        parameters: Default::default(),
        rtcp_feedback: vec![],
    };
    let options = ProducerOptions { kind: MediaKind::Video, rtp_parameters: RtpParameters { codecs: vec![codec], ..Default::default() } };
    let producer = transport.produce(options).await.unwrap();
    let address = transport.local_address;
    let ffmpeg = Command::new("ffmpeg")
        .args(
            "-loglevel error -re -f lavfi -i testsrc=size=640x360:rate=30 -c:v libx264 -preset ultrafast -tune zerolatency -bf 0"
                .split(' '),
        )
        .args("-pix_fmt yuv420p -profile:v baseline -g 300 -bsf:v dump_extra -payload_type 96 -f rtp".split(' '))
        .arg(format!("rtp://{address}?rtcpport={}&pkt_size=1200", address.port()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    (producer, transport, Killed(ffmpeg))
}

#[tokio::test]
#[ignore = "starts ffmpeg and chromium"]
async fn chromium_decodes_at_once_in_the_middle_of_a_long_gop() {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let pool = WorkerPool::start(
        &SfuConfig { listen, workers: 2, ..Default::default() },
        &crate::base::real_clock(),
        &crate::base::Lots::new(crate::base::seeded(8)),
        &crate::base::Vitals::unwatched(),
    )
    .unwrap();
    let router = pool.create_router(0).await.unwrap();
    let (producer, _transport, _ffmpeg) = publish(&router).await;
    let mut waited = 0;
    while router.producer_stats(producer).await.unwrap().frames < 60 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        waited += 1;
        assert!(waited < 400, "ffmpeg sends nothing");
    }
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let profile = tempfile::tempdir().unwrap();
    let _chromium = Killed(
        Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--allow-loopback-in-peer-connection"])
            .arg("--autoplay-policy=no-user-gesture-required")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("http://{}/", http.local_addr().unwrap()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut session = None;
    let (mut began, mut first) = (None, None);
    let watching = async {
        loop {
            let (mut stream, _) = http.accept().await.unwrap();
            let (path, body) = request(&mut stream).await;
            let mut reply = String::new();
            match path.as_str() {
                "/" => reply = PAGE.into(),
                "/offer" => {
                    let transport = router.create_webrtc_transport(WebRtcTransportOptions::default()).await.unwrap();
                    let (algorithm, value) = line(&body, "a=fingerprint:").split_once(' ').unwrap();
                    let fingerprints = vec![DtlsFingerprint { algorithm: algorithm.into(), value: value.into() }];
                    let ice = IceParameters {
                        username_fragment: line(&body, "a=ice-ufrag:").into(),
                        password: line(&body, "a=ice-pwd:").into(),
                        ice_lite: false,
                    };
                    transport.connect(DtlsParameters { role: DtlsRole::Client, fingerprints }, ice).await.unwrap();
                    let options = ConsumerOptions {
                        producer,
                        rtp_capabilities: capabilities(&body),
                        mid: Some("0".into()),
                        cname: "c".into(),
                        drop_disposable: false,
                        paused: false,
                    };
                    let info = transport.consume(options).await.unwrap();
                    reply = answer(&transport, &info.rtp_parameters);
                    began = Some(Instant::now());
                    session = Some(transport);
                }
                "/state" => {
                    let frames: u32 = body.split(' ').next().unwrap().parse().unwrap();
                    if frames > 0 && first.is_none() {
                        first = Some(Instant::now());
                    }
                    if frames >= 150 {
                        return body;
                    }
                }
                _ => {}
            }
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", reply.len());
            let _ = stream.write_all((head + &reply).as_bytes()).await;
        }
    };
    let state = tokio::time::timeout(Duration::from_secs(40), watching).await.expect("150 pictures in 40 s");
    let took = first.unwrap() - began.unwrap();
    println!("first picture reported after {took:?}; frames plis freezes lost state: {state}; {:?}", pool.stats().await);
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert_eq!(state.split(' ').nth(1), Some("0"), "PLIs: {state}");
    drop(session);
    pool.shutdown().await;
}
