//! samples/obs.md with OBS itself, on a screen that is not there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

mod common;

/// A profile as OBS writes it, with the fields of samples/obs.md. `encoder` is OBS's own defaults where it is empty.
fn configure(home: &Path, server: &str, key: &str, encoder: &Value) {
    let config = home.join(".config/obs-studio");
    let profile = config.join("basic/profiles/Test");
    let scenes = config.join("basic/scenes");
    fs::create_dir_all(&profile).unwrap();
    fs::create_dir_all(&scenes).unwrap();
    // FirstRun: the assistant for first-time users has been seen.
    let global = "[General]\nFirstRun=true\nLastVersion=486539266\nInfoIncrement=100\nEnableAutoUpdates=false\n\
                  [Basic]\nProfile=Test\nProfileDir=Test\nSceneCollection=Test\nSceneCollectionFile=Test\n";
    fs::write(config.join("global.ini"), global).unwrap();
    let basic = "[General]\nName=Test\n[Video]\nBaseCX=640\nBaseCY=360\nOutputCX=640\nOutputCY=360\nFPSType=0\nFPSCommon=30\n\
                 [Output]\nMode=Advanced\n[AdvOut]\nEncoder=obs_x264\nTrackIndex=1\n[Audio]\nSampleRate=48000\nChannelSetup=Stereo\n";
    fs::write(profile.join("basic.ini"), basic).unwrap();
    let service = json!({ "type": "rtmp_custom", "settings": { "server": server, "key": key, "use_auth": false } });
    fs::write(profile.join("service.json"), service.to_string()).unwrap();
    fs::write(profile.join("streamEncoder.json"), encoder.to_string()).unwrap();
    let scene = json!({
        "name": "Test", "current_scene": "Scene", "current_program_scene": "Scene", "scene_order": [{ "name": "Scene" }],
        "sources": [
            { "id": "scene", "name": "Scene", "settings": { "id_counter": 1, "items": [{ "name": "Colour", "id": 1, "visible": true,
                "pos": { "x": 0, "y": 0 }, "scale": { "x": 1, "y": 1 } }] } },
            { "id": "color_source_v3", "versioned_id": "color_source_v3", "name": "Colour",
                "settings": { "color": 4_278_255_360_u32, "width": 640, "height": 360 } },
        ],
    });
    fs::write(scenes.join("Test.json"), scene.to_string()).unwrap();
}

/// OBS streaming from the start; Xvfb ends after it.
struct Obs {
    obs: common::Process,
    _screen: common::Process,
}

fn start(home: &Path) -> Obs {
    let screen = common::Process::start("Xvfb", &["-displayfd", "2", "-screen", "0", "1024x768x24", "-nolisten", "tcp"]);
    let number = || screen.output().lines().find_map(|line| line.trim().parse::<u32>().ok());
    common::wait_for("Xvfb", || number().is_some(), || screen.output());
    let display = format!("DISPLAY=:{}", number().unwrap());
    let home = format!("HOME={}", home.display());
    let more = ["LIBGL_ALWAYS_SOFTWARE=1", "obs", "--startstreaming", "--profile", "Test", "--collection", "Test", "--multi"];
    let last = ["--disable-updater", "--disable-missing-files-check"];
    // `env` becomes OBS, so that it is OBS that is ended.
    let args: Vec<&str> = ["-u", "XDG_CONFIG_HOME", display.as_str(), &home].into_iter().chain(more).chain(last).collect();
    Obs { obs: common::Process::start("env", &args), _screen: screen }
}

#[test]
fn obs_publishes_as_the_sample_says() {
    let sample = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/obs.md")).unwrap();
    for word in ["`rtmp://localhost:1935/live`", "`cam1?token=KEY`", "`2 s`", "`zerolatency`", "`main`"] {
        assert!(sample.contains(word), "this test is about {word}, which samples/obs.md no longer says");
    }
    let server = common::Server::start_with("[[stream.publish_keys]]\npaths = \"live/*\"\nsecret = \"KEY\"");
    let home = tempfile::tempdir().unwrap();
    let encoder =
        json!({ "rate_control": "CBR", "bitrate": 2500, "keyint_sec": 2, "preset": "veryfast", "profile": "main", "tune": "zerolatency" });
    configure(home.path(), &server.rtmp_url("live"), "cam1?token=KEY", &encoder);
    let obs = start(home.path());
    common::wait_for("OBS to connect", || server.log().contains("stream started"), || format!("{}\n{}", obs.obs.output(), server.log()));
    server.wait_live("live/cam1", 2);
    // Three key frames: two whole distances between them.
    let info = || server.api("/api/v1/streams/live/cam1");
    let video = || info()["tracks"].as_array().unwrap().iter().find(|track| track["kind"] == "video").cloned().unwrap();
    common::wait_for("three key frames", || video()["key_frames"].as_u64() >= Some(3), || format!("{:#}", info()));
    let (video, info) = (video(), info());
    assert_eq!((&video["codec"], &video["width"], &video["b_frames"]), (&json!("h264"), &json!(640), &json!(false)));
    assert!(info["tracks"].as_array().unwrap().iter().any(|track| track["codec"] == "aac"));
    assert_eq!(info["warnings"], json!([]), "{info:#}");
    let (_, playlist) = common::get(&server.url("/live/cam1/v.m3u8")).unwrap();
    assert!(playlist.contains("#EXT-X-TARGETDURATION:4\n"), "twice segment_duration, whatever OBS sends: {playlist}");
}

#[test]
fn obs_with_its_own_defaults_is_told_what_to_change() {
    let server = common::Server::start();
    let home = tempfile::tempdir().unwrap();
    configure(home.path(), &server.rtmp_url("live"), "cam1", &json!({ "rate_control": "CBR", "bitrate": 2500 }));
    let obs = start(home.path());
    common::wait_for("OBS to connect", || server.log().contains("stream started"), || format!("{}\n{}", obs.obs.output(), server.log()));
    server.wait_live("live/cam1", 2);
    let warnings = || server.api("/api/v1/streams/live/cam1")["warnings"].to_string();
    let told = || warnings().contains("\"b_frames\"") && warnings().contains("\"key_frame_interval\"");
    common::wait_for("both warnings", told, || format!("{}\n{}", warnings(), server.log()));
}
