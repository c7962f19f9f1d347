//! The DASH manifest of a snapshot (ISO/IEC 23009-1), with the low-latency additions of DASH-IF's guidelines.
//!
//! In: a snapshot. Out: an MPD with one Period an epoch. Presentation time is the wall clock less `availabilityStartTime`,
//! so that tracks are in sync whatever their own times. That makes a ProducerReferenceTime needless; Shaka 5.2 reads it without the
//! presentationTimeOffset, and shows a latency that is off by what the Period's start and that differ. Pure.

use std::fmt::Write as _;

use super::captions::Service;
use super::entrance::entrances;
use super::name::MediaName;
use super::snapshot::{Epoch, NANOS, Segment, Snapshot, TrackSnapshot, ticks_to_nanos};
use crate::base::{MediaKind, UnixNanos, date_time, rescale};

/// How often players should look for a new manifest.
const UPDATE_PERIOD: &str = "PT1S";
/// Latency that low-latency players aim at, in ms, above one target segment when segments are long.
const TARGET_LATENCY_MS: u64 = 3000;
/// How long a new epoch waits for its other tracks, in ns: each begins within a part of the others, or not at all.
const TRACKS_WITHIN: i64 = 1_000_000_000;
/// How much longer a Period is than what is in it, in ns: dash.js takes one that it has to the last sample for the end of everything.
const PERIOD_MARGIN: i64 = 2_000_000;
/// Players without low latency stay this many segments behind: with two, dash.js stalls on 2 s segments.
const DELAY_TARGETS: u64 = 3;

/// The manifest. `query` (such as `?token=x`, or empty) is put behind every URI; `utc_url` is where players read the time.
pub(crate) fn manifest(snapshot: &Snapshot, now: UnixNanos, utc_url: &str, query: &str) -> String {
    let start = availability_start(snapshot);
    let target = snapshot.targets.target_duration();
    let usual = usual_duration(snapshot);
    let mut out = String::with_capacity(4096);
    out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = write!(
        out,
        "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" type=\"{}\" availabilityStartTime=\"{}\" publishTime=\"{}\" minBufferTime=\"PT{usual}S\" maxSegmentDuration=\"PT{target}S\"",
        if snapshot.ended { "static" } else { "dynamic" },
        date_time(start),
        date_time(now),
    );
    if snapshot.ended {
        let end = snapshot.tracks.iter().filter_map(|track| track.segments.last()).map(|last| last.end()).max().unwrap_or(start);
        let _ = write!(out, " mediaPresentationDuration=\"{}\"", duration(end - start));
    } else {
        let window: i64 =
            snapshot.tracks.iter().map(|track| track.listed().iter().map(|segment| segment.duration_nanos()).sum()).max().unwrap_or(0);
        let _ = write!(
            out,
            " minimumUpdatePeriod=\"{UPDATE_PERIOD}\" timeShiftBufferDepth=\"{}\" suggestedPresentationDelay=\"{}\"",
            duration(window.max(i64::from(NANOS))),
            duration(delay(snapshot, now, DELAY_TARGETS * usual * 1000)),
        );
    }
    out.push_str(">\n");
    if !snapshot.ended {
        let latency = delay(snapshot, now, TARGET_LATENCY_MS.max(usual * 1500)) / 1_000_000;
        let _ = writeln!(
            out,
            " <ServiceDescription id=\"0\"><Latency target=\"{latency}\" min=\"{}\" max=\"{}\"/><PlaybackRate min=\"0.96\" max=\"1.04\"/></ServiceDescription>",
            latency / 2,
            latency * 3
        );
    }
    let epochs = periods(snapshot);
    for (index, epoch) in epochs.iter().enumerate() {
        let end = end(snapshot, *epoch, epochs.get(index + 1));
        period(&mut out, snapshot, *epoch, end, start, query);
    }
    if !snapshot.ended {
        let _ = writeln!(out, " <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"{}\"/>", escape(utc_url));
    }
    out.push_str("</MPD>\n");
    out
}

/// How long segments are just now, in whole seconds: most are far shorter than the longest that may come.
fn usual_duration(snapshot: &Snapshot) -> u64 {
    let longest = snapshot.tracks.iter().flat_map(in_timeline).map(|segment| segment.duration_nanos()).max().unwrap_or(0);
    ((longest as u64 + u64::from(NANOS / 2)) / u64::from(NANOS)).max(1)
}

/// How far behind `now` players begin that would be `millis` behind, in ns: with a key frame. dash.js 5.2 that has begun with segments without
/// one shows nothing for as long as their Period lasts, and doesn't find into the next one. Not before all tracks begin: Shaka waits there
/// for as long as that lies ahead.
fn delay(snapshot: &Snapshot, now: UnixNanos, millis: u64) -> i64 {
    let usual = millis as i64 * 1_000_000;
    let first = |track: &TrackSnapshot| in_timeline(track).next().map(|first| first.wallclock + first.duration_nanos() / 4);
    let begin = snapshot.tracks.iter().filter_map(first).max().unwrap_or(now - usual);
    let at = (now - usual).max(begin);
    let there = entrances(snapshot, at).and_then(|found| {
        // Nearer to live it is, where half of the delay is left.
        let near = found.next.filter(|next| next - at <= usual / 2);
        near.or(found.before).or(found.next)
    });
    (now - there.unwrap_or(at)).max(i64::from(NANOS))
}

/// The segments that the manifest lists: their lengths are known.
fn in_timeline(track: &TrackSnapshot) -> impl Iterator<Item = &Segment> {
    track.listed().iter().map(AsRef::as_ref).filter(|segment| segment.timeline.is_some())
}

/// The presentation's beginning, in whole seconds: that of its first sample. GStreamer's dashdemux waits for each segment for as long as its
/// Period begins behind this, and then finds it gone.
fn availability_start(snapshot: &Snapshot) -> UnixNanos {
    (snapshot.began / i64::from(NANOS)).max(0) * i64::from(NANOS)
}

/// The epochs that make Periods: those with all of their tracks. Shaka gives up on a Period that is empty or has fewer tracks than others.
fn periods(snapshot: &Snapshot) -> Vec<Epoch> {
    let listed = |track: &TrackSnapshot, epoch: &Epoch| -> i64 {
        track.listed().iter().filter(|segment| segment.epoch == epoch.epoch).map(|segment| segment.duration_nanos()).sum()
    };
    let longest = |epoch: &Epoch| snapshot.tracks.iter().map(|track| listed(track, epoch)).max().unwrap_or(0);
    let has_some = |track: &TrackSnapshot, epoch: &Epoch| in_timeline(track).any(|segment| segment.epoch == epoch.epoch);
    let mut before: Option<&Epoch> = None;
    let mut whole = Vec::new();
    let begun = |epoch: &&Epoch| snapshot.tracks.iter().any(|track| has_some(track, epoch));
    let some: Vec<Epoch> = snapshot.epochs.iter().filter(begun).copied().collect();
    for epoch in &some {
        // At the window's beginning one track's last segment goes before the other's; at its end one track begins before the other.
        let gone = |track: &TrackSnapshot| track.init(epoch.epoch).is_some();
        let coming = |track: &TrackSnapshot| longest(epoch) < TRACKS_WITHIN && before.is_some_and(|before| listed(track, before) > 0);
        if !snapshot.tracks.iter().any(|track| !has_some(track, epoch) && (gone(track) || coming(track))) {
            whole.push(*epoch);
        }
        before = Some(epoch);
    }
    if whole.is_empty() { some } else { whole }
}

/// Where a Period ends before the next one begins, so that no player looks for it in the gap. The newest one stays open even while nobody
/// publishes: dash.js takes the end of everything known for the end, and doesn't go on when more comes.
fn end(snapshot: &Snapshot, epoch: Epoch, next: Option<&Epoch>) -> Option<UnixNanos> {
    let next = next?;
    let lasts = snapshot.tracks.iter().filter_map(|track| track.segments.iter().rfind(|segment| segment.epoch == epoch.epoch));
    let end = lasts.map(|last| last.end()).max()? + PERIOD_MARGIN;
    (!snapshot.ended && next.begin > end).then_some(end)
}

fn period(out: &mut String, snapshot: &Snapshot, epoch: Epoch, end: Option<UnixNanos>, start: UnixNanos, query: &str) {
    // Nothing lies before the presentation's beginning.
    let zero = epoch.begin.max(start);
    let _ = write!(out, " <Period id=\"{}\" start=\"{}\"", snapshot.first_number + u64::from(epoch.epoch), duration(zero - start));
    if let Some(end) = end {
        let _ = write!(out, " duration=\"{}\"", duration(end - zero));
    }
    out.push_str(">\n");
    for track in &snapshot.tracks {
        let segments: Vec<&Segment> = in_timeline(track).filter(|segment| segment.epoch == epoch.epoch).collect();
        if let Some(first) = segments.first() {
            adaptation_set(out, snapshot, track, first, &segments, zero, query);
        }
    }
    out.push_str(" </Period>\n");
}

fn adaptation_set(
    out: &mut String,
    snapshot: &Snapshot,
    track: &TrackSnapshot,
    first: &Segment,
    segments: &[&Segment],
    zero: UnixNanos,
    query: &str,
) {
    let Some(init) = track.init(first.epoch) else { return };
    let kind = init.codec.kind();
    let timescale = first.timescale;
    // What its own time would be at the Period's beginning, from where this track's samples are on the wall clock.
    let offset =
        i64::try_from(first.presentation_time).unwrap_or(i64::MAX).saturating_sub(rescale(first.wallclock - zero, NANOS, timescale)).max(0);
    let bandwidth = if track.peak_bitrate > 0 { track.peak_bitrate } else { 1_000_000 };
    let mime = if kind == MediaKind::Video { "video/mp4" } else { "audio/mp4" };
    let _ = writeln!(
        out,
        "  <AdaptationSet id=\"{}\" contentType=\"{kind}\" mimeType=\"{mime}\" segmentAlignment=\"true\"{}>",
        track.track,
        // Segments of a GOP that is longer than the target duration don't all begin with a key frame.
        if kind == MediaKind::Audio { " startWithSAP=\"1\"" } else { "" }
    );
    if kind == MediaKind::Video {
        accessibility(out, snapshot);
    }
    let _ = write!(out, "   <Representation id=\"{}\" bandwidth=\"{bandwidth}\" codecs=\"{}\"", track.track, escape(&init.codec_string));
    if let Some((width, height)) = init.resolution {
        let _ = write!(out, " width=\"{width}\" height=\"{height}\"");
        let (x, y) = init.sar().unwrap_or((1, 1));
        let _ = write!(out, " sar=\"{x}:{y}\"");
    }
    if let Some((rate, channels)) = init.audio {
        let _ = writeln!(
            out,
            " audioSamplingRate=\"{rate}\"><AudioChannelConfiguration schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" value=\"{channels}\"/>"
        );
    } else {
        out.push_str(">\n");
    }
    let template = MediaName::Segment { track: track.track, number: 0 }.to_string().replace("-0.", "-$Number$.");
    let name = MediaName::Init { track: track.track, number: snapshot.first_number + u64::from(first.epoch) };
    let query = escape(query);
    let _ = write!(
        out,
        "    <SegmentTemplate timescale=\"{timescale}\" presentationTimeOffset=\"{offset}\" startNumber=\"{}\" media=\"{template}{query}\" initialization=\"{name}{query}\"",
        first.number
    );
    if !snapshot.ended {
        // A segment is there before its end, but for the part in the making.
        let length = segments.last().map_or(0, |last| last.timeline.unwrap_or_default().1);
        let early = (ticks_to_nanos(length, timescale) - snapshot.targets.part_target()).max(0) as f64 / f64::from(NANOS);
        let _ = write!(out, " availabilityTimeOffset=\"{early:.3}\" availabilityTimeComplete=\"false\"");
    }
    out.push_str(">\n     <SegmentTimeline>\n");
    timeline(out, segments);
    out.push_str("     </SegmentTimeline>\n    </SegmentTemplate>\n   </Representation>\n  </AdaptationSet>\n");
}

/// The captions in the pictures (ANSI/SCTE 214-1 section 7.2); nobody says in which language they are. dash.js and Shaka look for them where
/// this stands only.
fn accessibility(out: &mut String, snapshot: &Snapshot) {
    let (mut channels, mut services) = (Vec::new(), Vec::new());
    for service in snapshot.captions.services() {
        match service {
            Service::Cc(number) => channels.push(format!("CC{number}=und")),
            Service::Service(number) => services.push(format!("{number}=lang:und")),
        }
    }
    for (standard, values) in [("608", channels), ("708", services)] {
        if !values.is_empty() {
            let values = values.join(";");
            let _ = writeln!(out, "   <Accessibility schemeIdUri=\"urn:scte:dash:cc:cea-{standard}:2015\" value=\"{values}\"/>");
        }
    }
}

/// `S` elements; runs of equal durations are folded.
fn timeline(out: &mut String, segments: &[&Segment]) {
    let mut run: Option<(u64, u64, u32)> = None; // time, duration, repeats
    for (begin, length) in segments.iter().filter_map(|segment| segment.timeline) {
        match &mut run {
            Some((time, each, repeats)) if *each == length && *time + *each * u64::from(*repeats + 1) == begin => *repeats += 1,
            _ => {
                write_run(out, run);
                run = Some((begin, length, 0));
            }
        }
    }
    write_run(out, run);
}

fn write_run(out: &mut String, run: Option<(u64, u64, u32)>) {
    if let Some((time, each, repeats)) = run {
        let repeats = if repeats > 0 { format!(" r=\"{repeats}\"") } else { String::new() };
        let _ = writeln!(out, "      <S t=\"{time}\" d=\"{each}\"{repeats}/>");
    }
}

/// ISO 8601 duration with milliseconds.
fn duration(nanos: i64) -> String {
    let millis = nanos.max(0) / 1_000_000;
    format!("PT{}.{:03}S", millis / 1000, millis % 1000)
}

/// For attribute values.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
