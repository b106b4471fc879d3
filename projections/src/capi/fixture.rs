//! For tests: a dispatch of some age.

use schemas::{
    dispatch::Dispatch,
    envelope::{Kind, Position},
    id::{FunnelId, PixelId, WorkspaceId},
    time::Time,
};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::config::Config;

/// The moment of all tests.
pub fn now() -> Time {
    Time::from_millis(1_800_000_000_000)
}

/// A dispatch that happened so long ago, told apart by its order.
pub fn dispatch(order: &str, age_us: i64) -> Dispatch {
    let at = now().plus_micros(-age_us);
    Dispatch {
        id: Uuid::nil(),
        kind: Kind::Dispatch,
        version: 1,
        funnel_id: FunnelId::parse("fn_1").expect("an id"),
        workspace_id: WorkspaceId::parse("ws_1").expect("an id"),
        occurred_at: at,
        received_at: at,
        position: Position { generation: 0, partition: 0, offset: 0 },
        pixel_id: PixelId::parse("1").expect("an id"),
        event_name: "Purchase".into(),
        event_id: format!("fn_1:{order}"),
        dedup_key: format!("fn_1|purchase|{order}"),
        revision: 1,
        not_before: None,
        payload: Some(RawValue::from_string(format!(r#"{{"event_id":"fn_1:{order}"}}"#)).expect("JSON")),
        withheld: None,
        test_event_code: None,
        fact: None,
        replay: None,
    }
}

/// Small and quick.
pub fn config() -> Config {
    Config {
        base_url: "http://127.0.0.1:1".into(),
        api_version: "v26.0".into(),
        pixel_script_url: String::new(),
        request_timeout_ms: 1_000,
        linger_ms: 50,
        in_flight_max: 4,
        batch_events_max: 8,
        batch_bytes_max: 10_000,
        pending_bytes_max: 1_000_000,
        read_hold_ms: 200,
        retry_base_ms: 1_000,
        retry_max_ms: 300_000,
        probe_ms: 60_000,
        ambiguous_resend_hours: 47,
        drain_timeout_ms: 1_000,
    }
}
