//! Taste checked by ordinary tests: the README's map matches the tree, each setting is documented, rooms know only whom they may.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file that is, or would be, committed.
fn files() -> Vec<PathBuf> {
    let output = Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root()).output();
    let output = output.expect("git is installed");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("paths are text");
    text.lines().map(PathBuf::from).filter(|path| root().join(path).exists()).collect()
}

#[test]
fn the_readmes_map_matches_the_tree() {
    let readme = read("README.md");
    let map = readme.split("```").find(|block| block.contains("rapidmetrics/\n")).expect("the README has a map of the tree");
    let named: BTreeSet<String> = map
        .lines()
        .filter_map(|line| line.strip_prefix("├── ").or_else(|| line.strip_prefix("└── ")))
        .map(|line| line.split([' ', '/']).next().unwrap_or_default().to_owned())
        .collect();
    let rooms: BTreeSet<String> = files()
        .iter()
        .filter(|path| path.components().count() > 1)
        .filter_map(|path| path.components().next()?.as_os_str().to_str().map(str::to_owned))
        .filter(|name| !name.starts_with('.'))
        .collect();
    let missing: Vec<&String> = rooms.difference(&named).collect();
    assert!(missing.is_empty(), "folders that the map does not name: {missing:?}");
    for name in &named {
        assert!(root().join(name).exists(), "the map names {name}, which is not there");
    }
}

#[test]
fn every_relative_link_of_the_readme_leads_somewhere() {
    for target in read("README.md").split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let path = target.split('#').next().unwrap_or_default();
        if !path.is_empty() && !path.contains("://") {
            assert!(root().join(path).exists(), "README links to {path}");
        }
    }
}

#[test]
fn each_setting_is_documented_by_a_comment_above_it() {
    let defaults = read("deploy/defaults.toml");
    let mut commented = false;
    for line in defaults.lines().map(str::trim) {
        match line {
            "" => commented = false,
            line if line.starts_with('#') => commented = true,
            line if line.starts_with('[') => {}
            setting => assert!(commented, "{setting}: say its unit and why"), // a comment holds until the next blank line
        }
    }
    assert!(
        defaults.contains("[ingest]") && defaults.contains("[processor]") && defaults.contains("[capi]") && defaults.contains("[storage]")
    );
}

#[test]
fn the_containers_run_roles_that_the_binary_has_with_settings_that_are_there() {
    let compose = read("deploy/compose.yaml");
    let commands: Vec<Vec<&str>> = compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("command: ["))
        .map(|list| list.trim_end_matches(']').split(", ").map(|word| word.trim_matches('"')).collect())
        .filter(|words: &Vec<&str>| words.contains(&"--config"))
        .collect();
    let roles: Vec<&str> = commands.iter().map(|words| words[0]).collect();
    assert_eq!(roles, ["migrate", "ingest", "process", "deliver", "admin"], "one service per role");
    let dockerfile = read("deploy/Dockerfile");
    for words in &commands {
        let help = Command::new(env!("CARGO_BIN_EXE_rapidmetrics")).args([words[0], "--help"]).output().expect("the binary starts");
        assert!(help.status.success(), "rapidmetrics has no role {}", words[0]);
        let (source, path) = ("deploy/cluster.toml", words.last().expect("a file"));
        assert!(dockerfile.contains(&format!("COPY {source} {path}")) && root().join(source).exists(), "{path} is in the image");
    }
}

/// Who may know whom: the working rooms meet only in topics and tables.
#[test]
fn rooms_know_only_whom_they_may() {
    let allowed: [(&str, &[&str]); 6] = [
        ("schemas", &[]),
        ("storage", &["schemas"]),
        ("ingest", &["schemas", "storage"]),
        ("processor", &["schemas", "storage"]),
        ("projections", &["schemas", "storage"]),
        ("admin", &["schemas", "storage"]),
    ];
    let rooms = ["schemas", "storage", "ingest", "processor", "projections", "admin", "meta-sandbox"];
    for (room, may) in allowed {
        let manifest = read(format!("{room}/Cargo.toml"));
        let dependencies = manifest.split("[dependencies]").nth(1).expect("it has some").split("\n[").next().unwrap_or_default();
        for known in rooms.iter().filter(|known| dependencies.lines().any(|line| line.starts_with(&format!("{known}.")))) {
            assert!(may.contains(known), "{room} must not know {known}");
        }
    }
}

#[test]
fn each_package_has_its_reason_beside_it() {
    let manifest = read("Cargo.toml");
    let dependencies = manifest.split("[workspace.dependencies]").nth(1).expect("there is a list").split("\n[").next().unwrap_or_default();
    let mut heading = false;
    for line in dependencies.lines() {
        match line.trim() {
            "" => heading = false,
            line if line.starts_with('#') => heading = true,
            line => assert!(heading || line.contains(" # ") || line.contains("path ="), "{line}: say why it is here"),
        }
    }
}

#[test]
fn only_the_house_reads_the_environment_or_ends_the_process() {
    for path in files().iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
        let text = path.to_string_lossy();
        let is_room = ["schemas/src", "storage/src", "ingest/src", "processor/src", "projections/src", "admin/src"]
            .iter()
            .any(|room| text.starts_with(room));
        if !is_room {
            continue;
        }
        let code = read(path);
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        for never in ["std::env::var", "process::exit", "SystemTime::now", "Uuid::new_v4", "Uuid::now_v7"] {
            // The engines age what they keep by the machine's clock; a simulated engine brings its own.
            let ages = ["storage/src/embedded/expiry.rs", "storage/src/cluster/commit.rs"];
            let is_engine_clock = ages.contains(&&*text) && never == "SystemTime::now";
            assert!(is_engine_clock || !code.contains(never), "{text} uses {never}: it is handed in");
        }
    }
}

#[test]
fn nothing_in_the_tree_names_a_machine_or_a_registry_host() {
    let needles = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("registry.npm", "js.org"), concat!("static.crates", ".io")];
    for path in files() {
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue }; // a picture
        for needle in needles {
            assert!(!text.contains(needle), "{} names {needle}", path.display());
        }
    }
}
