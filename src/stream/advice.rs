//! Warnings to a publisher about the times of its media: each once, with the setting to change.
//!
//! In: units as they were placed, and what was mended. Out: warnings. Pure.

use super::Warning;
use crate::timing::Mended;

/// From this time between key frames on, a publisher is warned, in ns. Players start late, and seek badly.
const LONG_GOP: i64 = 4_000_000_000;
/// So many stamps that go back are a habit. One or two are an accident.
const HABIT: u64 = 3;
/// Warned of is a timeline that was moved by more than this, in ns: half a second is no crystal's doing within a stream's first hours.
const TOLD_DRIFT: i64 = 1_000_000_000;

/// What was warned of already, and what has to be remembered for it.
#[derive(Debug, Default)]
pub(super) struct Advice {
    told: Vec<&'static str>,
}

impl Advice {
    fn once(&mut self, code: &'static str, message: impl FnOnce() -> String, out: &mut Vec<Warning>) {
        if !self.told.contains(&code) {
            self.told.push(code);
            out.push(Warning { code, message: message() });
        }
    }

    /// The last picture to begin with was `since` ago, in ns.
    pub(super) fn key_frames(&mut self, since: i64, out: &mut Vec<Warning>) {
        if since > LONG_GOP {
            self.once("key_frame_interval", long_gop, out);
        }
    }

    /// Pictures are coded anew: what was said about the ones before may have to be said again.
    pub(super) fn begin_anew(&mut self) {
        self.told.retain(|code| !["b_frames", "key_frame_interval"].contains(code));
    }

    /// Pictures come in another order than they are shown in.
    pub(super) fn b_frames(&mut self, out: &mut Vec<Warning>) {
        self.once("b_frames", b_frames, out);
    }

    /// So much of the publication's times was mended so far.
    pub(super) fn mended(&mut self, mended: &Mended, out: &mut Vec<Warning>) {
        if mended.steps_back >= HABIT {
            self.once("timestamps_back", timestamps_back, out);
        }
        if mended.jumps > 0 {
            self.once("timestamps_jump", timestamps_jump, out);
        }
        if mended.compositions > 0 {
            self.once("composition_times", composition_times, out);
        }
        if mended.drift > TOLD_DRIFT {
            self.once("slow", slow, out);
        }
        if mended.waits > 0 {
            self.once("fast", fast, out);
        }
    }
}

fn b_frames() -> String {
    "The video has B-frames, which WebRTC viewers can't show as they are and which delay everybody. Turn them off: in OBS \
     Settings → Output → Advanced, \"Max B-frames\" 0, or for x264 the option bframes=0 or tune zerolatency; in ffmpeg -bf 0."
        .into()
}

fn long_gop() -> String {
    format!(
        "More than {} s pass between key frames (IDR pictures): who comes in waits for the next one, and where it is more than 12 s away the \
         video is transcoded for them. Set the key-frame interval to 2 s, without intra refresh: in OBS Settings → Output → \"Keyframe \
         Interval\" 2 s; in ffmpeg -g with twice the frame rate.",
        LONG_GOP / 1_000_000_000
    )
}

fn timestamps_back() -> String {
    "The encoder's timestamps go back now and then, or repeat; the pictures and sounds concerned were moved by some milliseconds. \
     A constant frame rate in the encoder's settings (in ffmpeg -fps_mode cfr) usually cures it."
        .into()
}

fn timestamps_jump() -> String {
    "The encoder's timestamps jumped; the stream went on without the gap. If that comes again and again, set the encoder (or the file \
     that it loops) to timestamps that go on: in ffmpeg -fflags +genpts, and -stream_loop only with -re."
        .into()
}

fn composition_times() -> String {
    "The encoder says that some pictures are shown before they can be decoded, or much later; their times were mended. \
     In ffmpeg leave out -copyts and -muxdelay, or turn B-frames off with -bf 0."
        .into()
}

fn slow() -> String {
    "The encoder sends less than one second of media a second, so the stream is stretched to stay live. It is overloaded, or its clock is \
     slow: lower the resolution, the frame rate or the x264 preset."
        .into()
}

fn fast() -> String {
    "The encoder sends faster than real time: a little is held back, a file runs ahead of the clock, so that who watches live misses most \
     of it. A file is sent in real time with ffmpeg's option -re before -i."
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn codes(out: &[Warning]) -> Vec<&'static str> {
        out.iter().map(|warning| warning.code).collect()
    }

    #[test]
    fn long_gops_are_told_once_for_each_coding() {
        for (longest, told) in [(20, false), (40, false), (41, true), (1000, true)] {
            let (mut advice, mut out) = (Advice::default(), Vec::new());
            (0..=longest).for_each(|tenths| advice.key_frames(tenths * S / 10, &mut out));
            assert_eq!(codes(&out), if told { vec!["key_frame_interval"] } else { vec![] }, "{longest}");
        }
        let (mut advice, mut out) = (Advice::default(), Vec::new());
        for _ in 0..2 {
            advice.key_frames(5 * S, &mut out);
            advice.b_frames(&mut out);
        }
        advice.begin_anew();
        advice.key_frames(5 * S, &mut out);
        advice.b_frames(&mut out);
        assert_eq!(codes(&out), ["key_frame_interval", "b_frames", "key_frame_interval", "b_frames"]);
    }

    #[test]
    fn what_is_mended_is_told_once() {
        let table = [
            (Mended::default(), vec![]),
            (Mended { steps_back: 2, ..Mended::default() }, vec![]),
            (Mended { steps_back: 3, ..Mended::default() }, vec!["timestamps_back"]),
            (Mended { jumps: 1, ..Mended::default() }, vec!["timestamps_jump"]),
            (Mended { compositions: 1, ..Mended::default() }, vec!["composition_times"]),
            (Mended { drift: S, waits: 1, ..Mended::default() }, vec!["fast"]),
            (Mended { drift: S + 1, ..Mended::default() }, vec!["slow"]),
            (Mended { drift: -10 * S, ..Mended::default() }, vec![]),
        ];
        for (mended, told) in table {
            let (mut advice, mut out) = (Advice::default(), Vec::new());
            (0..2).for_each(|_| advice.mended(&mended, &mut out));
            assert_eq!(codes(&out), told);
        }
    }
}
