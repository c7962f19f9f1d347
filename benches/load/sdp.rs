//! A viewer's offer as a browser would make it, and what it needs to know of the answer.

use std::net::SocketAddr;

use headend::inside::sfu::ortc::{DtlsFingerprint, DtlsParameters, DtlsRole, IceParameters};

use crate::Result;

/// What the answer says.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The server's credentials.
    pub ice: IceParameters,
    /// Its certificate.
    pub dtls: DtlsParameters,
    /// Its first UDP candidate.
    pub candidate: SocketAddr,
    /// Payload type of H.264, or 255.
    pub video_payload_type: u8,
    /// Payload type of Opus, or 255.
    pub audio_payload_type: u8,
}

/// An offer to receive one video and one audio track. Our ICE credentials in it are of no use: the server is lite and sends no checks.
pub(crate) fn offer(fingerprint: &DtlsFingerprint) -> String {
    let transport = format!(
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:bench\r\na=ice-pwd:benchbenchbenchbenchbench\r\na=fingerprint:{} {}\r\na=setup:actpass\r\na=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n",
        fingerprint.algorithm, fingerprint.value
    );
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n{transport}a=mid:0\r\n\
         a=rtpmap:96 H264/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\n\
         a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640028\r\n\
         a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{transport}a=mid:1\r\n\
         a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1;stereo=1\r\n"
    )
}

/// Reads the answer as far as it is needed.
pub(crate) fn read_answer(text: &str) -> Result<Answer> {
    let value = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        found.ok_or_else(|| format!("the answer has no {name}\n{text}"))
    };
    let payload_type = |codec: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix("a=rtpmap:"));
        let mut named = lines.filter_map(|line| line.split_once(' ')).filter(|(_, name)| name.to_ascii_lowercase().starts_with(codec));
        named.next().and_then(|(number, _)| number.parse().ok()).unwrap_or(255)
    };
    let (algorithm, fingerprint) = value("a=fingerprint:")?.split_once(' ').ok_or("a fingerprint without value")?;
    let candidates = text.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
    let candidate = candidates
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.get(2).is_some_and(|transport| transport.eq_ignore_ascii_case("udp")))
        .and_then(|words| Some(SocketAddr::new(words.get(4)?.parse().ok()?, words.get(5)?.parse().ok()?)))
        .ok_or("the answer has no UDP candidate")?;
    Ok(Answer {
        ice: IceParameters {
            username_fragment: value("a=ice-ufrag:")?.to_owned(),
            password: value("a=ice-pwd:")?.to_owned(),
            ice_lite: true,
        },
        dtls: DtlsParameters {
            role: DtlsRole::Server,
            fingerprints: vec![DtlsFingerprint { algorithm: algorithm.to_owned(), value: fingerprint.to_owned() }],
        },
        candidate,
        video_payload_type: payload_type("h264"),
        audio_payload_type: payload_type("opus"),
    })
}
