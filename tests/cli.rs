//! The command line: what it prints, what it refuses and in which words, and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

mod common;

fn headend(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headend"));
    command.args(args).env("NO_COLOR", "1");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HEADEND_")) {
        command.env_remove(name);
    }
    command
}

fn run(args: &[&str]) -> (bool, String, String) {
    text(&headend(args).output().unwrap())
}

fn text(out: &Output) -> (bool, String, String) {
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned())
}

struct ConfigFile {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn file(text: &str) -> ConfigFile {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    std::fs::write(&path, text).unwrap();
    ConfigFile { _dir: dir, path }
}

/// `check` of a text with some environment: whether it is good, and what it says.
fn check(toml: &str, environment: &[(&str, &str)]) -> (bool, String) {
    let config = file(toml);
    let mut command = headend(&["check", "--config", config.path.to_str().unwrap()]);
    let (good, out, err) = text(&command.envs(environment.iter().copied()).output().unwrap());
    assert!(good != out.is_empty() && good == err.is_empty(), "good news on standard output, bad on standard error: {out:?} {err:?}");
    (good, out + &err)
}

#[test]
fn version_and_help() {
    let (good, out, _) = run(&["--version"]);
    assert!(good);
    assert_eq!(out.trim(), format!("headend {}", env!("CARGO_PKG_VERSION")));

    let (good, out, _) = run(&["--help"]);
    assert!(good);
    for word in ["serve", "check", "defaults", "samples/headend.toml", "HEADEND_RTMP__LISTEN"] {
        assert!(out.contains(word), "--help lacks {word}:\n{out}");
    }
    assert!(!out.contains("pipeline-host"), "what is not for people stays out of the help:\n{out}");

    let (good, out, _) = run(&["serve", "--help"]);
    assert!(good);
    for word in ["--config", "--data-dir", "--http", "--rtmp", "--log", "[::]:8080", "[::]:1935", "./data"] {
        assert!(out.contains(word), "serve --help lacks {word}:\n{out}");
    }
    assert!(out.lines().all(|line| line.chars().count() <= 110), "{out}");
}

#[test]
fn without_a_command_it_shows_the_help_and_fails() {
    let (good, out, err) = run(&[]);
    assert!(!good && out.is_empty());
    assert!(err.contains("Usage: headend"), "{err}");
}

#[test]
fn defaults_are_a_configuration() {
    let (good, out, _) = run(&["defaults"]);
    assert!(good);
    let (good, said) = check(&out, &[]);
    assert!(good, "{said}");
}

#[test]
fn check_says_what_is_wrong_with_line_and_key() {
    for (toml, wanted) in [
        ("[rtmp]\nlissten = \"x\"", &["line 2", "unknown key rtmp.lissten", "did you mean listen?"][..]),
        ("data_dri = \"x\"", &["line 1", "unknown key data_dri", "did you mean data_dir?"]),
        ("\n[rtpm]\na = 1", &["line 2", "unknown key rtpm", "did you mean rtmp?"]),
        ("[log]\ncolour_of_the_text = 1", &["line 2", "unknown key log.colour_of_the_text", "known here: level, format"]),
        ("[rtmp]\n\nenabled = \"yes\"", &["line 3", "rtmp.enabled should be a boolean", "\"yes\""]),
        ("[http]\nidle_timeout = \"5 parsecs\"", &["line 2", "http.idle_timeout should be a duration"]),
        ("[rtmp]\nlisten = \"nowhere\"", &["line 2", "rtmp.listen"]),
        ("[record]\nmax_bytes = \"lots\"", &["line 2", "record.max_bytes", "20GiB"]),
        ("[webrtc]\nb_frames = \"keep\"", &["line 2", "webrtc.b_frames", "transcode", "drop"]),
        ("[log]\nlevel = \"info\"\n[rtmp\nx = 1", &["line 3", "expected `]`"]),
        ("[package]\nwindow = \"1s\"", &["package.window", "6s to 10min"]),
        ("[sfu]\nworkers = 1000", &["line 2", "sfu.workers", "0 to 256"]),
        ("[stream]\nmax_streams = 0", &["stream.max_streams", "1 to 10000"]),
        ("[pipeline]\npart_duration = \"3s\"", &["pipeline.part_duration", "50ms to 2s"]),
        ("[http]\ncors_origins = [\"example.net\"]", &["http.cors_origins", "https://example.net"]),
        ("[http]\ntrusted_proxies = [\"localhost\"]", &["line 2", "http.trusted_proxies", "localhost", "10.0.0.0/8"]),
        ("[http]\nbase_path = \"media\"", &["http.base_path", "/media"]),
        ("[[stream.publish_keys]]\npaths = \"**\"\nsecret = \"\"", &["stream.publish_keys", "empty"]),
        (
            "[log]\nlevel = \"info\"\n[[stream.publish_keys]]\npaths = \"a\"\nsecret = \"b\"\n[[stream.publish_keys]]\npaths = \"**\"\nsecrett = \"x\"",
            &["line 8", "unknown key stream.publish_keys.1.secrett", "did you mean secret?"],
        ),
        ("\n[record]\nmax_duration = \"1s\"", &["line 3", "record.max_duration", "1min to 24h"]),
        ("[webrtc]\nb_frames = \"keep\"", &["should be one of transcode, drop, not keep"]),
    ] {
        let (good, said) = check(toml, &[]);
        assert!(!good, "{toml} was taken: {said}");
        assert!(said.starts_with("headend: "), "{said}");
        for word in wanted {
            assert!(said.contains(word), "{toml}\nshould say {word:?} but says {said}");
        }
    }
}

#[test]
fn check_names_all_values_out_of_range_at_once() {
    let (good, said) = check("[rtmp]\nmax_connections = 0\n[package]\nwindow = \"1s\"", &[]);
    assert!(!good);
    assert!(
        said.contains("line 2: rtmp.max_connections is 0; it must be 1 to 100000") && said.contains("line 4: package.window"),
        "{said}"
    );
}

#[test]
fn check_takes_a_good_file_and_names_one_that_is_not_there() {
    let (good, said) = check("[rtmp]\nlisten = \"127.0.0.1:1935\"", &[]);
    assert!(good && said.contains("is good"), "{said}");
    let (good, _, err) = run(&["check", "--config", "/does/not/exist.toml"]);
    assert!(!good && err.contains("can't read /does/not/exist.toml"), "{err}");
}

#[test]
fn the_environment_wins_over_the_file_and_its_mistakes_are_named_as_such() {
    let (good, said) = check("[rtmp]\nmax_connections = 5", &[("HEADEND_RTMP__MAX_CONNECTIONS", "0")]);
    assert!(!good && said.contains("environment variable HEADEND_RTMP__MAX_CONNECTIONS: rtmp.max_connections is 0"), "{said}");
    let (good, said) = check("", &[("HEADEND_SFU__LISTEN", "[\"0.0.0.0:9000\"]"), ("HEADEND_LOG__FORMAT", "json")]);
    assert!(good, "{said}");
    // As docker-compose.yml gives it.
    let (good, said) = check("", &[("HEADEND_SFU__ANNOUNCED_ADDRESSES", "[\"203.0.113.7\"]")]);
    assert!(good, "{said}");
    let (good, said) = check("", &[("HEADEND_RECORD__PATHSS", "1")]);
    assert!(!good && said.contains("environment variable HEADEND_RECORD__PATHSS") && said.contains("did you mean paths?"), "{said}");
    let (good, said) = check("", &[("HEADEND_RTMP__ENABLED", "perhaps")]);
    assert!(!good && said.contains("environment variable HEADEND_RTMP__ENABLED"), "{said}");
}

#[test]
fn what_orchestrators_put_into_the_environment_is_no_mistake() {
    let service = [("HEADEND_PORT", "tcp://10.0.0.1:8080"), ("HEADEND_SERVICE_HOST", "10.0.0.1"), ("HEADEND_ADDRESS", "10.0.0.1")];
    let (good, said) = check("", &service);
    assert!(good, "{said}");
}

#[test]
fn serve_on_a_taken_port_fails_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let free = || format!("127.0.0.1:{}", common::free_port());
    for (part, key, http, rtmp) in [("HTTP", "http.listen", &taken, &free()), ("RTMP", "rtmp.listen", &free(), &taken)] {
        let mut command = headend(&["serve", "--http", http, "--rtmp", rtmp, "--data-dir", dir.path().to_str().unwrap()]);
        command.env("HEADEND_SFU__LISTEN", format!("[\"{}\"]", free()));
        let (good, _, err) = text(&command.output().unwrap());
        assert!(!good);
        let last = err.lines().last().unwrap_or_default();
        assert!(last.starts_with(&format!("headend: can't start {part}")), "{err}");
        assert!(last.contains(&taken) && last.contains(key) && last.contains("in use"), "{err}");
    }
}

/// Several workers share the media port, and a second server could do so too, unnoticed.
#[test]
fn serve_on_another_servers_media_port_fails_with_a_sentence() {
    let server = common::Server::start();
    let dir = tempfile::tempdir().unwrap();
    let (http, rtmp) = (format!("127.0.0.1:{}", common::free_port()), format!("127.0.0.1:{}", common::free_port()));
    let mut command = headend(&["serve", "--http", &http, "--rtmp", &rtmp, "--data-dir", dir.path().to_str().unwrap()]);
    command.env("HEADEND_SFU__LISTEN", format!("[\"127.0.0.1:{}\"]", server.media));
    let (good, _, err) = text(&command.output().unwrap());
    assert!(!good && err.contains("headend: can't start the SFU") && err.contains(&format!("127.0.0.1:{}", server.media)), "{err}");
}

/// Each would take the other one's recordings for broken off, and cut them.
#[test]
fn serve_on_another_servers_data_fails_with_a_sentence() {
    let mut server = common::Server::start();
    let data = server.dir.path().join("data");
    let free = || format!("127.0.0.1:{}", common::free_port());
    let mut command = headend(&["serve", "--http", &free(), "--rtmp", &free(), "--data-dir", data.to_str().unwrap()]);
    command.env("HEADEND_SFU__LISTEN", format!("[\"{}\"]", free()));
    let (good, _, err) = text(&command.output().unwrap());
    let last = err.lines().last().unwrap_or_default();
    assert!(!good && last.contains(data.to_str().unwrap()) && last.contains(&format!("process {}", server.pid())), "{err}");
    assert!(last.contains("--data-dir"), "{err}");
    server.kill();
    server.restart();
}

#[test]
fn serve_with_a_bad_configuration_fails_as_check_does() {
    let config = file("[rtmp]\nlissten = \"x\"");
    let (good, _, err) = run(&["serve", "--config", config.path.to_str().unwrap()]);
    assert!(!good && err.contains("did you mean listen?"), "{err}");
    let (good, _, err) = run(&["serve", "--log", "headend=loud"]);
    assert!(!good && err.contains("log.level"), "{err}");
    let (good, _, err) = run(&["serve", "--http", "8080"]);
    assert!(!good && err.contains("--http"), "{err}");
}

#[test]
fn flags_win_over_the_file_and_the_log_can_be_json() {
    let dir = tempfile::tempdir().unwrap();
    let (in_file, by_flag) = (common::free_port(), common::free_port());
    let config = file(&format!(
        "[log]\nformat = \"json\"\n[http]\nlisten = \"127.0.0.1:{in_file}\"\n[rtmp]\nenabled = false\n[sfu]\nlisten = [\"127.0.0.1:0\"]"
    ));
    let flag = format!("127.0.0.1:{by_flag}");
    let data = dir.path().join("made/on/demand");
    let mut child = common::Process::start(
        env!("CARGO_BIN_EXE_headend"),
        &["serve", "-c", config.path.to_str().unwrap(), "--http", &flag, "-d", data.to_str().unwrap()],
    );
    let url = format!("http://{flag}/readyz");
    common::wait_for("the server to be ready", || common::get(&url).is_some_and(|(status, _)| status == 200), || child.output());
    assert!(common::get(&format!("http://127.0.0.1:{in_file}/readyz")).is_none(), "the file's port must not be used");
    common::signal(child.pid(), "TERM");
    assert!(child.wait(), "{}", child.output());
    assert!(data.is_dir());
    let log = child.output();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    assert!(lines.iter().any(|line| line["message"].as_str().is_some_and(|m| m.starts_with("headend is running"))), "{log}");
    assert!(lines.iter().any(|line| line["message"] == "shutting down"), "{log}");
}
