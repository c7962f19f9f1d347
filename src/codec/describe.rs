//! What a format says of its pictures and sound, in the words of players and of SDP. Asks the codec's folder.

use super::format::Format;
use super::{aac, h264, opus, vp8};

impl Format {
    /// RFC 6381 string for `codecs` parameters and MSE: `avc1.64001f`, `mp4a.40.2`, `opus`, `vp08.00.10.08`.
    pub fn codec_string(&self) -> String {
        match self {
            Format::H264 { sps, .. } => h264::codec_string(sps),
            Format::Vp8 => vp8::CODEC_STRING.to_owned(),
            Format::Aac { config, .. } => {
                aac::AacConfig::parse(config).map_or_else(|_| "mp4a.40.2".to_owned(), |config| config.codec_string())
            }
            Format::Opus { .. } => "opus".to_owned(),
        }
    }

    /// Width and height in pixels as shown (cropped), where the format tells it: H.264 with an SPS. VP8 tells it in its key frames
    /// ([`vp8::frame_info`]).
    pub fn resolution(&self) -> Option<(u32, u32)> {
        match self {
            Format::H264 { sps, .. } => h264::parse_sps(sps.first()?).ok().map(|info| (info.width, info.height)),
            Format::Vp8 | Format::Aac { .. } | Format::Opus { .. } => None,
        }
    }

    /// What browsers' decoders don't have of it, in words: H.264 with other chroma than 4:2:0, more than 8 bits, or a rare profile.
    pub fn unusual(&self) -> Option<&'static str> {
        match self {
            Format::H264 { sps, .. } => h264::parse_sps(sps.first()?).ok()?.unusual(),
            Format::Vp8 | Format::Aac { .. } | Format::Opus { .. } => None,
        }
    }

    /// Whether pictures may come in another order than they are shown in (B-frames): true for H.264 unless its SPS excludes it.
    pub fn may_reorder(&self) -> bool {
        match self {
            Format::H264 { sps, .. } => h264::may_reorder(sps),
            Format::Vp8 | Format::Aac { .. } | Format::Opus { .. } => false,
        }
    }

    /// The parameters of `a=fmtp` and of ORTC's codec, name and value. H.264's parameter sets are not among them: they go in band.
    pub fn rtp_fmtp(&self) -> Vec<(&'static str, String)> {
        match self {
            Format::H264 { sps, .. } => vec![
                ("level-asymmetry-allowed", "1".to_owned()),
                ("packetization-mode", "1".to_owned()),
                ("profile-level-id", h264::profile_level_id(sps)),
            ],
            Format::Vp8 => Vec::new(),
            Format::Aac { config, .. } => aac::rtp_fmtp(config),
            Format::Opus { channels } => opus::rtp_fmtp(*channels),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn facts_of_formats() {
        let sps = vec![Bytes::from_static(&[
            0x67, 0x64, 0, 0x1f, 0xac, 0xb2, 0, 0xa0, 0x0b, 0x76, 2, 0x20, 0, 0, 3, 0, 0x20, 0, 0, 7, 0x91, 0xe3, 6, 0x49,
        ])];
        let h264 = Format::H264 { sps, pps: Vec::new() };
        assert_eq!((h264.codec_string().as_str(), h264.resolution(), h264.may_reorder()), ("avc1.64001f", Some((1280, 720)), false));
        assert!(h264.rtp_fmtp().contains(&("profile-level-id", "64001f".to_owned())));
        let Format::H264 { sps, .. } = &h264 else { unreachable!() };
        assert!(h264.is_coded_like(&Format::H264 { sps: sps.clone(), pps: vec![Bytes::from_static(&[0x68])] }));
        let unknown = Format::H264 { sps: Vec::new(), pps: Vec::new() };
        assert_eq!((unknown.codec_string().as_str(), unknown.resolution(), unknown.may_reorder()), ("avc1.42e01f", None, false));
        assert!(!h264.is_coded_like(&unknown) && !h264.is_coded_like(&Format::Vp8) && Format::Vp8.is_coded_like(&Format::Vp8));
        assert_eq!(Format::Vp8.codec_string(), "vp08.00.10.08");
        let aac = aac::AacConfig::format(Bytes::from_static(&[0x11, 0x90])).unwrap();
        assert_eq!((aac.codec_string().as_str(), aac.clock_rate()), ("mp4a.40.2", 48_000));
        assert!(aac.rtp_fmtp().contains(&("config", "1190".to_owned())));
        let opus = Format::Opus { channels: 2 };
        assert_eq!(opus.codec_string(), "opus");
        assert!(opus.rtp_fmtp().contains(&("stereo", "1".to_owned())));
    }
}
