//! The laws of the house, read off the sources (docs/architecture.md says why each one is there).
//!
//! A failure says which law was broken, where, and where to go instead. If a law is wrong, change it here with the reason.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Floor of each module. A module uses only floors below its own.
const FLOORS: [(&str, u32); 15] = [
    ("base", 0),
    ("net", 1),
    ("codec", 1),
    ("rtp", 2),
    ("cmaf", 2),
    ("sfu", 3),
    ("sdp", 4),
    ("stream", 4),
    ("rtmp", 5),
    ("webrtc", 5),
    ("pipeline", 5),
    ("package", 6),
    ("record", 6),
    ("http", 7),
    ("app", 8),
];

/// Modules that are drivers as a whole: sockets, children and the outside world are what they are for.
const DRIVER_MODULES: [&str; 4] = ["net", "http", "app", "pipeline"];

/// Longest file without a reason in its first comment.
const MAX_LINES: usize = 600;

/// Words of protocols that the SFU must never have heard of (law 1). RTP, RTCP, ICE and DTLS are its own.
const PROTOCOLS_UNKNOWN_TO_SFU: [&str; 6] = ["rtmp", "whip", "whep", "sdp", "hls", "dash"];

struct Source {
    path: PathBuf,
    module: String,
    text: String,
}

fn sources() -> Vec<Source> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                out.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
    assert!(files.len() > 30, "the sources were not found");
    files
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&root).unwrap();
            let module = inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
            Source { text: fs::read_to_string(&path).unwrap(), path: inside.to_owned(), module }
        })
        .collect()
}

/// The lines that are product code: no comments, and nothing from the first `#[cfg(test)] mod …` on.
fn code_lines(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let begins_tests = |at: usize| {
        let mut after = lines[at + 1..].iter().map(|line| line.trim_start()).skip_while(|line| line.starts_with("#["));
        after.next().is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    let end = (0..lines.len()).find(|at| lines[*at].trim() == "#[cfg(test)]" && begins_tests(*at)).unwrap_or(lines.len());
    lines[..end]
        .iter()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line.split(" // ").next().unwrap_or(line)))
        .collect()
}

/// Whether the file is test code as a whole (`tests.rs`, a folder `tests`).
fn is_test_file(path: &Path) -> bool {
    path.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs") || part.ends_with("_test.rs")
    })
}

fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn law_1_a_module_uses_only_floors_below_its_own() {
    let floors: BTreeMap<&str, u32> = FLOORS.into_iter().collect();
    let mut broken = Vec::new();
    for source in sources() {
        if matches!(source.module.as_str(), "lib" | "main") {
            continue;
        }
        let Some(&own) = floors.get(source.module.as_str()) else {
            broken.push(format!(
                "law 1: src/{} is in no module of the floor table; give it a floor in tests/architecture.rs",
                source.path.display()
            ));
            continue;
        };
        for (number, line) in source.text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                match floors.get(used.as_str()) {
                    Some(&floor) if used != source.module && floor >= own => broken.push(format!(
                        "law 1: src/{}:{} uses {used} (floor {floor}) from {} (floor {own}); declare a small trait here and let app plug it in, or move the shared noun down",
                        source.path.display(),
                        number + 1,
                        source.module
                    )),
                    _ => {}
                }
            }
        }
    }
    report(broken);
}

#[test]
fn law_1_the_sfu_knows_no_protocol_by_name() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| source.module == "sfu" && !is_test_file(&source.path)) {
        for (number, line) in code_lines(&source.text) {
            let words = line.to_lowercase();
            for word in words.split(|c: char| !c.is_alphanumeric()) {
                if PROTOCOLS_UNKNOWN_TO_SFU.contains(&word) {
                    broken.push(format!(
                        "law 1: src/{}:{number} names {word}; the SFU speaks ORTC only, adapters translate",
                        source.path.display()
                    ));
                }
            }
        }
    }
    report(broken);
}

#[test]
fn law_2_tokio_is_used_by_drivers_only() {
    let mut broken = Vec::new();
    for source in sources() {
        let in_driver = source.path.components().any(|part| matches!(part.as_os_str().to_str(), Some("driver" | "driver.rs")));
        if in_driver || is_test_file(&source.path) || source.module == "main" || DRIVER_MODULES.contains(&source.module.as_str()) {
            continue;
        }
        for (number, line) in code_lines(&source.text) {
            if line.contains("tokio::") {
                broken.push(format!(
                    "law 2: src/{}:{number} uses tokio; keep the protocol sans-IO and put the I/O into a driver.rs beside it",
                    source.path.display()
                ));
            }
        }
    }
    report(broken);
}

#[test]
fn law_3_only_drivers_read_the_clock() {
    // clippy's disallowed-methods does the work; here it is seen that nobody switches it off outside drivers.
    let mut broken = Vec::new();
    for source in sources() {
        let in_driver = source.path.components().any(|part| matches!(part.as_os_str().to_str(), Some("driver" | "driver.rs")));
        if in_driver || is_test_file(&source.path) || DRIVER_MODULES.contains(&source.module.as_str()) {
            continue;
        }
        for (number, line) in code_lines(&source.text) {
            if line.contains("disallowed_methods") {
                broken.push(format!("law 3: src/{}:{number} reads the clock; take the time as an argument", source.path.display()));
            }
        }
    }
    report(broken);
}

#[test]
fn law_5_files_are_short_and_imports_name_their_module() {
    let mut broken = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        let reason = source.text.lines().take_while(|line| line.starts_with("//!")).any(|line| line.contains("Long because"));
        if lines > MAX_LINES && !reason {
            broken.push(format!(
                "law 5: src/{} has {lines} lines; find its second noun and give it a file, or say \"Long because …\" in the first comment",
                source.path.display()
            ));
        }
        if source.text.contains("use crate::*") || source.text.contains("use crate::{") {
            broken.push(format!("law 5: src/{} imports through the crate root; name the module", source.path.display()));
        }
    }
    report(broken);
}

#[test]
fn law_6_unsafe_only_in_net_and_lints_stay_on() {
    let mut broken = Vec::new();
    for source in sources() {
        for (number, line) in code_lines(&source.text) {
            let is_unsafe = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe_code"].iter().any(|form| line.contains(form));
            if is_unsafe && source.module != "net" {
                broken.push(format!(
                    "law 6: src/{}:{number} has unsafe code; sockets are the only reason for it, and live in net",
                    source.path.display()
                ));
            }
            for lint in ["unwrap_used", "expect_used", "clippy::panic", "missing_docs"] {
                if line.contains("allow") && line.contains(lint) && !is_test_file(&source.path) {
                    broken.push(format!("law 6: src/{}:{number} switches off {lint}; return an error instead", source.path.display()));
                }
            }
        }
    }
    report(broken);
}
