//! The RTMP handshake (RTMP 1.0 section 5.2, and Flash Player 9's with digests), as the server.
//!
//! In: the peer's first 3073 bytes in any pieces. Out: our half, and what came behind the peer's last byte. The digests are
//! rml_rtmp's; version and size are judged here, so that it holds at most one packet and what one read brought.

use bytes::Bytes;
use rml_rtmp::handshake::{Handshake as Digests, HandshakeProcessResult, PeerType};

use super::error::Problem;

/// Bytes of C0, C1 and C2.
pub const HANDSHAKE_LEN: u64 = 1 + 1536 + 1536;

/// A handshake under way.
pub struct Handshake {
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
pub struct Step {
    /// To be sent.
    pub output: Bytes,
    /// Set once the handshake is complete: what came behind it.
    pub rest: Option<Bytes>,
}

impl Handshake {
    /// Waits for C0.
    pub fn new() -> Self {
        Self { digests: Digests::new(PeerType::Server), begun: false }
    }

    /// Takes the next bytes, at least one.
    pub fn handle_input(&mut self, input: &[u8]) -> Result<Step, Problem> {
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
        for (first, word) in [(0x16, "TLS"), (b'G', "HTTP"), (6, "RTMPE"), (0, "RTMP")] {
            let error = Handshake::new().handle_input(&[first, 1, 2]).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
