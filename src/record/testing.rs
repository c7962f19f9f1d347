//! A recorder for tests of other modules: what a stream's segmenter says goes in, and is read again as players read it.
//!
//! In: events and the time. Out: what `/vod/` answers; the same after a crash that cut the files. The files lie in memory where the system
//! has a folder for that.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use tokio::runtime::{Builder, Runtime};

use crate::base::{Chance, StreamPath, UnixNanos};

use super::RecordEvent;
use super::catalogue::Catalogue;
use super::driver::reading::Reading;
use super::driver::recover;
use super::driver::store::{Store, index_file, track_file};
use super::request::{VodBody, VodReader, VodRequest};
use super::session::{Room, Session};

/// Where files lie in memory.
const IN_MEMORY: &str = "/dev/shm";

/// The recordings of one path.
pub(crate) struct Recorder {
    // Before the folder, which goes with it.
    session: Session,
    shelf: Shelf,
}

/// Recordings, and what answers for them.
pub(crate) struct Shelf {
    _dir: tempfile::TempDir,
    store: Store,
    catalogue: Arc<Catalogue>,
    reading: Reading,
}

/// How long the files of a track are, its newest epoch's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lengths {
    pub index: u64,
    pub data: u64,
}

impl Recorder {
    /// `longest` recording in milliseconds; the next one follows.
    pub(crate) fn new(target_duration: u64, longest: u64, chance: Chance) -> Self {
        let shelf = Shelf::new();
        let path = StreamPath::parse("live/cam").unwrap();
        let (store, catalogue) = (shelf.store.clone(), shelf.catalogue.clone());
        let session = Session::new(store, catalogue, Arc::<Room>::default(), path, 0..=longest, target_duration, chance);
        Self { session, shelf }
    }

    pub(crate) fn handle(&mut self, event: RecordEvent, now: UnixNanos) {
        self.session.handle(event, now);
    }

    /// The stream is over: what is on the shelf is all there will be.
    pub(crate) fn end(mut self, now: UnixNanos) -> Shelf {
        self.session.end(now);
        self.shelf
    }

    /// How long the files of a track in the newest recording are now; `None` without any.
    pub(crate) fn lengths(&self, track: u32, epoch: u32) -> Option<Lengths> {
        let dir = self.shelf.store.dir(&self.shelf.store.list().ok()?.into_iter().max()?);
        let len = |name: String| std::fs::metadata(dir.join(name)).map(|file| file.len()).ok();
        Some(Lengths { index: len(index_file(track))?, data: len(track_file(track, epoch))? })
    }

    /// The machine dies now, and another one begins with what its files are after `damage`, of which each name and path is shown.
    pub(crate) fn crash(&self, now: UnixNanos, mut damage: impl FnMut(&str, &Path)) -> Shelf {
        self.session.report();
        let shelf = Shelf::new();
        for id in self.shelf.store.list().unwrap() {
            let (from, to) = (self.shelf.store.dir(&id), shelf.store.dir(&id));
            std::fs::create_dir_all(&to).unwrap();
            for entry in std::fs::read_dir(from).unwrap().flatten() {
                let target = to.join(entry.file_name());
                std::fs::copy(entry.path(), &target).unwrap();
                damage(&entry.file_name().to_string_lossy(), &target);
            }
        }
        recover::load(&shelf.store, &shelf.catalogue, now).unwrap();
        shelf
    }
}

impl Shelf {
    fn new() -> Self {
        let memory = PathBuf::from(IN_MEMORY);
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let store = Store::new(dir.path().to_owned());
        let catalogue = Arc::new(Catalogue::default());
        Self { reading: Reading::new(store.clone(), catalogue.clone()), store, catalogue, _dir: dir }
    }

    /// The names of all recordings, oldest first, with the tracks in them.
    pub(crate) fn recordings(&self) -> Vec<(String, Vec<u32>)> {
        let ids = self.store.list().unwrap().into_iter();
        let mut listed: Vec<_> = ids.filter_map(|id| self.catalogue.meta(id.as_str()).ok()).collect();
        // Names sort by the millisecond, in which several may begin where much comes at once.
        listed.sort_by_key(|meta| meta.started_at_ms);
        listed.into_iter().map(|meta| (meta.id.as_str().to_owned(), meta.tracks.iter().map(|track| track.track).collect())).collect()
    }

    /// What a player gets.
    pub(crate) fn get(&self, path: &str, now: UnixNanos) -> Option<Vec<u8>> {
        let request = VodRequest { path: path.to_owned(), ..VodRequest::default() };
        match block_on(self.reading.answer(request, now)).ok()?.body {
            VodBody::Bytes(bytes) => Some(bytes.to_vec()),
            VodBody::File(reader) => read(reader),
            VodBody::Parts(parts) => {
                parts.into_iter().map(|(_, reader)| read(reader)).collect::<Option<Vec<_>>>().map(|parts| parts.concat())
            }
        }
    }
}

/// For tests that wait for nothing else.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().enable_time().build().unwrap());
    RUNTIME.block_on(work)
}

fn read(mut reader: VodReader) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while let Some(block) = reader.next_block().ok()? {
        out.extend_from_slice(&block);
    }
    Some(out)
}
