//! Floor 7: HTTP — the server, what all answers have in common (CORS, errors, bounds), and the routes.
//!
//! In: connections on one TCP port, HTTP/1.1 and HTTP/2 without TLS. Out: answers. One file per group of routes; each has a
//! `register(&mut Routes, …)` which adds fixed paths by [`Routes::merge`] and paths below a stream's by [`Routes::stream`].

mod api;
mod client;
mod common;
mod compress;
mod config;
mod direct;
mod error;
mod first_line;
mod front;
mod health;
mod idle;
mod live;
mod metrics;
mod multipart;
mod names;
mod pages;
mod prometheus;
mod proxy;
mod rarely;
mod routes;
mod server;
mod streams;
mod timer;
mod vod;
mod whip;

#[cfg(test)]
mod tests;

pub use api::{ApiConfig, ApiRoutes, register as register_api};
pub use client::{read_body, shown_key};
pub use config::HttpConfig;
pub use direct::Served;
pub use error::ApiError;
pub use health::{Readiness, register as register_health};
pub use live::{LiveRoutes, register as register_live};
pub use metrics::HttpMetrics;
pub use pages::{Asset, asset, register as register_pages};
pub use prometheus::{MetricsText, register as register_metrics};
pub use proxy::{BadNetwork, ClientIp, Network, Outside};
pub use routes::Routes;
pub use server::{HttpServer, ServeError};
pub use streams::StreamTarget;
pub use vod::{VodRoutes, register as register_vod};
pub use whip::{SessionService, register as register_whip};
