//! Changes to what a muxer wrote: other times in a fragment, an edit list in an initialization, another brand.
//!
//! In: the bytes of a CMAF chunk, or of its head, up to where its `mdat` begins; or an initialization. Out: the same, changed.

use super::boxes::{BoxRef, BoxWriter, Boxes, Fields};
use super::error::CmafError;
use super::fragment::MAX_SAMPLES_PER_FRAGMENT;

/// `trun` says each sample's composition offset (ISO/IEC 14496-12 section 8.8.8).
const HAS_OFFSETS: u32 = 0x800;

/// Adds `decode` to the `tfdt` of the first `moof` and `offset` to all its composition offsets, in ticks. Where these are at least 0 then,
/// `trun` says so (version 0). Everything behind the `moof` stays as it is.
///
/// # Errors
/// [`CmafError::Damaged`] when the decoding time would not fit its field or an offset not 31 bits, and what reading says.
pub fn shift_times(bytes: &[u8], decode: i64, offset: u32) -> Result<Vec<u8>, CmafError> {
    let moof = Boxes::find(bytes, b"moof", "chunk")?;
    let grown = inserted(&moof)?;
    let mut out = BoxWriter::new();
    out.bytes(&bytes[..moof.offset]);
    nested(&mut out, &moof, &mut |out, child| match &child.name.0 {
        b"traf" => nested(out, child, &mut |out, child| match &child.name.0 {
            b"tfdt" => tfdt(out, child, decode),
            b"trun" => trun(out, child, offset, grown),
            _ => copy(out, child),
        }),
        _ => copy(out, child),
    })?;
    out.bytes(&bytes[moof.end()..]);
    Ok(out.finish())
}

/// Puts an edit list into the initialization of one track: what `fragments` have at the media time `begin` is shown at 0
/// (ISO/IEC 14496-12 section 8.6.6). There must be none yet.
///
/// # Errors
/// What reading says.
pub fn add_edit_list(init: &[u8], begin: u32) -> Result<Vec<u8>, CmafError> {
    let moov = Boxes::find(init, b"moov", "file")?;
    let mut out = BoxWriter::new();
    out.bytes(&init[..moov.offset]);
    nested(&mut out, &moov, &mut |out, child| match &child.name.0 {
        b"trak" => nested(out, child, &mut |out, child| {
            copy(out, child)?;
            if child.name.0 == *b"tkhd" {
                out.boxed(b"edts", |out| {
                    out.full(b"elst", 0, 0, |out| {
                        out.u32(1);
                        out.u32(0); // for as long as there are fragments
                        out.u32(begin);
                        out.u32(0x0001_0000);
                    });
                });
            }
            Ok(())
        }),
        _ => copy(out, child),
    })?;
    out.bytes(&init[moov.end()..]);
    Ok(out.finish())
}

/// Takes back what the major brand `cmf2` promises, that decoding begins at the earliest presentation time (ISO/IEC 23000-19): in an
/// initialization or the head of a segment, which begin with their brands.
pub(crate) fn set_brand(data: &mut [u8]) {
    if let Some((kind, brand)) = data.get_mut(4..12).and_then(|both| both.split_at_mut_checked(4))
        && (*kind == *b"ftyp" || *kind == *b"styp")
        && *brand == *b"cmf2"
    {
        brand.copy_from_slice(b"cmfc");
    }
}

fn nested(
    out: &mut BoxWriter,
    item: &BoxRef<'_>,
    each: &mut dyn FnMut(&mut BoxWriter, &BoxRef<'_>) -> Result<(), CmafError>,
) -> Result<(), CmafError> {
    let mut done = Ok(());
    out.boxed(&item.name.0, |out| {
        done = Boxes::new(item.payload).try_for_each(|child| each(out, &child?));
    });
    done
}

fn copy(out: &mut BoxWriter, item: &BoxRef<'_>) -> Result<(), CmafError> {
    out.bytes(item.whole);
    Ok(())
}

/// By how many bytes a `moof` grows: offsets that were all 0 are not written.
fn inserted(moof: &BoxRef<'_>) -> Result<i32, CmafError> {
    let mut samples = 0;
    for traf in Boxes::new(moof.payload) {
        let traf = traf?;
        for trun in Boxes::new(if traf.name.0 == *b"traf" { traf.payload } else { &[] }) {
            let trun = trun?;
            if trun.name.0 == *b"trun" {
                let (_, flags, mut fields) = Fields::full(&trun)?;
                samples = if flags & HAS_OFFSETS == 0 { fields.u32()?.saturating_add(samples) } else { samples };
            }
        }
    }
    if samples as usize > MAX_SAMPLES_PER_FRAGMENT {
        return Err(CmafError::Damaged { name: moof.name, why: "more samples than any fragment has" });
    }
    Ok(samples as i32 * 4)
}

fn tfdt(out: &mut BoxWriter, item: &BoxRef<'_>, shift: i64) -> Result<(), CmafError> {
    let (version, flags, mut fields) = Fields::full(item)?;
    let time = fields.wide(version)?.checked_add_signed(shift);
    let time = time.ok_or(CmafError::Damaged { name: item.name, why: "the decoding time would be below zero" })?;
    if version == 0 && time > u64::from(u32::MAX) {
        return Err(CmafError::Damaged { name: item.name, why: "the decoding time needs 64 bits" });
    }
    out.full(b"tfdt", version, flags, |out| out.wide(version, time));
    Ok(())
}

fn trun(out: &mut BoxWriter, item: &BoxRef<'_>, shift: u32, grown: i32) -> Result<(), CmafError> {
    let (_, flags, mut fields) = Fields::full(item)?;
    let damaged = |why| CmafError::Damaged { name: item.name, why };
    let far = "a composition offset or the place of the samples is beyond 31 bits";
    let samples = fields.u32()? as usize;
    let data_offset = if flags & 0x1 != 0 { Some(fields.i32()?.checked_add(grown).ok_or(damaged(far))?) } else { None };
    let first_flags = if flags & 0x4 != 0 { Some(fields.u32()?) } else { None };
    let (words, step) = ((flags & 0x700).count_ones() as usize, (flags & 0xF00).count_ones() as usize);
    if fields.rest().len() / 4 < samples * step {
        return Err(damaged("it ends before its last sample"));
    }
    let mut table = Vec::with_capacity(samples.min(MAX_SAMPLES_PER_FRAGMENT) * (words + 1) * 4);
    let mut negative = false;
    for _ in 0..samples {
        table.extend_from_slice(fields.take(words * 4)?);
        let offset = if flags & HAS_OFFSETS != 0 { fields.i32()? } else { 0 };
        let offset = offset.checked_add_unsigned(shift).ok_or(damaged(far))?;
        negative |= offset < 0;
        table.extend_from_slice(&offset.to_be_bytes());
    }
    out.full(b"trun", u8::from(negative), flags | HAS_OFFSETS, |out| {
        out.u32(samples as u32);
        if let Some(offset) = data_offset {
            out.u32(offset as u32);
        }
        if let Some(flags) = first_flags {
            out.u32(flags);
        }
        out.bytes(&table);
    });
    Ok(())
}
