//! HLS of a recording (RFC 8216bis). Pure: [`View`] in, playlists out.

use std::fmt::Write as _;

use m3u8_rs::{AlternativeMedia, AlternativeMediaType, MasterPlaylist, Resolution, VariantStream};

use crate::base::{MediaKind, date_time};

use super::index::Epoch;
use super::view::{Segment, TrackView, View, init_name, segment_name};

/// The multivariant playlist: the first video track with all audio tracks, or the audio tracks alone. `query` goes behind every URI.
pub(super) fn multivariant(view: &View, query: &str) -> String {
    let playable = |t: &&TrackView| !view.playable(t).is_empty() && !t.epochs.is_empty();
    let of = |kind: MediaKind| view.tracks.iter().filter(playable).filter(move |t| t.epochs[0].kind == kind).collect::<Vec<_>>();
    let (videos, audios) = (of(MediaKind::Video), of(MediaKind::Audio));
    let independent_segments = !view.live && view.tracks.iter().all(|track| view.playable(track).iter().all(|segment| segment.independent));
    let mut playlist = MasterPlaylist { version: Some(7), independent_segments, ..MasterPlaylist::default() };
    let mains = if videos.is_empty() { &audios } else { &videos };
    let companion = if videos.is_empty() { None } else { audios.first() };
    for track in mains {
        let (mut peak, mut average) = bandwidth(view, track);
        let mut codecs = vec![codec(track)];
        if let Some(audio) = companion {
            let (p, a) = bandwidth(view, audio);
            peak += p;
            average += a;
            codecs.push(codec(audio));
        }
        let resolution = track.epochs.iter().filter_map(display).max_by_key(|(w, h)| u64::from(*w) * u64::from(*h));
        playlist.variants.push(VariantStream {
            uri: format!("track-{}.m3u8{query}", track.track),
            bandwidth: peak,
            average_bandwidth: Some(average),
            codecs: Some(codecs.join(",")),
            resolution: resolution.map(|(w, h)| Resolution { width: u64::from(w), height: u64::from(h) }),
            audio: companion.map(|_| "audio".to_owned()),
            ..VariantStream::default()
        });
    }
    if companion.is_some() {
        for (index, track) in audios.iter().enumerate() {
            playlist.alternatives.push(AlternativeMedia {
                media_type: AlternativeMediaType::Audio,
                uri: Some(format!("track-{}.m3u8{query}", track.track)),
                group_id: "audio".to_owned(),
                name: format!("Audio {}", index + 1),
                default: index == 0,
                autoselect: true,
                channels: track.epochs.iter().rev().find_map(|e| e.audio).map(|(_, channels)| channels.to_string()),
                ..AlternativeMedia::default()
            });
        }
    }
    let mut out = Vec::new();
    // Writing to memory doesn't fail.
    let _ = playlist.write_to(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Width and height as they are shown.
fn display(epoch: &Epoch) -> Option<(u32, u32)> {
    Some(crate::cmaf::display_size(epoch.resolution?, epoch.sar))
}

/// The codec string of the epoch with the largest picture: what a decoder has to cope with.
fn codec(track: &TrackView) -> String {
    let best = track.epochs.iter().max_by_key(|e| e.resolution.map_or(0, |(w, h)| u64::from(w) * u64::from(h)));
    best.map_or_else(String::new, |e| e.codec_string.clone())
}

/// Peak of a segment and average, in bit/s.
pub(super) fn bandwidth(view: &View, track: &TrackView) -> (u64, u64) {
    let (mut peak, mut bytes, mut seconds) = (0f64, 0u64, 0f64);
    for segment in view.playable(track) {
        let length = length(track, segment);
        // The last, short segment may be one key frame alone.
        if length > 0.5 {
            peak = peak.max(segment.len as f64 * 8.0 / length);
        }
        bytes += segment.len;
        seconds += length;
    }
    let average = if seconds > 0.0 { bytes as f64 * 8.0 / seconds } else { 0.0 };
    (peak.max(average).max(1.0) as u64, average.max(1.0) as u64)
}

/// In seconds.
pub(super) fn length(track: &TrackView, segment: &Segment) -> f64 {
    segment.duration as f64 / f64::from(track.epochs[segment.epoch as usize].timescale)
}

/// The media playlist of a track. Written by hand: m3u8-rs keeps durations in 32-bit floats, and a day of them drifts.
pub(super) fn media(view: &View, number: u32, query: &str) -> Option<String> {
    let index = view.tracks.iter().position(|t| t.track == number)?;
    let track = &view.tracks[index];
    let playable = view.playable(track);
    // It must not change while players read on (RFC 8216bis section 6.2.1). Recordings whose meta data has none are as long as what is in them.
    let longest = playable.iter().map(|s| length(track, s).round() as u64).max().unwrap_or(1).max(1);
    let target = longest.max(view.target_duration.unwrap_or(1));
    let mut out = String::with_capacity(256 + playable.len() * 64);
    let kind = if view.live { "EVENT" } else { "VOD" };
    let _ =
        write!(out, "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:{kind}\n");
    // What is being recorded may get a GOP that is longer than a segment.
    let sound = track.epochs.iter().all(|epoch| epoch.kind == MediaKind::Audio);
    if sound || (!view.live && playable.iter().all(|segment| segment.independent)) {
        out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    let runs = view.runs();
    // All tracks count the same discontinuities, also where one of them has no segment in a run.
    let mut skipped = 0;
    let mut begun = false;
    for tracks in runs.values() {
        let segments = tracks[index];
        let Some(first) = segments.first() else {
            skipped += 1;
            continue;
        };
        if begun {
            for _ in 0..=skipped {
                out.push_str("#EXT-X-DISCONTINUITY\n");
            }
        } else if skipped > 0 {
            let _ = writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{skipped}");
        }
        (begun, skipped) = (true, 0);
        let epoch = &track.epochs[first.epoch as usize];
        let _ = writeln!(out, "#EXT-X-MAP:URI=\"{}{query}\"", init_name(number, epoch.epoch));
        if first.wallclock > 0 {
            let _ = writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", date_time(first.wallclock));
        }
        for segment in segments {
            let name = segment_name(number, epoch.epoch, segment.time);
            let _ = write!(out, "#EXTINF:{:.6},\n{name}{query}\n", length(track, segment));
        }
    }
    if !view.live {
        out.push_str("#EXT-X-ENDLIST\n");
    }
    Some(out)
}
