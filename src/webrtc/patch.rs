//! What a PATCH on a session asks for (RFC 9725 section 4.3).

use super::WebRtcError;
use crate::sdp::Fragment;
use crate::sfu::ortc::IceParameters;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PatchAction {
    /// New candidates for the current generation (section 4.3.2). An ICE-lite server needs none of them.
    Trickle,
    /// New credentials: ICE restart (section 4.3.3).
    Restart(IceParameters),
}

/// Decides by the session's entity tag (without quotes) and the client's credentials of the current generation.
pub(super) fn decide(etag: &str, current: &IceParameters, if_match: Option<&str>, fragment: &Fragment) -> Result<PatchAction, WebRtcError> {
    let if_match = if_match.ok_or(WebRtcError::PreconditionRequired)?;
    if !matches_etag(if_match, etag) {
        return Err(WebRtcError::PreconditionFailed);
    }
    Ok(match &fragment.ice {
        Some(ice) if ice != current => PatchAction::Restart(ice.clone()),
        _ => PatchAction::Trickle,
    })
}

/// `If-Match` with the strong comparison of RFC 9110 section 13.1.1: a weak tag never matches.
fn matches_etag(if_match: &str, etag: &str) -> bool {
    if_match.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix('"').and_then(|t| t.strip_suffix('"')) == Some(etag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ice(ufrag: &str) -> IceParameters {
        IceParameters { username_fragment: ufrag.into(), password: "p".repeat(22), ice_lite: false }
    }

    #[test]
    fn decisions() {
        let same = Fragment { ice: Some(ice("aaaa")), ..Fragment::default() };
        let none = Fragment::default();
        let new = Fragment { ice: Some(ice("bbbb")), ..Fragment::default() };
        let decide = |if_match, fragment| match decide("tag", &ice("aaaa"), if_match, fragment) {
            Ok(PatchAction::Trickle) => "trickle",
            Ok(PatchAction::Restart(_)) => "restart",
            Err(error) => error.code(),
        };
        for (if_match, fragment, wanted) in [
            (None, &same, "precondition_required"),
            (Some("\"tag\""), &same, "trickle"),
            (Some("\"x\", \"tag\""), &none, "trickle"),
            (Some("\"old\""), &same, "precondition_failed"),
            (Some("W/\"tag\""), &same, "precondition_failed"),
            (Some("tag"), &same, "precondition_failed"),
            (Some(""), &same, "precondition_failed"),
            (Some("*"), &new, "restart"),
            (Some("\"tag\""), &new, "restart"),
            (Some("\"old\""), &new, "precondition_failed"),
            (Some("*"), &same, "trickle"),
        ] {
            assert_eq!(decide(if_match, fragment), wanted, "{if_match:?} {fragment:?}");
        }
    }
}
