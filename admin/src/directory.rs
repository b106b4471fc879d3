//! Workspaces and funnels: what there is, and how more is made; and how pixels are added.
//!
//! A change is checked by folding it into a copy of the directory, appended, and answered when this process has folded it: a funnel
//! that was just created takes webhooks.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use schemas::{
    directory::{Change, DirectoryRecord, Funnel, Pixel, SERVER_LEG_WAIT_S, SERVER_LEG_WAIT_S_MAX, Workspace},
    envelope,
    id::{FunnelId, PixelId, WorkspaceId},
    meta::TEST_EVENT_CODE_BYTES_MAX,
    money::Currency,
    secret::NONCE_BYTES,
    site::Site,
    topic::Topic,
    world::World,
};
use serde::Serialize;
use serde_json::{Map, Value};
use storage::Append;

use crate::{ACCESS_TOKEN_PURPOSE, API_KEY_PURPOSE, Desk, refuse::Refused, wish::Wish};

/// Longest name of a workspace or funnel, in characters: it has to fit on a page.
const NAME_CHARS_MAX: usize = 200;
/// Longest access token; Meta's are about 200 bytes.
const TOKEN_BYTES_MAX: usize = 2_048;
/// Letters of API keys: lower case and digits without look-alikes, 5 bits each.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Letters of an API key after its prefix: 200 bits.
const API_KEY_LETTERS: usize = 40;

/// The answer to a new workspace: the only one that shows its key.
#[derive(Serialize)]
struct WorkspaceMade {
    id: WorkspaceId,
    name: String,
    api_key: String,
}

#[derive(Serialize)]
struct FunnelMade {
    id: FunnelId,
    workspace_id: WorkspaceId,
    name: String,
    currency: Currency,
    server_leg_wait_s: u32,
    site: Site,
}

#[derive(Serialize)]
struct PixelAdded {
    id: PixelId,
    funnel_id: FunnelId,
}

#[derive(Serialize)]
pub(crate) struct WorkspaceListed {
    id: WorkspaceId,
    name: String,
}

#[derive(Serialize)]
pub(crate) struct FunnelListed {
    #[serde(flatten)]
    funnel: FunnelMade,
    pixels: Vec<PixelId>,
}

pub(crate) async fn create_workspace(State(desk): State<Arc<Desk>>, mut wish: Wish) -> Result<Response, Refused> {
    let name = name(&mut wish)?;
    wish.done()?;
    let (keys, world) = (&desk.parts.keys, &*desk.parts.world);
    let api_key = new_api_key(world);
    let workspace = Workspace {
        id: WorkspaceId::new(random(world)),
        name,
        api_key: keys.seal(API_KEY_PURPOSE, api_key.as_bytes(), random::<NONCE_BYTES>(world)),
        api_key_lookup: keys.lookup(&api_key),
    };
    let answer = WorkspaceMade { id: workspace.id.clone(), name: workspace.name.clone(), api_key };
    desk.change(vec![Change::WorkspaceCreated(workspace)]).await?;
    Ok(created(answer))
}

pub(crate) async fn create_funnel(State(desk): State<Arc<Desk>>, mut wish: Wish) -> Result<Response, Refused> {
    let workspace_id = wish.text("workspace_id")?;
    let workspace_id = WorkspaceId::parse(&workspace_id).map_err(|error| Refused::invalid("workspace_id", error))?;
    let name = name(&mut wish)?;
    let currency = wish.text_if_any("currency")?;
    let currency = Currency::parse(currency.as_deref().unwrap_or("USD")).map_err(|error| Refused::invalid("currency", error))?;
    let server_leg_wait_s = wait(&mut wish)?.unwrap_or(SERVER_LEG_WAIT_S);
    let site = wish.object_if_any("site")?;
    wish.done()?;
    let site = site_with(&Site::default(), site)?;
    let funnel = Funnel { id: FunnelId::new(random(&*desk.parts.world)), workspace_id, name, currency, server_leg_wait_s, site };
    let answer = FunnelMade::of(&funnel);
    desk.change(vec![Change::FunnelCreated(funnel)]).await?;
    Ok(created(answer))
}

/// Changes a funnel's settings; what is not named stays.
pub(crate) async fn set_funnel(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    mut wish: Wish,
) -> Result<Json<impl Serialize>, Refused> {
    let id = FunnelId::parse(&id).map_err(|error| Refused::invalid("id", error))?;
    let server_leg_wait_s = wait(&mut wish)?;
    let site = wish.object_if_any("site")?;
    wish.done()?;
    let known = desk.parts.directory.load().funnel(id.as_str()).map(|entry| entry.funnel.clone());
    let known = known.ok_or(schemas::directory::FoldError::NoFunnel(id))?;
    let site = site_with(&known.site, site)?;
    let funnel = Funnel { server_leg_wait_s: server_leg_wait_s.unwrap_or(known.server_leg_wait_s), site, ..known };
    let answer = FunnelMade::of(&funnel);
    desk.change(vec![Change::FunnelCreated(funnel)]).await?;
    Ok(Json(answer))
}

fn site_with(known: &Site, named: Option<Map<String, Value>>) -> Result<Site, Refused> {
    known.with(named.unwrap_or_default()).map_err(|why| Refused::field("invalid", "site", why))
}

fn wait(wish: &mut Wish) -> Result<Option<u32>, Refused> {
    wish.number_if_any("server_leg_wait_s", SERVER_LEG_WAIT_S_MAX)
}

pub(crate) async fn add_pixel(State(desk): State<Arc<Desk>>, mut wish: Wish) -> Result<Response, Refused> {
    let funnel_id = wish.text("funnel_id")?;
    let funnel_id = FunnelId::parse(&funnel_id).map_err(|error| Refused::invalid("funnel_id", error))?;
    let id = wish.text("id")?;
    let id = PixelId::parse(&id).map_err(|error| Refused::invalid("id", error))?;
    let token = visible("token", wish.text("token")?, TOKEN_BYTES_MAX)?;
    let test_event_code = match wish.text_if_any("test_event_code")?.filter(|code| !code.is_empty()) {
        Some(code) => Some(visible("test_event_code", code, TEST_EVENT_CODE_BYTES_MAX)?),
        None => None,
    };
    wish.done()?;
    let workspace_id = match desk.parts.directory.load().funnel(funnel_id.as_str()) {
        Some(entry) => entry.funnel.workspace_id.clone(),
        None => return Err(schemas::directory::FoldError::NoFunnel(funnel_id).into()),
    };
    let nonce = random::<NONCE_BYTES>(&*desk.parts.world);
    let access_token = desk.parts.keys.seal(ACCESS_TOKEN_PURPOSE, token.as_bytes(), nonce);
    let answer = PixelAdded { id: id.clone(), funnel_id: funnel_id.clone() };
    let pixel = Pixel { id: id.clone(), workspace_id, access_token, test_event_code };
    desk.change(vec![Change::PixelSet(pixel), Change::PixelLinked { funnel_id, pixel_id: id }]).await?;
    Ok(created(answer))
}

pub(crate) async fn workspaces(State(desk): State<Arc<Desk>>) -> Json<Vec<WorkspaceListed>> {
    let directory = desk.parts.directory.load();
    let listed = directory.all().0.map(|workspace| WorkspaceListed { id: workspace.id.clone(), name: workspace.name.clone() });
    Json(sorted(listed, |workspace| &workspace.id))
}

pub(crate) async fn funnels(State(desk): State<Arc<Desk>>) -> Json<Vec<FunnelListed>> {
    let directory = desk.parts.directory.load();
    let listed = directory.all().1.map(|entry| FunnelListed { funnel: FunnelMade::of(&entry.funnel), pixels: entry.pixels.clone() });
    Json(sorted(listed, |listed| &listed.funnel.id))
}

impl Desk {
    /// Checks changes, makes them durable, and waits until this process has folded them.
    async fn change(&self, changes: Vec<Change>) -> Result<(), Refused> {
        let _held = self.changing.lock().await;
        let mut tried = self.parts.directory.load().as_ref().clone();
        for change in &changes {
            tried.fold(change.clone())?;
        }
        let positions = self.parts.storage.appender().append(changes.into_iter().map(|change| self.record(change)).collect()).await?;
        let end = positions.iter().map(|position| position.offset + 1).max().unwrap_or_default();
        let mut folded = self.parts.folded.clone();
        let seen = folded.wait_for(|below| *below >= end).await.map(drop);
        seen.map_err(|_| {
            let message = "it was written and will be there after the restart: the process is stopping";
            Refused::whole(StatusCode::SERVICE_UNAVAILABLE, "stopping", message)
        })
    }

    fn record(&self, change: Change) -> Append {
        let world = &*self.parts.world;
        let key = change.entity();
        let record = DirectoryRecord { id: world.new_id(), version: envelope::VERSION, at: world.now(), change };
        let value = serde_json::to_vec(&record).expect("our own words serialise");
        Append { topic: Topic::Directory, key: key.into(), value: value.into(), time: record.at }
    }
}

impl FunnelMade {
    fn of(funnel: &Funnel) -> Self {
        let Funnel { id, workspace_id, name, currency, server_leg_wait_s, site } = funnel.clone();
        Self { id, workspace_id, name, currency, server_leg_wait_s, site }
    }
}

fn created(answer: impl Serialize) -> Response {
    (StatusCode::CREATED, Json(answer)).into_response()
}

/// Lists come in the order of their ids, the same each time.
pub(crate) fn sorted<T, K: Ord>(listed: impl Iterator<Item = T>, key: impl Fn(&T) -> &K) -> Vec<T> {
    let mut listed: Vec<T> = listed.collect();
    listed.sort_by(|a, b| key(a).cmp(key(b)));
    listed
}

fn name(wish: &mut Wish) -> Result<String, Refused> {
    let name = wish.text("name")?;
    let fits = (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if fits { Ok(name) } else { Err(Refused::invalid("name", format!("must be 1 to {NAME_CHARS_MAX} characters on one line"))) }
}

fn visible(field: &'static str, text: String, bytes_max: usize) -> Result<String, Refused> {
    let fits = (1..=bytes_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(text) } else { Err(Refused::invalid(field, format!("must be 1 to {bytes_max} visible ASCII characters without spaces"))) }
}

fn new_api_key(world: &dyn World) -> String {
    let letters = random::<API_KEY_LETTERS>(world).map(|byte| char::from(LETTERS[usize::from(byte & 31)]));
    format!("rm_live_{}", letters.iter().collect::<String>())
}

fn random<const N: usize>(world: &dyn World) -> [u8; N] {
    let mut bytes = [0; N];
    world.fill(&mut bytes);
    bytes
}
