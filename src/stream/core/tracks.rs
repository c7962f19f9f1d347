//! The published tracks, whose they are, and which of them are just being replaced.
//!
//! A track of the next publisher takes the place of the one of its kind. That takes a moment, in which the SFU hands over the readers; it
//! begins and ends here, so that no two publishers are at it together.

use super::publisher::Generation;
use crate::base::MediaKind;
use crate::codec::Format;
use crate::sfu::ProducerId;
use crate::stream::format_history::FormatHistory;

/// A track of a stream as published (derived ones are reached by [`crate::stream::Stream::select`]).
#[derive(Debug, Clone)]
pub(crate) struct Track {
    /// Audio or video.
    pub kind: MediaKind,
    pub format: Format,
    /// Whether pictures come in another order than they are shown in (B-frames).
    pub reordered: bool,
    /// Whether pictures that others refer to are reordered too (B-pyramids): then leaving out the disposable ones does not put the rest in order.
    pub references_reordered: bool,
    /// Whether its key frames are so far apart that who comes in would wait for long.
    pub(crate) long_gops: bool,
    /// Its producer on the stream's home router.
    pub producer: ProducerId,
}

impl Track {
    /// Of whose pictures nothing is known yet.
    pub(crate) fn new(format: Format, producer: ProducerId) -> Self {
        Self { kind: format.kind(), format, reordered: false, references_reordered: false, long_gops: false, producer }
    }
}

/// A track, and which publisher it is from.
#[derive(Debug)]
struct Entry {
    track: Track,
    generation: Generation,
    /// Of the writer, if the track has one (it was not published as RTP).
    formats: Option<FormatHistory>,
}

/// A track is taking its place. Goes back by `put` or `abandon`.
#[derive(Debug)]
#[must_use]
pub(crate) struct Replacement {
    generation: Generation,
    serial: u64,
}

/// At most one track of each kind.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    entries: Vec<Entry>,
    replacing: Vec<(MediaKind, u64)>,
    serials: u64,
    /// How often formats changed: numbers the changes.
    changes: u64,
}

impl Tracks {
    /// Video first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Track> {
        self.entries.iter().map(|entry| &entry.track)
    }

    pub(super) fn of_kind(&self, kind: MediaKind) -> Option<&Track> {
        self.all().find(|track| track.kind == kind)
    }

    pub(super) fn by_producer(&self, producer: ProducerId) -> Option<&Track> {
        self.all().find(|track| track.producer == producer)
    }

    /// Where the formats of a track changed; `None` if it is published as RTP, or gone.
    pub(super) fn formats(&self, producer: ProducerId) -> Option<&FormatHistory> {
        self.entries.iter().find(|entry| entry.track.producer == producer)?.formats.as_ref()
    }

    /// Whether the track of that kind is from `generation`.
    pub(super) fn is_from(&self, kind: MediaKind, generation: Generation) -> bool {
        self.entries.iter().any(|entry| entry.track.kind == kind && entry.generation == generation)
    }

    /// Whether the readers of some track are just being handed over.
    pub(super) fn are_being_replaced(&self) -> bool {
        !self.replacing.is_empty()
    }

    /// A track of `kind` is about to take its place; `None` while another one is at it.
    pub(super) fn replace(&mut self, kind: MediaKind, generation: Generation) -> Option<Replacement> {
        if self.replacing.iter().any(|(other, _)| *other == kind) {
            return None;
        }
        self.serials += 1;
        self.replacing.push((kind, self.serials));
        Some(Replacement { generation, serial: self.serials })
    }

    /// The replacement is over, one way or the other. False where all of them were (the stream has ended).
    pub(super) fn abandon(&mut self, replacement: &Replacement) -> bool {
        let before = self.replacing.len();
        self.replacing.retain(|(_, serial)| *serial != replacement.serial);
        self.replacing.len() < before
    }

    /// The track stands in its place.
    pub(super) fn put(&mut self, replacement: &Replacement, track: Track, formats: Option<FormatHistory>) {
        let known = self.entries.iter().position(|known| known.track.kind == track.kind);
        // What a publisher sends does not follow on what was sent before it came.
        self.changes += u64::from(known.is_some());
        if let Some(formats) = &formats {
            formats.begin(self.changes);
        }
        let entry = Entry { track, generation: replacement.generation, formats };
        match known {
            Some(at) => self.entries[at] = entry,
            None => self.entries.push(entry),
        }
        self.entries.sort_by_key(|entry| std::cmp::Reverse(entry.track.kind));
    }

    /// A publisher's track has other parameters. Then all tracks belong to other formats from here on: they are kept apart together. Sound
    /// beside pictures changes alone, and both together at their next key frame: what follows a picture can't be decoded without it. What was
    /// learnt of its pictures holds as long as they are coded alike.
    pub(super) fn set_format(&mut self, generation: Generation, format: &Format) -> bool {
        let Some(track) = self.of_publisher(generation, format.kind()) else { return false };
        if track.format == *format {
            return false;
        }
        let alike = track.format.is_coded_like(format);
        *track = if alike { Track { format: format.clone(), ..track.clone() } } else { Track::new(format.clone(), track.producer) };
        self.changes += 1;
        let of = |kind| self.entries.iter().find(move |entry| entry.track.kind == kind && entry.generation == generation)?.formats.as_ref();
        match (of(MediaKind::Video), of(MediaKind::Audio)) {
            (Some(pictures), Some(sound)) if format.kind() == MediaKind::Audio => {
                sound.mark_alone(self.changes);
                pictures.await_key();
            }
            _ => self.mark_all(),
        }
        true
    }

    /// A publisher's next picture is the key frame that a change of its sound has waited for.
    pub(super) fn change_at_key(&mut self, generation: Generation) {
        if self.is_from(MediaKind::Video, generation) {
            self.changes += 1;
            self.mark_all();
        }
    }

    fn mark_all(&self) {
        self.entries.iter().filter_map(|entry| entry.formats.as_ref()).for_each(|formats| formats.mark(self.changes));
    }

    /// B-frames were seen; `references`: ones that others refer to. True where that is news.
    pub(super) fn set_reordered(&mut self, generation: Generation, references: bool) -> bool {
        let Some(track) = self.of_publisher(generation, MediaKind::Video) else { return false };
        let first = !std::mem::replace(&mut track.reordered, true);
        first | (references && !std::mem::replace(&mut track.references_reordered, true))
    }

    /// Key frames are far apart. True where that is news.
    pub(crate) fn set_long_gops(&mut self, generation: Generation) -> bool {
        self.of_publisher(generation, MediaKind::Video).is_some_and(|track| !std::mem::replace(&mut track.long_gops, true))
    }

    fn of_publisher(&mut self, generation: Generation, kind: MediaKind) -> Option<&mut Track> {
        let entry = self.entries.iter_mut().find(|entry| entry.generation == generation && entry.track.kind == kind);
        entry.map(|entry| &mut entry.track)
    }

    /// Takes off what publishers before `generation` sent, but for what is just being replaced.
    pub(super) fn take_older(&mut self, generation: Generation) -> Vec<Track> {
        let Self { entries, replacing, .. } = self;
        let stays = |entry: &mut Entry| entry.generation >= generation || replacing.iter().any(|(kind, _)| *kind == entry.track.kind);
        entries.extract_if(.., |entry| !stays(entry)).map(|entry| entry.track).collect()
    }

    /// Takes off everything, and ends all replacements.
    pub(super) fn drain(&mut self) -> Vec<Track> {
        self.replacing.clear();
        self.entries.drain(..).map(|entry| entry.track).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VP8: Format = Format::Vp8;
    const OPUS: Format = Format::Opus { channels: 2 };

    fn generations() -> [Generation; 2] {
        let first = Generation::default().next();
        [first, first.next()]
    }

    fn track(format: Format) -> Track {
        Track::new(format, ProducerId::next())
    }

    fn put(tracks: &mut Tracks, generation: Generation, format: Format) -> (ProducerId, FormatHistory) {
        let (track, formats) = (track(format.clone()), FormatHistory::new(format, 0));
        let replacement = tracks.replace(track.kind, generation).unwrap();
        let producer = track.producer;
        tracks.put(&replacement, track, Some(formats.clone()));
        assert!(tracks.abandon(&replacement));
        (producer, formats)
    }

    #[test]
    fn one_of_each_kind_pictures_first() {
        let ([first, second], mut tracks) = (generations(), Tracks::default());
        let (sound, _) = put(&mut tracks, first, OPUS);
        let (pictures, _) = put(&mut tracks, first, VP8);
        let order = |tracks: &Tracks| tracks.all().map(|track| track.producer).collect::<Vec<_>>();
        assert_eq!(order(&tracks), [pictures, sound]);
        let (next, _) = put(&mut tracks, second, VP8);
        assert_eq!(order(&tracks), [next, sound]);
        assert!(tracks.is_from(MediaKind::Video, second) && tracks.is_from(MediaKind::Audio, first));
        assert!(!tracks.is_from(MediaKind::Video, first));
        assert!(tracks.by_producer(pictures).is_none() && tracks.formats(pictures).is_none() && tracks.formats(next).is_some());
    }

    #[test]
    fn one_at_a_time_replaces_a_track() {
        let ([first, second], mut tracks) = (generations(), Tracks::default());
        let pictures = tracks.replace(MediaKind::Video, first).unwrap();
        let sound = tracks.replace(MediaKind::Audio, first).unwrap();
        assert!(tracks.replace(MediaKind::Video, second).is_none());
        assert!(tracks.abandon(&pictures) && !tracks.abandon(&pictures), "ends once");
        assert!(tracks.are_being_replaced());
        let again = tracks.replace(MediaKind::Video, second).unwrap();
        assert!(tracks.abandon(&sound) && tracks.are_being_replaced());
        tracks.drain();
        assert!(!tracks.are_being_replaced());
        assert!(!tracks.abandon(&again), "ended with everything else");
    }

    #[test]
    fn a_change_marks_all_tracks_together() {
        let ([first, second], mut tracks) = (generations(), Tracks::default());
        let (_, pictures) = put(&mut tracks, first, VP8);
        let (_, sound) = put(&mut tracks, first, OPUS);
        let versions = || (pictures.change(), sound.change());
        assert_eq!(versions(), (0, 0), "the first formats are no change");
        let mono = Format::Opus { channels: 1 };
        for (generation, format, changes) in [
            (first, OPUS, false),
            (second, mono.clone(), false), // not its track
            (first, Format::H264 { sps: Vec::new(), pps: Vec::new() }, true),
            (first, Format::Vp8, true),
            (first, Format::Vp8, false),
        ] {
            let before = versions();
            pictures.advance(1);
            sound.advance(1);
            assert_eq!(tracks.set_format(generation, &format), changes, "{format:?}");
            assert_eq!((pictures.change() != before.0, sound.change() != before.1), (changes, changes), "{format:?}");
            assert_eq!(pictures.change(), sound.change(), "numbered alike");
        }
        // A track that takes another's place begins another format by itself.
        let (_, next) = put(&mut tracks, second, OPUS);
        assert!(next.change() > pictures.change() && next.first_change() == next.change());
        // One that joins is in the midst of what is there.
        tracks.entries.retain(|entry| entry.track.kind == MediaKind::Audio);
        let (_, joined) = put(&mut tracks, second.next(), VP8);
        assert_eq!((joined.change(), joined.begins(joined.change())), (next.change(), Some(0)));
    }

    #[test]
    fn sound_beside_pictures_changes_alone_and_both_at_the_next_key_frame() {
        let ([first, second], mut tracks) = (generations(), Tracks::default());
        let (_, pictures) = put(&mut tracks, first, VP8);
        let (_, sound) = put(&mut tracks, first, OPUS);
        let send = || [&pictures, &sound].map(|track| track.advance(1));
        let changes = || (pictures.change(), sound.change(), sound.change_of_all(), pictures.awaits_key());
        let opus = |channels| Format::Opus { channels };
        send();
        for (channels, change) in [(1, 1), (2, 2), (1, 3)] {
            assert!(tracks.set_format(first, &opus(channels)));
            assert_eq!(changes(), (0, change, 0, true));
            send();
        }
        tracks.change_at_key(second);
        assert!(pictures.awaits_key(), "not its pictures");
        tracks.change_at_key(first);
        assert_eq!(changes(), (4, 4, 4, false));
        // Pictures that change are a change of all, and nothing is waited for any more.
        send();
        assert!(tracks.set_format(first, &opus(2)) && pictures.awaits_key());
        send();
        assert!(tracks.set_format(first, &Format::H264 { sps: Vec::new(), pps: Vec::new() }));
        assert_eq!(changes(), (6, 6, 6, false));
        // Sound without pictures of the same publisher changes by itself.
        tracks.entries.retain(|entry| entry.track.kind == MediaKind::Audio);
        send();
        assert!(tracks.set_format(first, &opus(1)));
        assert_eq!((sound.change(), sound.change_of_all()), (7, 7));
    }

    #[test]
    fn reordering_is_news_once() {
        let ([first, second], mut tracks) = (generations(), Tracks::default());
        assert!(!tracks.set_reordered(first, true), "no pictures");
        put(&mut tracks, first, VP8);
        for (generation, references, news) in [
            (second, true, false), // not its track
            (first, false, true),
            (first, false, false),
            (first, true, true),
            (first, true, false),
            (first, false, false),
        ] {
            assert_eq!(tracks.set_reordered(generation, references), news, "{generation:?} {references}");
        }
        let track = tracks.of_kind(MediaKind::Video).unwrap();
        assert!(track.reordered && track.references_reordered);
        put(&mut tracks, second, VP8);
        assert!(tracks.set_reordered(second, true), "both at once are news, too");
        assert!(!tracks.set_reordered(second, true));
    }

    #[test]
    fn what_is_learnt_of_pictures_holds_for_their_format() {
        let ([first, second], mut tracks) = (generations(), Tracks::default());
        assert!(!tracks.set_long_gops(first), "no pictures");
        put(&mut tracks, first, VP8);
        assert!(!tracks.set_long_gops(second), "not its track");
        assert!(tracks.set_long_gops(first) && !tracks.set_long_gops(first), "news once");
        assert!(tracks.set_reordered(first, true));
        let learnt = |tracks: &Tracks| {
            let track = tracks.of_kind(MediaKind::Video).unwrap();
            (track.reordered, track.references_reordered, track.long_gops)
        };
        assert_eq!(learnt(&tracks), (true, true, true));
        assert!(!tracks.set_format(first, &VP8) && learnt(&tracks).0, "the same again");
        assert!(tracks.set_format(first, &Format::H264 { sps: Vec::new(), pps: Vec::new() }));
        assert_eq!(learnt(&tracks), (false, false, false));
        assert!(tracks.set_reordered(first, false), "and is news again");
    }

    #[test]
    fn what_does_not_return_is_taken_off() {
        let ([first, second], mut tracks) = (generations(), Tracks::default());
        put(&mut tracks, first, VP8);
        let (sound, _) = put(&mut tracks, first, OPUS);
        assert!(tracks.take_older(first).is_empty());
        let returning = tracks.replace(MediaKind::Video, second).unwrap();
        let gone: Vec<_> = tracks.take_older(second).iter().map(|track| track.producer).collect();
        assert_eq!(gone, [sound], "pictures are just returning");
        tracks.put(&returning, track(VP8), None);
        assert!(tracks.abandon(&returning));
        assert!(tracks.take_older(second).is_empty());
        assert_eq!(tracks.drain().len(), 1);
    }
}
