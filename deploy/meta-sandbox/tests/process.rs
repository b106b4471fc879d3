//! The program itself: what it prints, how it ends, and that being killed costs it nothing.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::Client;
use serde_json::{Value, json};

/// Starts the program on a free port and reads its one line.
fn start(data: &Path) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meta-sandbox"));
    let mut child = command.args(["--listen", "127.0.0.1:0", "--json", "--data"]).arg(data).stdout(Stdio::piped()).spawn().expect("starts");
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
