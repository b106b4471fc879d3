//! A funnel's settings: as they are made, and as they are changed.

use super::*;

#[tokio::test]
async fn a_funnel_waits_a_minute_for_its_server_leg_unless_it_is_told_otherwise() {
    let case = desk();
    let (_, workspace) = case.post("/api/v1/workspaces", json!({"name": "A"})).await;
    let make = |wish: Value| {
        let mut whole = json!({"workspace_id": workspace["id"], "name": "F"});
        wish.as_object().expect("an object").iter().for_each(|(key, value)| whole[key] = value.clone());
        case.post("/api/v1/funnels", whole)
    };
    for (wish, waits_s) in [(json!({}), 60), (json!({"server_leg_wait_s": 0}), 0), (json!({"server_leg_wait_s": 86_400}), 86_400)] {
        let (status, funnel) = make(wish).await;
        assert_eq!((status, &funnel["server_leg_wait_s"]), (StatusCode::CREATED, &json!(waits_s)));
    }
    for wrong in [json!(86_401), json!(-1), json!(1.5), json!("60")] {
        let (status, answer) = make(json!({"server_leg_wait_s": wrong})).await;
        assert_eq!((status, &answer["error"]["field"]), (StatusCode::BAD_REQUEST, &json!("server_leg_wait_s")), "{wrong}");
    }
}

#[tokio::test]
async fn a_funnels_settings_can_be_changed_and_the_rest_stays() {
    let case = desk();
    let (_, workspace) = case.post("/api/v1/workspaces", json!({"name": "A"})).await;
    let (_, funnel) = case.post("/api/v1/funnels", json!({"workspace_id": workspace["id"], "name": "F", "currency": "EUR"})).await;
    let id = funnel["id"].as_str().expect("an id").to_owned();
    case.post("/api/v1/pixels", json!({"funnel_id": id, "id": "123", "token": "EAA"})).await;
    for (path, wish, status) in [
        (id.as_str(), json!({"server_leg_wait_s": 5}), 200),
        (id.as_str(), json!({}), 200),
        (id.as_str(), json!({"server_leg_wait_s": "soon"}), 400),
        (id.as_str(), json!({"currency": "USD"}), 400),
        (id.as_str(), json!({"site": {"consent": "pending", "dnt": true, "cookie_domain": "shop.example"}}), 200),
        (id.as_str(), json!({"site": {"dnt": null, "allowed_origins": ["https://Shop.example"]}}), 200),
        (id.as_str(), json!({"site": {"consent": "maybe"}}), 400),
        (id.as_str(), json!({"site": {"no_such": 1}}), 400),
        (id.as_str(), json!({"site": "pending"}), 400),
        ("fn_none", json!({"server_leg_wait_s": 5}), 404),
        ("no such", json!({"server_leg_wait_s": 5}), 400),
    ] {
        let path = format!("/api/v1/funnels/{}", path.replace(' ', "%20"));
        let (answered, body) = case.ask(Method::PATCH, &path, Some(case.token.as_str()), &wish.to_string()).await;
        assert_eq!(answered.as_u16(), status, "{path} {wish}: {body}");
    }
    let listed: Value = serde_json::from_str(&case.get("/api/v1/funnels").await).expect("a list");
    let mut expected = funnel;
    (expected["server_leg_wait_s"], expected["pixels"]) = (json!(5), json!(["123"]));
    expected["site"] = json!({"allowed_origins": ["https://shop.example"], "consent": "pending", "cookie_domain": "shop.example"});
    assert_eq!(listed, json!([expected]));
}
