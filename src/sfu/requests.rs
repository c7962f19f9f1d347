//! Which of a viewer's key-frame requests (PLI, FIR) are followed. Each costs: a publisher that can be asked makes a key frame for all, and from one
//! that can't the viewer is started again from the cache.
//!
//! In: what is asked, and the newest key frame. Out: whether the source is asked, whether the viewer may start again. Who loses a picture now and
//! then is always heard at once; who asks without end gets a share.

use std::time::{Duration, Instant};

/// What one viewer's requests cost a publisher in the long run: a key frame in so long, as often as encoders make one anyway.
const EACH: Duration = Duration::from_secs(8);
/// Requests that are saved up, for a bad minute.
const SAVED: u32 = 8;
/// A viewer is started again from the cache at most once in this time: each time costs it a GOP of data.
const RESTART_INTERVAL: Duration = Duration::from_secs(2);
/// What that grows to, doubled by each restart that begins where the one before did: all it brings is known.
const MAX_RESTART_INTERVAL: Duration = Duration::from_secs(60);
/// Who asked for nothing for so long has recovered.
const QUIET: Duration = Duration::from_secs(60);

/// One viewer's.
#[derive(Debug)]
pub(super) struct Requests {
    last: Option<Instant>,
    /// The newest key frame when the source was asked last: a request that nothing has answered yet is the same one.
    asked_at: Option<Option<u64>>,
    /// When all that was saved up will be there again.
    full_at: Option<Instant>,
    /// The last restart, and the key frame that it began with.
    restart: Option<(Instant, u64)>,
    interval: Duration,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self { last: None, asked_at: None, full_at: None, restart: None, interval: RESTART_INTERVAL }
    }

    /// It asks, the newest key frame being `key`. Whether the source is to hear of it.
    pub(super) fn ask(&mut self, now: Instant, key: Option<u64>) -> bool {
        if self.last.replace(now).is_some_and(|last| now.saturating_duration_since(last) >= QUIET) {
            self.interval = RESTART_INTERVAL;
        }
        if self.asked_at == Some(key) {
            return true;
        }
        let full_at = self.full_at.unwrap_or(now).max(now) + EACH;
        if full_at > now + EACH * SAVED {
            return false;
        }
        (self.full_at, self.asked_at) = (Some(full_at), Some(key));
        true
    }

    /// Whether it may start again from the cache.
    pub(super) fn may_restart(&self, now: Instant) -> bool {
        self.restart.is_none_or(|(last, _)| now.saturating_duration_since(last) >= self.interval)
    }

    /// It has started again from this key frame.
    pub(super) fn restarted(&mut self, now: Instant, key: u64) {
        if self.restart.replace((now, key)).is_some_and(|(_, before)| before == key) {
            self.interval = (self.interval * 2).min(MAX_RESTART_INTERVAL);
        }
    }

    /// Its producer was replaced: key frames are counted anew.
    pub(super) fn forget_key_frames(&mut self) {
        (self.asked_at, self.restart) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods)] // The virtual clock has to begin somewhere.
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn who_asks_without_end_gets_a_share() {
        let (begin, mut requests) = (start(), Requests::new());
        let mut key = 0;
        let mut answered = Vec::new();
        for tick in 0..6000_u32 {
            let now = begin + Duration::from_millis(100) * tick;
            if requests.ask(now, Some(key)) {
                // Repetitions of what is not answered yet are one.
                assert!(requests.ask(now, Some(key)));
                key += 1;
                answered.push(tick);
            }
        }
        assert_eq!(answered[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(answered.len(), 8 + 600 / 8 - 1);
        // All is there again after a quiet minute.
        let later = begin + Duration::from_secs(700);
        assert_eq!((0..100).filter(|n| requests.ask(later, Some(key + n))).count(), 8);
    }

    #[test]
    fn the_same_again_takes_longer_each_time() {
        let (begin, mut requests) = (start(), Requests::new());
        let mut restarts = Vec::new();
        for second in 0..400 {
            let now = begin + Duration::from_secs(second);
            requests.ask(now, Some(5));
            if requests.may_restart(now) {
                requests.restarted(now, 5);
                restarts.push(second);
            }
        }
        assert_eq!(restarts, [0, 2, 6, 14, 30, 62, 122, 182, 242, 302, 362]);
        // Quiet for a minute.
        let now = begin + Duration::from_secs(500);
        requests.ask(now, Some(5));
        for key in 6..100 {
            // New key frames are always worth it.
            let now = now + Duration::from_secs(2) * (key - 6);
            requests.ask(now, Some(key.into()));
            assert!(requests.may_restart(now));
            requests.restarted(now, key.into());
        }
    }
}
