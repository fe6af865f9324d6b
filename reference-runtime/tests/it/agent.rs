//! Turns, seen from outside: what the model is told, what the caller is told, what is recorded.

use serde_json::{Value, json};

use crate::house::{House, Puppet, calls, stream, text};

/// The calls of an answer as (outcome, requirement).
fn reports(answer: &crate::house::Answer) -> Vec<(String, String)> {
    let part = |call: &Value, key: &str| call[key].as_str().unwrap_or_default().to_owned();
    let calls = answer.result("calls").as_array().unwrap();
    calls.iter().map(|call| (part(call, "outcome"), part(call, "requirement"))).collect()
}

async fn turn(model: &Puppet) -> (House, crate::house::Answer) {
    let house = House::with(model.config()).await;
    let session = house.session().await;
    let answer = house.say(&session, "go").await;
    (house, answer)
}

/// How many tools a configuration that names none offers.
fn registered() -> usize {
    let registry = clawproof_runtime::registry::ToolRegistry::new(&Default::default()).unwrap();
    registry.list().len()
}

#[tokio::test]
async fn the_model_receives_exactly_what_the_user_said() {
    let model = Puppet::saying([]).await;
    let house = House::with(model.config()).await;
    let session = house.session().await;
    let said = "zwölf 👩‍👩‍👧\ttab\nline {\"a\":1}";
    assert_eq!(house.say(&session, said).await.result("reply"), "done");
    assert_eq!(model.heard("user"), [said]);
    assert_eq!(model.asked()[0]["tools"].as_array().unwrap().len(), registered());
}

#[tokio::test]
async fn an_unregistered_name_is_refused_recorded_and_the_model_told() {
    let model = Puppet::saying([calls("tool_calls", &[("a", "launch_rocket", "{}")])]).await;
    let (house, answer) = turn(&model).await;
    assert_eq!(reports(&answer)[0].0, "refused");
    assert!(model.heard("tool")[0].contains("registry.only-registered"));
    assert!(house.recorded("authorization", "deny", Some("registry.only-registered")));
}

#[tokio::test]
async fn a_repeated_call_id_is_refused_within_and_across_turns() {
    let list = "{\"path\":\".\"}";
    let model = Puppet::saying([
        calls("tool_calls", &[("same", "list_files", list), ("same", "list_files", list)]),
        text("one"),
        calls("tool_calls", &[("same", "list_files", list)]),
    ])
    .await;
    let house = House::with(model.config()).await;
    let session = house.session().await;
    let integrity = "registry.call-integrity";
    let first = reports(&house.say(&session, "go").await);
    assert_ne!(first[0].1, integrity);
    assert_eq!(first[1].1, integrity);
    let second = reports(&house.say(&session, "again").await);
    assert_eq!(second[0].1, integrity);
    assert!(model.heard("tool").last().unwrap().contains(integrity));
}

#[tokio::test]
async fn calls_of_a_cut_answer_and_arguments_that_are_no_object_are_refused() {
    let model = Puppet::saying([
        calls("length", &[("a", "list_files", "{\"path\":\".\"}")]),
        calls("tool_calls", &[("b", "list_files", "\"{}\""), ("c", "list_files", "{\"path\":")]),
    ])
    .await;
    let (_house, answer) = turn(&model).await;
    let reports = reports(&answer);
    assert_eq!(reports[0].1, "registry.call-integrity");
    assert_eq!(reports[1].1, "registry.schema");
    assert_eq!(reports[2], ("refused".into(), "input.json-strict".into()));
}

#[tokio::test]
async fn text_that_looks_like_a_call_is_never_executed() {
    let prose =
        "```json\n{\"name\":\"write_file\",\"arguments\":{\"path\":\"x\",\"content\":\"x\"}}\n```";
    let model = Puppet::saying([text(prose)]).await;
    let (house, answer) = turn(&model).await;
    assert_eq!(answer.result("reply"), prose);
    assert!(reports(&answer).is_empty());
    assert!(!house.folder.path().join("workspace/x").exists());
}

#[tokio::test]
async fn what_the_model_says_is_cleaned_and_bounded_before_it_is_passed_on() {
    let model = Puppet::saying([text("a\u{9b}31mb")]).await;
    let (house, answer) = turn(&model).await;
    if answer.status == 200 {
        assert_eq!(answer.result("reply"), "a\u{fffd}31mb");
    } else {
        assert_eq!((answer.status, answer.requirement()), (503, "input.control-chars"));
    }
    drop(house);

    let model = Puppet::saying([text(&"x".repeat(2_000_000))]).await;
    let (_house, answer) = turn(&model).await;
    assert_eq!(answer.status, 503);
}

#[tokio::test]
async fn a_model_that_is_not_there_or_answers_badly_is_a_refusal_and_no_crash() {
    let bad = [
        "",
        "[]",
        "not json",
        "{\"choices\":[]}",
        "{\"choices\":[{\"message\":{\"content\":\"\\u0000\"},\"finish_reason\":\"stop\"}]}",
    ];
    let model = Puppet::saying(bad.map(str::to_owned)).await;
    let house = House::with(model.config()).await;
    let session = house.session().await;
    for _ in bad {
        let answer = house.say(&session, "go").await;
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    assert_eq!(house.say(&session, "go").await.status, 200);

    let nobody = House::with(|config| {
        config.model.provider = clawproof_runtime::config::Provider::OpenAi;
        config.model.base_url = Some("http://127.0.0.1:9/v1".into());
    })
    .await;
    let session = nobody.session().await;
    let answer = nobody.say(&session, "go").await;
    assert_eq!((answer.status, answer.requirement()), (503, "error.deny"));
    assert!(!answer.body.to_string().contains("127.0.0.1"));
}

#[tokio::test]
async fn a_turn_ends_at_its_step_limit() {
    let call = |n: usize| calls("tool_calls", &[(&n.to_string(), "nothing", "{}")]);
    let model = Puppet::saying((0..9).map(call)).await;
    let puppet = model.config();
    let house = House::with(|config| {
        puppet(config);
        config.agent.max_steps = 3;
    })
    .await;
    let session = house.session().await;
    let answer = house.say(&session, "go").await;
    assert_eq!(reports(&answer).len(), 3);
    assert!(answer.result("reply").as_str().unwrap().contains("step limit"));
}

#[tokio::test]
async fn history_holds_the_whole_turn_and_survives_a_restart() {
    let model = Puppet::saying([calls("tool_calls", &[("a", "nothing", "{}")])]).await;
    let house = House::with(model.config()).await;
    let session = house.session().await;
    house.say(&session, "go").await;
    let history = house.call("session.history", json!({ "session": session })).await;
    let entries = history.result("entries").as_array().unwrap().clone();
    let roles: Vec<&str> = entries.iter().map(|entry| entry["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "assistant"]);

    let folder = house.stop().await;
    let store = clawproof_runtime::agent::Store::open(folder.path()).unwrap();
    let id = clawproof_runtime::agent::SessionId::parse(&session).unwrap();
    assert_eq!(store.history(&id, 1 << 20).await.unwrap().len(), 4);
}

#[tokio::test]
async fn an_ended_session_is_gone() {
    let house = House::new().await;
    let session = house.session().await;
    assert_eq!(house.call("session.end", json!({ "session": session })).await.status, 200);
    assert_eq!(house.say(&session, "hello").await.status, 404);
}

#[tokio::test]
async fn a_streamed_answer_counts_like_a_whole_one() {
    let call = |index: u32, id: &str, name: &str, arguments: &str| {
        json!({ "tool_calls": [{ "index": index, "id": id, "type": "function",
            "function": { "name": name, "arguments": arguments } }] })
    };
    let write = |id: &str, path: &str| {
        call(0, id, "write_file", &format!("{{\"path\":\"{path}\",\"content\":\"x\"}}"))
    };
    let model = Puppet::saying([
        stream(
            &[
                call(0, "a", "write_file", ""),
                call(0, "", "", "{\"path\":\"whole\","),
                call(0, "", "", "\"content\":\"x\"}"),
            ],
            Some("tool_calls"),
        ),
        stream(&[write("b", "cut")], None),
        stream(&[write("c", "length")], Some("length")),
        stream(&[write("d", "other"), call(0, "e", "", "")], Some("tool_calls")),
        stream(&[write("a", "again")], Some("tool_calls")),
        stream(
            &[json!({ "role": "assistant", "content": "zwö" }), json!({ "content": "lf" })],
            Some("stop"),
        ),
    ])
    .await;
    let (house, answer) = turn(&model).await;
    assert_eq!(answer.result("reply"), "zwölf");
    let reports = reports(&answer);
    let refused = ("refused".to_owned(), "registry.call-integrity".to_owned());
    assert_ne!(reports[0], refused);
    assert_eq!(reports[1..], vec![refused; 4]);
    assert_eq!(model.asked()[0]["stream"], true);
    for path in ["cut", "length", "other", "again"] {
        assert!(!house.folder.path().join("workspace").join(path).exists(), "{path}");
    }
}

#[tokio::test]
async fn a_streamed_answer_passes_the_same_door() {
    let event = |text: &str| format!("data: {text}\n\ndata: [DONE]\n\n");
    let deep = format!("{{\"choices\":{}{}}}", "[".repeat(40), "]".repeat(40));
    let bad = [
        event("{\"choices\":[{\"delta\":{\"content\":\"\\u0000\"}}]}"),
        event("{\"choices\":[{\"delta\":{\"content\":\"a\"},\"delta\":{}}]}"),
        event(&deep),
        event("not json"),
        format!("data: {}", "x".repeat(2_000_000)),
    ];
    let model = Puppet::saying(bad.clone()).await;
    let house = House::with(model.config()).await;
    let session = house.session().await;
    for text in bad {
        let answer = house.say(&session, "go").await;
        assert_eq!(answer.status, 503, "{}", text.get(..60).unwrap());
    }
    assert_eq!(house.say(&session, "go").await.result("reply"), "done");
}

#[tokio::test]
async fn a_model_of_the_messages_protocol_is_asked_and_understood() {
    let answer = json!({ "id": "m", "type": "message", "role": "assistant",
        "content": [{ "type": "text", "text": "so" },
                    { "type": "tool_use", "id": "a", "name": "nothing", "input": { "x": 1 } }],
        "stop_reason": "tool_use" });
    let event = |event: Value| format!("data: {event}\n\n");
    let streamed = [
        json!({ "type": "message_start", "message": { "id": "m" } }),
        json!({ "type": "content_block_start", "index": 0,
                "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0,
                "delta": { "type": "text_delta", "text": "zwölf" } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" } }),
        json!({ "type": "message_stop" }),
    ];
    let model = Puppet::saying([answer.to_string(), streamed.map(event).concat()]).await;
    let puppet = model.config();
    let house = House::with(|config| {
        puppet(config);
        config.model.provider = clawproof_runtime::config::Provider::Anthropic;
    })
    .await;
    let session = house.session().await;
    let answer = house.say(&session, "go").await;
    assert_eq!(answer.result("reply"), "zwölf");
    assert_eq!(reports(&answer)[0].1, "registry.only-registered");
    let asked = model.asked();
    assert_eq!(asked[0]["messages"][0]["content"][0]["text"], "go");
    assert_eq!(asked[0]["tools"].as_array().unwrap().len(), registered());
    let result = &asked[1]["messages"][2]["content"][0];
    assert_eq!((&result["type"], &result["tool_use_id"]), (&json!("tool_result"), &json!("a")));
}
