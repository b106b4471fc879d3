//! The way to the CQL server: nodes, datacenter, TLS, and what each kind of statement asks of the driver.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use scylla::{
    client::{
        execution_profile::{ExecutionProfile, ExecutionProfileHandle},
        session::Session,
        session_builder::SessionBuilder,
    },
    policies::{
        load_balancing::DefaultPolicy,
        retry::{DefaultRetryPolicy, FallthroughRetryPolicy, RetryPolicy},
    },
    statement::{Consistency, SerialConsistency},
};

use super::{config::CqlConfig, statement::Kind, tls};

/// Tables are made and emptied in their own time.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A session and the datacenter it stays in.
pub(super) struct Connected {
    pub(super) session: Session,
    pub(super) datacenter: String,
    /// Nodes of that datacenter, whether they are up or not.
    pub(super) nodes: usize,
}

/// Connects. What the session does by itself (tables, versions) is not made again by the driver.
pub(super) async fn connect(config: &CqlConfig) -> Result<Connected, String> {
    config.check()?;
    let admin = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .request_timeout(Some(ADMIN_TIMEOUT))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .keyspaces_to_fetch([&config.keyspace])
        .default_execution_profile_handle(admin.into_handle());
    if !config.datacenter.is_empty() {
        builder = builder.prefer_datacenter(config.datacenter.clone());
    }
    if !config.username.is_empty() {
        builder = builder.user(&config.username, &config.password);
    }
    if config.tls {
        builder = builder.tls_context(Some(tls::client(config.tls_ca_file.as_deref())?));
    }
    let asked = config.nodes.join(", ");
    let session = builder.build().await.map_err(|cause| format!("no CQL server answers at {asked}: {cause}"))?;

    let of_nodes = |session: &Session| -> Vec<String> {
        session.get_cluster_state().get_nodes_info().iter().filter_map(|node| node.datacenter.clone()).collect()
    };
    let datacenters = of_nodes(&session);
    let datacenter = if config.datacenter.is_empty() {
        let answer = session.query_unpaged("SELECT data_center FROM system.local", &[]).await;
        let answer = answer.map_err(|cause| format!("the CQL server at {asked} does not say its datacenter: {cause}"))?;
        let row = answer.into_rows_result().map_err(|cause| cause.to_string())?.single_row::<(String,)>();
        row.map_err(|cause| format!("the CQL server at {asked} does not say its datacenter: {cause}"))?.0
    } else {
        config.datacenter.clone()
    };
    let nodes = datacenters.iter().filter(|of_node| **of_node == datacenter).count();
    if nodes == 0 {
        let known: BTreeSet<_> = datacenters.into_iter().collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        return Err(format!("no node of the CQL server at {asked} stands in datacenter {datacenter}; there is {known}"));
    }
    Ok(Connected { session, datacenter, nodes })
}

/// What the driver does for each kind of statement.
pub(super) struct Profiles {
    read: ExecutionProfileHandle,
    write: ExecutionProfileHandle,
    conditional: ExecutionProfileHandle,
    serial_read: ExecutionProfileHandle,
}

impl Profiles {
    /// All stay in one datacenter, reads and writes by a quorum there: what one process wrote, the next one reads. Conditional writes are
    /// serial within it too, because the other writes would not hold across datacenters either.
    pub(super) fn new(config: &CqlConfig, datacenter: &str) -> Self {
        let policy = DefaultPolicy::builder().prefer_datacenter(datacenter.to_owned()).token_aware(true).permit_dc_failover(false).build();
        let timeout = Duration::from_millis(config.request_timeout_ms);
        let profile = |consistency, retry: Arc<dyn RetryPolicy>| {
            ExecutionProfile::builder()
                .load_balancing_policy(Arc::clone(&policy))
                .request_timeout(Some(timeout))
                .consistency(consistency)
                .serial_consistency(Some(SerialConsistency::LocalSerial))
                .retry_policy(retry)
                .build()
                .into_handle()
        };
        Self {
            read: profile(Consistency::LocalQuorum, Arc::new(DefaultRetryPolicy::new())),
            write: profile(Consistency::LocalQuorum, Arc::new(DefaultRetryPolicy::new())),
            // The default policy would make a conditional write again on some errors; whether it happened must be looked up instead.
            conditional: profile(Consistency::LocalQuorum, Arc::new(FallthroughRetryPolicy::new())),
            serial_read: profile(Consistency::LocalSerial, Arc::new(FallthroughRetryPolicy::new())),
        }
    }

    /// The profile of a kind, and whether the driver may make its statements again.
    pub(super) fn of(&self, kind: Kind) -> (ExecutionProfileHandle, bool) {
        match kind {
            Kind::Read => (self.read.clone(), true),
            Kind::Write => (self.write.clone(), true),
            Kind::Conditional => (self.conditional.clone(), false),
            Kind::SerialRead => (self.serial_read.clone(), true),
        }
    }
}
