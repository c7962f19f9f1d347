//! Floor 2: RTP, RTCP and SRTP without sockets and without a clock.
//!
//! In: the bytes of packets, and the time at which they came. Out: views into them, rewritten headers, sealed and opened
//! packets, feedback to send, statistics. One noun a file; nothing here allocates on the path of a packet.

pub(crate) mod batch;
pub(crate) mod clock;
pub(crate) mod framing;
pub(crate) mod nack;
pub(crate) mod packet;
pub(crate) mod rate;
pub(crate) mod receive_stats;
pub(crate) mod resequencer;
pub(crate) mod rewrite;
pub(crate) mod rtcp;
pub(crate) mod rtx;
pub(crate) mod srtp;
pub(crate) mod twcc;
