//! gzip for what is text and worth it: playlists, manifests, JSON, pages. Media is never compressed again.

use std::io::Write;

use axum::routing::MethodRouter;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

/// Below this many bytes the header costs more than compression brings.
pub(super) const SMALLEST: u64 = 512;

/// gzip's level for what is compressed once and sent often; a live playlist is made again with every part.
const KEPT_LEVEL: u32 = 4;

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

/// What is kept compressed for all who ask: worth more effort than what is compressed for one.
pub(super) fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), Compression::new(KEPT_LEVEL));
    // Writing into memory does not fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default().into()
}
