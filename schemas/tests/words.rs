//! Small words, any of them: what is written is read back as the same, and what is not one is refused without a panic.

use proptest::prelude::*;
use schemas::{
    id::{FunnelId, PixelId, VisitorId, WorkspaceId},
    order::OrderId,
    person::Digest,
    time::Time,
};
use serde::{Serialize, de::DeserializeOwned};

fn reread<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let json = serde_json::to_string(value).expect("a word is JSON");
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..proptest::test_runner::Config::default() })]

    #[test]
    fn ids_are_read_back(random in any::<[u8; 12]>(), digits in "[0-9]{1,20}", visible in "[!-{}~]{1,128}") {
        let (funnel, workspace) = (FunnelId::new(random), WorkspaceId::new(random));
        prop_assert_eq!(reread(&funnel), funnel);
        prop_assert_eq!(reread(&workspace), workspace);
        let pixel = PixelId::parse(&digits).expect("digits");
        prop_assert_eq!(reread(&pixel), pixel);
        let visitor = VisitorId::parse(&visible).expect("visible characters");
        prop_assert_eq!(reread(&visitor), visitor);
    }

    #[test]
    fn texts_that_pass_hold_nothing_that_breaks_a_key(text in "\\PC{0,70}|[a-z|/ ]{0,10}") {
        for id in [FunnelId::parse(&text).map(|id| id.to_string()), VisitorId::parse(&text).map(|id| id.to_string())].into_iter().flatten() {
            prop_assert!(!id.is_empty() && !id.contains(['|', ' ', '\n']), "{:?}", id);
        }
    }

    #[test]
    fn an_order_id_is_read_back_trimmed(text in "\\PC{0,40}") {
        if let Ok(Some(order)) = OrderId::parse(&text) {
            let id = order.as_str();
            prop_assert!(text.contains(id) && id.trim_matches('\u{feff}').trim() == id, "{:?}", id);
            prop_assert_eq!(reread(&order), order);
        }
    }

    #[test]
    fn digests_and_times_are_read_back(text in "\\PC{0,20}", us in any::<i64>()) {
        let digest = Digest::of(&text);
        prop_assert_eq!(reread(&digest), digest);
        prop_assert_eq!(Digest::parse(&digest.to_string().to_uppercase()), Some(digest));
        let time = Time::from_micros(us);
        prop_assert_eq!(reread(&time), time);
    }
}
