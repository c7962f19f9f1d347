//! What a process costs, as the kernel counts it.
//!
//! In: a process id. Out: CPU time by group of threads, children included, and memory.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// CPU time at one moment, by thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct CpuSample {
    threads: HashMap<u32, (Group, Duration)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// `sfu-*`: the SFU's workers.
    Worker,
    /// Everything else in the server.
    Other,
    /// Pipeline hosts.
    Child,
}

/// CPU time spent between two samples.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuUse {
    /// The SFU's worker threads.
    pub workers: Duration,
    /// All other threads of the server's process.
    pub others: Duration,
    /// Its child processes, and theirs.
    pub children: Duration,
}

impl CpuUse {
    /// Without the children.
    pub(crate) fn server(&self) -> Duration {
        self.workers + self.others
    }

    /// All of it.
    pub(crate) fn total(&self) -> Duration {
        self.server() + self.children
    }
}

impl CpuSample {
    /// Of `pid` and its descendants, now.
    pub(crate) fn take(pid: u32) -> Self {
        let mut sample = Self::default();
        sample.add(pid, false);
        sample
    }

    fn add(&mut self, pid: u32, child: bool) {
        for tid in task_ids(pid) {
            let base = format!("/proc/{pid}/task/{tid}");
            // The first number is the time on the CPU in ns: exact, where `stat` counts ticks of 10 ms.
            let nanos = fs::read_to_string(format!("{base}/schedstat")).ok().and_then(|text| text.split(' ').next()?.parse().ok());
            let name = fs::read_to_string(format!("{base}/comm")).unwrap_or_default();
            let group = match (child, name.starts_with("sfu-")) {
                (true, _) => Group::Child,
                (false, true) => Group::Worker,
                (false, false) => Group::Other,
            };
            self.threads.insert(tid, (group, Duration::from_nanos(nanos.unwrap_or(0))));
        }
        children(pid).into_iter().for_each(|child| self.add(child, true));
    }

    /// What was spent since `earlier`. Threads that ended in between are missed; the server's live as long as it does.
    pub(crate) fn since(&self, earlier: &Self) -> CpuUse {
        let mut spent = CpuUse::default();
        for (tid, (group, time)) in &self.threads {
            let before = earlier.threads.get(tid).map_or(Duration::ZERO, |(_, time)| *time);
            *match group {
                Group::Worker => &mut spent.workers,
                Group::Other => &mut spent.others,
                Group::Child => &mut spent.children,
            } += time.saturating_sub(before);
        }
        spent
    }
}

/// CPU time of the calling thread.
pub(crate) fn this_thread() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

fn task_ids(pid: u32) -> Vec<u32> {
    let Ok(dir) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    dir.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The children of all its threads.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let of = |tid| fs::read_to_string(format!("/proc/{pid}/task/{tid}/children")).unwrap_or_default();
    task_ids(pid).into_iter().flat_map(|tid| of(tid).split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Resident memory of one process in bytes.
pub(crate) fn rss(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Memory of a process and its descendants in bytes, where what they share (`Pss`) is counted once.
pub(crate) fn memory_of_all(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let own = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024;
    own + children(pid).into_iter().map(memory_of_all).sum::<u64>()
}
