//! Against the RFCs' vectors, and both ways against an independent implementation.

use std::hint::black_box;

use proptest::prelude::*;
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

use super::cipher::{CounterMode, Gcm};
use super::*;
use crate::rtp::packet::{RtpHeader, header_len, write_header};

const PROFILES: [SrtpProfile; 3] = [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::Aes128CmHmacSha1_80];

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn keying(profile: SrtpProfile) -> Keying {
    let key: Vec<u8> = (0..profile.key_len() as u8).map(|i| i.wrapping_mul(7) ^ 0x5A).collect();
    let salt: Vec<u8> = (0..profile.salt_len() as u8).map(|i| i.wrapping_mul(11) ^ 0xC3).collect();
    Keying::new(profile, &key, &salt).unwrap()
}

fn oracle(profile: SrtpProfile) -> Context {
    let (theirs, keying) = match profile {
        SrtpProfile::AeadAes128Gcm => (ProtectionProfile::AeadAes128Gcm, keying(profile)),
        SrtpProfile::AeadAes256Gcm => (ProtectionProfile::AeadAes256Gcm, keying(profile)),
        SrtpProfile::Aes128CmHmacSha1_80 => (ProtectionProfile::Aes128CmHmacSha1_80, keying(profile)),
    };
    let key: Vec<u8> = (0..profile.key_len() as u8).map(|i| i.wrapping_mul(7) ^ 0x5A).collect();
    let salt: Vec<u8> = (0..profile.salt_len() as u8).map(|i| i.wrapping_mul(11) ^ 0xC3).collect();
    assert_eq!(keying.profile(), profile);
    let provider = rtc_crypto::default_provider().unwrap();
    Context::new(&key, &salt, theirs, Some(srtp_replay_protection(512)), Some(srtcp_replay_protection(512)), provider.crypto()).unwrap()
}

/// A packet with an optional extension and CSRCs, and its header's length.
fn packet(seq: u16, ssrc: u32, payload: &[u8], extension: bool, csrcs: u8) -> (Vec<u8>, usize) {
    let header = RtpHeader { marker: seq & 1 == 1, payload_type: 96, sequence_number: seq, timestamp: u32::from(seq) * 3000, ssrc };
    let mut out = vec![0; 64];
    let extensions: &[(u8, &[u8])] = if extension { &[(1, b"mid"), (3, &[1, 2])] } else { &[] };
    let len = write_header(&mut out, &header, extensions).unwrap();
    out.truncate(len);
    out[0] |= csrcs;
    for csrc in 0..csrcs {
        out.splice(12..12, [csrc, 1, 2, 3]);
    }
    let header_len = out.len();
    out.extend_from_slice(payload);
    (out, header_len)
}

fn seal(sender: &mut SrtpSender, plain: &[u8]) -> Vec<u8> {
    let mut buffer = plain.to_vec();
    buffer.resize(plain.len() + MAX_SRTP_OVERHEAD, 0xEE);
    let len = sender.seal(&mut buffer, header_len(plain).unwrap(), plain.len()).unwrap();
    buffer.truncate(len);
    buffer
}

fn seal_rtcp(sender: &mut SrtpSender, plain: &[u8]) -> Vec<u8> {
    let mut buffer = plain.to_vec();
    buffer.resize(plain.len() + MAX_SRTCP_OVERHEAD, 0xEE);
    let len = sender.seal_rtcp(&mut buffer, plain.len()).unwrap();
    buffer.truncate(len);
    buffer
}

fn open(receiver: &mut SrtpReceiver, sealed: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = sealed.to_vec();
    let len = receiver.open(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

fn open_rtcp(receiver: &mut SrtpReceiver, sealed: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = sealed.to_vec();
    let len = receiver.open_rtcp(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

#[test]
fn rfc_3711_appendix_b_2() {
    let cm = CounterMode::new(&hex("2B7E151628AED2A6ABF7158809CF4F3C"), hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap(), &[0; 20])
        .unwrap();
    let mut keystream = vec![0; 0xFF02 * 16];
    cm.apply(0, 0, &mut keystream);
    assert_eq!(keystream[..48], hex("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0"));
    let tail = hex("EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE 6A2CC3787889374FBEB4C81B17BA6C44");
    assert_eq!(keystream[0xFEFF * 16..], tail);
}

#[test]
fn rfc_7714_section_16_1_1() {
    let gcm = Gcm::new(&hex("000102030405060708090a0b0c0d0e0f"), hex("51756964 2070726f 2071756f").try_into().unwrap()).unwrap();
    let mut packet = hex("8040f17b 8041f8d3 5501a0b2");
    let mut body = b"Gallia est omnis divisa in partes tres".to_vec();
    let tag = gcm.seal(0x5501_A0B2, 0xF17B, &packet, &mut body).unwrap();
    packet.extend_from_slice(&body);
    packet.extend_from_slice(&tag);
    let expected = "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b
                    36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce";
    assert_eq!(packet, hex(expected));
}

#[test]
fn both_ways_with_an_independent_implementation_across_the_wrap() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = (SrtpSender::new(&keying(profile)).unwrap(), SrtpReceiver::new(&keying(profile)).unwrap());
        let (mut their_sender, mut their_receiver) = (oracle(profile), oracle(profile));
        for step in 0..80u32 {
            let seq = 65500u16.wrapping_add(step as u16);
            let payload = vec![step as u8; step as usize * 13];
            let (plain, _) = packet(seq, 77, &payload, step % 3 == 0, (step % 4) as u8);
            let sealed = seal(&mut sender, &plain);
            assert_eq!(&their_receiver.decrypt_rtp(&sealed).unwrap()[..], plain, "{profile:?} {step}");
            let theirs = their_sender.encrypt_rtp(&plain).unwrap();
            assert_eq!(&theirs[..], sealed, "{profile:?} {step}");
            assert_eq!(open(&mut receiver, &theirs).unwrap(), plain, "{profile:?} {step}");
        }
    }
}

#[test]
fn rtcp_both_ways_with_an_independent_implementation() {
    // A receiver report without blocks, and a BYE.
    let plain = hex("80c90001 000000aa 81cb0001 000000aa");
    for profile in PROFILES {
        let (mut sender, mut receiver) = (SrtpSender::new(&keying(profile)).unwrap(), SrtpReceiver::new(&keying(profile)).unwrap());
        let (mut their_sender, mut their_receiver) = (oracle(profile), oracle(profile));
        for _ in 0..40 {
            let sealed = seal_rtcp(&mut sender, &plain);
            assert_eq!(sealed.len(), plain.len() + profile.rtcp_overhead());
            assert_eq!(&their_receiver.decrypt_rtcp(&sealed).unwrap()[..], plain);
            let theirs = their_sender.encrypt_rtcp(&plain).unwrap();
            assert_eq!(open_rtcp(&mut receiver, &theirs).unwrap(), plain);
            assert!(matches!(open_rtcp(&mut receiver, &theirs), Err(SrtpError::Replay(_))));
        }
    }
}

#[test]
fn rtcp_that_is_only_authenticated() {
    let plain = hex("80c90001 000000aa 81cb0001 000000aa");
    let mut salted = [0; 12];
    let keying_gcm = keying(SrtpProfile::AeadAes128Gcm);
    keying_gcm.derive(keying::Label::RtcpSalt, &mut salted);
    let mut key = [0; 16];
    keying_gcm.derive(keying::Label::RtcpEncryption, &mut key);
    let gcm = Gcm::new(&key, salted).unwrap();
    let mut aad = plain.clone();
    aad.extend_from_slice(&9u32.to_be_bytes());
    let tag = gcm.seal(0xAA, 9, &aad, &mut []).unwrap();
    let mut sealed = plain.clone();
    sealed.extend_from_slice(&tag);
    sealed.extend_from_slice(&9u32.to_be_bytes());
    let mut receiver = SrtpReceiver::new(&keying_gcm).unwrap();
    assert_eq!(open_rtcp(&mut receiver, &sealed).unwrap(), plain);

    let keying_cm = keying(SrtpProfile::Aes128CmHmacSha1_80);
    let mut auth = [0; 20];
    keying_cm.derive(keying::Label::RtcpAuth, &mut auth);
    let cm = CounterMode::new(&[0; 16], [0; 14], &auth).unwrap();
    let mut sealed = aad;
    let tag = cm.tag(&sealed, &[]);
    sealed.extend_from_slice(&tag);
    let mut receiver = SrtpReceiver::new(&keying_cm).unwrap();
    assert_eq!(open_rtcp(&mut receiver, &sealed).unwrap(), plain);
}

#[test]
fn replays_forgeries_and_reordering() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = (SrtpSender::new(&keying(profile)).unwrap(), SrtpReceiver::new(&keying(profile)).unwrap());
        let sealed: Vec<_> = (0..2000u16).map(|i| seal(&mut sender, &packet(i.wrapping_add(65000), 1, &[3; 50], false, 0).0)).collect();
        // A forgery makes no state, whatever its number.
        let mut forged = sealed[1500].clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(open(&mut receiver, &forged), Err(SrtpError::Authentication));
        // Pairs swapped, over the wrap.
        for pair in sealed[..1400].chunks(2) {
            assert!(open(&mut receiver, &pair[1]).is_ok());
            assert!(open(&mut receiver, &pair[0]).is_ok());
            assert!(matches!(open(&mut receiver, &pair[1]), Err(SrtpError::Replay(_))));
        }
        // A gap, then one within the window and one behind it.
        assert!(open(&mut receiver, &sealed[1999]).is_ok());
        assert!(open(&mut receiver, &sealed[1450]).is_ok());
        assert!(matches!(open(&mut receiver, &sealed[800]), Err(SrtpError::Replay(_))));
        // Forged packets don't move the window.
        let mut forged = seal(&mut SrtpSender::new(&keying(profile)).unwrap(), &packet(20_000, 1, &[3; 50], false, 0).0);
        forged[20] ^= 1;
        assert_eq!(open(&mut receiver, &forged), Err(SrtpError::Authentication));
        assert!(open(&mut receiver, &sealed[1998]).is_ok());
    }
}

#[test]
fn the_table_of_ssrcs_is_bounded() {
    let profile = SrtpProfile::AeadAes128Gcm;
    let (mut sender, mut receiver) = (SrtpSender::new(&keying(profile)).unwrap(), SrtpReceiver::new(&keying(profile)).unwrap());
    for ssrc in 0..256 {
        assert!(open(&mut receiver, &seal(&mut sender, &packet(1, ssrc, b"x", false, 0).0)).is_ok());
    }
    let sealed = seal(&mut sender, &packet(1, 256, b"x", false, 0).0);
    assert_eq!(open(&mut receiver, &sealed), Err(SrtpError::TooManySsrcs));
    receiver.forget(3);
    assert!(open(&mut receiver, &sealed).is_ok());
}

#[test]
fn fan_out_gives_the_index_itself() {
    for profile in PROFILES {
        let sender = SrtpSender::new(&keying(profile)).unwrap();
        let mut counting = SrtpSender::new(&keying(profile)).unwrap();
        for index in [65_535u64, 65_536, 65_537] {
            let (plain, header_len) = packet(index as u16, 5, &[1; 99], true, 0);
            let mut buffer = plain.clone();
            buffer.resize(plain.len() + 16, 0);
            let len = sender.seal_with_index(&mut buffer, header_len, plain.len(), index).unwrap();
            assert_eq!(buffer[..len], seal(&mut counting, &plain));
            assert!(matches!(sender.seal_with_index(&mut buffer, header_len, plain.len(), index + 1), Err(SrtpError::Malformed(_))));
            let cramped = &mut buffer[..plain.len() + 9];
            assert!(matches!(sender.seal_with_index(cramped, header_len, plain.len(), index), Err(SrtpError::NoRoom { .. })));
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120), rtp_like: bool) {
        for profile in PROFILES {
            let mut receiver = SrtpReceiver::new(&keying(profile)).unwrap();
            let mut bytes = bytes.clone();
            if rtp_like && !bytes.is_empty() {
                bytes[0] = 0x80 | (bytes[0] & 0x3F);
            }
            prop_assert!(receiver.open(&mut bytes.clone()).is_err());
            prop_assert!(receiver.open_rtcp(&mut bytes).is_err());
        }
    }

    #[test]
    fn any_order_within_half_a_cycle(start: u16, order in proptest::collection::vec(0u64..900, 1..200)) {
        let profile = SrtpProfile::AeadAes128Gcm;
        let sender = SrtpSender::new(&keying(profile)).unwrap();
        let mut receiver = SrtpReceiver::new(&keying(profile)).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for offset in std::iter::once(0).chain(order) {
            let index = u64::from(start) + offset;
            let (plain, header_len) = packet(index as u16, 9, b"payload", false, 0);
            let mut buffer = plain.clone();
            buffer.resize(plain.len() + 16, 0);
            let len = sender.seal_with_index(&mut buffer, header_len, plain.len(), index).unwrap();
            prop_assert_eq!(receiver.open(&mut buffer[..len]).is_ok(), seen.insert(index));
        }
    }
}

/// Not a check: prints what a packet costs. `cargo test --release --lib srtp_cost -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods)] // a measurement needs the real clock
fn srtp_cost() {
    const ROUNDS: u64 = 200_000;
    for profile in PROFILES {
        let sender = SrtpSender::new(&keying(profile)).unwrap();
        let mut receiver = SrtpReceiver::new(&keying(profile)).unwrap();
        let (plain, header_len) = packet(0, 5, &[1; 1188], false, 0);
        let mut buffer = plain.clone();
        buffer.resize(plain.len() + 16, 0);
        let begin = std::time::Instant::now();
        for index in 0..ROUNDS {
            buffer[2..4].copy_from_slice(&(index as u16).to_be_bytes());
            black_box(sender.seal_with_index(black_box(&mut buffer), header_len, plain.len(), index).unwrap());
        }
        let seal = begin.elapsed() / ROUNDS as u32;
        let begin = std::time::Instant::now();
        for index in 0..ROUNDS {
            buffer[..plain.len()].copy_from_slice(&plain);
            buffer[2..4].copy_from_slice(&(index as u16).to_be_bytes());
            let len = sender.seal_with_index(&mut buffer, header_len, plain.len(), index).unwrap();
            black_box(receiver.open(&mut buffer[..len]).unwrap());
        }
        let both = begin.elapsed() / ROUNDS as u32;
        println!("{profile:?}: seal {seal:?}, seal and open {both:?}");
    }
}
