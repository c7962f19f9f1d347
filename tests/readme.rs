//! Every command of the README is run, or says why not; every other block is read by what it is written for.
//!
//! A comment before a block says how: `<!-- test -->` (runs and succeeds), `<!-- test: publishes PATH -->` (makes PATH live and stays),
//! `<!-- test: plays -->` (each line is a player that decodes something), `<!-- test: page -->` (plays in Chromium),
//! `<!-- test: nginx -->` (nginx with it forwards to headend), `<!-- not tested: REASON -->`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

use std::path::Path;
use std::process::Command;

use common::nginx::Nginx;
use headend::app::{self, Config};

mod common;

#[derive(Debug, Clone)]
struct Block {
    line: usize,
    language: String,
    /// What the comment before it says; empty without one.
    how: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let mut out: Vec<Block> = Vec::new();
    let (mut how, mut open) = (String::new(), None::<Block>);
    for (index, line) in readme.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block { line: index + 1, language: language.to_owned(), how: std::mem::take(&mut how), text: String::new() });
            }
            (Some(_), Some(_)) => out.extend(open.take()),
            (Some(block), None) => block.text += &format!("{line}\n"),
            (None, None) if !line.is_empty() => {
                how = line.strip_prefix("<!-- ").and_then(|l| l.strip_suffix(" -->")).unwrap_or_default().to_owned();
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block of the README is not closed");
    out
}

fn blocks_in(language: &str) -> Vec<Block> {
    let found: Vec<_> = blocks().into_iter().filter(|block| block.language == language).collect();
    assert!(!found.is_empty(), "the README has no {language} block");
    found
}

/// The block as this machine's test server can be asked: other ports, the same words.
fn adapted(text: &str, server: &common::Server) -> String {
    text.replace("localhost:8080", &format!("127.0.0.1:{}", server.http))
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", server.http))
        .replace("localhost:1935", &format!("127.0.0.1:{}", server.rtmp))
}

/// Players that need no screen, end by themselves, and are not root (VLC refuses to be): found before the real ones.
fn shims(dir: &Path) -> String {
    let path = std::env::var("PATH").unwrap();
    let shim = |name: &str, body: &str| {
        let file = dir.join(name);
        std::fs::write(&file, format!("#!/usr/bin/env bash\nPATH={path:?}\n{body}\n")).unwrap();
        assert!(Command::new("chmod").arg("755").arg(&file).status().unwrap().success());
    };
    // ffplay has no end for a live stream; what it decoded stands in its last words.
    shim(
        "ffplay",
        "said=$(SDL_VIDEODRIVER=dummy SDL_AUDIODRIVER=dummy timeout -s INT 5 ffplay -hide_banner \"$@\" 2>&1)\n\
         [[ $said == *'Video: h264'* && $said == *'A-V:'* ]] || { echo \"ffplay: $said\" >&2; exit 1; }",
    );
    shim(
        "mpv",
        "said=$(timeout 30 mpv --no-config --vo=null --ao=null --length=2 \"$@\" 2>&1) && [[ $said == *'VO: [null]'* ]] \
         || { echo \"mpv: $said\" >&2; exit 1; }",
    );
    shim(
        "vlc",
        "as=(); [ \"$(id -u)\" != 0 ] || as=(runuser -u nobody --)\n\
         said=$(timeout 40 \"${as[@]}\" env HOME=/tmp vlc -I dummy --vout dummy --aout dummy --run-time=3 --play-and-exit -vv \"$@\" vlc://quit 2>&1)\n\
         [[ $said == *'using video decoder module'* ]] || { echo \"vlc: $said\" >&2; exit 1; }",
    );
    format!("{}:{path}", dir.display())
}

fn bash(text: &str, path: &str, dir: &Path) -> Command {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", text]).env("PATH", path).current_dir(dir);
    command
}

#[test]
fn every_command_is_tested_or_says_why_not() {
    for block in blocks_in("sh") {
        let (kind, reason) = block.how.split_once(": ").unwrap_or((&block.how, ""));
        match kind {
            "test" => {}
            "not tested" => assert!(reason.len() > 10, "README.md, line {}: why is it not tested?", block.line),
            _ => panic!("README.md, line {}: put <!-- test --> or <!-- not tested: REASON --> before it", block.line),
        }
    }
}

#[test]
fn the_commands_do_what_the_readme_says() {
    let server = common::Server::start_with("[api]\nadmin_token = \"a-long-random-text\"");
    let dir = tempfile::tempdir().unwrap();
    let shims_dir = dir.path().join("bin");
    std::fs::create_dir(&shims_dir).unwrap();
    // VLC runs as somebody else, who has to get there.
    assert!(Command::new("chmod").arg("755").arg(dir.path()).status().unwrap().success());
    let path = shims(&shims_dir);
    let mut publishers = Vec::new();
    for block in blocks().into_iter().filter(|block| block.language == "sh" || block.how == "test: page") {
        let text = adapted(&block.text, &server);
        let at = format!("README.md, line {}", block.line);
        if let Some(stream) = block.how.strip_prefix("test: publishes ") {
            // `exec`, so that the encoder itself is ended at the end, and not only the shell around it.
            publishers.push(common::Process::start("bash", &["-c", &format!("exec {text}")]));
            server.wait_live(stream, 1);
            continue;
        }
        match block.how.as_str() {
            "test" | "test: plays" => {
                let out = bash(&text, &path, dir.path()).output().unwrap();
                let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
                assert!(out.status.success(), "{at}\n{text}\n{said}");
                // curl succeeds whatever the server answers; an error of ours is JSON with a code.
                assert!(!said.contains("{\"error\":"), "{at}\n{text}\n{said}");
            }
            "test: page" => {
                let page = dir.path().join("page.html");
                std::fs::write(&page, format!("<!doctype html>\n{text}")).unwrap();
                let seen = common::node("embed.mjs", &[page.to_str().unwrap(), &server.url(""), "live/cam1", "2"]);
                assert!(seen["played"].as_f64() > Some(1.0) && seen["errors"] == serde_json::json!([]), "{at}: {seen:#}");
            }
            _ => {}
        }
    }
    // The addresses that the text names beside the commands.
    let id = server.api("/api/v1/recordings")["items"][0]["id"].as_str().unwrap().to_owned();
    for page in ["/", "/live/cam1/", "/live/cam2/publish", &format!("/vod/{id}/")] {
        let (status, head, _) = common::request("GET", &server.url(page), &[]).unwrap();
        assert!(status == 200 && head.contains("content-type: text/html"), "{page}: {head}");
    }
    let recording = common::ffprobe(dir.path().join("cam1.mp4").to_str().unwrap());
    assert_eq!(recording["streams"].as_array().map(Vec::len), Some(2), "{recording:#}");
}

#[test]
fn the_configurations_are_good() {
    for block in blocks_in("toml") {
        app::load_text(&block.text, "README.md").unwrap_or_else(|error| panic!("line {}: {error}", block.line));
    }
}

#[test]
fn the_ports_are_the_defaults() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let config = Config::default();
    for (port, protocol) in [(config.rtmp.listen.port(), "tcp"), (config.http.listen.port(), "tcp"), (config.sfu.listen[0].port(), "udp")] {
        assert!(readme.contains(&format!("| {port}/{protocol} |")), "the table of ports lacks {port}/{protocol}");
    }
}

#[test]
fn linked_files_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/security.md", "samples/obs.md"] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        let base = root.join(document).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !target.contains("://") {
                assert!(base.join(file).exists(), "{document} links to {target}, which is not there");
            }
        }
    }
}

#[test]
fn the_map_shows_every_module_and_nothing_that_is_not_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    for entry in std::fs::read_dir(root.join("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(map.contains(&format!("`{}`", name.trim_end_matches("lib.rs"))) || name == "lib.rs", "docs/architecture.md lacks {name}");
    }
    // What stands in backticks with a slash and an ending is a file: from the root, below src, or with a star in it.
    for name in map.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs") && name.contains('/') && !name.contains(['*', ' '])) {
        assert!(root.join(name).exists() || root.join("src").join(name).exists(), "docs/architecture.md names {name}, which is not there");
    }
}

#[test]
fn nginx_in_front_as_the_readme_says() {
    let server = common::Server::start();
    let _publisher = common::publish(&server.rtmp_url("live/cam1"), common::Source::default());
    server.wait_live("live/cam1", 2);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (cert, key) = (at("cert.pem"), at("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=live.example.net",
            "-days",
            "2",
        ])
        .args(["-keyout", &key, "-out", &cert])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = common::free_port();
    let block = blocks_in("nginx").remove(0);
    assert_eq!(block.how, "test: nginx");
    let site = adapted(&block.text, &server)
        .replace("listen 443 ", &format!("listen 127.0.0.1:{port} "))
        .replace("/etc/letsencrypt/live/live.example.net/fullchain.pem", &cert)
        .replace("/etc/letsencrypt/live/live.example.net/privkey.pem", &key);
    assert!(site.contains(&cert) && site.contains(&key) && site.contains(&port.to_string()));
    let nginx = Nginx::start(&site);
    let resolve = format!("live.example.net:{port}:127.0.0.1");
    let ask = |method: &str, path: &str, more: &[&str]| {
        let args = [&["-k", "--resolve", &resolve], more].concat();
        common::request(method, &format!("https://live.example.net:{port}{path}"), &args)
    };
    let ready = || ask("GET", "/readyz", &[]).is_some_and(|(status, _, _)| status == 200);
    common::wait_for("nginx", ready, || nginx.output());

    let (status, _, playlist) = ask("GET", "/live/cam1/index.m3u8", &[]).unwrap();
    assert_eq!(status, 200);
    assert!(String::from_utf8_lossy(&playlist).contains("#EXT-X-STREAM-INF"));
    let (status, _, part) = ask("GET", "/live/cam1/v.m3u8", &[]).unwrap();
    assert!(status == 200 && String::from_utf8_lossy(&part).contains("#EXT-X-PART:"));
    // Sessions are named without the server's own address, which nobody outside could use.
    let (status, head, _) = ask("OPTIONS", "/live/cam1/whep", &[]).unwrap();
    assert!((200..300).contains(&status), "{head}");
}

#[test]
fn the_demonstration_answers_at_every_address_it_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let ports = [common::free_port(), common::free_port(), common::free_port()].map(|port| port.to_string());
    let demo = |http: &str| {
        Command::new("timeout")
            .args(["100", root.join("scripts/demo.sh").to_str().unwrap()])
            .env("HEADEND_BIN", env!("CARGO_BIN_EXE_headend"))
            .env("DEMO_DATA", dir.path())
            .env("DEMO_ONESHOT", "1")
            .envs([("DEMO_HTTP_PORT", http), ("DEMO_RTMP_PORT", &ports[1]), ("DEMO_MEDIA_PORT", &ports[2])])
            .output()
            .unwrap()
    };
    let out = demo(&ports[0]);
    let (said, complaints) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said}\n{complaints}");
    for line in ["/live/cam1/index.m3u8", "/live/cam1/manifest.mpd", "/live/cam1/whep", "/live/cam2/publish", "Stream key   cam3"] {
        assert!(said.contains(line), "{said}");
    }
    // Nothing is left running: the ports are free again.
    for port in &ports {
        assert!(std::net::TcpListener::bind(format!("127.0.0.1:{port}")).is_ok(), "port {port} is still taken");
    }

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let out = demo(&port);
    let complaints = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && complaints.contains(&format!("port {port} is taken")), "{complaints}");
}
