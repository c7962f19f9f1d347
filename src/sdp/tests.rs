//! Offers as real clients write them, answers, and hostile texts.

use proptest::prelude::*;

use super::media::Direction;
use super::*;
use crate::base::MediaKind;
use crate::codec::Codec;
use crate::sfu::ortc::{
    DtlsFingerprint, DtlsParameters, DtlsRole, IceCandidate, IceParameters, ParameterValue, RtcpFeedback, RtpCapabilities,
    RtpCodecCapability, RtpHeaderExtension, RtxParameters, extension_uri,
};

const CHROMIUM_RECV: &str = include_str!("fixtures/chromium156_recvonly.sdp");
const CHROMIUM_SEND: &str = include_str!("fixtures/chromium156_sendonly.sdp");
const CHROMIUM_SIMULCAST: &str = include_str!("fixtures/chromium156_simulcast.sdp");
const OBS: &str = include_str!("fixtures/obs_whip.sdp");
const GSTREAMER: &str = include_str!("fixtures/gstreamer_whip.sdp");
const FIREFOX: &str = include_str!("fixtures/firefox_recvonly.sdp");
const ALL: [&str; 6] = [CHROMIUM_RECV, CHROMIUM_SEND, CHROMIUM_SIMULCAST, OBS, GSTREAMER, FIREFOX];

fn parse(text: &str) -> Offer {
    Offer::parse(text.as_bytes()).unwrap()
}

fn media(offer: &Offer, kind: MediaKind) -> &OfferedMedia {
    offer.sections.iter().filter_map(|s| s.media.as_ref()).find(|m| m.kind == kind).unwrap()
}

fn ours() -> RtpCapabilities {
    let feedback = |list: &[(&str, &str)]| {
        list.iter().map(|(kind, parameter)| RtcpFeedback { kind: (*kind).into(), parameter: (*parameter).into() }).collect::<Vec<_>>()
    };
    let codec = |kind, mime: &str, clock_rate, fb| RtpCodecCapability {
        kind,
        mime_type: mime.into(),
        preferred_payload_type: None,
        clock_rate,
        channels: None,
        parameters: Default::default(),
        rtcp_feedback: fb,
    };
    let video = feedback(&[("nack", ""), ("nack", "pli"), ("ccm", "fir"), ("transport-cc", "")]);
    let extension =
        |kind, uri: &str| RtpHeaderExtension { kind, uri: uri.into(), preferred_id: 1, preferred_encrypt: false, direction: None };
    RtpCapabilities {
        codecs: vec![
            codec(MediaKind::Video, "video/H264", 90_000, video.clone()),
            codec(MediaKind::Video, "video/VP8", 90_000, video),
            codec(MediaKind::Audio, "audio/opus", 48_000, feedback(&[("transport-cc", "")])),
        ],
        header_extensions: vec![
            extension(MediaKind::Video, extension_uri::MID),
            extension(MediaKind::Video, extension_uri::TRANSPORT_CC),
            extension(MediaKind::Audio, extension_uri::MID),
        ],
    }
}

#[test]
fn chromium_viewer() {
    let offer = parse(CHROMIUM_RECV);
    assert!(offer.bundle && offer.trickle);
    assert_eq!(offer.dtls.role, DtlsRole::Auto);
    assert_eq!(offer.dtls.fingerprints.len(), 1);
    assert!(!offer.candidates.is_empty());
    let video = media(&offer, MediaKind::Video);
    assert_eq!(video.direction, Direction::RecvOnly);
    assert_eq!(video.codecs(), [Codec::Vp8, Codec::H264]);
    // Packetization mode 1 only.
    for pt in video.payload_types_of(Codec::H264) {
        let codec = video.capabilities.codecs.iter().find(|c| c.preferred_payload_type == Some(pt)).unwrap();
        assert_eq!(codec.parameters["packetization-mode"], ParameterValue::Number(1));
        assert!(matches!(codec.parameters["profile-level-id"], ParameterValue::Text(_)));
    }
    assert!(video.capabilities.codecs.iter().any(|c| c.mime_type == "video/rtx" && c.parameters.contains_key("apt")));
    assert!(video.capabilities.header_extensions.iter().any(|e| e.uri == extension_uri::MID));
    assert_eq!(media(&offer, MediaKind::Audio).codecs(), [Codec::Opus]);
}

#[test]
fn chromium_publisher() {
    let offer = parse(CHROMIUM_SEND);
    let video = media(&offer, MediaKind::Video);
    assert_eq!(video.encoding.ssrc, Some(1_438_821_930));
    assert_eq!(video.encoding.rtx, Some(RtxParameters { ssrc: 1_322_795_250 }));
    assert_eq!(video.cname.as_deref(), Some("YSdhsoZLKd0Z0PYb"));
    let h264 = video.payload_types_of(Codec::H264).next().unwrap();
    let sent = video.send_parameters(Some("1"), h264, &ours()).unwrap();
    assert_eq!((h264, sent.codecs.len()), (102, 2));
    assert_eq!(sent.codecs[1].mime_type, "video/rtx");
    assert_eq!(sent.codecs[1].parameters["apt"], ParameterValue::Number(102));
    // goog-remb is not ours.
    assert_eq!(sent.codecs[0].rtcp_feedback.len(), 4);
    assert_eq!(sent.header_extensions.len(), 2);
    assert_eq!(sent.encodings[0].rtx, Some(RtxParameters { ssrc: 1_322_795_250 }));
    assert!(video.send_parameters(None, 77, &ours()).is_none());
}

#[test]
fn chromium_simulcast_and_data() {
    let offer = parse(CHROMIUM_SIMULCAST);
    let video = media(&offer, MediaKind::Video);
    assert_eq!(video.rids, ["h", "l"]);
    assert_eq!(video.encoding.ssrc, None);
    assert!(offer.sections[1].media.is_none());
    assert_eq!(offer.sections[1].protocol, "UDP/DTLS/SCTP");
}

#[test]
fn obs_publisher() {
    let offer = parse(OBS);
    assert!(offer.trickle);
    let (audio, video) = (media(&offer, MediaKind::Audio), media(&offer, MediaKind::Video));
    assert_eq!((audio.codecs(), video.codecs()), (vec![Codec::Opus], vec![Codec::H264]));
    assert_eq!(video.encoding.ssrc, Some(1_815_040_972));
    let sent = video.send_parameters(Some("1"), 96, &ours()).unwrap();
    assert_eq!((sent.codecs.len(), sent.header_extensions.len()), (1, 0));
    assert!(!sent.rtcp.reduced_size);
}

#[test]
fn gstreamer_publisher() {
    let offer = parse(GSTREAMER);
    let (audio, video) = (media(&offer, MediaKind::Audio), media(&offer, MediaKind::Video));
    // `bundle-only` with port 0 counts; `OPUS` in capitals does.
    assert_eq!((audio.codecs(), video.codecs()), (vec![Codec::Opus], vec![Codec::H264]));
    // No feedback in common for audio, so no RTX either; what the encoder says of its stream is not repeated.
    let sent = audio.send_parameters(Some("audio1"), 97, &ours()).unwrap();
    assert_eq!((sent.codecs.len(), sent.encodings[0].rtx), (1, None));
    let sent = video.send_parameters(Some("video0"), 96, &ours()).unwrap();
    assert_eq!(sent.codecs.len(), 2);
    assert!(!sent.codecs[0].parameters.contains_key("sprop-parameter-sets"));
    // Hexadecimal, though it looks like a number.
    let odd = parse(&GSTREAMER.replace("42c015", "420010"));
    let profile = &media(&odd, MediaKind::Video).capabilities.codecs[0].parameters["profile-level-id"];
    assert_eq!(profile, &ParameterValue::Text("420010".into()));
    assert_eq!(offer.sections[0].mid.as_deref(), Some("video0"));
}

#[test]
fn firefox_viewer() {
    let offer = parse(FIREFOX);
    let video = media(&offer, MediaKind::Video);
    assert_eq!(video.direction, Direction::RecvOnly);
    assert_eq!(video.payload_types_of(Codec::H264).collect::<Vec<_>>(), [126]);
    assert_eq!(video.capabilities.header_extensions[3].direction.as_deref(), Some("recvonly"));
}

fn transport() -> (IceParameters, Vec<IceCandidate>, DtlsParameters) {
    (
        IceParameters { username_fragment: "srvu".into(), password: "p".repeat(24), ice_lite: true },
        vec![IceCandidate {
            foundation: "1".into(),
            priority: 5,
            address: "192.0.2.1".into(),
            protocol: "udp".into(),
            port: 8189,
            kind: "host".into(),
            tcp_type: None,
        }],
        DtlsParameters {
            role: DtlsRole::Auto,
            fingerprints: vec![DtlsFingerprint { algorithm: "sha-256".into(), value: ["AB"; 32].join(":") }],
        },
    )
}

fn answer(offer: &Offer, sections: &[SectionAnswer]) -> String {
    let (ice, candidates, dtls) = transport();
    Answer { offer, session_id: 7, ice: &ice, candidates: &candidates, dtls: &dtls, sections }.write()
}

#[test]
fn answer_to_a_publisher() {
    let offer = parse(CHROMIUM_SEND);
    let sections: Vec<_> = offer
        .sections
        .iter()
        .map(|s| {
            let m = s.media.as_ref().unwrap();
            let pt = m.payload_types_of(m.codecs()[0]).next().unwrap();
            SectionAnswer::Receive(m.send_parameters(s.mid.as_deref(), pt, &ours()).unwrap())
        })
        .collect();
    let text = answer(&offer, &sections);
    for line in [
        "a=ice-lite",
        "a=group:BUNDLE 0 1",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
        "a=recvonly",
        "a=setup:passive",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=fmtp:97 apt=96",
        "a=rtcp-fb:96 nack pli",
        "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
        "a=candidate:1 1 udp 5 192.0.2.1 8189 typ host",
        "a=end-of-candidates",
    ] {
        assert!(text.contains(&format!("{line}\r\n")), "{line} is missing in\n{text}");
    }
    assert_eq!(text.matches("a=candidate:").count(), 1);
    assert!(!text.contains("toffset") && !text.contains("simulcast"));
}

#[test]
fn answer_to_a_viewer() {
    let offer = parse(CHROMIUM_RECV);
    let sections: Vec<_> = offer
        .sections
        .iter()
        .map(|s| {
            let m = s.media.as_ref().unwrap();
            if m.kind == MediaKind::Audio {
                return SectionAnswer::Inactive;
            }
            let mut parameters = m.send_parameters(s.mid.as_deref(), 102, &ours()).unwrap();
            parameters.encodings[0].ssrc = Some(1000);
            parameters.encodings[0].rtx = Some(RtxParameters { ssrc: 1001 });
            parameters.rtcp.cname = Some("cam".into());
            SectionAnswer::Send { parameters, stream_id: "live".into(), track_id: "video".into() }
        })
        .collect();
    let text = answer(&offer, &sections);
    for line in [
        "a=sendonly",
        "a=inactive",
        "a=msid:live video",
        "a=ssrc-group:FID 1000 1001",
        "a=ssrc:1000 cname:cam",
        "a=ssrc:1001 msid:live video",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
    ] {
        assert!(text.contains(&format!("{line}\r\n")), "{line} is missing in\n{text}");
    }
}

#[test]
fn rejected_sections_keep_their_place() {
    let offer = parse(CHROMIUM_SIMULCAST);
    let text = answer(&offer, &[SectionAnswer::Inactive, SectionAnswer::Inactive]);
    assert!(text.contains("a=group:BUNDLE 0\r\n"));
    assert!(text.contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\n"));
    // Fewer decisions than sections: the rest is rejected.
    assert_eq!(answer(&offer, &[]).matches(" 0 UDP/").count(), 2);
}

#[test]
fn a_passive_client_makes_us_active() {
    let offer = parse(&OBS.replace("a=setup:actpass", "a=setup:passive"));
    assert_eq!(offer.dtls.role, DtlsRole::Server);
    assert!(answer(&offer, &[SectionAnswer::Inactive, SectionAnswer::Inactive]).contains("a=setup:active\r\n"));
    assert_eq!(parse(&OBS.replace("a=setup:actpass", "a=setup:active")).dtls.role, DtlsRole::Client);
}

#[test]
fn impossible_offers_say_what_is_missing() {
    let without = |key: &str| OBS.lines().filter(|l| !l.starts_with(key)).map(|l| format!("{l}\r\n")).collect::<String>();
    for (text, words) in [
        (without("a=group:BUNDLE"), "a=group:BUNDLE"),
        (without("a=ice-ufrag"), "a=ice-ufrag"),
        (without("a=ice-pwd"), "a=ice-pwd"),
        (without("a=fingerprint"), "a=fingerprint"),
        (without("a=rtcp-mux"), "a=rtcp-mux"),
        (OBS.split("m=audio").next().unwrap().to_owned(), "m= sections"),
        (OBS.replace("a=mid:1", "a=mid:0"), "two sections"),
        (OBS.replace("BUNDLE 0 1", "BUNDLE 0 2"), "no section has the mid"),
        (OBS.replace("a=mid:1", "a=mid:averyveryverylongmid"), "a=mid"),
        (OBS.replace("sha-256", "sha-1"), "sha-256"),
        (OBS.replace("setup:actpass", "setup:holdconn"), "a=setup"),
        (OBS.replace("ufrag:r5Yl", "ufrag:r5"), "a=ice-ufrag"),
        (OBS.replace("a=setup", "a=ice-lite\r\na=setup"), "ICE-lite"),
        (OBS.replace("s=-", "s=-\u{7}"), "control character"),
        (OBS.replace("a=mid:1", "a=mid:1\rx"), "carriage return"),
        ("hello".into(), "can't be read"),
    ] {
        let error = Offer::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    }
    assert_eq!(Offer::parse(&[0xFF, 0xFE]).unwrap_err(), SdpError::NotUtf8);
    assert_eq!(Offer::parse(&vec![b'a'; MAX_SDP_BYTES + 1]).unwrap_err(), SdpError::TooLarge(MAX_SDP_BYTES + 1));
}

#[test]
fn one_section_needs_no_bundle() {
    let text: String = OBS
        .split("m=video")
        .next()
        .unwrap()
        .lines()
        .filter(|l| !l.contains("BUNDLE") && !l.starts_with("a=mid"))
        .map(|l| format!("{l}\r\n"))
        .collect();
    let offer = parse(&text);
    assert!(!offer.bundle);
    let text = answer(&offer, &[SectionAnswer::Inactive]);
    assert!(!text.contains("BUNDLE") && !text.contains("a=mid"));
}

#[test]
fn bare_line_feeds_are_fine() {
    for text in ALL {
        let offer = parse(&text.replace("\r\n", "\n"));
        assert_eq!(offer.sections.len(), parse(text).sections.len());
        assert_eq!(offer.ice, parse(text).ice);
    }
}

/// Each change leaves an offer that means the same.
#[test]
fn offers_of_less_careful_writers() {
    let without =
        |keys: &[&str]| GSTREAMER.lines().filter(|l| !keys.iter().any(|key| l.starts_with(key))).map(|l| format!("{l}\r\n")).collect();
    let variants: Vec<String> = vec![
        GSTREAMER.replace("\r\n", "\n"),
        GSTREAMER.replace("OPUS/48000/2", "opus/48000"),
        GSTREAMER.replace("OPUS/48000/2", "Opus/48000/1"),
        GSTREAMER.replace("H264/90000", "h264/90000"),
        GSTREAMER.replace("packetization-mode=1", "Packetization-Mode=1"),
        GSTREAMER.replace("packetization-mode=1;", ""),
        GSTREAMER.replace("packetization-mode=1", "packetization-mode=0"),
        without(&["a=fmtp:"]),
        without(&["o=", "s=", "t=", "c=", "b="]),
        without(&["v="]),
        without(&["a=setup", "a=ice-options", "a=msid", "a=ssrc", "a=rtcp-fb", "a=extmap", "a=rtcp:", "a=rtcp-rsize"]),
        GSTREAMER.replace("a=rtpmap:", "a=RTPMAP:").replace("a=mid:", "a=Mid:").replace("BUNDLE", "bundle"),
        GSTREAMER.replace("a=setup:actpass", "a=setup:ACTPASS"),
        GSTREAMER.replace("UDP/TLS/RTP/SAVPF", "udp/tls/rtp/savpf"),
        GSTREAMER.replace("sha-256", "SHA-256"),
        format!("{GSTREAMER}\r\n\r\n"),
        GSTREAMER.replace("\r\n", "  \r\n"),
        GSTREAMER.trim_end().to_owned(),
    ];
    for text in variants {
        let offer = Offer::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let (audio, video) = (media(&offer, MediaKind::Audio), media(&offer, MediaKind::Video));
        assert_eq!((audio.codecs(), video.codecs()), (vec![Codec::Opus], vec![Codec::H264]), "{text}");
        assert_eq!(video.payload_types_of(Codec::H264).collect::<Vec<_>>(), [96], "{text}");
        assert_eq!(audio.capabilities.codecs[0].channels, Some(2), "{text}");
        let sections: Vec<_> = [(video, 96, "video0"), (audio, 97, "audio1")]
            .map(|(media, pt, mid)| SectionAnswer::Receive(media.send_parameters(Some(mid), pt, &ours()).unwrap()))
            .to_vec();
        let text = answer(&offer, &sections).to_lowercase();
        assert!(text.contains("a=rtpmap:97 opus/48000/2\r\n") && text.contains("a=rtpmap:96 h264/90000\r\n"), "{text}");
    }
}

#[test]
fn an_answer_names_the_offered_packetization_mode() {
    let base = CHROMIUM_RECV.replace("\r\n", "\n");
    let only = |mode: &str| {
        base.lines()
            .filter(|l| !(l.starts_with("a=fmtp:") && l.contains("packetization-mode=1")))
            .map(|l| format!("{}\r\n", l.replace("packetization-mode=0", mode)))
            .collect::<String>()
    };
    for (text, mode) in [(base.clone(), Some(1)), (only("packetization-mode=0"), Some(0)), (only("x=1"), None)] {
        let offer = parse(&text);
        let video = media(&offer, MediaKind::Video);
        let pt = video.payload_types_of(Codec::H264).find(|pt| {
            let codec = video.capabilities.codecs.iter().find(|c| c.preferred_payload_type == Some(*pt)).unwrap();
            codec.parameters.get("packetization-mode").cloned() == mode.map(ParameterValue::Number)
        });
        let pt = pt.unwrap_or_else(|| panic!("{mode:?}\n{text}"));
        let mut sent = video.send_parameters(None, pt, &ours()).unwrap();
        sent.codecs[0].parameters.insert("packetization-mode".into(), ParameterValue::Number(1));
        let said = video.as_offered(sent);
        assert_eq!(said.codecs[0].parameters.get("packetization-mode").cloned(), mode.map(ParameterValue::Number));
    }
}

#[test]
fn sections_outside_the_bundle_are_rejected() {
    let offer = parse(&OBS.replace("BUNDLE 0 1", "BUNDLE 1"));
    assert!(offer.sections[0].media.is_none() && offer.sections[1].media.is_some());
}

#[test]
fn fragments() {
    let text = "a=ice-options:trickle\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
                a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\na=end-of-candidates\r\n";
    let fragment = Fragment::parse(text.as_bytes()).unwrap();
    assert_eq!(
        fragment.ice,
        Some(IceParameters { username_fragment: "EsAw".into(), password: "P2uYro0UCOQ4zxjKXaWCBui1".into(), ice_lite: false })
    );
    assert_eq!((fragment.candidates.len(), fragment.end_of_candidates), (1, true));
    assert_eq!(Fragment::parse(b"").unwrap(), Fragment::default());
    for bad in ["a=ice-ufrag:EsAw\r\n", "hello\r\n", "a=ice-ufrag:E\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"] {
        assert!(Fragment::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let (ice, candidates, _) = transport();
    let written = FragmentHead::of(&parse(CHROMIUM_SEND)).write(&ice, &candidates);
    let back = Fragment::parse(written.as_bytes()).unwrap();
    assert_eq!(back.ice, Some(IceParameters { ice_lite: false, ..ice }));
    assert_eq!((back.candidates, back.end_of_candidates), (candidates, true));
    assert!(written.contains("a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"));
}

/// Whatever was read can be answered, and the answer is SDP with as many sections.
fn check_any(bytes: &[u8]) {
    let _ = Fragment::parse(bytes);
    let Ok(offer) = Offer::parse(bytes) else { return };
    let sections: Vec<_> = offer
        .sections
        .iter()
        .map(|s| {
            let pt = s.media.as_ref().and_then(|m| m.capabilities.codecs.first()).and_then(|c| c.preferred_payload_type);
            match (&s.media, pt) {
                (Some(m), Some(pt)) => SectionAnswer::Receive(m.send_parameters(s.mid.as_deref(), pt, &ours()).unwrap()),
                _ => SectionAnswer::Inactive,
            }
        })
        .collect();
    let text = answer(&offer, &sections);
    let back = rtc_sdp::SessionDescription::unmarshal(&mut std::io::Cursor::new(text.as_bytes())).unwrap();
    assert_eq!(back.media_descriptions.len(), offer.sections.len());
}

/// Offers of 64 KB that are made to weigh more than they say. Before only what is understood was kept, `a=rtcp-fb:*` weighed 7.6 MB.
#[test]
fn what_is_kept_of_an_offer_is_a_small_multiple_of_it() {
    let kept = |offer: &Offer| format!("{offer:?}").len();
    let fill = |line: &dyn Fn(usize) -> String| {
        let mut text = OBS.to_owned();
        for at in 0.. {
            let line = line(at);
            if text.len() + line.len() + 2 > MAX_SDP_BYTES {
                break;
            }
            text.push_str(&line);
            text.push_str("\r\n");
        }
        text
    };
    let all = (0..128).map(|pt| pt.to_string()).collect::<Vec<_>>().join(" ");
    let maps = (0..128).map(|pt| format!("a=rtpmap:{pt} H264/90000\r\n")).collect::<String>();
    let everything = OBS.replace("SAVPF 96\r\n", &format!("SAVPF {all}\r\n{maps}"));
    assert_ne!(everything, OBS);
    let with = |line: String| everything.clone() + &line + "\r\n";
    let long = "A".repeat(40_000);
    let section = |protocol: &str, formats: &str| format!("m=video 9 {protocol} {formats}\r\na=mid:9\r\na=rtcp-mux\r\n{maps}");
    for (name, text) in [
        ("long feedback for all", with(format!("a=rtcp-fb:* nack {long}"))),
        ("feedback for all", with((0..1000).map(|at| format!("a=rtcp-fb:* nack {at}\r\n")).collect())),
        ("long feedback", fill(&|at| format!("a=rtcp-fb:{} nack {}", at % 128, "A".repeat(1000)))),
        (
            "the feedback there is",
            fill(&|at| format!("a=rtcp-fb:{} {}", at % 128, ["nack", "nack pli", "ccm fir", "transport-cc"][at % 4])),
        ),
        ("long parameter", fill(&|at| format!("a=fmtp:{} profile-level-id={}", at % 128, "A".repeat(1000)))),
        ("parameters", fill(&|at| format!("a=fmtp:96 {}", (0..100).map(|name| format!("p{at}x{name}=1;")).collect::<String>()))),
        ("long msid", with(format!("a=msid:{long}"))),
        ("extensions", fill(&|at| format!("a=extmap:{} urn:{at}", 1 + at % 14))),
        ("long extension", with(format!("a=extmap:14 {long}"))),
        ("rids", fill(&|at| format!("a=rid:{at} send"))),
        ("long rid", with(format!("a=rid:{long} send"))),
        ("sources", fill(&|at| format!("a=ssrc:{at} cname:x"))),
        ("long cname", with(format!("a=ssrc:1 cname:{long}"))),
        ("candidates", fill(&|at| format!("a=candidate:{at} 1 udp 5 192.0.2.1 8189 typ host"))),
        ("fingerprints", fill(&|_| "a=fingerprint:sha-256 AA".to_owned())),
        ("unknown ones", fill(&|at| format!("a=x{at}:y"))),
        ("small ones", fill(&|_| "a=x".to_owned())),
        ("sections", fill(&|at| section("UDP/TLS/RTP/SAVPF", &all).replace("mid:9", &format!("mid:s{at}")))),
        ("formats", with(format!("m=video 9 UDP/TLS/RTP/SAVPF {}", "1 ".repeat(20_000)))),
        ("long format", with(format!("m=application 9 UDP/DTLS/SCTP {long}"))),
        ("long protocol", with(format!("m=application 9 {long} 1"))),
        ("codec names", with(format!("a=rtpmap:127 {long}/90000"))),
    ] {
        assert!(text.len() <= MAX_SDP_BYTES, "{name}: {}", text.len());
        match Offer::parse(text.as_bytes()) {
            Ok(offer) => {
                // The offer itself, all the codecs that it may name, and as much again.
                let limit = 2 * text.len() + 64 * 400;
                assert!(kept(&offer) <= limit, "{name}: {} of {}", kept(&offer), text.len());
            }
            Err(error) => assert!(error.to_string().len() < 300, "{name}: {error}"),
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        check_any(&bytes);
    }

    #[test]
    fn mangled_offers(which in 0..ALL.len(), edits in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<prop::sample::Index>()), 1..12)) {
        let mut lines: Vec<String> = ALL[which].lines().map(str::to_owned).collect();
        for (at, what, other) in edits {
            let at = at.index(lines.len());
            let from = other.index(lines.len());
            match what {
                0 if lines.len() > 1 => { lines.remove(at); }
                1 => { let line = lines[from].clone(); lines.insert(at, line); }
                2 => { let cut = other.index(lines[at].len() + 1); if lines[at].is_char_boundary(cut) { lines[at].truncate(cut); } }
                _ => { let line = lines[from].clone(); lines[at].push_str(&line); }
            }
        }
        check_any(lines.join("\r\n").as_bytes());
    }

    #[test]
    fn lines_of_attributes(lines in proptest::collection::vec("(a=(rtpmap|fmtp|rtcp-fb|extmap|ssrc|ssrc-group|rid|candidate|mid|setup|fingerprint|group|msid):[ -~]{0,40}|m=(audio|video) [0-9]{1,6} UDP/TLS/RTP/SAVPF [0-9 ]{0,20})", 0..40)) {
        let mut text = OBS.to_owned();
        for line in lines {
            text.push_str(&line);
            text.push_str("\r\n");
        }
        check_any(text.as_bytes());
    }
}
