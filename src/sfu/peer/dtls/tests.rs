//! Against OpenSSL's command line, over a real socket: both roles, RSA certificates, small fragments, any order of profiles.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;

fn openssl(folder: &Path, arguments: &str) -> Child {
    Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed")
}

/// Makes `key.pem` and `certificate.pem` and returns the certificate's fingerprint.
fn make_certificate(folder: &Path, kind: &str) -> DtlsFingerprint {
    let kind = if kind == "rsa" { "rsa:2048" } else { "ec -pkeyopt ec_paramgen_curve:prime256v1" };
    let request = format!("req -x509 -newkey {kind} -nodes -keyout key.pem -out certificate.pem -days 2 -subj /CN=peer");
    assert!(openssl(folder, &request).wait().unwrap().success());
    let output = openssl(folder, "x509 -in certificate.pem -noout -fingerprint -sha256").wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    DtlsFingerprint { algorithm: "sha-256".into(), value: text.trim().split('=').nth(1).unwrap().to_owned() }
}

#[allow(clippy::disallowed_methods)] // The other side is a real process.
fn now() -> Instant {
    Instant::now()
}

/// Runs a session on `socket` until it has an event.
fn drive(session: &mut DtlsSession, socket: &UdpSocket, mut remote: Option<SocketAddr>) -> DtlsEvent {
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let end = now() + Duration::from_secs(20);
    let mut buffer = [0; 4096];
    loop {
        while let Some(datagram) = remote.and_then(|_| session.poll_transmit()) {
            assert!(datagram.len() <= 1200);
            socket.send_to(&datagram, remote.unwrap()).unwrap();
        }
        if let Some(event) = session.poll_event() {
            return event;
        }
        assert!(now() < end, "no event");
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            remote = Some(from);
            session.handle_datagram(now(), &buffer[..length]);
        }
        session.handle_timeout(now());
    }
}

/// The keying material that OpenSSL prints.
fn printed_keys(child: &mut Child) -> String {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let prefix = "    Keying material: ";
    lines.map_while(Result::ok).find_map(|line| line.strip_prefix(prefix).map(str::to_owned)).expect("keying material")
}

fn material(keys: &SrtpKeys, we_are_client: bool) -> String {
    let (local, remote) = ((&keys.local_key, &keys.local_salt), (&keys.remote_key, &keys.remote_salt));
    let (client, server) = if we_are_client { (local, remote) } else { (remote, local) };
    [client.0, server.0, client.1, server.1].into_iter().flatten().map(|byte| format!("{byte:02X}")).collect()
}

const GCM: &str = "SRTP_AEAD_AES_128_GCM";
const CM: &str = "SRTP_AES128_CM_SHA1_80";

#[test]
fn openssl_as_client_agrees_on_the_keys() {
    let ours = Certificate::generate().unwrap();
    for (kind, profiles, mtu, expected) in [
        ("ec", format!("{CM}:{GCM}"), 1400, SrtpProfile::AeadAes128Gcm),
        ("rsa", format!("{GCM}:{CM}"), 300, SrtpProfile::AeadAes128Gcm),
        ("rsa", CM.to_owned(), 1400, SrtpProfile::Aes128CmHmacSha1_80),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let fingerprint = make_certificate(folder.path(), kind);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let length = 2 * (16 + expected.salt_len());
        let mut child = openssl(
            folder.path(),
            &format!(
                "s_client -dtls1_2 -connect {} -cert certificate.pem -key key.pem -mtu {mtu} -use_srtp {profiles} -keymatexport {SRTP_LABEL} -keymatexportlen {length}",
                socket.local_addr().unwrap()
            ),
        );
        let mut session = DtlsSession::new(now(), &ours, DtlsRole::Server, &[fingerprint]).unwrap();
        let DtlsEvent::Connected(keys) = drive(&mut session, &socket, None) else { panic!("{kind} {profiles}: not connected") };
        assert_eq!(keys.profile, expected);
        assert_eq!(printed_keys(&mut child), material(&keys, false));
        // At the end of its input it leaves with close_notify.
        drop(child.stdin.take());
        assert_eq!(drive(&mut session, &socket, None), DtlsEvent::Closed(CloseReason::ClosedByPeer));
        child.wait().unwrap();
    }
}

#[test]
fn openssl_as_server_agrees_on_the_keys() {
    let ours = Certificate::generate().unwrap();
    for (kind, mtu) in [("ec", 1400), ("rsa", 300)] {
        let folder = tempfile::tempdir().unwrap();
        let fingerprint = make_certificate(folder.path(), kind);
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = openssl(
            folder.path(),
            &format!(
                "s_server -dtls1_2 -accept 127.0.0.1:{port} -cert certificate.pem -key key.pem -Verify 1 -mtu {mtu} -use_srtp {GCM}:{CM} -keymatexport {SRTP_LABEL} -keymatexportlen 56"
            ),
        );
        // It says ACCEPT when it listens; until then a ClientHello would be refused by the kernel.
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("ACCEPT") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0);
        }
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut session = DtlsSession::new(now(), &ours, DtlsRole::Client, &[fingerprint]).unwrap();
        let remote = SocketAddr::from(([127, 0, 0, 1], port));
        let DtlsEvent::Connected(keys) = drive(&mut session, &socket, Some(remote)) else { panic!("{kind}: not connected") };
        let prefix = "    Keying material: ";
        let printed = output.lines().map_while(Result::ok).find_map(|line| line.strip_prefix(prefix).map(str::to_owned));
        assert_eq!(printed, Some(material(&keys, true)));
        assert_eq!(keys.profile, SrtpProfile::AeadAes128Gcm);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_client_without_certificate_or_srtp_gets_no_keys() {
    let ours = Certificate::generate().unwrap();
    for options in [format!("-use_srtp {GCM}"), "-cert certificate.pem -key key.pem".to_owned()] {
        let folder = tempfile::tempdir().unwrap();
        let fingerprint = make_certificate(folder.path(), "ec");
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut child = openssl(folder.path(), &format!("s_client -dtls1_2 -connect {} {options}", socket.local_addr().unwrap()));
        let mut session = DtlsSession::new(now(), &ours, DtlsRole::Server, &[fingerprint]).unwrap();
        let event = drive(&mut session, &socket, None);
        assert!(matches!(event, DtlsEvent::Closed(CloseReason::DtlsFailed(_) | CloseReason::FingerprintMismatch)), "{event:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
