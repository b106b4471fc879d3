//! What readiness asks: a list of named checks, each passed or failed with its reason. Ready when all have passed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// The checks of this process. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Checks(Arc<Mutex<Vec<Check>>>);

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) ok: bool,
    /// It passes, and a human should look.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) degraded: bool,
    /// Why it did not pass, or is degraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

impl Check {
    pub(crate) fn fail(&mut self, why: &str) {
        (self.ok, self.degraded, self.why) = (false, false, Some(why.to_owned()));
    }
}

impl Checks {
    /// The check passes from now on. Adds it if it is new.
    pub fn pass(&self, name: &str) {
        self.set(Check { name: name.to_owned(), ok: true, degraded: false, why: None });
    }

    /// The check passes from now on, with a remark that a human should read. Adds it if it is new.
    pub fn degrade(&self, name: &str, why: impl Into<String>) {
        self.set(Check { name: name.to_owned(), ok: true, degraded: true, why: Some(why.into()) });
    }

    /// The check fails from now on. Adds it if it is new.
    pub fn fail(&self, name: &str, why: impl Into<String>) {
        self.set(Check { name: name.to_owned(), ok: false, degraded: false, why: Some(why.into()) });
    }

    pub(crate) fn all(&self) -> Vec<Check> {
        self.lock().clone()
    }

    fn set(&self, check: Check) {
        let mut checks = self.lock();
        match checks.iter_mut().find(|known| known.name == check.name) {
            Some(known) => *known = check,
            None => checks.push(check),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Check>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // replacing one entry leaves no half-made state behind
    }
}
