//! What came of a request goes into the books: outcomes, rows to try again, a pause, or halves.

use std::time::Duration;

use schemas::{
    delivery::{Attempt, Outcome, Reason},
    id::PixelId,
    time::Time,
};

use super::{Launch, Partition};
use crate::capi::{
    access::Access,
    agenda::rounded,
    books::Tried,
    classify::Class,
    client::Answer,
    isolate::{Parts, isolate},
    item::Item,
    lane::Refused,
    schedule::{self, Standing},
};

impl Partition {
    pub(super) fn settle(&mut self, launch: Launch, mut answer: Answer, took: Duration) {
        let now = self.now();
        let Launch { pixel, attempt, at, access } = launch;
        let Some(lane) = self.lanes.get_mut(&pixel) else { return };
        let batch = lane.land(attempt);
        self.agenda.at_once(&pixel);
        self.books.settle(attempt, at, pixel.clone());
        answer.said.title = answer.said.title.map(|title| access.without_token(&title));
        let class = class(&answer, &batch);
        self.measure(&answer, class, batch.len(), took);
        let attempt = Attempt {
            number: attempt,
            at,
            status: answer.status,
            code: answer.said.code,
            subcode: answer.said.subcode,
            trace_id: answer.said.trace_id.clone(),
            ambiguous: answer.is_ambiguous,
        };
        match class {
            Class::Delivered => {
                if let Some(lane) = self.lanes.get_mut(&pixel) {
                    lane.pace.content(answer.usage.pixel);
                    lane.went_well();
                }
                self.room.tokens.content(access.token_id(), answer.usage.token);
                self.delivered(&pixel, batch, &attempt, &answer, now);
            }
            Class::Payload => self.refuse(&pixel, batch, &attempt, &answer, now),
            Class::Retry | Class::Rate | Class::Token | Class::Config | Class::Unfamiliar => {
                if let Some(lane) = self.lanes.get_mut(&pixel).filter(|_| matches!(class, Class::Token | Class::Config)) {
                    lane.refused = Some(Refused(Some(access.sealed().clone())));
                }
                let until = self.again(&pixel, batch, class, &attempt, &answer, now);
                if class == Class::Rate {
                    self.slow_down(&pixel, &access, answer.said.code, until);
                }
            }
        }
    }

    fn delivered(&mut self, pixel: &PixelId, batch: Vec<Item>, attempt: &Attempt, answer: &Answer, now: Time) {
        if let Some(received) = answer.said.events_received.filter(|received| *received != batch.len() as u64) {
            tracing::warn!(%pixel, sent = batch.len(), received, trace_id = attempt.trace_id, "meta counts other than we sent");
            self.room.metrics.miscounted.inc();
        }
        for item in batch {
            self.books.end(item, Some(attempt.clone()), Outcome::Delivered, None, now);
        }
        self.is_well(pixel);
    }

    /// Meta speaks with the pixel about its events: nothing is wrong with the pixel itself.
    fn is_well(&mut self, pixel: &PixelId) {
        if let Some(lane) = self.lanes.get_mut(pixel) {
            if std::mem::take(&mut lane.failures) > 0 {
                tracing::info!(%pixel, "meta takes the pixel's events again");
            }
            lane.refused = None;
        }
        if self.refused.remove(pixel) {
            self.tell_refused();
        }
    }

    /// Something in the batch is refused. Alone it is rejected; in company each part is tried by itself.
    fn refuse(&mut self, pixel: &PixelId, batch: Vec<Item>, attempt: &Attempt, answer: &Answer, now: Time) {
        self.is_well(pixel);
        match isolate(batch, answer.said.index) {
            Parts::Nothing => {}
            Parts::Alone(item) => {
                tracing::info!(%pixel, event_id = item.dispatch.event_id, code = attempt.code, subcode = attempt.subcode, "meta rejected an event");
                self.books.end(item, Some(attempt.clone()), Outcome::Rejected, Some(rejection(answer)), now);
            }
            Parts::Halves(mut first, mut second) => {
                // Durable before it goes on: after a crash they are found in `waiting`, and the search begins anew.
                let Some(lane) = self.lanes.get_mut(pixel) else { return };
                for item in first.iter_mut().chain(&mut second) {
                    lane.busy.insert(item.dispatch.dedup_key.clone());
                    self.books.keep(item, Some(Tried { attempt: attempt.clone(), counts: true }), now, Some(reason(Class::Payload)));
                }
                lane.take_apart(first, second);
                lane.barrier = self.books.seq();
                self.books.attend(pixel);
            }
        }
    }

    /// Meta asks to slow down: the token where it counts the app or the user, else the pixel.
    fn slow_down(&mut self, pixel: &PixelId, access: &Access, code: Option<i64>, until: Time) {
        if code.is_some_and(schedule::is_about_token) {
            self.room.tokens.refused(access.token_id(), until);
        } else if let Some(lane) = self.lanes.get_mut(pixel) {
            lane.pace.refused(until);
        }
    }

    /// The batch is tried again later, and the pixel pauses. Answers until when.
    fn again(&mut self, pixel: &PixelId, batch: Vec<Item>, class: Class, attempt: &Attempt, answer: &Answer, now: Time) -> Time {
        let until = self.pause(pixel, class, attempt.code, answer.retry_after_us, attempt.at, now);
        let failures = self.lanes.get(pixel).map_or(0, |lane| lane.failures);
        if failures == 1 {
            tracing::warn!(
                %pixel, class = class.name(), status = answer.status, code = attempt.code, subcode = attempt.subcode,
                trace_id = attempt.trace_id, lost = answer.lost, %until, "meta did not take a batch; the pixel pauses"
            );
        } else {
            tracing::debug!(%pixel, class = class.name(), status = answer.status, code = attempt.code, failures, %until, "again not");
        }
        let resend_us = self.resend_us();
        for mut item in batch {
            // What this attempt itself changes counts too: noted first on a copy of what is recorded.
            let mut noted = item.delivery().clone();
            noted.note(attempt.clone());
            match schedule::standing(&item.dispatch, Some(&noted), now, resend_us) {
                Standing::End(outcome, why) => self.books.end(item, Some(attempt.clone()), outcome, Some(why), now),
                Standing::Send | Standing::Later(_) => {
                    let tried = Tried { attempt: attempt.clone(), counts: class.is_about_events() };
                    self.let_wait(item, Some(tried), until, Some(reason(class)));
                }
            }
        }
        until
    }

    /// The pixel pauses: what was to be sent goes to `waiting`, so that it holds neither memory nor the offset. Answers until when.
    ///
    /// A request that was on its way when the last failure was counted tells of the same trouble: it is none of its own.
    pub(super) fn pause(
        &mut self,
        pixel: &PixelId,
        class: Class,
        code: Option<i64>,
        retry_after_us: Option<i64>,
        began: Time,
        now: Time,
    ) -> Time {
        let mut random = [0; 8];
        self.room.world.fill(&mut random);
        let lane = self.lanes.entry(pixel.clone()).or_default();
        if lane.failures == 0 || began >= lane.failed_at {
            lane.failures = lane.failures.saturating_add(1);
            lane.failed_at = now;
        }
        let pause = schedule::pause(class, code, retry_after_us, lane.failures, u64::from_le_bytes(random), &self.room.config);
        let until = rounded(now.plus_micros(pause));
        let queued = lane.pause(until);
        lane.due_at(until);
        if lane.refused.is_some() {
            self.refused.insert(pixel.clone());
            self.tell_refused();
        }
        self.agenda.note(pixel, until);
        for item in queued {
            if item.is_unwritten() {
                self.let_wait(item, None, until, Some(reason(class)));
            } else {
                self.books.leave(item);
            }
        }
        until
    }

    /// A dispatch waits in the ledger until that moment; nobody looks at it there before its rows are true together.
    pub(super) fn let_wait(&mut self, item: Item, tried: Option<Tried>, until: Time, reason: Option<Reason>) {
        let lane = self.lanes.entry(item.dispatch.pixel_id.clone()).or_default();
        lane.busy.insert(item.dispatch.dedup_key.clone());
        self.books.wait(item, tried, until, reason);
    }

    /// Resumes pixels at fault for which the directory now says something else.
    pub(super) fn ask_directory(&mut self, now: Time) {
        let changed = |pixel: &PixelId| {
            let token = Some(Refused(self.token(pixel)));
            self.lanes.get(pixel).is_none_or(|lane| lane.refused != token)
        };
        let resumed: Vec<PixelId> = self.refused.iter().filter(|pixel| changed(pixel)).cloned().collect();
        for pixel in &resumed {
            tracing::info!(%pixel, "the pixel has a new token; its dispatches go on");
            self.refused.remove(pixel);
            if let Some(lane) = self.lanes.get_mut(pixel) {
                lane.resume(now);
                lane.barrier = self.books.seq(); // rows may be on their way that were to wait for long
            }
            self.books.attend(pixel);
        }
        if !resumed.is_empty() {
            self.tell_refused();
        }
    }

    fn tell_refused(&self) {
        self.room.metrics.refused.with_label_values(&[&self.label]).set(self.refused.len() as i64);
    }

    fn measure(&self, answer: &Answer, class: Class, events: usize, took: Duration) {
        let metrics = &self.room.metrics;
        metrics.attempts.with_label_values(&[class.name()]).inc();
        metrics.ambiguous.inc_by(u64::from(answer.is_ambiguous));
        metrics.batch.observe(events as f64);
        metrics.post.observe(took.as_secs_f64());
    }
}

/// The answer's class for this batch: a refusal that nobody described is about the events if they were told it before.
fn class(answer: &Answer, batch: &[Item]) -> Class {
    match answer.said.class {
        Class::Unfamiliar if batch.iter().all(|item| item.was_told(answer.status, answer.said.code)) => Class::Payload,
        class => class,
    }
}

/// Why a delivery still waits.
fn reason(class: Class) -> Reason {
    let message = match class {
        Class::Delivered => "Meta took it",
        Class::Retry => "Meta could not be reached or answered that it should be tried again",
        Class::Rate => "Meta asks to slow down",
        Class::Token => "Meta does not accept the pixel's access token; it goes on by itself when the token is replaced",
        Class::Config => "the pixel is not known, or its token has no permission for it",
        Class::Payload => "Meta refused something in the batch; the events are tried in smaller parts",
        Class::Unfamiliar => "Meta refused it in an unknown way; it is tried once more",
    };
    Reason { code: class.name().to_owned(), message: message.to_owned() }
}

/// Why Meta rejected an event, in words a marketer understands where we know them.
fn rejection(answer: &Answer) -> Reason {
    let known = match answer.said.subcode {
        Some(2_804_003) => "Meta accepts events for seven days, and this one is older",
        Some(2_804_004) => "the event's time lies in the future",
        Some(2_804_008) => "a product in the event's contents has no id",
        Some(2_804_009) => "a purchase needs a value",
        Some(2_804_010 | 2_804_023) => "a value needs a currency",
        Some(2_804_016) => "a personal detail was not hashed",
        Some(2_804_050) => "too little is known about the person for Meta to find them",
        _ => "",
    };
    let message = match (known, &answer.said.title) {
        ("", Some(title)) => title.clone(),
        ("", None) => "Meta refused the event and did not say why".to_owned(),
        (known, _) => known.to_owned(),
    };
    Reason { code: "meta".to_owned(), message }
}
