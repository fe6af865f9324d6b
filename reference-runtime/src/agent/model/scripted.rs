//! The offline model: it turns a few plain sentences into tool calls, so that a newcomer sees a
//! contained call with no key and no network. It must never read anything but the conversation.

use serde_json::{Value, json};

use super::Answer;
use crate::agent::history::{Entry, ProposedCall};
use crate::agent::session_id::SessionId;
use crate::audit::Rejection;

const HELP: &str = "I am the scripted model and work offline. I understand: `read FILE`, \
                    `write FILE TEXT`, `list [FOLDER]` and `run PROGRAM ARGUMENT...`.";

pub(super) fn answer(history: &[Entry]) -> Result<Answer, Rejection> {
    let text = match history.last() {
        Some(Entry::User { text, .. }) => match proposal(text) {
            Some((name, arguments)) => {
                let id = format!("call-{}", SessionId::random()?.as_str());
                let arguments = arguments.to_string();
                let calls = vec![ProposedCall { id, name: name.to_owned(), arguments }];
                return Ok(Answer { calls, ..Answer::default() });
            }
            None => HELP.to_owned(),
        },
        Some(Entry::Tool { text, .. }) => text.clone(),
        Some(Entry::Assistant { .. }) | None => HELP.to_owned(),
    };
    Ok(Answer { text, ..Answer::default() })
}

fn proposal(message: &str) -> Option<(&'static str, Value)> {
    let message = message.trim();
    let (verb, rest) = message.split_once(char::is_whitespace).unwrap_or((message, ""));
    let rest = rest.trim();
    match verb.to_ascii_lowercase().as_str() {
        "read" if !rest.is_empty() => Some(("read_file", json!({ "path": rest }))),
        "write" => {
            let (path, content) = rest.split_once(char::is_whitespace)?;
            Some(("write_file", json!({ "path": path, "content": content })))
        }
        "list" => {
            let path = if rest.is_empty() { "." } else { rest };
            Some(("list_files", json!({ "path": path })))
        }
        "run" if !rest.is_empty() => Some(("exec", json!({ "argv": words(rest) }))),
        _ => None,
    }
}

/// Splits at white space; double quotes hold a word together and mean nothing else.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut open) = (Vec::new(), String::new(), false, false);
    for character in text.chars() {
        match character {
            '"' => (quoted, open) = (!quoted, true),
            blank if blank.is_whitespace() && !quoted => {
                if open {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            other => {
                word.push(other);
                open = true;
            }
        }
    }
    if open {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_becomes_one_call_and_its_result_the_answer() {
        let asked = answer(&[Entry::user("run printf \"a b\" \"\" $(id)")]).unwrap();
        assert_eq!(asked.calls[0].name, "exec");
        assert_eq!(asked.calls[0].arguments, r#"{"argv":["printf","a b","","$(id)"]}"#);
        let result = Entry::Tool { call: asked.calls[0].id.clone(), text: "done".into() };
        assert_eq!(answer(&[result]).unwrap().text, "done");
    }

    #[test]
    fn anything_else_is_answered_with_help_and_no_call() {
        for text in ["hello", "read", "write x", ""] {
            let answer = answer(&[Entry::user(text)]).unwrap();
            assert_eq!((answer.text.as_str(), answer.calls.len()), (HELP, 0));
        }
        assert_eq!(proposal("list").unwrap().1, json!({"path": "."}));
        assert_eq!(proposal("write a b  c").unwrap().1, json!({"path": "a", "content": "b  c"}));
    }
}
