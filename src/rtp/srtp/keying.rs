//! Master keys and the session keys derived from them (RFC 3711 section 4.3).

use aes::cipher::consts::U16;
use aes::cipher::{BlockEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128, Aes256};

use super::SrtpError;

/// How packets are protected. Numbers and names as in DTLS-SRTP's registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SrtpProfile {
    /// `SRTP_AEAD_AES_128_GCM` (RFC 7714), the fastest.
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM` (RFC 7714).
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80` (RFC 5764), which every WebRTC endpoint has.
    Aes128CmHmacSha1_80,
}

impl SrtpProfile {
    /// The number in DTLS's `use_srtp` extension (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
    pub fn dtls_id(self) -> u16 {
        match self {
            SrtpProfile::Aes128CmHmacSha1_80 => 0x0001,
            SrtpProfile::AeadAes128Gcm => 0x0007,
            SrtpProfile::AeadAes256Gcm => 0x0008,
        }
    }

    /// The profile with that number, if it is one of these.
    pub fn from_dtls_id(id: u16) -> Option<Self> {
        [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::Aes128CmHmacSha1_80].into_iter().find(|p| p.dtls_id() == id)
    }

    /// Length of the master key in bytes.
    pub fn key_len(self) -> usize {
        if self == SrtpProfile::AeadAes256Gcm { 32 } else { 16 }
    }

    /// Length of the master salt in bytes.
    pub fn salt_len(self) -> usize {
        if self == SrtpProfile::Aes128CmHmacSha1_80 { 14 } else { 12 }
    }

    /// Length of the authentication tag in bytes: what sealing an RTP packet adds.
    pub fn tag_len(self) -> usize {
        if self == SrtpProfile::Aes128CmHmacSha1_80 { 10 } else { 16 }
    }

    /// What sealing an RTCP packet adds, in bytes: tag, E bit and index.
    pub fn rtcp_overhead(self) -> usize {
        self.tag_len() + 4
    }

    /// How many bytes to export from DTLS with the label `EXTRACTOR-dtls_srtp` (RFC 5764 section 4.2).
    pub fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }
}

/// Master key and salt of one direction.
#[derive(Clone)]
pub struct Keying {
    profile: SrtpProfile,
    key: [u8; 32],
    /// A 12-byte salt is followed by two zero bytes, as RFC 7714 section 11 has it for key derivation.
    salt: [u8; 14],
}

impl std::fmt::Debug for Keying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keying").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// What a session key is for (RFC 3711 section 4.3.1 and 4.3.2).
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuth = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuth = 4,
    RtcpSalt = 5,
}

impl Keying {
    /// From a master key and salt of exactly the profile's lengths.
    pub fn new(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        if key.len() != profile.key_len() {
            return Err(SrtpError::KeyLength(key.len()));
        }
        if salt.len() != profile.salt_len() {
            return Err(SrtpError::KeyLength(salt.len()));
        }
        let mut keying = Self { profile, key: [0; 32], salt: [0; 14] };
        keying.key[..key.len()].copy_from_slice(key);
        keying.salt[..salt.len()].copy_from_slice(salt);
        Ok(keying)
    }

    /// Splits what DTLS exported into the DTLS client's and the DTLS server's sending keys (RFC 5764 section 4.2).
    pub fn from_dtls(profile: SrtpProfile, material: &[u8]) -> Result<(Self, Self), SrtpError> {
        if material.len() != profile.keying_material_len() {
            return Err(SrtpError::KeyLength(material.len()));
        }
        let (keys, salts) = material.split_at(2 * profile.key_len());
        let (client_key, server_key) = keys.split_at(profile.key_len());
        let (client_salt, server_salt) = salts.split_at(profile.salt_len());
        Ok((Self::new(profile, client_key, client_salt)?, Self::new(profile, server_key, server_salt)?))
    }

    /// The profile.
    pub fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// Fills `out` with the session key for `label`; the key derivation rate is 0, so it never changes.
    pub(super) fn derive(&self, label: Label, out: &mut [u8]) {
        let mut block = [0; 16];
        block[..14].copy_from_slice(&self.salt);
        block[7] ^= label as u8;
        if self.profile.key_len() == 32 {
            keystream(&Aes256::new(&self.key.into()), block, out);
        } else {
            let mut key = [0; 16];
            key.copy_from_slice(&self.key[..16]);
            keystream(&Aes128::new(&key.into()), block, out);
        }
    }
}

/// AES in counter mode over zeros, the counter in the last two bytes (RFC 3711 section 4.3.3).
fn keystream<C: BlockEncrypt + BlockSizeUser<BlockSize = U16>>(aes: &C, block: [u8; 16], out: &mut [u8]) {
    for (counter, chunk) in out.chunks_mut(16).enumerate() {
        let mut input = block;
        input[14..].copy_from_slice(&(counter as u16).to_be_bytes());
        let mut output = input.into();
        aes.encrypt_block(&mut output);
        chunk.copy_from_slice(&output[..chunk.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn rfc_3711_appendix_b_3() {
        let keying =
            Keying::new(SrtpProfile::Aes128CmHmacSha1_80, &hex("E1F97A0D3E018BE0D64FA32C06DE4139"), &hex("0EC675AD498AFEEBB6960B3AABE6"))
                .unwrap();
        let mut key = [0; 16];
        keying.derive(Label::RtpEncryption, &mut key);
        assert_eq!(key.to_vec(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        let mut salt = [0; 14];
        keying.derive(Label::RtpSalt, &mut salt);
        assert_eq!(salt.to_vec(), hex("30CBBC08863D8C85D49DB34A9AE1"));
        let mut auth = [0; 20];
        keying.derive(Label::RtpAuth, &mut auth);
        assert_eq!(auth.to_vec(), hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }

    #[test]
    fn lengths_are_checked() {
        let profile = SrtpProfile::AeadAes128Gcm;
        assert!(Keying::new(profile, &[0; 15], &[0; 12]).is_err());
        assert!(Keying::new(profile, &[0; 16], &[0; 14]).is_err());
        assert!(Keying::from_dtls(profile, &[0; 55]).is_err());
        assert!(Keying::from_dtls(profile, &[0; 56]).is_ok());
        assert_eq!(SrtpProfile::from_dtls_id(7), Some(profile));
        assert_eq!(SrtpProfile::from_dtls_id(2), None);
    }
}
