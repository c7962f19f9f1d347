//! Where live media stands among the routes.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::compress::compressed;
use super::live::{LiveRoutes, TIME_PATH, file, manifest, multivariant, time};
use super::routes::Routes;
use super::streams::Known;

pub(crate) fn register(routes: &mut Routes, state: LiveRoutes) {
    routes.stream("index.m3u8", compressed(get(multivariant).with_state(state.clone())));
    routes.stream("manifest.mpd", compressed(get(manifest).with_state(state.clone())));
    routes.stream("{file}", compressed(get(file).with_state(state.clone())));
    let known = state.clone();
    routes.know(Arc::new(move |path, key| match known.hub.stream(path).is_some() || known.live.presentation(path).is_some() {
        _ if !known.hub.may_view(path, key) => Known::Secret,
        true => Known::Live,
        false => Known::Away,
    }));
    routes.merge(Router::new().route(TIME_PATH, get(time).with_state(state.clone())));
    routes.direct(state);
}
