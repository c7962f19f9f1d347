//! Which captions pictures carry.
//!
//! In: coded pictures. Out: the caption services among them, CEA-608 and CEA-708, as playlists and manifests announce them. Pure.

use std::fmt;

/// How supplemental information with captions begins (ATSC A/53 part 4 section 6.2.3, in ITU-T T.35 of H.264 and H.265). No byte of it needs
/// emulation prevention.
const CAPTIONS: &[u8] = &[0xB5, 0x00, 0x31, b'G', b'A', b'9', b'4', 0x03];

/// A service that viewers can switch on, named as in EXT-X-MEDIA's INSTREAM-ID (RFC 8216 section 4.3.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// A channel of CEA-608, 1 to 4.
    Cc(u8),
    /// A service of CEA-708, 1 to 6: those beyond have their number in a header of their own, and nobody sends them.
    Service(u8),
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cc(number) => write!(f, "CC{number}"),
            Self::Service(number) => write!(f, "SERVICE{number}"),
        }
    }
}

/// What was seen of captions so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Captions {
    /// There is room for them in the pictures: somebody means to write there.
    seen: bool,
    /// By bit: CC1 to CC4.
    channels: u8,
    /// By bit: service 1 to 6.
    services: u8,
}

impl Captions {
    /// Looks for captions in coded pictures.
    pub(super) fn note(&mut self, pictures: &[u8]) {
        for at in memchr::memmem::find_iter(pictures, CAPTIONS) {
            self.seen = true;
            self.note_data(pictures.get(at + CAPTIONS.len()..).unwrap_or_default());
        }
    }

    /// Whether there are any, empty ones count.
    pub(super) fn are_there(self) -> bool {
        self.seen
    }

    /// The services to announce. As long as nothing is written, it is the one that everybody writes to first: who comes now reads the list
    /// once.
    pub(super) fn services(self) -> impl Iterator<Item = Service> {
        let first = self.seen && self.channels == 0 && self.services == 0;
        let channels = if first { 1 } else { self.channels };
        let numbers = |bits: u8, most: u8| (0..most).filter(move |bit| (bits >> bit) & 1 == 1).map(|bit| bit + 1);
        numbers(channels, 4).map(Service::Cc).chain(numbers(self.services, 6).map(Service::Service))
    }

    /// `cc_data` (CEA-708 section 4.4): a count, and triplets of a header and two bytes.
    fn note_data(&mut self, escaped: &[u8]) {
        let mut bytes = unescaped(escaped);
        let count = bytes.next().filter(|flags| flags & 0x40 != 0).map_or(0, |flags| flags & 0x1F);
        let _em_data = bytes.next();
        for _ in 0..count {
            let (Some(header), Some(first), Some(second)) = (bytes.next(), bytes.next(), bytes.next()) else { return };
            if header & 4 == 0 {
                continue; // nothing in it
            }
            match header & 3 {
                field @ (0 | 1) => self.note_pair(field, first & 0x7F, second & 0x7F),
                // A packet of CEA-708 begins. Its second byte says whose the first block in it is, and how long.
                3 if (1..=6).contains(&(second >> 5)) && second & 0x1F > 0 => self.services |= 1 << ((second >> 5) - 1),
                _ => {}
            }
        }
    }

    /// Two bytes of CEA-608 without their parity. Nothing is shown of a channel before a control code for it, and those say which it is.
    fn note_pair(&mut self, field: u8, first: u8, second: u8) {
        if (0x10..=0x1F).contains(&first) && second >= 0x20 {
            self.channels |= 1 << (field * 2 + ((first >> 3) & 1));
        }
    }
}

/// Bytes without emulation prevention (H.264 section 7.4.1.1).
fn unescaped(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let mut zeros = 0;
    bytes.iter().copied().filter(move |byte| {
        let prevents = zeros >= 2 && *byte == 3;
        zeros = if *byte == 0 && !prevents { zeros + 1 } else { 0 };
        !prevents
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pictures(data: &[&[u8]]) -> Vec<u8> {
        data.iter().flat_map(|data| [b"....\x06\x04\x47", CAPTIONS, data, b"\xFF\x80...."].concat()).collect()
    }

    #[test]
    fn services() {
        type Row<'a> = (&'a str, &'a [&'a [u8]], bool, &'a [&'a str]);
        let table: [Row<'_>; 12] = [
            ("none", &[], false, &[]),
            ("cut off behind its name", &[b""], true, &["CC1"]),
            ("no triplets", &[b"\x40\xFF"], true, &["CC1"]),
            ("not to be processed", &[b"\x01\xFF\xFC\x14\x2C"], true, &["CC1"]),
            ("empty ones", &[b"\x42\xFF\xFC\x80\x80\xFD\x80\x80"], true, &["CC1"]),
            ("field 1, erase displayed memory", &[b"\x41\xFF\xFC\x94\x2C"], true, &["CC1"]),
            ("field 1, channel 2", &[b"\x41\xFF\xFC\x1C\x2C"], true, &["CC2"]),
            ("field 2, both", &[b"\x42\xFF\xFD\x15\x20\xFD\x9D\x20"], true, &["CC3", "CC4"]),
            ("text without a control code", &[b"\x41\xFF\xFC\xC8\xE9"], true, &["CC1"]),
            ("invalid, then valid", &[b"\x42\xFF\xF8\x15\x2C\xFC\x94\x2C"], true, &["CC1"]),
            ("CEA-708, services 1 and 2", &[b"\x41\xFF\xFF\x02\x21", b"\x42\xFF\xFF\x42\x45\xFE\x80\x80"], true, &["SERVICE1", "SERVICE2"]),
            ("behind emulation prevention", &[b"\x43\xFF\xF8\x00\x00\x03\x00\x00\x03\x00\xFC\x94\x2C"], true, &["CC1"]),
        ];
        for (name, data, are_there, expected) in table {
            let mut captions = Captions::default();
            captions.note(&pictures(data));
            let found: Vec<String> = captions.services().map(|service| service.to_string()).collect();
            assert_eq!(
                (captions.are_there(), found.as_slice()),
                (are_there, &expected.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()[..]),
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut captions = Captions::default();
            captions.note(&pictures(&[&data]));
            prop_assert!(captions.are_there() && captions.services().count() >= 1);
        }
    }
}
