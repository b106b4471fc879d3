//! One pixel's way to Meta: its queue, its requests in flight, its pauses. Pure: it never waits, reads or sends.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    sync::Arc,
};

use schemas::{dispatch::Dispatch, secret::Sealed, time::Time};

use super::{
    access::Access,
    agenda::rounded,
    config::{Config, micros},
    isolate::Search,
    item::Item,
    pace::Pace,
    schedule,
};

/// Batches that a pixel's queue holds before its dispatches go to `waiting`.
const QUEUE_BATCHES: usize = 4;

/// One pixel's way to Meta.
#[derive(Default)]
pub struct Lane {
    /// Read and not sent yet, in order; what came out of `waiting` stands in front.
    queue: VecDeque<Item>,
    queue_bytes: usize,
    /// Parts of refused batches.
    search: Search<Item>,
    /// Batches whose intent or request is on its way.
    flying: Vec<Flight>,
    /// Keys with a row in `waiting` that must not be read again: they are in memory, or in a step that is not true yet.
    pub busy: HashSet<String>,
    /// Later revisions whose first one may be in a step that is not true yet.
    pub late: Vec<Late>,
    /// Failures in a row.
    pub failures: u32,
    /// When the last of them was counted: requests that were on their way by then say nothing new.
    pub failed_at: Time,
    paused_until: Option<Time>,
    /// Moments at which rows in `waiting` become due.
    dues: BTreeSet<Time>,
    /// Whether all rows in `waiting` are known, so that `dues` is complete.
    pub is_surveyed: bool,
    /// When to survey again if they are too many for one look.
    pub survey_at: Time,
    /// Rows due until then are due now: the reason of their pause has gone.
    pub eager_until: Option<Time>,
    /// Whether rows were passed over because they were busy.
    pub looks_again: bool,
    /// New dispatches go to `waiting` until the queue has gone down.
    is_spilling: bool,
    /// Nothing is sent before that step is true.
    pub barrier: u64,
    /// How quickly Meta lets the pixel send.
    pub pace: Pace,
    /// The token, opened.
    pub access: Option<Arc<Access>>,
    /// Why the pixel itself is at fault, and since which token.
    pub refused: Option<Refused>,
}

/// A batch on its way, by the number of its attempt.
struct Flight {
    attempt: u64,
    batch: Vec<Item>,
}

/// A pixel at fault: the token it had then, none if the directory did not know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub Option<Sealed>);

/// A later revision that waits for a step.
pub struct Late {
    /// The step that must be true before the ledger is asked.
    pub after: u64,
    pub offset: u64,
    pub dispatch: Dispatch,
}

/// What a lane can do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing, until something happens.
    Nothing,
    /// Nothing before this moment.
    At(Time),
    /// See what is due in `waiting`.
    Look,
    /// Send a batch.
    Send,
}

impl Lane {
    /// What to do now; every step up to `durable` is true, and the token is not to be used before `paced_until`.
    ///
    /// One request at a time, so that what comes meanwhile goes in one batch; several while whole batches wait and all is well.
    pub fn turn(&mut self, now: Time, durable: u64, paced_until: Time, config: &Config) -> Turn {
        if self.barrier > durable || self.flying.len() >= self.flights_max(config) {
            return Turn::Nothing;
        }
        if let Some(until) = self.paused_until {
            if now < until {
                return Turn::At(until);
            }
            self.paused_until = None;
        }
        if self.dues.first().is_some_and(|due| *due <= now) && self.late.is_empty() && self.busy.len() < config.batch_events_max {
            return Turn::Look;
        }
        let paced_until = self.pace.next_at().max(paced_until);
        if now < paced_until && !(self.search.is_empty() && self.queue.is_empty()) {
            return Turn::At(paced_until);
        }
        if !self.search.is_empty() {
            return Turn::Send;
        }
        match self.queue.front() {
            None => self.dues.first().filter(|due| **due > now).map_or(Turn::Nothing, |due| Turn::At(*due)),
            Some(_) if self.has_full_batch(config) => Turn::Send,
            Some(first) => match first.arrived.plus_micros(micros(config.linger_ms)) {
                at if at <= now => Turn::Send,
                at => Turn::At(at),
            },
        }
    }

    /// Takes the next batch: part of a refused one, else from the queue, in order, as far as one request can carry it: a request has one test
    /// event code.
    pub fn take_batch(&mut self, config: &Config) -> Vec<Item> {
        if let Some(part) = self.search.next_part() {
            return part;
        }
        // One event is enough to ask whether a token works again.
        let (mut bytes, mut company) = (0, if self.refused.is_some() { 1 } else { config.batch_events_max.max(1) });
        let code = self.queue.front().and_then(Item::test_event_code);
        let fits = self.queue.iter().enumerate().take_while(|(number, item)| {
            bytes += item.payload().len() + 1;
            company = company.min(schedule::company(item.tries(), config.batch_events_max));
            *number == 0 || bytes <= config.batch_bytes_max && *number < company && item.test_event_code() == code
        });
        let count = fits.count();
        let batch: Vec<Item> = self.queue.drain(..count).collect();
        self.queue_bytes -= batch.iter().map(|item| item.payload().len()).sum::<usize>();
        if self.queue.len() <= QUEUE_BATCHES / 2 * config.batch_events_max && self.queue_bytes <= lane_bytes_max(config) / 2 {
            self.is_spilling = false;
        }
        batch
    }

    /// The batch of that attempt goes out.
    pub fn fly(&mut self, attempt: u64, batch: Vec<Item>) {
        self.flying.push(Flight { attempt, batch });
    }

    /// The batch of an attempt that is out.
    pub fn flying(&self, attempt: u64) -> &[Item] {
        self.flying.iter().find(|flight| flight.attempt == attempt).map_or(&[], |flight| &flight.batch)
    }

    /// The batch of an attempt is back.
    pub fn land(&mut self, attempt: u64) -> Vec<Item> {
        let at = self.flying.iter().position(|flight| flight.attempt == attempt);
        at.map(|at| self.flying.swap_remove(at).batch).unwrap_or_default()
    }

    /// How many requests may be on their way: one, unless whole batches wait behind it and nothing is wrong with the pixel.
    fn flights_max(&self, config: &Config) -> usize {
        let is_well = self.failures == 0 && self.refused.is_none() && self.search.is_empty() && !self.pace.is_slowed();
        if is_well && self.has_full_batch(config) { config.in_flight_max.max(1) } else { 1 }
    }

    /// The two parts of a refused batch are sent before anything else.
    pub fn take_apart(&mut self, first: Vec<Item>, second: Vec<Item>) {
        self.search.refused(first, second);
    }

    /// Everything in the last batch was good.
    pub fn went_well(&mut self) {
        self.search.good();
    }

    /// Puts a dispatch at the end of the queue.
    pub fn push(&mut self, item: Item) {
        self.queue_bytes += item.payload().len();
        self.queue.push_back(item);
    }

    /// Puts dispatches that waited in front of the queue, keeping their order.
    pub fn push_front(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            self.queue_bytes += item.payload().len();
            self.queue.push_front(item);
        }
    }

    /// Whether it is worth a look just after a push: a batch began, or became full.
    pub fn wants_attention(&self, config: &Config) -> bool {
        self.flying.is_empty() && self.queue.len() == 1 || self.has_full_batch(config) && self.flying.len() < self.flights_max(config)
    }

    /// Whether the queue takes one more.
    pub fn has_room(&self, config: &Config) -> bool {
        self.queue.len() < QUEUE_BATCHES * config.batch_events_max && self.queue_bytes < lane_bytes_max(config)
    }

    /// When the queue's first will have waited so long that nobody else may wait for this pixel; nothing if the queue is empty.
    pub fn slow_at(&self, config: &Config) -> Option<Time> {
        self.queue.front().map(|first| first.arrived.plus_micros(micros(config.read_hold_ms)))
    }

    /// New dispatches go to `waiting` until the queue has gone down.
    pub fn spill(&mut self) {
        self.is_spilling = true;
    }

    /// Takes the queue out, so that it can wait elsewhere.
    pub fn take_queue(&mut self) -> VecDeque<Item> {
        self.queue_bytes = 0;
        std::mem::take(&mut self.queue)
    }

    /// Until when new dispatches must wait, if they must.
    pub fn holds_until(&self, now: Time) -> Option<Time> {
        self.paused_until.filter(|until| *until > now).or(self.is_spilling.then_some(now))
    }

    /// Nothing is sent before that moment. Answers everything that was to be sent.
    pub fn pause(&mut self, until: Time) -> Vec<Item> {
        self.paused_until = self.paused_until.max(Some(until));
        self.is_spilling = false;
        self.search.give_up().chain(self.take_queue()).collect()
    }

    /// The reason of the pause has gone.
    pub fn resume(&mut self, now: Time) {
        self.refused = None;
        self.failures = 0;
        self.eager_until = self.paused_until.take();
        self.due_at(now);
    }

    /// Rows in `waiting` become due at that moment. Answers when to look.
    pub fn due_at(&mut self, at: Time) -> Time {
        let at = rounded(at);
        self.dues.insert(at);
        at
    }

    /// Rows due until now are looked at.
    pub fn looked(&mut self, now: Time) {
        self.dues = self.dues.split_off(&now.plus_micros(1));
    }

    /// The same delivery in the queue, taken out if no request ever carried it.
    pub fn queued(&mut self, dedup_key: &str) -> Option<Queued<'_>> {
        let is_it = |item: &Item| item.dispatch.dedup_key == dedup_key;
        if let Some(at) = self.queue.iter().position(is_it) {
            if self.queue[at].is_unattempted() {
                self.queue_bytes -= self.queue[at].payload().len();
                return self.queue.remove(at).map(Box::new).map(Queued::Unattempted);
            }
            return self.queue.get_mut(at).map(Queued::Attempted);
        }
        let flying = self.flying.iter_mut().flat_map(|flight| &mut flight.batch);
        self.search.items_mut().chain(flying).find(|item| is_it(item)).map(Queued::Attempted)
    }

    /// Whether a delivery is in memory.
    pub fn is_known(&self, dedup_key: &str) -> bool {
        let flying = self.flying.iter().flat_map(|flight| &flight.batch);
        self.queue.iter().chain(self.search.items()).chain(flying).any(|item| item.dispatch.dedup_key == dedup_key)
    }

    fn has_full_batch(&self, config: &Config) -> bool {
        self.queue.len() >= config.batch_events_max || self.queue_bytes >= config.batch_bytes_max
    }
}

/// What of a delivery is in memory.
pub enum Queued<'a> {
    /// No request ever carried it: it was taken out of the queue.
    Unattempted(Box<Item>),
    /// A request carried it, or carries it now.
    Attempted(&'a mut Item),
}

/// One pixel may hold a quarter of the memory of all.
fn lane_bytes_max(config: &Config) -> usize {
    config.pending_bytes_max / 4
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use schemas::time::Time;

    use super::{Lane, Queued, Refused, Turn};
    use crate::capi::{
        config::Config,
        fixture::{config, dispatch, now},
        item::{Item, Waits},
    };

    /// The turn of a lane that no pace and no step holds.
    fn turn(lane: &mut Lane, now: Time, config: &Config) -> Turn {
        lane.turn(now, 0, Time::default(), config)
    }

    fn item(order: usize, tries: u32, pending: &Arc<AtomicUsize>) -> Item {
        let waits = (tries > 0).then_some(Waits { deadline_hour: 0, tries, is_counted: true });
        Item::known(order as u64, dispatch(&order.to_string(), 0), None, waits, now(), pending)
    }

    #[test]
    fn a_batch_goes_when_it_is_full_or_has_waited_and_one_at_a_time() {
        let (config, pending, mut lane) = (config(), Arc::default(), Lane::default());
        assert_eq!(turn(&mut lane, now(), &config), Turn::Nothing);
        lane.push(item(0, 0, &pending));
        assert_eq!(turn(&mut lane, now(), &config), Turn::At(now().plus_micros(50_000)));
        assert_eq!(turn(&mut lane, now().plus_micros(50_000), &config), Turn::Send);
        for order in 1..10 {
            lane.push(item(order, 0, &pending));
        }
        assert_eq!(turn(&mut lane, now(), &config), Turn::Send);
        let batch = lane.take_batch(&config);
        assert_eq!(batch.len(), config.batch_events_max);
        lane.fly(7, batch);
        assert_eq!(turn(&mut lane, now().plus_micros(50_000), &config), Turn::Nothing);
        drop(lane.land(7));
        assert_eq!(lane.take_batch(&config).len(), 2);
        assert_eq!(pending.load(Ordering::Relaxed), 0, "memory is given back");
    }

    #[test]
    fn whole_batches_go_beside_each_other_up_to_four_while_all_is_well() {
        let (config, pending, mut lane) = (config(), Arc::default(), Lane::default());
        let fill = |lane: &mut Lane| (0..config.batch_events_max).for_each(|order| lane.push(item(order, 0, &pending)));
        for attempt in 0..4 {
            fill(&mut lane);
            assert_eq!(turn(&mut lane, now(), &config), Turn::Send, "{attempt}");
            let batch = lane.take_batch(&config);
            lane.fly(attempt, batch);
        }
        fill(&mut lane);
        assert_eq!(turn(&mut lane, now(), &config), Turn::Nothing, "four are on their way");
        assert_eq!(lane.land(2).len(), config.batch_events_max);
        assert_eq!(turn(&mut lane, now(), &config), Turn::Send);
        lane.failures = 1;
        assert_eq!(turn(&mut lane, now(), &config), Turn::Nothing, "after a failure one at a time");
        for attempt in [0, 1, 3] {
            lane.land(attempt);
        }
        assert_eq!(turn(&mut lane, now(), &config), Turn::Send);
    }

    #[test]
    fn a_token_that_was_refused_is_probed_with_one_event() {
        let (config, pending, mut lane) = (config(), Arc::default(), Lane::default());
        (0..20).for_each(|order| lane.push(item(order, 0, &pending)));
        lane.refused = Some(Refused(None));
        assert_eq!(lane.take_batch(&config).len(), 1);
        lane.resume(now());
        assert_eq!(lane.take_batch(&config).len(), config.batch_events_max);
    }

    #[test]
    fn nothing_goes_before_pixel_and_token_are_let() {
        let (config, pending, mut lane) = (config(), Arc::default(), Lane::default());
        lane.take_apart(vec![item(0, 0, &pending)], vec![item(1, 0, &pending)]);
        let later = now().plus_micros(30_000);
        assert_eq!(lane.turn(now(), 0, later, &config), Turn::At(later));
        assert_eq!(lane.turn(later, 0, later, &config), Turn::Send);
    }

    #[test]
    fn what_was_often_tried_goes_in_small_company() {
        let (config, pending, mut lane) = (config(), Arc::default(), Lane::default());
        for (order, tries) in [0, 0, 0, 7, 0, 9, 0].into_iter().enumerate() {
            lane.push(item(order, tries, &pending));
        }
        let sizes: Vec<usize> = std::iter::repeat_with(|| lane.take_batch(&config).len()).take_while(|size| *size > 0).collect();
        assert_eq!(sizes, [3, 2, 1, 1], "company of two at seven tries, alone at nine");
    }

    #[test]
    fn what_bears_another_test_event_code_goes_in_another_request() {
        let (config, pending, mut lane) = (config(), Arc::default(), Lane::default());
        for (order, code) in [None, None, Some("TEST1"), Some("TEST1"), Some("TEST2"), None].into_iter().enumerate() {
            let mut item = item(order, 0, &pending);
            item.dispatch.test_event_code = code.map(str::to_owned);
            lane.push(item);
        }
        let sizes: Vec<usize> = std::iter::repeat_with(|| lane.take_batch(&config).len()).take_while(|size| *size > 0).collect();
        assert_eq!(sizes, [2, 2, 1, 1]);
    }

    #[test]
    fn a_pause_gives_everything_back_and_looks_when_it_is_over() {
        let (config, pending, mut lane) = (config(), Arc::default(), Lane::default());
        lane.push(item(2, 0, &pending));
        lane.take_apart(vec![item(0, 0, &pending)], vec![item(1, 0, &pending)]);
        let until = now().plus_micros(100_000);
        let given: Vec<u64> = lane.pause(until).iter().map(|item| item.offset).collect();
        assert_eq!(given, [0, 1, 2]);
        lane.due_at(until);
        assert_eq!(lane.holds_until(now()), Some(until));
        assert_eq!(turn(&mut lane, now(), &config), Turn::At(until));
        assert_eq!(turn(&mut lane, until, &config), Turn::Look);
        lane.looked(until);
        assert_eq!(turn(&mut lane, until, &config), Turn::Nothing);
    }

    #[test]
    fn a_pixel_is_slow_when_its_first_has_waited_for_long() {
        let (config, pending, mut lane) = (config(), Arc::default(), Lane::default());
        assert_eq!(lane.slow_at(&config), None);
        lane.push(item(0, 0, &pending));
        assert_eq!(lane.slow_at(&config), Some(now().plus_micros(200_000)));
        assert_eq!((lane.take_queue().len(), lane.slow_at(&config)), (1, None));
    }

    #[test]
    fn a_full_queue_holds_until_it_has_gone_down() {
        let (config, pending, mut lane) = (config(), Arc::default(), Lane::default());
        let mut pushed = 0;
        while lane.has_room(&config) {
            lane.push(item(pushed, 0, &pending));
            pushed += 1;
        }
        assert_eq!(pushed, 4 * config.batch_events_max);
        lane.spill();
        lane.take_batch(&config);
        assert_eq!(lane.holds_until(now()), Some(now()));
        lane.take_batch(&config);
        assert_eq!(lane.holds_until(now()), None);
    }

    #[test]
    fn nothing_goes_before_the_step_it_builds_on_is_true() {
        let (config, pending, mut lane) = (config(), Arc::default(), Lane::default());
        lane.take_apart(vec![item(0, 0, &pending)], vec![item(1, 0, &pending)]);
        lane.barrier = 5;
        assert_eq!(lane.turn(now(), 4, Time::default(), &config), Turn::Nothing);
        assert_eq!(lane.turn(now(), 5, Time::default(), &config), Turn::Send);
    }

    #[test]
    fn a_delivery_in_memory_is_found_and_taken_out_if_no_request_carried_it() {
        let (pending, mut lane) = (Arc::default(), Lane::default());
        lane.push(item(0, 0, &pending));
        lane.fly(1, vec![item(1, 0, &pending)]);
        assert!(matches!(lane.queued("fn_1|purchase|1"), Some(Queued::Attempted(item)) if item.offset == 1));
        assert!(matches!(lane.queued("fn_1|purchase|0"), Some(Queued::Unattempted(item)) if item.offset == 0));
        assert!(lane.queued("fn_1|purchase|0").is_none());
        assert!(lane.is_known("fn_1|purchase|1") && !lane.is_known("fn_1|purchase|0"));
    }
}
