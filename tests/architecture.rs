//! The laws of the house, read off the sources (docs/architecture.md says why each one is there).
//!
//! A failure says which law was broken, where, and where to go instead. If a law is wrong, change it here with the reason.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may use, bottom up. A module that isn't named in a list is not known there, however low its floor.
const MAY_USE: [(&str, &[&str]); 16] = [
    ("base", &[]),
    ("net", &[]),
    ("codec", &["base"]),
    ("rtp", &["base"]),
    ("cmaf", &["base", "codec"]),
    ("timing", &["base", "rtp"]),
    ("sfu", &["base", "net", "codec", "rtp"]),
    ("sdp", &["base", "codec", "sfu"]),
    ("stream", &["base", "codec", "rtp", "timing", "sfu"]),
    // Of the SFU, `stream` hands on what adapters need.
    ("rtmp", &["base", "net", "codec", "rtp", "timing", "stream"]),
    // An adapter between SDP and ORTC parameters.
    ("webrtc", &["base", "codec", "sfu", "sdp", "stream"]),
    ("pipeline", &["base", "net", "codec", "rtp", "cmaf", "timing", "stream"]),
    // Both know media from their boxes alone. Of `net`, recordings ask whether files may be kept open.
    ("package", &["base", "cmaf"]),
    ("record", &["base", "net", "codec", "cmaf"]),
    ("http", &["base", "net", "sdp", "stream", "webrtc", "package", "record"]),
    ("app", &["base", "net", "codec", "sfu", "stream", "rtmp", "webrtc", "pipeline", "package", "record", "http"]),
];

/// Modules that put the others together for somebody: tests in virtual time, and what `tests/`, benchmarks and fuzz targets take.
const ABOVE_ALL: [&str; 2] = ["simulation", "inside"];

/// Modules that are drivers as a whole: sockets, and the place where everything is put together.
const DRIVER_MODULES: [&str; 2] = ["net", "app"];

/// What only drivers do, and where to go instead.
const FOR_DRIVERS: [(&str, &str); 3] = [
    ("tokio::", "waits; keep it sans-IO (bytes and time in, bytes and events out) and let a file below driver/ do the I/O"),
    ("std::fs", "reads or writes files; let a file below driver/ do that"),
    ("std::thread", "starts or asks for threads; let a file below driver/ do that"),
];

/// The files that ask the machine for time or chance, and why. Everybody else is handed a clock, and a generator or lots to draw one from.
const ASKS_THE_MACHINE: [(&str, &str); 3] = [
    ("app/clock.rs", "the one clock is made of the machine's clocks"),
    ("app/chance.rs", "the lots are made of the machine's chance"),
    ("http/driver/timer.rs", "hyper asks it for each head of a request, and compares with what tokio's timers go by"),
];

/// What asks the machine, and what to do instead.
const FOR_THE_MACHINE: [(&str, &str); 10] = [
    ("Instant::now", TAKE_THE_TIME),
    ("SystemTime", TAKE_THE_TIME),
    ("Utc::now", TAKE_THE_TIME),
    (".elapsed()", TAKE_THE_TIME),
    ("disallowed_methods", "switches off the lint that guards the clocks and chance; take them as an argument"),
    ("rand::rng(", TAKE_CHANCE),
    ("rand::rng;", TAKE_CHANCE),
    ("make_rng", TAKE_CHANCE),
    ("rand::random", TAKE_CHANCE),
    ("from_os_rng", TAKE_CHANCE),
];
const TAKE_THE_TIME: &str = "reads the machine's clock; take the time as an argument, or in a driver ask the `Clock` that it is handed";
const TAKE_CHANCE: &str =
    "asks the machine for chance; take a generator as an argument, or in a driver draw one from the `Lots` that it is handed";

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

/// Whether the file is test code as a whole (`tests.rs`, a folder `tests`, the simulation).
fn is_test_file(path: &Path) -> bool {
    path.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        ["tests", "simulation", "tests.rs", "testing.rs"].contains(&&*part) || part.ends_with("_tests.rs") || part.ends_with("_test.rs")
    })
}

fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// The modules that a line of code names by `crate::`.
fn modules_named(line: &str) -> impl Iterator<Item = String> {
    line.split("crate::").skip(1).map(|used| used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
}

#[test]
fn law_1_a_module_uses_what_its_list_says() {
    let lists: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    for (at, (module, list)) in MAY_USE.iter().enumerate() {
        let below: Vec<&str> = MAY_USE[..at].iter().map(|(name, _)| *name).collect();
        let above: Vec<&&str> = list.iter().filter(|used| !below.contains(used)).collect();
        assert!(above.is_empty(), "law 1: the list of {module} names {above:?}, which don't stand above it in MAY_USE");
    }
    let mut broken = Vec::new();
    let mut used_by: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        let module = source.module.as_str();
        if matches!(module, "lib" | "main") || ABOVE_ALL.contains(&module) {
            continue;
        }
        let Some(list) = lists.get(module) else {
            broken.push(format!("law 1: src/{} is in no module of MAY_USE; add its list in tests/architecture.rs", source.path.display()));
            continue;
        };
        for (number, line) in code_lines(&source.text) {
            for used in modules_named(line).filter(|used| used != module) {
                if is_test_file(&source.path) || !(lists.contains_key(used.as_str()) || ABOVE_ALL.contains(&used.as_str())) {
                    continue;
                }
                if !list.contains(&used.as_str()) {
                    broken.push(format!(
                        "law 1: src/{}:{number} uses {used}, which is not in the list of {module}; declare a small trait here and let app plug it in, or move the shared noun down",
                        source.path.display()
                    ));
                }
                used_by.entry(module.to_owned()).or_default().insert(used);
            }
        }
    }
    for (module, list) in MAY_USE {
        for used in list.iter().filter(|used| !used_by.get(module).is_some_and(|found| found.contains(**used))) {
            broken.push(format!("law 1: {module} doesn't use {used}; take it off its list"));
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

/// Whether the file may do I/O.
fn is_driver(source: &Source) -> bool {
    let below = source.path.components().any(|part| matches!(part.as_os_str().to_str(), Some("driver" | "driver.rs")));
    below || source.module == "main" || DRIVER_MODULES.contains(&source.module.as_str())
}

#[test]
fn law_2_only_drivers_wait_use_files_and_start_threads() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| !is_driver(source) && !is_test_file(&source.path)) {
        for (number, line) in code_lines(&source.text) {
            // How many cores there are is a number like others.
            let line = line.replace("std::thread::available_parallelism", "");
            for (word, instead) in FOR_DRIVERS.iter().filter(|(word, _)| line.contains(word)) {
                broken.push(format!("law 2: src/{}:{number} ({word}) {instead}", source.path.display()));
            }
        }
    }
    report(broken);
}

#[test]
fn law_3_the_machine_is_asked_for_time_and_chance_in_one_place_each() {
    let mut broken = Vec::new();
    let mut asking = BTreeSet::new();
    for source in sources().iter().filter(|source| !is_test_file(&source.path)) {
        let path = source.path.to_string_lossy().into_owned();
        let (lines, lists) = (code_lines(&source.text), ASKS_THE_MACHINE.iter().any(|(listed, _)| *listed == path));
        for (number, word, instead) in asks_the_machine(&lines) {
            if !lists {
                broken.push(format!("law 3: src/{path}:{number} ({word}) {instead}"));
            }
            asking.insert(path.clone());
        }
    }
    for (listed, _) in ASKS_THE_MACHINE.iter().filter(|(listed, _)| !asking.contains(*listed)) {
        broken.push(format!("law 3: src/{listed} asks the machine for nothing; take it off ASKS_THE_MACHINE"));
    }
    report(broken);
}

/// The lines that ask the machine for time or chance, and what to do instead.
fn asks_the_machine(lines: &[(usize, &str)]) -> Vec<(usize, &'static str, &'static str)> {
    let asked = |line: &str| FOR_THE_MACHINE.into_iter().filter(|(word, _)| line.contains(word)).collect::<Vec<_>>();
    lines.iter().flat_map(|(number, line)| asked(line).into_iter().map(|(word, instead)| (*number, word, instead))).collect()
}

#[test]
fn whoever_asks_the_machine_is_found() {
    for (text, found) in [
        ("let now = Instant::now();", true),
        ("    let t = std::time::SystemTime::now();", true),
        ("let waited = began.elapsed();", true),
        ("let mut rng = rand::rng();", true),
        ("let chance = Chance::from_os_rng();", true),
        ("#[allow(clippy::disallowed_methods)] // just here", true),
        ("// Instant::now() is not for us", false),
        ("use rand::rngs::StdRng;", false),
        ("let now = self.clock.now();", false),
        ("let passed = now.saturating_duration_since(began);", false),
        ("#[cfg(test)]\n#[allow(clippy::disallowed_methods)]\nmod tests {\n    let now = Instant::now();\n}", false),
    ] {
        assert_eq!(!asks_the_machine(&code_lines(text)).is_empty(), found, "{text}");
    }
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

/// Whether a line has a result whose error is text.
fn fails_with_text(line: &str) -> bool {
    line.split("Result<").skip(1).any(|rest| {
        let mut depth = 1;
        let end = rest.find(|c| {
            depth += i32::from(matches!(c, '<' | '(' | '[')) - i32::from(matches!(c, '>' | ')' | ']'));
            depth == 0
        });
        let inside = rest[..end.unwrap_or(rest.len())].trim_end_matches(')');
        [", String", "str", ", Cow<'static, str>"].iter().any(|text| inside.ends_with(text)) && inside.contains(", ")
    })
}

#[test]
fn law_7_errors_have_types() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| !is_test_file(&source.path)) {
        for (number, line) in code_lines(&source.text).into_iter().filter(|(_, line)| fails_with_text(line)) {
            broken.push(format!(
                "law 7: src/{}:{number} fails with text ({}); give it a variant of the module's error, whose message says what, where and what to do",
                source.path.display(),
                line.trim()
            ));
        }
    }
    report(broken);
    for (line, text) in [
        ("fn f() -> Result<u8, String> {", true),
        ("fn f() -> Result<(), (&'static str, String)> {", true),
        ("fn f() -> Result<u8, &'static str>;", true),
        ("let f = |a| -> Result<Vec<u8>, String> {", true),
        ("fn f() -> Result<String, Error> {", false),
        ("fn f() -> Result<(u8, String), Error> {", false),
        ("fn f() -> io::Result<String> {", false),
    ] {
        assert_eq!(fails_with_text(line), text, "{line}");
    }
}

/// The variants of error enums that show text of their own as it is: a sentence that was made elsewhere. Words of others, such as names, are
/// shown in quotes (`{name:?}`) or as a list (`.0.join(", ")`).
fn variants_with_text(lines: &[(usize, &str)]) -> Vec<(usize, String)> {
    let (mut found, mut derived, mut inside) = (Vec::new(), false, false);
    let (mut message, mut variant, mut begins) = (String::new(), String::new(), 0);
    for (number, line) in lines {
        let line = line.trim();
        inside |= derived && line.contains("enum ");
        derived = (derived && line.starts_with("#[")) || line.contains("thiserror::Error");
        if !inside || line.contains("enum ") {
            continue;
        }
        if line.starts_with("#[error") {
            (message, variant, begins) = (String::new(), String::new(), *number);
        }
        let in_message = variant.is_empty() && begins > 0 && !ends_attribute(&message);
        if in_message {
            message.push_str(line);
        } else if !line.starts_with("#[") {
            variant.push_str(line);
            if is_balanced(&variant) {
                found.extend(shows_text(&message, &variant).then(|| (begins, variant.trim_end_matches(',').to_owned())));
                (message, variant) = (String::new(), String::new());
            }
        }
        inside = line != "}" || variant.contains('{');
    }
    found
}

fn ends_attribute(text: &str) -> bool {
    text.ends_with(")]")
}

fn is_balanced(text: &str) -> bool {
    let count = |brackets: [char; 2]| text.matches(brackets).count();
    count(['(', '{']) == count([')', '}'])
}

/// Whether the message of a variant shows one of its fields that are text without quotes.
fn shows_text(message: &str, variant: &str) -> bool {
    let Some(at) = variant.find(['(', '{']) else { return false };
    let is_struct = variant[at..].starts_with('{');
    let inside = variant[at + 1..].trim_end_matches([',', ')', '}', ' ']);
    // Attributes of fields (`#[source]`) say nothing about their types; commas within `<…>` part no fields, but a piece of a type is enough.
    inside.split(", ").flat_map(|part| part.split(',')).enumerate().any(|(index, field)| {
        let field = field.rsplit("] ").next().unwrap_or(field).trim();
        let (name, kind) = if is_struct { field.split_once(": ").unwrap_or(("", field)) } else { ("", field) };
        let name = if is_struct { name.to_owned() } else { index.to_string() };
        let is_text = ["String", "Box<str>", "Arc<str>", "Cow<"].iter().any(|text| kind.contains(text));
        let (plain, braced) = (format!("{{{name}}}"), format!("{{{{{{{name}}}}}}}"));
        let argument = format!(".{name}");
        let listed = format!(".{name}.join(\", \")");
        is_text && (message.replace(&braced, "").contains(&plain) || message.replace(&listed, "").contains(&argument))
    })
}

#[test]
fn law_7_errors_carry_no_sentences() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| !is_test_file(&source.path)) {
        for (number, variant) in variants_with_text(&code_lines(&source.text)) {
            broken.push(format!(
                "law 7: src/{}:{number} has an error that carries text ({variant}); make it variants with fields, or carry the error that it comes from",
                source.path.display()
            ));
        }
    }
    report(broken);
    for (message, variant, text) in [
        ("{0}", "Other(String)", true),
        ("can't start: {0}", "Start(String),", true),
        ("can't start: {0}", "Start(std::io::Error),", false),
        ("bad {what}: {why}", "Bad { what: &'static str, why: String },", true),
        ("bad {what}: {why}", "Bad { what: &'static str, why: &'static str },", false),
        ("bad {what}", "Bad {\n    what: Cow<'static, str>,\n},", true),
        ("{}\", .0.join(\"\\n\")", "Many(Vec<String>)", true),
        ("{}\", .0.join(\", \")", "Many(Vec<String>)", false),
        ("no template named {0:?}", "Missing(String),", false),
        ("{path} uses {{{name}}}", "Unknown { path: PathBuf, name: String }", false),
        ("{0:?} is {1}", "Odd(String, String)", true),
        ("{0}", "Io(#[from] std::io::Error)", false),
        ("the server is gone", "Gone", false),
    ] {
        let lines = format!(
            "#[derive(Debug, thiserror::Error)]\n#[non_exhaustive]\npub enum E {{\n    /// Of one kind.\n    #[error(\"{message}\")]\n    {variant}\n}}"
        );
        assert_eq!(!variants_with_text(&code_lines(&lines)).is_empty(), text, "{variant} as {message}");
    }
}

/// Whether a line takes a lock of the standard library by itself.
fn takes_a_lock(line: &str) -> bool {
    let directly = line.split(".lock()").skip(1).any(|after| after.starts_with('.') && !after.starts_with(".await"));
    directly || line.contains("PoisonError") || line.contains("is_poisoned") || line.contains("poisoned.into_inner")
}

#[test]
fn law_6_locks_outlive_a_panic_of_their_holder() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| !source.path.ends_with("base/lock.rs") && !is_test_file(&source.path)) {
        for (number, line) in code_lines(&source.text).into_iter().filter(|(_, line)| takes_a_lock(line)) {
            broken.push(format!(
                "law 6: src/{}:{number} takes a lock by itself ({}); base::{{lock, read, write}} do it, whatever became of the last holder",
                source.path.display(),
                line.trim()
            ));
        }
    }
    report(broken);
    for (line, itself) in [
        ("let a = self.a.lock().unwrap_or_else(PoisonError::into_inner);", true),
        ("if let Ok(a) = self.a.lock().map(|a| *a) {", true),
        ("self.a.read().unwrap_or_else(|poisoned| poisoned.into_inner())", true),
        ("let a = lock(&self.a).len();", false),
        ("let a = self.a.lock().await.len();", false),
    ] {
        assert_eq!(takes_a_lock(line), itself, "{line}");
    }
}

/// What a file is called in paths: `stream/driver/live.rs` is `stream::driver::live`, a `mod.rs` is its folder.
fn module_path(file: &Path) -> Vec<String> {
    let mut parts: Vec<String> = file.with_extension("").components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// `a::{b, c::{self, d as e}}` as `a::b`, `a::c`, `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree).trim();
        return vec![path.trim_end_matches("::self").to_owned()];
    };
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut depth, mut begin, mut branches) = (0, 0, Vec::new());
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(&inside[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    branches.push(&inside[begin..]);
    let branches = branches.into_iter().map(str::trim).filter(|branch| !branch.is_empty());
    branches.flat_map(|branch| expand(&format!("{}{branch}", prefix.trim()))).collect()
}

/// The paths that a file's product code names: of its re-exports (`pub use`), and all others.
fn named_paths(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut exported, mut used) = (Vec::new(), Vec::new());
    let mut statement: Option<String> = None;
    let mut for_tests = false;
    for (_, line) in code_lines(text) {
        let line = line.trim();
        if statement.is_none() && ["use ", "pub use ", "pub(super) use ", "pub(crate) use "].iter().any(|begin| line.starts_with(begin)) {
            statement = Some(String::new());
        }
        let Some(open) = &mut statement else {
            for at in ["crate::", "super::"].iter().flat_map(|root| line.match_indices(root).map(|(at, _)| at)) {
                let begins = !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
                if begins && !for_tests {
                    used.push(line[at..].chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect());
                }
            }
            for_tests = line == "#[cfg(test)]";
            continue;
        };
        open.push_str(line);
        open.push(' ');
        if line.ends_with(';') {
            let whole = statement.take().unwrap_or_default();
            let (visibility, tree) = whole.split_once("use ").unwrap();
            if !for_tests {
                let list = if visibility.is_empty() { &mut used } else { &mut exported };
                list.extend(expand(tree.trim().trim_end_matches(';')));
            }
            for_tests = false;
        }
    }
    (exported, used)
}

/// A path as seen from `module`, counted from the crate; `None` where it leads out of the crate.
fn absolute(module: &[String], is_folder: bool, path: &str, children: &BTreeSet<Vec<String>>) -> Option<Vec<String>> {
    let mut parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
    let mut base = module.to_vec();
    match *parts.first()? {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            while parts.get(1) == Some(&"super") {
                base.pop();
                parts.remove(0);
            }
            base.pop();
        }
        first => {
            let child: Vec<String> = module.iter().cloned().chain([first.to_owned()]).collect();
            return (is_folder && children.contains(&child))
                .then(|| module.iter().cloned().chain(parts.iter().map(|part| (*part).to_owned())).collect());
        }
    }
    base.extend(parts[1..].iter().map(|part| (*part).to_owned()));
    Some(base)
}

/// Which file of `module` uses which, through re-exports to where a thing is made.
fn imports(module: &str, sources: &[Source]) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let files: BTreeMap<Vec<String>, &Source> = sources
        .iter()
        .filter(|source| source.module == module && !is_test_file(&source.path))
        .map(|source| (module_path(&source.path), source))
        .collect();
    let names: BTreeSet<Vec<String>> = files.keys().cloned().collect();
    let absolutes = |own: &Vec<String>, paths: Vec<String>| -> Vec<Vec<String>> {
        let is_folder = files[own].path.ends_with("mod.rs") || names.iter().any(|name| name.len() > own.len() && name.starts_with(own));
        paths.iter().filter_map(|path| absolute(own, is_folder, path, &names)).collect()
    };
    let (mut exports, mut uses) = (BTreeMap::new(), BTreeMap::new());
    for (own, source) in &files {
        let (exported, used) = named_paths(&source.text);
        for target in absolutes(own, exported) {
            if let Some(item) = target.last() {
                exports.insert(own.iter().cloned().chain([item.clone()]).collect::<Vec<_>>(), target);
            }
        }
        uses.insert(own.clone(), absolutes(own, used));
    }
    let file_of = |path: &Vec<String>| {
        let mut path = path.clone();
        for _ in 0..8 {
            let Some(len) = (1..=path.len()).rev().find(|len| exports.contains_key(&path[..*len])) else { break };
            path = exports[&path[..len]].iter().chain(&path[len..]).cloned().collect();
        }
        (1..=path.len()).rev().map(|len| path[..len].to_vec()).find(|prefix| names.contains(prefix))
    };
    let others = |own: &Vec<String>, used: &Vec<Vec<String>>| used.iter().filter_map(file_of).filter(|file| file != own).collect();
    uses.iter().map(|(own, used)| (own.clone(), others(own, used))).collect()
}

/// A way from a file back to itself, if there is one.
fn circle(imports: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> Option<Vec<String>> {
    // Whatever uses nothing that is left can be in no circle.
    let mut left = imports.clone();
    loop {
        let free: BTreeSet<Vec<String>> = left.iter().filter(|(_, used)| used.is_empty()).map(|(own, _)| own.clone()).collect();
        if free.is_empty() {
            break;
        }
        left.retain(|own, _| !free.contains(own));
        left.values_mut().for_each(|used| used.retain(|file| !free.contains(file)));
    }
    let mut way = vec![left.keys().next()?.clone()];
    loop {
        let next = left[way.last()?].first()?.clone();
        let begin = way.iter().position(|file| *file == next);
        way.push(next);
        if let Some(begin) = begin {
            return Some(way[begin..].iter().map(|file| file.join("::")).collect());
        }
    }
}

#[test]
fn law_5_files_of_a_module_import_each_other_in_one_direction() {
    let sources = sources();
    let mut broken = Vec::new();
    for (module, _) in MAY_USE {
        if let Some(way) = circle(&imports(module, &sources)) {
            broken.push(format!("law 5: {} is a circle; move what both need into a file of its own, below both", way.join(" → ")));
        }
    }
    report(broken);
}

#[test]
fn circles_are_found_through_re_exports() {
    let source = |path: &str, text: &str| Source { path: path.into(), module: "m".into(), text: text.into() };
    let table: [(&[(&str, &str)], bool); 7] = [
        (&[("m/a.rs", "use super::b::B;"), ("m/b.rs", "use super::c::C;"), ("m/c.rs", "")], false),
        (&[("m/a.rs", "use super::b::B;"), ("m/b.rs", "use super::c::C;"), ("m/c.rs", "use crate::m::{a, d::D};")], true),
        (&[("m/mod.rs", "mod a;\npub use a::A;\npub use b::B;"), ("m/a.rs", "use super::B;"), ("m/b.rs", "use std::fmt;")], false),
        (&[("m/mod.rs", "mod a;\npub use a::A;\npub use b::B;"), ("m/a.rs", "use super::B;"), ("m/b.rs", "fn f(a: crate::m::A) {}")], true),
        (&[("m/mod.rs", "mod a;\nuse a::A;\npub struct M;"), ("m/a.rs", "use super::{\n    M,\n};")], true),
        (&[("m/x/mod.rs", "pub use y::Y;"), ("m/x/y.rs", "use super::super::z;"), ("m/z.rs", "use super::x::Y;")], true),
        (
            &[
                ("m/a.rs", "use super::b::B;"),
                ("m/b.rs", "#[cfg(test)]\nuse super::a::A;\n// crate::m::a\n#[cfg(test)]\nmod tests {\n    use crate::m::a;\n}"),
            ],
            false,
        ),
    ];
    for (files, found) in table {
        let sources: Vec<Source> = files.iter().map(|(path, text)| source(path, text)).collect();
        assert_eq!(circle(&imports("m", &sources)).is_some(), found, "{files:?}");
    }
}
