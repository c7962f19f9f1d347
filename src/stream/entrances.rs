//! Whether who comes in finds a picture to begin with soon.
//!
//! In: pictures as they were placed. Out: once, that those which a decoder can begin with are far apart. Pure.

use crate::base::UnixNanos;

/// So long may who comes in wait, in ns. Longer than OBS's default of 250 pictures lasts at 24 a second, 10.4 s. The key-frame cache of the SFU
/// (`sfu.key_frame_cache_max_age`) reaches back further, so that what is made of such a track begins with its last key frame.
const FAR_APART: i64 = 12_000_000_000;
/// An encoder that has had no IDR picture for so long, in ns, but one that decoding can begin with otherwise, has no others: intra refresh, open
/// GOPs. Players that begin with such a picture stay dark.
const REPLACED: i64 = 4_000_000_000;
/// More between two pictures is a picture every few seconds or a gap, not a part of a GOP. In ns.
const NO_GOP: i64 = 3_000_000_000;

/// The pictures of one track that one can begin with.
#[derive(Debug, Default)]
pub(super) struct Entrances {
    last_picture: Option<UnixNanos>,
    last: Option<UnixNanos>,
    told: bool,
}

impl Entrances {
    /// A picture was put at `dts`; `entrance`: browsers' decoders can begin with it. How long ago the last one of these was, in ns.
    pub(crate) fn picture(&mut self, dts: UnixNanos, entrance: bool) -> i64 {
        if self.last_picture.is_none_or(|last| dts.saturating_sub(last) > NO_GOP) {
            self.last = None;
        }
        self.last_picture = Some(dts);
        let since = dts.saturating_sub(*self.last.get_or_insert(dts));
        if entrance {
            self.last = Some(dts);
        }
        since
    }

    /// Whether it is news that one waits too long: the last one was `since` ago, as [`Self::picture`] told it. `refresh`: this picture is what the
    /// encoder has in its place.
    pub(crate) fn are_far_apart(&mut self, since: i64, refresh: bool) -> bool {
        let far = since > FAR_APART || (refresh && since > REPLACED);
        far && !std::mem::replace(&mut self.told, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn far_apart_is_news_once() {
        // Tenths of seconds between pictures, every which one is an entrance, how often they are told to be far apart.
        for (step, every, told) in [(1, 20, 0), (1, 104, 0), (1, 1000, 1), (1, 130, 1), (20, 1000, 1), (31, 1000, 0)] {
            let mut entrances = Entrances::default();
            let news = (0..300).filter(|n| {
                let since = entrances.picture(n * step * S / 10, n % every == 0);
                entrances.are_far_apart(since, false)
            });
            assert_eq!(news.count(), told, "{step} {every}");
        }
        for (since, refresh, far) in [(3, true, false), (5, true, true), (5, false, false), (13, false, true)] {
            assert_eq!(Entrances::default().are_far_apart(since * S, refresh), far, "{since} {refresh}");
        }
    }

    #[test]
    fn how_long_ago_the_last_one_was() {
        let mut entrances = Entrances::default();
        for (at, entrance, since) in
            [(0, true, 0), (1, false, 1), (3, false, 3), (4, true, 4), (6, false, 2), (10, false, 0), (11, true, 1)]
        {
            assert_eq!(entrances.picture(at * S, entrance), since * S, "{at}");
        }
    }
}
