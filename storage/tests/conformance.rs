//! What every engine must do, said once over an engine that is handed in.

mod support;

use std::time::Duration;

use schemas::{
    envelope::Position,
    fact::LegName,
    row::Row,
    time::Time,
    topic::{Group, Topic},
};
use storage::{Consumed, Step};
use support::{Embedded, Engine, leg, record, values};

/// Runs each check on each engine, as a test of its own.
macro_rules! on_every_engine {
    ($($check:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $check() {
                super::$check(<super::Embedded as super::Engine>::new()).await;
            })*
        }
    };
}

on_every_engine!(records_are_read_in_the_order_in_which_they_were_appended, a_step_is_true_as_a_whole,);

async fn records_are_read_in_the_order_in_which_they_were_appended(engine: impl Engine) {
    let storage = engine.open();
    let first =
        storage.appender().append(vec![record(Topic::Audit, "k", "a"), record(Topic::Audit, "k", "b")]).await.expect("it is durable");
    let second = storage.appender().append(vec![record(Topic::Audit, "k", "c")]).await.expect("it is durable");
    let at = |offset| Position { generation: 0, partition: 0, offset };
    assert_eq!((first, second), (vec![at(0), at(1)], vec![at(2)]));
    let mut reader = storage.reader(Topic::Audit, 0, 0);
    assert_eq!(values(&reader.next(10, usize::MAX).await.expect("it reads")), ["a", "b", "c"]);
    assert_eq!(reader.position(), 3);
    assert!(reader.available(10, usize::MAX).await.expect("it reads").is_empty());
}

async fn a_step_is_true_as_a_whole(engine: impl Engine) {
    let storage = engine.open();
    storage.appender().append(vec![record(Topic::Raw, "k", "raw")]).await.expect("it is durable");
    let partition = storage.partition_of(Topic::Raw, b"k");
    let mut step = Step::named("judge");
    step.rows.push(Row::Seen { key: "fn_1|purchase|A".into(), leg: LegName::Server, cell: leg(partition, 0) });
    step.records.push(record(Topic::Purchases, "A", "fact"));
    step.consumed.push(Consumed { group: Group::Processor, partition, next_offset: 1, metadata: None });
    let positions = storage.commit(step).await.expect("it is durable");
    let storage = engine.reopen(storage).await;
    let seen = storage.facts().seen(&["fn_1|purchase|A".into(), "fn_1|purchase|B".into()]).await.expect("it reads");
    assert_eq!(seen[0].as_ref().and_then(|seen| seen.server.clone()), Some(leg(partition, 0)));
    assert_eq!(seen[1], None);
    assert_eq!(storage.committed(Group::Processor, partition).await.expect("it reads").next_offset, 1);
    let mut reader = storage.reader(Topic::Purchases, positions[0].partition, 0);
    let read = tokio::time::timeout(Duration::from_secs(5), reader.next(1, 1)).await.expect("it is there").expect("it reads");
    assert_eq!(values(&read), ["fact"]);
    assert_eq!(read[0].time, Time::from_millis(1));
}
