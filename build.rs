//! Says in one sentence what is missing, and builds anew when the pages have changed.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=static/dist");
    if !Path::new("static/dist/watch.html").exists() {
        println!(
            "cargo::error=static/dist, the built pages, is missing: `git checkout static/dist` brings it back, `make pages` builds it anew (Node.js 20)"
        );
    }
}
