//! A batch gets its intent and, once that is durable, goes out.

use std::{sync::Arc, time::Instant};

use schemas::{id::PixelId, row::IntentItem, secret::Sealed, time::Time};

use super::{Event, Launch, Partition};
use crate::capi::{
    access::Access,
    classify::Class,
    lane::Refused,
    schedule::{self, Standing},
};

impl Partition {
    /// Sends what is left of the lane's next batch.
    pub(super) fn send(&mut self, pixel: &PixelId, now: Time) {
        let Some(access) = self.access(pixel) else {
            self.pause(pixel, Class::Config, None, None, now, now);
            return;
        };
        let resend_us = self.resend_us();
        let Some(lane) = self.lanes.get_mut(pixel) else { return };
        let mut batch = Vec::new();
        for item in lane.take_batch(&self.room.config) {
            match schedule::standing(&item.dispatch, item.delivery.as_deref(), now, resend_us) {
                Standing::End(outcome, reason) => self.books.end(item, None, outcome, Some(reason), now),
                Standing::Send | Standing::Later(_) => batch.push(item),
            }
        }
        if batch.is_empty() {
            return;
        }
        let items = batch.iter().map(|item| IntentItem { offset: item.offset, dedup_key: item.dispatch.dedup_key.clone() }).collect();
        let attempt = self.next_attempt;
        self.next_attempt += 1;
        lane.fly(attempt, batch);
        lane.pace.took(now);
        self.room.tokens.took(&access.token_id(), now);
        self.books.begin(attempt);
        self.intent_rows.push(self.intent(attempt, now, pixel, items));
        self.intents.push(Launch { pixel: pixel.clone(), attempt, at: now, access });
    }

    /// The intent is durable: the request goes out.
    pub(super) fn launch(&mut self, launch: Launch) {
        let Some(lane) = self.lanes.get(&launch.pixel) else { return };
        let body = launch.access.body(lane.flying(launch.attempt));
        let (client, storage) = (self.room.client.clone(), self.room.storage.clone());
        self.jobs.spawn(async move {
            let began = Instant::now();
            storage.pause("post", "before").await;
            let answer = client.post(&launch.pixel, body).await;
            storage.pause("post", "after").await;
            Event::Answered(launch, Box::new(answer), began.elapsed())
        });
    }

    /// The pixel's token, opened; kept while the directory says the same. `None` puts the pixel at fault.
    fn access(&mut self, pixel: &PixelId) -> Option<Arc<Access>> {
        let known = self.room.directory.load().pixel(pixel.as_str()).cloned();
        let lane = self.lanes.entry(pixel.clone()).or_default();
        let Some(known) = known else {
            tracing::warn!(%pixel, "the pixel is not in the directory; its dispatches wait");
            lane.refused = Some(Refused(None));
            lane.access = None;
            return None;
        };
        if let Some(access) = lane.access.as_ref().filter(|access| access.is_of(&known)) {
            return Some(access.clone());
        }
        lane.access = Access::open(known.clone(), &self.room.keys).map(Arc::new);
        if lane.access.is_none() {
            tracing::error!(%pixel, "the pixel's access token does not open under the master key; its dispatches wait for a new one");
            lane.refused = Some(Refused(Some(known.access_token.clone())));
        }
        lane.access.clone()
    }

    /// The token that the directory has for a pixel now.
    pub(super) fn token(&self, pixel: &PixelId) -> Option<Sealed> {
        self.room.directory.load().pixel(pixel.as_str()).map(|pixel| pixel.access_token.clone())
    }
}
