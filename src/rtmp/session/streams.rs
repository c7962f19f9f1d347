//! The message streams of a connection that publish or play (RTMP 1.0 section 7.2): most connections have one, some have several.
//!
//! In: message stream ids from the peer, right or wrong. Out: which stream is meant.

use std::collections::VecDeque;

use crate::base::StreamPath;
use crate::base::wrap::TimestampExtender;

/// Streams that publish or play at once. Flash clients have two or three (several bit rates, or a talk with both sides), encoders one.
pub(crate) const MAX_ACTIVE: usize = 4;
/// Ended streams that are remembered, so that media which still comes for them is not taken for another one's.
const MAX_ENDED: usize = 16;

/// What a message stream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// `publish` was asked for and is being decided.
    WantsPublish,
    Publishing,
    WantsPlay,
    Playing,
}

impl State {
    pub(super) fn is_undecided(self) -> bool {
        matches!(self, Self::WantsPublish | Self::WantsPlay)
    }

    pub(super) fn is_publisher(self) -> bool {
        matches!(self, Self::WantsPublish | Self::Publishing)
    }
}

/// A message stream that publishes or plays.
#[derive(Debug)]
pub(super) struct MessageStream {
    pub(super) id: u32,
    pub(super) state: State,
    pub(super) path: StreamPath,
    /// Receive audio, receive video, not paused.
    pub(super) receive: (bool, bool, bool),
    /// Over audio and video together, so that both wrap at the same place.
    pub(super) timeline: TimestampExtender,
    /// Media has come for it since the owner asked.
    pub(super) heard: bool,
}

/// Those of one connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    active: Vec<MessageStream>,
    ended: VecDeque<u32>,
}

impl Streams {
    /// Adds one; false where there are too many.
    pub(super) fn begin(&mut self, id: u32, state: State, path: StreamPath) -> bool {
        if self.active.len() >= MAX_ACTIVE {
            return false;
        }
        self.ended.retain(|ended| *ended != id);
        self.active.push(MessageStream { id, state, path, receive: (true, true, true), timeline: TimestampExtender::new(), heard: false });
        true
    }

    pub(super) fn end(&mut self, id: u32) -> Option<MessageStream> {
        let at = self.active.iter().position(|stream| stream.id == id)?;
        self.ended.push_back(id);
        if self.ended.len() > MAX_ENDED {
            self.ended.pop_front();
        }
        Some(self.active.swap_remove(at))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &MessageStream> {
        self.active.iter()
    }

    pub(super) fn get(&self, id: u32) -> Option<&MessageStream> {
        self.active.iter().find(|stream| stream.id == id)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut MessageStream> {
        self.active.iter_mut().find(|stream| stream.id == id)
    }

    pub(super) fn is_undecided(&self) -> bool {
        self.active.iter().any(|stream| stream.state.is_undecided())
    }

    pub(super) fn is_publishing(&self) -> bool {
        self.active.iter().any(|stream| stream.state == State::Publishing)
    }

    /// Which stream a command on message stream `id` is about: that one; else, as clients that mix their ids up mean, the only one.
    pub(super) fn meant(&self, id: u32) -> Option<u32> {
        match (&self.active[..], self.get(id)) {
            (_, Some(stream)) => Some(stream.id),
            ([only], None) if !self.ended.contains(&id) => Some(only.id),
            _ => None,
        }
    }

    /// Which publication media on message stream `id` is for, and whether it says so.
    pub(super) fn published_by(&mut self, id: u32) -> Option<(&mut MessageStream, bool)> {
        let publishing = |stream: &MessageStream| stream.state == State::Publishing;
        let at = self.active.iter().position(|stream| stream.id == id && publishing(stream));
        let mut all = self.active.iter().enumerate().filter(|(_, stream)| publishing(stream)).map(|(index, _)| index);
        let only = all.next().filter(|_| all.next().is_none() && !self.ended.contains(&id));
        let index = at.or(only)?;
        self.active.get_mut(index).map(|stream| (stream, at.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_meant() {
        let path = || StreamPath::parse("live/a").unwrap();
        let mut streams = Streams::default();
        assert_eq!((streams.meant(0), streams.meant(1)), (None, None));
        assert!(streams.begin(1, State::Publishing, path()));
        for id in [0, 1, 7] {
            assert_eq!(streams.meant(id), Some(1), "the only one");
            assert_eq!(streams.published_by(id).map(|(stream, exact)| (stream.id, exact)), Some((1, id == 1)));
        }
        assert!(streams.begin(2, State::Publishing, path()));
        for (id, meant) in [(0, None), (1, Some(1)), (2, Some(2)), (3, None)] {
            assert_eq!(streams.meant(id), meant);
            assert_eq!(streams.published_by(id).map(|(stream, _)| stream.id), meant);
        }
        // What still comes for the second is not taken for the first one's.
        assert!(streams.end(2).is_some() && streams.end(2).is_none());
        assert_eq!((streams.meant(2), streams.published_by(2).is_some()), (None, false));
        assert!(
            streams.begin(2, State::WantsPlay, path())
                && streams.begin(3, State::Playing, path())
                && streams.begin(4, State::Playing, path())
        );
        assert!(!streams.begin(5, State::Playing, path()), "too many");
        assert_eq!(streams.published_by(3).map(|(stream, exact)| (stream.id, exact)), Some((1, false)));
        (10..100).for_each(|id| {
            streams.end(4);
            streams.begin(4, State::Playing, path());
            streams.begin(id, State::Playing, path());
        });
        assert!(streams.ended.len() <= MAX_ENDED);
    }
}
