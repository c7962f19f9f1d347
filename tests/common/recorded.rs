//! What is recorded of a stream, by the API and by ffprobe.

use serde_json::Value;

use super::flv::Tag;
use super::{Server, ffprobe, get, wait_for};

/// The newest recording of a path, as the API has it.
pub(crate) fn recording(server: &Server, path: &str) -> Option<Value> {
    let (_, body) = get(&server.url("/api/v1/recordings"))?;
    let list: Value = serde_json::from_str(&body).ok()?;
    list["items"].as_array()?.iter().find(|item| item["path"] == path).cloned()
}

/// The recording's MP4, once its stream is over, in a file.
pub(crate) fn finished_mp4(server: &Server, path: &str) -> String {
    let over = || recording(server, path).is_some_and(|item| item["live"] == false);
    wait_for("the recording to end", over, || server.log());
    let url = server.url(recording(server, path).unwrap()["urls"]["mp4"].as_str().unwrap());
    let file = server.dir.path().join(format!("{}.mp4", path.replace('/', "-")));
    let file = file.to_str().unwrap().to_owned();
    assert!(std::process::Command::new("curl").args(["-sSf", "-o", &file, &url]).status().unwrap().success());
    file
}

/// Waits until more than so many seconds of a path are recorded.
pub(crate) fn wait_duration(server: &Server, path: &str, seconds: f64) {
    let long = || recording(server, path).is_some_and(|item| item["duration"].as_f64() > Some(seconds));
    wait_for("enough to be recorded", long, || server.log());
}

/// How many pictures there are among tags.
pub(crate) fn video_frames(tags: &[Tag]) -> usize {
    tags.iter().filter(|tag| tag.kind == 9 && !tag.is_header()).count()
}

/// How many packets of a kind a file has.
pub(crate) fn packets(file: &str, kind: &str) -> u64 {
    let seen = ffprobe(file);
    let stream = seen["streams"].as_array().unwrap().iter().find(|stream| stream["codec_type"] == kind).cloned().unwrap_or_default();
    stream["nb_read_packets"].as_str().map_or(0, |count| count.parse().unwrap())
}
