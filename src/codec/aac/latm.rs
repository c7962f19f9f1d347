//! LATM, AAC's transport inside MPEG-TS and from some hardware encoders, and its synchronisation layer LOAS (ISO/IEC 14496-3 section 1.7).
//!
//! In: `AudioSyncStream` or `AudioMuxElement` bytes. Out: raw AAC frames, and the AudioSpecificConfig when it comes.

use bytes::Bytes;

use super::config::AacConfig;
use crate::codec::FormatError;
use crate::codec::bits::{BitReader, BitWriter};

/// Longest configuration inside LATM: with a program config element and its comment.
const MAX_CONFIG: usize = 300;
const LOAS_HEADER: usize = 3;

/// What came out of an element.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LatmFrames {
    /// The configuration, where the element had it.
    pub config: Option<Bytes>,
    pub frames: Vec<Bytes>,
}

/// What `StreamMuxConfig` said.
#[derive(Debug, Clone)]
struct Mux {
    sub_frames: u32,
    /// Frames of the same length, in bits; else each has a length of its own.
    fixed: Option<usize>,
}

/// Reads one stream.
#[derive(Debug, Default)]
pub(crate) struct Latm {
    mux: Option<Mux>,
}

fn malformed(why: &'static str) -> FormatError {
    FormatError::Malformed { what: "LATM", why }
}

fn unsupported(why: &'static str) -> FormatError {
    FormatError::Unsupported { what: "LATM", why }
}

/// The elements of LOAS data, if nothing else is in it.
pub(crate) fn loas_elements(data: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut rest, mut elements) = (data, Vec::new());
    while !rest.is_empty() {
        let header = rest.first_chunk::<LOAS_HEADER>()?;
        if header[0] != 0x56 || header[1] & 0xE0 != 0xE0 {
            return None;
        }
        let len = usize::from(header[1] & 0x1F) << 8 | usize::from(header[2]);
        let (element, after) = rest[LOAS_HEADER..].split_at_checked(len)?;
        elements.push(element);
        rest = after;
    }
    (!elements.is_empty()).then_some(elements)
}

impl Latm {
    /// Reads an `AudioMuxElement` with `muxConfigPresent`.
    ///
    /// # Errors
    /// It ends too early, uses a configuration that has not come, or has several programs or layers.
    pub(crate) fn element(&mut self, data: &[u8]) -> Result<LatmFrames, FormatError> {
        let short = || malformed("it ends too early");
        let mut reader = BitReader::new(data);
        let mut out = LatmFrames::default();
        if !reader.flag().ok_or_else(short)? {
            let (mux, config) = read_mux(data, &mut reader)?;
            self.mux = Some(mux);
            out.config = Some(config);
        }
        let mux = self.mux.as_ref().ok_or(malformed("its configuration has not come yet"))?;
        for _ in 0..=mux.sub_frames {
            let bits = match mux.fixed {
                Some(bits) => bits,
                None => read_length(&mut reader).ok_or_else(short)? * 8,
            };
            if bits > reader.left() {
                return Err(short());
            }
            let mut frame = BitWriter::default();
            frame.copy(&mut reader, bits).ok_or_else(short)?;
            if bits > 0 {
                out.frames.push(frame.finish().into());
            }
        }
        Ok(out)
    }
}

/// `PayloadLengthInfo`.
fn read_length(reader: &mut BitReader<'_>) -> Option<usize> {
    let mut len = 0;
    loop {
        let byte = reader.bits(8)?;
        len += byte as usize;
        if byte != 255 {
            return Some(len);
        }
    }
}

/// `LatmGetValue`.
fn read_value(reader: &mut BitReader<'_>) -> Option<u32> {
    let bytes = reader.bits(2)?;
    reader.bits(8 * (bytes + 1))
}

/// `StreamMuxConfig`.
fn read_mux(data: &[u8], reader: &mut BitReader<'_>) -> Result<(Mux, Bytes), FormatError> {
    let short = || malformed("it ends too early");
    let version_1 = reader.flag().ok_or_else(short)?;
    if version_1 {
        if reader.flag().ok_or_else(short)? {
            return Err(unsupported("audioMuxVersionA is reserved"));
        }
        read_value(reader).ok_or_else(short)?; // taraBufferFullness
    }
    let same_time = reader.flag().ok_or_else(short)?;
    let sub_frames = reader.bits(6).ok_or_else(short)?;
    let (programs, layers) = (reader.bits(4).ok_or_else(short)?, reader.bits(3).ok_or_else(short)?);
    if !same_time || programs > 0 || layers > 0 {
        return Err(unsupported("it has several programs or layers; send one AAC stream"));
    }
    let config = if version_1 {
        let bits = read_value(reader).ok_or_else(short)? as usize;
        if bits > reader.left().min(MAX_CONFIG * 8) {
            return Err(malformed("its configuration is longer than any sensible one"));
        }
        let mut config = BitWriter::default();
        config.copy(reader, bits).ok_or_else(short)?;
        let config = config.finish();
        AacConfig::parse(&config)?;
        config
    } else {
        read_config(data, reader)?
    };
    let fixed = match reader.bits(3).ok_or_else(short)? {
        0 => {
            reader.skip(8).ok_or_else(short)?; // latmBufferFullness
            None
        }
        1 => Some((reader.bits(9).ok_or_else(short)? as usize + 20) * 8),
        _ => return Err(unsupported("its frames are no AAC frames")),
    };
    if reader.flag().ok_or_else(short)? {
        // otherDataPresent: how much of it follows the frames, where nobody reads it.
        if version_1 {
            read_value(reader).ok_or_else(short)?;
        } else {
            while reader.flag().ok_or_else(short)? {
                reader.skip(8).ok_or_else(short)?;
            }
            reader.skip(8).ok_or_else(short)?;
        }
    }
    if reader.flag().ok_or_else(short)? {
        reader.skip(8).ok_or_else(short)?; // crcCheckSum
    }
    Ok((Mux { sub_frames, fixed }, config.into()))
}

/// An AudioSpecificConfig whose length nobody says, from where `reader` stands.
fn read_config(data: &[u8], reader: &mut BitReader<'_>) -> Result<Vec<u8>, FormatError> {
    // It has to begin at a whole byte to be read: alignment within it counts from its start.
    let mut shifted = BitWriter::default();
    let bits = reader.left().min(MAX_CONFIG * 8);
    shifted.copy(&mut BitReader::at(data, reader.position()), bits);
    let shifted = shifted.finish();
    let mut inner = BitReader::new(&shifted);
    AacConfig::read(&mut inner, false)?;
    let used = inner.position();
    let mut config = BitWriter::default();
    config.copy(reader, used).ok_or(malformed("it ends too early"))?;
    Ok(config.finish())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An element with a configuration in front (`version` 0 or 1) or not, and frames.
    pub(in crate::codec::aac) fn element(config: Option<(u32, &[u8], u32)>, sub_frames: u32, frames: &[&[u8]]) -> Vec<u8> {
        let mut out = BitWriter::default();
        match config {
            None => out.put(1, 1),
            Some((version, config, bits)) => {
                out.put(0, 1);
                out.put(version, 1);
                if version == 1 {
                    out.put(0, 1);
                    out.put(0xFF, 10); // one byte
                }
                out.put(1, 1);
                out.put(sub_frames, 6);
                out.put(0, 7);
                if version == 1 {
                    out.put(bits, 10);
                }
                out.copy(&mut BitReader::new(config), bits as usize).unwrap();
                out.put(0, 3);
                out.put(0xFF, 8);
                out.put(0, 2);
            }
        }
        for frame in frames {
            let mut len = frame.len();
            while len >= 255 {
                out.put(255, 8);
                len -= 255;
            }
            out.put(len as u32, 8);
            out.copy(&mut BitReader::new(frame), frame.len() * 8).unwrap();
        }
        out.finish()
    }

    #[test]
    fn elements() {
        let long = [0x21; 600];
        let lc: &[u8] = &[0x12, 0x10];
        let he: &[u8] = &[0x2B, 0x11, 0x88, 0x00]; // explicit SBR: 25 bits
        for (config, bits, version) in [(lc, 16, 0), (lc, 16, 1), (he, 25, 0), (he, 25, 1)] {
            let mut latm = Latm::default();
            assert!(latm.element(&element(None, 0, &[b"xy"])).is_err(), "no configuration yet");
            let first = latm.element(&element(Some((version, config, bits)), 1, &[b"xy", &long])).unwrap();
            assert_eq!(first.frames, [&b"xy"[..], &long].map(Bytes::copy_from_slice));
            assert_eq!(AacConfig::parse(&first.config.unwrap()).unwrap(), AacConfig::parse(config).unwrap());
            let second = latm.element(&element(None, 0, &[b"z", b"q"])).unwrap();
            assert_eq!(second, LatmFrames { config: None, frames: vec![Bytes::from_static(b"z"), Bytes::from_static(b"q")] });
            assert!(latm.element(&element(None, 0, &[b"z"])).is_err(), "a frame is missing");
        }
    }

    #[test]
    fn synchronisation() {
        let loas = |elements: &[&[u8]]| -> Vec<u8> {
            elements.iter().flat_map(|e| [&[0x56, 0xE0 | (e.len() >> 8) as u8, e.len() as u8][..], e].concat()).collect()
        };
        assert_eq!(loas_elements(&loas(&[b"ab", b"c"])), Some(vec![&b"ab"[..], b"c"]));
        for damaged in [&b""[..], b"ab", b"\x56\xE0", b"\x56\xE0\x09a", &[&loas(&[b"ab"])[..], b"x"].concat()] {
            assert_eq!(loas_elements(damaged), None, "{damaged:x?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_bounded(elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..5), fixed in any::<bool>()) {
            let mut latm = Latm::default();
            if fixed {
                let _ = latm.element(&element(Some((0, &[0x12, 0x10], 16)), 0, &[b"x"]));
            }
            for data in elements {
                let _ = loas_elements(&data);
                if let Ok(out) = latm.element(&data) {
                    prop_assert!(out.frames.iter().map(|frame| frame.len()).sum::<usize>() <= data.len());
                }
            }
        }
    }
}
