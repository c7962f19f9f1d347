//! The initialization of a CMAF track.
//!
//! In: `ftyp` + `moov` of one track, maybe damaged. Out: [`Init`]. ISO/IEC 14496-12 sections 8.2 to 8.5.

use super::boxes::{BoxRef, Boxes, Fields};
use super::codec_string::codec_string;
use super::error::CmafError;
use super::four_cc::FourCc;
use super::fragment::SampleDefaults;

/// Largest initialization that is read: real ones are below 2 KB, and players hold them in memory.
pub(crate) const MAX_INIT_BYTES: usize = 1 << 20;

/// What the initialization says about its one track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    /// `tkhd`'s track id.
    pub track_id: u32,
    /// Ticks per second of everything below and of the fragments (`mdhd`). Never 0.
    pub timescale: u32,
    /// `vide`, `soun` …
    pub handler: FourCc,
    /// ISO 639-2/T, as `mdhd` packs it.
    pub language: u16,
    /// The first sample entry, header included, byte for byte (`avc1`, `mp4a`, `Opus`, `hvc1` …).
    pub sample_entry: Vec<u8>,
    /// RFC 6381 string of it.
    pub codec_string: String,
    /// Coded width and height in pixels, for video.
    pub resolution: Option<(u32, u32)>,
    /// Sample aspect ratio, width to height, where it is signalled (`pasp`) and pixels aren't square.
    pub sar: Option<(u32, u32)>,
    /// Display width and height of `tkhd` in 16.16 fixed point, for video.
    pub display: (u32, u32),
    /// Sampling rate in Hz and channels as the sample entry has them, for audio.
    pub audio: Option<(u32, u8)>,
    /// `trex`, for [`super::read_fragment`].
    pub defaults: SampleDefaults,
    /// What to add to composition times to get presentation times, in ticks: the edit list (section 8.6.6), with an
    /// empty edit counted up and the first media time counted down. 0 without one.
    pub presentation_shift: i64,
}

/// Reads the initialization of a single track.
///
/// # Errors
/// [`CmafError`] says which box is missing, damaged or of a kind that is not expected (more than one track).
pub fn read_init(bytes: &[u8]) -> Result<Init, CmafError> {
    let moov = Boxes::find(bytes, b"moov", "file")?;
    if moov.whole.len() > MAX_INIT_BYTES {
        return Err(CmafError::Unsupported { name: moov.name, why: "it is larger than 1 MiB" });
    }
    let mut traks = Boxes::new(moov.payload).filter(|i| i.as_ref().is_ok_and(|i| i.name.0 == *b"trak"));
    let trak = match (traks.next(), traks.next()) {
        (Some(trak), None) => trak?,
        (None, _) => return Err(CmafError::Missing { name: FourCc(*b"trak"), parent: "moov" }),
        _ => return Err(CmafError::Unsupported { name: FourCc(*b"trak"), why: "several tracks; one track per file is expected" }),
    };
    let (track_id, display) = read_tkhd(&Boxes::find(trak.payload, b"tkhd", "trak")?)?;
    let mdia = Boxes::find(trak.payload, b"mdia", "trak")?;
    let (timescale, language) = read_mdhd(&Boxes::find(mdia.payload, b"mdhd", "mdia")?)?;
    let (_, _, mut hdlr) = Fields::full(&Boxes::find(mdia.payload, b"hdlr", "mdia")?)?;
    hdlr.u32()?;
    let handler = FourCc(hdlr.array()?);

    let minf = Boxes::find(mdia.payload, b"minf", "mdia")?;
    let stbl = Boxes::find(minf.payload, b"stbl", "minf")?;
    let stsd = Boxes::find(stbl.payload, b"stsd", "stbl")?;
    let (_, _, mut entries) = Fields::full(&stsd)?;
    entries.u32()?;
    let entry = Boxes::new(entries.rest()).next().ok_or(CmafError::Missing { name: FourCc(*b"stsd"), parent: "stsd (an entry)" })??;
    let (resolution, audio, config) = read_entry(handler, &entry)?;
    let sar = if resolution.is_some() { read_pasp(config)? } else { None };

    let timescales = (movie_timescale(moov.payload)?, timescale);
    let presentation_shift = match Boxes::find_optional(trak.payload, b"edts")? {
        Some(edts) => read_elst(edts.payload, timescales)?,
        None => 0,
    };
    let defaults = match Boxes::find_optional(moov.payload, b"mvex")? {
        Some(mvex) => match Boxes::find_optional(mvex.payload, b"trex")? {
            Some(trex) => read_trex(&trex)?,
            None => SampleDefaults::default(),
        },
        None => SampleDefaults::default(),
    };
    Ok(Init {
        track_id,
        timescale,
        handler,
        language,
        sample_entry: entry.whole.to_vec(),
        codec_string: codec_string(entry.name, config)?,
        resolution,
        sar,
        display,
        audio,
        defaults,
        presentation_shift,
    })
}

/// Section 12.1.4.
fn read_pasp(config: &[u8]) -> Result<Option<(u32, u32)>, CmafError> {
    let Some(pasp) = Boxes::find_optional(config, b"pasp")? else { return Ok(None) };
    let mut fields = Fields::new(pasp.name, pasp.payload);
    let sar = (fields.u32()?, fields.u32()?);
    Ok((sar.0 != sar.1 && sar.0 > 0 && sar.1 > 0).then_some(sar))
}

fn movie_timescale(moov: &[u8]) -> Result<u32, CmafError> {
    let mvhd = Boxes::find(moov, b"mvhd", "moov")?;
    let (version, _, mut fields) = Fields::full(&mvhd)?;
    fields.take(if version == 0 { 8 } else { 16 })?;
    fields.u32()
}

fn read_tkhd(item: &BoxRef<'_>) -> Result<(u32, (u32, u32)), CmafError> {
    let (version, _, mut fields) = Fields::full(item)?;
    fields.take(if version == 0 { 8 } else { 16 })?;
    let track_id = fields.u32()?;
    fields.take(if version == 0 { 8 } else { 12 } + 8 + 8 + 36)?;
    Ok((track_id, (fields.u32()?, fields.u32()?)))
}

fn read_mdhd(item: &BoxRef<'_>) -> Result<(u32, u16), CmafError> {
    let (version, _, mut fields) = Fields::full(item)?;
    fields.take(if version == 0 { 8 } else { 16 })?;
    let timescale = fields.u32()?;
    if timescale == 0 {
        return Err(CmafError::Damaged { name: item.name, why: "a timescale of 0" });
    }
    fields.wide(version)?;
    Ok((timescale, fields.u16()?))
}

fn read_trex(item: &BoxRef<'_>) -> Result<SampleDefaults, CmafError> {
    let (_, _, mut fields) = Fields::full(item)?;
    fields.take(8)?;
    Ok(SampleDefaults { duration: fields.u32()?, size: fields.u32()?, flags: fields.u32()? })
}

/// Section 8.6.6: at most one empty edit and then the media.
fn read_elst(edts: &[u8], (movie, media): (u32, u32)) -> Result<i64, CmafError> {
    let Some(elst) = Boxes::find_optional(edts, b"elst")? else { return Ok(0) };
    let (version, _, mut fields) = Fields::full(&elst)?;
    let count = fields.u32()?;
    let mut shift = 0i64;
    for _ in 0..count.min(2) {
        let duration = fields.wide(version)?;
        let media_time = if version == 0 { i64::from(fields.i32()?) } else { fields.u64()? as i64 };
        fields.u32()?;
        if media_time >= 0 {
            return Ok(shift.saturating_sub(media_time));
        }
        let duration = i64::try_from(duration).map_err(|_| CmafError::Damaged { name: elst.name, why: "an edit of absurd length" })?;
        shift = shift.saturating_add(crate::base::rescale(duration, movie.max(1), media));
    }
    Ok(shift)
}

/// What a sample entry says: resolution, audio parameters, child boxes.
type Entry<'a> = (Option<(u32, u32)>, Option<(u32, u8)>, &'a [u8]);

/// Sections 12.1.3 and 12.2.3.
fn read_entry<'a>(handler: FourCc, entry: &BoxRef<'a>) -> Result<Entry<'a>, CmafError> {
    let mut fields = Fields::new(entry.name, entry.payload);
    fields.take(8)?;
    match &handler.0 {
        b"vide" => {
            fields.take(16)?;
            let resolution = (u32::from(fields.u16()?), u32::from(fields.u16()?));
            fields.take(50)?;
            Ok((Some(resolution), None, fields.rest()))
        }
        b"soun" => {
            fields.take(8)?;
            let channels = fields.u16()?;
            fields.take(6)?;
            let rate = fields.u32()? >> 16;
            Ok((None, Some((rate, u8::try_from(channels).unwrap_or(u8::MAX))), fields.rest()))
        }
        _ => Err(CmafError::Unsupported { name: handler, why: "neither video (vide) nor audio (soun)" }),
    }
}
