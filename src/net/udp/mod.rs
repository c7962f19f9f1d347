//! UDP in batches: many datagrams per system call in both directions, each with the address of ours it belongs to.
//!
//! In: an address to bind; messages written into a [`SendBatch`]. Out: datagrams in a [`RecvBatch`].

mod message;
mod port;
mod recv;
mod send;
mod steer;
mod sys;
#[cfg(test)]
mod tests;

pub use port::UdpPort;
pub use recv::RecvBatch;
pub use send::SendBatch;
pub(crate) use steer::Steering;
