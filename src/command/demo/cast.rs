//! Who plays in the demo: one workspace, one funnel, two pixels. Found in the directory of a kept folder, or made.

use anyhow::Context;
use meta_sandbox::{Mode, Sandbox};
use schemas::{
    directory::{Directory, FunnelEntry, Workspace},
    secret::{Key, Sealed},
    world::World,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{command::desk::Desk, house::House};

const WORKSPACE: &str = "Demo";
const FUNNEL: &str = "Demo shop";
/// A browser purchase of the demo waits this long for its webhook, in seconds: long enough to send one by hand, short enough to watch.
const SERVER_LEG_WAIT_S: u32 = 3;
/// They look like Meta's and belong to nobody: nothing leaves this machine.
const PIXELS: [&str; 2] = ["1049382716405501", "7730915528846203"];

/// Everyone, complete.
pub struct Cast {
    pub funnel_id: String,
    pub api_key: String,
    pub pixels: [Pixel; 2],
}

/// A pixel as the demo tells of it.
#[derive(Serialize)]
pub struct Pixel {
    pub id: String,
    pub access_token: String,
}

/// What the directory knows at start. A demo that was killed while it made its cast goes on where it stopped.
pub struct Known {
    workspace: Option<(String, String)>,
    funnel_id: Option<String>,
    pixels: [KnownPixel; 2],
    /// Pixels that people added; the box plays them too.
    others: Vec<(String, String)>,
}

/// One of the two pixels.
struct KnownPixel {
    id: &'static str,
    token: String,
    linked: bool,
}

impl Known {
    /// Looks into the directory; pixels that are not there get a token of their own already.
    pub fn of(house: &House) -> anyhow::Result<Self> {
        let directory = house.directory.load();
        let workspace = workspace(&directory);
        let funnel = workspace.and_then(|workspace| funnel(&directory, workspace));
        let others = directory.all().2.filter(|pixel| !PIXELS.contains(&pixel.id.as_str()));
        let others = others.map(|pixel| Ok((pixel.id.to_string(), open(&house.keys, admin::ACCESS_TOKEN_PURPOSE, &pixel.access_token)?)));
        let [first, second] = PIXELS;
        Ok(Self {
            workspace: workspace.map(|known| with_key(&house.keys, known)).transpose()?,
            funnel_id: funnel.map(|entry| entry.funnel.id.to_string()),
            pixels: [pixel(house, &directory, funnel, first)?, pixel(house, &directory, funnel, second)?],
            others: others.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Tells the box whom it plays.
    pub fn introduce_to(&self, sandbox: &Sandbox) -> anyhow::Result<()> {
        for KnownPixel { id, token, .. } in &self.pixels {
            sandbox.put_pixel(id, token, Mode::Real)?;
        }
        self.others.iter().try_for_each(|(id, token)| sandbox.put_pixel(id, token, Mode::Real))
    }

    /// Makes whoever is missing.
    pub async fn complete(self, desk: &Desk) -> anyhow::Result<Cast> {
        let (workspace_id, api_key) = if let Some(known) = self.workspace {
            known
        } else {
            let made = desk.post::<Value>("workspaces", &json!({"name": WORKSPACE})).await?;
            (text(&made, "id")?, text(&made, "api_key")?)
        };
        let funnel_id = if let Some(known) = self.funnel_id {
            known
        } else {
            let wish = json!({"workspace_id": workspace_id, "name": FUNNEL, "server_leg_wait_s": SERVER_LEG_WAIT_S});
            text(&desk.post::<Value>("funnels", &wish).await?, "id")?
        };
        for KnownPixel { id, token, .. } in self.pixels.iter().filter(|pixel| !pixel.linked) {
            desk.post::<Value>("pixels", &json!({"funnel_id": funnel_id, "id": id, "token": token})).await?;
        }
        Ok(Cast {
            funnel_id,
            api_key,
            pixels: self.pixels.map(|KnownPixel { id, token, .. }| Pixel { id: id.to_owned(), access_token: token }),
        })
    }
}

fn workspace(directory: &Directory) -> Option<&Workspace> {
    let named = directory.all().0.filter(|workspace| workspace.name == WORKSPACE);
    named.min_by_key(|workspace| workspace.id.clone()).map(AsRef::as_ref)
}

fn funnel<'a>(directory: &'a Directory, workspace: &Workspace) -> Option<&'a FunnelEntry> {
    let named = directory.all().1.filter(|entry| entry.funnel.name == FUNNEL && entry.funnel.workspace_id == workspace.id);
    named.min_by_key(|entry| entry.funnel.id.clone()).map(AsRef::as_ref)
}

fn pixel(house: &House, directory: &Directory, funnel: Option<&FunnelEntry>, id: &'static str) -> anyhow::Result<KnownPixel> {
    let Some(known) = directory.pixel(id) else {
        return Ok(KnownPixel { id, token: new_token(&*house.world), linked: false });
    };
    let token = open(&house.keys, admin::ACCESS_TOKEN_PURPOSE, &known.access_token)?;
    Ok(KnownPixel { id, token, linked: funnel.is_some_and(|entry| entry.pixels.contains(&known.id)) })
}

fn with_key(keys: &Key, workspace: &Workspace) -> anyhow::Result<(String, String)> {
    Ok((workspace.id.to_string(), open(keys, admin::API_KEY_PURPOSE, &workspace.api_key)?))
}

/// Looks like Meta's: `EAA` and letters.
fn new_token(world: &dyn World) -> String {
    let mut random = [0; 32];
    world.fill(&mut random);
    format!("EAA{}", hex::encode(random))
}

fn open(keys: &Key, purpose: &str, sealed: &Sealed) -> anyhow::Result<String> {
    Ok(String::from_utf8(keys.open(purpose, sealed)?.to_vec())?)
}

fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    answer[field].as_str().map(str::to_owned).with_context(|| format!("the desk's answer lacks {field}"))
}
