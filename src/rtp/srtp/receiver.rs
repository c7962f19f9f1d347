//! Opening what comes in.

use std::fmt;

use ahash::AHashMap;

use super::SrtpError;
use super::cipher::{CM_TAG_LEN, Cipher, GCM_TAG_LEN, Purpose};
use super::keying::{Keying, SrtpProfile};
use super::replay::ReplayWindow;
use crate::rtp::packet::{be16, be32, header_len};

/// How many SSRCs one authenticated peer may send RTP with, and RTCP with: 32 tracks of three simulcast layers with RTX are 192.
/// Beyond it a peer only hurts itself. A state is 136 bytes.
const MAX_SSRCS: usize = 256;
/// The 48 bits of an RTP packet index.
const INDEX_MASK: u64 = (1 << 48) - 1;
/// The bit before the SRTCP index that says that the packet is encrypted.
const E_BIT: u32 = 1 << 31;

/// Opens RTP and RTCP with the keys of one direction.
pub struct SrtpReceiver {
    profile: SrtpProfile,
    rtp: Cipher,
    rtcp: Cipher,
    rtp_windows: AHashMap<u32, ReplayWindow>,
    rtcp_windows: AHashMap<u32, ReplayWindow>,
}

impl fmt::Debug for SrtpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpReceiver").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl SrtpReceiver {
    /// With these master keys.
    pub fn new(keying: &Keying) -> Result<Self, SrtpError> {
        Ok(Self {
            profile: keying.profile(),
            rtp: Cipher::new(keying, Purpose::Rtp)?,
            rtcp: Cipher::new(keying, Purpose::Rtcp)?,
            rtp_windows: AHashMap::new(),
            rtcp_windows: AHashMap::new(),
        })
    }

    /// The profile.
    pub fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// Opens an SRTP packet in place and gives the length of the RTP packet. On an error the bytes may be garbage.
    pub fn open(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let malformed = SrtpError::Malformed(packet.len());
        let header_len = header_len(packet).map_err(|_| malformed)?;
        let tag_len = self.rtp.tag_len();
        if packet.len() < header_len + tag_len {
            return Err(malformed);
        }
        let len = packet.len() - tag_len;
        let (seq, ssrc) = (be16(packet, 2), be32(packet, 8));
        let window = self.rtp_windows.get_mut(&ssrc);
        let index = estimate_index(window.as_deref(), seq)?;
        if window.as_ref().is_some_and(|window| !window.is_fresh(index)) {
            return Err(SrtpError::Replay(index));
        }
        match &self.rtp {
            Cipher::Gcm(gcm) => {
                let (header, body) = packet.split_at_mut(header_len);
                gcm.open(ssrc, index, header, body)?;
            }
            Cipher::Cm(cm) => {
                let (packet, tag) = packet.split_at_mut(len);
                cm.verify(packet, &((index >> 16) as u32).to_be_bytes(), tag)?;
                cm.apply(ssrc, index, &mut packet[header_len..]);
            }
        }
        match window {
            Some(window) => window.mark(index),
            None => remember(&mut self.rtp_windows, ssrc, index)?,
        }
        Ok(len)
    }

    /// Opens an SRTCP packet in place and gives the length of the compound RTCP packet. On an error the bytes may be garbage.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let malformed = SrtpError::Malformed(packet.len());
        let Some(len) = packet.len().checked_sub(self.rtcp.tag_len() + 4).filter(|len| *len >= 8) else { return Err(malformed) };
        if packet[0] >> 6 != 2 {
            return Err(malformed);
        }
        let ssrc = be32(packet, 4);
        // GCM has the tag before the word with the index, counter mode behind it (RFC 7714 section 9, RFC 3711 section 3.4).
        let word_at = match self.rtcp {
            Cipher::Gcm(_) => len + GCM_TAG_LEN,
            Cipher::Cm(_) => len,
        };
        let word = be32(packet, word_at);
        let (encrypted, index) = (word & E_BIT != 0, u64::from(word & !E_BIT));
        let window = self.rtcp_windows.get_mut(&ssrc);
        if window.as_ref().is_some_and(|window| !window.is_fresh(index)) {
            return Err(SrtpError::Replay(index));
        }
        match &self.rtcp {
            Cipher::Gcm(gcm) if encrypted => {
                let mut aad = [0; 12];
                aad[..8].copy_from_slice(&packet[..8]);
                aad[8..].copy_from_slice(&word.to_be_bytes());
                gcm.open(ssrc, index, &aad, &mut packet[8..word_at])?;
            }
            Cipher::Gcm(gcm) => {
                // Authenticated only: all of the packet and the word are associated data, so they have to lie side by side.
                let mut tag = [0; GCM_TAG_LEN];
                tag.copy_from_slice(&packet[len..word_at]);
                packet[len..len + 4].copy_from_slice(&word.to_be_bytes());
                gcm.open(ssrc, index, &packet[..len + 4], &mut tag)?;
            }
            Cipher::Cm(cm) => {
                let (packet, tag) = packet.split_at_mut(len + 4);
                debug_assert_eq!(tag.len(), CM_TAG_LEN);
                cm.verify(packet, &[], tag)?;
                if encrypted {
                    cm.apply(ssrc, index, &mut packet[8..len]);
                }
            }
        }
        match window {
            Some(window) => window.mark(index),
            None => remember(&mut self.rtcp_windows, ssrc, index)?,
        }
        Ok(len)
    }

    /// Forgets an SSRC that ended (BYE, or its producer was closed). Its packets could be replayed from then on, as those of a
    /// new SSRC: only for SSRCs whose packets nobody takes any more.
    pub fn forget(&mut self, ssrc: u32) {
        self.rtp_windows.remove(&ssrc);
        self.rtcp_windows.remove(&ssrc);
    }
}

/// The packet index that the sequence number most likely stands for (RFC 3711 section 3.3.1 and appendix A): the nearest one to the
/// highest so far; rollover counter 0 for an SSRC not seen before.
fn estimate_index(window: Option<&ReplayWindow>, seq: u16) -> Result<u64, SrtpError> {
    let Some(window) = window else { return Ok(u64::from(seq)) };
    let highest = window.highest();
    let delta = i64::from(seq.wrapping_sub(highest as u16) as i16);
    // Below 0: sent before the counter began, so sealed by nobody.
    let index = highest.checked_add_signed(delta).ok_or(SrtpError::Replay(u64::from(seq)))?;
    if index > INDEX_MASK { Err(SrtpError::KeyExhausted) } else { Ok(index) }
}

fn remember(windows: &mut AHashMap<u32, ReplayWindow>, ssrc: u32, index: u64) -> Result<(), SrtpError> {
    if windows.len() >= MAX_SSRCS {
        return Err(SrtpError::TooManySsrcs);
    }
    windows.insert(ssrc, ReplayWindow::new(index));
    Ok(())
}
