//! `/healthz` (the process works) and `/readyz` (it takes work).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use super::{ApiError, Routes};

/// Whether the server is ready: not before every part runs, not while one is stuck, not once it is shutting down. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    ready: AtomicBool,
    stuck: AtomicBool,
}

impl Readiness {
    /// Not ready yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Says whether it is.
    pub(crate) fn set(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Relaxed);
    }

    /// Says whether a part of it doesn't answer.
    pub(crate) fn set_stuck(&self, stuck: bool) {
        self.0.stuck.store(stuck, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed) && !self.0.stuck.load(Ordering::Relaxed)
    }
}

/// Adds the two.
pub(crate) fn register(routes: &mut Routes, readiness: Readiness) {
    routes.merge(Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready)).with_state(readiness));
}

async fn ready(State(readiness): State<Readiness>) -> Result<&'static str, ApiError> {
    if readiness.get() {
        Ok("ready\n")
    } else {
        Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            "the server is starting or shutting down, or a part of it does not answer",
        )
        .retry_after(1))
    }
}
