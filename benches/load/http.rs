//! Delivery of a live playlist and of segments, beside nginx with the same bytes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::Result;
use crate::hls::Reader;
use crate::media::{self, Media};
use crate::proc::CpuSample;
use crate::publish::Publishers;
use crate::report::{Report, Target};
use crate::server::Server;

/// Until there are segments to fetch.
const WARM_UP: Duration = Duration::from_secs(7);
/// Connections for playlists, and for segments.
const CONNECTIONS: [(&str, u32); 2] = [("playlist", 100), ("segment", 20)];

/// The scenario.
pub(crate) async fn run(seconds: u64) -> Result<Report> {
    let media = Arc::new(Media::load(media::LARGE)?);
    let server = Server::start(false).await?;
    let publishers = Publishers::new()?;
    publishers.publish(server.rtmp, "bench", &media, None).await?;
    let reader = Reader::open(server.url("live/bench/")).await?;
    sleep(WARM_UP).await;
    let segment = reader.segments().await?.pop().ok_or("no segment yet")?;
    let files = server.dir().join("www");
    std::fs::create_dir_all(&files)?;
    std::fs::write(files.join("playlist"), reader.playlist().await?)?;
    let bytes = reader.get(&segment).await?;
    std::fs::write(files.join("segment"), &bytes)?;
    let nginx = Nginx::start(&files)?;
    sleep(Duration::from_millis(300)).await;

    let mut report = Report::default();
    // What the live stream costs by itself in that time is not delivery's.
    let before = server.cpu();
    sleep(Duration::from_secs(2)).await;
    let idle = server.cpu().since(&before).server() / 2;
    for (what, connections) in CONNECTIONS {
        let ours = if what == "playlist" { reader.playlist_url() } else { segment.clone() };
        let before = server.cpu();
        let requests = wrk(&ours, connections, seconds).await?;
        let spent = server.cpu().since(&before).server().saturating_sub(idle * seconds as u32);
        let ours = requests / spent.as_secs_f64();
        let before = CpuSample::take(nginx.pid());
        let requests = wrk(&format!("http://{}/{what}", nginx.address), connections, seconds).await?;
        let theirs = requests / CpuSample::take(nginx.pid()).since(&before).total().as_secs_f64();
        let size = if what == "playlist" { String::new() } else { format!(" of {:.2} MB", bytes.len() as f64 / 1e6) };
        report.add(&format!("HTTP: {what}{size}, requests per CPU-second"), ours, "", Target::None);
        report.add(&format!("HTTP: {what}{size}, nginx"), theirs, "", Target::None);
        report.add(&format!("HTTP: {what}{size}, times nginx"), ours / theirs, "", Target::AtLeast(1.0));
    }
    Ok(report)
}

/// Requests answered within `seconds`.
async fn wrk(url: &str, connections: u32, seconds: u64) -> Result<f64> {
    let (connections, duration) = (connections.to_string(), format!("{seconds}s"));
    let output = tokio::process::Command::new("wrk")
        .args(["-t", "1", "-c", &connections, "-d", &duration, url])
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("can't run wrk (apt-get install wrk): {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(errors) = text.lines().find(|line| line.contains("Non-2xx")) {
        return Err(format!("{url}: {errors}").into());
    }
    let line = text.lines().find_map(|line| line.trim().split_once(" requests in "));
    line.and_then(|(count, _)| count.trim().parse().ok()).ok_or_else(|| format!("wrk said nothing about {url}:\n{text}").into())
}

/// nginx with one worker and a folder.
struct Nginx {
    child: Child,
    address: SocketAddr,
}

impl Nginx {
    fn start(files: &Path) -> Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let dir = files.parent().unwrap_or(files);
        let user = if std::fs::read_to_string("/proc/self/loginuid").is_ok() { "user root;" } else { "" };
        let config = format!(
            "daemon off; {user} worker_processes 1; pid {0}/nginx.pid; error_log {0}/nginx.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; open_file_cache max=100; default_type video/mp4;\n\
             client_body_temp_path {0}/t1; proxy_temp_path {0}/t2; fastcgi_temp_path {0}/t3; uwsgi_temp_path {0}/t4; scgi_temp_path {0}/t5;\n\
             server {{ listen {address}; root {1}; }} }}\n",
            dir.display(),
            files.display()
        );
        let path = dir.join("nginx.conf");
        std::fs::write(&path, config)?;
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&path)
            .args(["-p", &dir.display().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("can't run nginx (apt-get install nginx-light): {error}"))?;
        Ok(Self { child, address })
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // TERM, so that it ends its worker too.
        let _ = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        let _ = self.child.wait();
    }
}
