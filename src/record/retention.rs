//! What has to go, and when recording has to stop. Pure: numbers in, a plan out.
//!
//! By age each recording goes for itself. Where there is too much, the path gives its oldest that holds most.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use crate::base::{StreamPath, UnixNanos};

use super::config::RecordConfig;
use super::id::RecordingId;

/// A recording as retention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub id: RecordingId,
    /// The stream it is of.
    pub path: StreamPath,
    /// When it ended; none while live.
    pub ended_at: Option<UnixNanos>,
    /// Its size on disk.
    pub bytes: u64,
}

/// Why recording stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StopReason {
    /// The live recordings alone reach `record.max_bytes`.
    #[error("the recordings being written have reached record.max_bytes, and there is nothing older left to delete")]
    MaxBytes,
    /// `record.min_free_bytes` can't be kept free.
    #[error("the disk has less free than record.min_free_bytes, and there is nothing older left to delete")]
    DiskFull,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Recordings to delete. Never live ones.
    pub delete: Vec<RecordingId>,
    /// Recording must stop (and not begin) as long as this is so.
    pub stop: Option<StopReason>,
}

/// Decides, given all recordings oldest first, the bytes free on the disk (if known), and the time (if it may be believed).
pub(crate) fn plan(recordings: &[Candidate], config: &RecordConfig, free: Option<u64>, now: Option<UnixNanos>) -> Plan {
    let max_bytes = if config.max_bytes.0 == 0 { u64::MAX } else { config.max_bytes.0 };
    let age = i64::try_from(config.max_age.as_nanos()).unwrap_or(i64::MAX);
    let now = now.filter(|_| config.max_age > Duration::ZERO);
    let is_old = |recording: &Candidate| matches!((now, recording.ended_at), (Some(now), Some(at)) if now.saturating_sub(at) > age);
    let (old, kept): (Vec<&Candidate>, Vec<&Candidate>) = recordings.iter().partition(|recording| is_old(recording));
    let freed: u64 = old.iter().map(|recording| recording.bytes).sum();
    let mut missing = free.map_or(0, |free| config.min_free_bytes.0.saturating_sub(free)).saturating_sub(freed);
    let mut total: u64 = kept.iter().map(|recording| recording.bytes).sum();
    let mut count = kept.len();

    let mut delete: Vec<RecordingId> = old.iter().map(|recording| recording.id.clone()).collect();
    let mut kept = Shares::new(&kept, |recording| recording.bytes);
    while total > max_bytes || missing > 0 {
        let Some(recording) = kept.take() else { break };
        total -= recording.bytes;
        missing = missing.saturating_sub(recording.bytes);
        count -= 1;
        delete.push(recording.id.clone());
    }
    let mut kept = Shares::new(&kept.rest(), |_| 1);
    while count > config.max_recordings {
        let Some(recording) = kept.take() else { break };
        count -= 1;
        delete.push(recording.id.clone());
    }
    let stop = match (missing > 0, total > max_bytes) {
        (true, _) => Some(StopReason::DiskFull),
        (false, true) => Some(StopReason::MaxBytes),
        (false, false) => None,
    };
    Plan { delete, stop }
}

/// What each path holds, of bytes or of recordings: who holds most gives first, so that nobody's recordings go because of another's.
struct Shares<'a> {
    /// Live ones count, but can't be given.
    paths: Vec<Share<'a>>,
    /// Those that have something to give: how much they hold, and which is their oldest.
    giving: BinaryHeap<(u64, Reverse<usize>, usize)>,
    size: fn(&Candidate) -> u64,
}

#[derive(Default)]
struct Share<'a> {
    holds: u64,
    live: Vec<&'a Candidate>,
    /// Oldest first, with their places among all.
    finished: VecDeque<(usize, &'a Candidate)>,
}

impl<'a> Shares<'a> {
    fn new(recordings: &[&'a Candidate], size: fn(&Candidate) -> u64) -> Self {
        let mut places: HashMap<&StreamPath, usize> = HashMap::new();
        let mut paths: Vec<Share<'a>> = Vec::new();
        for (place, &recording) in recordings.iter().enumerate() {
            let path = *places.entry(&recording.path).or_insert_with(|| {
                paths.push(Share::default());
                paths.len() - 1
            });
            let share = &mut paths[path];
            share.holds += size(recording);
            match recording.ended_at {
                None => share.live.push(recording),
                Some(_) => share.finished.push_back((place, recording)),
            }
        }
        let mut this = Self { paths, giving: BinaryHeap::new(), size };
        (0..this.paths.len()).for_each(|path| this.offer(path));
        this
    }

    fn offer(&mut self, path: usize) {
        let share = &self.paths[path];
        if let Some((place, _)) = share.finished.front() {
            self.giving.push((share.holds, Reverse(*place), path));
        }
    }

    /// The oldest of whoever holds most; `None` where all are live.
    fn take(&mut self) -> Option<&'a Candidate> {
        let (_, _, path) = self.giving.pop()?;
        let (_, recording) = self.paths[path].finished.pop_front()?;
        self.paths[path].holds -= (self.size)(recording);
        self.offer(path);
        Some(recording)
    }

    /// What was not taken, oldest first.
    fn rest(self) -> Vec<&'a Candidate> {
        let of_path = |share: Share<'a>| share.live.into_iter().chain(share.finished.into_iter().map(|(_, recording)| recording));
        let mut rest: Vec<_> = self.paths.into_iter().flat_map(of_path).collect();
        rest.sort_by(|a, b| a.id.cmp(&b.id));
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::ByteSize;
    use super::*;

    const DAY: i64 = 86_400_000_000_000;

    /// One a day, of these paths and sizes; those in `live` have not ended.
    fn recordings(of: &[(&str, u64)], live: &[usize]) -> Vec<Candidate> {
        let candidate = |(n, (path, bytes)): (usize, &(&str, u64))| Candidate {
            id: RecordingId::new(n as i64 * 1_000_000_000, &mut crate::base::seeded(1)),
            path: StreamPath::parse(path).unwrap(),
            ended_at: (!live.contains(&n)).then_some(n as i64 * DAY),
            bytes: *bytes,
        };
        of.iter().enumerate().map(candidate).collect()
    }

    fn config(max: u64, free: u64, days: u64) -> RecordConfig {
        RecordConfig {
            max_bytes: ByteSize(max),
            min_free_bytes: ByteSize(free),
            max_age: Duration::from_secs(days * 86_400),
            ..RecordConfig::default()
        }
    }

    /// The places of those that go.
    fn deleted(of: &[Candidate], plan: &Plan) -> Vec<usize> {
        plan.delete.iter().map(|id| of.iter().position(|candidate| candidate.id == *id).unwrap()).collect()
    }

    #[test]
    fn what_goes_and_what_stays() {
        for (sizes, live, config, free, go, stop) in [
            // Enough room.
            ([10; 4], &[3][..], config(100, 5, 0), Some(50), &[][..], None),
            // Age: the first two are older than 1 day and a bit at day 3.
            ([10; 4], &[], config(100, 5, 1), Some(50), &[0, 1][..], None),
            // Size: oldest first, only as many as needed.
            ([10; 4], &[3], config(25, 5, 0), Some(50), &[0, 1], None),
            // A live one in between is passed over.
            ([10; 4], &[0, 3], config(25, 5, 0), Some(50), &[1, 2], None),
            // The live one alone is too large.
            ([10, 10, 10, 30], &[3], config(25, 5, 0), Some(50), &[0, 1, 2], Some(StopReason::MaxBytes)),
            // The disk is filled by others.
            ([10; 4], &[3], config(100, 50, 0), Some(35), &[0, 1], None),
            ([10; 4], &[3], config(100, 50, 0), Some(5), &[0, 1, 2], Some(StopReason::DiskFull)),
            // No limit, and free space unknown.
            ([1 << 60; 4], &[3], config(0, 50, 0), None, &[], None),
        ] {
            let all = recordings(&sizes.map(|size| ("a", size)), live);
            let plan = plan(&all, &config, free, Some(3 * DAY));
            assert_eq!((deleted(&all, &plan), plan.stop), (go.to_vec(), stop), "{sizes:?} {live:?} {free:?}");
        }
    }

    #[test]
    fn by_a_clock_that_is_doubted_nothing_goes_for_its_age() {
        let all = recordings(&[("a", 10); 4], &[3]);
        for (config, now, go) in [
            (config(100, 5, 1), Some(9 * DAY), &[0, 1, 2][..]),
            (config(100, 5, 1), None, &[]),
            // Sizes still count.
            (config(25, 5, 1), None, &[0, 1]),
            // Set back: nothing is old that ended in the future.
            (config(100, 5, 1), Some(-9 * DAY), &[]),
        ] {
            assert_eq!(deleted(&all, &plan(&all, &config, Some(50), now)), go, "{now:?}");
        }
    }

    #[test]
    fn who_holds_most_gives_first() {
        let limited = |bytes: u64, count: usize| RecordConfig { max_recordings: count, ..config(bytes, 0, 0) };
        // Somebody's two, then a flood of another's.
        let flood: Vec<_> = [("a", 100), ("a", 100)].into_iter().chain(std::iter::repeat_n(("b", 1), 20)).collect();
        for (of, live, config, go, stop) in [
            (&[("a", 10), ("b", 10), ("b", 10), ("a", 10), ("b", 10)][..], &[][..], limited(40, 9), &[1][..], None),
            // At the same size, the oldest.
            (&[("a", 10), ("b", 10), ("b", 10), ("a", 10)], &[], limited(30, 9), &[0], None),
            (&[("a", 10), ("b", 10), ("b", 10), ("a", 10)], &[], limited(20, 9), &[0, 1], None),
            // What is live counts for its path, and stays.
            (&[("a", 10), ("b", 10), ("b", 40)], &[2], limited(55, 9), &[1], None),
            (&[("a", 10), ("b", 40)], &[1], limited(45, 9), &[0], None),
            (&[("a", 10), ("b", 60)], &[1], limited(45, 9), &[0], Some(StopReason::MaxBytes)),
            // By number it's the flood that goes, by bytes those who hold them.
            (&flood, &[], limited(1000, 19), &[2, 3, 4], None),
            (&flood, &[21], limited(1000, 1), &[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 0, 20, 1], None),
            (&flood, &[], limited(150, 22), &[0], None),
            // Both: what went for its bytes is not counted again.
            (&flood, &[], limited(150, 19), &[0, 2, 3], None),
        ] {
            let all = recordings(of, live);
            let plan = plan(&all, &config, None, Some(30 * DAY));
            assert_eq!((deleted(&all, &plan), plan.stop), (go.to_vec(), stop), "{of:?} {live:?} {}", config.max_recordings);
        }
    }

    #[test]
    fn a_hundred_thousand_are_planned_at_once() {
        let of: Vec<_> = (0..100_000).map(|n| if n % 2 == 0 { ("a", 10) } else { ("b", 9) }).collect();
        let all = recordings(&of, &[]);
        let plan = plan(&all, &RecordConfig { max_recordings: 10, ..config(0, 0, 0) }, None, None);
        assert_eq!((plan.delete.len(), plan.stop), (99_990, None));
    }
}
