//! Floor 2: RTP, RTCP and SRTP without sockets and without a clock.
//!
//! In: the bytes of packets, and the time at which they came. Out: views into them, rewritten headers, sealed and opened
//! packets, feedback to send, statistics. One noun a file; nothing here allocates on the path of a packet.

pub mod batch;
pub mod clock;
pub mod nack;
pub mod packet;
pub mod rate;
pub mod receive_stats;
pub mod resequencer;
pub mod rewrite;
pub mod rtcp;
pub mod rtx;
pub mod srtp;
pub mod twcc;
