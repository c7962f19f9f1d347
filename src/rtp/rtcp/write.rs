//! RTCP packets appended to a buffer, one after the other: several make a compound packet, which begins with a report
//! (RFC 3550 section 6.1).

use super::report::{ReportBlock, SenderInfo};
use super::{BYE, FMT_AFB, FMT_FIR, FMT_NACK, FMT_PLI, PSFB, RR, RTPFB, SDES, SR};

/// The 5-bit count of report blocks and SSRCs.
const MAX_COUNT: usize = 31;
/// How many PID+BLP pairs go into one NACK: 1012 bytes, so that one fits a datagram with a report.
const MAX_NACK_ITEMS: usize = 250;

/// Writes the first four bytes, then what `body` writes, padded with zeros to a multiple of four; then the length.
pub(super) fn packet(out: &mut Vec<u8>, packet_type: u8, count: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0x80 | count, packet_type, 0, 0]);
    body(out);
    while !(out.len() - start).is_multiple_of(4) {
        out.push(0);
    }
    let words = ((out.len() - start) / 4 - 1) as u16;
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

fn put(out: &mut Vec<u8>, word: u32) {
    out.extend_from_slice(&word.to_be_bytes());
}

/// Appends a sender report; more than 31 blocks go on in receiver reports.
pub(crate) fn write_sender_report(out: &mut Vec<u8>, ssrc: u32, info: &SenderInfo, blocks: &[ReportBlock]) {
    let (first, rest) = blocks.split_at(blocks.len().min(MAX_COUNT));
    packet(out, SR, first.len() as u8, |out| {
        put(out, ssrc);
        info.write(out);
        first.iter().for_each(|block| block.write(out));
    });
    if !rest.is_empty() {
        write_receiver_report(out, ssrc, rest);
    }
}

/// Appends a receiver report, or several with more than 31 blocks. Without blocks an empty one, as a compound packet may need.
pub fn write_receiver_report(out: &mut Vec<u8>, ssrc: u32, blocks: &[ReportBlock]) {
    let (first, rest) = blocks.split_at(blocks.len().min(MAX_COUNT));
    packet(out, RR, first.len() as u8, |out| {
        put(out, ssrc);
        first.iter().for_each(|block| block.write(out));
    });
    if !rest.is_empty() {
        write_receiver_report(out, ssrc, rest);
    }
}

/// Appends a source description with one CNAME, of which the first 255 bytes count.
pub fn write_sdes_cname(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let cname = &cname.as_bytes()[..cname.len().min(255)];
    packet(out, SDES, 1, |out| {
        put(out, ssrc);
        out.extend_from_slice(&[1, cname.len() as u8]);
        out.extend_from_slice(cname);
        // The item list ends with at least one zero byte.
        out.push(0);
    });
}

/// Appends a BYE for up to 31 SSRCs; more are left out.
pub fn write_bye(out: &mut Vec<u8>, ssrcs: &[u32]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(MAX_COUNT)];
    packet(out, BYE, ssrcs.len() as u8, |out| ssrcs.iter().for_each(|ssrc| put(out, *ssrc)));
}

/// Appends a generic NACK for the sequence numbers, best in ascending order; several with more than 250 PID+BLP pairs.
/// Nothing without sequence numbers.
pub fn write_nack(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32, seqs: &[u16]) {
    let mut seqs = seqs.iter().copied().peekable();
    while seqs.peek().is_some() {
        packet(out, RTPFB, FMT_NACK, |out| {
            put(out, sender_ssrc);
            put(out, media_ssrc);
            for _ in 0..MAX_NACK_ITEMS {
                let Some(pid) = seqs.next() else { break };
                let mut blp = 0u16;
                while let Some(distance) = seqs.peek().map(|seq| seq.wrapping_sub(pid)).filter(|distance| *distance <= 16) {
                    blp |= if distance == 0 { 0 } else { 1 << (distance - 1) };
                    seqs.next();
                }
                put(out, u32::from(pid) << 16 | u32::from(blp));
            }
        });
    }
}

/// Appends a picture loss indication.
pub fn write_pli(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32) {
    packet(out, PSFB, FMT_PLI, |out| {
        put(out, sender_ssrc);
        put(out, media_ssrc);
    });
}

/// Appends a full intra request for one stream; `command` counts the requests to that stream (RFC 5104 section 4.3.1.1).
pub fn write_fir(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32, command: u8) {
    packet(out, PSFB, FMT_FIR, |out| {
        put(out, sender_ssrc);
        put(out, 0);
        put(out, media_ssrc);
        put(out, u32::from(command) << 24);
    });
}

/// Appends a REMB for up to 255 SSRCs; `bitrate` in bit/s, rounded down to 18 significant bits.
pub fn write_remb(out: &mut Vec<u8>, sender_ssrc: u32, bitrate: u64, ssrcs: &[u32]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(255)];
    let exponent = (64 - bitrate.leading_zeros()).saturating_sub(18);
    let mantissa = (bitrate >> exponent) as u32;
    packet(out, PSFB, FMT_AFB, |out| {
        put(out, sender_ssrc);
        put(out, 0);
        out.extend_from_slice(b"REMB");
        put(out, (ssrcs.len() as u32) << 24 | exponent << 18 | mantissa);
        ssrcs.iter().for_each(|ssrc| put(out, *ssrc));
    });
}
