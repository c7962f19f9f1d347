//! Raw AAC frames, however an encoder wrapped them: FLV wants them bare, and some send ADTS or LATM all the same.

use bytes::Bytes;

use super::adts::AdtsHeader;
use super::config::AacConfig;
use super::latm::{Latm, loas_elements};

/// What came out of a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unwrapped {
    /// Another configuration than the one known, by the wrapping.
    pub config: Option<Bytes>,
    /// Raw frames, none of them empty.
    pub frames: Vec<Bytes>,
    /// Something was cut off, or can't be taken apart.
    pub damaged: bool,
    /// That is because an ADTS frame holds several raw frames, and doesn't say where they begin.
    pub inseparable: bool,
}

/// Unwraps one publisher's frames.
#[derive(Debug, Default)]
pub struct Unwrapper {
    latm: Latm,
    /// LATM without synchronisation, which looks like anything, was seen to begin.
    bare_latm: bool,
}

impl Unwrapper {
    /// For one publication.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a message's frames. `known` is the configuration so far.
    pub fn unwrap(&mut self, data: &Bytes, known: Option<&AacConfig>) -> Unwrapped {
        if data.is_empty() {
            return Unwrapped::default(); // silence, or nothing to say
        }
        // No raw frame begins like that: its first element would be its end.
        if AdtsHeader::parse(data).is_ok() {
            return adts(data, known);
        }
        if let Some(elements) = loas_elements(data) {
            return self.elements(&elements, known);
        }
        if self.bare_latm || known.is_none() {
            let unwrapped = self.elements(&[data], known);
            self.bare_latm |= unwrapped.config.is_some();
            if self.bare_latm {
                return unwrapped;
            }
        }
        Unwrapped { frames: vec![data.clone()], ..Unwrapped::default() }
    }

    fn elements(&mut self, elements: &[&[u8]], known: Option<&AacConfig>) -> Unwrapped {
        let mut out = Unwrapped::default();
        for element in elements {
            match self.latm.element(element) {
                Ok(read) => {
                    let news = read.config.filter(|config| AacConfig::parse(config).ok().as_ref() != known);
                    out.config = news.or(out.config);
                    out.frames.extend(read.frames);
                }
                Err(_) => out.damaged = true,
            }
        }
        out
    }
}

fn adts(data: &Bytes, known: Option<&AacConfig>) -> Unwrapped {
    let mut out = Unwrapped::default();
    let mut at = 0;
    while at < data.len() {
        let Ok(header) = AdtsHeader::parse(&data[at..]) else {
            out.damaged = true;
            break;
        };
        let end = at + header.frame_len;
        if end > data.len() {
            out.damaged = true;
            break;
        }
        let Some(frames) = header.raw_frames_of(&data[at..end]) else {
            (out.damaged, out.inseparable) = (true, header.raw_frames > 1);
            at = end;
            continue;
        };
        for frame in frames {
            let frame = data.slice(at + frame.start..at + frame.end);
            // ADTS doesn't signal SBR: a configuration that says more stays.
            let same = known.is_some_and(|known| {
                (known.object_type, known.core_sample_rate, known.channel_config)
                    == (header.object_type, header.sample_rate, header.channel_config)
            });
            if !same
                && out.config.is_none()
                && let Some(config) = header.config(&frame)
            {
                out.config = Some(config.into());
            }
            if !frame.is_empty() {
                out.frames.push(frame);
            }
        }
        at = end;
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::adts::adts_header;
    use super::*;

    const STEREO: &[u8] = &[0x12, 0x10];

    fn parsed(config: &[u8]) -> AacConfig {
        AacConfig::parse(config).unwrap()
    }

    fn wrapped(config: &[u8], frames: &[&[u8]]) -> Bytes {
        let config = parsed(config);
        frames.iter().flat_map(|frame| [&adts_header(&config, frame.len()).unwrap()[..], frame].concat()).collect()
    }

    fn frames(frames: &[&[u8]]) -> Vec<Bytes> {
        frames.iter().map(|frame| Bytes::copy_from_slice(frame)).collect()
    }

    #[test]
    fn wrappings() {
        let he: &[u8] = &[0x2B, 0x92, 0x08, 0x00];
        let stereo = || Some(Bytes::from_static(STEREO));
        let checked = {
            let mut bytes = wrapped(STEREO, &[b"abcd"]).to_vec();
            bytes[1] &= 0xFE; // two of the four are a checksum
            Bytes::from(bytes)
        };
        let several = {
            let mut bytes = wrapped(STEREO, &[b"abcd"]).to_vec();
            bytes[6] |= 1;
            Bytes::from([&bytes[..], &wrapped(STEREO, &[b"ef"])].concat())
        };
        let cut = wrapped(STEREO, &[b"ab", b"cdef"]);
        let (cut, adts) = (cut.slice(..cut.len() - 1), |frames: &[&[u8]]| wrapped(STEREO, frames));
        type Row<'a> = (&'a str, Bytes, Option<&'a [u8]>, Option<Bytes>, Vec<Bytes>, bool);
        let table: Vec<Row<'_>> = vec![
            ("bare", Bytes::from_static(b"!ab"), Some(STEREO), None, frames(&[b"!ab"]), false),
            ("empty", Bytes::new(), Some(STEREO), None, vec![], false),
            ("ADTS, nothing known", adts(&[b"ab"]), None, stereo(), frames(&[b"ab"]), false),
            ("ADTS, several", adts(&[b"ab", b"c"]), Some(STEREO), None, frames(&[b"ab", b"c"]), false),
            ("ADTS with a checksum", checked, Some(STEREO), None, frames(&[b"cd"]), false),
            ("ADTS of another rate", adts(&[b"ab"]), Some(&[0x11, 0x90]), stereo(), frames(&[b"ab"]), false),
            ("ADTS of HE-AAC", wrapped(he, &[b"ab"]), Some(he), None, frames(&[b"ab"]), false),
            ("ADTS, cut off", cut, Some(STEREO), None, frames(&[b"ab"]), true),
            ("ADTS, then something else", [&adts(&[b"ab"])[..], b"??"].concat().into(), Some(STEREO), None, frames(&[b"ab"]), true),
            ("ADTS with several raw frames", several, Some(STEREO), None, frames(&[b"ef"]), true),
            ("the same with a table", tabled(&[b"abcd", b"ef", b"ghi"]), Some(STEREO), None, frames(&[b"abcd", b"ef", b"ghi"]), false),
            ("the same, nothing known", tabled(&[b"abcd", b"ef"]), None, stereo(), frames(&[b"abcd", b"ef"]), false),
        ];
        for (name, data, known, config, frames, damaged) in table {
            let got = Unwrapper::new().unwrap(&data, known.map(parsed).as_ref());
            let inseparable = name == "ADTS with several raw frames";
            assert_eq!(got, Unwrapped { config, frames, damaged, inseparable }, "{name}");
        }
    }

    /// An ADTS frame of several raw frames with checksums (section 1.A.2.2.2): where each but the first begins, counted from the first, stands
    /// behind the header.
    fn tabled(frames: &[&[u8]]) -> Bytes {
        let (mut table, mut body) = (Vec::new(), Vec::new());
        for frame in frames {
            if !body.is_empty() {
                table.extend((body.len() as u16).to_be_bytes());
            }
            body.extend_from_slice(frame);
            body.extend([0xCC, 0xCC]);
        }
        let len = 7 + table.len() + 2 + body.len();
        let mut head = adts_header(&parsed(STEREO), len - 7).unwrap();
        head[1] &= 0xFE;
        head[6] |= frames.len() as u8 - 1;
        [&head[..], &table, &[0xCC, 0xCC], &body].concat().into()
    }

    #[test]
    fn a_table_that_makes_no_sense_is_none() {
        for (at, position) in [(7, 0u16), (7, 3), (7, 900), (9, 6), (9, 2)] {
            let mut data = tabled(&[b"abcd", b"ef", b"ghi"]).to_vec();
            data[at..at + 2].copy_from_slice(&position.to_be_bytes());
            let got = Unwrapper::new().unwrap(&data.into(), Some(&parsed(STEREO)));
            let bounded: usize = got.frames.iter().map(|frame| frame.len()).sum();
            assert!(got.inseparable || bounded <= 9, "{at} {position}: {got:?}");
        }
    }

    #[test]
    fn channels_of_a_program_config_element() {
        // ADTS without a channel configuration; the frame begins with the element: 2.1 at 44.1 kHz.
        let bits = "101" /* ID_PCE */
            .to_owned()
            + "0000010100"
            + "00010000000001"
            + "0000000000"
            + "10000"
            + "0000";
        let padded = format!("{bits:0<48}") + "00000001" + "01000001" /* a comment of one byte */;
        let frame: Vec<u8> = padded.as_bytes().chunks(8).map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 2).unwrap()).collect();
        let mut data = wrapped(STEREO, &[&frame]).to_vec();
        data[2] &= 0xFE;
        data[3] &= 0x3F;
        let got = Unwrapper::new().unwrap(&data.into(), None);
        let config = parsed(&got.config.unwrap());
        assert_eq!((config.channels, config.channel_config, config.sample_rate), (3, 0, 44_100));
    }

    proptest! {
        #[test]
        fn garbage_is_bounded(mut data in prop::collection::vec(any::<u8>(), 0..80), start in 0usize..4, known in any::<bool>()) {
            data.splice(0..0, [&[][..], &[0xFF, 0xF1, 0x50, 0x80], &[0x56, 0xE0, 0x08], &[0x40]][start].iter().copied());
            let known = known.then(|| parsed(STEREO));
            let got = Unwrapper::new().unwrap(&Bytes::from(data.clone()), known.as_ref());
            prop_assert!(got.frames.iter().map(|frame| frame.len()).sum::<usize>() <= data.len());
            prop_assert!(got.frames.iter().all(|frame| !frame.is_empty()));
        }
    }
}
