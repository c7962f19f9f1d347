//! The publisher's place: who holds it, who held it before, and why somebody has to go.

use std::net::IpAddr;

use crate::base::UnixNanos;

/// Counts the publishers of a stream; what an older one says about it no longer holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(u64);

impl Generation {
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Whether there was one before.
    pub(crate) fn is_returning(self) -> bool {
        self.0 > 1
    }
}

/// Who wants to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Newcomer {
    pub protocol: &'static str,
    pub remote: Option<IpAddr>,
    /// What it calls itself.
    pub agent: Option<String>,
    /// When it came, if it would rather wait than be refused.
    pub waiting_since: Option<UnixNanos>,
}

/// Who publishes now.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// As it introduced itself.
    pub who: Newcomer,
    /// When it came.
    pub since: UnixNanos,
    must_go: Option<&'static str>,
    /// It has said all there is; what is left of it is still being written.
    ended: bool,
}

/// The place: one publisher at a time.
#[derive(Debug, Default)]
pub(super) struct Place {
    generation: Generation,
    holder: Option<Publisher>,
    /// Where the media ended, for the publisher that returns.
    media_end: UnixNanos,
    /// Why the last one was sent away, if it was.
    farewell: Option<(Generation, &'static str)>,
}

impl Place {
    pub(super) fn holder(&self) -> Option<&Publisher> {
        self.holder.as_ref()
    }

    /// The newest publisher, whether it is still there or not.
    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    pub(super) fn media_end(&self) -> UnixNanos {
        self.media_end
    }

    /// Gives the place to `who`. True where somebody had to go for it.
    pub(super) fn take(&mut self, who: Newcomer, now: UnixNanos) -> bool {
        let taken_over = self.send_away("another publisher took over");
        if taken_over {
            self.media_end = now;
        }
        self.generation = self.generation.next();
        self.holder = Some(Publisher { who, since: now, must_go: None, ended: false });
        taken_over
    }

    /// The publisher went by itself. False where it is not the one who holds the place.
    pub(super) fn leave(&mut self, generation: Generation, now: UnixNanos) -> bool {
        let left = generation == self.generation && self.holder.take().is_some();
        if left {
            self.media_end = now;
        }
        left
    }

    /// The publisher has said all there is.
    pub(super) fn note_end(&mut self, generation: Generation) {
        if let Some(holder) = self.holder.as_mut().filter(|_| generation == self.generation) {
            holder.ended = true;
        }
    }

    /// Whether whoever holds the place has said all there is.
    pub(super) fn has_ended(&self) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.ended)
    }

    /// Says to whoever holds the place that it has to go. False where nobody does. The first reason stands.
    pub(super) fn evict(&mut self, why: &'static str) -> bool {
        self.holder.as_mut().map(|holder| holder.must_go.get_or_insert(why)).is_some()
    }

    /// As [`Place::evict`], if that one still holds the place.
    pub(super) fn evict_one(&mut self, generation: Generation, why: &'static str) -> bool {
        generation == self.generation && self.evict(why)
    }

    /// Nobody publishes any more.
    pub(super) fn close(&mut self) {
        self.send_away("the stream has ended");
    }

    fn send_away(&mut self, why: &'static str) -> bool {
        let Some(holder) = self.holder.take() else { return false };
        self.farewell = Some((self.generation, holder.must_go.unwrap_or(why)));
        true
    }

    /// Why the publisher of `generation` must go; `None` while it holds the place in peace.
    pub(super) fn must_go(&self, generation: Generation) -> Option<&'static str> {
        match (&self.holder, self.farewell) {
            (Some(holder), _) if generation == self.generation => holder.must_go,
            (_, Some((of, why))) if of == generation => Some(why),
            _ if generation < self.generation => Some("another publisher took over"),
            _ => Some("the stream has ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(agent: &str) -> Newcomer {
        Newcomer { protocol: "rtmp", remote: None, agent: Some(agent.into()), waiting_since: None }
    }

    #[test]
    fn the_one_who_is_replaced_hears_why() {
        let mut place = Place::default();
        assert!(!place.take(who("a"), 1), "nobody was there");
        let first = place.generation();
        assert_eq!((first.is_returning(), place.must_go(first)), (false, None));
        assert!(place.take(who("b"), 2));
        assert_eq!(place.media_end(), 2, "the first one's media is over");
        let second = place.generation();
        assert!(second.is_returning() && first < second);
        assert_eq!(place.must_go(first), Some("another publisher took over"));
        assert_eq!(place.must_go(second), None);
        // What the first one does now is nothing to the second one.
        assert!(!place.leave(first, 3));
        assert_eq!(place.holder().map(|holder| (holder.who.agent.as_deref(), holder.since)), Some((Some("b"), 2)));
        assert!(place.take(who("c"), 4));
        assert_eq!(place.must_go(first), Some("another publisher took over"), "however long it takes to go");
    }

    #[test]
    fn the_first_reason_stands() {
        let mut place = Place::default();
        assert!(!place.evict("nobody hears this"));
        place.take(who("a"), 1);
        let first = place.generation();
        assert!(place.evict("ended by the operator") && place.evict("the server is shutting down"));
        assert_eq!(place.must_go(first), Some("ended by the operator"));
        place.close();
        assert_eq!(place.must_go(first), Some("ended by the operator"), "also when the stream ended with it");
    }

    #[test]
    fn a_publisher_whose_stream_ended_hears_so() {
        let mut place = Place::default();
        place.take(who("a"), 1);
        let first = place.generation();
        place.close();
        place.close();
        assert_eq!(place.must_go(first), Some("the stream has ended"));
        assert!(!place.leave(first, 2));
        assert_eq!(place.media_end(), 0);
    }

    #[test]
    fn who_returns_after_going_by_itself_knows_where_the_media_ended() {
        let mut place = Place::default();
        place.take(who("a"), 1);
        assert!(place.leave(place.generation(), 7));
        assert!(!place.leave(place.generation(), 9), "once");
        assert!(!place.take(who("a"), 10));
        assert_eq!((place.media_end(), place.generation().is_returning()), (7, true));
    }
}
