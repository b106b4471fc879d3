//! Every statement there is: a closed list, prepared once when the ledger opens. All parts of a partition key are bound, so that each
//! goes straight to a node that holds the row.

/// What kind of promise a statement asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A read that a quorum answers.
    Read,
    /// A plain write under a timestamp of its own: made again it changes nothing.
    Write,
    /// A conditional write: never made again by the driver.
    Conditional,
    /// A read that sees every conditional write begun before it.
    SerialRead,
}

macro_rules! statements {
    ($($name:ident $kind:ident $label:literal $text:literal)*) => {
        /// A statement.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Statement {
            $(#[doc = $text] $name,)*
        }

        impl Statement {
            /// All of them, in the order of their numbers.
            pub(super) const ALL: [Self; [$($label),*].len()] = [$(Self::$name),*];

            /// Its name in metrics.
            pub(super) fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// Its words.
            pub(super) fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it asks for.
            pub(super) fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }
        }
    };
}

statements! {
    WriteSeenBrowser Write "write_seen"
        "INSERT INTO seen (funnel, dedup_key, raw_partition, browser) VALUES (?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
    WriteSeenServer Write "write_seen"
        "INSERT INTO seen (funnel, dedup_key, raw_partition, server) VALUES (?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
    ReadSeen Read "read_seen"
        "SELECT browser, server FROM seen WHERE funnel = ? AND dedup_key = ?"
    ScanSeen Read "scan_seen"
        "SELECT dedup_key, browser, server FROM seen WHERE token(funnel, dedup_key) >= ? AND token(funnel, dedup_key) <= ? AND raw_partition = ? ALLOW FILTERING"
    WritePurchase Write "write_purchase"
        "INSERT INTO purchases (funnel, fact_key, fact) VALUES (?, ?, ?) USING TIMESTAMP ?"
    WritePurchaseByDay Write "write_purchase_by_day"
        "INSERT INTO purchases_by_day (funnel, day, bucket, fact_key, fact) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?"
    ReadPurchase Read "read_purchase"
        "SELECT fact FROM purchases WHERE funnel = ? AND fact_key = ?"
    PagePurchases Read "page_purchases"
        "SELECT fact FROM purchases"
    WriteLead Write "write_lead"
        "INSERT INTO leads (funnel, fact_key, fact) VALUES (?, ?, ?) USING TIMESTAMP ?"
    WriteLeadByDay Write "write_lead_by_day"
        "INSERT INTO leads_by_day (funnel, day, bucket, fact_key, fact) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?"
    PageLeads Read "page_leads"
        "SELECT fact FROM leads"
    WriteVisitor Write "write_visitor"
        "INSERT INTO visitors (funnel, visitor, person, context, consent) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
    ReadVisitor Read "read_visitor"
        "SELECT person, context, consent FROM visitors WHERE funnel = ? AND visitor = ?"
    WritePerson Write "write_person"
        "INSERT INTO people (funnel, email, context, consent) VALUES (?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
    ReadPerson Read "read_person"
        "SELECT context, consent FROM people WHERE funnel = ? AND email = ?"
    WritePersonKey Write "write_person_key"
        "INSERT INTO person_keys (funnel, email, key_id, sealed) VALUES (?, ?, ?, ?) USING TIMESTAMP ?"
    ReadPersonKeys Read "read_person_keys"
        "SELECT key_id, sealed FROM person_keys WHERE funnel = ? AND email = ?"
    WriteSnapshotPiece Write "write_snapshot"
        "INSERT INTO filter_snapshots (partition, bucket, generation, next_offset, piece, bytes) VALUES (?, ?, ?, ?, ?, ?)"
    ReadSnapshotHeads Read "read_snapshot_heads"
        "SELECT generation, next_offset, bytes FROM filter_snapshots WHERE partition = ? AND bucket = ?"
    ReadSnapshotPieces Read "read_snapshot"
        "SELECT piece, bytes FROM filter_snapshots WHERE partition = ? AND bucket = ? AND generation = ? AND next_offset = ? AND piece <= ?"
    DropSnapshotPieces Write "drop_snapshot"
        "DELETE FROM filter_snapshots WHERE partition = ? AND bucket = ? AND generation = ? AND next_offset = ? AND piece >= ?"
    ReadOwner SerialRead "read_owner"
        "SELECT epoch, owner, attempt FROM owners WHERE partition = ?"
    FirstOwner Conditional "take_over"
        "INSERT INTO owners (partition, epoch, owner, attempt) VALUES (?, ?, ?, ?) IF NOT EXISTS"
    NextOwner Conditional "take_over"
        "UPDATE owners SET epoch = ?, owner = ? WHERE partition = ? IF epoch = ?"
    BeginAttempt Conditional "begin_attempt"
        "UPDATE owners SET attempt = ? WHERE partition = ? IF epoch = ? AND attempt < ?"
    WriteIntent Write "write_intent"
        "INSERT INTO intents (partition, bucket, attempt, intent) VALUES (?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
    ReadIntents Read "read_intents"
        "SELECT intent FROM intents WHERE partition = ? AND bucket = ? AND attempt >= ? AND attempt < ?"
    WriteDelivery Write "write_delivery"
        "INSERT INTO deliveries (pixel, dedup_key, delivery) VALUES (?, ?, ?) USING TIMESTAMP ? AND TTL ?"
    ReadDelivery Read "read_delivery"
        "SELECT delivery, WRITETIME(delivery) FROM deliveries WHERE pixel = ? AND dedup_key = ?"
    PageDeliveries Read "page_deliveries"
        "SELECT delivery FROM deliveries"
    WriteWaiting Write "write_waiting"
        "INSERT INTO waiting (pixel, deadline_hour, dedup_key, due_at, waiting) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
    WriteWaitingHour Write "write_waiting_hour"
        "INSERT INTO waiting_hours (partition, pixel, deadline_hour) VALUES (?, ?, ?) USING TIMESTAMP ? AND TTL ?"
    DropWaiting Write "drop_waiting"
        "DELETE FROM waiting USING TIMESTAMP ? WHERE pixel = ? AND deadline_hour = ? AND dedup_key = ?"
    ReadWaiting Read "read_waiting"
        "SELECT waiting FROM waiting WHERE pixel = ? AND deadline_hour = ? AND dedup_key = ?"
    ReadWaitingHours Read "read_waiting_hours"
        "SELECT pixel, deadline_hour FROM waiting_hours WHERE partition = ?"
    ReadWaitingHoursOfPixel Read "read_waiting_hours"
        "SELECT pixel, deadline_hour FROM waiting_hours WHERE partition = ? AND pixel = ?"
    ReadDue Read "read_due"
        "SELECT due_at, dedup_key FROM waiting WHERE pixel = ? AND deadline_hour = ? AND due_at <= ? LIMIT ? ALLOW FILTERING"
    WriteTopic Write "write_topic"
        "INSERT INTO topics (name, generation, partitions) VALUES (?, ?, ?)"
    ReadTopics Read "read_topics"
        "SELECT name, generation, partitions FROM topics"
}
