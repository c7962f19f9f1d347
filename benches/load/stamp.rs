//! Pictures that say which one they are, so that whoever gets one knows when it was sent.
//!
//! The number stands in supplemental information (H.264 annex D.1.7, user data unregistered), which every hop carries along.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

/// Begins each stamp. No zero bytes, here or behind it: they would need escaping.
const MARK: [u8; 16] = *b"headend-bench-01";
/// Hexadecimal digits behind the mark.
const DIGITS: usize = 16;

/// When each picture was sent, by its number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent(Arc<Mutex<Vec<Instant>>>);

impl Sent {
    /// Picture `number` is sent now.
    pub(crate) fn note(&self, number: u64, at: Instant) {
        if let Ok(mut times) = self.0.lock() {
            times.resize(number as usize, at);
            times.push(at);
        }
    }

    /// When it was sent.
    pub(crate) fn time(&self, number: u64) -> Option<Instant> {
        self.0.lock().ok()?.get(number as usize).copied()
    }
}

/// The body of an FLV picture tag with a stamp before its NAL units.
pub(crate) fn stamp(body: &Bytes, number: u64) -> Bytes {
    let payload = MARK.len() + DIGITS;
    let mut out = BytesMut::with_capacity(body.len() + payload + 8);
    out.put_slice(&body[..5]);
    out.put_u32(3 + payload as u32 + 1);
    out.put_slice(&[0x06, 5, payload as u8]);
    out.put_slice(&MARK);
    out.put_slice(format!("{number:016x}").as_bytes());
    out.put_u8(0x80);
    out.put_slice(&body[5..]);
    out.freeze()
}

/// The numbers of the pictures that `bytes` has whole stamps of.
pub(crate) fn find(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = bytes.get(at..)?;
            let begin = rest.iter().position(|byte| *byte == MARK[0])?;
            at += begin + 1;
            let Some(tail) = rest[begin..].strip_prefix(&MARK) else { continue };
            let digits = tail.get(..DIGITS).and_then(|digits| std::str::from_utf8(digits).ok());
            if let Some(number) = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
                return Some(number);
            }
        }
    })
}
