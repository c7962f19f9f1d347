//! Which state of a growing recording each client was sent, so that a download which goes on without naming it goes on in the same one.
//!
//! In: who was sent what. Out: what a range that begins inside the file may be cut from. Bounded; a client that fell out is a stranger.

use std::collections::HashMap;

use crate::base::UnixNanos;

use super::id::RecordingId;
use super::mp4::Snapshot;

/// Downloads that are remembered, about 200 bytes each: far more than a server has at once.
const MAX_DOWNLOADS: usize = 4096;
/// States that are told apart per client. One more makes no difference: with two it is uncertain already which one is meant.
const MAX_STATES: usize = 2;
/// Who asked for nothing for so long is forgotten: a download that goes on after a night begins anew.
const KEPT_FOR: i64 = 6 * 3600 * 1_000_000_000;

/// What a client has of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing, and nobody has anything else than the newest.
    Nothing,
    /// Nothing that is known, but somebody has an older state.
    Unknown,
    One(Snapshot),
    /// Several; this was the last one. Which one is meant can't be told.
    Several(Snapshot),
}

#[derive(Debug, Default)]
pub(super) struct Downloads {
    table: HashMap<(RecordingId, u64), Download>,
}

#[derive(Debug)]
struct Download {
    /// Newest last.
    states: Vec<Snapshot>,
    used: UnixNanos,
}

impl Downloads {
    /// A client begins with a state of a recording. Of a finished one only what differs from before matters.
    pub(super) fn begin(&mut self, id: &RecordingId, client: u64, state: &Snapshot, live: bool, now: UnixNanos) {
        let key = (id.clone(), client);
        if !live && !self.table.contains_key(&key) {
            return;
        }
        if self.table.len() >= MAX_DOWNLOADS && !self.table.contains_key(&key) {
            self.make_room(now);
        }
        let download = self.table.entry(key).or_insert(Download { states: Vec::new(), used: now });
        download.used = now;
        download.states.retain(|known| known != state);
        download.states.push(state.clone());
        if download.states.len() > MAX_STATES {
            download.states.remove(0);
        }
    }

    /// What a client has, who asks for more of it now.
    pub(super) fn of(&mut self, id: &RecordingId, client: u64, live: bool, now: UnixNanos) -> Sent {
        let recent = |download: &Download| now.saturating_sub(download.used) < KEPT_FOR;
        if let Some(download) = self.table.get_mut(&(id.clone(), client)).filter(|download| recent(download)) {
            download.used = now;
            return match download.states.as_slice() {
                [] => Sent::Unknown,
                [one] => Sent::One(one.clone()),
                [.., last] => Sent::Several(last.clone()),
            };
        }
        let grew = live || self.table.iter().any(|((other, _), download)| other == id && recent(download));
        if grew { Sent::Unknown } else { Sent::Nothing }
    }

    /// A recording was deleted.
    pub(super) fn forget(&mut self, id: &RecordingId) {
        self.table.retain(|(other, _), _| other != id);
    }

    fn make_room(&mut self, now: UnixNanos) {
        self.table.retain(|_, download| now.saturating_sub(download.used) < KEPT_FOR);
        // Rare, and then a quarter at once: looking for the oldest takes a look at all.
        if self.table.len() >= MAX_DOWNLOADS {
            let mut times: Vec<UnixNanos> = self.table.values().map(|download| download.used).collect();
            times.sort_unstable();
            let limit = times.get(times.len() / 4).copied().unwrap_or(now);
            self.table.retain(|_, download| download.used > limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600 * 1_000_000_000;

    #[test]
    fn what_clients_have() {
        let (a, b) = (RecordingId::new(1, &mut crate::base::seeded(1)), RecordingId::new(2, &mut crate::base::seeded(2)));
        let (old, new) = (Snapshot::testing(5), Snapshot::testing(9));
        let mut downloads = Downloads::default();
        assert_eq!(downloads.of(&a, 1, false, 0), Sent::Nothing);
        assert_eq!(downloads.of(&a, 1, true, 0), Sent::Unknown);
        downloads.begin(&a, 1, &old, true, 0);
        downloads.begin(&a, 2, &new, true, 0);
        downloads.begin(&b, 1, &new, false, 0);
        assert_eq!(downloads.of(&a, 1, true, 0), Sent::One(old.clone()));
        assert_eq!(downloads.of(&a, 1, false, 0), Sent::One(old.clone()), "also once it is finished");
        assert_eq!(downloads.of(&a, 2, true, 0), Sent::One(new.clone()));
        assert_eq!(downloads.of(&a, 3, false, 0), Sent::Unknown);
        assert_eq!(downloads.of(&b, 1, false, 0), Sent::Nothing, "a finished one has one state");
        // One who begins anew while the old download may still go on.
        downloads.begin(&a, 1, &new, true, 0);
        assert_eq!(downloads.of(&a, 1, true, 0), Sent::Several(new.clone()));
        downloads.begin(&a, 1, &old, true, 0);
        assert_eq!(downloads.of(&a, 1, true, 5 * HOUR), Sent::Several(old));
        assert_eq!(downloads.of(&a, 1, true, 10 * HOUR), Sent::Several(Snapshot::testing(5)), "each use counts");
        assert_eq!(downloads.of(&a, 2, true, 10 * HOUR), Sent::Unknown);
        assert_eq!(downloads.of(&a, 1, false, 17 * HOUR), Sent::Nothing);
        downloads.forget(&a);
        assert_eq!(downloads.of(&a, 1, true, 0), Sent::Unknown);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_who_is_active() {
        let id = RecordingId::new(1, &mut crate::base::seeded(1));
        let mut downloads = Downloads::default();
        for client in 0..3 * MAX_DOWNLOADS as u64 {
            downloads.begin(&id, client, &Snapshot::testing(1), true, client as i64);
            assert!(downloads.table.len() <= MAX_DOWNLOADS);
        }
        assert_eq!(downloads.of(&id, 3 * MAX_DOWNLOADS as u64 - 1, true, 0), Sent::One(Snapshot::testing(1)));
    }
}
