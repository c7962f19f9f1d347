//! The key that a publisher or player shows: where many wrong ones came from, it waits before it is looked at.

use std::net::IpAddr;

use super::Context;
use crate::base::Look;
use crate::rtmp::Target;

/// What somebody is told whose key nobody looked at.
pub(super) const UNSEEN: &str = "many wrong keys came from your address: try again in a minute";

/// An attempt at being let in.
pub(super) struct Attempt<'a> {
    context: &'a Context,
    from: IpAddr,
    key: Option<&'a str>,
}

impl<'a> Attempt<'a> {
    /// Waits where that is due. Nothing where too many wait already.
    pub(super) async fn take(context: &'a Context, target: &'a Target, from: IpAddr) -> Option<Self> {
        let key = target.readings().find_map(|(_, key)| key);
        if let Some(key) = key {
            match context.hub.tries().look(context.now(), Some(from), key) {
                Look::Now => {}
                Look::After(wait, _place) => tokio::time::sleep(wait).await,
                Look::Never => {
                    context.metrics.keys_unseen.inc();
                    return None;
                }
            }
        }
        Some(Self { context, from, key })
    }

    /// It was let in.
    pub(super) fn right(self) {
        if let Some(key) = self.key {
            self.context.hub.tries().right(Some(self.from), key);
        }
    }

    /// It was not. False where it showed no key at all.
    pub(super) fn wrong(self) -> bool {
        if self.key.is_some() {
            self.context.metrics.wrong_keys.inc();
            if self.context.hub.tries().wrong(self.context.now(), Some(self.from)) {
                tracing::warn!(from = %self.from, "many wrong keys: those from there wait before they are looked at");
            }
        }
        self.key.is_some()
    }
}
