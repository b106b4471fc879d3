//! How one pixel is spoken to: its token, opened and written as the end of a request's body, kept only while the directory says the same.

use std::sync::Arc;

use schemas::{
    directory::Pixel,
    secret::{Key, Sealed},
};
use zeroize::Zeroizing;

use super::item::Item;

/// The purpose under which access tokens are sealed.
const PURPOSE: &str = "access-token";
const BEGIN: &[u8] = br#"{"data":["#;

/// A pixel's way in. It has no `Debug`: nothing may print it.
pub struct Access {
    pixel: Arc<Pixel>,
    token: Zeroizing<String>,
    /// `],"access_token":"…"}`, ready to be joined.
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
        if let Some(code) = &pixel.test_event_code {
            end.extend_from_slice(br#","test_event_code":"#);
            serde_json::to_writer(&mut *end, code).ok()?;
        }
        end.push(b'}');
        Some(Self { pixel, token, end })
    }

    /// Whether this is still what the directory says.
    pub fn is_of(&self, pixel: &Arc<Pixel>) -> bool {
        Arc::ptr_eq(&self.pixel, pixel) || *self.pixel == **pixel
    }

    /// The token as the directory has it.
    pub fn sealed(&self) -> &Sealed {
        &self.pixel.access_token
    }

    /// The body that carries a batch: the frozen bytes of its dispatches, joined as they are.
    pub fn body(&self, batch: &[Item]) -> Vec<u8> {
        let bytes = batch.iter().map(|item| item.payload().len() + 1).sum::<usize>();
        let mut body = Vec::with_capacity(BEGIN.len() + bytes + self.end.len());
        body.extend_from_slice(BEGIN);
        for (number, item) in batch.iter().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            body.extend_from_slice(item.payload());
        }
        body.extend_from_slice(&self.end);
        body
    }

    /// A text of the other side without the token, should it repeat it.
    pub fn without_token(&self, text: &str) -> String {
        text.replace(self.token.as_str(), "…")
    }
}
