//! The operator: may change things by token, and sees what isn't everybody's business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::ApiError;
use super::key::bearer;
use super::proxy::{Caller, Network};
use crate::stream::opens;

/// `[api]`: who may change things through the API, and who sees everything.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// A Bearer token for requests that change something (deleting recordings, ending streams). Empty: nobody may.
    pub admin_token: String,
    /// Who reads `/metrics` and publishers' addresses without that token.
    pub details_from: Vec<Network>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        let this_machine = [Network::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8), Network::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];
        Self { admin_token: String::new(), details_from: this_machine.to_vec() }
    }
}

impl ApiConfig {
    /// Whether the request shows the admin token: as a Bearer header only. What stands in an address is logged, shown and sent on.
    fn is_admin(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|token| opens(&self.admin_token, &token))
    }

    /// Refuses who may not change anything.
    pub(super) fn may_change(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        match self.is_admin(headers) {
            true => Ok(()),
            false if self.admin_token.is_empty() => {
                Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", "changing things through the API is off; set api.admin_token"))
            }
            false => Err(ApiError::unauthorized(bearer(headers).is_some(), "this needs the admin token as a Bearer header")),
        }
    }

    /// Whether the caller sees what isn't everybody's business.
    pub(super) fn sees_details(&self, caller: Caller, headers: &HeaderMap) -> bool {
        caller.known().is_some_and(|ip| self.details_from.iter().any(|network| network.contains(ip))) || self.is_admin(headers)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn who_sees_details() {
        let config = ApiConfig { admin_token: "s3cret".into(), ..ApiConfig::default() };
        let lan = ApiConfig { details_from: vec!["10.0.0.0/8".parse().unwrap()], ..ApiConfig::default() };
        let nobody = ApiConfig { details_from: Vec::new(), ..ApiConfig::default() };
        for (config, ip, for_another, token, sees) in [
            (&config, "127.0.0.1", false, None, true),
            (&config, "127.8.8.8", false, None, true),
            (&config, "::1", false, None, true),
            (&config, "::ffff:127.0.0.1", false, None, true),
            (&config, "127.0.0.1", true, None, false),
            (&config, "192.0.2.1", false, None, false),
            (&config, "192.0.2.1", false, Some("Bearer s3cret"), true),
            (&config, "127.0.0.1", true, Some("Bearer s3cret"), true),
            (&config, "192.0.2.1", false, Some("Bearer wrong"), false),
            (&lan, "10.2.3.4", false, None, true),
            (&lan, "127.0.0.1", false, None, false),
            (&nobody, "127.0.0.1", false, None, false),
            (&nobody, "127.0.0.1", false, Some("Bearer "), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(token) = token {
                headers.insert(AUTHORIZATION, token.parse().unwrap());
            }
            let caller = Caller { ip: ip.parse().ok(), for_another };
            assert_eq!(config.sees_details(caller, &headers), sees, "{ip} {for_another} {token:?}");
        }
    }
}
