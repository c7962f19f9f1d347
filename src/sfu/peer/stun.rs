//! STUN as ICE needs it (RFC 8489, RFC 8445): binding requests and their answers, nothing else.
//!
//! In: a datagram. Out: a borrowed, bounds-checked [`Message`] whose FINGERPRINT was right; and answers as bytes.

use std::net::{IpAddr, SocketAddr};

use ring::hmac;

/// RFC 8489 section 5.
const MAGIC_COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();
const HEADER_LEN: usize = 20;
/// XORed into FINGERPRINT (RFC 8489 section 14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554E;

pub(super) const BINDING_REQUEST: u16 = 0x0001;
pub(super) const BINDING_SUCCESS: u16 = 0x0101;
pub(super) const BINDING_ERROR: u16 = 0x0111;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802A;
/// libwebrtc's renomination: the pair with the highest number is the nominated one.
const GOOG_NOMINATION: u16 = 0xC001;

const INTEGRITY_LEN: usize = 20;

/// A STUN message whose framing and FINGERPRINT are right. Nothing in it is authenticated before
/// [`Message::is_authentic`] said so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) transaction: [u8; 12],
    bytes: &'a [u8],
    integrity_at: Option<usize>,
    pub(super) username: Option<&'a str>,
    pub(super) use_candidate: bool,
    pub(super) priority: Option<u32>,
    pub(super) controlled: bool,
    pub(super) nomination: Option<u32>,
    pub(super) error_code: Option<u16>,
    pub(super) mapped: Option<SocketAddr>,
    /// The first attribute that must be understood and isn't.
    pub(super) unknown: Option<u16>,
}

/// Whether a datagram looks like STUN (RFC 7983: first byte 0 to 3; and the magic cookie).
pub(super) fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_LEN && datagram[0] < 4 && datagram[4..8] == MAGIC_COOKIE
}

/// Goes over the attributes as (type, value, offset of the attribute) until one does not fit.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = Option<(u16, &[u8], usize)>> {
    let mut at = HEADER_LEN;
    std::iter::from_fn(move || {
        if at >= bytes.len() {
            return None;
        }
        let start = at;
        let Some(header) = bytes.get(at..at + 4) else {
            at = usize::MAX;
            return Some(None);
        };
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let Some(value) = bytes.get(at + 4..at + 4 + length) else {
            at = usize::MAX;
            return Some(None);
        };
        at += 4 + length.next_multiple_of(4);
        Some(Some((u16::from_be_bytes([header[0], header[1]]), value, start)))
    })
}

/// Looks for USERNAME without checking anything else.
pub(super) fn peek_username(datagram: &[u8]) -> Option<&str> {
    if !is_stun(datagram) {
        return None;
    }
    let found = attributes(datagram).map_while(|attribute| attribute).find(|(kind, ..)| *kind == USERNAME)?;
    std::str::from_utf8(found.1).ok()
}

impl<'a> Message<'a> {
    /// Reads a message. `None` for whatever is not a whole STUN message ending in a right FINGERPRINT: ICE always has one
    /// (RFC 8445 section 7.1), so its absence says that this is something else.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let length = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
        if !is_stun(bytes) || !length.is_multiple_of(4) || bytes.len() != HEADER_LEN + length {
            return None;
        }
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&bytes[8..HEADER_LEN]);
        let mut message = Message {
            kind: u16::from_be_bytes([bytes[0], bytes[1]]),
            transaction,
            bytes,
            integrity_at: None,
            username: None,
            use_candidate: false,
            priority: None,
            controlled: false,
            nomination: None,
            error_code: None,
            mapped: None,
            unknown: None,
        };
        let number = |value: &[u8]| Some(u32::from_be_bytes(value.try_into().ok()?));
        for attribute in attributes(bytes) {
            let (kind, value, at) = attribute?;
            if kind == FINGERPRINT {
                let right = at + 8 == bytes.len() && number(value) == Some(crc32(&bytes[..at]) ^ FINGERPRINT_XOR);
                return right.then_some(message);
            }
            if message.integrity_at.is_some() {
                // RFC 8489 section 14.5: what comes after MESSAGE-INTEGRITY is not covered by it and must be ignored.
                continue;
            }
            match kind {
                USERNAME => message.username = Some(std::str::from_utf8(value).ok()?),
                MESSAGE_INTEGRITY if value.len() == INTEGRITY_LEN => message.integrity_at = Some(at),
                PRIORITY => message.priority = Some(number(value)?),
                USE_CANDIDATE => message.use_candidate = true,
                ICE_CONTROLLED => message.controlled = true,
                ICE_CONTROLLING => {}
                GOOG_NOMINATION => message.nomination = number(value),
                XOR_MAPPED_ADDRESS => message.mapped = read_xor_address(value, &transaction),
                ERROR_CODE if value.len() >= 4 => message.error_code = Some(u16::from(value[2] & 7) * 100 + u16::from(value[3])),
                UNKNOWN_ATTRIBUTES | ERROR_CODE => {}
                MESSAGE_INTEGRITY => return None,
                // RFC 8489 section 14: types below 0x8000 must be understood.
                other if other < 0x8000 => message.unknown = message.unknown.or(Some(other)),
                _ => {}
            }
        }
        None
    }

    /// Whether MESSAGE-INTEGRITY was made with `key` (RFC 8489 section 14.5), in constant time.
    pub(super) fn is_authentic(&self, key: &hmac::Key) -> bool {
        let Some(at) = self.integrity_at else { return false };
        let mut context = hmac::Context::with_key(key);
        context.update(&self.bytes[..2]);
        // The length as it was when the HMAC was made: up to and with MESSAGE-INTEGRITY.
        context.update(&((at + 4 + INTEGRITY_LEN - HEADER_LEN) as u16).to_be_bytes());
        context.update(&self.bytes[4..at]);
        let tag = context.sign();
        let given = &self.bytes[at + 4..at + 4 + INTEGRITY_LEN];
        tag.as_ref().iter().zip(given).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

/// The key for a password (RFC 8489 section 9.1.1: short-term credentials).
pub(super) fn key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

/// Writes one message.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(kind: u16, transaction: &[u8; 12]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&MAGIC_COOKIE);
        bytes.extend_from_slice(transaction);
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend_from_slice(&kind.to_be_bytes());
        self.0.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn username(self, name: &str) -> Self {
        self.attribute(USERNAME, name.as_bytes())
    }

    pub(super) fn priority(self, priority: u32) -> Self {
        self.attribute(PRIORITY, &priority.to_be_bytes())
    }

    pub(super) fn controlling(self, tie_breaker: u64) -> Self {
        self.attribute(ICE_CONTROLLING, &tie_breaker.to_be_bytes())
    }

    pub(super) fn controlled(self, tie_breaker: u64) -> Self {
        self.attribute(ICE_CONTROLLED, &tie_breaker.to_be_bytes())
    }

    #[cfg(test)]
    pub(super) fn raw(self, kind: u16, value: &[u8]) -> Self {
        self.attribute(kind, value)
    }

    pub(super) fn use_candidate(self) -> Self {
        self.attribute(USE_CANDIDATE, &[])
    }

    pub(super) fn error(self, code: u16, reason: &str) -> Self {
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        self.attribute(ERROR_CODE, &value)
    }

    pub(super) fn unknown_attributes(self, kind: u16) -> Self {
        self.attribute(UNKNOWN_ATTRIBUTES, &kind.to_be_bytes())
    }

    pub(super) fn mapped(self, address: SocketAddr) -> Self {
        let transaction = self.0[8..HEADER_LEN].to_vec();
        let mask = MAGIC_COOKIE.iter().chain(&transaction);
        let mut value = vec![0, if address.is_ipv4() { 1 } else { 2 }];
        value.extend_from_slice(&(address.port() ^ 0x2112).to_be_bytes());
        match address.ip() {
            IpAddr::V4(ip) => value.extend(ip.octets().iter().zip(mask).map(|(a, b)| a ^ b)),
            IpAddr::V6(ip) => value.extend(ip.octets().iter().zip(mask).map(|(a, b)| a ^ b)),
        }
        self.attribute(XOR_MAPPED_ADDRESS, &value)
    }

    /// Adds MESSAGE-INTEGRITY and FINGERPRINT and ends the message.
    pub(super) fn finish(mut self, key: &hmac::Key) -> Vec<u8> {
        self.set_length(4 + INTEGRITY_LEN);
        let tag = hmac::sign(key, &self.0);
        let mut done = self.attribute(MESSAGE_INTEGRITY, tag.as_ref());
        done.set_length(8);
        let crc = crc32(&done.0) ^ FINGERPRINT_XOR;
        done.attribute(FINGERPRINT, &crc.to_be_bytes()).0
    }

    fn set_length(&mut self, more: usize) {
        let length = (self.0.len() - HEADER_LEN + more) as u16;
        self.0[2..4].copy_from_slice(&length.to_be_bytes());
    }
}

fn read_xor_address(value: &[u8], transaction: &[u8; 12]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes([*value.get(2)?, *value.get(3)?]) ^ 0x2112;
    let mut mask = MAGIC_COOKIE.iter().chain(transaction);
    let ip = match (value[1], value.len()) {
        (1, 8) => {
            let mut octets: [u8; 4] = value[4..8].try_into().ok()?;
            octets.iter_mut().zip(&mut mask).for_each(|(a, b)| *a ^= b);
            IpAddr::from(octets)
        }
        (2, 20) => {
            let mut octets: [u8; 16] = value[4..20].try_into().ok()?;
            octets.iter_mut().zip(&mut mask).for_each(|(a, b)| *a ^= b);
            IpAddr::from(octets)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// CRC-32 of ISO 3309, as FINGERPRINT uses it.
fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, byte| (crc >> 8) ^ CRC_TABLE[usize::from(crc as u8 ^ byte)])
}

static CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 5769 section 2.1: the sample request.
    const SAMPLE_REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74\
        002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020\
        000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16).map(|d| d as u8)).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[test]
    fn rfc5769_sample_request() {
        let bytes = unhex(SAMPLE_REQUEST);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.kind, BINDING_REQUEST);
        assert_eq!(message.username, Some("evtj:h6vY"));
        assert_eq!(message.priority, Some(0x6e00_01ff));
        assert!(message.controlled && message.unknown.is_none());
        assert!(message.is_authentic(&key("VOkJxbRl1RmTxUk/WvJxBt")));
        assert!(!message.is_authentic(&key("VOkJxbRl1RmTxUk/WvJxBT")));
        assert_eq!(peek_username(&bytes), Some("evtj:h6vY"));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let bytes = unhex(SAMPLE_REQUEST);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Message::parse(&bad).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn answers_read_back() {
        for address in ["192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"] {
            let address: SocketAddr = address.parse().unwrap();
            let bytes = Writer::new(BINDING_SUCCESS, &[7; 12]).mapped(address).finish(&key("secret"));
            let message = Message::parse(&bytes).unwrap();
            assert_eq!((message.kind, message.transaction, message.mapped), (BINDING_SUCCESS, [7; 12], Some(address)));
            assert!(message.is_authentic(&key("secret")));
        }
        let bytes = Writer::new(BINDING_ERROR, &[1; 12]).error(487, "Role Conflict").finish(&key("k"));
        assert_eq!(Message::parse(&bytes).unwrap().error_code, Some(487));
    }

    #[test]
    fn attributes_after_integrity_are_ignored() {
        // An attacker appends USE-CANDIDATE behind MESSAGE-INTEGRITY and fixes FINGERPRINT.
        let good = Writer::new(BINDING_REQUEST, &[1; 12]).username("a:b").finish(&key("k"));
        let mut bytes = good[..good.len() - 8].to_vec();
        bytes.extend_from_slice(&[0, 0x25, 0, 0]);
        let mut writer = Writer(bytes);
        writer.set_length(8);
        let crc = crc32(&writer.0) ^ FINGERPRINT_XOR;
        let bytes = writer.attribute(FINGERPRINT, &crc.to_be_bytes()).0;
        let message = Message::parse(&bytes).unwrap();
        assert!(message.is_authentic(&key("k")) && !message.use_candidate);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Message::parse(&bytes), peek_username(&bytes));
        }

        #[test]
        fn never_panics_behind_a_right_header(mut bytes in proptest::collection::vec(any::<u8>(), 20..200)) {
            bytes.truncate(bytes.len() / 4 * 4);
            let length = (bytes.len() - HEADER_LEN) as u16;
            bytes[0] &= 3;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[4..8].copy_from_slice(&MAGIC_COOKIE);
            let _ = peek_username(&bytes);
            if let Some(message) = Message::parse(&bytes) {
                prop_assert!(!message.is_authentic(&key("k")));
            }
            // And with a right FINGERPRINT at the end, so that what lies before it is looked at.
            let mut writer = Writer(bytes);
            writer.set_length(8);
            let crc = crc32(&writer.0) ^ FINGERPRINT_XOR;
            let bytes = writer.attribute(FINGERPRINT, &crc.to_be_bytes()).0;
            if let Some(message) = Message::parse(&bytes) {
                prop_assert!(!message.is_authentic(&key("k")));
            }
        }
    }
}
