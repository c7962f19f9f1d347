//! What has to go, and when recording has to stop. Pure: numbers in, a plan out.

use std::time::Duration;

use crate::base::UnixNanos;

use super::config::RecordConfig;
use super::id::RecordingId;

/// A recording as retention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub id: RecordingId,
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
    /// Recordings to delete, oldest first. Never live ones.
    pub delete: Vec<RecordingId>,
    /// Recording must stop (and not begin) as long as this is so.
    pub stop: Option<StopReason>,
}

/// Decides, given all recordings oldest first and the bytes free on the disk (if known).
pub(crate) fn plan(recordings: &[Candidate], config: &RecordConfig, free: Option<u64>, now: UnixNanos) -> Plan {
    let mut plan = Plan::default();
    let mut total: u64 = recordings.iter().map(|r| r.bytes).sum();
    let mut missing = free.map_or(0, |free| config.min_free_bytes.0.saturating_sub(free));
    let max = if config.max_bytes.0 == 0 { u64::MAX } else { config.max_bytes.0 };
    let age = i64::try_from(config.max_age.as_nanos()).unwrap_or(i64::MAX);
    for recording in recordings {
        let Some(ended_at) = recording.ended_at else { continue };
        let old = config.max_age > Duration::ZERO && now.saturating_sub(ended_at) > age;
        if old || total > max || missing > 0 {
            total -= recording.bytes;
            missing = missing.saturating_sub(recording.bytes);
            plan.delete.push(recording.id.clone());
        }
    }
    plan.stop = if missing > 0 {
        Some(StopReason::DiskFull)
    } else if total > max {
        Some(StopReason::MaxBytes)
    } else {
        None
    };
    plan
}

#[cfg(test)]
mod tests {
    use super::super::config::ByteSize;
    use super::*;

    const DAY: i64 = 86_400_000_000_000;

    #[test]
    fn what_goes_and_what_stays() {
        let id = |n: i64| RecordingId::new(n * 1_000_000_000, &mut crate::base::seeded(1));
        let ids: Vec<_> = (0..4).map(id).collect();
        let all = |sizes: [u64; 4], live: &[usize]| -> Vec<Candidate> {
            (0..4)
                .map(|n| Candidate { id: ids[n].clone(), ended_at: (!live.contains(&n)).then_some(n as i64 * DAY), bytes: sizes[n] })
                .collect()
        };
        let config = |max: u64, free: u64, days: u64| RecordConfig {
            max_bytes: ByteSize(max),
            min_free_bytes: ByteSize(free),
            max_age: Duration::from_secs(days * 86_400),
            ..RecordConfig::default()
        };
        for (sizes, live, config, free, deleted, stop) in [
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
            let plan = plan(&all(sizes, live), &config, free, 3 * DAY);
            let want: Vec<_> = deleted.iter().map(|n: &usize| ids[*n].clone()).collect();
            assert_eq!((plan.delete, plan.stop), (want, stop), "{sizes:?} {live:?} {free:?}");
        }
    }
}
