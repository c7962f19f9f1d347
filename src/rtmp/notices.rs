//! Warnings to a publisher about what it sends: what viewers will notice, and which setting changes it.
//!
//! In: facts of the bitstream. Out: warnings.

use crate::codec::aac::AacConfig;
use crate::codec::h264::{Notice, SpsInfo};
use crate::stream::Warning;

pub(super) fn of_sps(info: &SpsInfo) -> Vec<Warning> {
    let mut told = Vec::new();
    if info.interlaced {
        let text = "The video is interlaced: browsers show both fields at once, with combs where something moves. Send progressive video: \
                    set the encoder or the camera to p instead of i, or deinterlace (in ffmpeg -vf yadif).";
        told.push(Warning { code: "interlaced", message: text.to_owned() });
    }
    if let Some(what) = info.unusual() {
        let text = format!(
            "The video has {what}, which browsers can't decode: viewers get a version that is transcoded to 4:2:0 with 8 bits, which takes \
             a third of a core or more. Set the encoder to high profile, 4:2:0, 8 bits (in OBS: Settings → Advanced → Color Format NV12; in \
             ffmpeg: -pix_fmt yuv420p -profile:v high)."
        );
        told.push(Warning { code: "video_format", message: text });
    }
    told
}

/// What an AudioSpecificConfig shows.
pub(super) fn of_audio(config: &AacConfig) -> Option<Warning> {
    let profile = match config.object_type {
        1 => "Main",
        3 => "SSR",
        4 => "LTP",
        _ => return None,
    };
    let message = format!(
        "The sound is AAC {profile}, which browsers don't play by HLS and DASH. Set the encoder to AAC-LC or HE-AAC (in ffmpeg -profile:a aac_low)."
    );
    Some(Warning { code: "audio_profile", message })
}

/// What the NAL units show.
pub(super) fn of_notice(notice: Notice) -> Warning {
    let (code, message) = match notice {
        Notice::SliceGroups => (
            "slice_groups",
            "The video uses flexible macroblock ordering (FMO), which browsers and nearly all players can't decode. Set the encoder to \
             constrained baseline, main or high profile."
                .to_owned(),
        ),
        Notice::SliceOrder => (
            "slice_order",
            "The slices of the video's pictures come in any order (ASO), or more than once, which browsers and nearly all players can't decode. \
             Set the encoder to constrained baseline, main or high profile."
                .to_owned(),
        ),
        Notice::Partitions => (
            "data_partitioning",
            "The video uses data partitioning (extended profile), which browsers and nearly all players can't decode. Set the encoder to \
             constrained baseline, main or high profile."
                .to_owned(),
        ),
        Notice::Rotated(degrees) => ("rotation", rotated(degrees)),
        Notice::NoParameterSets => (
            "video_header",
            "Pictures come, but no sequence header and no parameter sets (SPS, PPS), so nothing can be decoded. Set the encoder to send them: \
             in ffmpeg -flags +global_header or -bsf:v dump_extra; in GStreamer h264parse config-interval=-1 before flvmux."
                .to_owned(),
        ),
    };
    Warning { code, message }
}

/// Pictures that are to be turned.
pub(super) fn rotated(degrees: u16) -> String {
    format!(
        "The video says that it is to be turned by {degrees}°, which browsers don't do: viewers see it as it was recorded. Turn it before it is \
         encoded: lock the orientation in the app, or begin to stream with the phone held as the picture is to be."
    )
}

/// Sound without a configuration.
pub(super) fn no_audio_header() -> String {
    "Sound comes, but no AAC sequence header (AudioSpecificConfig), so nothing can be decoded. Set the encoder to send it: in ffmpeg \
     -bsf:a aac_adtstoasc; in GStreamer aacparse before flvmux."
        .to_owned()
}

/// A sequence header without sound behind it.
pub(super) fn no_sound() -> String {
    "The encoder announced sound (an AAC sequence header) and sent none for the first seconds, so viewers got pictures alone. Choose an input \
     that is there (in OBS: Settings → Audio, and the mixer), or switch sound off in the encoder."
        .to_owned()
}

/// The stamps run at `rate` of the time that the sound takes; those of the pictures, too, or not.
pub(super) fn clock_rate(rate: f64, pictures: bool) -> String {
    let percent = rate * 100.0;
    let (whose, mended) =
        if pictures { ("The encoder's timestamps", ", for the pictures too") } else { ("The timestamps of the sound", "") };
    format!(
        "{whose} run at {percent:.1} % of the time that its samples take: the clock they come from is wrong. The samples are taken for the \
         clock{mended}. Restart the encoder; where that doesn't help, set its frame rate and the sampling rate of its sound to what camera and \
         microphone deliver."
    )
}

/// Messages that come twice.
pub(super) fn repeated() -> String {
    "The encoder, or a relay before this server, sends pictures and sound twice, with the same times; the second ones are left out. It takes twice \
     the bandwidth for nothing: look for two outputs to the same address, or a relay that retransmits."
        .to_owned()
}

/// Several raw frames in one ADTS frame, of which nobody says where they end.
pub(super) fn inseparable() -> String {
    "The sound comes with several AAC frames in one ADTS frame and no table of where they begin, which can't be taken apart, so it is left out. Set \
     the encoder to one frame per ADTS frame, or to send AAC as FLV wants it (in ffmpeg -bsf:a aac_adtstoasc; in GStreamer aacparse before flvmux)."
        .to_owned()
}

/// A track beyond the first one of its kind. `code`: whether of video or audio.
pub(super) fn another_track(code: &str, id: u8) -> String {
    let (kind, others) = if code == "video_tracks" { ("video", "other qualities") } else { ("audio", "other languages") };
    format!(
        "There are several {kind} tracks; one is carried, and track {id} is left out. Publish {others} as streams of their own, or switch \
         multitrack off in the encoder."
    )
}
