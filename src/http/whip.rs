//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): `/<path>/whip`, `/<path>/whep` and their sessions.

use std::future::Future;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, ALLOW, CONTENT_TYPE, ETAG, IF_MATCH, LINK, LOCATION, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, patch, post};

use super::error::NOT_LIVE_RETRY;
use super::{ApiError, ClientIp, Outside, Routes, StreamTarget, read_body, shown_key};
use crate::base::StreamPath;
use crate::sdp::{MAX_SDP_BYTES, SdpError};
use crate::webrtc::{PatchOutcome, Role, SessionCreated, SessionRequest, WebRtcError, WebRtcService};

const SDP: &str = "application/sdp";
const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
/// When a client of a full server should ask again, in seconds.
const FULL_RETRY: u16 = 10;

/// What these routes need of the `webrtc` adapter.
pub(crate) trait SessionService: Clone + Send + Sync + 'static {
    fn create(&self, role: Role, request: SessionRequest<'_>) -> impl Future<Output = Result<SessionCreated, WebRtcError>> + Send;
    /// Trickled candidates or an ICE restart.
    fn patch(
        &self,
        role: Role,
        path: &StreamPath,
        id: &str,
        if_match: Option<&str>,
        body: &[u8],
    ) -> impl Future<Output = Result<PatchOutcome, WebRtcError>> + Send;
    /// Ends a session.
    fn delete(&self, role: Role, path: &StreamPath, id: &str) -> impl Future<Output = Result<(), WebRtcError>> + Send;
    /// Values of `Link` headers.
    fn links(&self) -> &[String];
}

impl SessionService for WebRtcService {
    async fn create(&self, role: Role, request: SessionRequest<'_>) -> Result<SessionCreated, WebRtcError> {
        Self::create(self, role, request).await
    }

    async fn patch(
        &self,
        role: Role,
        path: &StreamPath,
        id: &str,
        if_match: Option<&str>,
        body: &[u8],
    ) -> Result<PatchOutcome, WebRtcError> {
        Self::patch(self, role, path, id, if_match, body).await
    }

    async fn delete(&self, role: Role, path: &StreamPath, id: &str) -> Result<(), WebRtcError> {
        Self::delete(self, role, path, id).await
    }

    fn links(&self) -> &[String] {
        Self::links(self)
    }
}

#[derive(Clone)]
struct Endpoint<S> {
    service: S,
    role: Role,
}

/// Adds the routes of both protocols.
pub(crate) fn register<S: SessionService>(routes: &mut Routes, service: S) {
    let endpoint = |role| Endpoint { service: service.clone(), role };
    routes.stream("whip", collection(endpoint(Role::Publisher)));
    routes.stream("whep", collection(endpoint(Role::Viewer)));
    routes.stream("whip/{id}", session(endpoint(Role::Publisher)));
    routes.stream("whep/{id}", session(endpoint(Role::Viewer)));
}

fn collection<S: SessionService>(endpoint: Endpoint<S>) -> MethodRouter {
    post(create::<S>).options(collection_options::<S>).with_state(endpoint)
}

fn session<S: SessionService>(endpoint: Endpoint<S>) -> MethodRouter {
    patch(change::<S>).delete(end::<S>).options(session_options).with_state(endpoint)
}

async fn create<S: SessionService>(
    State(endpoint): State<Endpoint<S>>,
    target: StreamTarget,
    ClientIp(remote): ClientIp,
    outside: Outside,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    require_content_type(&parts.headers, SDP, ACCEPT_POST)?;
    if !accepts_sdp(&parts.headers) {
        return Err(ApiError::new(
            StatusCode::NOT_ACCEPTABLE,
            "not_acceptable",
            "the answer is application/sdp, which Accept does not allow",
        ));
    }
    let offer = read_body(body, MAX_SDP_BYTES).await?;
    let key = shown_key(&parts.headers, &parts.uri);
    let request = SessionRequest {
        path: &target.path,
        offer: &offer,
        key: key.as_deref(),
        agent: parts.headers.get(USER_AGENT).and_then(|a| a.to_str().ok()),
        remote,
    };
    let created = endpoint.service.create(endpoint.role, request).await?;
    let location = outside.path(&format!("/{}/{}/{}", target.path, endpoint.role.protocol(), created.id));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(LOCATION, header_value(&location)?);
    headers.insert(ETAG, header_value(&format!("\"{}\"", created.etag))?);
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(SDP_FRAGMENT));
    add_links(&mut headers, endpoint.service.links());
    Ok((StatusCode::CREATED, headers, created.answer).into_response())
}

async fn change<S: SessionService>(
    State(endpoint): State<Endpoint<S>>,
    target: StreamTarget,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    require_content_type(&parts.headers, SDP_FRAGMENT, ACCEPT_PATCH)?;
    let if_match = match parts.headers.get(IF_MATCH) {
        Some(value) => Some(value.to_str().map_err(|_| ApiError::bad_request("If-Match is not an entity tag"))?),
        None => None,
    };
    let body = read_body(body, MAX_SDP_BYTES).await?;
    match endpoint.service.patch(endpoint.role, &target.path, target.param("id"), if_match, &body).await? {
        PatchOutcome::Trickled => Ok(StatusCode::NO_CONTENT.into_response()),
        PatchOutcome::Restarted { fragment, etag } => {
            let headers = [(CONTENT_TYPE, HeaderValue::from_static(SDP_FRAGMENT)), (ETAG, header_value(&format!("\"{etag}\""))?)];
            Ok((StatusCode::OK, headers, fragment).into_response())
        }
    }
}

async fn end<S: SessionService>(State(endpoint): State<Endpoint<S>>, target: StreamTarget) -> Result<StatusCode, ApiError> {
    endpoint.service.delete(endpoint.role, &target.path, target.param("id")).await?;
    Ok(StatusCode::OK)
}

async fn collection_options<S: SessionService>(State(endpoint): State<Endpoint<S>>) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    headers.insert(ACCEPT_POST, HeaderValue::from_static(SDP));
    add_links(&mut headers, endpoint.service.links());
    (StatusCode::NO_CONTENT, headers).into_response()
}

async fn session_options() -> Response {
    let headers = [(ALLOW, HeaderValue::from_static("PATCH, DELETE, OPTIONS")), (ACCEPT_PATCH, HeaderValue::from_static(SDP_FRAGMENT))];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn add_links(headers: &mut HeaderMap, links: &[String]) {
    for link in links {
        // The configuration was checked: anything else is left out rather than failing the request.
        if let Ok(value) = HeaderValue::from_str(link) {
            headers.append(LINK, value);
        }
    }
}

fn header_value(text: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(text).map_err(|_| ApiError::internal("an answer's header could not be written"))
}

/// 415 with a header that says what is understood (RFC 9110 section 15.5.16). Parameters of the type don't matter.
fn require_content_type(headers: &HeaderMap, wanted: &'static str, hint: HeaderName) -> Result<(), ApiError> {
    let given = headers.get(CONTENT_TYPE).and_then(|t| t.to_str().ok()).and_then(|t| t.split(';').next()).map(str::trim);
    if given.is_some_and(|given| given.eq_ignore_ascii_case(wanted)) {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", format!("the Content-Type must be {wanted}"))
        .with_header(hint, HeaderValue::from_static(wanted)))
}

/// Whether `Accept` allows `application/sdp`; weights of 0 aside, which nobody sends.
fn accepts_sdp(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(ACCEPT).iter().peekable();
    lines.peek().is_none()
        || lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).any(|range| {
            let range = range.split(';').next().unwrap_or("").trim();
            range.is_empty() || ["*/*", "application/*", SDP].iter().any(|r| r.eq_ignore_ascii_case(range))
        })
}

impl From<WebRtcError> for ApiError {
    fn from(error: WebRtcError) -> Self {
        let message = error.to_string();
        let status = match &error {
            WebRtcError::Sdp(SdpError::TooLarge(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            WebRtcError::Sdp(sdp) if sdp.is_syntax() => StatusCode::BAD_REQUEST,
            WebRtcError::Sdp(_) => StatusCode::UNPROCESSABLE_ENTITY,
            WebRtcError::NothingInCommon(_) => StatusCode::NOT_ACCEPTABLE,
            WebRtcError::NotLive(_) | WebRtcError::NoSuchSession => StatusCode::NOT_FOUND,
            WebRtcError::Forbidden { shown, .. } => return ApiError::unauthorized(*shown, message),
            WebRtcError::Busy(_) => StatusCode::CONFLICT,
            WebRtcError::Changing(_) | WebRtcError::Full(_) | WebRtcError::ShuttingDown | WebRtcError::SetupTimeout(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            WebRtcError::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
            WebRtcError::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let answer = ApiError::new(status, error.code(), message);
        match error {
            WebRtcError::NotLive(_) | WebRtcError::Changing(_) => answer.retry_after(NOT_LIVE_RETRY),
            WebRtcError::Full(_) | WebRtcError::SetupTimeout(_) => answer.retry_after(FULL_RETRY),
            _ => answer,
        }
    }
}
