//! The directory: workspaces, funnels, pixels and their sealed secrets. A value folded from its topic, not a service.

use std::{collections::HashMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    id::{FunnelId, PixelId, WorkspaceId},
    money::Currency,
    secret::{Lookup, Sealed},
    site::Site,
    time::Time,
};

/// One record of the directory topic.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DirectoryRecord {
    /// Made by the desk, UUIDv7.
    pub id: Uuid,
    /// The version of these words.
    pub version: u16,
    /// When it was decided.
    pub at: Time,
    /// What changed.
    pub change: Change,
}

/// What can change in the directory.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Change {
    /// A new workspace with its API key.
    WorkspaceCreated(Workspace),
    /// A new funnel, or a known one with other settings: the record says all of it.
    FunnelCreated(Funnel),
    /// A pixel was given to a workspace, or got a new token.
    PixelSet(Pixel),
    /// A funnel is linked to a pixel of its workspace.
    PixelLinked {
        /// The funnel.
        funnel_id: FunnelId,
        /// The pixel.
        pixel_id: PixelId,
    },
}

impl Change {
    /// The key of the record: the id of the entity it is about.
    pub fn entity(&self) -> String {
        match self {
            Self::WorkspaceCreated(workspace) => format!("workspace|{}", workspace.id),
            Self::FunnelCreated(funnel) => format!("funnel|{}", funnel.id),
            Self::PixelSet(pixel) => format!("pixel|{}", pixel.id),
            Self::PixelLinked { funnel_id, pixel_id } => format!("link|{funnel_id}|{pixel_id}"),
        }
    }
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// Its name, for people.
    pub name: String,
    /// Its API key, sealed for the purpose `api-key`: shown on request.
    pub api_key: Sealed,
    /// The keyed hash of its API key.
    pub api_key_lookup: Lookup,
}

/// One site or flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Funnel {
    /// Its public id.
    pub id: FunnelId,
    /// Its workspace.
    pub workspace_id: WorkspaceId,
    /// Its name, for people.
    pub name: String,
    /// The currency of amounts that name none.
    pub currency: Currency,
    /// How long a browser purchase with an `order_id` waits for its server leg before Meta hears of it, in seconds; 0 switches it off.
    #[serde(default = "server_leg_wait_s")]
    pub server_leg_wait_s: u32,
    /// How its pages behave, and which may send.
    #[serde(default, skip_serializing_if = "Site::is_usual")]
    pub site: Site,
}

/// How long a browser purchase waits for its server leg, in seconds, unless its funnel says otherwise: backends tell of a sale within
/// seconds, and a minute costs Meta's optimisation nothing.
pub const SERVER_LEG_WAIT_S: u32 = 60;
/// The longest such wait, in seconds: a day. Meta folds the pixel's copy and ours only within two days, and the copy has to arrive in them.
pub const SERVER_LEG_WAIT_S_MAX: u32 = 86_400;

/// Funnels recorded before there was a wait have the usual one.
fn server_leg_wait_s() -> u32 {
    SERVER_LEG_WAIT_S
}

/// A Meta dataset of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pixel {
    /// Meta's id.
    pub id: PixelId,
    /// The workspace that owns it.
    pub workspace_id: WorkspaceId,
    /// Its access token, sealed for the purpose `access-token`.
    pub access_token: Sealed,
    /// Meta's test event code, if set: such events still count at Meta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_event_code: Option<String>,
}

/// The directory as folded so far.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    workspaces: HashMap<WorkspaceId, Arc<Workspace>>,
    funnels: HashMap<FunnelId, Arc<FunnelEntry>>,
    pixels: HashMap<PixelId, Arc<Pixel>>,
}

/// A funnel with what the door stamps into raw.
#[derive(Clone, Debug)]
pub struct FunnelEntry {
    /// The funnel.
    pub funnel: Funnel,
    /// The keyed hash of its workspace's API key.
    pub api_key_lookup: Lookup,
    /// Its pixels in the order they were linked.
    pub pixels: Vec<PixelId>,
}

/// Why a record does not fit the directory. It is reported and passed over: an older record already decided otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The workspace is not known.
    #[error("workspace {0} is not known")]
    NoWorkspace(WorkspaceId),
    /// The funnel is not known.
    #[error("funnel {0} is not known")]
    NoFunnel(FunnelId),
    /// The pixel is not known in the funnel's workspace.
    #[error("pixel {0} is not known in this workspace")]
    NoPixel(PixelId),
    /// The pixel belongs to another workspace.
    #[error("pixel {0} belongs to another workspace")]
    ForeignPixel(PixelId),
}

impl Directory {
    /// Takes one change in. A change told twice changes nothing the second time.
    pub fn fold(&mut self, change: Change) -> Result<(), FoldError> {
        match change {
            Change::WorkspaceCreated(workspace) => {
                self.workspaces.insert(workspace.id.clone(), Arc::new(workspace));
            }
            Change::FunnelCreated(funnel) => {
                let workspace =
                    self.workspaces.get(&funnel.workspace_id).ok_or_else(|| FoldError::NoWorkspace(funnel.workspace_id.clone()))?;
                let pixels = self.funnels.get(&funnel.id).map(|known| known.pixels.clone()).unwrap_or_default();
                let entry = FunnelEntry { api_key_lookup: workspace.api_key_lookup.clone(), pixels, funnel };
                self.funnels.insert(entry.funnel.id.clone(), Arc::new(entry));
            }
            Change::PixelSet(pixel) => {
                if !self.workspaces.contains_key(&pixel.workspace_id) {
                    return Err(FoldError::NoWorkspace(pixel.workspace_id));
                }
                if self.pixels.get(&pixel.id).is_some_and(|known| known.workspace_id != pixel.workspace_id) {
                    return Err(FoldError::ForeignPixel(pixel.id));
                }
                self.pixels.insert(pixel.id.clone(), Arc::new(pixel));
            }
            Change::PixelLinked { funnel_id, pixel_id } => {
                let entry = self.funnels.get_mut(&funnel_id).ok_or(FoldError::NoFunnel(funnel_id))?;
                let owned = self.pixels.get(&pixel_id).is_some_and(|pixel| pixel.workspace_id == entry.funnel.workspace_id);
                if !owned {
                    return Err(FoldError::NoPixel(pixel_id));
                }
                if !entry.pixels.contains(&pixel_id) {
                    Arc::make_mut(entry).pixels.push(pixel_id);
                }
            }
        }
        Ok(())
    }

    /// A funnel with its pixels.
    pub fn funnel(&self, id: &str) -> Option<&Arc<FunnelEntry>> {
        self.funnels.get(id)
    }

    /// A workspace.
    pub fn workspace(&self, id: &str) -> Option<&Arc<Workspace>> {
        self.workspaces.get(id)
    }

    /// A pixel.
    pub fn pixel(&self, id: &str) -> Option<&Arc<Pixel>> {
        self.pixels.get(id)
    }

    /// All workspaces, funnels and pixels, in no order.
    pub fn all(
        &self,
    ) -> (impl Iterator<Item = &Arc<Workspace>>, impl Iterator<Item = &Arc<FunnelEntry>>, impl Iterator<Item = &Arc<Pixel>>) {
        (self.workspaces.values(), self.funnels.values(), self.pixels.values())
    }
}
