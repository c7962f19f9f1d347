//! The process's DTLS certificate and the handshake configurations made from it.
//!
//! In: nothing (it is generated). Out: a fingerprint for signalling, configurations for sessions; and the check of a peer's
//! certificate against the fingerprints it announced (RFC 8122).

use std::sync::Arc;

use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::{Certificate as DtlsCertificate, CryptoPrivateKey};
use rtc_dtls::crypto_provider::{RTCCryptoProvider, providers::RingProvider};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use crate::sfu::ortc::DtlsFingerprint;

/// Handshake messages are cut into pieces of this many bytes. rtc-dtls adds record and handshake headers and the AEAD's
/// overhead on top (at most 13 + 12 + 24), and 1200 bytes of UDP payload pass every path that WebRTC works on.
const HANDSHAKE_FRAGMENT: usize = 1150;

/// Why there is no certificate. Only a broken system (no randomness) gets here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Making or signing it failed.
    #[error("can't make a DTLS certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// The DTLS engine refused it.
    #[error("the DTLS engine refused the certificate: {0}")]
    Engine(#[from] rtc_shared::error::Error),
}

/// A self-signed ECDSA P-256 certificate, made once per process. Cheap to clone.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    fingerprint: DtlsFingerprint,
    client: Arc<HandshakeConfig>,
    server_gcm: Arc<HandshakeConfig>,
    server_cm: Arc<HandshakeConfig>,
}

impl Certificate {
    /// Makes a new key and certificate.
    pub fn generate() -> Result<Self, CertificateError> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut parameters = rcgen::CertificateParams::new(vec![])?;
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "headend");
        let certificate = parameters.self_signed(&key)?;
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(RingProvider::new());
        let fingerprint = DtlsFingerprint { algorithm: "sha-256".into(), value: hex(&ring::digest::SHA256, certificate.der()) };
        let bound = DtlsCertificate {
            certificate: vec![certificate.der().clone()],
            private_key: CryptoPrivateKey::from_key_pair(&key, provider.crypto())?,
        };
        let base = ConfigBuilder::default()
            .with_crypto_provider(provider)
            .with_certificates(vec![bound])
            // Certificates are self-signed: they are checked by fingerprint when the handshake is done, before keys are exported.
            .with_insecure_skip_verify(true)
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_server_name("headend".into())
            .with_mtu(HANDSHAKE_FRAGMENT);
        let gcm = SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm;
        let cm = SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80;
        let ecdsa = [
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_256_Cbc_Sha,
        ];
        let server = |profile| {
            let config = base.clone().with_cipher_suites(ecdsa.to_vec()).with_srtp_protection_profiles(vec![profile]);
            config.build(false, None).map(Arc::new)
        };
        // A server may have an RSA certificate; ours never is one.
        let client_suites = [&ecdsa[..2], &[CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256], &ecdsa[2..]].concat();
        let client = base.clone().with_cipher_suites(client_suites).with_srtp_protection_profiles(vec![gcm, cm]);
        Ok(Self(Arc::new(Inner {
            fingerprint,
            client: Arc::new(client.build(true, None)?),
            server_gcm: server(gcm)?,
            server_cm: server(cm)?,
        })))
    }

    /// Its sha-256, for `DtlsParameters`.
    pub fn fingerprint(&self) -> &DtlsFingerprint {
        &self.0.fingerprint
    }

    pub(super) fn client_config(&self) -> Arc<HandshakeConfig> {
        self.0.client.clone()
    }

    /// rtc-dtls follows the client's order of SRTP profiles; offering it only one is how the server gets to choose.
    pub(super) fn server_config(&self, offers_gcm: bool) -> Arc<HandshakeConfig> {
        if offers_gcm { self.0.server_gcm.clone() } else { self.0.server_cm.clone() }
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({})", self.0.fingerprint.value)
    }
}

/// RFC 8122 names, without sha-1 and md5: collisions can be made for them.
fn algorithm(name: &str) -> Option<&'static ring::digest::Algorithm> {
    [("sha-256", &ring::digest::SHA256), ("sha-384", &ring::digest::SHA384), ("sha-512", &ring::digest::SHA512)]
        .into_iter()
        .find_map(|(known, algorithm)| name.eq_ignore_ascii_case(known).then_some(algorithm))
}

/// Whether this fingerprint is one that can be compared at all.
pub(super) fn is_usable(fingerprint: &DtlsFingerprint) -> bool {
    algorithm(&fingerprint.algorithm).is_some_and(|algorithm| {
        let bytes = fingerprint.value.as_bytes();
        bytes.len() == algorithm.output_len() * 3 - 1
            && bytes.iter().enumerate().all(|(i, c)| if i % 3 == 2 { *c == b':' } else { c.is_ascii_hexdigit() })
    })
}

/// Whether `certificate` (DER) is the one that one of `fingerprints` stands for.
pub(super) fn matches_fingerprint(certificate: &[u8], fingerprints: &[DtlsFingerprint]) -> bool {
    fingerprints.iter().any(|fingerprint| {
        algorithm(&fingerprint.algorithm).is_some_and(|algorithm| hex(algorithm, certificate).eq_ignore_ascii_case(&fingerprint.value))
    })
}

fn hex(algorithm: &'static ring::digest::Algorithm, data: &[u8]) -> String {
    let digest = ring::digest::digest(algorithm, data);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_checked_whatever_their_case() {
        let fingerprint = |name: &str, algorithm| DtlsFingerprint { algorithm: name.into(), value: hex(algorithm, b"certificate") };
        for (name, algorithm) in
            [("sha-256", &ring::digest::SHA256), ("SHA-384", &ring::digest::SHA384), ("sha-512", &ring::digest::SHA512)]
        {
            let mut good = fingerprint(name, algorithm);
            assert!(is_usable(&good) && matches_fingerprint(b"certificate", std::slice::from_ref(&good)));
            assert!(!matches_fingerprint(b"other", std::slice::from_ref(&good)));
            good.value = good.value.to_lowercase();
            assert!(matches_fingerprint(b"certificate", &[good]));
        }
        for (algorithm, value) in [("sha-256", ""), ("sha-256", "AA"), ("sha-1", "AA:BB"), ("", "")] {
            assert!(!is_usable(&DtlsFingerprint { algorithm: algorithm.into(), value: value.into() }));
        }
    }

    #[test]
    fn each_certificate_is_its_own() {
        let (a, b) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
        assert!(is_usable(a.fingerprint()));
        assert_ne!(a.fingerprint(), b.fingerprint());
    }
}
