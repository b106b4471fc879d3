//! A full disk and a failing sync: 503 before anything fails, an end at once after a failed sync, nothing acknowledged is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::process::Command;

use serde_json::json;
use support::{House, MetaBox, wait_for};

fn purchase(order: &str) -> serde_json::Value {
    json!({"event":"purchase","email":"jane@example.com","amount":10,"order_id":order,"metadata":{"pad":"x".repeat(8_000)}})
}

/// A small file system of its own, taken away at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(mib: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(folder.path()).status();
        assert!(mounted.is_ok_and(|status| status.success()), "this suite mounts a small tmpfs: run it as root");
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_fills_up_is_answered_503_before_anything_fails_and_works_again_when_there_is_space() {
    let disk = SmallDisk::mount(192);
    let ballast = disk.0.path().join("ballast");
    let data = disk.0.path().join("data");
    let meta = MetaBox::start();
    let floor = (64 * 1024 * 1024).to_string();
    let mut house = House::start(&data, &meta, &[("RAPIDMETRICS_STORAGE__FREE_BYTES_MIN", &floor)]);
    let account = house.account(&meta, &["3001"]);
    assert_eq!(house.webhook(&account, &purchase("BEFORE")).status, 200);

    // Somebody else fills the volume down to below the floor.
    let free = free_bytes(disk.0.path());
    std::fs::write(&ballast, vec![1; (free - 60 * 1024 * 1024) as usize]).expect("it fits");
    let refused = wait_for("a 503", || {
        let answer = house.webhook(&account, &purchase("DURING"));
        (answer.status == 503).then_some(answer)
    });
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.json()["status"], "error");
    let admin = house.admin().expect("it runs");
    wait_for("readiness to say so", || (admin.get("/health/ready").status == 503).then_some(()));
    assert!(house.process.has_ended().is_none(), "the process lives");
    assert_eq!(house.export("purchases").iter().filter(|p| p["order_id"] == "BEFORE").count(), 1);

    std::fs::remove_file(&ballast).expect("it was there");
    wait_for("the door to open again", || (house.webhook(&account, &purchase("AFTER")).status == 200).then_some(()));
    wait_for("readiness to come back", || (admin.get("/health/ready").status == 200).then_some(()));
    assert!(house.process.terminate().success());
}

#[test]
fn under_load_a_small_disk_refuses_instead_of_failing_and_loses_nothing_acknowledged() {
    let disk = SmallDisk::mount(224);
    let data = disk.0.path().join("data");
    let meta = MetaBox::start();
    let floor = (80 * 1024 * 1024).to_string();
    let mut house = House::start(&data, &meta, &[("RAPIDMETRICS_STORAGE__FREE_BYTES_MIN", &floor)]);
    let account = house.account(&meta, &[]);

    let mut acknowledged = Vec::new();
    for n in 0..200_000 {
        let order = format!("ORD-{n}");
        match house.webhook(&account, &purchase(&order)).status {
            200 | 202 => acknowledged.push(order),
            503 => break,
            other => panic!("{other}"),
        }
    }
    assert!(house.process.has_ended().is_none(), "it refuses, it does not fail");
    assert!(acknowledged.len() > 100);
    house.kill_and_start(&[]);
    let kept: std::collections::HashSet<String> =
        house.export("purchases").iter().map(|p| p["order_id"].as_str().expect("an order").to_owned()).collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|order| !kept.contains(*order)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged orders are lost", lost.len(), acknowledged.len());
}

#[test]
fn a_failed_sync_ends_the_process_at_once_and_loses_nothing_acknowledged() {
    let data = tempfile::tempdir().expect("a folder");
    let meta = MetaBox::start();
    let mut house = House::start(data.path(), &meta, &[]);
    let account = house.account(&meta, &["3002"]);
    house.process.terminate();
    house.start_again(&[("RAPIDMETRICS_STORAGE__FAIL_SYNC_AFTER", "60")]);

    let mut acknowledged = Vec::new();
    for n in 0..1_000 {
        let order = format!("ORD-{n}");
        let path = format!("/v1/webhook/custom/{}", account.funnel);
        let headers = [("content-type", "application/json"), ("x-api-key", &*account.api_key)];
        match house.client.try_send("POST", &path, &headers, purchase(&order).to_string().as_bytes()) {
            Ok(answer) if answer.status < 300 => acknowledged.push(order),
            Ok(answer) => {
                assert_eq!(answer.status, 503);
                break;
            }
            Err(_) => break, // the process is gone
        }
    }
    let status = house.process.wait();
    assert!(!status.success(), "a failed sync ends the process non-zero: {status}");
    assert!(!acknowledged.is_empty());

    house.start_again(&[("RAPIDMETRICS_STORAGE__FAIL_SYNC_AFTER", "")]);
    wait_for("every acknowledged order", || {
        let kept: Vec<String> = house.export("purchases").iter().map(|p| p["order_id"].as_str().expect("an order").to_owned()).collect();
        acknowledged.iter().all(|order| kept.contains(order)).then_some(())
    });
}

fn free_bytes(path: &std::path::Path) -> u64 {
    let stat = rustix::fs::statvfs(path).expect("a volume");
    stat.f_bavail * stat.f_frsize
}
