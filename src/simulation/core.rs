//! A stream's core as the simulation has it: what is parked in it is a track's writer without its handle.

use crate::sfu::ProducerId;
use crate::stream::core::StreamCore;
use crate::stream::packing::Packing;

/// A track's writer without its handle: what is parked while nobody publishes.
#[derive(Debug)]
pub(super) struct Packer {
    pub producer: ProducerId,
    pub packing: Packing,
}

pub(super) type Core = StreamCore<Packer, ()>;
