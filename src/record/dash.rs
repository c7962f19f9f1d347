//! DASH of a recording (ISO/IEC 23009-1). Pure: [`View`] in, MPD out. A period per run; segments by `$Time$`.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::DateTime;
use dash_mpd_core::{
    AdaptationSet, AudioChannelConfiguration, MPD, Period, Representation, S, SegmentTemplate, SegmentTimeline, UTCTiming,
};

use crate::base::{MediaKind, UnixNanos, date_time, rescale};

use super::hls::{bandwidth, length};
use super::meta::Meta;
use super::view::{Run, Segment, TrackView, View, init_name, segment_name};

/// How often a player looks for new segments while recording: the usual length of one.
const UPDATE_PERIOD: Duration = Duration::from_secs(2);

/// How far behind the live end players stay: dash.js stalls with less than three segments.
const PRESENTATION_DELAY: Duration = Duration::from_secs(6);

const NANOS: u32 = 1_000_000_000;

/// The MPD. `now` gives players the time while recording, so that they don't ask a public server.
pub(super) fn manifest(view: &View, meta: &Meta, now: UnixNanos, query: &str) -> Option<String> {
    let runs = view.runs();
    let mut periods = Vec::new();
    let mut at = Duration::ZERO;
    let zero = first_wallclock(view, &runs).unwrap_or(meta.started_at_ms.saturating_mul(1_000_000));
    for (number, tracks) in runs.values().enumerate() {
        let parts: Vec<(&TrackView, &[Segment])> =
            view.tracks.iter().zip(tracks).filter(|(_, segments)| !segments.is_empty()).map(|(t, s)| (t, *s)).collect();
        let base = parts.iter().map(|(t, s)| View::start_nanos(t, &s[0]).max(0)).min()?;
        let end = parts.iter().map(|(t, s)| end_nanos(t, &s[s.len() - 1])).max()?;
        let length = Duration::from_nanos(u64::try_from(end.saturating_sub(base)).unwrap_or(0));
        // While recording, times follow the clock, so that the start of the presentation can stay where it is; afterwards one
        // run follows the other without the pauses.
        let captured = parts.iter().map(|(_, s)| s[0].wallclock).filter(|w| *w > 0).min();
        if let Some(captured) = captured.filter(|_| view.live) {
            at = at.max(Duration::from_nanos(u64::try_from(captured.saturating_sub(zero)).unwrap_or(0)));
        }
        let open = view.live && number + 1 == runs.len();
        periods.push(Period {
            id: Some(number.to_string()),
            start: Some(at),
            duration: (!open).then_some(length),
            adaptations: parts.iter().map(|(track, segments)| adaptation(view, track, segments, base, query)).collect(),
            ..Period::default()
        });
        at = at.saturating_add(length);
    }
    if periods.is_empty() {
        return None;
    }
    let longest = view.tracks.iter().flat_map(|t| view.playable(t).iter().map(|s| length(t, s))).fold(1.0, f64::max);
    let date = |ms: i64| DateTime::from_timestamp_millis(ms);
    let mut mpd = MPD {
        xmlns: Some("urn:mpeg:dash:schema:mpd:2011".to_owned()),
        profiles: Some("urn:mpeg:dash:profile:isoff-live:2011".to_owned()),
        mpdtype: Some(if view.live { "dynamic" } else { "static" }.to_owned()),
        minBufferTime: Some(Duration::from_secs(2)),
        maxSegmentDuration: Some(Duration::from_secs(longest.ceil() as u64)),
        periods,
        ..MPD::default()
    };
    if view.live {
        mpd.availabilityStartTime = date(zero / 1_000_000);
        mpd.publishTime = date(now / 1_000_000);
        mpd.minimumUpdatePeriod = Some(UPDATE_PERIOD);
        mpd.suggestedPresentationDelay = Some(PRESENTATION_DELAY);
        mpd.UTCTiming = vec![UTCTiming {
            schemeIdUri: "urn:mpeg:dash:utc:direct:2014".to_owned(),
            value: Some(date_time(now)),
            ..UTCTiming::default()
        }];
    } else {
        mpd.mediaPresentationDuration = Some(at);
    }
    Some(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{mpd}\n"))
}

fn first_wallclock(view: &View, runs: &BTreeMap<Run, Vec<&[Segment]>>) -> Option<UnixNanos> {
    let first = runs.values().next()?;
    first.iter().take(view.tracks.len()).filter_map(|s| s.first()).map(|s| s.wallclock).filter(|w| *w > 0).min()
}

fn end_nanos(track: &TrackView, segment: &Segment) -> i64 {
    let epoch = &track.epochs[segment.epoch as usize];
    let duration = i64::try_from(segment.duration).unwrap_or(i64::MAX / 2);
    View::start_nanos(track, segment).saturating_add(rescale(duration, epoch.timescale, NANOS))
}

fn adaptation(view: &View, track: &TrackView, segments: &[Segment], base: i64, query: &str) -> AdaptationSet {
    let epoch = &track.epochs[segments[0].epoch as usize];
    let mut timeline: Vec<S> = Vec::new();
    let mut next = None;
    for segment in segments {
        match timeline.last_mut() {
            Some(last) if next == Some(segment.time) && last.d == segment.duration => last.r = Some(last.r.unwrap_or(0) + 1),
            _ => {
                let t = (next != Some(segment.time)).then_some(segment.time);
                timeline.push(S { t, d: segment.duration, ..S::default() });
            }
        }
        next = Some(segment.time.saturating_add(segment.duration));
    }
    let template = SegmentTemplate {
        timescale: Some(u64::from(epoch.timescale)),
        presentationTimeOffset: u64::try_from(rescale(base, NANOS, epoch.timescale)).ok(),
        initialization: Some(init_name(track.track, epoch.epoch) + query),
        media: Some(segment_name(track.track, epoch.epoch, "$Time$") + query),
        SegmentTimeline: Some(SegmentTimeline { segments: timeline }),
        ..SegmentTemplate::default()
    };
    let channels = epoch.audio.map(|(_, channels)| AudioChannelConfiguration {
        schemeIdUri: "urn:mpeg:dash:23003:3:audio_channel_configuration:2011".to_owned(),
        value: Some(channels.to_string()),
        ..AudioChannelConfiguration::default()
    });
    let video = epoch.kind == MediaKind::Video;
    let representation = Representation {
        id: Some(format!("track-{}", track.track)),
        bandwidth: Some(bandwidth(view, track).0),
        codecs: Some(epoch.codec_string.clone()),
        width: epoch.resolution.map(|r| u64::from(r.0)),
        height: epoch.resolution.map(|r| u64::from(r.1)),
        sar: epoch.resolution.map(|_| epoch.sar.unwrap_or((1, 1))).map(|(x, y)| format!("{x}:{y}")),
        audioSamplingRate: epoch.audio.map(|(rate, _)| rate.to_string()),
        AudioChannelConfiguration: channels.into_iter().collect(),
        SegmentTemplate: Some(template),
        ..Representation::default()
    };
    AdaptationSet {
        id: Some(track.track.to_string()),
        contentType: Some(epoch.kind.as_str().to_owned()),
        mimeType: Some(if video { "video/mp4" } else { "audio/mp4" }.to_owned()),
        segmentAlignment: Some(true),
        // A GOP that is longer than the target duration is cut inside.
        startWithSAP: (!video || (!view.live && segments.iter().all(|segment| segment.independent))).then_some(1),
        representations: vec![representation],
        ..AdaptationSet::default()
    }
}
