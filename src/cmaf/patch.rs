//! Changing single numbers inside a fragment, in place: its size and everything else stays.
//!
//! In: the bytes of a CMAF chunk. Out: the same bytes with another decode time, sequence number or track id, so that
//! fragments of different runs of a segmenter can follow each other.

use super::boxes::{Boxes, Fields, FourCc};
use super::error::CmafError;

/// Adds `delta` ticks to every `tfdt`.
///
/// # Errors
/// [`CmafError::Damaged`] when the result is below zero or does not fit the field (32 bits in version 0); nothing is changed then.
pub fn shift_decode_time(bytes: &mut [u8], delta: i64) -> Result<(), CmafError> {
    let name = FourCc(*b"tfdt");
    let mut edits = Vec::new();
    each_in_traf(bytes, b"tfdt", |at, payload| {
        let version = Fields::new(name, payload).u8()?;
        let mut fields = Fields::new(name, &payload[4.min(payload.len())..]);
        let time = fields.wide(version)?;
        let shifted = time.checked_add_signed(delta).ok_or(CmafError::Damaged { name, why: "the shifted decode time is out of range" })?;
        if version == 0 {
            let short = u32::try_from(shifted).map_err(|_| CmafError::Damaged { name, why: "the shifted decode time needs 64 bits" })?;
            edits.push((at + 4, short.to_be_bytes().to_vec()));
        } else {
            edits.push((at + 4, shifted.to_be_bytes().to_vec()));
        }
        Ok(())
    })?;
    apply(bytes, &edits);
    Ok(())
}

/// Writes `number` into `mfhd`; further fragments in the same bytes count on from it.
///
/// # Errors
/// As reading does.
pub fn set_sequence_number(bytes: &mut [u8], number: u32) -> Result<(), CmafError> {
    let mut edits = Vec::new();
    for item in Boxes::new(bytes) {
        let moof = item?;
        if moof.name.0 != *b"moof" {
            continue;
        }
        let mfhd = Boxes::find(moof.payload, b"mfhd", "moof")?;
        Fields::full(&mfhd)?.2.u32()?;
        let at = moof.end() - moof.payload.len() + mfhd.end() - mfhd.payload.len() + 4;
        edits.push((at, number.wrapping_add(edits.len() as u32).to_be_bytes().to_vec()));
    }
    apply(bytes, &edits);
    Ok(())
}

/// Writes `track_id` into every `tfhd`.
///
/// # Errors
/// As reading does.
pub fn set_track_id(bytes: &mut [u8], track_id: u32) -> Result<(), CmafError> {
    let mut edits = Vec::new();
    each_in_traf(bytes, b"tfhd", |at, payload| {
        Fields::new(FourCc(*b"tfhd"), payload).take(8)?;
        edits.push((at + 4, track_id.to_be_bytes().to_vec()));
        Ok(())
    })?;
    apply(bytes, &edits);
    Ok(())
}

/// Calls `visit` with the payload of each box `name` in each `traf`, and where that payload begins.
fn each_in_traf(bytes: &[u8], name: &[u8; 4], mut visit: impl FnMut(usize, &[u8]) -> Result<(), CmafError>) -> Result<(), CmafError> {
    for item in Boxes::new(bytes) {
        let moof = item?;
        if moof.name.0 != *b"moof" {
            continue;
        }
        let in_moof = moof.end() - moof.payload.len();
        for item in Boxes::new(moof.payload) {
            let traf = item?;
            if traf.name.0 != *b"traf" {
                continue;
            }
            let in_traf = in_moof + traf.end() - traf.payload.len();
            let found = Boxes::find(traf.payload, name, "traf")?;
            visit(in_traf + found.end() - found.payload.len(), found.payload)?;
        }
    }
    Ok(())
}

fn apply(bytes: &mut [u8], edits: &[(usize, Vec<u8>)]) {
    for (at, new) in edits {
        bytes[*at..at + new.len()].copy_from_slice(new);
    }
}
