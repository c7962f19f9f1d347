//! How much memory there is for this process: the machine's, or what its control group may have where that is less.

use std::path::Path;

/// Where nothing says how much there is: what a small machine has.
const UNKNOWN: u64 = 1 << 30;

/// In bytes.
pub(super) fn available() -> u64 {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let group = read(Path::new("/proc/self/cgroup"));
    let folders = Path::new(own_group(&group)).ancestors().map(|group| Path::new("/sys/fs/cgroup").join(group));
    let limits = folders.map(|folder| read(&folder.join("memory.max"))).collect::<Vec<_>>();
    least(&read(Path::new("/proc/meminfo")), &limits)
}

/// The control group of version 2, relative to the root.
fn own_group(proc_self_cgroup: &str) -> &str {
    proc_self_cgroup.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default()
}

fn least(meminfo: &str, limits: &[String]) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).and_then(|rest| rest.split_whitespace().next());
    let machine = total.and_then(|kib| kib.parse::<u64>().ok()).map(|kib| kib.saturating_mul(1024));
    // "max" is none.
    limits.iter().filter_map(|limit| limit.trim().parse().ok()).chain(machine).min().unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_machine_and_groups() {
        let machine = "MemTotal:       16384 kB\nMemFree:  1 kB\n";
        for (meminfo, limits, expected) in [
            (machine, &["max\n"][..], 16 << 20),
            (machine, &["1048576\n", "max\n"], 1 << 20),
            (machine, &["max\n", "2097152\n", "4194304\n"], 2 << 20),
            (machine, &["99999999999\n", ""], 16 << 20),
            (machine, &[], 16 << 20),
            ("", &["max"], UNKNOWN),
        ] {
            let limits: Vec<String> = limits.iter().map(|limit| (*limit).to_owned()).collect();
            assert_eq!(least(meminfo, &limits), expected, "{meminfo:?} {limits:?}");
        }
        assert!(available() > 64 << 20);
        for (text, group) in [("0::/\n", ""), ("12:cpu:/x\n0::/system.slice/headend.service\n", "system.slice/headend.service"), ("", "")] {
            assert_eq!(own_group(text), group);
        }
    }
}
