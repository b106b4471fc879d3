//! The metrics page, and what this room measures itself.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use prometheus::{IntGaugeVec, Opts, Registry, TextEncoder};
use schemas::topic::Group;
use storage::{ReadError, Storage};

use crate::{Desk, refuse::Refused};

/// 1, with the version as its label.
const BUILD_INFO: &str = "rapidmetrics_build_info";
/// Records of a topic's partition that a group has not committed.
const LOG_LAG_RECORDS: &str = "rapidmetrics_log_lag_records";
/// Workspaces, funnels and pixels in the directory.
const DIRECTORY_ENTRIES: &str = "rapidmetrics_directory_entries";

/// What this room measures, most of it when the page is asked for.
#[derive(Clone)]
pub struct Metrics {
    build_info: IntGaugeVec,
    log_lag_records: IntGaugeVec,
    directory_entries: IntGaugeVec,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// This room's metrics.
    pub fn new() -> Self {
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            IntGaugeVec::new(Opts::new(name, help), labels).expect("names and labels are constants that fit Prometheus")
        };
        Self {
            build_info: gauge(BUILD_INFO, "1, with the version as its label.", &["version"]),
            log_lag_records: gauge(LOG_LAG_RECORDS, "Records that a group has not committed.", &["group", "topic", "partition"]),
            directory_entries: gauge(DIRECTORY_ENTRIES, "Workspaces, funnels and pixels in the directory.", &["kind"]),
        }
    }

    /// Adds them to the registry.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.build_info.clone()))?;
        registry.register(Box::new(self.log_lag_records.clone()))?;
        registry.register(Box::new(self.directory_entries.clone()))
    }

    async fn look(&self, desk: &Desk) -> Result<(), ReadError> {
        self.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let directory = desk.parts.directory.load();
        let (workspaces, funnels, pixels) = directory.all();
        self.directory_entries.with_label_values(&["workspace"]).set(workspaces.count() as i64);
        self.directory_entries.with_label_values(&["funnel"]).set(funnels.count() as i64);
        self.directory_entries.with_label_values(&["pixel"]).set(pixels.count() as i64);
        for group in [Group::Processor, Group::Capi] {
            self.look_at_group(&desk.parts.storage, group).await?;
        }
        Ok(())
    }

    async fn look_at_group(&self, storage: &Storage, group: Group) -> Result<(), ReadError> {
        let topic = group.topic();
        for partition in 0..storage.partitions(topic) {
            // The committed offset first: the log only grows, so the difference is never too small.
            let next = storage.committed(group, partition).await?.next_offset;
            let (first, end) = storage.bounds(topic, partition).await?;
            let lag = end.saturating_sub(next.max(first));
            self.log_lag_records.with_label_values(&[group.name(), topic.name(), &partition.to_string()]).set(lag as i64);
        }
        Ok(())
    }
}

pub(crate) async fn page(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    desk.parts.metrics.look(&desk).await?;
    let text = TextEncoder::new().encode_to_string(&desk.parts.registry.gather());
    let text = text.map_err(|error| {
        tracing::error!(%error, "metrics cannot be written");
        Refused::whole(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "metrics_failed", "the metrics cannot be written")
    })?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
