//! The topics: a closed list, with key and retention.

use serde::{Deserialize, Serialize};

/// Every topic of the log. On Kafka each is called `rapidmetrics.<name>.v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// What came in, as it came. Key: the partition key of [`crate::key`]. Written by ingest, read by the processor.
    Raw,
    /// Every event judged First. Key: funnel and visitor.
    Events,
    /// Concluded purchases, newest revision replaces. Key: funnel and order (or event id).
    Purchases,
    /// Concluded leads, newest revision replaces. Key: funnel and order (or event id).
    Leads,
    /// One fact meant for one pixel. Key: pixel. Read by the sink.
    Dispatch,
    /// What became of dispatches. Key: pixel.
    Deliveries,
    /// The judge's answers on their way to the doors that asked; each door reads the partition it chose. Embedded engines give them in
    /// memory and leave this topic empty.
    Verdicts,
    /// Workspaces, funnels, pixels, sealed secrets. Key: entity id. Read by every role.
    Directory,
    /// What operators asked for. Key: pixel or funnel.
    Commands,
    /// Who did what. Key: workspace.
    Audit,
    /// What could not be accepted, with the reason. Key: the source's key.
    Dead,
}

impl Topic {
    /// All topics, in the order of their codes.
    pub const ALL: [Self; 11] = [
        Self::Raw,
        Self::Events,
        Self::Purchases,
        Self::Leads,
        Self::Dispatch,
        Self::Deliveries,
        Self::Verdicts,
        Self::Directory,
        Self::Commands,
        Self::Audit,
        Self::Dead,
    ];

    /// The short name, as commands take it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Events => "events",
            Self::Purchases => "purchases",
            Self::Leads => "leads",
            Self::Dispatch => "dispatch",
            Self::Deliveries => "deliveries",
            Self::Verdicts => "verdicts",
            Self::Directory => "directory",
            Self::Commands => "commands",
            Self::Audit => "audit",
            Self::Dead => "dead",
        }
    }

    /// The topic of that short name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }

    /// The number that stands for the topic in embedded log keys. Never reused.
    pub fn code(self) -> u8 {
        match self {
            Self::Raw => 1,
            Self::Events => 2,
            Self::Purchases => 3,
            Self::Leads => 4,
            Self::Dispatch => 5,
            Self::Deliveries => 6,
            Self::Directory => 7,
            Self::Commands => 8,
            Self::Audit => 9,
            Self::Dead => 10,
            Self::Verdicts => 11,
        }
    }

    /// Days a record is kept at least; `None` is for ever. What a consumer of ours has not read is kept longer.
    pub fn keep_days(self) -> Option<u32> {
        match self {
            Self::Purchases | Self::Leads | Self::Directory => None,
            Self::Raw | Self::Events | Self::Deliveries | Self::Commands => Some(30),
            Self::Verdicts => Some(1),  // who has not heard within seconds no longer waits
            Self::Dispatch => Some(10), // Meta's seven days and a margin
            Self::Dead => Some(90),
            Self::Audit => Some(365),
        }
    }

    /// Whether the topic has one partition whatever the setting says, because its order across keys matters.
    pub fn is_single(self) -> bool {
        matches!(self, Self::Directory | Self::Audit | Self::Dead)
    }
}

/// The consumers of ours: each has committed offsets of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The judge, on raw.
    Processor,
    /// The CAPI sink, on dispatch.
    Capi,
}

impl Group {
    /// All groups.
    pub const ALL: [Self; 2] = [Self::Processor, Self::Capi];

    /// The group's name in the log's own bookkeeping.
    pub fn name(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Capi => "capi",
        }
    }

    /// What the group reads.
    pub fn topic(self) -> Topic {
        match self {
            Self::Processor => Topic::Raw,
            Self::Capi => Topic::Dispatch,
        }
    }
}
