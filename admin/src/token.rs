//! The one secret of the desk, shown as `Authorization: Bearer …`.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::Response,
};
use schemas::world::World;
use subtle::ConstantTimeEq;

use crate::{Desk, refuse::Refused};

/// A token; never printed by accident.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// A new token: 32 random bytes as hex.
    pub fn new(world: &dyn World) -> Self {
        let mut random = [0; 32];
        world.fill(&mut random);
        Self(hex::encode(random).into())
    }

    /// The text, for the token file only.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a caller's text is this token, in constant time.
    fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Lets a request through that shows the token.
pub(crate) async fn required(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Result<Response, Refused> {
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
    match shown {
        Some(text) if desk.parts.token.is(text) => Ok(next.run(request).await),
        _ => Err(Refused::unauthorized()),
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
