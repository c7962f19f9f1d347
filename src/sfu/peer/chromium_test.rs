//! Against a real Chromium, in both DTLS roles: the page offers by HTTP, and ICE and DTLS run over a loopback socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::sfu::ortc::{DtlsFingerprint, DtlsParameters, DtlsRole, IceParameters};

const PAGE: &str = "<script>(async () => {
  const pc = new RTCPeerConnection();
  pc.addTransceiver('audio', {direction: 'recvonly'});
  pc.onconnectionstatechange = () => fetch('/state', {method: 'POST', body: pc.connectionState});
  await pc.setLocalDescription();
  const answer = await fetch('/offer', {method: 'POST', body: pc.localDescription.sdp});
  await pc.setRemoteDescription({type: 'answer', sdp: await answer.text()});
})()</script>";

#[allow(clippy::disallowed_methods)] // The other side is a real process.
fn now() -> Instant {
    Instant::now()
}

/// Reads a request and returns its path and body.
fn request(stream: &mut TcpStream) -> (String, String) {
    let (mut bytes, mut buffer) = (vec![], [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).unwrap_or(0);
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        if count == 0 || text.contains("\r\n\r\n") && body.len() >= length.unwrap_or(0) {
            return (head.split(' ').nth(1).unwrap_or_default().to_owned(), body.to_owned());
        }
    }
}

fn answer(stream: &mut TcpStream, kind: &str, body: &str) {
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
}

#[test]
#[ignore = "starts chromium"]
fn chromium_connects_in_both_roles() {
    for ours in [DtlsRole::Server, DtlsRole::Client] {
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        http.set_nonblocking(true).unwrap();
        let media = UdpSocket::bind("127.0.0.1:0").unwrap();
        media.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let local = media.local_addr().unwrap();
        let profile = tempfile::tempdir().unwrap();
        let mut chromium = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--allow-loopback-in-peer-connection"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("http://{}/", http.local_addr().unwrap()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let certificate = Certificate::generate().unwrap();
        let mut peer = Peer::new(now(), &certificate, 7, &mut crate::base::seeded(7));
        let end = now() + Duration::from_secs(40);
        let (mut browser_connected, mut keys, mut asked) = (false, None, now());
        let mut buffer = [0; 4096];
        while (!browser_connected || keys.is_none()) && now() < end {
            if let Ok((mut stream, _)) = http.accept() {
                stream.set_nonblocking(false).unwrap();
                match request(&mut stream) {
                    (path, offer) if path == "/offer" => {
                        let value = offer.lines().find_map(|line| line.strip_prefix("a=fingerprint:sha-256 ")).unwrap();
                        let fingerprints = vec![DtlsFingerprint { algorithm: "sha-256".into(), value: value.trim().into() }];
                        let role = if ours == DtlsRole::Server { DtlsRole::Client } else { DtlsRole::Server };
                        let line = |name: &str| offer.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
                        let theirs =
                            IceParameters { username_fragment: line("a=ice-ufrag:"), password: line("a=ice-pwd:"), ice_lite: false };
                        peer.connect(now(), DtlsParameters { role, fingerprints }, &theirs).unwrap();
                        let ice = peer.ice_parameters();
                        let setup = if ours == DtlsRole::Server { "passive" } else { "active" };
                        let candidate = &host_candidates(&[local], &[], &[], false)[0];
                        let sdp = [
                            "v=0".to_owned(),
                            "o=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-lite\r\na=group:BUNDLE 0".into(),
                            "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux".into(),
                            "a=rtpmap:111 opus/48000/2".into(),
                            format!("a=ice-ufrag:{}\r\na=ice-pwd:{}", ice.username_fragment, ice.password),
                            format!("a=fingerprint:sha-256 {}\r\na=setup:{setup}", certificate.fingerprint().value),
                            format!(
                                "a=candidate:{} 1 udp {} {} {} typ host\r\n",
                                candidate.foundation, candidate.priority, candidate.address, candidate.port
                            ),
                        ];
                        asked = now();
                        answer(&mut stream, "application/sdp", &sdp.join("\r\n"));
                    }
                    (path, state) if path == "/state" => {
                        browser_connected |= state == "connected";
                        answer(&mut stream, "text/plain", "");
                    }
                    _ => answer(&mut stream, "text/html", PAGE),
                }
            }
            if let Ok((length, remote)) = media.recv_from(&mut buffer) {
                peer.handle_datagram(now(), Tuple { local, remote, protocol: Protocol::Udp }, &buffer[..length]);
            }
            peer.handle_timeout(now());
            while let Some((tuple, datagram)) = peer.poll_transmit() {
                media.send_to(&datagram, tuple.remote).unwrap();
            }
            while let Some(event) = peer.poll_event() {
                println!("{ours:?} {:?} {event:?}", now() - asked);
                if let PeerEvent::Connected(given) = event {
                    keys = Some(given);
                }
            }
        }
        chromium.kill().unwrap();
        chromium.wait().unwrap();
        assert!(browser_connected, "{ours:?}: Chromium says it is not connected");
        println!(
            "{ours:?}: {:?}, rejected checks {}, dropped records {}",
            keys.unwrap().profile,
            peer.rejected_checks(),
            peer.take_dropped_records()
        );
    }
}
