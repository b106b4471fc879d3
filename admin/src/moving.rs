//! `POST /move`: the folder is to move elsewhere. Only the house can grant that, so the wish is handed on; the answer comes when the folder
//! is marked, and the process ends after it.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;
use tokio::sync::oneshot;

use crate::{Desk, refuse::Refused, wish::Wish};

/// A wish that only the house can grant: to leave the folder to a move.
#[derive(Debug)]
pub struct MoveAsked {
    /// Which move, as the folder's mark will say it.
    pub id: String,
    /// Where to, in words.
    pub to: String,
    /// Whether it was granted, or why not.
    pub answer: oneshot::Sender<Result<(), String>>,
}

pub(crate) async fn ask(State(desk): State<Arc<Desk>>, mut wish: Wish) -> Result<Response, Refused> {
    let refused = |message: String| Refused::whole(StatusCode::CONFLICT, "cannot_move", message);
    let (id, to) = (wish.text("id")?, wish.text("to")?);
    wish.done()?;
    let (answer, granted) = oneshot::channel();
    let busy = || refused("this process cannot leave its folder now: it is stopping, or another move asks already".to_owned());
    let moves = desk.parts.moves.as_ref().ok_or_else(|| refused("this process does not hold a folder that could be moved".to_owned()))?;
    moves.try_send(MoveAsked { id, to, answer }).map_err(|_| busy())?;
    match granted.await {
        Ok(Ok(())) => Ok(Json(json!({"state": "moving"})).into_response()),
        Ok(Err(why)) => Err(refused(why)),
        Err(_) => Err(busy()),
    }
}
