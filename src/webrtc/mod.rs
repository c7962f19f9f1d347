//! Floor 5: WHIP ingest (RFC 9725) and WHEP egress (draft-ietf-wish-whep) without their HTTP, which is `http`'s.
//!
//! In: SDP offers, trickle-ICE fragments, ends. Out: answers, entity tags, and sessions that join a browser's transport to a
//! stream as its publisher or viewer, until either goes away. What to answer is decided by plain functions; tasks are in `driver`.

mod config;
mod driver;
mod error;
mod metrics;
mod patch;
mod whep;
mod whip;

pub(crate) use config::WebRtcConfig;
pub(crate) use driver::{PatchOutcome, SessionCreated, SessionRequest, WebRtcService};
pub(crate) use error::{Bound, Mismatch, WebRtcError};
pub(crate) use metrics::WebRtcMetrics;

/// Which way a session's media flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// From the client to us (WHIP).
    Publisher,
    /// From us to the client (WHEP).
    Viewer,
}

impl Role {
    /// `"whip"` or `"whep"`: the protocol's name, as in URLs, logs and metrics.
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Role::Publisher => "whip",
            Role::Viewer => "whep",
        }
    }
}
