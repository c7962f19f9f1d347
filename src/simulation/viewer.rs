//! A viewer that reads a track from the worker and looks at every packet.

use futures_util::FutureExt;

use super::segmenter::Reader;
use crate::base::MediaKind;
use crate::pipeline::RtpSource;
use crate::sfu::ConsumerId;

/// One viewer of one track.
#[derive(Debug)]
pub(super) struct Viewer {
    pub id: ConsumerId,
    reader: Reader,
    kind: MediaKind,
    sequence: Option<u16>,
    pub packets: u64,
    pub leaves_at: i64,
    /// It reads nothing before this time.
    pub asleep_until: i64,
    slept: bool,
}

impl Viewer {
    pub(super) fn new(id: ConsumerId, reader: Reader, kind: MediaKind, leaves_at: i64) -> Self {
        Self { id, reader, kind, sequence: None, packets: 0, leaves_at, asleep_until: 0, slept: false }
    }

    /// Reads what has come. False once its track has ended.
    pub(super) fn read(&mut self, now: i64, broken: &mut Vec<String>) -> bool {
        if now < self.asleep_until {
            self.slept = true;
            return true;
        }
        while let Some(batch) = self.reader.recv().now_or_never() {
            let Some(batch) = batch else { return false };
            for packet in batch.iter() {
                let Some(rtp) = packet.rtp() else {
                    broken.push("a viewer got what is no RTP packet".into());
                    continue;
                };
                let number = rtp.sequence_number();
                let key = packet.unit.is_some_and(|unit| unit.key);
                let follows = self.sequence.is_some_and(|last| last.wrapping_add(1) == number);
                // Who was slow, and who is handed over to another publisher's track, goes on at a key frame.
                let may_begin = self.kind == MediaKind::Audio || key;
                if !follows && !may_begin {
                    let after = self.sequence;
                    let head = rtp.payload().get(..4).map(<[u8]>::to_vec);
                    let unit = packet.unit;
                    broken.push(format!(
                        "a viewer of {} got packet {number} after {after:?}, and no key frame begins there: {unit:?} {head:?}",
                        self.kind
                    ));
                }
                self.sequence = Some(number);
                self.packets += 1;
            }
        }
        true
    }
}
