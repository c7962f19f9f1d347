//! The few facts needed of what cmafmux wrote: decode time and duration of a chunk.

/// Decode time of the first sample, and the sum of the sample durations, in the track's timescale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkTimes {
    /// `tfdt`.
    pub decode_time: u64,
    /// Sum over `trun`.
    pub duration: u64,
}

/// Walks over the boxes in `data`.
fn boxes(mut data: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let head = data.get(..8)?;
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let body = data.get(8..size)?;
        let kind = &head[4..];
        data = &data[size..];
        Some((kind, body))
    })
}

fn find<'a>(data: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(data).find(|(found, _)| *found == kind).map(|(_, body)| body)
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes)
}

/// `default_sample_duration` of the first `trex` (ISO/IEC 14496-12 section 8.8.3) of an initialization.
pub(crate) fn default_duration(init: &[u8]) -> u32 {
    find(init, b"moov")
        .and_then(|moov| find(moov, b"mvex"))
        .and_then(|mvex| find(mvex, b"trex"))
        .and_then(|trex| u32_at(trex, 12))
        .unwrap_or(0)
}

/// Reads the first `traf` of `data`, which begins with anything and has a `moof`. `default` is that of the `trex`.
pub(crate) fn chunk_times(data: &[u8], default: u32) -> Option<ChunkTimes> {
    let traf = find(find(data, b"moof")?, b"traf")?;
    let tfdt = find(traf, b"tfdt")?;
    let decode_time = match tfdt.first()? {
        1 => u64::from(u32_at(tfdt, 4)?) << 32 | u64::from(u32_at(tfdt, 8)?),
        _ => u64::from(u32_at(tfdt, 4)?),
    };
    let tfhd = find(traf, b"tfhd")?;
    let flags = u32_at(tfhd, 0)?;
    // base_data_offset and sample_description_index stand before default_sample_duration (section 8.8.7).
    let at = 8 + if flags & 0x1 != 0 { 8 } else { 0 } + if flags & 0x2 != 0 { 4 } else { 0 };
    let default = if flags & 0x8 != 0 { u32_at(tfhd, at)? } else { default };
    let mut duration = 0;
    for (_, trun) in boxes(traf).filter(|(kind, _)| *kind == b"trun") {
        let flags = u32_at(trun, 0)?;
        let count = u32_at(trun, 4)?;
        let start = 8 + 4 * (flags & 0x5).count_ones() as usize;
        let step = 4 * (flags & 0xF00).count_ones() as usize;
        if flags & 0x100 == 0 {
            duration += u64::from(default) * u64::from(count);
        } else {
            for index in 0..count as usize {
                duration += u64::from(u32_at(trun, start + index * step)?);
            }
        }
    }
    Some(ChunkTimes { decode_time, duration })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn make(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat()
    }

    #[test]
    fn both_kinds_of_durations() {
        let tfdt = make(b"tfdt", &[1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        let tfhd = make(b"tfhd", &[0, 2, 0, 8, 0, 0, 0, 1, 0, 0, 0, 100]);
        let each = make(b"trun", &[0, 0, 3, 1, 0, 0, 0, 2, 9, 9, 9, 9, 0, 0, 0, 7, 1, 1, 1, 1, 0, 0, 0, 8, 1, 1, 1, 1]);
        let all = make(b"trun", &[0, 0, 2, 0, 0, 0, 0, 3, 0, 0, 0, 0]);
        let traf = make(b"traf", &[tfhd, tfdt, each, all].concat());
        let data = [make(b"styp", b"x"), make(b"moof", &traf), make(b"mdat", b"")].concat();
        assert_eq!(chunk_times(&data, 0), Some(ChunkTimes { decode_time: (1 << 32) + 2, duration: 315 }));
        assert_eq!(chunk_times(&data[..20], 0), None);
        assert_eq!(default_duration(&data), 0);
    }

    #[test]
    fn only_that_brand_is_replaced() {
        for (kind, brand, left) in
            [(b"ftyp", b"cmf2", b"cmfc"), (b"styp", b"cmf2", b"cmfc"), (b"styp", b"iso6", b"iso6"), (b"moof", b"cmf2", b"cmf2")]
        {
            let mut data = make(kind, brand);
            set_brand(&mut data);
            assert_eq!(data, make(kind, left));
        }
        set_brand(&mut [0; 11]);
    }
}
