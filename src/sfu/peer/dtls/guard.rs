//! Stands before the DTLS engine: reassembles handshake messages within bounds and lets only whole ones through, in order
//! and once.
//!
//! In: datagrams. Out: datagrams for the engine. It is needed because the engine collects fragments recursively and without
//! a useful bound (a flood of small fragments overflows the stack before any authentication), and keeps every repetition.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

const RECORD_HEADER: usize = 13;
const HANDSHAKE_HEADER: usize = 12;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

const CLIENT_HELLO: u8 = 1;
const USE_SRTP: u16 = 14;
const AEAD_AES_128_GCM: u16 = 0x0007;

/// Longest handshake message. The largest real ones are certificate chains of a few kilobytes.
const MAX_MESSAGE: usize = 16 * 1024;
/// Bytes of all handshake messages of one handshake, as their headers declare them; real ones stay below 8 KB.
const MAX_HANDSHAKE: usize = 48 * 1024;
/// How far ahead of the next expected message others are kept: a flight has at most five.
const WINDOW: u16 = 8;
/// Most separate pieces of one message that has holes; in order there is never more than one.
const MAX_PIECES: usize = 32;
/// Most fragments looked at in one handshake; a real one has about 20, repeated a few times on a bad link.
const MAX_FRAGMENTS: u32 = 1024;
/// Most encrypted handshake records (Finished, 61 bytes, and its repetitions) over the life of an association. What is
/// inside can't be checked here, so it is kept too small to hurt.
const MAX_ENCRYPTED_HANDSHAKES: u8 = 24;
/// Longest encrypted record that is let through before application data is: Finished and alerts.
const MAX_ENCRYPTED_RECORD: usize = 256;
/// Most ChangeCipherSpec records: the engine queues them until they make sense.
const MAX_PLAIN_CONTROL: u8 = 24;

#[derive(Debug)]
struct Assembly {
    kind: u8,
    data: Vec<u8>,
    /// Sorted, disjoint ranges that have arrived.
    pieces: Vec<(usize, usize)>,
}

/// What the guard let through of a datagram.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// Whole records for the engine.
    pub(super) records: BytesMut,
    /// Set if there is a ClientHello among them: whether it offers AEAD_AES_128_GCM.
    pub(super) client_offers_gcm: Option<bool>,
    /// The very first message came again: the peer has not got our answer.
    pub(super) repeated_first_message: bool,
    /// A message came again that had got through.
    pub(super) repeated_message: bool,
}

#[derive(Debug, Default)]
pub(super) struct Guard {
    /// `message_seq` (RFC 6347 section 4.2.2) of the message to let through next.
    next: u16,
    assembling: BTreeMap<u16, Assembly>,
    declared: usize,
    fragments: u32,
    encrypted_handshakes: u8,
    plain_control: u8,
    /// Unencrypted records are renumbered, because their number changes when messages are put together.
    record_number: u64,
    dropped: u64,
}

impl Guard {
    pub(super) fn filter(&mut self, datagram: &[u8], established: bool) -> Passed {
        let mut passed = Passed::default();
        let mut rest = datagram;
        while let Some((header, after)) = rest.split_at_checked(RECORD_HEADER) {
            let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
            let Some((body, after)) = after.split_at_checked(length) else { break };
            rest = after;
            // The major version is 1 for all of DTLS (ones' complement, RFC 6347 section 4.1).
            if length == 0 || header[1] != 0xFE {
                self.dropped += 1;
                continue;
            }
            let plain = header[3..5] == [0, 0];
            if plain {
                self.filter_plain(header[0], body, established, &mut passed);
            } else {
                self.filter_encrypted(header, body, &mut passed);
            }
        }
        passed
    }

    fn filter_encrypted(&mut self, header: &[u8], body: &[u8], passed: &mut Passed) {
        let allowed = body.len() <= MAX_ENCRYPTED_RECORD
            && match header[0] {
                ALERT => true,
                HANDSHAKE => self.encrypted_handshakes < MAX_ENCRYPTED_HANDSHAKES,
                // Application data would be SCTP (RFC 8261).
                _ => false,
            };
        if allowed {
            self.encrypted_handshakes += u8::from(header[0] == HANDSHAKE);
            passed.records.extend_from_slice(header);
            passed.records.extend_from_slice(body);
        } else {
            self.dropped += 1;
        }
    }

    fn filter_plain(&mut self, kind: u8, body: &[u8], established: bool, passed: &mut Passed) {
        // Once there are keys, whatever is not encrypted is old or forged.
        match kind {
            HANDSHAKE if !established => self.filter_messages(body, passed),
            // An alert that is not encrypted may be anybody's. A handshake that the peer refused ends in time without it.
            CHANGE_CIPHER_SPEC if !established && body.len() == 1 => self.pass_control(kind, body, passed),
            _ => self.dropped += 1,
        }
    }

    fn pass_control(&mut self, kind: u8, body: &[u8], passed: &mut Passed) {
        if self.plain_control == MAX_PLAIN_CONTROL {
            self.dropped += 1;
            return;
        }
        self.plain_control += 1;
        self.put_record_header(kind, body.len(), &mut passed.records);
        passed.records.extend_from_slice(body);
    }

    fn put_record_header(&mut self, kind: u8, length: usize, out: &mut BytesMut) {
        out.put_u8(kind);
        out.put_slice(&[0xFE, 0xFD, 0, 0]);
        out.put_uint(self.record_number, 6);
        out.put_u16(length as u16);
        self.record_number += 1;
    }

    fn filter_messages(&mut self, mut body: &[u8], passed: &mut Passed) {
        while !body.is_empty() {
            let Some((header, after)) = body.split_at_checked(HANDSHAKE_HEADER) else { break };
            let number = |at: usize| usize::from(header[at]) << 16 | usize::from(header[at + 1]) << 8 | usize::from(header[at + 2]);
            let sequence = u16::from_be_bytes([header[4], header[5]]);
            let Some((fragment, after)) = after.split_at_checked(number(9)) else { break };
            if self.fragments == MAX_FRAGMENTS {
                break;
            }
            body = after;
            self.fragments += 1;
            if sequence < self.next {
                // The engine must not see it: it would stop its timer.
                passed.repeated_message = true;
                passed.repeated_first_message |= sequence == 0 && self.next == 1 && number(6) == 0;
            } else if sequence - self.next >= WINDOW || !self.keep(header[0], sequence, number(1), number(6), fragment) {
                self.dropped += 1;
            } else {
                self.pass_complete(passed);
            }
        }
        self.dropped += u64::from(!body.is_empty());
    }

    /// Keeps a fragment. False if it contradicts the others or a bound.
    fn keep(&mut self, kind: u8, sequence: u16, length: usize, offset: usize, fragment: &[u8]) -> bool {
        if length > MAX_MESSAGE || offset + fragment.len() > length {
            return false;
        }
        if !self.assembling.contains_key(&sequence) {
            if self.declared + length > MAX_HANDSHAKE {
                return false;
            }
            self.declared += length;
            self.assembling.insert(sequence, Assembly { kind, data: vec![0; length], pieces: Vec::new() });
        }
        let Some(assembly) = self.assembling.get_mut(&sequence) else { return false };
        if assembly.kind != kind || assembly.data.len() != length {
            return false;
        }
        assembly.add(offset, fragment)
    }

    fn pass_complete(&mut self, passed: &mut Passed) {
        while self.assembling.first_key_value().is_some_and(|(sequence, assembly)| *sequence == self.next && assembly.is_complete()) {
            let Some((sequence, message)) = self.assembling.pop_first() else { return };
            self.next = self.next.saturating_add(1);
            let length = message.data.len();
            if message.kind == CLIENT_HELLO {
                passed.client_offers_gcm = Some(offers_gcm(&message.data));
            }
            self.put_record_header(HANDSHAKE, HANDSHAKE_HEADER + length, &mut passed.records);
            let out = &mut passed.records;
            out.put_u8(message.kind);
            out.put_uint(length as u64, 3);
            out.put_u16(sequence);
            out.put_uint(0, 3);
            out.put_uint(length as u64, 3);
            out.put_slice(&message.data);
        }
    }

    /// The handshake is over: forgets pieces of messages.
    pub(super) fn shrink(&mut self) {
        self.assembling = BTreeMap::new();
    }

    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

impl Assembly {
    fn add(&mut self, offset: usize, fragment: &[u8]) -> bool {
        let end = offset + fragment.len();
        if fragment.is_empty() {
            return self.data.is_empty();
        }
        // What has arrived stays as it was: overlapping fragments must not rewrite it.
        let (mut start, mut stop) = (offset, end);
        let touching = |piece: &(usize, usize)| piece.0 <= end && piece.1 >= offset;
        let first = self.pieces.iter().position(touching).unwrap_or_else(|| self.pieces.partition_point(|piece| piece.1 < offset));
        let count = self.pieces[first..].iter().take_while(|piece| touching(piece)).count();
        if count == 0 && self.pieces.len() == MAX_PIECES {
            return false;
        }
        let mut at = offset;
        for piece in &self.pieces[first..first + count] {
            if at < piece.0 {
                self.data[at..piece.0].copy_from_slice(&fragment[at - offset..piece.0 - offset]);
            }
            at = at.max(piece.1);
            start = start.min(piece.0);
            stop = stop.max(piece.1);
        }
        if at < end {
            self.data[at..end].copy_from_slice(&fragment[at - offset..]);
        }
        self.pieces.splice(first..first + count, [(start, stop)]);
        true
    }

    fn is_complete(&self) -> bool {
        self.data.is_empty() || self.pieces == [(0, self.data.len())]
    }
}

/// Whether a ClientHello's use_srtp extension (RFC 5764 section 4.1.1) has AEAD_AES_128_GCM.
fn offers_gcm(hello: &[u8]) -> bool {
    fn vector<'a>(rest: &mut &'a [u8], length_bytes: usize) -> Option<&'a [u8]> {
        let (head, after) = rest.split_at_checked(length_bytes)?;
        let length = head.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let (value, after) = after.split_at_checked(length)?;
        *rest = after;
        Some(value)
    }
    fn find(hello: &[u8]) -> Option<bool> {
        // client_version and random, then session_id, cookie, cipher_suites, compression_methods, extensions.
        let mut rest = hello.get(34..)?;
        for length_bytes in [1, 1, 2, 1] {
            vector(&mut rest, length_bytes)?;
        }
        let mut extensions = vector(&mut rest, 2)?;
        while let Some((kind, after)) = extensions.split_at_checked(2) {
            extensions = after;
            let mut value = vector(&mut extensions, 2)?;
            if u16::from_be_bytes([kind[0], kind[1]]) == USE_SRTP {
                let profiles = vector(&mut value, 2)?;
                return Some(profiles.chunks_exact(2).any(|profile| profile == AEAD_AES_128_GCM.to_be_bytes()));
            }
        }
        None
    }
    find(hello).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9];
        out.extend_from_slice(&(body.len() as u16).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    fn fragment(sequence: u16, length: usize, offset: usize, data: &[u8]) -> Vec<u8> {
        let mut body = vec![11];
        body.put_uint(length as u64, 3);
        body.put_u16(sequence);
        body.put_uint(offset as u64, 3);
        body.put_uint(data.len() as u64, 3);
        body.extend_from_slice(data);
        record(HANDSHAKE, &body)
    }

    fn messages(passed: &Passed) -> Vec<Vec<u8>> {
        let mut rest = &passed.records[..];
        let mut out = vec![];
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[11], rest[12]]));
            out.push(rest[RECORD_HEADER + HANDSHAKE_HEADER..RECORD_HEADER + length].to_vec());
            rest = &rest[RECORD_HEADER + length..];
        }
        out
    }

    #[test]
    fn messages_come_out_whole_in_order_and_once() {
        let mut guard = Guard::default();
        assert!(guard.filter(&fragment(1, 3, 0, b"two"), false).records.is_empty());
        assert!(guard.filter(&fragment(0, 6, 4, b"ne"), false).records.is_empty());
        assert!(guard.filter(&fragment(0, 6, 0, b"one"), false).records.is_empty());
        let passed = guard.filter(&fragment(0, 6, 2, b"e o"), false);
        assert_eq!(messages(&passed), [b"one ne".to_vec(), b"two".to_vec()]);
        for again in [fragment(0, 6, 0, b"one ne"), fragment(1, 3, 0, b"two")] {
            assert!(guard.filter(&again, false).records.is_empty());
        }
        assert_eq!(messages(&guard.filter(&fragment(2, 0, 0, b""), false)), [b"".to_vec()]);
    }

    #[test]
    fn repeated_first_message_is_noticed() {
        let mut guard = Guard::default();
        assert!(!guard.filter(&fragment(0, 3, 0, b"one"), false).repeated_first_message);
        assert!(guard.filter(&fragment(0, 3, 0, b"one"), false).repeated_first_message);
        guard.filter(&fragment(1, 3, 0, b"two"), false);
        assert!(!guard.filter(&fragment(0, 3, 0, b"one"), false).repeated_first_message);
    }

    #[test]
    fn floods_stay_within_bounds() {
        let mut guard = Guard::default();
        for i in 0..100_000_usize {
            // One byte here and there of a long message, never the first.
            guard.filter(&fragment((i % 4) as u16, 16_000, 1 + (i * 2) % 15_998, b"x"), false);
            let encrypted = [22, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 0, 0, 60].into_iter().chain([0; 60]).collect::<Vec<_>>();
            guard.filter(&encrypted, i % 2 == 0);
            guard.filter(&record(CHANGE_CIPHER_SPEC, &[1]), false);
        }
        assert!(guard.assembling.len() <= usize::from(WINDOW) && guard.declared <= MAX_HANDSHAKE);
        assert!(guard.assembling.values().all(|assembly| assembly.pieces.len() <= MAX_PIECES));
        assert!(guard.encrypted_handshakes <= MAX_ENCRYPTED_HANDSHAKES && guard.plain_control <= MAX_PLAIN_CONTROL);
        assert!(guard.dropped > 100_000);
    }

    #[test]
    fn alerts_are_nobodys_until_they_are_encrypted() {
        let mut guard = Guard::default();
        let alerts = [[2, 40], [2, 0], [1, 0], [1, 90]];
        for established in [false, true] {
            for alert in &alerts {
                assert!(guard.filter(&record(ALERT, alert), established).records.is_empty());
            }
        }
        assert_eq!(guard.take_dropped(), 8);
        let encrypted = [ALERT, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 1, 0, 30].into_iter().chain([7; 30]).collect::<Vec<_>>();
        assert_eq!(guard.filter(&encrypted, true).records.len(), encrypted.len());
    }

    #[test]
    fn established_drops_what_is_not_encrypted() {
        let mut guard = Guard::default();
        for plain in [record(ALERT, &[2, 40]), record(CHANGE_CIPHER_SPEC, &[1]), fragment(0, 1, 0, b"x")] {
            assert!(guard.filter(&plain, true).records.is_empty());
        }
    }

    proptest! {
        #[test]
        fn any_cutting_and_order_gives_the_message(
            message in proptest::collection::vec(any::<u8>(), 1..600),
            cuts in proptest::collection::vec((0_usize..600, 1_usize..80), 0..20),
            seed in any::<u64>(),
        ) {
            let length = message.len();
            let mut pieces: Vec<(usize, usize)> = (0..length).step_by(50).map(|at| (at, (at + 50).min(length))).collect();
            pieces.extend(cuts.iter().filter(|(at, _)| *at < length).map(|(at, len)| (*at, (at + len).min(length))));
            let mut random = seed | 1;
            pieces.sort_by_cached_key(|_| { random ^= random << 13; random ^= random >> 7; random ^= random << 17; random });
            let mut guard = Guard::default();
            let mut got = vec![];
            for (start, end) in pieces {
                got.extend(messages(&guard.filter(&fragment(0, length, start, &message[start..end]), false)));
            }
            prop_assert_eq!(got, vec![message]);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), established in any::<bool>()) {
            let mut guard = Guard::default();
            guard.filter(&bytes, established);
            guard.filter(&record(HANDSHAKE, &bytes), established);
            offers_gcm(&bytes);
        }
    }
}
