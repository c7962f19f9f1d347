//! A request that shows a key: where many wrong ones came from, it waits before it is looked at.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::StatusCode;

use crate::base::{Clock, Look, Tries};
use crate::http::{ApiError, ClientIp, HttpMetrics, shown_key};

/// What the server does about who tries keys. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    tries: Tries,
    clock: Clock,
    metrics: HttpMetrics,
}

/// An attempt at being let in.
pub(in crate::http) struct Attempt<'a> {
    patience: &'a Patience,
    from: Option<IpAddr>,
    /// `None` while nobody tries keys.
    key: Option<String>,
}

impl Patience {
    pub(crate) fn new(tries: Tries, clock: Clock, metrics: HttpMetrics) -> Self {
        Self { tries, clock, metrics }
    }

    /// Waits where that is due. An answer instead where too many wait already.
    pub(in crate::http) async fn take<B>(&self, request: &Request<B>, client: ClientIp) -> Result<Attempt<'_>, ApiError> {
        let attempt = |key| Attempt { patience: self, from: client.0, key };
        if self.tries.is_quiet() {
            return Ok(attempt(None));
        }
        let Some(key) = shown_key(request.headers(), request.uri()) else { return Ok(attempt(None)) };
        match self.tries.look(self.clock.at(), client.0, &key) {
            Look::Now => {}
            Look::After(wait, _place) => tokio::time::sleep(wait).await,
            Look::Never => {
                self.metrics.keys_unseen.inc();
                let what = "many wrong keys came from your address: try again in a minute";
                return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_wrong_keys", what).retry_after(60));
            }
        }
        Ok(attempt(Some(key)))
    }
}

impl Attempt<'_> {
    /// The answer had this status: 403 is for wrong keys, and 401 for none (see [`ApiError::unauthorized`]).
    pub(in crate::http) fn ended(self, status: StatusCode) {
        let Patience { tries, clock, metrics } = self.patience;
        if status == StatusCode::FORBIDDEN {
            metrics.wrong_keys.inc();
            if tries.wrong(clock.at(), self.from) {
                tracing::warn!(from = ?self.from, "many wrong keys: those from there wait before they are looked at");
            }
        } else if let Some(key) = self.key.filter(|_| status != StatusCode::UNAUTHORIZED) {
            tries.right(self.from, &key);
        }
    }
}
