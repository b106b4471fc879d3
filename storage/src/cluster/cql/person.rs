//! Tables `visitors`, `people` and `person_keys`: who is known, and the keys of what is sealed.

use schemas::{
    id::{FunnelId, VisitorId},
    person::Digest,
    row::{PersonKey, PersonRow, Visitor},
};
use uuid::Uuid;

use super::{Ledger, cell, error::LedgerError, stamp, statement::Statement};

impl Ledger {
    /// Writes the cells that were told, each under the moment at which it was.
    pub(super) async fn write_visitor(&self, row: &Visitor) -> Result<(), LedgerError> {
        let Visitor { funnel_id, visitor_id, person, context, consent } = row;
        let told = [person.as_ref().map(|c| c.at), context.as_ref().map(|c| c.at), consent.as_ref().map(|c| c.at)];
        for at in cell::moments(told) {
            let person = cell::told_at(at, person.as_ref());
            let context = cell::told_at(at, context.as_ref());
            let consent = cell::told_at(at, consent.as_ref());
            let values = (funnel_id.as_str(), visitor_id.as_str(), person, context, consent, at.micros(), stamp::PERSONAL_S);
            self.client().run(Statement::WriteVisitor, values).await?;
        }
        Ok(())
    }

    /// Writes the cells that were told, each under the moment at which it was.
    pub(super) async fn write_person(&self, row: &PersonRow) -> Result<(), LedgerError> {
        let PersonRow { funnel_id, email, context, consent } = row;
        let email = email.to_string();
        for at in cell::moments([context.as_ref().map(|c| c.at), consent.as_ref().map(|c| c.at)]) {
            let context = cell::told_at(at, context.as_ref());
            let consent = cell::told_at(at, consent.as_ref());
            let values = (funnel_id.as_str(), &email, context, consent, at.micros(), stamp::PERSONAL_S);
            self.client().run(Statement::WritePerson, values).await?;
        }
        Ok(())
    }

    /// Writes one key of a person; told again it changes nothing.
    pub(super) async fn write_person_key(&self, row: &PersonKey) -> Result<(), LedgerError> {
        let PersonKey { funnel_id, email, key_id, key } = row;
        let values = (funnel_id.as_str(), email.to_string(), key_id, cell::text(key), stamp::person_key(*key_id));
        self.client().run(Statement::WritePersonKey, values).await.map(drop)
    }

    /// A visitor.
    pub(crate) async fn visitor(&self, funnel: &FunnelId, visitor: &VisitorId) -> Result<Option<Visitor>, LedgerError> {
        const TABLE: &str = "visitors";
        let rows = self.client().rows(Statement::ReadVisitor, (funnel.as_str(), visitor.as_str())).await?;
        let row = rows.maybe_first_row::<(Option<&str>, Option<&str>, Option<&str>)>().map_err(|cause| LedgerError::row(TABLE, cause))?;
        let Some((person, context, consent)) = row else { return Ok(None) };
        Ok(Some(Visitor {
            funnel_id: funnel.clone(),
            visitor_id: visitor.clone(),
            person: cell::read_some(TABLE, person)?,
            context: cell::read_some(TABLE, context)?,
            consent: cell::read_some(TABLE, consent)?,
        }))
    }

    /// A person by e-mail digest.
    pub(crate) async fn person(&self, funnel: &FunnelId, email: &Digest) -> Result<Option<PersonRow>, LedgerError> {
        const TABLE: &str = "people";
        let rows = self.client().rows(Statement::ReadPerson, (funnel.as_str(), email.to_string())).await?;
        let row = rows.maybe_first_row::<(Option<&str>, Option<&str>)>().map_err(|cause| LedgerError::row(TABLE, cause))?;
        let Some((context, consent)) = row else { return Ok(None) };
        Ok(Some(PersonRow {
            funnel_id: funnel.clone(),
            email: *email,
            context: cell::read_some(TABLE, context)?,
            consent: cell::read_some(TABLE, consent)?,
        }))
    }

    /// A person's keys, by their ids.
    pub(crate) async fn person_keys(&self, funnel: &FunnelId, email: &Digest) -> Result<Vec<PersonKey>, LedgerError> {
        const TABLE: &str = "person_keys";
        let rows = self.client().rows(Statement::ReadPersonKeys, (funnel.as_str(), email.to_string())).await?;
        let mut keys = Vec::new();
        for row in rows.rows::<(Uuid, &str)>().map_err(|cause| LedgerError::row(TABLE, cause))? {
            let (key_id, sealed) = row.map_err(|cause| LedgerError::row(TABLE, cause))?;
            keys.push(PersonKey { funnel_id: funnel.clone(), email: *email, key_id, key: cell::read(TABLE, sealed)? });
        }
        keys.sort_by_key(|key| key.key_id); // servers sort ids by version and time first
        Ok(keys)
    }
}
