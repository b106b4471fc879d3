//! Many statements in few requests: those whose rows live on the same servers go together, as an unlogged batch.
//!
//! A batch is no transaction here, and need not be: each statement is an idempotent upsert with a stamp of its own, so that a batch of
//! which a part was applied is simply written again. It saves both sides what a request costs beside its rows.

use std::collections::HashMap;

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use scylla::{
    cluster::ClusterState,
    serialize::row::SerializeRow,
    statement::batch::{Batch, BatchType},
};

use super::{BATCH, Ledger, LedgerError, statements::Asked};

/// Statements in one batch. Apache Cassandra warns of more than ten partitions in one (`unlogged_batch_across_partitions_warn_threshold`).
const STATEMENTS_MAX: usize = 10;
/// Bytes of values in one batch. Apache Cassandra warns of 5 KiB (`batch_size_warn_threshold`), ScyllaDB of 128.
const BYTES_MAX: usize = 4 * 1_024;

/// A statement with its values.
pub(super) struct Put<'a> {
    asked: &'a Asked,
    /// About how many of them its values have.
    bytes: usize,
    values: Values<'a>,
}

type Values<'a> = Box<dyn SerializeRow + Send + Sync + 'a>;

impl<'a> Put<'a> {
    pub(super) fn new(asked: &'a Asked, bytes: usize, values: impl SerializeRow + Send + Sync + 'a) -> Self {
        Self { asked, bytes, values: Box::new(values) }
    }

    /// Where its row lives: the same number for the same set of servers.
    fn replicas(&self, cluster: &ClusterState) -> u128 {
        let statement = &self.asked.statement;
        let token = statement.calculate_token(&self.values).ok().flatten();
        match (token, statement.get_keyspace_name(), statement.get_table_name()) {
            (Some(token), Some(keyspace), Some(table)) => {
                let servers = cluster.get_token_endpoints(keyspace, table, token);
                servers.iter().fold(0, |all, (server, _)| all ^ server.host_id.as_u128())
            }
            _ => 0, // the driver finds a way for it too
        }
    }
}

impl Ledger {
    /// Runs all of them; on `Ok` what they write is durable.
    pub(super) async fn put(&self, puts: Vec<Put<'_>>) -> Result<(), LedgerError> {
        let cluster = self.live()?.session.get_cluster_state();
        let groups = groups(puts, |put| put.bytes, |put| put.replicas(&cluster));
        // In boxes: these futures are large, and many of them wait at once.
        let writes: Vec<BoxFuture<'_, _>> = groups.into_iter().map(|group| self.put_together(group).boxed()).collect();
        stream::iter(writes).buffer_unordered(self.0.in_flight_max).try_collect::<()>().await
    }

    async fn put_together(&self, mut group: Vec<Put<'_>>) -> Result<(), LedgerError> {
        if group.len() == 1
            && let Some(Put { asked, values, .. }) = group.pop()
        {
            return self.run(asked, values).await.map(drop);
        }
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_is_idempotent(true);
        let mut values = Vec::with_capacity(group.len());
        for put in group {
            batch.append_statement(put.asked.statement.clone());
            values.push(put.values);
        }
        let live = self.live()?;
        self.in_turn(BATCH, &live.batch_seconds, live.session.batch(&batch, values)).await.map(drop)
    }
}

/// Puts what lives together into groups within the bounds; what is too large for any goes alone.
fn groups<T>(items: Vec<T>, bytes: impl Fn(&T) -> usize, place: impl Fn(&T) -> u128) -> Vec<Vec<T>> {
    let mut groups = Vec::new();
    let mut open: HashMap<u128, (usize, Vec<T>)> = HashMap::new();
    for item in items {
        let more = bytes(&item);
        if more > BYTES_MAX {
            groups.push(vec![item]);
            continue;
        }
        let (sum, group) = open.entry(place(&item)).or_default();
        if group.len() == STATEMENTS_MAX || *sum + more > BYTES_MAX {
            groups.push(std::mem::take(group));
            *sum = 0;
        }
        *sum += more;
        group.push(item);
    }
    groups.extend(open.into_values().map(|(_, group)| group));
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BYTES_MAX, STATEMENTS_MAX, groups};

    proptest! {
        #[test]
        fn every_statement_goes_once_with_those_of_its_servers_and_within_the_bounds(
            puts in proptest::collection::vec((0_u128..3, 0_usize..2 * BYTES_MAX), 0..60),
        ) {
            let puts: Vec<(usize, u128, usize)> = puts.into_iter().enumerate().map(|(number, (place, bytes))| (number, place, bytes)).collect();
            let groups = groups(puts.clone(), |put| put.2, |put| put.1);
            for group in &groups {
                prop_assert!(!group.is_empty() && group.len() <= STATEMENTS_MAX);
                prop_assert!(group.iter().all(|put| put.1 == group[0].1));
                prop_assert!(group.len() == 1 || group.iter().map(|put| put.2).sum::<usize>() <= BYTES_MAX);
            }
            let mut all = groups.concat();
            all.sort_unstable();
            prop_assert_eq!(all, puts);
        }
    }

    #[test]
    fn ten_small_ones_of_one_place_make_one_request() {
        assert_eq!(groups(vec![(); 25], |()| 100, |()| 7).iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
    }
}
