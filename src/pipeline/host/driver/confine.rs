//! What the child gives up before it reads anything: it decodes what strangers send, in C.
//!
//! Its environment is cleared by the parent (`driver/supervisor/child.rs`).

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::system::sysinfo;
use rustix::thread::set_no_new_privs;

/// Least memory that it may write to, in bytes: a transcode of 1080p needs 160 MB. It may have half of the machine's: who has the cores for
/// sixteen of 4K in one child has that. What asks for more fails, which ends the child, and its jobs go on in others.
const LEAST_MEMORY: u64 = 2 << 30;
/// Most open files: each pipeline needs about six, and a child may have 256.
const MAX_FILES: u64 = 4096;

/// For this process and all of its threads to come.
pub(super) fn confine() -> Result<(), Errno> {
    // A child that hangs doesn't see that its parent has gone. (The parent starts children on threads that live as long as it does: the
    // signal comes with the end of the thread.)
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_no_new_privs(true)?;
    let machine = sysinfo();
    let memory = (machine.totalram as u64).saturating_mul(u64::from(machine.mem_unit)) / 2;
    for (resource, most) in [(Resource::Data, memory.max(LEAST_MEMORY)), (Resource::Nofile, MAX_FILES), (Resource::Core, 0)] {
        // Never more than the operator allows.
        let least = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
        let Rlimit { current, maximum } = getrlimit(resource);
        setrlimit(resource, Rlimit { current: least(current), maximum: least(maximum) })?;
    }
    Ok(())
}
