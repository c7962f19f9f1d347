//! Names that players, crawlers and people ask for, and what they mean here.
//!
//! In: the path of a URL that is none of ours. Out: whether it can be a stream's page at all, and where the playlist or manifest is that
//! other servers have under such a name. A stream's name may have dots too, so whoever asks looks first whether there is such a stream.

use crate::base::StreamPath;
use crate::package::MediaName;

pub(super) const PLAYLIST: &str = "index.m3u8";
pub(super) const MANIFEST: &str = "manifest.mpd";

/// Extensions, in lower case, of files that are no stream: a player that gets a page in their place says nothing that helps.
const EXTENSIONS: &str = " \
    m3u8 m3u mpd m4s m4f m4i m4a m4v mp4 cmfv cmfa cmft cmf ts m2ts mts tsv tsa aac ac3 ec3 eac3 mp3 ogg oga ogv opus wav flac flv f4v f4m f4s f4f \
    webm mkv mka mov qt avi wmv wma asf mpg mpeg 3gp 3g2 ism isml ismc ismv smil sdp pls asx xspf mjpeg mjpg \
    jpg jpeg png gif webp avif bmp svg ico tif tiff vtt srt ttml dfxp key pem crt \
    html htm xhtml shtml mhtml php php3 php4 php5 php7 phtml phar asp aspx ashx asmx jsp jspx jspa do action cfm cgi fcgi pl py pyc rb sh bat ps1 lua \
    js mjs cjs jsx tsx map css scss less json jsonp xml xsl txt rss atom webmanifest appcache \
    yml yaml toml ini env conf cfg config properties log sql sqlite db mdb bak old orig save swp tmp lock md rst \
    zip gz tgz bz2 xz tar rar 7z jar war apk exe dll msi dmg iso img bin wasm pdf doc docx xls xlsx ppt pptx csv rtf \
    woff woff2 ttf otf eot swf ";

/// First segments of what crawlers look for.
const CRAWLED: [&str; 8] = ["wp-admin", "wp-content", "wp-includes", "wp-login", "cgi-bin", "phpmyadmin", "_ignition", "actuator"];

/// What a file's name below a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileName {
    /// One of ours, in the only spelling that is served.
    Ours,
    /// One of ours, but for the case of its letters.
    Cased(String),
    /// None of ours.
    Other,
}

/// Looks at the last segment of a path.
pub(super) fn file_name(name: &str) -> FileName {
    let ours = |name: &str| name == PLAYLIST || name == MANIFEST || MediaName::parse(name).is_some();
    if ours(name) {
        return FileName::Ours;
    }
    let lower = name.to_ascii_lowercase();
    if ours(&lower) { FileName::Cased(lower) } else { FileName::Other }
}

/// Whether a path that is no live stream's looks like a file's, or like what crawlers and other servers' clients ask for, rather than like
/// a stream that may come.
pub(super) fn is_no_stream(path: &str) -> bool {
    let mut segments = path.split('/');
    let last = path.rsplit('/').next().unwrap_or_default();
    let first = segments.clone().next().unwrap_or_default().to_ascii_lowercase();
    segments.any(|segment| segment.starts_with('.'))
        || has_known_extension(last)
        || last.to_ascii_lowercase().starts_with("apple-touch-icon")
        || CRAWLED.contains(&first.as_str())
        || first.strip_suffix("-login").is_some_and(|name| name == "wp")
        || path.starts_with("rtc/v1/")
}

fn has_known_extension(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, extension)| !extension.is_empty() && EXTENSIONS.contains(&format!(" {} ", extension.to_ascii_lowercase())))
}

/// Where a playlist or manifest may be that was asked for by another server's name: the stream, and the file below it, likeliest first.
pub(super) fn elsewhere(path: &str) -> Vec<(StreamPath, &'static str)> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let Some((stem, extension)) = name.rsplit_once('.') else { return Vec::new() };
    let file = match extension.to_ascii_lowercase().as_str() {
        "m3u8" | "m3u" => PLAYLIST,
        "mpd" => MANIFEST,
        _ => return Vec::new(),
    };
    // live/cam1/stream.m3u8; live/cam1.m3u8; hls/cam1.m3u8 and hls/cam1/index.m3u8, whose streams come in by another application.
    let beside = if folder.is_empty() { stem.to_owned() } else { format!("{folder}/{stem}") };
    let mut streams = vec![folder.to_owned(), beside];
    for alias in ["hls/", "dash/", "play/", "hlsll/", "memfs/"] {
        for stream in [folder, &streams[1].clone()] {
            if let Some(rest) = stream.strip_prefix(alias) {
                streams.extend([format!("live/{rest}"), rest.to_owned()]);
            }
        }
    }
    // live/cam1/hls/index.m3u8; live/hls/cam1.m3u8.
    for alias in ["/hls", "/dash", "/llhls", "/manifest"] {
        streams.extend(folder.strip_suffix(alias).map(str::to_owned));
        streams.extend(folder.strip_suffix(alias).map(|app| format!("{app}/{stem}")));
    }
    streams.iter().filter_map(|stream| StreamPath::parse(stream).ok()).map(|stream| (stream, file)).collect()
}

/// The stream that SRS's clients mean by `/rtc/v1/whep/?app=live&stream=cam1`.
pub(super) fn srs_stream(query: &str) -> Option<StreamPath> {
    let value = |wanted: &str| query.split('&').find_map(|pair| pair.strip_prefix(wanted)?.strip_prefix('='));
    StreamPath::parse(&format!("{}/{}", value("app").unwrap_or("live"), value("stream")?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_and_streams() {
        for path in [
            "favicon.ico",
            "robots.txt",
            "sitemap.xml",
            "apple-touch-icon.png",
            "apple-touch-icon-precomposed",
            "index.php",
            "live/cam1/embed.html",
            "live/cam1.flv",
            "live/cam1.FLV",
            "live/cam1/seg1.ts",
            "live/cam1/Segment-1.M4S",
            "live/cam1/thumb.JPG",
            "hls/cam1.m3u8",
            "a.webm",
            "live/cam1/Manifest.mpd",
            ".well-known/acme-challenge/x",
            ".env",
            ".git/config",
            "live/.hidden",
            "wp-login.php",
            "wp-admin/setup",
            "rtc/v1/whep",
            "rtc/v1/play",
            "cgi-bin/x",
            "live/cam1/chunklist_w123.m3u8",
            "live/cam1/index.html",
            "backup.tar.gz",
        ] {
            assert!(is_no_stream(path), "{path}");
        }
        for path in
            ["live/cam1", "cam", "live/cam.1", "live/cam1.hd", "v1.2", "10.0.0.5", "live/mp4", "live/cam1.", "live/Cam-1_x.main", "rtc/v2"]
        {
            assert!(!is_no_stream(path), "{path}");
        }
    }

    #[test]
    fn ours_in_any_case() {
        for (name, wanted) in [
            ("index.m3u8", FileName::Ours),
            ("INDEX.M3U8", FileName::Cased("index.m3u8".into())),
            ("Manifest.mpd", FileName::Cased("manifest.mpd".into())),
            ("V-12.3.M4S", FileName::Cased("v-12.3.m4s".into())),
            ("v-init-12.MP4", FileName::Cased("v-init-12.mp4".into())),
            ("stream.m3u8", FileName::Other),
            ("whep", FileName::Other),
            ("", FileName::Other),
        ] {
            assert_eq!(file_name(name), wanted, "{name}");
        }
    }

    #[test]
    fn other_servers_names() {
        for (path, wanted) in [
            ("live/cam1/stream.m3u8", "live/cam1/index.m3u8"),
            ("live/cam1/playlist.M3U8", "live/cam1/index.m3u8"),
            ("live/cam1.m3u8", "live/cam1/index.m3u8"),
            ("live/cam.1.m3u8", "live/cam.1/index.m3u8"),
            ("cam1.m3u8", "cam1/index.m3u8"),
            ("live/cam1.mpd", "live/cam1/manifest.mpd"),
            ("live/cam1/stream.mpd", "live/cam1/manifest.mpd"),
            ("hls/cam1.m3u8", "live/cam1/index.m3u8"),
            ("hls/cam1/index.m3u8", "live/cam1/index.m3u8"),
            ("hls/live/cam1.m3u8", "live/cam1/index.m3u8"),
            ("dash/cam1.mpd", "live/cam1/manifest.mpd"),
            ("live/cam1/hls/index.m3u8", "live/cam1/index.m3u8"),
            ("live/hls/cam1.m3u8", "live/cam1/index.m3u8"),
        ] {
            assert!(elsewhere(path).iter().any(|(stream, file)| format!("{stream}/{file}") == wanted), "{path} {:?}", elsewhere(path));
        }
        for path in ["live/cam1.flv", "live/cam1", "api/x.m3u8", "../x.m3u8", "", ".m3u8"] {
            assert!(elsewhere(path).iter().all(|(stream, _)| !stream.as_str().starts_with("api")), "{path}");
        }
        assert_eq!(elsewhere("live/cam1.flv"), []);
        assert_eq!(srs_stream("app=live&stream=cam1&x").unwrap().as_str(), "live/cam1");
        assert_eq!(srs_stream("stream=cam1").unwrap().as_str(), "live/cam1");
        assert_eq!(srs_stream("app=..&stream=cam1"), None);
    }

    proptest! {
        #[test]
        fn any_path_is_taken(path: String) {
            let _ = (is_no_stream(&path), elsewhere(&path), file_name(&path), srs_stream(&path));
        }
    }
}
