//! The tables as a closed list of files, and how far a keyspace has come: pure.

use std::collections::BTreeMap;

use super::checksum::checksum;

/// One file of `schemas/cql`.
#[derive(Debug)]
pub(super) struct Migration {
    /// Its number.
    pub(super) id: i32,
    /// Its name, which begins with the number and goes on with the table's.
    pub(super) name: &'static str,
    text: &'static str,
}

macro_rules! migrations {
    ($($id:literal $name:literal,)*) => {
        [$(Migration { id: $id, name: $name, text: include_str!(concat!("../../../../schemas/cql/", $name, ".cql")) }),*]
    };
}

/// Where it is noted which files were applied; it comes before all others.
pub(super) const NOTES: Migration =
    Migration { id: 0, name: "000_schema_migrations", text: include_str!("../../../../schemas/cql/000_schema_migrations.cql") };

/// All files, in the order in which they are applied.
pub(super) const ALL: [Migration; 15] = migrations![
    1 "001_seen",
    2 "002_purchases",
    3 "003_purchases_by_day",
    4 "004_leads",
    5 "005_leads_by_day",
    6 "006_visitors",
    7 "007_people",
    8 "008_person_keys",
    9 "009_filter_snapshots",
    10 "010_owners",
    11 "011_intents",
    12 "012_deliveries",
    13 "013_waiting",
    14 "014_waiting_hours",
    15 "015_topics",
];

/// Begins a line that only ScyllaDB is told.
const SCYLLA: &str = "-- scylla:";

impl Migration {
    /// The table it makes.
    pub(super) fn table(&self) -> &'static str {
        self.name.split_once('_').map_or(self.name, |(_, table)| table)
    }

    /// Its statement, in one line.
    pub(super) fn statement(&self, is_scylla: bool) -> String {
        let lines = self.text.lines().filter_map(|line| match line.trim().strip_prefix(SCYLLA) {
            Some(extra) => is_scylla.then_some(extra),
            None => (!line.trim().starts_with("--")).then_some(line),
        });
        let words: Vec<_> = lines.flat_map(str::split_whitespace).filter(|word| *word != ";").collect();
        words.join(" ").trim_end_matches(';').to_owned()
    }

    /// What tells whether the statement is still the one that was applied; comments and spaces do not count.
    pub(super) fn checksum(&self) -> String {
        format!("{:016x}", checksum(self.statement(true).as_bytes()))
    }
}

/// Name and checksum of each applied file, by its number.
pub(super) type Applied = BTreeMap<i32, (String, String)>;

/// The files that are not applied yet; refuses with a sentence if one that is applied is not ours.
pub(super) fn missing(applied: &Applied, keyspace: &str) -> Result<Vec<&'static Migration>, String> {
    let mut missing = Vec::new();
    for migration in &ALL {
        match applied.get(&migration.id) {
            None => missing.push(migration),
            Some((name, sum)) if name == migration.name && *sum == migration.checksum() => {}
            Some((name, _)) => {
                return Err(format!(
                    "keyspace {keyspace} was made with another {name} than this build's {}; start the build that made it, or use another \
                     keyspace",
                    migration.name
                ));
            }
        }
    }
    Ok(missing)
}

/// The first applied file that this build does not know.
pub(super) fn newer(applied: &Applied) -> Option<&str> {
    applied.iter().find(|(id, _)| ALL.iter().all(|known| known.id != **id)).map(|(_, (name, _))| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(count: usize) -> Applied {
        ALL.iter().take(count).map(|migration| (migration.id, (migration.name.to_owned(), migration.checksum()))).collect()
    }

    #[test]
    fn the_list_is_the_folder_in_its_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/cql");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .expect("it is there")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".cql").map(str::to_owned))
            .collect();
        files.sort();
        let listed: Vec<_> = std::iter::once(&NOTES).chain(&ALL).collect();
        assert_eq!(files, listed.iter().map(|migration| migration.name).collect::<Vec<_>>());
        for migration in listed {
            assert!(migration.name.starts_with(&format!("{:03}_", migration.id)), "{}", migration.name);
            let begins = format!("CREATE TABLE IF NOT EXISTS {} (", migration.table());
            assert!(migration.statement(false).starts_with(&begins), "{}", migration.statement(false));
        }
    }

    #[test]
    fn only_scylla_is_told_its_own_options() {
        let waiting = &ALL[12];
        assert!(waiting.statement(false).ends_with("WITH gc_grace_seconds = 10800"), "{}", waiting.statement(false));
        assert!(waiting.statement(true).ends_with("10800 AND tombstone_gc = {'mode': 'timeout'}"), "{}", waiting.statement(true));
    }

    #[test]
    fn a_comment_may_change_and_a_statement_may_not() {
        let file = |text| Migration { id: 1, name: "001_a", text };
        let sum = file("-- a comment\nCREATE TABLE a (\n    b int\n);\n").checksum();
        assert_eq!(file("-- better\r\nCREATE TABLE a (\r\n  b int\r\n);").checksum(), sum);
        assert_ne!(file("CREATE TABLE a (\n    b text\n);\n").checksum(), sum);
    }

    #[test]
    fn missing_changed_and_newer_files_are_told_apart() {
        let names = |applied: &Applied| missing(applied, "k").map(|missing| missing.iter().map(|file| file.id).collect::<Vec<_>>());
        assert_eq!(names(&applied(13)), Ok(vec![14, 15]));
        assert_eq!(names(&applied(15)), Ok(vec![]));
        let mut changed = applied(15);
        changed.insert(3, ("003_purchases_by_day".into(), "0".into()));
        assert!(names(&changed).is_err_and(|sentence| sentence.contains("003_purchases_by_day")));
        let mut later = applied(15);
        assert_eq!(newer(&later), None);
        later.insert(16, ("016_later".into(), "0".into()));
        assert_eq!(newer(&later), Some("016_later"));
    }
}
