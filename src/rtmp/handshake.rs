//! The RTMP handshake (RTMP 1.0 section 5.2, and Flash Player 9's with digests), as the server.
//!
//! In: the peer's first 3073 bytes in any pieces. Out: our half, and what came behind the peer's last byte. The digests are
//! rml_rtmp's; version and size are judged here, so that it holds at most one packet and what one read brought.

use bytes::Bytes;
use rml_rtmp::handshake::{Handshake as Digests, HandshakeProcessResult, PeerType};

use super::error::Problem;

/// Bytes of C0, C1 and C2.
pub(super) const HANDSHAKE_LEN: u64 = 1 + 1536 + 1536;

/// A handshake under way.
pub(super) struct Handshake {
    digests: Digests,
    begun: bool,
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("begun", &self.begun).finish_non_exhaustive()
    }
}

/// What a step of the handshake gave.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// To be sent.
    pub output: Bytes,
    /// Set once the handshake is complete: what came behind it.
    pub rest: Option<Bytes>,
}

impl Handshake {
    /// Waits for C0.
    pub(super) fn new() -> Self {
        Self { digests: Digests::new(PeerType::Server), begun: false }
    }

    /// Takes the next bytes, at least one.
    pub(super) fn handle_input(&mut self, input: &[u8]) -> Result<Step, Problem> {
        match input.first() {
            None => return Ok(Step::default()),
            // Not a word to strangers: our half is sent only to those who begin with the right version.
            Some(&first) if !self.begun && first != 3 => return Err(Problem::NotRtmp { first }),
            Some(_) => self.begun = true,
        }
        match self.digests.process_bytes(input) {
            Ok(HandshakeProcessResult::InProgress { response_bytes }) => Ok(Step { output: response_bytes.into(), rest: None }),
            Ok(HandshakeProcessResult::Completed { response_bytes, remaining_bytes }) => {
                Ok(Step { output: response_bytes.into(), rest: Some(remaining_bytes.into()) })
            }
            Err(error) => Err(Problem::Handshake(error.to_string())),
        }
    }
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

    /// Every kind of C1, and of C2: whoever begins with version 3 is let in, and gets the digests or the echo it looks for.
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
            for c2 in ["S1", "zeros", "C1", "noise"] {
                for piece in [1, 1537, 5000] {
                    let mut handshake = Handshake::new();
                    let (mut output, mut rest) = (Vec::new(), None);
                    let mut feed = |bytes: &[u8], output: &mut Vec<u8>| {
                        for part in bytes.chunks(piece) {
                            let step = handshake.handle_input(part).unwrap();
                            output.extend_from_slice(&step.output);
                            rest = step.rest.or(rest.take());
                        }
                    };
                    feed(&[&[3][..], &c1].concat(), &mut output);
                    assert_eq!((output.len() as u64, output[0]), (HANDSHAKE_LEN, 3), "{name}: all of it before C2");
                    assert_eq!(output[1537..] == c1[..], echoed, "{name}");
                    let answer = match c2 {
                        "S1" => output[1..1537].to_vec(),
                        "C1" => c1.clone(),
                        "zeros" => vec![0; 1536],
                        _ => (0..1536).map(|i| (i * 31 % 255) as u8).collect(),
                    };
                    feed(&answer, &mut Vec::new());
                    assert!(rest.is_some(), "{name}: C2 is {c2}");
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
        assert!(server.handle_input(&response_bytes).unwrap().rest.is_some());
    }

    #[test]
    fn strangers_are_told_apart() {
        for (first, word) in
            [(0x16, "TLS"), (b'G', "HTTP"), (b'P', "HTTP"), (b'O', "HTTP"), (6, "RTMPE"), (8, "RTMPE"), (0, "RTMP"), (4, "RTMP")]
        {
            let error = Handshake::new().handle_input(&[first, 1, 2]).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
