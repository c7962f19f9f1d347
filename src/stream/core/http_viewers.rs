//! Counts players that come by HTTP, of whom nothing is known but that they asked a moment ago.

use std::collections::HashMap;

use crate::base::UnixNanos;

/// How long after its last request a player counts as watching, in ns: longer than a player waits between two segments of usual lengths.
const WATCHING_FOR: i64 = 15_000_000_000;
/// Most players remembered per stream; beyond it newcomers are served but not counted, so that forged addresses cost no memory.
const MAX_PLAYERS: usize = 20_000;

/// The HTTP players of a stream.
#[derive(Debug, Default)]
pub(super) struct HttpViewers {
    last_seen: HashMap<(&'static str, u64), UnixNanos>,
    swept: UnixNanos,
}

impl HttpViewers {
    /// Player `who` asked for something by `protocol`.
    pub(super) fn note(&mut self, protocol: &'static str, who: u64, now: UnixNanos) {
        if now - self.swept > WATCHING_FOR {
            self.swept = now;
            self.last_seen.retain(|_, seen| now - *seen <= WATCHING_FOR);
        }
        if self.last_seen.len() < MAX_PLAYERS || self.last_seen.contains_key(&(protocol, who)) {
            self.last_seen.insert((protocol, who), now);
        }
    }

    /// How many are watching by each protocol.
    pub(super) fn counts(&self, now: UnixNanos) -> impl Iterator<Item = &'static str> + '_ {
        self.last_seen.iter().filter(move |(_, seen)| now - **seen <= WATCHING_FOR).map(|((protocol, _), _)| *protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn players_come_and_go() {
        let mut viewers = HttpViewers::default();
        let s = 1_000_000_000;
        viewers.note("hls", 1, 100 * s);
        viewers.note("hls", 1, 101 * s);
        viewers.note("dash", 1, 101 * s);
        assert_eq!(viewers.counts(102 * s).count(), 2);
        assert_eq!(viewers.counts(117 * s).count(), 0);
        viewers.note("hls", 2, 200 * s);
        assert_eq!(viewers.last_seen.len(), 1, "the old ones were swept");
    }

    #[test]
    fn forged_players_are_bounded() {
        let mut viewers = HttpViewers::default();
        for who in 0..MAX_PLAYERS as u64 + 100 {
            viewers.note("hls", who, 1);
        }
        assert_eq!(viewers.last_seen.len(), MAX_PLAYERS);
    }
}
