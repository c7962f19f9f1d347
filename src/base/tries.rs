//! Who tries keys: wrong ones are counted by where they come from, and who showed many waits before its next one is looked at.
//!
//! In: who shows which key, and whether it opened anything. Out: when to look at it. Where nobody tries keys this costs one load.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::lock;
use super::source::Source;

/// Wrong keys that cost nothing: somebody looks for the right one among the few they have.
const FREE: u32 = 10;
/// After so long one of them is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(6);
/// Most that are remembered: who stops trying waits no more after a minute.
const MOST: u32 = 2 * FREE;
/// How long a key from there waits until it is looked at. With the next bound, and the 16 readings that a key of RTMP may have: 256 a second,
/// against which 8 random letters and digits hold for centuries.
const WAIT: Duration = Duration::from_secs(1);
/// How many from there wait at once. Others are refused unseen.
const WAITING: usize = 16;
/// Right keys from there that are remembered: players beside the one who tries don't wait for each of their requests.
const RIGHT: usize = 64;
/// Sources that are remembered, some 100 bytes each. Beyond, the older half is forgotten.
const SOURCES: usize = 4096;

/// When a key is to be looked at.
#[derive(Debug)]
pub(crate) enum Look {
    Now,
    /// After so long; the place is held meanwhile.
    After(Duration, Waits),
    /// Not at all: too many wait.
    Never,
}

/// Wrong keys, by where they came from. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tries(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// How many sources are remembered.
    known: AtomicUsize,
    sources: Mutex<HashMap<Source, Known>>,
}

#[derive(Debug)]
struct Known {
    wrong: u32,
    /// When `wrong` was true.
    at: Instant,
    /// Hashes of right ones.
    right: Vec<u64>,
    waiting: Arc<()>,
}

impl Known {
    fn forget(&mut self, now: Instant) {
        let steps = now.saturating_duration_since(self.at).as_secs() / FORGOTTEN_AFTER.as_secs();
        self.wrong = self.wrong.saturating_sub(u32::try_from(steps).unwrap_or(u32::MAX));
        self.at += FORGOTTEN_AFTER * u32::try_from(steps).unwrap_or(0);
    }
}

/// A key that waits to be looked at.
#[derive(Debug)]
pub(crate) struct Waits(#[expect(dead_code, reason = "counted by how often it is held")] Arc<()>);

impl Tries {
    /// When to look at a key. From this machine, where a reverse proxy may be, at once.
    pub(crate) fn look(&self, now: Instant, from: Option<IpAddr>, key: &str) -> Look {
        let (false, Some(source)) = (self.is_quiet(), known_source(from)) else { return Look::Now };
        let mut sources = lock(&self.0.sources);
        let Some(known) = sources.get_mut(&source) else { return Look::Now };
        known.forget(now);
        if known.wrong <= FREE || known.right.contains(&hash(key)) {
            return Look::Now;
        }
        if Arc::strong_count(&known.waiting) > WAITING {
            return Look::Never;
        }
        Look::After(WAIT, Waits(known.waiting.clone()))
    }

    /// A key was looked at, and was wrong. True where those from there wait from now on.
    pub(crate) fn wrong(&self, now: Instant, from: Option<IpAddr>) -> bool {
        let Some(source) = known_source(from) else { return false };
        let mut sources = lock(&self.0.sources);
        if sources.len() >= SOURCES && !sources.contains_key(&source) {
            let mut times: Vec<Instant> = sources.values().map(|known| known.at).collect();
            let (_, middle, _) = times.select_nth_unstable(SOURCES / 2);
            let middle = *middle;
            sources.retain(|_, known| known.at > middle);
        }
        let known = sources.entry(source).or_insert_with(|| Known { wrong: 0, at: now, right: Vec::new(), waiting: Arc::default() });
        known.forget(now);
        if known.wrong == 0 {
            known.at = now;
        }
        known.wrong = (known.wrong + 1).min(MOST);
        let (begins, count) = (known.wrong == FREE + 1, sources.len());
        self.0.known.store(count, Ordering::Relaxed);
        begins
    }

    /// A key was looked at, and was right.
    pub(crate) fn right(&self, from: Option<IpAddr>, key: &str) {
        let (false, Some(source)) = (self.is_quiet(), known_source(from)) else { return };
        if let Some(known) = lock(&self.0.sources).get_mut(&source) {
            let hash = hash(key);
            if known.right.len() < RIGHT && !known.right.contains(&hash) {
                known.right.push(hash);
            }
        }
    }

    /// Whether nobody showed a wrong key.
    pub(crate) fn is_quiet(&self) -> bool {
        self.0.known.load(Ordering::Relaxed) == 0
    }
}

fn known_source(from: Option<IpAddr>) -> Option<Source> {
    from.map(Source::of).filter(|source| !source.is_local())
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        crate::base::real_clock().at()
    }

    fn address(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn who_tries_many_keys_waits() {
        let (tries, start, from) = (Tries::default(), start(), address("192.0.2.1"));
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert!(tries.is_quiet());
        for number in 1..=10 {
            assert!(!tries.wrong(at(number), from), "{number}");
            assert!(matches!(tries.look(at(number), from, "x"), Look::Now), "{number}");
        }
        assert!(tries.wrong(at(11), from), "from now on");
        assert!(!tries.wrong(at(12), from), "said once");
        let waiting: Vec<Look> = (0..16).map(|_| tries.look(at(13), from, "x")).collect();
        assert!(waiting.iter().all(|look| matches!(look, Look::After(WAIT, _))));
        assert!(matches!(tries.look(at(13), from, "x"), Look::Never));
        drop(waiting);
        // A key that was right once is looked at at once; and so are those from elsewhere.
        tries.right(from, "good");
        for (ip, key, now) in [
            ("192.0.2.1", "good", true),
            ("192.0.2.1", "bad", false),
            ("::ffff:192.0.2.1", "bad", false),
            ("192.0.2.2", "bad", true),
            ("127.0.0.1", "bad", true),
        ] {
            assert_eq!(matches!(tries.look(at(14), address(ip), key), Look::Now), now, "{ip} {key}");
        }
        // One is forgotten each 6 s.
        assert!(matches!(tries.look(at(11_900), from, "x"), Look::After(..)));
        assert!(matches!(tries.look(at(12_100), from, "x"), Look::Now));
    }

    #[test]
    fn a_flood_is_forgotten_within_a_minute() {
        let (tries, start, from) = (Tries::default(), start(), address("192.0.2.1"));
        (0..100_000).for_each(|_| {
            tries.wrong(start, from);
        });
        assert!(matches!(tries.look(start + Duration::from_secs(59), from, "x"), Look::After(..)));
        assert!(matches!(tries.look(start + Duration::from_secs(60), from, "x"), Look::Now));
    }

    #[test]
    fn an_ipv6_subscriber_is_one_and_this_machine_none() {
        let (tries, now) = (Tries::default(), start());
        for number in 0..11 {
            tries.wrong(now, address(&format!("2001:db8::{number:x}")));
            tries.wrong(now, address("127.0.0.1"));
            tries.wrong(now, None);
        }
        for (ip, at_once) in [("2001:db8::ffff", false), ("2001:db8:0:1::1", true), ("127.0.0.1", true), ("::1", true)] {
            assert_eq!(matches!(tries.look(now, address(ip), "x"), Look::Now), at_once, "{ip}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (tries, start) = (Tries::default(), start());
        for number in 0..2 * SOURCES as u32 {
            let from = Some(IpAddr::from(std::net::Ipv4Addr::from_bits(0x0A00_0000 + number)));
            tries.wrong(start + Duration::from_millis(number.into()), from);
            (0..100).for_each(|key| tries.right(from, &key.to_string()));
        }
        let sources = lock(&tries.0.sources);
        assert!(sources.len() <= SOURCES && sources.values().all(|known| known.right.len() <= RIGHT));
        assert!(sources.contains_key(&Source::of("10.0.31.255".parse().unwrap())), "the newest");
    }
}
