//! A reader of LL-HLS: blocking reloads of one media playlist, and the parts as they come.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::Result;

/// Longest wait for a stream to appear.
const BEGINS_WITHIN: Duration = Duration::from_secs(15);

/// A reader of one track.
pub(crate) struct Reader {
    http: reqwest::Client,
    base: String,
    playlist: String,
    /// Media sequence number and part of the newest part seen.
    newest: (u64, usize),
    /// The same of the one to ask for.
    wanted: (u64, usize),
}

/// The newest part of a playlist: its number, its index and its URI. Who comes in gets the parts of a whole segment as ranges of it.
fn newest_part(text: &str) -> Option<(u64, usize, &str)> {
    let parts = || text.lines().filter(|line| line.starts_with("#EXT-X-PART:")).filter_map(uri_of);
    let uri = parts().next_back()?;
    let name = uri.strip_suffix(".m4s")?.rsplit_once('-')?.1;
    let (number, part) = match name.split_once('.') {
        Some((number, part)) => (number, part.parse().ok()?),
        None => (name, parts().filter(|other| *other == uri).count() - 1),
    };
    Some((number.parse().ok()?, part, uri))
}

/// The part that follows, as a player asks for it: of the next segment where that of `newest` is listed as a whole.
fn wanted_after(text: &str, (number, part): (u64, usize)) -> (u64, usize) {
    let whole = format!("-{number}.m4s");
    if text.lines().any(|line| !line.starts_with('#') && line.ends_with(&whole)) { (number + 1, 0) } else { (number, part + 1) }
}

fn uri_of(line: &str) -> Option<&str> {
    line.split_once("URI=\"")?.1.split('"').next()
}

impl Reader {
    /// Waits for `path` (a base URL, with the slash) to be live, and takes its first variant.
    pub(crate) async fn open(base: String) -> Result<Self> {
        let http = reqwest::Client::new();
        let deadline = Instant::now() + BEGINS_WITHIN;
        loop {
            let answer = http.get(format!("{base}index.m3u8")).send().await?;
            if answer.status().is_success() {
                let text = answer.text().await?;
                let playlist = text.lines().find(|line| !line.is_empty() && !line.starts_with('#'));
                if let Some(playlist) = playlist.map(str::to_owned) {
                    let text = http.get(format!("{base}{playlist}")).send().await?.text().await?;
                    if let Some((number, part, _)) = newest_part(&text) {
                        let wanted = wanted_after(&text, (number, part));
                        return Ok(Self { http, base, playlist, newest: (number, part), wanted });
                    }
                }
            }
            if Instant::now() > deadline {
                return Err(format!("{base}index.m3u8 did not become playable").into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The playlist's URL.
    pub(crate) fn playlist_url(&self) -> String {
        format!("{}{}", self.base, self.playlist)
    }

    /// The playlist now.
    pub(crate) async fn playlist(&self) -> Result<String> {
        Ok(self.http.get(self.playlist_url()).send().await?.error_for_status()?.text().await?)
    }

    /// Waits for the next part, as players do, and fetches it.
    pub(crate) async fn next_part(&mut self) -> Result<Bytes> {
        loop {
            let (number, part) = self.wanted;
            let url = format!("{}?_HLS_msn={number}&_HLS_part={part}", self.playlist_url());
            let text = self.http.get(url).send().await?.error_for_status()?.text().await?;
            let (number, part, uri) = newest_part(&text).ok_or("a live playlist without parts")?;
            let (asked, newest) = (self.wanted, (number, part));
            self.wanted = wanted_after(&text, newest);
            if newest > self.newest {
                self.newest = newest;
                return Ok(self.http.get(format!("{}{uri}", self.base)).send().await?.error_for_status()?.bytes().await?);
            }
            if self.wanted == asked {
                return Err(format!("the playlist was sent without the part {}.{} that was asked for", asked.0, asked.1).into());
            }
            // The segment has ended with the part seen last: on to the next one's first.
        }
    }

    /// URLs of the whole segments listed, oldest first.
    pub(crate) async fn segments(&self) -> Result<Vec<String>> {
        let text = self.playlist().await?;
        let uris = text.lines().filter(|line| !line.starts_with('#') && line.ends_with(".m4s"));
        Ok(uris.map(|uri| format!("{}{uri}", self.base)).collect())
    }

    /// Bytes of everything listed.
    pub(crate) async fn held_bytes(&self) -> Result<u64> {
        let mut sum = 0;
        for url in self.segments().await? {
            sum += self.http.get(url).send().await?.bytes().await?.len() as u64;
        }
        Ok(sum)
    }

    /// Fetches something.
    pub(crate) async fn get(&self, url: &str) -> Result<Bytes> {
        Ok(self.http.get(url).send().await?.error_for_status()?.bytes().await?)
    }
}
