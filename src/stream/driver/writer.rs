//! Writes access units into the SFU: what every ingest that isn't RTP already goes through.

use std::sync::{Arc, Mutex};

use super::state::State;
use crate::base::{UnixNanos, lock, rescale};
use crate::codec::{AccessUnit, Codec, Format};
use crate::rtp::batch::ClockMapping;
use crate::sfu::{DirectProducer, ProducerId, ProducerOptions, Router, SfuError};
use crate::stream::core::Generation;
use crate::stream::format_history::FormatHistory;
use crate::stream::framer::{Framer, direct_rtp_parameters};
use crate::stream::picture_order::PictureOrder;
use crate::stream::timeline::Timeline;

/// Nanoseconds per second.
const NANOS: u32 = 1_000_000_000;

/// The part of a writer that outlives its publisher: the producer, and where its formats stands.
#[derive(Debug)]
pub(super) struct WriterCore {
    producer: DirectProducer,
    framer: Framer,
    /// The offset that the last clock mapping was made with.
    mapped: Option<i64>,
    formats: FormatHistory,
}

impl WriterCore {
    /// Makes a producer on `router`. Tracks with the same `cname` are played in sync.
    pub async fn new(router: &Router, format: Format, cname: &str) -> Result<Self, SfuError> {
        let framer = Framer::new(format.codec());
        let rtp_parameters = direct_rtp_parameters(&format, framer.ssrc(), framer.payload_type(), cname);
        let producer = router.produce_direct(ProducerOptions { kind: format.kind(), rtp_parameters }).await?;
        let formats = FormatHistory::new(format, framer.next_sequence_number());
        Ok(Self { producer, framer, mapped: None, formats })
    }

    pub fn producer(&self) -> ProducerId {
        self.producer.id
    }

    /// Where the format can be read while the writer is somewhere else.
    pub fn formats(&self) -> &FormatHistory {
        &self.formats
    }

    pub fn codec(&self) -> Codec {
        self.framer.codec()
    }

    pub fn set_format(&mut self, format: Format) {
        self.formats.set_format(format);
    }

    /// Sends a unit whose times, in ticks, plus `offset` (ns) are wall clock.
    fn send(&mut self, unit: &AccessUnit, offset: i64) -> bool {
        let format = self.formats.format();
        let (clock_rate, rtp_rate) = (format.clock_rate(), format.rtp_clock_rate());
        // The offset is turned into ticks by itself, so that RTP timestamps step exactly as the publisher's do.
        let timestamp = rescale(unit.pts, clock_rate, rtp_rate).wrapping_add(rescale(offset, NANOS, rtp_rate)) as u32;
        let batch = self.framer.packetize(unit, &format, timestamp);
        let clock = (self.mapped != Some(offset)).then(|| ClockMapping {
            rtp: timestamp.wrapping_add(self.framer.timestamp_base()),
            wallclock: rescale(unit.pts, clock_rate, NANOS).saturating_add(offset),
        });
        if batch.is_empty() {
            return true; // nothing in it worth sending (delimiters only)
        }
        self.formats.advance(batch.len());
        let sent = self.producer.send(batch.with_clock(clock));
        if sent {
            self.mapped = Some(offset);
        }
        sent
    }
}

/// Writes one track's access units into the SFU: packetizes, numbers, puts the media clock on the wall clock.
#[derive(Debug)]
pub struct TrackWriter {
    core: Option<WriterCore>,
    of: Of,
}

/// What a writer belongs to.
#[derive(Debug)]
enum Of {
    Publication {
        stream: Arc<State<WriterCore>>,
        generation: Generation,
        timeline: Arc<Mutex<Timeline>>,
        track: usize,
        order: PictureOrder,
    },
    Derived,
}

impl TrackWriter {
    pub(super) fn published(
        core: WriterCore,
        stream: Arc<State<WriterCore>>,
        generation: Generation,
        timeline: Arc<Mutex<Timeline>>,
        track: usize,
    ) -> Self {
        Self { core: Some(core), of: Of::Publication { stream, generation, timeline, track, order: PictureOrder::default() } }
    }

    pub(super) fn derived(core: WriterCore) -> Self {
        Self { core: Some(core), of: Of::Derived }
    }

    /// Writes an access unit whose times are the publisher's, in ticks of the format's clock rate, on the publisher's one
    /// timeline. Jumps and wraps (backwards, or forwards beyond the time that passed) are mended here, for all tracks of the publication alike.
    /// `now` is the wall clock at arrival. Never waits; false where the SFU's queue was full and the unit was dropped.
    pub fn write(&mut self, unit: AccessUnit, now: UnixNanos) -> bool {
        let Some(core) = &mut self.core else { return false };
        let Of::Publication { stream, generation, timeline, track, order } = &mut self.of else { return false };
        let clock_rate = core.formats.format().clock_rate();
        let media = rescale(unit.dts, clock_rate, NANOS);
        let offset = lock(timeline).offset(*track, media, now);
        stream.note_media(now);
        if core.codec() == Codec::H264
            && let Some(references) = order.observe(&unit, offset)
        {
            stream.set_reordered(*generation, references);
        }
        core.send(&unit, offset)
    }

    /// Writes an access unit that carries wall clock times (a derived track's); `unit.pts` and `unit.dts` are [`UnixNanos`].
    pub fn write_at(&mut self, mut unit: AccessUnit) -> bool {
        let Some(core) = &mut self.core else { return false };
        let clock_rate = core.formats.format().clock_rate();
        unit.pts = rescale(unit.pts, NANOS, clock_rate);
        unit.dts = rescale(unit.dts, NANOS, clock_rate);
        core.send(&unit, 0)
    }

    /// The format changed (new parameter sets, other sampling rate). The codec must stay the same. Until a packet after the change is
    /// written, whoever reads the stream's [`FormatHistory`] can tell the old from the new.
    pub fn set_format(&mut self, format: Format) {
        let Some(core) = &mut self.core else { return };
        if format.codec() != core.codec() {
            return;
        }
        core.set_format(format.clone());
        if let Of::Publication { stream, generation, .. } = &self.of {
            stream.set_format(*generation, &format);
        }
    }

    /// Waits until a viewer asked for a key frame. Cancel safe. `None` when the track was closed.
    pub async fn key_frame_requested(&mut self) -> Option<()> {
        self.core.as_mut()?.producer.key_frame_requested().await
    }
}

impl Drop for TrackWriter {
    /// A publisher's writer waits, with its producer, for the publisher to return.
    fn drop(&mut self) {
        if let (Some(core), Of::Publication { stream, generation, .. }) = (self.core.take(), &self.of) {
            stream.park(*generation, core.codec(), core);
        }
    }
}
