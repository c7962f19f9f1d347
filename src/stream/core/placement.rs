//! On which worker a new viewer is served.

/// The stream's home worker, until it has `preference` more viewers than the least busy one: every packet wakes each worker that has viewers
/// of it. `loads` are the viewers by worker.
pub(crate) fn worker_for_viewer(home: usize, loads: &[usize], preference: usize) -> usize {
    let Some((least, load)) = loads.iter().copied().enumerate().min_by_key(|(_, load)| *load) else { return home };
    let at_home = loads.get(home).copied().unwrap_or(usize::MAX);
    if at_home <= load.saturating_add(preference) { home } else { least }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_stay_at_home_while_it_is_not_too_busy() {
        for (home, loads, preference, worker) in [
            (0, &[][..], 128, 0),
            (0, &[0], 0, 0),
            (1, &[0, 0], 0, 1),
            (1, &[0, 128], 128, 1),
            (1, &[0, 129], 128, 0),
            (2, &[5, 3, 9], 4, 1),
            (2, &[5, 3, 9], 6, 2),
            (0, &[5, 3, 3], 0, 1),
            (7, &[5, 3], 128, 1), // a home that is gone
            (0, &[usize::MAX, usize::MAX], usize::MAX, 0),
        ] {
            assert_eq!(worker_for_viewer(home, loads, preference), worker, "{home} {loads:?} {preference}");
        }
    }
}
