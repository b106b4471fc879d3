//! How one pixel is spoken to: its token, opened and written as the end of a request's body, kept only while the directory says the same.

use std::sync::Arc;

use schemas::{
    directory::Pixel,
    secret::{Key, Sealed},
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{item::Item, pace::TokenId};

/// The purpose under which access tokens are sealed.
const PURPOSE: &str = "access-token";
const BEGIN: &[u8] = br#"{"data":["#;
const CODE: &[u8] = br#","test_event_code":"#;
/// About what a test event code and the end take.
const CODE_BYTES: usize = 128;

/// A pixel's way in. It has no `Debug`: nothing may print it.
pub struct Access {
    pixel: Arc<Pixel>,
    token: Zeroizing<String>,
    id: TokenId,
    /// `],"access_token":"…"`, ready to be joined.
    end: Zeroizing<Vec<u8>>,
}

impl Access {
    /// Opens a pixel's token. `None` if it does not open under this key, or is no token.
    pub fn open(pixel: Arc<Pixel>, keys: &Key) -> Option<Self> {
        let token = keys.open(PURPOSE, &pixel.access_token).ok()?;
        let token = Zeroizing::new(std::str::from_utf8(&token).ok().filter(|token| !token.is_empty())?.to_owned());
        let mut end = Zeroizing::new(Vec::with_capacity(1_024)); // never grows, so that no copy stays behind
        end.extend_from_slice(br#"],"access_token":"#);
        serde_json::to_writer(&mut *end, token.as_str()).ok()?;
        let id = Sha256::digest(token.as_bytes()).into();
        Some(Self { pixel, token, id, end })
    }

    /// Whether this is still what the directory says.
    pub fn is_of(&self, pixel: &Arc<Pixel>) -> bool {
        Arc::ptr_eq(&self.pixel, pixel) || *self.pixel == **pixel
    }

    /// By what the token is known where it must not stand itself.
    pub fn token_id(&self) -> TokenId {
        self.id
    }

    /// The token as the directory has it.
    pub fn sealed(&self) -> &Sealed {
        &self.pixel.access_token
    }

    /// The body that carries a batch: the frozen bytes of its dispatches, joined as they are. All of them bear the same test event code, or
    /// none; then the pixel's own holds.
    pub fn body(&self, batch: &[Item]) -> Vec<u8> {
        let bytes = batch.iter().map(|item| item.payload().len() + 1).sum::<usize>();
        let code = batch.first().and_then(Item::test_event_code).or(self.pixel.test_event_code.as_deref());
        let mut body = Vec::with_capacity(BEGIN.len() + bytes + self.end.len() + CODE_BYTES);
        body.extend_from_slice(BEGIN);
        for (number, item) in batch.iter().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            body.extend_from_slice(item.payload());
        }
        body.extend_from_slice(&self.end);
        if let Some(code) = code {
            body.extend_from_slice(CODE);
            body.extend_from_slice(serde_json::Value::from(code).to_string().as_bytes());
        }
        body.push(b'}');
        body
    }

    /// A text of the other side without the token, should it repeat it.
    pub fn without_token(&self, text: &str) -> String {
        text.replace(self.token.as_str(), "…")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use schemas::{
        directory::Pixel,
        id::{PixelId, WorkspaceId},
        secret::Key,
    };

    use super::{Access, PURPOSE};
    use crate::capi::{
        fixture::{dispatch, now},
        item::Item,
    };

    fn pixel(token: &[u8], keys: &Key) -> Arc<Pixel> {
        Arc::new(Pixel {
            id: PixelId::parse("1").expect("an id"),
            workspace_id: WorkspaceId::parse("ws_1").expect("an id"),
            access_token: keys.seal(PURPOSE, token, [2; 24]),
            test_event_code: Some("TEST1".into()),
        })
    }

    #[test]
    fn a_body_is_the_frozen_bytes_joined_with_the_token_behind() {
        let keys = Key::new([1; 32]);
        let access = Access::open(pixel(br#"to"ken"#, &keys), &keys).expect("it opens");
        let batch = ["a", "b"].map(|order| Item::fresh(0, dispatch(order, 0), now(), &Arc::default()));
        let body = String::from_utf8(access.body(&batch)).expect("text");
        let events = r#"{"event_id":"fn_1:a"},{"event_id":"fn_1:b"}"#;
        assert_eq!(body, format!(r#"{{"data":[{events}],"access_token":"to\"ken","test_event_code":"TEST1"}}"#));
        let batch = batch.map(|mut item| {
            item.dispatch.test_event_code = Some("PAGE".into());
            item
        });
        let body = String::from_utf8(access.body(&batch)).expect("text");
        assert!(body.ends_with(r#","access_token":"to\"ken","test_event_code":"PAGE"}"#), "the page's word wins: {body}");
        assert_eq!(access.without_token(r#"Malformed access token to"ken"#), "Malformed access token …");
    }

    #[test]
    fn a_token_that_does_not_open_is_none() {
        let keys = Key::new([1; 32]);
        assert!(Access::open(pixel(b"token", &keys), &Key::new([9; 32])).is_none());
        assert!(Access::open(pixel(b"", &keys), &keys).is_none());
        assert!(Access::open(pixel(b"\xff", &keys), &keys).is_none());
    }

    #[test]
    fn it_counts_while_the_directory_says_the_same() {
        let keys = Key::new([1; 32]);
        let known = pixel(b"token", &keys);
        let access = Access::open(known.clone(), &keys).expect("it opens");
        assert!(access.is_of(&known) && access.is_of(&pixel(b"token", &keys)));
        assert!(!access.is_of(&pixel(b"other", &keys)));
    }
}
