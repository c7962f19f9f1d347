//! Making a session: from an offer to a transport with its producers or consumers, and the answer.

use std::time::Duration;

use rand::RngExt;

use super::request::SessionRequest;
use super::role::{Publishing, Role, Viewing};
use crate::base::Lots;
use crate::sdp::{Answer, FragmentHead, Offer, SectionAnswer};
use crate::sfu::ortc::IceParameters;
use crate::sfu::{ConsumerOptions, Noun, ProducerOptions, Router, SfuError, WebRtcTransport, WebRtcTransportOptions};
use crate::stream::{Hub, PublishRequest, SelectError, Stream, Wanted};
use crate::webrtc::{WebRtcError, whep, whip};

/// The stream id in `a=msid`. It names the group of tracks within one session only.
const MSID_STREAM: &str = "headend";
/// How often a viewer is begun when the tracks it chose go away meanwhile. A publisher is replaced track by track: picture, then sound.
const ATTEMPTS: usize = 4;
/// How long to wait for a track that is being replaced: three commands to an SFU worker, which take less than a millisecond each.
const REPLACED_WITHIN: Duration = Duration::from_secs(1);

/// A session that only needs its task.
#[derive(Debug)]
pub(super) struct Prepared {
    pub restart: FragmentHead,
    pub remote_ice: IceParameters,
    pub answer: String,
    pub transport: WebRtcTransport,
    pub role: Role,
}

/// WHIP: takes the path, then makes a producer for each section that is taken.
pub(super) async fn publisher(hub: &Hub, request: &SessionRequest<'_>) -> Result<Prepared, WebRtcError> {
    // The offer is read first: a broken one must not throw anybody off the path.
    let offer = Offer::parse(request.offer)?;
    let plan = whip::plan(&offer)?;
    let publication = hub
        .publish(PublishRequest {
            path: request.path.clone(),
            protocol: "whip",
            remote: request.remote,
            agent: request.agent.map(str::to_owned),
            key: request.key.map(str::to_owned),
        })
        .await
        .map_err(|e| WebRtcError::from_publish(e, request.key.is_some()))?;
    let router = publication.router();
    let transport = connected_transport(router, &offer).await?;
    let mut producers = Vec::new();
    let mut sections = Vec::with_capacity(plan.len());
    for (section, taken) in offer.sections.iter().zip(&plan) {
        let (Some(media), Some(taken)) = (&section.media, taken) else {
            sections.push(SectionAnswer::Rejected);
            continue;
        };
        let parameters = whip::receive_parameters(media, section.mid.as_deref(), taken, router.rtp_capabilities());
        let (Some(rtp_parameters), Some(format)) = (parameters, whip::format_of(taken.codec)) else {
            sections.push(SectionAnswer::Rejected);
            continue;
        };
        let producer = transport.produce(ProducerOptions { kind: media.kind, rtp_parameters: rtp_parameters.clone() }).await?;
        producers.push((producer, format));
        sections.push(SectionAnswer::Receive(rtp_parameters));
    }
    Ok(prepared(hub.lots(), &offer, transport, &sections, Role::Publishing(Publishing { publication, producers })))
}

/// Why a viewer's session can't be made as tried.
enum Setback {
    /// A track that was chosen went away before it was consumed: its publisher is being replaced.
    Again,
    Refused(WebRtcError),
}

impl From<SfuError> for Setback {
    fn from(error: SfuError) -> Self {
        if matches!(error, SfuError::NotFound(Noun::Producer)) { Self::Again } else { Self::Refused(error.into()) }
    }
}

/// WHEP: finds the stream, then makes a consumer for each section that the stream has a track for.
pub(super) async fn viewer(hub: &Hub, request: &SessionRequest<'_>) -> Result<Prepared, WebRtcError> {
    let offer = Offer::parse(request.offer)?;
    let plan = whep::plan(&offer)?;
    if !hub.may_view(request.path, request.key) {
        return Err(WebRtcError::Forbidden { path: request.path.clone(), shown: request.key.is_some() });
    }
    let not_live = || WebRtcError::NotLive(request.path.clone());
    let stream = hub.stream(request.path).ok_or_else(not_live)?;
    if plan.len() > 1 {
        stream.settled().await;
    }
    for _ in 0..ATTEMPTS {
        let seen = stream.changed(0).await.ok_or_else(not_live)?;
        match try_viewer(hub.lots(), &stream, request, &offer, &plan).await {
            Ok(prepared) => return Ok(prepared),
            Err(Setback::Refused(error)) => return Err(error),
            Err(Setback::Again) => tracing::debug!(path = %request.path, "the publisher is being replaced, the viewer begins again"),
        }
        if let Ok(None) = tokio::time::timeout(REPLACED_WITHIN, stream.changed(seen)).await {
            return Err(not_live());
        }
    }
    Err(WebRtcError::Changing(request.path.clone()))
}

async fn try_viewer(
    lots: &Lots,
    stream: &Stream,
    request: &SessionRequest<'_>,
    offer: &Offer,
    plan: &[usize],
) -> Result<Prepared, Setback> {
    let not_live = || Setback::Refused(WebRtcError::NotLive(request.path.clone()));
    // Read before the tracks are chosen, so that a change meanwhile shows as one.
    let facts = whep::facts(&stream.tracks());
    let viewer = match stream.attach_viewer("webrtc").await {
        Err(SelectError::Ended) => return Err(not_live()),
        other => other.map_err(|error| Setback::Refused(error.into()))?,
    };
    let router = viewer.router();
    let transport = connected_transport(router, offer).await?;
    let cname = lots.id();
    let (mut leases, mut wanted, mut refused) = (Vec::new(), Vec::new(), None);
    let mut sections = Vec::with_capacity(offer.sections.len());
    for (index, section) in offer.sections.iter().enumerate() {
        let Some(media) = section.media.as_ref() else {
            sections.push(SectionAnswer::Rejected);
            continue;
        };
        if !plan.contains(&index) {
            sections.push(SectionAnswer::Inactive);
            continue;
        }
        wanted.push(media.kind);
        let codecs = media.codecs();
        let wanted_form = Wanted { kind: media.kind, codecs: &codecs, in_order: true, come_in: true, browsers: true };
        let lease = match stream.select(wanted_form).await {
            Ok(lease) => lease,
            Err(SelectError::Ended) => return Err(not_live()),
            Err(SelectError::Sfu(SfuError::NotFound(Noun::Producer))) => return Err(Setback::Again),
            Err(error) => {
                tracing::debug!(path = %request.path, kind = %media.kind, %error, "section answered inactive");
                refused = Some(better_reason(refused, error));
                sections.push(SectionAnswer::Inactive);
                continue;
            }
        };
        let options = ConsumerOptions {
            producer: lease.producer_on(router).await?,
            rtp_capabilities: whep::capabilities_for(media, lease.format().codec()),
            mid: section.mid.clone(),
            cname: cname.clone(),
            drop_disposable: lease.drop_disposable(),
            paused: false,
        };
        let consumer = transport.consume(options).await?;
        sections.push(SectionAnswer::Send {
            parameters: media.as_offered(consumer.rtp_parameters),
            stream_id: MSID_STREAM.to_owned(),
            track_id: media.kind.to_string(),
        });
        leases.push(lease);
    }
    if let (true, Some(error)) = (leases.is_empty(), refused) {
        return Err(Setback::Refused(error.into()));
    }
    // A consumer that came while its producer was being replaced, perhaps on another worker, may be closed with it.
    if !leases.iter().all(|lease| stream.stands(lease)) {
        return Err(Setback::Again);
    }
    let role = Role::Viewing(Viewing::new(stream.clone(), viewer, leases, facts, wanted));
    Ok(prepared(lots, offer, transport, &sections, role))
}

/// Of two reasons the one that the client or operator can do something about: "no audio track" says less than "can't be turned into".
fn better_reason(old: Option<SelectError>, new: SelectError) -> SelectError {
    match old {
        Some(old) if !matches!(old, SelectError::NoTrack(_)) => old,
        _ => new,
    }
}

async fn connected_transport(router: &Router, offer: &Offer) -> Result<WebRtcTransport, SfuError> {
    let transport = router.create_webrtc_transport(WebRtcTransportOptions::default()).await?;
    transport.connect(offer.dtls.clone(), offer.ice.clone()).await?;
    Ok(transport)
}

fn prepared(lots: &Lots, offer: &Offer, transport: WebRtcTransport, sections: &[SectionAnswer], role: Role) -> Prepared {
    // Unique among the sessions of this process, which is all that the `o=` line is for here.
    let session_id = u64::from(lots.draw().random::<u32>());
    let answer = Answer {
        offer,
        session_id,
        ice: &transport.ice_parameters,
        candidates: &transport.ice_candidates,
        dtls: &transport.dtls_parameters,
        sections,
    }
    .write();
    Prepared { restart: FragmentHead::of(offer), remote_ice: offer.ice.clone(), answer, transport, role }
}
