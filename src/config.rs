//! The settings: the commented file that is compiled in, below a file, below the environment, below the command line. This is the only
//! module that reads them as text; each room owns the type of its section.
//!
//! A setting that is unknown or wrong stops the boot with a sentence that names it and where it came from.

mod clock;
mod cluster;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use toml::{Table, Value};

pub use clock::Clock;
pub use cluster::Cluster;
use cluster::Spool;

/// Every setting: value, unit, why. Compiled in, so that the file and the defaults cannot differ.
const DEFAULTS: &str = include_str!("../deploy/defaults.toml");
/// Variables of the environment: `RAPIDMETRICS_<SECTION>__<KEY>`.
const PREFIX: &str = "RAPIDMETRICS_";

/// Everything that was set.
#[derive(Clone, Debug)]
pub struct Settings {
    pub ingest: ingest::Config,
    pub processor: processor::Config,
    pub capi: projections::capi::Config,
    pub storage: storage::Config,
    pub engine: Engine,
    pub spool: Option<storage::SpoolConfig>,
    pub admin: admin::Config,
    pub security: Security,
    pub log: Log,
    pub shutdown: Shutdown,
    pub clock: Clock,
}

/// Which engine holds log and ledger.
#[derive(Clone, Debug)]
pub enum Engine {
    /// One process, the folder of `storage.data`.
    Embedded,
    /// Servers shared with other processes. The instance's name is the house's to give.
    Cluster(Box<Cluster>),
}

/// Section `[security]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// Empty: `master.key` in the data folder.
    pub master_key_file: PathBuf,
}

/// Section `[log]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// What is written, such as `info` or `info,processor=debug`.
    pub level: String,
}

/// Section `[shutdown]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// How long all rooms together may take to finish.
    pub deadline_ms: u64,
}

/// Section `[storage]` as the file has it; TOML has no word for "none".
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StorageSection {
    engine: EngineName,
    data: PathBuf,
    partitions: u32,
    free_bytes_min: u64,
    queue_bytes_max: usize,
    pause_at: String,
    fail_sync_after: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EngineName {
    Embedded,
    Cluster,
}

impl From<StorageSection> for storage::Config {
    fn from(section: StorageSection) -> Self {
        Self {
            data: section.data,
            partitions: section.partitions,
            free_bytes_min: section.free_bytes_min,
            queue_bytes_max: section.queue_bytes_max,
            pause_at: Some(section.pause_at).filter(|step| !step.is_empty()),
            fail_sync_after: u64::try_from(section.fail_sync_after).ok(),
        }
    }
}

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    File(PathBuf),
    Variable(String),
    CommandLine(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::CommandLine(flag) => f.write_str(flag),
        }
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{0}: the settings file cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// The file is not TOML.
    #[error("{0}: the settings file is not TOML: {1}")]
    NotToml(PathBuf, toml::de::Error),
    /// A name that no setting has.
    #[error("{origin}: there is no setting {setting}; {known}")]
    Unknown { origin: String, setting: String, known: String },
    /// A file that a setting names cannot be used.
    #[error("{setting} names the file {file}, which cannot be used: {why}")]
    File { setting: &'static str, file: PathBuf, why: String },
    /// A value that does not fit.
    #[error("{origin}: {setting} {why}")]
    Wrong { origin: String, setting: String, why: String },
}

/// A setting given on the command line.
pub struct Override {
    /// The flag, as people typed it.
    pub flag: &'static str,
    /// The section's name.
    pub section: &'static str,
    /// The setting's name.
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

impl Settings {
    /// Reads all layers: the file if one is named, the environment's variables, and what the command line says.
    pub fn read(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: Vec<Override>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::new();
        if let Some(file) = file {
            layers.file(file)?;
        }
        layers.environment(environment)?;
        for Override { flag, section, key, value } in overrides {
            layers.set(section, key, Value::String(value), Origin::CommandLine(flag))?;
        }
        layers.settings()
    }
}

/// The defaults, and what was set above them.
struct Layers {
    defaults: Table,
    set: BTreeMap<(String, String), (Value, Origin)>,
}

impl Layers {
    fn new() -> Self {
        let defaults = DEFAULTS.parse().unwrap_or_else(|error| panic!("deploy/defaults.toml, which a test reads: {error}"));
        Self { defaults, set: BTreeMap::new() }
    }

    fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable(path.to_owned(), error))?;
        let table: Table = text.parse().map_err(|error| ConfigError::NotToml(path.to_owned(), error))?;
        let origin = Origin::File(path.to_owned());
        for (section, settings) in table {
            let Value::Table(settings) = settings else {
                return Err(self.unknown(&section, None, &origin));
            };
            self.set_all(&section, settings, &origin)?;
        }
        Ok(())
    }

    /// A section of a file, and the sections within it.
    fn set_all(&mut self, section: &str, settings: Table, origin: &Origin) -> Result<(), ConfigError> {
        for (key, value) in settings {
            match value {
                Value::Table(inner) => self.set_all(&format!("{section}.{key}"), inner, origin)?,
                value => self.set(section, &key, value, origin.clone())?,
            }
        }
        Ok(())
    }

    /// Variables without `__` are not ours to judge: Kubernetes names some of its own after a service called `rapidmetrics`. One that
    /// is plainly a setting with an underscore too few is refused, lest it be passed over in silence.
    fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) -> Result<(), ConfigError> {
        for (name, text) in variables {
            let Some(setting) = name.strip_prefix(PREFIX) else { continue };
            let setting = setting.to_ascii_lowercase();
            match setting.rsplit_once("__") {
                Some((section, key)) => {
                    let section = &section.replace("__", ".");
                    let origin = Origin::Variable(name);
                    let value = match self.default(section, key) {
                        Some(default) => typed(&text, default).map_err(|why| wrong(&origin, section, key, why))?,
                        None => return Err(self.unknown(section, Some(key), &origin)),
                    };
                    self.set(section, key, value, origin)?;
                }
                None => self.refuse_near_miss(&name, &setting)?,
            }
        }
        Ok(())
    }

    fn refuse_near_miss(&self, name: &str, setting: &str) -> Result<(), ConfigError> {
        let meant = setting.match_indices('_').map(|(at, _)| (&setting[..at], &setting[at + 1..]));
        match meant.into_iter().find(|(section, key)| self.default(section, key).is_some()) {
            None => Ok(()),
            Some((section, key)) => {
                let known = format!("{PREFIX}{}__{} is one", section.to_uppercase(), key.to_uppercase());
                Err(ConfigError::Unknown { origin: "environment".to_owned(), setting: name.to_owned(), known })
            }
        }
    }

    fn default(&self, section: &str, key: &str) -> Option<&Value> {
        self.defaults_of(section)?.get(key).filter(|value| !value.is_table())
    }

    /// The defaults of a section, or of one within another (`storage.kafka`).
    fn defaults_of(&self, section: &str) -> Option<&Table> {
        section.split('.').try_fold(&self.defaults, |table, name| table.get(name)?.as_table())
    }

    fn set(&mut self, section: &str, key: &str, value: Value, origin: Origin) -> Result<(), ConfigError> {
        let default = self.default(section, key).ok_or_else(|| self.unknown(section, Some(key), &origin))?;
        let value = match (default, value) {
            (Value::Float(_), Value::Integer(whole)) => Value::Float(whole as f64),
            (default, value) if default.same_type(&value) => value,
            (default, value) => {
                let why = format!("must be {}, not {}", noun(default), noun(&value));
                return Err(wrong(&origin, section, key, why));
            }
        };
        self.set.insert((section.to_owned(), key.to_owned()), (value, origin));
        Ok(())
    }

    fn unknown(&self, section: &str, key: Option<&str>, origin: &Origin) -> ConfigError {
        let known = match self.defaults_of(section) {
            Some(settings) => {
                let keys: Vec<&str> = settings.iter().filter(|(_, value)| !value.is_table()).map(|(key, _)| key.as_str()).collect();
                format!("[{section}] has {}", keys.join(", "))
            }
            None => format!("the sections are {}", sections(&self.defaults, "").join(", ")),
        };
        let setting = key.map_or_else(|| section.to_owned(), |key| format!("{section}.{key}"));
        ConfigError::Unknown { origin: origin.to_string(), setting, known }
    }

    fn settings(self) -> Result<Settings, ConfigError> {
        let mut ingest: ingest::Config = self.section("ingest")?;
        let capi: projections::capi::Config = self.section("capi")?;
        // One script address: the door names it to pages, the sink knows the rest of Meta.
        ingest.pixel_script_url.clone_from(&capi.pixel_script_url);
        let storage: StorageSection = self.section("storage")?;
        let engine = match storage.engine {
            EngineName::Embedded => Engine::Embedded,
            EngineName::Cluster => Engine::Cluster(Box::new(Cluster::new(self.section("storage.kafka")?, self.section("storage.cql")?)?)),
        };
        let storage = storage::Config::from(storage);
        let spool: Spool = self.section("spool")?;
        let spool = spool.config(&storage);
        if spool.is_some() && matches!(engine, Engine::Embedded) {
            let why = "is for a door whose log is a cluster's; the embedded engine's own folder is as durable".to_owned();
            let origin = self.set.get(&("spool".to_owned(), "dir".to_owned())).map(|(_, origin)| origin.to_string());
            return Err(ConfigError::Wrong { origin: origin.unwrap_or_default(), setting: "spool.dir".to_owned(), why });
        }
        let clock: Clock = self.section("clock")?;
        if let Some(why) = clock.fault() {
            let origin = self.set.get(&("clock".to_owned(), "scale".to_owned())).map(|(_, origin)| origin.to_string());
            return Err(ConfigError::Wrong {
                origin: origin.unwrap_or_default(),
                setting: "clock.epoch_ms".to_owned(),
                why: why.to_owned(),
            });
        }
        Ok(Settings {
            ingest,
            processor: self.section("processor")?,
            capi,
            storage,
            engine,
            spool,
            admin: self.section("admin")?,
            security: self.section("security")?,
            log: self.section("log")?,
            shutdown: self.section("shutdown")?,
            clock,
        })
    }

    /// A section as its room's type. The settings are laid on the defaults one by one, so that an error names the one at fault.
    fn section<T: DeserializeOwned>(&self, section: &str) -> Result<T, ConfigError> {
        let mut table = self.defaults_of(section).cloned().unwrap_or_default();
        table.retain(|_, value| !value.is_table());
        for ((_, key), (value, origin)) in self.set.iter().filter(|((of, _), _)| of == section) {
            table.insert(key.clone(), value.clone());
            if let Err(error) = table.clone().try_into::<T>() {
                return Err(wrong(origin, section, key, format!("cannot be {value}: {}", error.message())));
            }
        }
        table.try_into().map_err(|error| ConfigError::Wrong {
            origin: "deploy/defaults.toml".to_owned(),
            setting: section.to_owned(),
            why: error.message().to_owned(),
        })
    }
}

/// Every section's name, those within others with a dot.
fn sections(table: &Table, within: &str) -> Vec<String> {
    let inner = table.iter().filter_map(|(name, value)| Some((format!("{within}{name}"), value.as_table()?)));
    inner.flat_map(|(name, table)| std::iter::once(name.clone()).chain(sections(table, &format!("{name}.")))).collect()
}

fn wrong(origin: &Origin, section: &str, key: &str, why: String) -> ConfigError {
    ConfigError::Wrong { origin: origin.to_string(), setting: format!("{section}.{key}"), why }
}

fn noun(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// A variable's text as the type that the default has. A list is TOML or separated by commas.
fn typed(text: &str, default: &Value) -> Result<Value, String> {
    let bare = text.trim();
    let value = match default {
        Value::String(_) => Some(Value::String(text.to_owned())),
        Value::Integer(_) => bare.replace('_', "").parse().ok().map(Value::Integer),
        Value::Float(_) => bare.parse().ok().map(Value::Float),
        Value::Boolean(_) => bare.parse().ok().map(Value::Boolean),
        Value::Array(_) if !bare.starts_with('[') => {
            let items = bare.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
        Value::Array(_) | Value::Datetime(_) | Value::Table(_) => {
            format!("value = {bare}").parse::<Table>().ok().and_then(|mut table| table.remove("value"))
        }
    };
    value.ok_or_else(|| format!("must be {}", noun(default)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: Option<&str>, environment: &[(&str, &str)]) -> Result<Settings, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = file.map(|text| {
            let path = folder.path().join("settings.toml");
            std::fs::write(&path, text).expect("a file of a few bytes");
            path
        });
        let environment = environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let text = |error: ConfigError| error.to_string().replace(&format!("{}/", folder.path().display()), "");
        Settings::read(path.as_deref(), environment, Vec::new()).map_err(text)
    }

    #[test]
    fn the_defaults_are_settings() {
        let settings = read(None, &[]).expect("deploy/defaults.toml fits the rooms");
        assert_eq!(settings.storage.data, Path::new("data"));
        assert_eq!(settings.storage.pause_at, None);
        assert_eq!(settings.storage.fail_sync_after, None);
        assert_eq!(settings.ingest.pixel_script_url, settings.capi.pixel_script_url);
    }

    #[test]
    fn the_settings_of_the_containers_are_a_cluster_with_one_key_for_all() {
        let settings = read(Some(include_str!("../deploy/cluster.toml")), &[("RAPIDMETRICS_SPOOL__DIR", "/spool")]).expect("they fit");
        assert!(matches!(settings.engine, Engine::Cluster(_)), "{settings:?}");
        assert!(settings.security.master_key_file.is_absolute() && settings.spool.is_some(), "{settings:?}");
    }

    #[test]
    fn the_environment_goes_above_the_file_and_the_command_line_above_both() {
        let file = "[storage]\ndata = \"of-file\"\npartitions = 3\n[admin]\nlisten = \"127.0.0.1:1\"";
        let settings = read(Some(file), &[("RAPIDMETRICS_STORAGE__PARTITIONS", "5")]).expect("these fit");
        assert_eq!((settings.storage.data.to_str(), settings.storage.partitions), (Some("of-file"), 5));
        assert_eq!(settings.admin.listen, "127.0.0.1:1");
        let data = Override { flag: "--data", section: "storage", key: "data", value: "of-line".to_owned() };
        let environment = [("RAPIDMETRICS_STORAGE__DATA".to_owned(), "of-env".to_owned())];
        let settings = Settings::read(None, environment, vec![data]).expect("these fit");
        assert_eq!(settings.storage.data, Path::new("of-line"));
    }

    #[test]
    fn what_is_unknown_or_wrong_is_said_in_a_sentence() {
        type Variables = &'static [(&'static str, &'static str)];
        let cases: [(Option<&str>, Variables, &str); 12] = [
            (Some("[nowhere]\nx = 1"), &[], "settings.toml: there is no setting nowhere.x; the sections are "),
            (Some("listen = 1"), &[], "settings.toml: there is no setting listen; the sections are "),
            (Some("[log]\nlevels = \"info\""), &[], "settings.toml: there is no setting log.levels; [log] has level"),
            (Some("[log]\nlevel = 3"), &[], "settings.toml: log.level must be a text, not a whole number"),
            (Some("[log"), &[], "settings.toml: the settings file is not TOML: "),
            (None, &[("RAPIDMETRICS_LOG__LEVELS", "info")], "RAPIDMETRICS_LOG__LEVELS: there is no setting log.levels; [log] has level"),
            (
                None,
                &[("RAPIDMETRICS_STORAGE__PARTITIONS", "many")],
                "RAPIDMETRICS_STORAGE__PARTITIONS: storage.partitions must be a whole number",
            ),
            (None, &[("RAPIDMETRICS_STORAGE__PARTITIONS", "-1")], "RAPIDMETRICS_STORAGE__PARTITIONS: storage.partitions cannot be -1: "),
            (
                None,
                &[("RAPIDMETRICS_STORAGE_DATA", "/x")],
                "environment: there is no setting RAPIDMETRICS_STORAGE_DATA; RAPIDMETRICS_STORAGE__DATA is one",
            ),
            (Some("[clock]\nscale = 0"), &[], "settings.toml: clock.scale cannot be 0: it goes from 1 to 1000"),
            (Some("[clock]\nscale = 1_001\nepoch_ms = 1"), &[], "settings.toml: clock.scale cannot be 1001: it goes from 1 to 1000"),
            (Some("[clock]\nscale = 2"), &[], "settings.toml: clock.epoch_ms must be named with a clock.scale above 1: "),
        ];
        for (file, environment, sentence) in cases {
            let error = read(file, environment).expect_err("it is wrong");
            assert!(error.starts_with(sentence), "{error}");
        }
    }

    #[test]
    fn a_section_within_another_is_set_by_file_and_environment() {
        let file = "[storage]\nengine = \"cluster\"\n[storage.kafka]\nbrokers = [\"a:1\", \"b:2\"]\nproperties = [\"sasl.username=me\"]";
        let variables = [("RAPIDMETRICS_STORAGE__CQL__NODES", "c:3"), ("RAPIDMETRICS_STORAGE__KAFKA__PREFIX", "shop.")];
        let settings = read(Some(file), &variables).expect("these fit");
        let Engine::Cluster(cluster) = settings.engine else { panic!("it is a cluster") };
        let config = cluster.config(&settings.storage, "me".to_owned(), None);
        assert_eq!((config.kafka.brokers, config.kafka.prefix), (vec!["a:1".to_owned(), "b:2".to_owned()], "shop.".to_owned()));
        assert_eq!(config.kafka.properties, [("sasl.username".to_owned(), "me".to_owned())]);
        assert_eq!((config.cql.nodes, config.partitions, config.instance), (vec!["c:3".to_owned()], 4, "me".to_owned()));
        for (variables, sentence) in [
            (
                [("RAPIDMETRICS_STORAGE__KAFKA__BROKER", "a:1")],
                "RAPIDMETRICS_STORAGE__KAFKA__BROKER: there is no setting storage.kafka.broker; [storage.kafka] has brokers, ",
            ),
            (
                [("RAPIDMETRICS_STORAGE__KAFKA", "a:1")],
                "RAPIDMETRICS_STORAGE__KAFKA: there is no setting storage.kafka; [storage] has data, ",
            ),
            ([("RAPIDMETRICS_STORAGE__ENGINE", "both")], "RAPIDMETRICS_STORAGE__ENGINE: storage.engine cannot be \"both\": "),
            ([("RAPIDMETRICS_NOWHERE__X", "1")], "RAPIDMETRICS_NOWHERE__X: there is no setting nowhere.x; the sections are admin, capi, "),
        ] {
            let error = read(None, &variables).expect_err("it is wrong");
            assert!(error.starts_with(sentence), "{error}");
        }
        let nameless = read(None, &[("RAPIDMETRICS_STORAGE__ENGINE", "cluster"), ("RAPIDMETRICS_STORAGE__KAFKA__PROPERTIES", "acks")]);
        assert!(nameless.expect_err("it is no pair").contains("storage.kafka.properties: \"acks\" must be name=value"));
    }

    #[test]
    fn variables_that_are_not_ours_are_left_alone() {
        let foreign = [("RAPIDMETRICS_SERVICE_HOST", "10.0.0.1"), ("RAPIDMETRICS_PORT_8080_TCP", "tcp://10.0.0.1:8080"), ("PATH", "/bin")];
        assert!(read(None, &foreign).is_ok());
    }

    #[test]
    fn a_variable_has_the_type_of_its_default() {
        let list = |items: &[&str]| Value::Array(items.iter().map(|item| Value::String((*item).to_owned())).collect());
        for (text, default, value) in [
            (" 10_240 ", Value::Integer(0), Some(Value::Integer(10_240))),
            ("1.5", Value::Integer(0), None),
            ("2", Value::Float(0.0), Some(Value::Float(2.0))),
            ("true", Value::Boolean(false), Some(Value::Boolean(true))),
            ("yes", Value::Boolean(false), None),
            ("007", Value::String(String::new()), Some(Value::String("007".to_owned()))),
            ("a, b,", list(&[]), Some(list(&["a", "b"]))),
            ("", list(&["a"]), Some(list(&[]))),
            ("[\"a\", \"b\"]", list(&[]), Some(list(&["a", "b"]))),
            ("[1", list(&[]), None),
        ] {
            assert_eq!(typed(text, &default).ok(), value, "{text:?} as {default:?}");
        }
    }
}
