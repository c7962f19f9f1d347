//! `AVCDecoderConfigurationRecord` (`avcC`, ISO/IEC 14496-15 section 5.3.3.1) and what follows from the parameter sets.

use bytes::{BufMut, Bytes, BytesMut};

use super::avcc::annexb_nals;
use super::nal::NalType;
use super::split::MAX_NALS;
use super::sps::parse_sps;
use crate::codec::{Format, FormatError};

const WHAT: &str = "AVCDecoderConfigurationRecord";

fn malformed(why: &'static str) -> FormatError {
    FormatError::Malformed { what: WHAT, why }
}

/// What an `avcC` holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvcConfig {
    /// Bytes in the length before each NAL unit: 1 to 4.
    pub length_size: usize,
    /// Sequence parameter sets, at most 31.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets, at most 255.
    pub pps: Vec<Bytes>,
}

impl AvcConfig {
    /// Reads a record, such as follows the FLV tag header of an AVC sequence header.
    ///
    /// # Errors
    /// It ends too early, has another version, holds NAL units of other types, or an SPS that makes no sense.
    pub fn parse(data: &[u8]) -> Result<Self, FormatError> {
        let head = data.get(..6).ok_or(malformed("it ends too early"))?;
        if head[0] != 1 {
            return Err(malformed("its version is not 1"));
        }
        // Lengths of 3 bytes are not allowed, and can be read all the same.
        let length_size = usize::from(head[4] & 3) + 1;
        let mut rest = &data[6..];
        let sps = read_sets(&mut rest, head[5] & 0x1F, NalType::Sps)?;
        let (count, mut rest) = rest.split_first().ok_or(malformed("it ends before the picture parameter sets"))?;
        let pps = read_sets(&mut rest, *count, NalType::Pps)?;
        for nal in &sps {
            parse_sps(nal)?;
        }
        Ok(Self { length_size, sps, pps })
    }

    /// As [`parse`](Self::parse), for what encoders send in its place, too: nothing at all, or parameter sets behind start codes.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_any(data: &[u8]) -> Result<Self, FormatError> {
        let of = |kind: NalType, nals: &[&[u8]]| -> Vec<Bytes> {
            nals.iter().filter(|nal| NalType::of(nal[0]) == kind).map(|nal| Bytes::copy_from_slice(nal)).collect()
        };
        let nals: Vec<&[u8]> = if data.starts_with(&[0, 0]) { annexb_nals(data).take(MAX_NALS).collect() } else { Vec::new() };
        let config = Self { length_size: 4, sps: of(NalType::Sps, &nals), pps: of(NalType::Pps, &nals) };
        if data.iter().all(|byte| *byte == 0) || !(config.sps.is_empty() && config.pps.is_empty()) {
            config.sps.iter().try_for_each(|nal| parse_sps(nal).map(|_| ()))?;
            return Ok(config);
        }
        Self::parse(data)
    }

    /// The track's format.
    pub fn into_format(self) -> Format {
        Format::H264 { sps: self.sps, pps: self.pps }
    }
}

fn read_sets(rest: &mut &[u8], count: u8, kind: NalType) -> Result<Vec<Bytes>, FormatError> {
    let mut sets = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let (len, after) = rest.split_at_checked(2).ok_or(malformed("it ends within a parameter set's length"))?;
        let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
        let (nal, after) = after.split_at_checked(len).ok_or(malformed("a parameter set overruns it"))?;
        *rest = after;
        // Some encoders put a start code before it here, too.
        let nal = annexb_nals(nal).next().filter(|_| nal.starts_with(&[0, 0])).unwrap_or(nal);
        // Some encoders leave an empty set behind; it says nothing.
        let Some(&header) = nal.first() else { continue };
        if NalType::of(header) != kind {
            return Err(malformed("a parameter set is a NAL unit of another type"));
        }
        sets.push(Bytes::copy_from_slice(nal));
    }
    Ok(sets)
}

/// Writes the record of parameter sets, with 4-byte NAL unit lengths.
///
/// # Errors
/// No SPS or no PPS, one longer than 65535 bytes, or an SPS that makes no sense.
pub(crate) fn write_avc_config(sps: &[Bytes], pps: &[Bytes]) -> Result<Bytes, FormatError> {
    let first = sps.first().ok_or(malformed("there is no SPS to write"))?;
    if pps.is_empty() {
        return Err(malformed("there is no PPS to write"));
    }
    // As many as it can hold; the one in use stands first.
    let (sps, pps) = (&sps[..sps.len().min(31)], &pps[..pps.len().min(255)]);
    let info = parse_sps(first)?;
    let mut out = BytesMut::with_capacity(16 + sps.iter().chain(pps).map(|nal| nal.len() + 2).sum::<usize>());
    out.put_slice(&[1, info.profile, info.constraints, info.level, 0xFC | 3, 0xE0 | sps.len() as u8]);
    write_sets(&mut out, sps)?;
    out.put_u8(pps.len() as u8);
    write_sets(&mut out, pps)?;
    if !matches!(info.profile, 66 | 77 | 88) {
        out.put_slice(&[0xFC | info.chroma_format, 0xF8 | (info.bit_depth_luma - 8), 0xF8 | (info.bit_depth_chroma - 8), 0]);
    }
    Ok(out.freeze())
}

fn write_sets(out: &mut BytesMut, sets: &[Bytes]) -> Result<(), FormatError> {
    for nal in sets {
        out.put_u16(u16::try_from(nal.len()).map_err(|_| malformed("a parameter set is longer than 65535 bytes"))?);
        out.put_slice(nal);
    }
    Ok(())
}

/// What is assumed where no SPS is known yet: constrained baseline, level 3.1, what every WebRTC endpoint has (RFC 7742 section 6.2).
const DEFAULT_PROFILE: [u8; 3] = [0x42, 0xE0, 0x1F];

/// Largest picture in macroblocks by `level_idc` (H.264 table A-1), where it grows.
const MAX_FS: [(u8, u32); 13] = [
    (10, 99),
    (11, 396),
    (21, 792),
    (22, 1620),
    (31, 3600),
    (32, 5120),
    (40, 8192),
    (42, 8704),
    (50, 22_080),
    (51, 36_864),
    (60, 139_264),
    (61, 139_264),
    (62, 139_264),
];
/// The other values of `level_idc`: 9 is 1b.
const OTHER_LEVELS: [u8; 7] = [9, 12, 13, 20, 30, 41, 52];

/// Profile, constraints and level as browsers are to see them: a level that there is none of is refused by them, and one that is too low for
/// the size promises a decoder too little. Some encoders write 0, or always the same.
fn profile_bytes(sps: &[Bytes]) -> [u8; 3] {
    let stated = sps.first().and_then(|nal| nal.get(1..4)).and_then(|bytes| <[u8; 3]>::try_from(bytes).ok());
    let Some([profile, constraints, level]) = stated else { return DEFAULT_PROFILE };
    let size = sps.first().and_then(|nal| parse_sps(nal).ok()).map_or(0, |info| info.width.div_ceil(16) * info.height.div_ceil(16));
    let needed = MAX_FS.iter().find(|(_, most)| size <= *most).map_or(62, |(level, _)| *level);
    let exists = OTHER_LEVELS.contains(&level) || MAX_FS.iter().any(|(known, _)| *known == level);
    let enough = if level == 9 { needed <= 10 } else { level >= needed };
    [profile, constraints, if exists && enough { level } else { needed }]
}

/// `profile-level-id` (RFC 6184 section 8.1): profile, constraints and level (mended where it can't be) of the first SPS as six
/// hexadecimal digits;
/// `42e01f` where there is none.
pub(crate) fn profile_level_id(sps: &[Bytes]) -> String {
    let [profile, constraints, level] = profile_bytes(sps);
    format!("{profile:02x}{constraints:02x}{level:02x}")
}

/// `avc1.PPCCLL` (RFC 6381 section 3.3).
pub(crate) fn codec_string(sps: &[Bytes]) -> String {
    format!("avc1.{}", profile_level_id(sps))
}

/// Whether pictures may come in another order than they are shown in, by the first SPS. False where none is known yet: that
/// is WebRTC, which never reorders.
pub fn may_reorder(sps: &[Bytes]) -> bool {
    sps.first().is_some_and(|nal| parse_sps(nal).is_ok_and(|info| info.may_reorder()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::{SAMPLES, hex};
    use super::*;

    #[test]
    fn records_round_trip() {
        for sample in SAMPLES {
            let record = hex(sample.avcc);
            let config = AvcConfig::parse(&record).unwrap();
            assert_eq!((config.length_size, config.sps.len(), config.pps.len()), (4, 1, 1), "{}", sample.name);
            assert_eq!(write_avc_config(&config.sps, &config.pps).unwrap(), record, "{}", sample.name);
        }
        let config = AvcConfig::parse(&hex(SAMPLES[0].avcc)).unwrap();
        assert_eq!((codec_string(&config.sps), profile_level_id(&[])), ("avc1.640028".to_owned(), "42e01f".to_owned()));
    }

    #[test]
    fn levels_that_browsers_understand() {
        // The SPS of 1920x1080 with other levels, and that of 320x240.
        let (large, small) = (AvcConfig::parse(&hex(SAMPLES[0].avcc)).unwrap(), AvcConfig::parse(&hex(SAMPLES[4].avcc)).unwrap());
        for (sps, level, told) in [
            (&large.sps[0], 40, "28"),
            (&large.sps[0], 52, "34"),
            (&large.sps[0], 30, "28"), // too low
            (&large.sps[0], 9, "28"),
            (&large.sps[0], 0, "28"), // none
            (&large.sps[0], 255, "28"),
            (&small.sps[0], 13, "0d"),
            (&small.sps[0], 12, "0c"),
            (&small.sps[0], 10, "0b"),
            (&small.sps[0], 51, "33"),
        ] {
            let sps = [&sps[..3], &[level], &sps[4..]].concat();
            assert!(codec_string(&[sps.into()]).ends_with(told), "{level} {told}");
        }
    }

    #[test]
    fn several_sets_and_short_lengths() {
        let sps = hex("6742c01ed900a02ff97011000003000100000300320f162e48");
        let mut record = vec![1, 0x42, 0xC0, 0x1E, 0xFD, 0xE2];
        for nal in [&sps[..], &sps] {
            record.extend([0, nal.len() as u8]);
            record.extend(nal);
        }
        record.extend([3, 0, 2, 0x68, 0xCB, 0, 0, 0, 2, 0x68, 0x4B]);
        let config = AvcConfig::parse(&record).unwrap();
        assert_eq!((config.length_size, config.sps.len(), config.pps.len()), (2, 2, 2));
        let coded = [&record[..6], &[0, sps.len() as u8 + 4, 0, 0, 0, 1], &sps, &record[6 + 2 + sps.len()..]].concat();
        assert_eq!(AvcConfig::parse(&coded).unwrap(), config, "start codes");
        record[4] = 0xFE;
        assert_eq!(AvcConfig::parse(&record).unwrap(), AvcConfig { length_size: 3, ..config });
    }

    #[test]
    fn what_comes_in_the_place_of_a_record() {
        let config = AvcConfig::parse(&hex(SAMPLES[1].avcc)).unwrap();
        for code in [&[0, 0, 1][..], &[0, 0, 0, 1]] {
            let annexb = [code, &config.sps[0], code, &config.pps[0]].concat();
            assert_eq!(AvcConfig::parse_any(&annexb).unwrap(), config, "{code:?}");
        }
        let empty = AvcConfig { length_size: 4, sps: Vec::new(), pps: Vec::new() };
        assert_eq!(AvcConfig::parse_any(&[]).unwrap(), empty);
        assert_eq!(AvcConfig::parse_any(&[0; 11]).unwrap(), empty);
        assert_eq!(AvcConfig::parse_any(&hex("0142c01effe000")).unwrap(), empty);
        assert_eq!(AvcConfig::parse_any(&hex(SAMPLES[1].avcc)).unwrap(), config);
        assert!(AvcConfig::parse_any(&[0, 0, 1, 0x67, 0x42]).is_err());
        assert!(AvcConfig::parse_any(&[2, 0x42, 0xC0]).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        let good = SAMPLES[0].avcc;
        let table = [
            ("", "it ends too early"),
            ("00640028ffe1", "its version is not 1"),
            (&good[..40], "a parameter set overruns it"),
            (&good[..13], "it ends within a parameter set's length"),
            (&good[..70], "it ends before the picture parameter sets"),
            ("01640028ffe1000268eb", "a parameter set is a NAL unit of another type"),
        ];
        for (text, why) in table {
            let even = &text[..text.len() & !1];
            match AvcConfig::parse(&hex(even)) {
                Err(FormatError::Malformed { why: got, .. }) => assert_eq!(got, why, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(write_avc_config(&[], &[]).is_err());
        let config = AvcConfig::parse(&hex(good)).unwrap();
        let many = write_avc_config(&vec![config.sps[0].clone(); 32], &vec![config.pps[0].clone(); 256]).unwrap();
        let read = AvcConfig::parse(&many).unwrap();
        assert_eq!((read.sps.len(), read.pps.len()), (31, 255));
    }

    proptest! {
        #[test]
        fn never_panics(mut data in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Some(first) = data.first_mut() {
                *first = 1;
            }
            let _ = AvcConfig::parse(&data);
        }
    }
}
