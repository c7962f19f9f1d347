//! From what encoders send to access units.
//!
//! In: sequence headers and messages as they stand in FLV: any layout of NAL units, parameter sets in the header, in band or both, a picture in
//! several messages or several pictures in one. Out: formats, and pictures with 4-byte lengths that hold slices and supplemental
//! information only. Parameter sets are in the format, and go in band again with key frames.

use bytes::{BufMut, Bytes};

use super::avcc::put_nal;
use super::config::AvcConfig;
use super::nal::{NalType, Sei, sei};
use super::sets::{ParameterSets, is_usable};
use super::slice::{Layout, Slice};
use super::split::split_nals;
use crate::codec::outputs::MAX_UNIT;
use crate::codec::{Format, FormatError};

/// Most supplemental information kept for the picture that is to follow: captions and user data of one picture are far smaller.
const MAX_PREFIX: usize = 64 << 10;

/// After this time without another IDR picture none is expected, and what the container flags is believed of pictures that don't look
/// like it: few encoders have longer GOPs.
const NO_IDRS_MS: i64 = 4_000;
/// Pictures that may come before parameter sets until the publisher is warned: those may be on their way.
const PATIENCE: u64 = 100;

/// When a message's picture is decoded and shown, as its sender says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Decoding time in milliseconds.
    pub dts_ms: i64,
    /// Presentation minus decoding time in milliseconds.
    pub composition_ms: i32,
}

/// A picture: a frame, or two fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Of the message that it began in.
    pub stamp: Stamp,
    /// How many pictures of that message come before it: their time is the same.
    pub nth: u32,
    /// Whether decoding can start here: an IDR picture, a recovery point, or where neither comes what the container says.
    pub key: bool,
    /// NAL units behind 4-byte lengths.
    pub data: Bytes,
}

/// What comes out, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assembled {
    /// The pictures that follow are in this format.
    Format(Format),
    /// A picture.
    Picture(Picture),
    /// Something that viewers will notice; each at most once.
    Notice(Notice),
}

/// What is wrong with a stream for viewers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Flexible macroblock ordering, which next to no decoder has.
    SliceGroups,
    /// Slices in another order than their macroblocks (baseline and extended profile), which next to no decoder has.
    SliceOrder,
    /// Data partitions of extended profile, which next to no decoder has.
    Partitions,
    /// Pictures are to be turned by so many degrees counter-clockwise, which browsers don't do.
    Rotated(u16),
    /// Pictures come, but neither a sequence header nor parameter sets.
    NoParameterSets,
}

/// What was left out, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AssemblerCounters {
    /// Pictures before parameter sets, or before a key frame with which those came.
    pub before_sets: u64,
    /// Messages whose NAL units overrun, slices without their picture, parameter sets that make no sense.
    pub damaged: u64,
    /// NAL units of types that H.264 leaves open or reserves, and of extensions that browsers don't decode (SVC, MVC).
    pub foreign: u64,
}

/// What a header brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Other parameter sets than the header before.
    New,
    /// The same as the header before: what came in band meanwhile stays.
    Repeated,
    /// Nothing: some encoders send an empty record before they know better.
    Empty,
}

/// How pictures are spread over messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Not known before the message after the first picture.
    Unknown,
    /// Each message has whole pictures, as agreed.
    Whole,
    /// A message has a slice: only the next picture shows that one is whole.
    Slices,
}

/// Assembles the pictures of one publisher.
#[derive(Debug)]
pub struct Assembler {
    length_size: usize,
    header: Option<ParameterSets>,
    sets: ParameterSets,
    layouts: Vec<Layout>,
    announced: Option<Format>,
    /// `sets` may differ from `announced`.
    dirty: bool,
    /// The sets came with a header: a first picture needs no key frame.
    by_header: bool,
    /// Picture parameter sets that changed within a GOP: they go in band, because no format begins here.
    loose: Vec<u8>,
    /// Supplemental information for the picture that is to follow.
    prefix: Vec<u8>,
    recovery: Option<u32>,
    current: Option<Current>,
    mode: Mode,
    /// The last slice that went out, to know what belongs to it.
    last_out: Option<(Stamp, Slice)>,
    idrs: u64,
    /// Key frames before there were parameter sets.
    keys_lost: u64,
    last_idr_ms: Option<i64>,
    /// The picture before was said to be a key frame.
    was_flagged: bool,
    told: Vec<Notice>,
    counters: AssemblerCounters,
}

/// The picture in work.
#[derive(Debug)]
struct Current {
    stamp: Stamp,
    nth: u32,
    flagged: bool,
    /// All of it, while that is one NAL unit as it lies in its message: most pictures are never copied.
    lone: Option<Bytes>,
    /// What it has else.
    data: Vec<u8>,
    first: Slice,
    last: Slice,
    /// Bit by bit: planes whose first macroblock was there.
    begun: u8,
    second_field: bool,
    idr: bool,
    intra: bool,
    recovery: Option<u32>,
}

impl Default for Assembler {
    fn default() -> Self {
        Self {
            length_size: 4,
            header: None,
            sets: ParameterSets::default(),
            layouts: Vec::new(),
            announced: None,
            dirty: false,
            by_header: false,
            loose: Vec::new(),
            prefix: Vec::new(),
            recovery: None,
            current: None,
            mode: Mode::Unknown,
            last_out: None,
            idrs: 0,
            keys_lost: 0,
            last_idr_ms: None,
            was_flagged: false,
            told: Vec::new(),
            counters: AssemblerCounters::default(),
        }
    }
}

impl Assembler {
    /// For one publication.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was left out so far.
    pub fn counters(&self) -> AssemblerCounters {
        self.counters
    }

    /// Takes a sequence header: an `AVCDecoderConfigurationRecord`, or parameter sets behind start codes.
    ///
    /// # Errors
    /// As [`AvcConfig::parse`]; what was known before still holds.
    pub fn header(&mut self, record: &[u8], out: &mut Vec<Assembled>) -> Result<Header, FormatError> {
        let config = AvcConfig::parse_any(record)?;
        if config.sps.is_empty() && config.pps.is_empty() {
            return Ok(Header::Empty);
        }
        self.length_size = config.length_size;
        let sets = ParameterSets { sps: config.sps, pps: config.pps };
        if self.header.as_ref() == Some(&sets) {
            return Ok(Header::Repeated);
        }
        self.finish(out);
        self.header = Some(sets.clone());
        self.sets = sets;
        self.sets_changed(out);
        (self.by_header, self.dirty) = (true, true);
        self.loose.clear();
        Ok(Header::New)
    }

    /// Takes a message. `flagged`: the container calls it a key frame.
    pub fn push(&mut self, stamp: Stamp, flagged: bool, data: &Bytes, out: &mut Vec<Assembled>) {
        let split = split_nals(data, self.length_size);
        self.counters.damaged += u64::from(split.damaged);
        let mut message = Message { data, stamp, flagged, pictures: 0, slices: 0 };
        for nal in &split.nals {
            let kind = NalType::of(nal[0]);
            match kind {
                NalType::Sps | NalType::Pps => self.take_set(kind, nal, out),
                NalType::Sei => self.take_sei(nal, out),
                NalType::Slice | NalType::Partition | NalType::Idr => self.take_slice(nal, &mut message, out),
                NalType::Aud | NalType::Filler | NalType::EndOfSequence | NalType::EndOfStream => {}
                _ => self.counters.foreign += 1,
            }
        }
        if message.slices > 0 && !self.may_go_on() {
            self.finish(out);
        }
    }

    /// Whether a picture waits for the rest of its slices, or for what shows that it is whole.
    pub fn is_waiting(&self) -> bool {
        self.current.is_some()
    }

    /// Nothing has come for a while: what waits is whole.
    pub fn quiet(&mut self, out: &mut Vec<Assembled>) {
        if self.mode == Mode::Unknown && self.current.is_some() {
            self.mode = Mode::Whole;
        }
        self.finish(out);
    }

    /// The other track has reached this time: a first picture that nothing followed is whole.
    pub fn time_passed(&mut self, ms: i64, out: &mut Vec<Assembled>) {
        if self.mode == Mode::Unknown && self.current.as_ref().is_some_and(|current| current.stamp.dts_ms < ms) {
            self.mode = Mode::Whole;
            self.finish(out);
        }
    }

    /// Whether the next message may belong to the picture in work.
    fn may_go_on(&self) -> bool {
        let lone_field = |current: &Current| current.first.picture.is_some_and(|picture| picture.field) && !current.second_field;
        self.mode != Mode::Whole || self.current.as_ref().is_some_and(lone_field)
    }

    fn take_set(&mut self, kind: NalType, nal: &[u8], out: &mut Vec<Assembled>) {
        if !is_usable(nal) {
            self.counters.damaged += 1;
            return;
        }
        let mut sets = self.sets.clone();
        if !sets.remember(nal) {
            return;
        }
        // What is in work was coded with what was known before.
        self.finish(out);
        self.sets = sets;
        self.dirty = true;
        if kind == NalType::Pps && self.loose.len() < MAX_PREFIX {
            put_nal(&mut self.loose, nal);
        }
        self.sets_changed(out);
    }

    fn sets_changed(&mut self, out: &mut Vec<Assembled>) {
        self.layouts = Layout::all(&self.sets.sps, &self.sets.pps);
        if self.layouts.iter().any(|layout| layout.slice_groups) {
            self.notice(Notice::SliceGroups, out);
        }
    }

    fn take_sei(&mut self, nal: &[u8], out: &mut Vec<Assembled>) {
        for message in sei(nal) {
            match message {
                Sei::RecoveryPoint(frames) => self.recovery = Some(frames),
                Sei::Rotation(degrees) if degrees != 0 => self.notice(Notice::Rotated(degrees), out),
                _ => {}
            }
        }
        if self.prefix.len() + nal.len() <= MAX_PREFIX {
            put_nal(&mut self.prefix, nal);
        } else {
            self.counters.damaged += 1;
        }
    }

    fn take_slice(&mut self, nal: &[u8], message: &mut Message<'_>, out: &mut Vec<Assembled>) {
        let kind = NalType::of(nal[0]);
        if kind == NalType::Partition {
            self.notice(Notice::Partitions, out);
        }
        let first_of_message = message.slices == 0;
        message.slices += 1;
        let Some(slice) = Slice::parse(nal, &self.layouts) else {
            // Partitions B and C stand behind their A. Else it is damage.
            match &mut self.current {
                Some(current) if kind == NalType::Partition => current.append(nal, &mut self.counters),
                _ => self.counters.damaged += 1,
            }
            return;
        };
        let near = |stamp: Stamp| !first_of_message || stamp == message.stamp;
        if let Some(current) = &mut self.current
            && current.goes_on_with(&slice, near(current.stamp))
        {
            if first_of_message && slice.first_mb > 0 {
                self.mode = Mode::Slices;
            }
            let disordered = current.last.is_behind(&slice);
            current.flagged |= message.flagged;
            current.append_all(&mut self.prefix, self.recovery.take());
            current.note(kind, &slice);
            current.append(nal, &mut self.counters);
            if disordered {
                self.notice(Notice::SliceOrder, out);
            }
            return;
        }
        if self.current.is_none()
            && slice.first_mb > 0
            && self.last_out.is_some_and(|(stamp, last)| same_picture(&last, &slice).unwrap_or(stamp == message.stamp))
        {
            // Its picture is gone already: from the next one on it is waited for.
            self.mode = Mode::Slices;
            self.counters.damaged += 1;
            return;
        }
        if self.current.is_some() {
            if self.mode == Mode::Unknown && first_of_message {
                self.mode = Mode::Whole;
            }
            self.finish(out);
        }
        let mut current = Current {
            stamp: message.stamp,
            nth: message.pictures,
            flagged: message.flagged,
            lone: None,
            data: std::mem::take(&mut self.prefix),
            first: slice,
            last: slice,
            begun: 0,
            second_field: false,
            idr: false,
            intra: true,
            recovery: self.recovery.take(),
        };
        message.pictures += 1;
        current.note(kind, &slice);
        current.begin(nal, message.with_length(nal), &mut self.counters);
        self.current = Some(current);
    }

    /// The picture in work is whole, as it is when nothing follows.
    pub fn finish(&mut self, out: &mut Vec<Assembled>) {
        let Some(mut current) = self.current.take() else { return };
        self.last_out = Some((current.stamp, current.last));
        let key = self.is_key(&current);
        let may_begin = self.dirty && (key || (self.by_header && self.announced.is_none()));
        let another = self.sets.sps.len() > 1 && key;
        if (may_begin || another) && self.sets.is_complete() {
            let format = self.sets.format(Some(current.first.pps), &self.layouts);
            if self.announced.as_ref() != Some(&format) {
                self.announced = Some(format.clone());
                out.push(Assembled::Format(format));
            }
            self.dirty = false;
            self.loose.clear();
        }
        if self.announced.is_none() {
            self.counters.before_sets += 1;
            self.keys_lost += u64::from(key);
            if self.keys_lost > 1 || self.counters.before_sets > PATIENCE {
                self.notice(Notice::NoParameterSets, out);
            }
            return;
        }
        if !key && !self.loose.is_empty() {
            current.own().splice(0..0, self.loose.drain(..));
        }
        let data = current.lone.take().unwrap_or_else(|| current.data.into());
        out.push(Assembled::Picture(Picture { stamp: current.stamp, nth: current.nth, key, data }));
    }

    fn is_key(&mut self, picture: &Current) -> bool {
        self.idrs += u64::from(picture.idr);
        // Where IDR pictures come again and again, they are the key frames, and what else is said about pictures that need others is wrong.
        let no_idrs = self.idrs <= 1;
        let since_idr = picture.stamp.dts_ms - *self.last_idr_ms.get_or_insert(picture.stamp.dts_ms);
        if picture.idr {
            self.last_idr_ms = Some(picture.stamp.dts_ms);
        }
        let believed = no_idrs && !self.was_flagged && since_idr >= NO_IDRS_MS;
        let flag_counts = picture.flagged && (picture.intra || picture.recovery.is_some() || believed);
        let recovery = picture.recovery.is_some_and(|frames| frames == 0 || no_idrs);
        self.was_flagged = picture.flagged;
        picture.idr || recovery || flag_counts
    }

    fn notice(&mut self, notice: Notice, out: &mut Vec<Assembled>) {
        let same = |told: &Notice| std::mem::discriminant(told) == std::mem::discriminant(&notice);
        if !self.told.iter().any(same) {
            self.told.push(notice);
            out.push(Assembled::Notice(notice));
        }
    }
}

/// The message being taken apart.
struct Message<'a> {
    data: &'a Bytes,
    stamp: Stamp,
    flagged: bool,
    pictures: u32,
    slices: u32,
}

impl Message<'_> {
    /// A NAL unit of it with its length before it, where that stands so in the message.
    fn with_length(&self, nal: &[u8]) -> Option<Bytes> {
        let start = (nal.as_ptr() as usize).checked_sub(self.data.as_ptr() as usize)?.checked_sub(4)?;
        let length = u32::try_from(nal.len()).ok()?.to_be_bytes();
        (self.data.get(start..start + 4)? == length).then(|| self.data.slice(start..start + 4 + nal.len()))
    }
}

/// Whether two slices are of one picture, where their headers tell.
fn same_picture(a: &Slice, b: &Slice) -> Option<bool> {
    Some(a.picture? == b.picture?)
}

impl Current {
    /// Whether `slice` is of this picture, or of the second field of its frame. `near`: it came in the same message, or with the same time.
    fn goes_on_with(&mut self, slice: &Slice, near: bool) -> bool {
        match (self.last.picture, slice.picture) {
            (Some(last), Some(next)) if last != next => {
                let completes = !self.second_field && next.completes(&last);
                if completes {
                    (self.second_field, self.begun) = (true, 0);
                }
                completes
            }
            // Slices may come in any order, but a picture begins once (in each of its planes).
            (last, _) => {
                let again = slice.first_mb == 0 && self.begun & (1 << slice.plane) != 0;
                !again && (last.is_some() && slice.picture.is_some() || near)
            }
        }
    }

    fn note(&mut self, kind: NalType, slice: &Slice) {
        self.last = *slice;
        self.begun |= u8::from(slice.first_mb == 0) << slice.plane;
        self.idr |= kind == NalType::Idr;
        // Of a frame in two fields the first one counts: the second may refer to it.
        self.intra &= slice.intra || self.second_field;
    }

    /// Its bytes, to be changed.
    fn own(&mut self) -> &mut Vec<u8> {
        if let Some(lone) = self.lone.take() {
            self.data.extend_from_slice(&lone);
        }
        &mut self.data
    }

    fn append_all(&mut self, prefix: &mut Vec<u8>, recovery: Option<u32>) {
        if !prefix.is_empty() && self.own().len() + prefix.len() <= MAX_UNIT {
            self.data.extend_from_slice(prefix);
        }
        prefix.clear();
        self.recovery = self.recovery.or(recovery);
    }

    /// Its first slice, and the same with its length before it.
    fn begin(&mut self, nal: &[u8], with_length: Option<Bytes>, counters: &mut AssemblerCounters) {
        match with_length.filter(|nal| self.data.is_empty() && nal.len() <= MAX_UNIT) {
            Some(lone) => self.lone = Some(lone),
            None => self.append(nal, counters),
        }
    }

    fn append(&mut self, nal: &[u8], counters: &mut AssemblerCounters) {
        if self.own().len() + 4 + nal.len() > MAX_UNIT {
            counters.damaged += 1;
            return;
        }
        if self.data.is_empty() {
            self.data.reserve_exact(4 + nal.len());
        }
        self.data.put_u32(nal.len() as u32);
        self.data.put_slice(nal);
    }
}

#[cfg(test)]
#[path = "assembler_tests.rs"]
mod tests;
