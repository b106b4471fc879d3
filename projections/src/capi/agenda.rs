//! Pure: which pixel is to be looked at when.

use std::collections::{BTreeMap, HashSet};

use schemas::{id::PixelId, time::Time};

/// Moments are rounded up to this, so that the agenda stays small.
const SLOT_US: i64 = 10_000;

/// Pixels by the moment at which something may be done for them. Looking at one too often is harmless.
#[derive(Debug, Default)]
pub struct Agenda {
    at_once: HashSet<PixelId>,
    later: BTreeMap<Time, HashSet<PixelId>>,
}

impl Agenda {
    /// Looks at the pixel at the next opportunity.
    pub fn at_once(&mut self, pixel: &PixelId) {
        if !self.at_once.contains(pixel) {
            self.at_once.insert(pixel.clone());
        }
    }

    /// Looks at the pixel at that moment, or shortly after.
    pub fn note(&mut self, pixel: &PixelId, at: Time) {
        self.later.entry(rounded(at)).or_default().insert(pixel.clone());
    }

    /// Whom to look at now. Each is told once.
    pub fn due(&mut self, now: Time) -> HashSet<PixelId> {
        let mut due = std::mem::take(&mut self.at_once);
        while let Some(slot) = self.later.first_entry().filter(|slot| *slot.key() <= now) {
            due.extend(slot.remove());
        }
        due
    }

    /// When to look next.
    pub fn next(&self) -> Option<Time> {
        if self.at_once.is_empty() { self.later.first_key_value().map(|(at, _)| *at) } else { Some(Time::default()) }
    }
}

/// The moment, rounded up to the agenda's slots.
pub fn rounded(at: Time) -> Time {
    Time::from_micros(at.micros().saturating_add(SLOT_US - 1) / SLOT_US * SLOT_US)
}

#[cfg(test)]
mod tests {
    use schemas::{id::PixelId, time::Time};

    use super::Agenda;

    #[test]
    fn pixels_come_up_when_their_moment_has_come_and_once() {
        let pixel = |id| PixelId::parse(id).expect("an id");
        let at = Time::from_millis;
        let mut agenda = Agenda::default();
        agenda.note(&pixel("1"), at(101));
        agenda.note(&pixel("1"), at(105));
        agenda.note(&pixel("2"), at(200));
        assert_eq!(agenda.next(), Some(at(110)));
        assert!(agenda.due(at(109)).is_empty());
        agenda.at_once(&pixel("3"));
        assert_eq!(agenda.next(), Some(Time::default()));
        assert_eq!(agenda.due(at(110)), [pixel("1"), pixel("3")].into());
        assert_eq!(agenda.next(), Some(at(200)));
        assert_eq!(agenda.due(at(300)), [pixel("2")].into());
        assert_eq!(agenda.next(), None);
    }
}
