//! The samples are true: the configuration is the code's, key by key, and the scripts and the page run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use headend::app::{self, Config};
use serde_json::Value;

mod common;

/// No field has this name: asking for it makes the loader list those there are.
const NO_SUCH_KEY: &str = "qqqqqqqqqqqqqqqqqqqq";

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name)
}

/// The sample configuration, and the same with its commented-out keys: lines that begin with `#` and no space behind it.
fn configuration() -> (String, String) {
    let text = std::fs::read_to_string(sample("headend.toml")).unwrap();
    let mut all = String::new();
    for line in text.lines() {
        let is_key = line.starts_with('#') && !line.starts_with("# ") && line != "#";
        writeln!(all, "{}", if is_key { &line[1..] } else { line }).unwrap();
    }
    // Where the examples at the end are used, the empty lists of the same names have to go, as the file says.
    for list in ["publish_keys = []\n", "viewer_tokens = []\n", "ice_servers = []\n"] {
        assert!(all.contains(list));
        all = all.replace(list, "");
    }
    (text, all)
}

/// Every key of a value as `section.key`, with the keys of the first element of a list of tables as `section.key[].inner`.
fn keys(value: &Value, prefix: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                keys(inner, &if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") }, out);
            }
        }
        Value::Array(items) if items.first().is_some_and(Value::is_object) => {
            out.insert(prefix.to_owned());
            keys(&items[0], &format!("{prefix}[]"), out);
        }
        _ => {
            out.insert(prefix.to_owned());
        }
    }
}

fn keys_of_toml(text: &str) -> BTreeSet<String> {
    let value: Value = toml_edit::de::from_str(text).unwrap();
    let mut out = BTreeSet::new();
    keys(&value, "", &mut out);
    out
}

/// The keys the code knows, asked from the loader itself: also those that are left out of the defaults because they have none.
fn keys_of_code() -> BTreeSet<String> {
    let known = |text: &str| -> Vec<String> {
        let error = app::load_text(text, "the question").unwrap_err().to_string();
        let list = error.split("known here: ").nth(1).unwrap_or_else(|| panic!("the loader lists what it knows: {error}"));
        list.lines().next().unwrap().split(", ").map(str::to_owned).collect()
    };
    let defaults = serde_json::to_value(Config::default()).unwrap();
    let mut out = BTreeSet::new();
    for name in known(&format!("{NO_SUCH_KEY} = 1")) {
        match defaults[&name].is_object() {
            true => out.extend(known(&format!("[{name}]\n{NO_SUCH_KEY} = 1")).into_iter().map(|key| format!("{name}.{key}"))),
            false => {
                out.insert(name);
            }
        }
    }
    let lists = ["stream.publish_keys", "stream.viewer_tokens", "webrtc.ice_servers"];
    for list in lists {
        out.extend(known(&format!("[[{list}]]\n{NO_SUCH_KEY} = 1")).into_iter().map(|key| format!("{list}[].{key}")));
    }
    out
}

#[test]
fn the_configuration_has_every_key_and_no_other() {
    let (_, all) = configuration();
    let (file, code) = (keys_of_toml(&all), keys_of_code());
    let missing: Vec<_> = code.difference(&file).collect();
    let unknown: Vec<_> = file.difference(&code).collect();
    assert!(missing.is_empty(), "samples/headend.toml lacks {missing:?}; add each with its default and a comment");
    assert!(unknown.is_empty(), "samples/headend.toml has {unknown:?}, which the code does not know");
}

#[test]
fn the_configuration_says_the_defaults() {
    let config: Config = app::load(Some(&sample("headend.toml"))).unwrap();
    let (file, code) = (serde_json::to_value(&config).unwrap(), serde_json::to_value(Config::default()).unwrap());
    for (section, values) in code.as_object().unwrap() {
        match values.as_object() {
            Some(values) => {
                for (key, value) in values {
                    assert_eq!(&file[section][key], value, "samples/headend.toml: {section}.{key}");
                }
            }
            None => assert_eq!(&file[section], values, "samples/headend.toml: {section}"),
        }
    }
    assert_eq!(file, code);
}

#[test]
fn the_commented_out_keys_are_good_too() {
    let (_, all) = configuration();
    let config: Config = app::load_text(&all, "samples/headend.toml").unwrap();
    assert_eq!((config.stream.publish_keys.len(), config.stream.viewer_tokens.len(), config.webrtc.ice_servers.len()), (1, 1, 1));
}

#[test]
fn every_key_has_a_comment() {
    let (text, _) = configuration();
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let is_key = line.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'));
        // `takeover_silence` is explained together with the key above it.
        if is_key && !line.starts_with("takeover_silence") {
            assert!(index > 0 && lines[index - 1].starts_with("# "), "samples/headend.toml, line {}: {line} has no comment", index + 1);
        }
    }
}

/// Runs a sample script against a server until its stream is live.
fn script_publishes(script: &str) {
    let server = common::Server::start();
    let path = format!("live/{}", script.replace('.', "-"));
    let url = server.rtmp_url(&path);
    let mut publisher = common::Process::start("bash", &[sample(script).to_str().unwrap(), &url]);
    server.wait_live(&path, 2);
    let info = server.api(&format!("/api/v1/streams/{path}"));
    let tracks = info["tracks"].as_array().unwrap();
    assert_eq!(tracks.iter().map(|track| track["codec"].as_str().unwrap()).collect::<BTreeSet<_>>(), BTreeSet::from(["aac", "h264"]));
    assert!(tracks.iter().all(|track| track["b_frames"] == false), "{info:#}");
    // `exec` in the scripts makes this the encoder itself.
    common::signal(publisher.pid(), "INT");
    publisher.wait();
    assert_eq!(info["publisher"]["protocol"], "rtmp");
}

#[test]
fn ffmpeg_sh_publishes() {
    script_publishes("ffmpeg.sh");
}

#[test]
fn gstreamer_sh_publishes() {
    script_publishes("gstreamer.sh");
}

/// In Chromium: by WebRTC, and by hls.js where WebRTC is not to be had.
#[test]
fn player_html_plays_both_ways() {
    let server = common::Server::start();
    let _publisher = common::publish(&server.rtmp_url("live/cam1"), common::Source::default());
    server.wait_live("live/cam1", 2);
    for (mode, by) in [("", "WebRTC"), ("block-webrtc", "HLS")] {
        let seen = common::node("embed.mjs", &[sample("player.html").to_str().unwrap(), &server.url(""), "live/cam1", "2", mode]);
        assert!(seen["played"].as_f64() > Some(1.0), "{by}: {seen:#}\n{}", server.log());
        assert!(seen["text"].as_str().is_some_and(|text| text.contains(by)), "{seen:#}");
        assert_eq!(seen["errors"], serde_json::json!([]), "{seen:#}");
    }
}

#[test]
fn obs_md_says_what_the_server_takes() {
    let text = std::fs::read_to_string(sample("obs.md")).unwrap();
    let config = Config::default();
    assert!(text.contains(&format!("rtmp://localhost:{}/live", config.rtmp.listen.port())));
    assert!(text.contains(&format!("http://localhost:{}/live/cam1/", config.http.listen.port())));
}

#[test]
fn shell_scripts_are_well_formed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for script in ["samples/ffmpeg.sh", "samples/gstreamer.sh", "scripts/demo.sh", "scripts/setup.sh"] {
        let out = Command::new("bash").arg("-n").arg(root.join(script)).output().unwrap();
        assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    }
}
