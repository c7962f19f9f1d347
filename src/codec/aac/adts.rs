//! ADTS headers (ISO/IEC 14496-3 section 1.A.2.2).

use std::ops::Range;

#[cfg(test)]
use super::config::AacConfig;
use super::config::{SAMPLE_RATES, copy_program_config};
use crate::codec::FormatError;
use crate::codec::bits::{BitReader, BitWriter};

/// `id_syn_ele` of a program config element.
const ID_PCE: u32 = 5;

/// Bytes of a checksum, behind the header and behind each raw frame of several.
const CHECKSUM: usize = 2;

/// Bytes of an ADTS header without checksum, as made here.
pub(crate) const ADTS_HEADER_LEN: usize = 7;

/// What an ADTS header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AdtsHeader {
    /// Audio object type: 1 Main, 2 LC, 3 SSR, 4 LTP.
    pub object_type: u8,
    /// Sampling rate of the core in Hz.
    pub sample_rate: u32,
    /// `channel_configuration`, 0 to 7.
    pub channel_config: u8,
    /// Bytes of the header: 7, or 9 with a checksum.
    pub header_len: usize,
    /// Bytes of the whole frame with its header, 7 to 8191.
    pub frame_len: usize,
    /// How many raw frames it holds, 1 to 4. Where one ends in several only a decoder knows.
    pub raw_frames: u8,
}

impl AdtsHeader {
    /// Reads the header at the beginning of `data`.
    ///
    /// # Errors
    /// It ends too early, has no syncword, or says what cannot be.
    pub(crate) fn parse(data: &[u8]) -> Result<Self, FormatError> {
        let malformed = |why| FormatError::Malformed { what: "ADTS header", why };
        let head = data.get(..ADTS_HEADER_LEN).ok_or(malformed("it ends too early"))?;
        if head[0] != 0xFF || head[1] & 0xF6 != 0xF0 {
            return Err(malformed("the syncword is missing"));
        }
        let index = usize::from((head[2] >> 2) & 0xF);
        let sample_rate = *SAMPLE_RATES.get(index).ok_or(malformed("its sampling rate index is reserved"))?;
        let header_len = if head[1] & 1 == 1 { ADTS_HEADER_LEN } else { ADTS_HEADER_LEN + 2 };
        let frame_len = (usize::from(head[3] & 3) << 11) | (usize::from(head[4]) << 3) | usize::from(head[5] >> 5);
        if frame_len < header_len {
            return Err(malformed("its frame is shorter than itself"));
        }
        let channel_config = ((head[2] & 1) << 2) | (head[3] >> 6);
        Ok(Self { object_type: (head[2] >> 6) + 1, sample_rate, channel_config, header_len, frame_len, raw_frames: (head[6] & 3) + 1 })
    }

    /// Where the raw frames lie in `frame`, which begins with this header and ends with its last byte. With several of them only a table says
    /// so, which goes with checksums (`adts_header_error_check`); `None` where there is none, or none that makes sense.
    pub(crate) fn raw_frames_of(&self, frame: &[u8]) -> Option<Vec<Range<usize>>> {
        let others = usize::from(self.raw_frames - 1);
        if others == 0 {
            return Some(std::iter::once(self.header_len..frame.len()).collect());
        }
        let table = frame.get(ADTS_HEADER_LEN..ADTS_HEADER_LEN + 2 * others).filter(|_| self.header_len > ADTS_HEADER_LEN)?;
        let begin = ADTS_HEADER_LEN + 2 * others + CHECKSUM;
        let positions = table.chunks_exact(2).map(|two| begin + usize::from(u16::from_be_bytes([two[0], two[1]])));
        let mut bounds = vec![begin];
        bounds.extend(positions);
        bounds.push(frame.len());
        bounds
            .windows(2)
            .map(|pair| (pair[0] + CHECKSUM < pair[1] && pair[1] <= frame.len()).then(|| pair[0]..pair[1] - CHECKSUM))
            .collect()
    }

    /// The AudioSpecificConfig of a frame that begins with this header. `None` where the channels stand in a program config element, and
    /// `raw`, the frame without the header, doesn't begin with one.
    pub(crate) fn config(&self, raw: &[u8]) -> Option<Vec<u8>> {
        let index = SAMPLE_RATES.iter().position(|rate| *rate == self.sample_rate)? as u32;
        let mut out = BitWriter::default();
        out.put(u32::from(self.object_type), 5);
        out.put(index, 4);
        out.put(u32::from(self.channel_config), 4);
        out.put(0, 3); // GASpecificConfig: 1024 samples, no core coder, no extension
        if self.channel_config == 0 {
            let mut reader = BitReader::new(raw);
            reader.bits(3).filter(|element| *element == ID_PCE)?;
            copy_program_config(&mut reader, &mut out)?;
        }
        Some(out.finish())
    }
}

/// The header for a raw frame of `frame_len` bytes. `None` where ADTS cannot say it: the frame has more than 8184 bytes, the
/// core's rate has no index, or the channels stand in a program config element or above configuration 7.
#[cfg(test)]
pub(crate) fn adts_header(config: &AacConfig, frame_len: usize) -> Option<[u8; ADTS_HEADER_LEN]> {
    let index = SAMPLE_RATES.iter().position(|rate| *rate == config.core_sample_rate)? as u8;
    let len = frame_len + ADTS_HEADER_LEN;
    let channels = config.channel_config;
    if len > 0x1FFF || !(1..=7).contains(&channels) || !(1..=4).contains(&config.object_type) {
        return None;
    }
    Some([
        0xFF,
        0xF1,
        ((config.object_type - 1) << 6) | (index << 2) | (channels >> 2),
        ((channels & 3) << 6) | (len >> 11) as u8,
        (len >> 3) as u8,
        ((len << 5) as u8) | 0x1F,
        0xFC,
    ])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_round_trip() {
        for (bytes, rate) in [([0x12, 0x10], 44_100), ([0x11, 0xB8], 48_000), ([0x14, 0x08], 16_000)] {
            let config = AacConfig::parse(&bytes).unwrap();
            let header = adts_header(&config, 300).unwrap();
            let parsed = AdtsHeader::parse(&header).unwrap();
            let expected = AdtsHeader {
                object_type: 2,
                sample_rate: rate,
                channel_config: config.channel_config,
                header_len: 7,
                frame_len: 307,
                raw_frames: 1,
            };
            assert_eq!(parsed, expected);
            assert_eq!(adts_header(&config, 8185), None);
            assert_eq!(parsed.config(&[]).unwrap(), bytes);
        }
        // As ffmpeg writes it for 44.1 kHz stereo and a frame of 371 bytes.
        assert_eq!(adts_header(&AacConfig::parse(&[0x12, 0x10]).unwrap(), 364).unwrap(), [0xFF, 0xF1, 0x50, 0x80, 0x2E, 0x7F, 0xFC]);
    }

    proptest! {
        #[test]
        fn never_panics(mut data in prop::collection::vec(any::<u8>(), 0..12)) {
            data.splice(0..0, [0xFF, 0xF1]);
            let _ = AdtsHeader::parse(&data);
        }
    }
}
