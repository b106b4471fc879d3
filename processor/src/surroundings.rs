//! What stands around a record and shapes its outputs, never its verdict: the visitor, the person, and the key that seals.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
    sync::Arc,
};

use futures_util::{FutureExt as _, future::try_join_all};
use lru::LruCache;
use schemas::{
    click,
    fact::Context,
    id::{FunnelId, VisitorId},
    person::{ClearPerson, Digest, Person, SealedPerson},
    raw::Consent,
    row::{Cell, PersonKey, PersonRow, Visitor},
    secret::{self, Key},
    time::{SECOND_US, Time},
    world::World,
};
use sha2::{Digest as _, Sha256};
use storage::{Facts, ReadError};
use uuid::Uuid;

use crate::reading::{Reading, Subject};

/// Purpose under which a person's key is sealed by the master key.
pub const PERSON_KEY: &str = "person-key";
/// Purpose under which a person's clear fields are sealed by the person's key.
pub const PERSON_FIELDS: &str = "person-fields";

/// What was found around one record, with what this record adds to it.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// The person: own fields, completed by what the visitor is known to be; clear fields sealed.
    pub person: Person,
    /// Where the browser is; for a webhook, where the buyer's browser was last.
    pub context: Arc<Context>,
    /// Whether events of this person may be sent.
    pub consent: Option<Consent>,
    /// The visitor's cells that changed.
    pub visitor: Option<Box<Visitor>>,
    /// The person's cells that changed.
    pub person_row: Option<Box<PersonRow>>,
    /// A key made for a person who had none.
    pub new_key: Option<PersonKey>,
}

/// Looks around, remembering within a batch what the batch itself changes.
pub struct Lookout<'a> {
    facts: &'a Facts,
    master: &'a Key,
    world: &'a dyn World,
    memory: &'a mut Memory,
    now: Time,
    visitors: HashMap<VisitorSlot, Option<Arc<Visitor>>>,
    people: HashMap<PersonSlot, Option<PersonRow>>,
    /// What this batch told of people it did not ask for.
    told: HashMap<PersonSlot, PersonRow>,
    key_rows: HashMap<PersonSlot, Vec<PersonKey>>,
}

type VisitorSlot = (FunnelId, VisitorId);
type PersonSlot = (FunnelId, Digest);

/// How long a visitor is remembered without being asked for: orders of the same visitor are judged in other partitions, and what they
/// told should be seen soon.
const VISITOR_REMEMBERED_US: i64 = 60 * SECOND_US;

/// What a judge remembers from batch to batch: keys of people met lately, opened, and visitors met lately. Bounded; losing it costs
/// look-ups and nothing else.
pub struct Memory {
    keys: LruCache<PersonSlot, (Uuid, Key)>,
    visitors: LruCache<VisitorSlot, (Time, Option<Arc<Visitor>>)>,
}

impl Memory {
    /// An empty one with its bounds.
    pub fn new(people_max: usize, visitors_max: usize) -> Self {
        let bound = |max| NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN);
        Self { keys: LruCache::new(bound(people_max)), visitors: LruCache::new(bound(visitors_max)) }
    }
}

impl<'a> Lookout<'a> {
    /// A lookout for one batch.
    pub fn new(facts: &'a Facts, master: &'a Key, world: &'a dyn World, memory: &'a mut Memory) -> Self {
        let now = world.now();
        Self {
            facts,
            master,
            world,
            memory,
            now,
            visitors: HashMap::new(),
            people: HashMap::new(),
            told: HashMap::new(),
            key_rows: HashMap::new(),
        }
    }

    /// Asks for everything that these records will need, all at once: in a cluster each question is a way to a server and back.
    pub async fn prepare(&mut self, readings: &[&Reading<'_>]) -> Result<(), ReadError> {
        let (mut visitors, mut people, mut keys) = (HashSet::new(), HashSet::new(), HashSet::new());
        for reading in readings {
            let funnel = &reading.raw.funnel_id;
            match (&reading.raw.visitor_id, reading.person.email_sha256) {
                (Some(visitor), _) => {
                    let slot = (funnel.clone(), visitor.clone());
                    match self.memory.visitors.get(&slot).filter(|(at, _)| self.now.since(*at) < VISITOR_REMEMBERED_US) {
                        Some((_, known)) => drop(self.visitors.insert(slot, known.clone())),
                        None => drop(visitors.insert(slot)),
                    }
                }
                (None, Some(email)) => drop(people.insert((funnel.clone(), email))),
                (None, None) => {}
            }
            if let Some(email) = reading.person.email_sha256 {
                let slot = (funnel.clone(), email);
                if !self.memory.keys.contains(&slot) {
                    keys.insert(slot);
                }
            }
        }
        let facts = self.facts;
        let visitors = try_join_all(
            visitors
                .into_iter()
                .map(|slot| async move { facts.visitor(&slot.0, &slot.1).await.map(|known| (slot, known.map(Arc::new))) }.boxed()),
        );
        let people = try_join_all(
            people.into_iter().map(|slot| async move { facts.person(&slot.0, &slot.1).await.map(|known| (slot, known)) }.boxed()),
        );
        let keys = try_join_all(
            keys.into_iter().map(|slot| async move { facts.person_keys(&slot.0, &slot.1).await.map(|rows| (slot, rows)) }.boxed()),
        );
        let (visitors, people, keys) = tokio::try_join!(visitors, people, keys)?;
        self.visitors.extend(visitors);
        self.people.extend(people);
        self.key_rows.extend(keys);
        Ok(())
    }

    /// Keeps what the batch learned of visitors for the next one.
    pub fn remember(self) {
        for (slot, known) in self.visitors {
            let at = self.memory.visitors.peek(&slot).map_or(self.now, |(at, _)| *at);
            let at = if self.now.since(at) < VISITOR_REMEMBERED_US { at } else { self.now };
            self.memory.visitors.put(slot, (at, known));
        }
    }

    /// What stands around a record that is new or joins.
    pub async fn look(&mut self, reading: &Reading<'_>) -> Result<Surroundings, ReadError> {
        let mut found = match &reading.raw.visitor_id {
            Some(visitor) => self.around_browser(reading, visitor).await?,
            None => self.around_webhook(reading).await?,
        };
        if let Some(email) = reading.person.email_sha256 {
            let (key_id, key, new_key) = self.key(&reading.raw.funnel_id, email).await?;
            found.new_key = new_key;
            found.person.sealed = Some(seal(&reading.clear, key_id, &key, reading.raw.id));
        }
        Ok(found)
    }

    async fn around_browser(&mut self, reading: &Reading<'_>, visitor_id: &VisitorId) -> Result<Surroundings, ReadError> {
        let (funnel, at) = (&reading.raw.funnel_id, reading.raw.received_at);
        let slot = (funnel.clone(), visitor_id.clone());
        let known = match self.visitors.get(&slot) {
            Some(known) => known.clone(),
            None => self.facts.visitor(funnel, visitor_id).await?.map(Arc::new),
        };
        let known_person = known.as_ref().and_then(|v| v.person.as_ref()).map(|cell| &cell.value);
        let person = match known_person {
            Some(earlier) => reading.person.clone().or(earlier),
            None => reading.person.clone(),
        };
        let consent = reading.raw.consent.or(known.as_ref().and_then(|v| v.consent.as_ref()).map(|cell| cell.value));
        let context = remembering(reading, known.as_deref());
        let changes = changes(known.as_deref(), reading, &person, &context, at);
        let mut found = Surroundings { consent, ..Surroundings::default() };
        if let Some((new_person, new_context, new_consent)) = changes {
            // A person is reachable by e-mail as soon as the visitor is known under one, so that a webhook finds the browser.
            if let Some(email) = person.email_sha256 {
                // Whoever is now known by another address brings along what the browser said before.
                let is_new = known_person.and_then(|earlier| earlier.email_sha256) != Some(email);
                let said_before = || known.as_ref().filter(|_| is_new).and_then(|v| v.consent.clone());
                let row = PersonRow {
                    funnel_id: funnel.clone(),
                    email,
                    context: Some(Cell { at, value: Context { visitor_id: Some(visitor_id.clone()), ..(*context).clone() } }),
                    consent: new_consent.clone().or_else(said_before),
                };
                self.remember_person(&row);
                found.person_row = Some(Box::new(row));
            }
            let changed = Visitor {
                funnel_id: funnel.clone(),
                visitor_id: visitor_id.clone(),
                person: new_person,
                context: new_context,
                consent: new_consent,
            };
            let merged = match known {
                Some(known) => Arc::unwrap_or_clone(known).merged(changed.clone()),
                None => changed.clone(),
            };
            self.visitors.insert(slot, Some(Arc::new(merged)));
            found.visitor = Some(Box::new(changed));
        } else {
            self.visitors.insert(slot, known);
        }
        found.context = context;
        found.person = person;
        Ok(found)
    }

    fn remember_person(&mut self, row: &PersonRow) {
        let slot = (row.funnel_id.clone(), row.email);
        let told = match self.told.remove(&slot) {
            Some(told) => told.merged(row.clone()),
            None => row.clone(),
        };
        self.told.insert(slot, told);
    }

    async fn around_webhook(&mut self, reading: &Reading<'_>) -> Result<Surroundings, ReadError> {
        let mut found = Surroundings { person: reading.person.clone(), ..Surroundings::default() };
        let Some(email) = reading.person.email_sha256 else { return Ok(found) };
        let slot = (reading.raw.funnel_id.clone(), email);
        if !self.people.contains_key(&slot) {
            let known = self.facts.person(&slot.0, &email).await?;
            self.people.insert(slot.clone(), known);
        }
        let known = self.people.get(&slot).cloned().flatten();
        let known = match (known, self.told.get(&slot)) {
            (Some(known), Some(told)) => Some(known.merged(told.clone())),
            (known, told) => known.or_else(|| told.cloned()),
        };
        if let Some(known) = known {
            found.context = Arc::new(known.context.as_ref().map(|cell| cell.value.clone()).unwrap_or_default());
            found.consent = known.consent.as_ref().map(|cell| cell.value);
        }
        Ok(found)
    }

    /// The person's key: from the cache, the ledger, or made now.
    async fn key(&mut self, funnel: &FunnelId, email: Digest) -> Result<(Uuid, Key, Option<PersonKey>), ReadError> {
        let slot = (funnel.clone(), email);
        if let Some((key_id, key)) = self.memory.keys.get(&slot) {
            return Ok((*key_id, key.clone(), None));
        }
        let rows = match self.key_rows.remove(&slot) {
            Some(rows) => rows,
            None => self.facts.person_keys(funnel, &email).await?,
        };
        for row in rows {
            let opened =
                self.master.open(PERSON_KEY, &row.key).ok().and_then(|bytes| <[u8; secret::KEY_BYTES]>::try_from(bytes.as_slice()).ok());
            if let Some(bytes) = opened {
                let key = Key::new(bytes);
                self.memory.keys.put(slot, (row.key_id, key.clone()));
                return Ok((row.key_id, key, None));
            }
            tracing::warn!(key_id = %row.key_id, "a person's key does not open under this master key; another is made");
        }
        let (mut bytes, mut nonce) = ([0; secret::KEY_BYTES], [0; secret::NONCE_BYTES]);
        self.world.fill(&mut bytes);
        self.world.fill(&mut nonce);
        let key_id = self.world.new_id();
        let row = PersonKey { funnel_id: funnel.clone(), email, key_id, key: self.master.seal(PERSON_KEY, &bytes, nonce) };
        let key = Key::new(bytes);
        self.memory.keys.put(slot, (key_id, key.clone()));
        Ok((key_id, key, Some(row)))
    }
}

type Changes = (Option<Cell<Person>>, Option<Cell<Context>>, Option<Cell<Consent>>);

/// The visitor's cells that this record changes; `None` if it changes none. A page's address alone is no change, or every page view
/// would write a row; it is taken along when something else changes, and by every identify, purchase and lead.
fn changes(known: Option<&Visitor>, reading: &Reading<'_>, person: &Person, context: &Context, at: Time) -> Option<Changes> {
    let is_new = |old: Option<&Person>| !person.is_empty() && old.is_none_or(|old| old != person);
    let old_context = known.and_then(|v| v.context.as_ref()).map(|cell| &cell.value);
    let moved = |old: &Context, new: &Context| {
        let elsewhere = reading.subject != Subject::Track && old.url != new.url;
        elsewhere || marks(old) != marks(new)
    };
    let new_person = is_new(known.and_then(|v| v.person.as_ref()).map(|cell| &cell.value)).then(|| Cell { at, value: person.clone() });
    let new_context = old_context.is_none_or(|old| moved(old, context)).then(|| Cell { at, value: context.clone() });
    let old_consent = known.and_then(|v| v.consent.as_ref()).map(|cell| cell.value);
    let new_consent = reading.raw.consent.filter(|consent| Some(*consent) != old_consent).map(|value| Cell { at, value });
    let any = new_person.is_some() || new_context.is_some() || new_consent.is_some();
    any.then_some((new_person, new_context, new_consent))
}

/// What Meta knows a browser by, and how it may use that.
fn marks(context: &Context) -> impl PartialEq + '_ {
    (&context.fbp, &context.fbc, &context.client_ip, &context.user_agent, context.data_use)
}

/// Where the browser is, completed by what it said of itself before: a cookie that is blocked or was deleted does not lose the click
/// that brought the visitor, and a limit of use holds until another word. Address and user agent are the request's own.
fn remembering(reading: &Reading<'_>, known: Option<&Visitor>) -> Arc<Context> {
    let own = &reading.context;
    let Some(old) = known.and_then(|v| v.context.as_ref()).map(|cell| &cell.value) else { return own.clone() };
    let fbp = own.fbp.as_deref().or(old.fbp.as_deref());
    let fbc = click::kept(own.fbc.as_deref(), old.fbc.as_deref(), reading.occurred_at);
    let data_use = own.data_use.or(old.data_use);
    if (own.fbp.as_deref(), own.fbc.as_deref(), own.data_use) == (fbp, fbc, data_use) {
        return own.clone();
    }
    Arc::new(Context { fbp: fbp.map(str::to_owned), fbc: fbc.map(str::to_owned), data_use, ..(**own).clone() })
}

/// Seals the clear fields. The nonce follows from the record and the key, so that a replay seals the same bytes; one record seals one
/// text, hence no nonce meets two texts.
fn seal(clear: &ClearPerson, key_id: Uuid, key: &Key, raw_id: Uuid) -> SealedPerson {
    let json = serde_json::to_vec(clear).expect("a struct of strings is JSON");
    let digest = Sha256::new().chain_update(b"person-nonce").chain_update(key_id.as_bytes()).chain_update(raw_id.as_bytes()).finalize();
    let mut nonce = [0; secret::NONCE_BYTES];
    nonce.copy_from_slice(&digest[..secret::NONCE_BYTES]);
    SealedPerson { key_id, cell: key.seal(PERSON_FIELDS, &json, nonce) }
}
