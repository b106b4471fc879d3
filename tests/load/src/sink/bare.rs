//! The floor under the sink: a loop that sends the same events to the same box, a thousand a request, and keeps no books.
//!
//! It is measured twice: events that are serialised on the way, as a program has them that keeps its events as values; and bytes that
//! were frozen before and are only joined, as our sink has them.

use std::time::Duration;

use anyhow::ensure;
use reqwest::{Client, header::CONTENT_TYPE, redirect::Policy};
use schemas::{id::PixelId, person::Digest, time::Time};
use serde::Serialize;

use super::event::{self, Sale};
use crate::{cpu, meta::TOKEN, program::Server};

/// Events in one request.
const EVENTS: u64 = 1_000;
/// Requests of each kind.
const SERIALISED: u64 = 300;
const FROZEN: u64 = 300;

/// A way to Meta in a box, as the program makes it (`src/http.rs`).
pub fn client() -> anyhow::Result<Client> {
    let client = Client::builder().no_proxy().tls_certs_only([]).redirect(Policy::none()).connect_timeout(Duration::from_secs(10));
    Ok(client.build()?)
}

/// CPU microseconds of this process per event: serialised on the way, and joined from frozen bytes.
pub async fn us_per_event(meta: &Server, pixel: &PixelId, at: Time) -> anyhow::Result<(f64, f64)> {
    let sales: Vec<Sale> = (0..EVENTS).map(|number| Sale::new(number, at)).collect();
    let frozen: Vec<String> = sales.iter().filter_map(|sale| Some(sale.dispatch(pixel).payload?.get().to_owned())).collect();
    let events: Vec<Sent<'_>> = sales.iter().map(Sent::of).collect();
    let same = events.iter().zip(&frozen).all(|(event, frozen)| serde_json::to_string(event).is_ok_and(|event| event == *frozen));
    ensure!(
        same && frozen.len() == events.len(),
        "the bare loop says {:?} and the sink {:?}",
        serde_json::to_string(&events[0]),
        frozen[0]
    );

    let post = Post { client: client()?, url: format!("http://{}/v26.0/{pixel}/events", meta.address) };
    let serialised = post.repeat(SERIALISED, || Ok(serde_json::to_vec(&Body { data: &events, access_token: TOKEN })?)).await?;
    let joined = || Ok(format!(r#"{{"data":[{}],"access_token":"{TOKEN}"}}"#, frozen.join(",")).into_bytes());
    let joined = post.repeat(FROZEN, joined).await?;
    Ok((serialised, joined))
}

struct Post {
    client: Client,
    url: String,
}

impl Post {
    /// Sends so many bodies, one after another; the first ones warm both sides up.
    async fn repeat(&self, requests: u64, body: impl Fn() -> anyhow::Result<Vec<u8>>) -> anyhow::Result<f64> {
        for _ in 0..requests / 20 {
            self.send(body()?).await?;
        }
        let before = cpu::used("self")?;
        for _ in 0..requests {
            self.send(body()?).await?;
        }
        Ok(cpu::us_per(cpu::used("self")?.saturating_sub(before), requests * EVENTS))
    }

    async fn send(&self, body: Vec<u8>) -> anyhow::Result<()> {
        let answer = self.client.post(&self.url).header(CONTENT_TYPE, "application/json").body(body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "the box says {status}: {text}");
        Ok(())
    }
}

#[derive(Serialize)]
struct Body<'a> {
    data: &'a [Sent<'a>],
    access_token: &'a str,
}

/// Meta's event as values, in the order in which ours is written.
#[derive(Serialize)]
struct Sent<'a> {
    event_name: &'a str,
    event_time: i64,
    event_id: &'a str,
    action_source: &'a str,
    event_source_url: &'a str,
    user_data: UserData<'a>,
    custom_data: CustomData<'a>,
}

#[derive(Serialize)]
struct UserData<'a> {
    em: [String; 1],
    ph: [String; 1],
    #[serde(rename = "fn")]
    first_name: [String; 1],
    ln: [String; 1],
    external_id: [String; 1],
    client_ip_address: &'a str,
    client_user_agent: &'a str,
    fbc: &'a str,
    fbp: &'a str,
}

#[derive(Serialize)]
struct CustomData<'a> {
    value: f64,
    currency: &'a str,
    order_id: &'a str,
    content_name: &'a str,
    content_ids: [&'a str; 1],
    content_type: &'a str,
    num_items: u32,
}

impl<'a> Sent<'a> {
    fn of(sale: &'a Sale) -> Self {
        let text = |digest: Option<Digest>| [digest.map(|digest| digest.to_string()).unwrap_or_default()];
        let (person, context) = (&sale.person, &sale.context);
        Self {
            event_name: "Purchase",
            event_time: sale.at.seconds(),
            event_id: &sale.event_id,
            action_source: "website",
            event_source_url: event::URL,
            user_data: UserData {
                em: text(person.email_sha256),
                ph: text(person.phone_sha256),
                first_name: text(person.first_name_sha256),
                ln: text(person.last_name_sha256),
                external_id: text(Some(sale.visitor)),
                client_ip_address: context.client_ip.as_deref().unwrap_or_default(),
                client_user_agent: context.user_agent.as_deref().unwrap_or_default(),
                fbc: context.fbc.as_deref().unwrap_or_default(),
                fbp: context.fbp.as_deref().unwrap_or_default(),
            },
            custom_data: CustomData {
                value: 49.95,
                currency: "USD",
                order_id: sale.order.as_str(),
                content_name: "Blue shirt",
                content_ids: ["SKU-1"],
                content_type: "product",
                num_items: 1,
            },
        }
    }
}
