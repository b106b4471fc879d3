//! The program itself: what it prints, how it ends, and that being killed costs it nothing.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::Client;
use serde_json::{Value, json};

/// Starts the program on a free port and reads its one line.
fn start(data: &Path) -> (Child, String) {
    start_with(&["--data", data.to_str().expect("text")])
}

fn start_with(arguments: &[&str]) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meta-sandbox"));
    let mut child = command.args(["--listen", "127.0.0.1:0", "--json"]).args(arguments).stdout(Stdio::piped()).spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let ready: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(ready["ready"], true);
    (child, ready["listen"].as_str().expect("an address").to_owned())
}

async fn report(http: &Client, url: &str) -> Value {
    http.get(format!("{url}/sandbox/report")).send().await.expect("an answer").json().await.expect("JSON")
}

#[tokio::test]
async fn killed_and_started_again_it_knows_what_it_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let http = Client::new();
    let (mut child, url) = start(folder.path());
    let pixel = http.put(format!("{url}/sandbox/pixels/42")).json(&json!({"access_token": "TOKEN"})).send().await.expect("an answer");
    assert_eq!(pixel.status(), 200);
    for id in ["f:1", "f:2", "f:1"] {
        let form = format!("id=42&ev=Lead&eid={id}");
        http.post(format!("{url}/tr")).body(form).send().await.expect("an answer");
    }
    let before = report(&http, &url).await;
    child.kill().expect("killed");
    child.wait().expect("gone");

    let (mut child, url) = start(folder.path());
    assert_eq!(report(&http, &url).await, before);
    assert_eq!(before["42"]["conversions"], 2);
    let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(asked.success());
    assert!(child.wait().expect("gone").success(), "SIGTERM ends it with 0");
}

#[tokio::test]
async fn it_plays_a_script_from_the_start_on_a_clock_that_it_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("outage.txt");
    std::fs::write(&file, "from 0s all http503\n").expect("written");
    let http = Client::new();
    let (mut child, url) = start_with(&["--script", file.to_str().expect("text"), "--clock-scale", "1000", "--clock-epoch", "0"]);
    let script: Value = http.get(format!("{url}/sandbox/script")).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!((&script["lines"][0]["text"], &script["lines"][0]["state"]), (&json!("from 0s all http503"), &json!("on")));
    let year_1970_and_a_thousand_times_as_long = 1_000 * 1_700_000_000_000_u64;
    assert!(script["now"].as_u64().is_some_and(|now| now > year_1970_and_a_thousand_times_as_long), "{script}");
    child.kill().expect("killed");
    child.wait().expect("gone");
}

#[test]
fn it_does_not_start_with_a_script_or_a_clock_that_cannot_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("outage.txt");
    std::fs::write(&file, "from 0s all http503\nfrom 0s all flood\n").expect("written");
    let file = file.to_str().expect("text");
    for (arguments, expected) in [
        (&["--script", file][..], "line 2: expected token, latency, budget or the name of a fault, found \"flood\""),
        (&["--script", "nowhere.txt"], "cannot read nowhere.txt"),
        (&["--clock-scale", "1001"], "a clock runs 1 to 1000 times as fast as the machine's, not 1001 times"),
    ] {
        let ended =
            Command::new(env!("CARGO_BIN_EXE_meta-sandbox")).args(["--listen", "127.0.0.1:0"]).args(arguments).output().expect("starts");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && said.contains(expected), "{said}");
    }
}
