//! HLS playlists of a snapshot: multivariant and low-latency media playlists (RFC 8216bis).
//!
//! In: a snapshot, what the request asked for. Out: text. Pure.

use std::fmt::Write as _;

use m3u8_rs::{AlternativeMedia, AlternativeMediaType, ClosedCaptionGroupId, InstreamId, MasterPlaylist, Resolution, Start, VariantStream};

use super::entrance::{entrances, sent_back_to};
use super::name::MediaName;
use super::snapshot::{NANOS, Segment, Snapshot, TrackSnapshot, ticks_to_nanos};
use crate::base::{MediaKind, UnixNanos, date_time};

/// Version 9: needed for EXT-X-SKIP (RFC 8216bis section 8).
const VERSION: u32 = 9;
/// Part hold-back in part targets; three is the least the specification recommends.
const PART_HOLD_BACK: f64 = 3.0;
/// Hold-back of players that don't use parts, in target durations (RFC 8216bis section 4.4.3.8: at least three).
const HOLD_BACK: u64 = 3;
/// Skip boundary in target durations (at least six).
const SKIP_UNTIL: u64 = 6;
/// How many parts a request may be ahead of the next one: the Advance Part Limit, counted from the last one (RFC 8216bis section 6.2.5.2).
const PARTS_AHEAD: usize = 2;
/// Parts are listed for as long as this many segments of the wanted length from the end. RFC 8216bis section 4.4.4.9 allows three target
/// durations, which are twice as long: nobody begins so far back with a part, every reload would carry three times the lines, and hls.js that
/// lacks a part waits for it for as long as it is listed.
const PARTS_WITHIN: i64 = 2;
/// Where players are sent back to a key frame, parts are listed from there for as long as who has begun there may need to come to the edge. hls.js
/// whose parts go away goes on with the whole segment, and takes it once more; where pictures are replaced, Chromium shows none up to the next
/// key frame.
const PARTS_FOR_NEWCOMERS: i64 = 4 * NANOS as i64;
/// Where parts are listed at most, in target durations from the end (RFC 8216bis section 4.4.4.9).
const PARTS_AT_MOST: i64 = 3;
/// How far from a segment's start its other parts aren't announced as independent, in nanoseconds. hls.js takes what misses up to 0.2 s at its
/// start for a whole segment, and then looks for the missing part for as long as that is listed: who comes in there stands still at the next
/// segment, for seconds. The attribute may be left out (RFC 8216bis section 4.4.4.9); a player begins with the part before.
const NO_ENTRANCE_WITHIN: i64 = 250_000_000;
/// The announced bit rate of a stream that has no complete segment yet, bit/s.
const UNKNOWN_BITRATE: u64 = 2_000_000;

/// The group of captions.
const CAPTIONS: &str = "captions";

/// What a request for a media playlist asked to wait for (`_HLS_msn`, `_HLS_part`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockingReload {
    /// `_HLS_msn`.
    pub msn: Option<u64>,
    /// `_HLS_part`.
    pub part: Option<usize>,
}

impl BlockingReload {
    /// Whether the track has what was asked for (RFC 8216bis section 6.2.5.2).
    pub fn is_met(&self, track: &TrackSnapshot) -> bool {
        let Some(msn) = self.msn else { return true };
        let Some(part) = self.part else { return msn < track.next().0 - u64::from(track.ends_later()) };
        // A part beyond a segment's last one means the first of the segment after it.
        let parts = track.segment(msn).filter(|segment| segment.complete).map(|segment| segment.parts.len());
        let asked = if parts.is_some_and(|parts| part >= parts) { (msn + 1, 0) } else { (msn, part) };
        asked < track.next()
    }

    /// Whether it asks for more than could come soon: a segment more than two after the last complete one, or more than three parts ahead (RFC
    /// 8216bis section 6.2.5.2).
    pub fn is_too_far(&self, track: &TrackSnapshot) -> bool {
        let (number, parts) = track.next();
        let Some(msn) = self.msn else { return false };
        let known = if msn == number { parts } else { 0 };
        msn > number + 1 || (msn >= number && self.part.is_some_and(|part| part > known.saturating_add(PARTS_AHEAD)))
    }
}

/// The multivariant playlist. `query` (such as `?token=x`, or empty) is put behind every URI.
pub(crate) fn multivariant(snapshot: &Snapshot, query: &str) -> String {
    let video = snapshot.video();
    let audio = snapshot.tracks.iter().find(|track| track.kind() == MediaKind::Audio);
    let Some(main) = video.or(audio) else { return String::new() };
    let mut codecs: Vec<&str> = Vec::new();
    let (mut peak, mut average) = (0, 0);
    for track in [video, audio].into_iter().flatten() {
        codecs.extend(track.inits.last().map(|init| init.codec_string.as_str()));
        peak += track.peak_bitrate;
        average += track.average_bitrate;
    }
    let resolution = video.and_then(|track| track.inits.last()?.display());
    let variant = VariantStream {
        uri: format!("{}{query}", MediaName::Playlist { track: main.track }),
        bandwidth: if peak > 0 { peak } else { UNKNOWN_BITRATE },
        average_bandwidth: (average > 0).then_some(average),
        codecs: Some(codecs.join(",")),
        resolution: resolution.map(|(width, height)| Resolution { width: u64::from(width), height: u64::from(height) }),
        audio: video.and(audio).map(|_| "audio".to_owned()),
        closed_captions: closed_captions(snapshot),
        ..Default::default()
    };
    let mut alternatives = match (video, audio) {
        (Some(_), Some(audio)) => vec![AlternativeMedia {
            media_type: AlternativeMediaType::Audio,
            uri: Some(format!("{}{query}", MediaName::Playlist { track: audio.track })),
            group_id: "audio".to_owned(),
            name: "Audio".to_owned(),
            default: true,
            autoselect: true,
            channels: audio.inits.last().and_then(|init| init.audio).map(|(_, channels)| channels.to_string()),
            ..Default::default()
        }],
        _ => Vec::new(),
    };
    alternatives.extend(snapshot.captions.services().map(|service| AlternativeMedia {
        media_type: AlternativeMediaType::ClosedCaptions,
        group_id: CAPTIONS.to_owned(),
        name: service.to_string(),
        autoselect: true,
        instream_id: Some(InstreamId::Other(service.to_string())),
        ..Default::default()
    }));
    let playlist = MasterPlaylist {
        version: Some(VERSION as usize),
        variants: vec![variant],
        alternatives,
        // Segments of a GOP that is longer than the target duration don't all begin with a key frame, and nobody knows what will come.
        independent_segments: video.is_none(),
        start: start(snapshot),
        ..Default::default()
    };
    let mut out = Vec::new();
    match playlist.write_to(&mut out) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(_) => String::new(), // writing to a Vec can't fail
    }
}

/// Which captions there are. That there are none is said only where players can't find out themselves: they may begin at any time.
fn closed_captions(snapshot: &Snapshot) -> Option<ClosedCaptionGroupId> {
    if snapshot.captions.are_there() {
        return Some(ClosedCaptionGroupId::GroupId(CAPTIONS.to_owned()));
    }
    snapshot.is_young().then_some(ClosedCaptionGroupId::None)
}

/// Where players begin, if the segment where they would begin has no key frame at its start: with the last one. hls.js 1.7 that begins with
/// such a segment shows nothing for seconds, and often stands still behind the next key frame until the one after it. It stands in this
/// list, which players read once: a media playlist may not change it (RFC 8216bis section 6.2.1).
fn start(snapshot: &Snapshot) -> Option<Start> {
    let (edge, usual) = edge(snapshot)?;
    let at = entrances(snapshot, usual)?.before?;
    Some(Start { time_offset: (seconds(at - edge) * 1000.0).round() / 1000.0, precise: Some(true), other_attributes: Default::default() })
}

/// Where a live stream ends so far, and where players begin.
fn edge(snapshot: &Snapshot) -> Option<(UnixNanos, UnixNanos)> {
    let end = |track: &TrackSnapshot| track.segments.last().map(|last| last.end());
    let edge = snapshot.tracks.iter().filter_map(end).max().filter(|_| !snapshot.ended)?;
    Some((edge, edge - (snapshot.targets.part_target() as f64 * PART_HOLD_BACK) as i64))
}

/// From which time on parts are listed although they are further from the end than usual.
fn parts_from(snapshot: &Snapshot) -> Option<UnixNanos> {
    let (edge, usual) = edge(snapshot)?;
    let from = sent_back_to(snapshot, usual - PARTS_FOR_NEWCOMERS)?;
    Some(from.max(edge - PARTS_AT_MOST * snapshot.targets.target_duration() as i64 * i64::from(NANOS)))
}

/// A track's media playlist. `skip`: the request allowed a delta update (`_HLS_skip=YES`).
pub(crate) fn media(snapshot: &Snapshot, track: &TrackSnapshot, skip: bool, query: &str) -> String {
    let target = snapshot.targets.target_duration();
    let part_target = seconds(snapshot.targets.part_target());
    let listed = track.listed();
    let mut out = String::with_capacity(4096);
    let _ = writeln!(out, "#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{target}");
    if !snapshot.ended {
        let _ = writeln!(
            out,
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={}.0,PART-HOLD-BACK={:.3},HOLD-BACK={}.0",
            SKIP_UNTIL * target,
            part_target * PART_HOLD_BACK,
            HOLD_BACK * target
        );
        let _ = writeln!(out, "#EXT-X-PART-INF:PART-TARGET={part_target:.3}");
    }
    if track.kind() == MediaKind::Audio {
        out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    let first = listed.first();
    let _ = writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{}", first.map_or(snapshot.first_number, |segment| segment.number));
    let _ = writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", discontinuity_sequence(snapshot, first.map_or(0, |segment| segment.epoch)));

    let skipped = if skip { skippable(listed, target) } else { 0 };
    if skipped > 0 {
        let _ = writeln!(out, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}");
    }
    let remaining: i64 = listed.iter().map(|segment| segment.duration_nanos()).sum();
    let mut until_end = remaining;
    let from = parts_from(snapshot);
    // A delta update names its EXT-X-MAP again: it needn't, but Shaka has none for the segments of an update that doesn't.
    let mut epoch = None;
    for (index, segment) in listed.iter().enumerate() {
        until_end -= segment.duration_nanos();
        if index < skipped {
            continue;
        }
        if epoch != Some(segment.epoch) {
            // One for each epoch that has begun since, also where this track has nothing of it: segments keep their discontinuity sequence
            // number when those before them are gone, and all tracks count alike (RFC 8216 section 6.2.1).
            for _ in epoch.map_or(segment.epoch, |before| before)..segment.epoch {
                out.push_str("#EXT-X-DISCONTINUITY\n");
            }
            let init = MediaName::Init { track: track.track, number: snapshot.first_number + u64::from(segment.epoch) };
            let _ = writeln!(out, "#EXT-X-MAP:URI=\"{init}{query}\"");
            epoch = Some(segment.epoch);
        }
        let near = until_end <= PARTS_WITHIN * snapshot.targets.segment() || from.is_some_and(|from| segment.end() > from);
        let with_parts = !snapshot.ended && (!segment.complete || near);
        let whole = segment.complete && (index + 1 < listed.len() || snapshot.ended || !track.ends_later());
        write_segment(&mut out, snapshot, track, segment, (with_parts, whole), query);
    }
    if snapshot.ended {
        out.push_str("#EXT-X-ENDLIST\n");
        return out;
    }
    let (number, part) = track.next();
    // A hint behind an epoch's end would promise a part of that epoch: Shaka reads what comes instead with the old EXT-X-MAP, and fails. Behind
    // a segment that isn't listed as whole it would promise a part of that segment: Shaka shows nothing more.
    if number > 0 && !track.between && !track.ends_later() {
        let _ = writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{}{query}\"", MediaName::Part { track: track.track, number, part });
    }
    for other in snapshot.tracks.iter().filter(|other| other.track != track.track) {
        if let Some((msn, part)) = last_part(other) {
            let uri = MediaName::Playlist { track: other.track };
            let _ = writeln!(out, "#EXT-X-RENDITION-REPORT:URI=\"{uri}{query}\",LAST-MSN={msn},LAST-PART={part}");
        }
    }
    out
}

/// Discontinuities before an epoch. A presentation begins with a tenth of its first number, which grows by one in ten seconds, or in five where
/// segments may be shorter than a second: a player that outlives a restart of the server sees a discontinuity, unless both presentations
/// began within the same of these times. Small: hls.js keeps an array with as many places.
fn discontinuity_sequence(snapshot: &Snapshot, epoch: u32) -> u64 {
    snapshot.first_number / 10 % 50_000 + u64::from(epoch)
}

/// The last part there is, as EXT-X-RENDITION-REPORT names it.
fn last_part(track: &TrackSnapshot) -> Option<(u64, usize)> {
    let last = track.segments.last()?;
    Some((last.number, last.parts.len().checked_sub(1)?))
}

/// How many of the oldest segments a delta update leaves out: those further than the skip boundary from the end. Nothing, while there is a
/// discontinuity among them: Shaka counts on from EXT-X-DISCONTINUITY-SEQUENCE as if there were none.
fn skippable(listed: &[std::sync::Arc<Segment>], target: u64) -> usize {
    let boundary = (SKIP_UNTIL * target) as i64 * i64::from(NANOS);
    let mut from_end: i64 = listed.iter().map(|segment| segment.duration_nanos()).sum();
    let mut skipped = 0;
    for segment in listed {
        if from_end - segment.duration_nanos() < boundary {
            break;
        }
        from_end -= segment.duration_nanos();
        skipped += 1;
    }
    let whole = listed.first().zip(listed.get(skipped)).is_none_or(|(first, next)| first.epoch == next.epoch);
    if whole { skipped } else { 0 }
}

fn write_segment(
    out: &mut String,
    snapshot: &Snapshot,
    track: &TrackSnapshot,
    segment: &Segment,
    (with_parts, whole): (bool, bool),
    query: &str,
) {
    let _ = writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", date_time(segment.wallclock));
    if with_parts {
        let mut begins = 0;
        for (index, part) in segment.parts.iter().enumerate() {
            let name = MediaName::Part { track: track.track, number: segment.number, part: index };
            let nanos = ticks_to_nanos(part.duration, segment.timescale);
            // A short part has to say that it is independent: of sound of 8, 12 and 24 kHz no number of frames fills one.
            let short = nanos < snapshot.targets.shortest_part();
            let (duration, entrance) = (seconds(nanos), index == 0 || begins >= NO_ENTRANCE_WITHIN || short);
            begins += nanos;
            let independent = if part.independent && entrance { ",INDEPENDENT=YES" } else { "" };
            let _ = writeln!(out, "#EXT-X-PART:DURATION={duration:.5},URI=\"{name}{query}\"{independent}");
        }
    }
    if whole {
        let name = MediaName::Segment { track: track.track, number: segment.number };
        let _ = writeln!(out, "#EXTINF:{:.5},\n{name}{query}", seconds(segment.duration_nanos()));
    }
}

fn seconds(nanos: i64) -> f64 {
    nanos as f64 / f64::from(NANOS)
}
