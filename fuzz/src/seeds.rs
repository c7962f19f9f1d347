//! Inputs that get far in each target, for mutations to begin from.

use bytes::BytesMut;
use headend::inside::codec::{Codec, Format};
use headend::inside::pipeline::wire;
use headend::inside::rtmp::amf0::{self, Value};
use headend::inside::rtmp::chunk::{ChunkWriter, Message, kind};
use headend::inside::rtp::batch::RtpBatch;
use headend::inside::rtp::packet::{RtpHeader, write_header};
use headend::inside::rtp::rtcp;
use headend::inside::sfu::ortc::DtlsRole;
use headend::inside::sfu::peer::DtlsSession;

use super::{CERTIFICATE, EPOCH};

/// Inputs that get far in target `name`, for mutations to begin from.
pub(crate) fn seeds(name: &str) -> Vec<Vec<u8>> {
    match name {
        "rtmp_session" => vec![cut(&[0], &publish(), 300), cut(&[1], &[handshake(), publish()].concat(), 1000)],
        "rtmp_chunks" => vec![cut(&[], &publish(), 100)],
        "amf0" => vec![
            connect_command(),
            amf0::write(&[Value::text("onMetaData"), Value::Number(1.0), Value::Boolean(true)]),
            // AMF3: an array of a typed object and one by reference, then a string, a vector and a dictionary.
            vec![0x11, 9, 5, 1, 0x0A, 0x13, 3, b'T', 3, b'a', 1, 0x0A, 1, 6, 2, 0x11, 6, 5, b'h', b'i'],
            vec![0x11, 0x10, 3, 0, 1, 3, 0x11, 0x11, 3, 0, 1, 1, 0x11, 8, 1, 0x40, 0, 0, 0, 0, 0, 0, 0],
        ],
        "flv" => vec![vec![0x17, 0, 0, 0, 0, 1, 0x42, 0, 0x1F, 0xFF], vec![0xAF, 0, 0x11, 0x90], b"live\nrtmp://h/live\ncam1?key=x".to_vec()],
        "rtp_packet" => vec![rtp()],
        "srtp_open" => (0..3).map(|profile| [vec![profile], rtp()].concat()).collect(),
        "rtcp" => vec![compound()],
        "ice_peer" | "dtls" => {
            let hello = client_hello();
            vec![cut(&[0], &hello, hello.len()), cut(&[1], &hello, hello.len())]
        }
        "sdp_offer" => [
            &include_bytes!("../../src/sdp/fixtures/chromium156_simulcast.sdp")[..],
            include_bytes!("../../src/sdp/fixtures/chromium156_recvonly.sdp"),
            include_bytes!("../../src/sdp/fixtures/firefox_recvonly.sdp"),
            include_bytes!("../../src/sdp/fixtures/gstreamer_whip.sdp"),
            include_bytes!("../../src/sdp/fixtures/obs_whip.sdp"),
        ]
        .map(<[u8]>::to_vec)
        .to_vec(),
        "sdp_fragment" => vec![
            b"a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 2130706431 10.0.0.1 5000 typ host\r\na=end-of-candidates\r\n"
                .to_vec(),
        ],
        "depacketize" => vec![
            // H.264: a single NAL unit, STAP-A, FU-A in three pieces.
            [&[0][..], &[1, 1, 0x65, 1, 2, 3], &[3, 2, 0x78, 0, 2, 0x67, 1, 0, 1, 0x68], &[2, 1, 0x7C, 0x85, 1, 2], &[0, 1, 0x7C, 5, 3, 4], &[1, 1, 0x7C, 0x45, 5, 6]]
                .concat(),
            vec![1, 1, 3, 0x90, 0x80, 0x81, 0x01, 0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, 0x40, 1],
            vec![2, 1, 2, 0, 0x10, 0, 0x20, 1, 2, 3, 4],
            vec![3, 1, 1, 0x78, 1, 2, 3],
        ],
        "parameter_sets" => {
            let sps = [0x67, 0x42, 0xC0, 0x1F, 0xD9, 0x00, 0xA0, 0x05, 0xB8, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0xC0, 0xF1, 0x83, 0x24, 0x80];
            let avcc = [&[0, 1, 0x42, 0xC0, 0x1F, 0xFF, 0xE1, 0, 24][..], &sps, &[1, 0, 4, 0x68, 0xCB, 0x83, 0xCB]].concat();
            vec![avcc, [&[1][..], &sps].concat(), vec![2, 0, 0, 0, 2, 0x65, 0x88, 0, 0, 0, 1, 6], vec![3, 0x11, 0x90], vec![4, 0xFC, 1], vec![5, 0x10, 2, 0, 0x9D, 1, 0x2A, 64, 1, 240, 0]]
        }
        "h264_messages" => {
            let sps = [0x67, 0x42, 0xC0, 0x1F, 0xD9, 0x00, 0xA0, 0x05, 0xB8, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0xC0, 0xF1, 0x83, 0x24, 0x80];
            let start = &[0, 0, 1][..];
            let sets = [&[0][..], start, &sps, start, &[0x68, 0xCB, 0x83, 0xCB]].concat();
            let slices = [&[1][..], start, &[0x65, 0x88, 0x84, 1, 2], start, &[0x41, 0x9A, 1, 2, 3, 4]].concat();
            vec![[cut(&[], &sets, 1000), cut(&[], &slices, 1000), cut(&[], &slices, 1000)].concat()]
        }
        "aac_messages" => vec![
            cut(&[], &[0xFF, 0xF1, 0x50, 0x80, 0x01, 0x3F, 0xFC, 1, 2], 9),
            cut(&[], &[0x56, 0xE0, 0x09, 0x20, 0x00, 0x12, 0x10, 0x1F, 0xE0, 0x10, 0x10, 0x20], 12),
        ],
        "cmaf" => vec![fragment(), init()],
        "names" => ["live/cam1", "v-1700000012.3.m4s", "v.m3u8", "a-init-7.mp4", "20261121-112500-abcdef"].map(|name| name.as_bytes().to_vec()).to_vec(),
        "record_index" => vec![index()],
        "pipeline_wire" => wire_messages(),
        _ => Vec::new(),
    }
}

/// `first`, and then `bytes` in pieces of at most `len`, as targets take them apart.
fn cut(first: &[u8], bytes: &[u8], len: usize) -> Vec<u8> {
    let mut out = first.to_vec();
    for piece in bytes.chunks(len.max(1)) {
        out.extend((piece.len() as u16).to_be_bytes());
        out.extend(piece);
    }
    out
}

fn connect_command() -> Vec<u8> {
    let properties = vec![("app".into(), Value::text("live")), ("tcUrl".into(), Value::text("rtmp://localhost/live"))];
    amf0::write(&[Value::text("connect"), Value::Number(1.0), Value::Object(properties)])
}

/// A publisher's messages after its handshake.
fn publish() -> Vec<u8> {
    let mut writer = ChunkWriter::new();
    let mut out = BytesMut::new();
    writer.set_chunk_size(4096, &mut out);
    let mut put = |kind, stream, timestamp, body: Vec<u8>| writer.write(&Message { kind, stream, timestamp, body: body.into() }, &mut out);
    put(kind::COMMAND, 0, 0, connect_command());
    put(kind::COMMAND, 0, 0, amf0::write(&[Value::text("createStream"), Value::Number(2.0), Value::Null]));
    let name = [Value::text("publish"), Value::Number(3.0), Value::Null, Value::text("cam1"), Value::text("live")];
    put(kind::COMMAND, 1, 0, amf0::write(&name));
    put(kind::DATA, 1, 0, amf0::write(&[Value::text("@setDataFrame"), Value::text("onMetaData"), Value::Null]));
    put(kind::AUDIO, 1, 0, vec![0xAF, 0, 0x11, 0x90]);
    put(kind::VIDEO, 1, 0, vec![0x17, 0, 0, 0, 0, 1, 0x42, 0xC0, 0x1F, 0xFF, 0xE0, 0]);
    put(kind::VIDEO, 1, 40, vec![0x17, 1, 0, 0, 0, 0, 0, 0, 2, 0x65, 0x88]);
    put(kind::AUDIO, 1, 0x00FF_FFFF, vec![0xAF, 1, 1, 2, 3]);
    out.to_vec()
}

fn rtp() -> Vec<u8> {
    let mut packet = vec![0; 64];
    let header = RtpHeader { marker: true, payload_type: 96, sequence_number: 65_535, timestamp: 1, ssrc: 2 };
    let len = write_header(&mut packet, &header, &[(1, &b"0"[..]), (3, &[1, 2])]).expect("there is room");
    packet.truncate(len);
    packet.extend([0x65, 0x88, 0x84, 0]);
    packet
}

fn compound() -> Vec<u8> {
    let mut out = Vec::new();
    rtcp::write_receiver_report(&mut out, 1, &[]);
    rtcp::write_sdes_cname(&mut out, 1, "somebody");
    rtcp::write_nack(&mut out, 1, 2, &[7, 8, 30]);
    rtcp::write_pli(&mut out, 1, 2);
    rtcp::write_fir(&mut out, 1, 2, 3);
    rtcp::write_remb(&mut out, 1, 5_000_000, &[2, 3]);
    // Transport-wide feedback: a run of three received packets.
    out.extend([0x8F, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 9, 0, 3, 0, 0, 1, 0, 0x20, 3, 4, 4]);
    rtcp::write_bye(&mut out, &[1]);
    out
}

/// The first datagram of a DTLS client of ours.
fn client_hello() -> Vec<u8> {
    let session = DtlsSession::new(*EPOCH, &CERTIFICATE, DtlsRole::Client, std::slice::from_ref(CERTIFICATE.fingerprint()));
    session.ok().and_then(|mut session| session.poll_transmit()).map(|datagram| datagram.to_vec()).unwrap_or_default()
}

fn boxed(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&(8 + body.len() as u32).to_be_bytes()[..], name, body].concat()
}

/// `moof` and `mdat` with two samples.
fn fragment() -> Vec<u8> {
    let mfhd = boxed(b"mfhd", &[0, 0, 0, 0, 0, 0, 0, 1]);
    let tfhd = boxed(b"tfhd", &[0, 2, 0, 0, 0, 0, 0, 1]);
    let tfdt = boxed(b"tfdt", &[&[1, 0, 0, 0][..], &90_000u64.to_be_bytes()].concat());
    let mut trun = vec![0, 0, 3, 1, 0, 0, 0, 2, 0, 0, 0, 0];
    for size in [4u32, 3] {
        trun.extend(3000u32.to_be_bytes());
        trun.extend(size.to_be_bytes());
    }
    let moof_len = 8 + mfhd.len() + 8 + tfhd.len() + tfdt.len() + 8 + trun.len();
    trun[8..12].copy_from_slice(&(moof_len as u32 + 8).to_be_bytes());
    let traf = boxed(b"traf", &[tfhd, tfdt, boxed(b"trun", &trun)].concat());
    [boxed(b"moof", &[mfhd, traf].concat()), boxed(b"mdat", &[1, 2, 3, 4, 5, 6, 7])].concat()
}

/// The outline of an initialization.
fn init() -> Vec<u8> {
    let mvhd = boxed(b"mvhd", &[0; 100]);
    let tkhd = boxed(b"tkhd", &[0; 84]);
    let mdhd = boxed(b"mdhd", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x5F, 0x90, 0, 0, 0, 0, 0x55, 0xC4, 0, 0]);
    let hdlr = boxed(b"hdlr", b"\0\0\0\0\0\0\0\0vide\0\0\0\0\0\0\0\0\0\0\0\0v\0");
    let avc1 = boxed(b"avc1", &[vec![0; 78], boxed(b"avcC", &[1, 0x42, 0xC0, 0x1F, 0xFF, 0xE0, 0])].concat());
    let stsd = boxed(b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1][..], &avc1].concat());
    let stbl = boxed(b"stbl", &stsd);
    let mdia = boxed(b"mdia", &[mdhd, hdlr, boxed(b"minf", &stbl)].concat());
    let trex = boxed(b"trex", &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let moov = [mvhd, boxed(b"trak", &[tkhd, mdia].concat()), boxed(b"mvex", &trex)].concat();
    [boxed(b"ftyp", b"cmf2\0\0\0\0cmf2"), boxed(b"moov", &moov)].concat()
}

fn index() -> Vec<u8> {
    use headend::inside::record::index::{Epoch, FragmentEntry, HEADER, put_epoch, put_fragment};
    let mut out = HEADER.to_vec();
    let epoch = Epoch {
        epoch: 0,
        init_len: 700,
        timescale: 90_000,
        kind: headend::inside::base::MediaKind::Video,
        codec: Codec::H264,
        codec_string: "avc1.42c01f".into(),
        resolution: Some((1280, 720)),
        sar: None,
        audio: None,
        presentation_shift: 0,
    };
    put_epoch(&epoch, &mut out);
    let entry = FragmentEntry {
        epoch: 0,
        segment: 0,
        first: true,
        last: false,
        independent: true,
        offset: 700,
        len: 900,
        data_at: 100,
        data_len: 800,
        crc: 5,
        decode_time: 0,
        duration: 18_000,
        wallclock: 1_700_000_000_000_000_000,
        earliest: 0,
    };
    put_fragment(&entry, &[1, 2, 3], &mut out);
    out
}

fn wire_messages() -> Vec<Vec<u8>> {
    use headend::inside::pipeline::wire::{Message, Start};
    let start = Start {
        name: "live/cam1".into(),
        description: "appsrc name=in_0 ! appsink name=chunks_0".into(),
        inputs: vec![Format::Vp8, Format::Opus { channels: 2 }],
        cutting: None,
        reorder: 0,
    };
    let rtp = Message::Rtp { job: 1, input: 0, sent: 1, batch: RtpBatch::of_packets([rtp()]) };
    let mut seeds = Vec::new();
    for message in [Message::Start(1, start), rtp] {
        let mut out = Vec::new();
        wire::encode(&message, &mut out);
        if let Ok(frame) = wire::encode_frame(&message) {
            seeds.push(cut(&[], &frame, frame.len()));
        }
        seeds.push(out);
    }
    seeds
}

/// A plain client handshake: C0, C1 and C2.
pub(super) fn handshake() -> Vec<u8> {
    let mut bytes = vec![7; 1 + 2 * 1536];
    bytes[0] = 3;
    bytes[5..9].fill(0);
    bytes
}
