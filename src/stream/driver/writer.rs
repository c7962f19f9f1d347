//! Writes access units into the SFU: what every ingest that isn't RTP already goes through.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::state::State;
use crate::base::{Chance, UnixNanos, rescale};
use crate::codec::{AccessUnit, Codec, Format};
use crate::rtp::batch::UnitFacts;
use crate::sfu::{DirectProducer, ProducerId, ProducerOptions, Router, SfuError};
use crate::stream::bitrate::BitrateBound;
use crate::stream::core::Generation;
use crate::stream::format_history::FormatHistory;
use crate::stream::packing::Packing;
use crate::stream::placing::{Placing, Position};
use crate::timing::Timeline;

/// Nanoseconds per second.
const NANOS: u32 = 1_000_000_000;
/// Why a publisher has to go.
const TOO_MUCH: &str = "it sends more bits a second than it may (stream.max_bitrate)";

/// The part of a writer that outlives its publisher: the producer, and where its formats stand.
#[derive(Debug)]
pub(super) struct WriterCore {
    producer: DirectProducer,
    packing: Packing,
}

impl WriterCore {
    /// Makes a producer on `router`. Tracks with the same `cname` are played in sync.
    pub(super) async fn new(router: &Router, format: Format, cname: &str, mut chance: Chance) -> Result<Self, SfuError> {
        let kind = format.kind();
        let packing = Packing::new(format, &mut chance);
        let producer = router.produce_direct(ProducerOptions { kind, rtp_parameters: packing.rtp_parameters(cname) }).await?;
        Ok(Self { producer, packing })
    }

    pub(super) fn producer(&self) -> ProducerId {
        self.producer.id
    }

    /// Where the format can be read while the writer is somewhere else.
    pub(super) fn formats(&self) -> &FormatHistory {
        self.packing.formats()
    }

    pub(super) fn codec(&self) -> Codec {
        self.packing.codec()
    }

    pub(super) fn set_format(&mut self, format: Format) {
        self.formats().set_format(format);
    }

    /// Sends a unit whose times are ticks since 1970.
    fn send(&mut self, unit: &AccessUnit, facts: UnitFacts) -> bool {
        let Some(batch) = self.packing.batch(unit, facts) else { return true };
        let sent = self.producer.send(batch);
        if sent {
            self.packing.taken();
        }
        sent
    }
}

/// What became of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct Written {
    /// False where the SFU's queue was full and the unit was dropped.
    pub sent: bool,
    /// How long to leave the publisher unread: it is ahead of the wall clock.
    pub wait: Duration,
}

/// Writes one track's access units into the SFU: packetizes, numbers, puts the media clock on the wall clock.
#[derive(Debug)]
pub(crate) struct TrackWriter {
    core: Option<WriterCore>,
    of: Of,
}

/// What a writer belongs to.
#[derive(Debug)]
enum Of {
    Publication { stream: Arc<State<WriterCore>>, generation: Generation, placing: Placing, bitrate: BitrateBound },
    Derived,
}

impl TrackWriter {
    pub(super) fn published(
        core: WriterCore,
        stream: Arc<State<WriterCore>>,
        generation: Generation,
        timeline: Arc<Mutex<Timeline>>,
        track: usize,
        max_bitrate: u64,
    ) -> Self {
        let (placing, bitrate) = (Placing::new(timeline, track), BitrateBound::new(max_bitrate));
        Self { core: Some(core), of: Of::Publication { stream, generation, placing, bitrate } }
    }

    pub(super) fn derived(core: WriterCore) -> Self {
        Self { core: Some(core), of: Of::Derived }
    }

    /// Writes an access unit whose times are the publisher's, in ticks of the format's clock rate, on the publisher's one
    /// timeline. What is wrong with the times is mended here, for all tracks of the publication alike ([`Timeline`]).
    /// `now` is the wall clock at arrival. Never waits, but says how long the caller should.
    pub(crate) fn write(&mut self, mut unit: AccessUnit, now: UnixNanos) -> Written {
        let nothing = Written { sent: false, wait: Duration::ZERO };
        let Some(core) = &mut self.core else { return nothing };
        let Of::Publication { stream, generation, placing, bitrate } = &mut self.of else { return nothing };
        let Position { facts, wait, end, reordered, long_gops, warnings } = placing.place(&mut unit, &core.packing, now);
        stream.note_written(end);
        if bitrate.is_exceeded(unit.data.len(), end) {
            stream.evict_one(*generation, TOO_MUCH);
        }
        if let Some(references) = reordered {
            stream.set_reordered(*generation, references);
        }
        if long_gops {
            stream.set_long_gops(*generation);
        }
        for warning in warnings {
            stream.warn(warning);
        }
        if facts.key && core.formats().awaits_key() {
            stream.change_at_key(*generation);
        }
        Written { sent: core.send(&unit, facts), wait }
    }

    /// Writes an access unit that carries wall clock times (a derived track's); `unit.pts` and `unit.dts` are [`UnixNanos`].
    pub(crate) fn write_at(&mut self, mut unit: AccessUnit) -> bool {
        let Some(core) = &mut self.core else { return false };
        let (clock_rate, _) = core.formats().rates();
        unit.pts = rescale(unit.pts, NANOS, clock_rate);
        unit.dts = rescale(unit.dts, NANOS, clock_rate);
        let facts = core.packing.facts(&unit);
        core.send(&unit, facts)
    }

    /// Waits until the SFU has room for another unit. Cancel safe.
    pub(crate) async fn room(&self) {
        if let Some(core) = &self.core {
            core.producer.room().await;
        }
    }

    /// The format changed (new parameter sets, other sampling rate). The codec must stay the same. Until a packet after the change is
    /// written, whoever reads the stream's [`FormatHistory`] can tell the old from the new.
    pub(crate) fn set_format(&mut self, format: Format) {
        let Some(core) = &mut self.core else { return };
        if format.codec() != core.codec() {
            return;
        }
        let anew = !core.formats().format().is_coded_like(&format);
        core.set_format(format.clone());
        if let Of::Publication { stream, generation, placing, .. } = &mut self.of {
            if anew {
                placing.begin_anew();
            }
            stream.set_format(*generation, &format);
        }
    }

    /// Waits until a viewer asked for a key frame. Cancel safe. `None` when the track was closed.
    pub(crate) async fn key_frame_requested(&mut self) -> Option<()> {
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
