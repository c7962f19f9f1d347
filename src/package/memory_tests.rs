//! What windows hold, each and together, whatever comes.

use std::time::Duration;

use bytes::Bytes;
use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::prelude::*;

use super::tests::{NOW, chunk, init, plenty};
use super::*;
use crate::base::Budget;
use crate::cmaf::{Chunk, Targets};

fn memory(budget: &Budget) -> Memory {
    Memory { share: budget.share(), left: Left::new(usize::MAX) }
}

fn held(window: &Window) -> usize {
    window.snapshot().tracks.iter().flat_map(|track| &track.segments).map(|segment| segment.bytes()).sum()
}

#[test]
fn the_window_keeps_to_its_memory() {
    let config = PackageConfig { max_bytes: 4_000_000, window: Duration::from_secs(600), ..Default::default() };
    let mut window = Window::new(&config, Targets::default(), NOW, 0, plenty());
    window.init(init(0, 0));
    for position in 0..1000 {
        assert!(window.chunk(chunk(0, 0, position / 10, position % 10)));
        assert!(held(&window) <= 4_000_000, "{}", held(&window));
    }
    assert_eq!(window.snapshot().tracks[0].complete(), 8, "as many as there is memory for");
    // A GOP without an end takes no more; what comes after it goes on.
    let refused: Vec<u64> = (0..200).filter(|part| !window.chunk(Chunk { last: false, ..chunk(0, 0, 100, *part) })).collect();
    assert_eq!((refused, held(&window)), (vec![70], 4_000_000), "it has all but one segment's");
    let track = window.snapshot().tracks[0].clone();
    assert!(track.segments.iter().all(|segment| segment.complete), "it ends where there was no more memory");
    let number = track.segments.last().unwrap().number;
    assert!((0..10).all(|part| window.chunk(chunk(0, 0, 101, part))));
    let last = window.snapshot().tracks[0].segments.last().unwrap().clone();
    assert_eq!((last.number, last.parts.len()), (number + 1, 10));
    // Where it had that one alone, it goes for the next.
    for segment in 102..105 {
        assert_eq!((0..100).filter(|part| !window.chunk(Chunk { last: false, ..chunk(0, 0, segment, *part) })).count(), 1);
        assert_eq!(held(&window), 4_000_000);
    }
}

#[test]
fn windows_together_keep_to_their_memory() {
    let budget = Budget::new(10_000_000, 0);
    let config = PackageConfig { window: Duration::from_secs(600), ..Default::default() };
    let mut windows: Vec<Window> = (0..4).map(|_| Window::new(&config, Targets::default(), NOW, 0, memory(&budget))).collect();
    windows.iter_mut().for_each(|window| window.init(init(0, 0)));
    // The first one is ten times as fat, and the others come one after the other.
    for position in 0..4000_u64 {
        for (index, window) in windows.iter_mut().enumerate().take(1 + position as usize / 500) {
            let mut chunk = chunk(0, 0, position / 10, position % 10);
            chunk.data.truncate(if index == 0 { 50_000 } else { 5_000 });
            assert!(window.chunk(chunk) || index == 0, "the others have what they need");
        }
        assert!(budget.held() <= 10_000_000 + 4 * 50_000, "{}", budget.held());
        assert_eq!(budget.held(), windows.iter().map(held).sum::<usize>());
    }
    let held: Vec<usize> = windows.iter().map(held).collect();
    assert!(held[1..].iter().all(|held| *held >= 2_400_000) && held[0] >= 2_000_000, "{held:?}");
    drop(windows);
    assert_eq!(budget.held(), 0);
}

proptest! {
    #[test]
    fn no_sequence_of_chunks_takes_more(
        // Track, a step of the segment's number, whether it is the last of it, whether an epoch begins, and a size in KB.
        chunks in vec((0..2_u32, 0..3_u64, weighted(0.1), weighted(0.02), 0..700_usize), 1..300),
        alone in any::<bool>(),
    ) {
        let (max, total) = (2_000_000, if alone { 1 << 40 } else { 1_500_000 });
        let budget = Budget::new(total, 0);
        let config = PackageConfig { max_bytes: max, ..Default::default() };
        let mut window = Window::new(&config, Targets::default(), NOW, 0, memory(&budget));
        (0..2).for_each(|track| window.init(init(track, 0)));
        let (mut segments, mut epoch) = ([0; 2], 0);
        for (track, step, last, anew, size) in chunks {
            if anew {
                epoch += 1;
                (0..2).for_each(|track| window.init(init(track, epoch)));
            }
            let segment = &mut segments[track as usize];
            *segment += step;
            let data = Bytes::from(vec![0; size * 1000]);
            window.chunk(Chunk { last, data, ..chunk(track, epoch, *segment, 0) });
            prop_assert!(held(&window) <= max.min(total), "{}", held(&window));
            prop_assert_eq!(budget.held(), held(&window));
        }
    }
}
