//! Floor 1: sockets, the descriptors they take, and nothing else.
//!
//! In: addresses to bind, bytes to send. Out: datagrams and streams with the addresses they came on. What the bytes mean
//! is for the floors above.

pub(crate) mod accept;
pub(crate) mod files;
pub(crate) mod interfaces;
pub(crate) mod low_water;
pub(crate) mod quiet;
pub(crate) mod tcp;
pub(crate) mod udp;
