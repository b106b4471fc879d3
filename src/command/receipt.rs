//! `receipt --order-id X | --event-id X`: the whole life of one order or event, as a sentence and a short account.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use reqwest::Url;
use schemas::{
    fact::LegName,
    money::Money,
    receipt::{ContextOf, Enrichment, LegVerdict, Receipt as Answer, ReceiptDelivery, ReceiptLeg},
};

use super::{Base, Object, Reach, desk::Desk};

/// Print the whole life of one order or event: how it came, what was concluded, and what became of it at each pixel.
///
/// An event of a page that is no purchase or lead is looked for in every delivery there is, which may take minutes; with --visitor and
/// --name it is found at once.
#[derive(Args)]
pub struct Receipt {
    /// The order
    #[arg(long, value_name = "ID", required_unless_present = "event_id", conflicts_with = "event_id")]
    order_id: Option<String>,
    /// The event's id, as Meta and the page know it
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    /// The funnel, where several have that order
    #[arg(long, value_name = "ID")]
    funnel: Option<String>,
    /// Which of both, where a purchase and a lead have that order
    #[arg(long)]
    kind: Option<Kind>,
    /// The visitor under which the page made the event
    #[arg(long, value_name = "ID", requires_all = ["name", "event_id"])]
    visitor: Option<String>,
    /// The event's name
    #[arg(long, requires = "visitor")]
    name: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// The purchase
    Purchase,
    /// The lead
    Lead,
}

impl Receipt {
    pub async fn run(self, base: &Base) -> anyhow::Result<ExitCode> {
        let kind = self.kind.map(|kind| match kind {
            Kind::Purchase => "purchase".to_owned(),
            Kind::Lead => "lead".to_owned(),
        });
        let path = path(
            "receipt",
            [
                ("order_id", self.order_id),
                ("event_id", self.event_id),
                ("funnel_id", self.funnel),
                ("kind", kind),
                ("visitor_id", self.visitor),
                ("name", self.name),
            ],
        )?;
        let desk = Desk::reach(base, &self.reach).await?;
        let answer = desk.get::<Box<Object>>(&path).await;
        desk.leave().await;
        let answer = answer?;
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", answer.get())?;
        } else {
            let mut text = Vec::new();
            account(&mut text, &serde_json::from_str::<Answer>(answer.get())?)?;
            out.write_all(for_terminals(&String::from_utf8(text)?).as_bytes())?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What pages call their events may hold anything.
fn for_terminals(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() && letter != '\n' { ' ' } else { letter }).collect()
}

/// A path with those parameters that are there.
pub fn path<const N: usize>(path: &str, parameters: [(&str, Option<String>); N]) -> anyhow::Result<String> {
    let named = parameters.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    let url = Url::parse_with_params("http://desk/", named)?; // only its query is used
    Ok(format!("{path}?{}", url.query().unwrap_or_default()))
}

/// The sentence first, then what it leaves out.
fn account(out: &mut impl Write, receipt: &Answer) -> io::Result<()> {
    writeln!(out, "{}\n", receipt.sentence)?;
    writeln!(out, "funnel     {}", receipt.funnel_id)?;
    writeln!(out, "event id   {}", receipt.event_id)?;
    for leg in &receipt.legs {
        writeln!(out, "leg        {}", leg_line(leg))?;
    }
    if let Some(fact) = &receipt.fact {
        let money = fact.amount_minor.map(|minor| Money { minor, currency: fact.currency });
        writeln!(out, "fact       {}, revision {}, {}", fact.kind.name(), fact.revision, told(money))?;
    }
    if let Some(enrichment) = &receipt.enrichment {
        enriched(out, enrichment)?;
    }
    for delivery in &receipt.deliveries {
        delivered(out, delivery)?;
    }
    if let Some(also) = receipt.also {
        writeln!(out, "\nThis order is known as a {} too: ask with --kind {0}.", also.name())?;
    }
    Ok(())
}

fn leg_line(leg: &ReceiptLeg) -> String {
    let way = match leg.leg {
        LegName::Browser => "browser",
        LegName::Server => "server",
    };
    let verdict = match leg.verdict {
        LegVerdict::First => "first",
        LegVerdict::Joined => "joined",
    };
    let money = leg.amount_minor.zip(leg.currency).map(|(minor, currency)| Money { minor, currency });
    let place = leg.position;
    format!(
        "{way} at {}, {}, {verdict}, raw {} at partition {} offset {}",
        leg.received_at,
        told(money),
        leg.raw_id,
        place.partition,
        place.offset
    )
}

fn told(money: Option<Money>) -> String {
    money.map_or_else(|| "no amount".to_owned(), |money| format!("{} {}", money.decimal(), money.currency))
}

fn enriched(out: &mut impl Write, enrichment: &Enrichment) -> io::Result<()> {
    let whose = match enrichment.context {
        ContextOf::BrowserLeg => "its own browser's",
        ContextOf::Borrowed => "borrowed from the buyer's last visit",
        ContextOf::Nobody => "no browser of this buyer was known",
        ContextOf::NotKept => "no longer kept",
    };
    let marks = enrichment.carried.map(|carried| {
        let present: Vec<&str> = carried.named().into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect();
        if present.is_empty() { ": nothing".to_owned() } else { format!(": {}", present.join(", ")) }
    });
    writeln!(out, "context    {whose}{}", marks.unwrap_or_default())?;
    if let Some(consent) = enrichment.consent {
        writeln!(out, "consent    {}", format!("{consent:?}").to_lowercase())?;
    }
    if enrichment.is_withheld {
        writeln!(out, "consent    nothing was sent without it")?;
    }
    if !enrichment.person.is_empty() {
        writeln!(out, "person     hashed: {}", enrichment.person.join(", "))?;
    }
    for key in &enrichment.sealed_under {
        writeln!(out, "sealed     clear fields under key {key}")?;
    }
    enrichment.note.iter().try_for_each(|note| writeln!(out, "           {note}"))
}

fn delivered(out: &mut impl Write, delivery: &ReceiptDelivery) -> io::Result<()> {
    let noted = delivery.noted_revision.map(|revision| format!(", revision {revision} noted and not sent")).unwrap_or_default();
    let (name, revision) = (&delivery.event_name, delivery.revision);
    writeln!(out, "pixel {}: {}, {name} revision {revision}{noted}", delivery.pixel_id, delivery.outcome.name())?;
    if let Some(reason) = &delivery.reason {
        writeln!(out, "  because  {} ({})", reason.message, reason.code)?;
    }
    if let Some(deadline) = delivery.deadline {
        let due = delivery.due_at.map(|due| format!("due {due}, ")).unwrap_or_default();
        let unread = if delivery.is_unread { ", not read by the sink yet" } else { "" };
        writeln!(out, "  waits    {due}Meta takes it until {deadline}{unread}")?;
    }
    let passed_over = (delivery.attempts as usize).saturating_sub(delivery.attempt_log.len());
    if passed_over > 0 {
        writeln!(out, "  attempt  {passed_over} earlier ones are only counted")?;
    }
    for attempt in &delivery.attempt_log {
        let status = attempt.status.map_or_else(|| "no answer".to_owned(), |status| format!("status {status}"));
        let number = |name: &str, value: Option<i64>| value.map(|value| format!(", {name} {value}")).unwrap_or_default();
        let trace = attempt.trace_id.as_ref().map(|trace| format!(", trace {trace}")).unwrap_or_default();
        let ambiguous = if attempt.ambiguous { ", ambiguous: Meta may have it" } else { "" };
        let (code, subcode) = (number("code", attempt.code), number("subcode", attempt.subcode));
        writeln!(out, "  attempt  {} {status}{code}{subcode}{trace}{ambiguous}", attempt.at)?;
    }
    Ok(())
}
