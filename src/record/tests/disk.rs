//! Disks that fail: what had reached them plays afterwards, and live goes on.
//!
//! A disk in place of the machine's, which fails when it is told to, and forgets at a power cut what was not synced, in any order.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::*;
use crate::base::{Chance, UnixNanos, lock, seeded};
use crate::cmaf::Targets;
use crate::record::RecordConfig;
use crate::record::driver::Recordings;
use crate::record::driver::disk::{Disk, DiskFile, MachineDisk};
use crate::record::index::{Record, Records};
use rand::RngExt;
use tokio_util::sync::CancellationToken;

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It is full.
    NoSpace,
    /// It gives an error for anything.
    Broken,
    /// It takes half of what is written, then it is full.
    Short,
    /// It takes everything and can't keep it.
    Sync,
    /// It is mounted again to be read only.
    ReadOnly,
    /// It can't be read.
    Read,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Make,
    Write,
    Sync,
    Rename,
    Read,
}

impl Fault {
    fn hits(self, operation: Operation) -> bool {
        match self {
            Self::NoSpace => matches!(operation, Operation::Make | Operation::Write),
            Self::Broken => operation != Operation::Read,
            Self::Short => operation == Operation::Write,
            Self::Sync => operation == Operation::Sync,
            Self::ReadOnly => matches!(operation, Operation::Make | Operation::Write | Operation::Rename),
            Self::Read => operation == Operation::Read,
        }
    }

    fn error(self) -> io::Error {
        io::Error::from(match self {
            Self::NoSpace | Self::Short => io::ErrorKind::StorageFull,
            Self::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
            Self::Broken | Self::Sync | Self::Read => return io::Error::from_raw_os_error(5),
        })
    }
}

/// What a power cut may take.
#[derive(Debug)]
enum Unsynced {
    /// `lost`: a sync has failed since, and none that follows will bring it back.
    Write {
        path: PathBuf,
        range: Range<u64>,
        lost: bool,
    },
    Made(PathBuf),
    Renamed {
        from: PathBuf,
        to: PathBuf,
        before: Option<Vec<u8>>,
    },
}

impl Unsynced {
    fn path(&self) -> &Path {
        match self {
            Self::Write { path, .. } | Self::Made(path) | Self::Renamed { to: path, .. } => path,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Which, after how many operations that it hits, and for how many.
    fault: Option<(Fault, u32, u32)>,
    met: u32,
    unsynced: Vec<Unsynced>,
    /// Syncs of files of this recording hang.
    hung: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Faulty(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug)]
struct FaultyFile {
    real: Box<dyn DiskFile>,
    path: PathBuf,
    disk: Faulty,
}

impl Faulty {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.0.0)
    }

    fn will(&self, fault: Fault, after: u32, times: u32) {
        self.state().fault = Some((fault, after, times));
    }

    fn meet(&self, operation: Operation) -> Option<Fault> {
        let mut state = self.state();
        let (fault, after, times) = state.fault.filter(|(fault, ..)| fault.hits(operation))?;
        if after > 0 {
            state.fault = Some((fault, after - 1, times));
            return None;
        }
        state.met += 1;
        state.fault = (times > 1).then_some((fault, 0, times - 1));
        Some(fault)
    }

    fn check(&self, operation: Operation) -> io::Result<()> {
        self.meet(operation).map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn hang(&self, recording: Option<&RecordingId>) {
        self.state().hung = recording.map(ToString::to_string);
        self.0.1.notify_all();
    }

    /// Whether nothing of a folder can be lost any more.
    fn is_safe(&self, dir: &Path) -> bool {
        self.state().unsynced.iter().all(|unsynced| !unsynced.path().starts_with(dir))
    }

    /// The power goes. Of what was not synced any part may be there.
    fn cut(&self, chance: &mut Chance) {
        for unsynced in self.state().unsynced.drain(..).rev() {
            let stays = chance.random_bool(0.4);
            match unsynced {
                _ if stays => {}
                Unsynced::Write { path, range, .. } => {
                    let Ok(mut bytes) = std::fs::read(&path) else { continue };
                    let (from, to) = (range.start as usize, (range.end as usize).min(bytes.len()));
                    if to == bytes.len() && chance.random_bool(0.5) {
                        bytes.truncate(chance.random_range(from.min(to)..=to));
                    } else if from < to {
                        bytes[from..to].fill(0);
                    }
                    std::fs::write(&path, bytes).unwrap();
                }
                Unsynced::Made(path) if path.is_dir() => std::fs::remove_dir_all(path).unwrap(),
                Unsynced::Made(path) => drop(std::fs::remove_file(path)),
                Unsynced::Renamed { from, to, before } => {
                    drop(std::fs::rename(&to, from));
                    if let Some(before) = before {
                        std::fs::write(to, before).unwrap();
                    }
                }
            }
        }
    }

    fn file(&self, path: &Path, real: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FaultyFile { real, path: path.to_owned(), disk: self.clone() })
    }
}

impl Disk for Faulty {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Make)?;
        if !path.exists() {
            self.state().unsynced.push(Unsynced::Made(path.to_owned()));
        }
        MachineDisk.make_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.check(Operation::Make)?;
        let real = MachineDisk.create(path)?;
        self.state().unsynced.push(Unsynced::Made(path.to_owned()));
        Ok(self.file(path, real))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(path, MachineDisk.open(path)?))
    }

    fn open_to_cut(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.check(Operation::Write)?;
        Ok(self.file(path, MachineDisk.open_to_cut(path)?))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, u64)>> {
        MachineDisk.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Operation::Rename)?;
        let before = std::fs::read(to).ok();
        MachineDisk.rename(from, to)?;
        let mut state = self.state();
        state.unsynced.retain(|unsynced| unsynced.path() != from);
        state.unsynced.push(Unsynced::Renamed { from: from.to_owned(), to: to.to_owned(), before });
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Rename)?;
        MachineDisk.remove_file(path)?;
        self.state().unsynced.retain(|unsynced| unsynced.path() != path);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Rename)?;
        self.state().unsynced.retain(|unsynced| !unsynced.path().starts_with(path));
        MachineDisk.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Sync)?;
        let is_entry = |unsynced: &Unsynced| matches!(unsynced, Unsynced::Made(_) | Unsynced::Renamed { .. });
        self.state().unsynced.retain(|unsynced| !(is_entry(unsynced) && unsynced.path().parent() == Some(path)));
        Ok(())
    }

    fn free(&self, _: &Path) -> Option<u64> {
        None
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.check(Operation::Read)?;
        self.real.len()
    }

    fn is_of_reserve(&self) -> bool {
        false
    }

    fn modified(&self) -> io::Result<UnixNanos> {
        self.real.modified()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.check(Operation::Read)?;
        self.real.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let fault = self.disk.meet(Operation::Write);
        let taken = match fault {
            None => bytes.len(),
            Some(Fault::Short) => bytes.len() / 2,
            Some(_) => 0,
        };
        self.real.write_at(&bytes[..taken], offset)?;
        let range = offset..offset + taken as u64;
        self.disk.state().unsynced.push(Unsynced::Write { path: self.path.clone(), range, lost: false });
        fault.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.check(Operation::Write)?;
        self.real.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        let hangs = |state: &mut State| state.hung.as_ref().is_some_and(|id| self.path.to_string_lossy().contains(id.as_str()));
        let guard = self.disk.0.1.wait_while(self.disk.state(), hangs).unwrap();
        drop(guard);
        let fault = self.disk.meet(Operation::Sync);
        let mut state = self.disk.state();
        for unsynced in &mut state.unsynced {
            if let Unsynced::Write { path, lost, .. } = unsynced {
                *lost |= fault.is_some() && *path == self.path;
            }
        }
        if let Some(fault) = fault {
            return Err(fault.error());
        }
        state.unsynced.retain(|unsynced| !matches!(unsynced, Unsynced::Write { path, lost: false, .. } if *path == self.path));
        Ok(())
    }
}

/// Files lie in memory where the system has a folder for that.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Two tracks of so many seconds, with when each event comes.
fn story(seconds: u32) -> Vec<(RecordEvent, i64)> {
    let (picture, sound) = (video("64x36", seconds, 0, ""), audio("aac", 44_100, seconds as f32));
    let all = events(&[vec![(Codec::H264, &picture), (Codec::Aac, &sound)]]);
    all.into_iter().map(|event| (event.clone(), if let RecordEvent::Chunk(chunk) = &event { chunk.wallclock } else { NOW })).collect()
}

/// All track files below a folder.
fn tracks(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let dirs = std::fs::read_dir(root).unwrap().flatten().filter(|dir| RecordingId::parse(&dir.file_name().to_string_lossy()).is_some());
    let files = dirs.flat_map(|dir| std::fs::read_dir(dir.path()).unwrap().flatten());
    let is_track = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("track-"));
    files.map(|file| file.path()).filter(is_track).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// How much of each track file players get, which must be as it was written.
fn played(
    case: &str,
    reading: &Reading,
    catalogue: &Catalogue,
    root: &Path,
    written: &BTreeMap<PathBuf, Vec<u8>>,
) -> BTreeMap<PathBuf, u64> {
    let get = |path: String| block_on(reading.answer(VodRequest { path, ..VodRequest::default() }, NOW + 99 * SECOND));
    let mut out = BTreeMap::new();
    for item in catalogue.list(None, None, 99).unwrap().items {
        match get(format!("{}.mp4", item.id)) {
            Ok(response) => drop(bytes(response)),
            Err(RecordError::Empty) => continue,
            Err(error) => panic!("{case}: {error}"),
        }
        for track in 0..2 {
            let Ok(playlist) = get(format!("{}/track-{track}.m3u8", item.id)) else { continue };
            let text = String::from_utf8(bytes(playlist)).unwrap();
            let names = text.split(['"', '\n']).filter(|name| name.ends_with("-init.mp4") || name.ends_with(".m4s"));
            let got: Vec<u8> = names.flat_map(|name| bytes(get(format!("{}/{name}", item.id)).unwrap())).collect();
            let path = root.join(item.id.as_str()).join(format!("track-{track}-e0.mp4"));
            assert!(written[&path].starts_with(&got), "{case}: {} bytes of {path:?} are not what was written", got.len());
            out.insert(path, got.len() as u64);
        }
    }
    out
}

/// What came of it.
#[derive(Debug, Default)]
struct Came {
    met: u32,
    failed: u64,
    recordings: usize,
}

/// Records on a disk that fails, up to a power cut, and starts again.
fn record_on(case: &str, disk: &Faulty, story: &[(RecordEvent, i64)], ends: bool, chance: &mut Chance) -> Came {
    let dir = folder();
    let root = dir.path();
    let (store, catalogue, room) =
        (Store::on(Arc::new(disk.clone()), root.to_owned()), Arc::new(Catalogue::default()), Arc::<Room>::default());
    let path = StreamPath::parse("live/cam1").unwrap();
    let mut session = Session::new(store.clone(), catalogue.clone(), room.clone(), path, 0..=u64::MAX, TARGET_DURATION, seeded(7));
    let mut promised: BTreeMap<PathBuf, u64> = BTreeMap::new();
    let mut promise = || {
        for entry in std::fs::read_dir(root).unwrap().flatten().filter(|entry| disk.is_safe(&entry.path())) {
            for track in 0..2 {
                let Ok(index) = std::fs::read(entry.path().join(format!("index-{track}"))) else { continue };
                let ends = Records::of_file(&index).map(|record| match record {
                    Record::Fragment(entry, _) => entry.offset + u64::from(entry.len),
                    Record::Epoch(_) => 0,
                });
                promised.insert(entry.path().join(format!("track-{track}-e0.mp4")), ends.last().unwrap_or(0));
            }
        }
    };
    for (event, now) in story {
        session.handle(event.clone(), *now);
        session.report();
        promise();
    }
    if ends {
        session.end(story.last().map_or(NOW, |(_, now)| *now));
        promise();
    }
    let (met, failed) = (disk.state().met, room.failed());
    disk.state().fault = None;

    // While it runs, everything plays that is listed.
    let written = tracks(root);
    played(case, &Reading::new(store, catalogue.clone()), &catalogue, root, &written);
    let recordings = catalogue.totals().0;
    drop(session);
    // And after the power cut, everything that was safe.
    disk.cut(chance);
    let (store, catalogue) = (Store::new(root.to_owned()), Arc::new(Catalogue::default()));
    recover::load(&store, &catalogue, NOW + 99 * SECOND).unwrap();
    let played = played(case, &Reading::new(store, catalogue.clone()), &catalogue, root, &written);
    for (path, len) in promised.iter().filter(|(path, _)| written.contains_key(*path)) {
        let got = played.get(path).copied().unwrap_or(0);
        assert!(got >= *len, "{case}: {got} bytes of {path:?} play, {len} were safe");
    }
    Came { met, failed, recordings }
}

#[test]
fn whatever_fails_what_was_safe_plays_and_the_next_recording_begins() {
    let story = story(60);
    for fault in [Fault::NoSpace, Fault::Broken, Fault::Short, Fault::Sync, Fault::ReadOnly] {
        let (mut met, mut failed, mut again) = (0, 0, 0);
        for seed in 0..24 {
            let mut chance = seeded(seed);
            let disk = Faulty::default();
            let most = if fault == Fault::Sync { 60 } else { 300 };
            disk.will(fault, chance.random_range(0..most), chance.random_range(1..=3));
            // Half of them to the end.
            let events = if seed % 2 == 0 { story.len() } else { chance.random_range(1..=story.len()) };
            let came = record_on(&format!("{fault:?} {seed}"), &disk, &story[..events], chance.random_bool(0.5), &mut chance);
            met += u32::from(came.met > 0);
            failed += u32::from(came.failed > 0);
            again += u32::from(came.failed > 0 && came.recordings > 1);
            assert!(came.recordings as u64 <= came.failed + 1, "each failure is counted: {came:?}");
        }
        assert!(met >= 12 && failed >= 8 && again >= 2, "{fault:?}: {met} {failed} {again}");
    }
}

#[test]
fn a_power_cut_takes_nothing_that_was_safe() {
    let story = story(80);
    // Also where much comes at once: a file that is pushed, within a moment.
    let at_once: Vec<_> = story.iter().map(|(event, _)| (event.clone(), NOW)).collect();
    for seed in 0..60 {
        let mut chance = seeded(seed);
        let story = if seed % 3 == 0 { &at_once[..] } else { &story[..80] };
        let events = chance.random_range(1..=story.len());
        let came = record_on(&format!("{seed}"), &Faulty::default(), &story[..events], chance.random_bool(0.2), &mut chance);
        assert_eq!((came.failed, came.met), (0, 0));
    }
}

#[test]
fn what_cant_be_read_at_the_start_is_not_cut_away() {
    let dir = folder();
    let (store, catalogue) = (Store::new(dir.path().to_owned()), Arc::new(Catalogue::default()));
    let path = StreamPath::parse("live/cam1").unwrap();
    let mut session = Session::new(store.clone(), catalogue, Arc::default(), path, 0..=u64::MAX, TARGET_DURATION, seeded(7));
    story(6).into_iter().for_each(|(event, now)| session.handle(event, now));
    session.report();
    drop(session);
    let written = tracks(dir.path());
    for at in 0..200 {
        let disk = Faulty::default();
        disk.will(Fault::Read, at, 1);
        let catalogue = Catalogue::default();
        recover::load(&Store::on(Arc::new(disk.clone()), dir.path().to_owned()), &catalogue, NOW + 99 * SECOND).unwrap();
        assert!(tracks(dir.path()) == written, "cut after read {at}");
        if disk.state().met == 0 {
            assert!(at > 20 && catalogue.totals().0 == 1, "{at}");
            return;
        }
        assert_eq!(catalogue.totals().0, 0, "nobody knows what is in it");
    }
    panic!("so many reads?");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_hangs_stops_one_recording_and_nothing_else() {
    let dir = folder();
    let disk = Faulty::default();
    let store = Store::on(Arc::new(disk.clone()), dir.path().join("recordings"));
    let (clock, lots, cancel) = (crate::base::real_clock(), crate::base::Lots::new(seeded(1)), CancellationToken::new());
    let vitals = crate::base::Vitals::unwatched();
    let opened = Recordings::open_store(store, RecordConfig::default(), Targets::default(), clock, lots, cancel.clone(), &vitals);
    let recordings = opened.await.unwrap();
    let story = story(4);
    let until = |what: &'static str, path: &'static str, is: fn(&crate::record::Recording) -> bool| {
        let recordings = recordings.clone();
        async move {
            let there = async {
                loop {
                    match recordings.list(Some(path), None, 1).unwrap().items.first() {
                        Some(item) if is(item) => break item.clone(),
                        _ => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(20), there).await.expect(what)
        }
    };
    let begin = |path: &str| recordings.record(&StreamPath::parse(path).unwrap()).unwrap();
    let mut one = begin("live/one");
    story[..4].iter().for_each(|(event, _)| one.push(event.clone()));
    let id = until("the first begins", "live/one", |_| true).await.id;
    disk.hang(Some(&id));
    story[4..].iter().for_each(|(event, _)| one.push(event.clone()));
    drop(one);

    let mut other = begin("live/other");
    story.iter().for_each(|(event, _)| other.push(event.clone()));
    drop(other);
    let item = until("the other one ends", "live/other", |item| !item.live).await;
    assert!((item.duration - 4.0).abs() < 0.1 && recordings.get(id.as_str()).unwrap().live);
    // Nothing is lost of the first one, either.
    disk.hang(None);
    let item = until("the first one ends", "live/one", |item| !item.live).await;
    assert!((item.duration - 4.0).abs() < 0.1, "{}", item.duration);
    cancel.cancel();
    recordings.closed().await;
}
