//! AudioSpecificConfig (ISO/IEC 14496-3 section 1.6.2.1).

use bytes::Bytes;

use crate::codec::bits::{BitReader, BitWriter};
use crate::codec::{Format, FormatError};

const WHAT: &str = "AudioSpecificConfig";

/// Longest configuration that is kept. The largest sensible one (program config element with a comment, SBR) stays below;
/// it travels in SDP and in every init segment.
const MAX_CONFIG: usize = 512;

/// Sampling rates in Hz by `samplingFrequencyIndex`.
pub(super) const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// What an AudioSpecificConfig says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AacConfig {
    /// Audio object type of the core: 1 Main, 2 LC, 3 SSR, 4 LTP.
    pub object_type: u8,
    /// Sampling rate of the core in Hz.
    pub core_sample_rate: u32,
    /// Sampling rate of the output in Hz: with explicit SBR usually twice the core's. The RTP clock rate.
    pub sample_rate: u32,
    /// `channelConfiguration`, 0 to 14; 0 where a program config element lists the channels.
    pub channel_config: u8,
    /// Channels of the output, 1 to 8: 2 for a mono core with parametric stereo.
    pub channels: u8,
    /// Spectral band replication is signalled (HE-AAC).
    pub sbr: bool,
    /// Parametric stereo is signalled (HE-AAC v2).
    pub ps: bool,
    /// Samples per frame at the core's rate: 1024 or 960.
    pub core_frame_len: u32,
}

fn malformed(why: &'static str) -> FormatError {
    FormatError::Malformed { what: WHAT, why }
}

impl AacConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// It ends too early or contradicts itself; or it asks for an object type or a channel layout that headend doesn't carry.
    pub fn parse(data: &[u8]) -> Result<Self, FormatError> {
        if data.len() > MAX_CONFIG {
            return Err(malformed("it is longer than any sensible one"));
        }
        Self::read(&mut BitReader::new(data), true)
    }

    /// Reads a configuration that begins at a whole byte. `extended`: what follows it belongs to it, too, and may say that there is more to it
    /// (backward compatible signalling).
    pub(super) fn read(reader: &mut BitReader<'_>, extended: bool) -> Result<Self, FormatError> {
        let short = || malformed("it ends too early");
        let mut object_type = read_object_type(reader).ok_or_else(short)?;
        let core_sample_rate = read_rate(reader)?;
        let channel_config = reader.bits(4).ok_or_else(short)? as u8;
        let mut sample_rate = core_sample_rate;
        let (mut sbr, mut ps) = (false, false);
        if object_type == 5 || object_type == 29 {
            sbr = true;
            ps = object_type == 29;
            sample_rate = read_rate(reader)?;
            object_type = read_object_type(reader).ok_or_else(short)?;
        }
        if !(1..=4).contains(&object_type) {
            return Err(FormatError::ObjectType { what: WHAT, object_type, name: object_type_name(object_type) });
        }
        // GASpecificConfig, section 4.4.1.
        let core_frame_len = if reader.flag().ok_or_else(short)? { 960 } else { 1024 };
        if reader.flag().ok_or_else(short)? {
            return Err(FormatError::Unsupported { what: WHAT, why: "it depends on a core coder; use AAC-LC" });
        }
        reader.skip(1).ok_or_else(short)?; // extensionFlag
        let channels = match channel_config {
            0 => read_program_config(reader).ok_or_else(short)?,
            1..=6 => channel_config,
            7 | 12 | 14 => 8,
            11 => 7,
            _ => return Err(malformed("its channel configuration is reserved")),
        };
        if !(1..=8).contains(&channels) {
            return Err(FormatError::Channels { what: WHAT, channels });
        }
        if !sbr
            && extended
            && let Some((rate, stereo)) = read_sync_extension(reader)
        {
            (sbr, ps, sample_rate) = (true, stereo, rate);
        }
        if sbr && sample_rate != core_sample_rate && sample_rate != core_sample_rate * 2 {
            return Err(malformed("its SBR rate is neither the core's nor twice it"));
        }
        let channels = if ps && channels == 1 { 2 } else { channels };
        Ok(Self { object_type, core_sample_rate, sample_rate, channel_config, channels, sbr, ps, core_frame_len })
    }

    /// Duration of a frame in samples of the output, which are ticks of the RTP clock: 1024, or 2048 with SBR.
    pub fn frame_duration(&self) -> u32 {
        if self.sample_rate == self.core_sample_rate { self.core_frame_len } else { self.core_frame_len * 2 }
    }

    /// The track's format, from the bytes of its configuration. To [`parse`](Self::parse) them is part of it.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn format(config: Bytes) -> Result<Format, FormatError> {
        let parsed = Self::parse(&config)?;
        Ok(Format::Aac { config, sample_rate: parsed.sample_rate, channels: parsed.channels })
    }

    /// A configuration for plain AAC-LC; `None` where the rate has no index or there are more than 6 channels or none.
    pub fn lc(sample_rate: u32, channels: u8) -> Option<Bytes> {
        let index = SAMPLE_RATES.iter().position(|rate| *rate == sample_rate)? as u16;
        let bits = (2 << 11) | (index << 7) | (u16::from(channels) << 3);
        (1..=6).contains(&channels).then(|| Bytes::copy_from_slice(&bits.to_be_bytes()))
    }

    /// `mp4a.40.X` (RFC 6381 section 3.3): 2 for LC, 5 for HE-AAC, 29 for HE-AAC v2.
    pub fn codec_string(&self) -> String {
        let object_type = match (self.ps, self.sbr) {
            (true, _) => 29,
            (false, true) => 5,
            _ => self.object_type,
        };
        format!("mp4a.40.{object_type}")
    }
}

/// Whether an encoder for plain AAC-LC makes frames of this configuration: one or two channels at one of the rates that have an index, but for
/// the lowest.
pub(crate) fn is_encodable(config: &AacConfig) -> bool {
    let plain = config.object_type == 2 && !config.sbr && !config.ps && config.core_frame_len == 1024;
    let rate = config.sample_rate > 7_350 && SAMPLE_RATES.contains(&config.sample_rate);
    plain && rate && matches!(config.channel_config, 1 | 2)
}

/// Object types that aren't carried, for people (ISO/IEC 14496-3 table 1.17).
fn object_type_name(object_type: u8) -> &'static str {
    match object_type {
        6 => "AAC Scalable",
        17 => "error-resilient AAC-LC",
        19 => "error-resilient AAC-LTP",
        20 => "error-resilient AAC Scalable",
        22 => "BSAC",
        23 => "AAC-LD",
        32..=34 => "MPEG-1 audio",
        36 => "ALS",
        39 => "AAC-ELD",
        42 => "xHE-AAC",
        _ => "no kind of AAC that is known here",
    }
}

fn read_object_type(reader: &mut BitReader<'_>) -> Option<u8> {
    match reader.bits(5)? {
        31 => Some(32 + reader.bits(6)? as u8),
        kind => Some(kind as u8),
    }
}

fn read_rate(reader: &mut BitReader<'_>) -> Result<u32, FormatError> {
    let short = malformed("it ends too early");
    match reader.bits(4).ok_or(short.clone())? {
        15 => {
            let rate = reader.bits(24).ok_or(short)?;
            if (7_350..=96_000).contains(&rate) { Ok(rate) } else { Err(malformed("its sampling rate is not between 7350 and 96000 Hz")) }
        }
        index => SAMPLE_RATES.get(index as usize).copied().ok_or(malformed("its sampling rate index is reserved")),
    }
}

/// `program_config_element()` (section 4.4.1.1): the number of channels.
fn read_program_config(reader: &mut BitReader<'_>) -> Option<u8> {
    reader.skip(4 + 2 + 4)?; // element_instance_tag, object_type, sampling_frequency_index
    let (front, side, back, lfe) = (reader.bits(4)?, reader.bits(4)?, reader.bits(4)?, reader.bits(2)?);
    let (assoc, coupling) = (reader.bits(3)?, reader.bits(4)?);
    for present in [4, 4, 3] {
        if reader.flag()? {
            reader.skip(present)?; // mono, stereo and matrix mixdown
        }
    }
    let mut channels = lfe;
    for _ in 0..front + side + back {
        channels += if reader.flag()? { 2 } else { 1 };
        reader.skip(4)?;
    }
    reader.skip(((lfe + assoc) * 4 + coupling * 5) as usize)?;
    reader.align();
    let comment = reader.bits(8)? as usize;
    reader.skip(comment * 8)?;
    u8::try_from(channels).ok()
}

/// Copies a `program_config_element()`, which aligns its comment to where it stands.
pub(super) fn copy_program_config(reader: &mut BitReader<'_>, out: &mut BitWriter) -> Option<()> {
    let mut take = |reader: &mut BitReader<'_>, count: u32| {
        let value = reader.bits(count)?;
        out.put(value, count);
        Some(value as usize)
    };
    take(reader, 4 + 2 + 4)?;
    let (front, side, back, lfe) = (take(reader, 4)?, take(reader, 4)?, take(reader, 4)?, take(reader, 2)?);
    let (assoc, coupling) = (take(reader, 3)?, take(reader, 4)?);
    for present in [4, 4, 3] {
        if take(reader, 1)? == 1 {
            take(reader, present)?;
        }
    }
    for _ in 0..front + side + back + coupling {
        take(reader, 5)?;
    }
    for _ in 0..lfe + assoc {
        take(reader, 4)?;
    }
    reader.align();
    let comment = reader.bits(8)?;
    out.align();
    out.put(comment, 8);
    out.copy(reader, comment as usize * 8)
}

/// Backward compatible signalling of SBR and PS behind the configuration (`syncExtensionType`): output rate, and whether PS is there.
fn read_sync_extension(reader: &mut BitReader<'_>) -> Option<(u32, bool)> {
    if reader.left() < 16 || reader.bits(11)? != 0x2B7 || read_object_type(reader)? != 5 || !reader.flag()? {
        return None;
    }
    let rate = read_rate(reader).ok()?;
    let ps = reader.left() >= 12 && reader.bits(11)? == 0x548 && reader.flag()?;
    Some((rate, ps))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn configurations() {
        // bytes, object type, core rate, output rate, channels, sbr, ps, codec string, frame duration
        type Row = (&'static [u8], u8, u32, u32, u8, bool, bool, &'static str, u32);
        let table: [Row; 10] = [
            (&[0x12, 0x10], 2, 44_100, 44_100, 2, false, false, "mp4a.40.2", 1024),
            (&[0x11, 0x90], 2, 48_000, 48_000, 2, false, false, "mp4a.40.2", 1024),
            (&[0x11, 0x90, 0x56, 0xE5, 0x00], 2, 48_000, 48_000, 2, false, false, "mp4a.40.2", 1024), // sync extension: no SBR
            (&[0x14, 0x08], 2, 16_000, 16_000, 1, false, false, "mp4a.40.2", 1024),
            (&[0x2B, 0x11, 0x88, 0x00], 2, 24_000, 48_000, 2, true, false, "mp4a.40.5", 2048),
            (&[0x13, 0x10, 0x56, 0xE5, 0x98], 2, 24_000, 48_000, 2, true, false, "mp4a.40.5", 2048),
            (&[0xEB, 0x09, 0x88, 0x00], 2, 24_000, 48_000, 2, true, true, "mp4a.40.29", 2048),
            (&[0x17, 0x80, 0x5D, 0xC0, 0x10], 2, 48_000, 48_000, 2, false, false, "mp4a.40.2", 1024), // escape rate
            (&[0x11, 0xB0], 2, 48_000, 48_000, 6, false, false, "mp4a.40.2", 1024),
            (&[0x11, 0xB8], 2, 48_000, 48_000, 8, false, false, "mp4a.40.2", 1024),
        ];
        for (bytes, object_type, core, output, channels, sbr, ps, string, duration) in table {
            let config = AacConfig::parse(bytes).unwrap_or_else(|error| panic!("{bytes:x?}: {error}"));
            assert_eq!((config.object_type, config.core_sample_rate, config.sample_rate), (object_type, core, output), "{bytes:x?}");
            assert_eq!((config.channels, config.sbr, config.ps), (channels, sbr, ps), "{bytes:x?}");
            assert_eq!((config.codec_string().as_str(), config.frame_duration()), (string, duration), "{bytes:x?}");
        }
        assert_eq!(AacConfig::lc(44_100, 2).unwrap(), [0x12, 0x10][..]);
        assert_eq!(AacConfig::lc(44_101, 2), None);
    }

    #[test]
    fn channels_from_a_program_config_element() {
        // ffmpeg's configuration of 2.1 at 48 kHz (AAC-LC, channelConfiguration 0): a front pair and an LFE.
        let mut bits = String::from("00010" /* LC */);
        bits += "0011"; // 48 kHz
        bits += "0000"; // channel configuration 0
        bits += "000"; // GASpecificConfig
        bits += "0000010011"; // tag, profile, rate
        bits += "00010000000001"; // one front, no side, no back, one LFE
        bits += "0000000000"; // no data, no coupling, no mixdowns
        bits += "10000"; // front: a pair
        bits += "0000"; // LFE
        while bits.len() % 8 != 0 {
            bits.push('0');
        }
        bits += "00000000"; // no comment
        let bytes: Vec<u8> = bits.as_bytes().chunks(8).map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 2).unwrap()).collect();
        let config = AacConfig::parse(&bytes).unwrap();
        assert_eq!((config.channels, config.channel_config), (3, 0));
    }

    #[test]
    fn nonsense_is_refused() {
        let table: [&[u8]; 9] = [
            &[],
            &[0x12],
            &[0x16, 0x90],                   // reserved rate index 13
            &[0x12, 0x48],                   // reserved channel configuration 9
            &[0x17, 0x80, 0x00, 0x00, 0x10], // 0 Hz
            &[0x12, 0x12],                   // core coder
            &[0xFF, 0xFF, 0xFF],             // object type 95
            &[0x00, 0x00],                   // object type 0
            &[0xB9, 0x90],                   // ER AAC LD
        ];
        for bytes in table {
            assert!(AacConfig::parse(bytes).is_err(), "{bytes:x?}");
        }
        assert!(AacConfig::format(Bytes::from_static(&[0x12, 0x10])).is_ok());
        let error = AacConfig::parse(&[0xB9, 0x90]).unwrap_err().to_string();
        assert!(error.contains("23 (AAC-LD); use AAC-LC"), "{error}");
    }

    proptest! {
        #[test]
        fn never_panics(data in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(config) = AacConfig::parse(&data) {
                prop_assert!((1..=8).contains(&config.channels) && (7_350..=96_000).contains(&config.sample_rate));
            }
        }
    }
}
