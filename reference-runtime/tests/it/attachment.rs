//! Attachments over real sockets: what is taken, what is refused, whose it is and where it goes.

use std::path::Path;

use clawproof_runtime::gateway::Role;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::house::{Answer, House, Puppet};

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["attachment"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_attachment_reaches_the_workspace_and_the_model_is_told_where() {
    let model = Puppet::saying([]).await;
    let house = House::with(model.config()).await;
    let session = house.session().await;
    let query = format!("session={session}&name=zw%C3%B6lf+a..b.txt");
    let sent = id(&house.upload(&house.token, &query, b"hello").await);
    let params = json!({ "session": session, "text": "look", "attachments": [sent] });
    assert_eq!(house.call("session.message", params).await.status, 200);
    let place = format!("attachments/{sent}/zwölf a..b.txt");
    let workspace = house.folder.path().join("workspace");
    assert_eq!(std::fs::read(workspace.join(&place)).unwrap(), b"hello");
    assert_eq!(model.heard("user"), [format!("look\n[attachment: {place}, 5 bytes]")]);
    assert!(house.recorded("authorization", "allow", None));

    house.call("session.end", json!({ "session": session })).await;
    assert!(!workspace.join(&place).exists());
    assert_eq!(entries(&house.folder.path().join("attachments")), 0);
}

#[tokio::test]
async fn an_attachment_is_of_use_to_its_session_alone() {
    let house = House::new().await;
    let (one, two) = (house.session().await, house.session().await);
    let sent = id(&house.upload(&house.token, &format!("session={one}&name=a"), b"x").await);
    let say = async |session: &str, ids: &[&str]| {
        let params = json!({ "session": session, "text": "look", "attachments": ids });
        house.call("session.message", params).await.status
    };
    assert_eq!(say(&two, &[&sent]).await, 404);
    assert_eq!(say(&one, &["0".repeat(32).as_str()]).await, 404);
    assert_eq!(say(&one, &[&sent, &sent]).await, 400);
    assert_eq!(say(&one, &["../x"]).await, 404);
    assert_eq!(say(&one, &[&sent]).await, 200);
    let user = house.another_token(Role::User);
    let query = format!("session={one}&name=a");
    assert_eq!(house.upload(&user, &query, b"x").await.status, 404);
    assert_eq!(house.upload("wrong", &query, b"x").await.status, 401);
}

#[tokio::test]
async fn eleven_are_refused_and_ten_are_taken() {
    let house = House::new().await;
    let session = house.session().await;
    let mut ids = Vec::new();
    for n in 0..11 {
        let query = format!("session={session}&name=a{n}");
        ids.push(id(&house.upload(&house.token, &query, &[n]).await));
    }
    let say = async |ids: &[String]| {
        let params = json!({ "session": session, "text": "look", "attachments": ids });
        house.call("session.message", params).await
    };
    let refused = say(&ids).await;
    assert_eq!((refused.status, refused.requirement()), (400, "input.attachment-count"));
    assert_eq!(say(&ids[..10]).await.status, 200);
}

#[tokio::test]
async fn size_is_what_arrives_and_what_is_over_it_leaves_nothing() {
    let house = House::with(|config| config.limits.attachment_bytes = 100_000).await;
    let session = house.session().await;
    let query = format!("session={session}&name=a");
    assert_eq!(house.upload(&house.token, &query, &vec![b'x'; 100_000]).await.status, 201);
    let over = house.upload(&house.token, &query, &vec![b'x'; 100_001]).await;
    assert_eq!((over.status, over.requirement()), (413, "input.attachment-size"));

    let mut socket = TcpStream::connect(house.address).await.unwrap();
    let head = format!(
        "POST /attachments?{query} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        house.address, house.token
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &vec![b'y'; 0x10000], b"\r\n"].concat();
    for _ in 0..2 {
        let _ = socket.write_all(&chunk).await;
    }
    let answer = Answer::read(&mut socket).await;
    assert_eq!((answer.status, answer.requirement()), (413, "input.attachment-size"));
    assert_eq!(entries(&house.folder.path().join("attachments")), 1);
}

#[tokio::test]
async fn a_name_that_is_no_plain_file_name_is_refused() {
    let house = House::new().await;
    let session = house.session().await;
    for (name, requirement) in [
        ("..%2F..%2Fx", "path.traversal"),
        ("%2Fetc%2Fx", "path.absolute"),
        ("a%00b", "input.null-byte"),
        ("a%0Ab", "input.control-chars"),
        ("..%5Cx", "path.traversal"),
    ] {
        let query = format!("session={session}&name={name}");
        let refused = house.upload(&house.token, &query, b"x").await;
        assert_eq!((refused.status, refused.requirement()), (400, requirement), "{name}");
    }
    for query in ["", "session=x", "name=a", &format!("session={session}&name=a&more=1")] {
        let refused = house.upload(&house.token, query, b"x").await;
        assert_eq!(refused.status, 400, "{query}");
    }
}
