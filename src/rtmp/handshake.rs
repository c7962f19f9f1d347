//! The RTMP handshake (RTMP 1.0 section 5.2, and Flash Player 9's with digests), as the server.
//!
//! In: the peer's first 3073 bytes in any pieces. Out: our half, what came behind the peer's last byte, and whether that half was an answer
//! to ours. The digests are rml_rtmp's; version and size are judged here, so that it holds at most one packet and what one read brought.

use bytes::Bytes;
use ring::hmac::{HMAC_SHA256, Key, sign};
use rml_rtmp::handshake::{Handshake as Digests, HandshakeProcessResult, PeerType};

use super::error::Problem;

/// Bytes of C1, C2, S1 and S2.
const PACKET_LEN: usize = 1536;
/// Bytes of C0, C1 and C2.
pub(super) const HANDSHAKE_LEN: u64 = 1 + 2 * PACKET_LEN as u64;
const DIGEST_LEN: usize = 32;
/// What Flash Player signs C2 with, behind a key made of this and of S1's digest.
const PLAYER_KEY: &[u8; 62] = b"Genuine Adobe Flash Player 001\xF0\xEE\xC2\x4A\x80\x68\xBE\xE8\x2E\x00\xD0\xD1\x02\x9E\x7E\x57\x6E\xEC\
\x5D\x2D\x29\x80\x6F\xAB\x93\xB8\xE6\x36\xCF\xEB\x31\xAE";

/// A handshake under way.
pub(super) struct Handshake {
    digests: Digests,
    /// Bytes of the peer so far.
    received: usize,
    /// S0 and S1 as they were sent.
    sent: Vec<u8>,
    /// C2 as far as it came.
    answer: Vec<u8>,
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("received", &self.received).finish_non_exhaustive()
    }
}

/// What a step of the handshake gave.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// To be sent.
    pub output: Bytes,
    /// Set once the handshake is complete: what came behind it.
    pub rest: Option<Bytes>,
    /// Set once the handshake is complete: C2 neither repeats S1 nor is signed with its digest. Nothing depends on it.
    pub unanswered: bool,
}

impl Handshake {
    /// Waits for C0.
    pub(super) fn new() -> Self {
        Self { digests: Digests::new(PeerType::Server), received: 0, sent: Vec::new(), answer: Vec::new() }
    }

    /// Takes the next bytes, at least one.
    pub(super) fn handle_input(&mut self, input: &[u8]) -> Result<Step, Problem> {
        match input.first() {
            None => return Ok(Step::default()),
            // Not a word to strangers: our half is sent only to those who begin with the right version.
            Some(&first) if self.received == 0 && first != 3 => return Err(Problem::NotRtmp { first }),
            Some(_) => {}
        }
        let before_answer = (1 + PACKET_LEN).saturating_sub(self.received).min(input.len());
        self.answer.extend(input[before_answer..].iter().take(PACKET_LEN - self.answer.len()));
        self.received += input.len();
        let (output, rest) = match self.digests.process_bytes(input)? {
            HandshakeProcessResult::InProgress { response_bytes } => (response_bytes, None),
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => (response_bytes, Some(remaining_bytes.into())),
        };
        self.sent.extend(output.iter().take(1 + PACKET_LEN - self.sent.len()));
        let unanswered = rest.is_some() && !self.sent.split_first().is_some_and(|(_, s1)| answers(s1, &self.answer));
        Ok(Step { output: output.into(), rest, unanswered })
    }
}

/// Whether C2 repeats S1 (RTMP 1.0 section 5.2.4; its times are another matter) or has Flash Player's signature of S1's digest.
fn answers(s1: &[u8], c2: &[u8]) -> bool {
    let (Some(random), Some((signed, signature))) = (s1.get(8..), c2.split_at_checked(PACKET_LEN - DIGEST_LEN)) else { return false };
    // Where the digest is, the four bytes at one of two places say.
    c2.get(8..) == Some(random)
        || [8, 772].into_iter().any(|pointer| {
            let offset: usize = s1.iter().skip(pointer).take(4).map(|byte| usize::from(*byte)).sum();
            let at = pointer + 4 + offset % 728;
            let digest = s1.get(at..at + DIGEST_LEN).unwrap_or_default();
            let key = sign(&Key::new(HMAC_SHA256, PLAYER_KEY), digest);
            sign(&Key::new(HMAC_SHA256, key.as_ref()), signed).as_ref() == signature
        })
}

impl Default for Handshake {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a client's bytes through in pieces of `piece`; gives our output and the rest.
    fn run(input: &[u8], piece: usize) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut handshake = Handshake::new();
        let (mut output, mut rest) = (Vec::new(), None);
        for part in input.chunks(piece) {
            match &mut rest {
                Some(rest) => Vec::extend_from_slice(rest, part),
                None => {
                    let step = handshake.handle_input(part).unwrap();
                    output.extend_from_slice(&step.output);
                    rest = step.rest.map(|r| r.to_vec());
                }
            }
        }
        (output, rest)
    }

    #[test]
    fn plain_handshake_in_any_pieces() {
        let mut input = vec![3];
        input.extend((0..1536).map(|i| if (4..8).contains(&i) { 0 } else { (i % 251) as u8 }));
        let c1 = input[1..].to_vec();
        input.extend([7; 1536]);
        input.extend(b"after");
        for piece in [1, 2, 1000, 1537, 1538, input.len()] {
            let (output, rest) = run(&input, piece);
            assert_eq!(output.len() as u64, HANDSHAKE_LEN);
            assert_eq!(output[0], 3);
            assert_eq!(output[1537..], c1, "S2 echoes C1");
            assert_eq!(rest.as_deref(), Some(&b"after"[..]), "{piece}");
        }
    }

    /// C1 as Flash makes it, its digest found by the bytes at `pointer` (8 in scheme 0, 772 in scheme 1).
    fn digest_c1(pointer: usize) -> Vec<u8> {
        let mut c1: Vec<u8> = (0..1536).map(|i| (i * 7 % 251) as u8).collect();
        c1[4..8].copy_from_slice(&[128, 0, 7, 2]);
        let at = pointer + 4 + c1[pointer..pointer + 4].iter().map(|byte| usize::from(*byte)).sum::<usize>() % 728;
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"Genuine Adobe Flash Player 001");
        let digest = ring::hmac::sign(&key, &[&c1[..at], &c1[at + 32..]].concat());
        c1[at..at + 32].copy_from_slice(digest.as_ref());
        c1
    }

    /// Every kind of C1, and of C2: whoever begins with version 3 is accepted, and gets the digests or the echo it looks for.
    #[test]
    fn clients_of_all_kinds() {
        let plain = |second_word: [u8; 4]| {
            let mut c1: Vec<u8> = (0..1536).map(|i| (i % 241) as u8).collect();
            c1[4..8].copy_from_slice(&second_word);
            c1
        };
        let broken = |pointer| {
            let mut c1 = digest_c1(pointer);
            c1[1535] ^= 1;
            c1[700] ^= 1;
            c1
        };
        let table = [
            ("zero", plain([0; 4]), true),
            ("not zero", plain([9, 0, 124, 2]), true),
            ("scheme 0", digest_c1(8), false),
            ("scheme 1", digest_c1(772), false),
            ("scheme 0, broken", broken(8), true),
            ("scheme 1, broken", broken(772), true),
            ("nothing but zeros", vec![0; 1536], true),
            ("all ones", vec![0xFF; 1536], true),
        ];
        for (name, c1, echoed) in table {
            for c2 in ["S1", "S1 with other times", "zeros", "C1", "noise"] {
                for piece in [1, 1000, 1537, 5000] {
                    let mut handshake = Handshake::new();
                    let (mut output, mut rest, mut unanswered) = (Vec::new(), None, false);
                    let mut feed = |bytes: &[u8], output: &mut Vec<u8>| {
                        for part in bytes.chunks(piece) {
                            let step = handshake.handle_input(part).unwrap();
                            output.extend_from_slice(&step.output);
                            rest = step.rest.or(rest.take());
                            unanswered |= step.unanswered;
                        }
                    };
                    feed(&[&[3][..], &c1].concat(), &mut output);
                    assert_eq!((output.len() as u64, output[0]), (HANDSHAKE_LEN, 3), "{name}: all of it before C2");
                    assert_eq!(output[1537..] == c1[..], echoed, "{name}");
                    let answer = match c2 {
                        "S1" => output[1..1537].to_vec(),
                        "S1 with other times" => [&[9; 8][..], &output[9..1537]].concat(),
                        "C1" => c1.clone(),
                        "zeros" => vec![0; 1536],
                        _ => (0..1536).map(|i| (i * 31 % 255) as u8).collect(),
                    };
                    feed(&answer, &mut Vec::new());
                    assert_eq!((rest.is_some(), unanswered), (true, !c2.starts_with("S1")), "{name}: C2 is {c2}");
                }
            }
        }
    }

    #[test]
    fn digest_handshake() {
        let mut client = Digests::new(PeerType::Client);
        let c0c1 = client.generate_outbound_p0_and_p1().unwrap();
        let mut server = Handshake::new();
        let step = server.handle_input(&c0c1).unwrap();
        let HandshakeProcessResult::Completed { response_bytes, .. } = client.process_bytes(&step.output).unwrap() else {
            panic!("the client did not accept our half")
        };
        let step = server.handle_input(&response_bytes).unwrap();
        assert_eq!((step.rest.is_some(), step.unanswered), (true, false));
    }

    /// C2 as Flash Player and those who do as it does make it.
    #[test]
    fn signed_answers() {
        for pointer in [8, 772] {
            let mut s1: Vec<u8> = (0..1536).map(|i| (i * 5 % 253) as u8).collect();
            s1[pointer..pointer + 4].copy_from_slice(&[1, 2, 3, 250]);
            let at = pointer + 4 + 256;
            let mut c2: Vec<u8> = (0..1536).map(|i| (i * 11 % 247) as u8).collect();
            let key = sign(&Key::new(HMAC_SHA256, PLAYER_KEY), &s1[at..at + 32]);
            let signature = sign(&Key::new(HMAC_SHA256, key.as_ref()), &c2[..1504]);
            assert!(!answers(&s1, &c2));
            c2[1504..].copy_from_slice(signature.as_ref());
            assert!(answers(&s1, &c2));
            c2[3] ^= 1;
            assert!(!answers(&s1, &c2));
            assert!(!answers(&s1, &c2[..1000]) && !answers(&[], &c2));
        }
    }

    #[test]
    fn strangers_are_told_apart() {
        for (first, word) in
            [(0x16, "TLS"), (b'G', "HTTP"), (b'P', "RTMPT"), (b'O', "HTTP"), (6, "RTMPE"), (8, "RTMPE"), (0, "RTMP"), (4, "RTMP")]
        {
            let error = Handshake::new().handle_input(&[first, 1, 2]).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
