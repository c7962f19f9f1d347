//! What GStreamer and CMAF call a format.

use gstreamer as gst;

use crate::cmaf::TrackInit;
use crate::codec::aac::AacConfig;
use crate::codec::{Codec, Format, FormatError, h264, opus};

/// The format with what can be filled in: a derived AAC track whose encoder has not spoken yet is plain AAC-LC.
pub(crate) fn completed(format: Format) -> Format {
    match format {
        Format::Aac { config, sample_rate, channels } if config.is_empty() => {
            Format::Aac { config: AacConfig::lc(sample_rate, channels).unwrap_or_default(), sample_rate, channels }
        }
        format => format,
    }
}

/// The caps of an appsrc. An error where the parameter sets are missing or make no sense.
pub(crate) fn caps(format: &Format) -> Result<gst::Caps, FormatError> {
    Ok(match format {
        Format::H264 { sps, pps } => {
            let config = h264::write_avc_config(sps, pps)?;
            let info = h264::parse_sps(sps.first().map_or(&[], |sps| sps))?;
            let (x, y) = info.sar.unwrap_or((1, 1));
            gst::Caps::builder("video/x-h264")
                .field("pixel-aspect-ratio", gst::Fraction::new(x as i32, y as i32))
                .field("stream-format", "avc")
                .field("alignment", "au")
                .field("parsed", true)
                .field("width", info.width as i32)
                .field("height", info.height as i32)
                .field("codec_data", gst::Buffer::from_slice(config))
                .build()
        }
        Format::Vp8 => gst::Caps::builder("video/x-vp8").build(),
        Format::Aac { config, sample_rate, channels } => gst::Caps::builder("audio/mpeg")
            .field("mpegversion", 4)
            .field("stream-format", "raw")
            .field("framed", true)
            .field("rate", *sample_rate as i32)
            .field("channels", i32::from(*channels))
            .field("codec_data", gst::Buffer::from_slice(config.clone()))
            .build(),
        Format::Opus { channels } => gst::Caps::builder("audio/x-opus")
            .field("channel-mapping-family", 0)
            .field("rate", 48_000)
            .field("channels", i32::from(*channels))
            .build(),
    })
}

/// What a track's initialization says beside its bytes.
pub(crate) fn track_init(format: &Format, track: u32, epoch: u32) -> TrackInit {
    let (codec_string, resolution, audio) = match format {
        Format::H264 { sps, .. } => {
            let info = sps.first().and_then(|sps| h264::parse_sps(sps).ok());
            (h264::codec_string(sps), info.map(|info| (info.width, info.height)), None)
        }
        Format::Vp8 => ("vp8".to_owned(), None, None),
        Format::Aac { config, sample_rate, channels } => {
            let codec_string = AacConfig::parse(config).map_or_else(|_| "mp4a.40.2".to_owned(), |config| config.codec_string());
            (codec_string, None, Some((*sample_rate, *channels)))
        }
        Format::Opus { channels } => ("opus".to_owned(), None, Some((48_000, *channels))),
    };
    let timescale = format.clock_rate();
    TrackInit { track, epoch, codec: format.codec(), codec_string, timescale, resolution, audio, data: bytes::Bytes::new() }
}

/// The format of an encoder's output.
pub(crate) fn format_of(caps: &gst::CapsRef) -> Option<Format> {
    let structure = caps.structure(0)?;
    let codec_data = || {
        let buffer = structure.get::<gst::Buffer>("codec_data").ok()?;
        let map = buffer.map_readable().ok()?;
        Some(bytes::Bytes::copy_from_slice(&map))
    };
    let channels = structure.get::<i32>("channels").unwrap_or(2).clamp(1, 8) as u8;
    match structure.name().as_str() {
        "video/x-h264" => Some(h264::AvcConfig::parse(&codec_data()?).ok()?.into_format()),
        "video/x-vp8" => Some(Format::Vp8),
        "audio/mpeg" => {
            let sample_rate = structure.get::<i32>("rate").ok()? as u32;
            Some(Format::Aac { config: codec_data()?, sample_rate, channels })
        }
        "audio/x-opus" => Some(Format::Opus { channels }),
        _ => None,
    }
}

/// How long a unit of audio lasts, in ns. 0 for video, `None` for garbage.
pub(crate) fn unit_duration(format: &Format, data: &[u8]) -> Option<i64> {
    let samples = match format.codec() {
        Codec::H264 | Codec::Vp8 => return Some(0),
        Codec::Aac => match format {
            Format::Aac { config, .. } => AacConfig::parse(config).map_or(1024, |config| config.frame_duration()),
            _ => 1024,
        },
        Codec::Opus => opus::packet_duration(data)?,
    };
    Some(i64::from(samples) * 1_000_000_000 / i64::from(format.clock_rate().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_units() {
        let aac = completed(Format::Aac { config: bytes::Bytes::new(), sample_rate: 48_000, channels: 2 });
        assert!(matches!(&aac, Format::Aac { config, .. } if config[..] == [0x11, 0x90]));
        assert_eq!(unit_duration(&aac, &[1]), Some(21_333_333));
        assert_eq!(unit_duration(&Format::Opus { channels: 2 }, &[0xFC]), Some(20_000_000));
        assert_eq!(unit_duration(&Format::Opus { channels: 2 }, &[]), None);
        assert_eq!(unit_duration(&Format::Vp8, &[]), Some(0));
    }
}
