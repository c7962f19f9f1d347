//! The server under test: the release binary with its own configuration, ports and folder, ended with the value.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Result, proc};

/// How long it gets to become ready: the first start on a machine has to scan GStreamer's plugins.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long it gets to end; it promises five seconds.
const END_WITHIN: Duration = Duration::from_secs(8);

/// A running server.
pub(crate) struct Server {
    child: Child,
    /// Pages, WHEP, HLS.
    pub(crate) http: SocketAddr,
    /// RTMP.
    pub(crate) rtmp: SocketAddr,
    dir: tempfile::TempDir,
}

/// Where the binary is: `HEADEND`, or beside this one.
pub(crate) fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HEADEND") {
        return Ok(path.into());
    }
    let here = std::env::current_exe()?;
    // target/release/deps/load-…
    let path = here.ancestors().nth(2).unwrap_or(Path::new(".")).join("headend");
    if path.exists() { Ok(path) } else { Err(format!("{} is not there: cargo build --release first", path.display()).into()) }
}

fn free_port() -> Result<u16> {
    // Free for TCP and UDP alike; both are used for media.
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = tcp.local_addr()?.port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
}

impl Server {
    /// Starts it with the defaults, but for ports and folder and whether it records.
    pub(crate) async fn start(recording: bool) -> Result<Self> {
        Self::start_binary(&binary()?, recording).await
    }

    /// The same of another headend.
    pub(crate) async fn start_binary(binary: &Path, recording: bool) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (http, rtmp, media) = (local(free_port()?), local(free_port()?), local(free_port()?));
        let config = dir.path().join("headend.toml");
        let data = dir.path().join("data");
        std::fs::write(
            &config,
            format!(
                "data_dir = {data:?}\n[log]\nlevel = \"warn\"\n[http]\nlisten = \"{http}\"\n[rtmp]\nlisten = \"{rtmp}\"\n[sfu]\nlisten = [\"{media}\"]\n[record]\nenabled = {recording}\n"
            ),
        )?;
        let log = std::fs::File::create(dir.path().join("log"))?;
        let child = Command::new(binary)
            .args(["serve", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("can't start headend: {error}"))?;
        let mut server = Self { child, http, rtmp, dir };
        server.wait_until_ready().await?;
        Ok(server)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        let url = self.url("readyz");
        loop {
            if reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                return Err(format!("headend did not become ready:\n{}", self.log()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What it logged, warnings and worse.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A URL on it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.http)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time so far.
    pub(crate) fn cpu(&self) -> proc::CpuSample {
        proc::CpuSample::take(self.pid())
    }

    /// Its scratch folder, for whoever needs one as long as it runs.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        let deadline = Instant::now() + END_WITHIN;
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
