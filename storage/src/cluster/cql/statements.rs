//! The statements, prepared once: token-aware, with idempotence and retries set on purpose.

use std::sync::Arc;

use prometheus::Histogram;
use scylla::{
    client::session::Session,
    errors::{DbError, PrepareError, RequestAttemptError},
    policies::retry::FallthroughRetryPolicy,
    statement::{Consistency, SerialConsistency, prepared::PreparedStatement},
};

use super::CqlConfig;
use crate::OpenError;

/// Rows in one page of a read that may be long.
const PAGE_ROWS: i32 = 1_000;

/// One statement with its name in metrics.
pub(super) struct Asked {
    pub(super) name: &'static str,
    pub(super) statement: PreparedStatement,
    pub(super) seconds: Histogram,
}

/// How a statement may be retried.
#[derive(Clone, Copy)]
enum Kind {
    /// Reads, and upserts with a stamp of their own: again as often as one likes.
    Idempotent,
    /// A conditional write: never again by itself, because an answer that was lost leaves open whether it was applied.
    Conditional,
    /// A read that sees every conditional write before it.
    Serial,
}

macro_rules! statements {
    ($($name:ident: $kind:ident, $text:expr;)*) => {
        /// Every statement.
        pub(super) struct Statements {
            $(pub(super) $name: Asked,)*
        }

        impl Statements {
            pub(super) async fn prepare(session: &Session, config: &CqlConfig, metrics: &super::Metrics) -> Result<Self, OpenError> {
                Ok(Self { $($name: prepare(session, config, metrics, stringify!($name), Kind::$kind, $text).await?,)* })
            }
        }
    };
}

statements! {
    put_seen_browser: Idempotent,
        "INSERT INTO seen (funnel, dedup_key, raw_partition, browser) VALUES (?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";
    put_seen_server: Idempotent,
        "INSERT INTO seen (funnel, dedup_key, raw_partition, server) VALUES (?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";
    get_seen: Idempotent, "SELECT browser, server FROM seen WHERE funnel = ? AND dedup_key = ?";
    scan_seen: Idempotent, "SELECT funnel, dedup_key, browser, server FROM seen WHERE raw_partition = ? ALLOW FILTERING";
    put_purchase: Idempotent, "INSERT INTO purchases (funnel, fact_key, fact) VALUES (?, ?, ?) USING TIMESTAMP ?";
    get_purchase: Idempotent, "SELECT fact FROM purchases WHERE funnel = ? AND fact_key = ?";
    page_purchases: Idempotent, "SELECT fact FROM purchases";
    put_purchase_by_day: Idempotent,
        "INSERT INTO purchases_by_day (funnel, day, bucket, fact_key, fact) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?";
    put_lead: Idempotent, "INSERT INTO leads (funnel, fact_key, fact) VALUES (?, ?, ?) USING TIMESTAMP ?";
    get_lead: Idempotent, "SELECT fact FROM leads WHERE funnel = ? AND fact_key = ?";
    page_leads: Idempotent, "SELECT fact FROM leads";
    put_lead_by_day: Idempotent,
        "INSERT INTO leads_by_day (funnel, day, bucket, fact_key, fact) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?";
    put_visitor: Idempotent,
        "UPDATE visitors USING TIMESTAMP ? AND TTL ? SET person = ?, context = ?, consent = ? WHERE funnel = ? AND visitor = ?";
    get_visitor: Idempotent, "SELECT person, context, consent FROM visitors WHERE funnel = ? AND visitor = ?";
    put_person: Idempotent,
        "UPDATE people USING TIMESTAMP ? AND TTL ? SET context = ?, consent = ? WHERE funnel = ? AND email = ?";
    get_person: Idempotent, "SELECT context, consent FROM people WHERE funnel = ? AND email = ?";
    put_person_key: Idempotent, "INSERT INTO person_keys (funnel, email, key_id, sealed) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
    get_person_keys: Idempotent, "SELECT key_id, sealed FROM person_keys WHERE funnel = ? AND email = ?";
    put_piece: Idempotent,
        "INSERT INTO filter_snapshots (raw_partition, generation, next_offset, piece, bytes) VALUES (?, ?, ?, ?, ?)";
    get_pieces: Idempotent,
        "SELECT piece, bytes FROM filter_snapshots WHERE raw_partition = ? AND generation = ? AND next_offset = ?";
    list_pieces: Idempotent, "SELECT generation, next_offset, piece FROM filter_snapshots WHERE raw_partition = ?";
    drop_pieces: Idempotent, "DELETE FROM filter_snapshots WHERE raw_partition = ? AND generation = ? AND next_offset = ? AND piece >= ?";
    get_owner: Serial, "SELECT epoch, owner, attempt FROM owners WHERE dispatch_partition = ?";
    first_owner: Conditional,
        "INSERT INTO owners (dispatch_partition, epoch, owner, attempt) VALUES (?, ?, ?, ?) IF NOT EXISTS";
    next_owner: Conditional, "UPDATE owners SET epoch = ?, owner = ? WHERE dispatch_partition = ? IF epoch = ?";
    own_attempt: Conditional, "UPDATE owners SET attempt = ? WHERE dispatch_partition = ? IF epoch = ? AND attempt < ?";
    put_intent: Idempotent,
        "INSERT INTO intents (dispatch_partition, bucket, attempt, is_settled, intent) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL 2592000";
    get_intents: Idempotent,
        "SELECT is_settled, intent FROM intents WHERE dispatch_partition = ? AND bucket = ? AND attempt >= ? AND attempt < ?";
    put_delivery: Idempotent, "INSERT INTO deliveries (pixel, dedup_key, delivery) VALUES (?, ?, ?) USING TIMESTAMP ? AND TTL ?";
    get_delivery: Idempotent, "SELECT delivery, WRITETIME(delivery) FROM deliveries WHERE pixel = ? AND dedup_key = ?";
    page_deliveries: Idempotent, "SELECT delivery FROM deliveries";
    put_waiting: Idempotent,
        "INSERT INTO waiting (pixel, deadline_hour, dedup_key, due_at, waiting) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";
    begin_waiting: Idempotent,
        "INSERT INTO waiting (pixel, deadline_hour, dedup_key, due_at, waiting, begins) VALUES (?, ?, ?, ?, ?, true) USING TIMESTAMP ? AND TTL ?";
    drop_waiting: Idempotent, "DELETE FROM waiting USING TIMESTAMP ? WHERE pixel = ? AND deadline_hour = ? AND dedup_key = ?";
    get_waiting: Idempotent, "SELECT waiting, WRITETIME(begins) FROM waiting WHERE pixel = ? AND deadline_hour = ? AND dedup_key = ?";
    hour_waiting: Idempotent, "SELECT due_at, waiting, WRITETIME(begins) FROM waiting WHERE pixel = ? AND deadline_hour = ?";
    page_waiting: Idempotent, "SELECT waiting FROM waiting WHERE pixel = ? AND deadline_hour = ? AND dedup_key > ? LIMIT ?";
    put_hour: Idempotent,
        "INSERT INTO waiting_hours (dispatch_partition, pixel, deadline_hour, is_marked) VALUES (?, ?, ?, true) USING TIMESTAMP ? AND TTL ?";
    get_hours: Idempotent, "SELECT pixel, deadline_hour FROM waiting_hours WHERE dispatch_partition = ?";
    get_hours_of: Idempotent, "SELECT pixel, deadline_hour FROM waiting_hours WHERE dispatch_partition = ? AND pixel = ?";
    get_topics: Idempotent, "SELECT name, generation, partitions FROM topics";
    get_move: Serial, "SELECT id, has_ended FROM moves WHERE prefix = ?";
    claim_move: Conditional, "INSERT INTO moves (prefix, id, has_ended) VALUES (?, ?, false) IF NOT EXISTS";
    end_move: Conditional, "UPDATE moves SET has_ended = true WHERE prefix = ? IF id = ?";
    forget_move: Conditional, "DELETE FROM moves WHERE prefix = ? IF id = ?";
    put_topic: Idempotent, "INSERT INTO topics (name, generation, partitions) VALUES (?, ?, ?)";
}

async fn prepare(
    session: &Session,
    config: &CqlConfig,
    metrics: &super::Metrics,
    name: &'static str,
    kind: Kind,
    text: &str,
) -> Result<Asked, OpenError> {
    // Only the server's word about the statement tells tables of another release from a server that is away.
    let mut statement = session.prepare(text).await.map_err(|error| match error {
        PrepareError::AllAttemptsFailed {
            first_attempt: RequestAttemptError::DbError(DbError::Invalid | DbError::SyntaxError | DbError::ConfigError, why),
        } => OpenError::Cluster(format!(
            "the tables in keyspace {} are not those of this release ({why}); run `rapidmetrics migrate`",
            config.keyspace
        )),
        away => OpenError::Away(format!("the CQL server: {away}")),
    })?;
    statement.set_page_size(PAGE_ROWS);
    match kind {
        Kind::Idempotent => statement.set_is_idempotent(true),
        Kind::Conditional => {
            statement.set_is_idempotent(false);
            statement.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy)));
            statement.set_serial_consistency(Some(SerialConsistency::LocalSerial));
        }
        Kind::Serial => {
            statement.set_is_idempotent(true);
            statement.set_consistency(Consistency::LocalSerial);
        }
    }
    Ok(Asked { name, statement, seconds: metrics.seconds.with_label_values(&[name]) })
}
