//! A place for a stream of a connection.

use std::future::pending;

use tokio::select;

use super::play::{self, Player};
use super::publish::Publisher;

/// A place for a stream of the connection.
pub(super) enum Slot {
    Free,
    Publisher(Box<Publisher>),
    Player(Box<Player>),
}

/// What there is to do for one.
pub(super) enum SlotWake {
    Evicted(&'static str),
    Silent,
    Player(play::Wake),
}

impl Slot {
    /// Whether there is something published or played.
    pub(super) fn has_begun(&self) -> bool {
        match self {
            Self::Free => false,
            Self::Publisher(publisher) => publisher.has_tracks(),
            Self::Player(_) => true,
        }
    }

    pub(super) fn is_free(&self) -> bool {
        matches!(self, Self::Free)
    }

    pub(super) fn stream(&self) -> Option<u32> {
        match self {
            Self::Free => None,
            Self::Publisher(publisher) => Some(publisher.stream()),
            Self::Player(player) => Some(player.stream()),
        }
    }

    /// Waits until there is something to do. Cancel safe.
    pub(super) async fn next(&mut self) -> SlotWake {
        match self {
            Self::Free => pending().await,
            Self::Publisher(publisher) => select! {
                why = publisher.evicted() => SlotWake::Evicted(why),
                () = publisher.silent() => SlotWake::Silent,
            },
            Self::Player(player) => SlotWake::Player(player.next().await),
        }
    }
}
