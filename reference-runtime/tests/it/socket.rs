//! WebSocket connections: the same doors as HTTP for every frame, and what is told of sessions.

use std::time::Duration;

use clawproof_runtime::gateway::{Role, Tokens};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::house::{House, Puppet, stream};

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(
        house: &House,
        token: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let mut request = format!("ws://{}/ws", house.address).into_client_request().unwrap();
        let authorization = format!("Bearer {token}");
        for (name, value) in [("authorization", authorization.as_str())].iter().chain(headers) {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(house.address).await.unwrap();
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(_) => Err(0),
        }
    }

    async fn send(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.unwrap();
    }

    /// The next text, or the code of the close.
    async fn next(&mut self) -> Result<Value, u16> {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.0.next()).await.unwrap();
            match next {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map_or(1005, |frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(0),
            }
        }
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": params });
        self.send(request.to_string()).await;
        loop {
            let answer = self.next().await.unwrap();
            if answer.get("id").is_some() {
                return answer;
            }
        }
    }
}

fn requirement(answer: &Value) -> &str {
    answer["error"]["data"]["requirement"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_handshake_passes_the_doors_of_a_request() {
    let house = House::new().await;
    let open = async |token: &str, headers: &[(&'static str, &str)]| {
        Socket::open(&house, token, headers).await.map(|_| ())
    };
    assert_eq!(open("wrong", &[]).await, Err(401));
    assert_eq!(open(&house.token, &[("origin", "https://evil.example")]).await, Err(403));
    assert_eq!(open(&house.token, &[("host", "evil.example")]).await, Err(403));
    let own = format!("http://{}", house.address);
    assert_eq!(open(&house.token, &[("origin", &own)]).await, Ok(()));
    let plain = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        house.address, house.token
    );
    assert_eq!(house.raw(plain.as_bytes()).await.status, 400);
}

#[tokio::test]
async fn a_frame_is_answered_and_checked_like_a_body() {
    let house = House::new().await;
    let mut socket = Socket::open(&house, &house.token, &[]).await.unwrap();
    let session = socket.call("session.create", json!({})).await;
    let session = session["result"]["session"].as_str().unwrap().to_owned();
    let said = socket.call("session.message", json!({ "session": session, "text": "list" })).await;
    assert!(said["result"]["reply"].is_string(), "{said}");
    for (text, expected) in [
        ("{\"jsonrpc\":", "input.json-strict"),
        (&format!("{}{}", "[".repeat(33), "]".repeat(33)), "input.json-depth"),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\\u0000\"}", "input.null-byte"),
    ] {
        socket.send(text).await;
        let answer = socket.next().await.unwrap();
        assert_eq!((requirement(&answer), &answer["id"]), (expected, &Value::Null));
    }
    let long = json!({ "session": session, "text": "x".repeat(100_001) });
    let refused = socket.call("session.message", long).await;
    assert_eq!(requirement(&refused), "input.message-size");
    let listed = socket.call("session.history", json!([session])).await;
    assert_eq!(listed["error"]["code"], -32602);
}

#[tokio::test]
async fn what_is_no_text_of_a_sane_size_ends_the_connection() {
    let house = House::new().await;
    let mut large = Socket::open(&house, &house.token, &[]).await.unwrap();
    let _ = large.0.send(Message::text("x".repeat(1_100_000))).await;
    let told = large.next().await;
    if let Ok(told) = told {
        assert_eq!(requirement(&told), "input.bounded-memory");
        // The close may be lost: what the client still sends meets a closed socket.
        assert!(matches!(large.next().await, Err(1009 | 0)));
    }
    let mut binary = Socket::open(&house, &house.token, &[]).await.unwrap();
    binary.0.send(Message::binary(vec![1_u8])).await.unwrap();
    assert_eq!(binary.next().await, Err(1003));
    assert_eq!(house.call("system.version", json!({})).await.status, 200);
}

#[tokio::test]
async fn frames_count_and_a_revoked_token_ends_the_connection() {
    let house = House::with(|config| config.rates.requests_per_minute = 10).await;
    let mut socket = Socket::open(&house, &house.token, &[]).await.unwrap();
    let mut admitted = 0;
    for _ in 0..20 {
        let answer = socket.call_or_refusal().await;
        if requirement(&answer) == "rate.client" {
            break;
        }
        admitted += 1;
    }
    assert_eq!(admitted, 9, "the handshake is one of ten");

    let token = house.another_token(Role::User);
    let mut socket = Socket::open(&house, &token, &[]).await.unwrap();
    assert!(socket.call("system.version", json!({})).await["result"].is_object());
    let tokens = Tokens::at(house.folder.path());
    for record in tokens.list().unwrap() {
        tokens.revoke(&record.id).unwrap();
    }
    let told = socket.call_or_refusal().await;
    assert_eq!(requirement(&told), "auth.required");
    assert_eq!(socket.next().await, Err(1008));
}

impl Socket {
    /// One cheap request, or the refusal of its frame, which has no id.
    async fn call_or_refusal(&mut self) -> Value {
        self.send(r#"{"jsonrpc":"2.0","id":1,"method":"system.version"}"#).await;
        self.next().await.unwrap()
    }
}

#[tokio::test]
async fn who_listens_hears_the_answer_as_it_comes_and_nobody_elses() {
    let delta = |text: &str| json!({ "content": text });
    let model = Puppet::saying([stream(&[delta("one "), delta("two")], Some("stop"))]).await;
    let house = House::with(model.config()).await;
    let session = house.session().await;
    let mut socket = Socket::open(&house, &house.token, &[]).await.unwrap();
    let heard = socket.call("events.subscribe", json!({ "session": session })).await;
    assert_eq!(heard["result"]["subscribed"], session.as_str());
    let user = house.another_token(Role::User);
    let mut stranger = Socket::open(&house, &user, &[]).await.unwrap();
    let refused = stranger.call("events.subscribe", json!({ "session": session })).await;
    assert_eq!(refused["error"]["code"], -32004);
    let elsewhere = house.call("events.subscribe", json!({ "session": session })).await;
    assert_eq!(elsewhere.status, 400);

    assert_eq!(house.say(&session, "go").await.result("reply"), "one two");
    let mut events = Vec::new();
    while events.last().map(|(name, _)| name) != Some(&"turn.finished".to_owned()) {
        let event = socket.next().await.unwrap();
        assert_eq!(event["params"]["session"], session.as_str());
        let name = event["params"]["event"].as_str().unwrap().to_owned();
        events.push((name, event["params"]["text"].as_str().unwrap_or_default().to_owned()));
    }
    let text: String = events.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!((events[0].0.as_str(), text.as_str()), ("turn.started", "one two"));

    house.call("session.end", json!({ "session": session })).await;
    assert_eq!(socket.next().await.unwrap()["params"]["event"], "session.ended");
}

#[tokio::test]
async fn a_turn_can_be_cancelled_and_the_session_goes_on() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}/v1", listener.local_addr().unwrap());
    let house = House::with(|config| {
        config.model.provider = clawproof_runtime::config::Provider::OpenAi;
        config.model.base_url = Some(silent);
    })
    .await;
    let session = house.session().await;
    let mut socket = Socket::open(&house, &house.token, &[]).await.unwrap();
    let params = json!({ "session": session, "text": "go" });
    let request =
        json!({ "jsonrpc": "2.0", "id": 7, "method": "session.message", "params": params });
    socket.send(request.to_string()).await;
    let (_model, _) = listener.accept().await.unwrap();
    let cancel = house.call("session.cancel", json!({ "session": session })).await;
    assert_eq!(cancel.result("cancelled"), true);
    let answer = socket.next().await.unwrap();
    assert_eq!((&answer["id"], requirement(&answer)), (&json!(7), "registry.call-integrity"));
    let history = house.call("session.history", json!({ "session": session })).await;
    assert_eq!(history.result("entries").as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_server_that_stops_says_so_to_its_connections() {
    let house = House::new().await;
    let mut socket = Socket::open(&house, &house.token, &[]).await.unwrap();
    let stopping = tokio::spawn(house.stop());
    assert_eq!(socket.next().await, Err(1001));
    drop(socket);
    tokio::time::timeout(Duration::from_secs(5), stopping).await.unwrap().unwrap();
}
