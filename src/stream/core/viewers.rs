//! How many watch a stream.

use std::collections::BTreeMap;

use serde::Serialize;

use super::http_viewers::HttpViewers;
use crate::base::UnixNanos;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ViewerCounts {
    pub total: usize,
    /// By protocol: `webrtc`, `rtmp`, `hls`, `dash`.
    pub by_protocol: BTreeMap<&'static str, usize>,
}

/// Those who said that they came and will say that they go, and those who only ask by HTTP.
#[derive(Debug, Default)]
pub(super) struct Viewers {
    attached: BTreeMap<&'static str, usize>,
    http: HttpViewers,
}

impl Viewers {
    pub(super) fn attach(&mut self, protocol: &'static str) {
        *self.attached.entry(protocol).or_default() += 1;
    }

    pub(super) fn detach(&mut self, protocol: &'static str) {
        if let Some(count) = self.attached.get_mut(protocol) {
            *count = count.saturating_sub(1);
        }
    }

    /// Whether there are any who get what is published as it comes.
    pub(super) fn watch(&self) -> bool {
        self.attached.values().any(|count| *count > 0)
    }

    pub(super) fn note_http(&mut self, protocol: &'static str, who: u64, now: UnixNanos) {
        self.http.note(protocol, who, now);
    }

    pub(super) fn counts(&self, now: UnixNanos) -> ViewerCounts {
        let mut by_protocol = self.attached.clone();
        for protocol in self.http.counts(now) {
            *by_protocol.entry(protocol).or_default() += 1;
        }
        by_protocol.retain(|_, n| *n > 0);
        ViewerCounts { total: by_protocol.values().sum(), by_protocol }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        const S: i64 = 1_000_000_000;
        let mut viewers = Viewers::default();
        assert_eq!(viewers.counts(0), ViewerCounts::default());
        viewers.detach("webrtc"); // never came
        viewers.attach("webrtc");
        viewers.attach("webrtc");
        viewers.attach("rtmp");
        assert!(viewers.watch());
        viewers.note_http("hls", 1, 10 * S);
        viewers.note_http("hls", 2, 10 * S);
        let counts = viewers.counts(11 * S);
        assert_eq!(counts.total, 5);
        assert_eq!(counts.by_protocol, BTreeMap::from([("hls", 2), ("rtmp", 1), ("webrtc", 2)]));
        viewers.detach("rtmp");
        viewers.detach("rtmp");
        viewers.detach("webrtc");
        assert!(viewers.watch());
        let counts = viewers.counts(60 * S);
        assert_eq!((counts.total, counts.by_protocol), (1, BTreeMap::from([("webrtc", 1)])), "protocols without viewers are not listed");
        viewers.detach("webrtc");
        viewers.note_http("dash", 1, 60 * S);
        assert!(!viewers.watch(), "who asks by HTTP waits for parts");
    }
}
