//! Who may come in by the webhook: the bearer of the funnel's API key. Keys are compared as keyed hashes, in constant time, and are
//! neither kept nor logged.

use axum::http::{HeaderMap, HeaderName};
use schemas::{directory::FunnelEntry, secret::Key};

use crate::refuse::Refused;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// An API key as a caller presented it.
#[derive(Clone, Copy)]
pub(crate) struct Presented<'a>(&'a [u8]);

impl<'a> Presented<'a> {
    /// The key in the headers; an empty one is none.
    pub(crate) fn of(headers: &'a HeaderMap) -> Result<Self, Refused> {
        let key = headers.get(API_KEY).map(|key| key.as_bytes().trim_ascii()).unwrap_or_default();
        if key.is_empty() { Err(Refused::NoKey) } else { Ok(Self(key)) }
    }

    /// Lets in who presents the key of the funnel's workspace.
    pub(crate) fn opens(self, funnel: &FunnelEntry, keys: &Key) -> Result<(), Refused> {
        let text = std::str::from_utf8(self.0).map_err(|_| Refused::WrongKey)?;
        if funnel.api_key_lookup.matches(&keys.lookup(text)) { Ok(()) } else { Err(Refused::WrongKey) }
    }
}

#[cfg(test)]
mod tests {
    use schemas::{
        directory::Funnel,
        id::{FunnelId, WorkspaceId},
        money::Currency,
    };

    use super::*;

    #[test]
    fn only_the_workspaces_key_opens() {
        let keys = Key::new([1; 32]);
        let funnel = Funnel {
            id: FunnelId::parse("fn_1").expect("an id"),
            workspace_id: WorkspaceId::parse("ws_1").expect("an id"),
            name: "shop".into(),
            currency: Currency::parse("USD").expect("a currency"),
            server_leg_wait_s: 0,
            site: schemas::site::Site::default(),
        };
        let funnel = FunnelEntry { api_key_lookup: keys.lookup("rm_good"), pixels: Vec::new(), funnel };
        for (given, status) in [
            (None, Some(401)),
            (Some(&b""[..]), Some(401)),
            (Some(b"  "), Some(401)),
            (Some(b"rm_bad"), Some(403)),
            (Some(b"rm_\xff"), Some(403)),
            (Some(b"rm_good"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(API_KEY, given.try_into().expect("a value"));
            }
            let opened = Presented::of(&headers).and_then(|key| key.opens(&funnel, &keys));
            assert_eq!(opened.err().map(|refused| refused.reply().status().as_u16()), status, "{given:?}");
        }
    }
}
