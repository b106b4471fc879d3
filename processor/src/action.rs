//! The closed list of effects of one raw record. They are listed by `conclude` and performed by `act`.

use bytes::Bytes;
use schemas::{
    dead::Dead,
    dispatch::Dispatch,
    fact::{Event, Lead, LegName, Purchase},
    row::{Leg, PersonKey, PersonRow, Visitor},
    verdict::Answer,
};

/// One effect.
#[derive(Debug)]
pub enum Action {
    /// Remember what this leg of the key said.
    Remember {
        /// The dedup key's text.
        key: String,
        /// The leg.
        leg: LegName,
        /// The cell.
        cell: Box<Leg>,
    },
    /// Conclude a purchase, or its next revision.
    RecordPurchase(Box<Purchase>),
    /// Conclude a lead, or its next revision.
    RecordLead(Box<Lead>),
    /// Tell data teams of an event judged First.
    RecordEvent(Box<Event>),
    /// Know more of a visitor.
    KnowVisitor(Box<Visitor>),
    /// Know more of a person.
    KnowPerson(Box<PersonRow>),
    /// Keep a key made for a person who had none.
    KeepKey(PersonKey),
    /// Mean a fact for one pixel.
    Dispatch(Box<Dispatch>),
    /// Tell the door that asked.
    Answer {
        /// The partition of verdicts on which it waits.
        to: u32,
        /// What it is told.
        answer: Answer,
    },
    /// Put aside what could not be accepted, under the source's key.
    Park {
        /// The source record's key.
        key: Bytes,
        /// What and why.
        dead: Box<Dead>,
    },
}
