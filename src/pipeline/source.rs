//! What the pipelines read from and write to: the SFU's and the stream's ends, and stand-ins for them in tests.

use std::future::Future;

use crate::codec::{AccessUnit, Format};
use crate::rtp::batch::RtpBatch;
use crate::stream::{DirectConsumer, TrackWriter};

/// RTP of one track.
pub trait RtpSource: Send + 'static {
    /// The next packets; `None` at the end. Cancel safe.
    fn recv(&mut self) -> impl Future<Output = Option<RtpBatch>> + Send;

    /// Asks the publisher for a key frame.
    fn request_key_frame(&self);

    /// Takes nothing more. True where something is still inside: then it comes, and the end behind it.
    fn close(&mut self) -> bool {
        false
    }
}

impl RtpSource for DirectConsumer {
    fn recv(&mut self) -> impl Future<Output = Option<RtpBatch>> + Send {
        DirectConsumer::recv(self)
    }

    fn request_key_frame(&self) {
        DirectConsumer::request_key_frame(self);
    }
}

/// Where derived access units go.
pub trait UnitSink: Send + 'static {
    /// Writes a unit with wall clock times; false where it was dropped.
    fn write_at(&mut self, unit: AccessUnit) -> bool;

    /// The format of the units that follow.
    fn set_format(&mut self, format: Format);

    /// Waits until a viewer wants a key frame; `None` when nobody can any more. Cancel safe.
    fn key_frame_requested(&mut self) -> impl Future<Output = Option<()>> + Send;
}

impl UnitSink for TrackWriter {
    fn write_at(&mut self, unit: AccessUnit) -> bool {
        TrackWriter::write_at(self, unit)
    }

    fn set_format(&mut self, format: Format) {
        TrackWriter::set_format(self, format);
    }

    fn key_frame_requested(&mut self) -> impl Future<Output = Option<()>> + Send {
        TrackWriter::key_frame_requested(self)
    }
}
