//! What GStreamer and CMAF call a format.

use gstreamer as gst;

use crate::cmaf::TrackInit;
use crate::codec::{Codec, Format, FormatError, h264};

/// Samples of an AAC frame at the output rate: 2048 with spectral band replication, else 1024 or 960.
pub fn aac_frame_samples(config: &[u8]) -> u32 {
    let object = config.first().map_or(2, |byte| byte >> 3);
    // frameLengthFlag follows audioObjectType (5 bits), samplingFrequencyIndex (4, not escaped) and channelConfiguration (4).
    let short = config.get(1).is_some_and(|byte| byte & 0x04 != 0);
    match object {
        5 | 29 => 2048,
        _ if short => 960,
        _ => 1024,
    }
}

/// Whether plain AAC-LC silence fits into the stream.
pub fn is_aac_lc(config: &[u8]) -> bool {
    config.first().is_some_and(|byte| byte >> 3 == 2) && aac_frame_samples(config) == 1024
}

/// Samples (48 kHz) of an Opus packet, RFC 6716 section 3.1.
pub fn opus_samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        config @ 0..12 => [480, 960, 1920, 2880][usize::from(config & 3)],
        config @ 12..16 => [480, 960][usize::from(config & 1)],
        config => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3F),
    };
    let samples = frame * frames;
    // At most 120 ms (section 3.2.5).
    (1..=5760).contains(&samples).then_some(samples)
}

/// The caps of an appsrc. An error where the parameter sets are missing or make no sense.
pub fn caps(format: &Format) -> Result<gst::Caps, FormatError> {
    Ok(match format {
        Format::H264 { sps, pps } => {
            let config = h264::write_avc_config(sps, pps)?;
            let info = h264::parse_sps(sps.first().map_or(&[], |sps| sps))?;
            gst::Caps::builder("video/x-h264")
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
pub fn track_init(format: &Format, track: u32, epoch: u32) -> TrackInit {
    let (codec_string, resolution, audio) = match format {
        Format::H264 { sps, .. } => {
            let info = sps.first().and_then(|sps| h264::parse_sps(sps).ok());
            (h264::codec_string(sps), info.map(|info| (info.width, info.height)), None)
        }
        Format::Vp8 => ("vp8".to_owned(), None, None),
        Format::Aac { config, sample_rate, channels } => {
            let object = config.first().map_or(2, |byte| byte >> 3);
            (format!("mp4a.40.{object}"), None, Some((*sample_rate, *channels)))
        }
        Format::Opus { channels } => ("opus".to_owned(), None, Some((48_000, *channels))),
    };
    let timescale = format.clock_rate();
    TrackInit { track, epoch, codec: format.codec(), codec_string, timescale, resolution, audio, data: bytes::Bytes::new() }
}

/// The format of an encoder's output.
pub fn format_of(caps: &gst::CapsRef) -> Option<Format> {
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
pub fn unit_duration(format: &Format, data: &[u8]) -> Option<i64> {
    let samples = match format.codec() {
        Codec::H264 | Codec::Vp8 => return Some(0),
        Codec::Aac => match format {
            Format::Aac { config, .. } => aac_frame_samples(config),
            _ => 1024,
        },
        Codec::Opus => opus_samples(data)?,
    };
    Some(i64::from(samples) * 1_000_000_000 / i64::from(format.clock_rate().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opus_durations() {
        // TOC bytes: SILK 20 ms, hybrid 10 ms, CELT 2.5 ms, CELT 20 ms twice, three of 20 ms.
        for (packet, samples) in
            [(&[1 << 3][..], 960), (&[12 << 3], 480), (&[16 << 3], 120), (&[(31 << 3) | 1], 1920), (&[(31 << 3) | 3, 3], 2880)]
        {
            assert_eq!(opus_samples(packet), Some(samples));
        }
        assert_eq!(opus_samples(&[]), None);
        assert_eq!(opus_samples(&[(31 << 3) | 3, 63]), None);
    }

    #[test]
    fn aac_frame_lengths() {
        assert_eq!(aac_frame_samples(&[0x11, 0x90]), 1024);
        assert_eq!(aac_frame_samples(&[0x11, 0x94]), 960);
        assert_eq!(aac_frame_samples(&[0x2B, 0x92, 0x08, 0x00]), 2048);
        assert!(is_aac_lc(&[0x11, 0x90]) && !is_aac_lc(&[0x2B, 0x92]));
    }
}
