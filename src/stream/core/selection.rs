//! Which form of a track a consumer gets.
//!
//! In: the published track, the codecs that can be played, the rule about B-frames. Out: the track as it is, without its disposable
//! pictures, or what has to be derived from it.

use super::target::TranscodeTarget;
use super::tracks::Track;
use crate::base::MediaKind;
use crate::codec::Codec;
use crate::stream::config::{BFrames, LongGops};

/// Which form of a track somebody needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Wanted<'a> {
    /// Audio or video.
    pub kind: MediaKind,
    /// Codecs that can be played, best first. The published one is preferred whatever its place; otherwise the first that can be derived.
    pub codecs: &'a [Codec],
    /// Pictures must come in the order they are shown in (WebRTC).
    pub in_order: bool,
    /// Who comes in should not wait for long: where key frames are far apart, ones are made.
    pub come_in: bool,
    /// A browser is to decode it: what browsers' decoders don't have ([`Format::unusual`](crate::codec::Format::unusual)) is transcoded.
    pub browsers: bool,
}

/// The form of a track that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Published,
    /// As it is published, without the pictures that no other refers to.
    WithoutDisposable,
    Derived {
        target: TranscodeTarget,
        /// Where it can't be made.
        otherwise: Otherwise,
    },
}

/// What is better than nothing where a track can't be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Otherwise {
    Nothing,
    Published,
    /// The published one without its disposable pictures.
    WithoutDisposable,
}

/// Chooses; `None` where nothing that can be played can be made of it.
pub(super) fn choose(track: &Track, wanted: Wanted<'_>, b_frames: BFrames, long_gops: LongGops) -> Option<Choice> {
    let from = track.format.codec();
    if !wanted.codecs.contains(&from) {
        let target = wanted.codecs.iter().find_map(|codec| TranscodeTarget::between(from, *codec))?;
        return Some(Choice::Derived { target, otherwise: Otherwise::Nothing });
    }
    if wanted.browsers && track.format.unusual().is_some() {
        // The published one would be a black picture.
        return Some(Choice::Derived { target: TranscodeTarget::H264, otherwise: Otherwise::Nothing });
    }
    let reordered = wanted.in_order && track.reordered;
    if wanted.come_in && track.long_gops && long_gops == LongGops::Transcode {
        let otherwise = if reordered { Otherwise::WithoutDisposable } else { Otherwise::Published };
        return Some(Choice::Derived { target: TranscodeTarget::H264, otherwise });
    }
    if !reordered {
        return Some(Choice::Published);
    }
    // Where others refer to reordered pictures, leaving out the disposable ones does not put the rest in order.
    if b_frames == BFrames::Transcode || track.references_reordered {
        return Some(Choice::Derived { target: TranscodeTarget::H264, otherwise: Otherwise::WithoutDisposable });
    }
    Some(Choice::WithoutDisposable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Format;
    use crate::sfu::ProducerId;

    #[test]
    fn forms() {
        use Codec::{Aac, H264, Opus, Vp8};
        let h264 = || Format::H264 { sps: Vec::new(), pps: Vec::new() };
        let opus = || Format::Opus { channels: 2 };
        let aac = || Format::Aac { config: bytes::Bytes::new(), sample_rate: 48_000, channels: 2 };
        let derived = |target| Some(Choice::Derived { target, otherwise: Otherwise::Nothing });
        let mended = Some(Choice::Derived { target: TranscodeTarget::H264, otherwise: Otherwise::WithoutDisposable });
        let (none, plain, pyramid) = ((false, false), (true, false), (true, true));
        let (transcode, drop) = (BFrames::Transcode, BFrames::Drop);
        for (format, (reordered, references_reordered), codecs, in_order, b_frames, choice) in [
            (h264(), none, &[H264][..], true, transcode, Some(Choice::Published)),
            (h264(), none, &[Vp8, H264], true, transcode, Some(Choice::Published)),
            (h264(), none, &[Vp8], true, transcode, None),
            (h264(), none, &[], true, transcode, None),
            // B-frames matter only to those who need pictures in order.
            (h264(), plain, &[H264], false, transcode, Some(Choice::Published)),
            (h264(), pyramid, &[H264], false, drop, Some(Choice::Published)),
            (h264(), plain, &[H264], true, transcode, mended),
            (h264(), plain, &[H264], true, drop, Some(Choice::WithoutDisposable)),
            (h264(), pyramid, &[H264], true, transcode, mended),
            (h264(), pyramid, &[H264], true, drop, mended),
            (Format::Vp8, none, &[H264], false, drop, derived(TranscodeTarget::H264)),
            (Format::Vp8, none, &[H264, Vp8], true, transcode, Some(Choice::Published)),
            (Format::Vp8, none, &[Opus], true, transcode, None),
            (aac(), none, &[Aac], false, transcode, Some(Choice::Published)),
            (aac(), none, &[Opus], true, transcode, derived(TranscodeTarget::Opus)),
            (opus(), none, &[Opus], true, transcode, Some(Choice::Published)),
            (opus(), none, &[Aac], false, transcode, derived(TranscodeTarget::Aac)),
            (opus(), none, &[H264, Aac], false, transcode, derived(TranscodeTarget::Aac)), // the first one that can be made
            (opus(), none, &[Vp8], false, transcode, None),
        ] {
            let track = Track { reordered, references_reordered, ..Track::new(format, ProducerId::next()) };
            let wanted = Wanted { kind: track.kind, codecs, in_order, come_in: true, browsers: true };
            assert_eq!(choose(&track, wanted, b_frames, LongGops::Transcode), choice, "{track:?} {wanted:?} {b_frames:?}");
        }
    }

    #[test]
    fn browsers_get_what_they_can_decode() {
        // Profile high 4:2:2, and high.
        let sps_422: &[u8] =
            &[0x67, 0x7a, 0, 0x0d, 0xbc, 0xd9, 0x41, 0x41, 0xfb, 1, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 3, 0xc0, 0xf1, 0x42, 0x99, 0x60];
        let sps_high: &[u8] =
            &[0x67, 0x64, 0, 0x1f, 0xac, 0xb2, 0, 0xa0, 0x0b, 0x76, 2, 0x20, 0, 0, 3, 0, 0x20, 0, 0, 7, 0x91, 0xe3, 6, 0x49];
        let mended = Choice::Derived { target: TranscodeTarget::H264, otherwise: Otherwise::Nothing };
        for (sps, browsers, choice) in [(sps_422, true, mended), (sps_422, false, Choice::Published), (sps_high, true, Choice::Published)] {
            let format = Format::H264 { sps: vec![bytes::Bytes::from_static(sps)], pps: Vec::new() };
            let track = Track::new(format, ProducerId::next());
            let wanted = Wanted { kind: MediaKind::Video, codecs: &[Codec::H264], in_order: false, come_in: false, browsers };
            assert_eq!(choose(&track, wanted, BFrames::Drop, LongGops::Keep), Some(choice), "{browsers}");
        }
    }

    #[test]
    fn who_comes_in_needs_key_frames() {
        let derived = |otherwise| Choice::Derived { target: TranscodeTarget::H264, otherwise };
        let (transcode, keep) = (LongGops::Transcode, LongGops::Keep);
        for (long_gops, reordered, come_in, in_order, rule, choice) in [
            (false, false, true, true, transcode, Choice::Published),
            (true, false, true, false, transcode, derived(Otherwise::Published)),
            (true, false, false, false, transcode, Choice::Published), // players that aren't browsers make do
            (true, false, true, false, keep, Choice::Published),
            (true, true, true, false, transcode, derived(Otherwise::Published)),
            (true, true, true, true, transcode, derived(Otherwise::WithoutDisposable)),
            (true, true, true, true, keep, Choice::WithoutDisposable),
        ] {
            let format = Format::H264 { sps: Vec::new(), pps: Vec::new() };
            let track = Track { long_gops, reordered, ..Track::new(format, ProducerId::next()) };
            let wanted = Wanted { kind: MediaKind::Video, codecs: &[Codec::H264], in_order, come_in, browsers: true };
            assert_eq!(choose(&track, wanted, BFrames::Drop, rule), Some(choice), "{long_gops} {reordered} {come_in} {in_order} {rule:?}");
        }
    }
}
