//! All routes put together, with what every answer has.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::MethodRouter;

use super::common::{self, Common};
use super::direct::{Direct, Served};
use super::driver::Patience;
use super::proxy::Proxies;
use super::streams::{Knowledge, StreamRoutes, dispatch};
use super::{HttpConfig, HttpMetrics, LiveRoutes};

/// Collects routes. Each group of routes is a file with `pub fn register(routes: &mut Routes, …)` that calls
/// [`merge`](Self::merge) for fixed paths and [`stream`](Self::stream) for those below a stream's path.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    fixed: Router,
    streams: StreamRoutes,
    direct: Option<LiveRoutes>,
}

impl Routes {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds fixed paths, such as `/api/v1/streams`, with their state already set (`with_state`).
    pub(crate) fn merge(&mut self, router: Router) {
        self.fixed = std::mem::take(&mut self.fixed).merge(router);
    }

    /// Adds what stands below any stream's path: `pattern` is the last segment or segments, each a literal or `{name}`
    /// (one segment, not empty); `""` is the path with a slash behind it. Handlers take a [`StreamTarget`](super::StreamTarget).
    /// OPTIONS and unknown methods are answered by all routes alike; handlers only need `.options(…)` for headers of their own.
    ///
    /// ```ignore
    /// routes.stream("index.m3u8", get(multivariant).with_state(packages.clone()));
    /// routes.stream("hls/{rendition}/{file}", get(segment).with_state(packages));
    /// ```
    pub(crate) fn stream(&mut self, pattern: &'static str, handler: MethodRouter) {
        self.streams.add(pattern, handler);
    }

    /// Live media, which is also answered without the router.
    pub(super) fn direct(&mut self, live: LiveRoutes) {
        self.direct = Some(live);
    }

    /// How to find out which streams there are: names with dots in them are files otherwise.
    pub(super) fn know(&mut self, knowledge: Knowledge) {
        self.streams.know(knowledge);
    }

    /// What to serve: the router and its short cut.
    pub(crate) fn into_served(mut self, config: &HttpConfig, metrics: &HttpMetrics, patience: Patience) -> Served {
        let common = Arc::new(Common::new(&config.cors_origins, metrics.clone()));
        let direct = self.direct.take().map(|live| Direct { live, common: common.clone() });
        let proxies = Proxies::new(&config.trusted_proxies, &config.base_path);
        Served::new(self.into_router(config, metrics), direct, common, proxies, patience)
    }

    /// The router alone: with CORS, errors as JSON, the bound on bodies and counters.
    pub(crate) fn into_router(self, config: &HttpConfig, metrics: &HttpMetrics) -> Router {
        let streams = Router::new().fallback(dispatch).with_state(Arc::new(self.streams));
        let common = Common::new(&config.cors_origins, metrics.clone());
        let routes = self.fixed.merge(streams).layer(DefaultBodyLimit::max(config.max_body));
        // As the fallback of an otherwise empty router: a layer on the routes themselves would not see the `Allow` header that
        // is added to a 405 behind it.
        Router::new().fallback_service(routes).layer(middleware::from_fn_with_state(Arc::new(common), common::finish))
    }
}
