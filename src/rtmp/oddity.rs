//! What peers do otherwise than they should, and is put up with: ignored, mended, or refused while the connection goes on.
//!
//! In: what the session comes across. Out: how often each kind was, a name for the metrics, a sentence for the log, and advice where the
//! publisher can change it.

/// A kind of odd behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Oddity {
    /// The stream's name was written in a way that had to be mended.
    StreamName,
    /// `connect` came again.
    RepeatedConnect,
    /// `publish` came again for what is being published.
    RepeatedPublish,
    /// `publish` or `play` on a message stream that `createStream` never gave.
    UnknownMessageStream,
    /// `publish` or `play` that the connection has no room or no message stream for.
    RefusedStream,
    /// Media on another message stream than the one published on.
    MisaddressedMedia,
    /// Media or metadata of nothing that is being published.
    UnexpectedMedia,
    /// A command that nobody here knows.
    UnknownCommand,
    /// A command that can't be read to its end.
    UnreadableCommand,
    /// Metadata that can't be read to its end.
    UnreadableMetadata,
    /// Data too long to be looked at.
    OversizedData,
    /// A message type that nobody here reads.
    UnknownMessage,
    /// A user control event that nobody here knows.
    UnknownControl,
    /// A message that was begun and given up.
    AbandonedMessage,
    /// A chunk stream that began with a header without length and type.
    HeadlessChunk,
    /// Another publisher had to go for this one: it was gone without a word, or the configuration says so.
    Predecessor,
    /// An aggregate that ends within a tag, or has too many.
    CutAggregate,
    /// Chunk headers without the extended timestamp they should have.
    BareHeader,
    /// An acknowledgement window of nothing or next to nothing.
    AckWindow,
    /// The handshake's last part has nothing to do with what we sent.
    HandshakeAnswer,
    /// A control message too short to say anything.
    ShortControl,
}

impl Oddity {
    pub const ALL: [Self; 21] = [
        Self::StreamName,
        Self::RepeatedConnect,
        Self::RepeatedPublish,
        Self::UnknownMessageStream,
        Self::RefusedStream,
        Self::MisaddressedMedia,
        Self::UnexpectedMedia,
        Self::UnknownCommand,
        Self::UnreadableCommand,
        Self::UnreadableMetadata,
        Self::OversizedData,
        Self::UnknownMessage,
        Self::UnknownControl,
        Self::AbandonedMessage,
        Self::HeadlessChunk,
        Self::Predecessor,
        Self::CutAggregate,
        Self::BareHeader,
        Self::AckWindow,
        Self::HandshakeAnswer,
        Self::ShortControl,
    ];

    /// For machines.
    pub fn name(self) -> &'static str {
        self.facts().0
    }

    /// What happened, for the log.
    pub fn sentence(self) -> &'static str {
        self.facts().1
    }

    /// What the publisher can change, for people.
    pub fn advice(self) -> Option<&'static str> {
        self.facts().2
    }

    fn facts(self) -> (&'static str, &'static str, Option<&'static str>) {
        match self {
            Self::StreamName => (
                "stream_name",
                "the stream's name was mended: blanks around it, a whole address, or '&' for '?'",
                Some(
                    "The stream key was understood, though it is not written as it should be. Put only the stream's name into the encoder's \
                     \"Stream Key\" (such as cam1, or cam1?token=…): no blanks or line ends around it, not the whole address, and '?' before \
                     the token.",
                ),
            ),
            Self::RepeatedConnect => ("repeated_connect", "connect came again, and was answered again", None),
            Self::RepeatedPublish => ("repeated_publish", "publish came again for the same stream, and was answered again", None),
            Self::UnknownMessageStream => ("unknown_message_stream", "publish or play on a message stream that was never created", None),
            Self::RefusedStream => ("refused_stream", "one more stream on the connection was refused", None),
            Self::MisaddressedMedia => {
                ("misaddressed_media", "media came on another message stream than the published one, and was taken for its", None)
            }
            Self::UnexpectedMedia => ("unexpected_media", "media came for nothing that is being published, and was left out", None),
            Self::UnknownCommand => ("unknown_command", "a command that is not known was not obeyed", None),
            Self::UnreadableCommand => ("unreadable_command", "a command could not be read to its end; what stood before was used", None),
            Self::UnreadableMetadata => (
                "unreadable_metadata",
                "metadata could not be read to its end; what stood before was used",
                Some(
                    "The encoder's onMetaData is damaged or has more values than are read. Update the encoder, or turn custom metadata off.",
                ),
            ),
            Self::OversizedData => (
                "oversized_data",
                "data of more than 64 KiB was left out",
                Some(
                    "The encoder sends metadata of more than 64 KiB, which is left out. Where a file is pushed, leave out its table of key \
                     frames (in ffmpeg without -flvflags add_keyframe_index), and embedded pictures.",
                ),
            ),
            Self::UnknownMessage => ("unknown_message", "a message of a type that is not known was left out", None),
            Self::UnknownControl => ("unknown_control", "a user control event that is not known was left out", None),
            Self::AbandonedMessage => ("abandoned_message", "a message was begun and never ended", None),
            Self::HeadlessChunk => ("headless_chunk", "a chunk stream began without saying what it carries, and was read on", None),
            Self::Predecessor => ("predecessor", "another publisher of the same path, silent perhaps, had to go for this one", None),
            Self::CutAggregate => ("cut_aggregate", "an aggregate ended within a tag or had too many; those before were taken", None),
            Self::BareHeader => ("bare_header", "chunk headers came without their extended timestamp, and were read nevertheless", None),
            Self::AckWindow => ("ack_window", "an acknowledgement window too small to be of use was widened", None),
            Self::HandshakeAnswer => {
                ("handshake_answer", "the handshake's last part (C2) neither repeated ours nor was signed for it, and was taken", None)
            }
            Self::ShortControl => ("short_control", "a control message too short to say anything was left out", None),
        }
    }
}

/// How often each kind was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Oddities {
    counts: [u64; Oddity::ALL.len()],
    reported: [u64; Oddity::ALL.len()],
}

impl Oddities {
    /// How often it was.
    pub fn of(&self, oddity: Oddity) -> u64 {
        self.counts[oddity as usize]
    }

    pub(super) fn note(&mut self, oddity: Oddity) {
        self.add(oddity, 1);
    }

    pub(super) fn add(&mut self, oddity: Oddity, times: u64) {
        self.counts[oddity as usize] += times;
    }

    /// What came since the last call: which, how often, and whether for the first time.
    pub fn take_news(&mut self) -> impl Iterator<Item = (Oddity, u64, bool)> {
        let before = std::mem::replace(&mut self.reported, self.counts);
        let counts = self.counts;
        Oddity::ALL.into_iter().filter_map(move |oddity| {
            let (now, before) = (counts[oddity as usize], before[oddity as usize]);
            (now > before).then_some((oddity, now - before, before == 0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_place_and_its_own_name() {
        for (index, oddity) in Oddity::ALL.into_iter().enumerate() {
            assert_eq!(oddity as usize, index);
            assert_eq!(Oddity::ALL.iter().filter(|other| other.name() == oddity.name()).count(), 1, "{}", oddity.name());
            assert!(!oddity.sentence().is_empty());
        }
    }

    #[test]
    fn news_are_told_once() {
        let mut oddities = Oddities::default();
        oddities.note(Oddity::AckWindow);
        oddities.add(Oddity::BareHeader, 5);
        assert_eq!(oddities.take_news().collect::<Vec<_>>(), [(Oddity::BareHeader, 5, true), (Oddity::AckWindow, 1, true)]);
        oddities.note(Oddity::AckWindow);
        assert_eq!(oddities.take_news().collect::<Vec<_>>(), [(Oddity::AckWindow, 1, false)]);
        assert_eq!(oddities.take_news().count(), 0);
        assert_eq!(oddities.of(Oddity::AckWindow), 2);
    }
}
