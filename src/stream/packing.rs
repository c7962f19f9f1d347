//! One track's access units as batches for the SFU, and where its formats stand.
//!
//! In: units whose times are ticks since 1970. Out: batches of RTP packets, the first with what puts RTP on the wall clock. Pure.

use crate::base::{Chance, rescale};
use crate::codec::{AccessUnit, Codec, Format, h264};
use crate::rtp::batch::{ClockMapping, RtpBatch, UnitFacts};
use crate::sfu::ortc::RtpParameters;
use crate::stream::format_history::FormatHistory;
use crate::stream::framer::{Framer, direct_rtp_parameters};

/// Nanoseconds per second.
const NANOS: u32 = 1_000_000_000;

/// Makes the batches of one track.
#[derive(Debug)]
pub(crate) struct Packing {
    framer: Framer,
    /// Whether the clock mapping was sent.
    mapped: bool,
    formats: FormatHistory,
}

impl Packing {
    pub(crate) fn new(format: Format, chance: &mut Chance) -> Self {
        let framer = Framer::new(format.codec(), chance);
        let formats = FormatHistory::new(format, framer.next_sequence_number());
        Self { framer, mapped: false, formats }
    }

    /// What the producer that gets the batches says of itself. Tracks with the same `cname` are played in sync.
    pub(crate) fn rtp_parameters(&self, cname: &str) -> RtpParameters {
        direct_rtp_parameters(&self.formats.format(), self.framer.ssrc(), self.framer.payload_type(), cname)
    }

    /// Where the format can be read while this is somewhere else.
    pub(crate) fn formats(&self) -> &FormatHistory {
        &self.formats
    }

    pub(crate) fn codec(&self) -> Codec {
        self.framer.codec()
    }

    /// The batch of a unit whose times are ticks since 1970. `None`: nothing in it is worth sending (delimiters only).
    pub(crate) fn batch(&mut self, unit: &AccessUnit, facts: UnitFacts) -> Option<RtpBatch> {
        let (clock_rate, rtp_rate) = self.formats.rates();
        let timestamp = rescale(unit.pts, clock_rate, rtp_rate) as u32;
        let batch = self.formats.see(|format| self.framer.packetize(unit, format, timestamp, facts));
        // RTP timestamps run with the wall clock: one mapping holds for ever.
        let clock = (!self.mapped).then(|| ClockMapping {
            rtp: timestamp.wrapping_add(self.framer.timestamp_base()),
            wallclock: rescale(unit.pts, clock_rate, NANOS),
        });
        if batch.is_empty() {
            return None;
        }
        self.formats.advance(batch.len());
        Some(batch.with_clock(clock))
    }

    /// A batch was taken, and the clock mapping with it.
    pub(crate) fn taken(&mut self) {
        self.mapped = true;
    }

    /// What the ingest knows of a unit and RTP can't say.
    pub(crate) fn facts(&self, unit: &AccessUnit) -> UnitFacts {
        let (clock_rate, rtp_rate) = self.formats.rates();
        let composition = rescale(unit.pts.saturating_sub(unit.dts), clock_rate, rtp_rate);
        UnitFacts {
            composition: i32::try_from(composition).unwrap_or(0).max(0),
            key: unit.key,
            disposable: self.codec() == Codec::H264 && h264::unit_is_disposable(&unit.data),
        }
    }
}
