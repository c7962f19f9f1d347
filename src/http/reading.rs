//! What a connection's client is being sent, and whether it may take its time over it.
//!
//! In: the segments and recordings of answers, for as long as they are being written. Out: whether the connection has to end.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use futures_util::stream::{Stream, StreamExt};

use crate::base::lock;
use crate::package::{Part, Segment};

/// One connection's. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading(Arc<Mutex<State>>);

impl<S: Sync> FromRequestParts<S> for Reading {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

#[derive(Debug, Default)]
struct State {
    segments: Vec<Arc<Segment>>,
    recordings: usize,
}

impl Reading {
    /// A segment begins to be sent.
    pub(super) fn segment(&self, segment: Arc<Segment>) -> Held {
        lock(&self.0).segments.push(segment.clone());
        Held { reading: self.clone(), segment: Some(segment) }
    }

    /// A recording begins to be sent.
    pub(super) fn recording(&self) -> Held {
        lock(&self.0).recordings += 1;
        Held { reading: self.clone(), segment: None }
    }

    /// Whether its client may stop reading for a while: browsers do while a recording is paused. It holds on to a block of a file meanwhile.
    pub(super) fn may_pause(&self) -> bool {
        lock(&self.0).recordings > 0
    }

    /// Whether it holds on to what has to go.
    pub(super) fn is_recalled(&self) -> bool {
        lock(&self.0).segments.iter().any(|segment| segment.recall.is_set())
    }
}

/// Something is being sent until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    reading: Reading,
    segment: Option<Arc<Segment>>,
}

impl Held {
    /// The segment's.
    pub(super) fn parts(&self) -> &[Part] {
        self.segment.as_ref().map_or(&[], |segment| &segment.parts)
    }

    /// A body that holds on to it up to its end.
    pub(super) fn body<E: Into<axum::BoxError> + 'static>(self, body: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Body {
        Body::from_stream(body.map(move |piece| {
            let _ = &self;
            piece
        }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = lock(&self.reading.0);
        match &self.segment {
            Some(segment) => {
                if let Some(at) = state.segments.iter().position(|held| Arc::ptr_eq(held, segment)) {
                    state.segments.swap_remove(at);
                }
            }
            None => state.recordings -= 1,
        }
    }
}
