//! nginx to compare with: files by HTTP, or RTMP into HLS.
//!
//! In: a folder. Out: a running nginx with one worker, ended with the value.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Result;
use crate::proc::CpuSample;

/// Where Debian's libnginx-mod-rtmp puts its module; `NGINX_RTMP` says where else.
const RTMP_MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// A running nginx.
pub(crate) struct Nginx {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

/// Where nginx-rtmp is, if it is here.
pub(crate) fn rtmp_module() -> Option<PathBuf> {
    let path = std::env::var_os("NGINX_RTMP").map_or_else(|| RTMP_MODULE.into(), PathBuf::from);
    path.exists().then_some(path)
}

impl Nginx {
    /// Serves the folder `files` by HTTP.
    pub(crate) fn serving(files: &Path) -> Result<Self> {
        let dir = files.parent().unwrap_or(files);
        Self::start(dir, "", |address| {
            format!(
                "http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; open_file_cache max=100; default_type video/mp4;\n\
                 client_body_temp_path {0}/t1; proxy_temp_path {0}/t2; fastcgi_temp_path {0}/t3; uwsgi_temp_path {0}/t4; scgi_temp_path {0}/t5;\n\
                 server {{ listen {address}; root {1}; }} }}\n",
                dir.display(),
                files.display()
            )
        })
    }

    /// Takes RTMP as `live/…` and writes HLS below `dir/hls`, as its documentation has it: TS segments of 2 s, as long as ours.
    pub(crate) fn segmenting(dir: &Path) -> Result<Self> {
        let module = rtmp_module().ok_or("nginx-rtmp is not here (apt-get install libnginx-mod-rtmp)")?;
        std::fs::create_dir_all(dir.join("hls"))?;
        Self::start(dir, &format!("load_module {};", module.display()), |address| {
            format!(
                "rtmp {{ access_log off; server {{ listen {address}; chunk_size 4096; application live {{\n\
                 live on; hls on; hls_path {}/hls; hls_fragment 2s; hls_playlist_length 12s; }} }} }}\n",
                dir.display()
            )
        })
    }

    fn start(dir: &Path, head: &str, body: impl FnOnce(SocketAddr) -> String) -> Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let user = if std::fs::read_to_string("/proc/self/loginuid").is_ok() { "user root;" } else { "" };
        let config = format!(
            "{head} daemon off; {user} worker_processes 1; pid {0}/nginx.pid; error_log {0}/nginx.log;\n\
             events {{ worker_connections 1024; }}\n{1}",
            dir.display(),
            body(address)
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

    /// CPU time so far, of master and worker.
    pub(crate) fn cpu(&self) -> CpuSample {
        CpuSample::take(self.child.id())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // TERM, so that it ends its worker too.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}
