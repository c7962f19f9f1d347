//! A real nginx in front of a server.

use std::process::Command;

use super::{Process, signal};

/// A running nginx with one site; ended by its own pid.
pub(crate) struct Nginx {
    _dir: tempfile::TempDir,
    process: Process,
}

impl Nginx {
    /// With this `server` block.
    pub(crate) fn start(site: &str) -> Self {
        assert!(Command::new("nginx").arg("-v").output().is_ok(), "nginx is not installed; scripts/setup.sh --test installs it");
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let mut text = format!("daemon off;\nuser {};\npid {};\n", String::from_utf8_lossy(&user).trim(), at("pid"));
        text += "error_log stderr;\nevents {}\nhttp {\naccess_log off;\n";
        for folder in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            text += &format!("{folder}_temp_path {};\n", at(folder));
        }
        std::fs::write(at("nginx.conf"), format!("{text}{site}}}\n")).unwrap();
        let process = Process::start("nginx", &["-c", &at("nginx.conf"), "-e", "stderr"]);
        Self { _dir: dir, process }
    }

    /// What it complained about.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers on TERM; killed by force it would leave them behind.
        signal(self.process.pid(), "TERM");
        self.process.wait();
    }
}
