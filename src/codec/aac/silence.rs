//! A frame in which nothing is heard: for the gaps in a track.

use bytes::Bytes;

use super::AacConfig;
use crate::codec::bits::BitWriter;

/// Syntactic elements of a frame (ISO/IEC 14496-3 table 4.85).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Single = 0,
    Pair = 1,
    Low = 3,
}

/// `ID_END`.
const END: u32 = 7;

/// The elements of a frame by `channelConfiguration` (section 1.6.3.5). `None` for 0, where the configuration lists them, and for what no
/// decoder at hand takes.
fn elements(channel_config: u8) -> Option<&'static [Element]> {
    use Element::{Low, Pair, Single};
    Some(match channel_config {
        1 => &[Single],
        2 => &[Pair],
        3 => &[Single, Pair],
        4 => &[Single, Pair, Single],
        5 => &[Single, Pair, Pair],
        6 => &[Single, Pair, Pair, Low],
        7 | 12 => &[Single, Pair, Pair, Pair, Low],
        11 => &[Single, Pair, Pair, Single, Low],
        _ => return None,
    })
}

/// A `raw_data_block` (section 4.4.2.1) with no scale factor band in any channel. HE-AAC's decoders make silence of the whole band out of it,
/// as of any frame that comes without its extension. `None` where the configuration leaves open what a frame consists of.
pub(crate) fn silence(config: &AacConfig) -> Option<Bytes> {
    let mut out = BitWriter::default();
    let mut tags = [0; 4];
    for element in elements(config.channel_config)? {
        out.put(*element as u32, 3);
        let tag = &mut tags[*element as usize];
        out.put(*tag, 4);
        *tag += 1;
        // ics_info: one long window, of which no band is coded.
        let ics_info = |out: &mut BitWriter| out.put(0, 11);
        // global_gain before it, no pulses, no temporal noise shaping, no gain control behind it.
        if *element == Element::Pair {
            out.put(1, 1); // common_window
            ics_info(&mut out);
            out.put(0, 2); // ms_mask_present
            out.put(0, 2 * (8 + 3));
        } else {
            out.put(0, 8);
            ics_info(&mut out);
            out.put(0, 3);
        }
    }
    out.put(END, 3);
    Some(out.finish().into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// Explicit SBR, or parametric stereo (`object_type` 29), of 24 kHz.
    fn he(object_type: u32, channel_config: u32) -> Vec<u8> {
        let mut out = BitWriter::default();
        for (value, bits) in [(object_type, 5), (6, 4), (channel_config, 4), (3, 4), (2, 5), (0, 3)] {
            out.put(value, bits);
        }
        out.finish()
    }

    /// An FLV file: what decoders get as it is, configuration and all.
    fn flv(config: &[u8], frame: &[u8], count: u32) -> Vec<u8> {
        let mut out = b"FLV\x01\x04\0\0\0\x09\0\0\0\0".to_vec();
        let mut tag = |ms: u32, kind: u8, data: &[u8]| {
            let len = data.len() as u32 + 2;
            out.push(8);
            out.extend(&len.to_be_bytes()[1..]);
            out.extend(&ms.to_be_bytes()[1..]);
            out.extend([0; 4]);
            out.extend([0xAF, kind]);
            out.extend(data);
            out.extend((len + 11).to_be_bytes());
        };
        tag(0, 0, config);
        (0..count).for_each(|n| tag(n * 43, 1, frame));
        out
    }

    #[test]
    fn every_layout_decodes_to_silence() {
        let lc = |channels: u32, short: u32| ((2 << 11) | (3 << 7) | (channels << 3) | (short << 2)).to_be_bytes()[2..].to_vec();
        let layouts = [1, 2, 3, 4, 5, 6, 7, 11, 12];
        let mut configs: Vec<Vec<u8>> = layouts.iter().map(|channels| lc(*channels, 0)).collect();
        configs.extend([lc(2, 1), he(5, 1), he(5, 2), he(5, 6), he(29, 1)]);
        for config in configs {
            let parsed = AacConfig::parse(&config).unwrap();
            let input = flv(&config, &silence(&parsed).unwrap(), 20);
            let mut ffmpeg = Command::new("ffmpeg")
                .args(["-v", "warning", "-f", "flv", "-i", "-", "-f", "s16le", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            ffmpeg.stdin.take().unwrap().write_all(&input).unwrap();
            let out = ffmpeg.wait_with_output().unwrap();
            assert_eq!(String::from_utf8_lossy(&out.stderr), "", "{parsed:?}");
            let samples = 20 * parsed.frame_duration() as usize * usize::from(parsed.channels);
            // A mono core with SBR may be parametric stereo, and decoders put it out as that.
            let stereo = parsed.sbr && parsed.channel_config == 1 && out.stdout.len() == 2 * 20 * parsed.frame_duration() as usize * 2;
            assert!(out.stdout.len() == 2 * samples || stereo, "{parsed:?} {}", out.stdout.len());
            assert!(out.stdout.iter().all(|byte| *byte == 0), "{parsed:?}");
        }
    }

    #[test]
    fn layouts_that_are_not_known_have_none() {
        let config = AacConfig::parse(&[0x11, 0x90]).unwrap();
        for channel_config in [0, 8, 13, 14, 15] {
            assert_eq!(silence(&AacConfig { channel_config, ..config }), None);
        }
    }
}
