//! Floor 7: HTTP — the server, what all answers have in common (CORS, errors, bounds), and the routes.
//!
//! In: connections on one TCP port, HTTP/1.1 and HTTP/2 without TLS. Out: answers. One file per group of routes; each has a
//! `register(&mut Routes, …)` which adds fixed paths by [`Routes::merge`] and paths below a stream's by [`Routes::stream`].

mod admin;
mod api;
mod common;
mod compress;
mod config;
mod direct;
mod driver;
mod error;
mod front;
mod health;
mod key;
mod live;
mod live_routes;
mod metrics;
mod multipart;
mod names;
mod pages;
mod prometheus;
mod proxy;
mod reading;
mod routes;
mod streams;
mod vod;
mod whip;

#[cfg(test)]
mod tests;

pub(crate) use admin::ApiConfig;
pub(crate) use api::{ApiRoutes, register as register_api};
pub(crate) use config::HttpConfig;
pub(crate) use direct::Served;
pub(crate) use driver::{HttpServer, Patience, read_body};
pub(crate) use error::ApiError;
pub(crate) use health::{Readiness, register as register_health};
pub(crate) use key::shown_key;
pub(crate) use live::LiveRoutes;
pub(crate) use live_routes::register as register_live;
pub(crate) use metrics::HttpMetrics;
pub(crate) use pages::register as register_pages;
pub(crate) use prometheus::register as register_metrics;
pub(crate) use proxy::{ClientIp, Outside};
use reading::Reading;
pub(crate) use routes::Routes;
pub(crate) use streams::StreamTarget;
pub(crate) use vod::{VodRoutes, register as register_vod};
pub(crate) use whip::register as register_whip;
