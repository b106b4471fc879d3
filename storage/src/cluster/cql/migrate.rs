//! The keyspace and its tables: made in order, forward only, each recorded with the checksum of its file.

use std::collections::HashMap;

use scylla::{client::session::Session, statement::Consistency, statement::unprepared::Statement};
use sha2::{Digest as _, Sha256};

use super::CqlConfig;
use crate::OpenError;

/// The files, in the order in which they are applied. A new table or column is a new file at the end; an old file is never changed.
const FILES: [(&str, &str); 17] = [
    ("01_seen", include_str!("../../../../schemas/cql/01_seen.cql")),
    ("02_purchases", include_str!("../../../../schemas/cql/02_purchases.cql")),
    ("03_leads", include_str!("../../../../schemas/cql/03_leads.cql")),
    ("04_purchases_by_day", include_str!("../../../../schemas/cql/04_purchases_by_day.cql")),
    ("05_leads_by_day", include_str!("../../../../schemas/cql/05_leads_by_day.cql")),
    ("06_visitors", include_str!("../../../../schemas/cql/06_visitors.cql")),
    ("07_people", include_str!("../../../../schemas/cql/07_people.cql")),
    ("08_person_keys", include_str!("../../../../schemas/cql/08_person_keys.cql")),
    ("09_filter_snapshots", include_str!("../../../../schemas/cql/09_filter_snapshots.cql")),
    ("10_owners", include_str!("../../../../schemas/cql/10_owners.cql")),
    ("11_intents", include_str!("../../../../schemas/cql/11_intents.cql")),
    ("12_deliveries", include_str!("../../../../schemas/cql/12_deliveries.cql")),
    ("13_waiting", include_str!("../../../../schemas/cql/13_waiting.cql")),
    ("14_waiting_hours", include_str!("../../../../schemas/cql/14_waiting_hours.cql")),
    ("15_topics", include_str!("../../../../schemas/cql/15_topics.cql")),
    ("16_moves", include_str!("../../../../schemas/cql/16_moves.cql")),
    ("17_waiting.begins", include_str!("../../../../schemas/cql/17_waiting.begins.cql")),
];

/// Makes what is missing. Safe to run twice, and by two at once.
pub(super) async fn migrate(session: &Session, config: &CqlConfig) -> Result<Vec<String>, String> {
    let keyspace = config.checked_keyspace()?;
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what} cannot be made in keyspace {keyspace}: {error}");
    let datacenter = datacenter(session, config).await?;
    // ScyllaDB before 2025.4 has no conditional writes in a keyspace of tablets, which it makes unless it is told; the sink's fence is one.
    let tablets = if knows_tablets(session).await? { " AND tablets = {'enabled': false}" } else { "" };
    let make = format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', '{datacenter}': {}}} AND durable_writes = true{tablets}",
        config.replication_factor
    );
    session.query_unpaged(make, ()).await.map_err(|error| failed("the keyspace", &error))?;
    session.use_keyspace(keyspace, false).await.map_err(|error| failed("the keyspace", &error))?;
    let book = "CREATE TABLE IF NOT EXISTS schema_migrations (name text, checksum text, applied_at timestamp, PRIMARY KEY (name))";
    session.query_unpaged(book, ()).await.map_err(|error| failed("schema_migrations", &error))?;

    let applied = applied(session).await?;
    refuse_foreign(&applied, keyspace)?;
    let mut made = Vec::new();
    for (name, text) in FILES {
        if applied.contains_key(name) {
            continue;
        }
        let applied_now = session.query_unpaged(statement(text), ()).await.map_err(|error| failed(name, &error));
        match column(name) {
            // CQL has no `ADD IF NOT EXISTS` that both servers know: somebody else, or an earlier run, may have made it.
            Some(column) if applied_now.is_err() && has_column(session, keyspace, table(name), column).await? => {}
            _ => drop(applied_now?),
        }
        let mut note = Statement::new("INSERT INTO schema_migrations (name, checksum, applied_at) VALUES (?, ?, toTimestamp(now()))");
        note.set_consistency(Consistency::Quorum);
        session.query_unpaged(note, (name, checksum(text))).await.map_err(|error| failed(name, &error))?;
        made.push(format!("{keyspace}.{}", what(name)));
    }
    session.await_schema_agreement().await.map_err(|error| failed("the tables", &error))?;
    Ok(made)
}

/// Enters the keyspace, and refuses one in which something is missing, changed, or newer than this build.
pub(super) async fn check(session: &Session, config: &CqlConfig) -> Result<(), OpenError> {
    let keyspace = config.checked_keyspace().map_err(OpenError::Cluster)?;
    // What is there is asked first: only an answer tells a keyspace that is missing from a server that is away.
    let there = tables(session, keyspace).await.map_err(OpenError::Away)?;
    if there.is_empty() {
        return Err(OpenError::Cluster(format!(
            "the keyspace {keyspace} has no tables of ours; run `rapidmetrics migrate` with the same settings"
        )));
    }
    session.use_keyspace(keyspace, false).await.map_err(|error| OpenError::Away(error.to_string()))?;
    let applied = applied(session).await.map_err(OpenError::Away)?;
    refuse_foreign(&applied, keyspace).map_err(OpenError::Cluster)?;
    for (name, _) in FILES {
        if !applied.contains_key(name) || !there.contains(&table(name).to_owned()) {
            let table = table(name);
            return Err(OpenError::Cluster(format!(
                "the table {table} is missing in keyspace {keyspace}; run `rapidmetrics migrate` with the same settings"
            )));
        }
    }
    Ok(())
}

fn refuse_foreign(applied: &HashMap<String, String>, keyspace: &str) -> Result<(), String> {
    for (name, sum) in applied {
        match FILES.iter().find(|(known, _)| known == name) {
            None => return Err(format!("the keyspace {keyspace} was made by a newer release (it has {name}); start that release")),
            Some((_, text)) if checksum(text) != *sum => {
                return Err(format!(
                    "the table of {name} in keyspace {keyspace} was made from another file than this release has; restore it"
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

async fn applied(session: &Session) -> Result<HashMap<String, String>, String> {
    let mut question = Statement::new("SELECT name, checksum FROM schema_migrations");
    question.set_consistency(Consistency::LocalQuorum);
    rows::<(String, String)>(session, question).await.map(|rows| rows.into_iter().collect())
}

async fn tables(session: &Session, keyspace: &str) -> Result<Vec<String>, String> {
    let mut question = Statement::new(format!("SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}'"));
    question.set_consistency(Consistency::One);
    rows::<(String,)>(session, question).await.map(|rows| rows.into_iter().map(|(name,)| name).collect())
}

/// Whether the server is a ScyllaDB that spreads data by tablets: only it describes them in its own schema.
async fn knows_tablets(session: &Session) -> Result<bool, String> {
    let mut question = Statement::new(
        "SELECT column_name FROM system_schema.columns WHERE keyspace_name = 'system_schema' AND table_name = 'scylla_keyspaces'",
    );
    question.set_consistency(Consistency::One);
    rows::<(String,)>(session, question).await.map(|columns| columns.iter().any(|(name,)| name == "initial_tablets"))
}

async fn datacenter(session: &Session, config: &CqlConfig) -> Result<String, String> {
    if !config.datacenter.is_empty() {
        return Ok(config.datacenter.clone());
    }
    let mut question = Statement::new("SELECT data_center FROM system.local");
    question.set_consistency(Consistency::One);
    let found = rows::<(String,)>(session, question).await?.into_iter().next();
    found.map(|(name,)| name).ok_or_else(|| "the CQL server does not name its datacenter; set storage.cql.datacenter".to_owned())
}

async fn rows<T>(session: &Session, question: Statement) -> Result<Vec<T>, String>
where
    T: for<'a> scylla::deserialize::row::DeserializeRow<'a, 'a>,
{
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let answer = session.query_unpaged(question, ()).await.map_err(|error| text(&error))?;
    let answer = answer.into_rows_result().map_err(|error| text(&error))?;
    answer.rows::<T>().map_err(|error| text(&error))?.map(|row| row.map_err(|error| text(&error))).collect()
}

/// The file's statement without its comments.
fn statement(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    lines.join("\n").trim().trim_end_matches(';').to_owned()
}

fn checksum(text: &str) -> String {
    hex::encode(Sha256::digest(statement(text).as_bytes()))
}

async fn has_column(session: &Session, keyspace: &str, table: &str, column: &str) -> Result<bool, String> {
    let mut question = Statement::new(format!(
        "SELECT column_name FROM system_schema.columns WHERE keyspace_name = '{keyspace}' AND table_name = '{table}'"
    ));
    question.set_consistency(Consistency::One);
    rows::<(String,)>(session, question).await.map(|columns| columns.iter().any(|(name,)| name == column))
}

/// What a file makes: a table, or `table.column`.
fn what(name: &str) -> &str {
    name.split_once('_').map_or(name, |(_, what)| what)
}

fn table(name: &str) -> &str {
    what(name).split('.').next().unwrap_or_default()
}

fn column(name: &str) -> Option<&str> {
    what(name).split_once('.').map(|(_, column)| column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_makes_the_table_it_is_named_after_and_says_key_writer_and_retention() {
        for (at, (name, text)) in FILES.iter().enumerate() {
            assert!(name.starts_with(&format!("{:02}_", at + 1)), "{name} stands in its order");
            let begins = match column(name) {
                None => format!("CREATE TABLE IF NOT EXISTS {} (", table(name)),
                Some(column) => format!("ALTER TABLE {} ADD {column} ", table(name)),
            };
            assert!(statement(text).starts_with(&begins), "{name}");
            for word in ["-- Key", "Writer: ", "Keep: "] {
                assert!(text.contains(word), "{name} does not say {word}");
            }
        }
    }

    #[test]
    fn a_comment_may_be_mended_and_a_column_may_not() {
        let sum = checksum("-- why\nCREATE TABLE t (a int);\n");
        assert_eq!(sum, checksum("-- why, in better words\nCREATE TABLE t (a int);"));
        assert_ne!(sum, checksum("CREATE TABLE t (a bigint);"));
    }
}
