//! Packets of one run to one peer, which leave as one message.

use std::net::{IpAddr, SocketAddr};

/// Where the packets lie in the arena, and where they go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    pub(super) remote: SocketAddr,
    pub(super) local: IpAddr,
    pub(super) start: usize,
    pub(super) len: usize,
    /// Size of every segment but the last, which may be shorter. Equal to `len` for a single one.
    pub(super) segment: usize,
    pub(super) segments: usize,
}

/// Each packet as a message of its own.
pub(super) fn split(message: Message) -> impl Iterator<Item = Message> {
    let end = message.start + message.len;
    (0..message.segments).map(move |index| {
        let start = message.start + index * message.segment;
        let len = message.segment.min(end - start);
        Message { start, len, segment: len, segments: 1, ..message }
    })
}
