//! Counters of a worker, plain integers on its own thread.
//!
//! In: one addition per event. Out: a copy on request, summed over the workers for `/metrics`.

macro_rules! counters {
    ($(#[$doc:meta] $name:ident),* $(,)?) => {
        /// What a worker (or all of them together) has done since it started; gauges say so.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub(crate) struct WorkerStats {
            $(#[$doc] pub $name: u64,)*
        }

        impl WorkerStats {
            /// Adds another worker's numbers.
            pub(crate) fn add(&mut self, other: &WorkerStats) {
                $(self.$name += other.$name;)*
            }

            /// Names and values, in a fixed order.
            pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Gauge: routers now open.
    routers,
    /// Gauge: transports now open.
    transports,
    /// Gauge: producers now open, piped copies included.
    producers,
    /// Gauge: consumers now open, pipes included.
    consumers,
    /// Gauge: bytes held in packet stores.
    stored_bytes,
    /// Datagrams from the network.
    datagrams_in,
    /// Bytes from the network.
    bytes_in,
    /// RTP packets taken in by producers, from the network, this process and pipes.
    packets_in,
    /// RTP packets sent to viewers, retransmissions included.
    packets_out,
    /// Bytes sent to viewers.
    bytes_out,
    /// RTP packets sent again after a NACK.
    retransmissions,
    /// NACKs received for packets that were no longer there, or just sent again.
    nacks_unanswered,
    /// Key-frame requests (PLI, FIR) that viewers sent.
    key_frame_requests_in,
    /// Key-frame requests sent to publishers.
    key_frame_requests_out,
    /// Viewers started from the key-frame cache.
    fast_starts,
    /// Packets that publishers sent again after our NACKs.
    recovered,
    /// Datagrams that came to another worker's socket than their session's.
    handovers,
    /// Packets left out because their picture is disposable (`drop_disposable`).
    disposable_dropped,
    /// Datagrams of nobody we know: no such ICE pair or user name.
    drop_unknown_peer,
    /// Datagrams that are none of STUN, DTLS, RTP, RTCP.
    drop_garbage,
    /// SRTP or SRTCP packets that failed authentication or are too old.
    drop_srtp,
    /// RTP packets that belong to no producer.
    drop_unknown_ssrc,
    /// RTP packets seen before, or too old.
    drop_duplicate,
    /// Batches of direct producers that came when the worker's queue was full.
    drop_queue_full,
    /// Stray datagrams whose owner's queue was full.
    drop_handover,
    /// Datagrams that the socket did not take.
    drop_send,
    /// Consumers that fell behind the packet store and had to begin again at a key frame.
    fell_behind,
}
