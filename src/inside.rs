//! What benchmarks, fuzz targets and the tests of `tests/` take from the inside. It promises nothing: whoever uses it changes with it.
//!
//! Everything else is `pub(crate)`, so that the compiler says what nobody uses.

pub mod base {
    //! See `src/base`.
    pub use crate::base::{Clock, MediaKind, StreamPath, seeded};
}

pub mod net {
    //! See `src/net`.
    pub mod udp {
        //! Sockets in batches.
        pub use crate::net::udp::{RecvBatch, SendBatch, UdpPort};
    }
}

pub mod codec {
    //! See `src/codec`.
    pub use crate::codec::{AccessUnit, Codec, Depacketized, Depacketizer, Format, Packetizer, payload_facts};

    pub mod aac {
        //! AAC.
        pub use crate::codec::aac::{AacConfig, Unwrapper};
    }
    pub mod h264 {
        //! H.264.
        pub use crate::codec::h264::{
            Assembled, Assembler, AvcConfig, Picture, Stamp, annexb_to_avcc, avcc_nals, avcc_to_annexb, may_reorder, parse_sps, pps_id,
            pps_sps_id, split_nals, sps_id, unit_is_b, unit_is_disposable,
        };
    }
    pub mod opus {
        //! Opus.
        pub use crate::codec::opus::{packet_channels, packet_duration};
    }
    pub mod vp8 {
        //! VP8.
        pub use crate::codec::vp8::{Descriptor, frame_info, payload_facts};
    }
}

pub mod rtp {
    //! See `src/rtp`.
    pub mod batch {
        //! Packets in one buffer.
        pub use crate::rtp::batch::{BatchWriter, ClockMapping, RtpBatch};
    }
    pub mod packet {
        //! Headers.
        pub use crate::rtp::packet::{RtpHeader, RtpPacket, header_len, set_sequence_number, set_ssrc, set_timestamp, write_header};
    }
    pub mod rewrite {
        //! Numbers on the way to a viewer.
        pub use crate::rtp::rewrite::Rewriter;
    }
    pub mod rtcp {
        //! Reports and feedback.
        pub use crate::rtp::rtcp::{
            ReportBlock, Rtcp, parse, write_bye, write_fir, write_nack, write_pli, write_receiver_report, write_remb, write_sdes_cname,
        };
    }
    pub mod srtp {
        //! SRTP in place.
        pub use crate::rtp::srtp::{Keying, SrtpProfile, SrtpReceiver, SrtpSender};
    }
}

pub mod cmaf {
    //! See `src/cmaf`.
    pub use crate::cmaf::{
        Chunk, MAX_SAMPLES_PER_FRAGMENT, SampleDefaults, Targets, TrackInit, add_edit_list, decode_samples, encode_samples, read_fragment,
        read_init, shift_times,
    };
}

pub mod sfu {
    //! See `src/sfu`.
    pub mod ortc {
        //! Parameters.
        pub use crate::sfu::ortc::{DtlsFingerprint, DtlsParameters, DtlsRole, IceParameters};
    }
    pub mod peer {
        //! ICE and DTLS.
        pub use crate::sfu::peer::{
            Certificate, DtlsSession, Peer, PeerEvent, Protocol, Received, SrtpKeys, Tuple, peek_ufrag, worker_of_ufrag,
        };

        pub mod client {
            //! The other side.
            pub use crate::sfu::peer::client::ClientPeer;
        }
    }
}

pub mod sdp {
    //! See `src/sdp`.
    pub use crate::sdp::{Answer, Fragment, Offer, SectionAnswer};
}

pub mod stream {
    //! See `src/stream`.
    pub use crate::stream::{TranscodeError, TranscodeTarget};
}

pub mod rtmp {
    //! See `src/rtmp`.
    pub use crate::rtmp::Target;

    pub mod amf0 {
        //! AMF0.
        pub use crate::rtmp::amf0::{MAX_BYTES, Value, read, read_amf3_until_broken, write};
    }
    pub mod chunk {
        //! Chunks and messages.
        pub use crate::rtmp::chunk::{ChunkReader, ChunkWriter, Limits, Message, kind};
    }
    pub mod flv {
        //! Tags.
        pub use crate::rtmp::flv::{aggregate, read_audio, read_audio_track, read_video, read_video_track};
    }
    pub mod session {
        //! The protocol's state.
        pub use crate::rtmp::session::{Event, ServerSession, SessionTimeouts};
    }
}

pub mod pipeline {
    //! See `src/pipeline`.
    pub use crate::pipeline::{PipelineConfig, PipelineTranscoder, RtpSource, Supervisor, UnitSink};

    pub mod segmenter {
        //! Chunks of a stream.
        pub use crate::pipeline::segmenter::{Continuity, EpochEnd, SegmenterEvent, Tracks, run_epoch};
    }
    pub mod wire {
        //! Between parent and child.
        pub use crate::pipeline::wire::{Assembler, Message, Start, decode, encode, encode_frame};
    }
}

pub mod package {
    //! See `src/package`.
    pub use crate::package::{BlockingReload, Live, MediaName, PackageConfig, Presentation};
}

pub mod record {
    //! See `src/record`.
    pub use crate::record::RecordingId;

    pub mod index {
        //! What vouches for the bytes on the disk.
        pub use crate::record::index::{Epoch, FragmentEntry, HEADER, Records, put_epoch, put_fragment};
    }
}
