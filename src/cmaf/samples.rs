//! Sample tables of fragments in few bytes, for indexes of long recordings.
//!
//! In: the samples of one fragment. Out: about one to four bytes per sample, and back. Sizes and durations are base-128
//! numbers (as in LEB128), composition offsets zigzag ones; durations that are all equal and the usual patterns of sync
//! samples (all, none, only the first) cost nothing.

use super::fragment::{MAX_SAMPLES_PER_FRAGMENT, Sample};

const UNIFORM_DURATION: u8 = 1;
const HAS_CTS: u8 = 2;
const SYNC_SHIFT: u8 = 2;
const SYNC_ALL: u8 = 0;
const SYNC_FIRST: u8 = 1;
const SYNC_BITMAP: u8 = 2;
const SYNC_NONE: u8 = 3;

/// Appends `samples` to `out`.
pub fn encode_samples(samples: &[Sample], out: &mut Vec<u8>) {
    let uniform = samples.windows(2).all(|w| w[0].duration == w[1].duration);
    let has_cts = samples.iter().any(|s| s.cts != 0);
    let syncs = samples.iter().filter(|s| s.sync).count();
    let sync = match syncs {
        0 => SYNC_NONE,
        n if n == samples.len() => SYNC_ALL,
        1 if samples[0].sync => SYNC_FIRST,
        _ => SYNC_BITMAP,
    };
    put(out, samples.len() as u64);
    out.push((u8::from(uniform) * UNIFORM_DURATION) | (u8::from(has_cts) * HAS_CTS) | (sync << SYNC_SHIFT));
    for sample in &samples[..if uniform { samples.len().min(1) } else { samples.len() }] {
        put(out, u64::from(sample.duration));
    }
    for sample in samples {
        put(out, u64::from(sample.size));
    }
    if has_cts {
        for sample in samples {
            put(out, u64::from((sample.cts << 1 ^ sample.cts >> 31) as u32));
        }
    }
    if sync == SYNC_BITMAP {
        for group in samples.chunks(8) {
            out.push(group.iter().enumerate().fold(0, |bits, (index, s)| bits | u8::from(s.sync) << index));
        }
    }
}

/// Reads what [`encode_samples`] wrote at the start of `bytes` into `out` (cleared before). `None` if it is damaged or has
/// more than [`MAX_SAMPLES_PER_FRAGMENT`] samples.
pub fn decode_samples(bytes: &[u8], out: &mut Vec<Sample>) -> Option<()> {
    out.clear();
    let mut rest = bytes;
    let count = usize::try_from(get(&mut rest)?).ok().filter(|n| *n <= MAX_SAMPLES_PER_FRAGMENT && *n <= bytes.len())?;
    let (&flags, tail) = rest.split_first()?;
    rest = tail;
    out.resize(count, Sample::default());
    if flags & UNIFORM_DURATION != 0 {
        let duration = if count > 0 { get32(&mut rest)? } else { 0 };
        out.iter_mut().for_each(|s| s.duration = duration);
    } else {
        for sample in out.iter_mut() {
            sample.duration = get32(&mut rest)?;
        }
    }
    for sample in out.iter_mut() {
        sample.size = get32(&mut rest)?;
    }
    if flags & HAS_CTS != 0 {
        for sample in out.iter_mut() {
            let zigzag = get32(&mut rest)?;
            sample.cts = (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32);
        }
    }
    match flags >> SYNC_SHIFT {
        SYNC_ALL => out.iter_mut().for_each(|s| s.sync = true),
        SYNC_NONE => {}
        SYNC_FIRST => out.first_mut()?.sync = true,
        SYNC_BITMAP => {
            let bitmap = rest.get(..count.div_ceil(8))?;
            for (index, sample) in out.iter_mut().enumerate() {
                sample.sync = bitmap[index / 8] >> (index % 8) & 1 != 0;
            }
        }
        _ => return None,
    }
    Some(())
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn get(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn get32(rest: &mut &[u8]) -> Option<u32> {
    u32::try_from(get(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> impl Strategy<Value = Sample> {
        (any::<u32>(), any::<u32>(), any::<i32>(), any::<bool>()).prop_map(|(duration, size, cts, sync)| Sample {
            duration,
            size,
            cts,
            sync,
        })
    }

    #[test]
    fn usual_fragments_are_small() {
        let mut video = vec![Sample { duration: 3000, size: 9000, cts: 0, sync: false }; 6];
        video[0].sync = true;
        let mut out = Vec::new();
        encode_samples(&video, &mut out);
        assert_eq!(out.len(), 1 + 1 + 2 + 6 * 2);
    }

    proptest! {
        #[test]
        fn round_trip(samples in proptest::collection::vec(sample(), 0..40), uniform: bool, no_cts: bool) {
            let mut samples = samples;
            for sample in &mut samples {
                if uniform { sample.duration = 5 }
                if no_cts { sample.cts = 0 }
            }
            let (mut bytes, mut back) = (Vec::new(), Vec::new());
            encode_samples(&samples, &mut bytes);
            prop_assert!(decode_samples(&bytes, &mut back).is_some());
            prop_assert_eq!(back, samples);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode_samples(&bytes, &mut Vec::new());
        }
    }
}
