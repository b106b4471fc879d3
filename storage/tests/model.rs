//! Any sequence of appends, steps and restarts leaves what a plain model in memory says.

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use schemas::{
    fact::{Context, LegName},
    row::{Cell, Row, Visitor},
    topic::{Group, Topic},
};
use storage::{Consumed, Step, Storage};
use support::{Embedded, Engine, at, funnel, leg, record, waiting};

/// What may happen.
#[derive(Clone, Debug)]
enum Deed {
    /// Records are appended together: (key, value).
    Append(Vec<(u8, u8)>),
    /// A step with a leg, a visitor's cell at a time, a waiting row and a fact.
    Step { key: u8, server: bool, told_ms: u8, due_ms: u8, done: Option<u8> },
    /// The judge has consumed so many records of raw's first partition.
    Consume(u8),
    /// Closed and opened again.
    Restart,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => prop::collection::vec((any::<u8>(), any::<u8>()), 1..20).prop_map(Deed::Append),
        6 => (0..8_u8, any::<bool>(), any::<u8>(), any::<u8>(), prop::option::of(0..8_u8))
            .prop_map(|(key, server, told_ms, due_ms, done)| Deed::Step { key, server, told_ms, due_ms, done }),
        1 => any::<u8>().prop_map(Deed::Consume),
        1 => Just(Deed::Restart),
    ]
}

/// What must be there.
#[derive(Default)]
struct Model {
    log: BTreeMap<(&'static str, u32), Vec<String>>,
    seen: BTreeMap<(u8, bool), u64>,
    told_ms: BTreeMap<u8, u8>,
    waiting: BTreeMap<u8, u8>,
    committed: u64,
    steps: u64,
}

impl Model {
    fn appended(&mut self, storage: &Storage, topic: Topic, key: &str, value: String) -> (u32, u64) {
        let partition = storage.partition_of(topic, key.as_bytes());
        let records = self.log.entry((topic.name(), partition)).or_default();
        records.push(value);
        (partition, records.len() as u64 - 1)
    }
}

fn visitor_row(key: u8, told_ms: u8) -> Visitor {
    Visitor {
        funnel_id: funnel(),
        visitor_id: schemas::id::VisitorId::parse(&format!("v{key}")).expect("an id"),
        person: None,
        context: Some(Cell { at: at(told_ms.into()), value: Context { url: Some(told_ms.to_string()), ..Context::default() } }),
        consent: None,
    }
}

async fn act(deed: Deed, engine: &Embedded, storage: Storage, model: &mut Model) -> Storage {
    match deed {
        Deed::Append(records) => {
            let records: Vec<_> = records.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            let expected: Vec<_> = records.iter().map(|(key, value)| model.appended(&storage, Topic::Raw, key, value.clone())).collect();
            let appends = records.iter().map(|(key, value)| record(Topic::Raw, key, value)).collect();
            let positions = storage.appender().append(appends).await.expect("it is durable");
            assert_eq!(positions.iter().map(|position| (position.partition, position.offset)).collect::<Vec<_>>(), expected);
        }
        Deed::Step { key, server, told_ms, due_ms, done } => {
            model.steps += 1;
            let mut step = Step::named("test");
            let name = if server { LegName::Server } else { LegName::Browser };
            step.rows.push(Row::Seen { key: format!("fn_1|hook|{key}"), leg: name, cell: leg(0, model.steps) });
            step.rows.push(Row::Visitor(Box::new(visitor_row(key, told_ms))));
            step.rows.push(Row::Waiting(Box::new(waiting(1, support::pixel(1), &key.to_string(), i64::from(key), due_ms.into()))));
            model.waiting.insert(key, due_ms);
            if let Some(done) = done {
                let pixel_id = support::pixel(1);
                step.rows.push(Row::WaitingDone { pixel_id, deadline_hour: i64::from(done), dedup_key: done.to_string() });
                model.waiting.remove(&done);
            }
            let fact = format!("fact {}", model.steps);
            model.appended(&storage, Topic::Events, &key.to_string(), fact.clone());
            step.records.push(record(Topic::Events, &key.to_string(), &fact));
            storage.commit(step).await.expect("it becomes true");
            model.seen.insert((key, server), model.steps);
            let newest = model.told_ms.entry(key).or_default();
            *newest = told_ms.max(*newest);
        }
        Deed::Consume(records) => {
            let (_, end) = storage.bounds(Topic::Raw, 0).await.expect("it reads");
            model.committed = u64::from(records).min(end);
            let mut step = Step::named("test");
            step.consumed.push(Consumed {
                group: Group::Processor,
                partition: 0,
                next_offset: model.committed,
                metadata: None,
                lease: None,
            });
            storage.commit(step).await.expect("it becomes true");
        }
        Deed::Restart => return engine.reopen(storage).await,
    }
    storage
}

async fn compare(storage: &Storage, model: &Model) {
    for topic in [Topic::Raw, Topic::Events] {
        for partition in 0..storage.partitions(topic) {
            let read = storage.reader(topic, partition, 0).available(100_000, usize::MAX).await.expect("it reads");
            let expected = model.log.get(&(topic.name(), partition)).cloned().unwrap_or_default();
            assert_eq!(support::values(&read), expected);
        }
    }
    for key in 0..8 {
        let seen = storage.facts().seen(&[format!("fn_1|hook|{key}")]).await.expect("it reads").remove(0).unwrap_or_default();
        let offset = |leg: Option<schemas::row::Leg>| leg.map(|leg| leg.position.offset);
        assert_eq!(offset(seen.browser), model.seen.get(&(key, false)).copied());
        assert_eq!(offset(seen.server), model.seen.get(&(key, true)).copied());
        let visitor = storage.facts().visitor(&funnel(), &visitor_row(key, 0).visitor_id).await.expect("it reads");
        assert_eq!(visitor, model.told_ms.get(&key).map(|told_ms| visitor_row(key, *told_ms)));
    }
    for now_ms in [0, 100, 255] {
        let rows = storage.deliveries().due(1, None, at(now_ms), 100).await.expect("it reads");
        let found: Vec<_> = rows.into_iter().map(|found| found.row.dispatch.dedup_key).collect();
        let due = model.waiting.iter().filter(|(_, due_ms)| i64::from(**due_ms) <= now_ms);
        assert_eq!(found, due.map(|(key, _)| key.to_string()).collect::<Vec<_>>(), "earliest deadline first");
    }
    assert_eq!(storage.committed(Group::Processor, 0).await.expect("it reads").next_offset, model.committed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 60, ..ProptestConfig::default() })] // each case syncs to disk

    #[test]
    fn any_sequence_leaves_what_the_model_says(deeds in prop::collection::vec(deed(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let engine = Embedded::new();
            let (mut storage, mut model) = (engine.open().await, Model::default());
            for deed in deeds {
                storage = act(deed, &engine, storage, &mut model).await;
            }
            compare(&storage, &model).await;
            let storage = engine.reopen(storage).await;
            compare(&storage, &model).await;
        });
    }
}
