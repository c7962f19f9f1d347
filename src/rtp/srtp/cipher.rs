//! The two ciphers of one direction, for RTP or for RTCP: GCM, and counter mode with HMAC-SHA1.

use aes::Aes128;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipherCore};
use ctr::CtrCore;
use ctr::flavors::Ctr32BE;
use hmac::{Hmac, Mac};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha1::Sha1;

use super::SrtpError;
use super::keying::{Keying, Label, SrtpProfile};

/// Length of a GCM tag in bytes.
pub(super) const GCM_TAG_LEN: usize = 16;
/// Length of an HMAC-SHA1 tag in bytes, cut to 80 bits.
pub(super) const CM_TAG_LEN: usize = 10;

/// Which protocol the keys are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Rtp,
    Rtcp,
}

/// One direction's keys for RTP or RTCP. In place, not boxed: with hundreds of peers each pointer to follow is a cache miss per picture.
#[allow(clippy::large_enum_variant)]
pub(super) enum Cipher {
    Gcm(Gcm),
    Cm(CounterMode),
}

impl Cipher {
    pub(super) fn new(keying: &Keying, purpose: Purpose) -> Result<Self, SrtpError> {
        let (encryption, auth, salt_label) = match purpose {
            Purpose::Rtp => (Label::RtpEncryption, Label::RtpAuth, Label::RtpSalt),
            Purpose::Rtcp => (Label::RtcpEncryption, Label::RtcpAuth, Label::RtcpSalt),
        };
        let profile = keying.profile();
        let mut key = [0; 32];
        let key = &mut key[..profile.key_len()];
        keying.derive(encryption, key);
        if profile == SrtpProfile::Aes128CmHmacSha1_80 {
            let (mut salt, mut auth_key) = ([0; 14], [0; 20]);
            keying.derive(salt_label, &mut salt);
            keying.derive(auth, &mut auth_key);
            Ok(Cipher::Cm(CounterMode::new(key, salt, &auth_key)?))
        } else {
            let mut salt = [0; 12];
            keying.derive(salt_label, &mut salt);
            Ok(Cipher::Gcm(Gcm::new(key, salt)?))
        }
    }

    pub(super) fn tag_len(&self) -> usize {
        match self {
            Cipher::Gcm(_) => GCM_TAG_LEN,
            Cipher::Cm(_) => CM_TAG_LEN,
        }
    }
}

/// AES-GCM (RFC 7714).
pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; 12],
}

impl Gcm {
    pub(super) fn new(key: &[u8], salt: [u8; 12]) -> Result<Self, SrtpError> {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, key).map_err(|_| SrtpError::KeyLength(key.len()))?;
        Ok(Self { key: LessSafeKey::new(key), salt })
    }

    /// RFC 7714 section 8.1: two zero bytes, SSRC, ROC and sequence number, exclusive-or the salt. Section 9.1 has the same shape
    /// for RTCP with the 31-bit index at the end.
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = [0; 12];
        nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
        nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
        for (byte, salt) in nonce.iter_mut().zip(&self.salt) {
            *byte ^= salt;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts `body` and gives the tag.
    pub(super) fn seal(&self, ssrc: u32, index: u64, aad: &[u8], body: &mut [u8]) -> Result<[u8; GCM_TAG_LEN], SrtpError> {
        let tag = self.key.seal_in_place_separate_tag(self.nonce(ssrc, index), Aad::from(aad), body);
        let tag = tag.map_err(|_| SrtpError::Malformed(body.len()))?;
        let mut out = [0; GCM_TAG_LEN];
        out.copy_from_slice(tag.as_ref());
        Ok(out)
    }

    /// Checks and decrypts `body`, which ends with the tag. Its bytes are lost if the tag is wrong.
    pub(super) fn open(&self, ssrc: u32, index: u64, aad: &[u8], body: &mut [u8]) -> Result<(), SrtpError> {
        let opened = self.key.open_in_place(self.nonce(ssrc, index), Aad::from(aad), body);
        opened.map(|_| ()).map_err(|_| SrtpError::Authentication)
    }
}

/// AES in counter mode and HMAC-SHA1 (RFC 3711 sections 4.1.1 and 4.2.1).
pub(super) struct CounterMode {
    key: Aes128,
    salt: [u8; 14],
    /// Keyed once; cloned for each packet, which is cheaper than hashing the key again.
    auth: Hmac<Sha1>,
}

impl CounterMode {
    pub(super) fn new(key: &[u8], salt: [u8; 14], auth_key: &[u8]) -> Result<Self, SrtpError> {
        let cipher = Aes128::new_from_slice(key).map_err(|_| SrtpError::KeyLength(key.len()))?;
        let auth = <Hmac<Sha1> as Mac>::new_from_slice(auth_key).map_err(|_| SrtpError::KeyLength(auth_key.len()))?;
        Ok(Self { key: cipher, salt, auth })
    }

    /// Encrypts or decrypts. The 16-bit block counter lasts for 1 MiB, more than any datagram.
    pub(super) fn apply(&self, ssrc: u32, index: u64, body: &mut [u8]) {
        // IV = (salt * 2^16) XOR (SSRC * 2^64) XOR (index * 2^16)
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        for (byte, ssrc) in iv[4..8].iter_mut().zip(ssrc.to_be_bytes()) {
            *byte ^= ssrc;
        }
        for (byte, index) in iv[8..14].iter_mut().zip(&index.to_be_bytes()[2..]) {
            *byte ^= index;
        }
        CtrCore::<&Aes128, Ctr32BE>::inner_iv_init(&self.key, &iv.into()).apply_keystream_partial(body.into());
    }

    /// The tag over `authenticated` and `suffix` (the ROC for RTP; nothing for RTCP, whose index is part of the packet).
    pub(super) fn tag(&self, authenticated: &[u8], suffix: &[u8]) -> [u8; CM_TAG_LEN] {
        let full = self.auth.clone().chain_update(authenticated).chain_update(suffix).finalize().into_bytes();
        let mut tag = [0; CM_TAG_LEN];
        tag.copy_from_slice(&full[..CM_TAG_LEN]);
        tag
    }

    /// Whether `tag` is right, in a time that does not depend on where it is wrong.
    pub(super) fn verify(&self, authenticated: &[u8], suffix: &[u8], tag: &[u8]) -> Result<(), SrtpError> {
        let mac = self.auth.clone().chain_update(authenticated).chain_update(suffix);
        if tag.len() != CM_TAG_LEN {
            return Err(SrtpError::Authentication);
        }
        mac.verify_truncated_left(tag).map_err(|_| SrtpError::Authentication)
    }
}
