//! What `http` asks of the service and of its sessions, and what it is answered.

use std::net::IpAddr;

use tokio::sync::oneshot;

use crate::base::{Id, StreamPath};
use crate::sdp::Fragment;
use crate::webrtc::WebRtcError;

/// Somebody wants to publish or to watch.
#[derive(Debug, Clone)]
pub(crate) struct SessionRequest<'a> {
    pub path: &'a StreamPath,
    /// The body: an SDP offer.
    pub offer: &'a [u8],
    /// The publish key or viewer token that was shown.
    pub key: Option<&'a str>,
    pub agent: Option<&'a str>,
    pub remote: Option<IpAddr>,
}

/// What a 201 says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionCreated {
    /// The last segment of the session's URL.
    pub id: Id,
    pub answer: String,
    /// The entity tag of the first ICE generation, without quotes.
    pub etag: String,
}

/// What a PATCH led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PatchOutcome {
    /// Candidates noted: 204.
    Trickled,
    /// ICE restarted: 200 with a fragment and a new entity tag.
    Restarted {
        /// The body, an `application/trickle-ice-sdpfrag`.
        fragment: String,
        /// The new entity tag, without quotes.
        etag: String,
    },
}

/// What an HTTP request asks of a session.
#[derive(Debug)]
pub(super) enum Command {
    Patch { if_match: Option<String>, fragment: Fragment, reply: oneshot::Sender<Result<PatchOutcome, WebRtcError>> },
    Delete { reply: oneshot::Sender<()> },
}
