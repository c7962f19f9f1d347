//! Whether pictures carry captions.
//!
//! In: coded pictures. Out: whether there is CEA-608 or CEA-708 among them. Pure.

/// How supplemental information with captions begins (ATSC A/53 part 4 section 6.2.3, in ITU-T T.35 of H.264 and H.265). No byte of it needs
/// emulation prevention.
const CAPTIONS: &[u8] = &[0xB5, 0x00, 0x31, b'G', b'A', b'9', b'4', 0x03];

/// Whether there are captions in `data`, empty ones count.
pub(super) fn has_captions(data: &[u8]) -> bool {
    memchr::memmem::find(data, CAPTIONS).is_some()
}
