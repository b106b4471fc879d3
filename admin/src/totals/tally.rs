//! Pure: what is added up, and what a waiting payload is worth.

use std::{borrow::Cow, collections::BTreeMap};

use schemas::{
    delivery::Outcome,
    money::{Currency, Money},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// How many deliveries stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) dispatched: u64,
    pub(crate) delivered: u64,
    pub(crate) rejected: u64,
    pub(crate) expired: u64,
    pub(crate) cancelled: u64,
    pub(crate) unknown: u64,
    pub(crate) waiting: u64,
    pub(crate) missing: u64,
}

impl Counts {
    /// Takes in where one delivery stands.
    pub(crate) fn stands(&mut self, outcome: Option<Outcome>) {
        *match outcome {
            None => &mut self.waiting,
            Some(Outcome::Delivered) => &mut self.delivered,
            Some(Outcome::Rejected) => &mut self.rejected,
            Some(Outcome::Expired) => &mut self.expired,
            Some(Outcome::Cancelled) => &mut self.cancelled,
            Some(Outcome::Unknown) => &mut self.unknown,
        } += 1;
    }

    /// Adds another's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.dispatched += other.dispatched;
        self.delivered += other.delivered;
        self.rejected += other.rejected;
        self.expired += other.expired;
        self.cancelled += other.cancelled;
        self.unknown += other.unknown;
        self.waiting += other.waiting;
        self.missing += other.missing;
    }

    /// Those that are recorded or wait.
    pub(crate) fn accounted(&self) -> u64 {
        self.delivered + self.rejected + self.expired + self.cancelled + self.unknown + self.waiting
    }

    /// Whether every dispatch is accounted for, and nothing else is.
    pub(crate) fn holds(&self) -> bool {
        self.missing == 0 && self.dispatched == self.accounted()
    }
}

/// One pixel's part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    /// By currency, how many purchases wait and what they are worth.
    pub(crate) money: BTreeMap<String, (u64, Money)>,
    /// The earliest deadline of what waits, in whole hours since the epoch.
    pub(crate) first_hour: Option<i64>,
}

impl Tally {
    /// Takes in one that waits: its deadline, and its worth if it is a purchase that will be sent.
    pub(crate) fn waits(&mut self, deadline_hour: i64, worth: Option<Money>) {
        self.first_hour = Some(self.first_hour.map_or(deadline_hour, |first| first.min(deadline_hour)));
        if let Some(worth) = worth {
            let none = (0, Money { minor: 0, currency: worth.currency });
            let (purchases, money) = self.money.entry(worth.currency.to_string()).or_insert(none);
            *purchases += 1;
            money.minor = money.minor.saturating_add(worth.minor);
        }
    }
}

/// What a frozen event is worth, if it is a purchase with an amount.
pub(crate) fn worth(event_name: &str, payload: Option<&RawValue>) -> Option<Money> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        custom_data: Worth<'a>,
    }
    #[derive(Deserialize)]
    struct Worth<'a> {
        #[serde(borrow)]
        value: &'a RawValue,
        #[serde(borrow)]
        currency: Cow<'a, str>,
    }
    let payload = payload.filter(|_| event_name == "Purchase")?;
    let Worth { value, currency } = serde_json::from_str::<Event<'_>>(payload.get()).ok()?.custom_data;
    Money::parse_number(value.get(), Currency::parse(&currency).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use schemas::{delivery::Outcome, money::Money};
    use serde_json::value::RawValue;

    use super::{Counts, Tally, worth};

    #[test]
    fn the_equation_holds_when_each_dispatch_stands_somewhere() {
        let mut counts = Counts { dispatched: 6, ..Counts::default() };
        for outcome in Outcome::ALL.map(Some).into_iter().chain([None]) {
            assert!(!counts.holds());
            counts.stands(outcome);
        }
        assert!(counts.holds());
        let mut sum = counts;
        sum.add(&Counts { dispatched: 1, missing: 1, ..Counts::default() });
        assert_eq!((sum.holds(), sum.dispatched, sum.accounted()), (false, 7, 6));
    }

    #[test]
    fn money_that_waits_is_added_by_currency_and_only_of_purchases() {
        let mut tally = Tally::default();
        for (name, payload, hour) in [
            ("Purchase", r#"{"custom_data":{"value":49.90,"currency":"EUR"}}"#, 9),
            ("Purchase", r#"{"custom_data":{"currency":"JPY","value":5000,"plan":"summer"}}"#, 7),
            ("Purchase", r#"{"custom_data":{"value":0.10,"currency":"EUR"}}"#, 8),
            ("Purchase", r#"{"user_data":{}}"#, 8),
            ("Lead", r#"{"custom_data":{"value":1,"currency":"EUR"}}"#, 8),
        ] {
            let payload = RawValue::from_string(payload.to_owned()).expect("JSON");
            tally.waits(hour, worth(name, Some(&payload)));
        }
        assert_eq!(worth("Purchase", None), None);
        let money: Vec<_> = tally.money.iter().map(|(code, (count, Money { minor, .. }))| (code.as_str(), *count, *minor)).collect();
        assert_eq!((money, tally.first_hour), (vec![("EUR", 2, 5_000), ("JPY", 1, 5_000)], Some(7)));
    }
}
