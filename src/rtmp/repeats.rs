//! Messages that a publisher sends twice in a row: relays that retransmit, encoders whose output has two copies of one thread.
//!
//! In: audio and video messages. Out: whether one repeats the one of its kind before it. Pure.

use bytes::Bytes;

use super::chunk::kind;
use super::session::MediaMessage;

/// What came last, of audio and of video.
#[derive(Debug, Default)]
pub(super) struct Repeats([Option<Last>; 2]);

#[derive(Debug)]
struct Last {
    timestamp: i64,
    body: Bytes,
    /// It has been repeated: more of the same are frames of an encoder that doesn't stamp, and silence looks always the same.
    repeated: bool,
}

impl Repeats {
    /// Whether this message repeats the one before.
    pub(super) fn is_one(&mut self, media: &MediaMessage) -> bool {
        let last = &mut self.0[usize::from(media.kind == kind::VIDEO)];
        match last {
            Some(last) if last.timestamp == media.timestamp && last.body == media.body => !std::mem::replace(&mut last.repeated, true),
            _ => {
                *last = Some(Last { timestamp: media.timestamp, body: media.body.clone(), repeated: false });
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtmp::error::Position;

    #[test]
    fn what_is_sent_twice_is_taken_once() {
        // Kind, timestamp and body of each message; whether it repeats one.
        let table: [&[(u8, i64, &'static str, bool)]; 6] = [
            &[(9, 0, "a", false), (9, 0, "a", true), (9, 40, "b", false), (9, 40, "b", true)],
            &[(9, 0, "a", false), (8, 0, "a", false), (9, 0, "a", true), (8, 0, "a", true)],
            // Slices of one picture, two pictures of one time.
            &[(9, 0, "a", false), (9, 0, "b", false), (9, 0, "c", false)],
            &[(9, 0, "a", false), (9, 0, "a", true), (9, 0, "b", false), (9, 0, "b", true)],
            // A picture that stands still, and headers that come again later.
            &[(9, 0, "a", false), (9, 40, "a", false), (9, 80, "a", false)],
            // Silence of an encoder that doesn't stamp.
            &[(8, 0, "s", false), (8, 0, "s", true), (8, 0, "s", false), (8, 0, "s", false), (8, 0, "s", false)],
        ];
        for messages in table {
            let mut repeats = Repeats::default();
            for (n, (kind, timestamp, body, repeated)) in messages.iter().enumerate() {
                let media =
                    MediaMessage { kind: *kind, timestamp: *timestamp, body: Bytes::from_static(body.as_bytes()), at: Position::default() };
                assert_eq!(repeats.is_one(&media), *repeated, "{messages:?} {n}");
            }
        }
    }
}
