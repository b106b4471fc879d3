//! The decision under every interleaving: one raw partition, two judges that may overlap, crashes, warm and cold filters.
//!
//! Every log of up to three records over {browser leg, server leg, server leg with another amount} of two orders runs through every
//! interleaving of look up, write, answer, commit, crash, takeover and zombie. In every state: a verdict answered for a position never
//! differs, what is committed is what an undisturbed run commits, and the ledger ends as in an undisturbed run.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use processor::decide::{Telling, decide};
use proptest::prelude::*;
use schemas::{
    envelope::Position,
    fact::LegName,
    id::FunnelId,
    key::DedupKey,
    money::{Currency, Money},
    order::OrderId,
    row::{Leg, Seen},
    time::Time,
    verdict::{ConflictField, Verdict},
};
use uuid::Uuid;

/// One record of a small log: order, leg, amount.
type Record = (u8, LegName, i64);

const RECORDS: [Record; 6] = [
    (0, LegName::Browser, 1),
    (0, LegName::Server, 1),
    (0, LegName::Server, 2),
    (1, LegName::Browser, 1),
    (1, LegName::Server, 1),
    (1, LegName::Server, 2),
];

fn telling(record: Record, offset: usize) -> Telling {
    let (order, leg, amount) = record;
    let order = OrderId::parse(&order.to_string()).expect("it fits").expect("it is not blank");
    Telling {
        key: DedupKey::Purchase(FunnelId::parse("fn_1").expect("an id"), order),
        leg,
        is_purchase: true,
        raw_id: Uuid::from_u128(offset as u128),
        position: Position { generation: 0, partition: 0, offset: offset as u64 },
        received_at: Time::default(),
        money: Some(Money { minor: amount, currency: Currency::parse("USD").expect("a currency") }),
        email: None,
        body: None,
        dispatches: 1,
    }
}

fn cell(telling: &Telling) -> Leg {
    Leg {
        position: telling.position,
        raw_id: telling.raw_id,
        received_at: telling.received_at,
        amount_minor: telling.money.map(|m| m.minor),
        currency: telling.money.map(|m| m.currency),
        email: None,
        body: None,
        pixels: Vec::new(),
        context: None,
    }
}

/// Cells by (order, leg) → offset: all a ledger says in this model, because a cell is determined by the record that wrote it.
type Ledger = BTreeMap<(u8, LegName), usize>;

fn seen(ledger: &Ledger, log: &[Record], order: u8) -> Seen {
    let mut seen = Seen::default();
    for leg in [LegName::Browser, LegName::Server] {
        if let Some(&offset) = ledger.get(&(order, leg)) {
            seen.set(leg, cell(&telling(log[offset], offset)));
        }
    }
    seen
}

fn is_new(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::First { .. } | Verdict::Joined { .. })
}

/// What an undisturbed run concludes: verdicts and the ledger.
fn undisturbed(log: &[Record]) -> (Vec<Verdict>, Ledger) {
    let (mut ledger, mut verdicts) = (Ledger::new(), Vec::new());
    for (offset, record) in log.iter().enumerate() {
        let verdict = decide(&telling(*record, offset), &seen(&ledger, log, record.0)).expect("the log did not go back").verdict;
        if is_new(&verdict) {
            ledger.insert((record.0, record.1), offset);
        }
        verdicts.push(verdict);
    }
    (verdicts, ledger)
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Judge {
    at: usize,
    phase: Phase,
    /// Orders the filter holds; `None` while cold.
    filter: Option<BTreeSet<u8>>,
    /// Whether the verdict on its way writes a cell.
    writes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    New,
    Look,
    Write,
    Answer,
}

const NEW: Judge = Judge { at: 0, phase: Phase::New, filter: None, writes: false };

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    ledger: Ledger,
    committed: usize,
    owner: Judge,
    zombie: Option<Judge>,
    faults: u8,
}

/// Every step that one judge can take from a state: the ledger and itself afterwards, and what it committed if it is the owner.
fn steps(state: &State, judge: &Judge, is_owner: bool, log: &[Record], expected: &[Verdict]) -> Vec<(Ledger, usize, Judge)> {
    let mut next = Vec::new();
    match judge.phase {
        Phase::New => {
            let warm: BTreeSet<u8> = log[..state.committed].iter().map(|record| record.0).collect();
            for filter in [Some(warm), None] {
                next.push((
                    state.ledger.clone(),
                    state.committed,
                    Judge { at: state.committed, phase: Phase::Look, filter, writes: false },
                ));
            }
        }
        Phase::Look => {
            if let Some(record) = log.get(judge.at) {
                let surely_new = judge.filter.as_ref().is_some_and(|filter| !filter.contains(&record.0));
                let known = if surely_new { Seen::default() } else { seen(&state.ledger, log, record.0) };
                let verdict = decide(&telling(*record, judge.at), &known).expect("the log did not go back").verdict;
                assert_eq!(verdict, expected[judge.at], "offset {} of {log:?}", judge.at);
                next.push((
                    state.ledger.clone(),
                    state.committed,
                    Judge { phase: Phase::Write, writes: is_new(&verdict), ..judge.clone() },
                ));
            }
            if is_owner && judge.at > state.committed {
                next.push((state.ledger.clone(), judge.at, judge.clone()));
            }
        }
        Phase::Write => {
            let (order, leg, _) = log[judge.at];
            let mut ledger = state.ledger.clone();
            if judge.writes {
                let newest = ledger.get(&(order, leg)).map_or(judge.at, |&old| old.max(judge.at)); // write timestamps: the higher position wins
                ledger.insert((order, leg), newest);
            }
            next.push((ledger, state.committed, Judge { phase: Phase::Answer, ..judge.clone() }));
        }
        Phase::Answer => {
            let mut filter = judge.filter.clone();
            if let Some(filter) = &mut filter {
                filter.insert(log[judge.at].0);
            }
            next.push((state.ledger.clone(), state.committed, Judge { at: judge.at + 1, phase: Phase::Look, filter, writes: false }));
        }
    }
    next
}

fn explore(log: &[Record], faults: u8) -> usize {
    let (expected, ledger) = undisturbed(log);
    let mut stack = vec![State { ledger: Ledger::new(), committed: 0, owner: NEW, zombie: None, faults }];
    let mut visited = HashSet::new();
    while let Some(state) = stack.pop() {
        if !visited.insert(state.clone()) {
            continue;
        }
        for (ledger, committed, owner) in steps(&state, &state.owner, true, log, &expected) {
            stack.push(State { ledger, committed, owner, ..state.clone() });
        }
        if let Some(zombie) = &state.zombie {
            for (ledger, _, zombie) in steps(&state, zombie, false, log, &expected) {
                stack.push(State { ledger, zombie: Some(zombie), ..state.clone() });
            }
            stack.push(State { zombie: None, ..state.clone() });
        }
        if state.faults > 0 && state.owner != NEW {
            stack.push(State { owner: NEW, zombie: None, faults: state.faults - 1, ..state.clone() }); // a crash
            if state.zombie.is_none() {
                stack.push(State { owner: NEW, zombie: Some(state.owner.clone()), faults: state.faults - 1, ..state.clone() }); // a takeover
            }
        }
        if state.committed == log.len() && state.zombie.is_none() {
            assert_eq!(state.ledger, ledger, "{log:?}");
        }
    }
    visited.len()
}

#[test]
fn verdicts_are_a_function_of_the_log_in_every_interleaving() {
    let mut logs: Vec<Vec<Record>> = vec![vec![]];
    let mut states = 0;
    for _ in 0..3 {
        logs = logs.iter().flat_map(|log| RECORDS.iter().map(move |record| [log.as_slice(), &[*record]].concat())).collect();
        for log in logs.iter().filter(|log| log[0].0 == 0) {
            states += explore(log, 2);
        }
    }
    assert!(states > 50_000, "the exploration was cut short at {states} states");
}

#[test]
fn a_judge_that_looks_into_its_future_would_be_caught() {
    // The row of a crashed judge that ran ahead: offset 1 wrote its cell, then offset 0 is judged again.
    let log = [(0, LegName::Browser, 1), (0, LegName::Server, 1)];
    let ahead = Ledger::from([((0, LegName::Server), 1)]);
    let verdict = decide(&telling(log[0], 0), &seen(&ahead, &log, 0)).expect("the log did not go back").verdict;
    assert_eq!(verdict, Verdict::First { purchases_created: 0, pixel_events_queued: 1 });
}

#[test]
fn another_record_at_ones_own_position_means_that_the_log_went_back() {
    let now = telling((0, LegName::Server, 1), 5);
    let mut seen = Seen::default();
    seen.set(LegName::Server, Leg { raw_id: Uuid::from_u128(99), ..cell(&now) });
    assert!(decide(&now, &seen).is_err());
}

#[test]
fn a_field_absent_on_either_side_is_no_difference() {
    let first = telling((0, LegName::Server, 1), 0);
    let mut seen = Seen::default();
    seen.set(LegName::Server, Leg { amount_minor: None, currency: None, ..cell(&first) });
    assert_eq!(decide(&telling((0, LegName::Server, 7), 1), &seen).map(|r| r.verdict), Ok(Verdict::Repeat));
    seen.set(LegName::Server, cell(&first));
    assert_eq!(decide(&Telling { money: None, ..telling((0, LegName::Server, 7), 1) }, &seen).map(|r| r.verdict), Ok(Verdict::Repeat));
    let conflict = Verdict::Conflict { fields: vec![ConflictField::Amount] };
    assert_eq!(decide(&telling((0, LegName::Server, 7), 1), &seen).map(|r| r.verdict), Ok(conflict));
}

#[test]
fn event_keys_are_new_again_after_thirty_days_and_order_keys_never() {
    let day = schemas::time::DAY_US;
    let first = telling((0, LegName::Server, 1), 0);
    let hook = DedupKey::Hook(FunnelId::parse("fn_1").expect("an id"), "e".into());
    let mut seen = Seen::default();
    seen.set(LegName::Server, cell(&first));
    for (key, us, is_new_again) in [(hook.clone(), 30 * day - 1, false), (hook, 30 * day, true), (first.key.clone(), 9_000 * day, false)] {
        let now = Telling { key, received_at: Time::from_micros(us), ..telling((0, LegName::Server, 1), 1) };
        assert_eq!(decide(&now, &seen).map(|r| is_new(&r.verdict)), Ok(is_new_again), "{us}");
    }
}

proptest! {
    #[test]
    fn any_telling_of_orders_creates_each_purchase_once(log in prop::collection::vec((0_u8..4, any::<bool>(), 1_i64..3), 1..40)) {
        let log: Vec<Record> = log.into_iter().map(|(order, server, amount)| (order, if server { LegName::Server } else { LegName::Browser }, amount)).collect();
        let (verdicts, ledger) = undisturbed(&log);
        for order in 0..4 {
            let of_order: Vec<_> = log.iter().zip(&verdicts).filter(|(record, _)| record.0 == order).collect();
            let firsts = of_order.iter().filter(|(_, v)| matches!(v, Verdict::First { .. })).count();
            prop_assert_eq!(firsts, usize::from(!of_order.is_empty()));
            let created: u32 = of_order.iter().map(|(_, v)| match v {
                Verdict::First { purchases_created, .. } | Verdict::Joined { purchases_created } => *purchases_created,
                _ => 0,
            }).sum();
            let has_server = of_order.iter().any(|(record, _)| record.1 == LegName::Server);
            prop_assert_eq!(created, u32::from(has_server), "the first server leg counts as created, and only it");
            if has_server {
                let first_server = log.iter().position(|record| record.0 == order && record.1 == LegName::Server);
                prop_assert_eq!(ledger.get(&(order, LegName::Server)).copied(), first_server, "the first server leg's amount stays");
            }
        }
    }
}
