//! What is done to the servers while senders are at work, and what came of everything at the end.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    process::Command,
    time::Duration,
};

use super::{MetaBox, cluster::Cluster, wait_at_most, wait_for};

/// Draws that are the same in every run.
pub struct Chance(u64);

impl Default for Chance {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

impl Chance {
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// `tests/servers` with these words.
pub fn servers(words: &[&str]) {
    let status = Command::new("tests/servers").args(words).stdout(std::process::Stdio::null()).status();
    assert!(status.expect("it is a script").success(), "tests/servers {words:?}");
}

/// What came of everything: one purchase and one recorded outcome per order and pixel, copies at Meta accounted for, and each fact told
/// once to a reader that is not ours. Prints the counts.
pub fn account_for(cluster: &Cluster, meta: &MetaBox, orders: &[String]) {
    let account = &cluster.account;
    let purchases = wait_at_most(Duration::from_secs(120), "every acknowledged order to be recorded", || {
        let mut by_order: HashMap<String, usize> = HashMap::new();
        for purchase in cluster.export("purchases") {
            *by_order.entry(purchase["order_id"].as_str().expect("an order").to_owned()).or_default() += 1;
        }
        orders.iter().all(|order| by_order.contains_key(order)).then_some(by_order)
    });
    assert!(purchases.values().all(|count| *count == 1), "one order, one purchase");
    let expected = purchases.len() * account.pixels.len();
    let ids: HashSet<String> = purchases.keys().map(|order| format!("{}:{order}", account.funnel)).collect();
    let deliveries = wait_at_most(Duration::from_secs(180), "every delivery to end", || {
        let mut deliveries = cluster.export("deliveries");
        deliveries.retain(|delivery| ids.contains(delivery["event_id"].as_str().expect("an id")));
        (deliveries.len() == expected && deliveries.iter().all(|delivery| delivery["outcome"] != "waiting")).then_some(deliveries)
    });
    let mut copies_at_meta: HashMap<(String, String), u64> = HashMap::new();
    for pixel in &account.pixels {
        for conversion in meta.conversions(pixel) {
            let id = conversion["event_id"].as_str().expect("an id").to_owned();
            copies_at_meta.insert((pixel.clone(), id), conversion["server_copies"].as_u64().expect("a number"));
        }
    }
    let (mut doubled, mut ambiguous) = (0, 0);
    for delivery in &deliveries {
        let slot = (delivery["pixel_id"].as_str().unwrap().to_owned(), delivery["event_id"].as_str().unwrap().to_owned());
        let copies = copies_at_meta.get(&slot).copied().unwrap_or(0);
        assert_eq!(delivery["outcome"], "delivered", "{delivery}");
        assert!(copies >= 1, "told as delivered and not there: {delivery}");
        assert!(copies - 1 <= delivery["ambiguous_attempts"].as_u64().unwrap(), "{copies} copies: {delivery}");
        doubled += copies - 1;
        ambiguous += delivery["ambiguous_attempts"].as_u64().unwrap();
    }
    // Who reads our topics from outside, committed records only, sees each fact once.
    let told = wait_for("the topics to tell everything", || {
        let mut told: HashMap<(String, u64), usize> = HashMap::new();
        for purchase in cluster.outside("purchases") {
            let slot = (purchase["order_id"].as_str().expect("an order").to_owned(), purchase["revision"].as_u64().expect("a number"));
            *told.entry(slot).or_default() += 1;
        }
        purchases.keys().all(|order| told.contains_key(&(order.clone(), 1))).then_some(told)
    });
    let twice: Vec<_> = told.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "each revision of a purchase is told once: {twice:?}");
    let outcomes = wait_for("the topic deliveries to tell every outcome", || {
        let mut outcomes: BTreeMap<(String, String), usize> = BTreeMap::new();
        for delivery in cluster.outside("deliveries") {
            if ids.contains(delivery["event_id"].as_str().expect("an id")) {
                let slot = (delivery["pixel_id"].as_str().unwrap().to_owned(), delivery["event_id"].as_str().unwrap().to_owned());
                *outcomes.entry(slot).or_default() += 1;
            }
        }
        (outcomes.len() == expected).then_some(outcomes)
    });
    let twice: Vec<_> = outcomes.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "each outcome is told once: {twice:?}");
    println!(
        "acknowledged {}, recorded {}, delivered {}, ambiguous attempts {ambiguous}, doubled at Meta {doubled} (each recorded), lost 0",
        orders.len(),
        purchases.len(),
        deliveries.len()
    );
}
