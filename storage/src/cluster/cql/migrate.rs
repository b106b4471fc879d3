//! Makes the keyspace and its tables, forward only; and looks whether they are all there.

use std::{collections::BTreeSet, time::Duration};

use scylla::{
    client::session::Session,
    serialize::row::SerializeRow,
    value::{CqlValue, Row},
};

use super::{
    config::CqlConfig,
    connect::Connected,
    migration::{self, ALL, Applied, NOTES},
};

/// The row of `schema_migrations` that is the lock: two nodes that are asked for one table at once may make two. It goes by itself after
/// this time, should its holder die.
const LOCK: i32 = -1;
const LOCK_S: i32 = 120;
/// Looks at what another process is doing, and the pause between them: it may hold the lock until it goes by itself.
const LOOKS: u32 = 600;
const PAUSE: Duration = Duration::from_millis(250);
/// Looks at what another process has made: a node lists a table a moment before it takes statements on it.
const LOOKS_SOON: u32 = 40;

const RUN_MIGRATE: &str = "run `rapidmetrics migrate`";

/// Applies what is missing, in order; answers the names. Run twice, or by two processes at once, it changes nothing more.
pub(super) async fn migrate(config: &CqlConfig, connected: &Connected) -> Result<Vec<String>, String> {
    let session = &connected.session;
    let keyspace = &config.keyspace;
    if !has_keyspace(session, keyspace).await? {
        let (datacenter, nodes, copies) = (&connected.datacenter, connected.nodes, config.replication_factor);
        if copies as usize > nodes {
            return Err(format!("{copies} copies of each row need as many nodes in datacenter {datacenter}; there are {nodes}"));
        }
        // A datacenter's name is the operator's, so a quote in it is doubled, as CQL has it.
        let datacenter = datacenter.replace('\'', "''");
        let make = format!(
            "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy', '{datacenter}': {copies}}}"
        );
        change(session, &make).await?;
    }
    settled(session, keyspace).await?;
    let is_scylla = is_scylla(session).await;
    if !tables(session, keyspace).await?.contains(NOTES.table()) {
        change(session, &NOTES.statement(is_scylla)).await?;
    }
    settled(session, keyspace).await?;
    if nothing_is_missing(session, keyspace).await? {
        return Ok(Vec::new());
    }
    lock(session).await?;
    let done = apply(session, keyspace, is_scylla).await;
    let unlock = "DELETE FROM schema_migrations WHERE id = ? IF checksum = ?";
    if let Err(cause) = session.query_unpaged(unlock, (LOCK, session.session_id().to_string())).await {
        tracing::warn!(%cause, "the lock of migrate was not given back; it goes by itself");
    }
    done
}

/// Refuses with a sentence unless keyspace, tables and notes are all there; enters the keyspace.
pub(super) async fn look(session: &Session, keyspace: &str) -> Result<(), String> {
    if !has_keyspace(session, keyspace).await? {
        return Err(format!("keyspace {keyspace} is missing on the CQL server; {RUN_MIGRATE}"));
    }
    enter(session, keyspace).await?;
    let tables = tables(session, keyspace).await?;
    for migration in std::iter::once(&NOTES).chain(&ALL) {
        if !tables.contains(migration.table()) {
            return Err(format!("table {} is missing in keyspace {keyspace}; {RUN_MIGRATE}", migration.table()));
        }
    }
    match migration::missing(&applied(session).await?, keyspace)?.first() {
        Some(first) => Err(format!("migration {} is missing in keyspace {keyspace}; {RUN_MIGRATE}", first.name)),
        None => Ok(()),
    }
}

/// Whether the server is ScyllaDB: only there is a table of that name.
pub(super) async fn is_scylla(session: &Session) -> bool {
    session.query_unpaged("SELECT key FROM system.scylla_local LIMIT 1", &[]).await.is_ok()
}

/// Whether notes and tables are complete, so that a second run need not take the lock.
async fn nothing_is_missing(session: &Session, keyspace: &str) -> Result<bool, String> {
    let applied = applied(session).await?;
    if let Some(name) = migration::newer(&applied) {
        return Err(format!("keyspace {keyspace} has {name}, which this build does not know; migrate with the newer build"));
    }
    let tables = tables(session, keyspace).await?;
    Ok(migration::missing(&applied, keyspace)?.is_empty() && ALL.iter().all(|migration| tables.contains(migration.table())))
}

async fn apply(session: &Session, keyspace: &str, is_scylla: bool) -> Result<Vec<String>, String> {
    // Looked at again: who held the lock before may have applied them.
    let applied = applied(session).await?;
    let missing: BTreeSet<_> = migration::missing(&applied, keyspace)?.iter().map(|migration| migration.id).collect();
    let tables = tables(session, keyspace).await?;
    let mut names = Vec::new();
    for migration in &ALL {
        // A table may be gone although it was noted: an operator dropped it.
        if !missing.contains(&migration.id) && tables.contains(migration.table()) {
            continue;
        }
        change(session, &migration.statement(is_scylla)).await.map_err(|cause| format!("{} cannot be applied: {cause}", migration.name))?;
        let note = "INSERT INTO schema_migrations (id, name, checksum, applied_at) VALUES (?, ?, ?, toTimestamp(now()))";
        ask(session, note, (migration.id, migration.name, migration.checksum())).await?;
        names.push(migration.name.to_owned());
    }
    Ok(names)
}

async fn lock(session: &Session) -> Result<(), String> {
    let take = "INSERT INTO schema_migrations (id, name, checksum) VALUES (?, 'lock', ?) IF NOT EXISTS USING TTL ?";
    let mine = session.session_id().to_string();
    for _ in 0..LOOKS {
        let answer = session.query_unpaged(take, (LOCK, &mine, LOCK_S)).await;
        let rows =
            answer.map_err(|cause| cause.to_string()).and_then(|answer| answer.into_rows_result().map_err(|cause| cause.to_string()));
        // `[applied]` is the first column on every server. Refused because of our own word: an earlier answer was lost.
        let row = rows.and_then(|rows| rows.first_row::<Row>().map_err(|cause| cause.to_string()));
        match row {
            Ok(row) if row.columns.first() == Some(&Some(CqlValue::Boolean(true))) => return Ok(()),
            Ok(row) if row.columns.contains(&Some(CqlValue::Text(mine.clone()))) => return Ok(()),
            Ok(_) => {}
            Err(cause) => tracing::warn!(%cause, "the lock of migrate was not answered"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err("another process is migrating this keyspace and does not end; look at it, then migrate again".to_owned())
}

/// Enters the keyspace once it and its notes, if it has any, take statements.
async fn settled(session: &Session, keyspace: &str) -> Result<(), String> {
    for _ in 1..LOOKS_SOON {
        if is_settled(session, keyspace).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    is_settled(session, keyspace).await
}

async fn is_settled(session: &Session, keyspace: &str) -> Result<(), String> {
    enter(session, keyspace).await?;
    if tables(session, keyspace).await?.contains(NOTES.table()) {
        applied(session).await?;
    }
    Ok(())
}

/// A change of the schema: true on every node when this answers.
async fn change(session: &Session, statement: &str) -> Result<(), String> {
    session.query_unpaged(statement, &[]).await.map_err(|cause| cause.to_string())?;
    session.await_schema_agreement().await.map_err(|cause| format!("the nodes do not agree on the schema: {cause}"))?;
    Ok(())
}

async fn enter(session: &Session, keyspace: &str) -> Result<(), String> {
    session.use_keyspace(keyspace, false).await.map_err(|cause| format!("keyspace {keyspace} cannot be used: {cause}"))
}

async fn has_keyspace(session: &Session, keyspace: &str) -> Result<bool, String> {
    let select = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    Ok(!texts(session, select, (keyspace,)).await?.is_empty())
}

async fn tables(session: &Session, keyspace: &str) -> Result<BTreeSet<String>, String> {
    texts(session, "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?", (keyspace,)).await
}

async fn texts(session: &Session, select: &str, values: impl SerializeRow) -> Result<BTreeSet<String>, String> {
    let rows = ask(session, select, values).await?.into_rows_result().map_err(|cause| cause.to_string())?;
    let rows = rows.rows::<(String,)>().map_err(|cause| cause.to_string())?;
    rows.map(|row| row.map(|(text,)| text).map_err(|cause| cause.to_string())).collect()
}

async fn applied(session: &Session) -> Result<Applied, String> {
    let answer = ask(session, "SELECT id, name, checksum FROM schema_migrations", ()).await?;
    let rows = answer.into_rows_result().map_err(|cause| cause.to_string())?;
    let mut applied = Applied::new();
    for row in rows.rows::<(i32, Option<String>, Option<String>)>().map_err(|cause| cause.to_string())? {
        let (id, name, checksum) = row.map_err(|cause| cause.to_string())?;
        if id != LOCK {
            applied.insert(id, (name.unwrap_or_default(), checksum.unwrap_or_default()));
        }
    }
    Ok(applied)
}

async fn ask(session: &Session, statement: &str, values: impl SerializeRow) -> Result<scylla::response::query_result::QueryResult, String> {
    session.query_unpaged(statement, values).await.map_err(|cause| cause.to_string())
}
