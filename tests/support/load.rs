//! Senders at work while something is done to the servers or to us: each order is posted until it is acknowledged.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Account, cluster::Door, wait_at_most};

/// How long an order may be refused. The longest outage of a test, and a boot after it.
const PATIENCE: Duration = Duration::from_secs(240);

/// Threads that post orders, each its own, until they are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
    seen: Arc<Seen>,
}

/// What the senders saw.
#[derive(Default)]
pub struct Seen {
    next: AtomicUsize,
    /// How often each acknowledged order was answered created.
    created: Mutex<HashMap<String, u64>>,
    /// Answers with a verdict: only they show that every role was at work.
    judged: AtomicUsize,
    /// Answers of the spool.
    spooled: AtomicUsize,
    /// When a sender was last refused or met a closed door.
    refused: Mutex<Option<Instant>>,
}

impl Load {
    /// Four senders, in turn at the doors, as fast as they are answered. The first one's orders have a browser leg too.
    pub fn start(account: &Account, doors: &[Door]) -> Self {
        Self::paced(account, doors, Duration::ZERO)
    }

    /// The same, with at least `pace` from one order of a sender to its next. While judges are silent a door answers at once, and what
    /// comes faster than they can judge when they are back is a backlog of minutes, in which no answer has a verdict.
    pub fn paced(account: &Account, doors: &[Door], pace: Duration) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
        let sender = |number: usize| {
            let (stop, seen, account, door) = (stop.clone(), seen.clone(), account.clone(), doors[number % doors.len()].clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let next = Instant::now() + pace;
                    seen.order(&account, &door, number == 0);
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            })
        };
        let senders = (0..4).map(sender).collect();
        Self { stop, senders, seen }
    }

    /// Answers with a verdict so far.
    pub fn judged(&self) -> usize {
        self.seen.judged.load(Ordering::Relaxed)
    }

    /// Answers of the spool so far.
    pub fn spooled(&self) -> usize {
        self.seen.spooled.load(Ordering::Relaxed)
    }

    /// When a sender was last refused.
    pub fn last_refused(&self) -> Option<Instant> {
        *self.seen.refused.lock().unwrap()
    }

    /// Waits for another answer with a verdict.
    pub fn progress(&self) {
        let before = self.judged();
        wait_at_most(PATIENCE, "an answer with a verdict", || (self.judged() > before).then_some(()));
    }

    /// Stops; answers the orders that were acknowledged. None of them may have been answered created twice.
    pub fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        for sender in self.senders {
            sender.join().expect("a sender ends");
        }
        let created = self.seen.created.lock().unwrap();
        assert!(created.values().all(|count| *count <= 1), "no order was answered created twice");
        created.keys().cloned().collect()
    }
}

impl Seen {
    fn order(&self, account: &Account, door: &Door, with_browser_leg: bool) {
        let order = format!("ORD-{}", self.next.fetch_add(1, Ordering::Relaxed));
        if with_browser_leg {
            let leg = browser_purchase(account, &order);
            wait_at_most(PATIENCE, "an answer", || (door.session(&leg) == Some(200)).then_some(()));
        }
        let answer = wait_at_most(PATIENCE, "an answer", || match door.webhook(account, &purchase(&order)) {
            Some((200 | 202, answer)) => Some(answer),
            Some((503, _)) | None => {
                *self.refused.lock().unwrap() = Some(Instant::now());
                std::thread::sleep(Duration::from_millis(5)); // a door that is down refuses at once: not a flood
                None
            }
            Some((status, answer)) => panic!("{status}: {answer}"),
        });
        if let Some(count) = answer["purchases_created"].as_u64() {
            self.judged.fetch_add(1, Ordering::Relaxed);
            *self.created.lock().unwrap().entry(order).or_default() += count;
        } else {
            // 202 tells nothing yet, and comes at once while judges are silent: not a flood of them.
            if answer["durability"] == "spool" {
                self.spooled.fetch_add(1, Ordering::Relaxed);
            }
            self.created.lock().unwrap().entry(order).or_default();
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A backend's purchase.
pub fn purchase(order: &str) -> Value {
    json!({"event":"purchase","email":"jane@example.com","amount":49.99,"currency":"EUR","order_id":order})
}

/// The browser leg of the same.
pub fn browser_purchase(account: &Account, order: &str) -> Value {
    json!({"v":1,"fid":account.funnel,"sent_at":1_764_000_000_000_i64,"page":{"url":"https://shop.example/thanks"},
           "ids":{"fbp":"fb.1.1596403881668.1116446470"},"consent":"granted","person":{"email":"jane@example.com"},
           "events":[{"event_id":format!("own-{order}"),"visitor_id":"visitor-1","type":"track","name":"Purchase",
                      "props":{"value":49.99,"currency":"EUR","order_id":order},"at":1_764_000_000_000_i64}]})
}
