//! Connections that have neither published nor played anything yet: they have places of their own, and give way for those who come.

use std::net::IpAddr;

use tokio_util::sync::CancellationToken;

use super::RtmpConfig;
use crate::base::{AtDoor, Door, Places};

/// Where they stand.
#[derive(Debug, Clone)]
pub(super) struct Hall(Door<CancellationToken>);

/// One's place, until it has begun.
#[derive(Debug)]
pub(super) struct Connecting {
    place: Option<AtDoor<CancellationToken>>,
    must_go: CancellationToken,
}

impl Hall {
    pub(super) fn new(config: &RtmpConfig) -> Self {
        // Never all connections that there may be.
        Self(Door::new(Places::new(config.max_connecting.min(config.max_connections.div_ceil(2)))))
    }

    /// Somebody connects. True where another one has to go for it.
    pub(super) fn come(&self, from: IpAddr) -> (Connecting, bool) {
        let must_go = CancellationToken::new();
        let (place, gone) = self.0.come(Some(from), must_go.clone());
        if let Some(gone) = &gone {
            gone.cancel();
        }
        (Connecting { place: Some(place), must_go }, gone.is_some())
    }
}

impl Connecting {
    /// It publishes or plays: it stays.
    pub(super) fn begun(&mut self) {
        self.place = None;
    }

    /// Waits until it has to go. Cancel safe.
    pub(super) async fn gives_way(&self) {
        match self.place {
            Some(_) => self.must_go.cancelled().await,
            None => std::future::pending().await,
        }
    }
}
