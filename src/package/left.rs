//! Segments that have left their window while somebody still reads them.
//!
//! In: segments that leave. Out: which of them are to be let go: the oldest, whose readers are the slowest, where all together are too much.

use std::sync::{Arc, Mutex, Weak};

use super::snapshot::Segment;
use crate::base::lock;

/// Those of all windows. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Left(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// In bytes.
    most: usize,
    /// In the order in which they left.
    segments: Mutex<Vec<Weak<Segment>>>,
}

impl Left {
    /// At most `most` bytes stay.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Inner { most, segments: Mutex::default() }))
    }

    /// These leave their window.
    pub(crate) fn leave(&self, segments: impl IntoIterator<Item = Arc<Segment>>) {
        let mut left = lock(&self.0.segments);
        left.retain(|segment| segment.strong_count() > 0);
        left.extend(segments.into_iter().map(|segment| Arc::downgrade(&segment)));
        let held: Vec<_> = left.iter().filter_map(Weak::upgrade).filter(|segment| !segment.recall.is_set()).collect();
        let mut bytes: usize = held.iter().map(|segment| segment.bytes()).sum();
        for segment in held {
            if bytes <= self.0.most {
                break;
            }
            bytes -= segment.bytes();
            segment.recall.set();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::package::{Part, Recall};

    fn segment(number: u64, len: usize) -> Arc<Segment> {
        Arc::new(Segment {
            number,
            epoch: 0,
            wallclock: 0,
            presentation_time: 0,
            duration: 1,
            timescale: 1,
            parts: vec![Part { duration: 1, independent: true, data: Bytes::from(vec![0; len]) }],
            complete: true,
            timeline: None,
            recall: Recall::default(),
        })
    }

    #[test]
    fn the_oldest_go_where_all_together_are_too_much() {
        let left = Left::new(1000);
        let mut read: Vec<Arc<Segment>> = Vec::new();
        for number in 0..20 {
            let segment = segment(number, 100);
            // Every other one is read by somebody who doesn't come to its end.
            read.extend((number % 2 == 0).then(|| segment.clone()));
            left.leave([segment]);
        }
        assert!(read.iter().all(|segment| !segment.recall.is_set()));
        let more: Vec<_> = (20..23).map(|number| segment(number, 100)).collect();
        left.leave(more.clone());
        let recalled: Vec<u64> = read.iter().chain(&more).filter(|segment| segment.recall.is_set()).map(|segment| segment.number).collect();
        assert_eq!(recalled, [0, 2, 4]);
        // Who lets go makes room.
        read.truncate(5);
        left.leave([segment(30, 100)]);
        assert!(!read[3].recall.is_set() && !more[2].recall.is_set());
    }
}
