//! gzip for what is text and worth it: playlists, manifests, JSON, pages. Media is never compressed again.

use axum::routing::MethodRouter;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

/// Below this many bytes the header costs more than compression brings.
const SMALLEST: u64 = 512;

fn layer() -> CompressionLayer<impl Predicate> {
    let worth_it = SizeAbove::new(SMALLEST)
        .and(NotForContentType::const_new("video/"))
        .and(NotForContentType::const_new("audio/"))
        .and(NotForContentType::const_new("image/"))
        .and(NotForContentType::const_new("font/"));
    CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest).compress_when(worth_it)
}

/// A handler whose text answers are compressed for clients that like it.
pub(super) fn compressed(handler: MethodRouter) -> MethodRouter {
    handler.layer(layer())
}

/// The same for a whole router.
pub(super) fn compressed_router(router: axum::Router) -> axum::Router {
    router.layer(layer())
}
