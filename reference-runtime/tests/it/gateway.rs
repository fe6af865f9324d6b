//! The gateway over real sockets: who gets in, what is refused and how, and how often.

use std::sync::Arc;
use std::time::Duration;

use clawproof_runtime::gateway::Role;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::house::{Answer, House};

#[tokio::test]
async fn health_needs_no_token_and_everything_else_does() {
    let house = House::new().await;
    let host = house.address;
    let health = format!("GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    assert_eq!(house.raw(health.as_bytes()).await.status, 200);
    let mut messages = Vec::new();
    for token in ["", "x", house.token.get(..20).unwrap(), &format!("{}x", house.token)] {
        let answer = house.call_as(token, "system.status", json!({})).await;
        assert_eq!((answer.status, answer.requirement()), (401, "auth.required"));
        messages.push(answer.body["error"]["message"].clone());
    }
    messages.dedup();
    assert_eq!(messages.len(), 1);
    assert!(house.recorded("auth", "deny", Some("auth.required")));
    assert_eq!(house.call("system.status", json!({})).await.status, 200);
    assert!(house.recorded("auth", "allow", None));
}

#[tokio::test]
async fn a_token_made_while_serving_counts_and_a_revoked_one_does_not() {
    let house = House::new().await;
    let token = house.another_token(Role::User);
    assert_eq!(house.call_as(&token, "system.version", json!({})).await.status, 200);
    let tokens = clawproof_runtime::gateway::Tokens::at(house.folder.path());
    for record in tokens.list().unwrap() {
        tokens.revoke(&record.id).unwrap();
    }
    assert_eq!(house.call_as(&token, "system.version", json!({})).await.status, 401);
}

#[tokio::test]
async fn a_user_may_not_use_what_is_the_admins_nor_see_another_ones_session() {
    let house = House::new().await;
    let user = house.another_token(Role::User);
    for method in ["credentials.list", "credentials.put", "config.get", "config.set"] {
        assert_eq!(house.call_as(&user, method, json!({})).await.status, 403);
    }
    assert!(house.recorded("authorization", "deny", None));
    let session = house.session().await;
    for method in ["session.history", "session.end"] {
        let answer = house.call_as(&user, method, json!({ "session": session })).await;
        assert_eq!(answer.status, 404);
    }
    let list = house.call_as(&user, "session.list", json!({})).await;
    assert_eq!(list.result("sessions"), &json!([]));
}

#[tokio::test]
async fn failed_attempts_of_an_address_are_limited_and_a_valid_token_is_not() {
    let house = House::new().await;
    let mut last = 0;
    for _ in 0..40 {
        last = house.call_as("wrong", "system.status", json!({})).await.status;
    }
    assert_eq!(last, 429);
    assert_eq!(house.call("system.status", json!({})).await.status, 200);
}

#[tokio::test]
async fn a_foreign_origin_or_host_is_refused_whatever_the_token() {
    let house = House::new().await;
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"system.version"}"#;
    let own = format!("Origin: http://{}\r\n", house.address);
    assert_eq!(house.post(&house.token, &own, body).await.status, 200);
    for origin in ["https://evil.example", "null", "http://localhost:1"] {
        let answer = house.post(&house.token, &format!("Origin: {origin}\r\n"), body).await;
        assert_eq!((answer.status, answer.requirement()), (403, "auth.origin"), "{origin}");
    }
    let rebound = "GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(house.raw(rebound.as_bytes()).await.status, 403);
    assert!(house.recorded("authorization", "deny", Some("auth.origin")));
}

#[tokio::test]
async fn every_answer_carries_its_correlation_and_no_cause() {
    let house = House::new().await;
    let answer = house.post(&house.token, "", b"{\"jsonrpc\":").await;
    assert_eq!((answer.status, answer.requirement()), (400, "input.json-strict"));
    let correlation = answer.body["error"]["data"]["correlation"].as_str().unwrap();
    assert_eq!(answer.header("x-request-id"), Some(correlation));
    assert_eq!(answer.body["error"]["code"], -32700);
    let unknown = house.call("session.create", json!({ "colour": "red" })).await;
    assert_eq!((unknown.status, &unknown.body["error"]["code"]), (400, &json!(-32602)));
    let missing = house.call("no.such", json!({})).await;
    assert_eq!((missing.status, &missing.body["error"]["code"]), (404, &json!(-32601)));
}

#[tokio::test]
async fn message_limits_hold_at_their_edges() {
    let house = House::new().await;
    let session = house.session().await;
    assert_eq!(house.say(&session, &"x".repeat(100_000)).await.status, 200);
    let over = house.say(&session, &"x".repeat(100_001)).await;
    assert_eq!((over.status, over.requirement()), (413, "input.message-size"));
    let null = house.say(&session, "a\0b").await;
    assert_eq!((null.status, null.requirement()), (400, "input.null-byte"));
    let control = house.say(&session, "a\u{1b}b").await;
    assert_eq!((control.status, control.requirement()), (400, "input.control-chars"));
    let attachments = json!({ "session": session, "text": "x", "attachments": vec![0; 11] });
    let many = house.call("session.message", attachments).await;
    assert_eq!(many.requirement(), "input.attachment-count");
    let history = house.call("session.history", json!({ "session": session })).await;
    assert_eq!(history.result("entries").as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_oversized_body_is_refused_by_its_declaration_and_by_its_bytes() {
    let house = House::new().await;
    let head = |rest: &str| {
        format!(
            "POST /rpc HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{rest}\r\n\r\n",
            house.address, house.token
        )
    };
    let declared = house.raw(head("Content-Length: 1073741824").as_bytes()).await;
    assert_eq!(declared.status, 413);
    assert_eq!(declared.header("connection"), Some("close"));

    let mut socket = TcpStream::connect(house.address).await.unwrap();
    socket.write_all(head("Transfer-Encoding: chunked").as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 1_024 && socket.write_all(&chunk).await.is_ok() {
        sent += 1;
    }
    assert!(sent < 1_024, "64 MiB were taken in");
    assert_eq!(Answer::read(&mut socket).await.status, 413);
    assert_eq!(house.call("system.version", json!({})).await.status, 200);
}

#[tokio::test]
async fn too_many_and_too_large_headers_are_refused() {
    let house = House::new().await;
    let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    assert_eq!(house.post(&house.token, &many, b"{}").await.status, 431);
    let large = format!("X-A: {}\r\n", "y".repeat(100_000));
    assert_eq!(house.post(&house.token, &large, b"{}").await.status, 431);
}

#[tokio::test]
async fn of_many_parallel_requests_exactly_sixty_are_admitted() {
    let house = Arc::new(House::with(|config| config.rates = Default::default()).await);
    let other = house.another_token(Role::User);
    let requests = (0..100).map(|n| {
        let house = Arc::clone(&house);
        tokio::spawn(async move {
            let body = br#"{"jsonrpc":"2.0","id":1,"method":"system.version"}"#;
            let forwarded = format!("X-Forwarded-For: 203.0.113.{n}\r\n");
            house.post(&house.token, &forwarded, body).await
        })
    });
    let mut admitted = 0;
    for request in requests.collect::<Vec<_>>() {
        let answer = request.await.unwrap();
        if answer.status == 200 {
            admitted += 1;
        } else {
            assert_eq!((answer.status, answer.requirement()), (429, "rate.client"));
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait));
        }
    }
    assert_eq!(admitted, 60);
    assert!(house.recorded("rate-limit", "deny", Some("rate.client")));
    assert_eq!(house.call_as(&other, "system.version", json!({})).await.status, 200);
}

#[tokio::test]
async fn the_31st_message_of_a_session_is_refused_and_another_session_goes_on() {
    let house = House::with(|config| config.rates.messages_per_minute = 30).await;
    let (one, two) = (house.session().await, house.session().await);
    for _ in 0..30 {
        assert_eq!(house.say(&one, "hello").await.status, 200);
    }
    let refused = house.say(&one, "hello").await;
    assert_eq!((refused.status, refused.requirement()), (429, "rate.session"));
    assert_eq!(house.say(&two, "hello").await.status, 200);
}

#[tokio::test]
async fn a_batch_costs_what_it_holds_and_answers_in_order() {
    let house = House::with(|config| config.rates = Default::default()).await;
    let batch = |count: usize| {
        let one = |id| json!({ "jsonrpc": "2.0", "id": id, "method": "system.version" });
        json!((0..count).map(one).collect::<Vec<_>>()).to_string()
    };
    let answer = house.post(&house.token, "", batch(40).as_bytes()).await;
    let ids: Vec<u64> =
        answer.body.as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (0..40).collect::<Vec<_>>());
    assert_eq!(house.post(&house.token, "", batch(21).as_bytes()).await.status, 429);
    assert_eq!(house.post(&house.token, "", batch(19).as_bytes()).await.status, 200);
    assert_eq!(house.call("system.version", json!({})).await.status, 429);
}

#[tokio::test]
async fn a_credential_is_stored_listed_deleted_and_never_shown() {
    let house = House::new().await;
    let secret = "sk-test-0123456789abcdef";
    let put = house.call("credentials.put", json!({ "name": "k", "secret": secret })).await;
    assert_eq!(put.status, 200, "{put:?}");
    let list = house.call("credentials.list", json!({})).await;
    assert_eq!(list.result("credentials"), &json!(["k"]));
    assert_eq!(house.call("credentials.delete", json!({ "name": "k" })).await.status, 200);
    assert_eq!(house.call("credentials.delete", json!({ "name": "k" })).await.status, 404);
    assert!(house.recorded("config", "completed", None));
    let log = serde_json::to_string(&house.records()).unwrap();
    assert!(!log.contains(secret));
    assert!(!format!("{put:?}{list:?}").contains(secret));
}

#[tokio::test]
async fn a_stopped_server_lets_a_request_in_flight_end() {
    let house = House::new().await;
    let mut socket = TcpStream::connect(house.address).await.unwrap();
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"system.version"}"#;
    let head = format!(
        "POST /rpc HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        house.address,
        house.token,
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stopping = tokio::spawn(house.stop());
    tokio::time::sleep(Duration::from_millis(100)).await;
    socket.write_all(body).await.unwrap();
    assert_eq!(Answer::read(&mut socket).await.status, 200);
    stopping.await.unwrap();
}

#[tokio::test]
async fn limits_and_tool_policies_change_while_it_runs_and_every_change_is_recorded() {
    let house = House::new().await;
    let session = house.session().await;
    let text = "a".repeat(2_000);
    assert_eq!(house.say(&session, &text).await.status, 200);
    let patch = json!({"limits": {"messageBytes": 1000}, "tools": {"disabled": ["exec"]}});
    let answer = house.call("config.set", patch.clone()).await;
    assert_eq!(answer.result("changed")[0]["key"], "limits.messageBytes");
    assert_eq!(house.say(&session, &text).await.status, 413);
    let names = |answer: &serde_json::Value| -> Vec<String> {
        let tools = answer.as_array().unwrap().iter();
        tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    };
    let tools = house.call("tools.list", json!({})).await;
    assert!(!names(tools.result("tools")).contains(&"exec".to_owned()));
    let got = house.call("config.get", json!({})).await;
    assert_eq!(got.result("limits")["messageBytes"], 1000);
    let is_change = |it: &serde_json::Value| it["kind"] == "config" && it["action"] == "config.set";
    let changes = || house.records().iter().filter(|it| is_change(it)).count();
    assert_eq!(changes(), 1);
    house.call("config.set", patch).await;
    assert_eq!(changes(), 1, "what changes nothing has no record");
    for wrong in [
        json!({"limits": {"jsonDepth": 0}}),
        json!({"limit": {}}),
        json!({"gateway": {"listen": "127.0.0.1:1"}}),
        json!({"sandbox": {"level": "relaxed"}}),
        json!([]),
    ] {
        assert_eq!(house.call("config.set", wrong.clone()).await.status, 400, "{wrong}");
    }
    assert_ne!(
        house.call("config.set", json!({"tools": {"disabled": ["exce"]}})).await.status,
        200
    );
    assert_eq!(changes(), 1, "what was refused changed nothing");
}
