//! Floor 1: sockets and nothing else.
//!
//! In: addresses to bind, bytes to send. Out: datagrams and streams with the addresses they came on. What the bytes mean
//! is for the floors above.

pub mod interfaces;
pub mod quiet;
pub mod tcp;
pub mod udp;
