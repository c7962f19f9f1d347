//! RFC 6381 codec strings out of sample entries.
//!
//! In: one sample entry box. Out: `avc1.64001f`, `mp4a.40.2`, `opus`, `hvc1.1.6.L93.b0`, `vp09.00.10.08` …

use super::boxes::{Boxes, Fields};
use super::error::CmafError;
use super::four_cc::FourCc;

/// The codec string of a sample entry called `name`; `config` are its child boxes. An entry of an unknown kind is named by its
/// four characters alone, as RFC 6381 section 3.3 has it.
pub(super) fn codec_string(name: FourCc, config: &[u8]) -> Result<String, CmafError> {
    let plain = name.to_string();
    let child = |want: &[u8; 4]| Boxes::find(config, want, "sample entry");
    Ok(match &name.0 {
        b"avc1" | b"avc3" => {
            let mut fields = Fields::new(FourCc(*b"avcC"), child(b"avcC")?.payload);
            fields.u8()?;
            let [profile, constraints, level] = fields.array::<3>()?;
            format!("{plain}.{profile:02x}{constraints:02x}{level:02x}")
        }
        b"hvc1" | b"hev1" => {
            let mut fields = Fields::new(FourCc(*b"hvcC"), child(b"hvcC")?.payload);
            fields.u8()?;
            hevc(&plain, fields.array()?)
        }
        b"vp08" | b"vp09" => {
            let (_, _, mut fields) = Fields::full(&child(b"vpcC")?)?;
            let [profile, level, third] = fields.array::<3>()?;
            format!("{plain}.{profile:02}.{level:02}.{:02}", third >> 4)
        }
        b"av01" => {
            let mut fields = Fields::new(FourCc(*b"av1C"), child(b"av1C")?.payload);
            let [_, second, third] = fields.array::<3>()?;
            let (high_bitdepth, twelve) = (third & 0x40 != 0, third & 0x20 != 0);
            let depth = if !high_bitdepth {
                8
            } else if twelve {
                12
            } else {
                10
            };
            format!("av01.{}.{:02}{}.{depth:02}", second >> 5, second & 0x1F, if third & 0x80 != 0 { 'H' } else { 'M' })
        }
        b"mp4a" => {
            let (_, _, fields) = Fields::full(&child(b"esds")?)?;
            mpeg4_audio(fields)?
        }
        b"Opus" => "opus".to_owned(),
        _ => plain,
    })
}

/// ISO/IEC 14496-15 annex E: profile, compatibility (bit-reversed), tier and level, constraint bytes without trailing zeros.
fn hevc(name: &str, config: [u8; 12]) -> String {
    let space = ["", "A", "B", "C"][usize::from(config[0] >> 6)];
    let tier = if config[0] & 0x20 != 0 { 'H' } else { 'L' };
    let compatibility = u32::from_be_bytes([config[1], config[2], config[3], config[4]]).reverse_bits();
    let mut out = format!("{name}.{space}{}.{compatibility:X}.{tier}{}", config[0] & 0x1F, config[11]);
    let constraints = &config[5..11];
    let used = constraints.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        out.push_str(&format!(".{byte:X}"));
    }
    out
}

/// ISO/IEC 14496-1 section 7.2.6: ES_Descriptor (3) > DecoderConfigDescriptor (4) > DecoderSpecificInfo (5).
fn mpeg4_audio(fields: Fields<'_>) -> Result<String, CmafError> {
    let mut es = descriptor(fields, 3)?;
    es.u16()?;
    let flags = es.u8()?;
    if flags & 0x80 != 0 {
        es.u16()?;
    }
    if flags & 0x40 != 0 {
        let len = es.u8()?;
        es.take(usize::from(len))?;
    }
    if flags & 0x20 != 0 {
        es.u16()?;
    }
    let mut config = descriptor(es, 4)?;
    let object_type = config.u8()?;
    if object_type != 0x40 {
        return Ok(format!("mp4a.{object_type:02x}"));
    }
    config.take(12)?;
    let specific = descriptor(config, 5)?.rest();
    // SBR and parametric stereo may be signalled behind the configuration proper.
    if let Ok(config) = crate::codec::aac::AacConfig::parse(specific) {
        return Ok(config.codec_string());
    }
    let mut specific = Fields::new(FourCc(*b"esds"), specific);
    let first = specific.u8()?;
    let mut audio_object_type = u16::from(first >> 3);
    if audio_object_type == 31 {
        audio_object_type = 32 + (u16::from(first & 7) << 3 | u16::from(specific.u8()? >> 5));
    }
    Ok(format!("mp4a.40.{audio_object_type}"))
}

/// The payload of a descriptor with the tag wanted (its length in base 128, at most four bytes).
fn descriptor(mut fields: Fields<'_>, tag: u8) -> Result<Fields<'_>, CmafError> {
    let name = FourCc(*b"esds");
    if fields.u8()? != tag {
        return Err(CmafError::Damaged { name, why: "its descriptors are not in order" });
    }
    let mut len = 0;
    for _ in 0..4 {
        let byte = fields.u8()?;
        len = len << 7 | usize::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Ok(Fields::new(name, fields.take(len)?))
}
