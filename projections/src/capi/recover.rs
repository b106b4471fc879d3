//! At start: an intent without an outcome was an ambiguous attempt. Its dispatches wait again, due now, under the same ids.

use std::collections::HashMap;

use schemas::{
    delivery::{Attempt, Reason},
    dispatch::Dispatch,
    id::PixelId,
    row::{Intent, IntentItem},
    topic::{Group, Topic},
};
use storage::{Known, LeaseId, Reader};

use super::{
    Error, Room,
    books::{Books, Note, Tried},
    item::{Item, Waits},
    schedule,
};

/// Offsets that are read over rather than sought anew.
const RUN: u64 = 5_000;
const RECORDS_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 1 << 20;

/// Makes this process the partition's owner and tells the attempts that a former one left open, one step each. Answers the partition's
/// books, where reading begins, and the number of the next attempt.
pub async fn recover(room: &Room, partition: u32, lease: Option<LeaseId>) -> Result<(Books, u64, u64), Error> {
    let deliveries = room.storage.deliveries();
    let taken = deliveries.take_over(partition).await?;
    let committed = room.storage.committed(Group::Capi, partition).await?;
    let note = match committed.metadata.as_deref().and_then(|note| serde_json::from_str(note).ok()) {
        Some(note) => note,
        None if committed.next_offset == 0 => Note::default(),
        // Somebody else committed this offset: everything in the log may have been touched.
        None => Note { touched: room.storage.bounds(Topic::Dispatch, partition).await?.1, ..Note::default() },
    };
    let note = Note { touched: note.touched.max(taken.touched_below), ..note };
    let mut books = Books::new(partition, lease, committed.next_offset, note, room.metrics.clone());
    let open = deliveries.open_intents(partition, note.settled, taken.next_attempt).await?;
    for intent in &open {
        books.begin(intent.attempt);
    }
    for intent in open {
        let (attempt, pixel, events) = (intent.attempt, intent.pixel_id.clone(), intent.items.len());
        tracing::warn!(partition, attempt, %pixel, events, "an attempt has no outcome; it was ambiguous, and its dispatches wait again");
        room.metrics.ambiguous.inc();
        tell(room, &mut books, intent).await?;
        room.storage.commit(books.close("recover").step).await?;
    }
    books.show();
    Ok((books, committed.next_offset, taken.next_attempt))
}

async fn tell(room: &Room, books: &mut Books, intent: Intent) -> Result<(), Error> {
    let now = room.world.now();
    let attempt =
        Attempt { number: intent.attempt, at: intent.at, status: None, code: None, subcode: None, trace_id: None, ambiguous: true };
    let reason =
        Reason { code: "ambiguous".to_owned(), message: "we stopped before Meta's answer was written; it is sent again".to_owned() };
    let mut logged = logged(room, intent.partition, &intent.items).await?;
    for item in &intent.items {
        match find(room, logged.remove(&item.dedup_key), &intent.pixel_id, item).await? {
            Found::Waits(item) => {
                // What came of it may be noted already: then only the rest of that step is missing.
                let noted =
                    item.delivery.as_ref().filter(|delivery| delivery.attempt_log.iter().any(|noted| noted.number == intent.attempt));
                let (attempt, reason) = match noted {
                    Some(delivery) => (None, delivery.reason.clone()),
                    None => (Some(Tried { attempt: attempt.clone(), counts: true }), Some(reason.clone())),
                };
                books.wait(*item, attempt, now, reason);
            }
            Found::HasOutcome(known) if !known.is_told => {
                let deliveries = room.storage.deliveries();
                let hour = schedule::deadline_hour(known.delivery.occurred_at);
                let row = deliveries.waiting(&intent.pixel_id, hour, &item.dedup_key).await?;
                books.tell(known.delivery, row.as_ref(), now);
            }
            Found::HasOutcome(_) => {}
            Found::Nowhere => {
                tracing::error!(
                    partition = intent.partition,
                    offset = item.offset,
                    "a dispatch of an open attempt is neither in the log nor waiting"
                );
            }
        }
        books.touched(item.offset);
    }
    books.settle(intent.attempt, intent.at, intent.pixel_id);
    Ok(())
}

enum Found {
    Waits(Box<Item>),
    HasOutcome(Box<Known>),
    Nowhere,
}

/// What was sent: the very dispatch at that offset, or what waits in its place if the log has let it go.
async fn find(room: &Room, logged: Option<Dispatch>, pixel: &PixelId, item: &IntentItem) -> Result<Found, Error> {
    let deliveries = room.storage.deliveries();
    let known = deliveries.delivery(pixel, &item.dedup_key).await?;
    if let Some(known) = known.as_ref().filter(|known| known.delivery.outcome.is_some()) {
        return Ok(Found::HasOutcome(Box::new(known.clone())));
    }
    let delivery = known.map(|known| known.delivery);
    let row = match &delivery {
        Some(delivery) => deliveries.waiting(pixel, schedule::deadline_hour(delivery.occurred_at), &item.dedup_key).await?,
        None => None,
    };
    let waits = row.as_ref().map(Waits::of);
    let Some(dispatch) = logged.or(row.map(|known| known.row.dispatch)) else { return Ok(Found::Nowhere) };
    let delivery = delivery.filter(|delivery| delivery.revision >= dispatch.revision);
    Ok(Found::Waits(Box::new(Item::known(item.offset, dispatch, delivery, waits, room.world.now(), &room.pending))))
}

/// The very dispatches at those offsets, by their keys, as far as the log has them: what came with a move stands nowhere in it, whatever
/// its offset says. Read in runs: an attempt's dispatches mostly stand close together, and each way to a cluster's log takes its time.
async fn logged(room: &Room, partition: u32, items: &[IntentItem]) -> Result<HashMap<String, Dispatch>, Error> {
    let mut wanted: Vec<&IntentItem> = items.iter().collect();
    wanted.sort_by_key(|item| item.offset);
    let mut found = HashMap::with_capacity(wanted.len());
    let mut wanted = wanted.into_iter().peekable();
    let mut reader: Option<Reader> = None;
    while let Some(item) = wanted.peek() {
        let near = reader.take().filter(|reader| (reader.position()..=reader.position() + RUN).contains(&item.offset));
        let mut run = near.unwrap_or_else(|| room.storage.reader(Topic::Dispatch, partition, item.offset));
        let records = run.available(RECORDS_AT_ONCE, BYTES_AT_ONCE).await?;
        if records.is_empty() {
            break; // the log ends here
        }
        for stored in records {
            while wanted.next_if(|item| item.offset < stored.position.offset).is_some() {} // the log has let it go
            // Several may claim one offset, and at most one of them stands there.
            let same = || wanted.next_if(|item| item.offset == stored.position.offset);
            let same: Vec<&IntentItem> = std::iter::from_fn(same).collect();
            if !same.is_empty() {
                let dispatch = serde_json::from_slice::<Dispatch>(&stored.value).ok();
                let dispatch = dispatch.filter(|dispatch| same.iter().any(|item| item.dedup_key == dispatch.dedup_key));
                found.extend(dispatch.map(|dispatch| (dispatch.dedup_key.clone(), dispatch)));
            }
        }
        reader = Some(run);
    }
    Ok(found)
}
