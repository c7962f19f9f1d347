//! What a bug in headend itself does: a part that panics or hangs is noticed, and a server of which a part is missing ends in order, so that
//! whoever supervises it starts it again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods, missing_docs)] // a test says what is wrong by failing

mod common;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Server, Source, children_of, decode, get, publish, recorded, wait_for};

/// Stands between headend and the C library. Once the file `$PLAN` is there, the SFU's first worker gets an error from its `epoll_wait` that
/// there can't be, for which tokio panics; or, where the file says so, it stops for three seconds.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout) {
    int (*real)(int, struct epoll_event *, int, int) = dlsym(RTLD_NEXT, "epoll_wait");
    char thread[16] = "", plan = 0;
    pthread_getname_np(pthread_self(), thread, sizeof thread);
    if (strcmp(thread, "sfu-0") == 0) {
        int file = open(getenv("PLAN"), O_RDONLY);
        if (file >= 0) {
            if (read(file, &plan, 1) != 1) plan = 0;
            close(file);
        }
    }
    if (plan == 'p') {
        errno = EBADF;
        return -1;
    }
    if (plan == 'h') {
        unlink(getenv("PLAN"));
        sleep(3);
    }
    return real(fd, events, max, timeout);
}
"#;

fn start_with_plan(dir: &Path) -> Server {
    let (source, library) = (dir.join("shim.c"), dir.join("shim.so"));
    std::fs::write(&source, SHIM).unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").status();
    assert!(compiled.unwrap().success());
    let (library, plan) = (format!("LD_PRELOAD={}", library.display()), format!("PLAN={}", dir.join("plan").display()));
    Server::start_by(&["env", &library, &plan], "")
}

fn is_ready(server: &Server) -> bool {
    get(&server.url("/readyz")).is_some_and(|(status, _)| status == 200)
}

#[test]
fn a_worker_that_panics_ends_the_server_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start_with_plan(dir.path());
    let _publisher = publish(&server.rtmp_url("live/cam1"), Source::default());
    server.wait_live("live/cam1", 2);
    recorded::wait_duration(&server, "live/cam1", 3.0);
    let children = children_of(server.pid());
    let began = Instant::now();
    std::fs::write(dir.path().join("plan"), "p").unwrap();
    assert_eq!(server.wait_end(), Some(1), "{}", server.log());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let log = server.log();
    for line in ["a worker of the SFU has ended", "unexpected error when polling the I/O driver", "sfu-0"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(!children.is_empty() && children.iter().all(|child| !Path::new(&format!("/proc/{child}")).exists()));
    std::fs::remove_file(dir.path().join("plan")).unwrap();
    server.restart();
    let item = recorded::recording(&server, "live/cam1").unwrap();
    assert_eq!(item["state"], "finished", "{item:#}");
    let (good, complaints) = decode(&server.url(item["urls"]["mp4"].as_str().unwrap()), 60);
    assert!(good && complaints.is_empty(), "{complaints}");
}

#[test]
fn a_worker_that_hangs_makes_the_server_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_with_plan(dir.path());
    std::fs::write(dir.path().join("plan"), "h").unwrap();
    wait_for("the server to be not ready", || !is_ready(&server), || server.log());
    wait_for("it to be ready again", || is_ready(&server), || server.log());
    let log = server.log();
    assert!(log.contains("has not answered for 1s") && log.contains("answer again"), "{log}");
}
