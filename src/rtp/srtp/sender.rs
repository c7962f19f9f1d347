//! Sealing what goes out.

use std::fmt;

use ahash::AHashMap;

use super::SrtpError;
use super::cipher::{Cipher, Purpose};
use super::keying::{Keying, SrtpProfile};
use crate::rtp::packet::{FIXED_HEADER_LEN, be16, be32};

/// How many SSRCs [`SrtpSender::seal`] counts rollovers for: more than the consumers that one transport may have, RTX included.
/// Whoever gives the index has no bound.
const MAX_SSRCS: usize = 4096;
/// The 48 bits of an RTP packet index.
const INDEX_MASK: u64 = (1 << 48) - 1;
/// The bit before the SRTCP index that says that the packet is encrypted.
const E_BIT: u32 = 1 << 31;

/// Seals RTP and RTCP with the keys of one direction.
pub struct SrtpSender {
    profile: SrtpProfile,
    rtp: Cipher,
    rtcp: Cipher,
    /// The next SRTCP index, one for all SSRCs: an SSRC then sees gaps, which are allowed, but never the same index twice.
    next_rtcp_index: u32,
    /// The highest index sealed by [`SrtpSender::seal`], by SSRC.
    highest: AHashMap<u32, u64>,
}

impl fmt::Debug for SrtpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpSender").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl SrtpSender {
    /// With these master keys.
    pub fn new(keying: &Keying) -> Result<Self, SrtpError> {
        Ok(Self {
            profile: keying.profile(),
            rtp: Cipher::new(keying, Purpose::Rtp)?,
            rtcp: Cipher::new(keying, Purpose::Rtcp)?,
            next_rtcp_index: 0,
            highest: AHashMap::new(),
        })
    }

    /// The profile.
    pub fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// Seals the RTP packet `packet[..len]` in place, with its header of `header_len` bytes (CSRCs and extension included) left
    /// readable; `packet` has room for the tag behind it. `index` is the 48-bit packet index, 65536 × rollover counter + sequence
    /// number: its low 16 bits must be the packet's sequence number. Never give the same index twice for the same SSRC with other
    /// contents: that breaks the encryption. Gives the sealed length.
    pub fn seal_with_index(&self, packet: &mut [u8], header_len: usize, len: usize, index: u64) -> Result<usize, SrtpError> {
        if header_len < FIXED_HEADER_LEN || header_len > len || index as u16 != be16(packet.get(..len).unwrap_or(&[0; 4]), 2) {
            return Err(SrtpError::Malformed(len));
        }
        if index > INDEX_MASK {
            return Err(SrtpError::KeyExhausted);
        }
        let sealed_len = len + self.rtp.tag_len();
        let room = packet.len();
        let Some(packet) = packet.get_mut(..sealed_len) else { return Err(SrtpError::NoRoom { needed: sealed_len, room }) };
        let (packet, tag) = packet.split_at_mut(len);
        let ssrc = be32(packet, 8);
        match &self.rtp {
            Cipher::Gcm(gcm) => {
                let (header, body) = packet.split_at_mut(header_len);
                tag.copy_from_slice(&gcm.seal(ssrc, index, header, body)?);
            }
            Cipher::Cm(cm) => {
                cm.apply(ssrc, index, &mut packet[header_len..]);
                tag.copy_from_slice(&cm.tag(packet, &((index >> 16) as u32).to_be_bytes()));
            }
        }
        Ok(sealed_len)
    }

    /// As [`Self::seal_with_index`], for who does not count rollovers: they are counted here by SSRC, in a bounded table.
    pub fn seal(&mut self, packet: &mut [u8], header_len: usize, len: usize) -> Result<usize, SrtpError> {
        if len < FIXED_HEADER_LEN || packet.len() < len {
            return Err(SrtpError::Malformed(len));
        }
        let (seq, ssrc) = (be16(packet, 2), be32(packet, 8));
        let index = match self.highest.get(&ssrc) {
            None if self.highest.len() >= MAX_SSRCS => return Err(SrtpError::TooManySsrcs),
            None => u64::from(seq),
            Some(highest) => {
                let delta = i64::from(seq.wrapping_sub(*highest as u16) as i16);
                highest.checked_add_signed(delta).ok_or(SrtpError::Malformed(len))?
            }
        };
        let sealed_len = self.seal_with_index(packet, header_len, len, index)?;
        let highest = self.highest.entry(ssrc).or_insert(index);
        *highest = index.max(*highest);
        Ok(sealed_len)
    }

    /// Seals the compound RTCP packet `packet[..len]` in place; `packet` has room for [`SrtpProfile::rtcp_overhead`] bytes behind
    /// it. Gives the sealed length.
    pub fn seal_rtcp(&mut self, packet: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        if len < 8 {
            return Err(SrtpError::Malformed(len));
        }
        let index = self.next_rtcp_index;
        if index >= E_BIT {
            return Err(SrtpError::KeyExhausted);
        }
        let tag_len = self.rtcp.tag_len();
        let sealed_len = len + tag_len + 4;
        let room = packet.len();
        let Some(packet) = packet.get_mut(..sealed_len) else { return Err(SrtpError::NoRoom { needed: sealed_len, room }) };
        let ssrc = be32(packet, 4);
        let word = (E_BIT | index).to_be_bytes();
        match &self.rtcp {
            Cipher::Gcm(gcm) => {
                let mut aad = [0; 12];
                aad[..8].copy_from_slice(&packet[..8]);
                aad[8..].copy_from_slice(&word);
                let tag = gcm.seal(ssrc, u64::from(index), &aad, &mut packet[8..len])?;
                packet[len..len + tag_len].copy_from_slice(&tag);
                packet[len + tag_len..].copy_from_slice(&word);
            }
            Cipher::Cm(cm) => {
                cm.apply(ssrc, u64::from(index), &mut packet[8..len]);
                packet[len..len + 4].copy_from_slice(&word);
                let tag = cm.tag(&packet[..len + 4], &[]);
                packet[len + 4..].copy_from_slice(&tag);
            }
        }
        self.next_rtcp_index += 1;
        Ok(sealed_len)
    }

    /// Forgets the rollover counter of an SSRC that ended. It must not be used again with these keys.
    pub fn forget(&mut self, ssrc: u32) {
        self.highest.remove(&ssrc);
    }
}
