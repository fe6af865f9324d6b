//! How a server tells what became of a message: the part of a manifest that the driver `http` reads.
//! It must never hold an expectation.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// How a client is paired with the running server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pairing {
    /// The words in the server's output that stand before the code; the first word behind them, of
    /// letters, digits, `-` and `_`, is `${CODE}` in the call `pair`. None where it shows no code.
    #[serde(default)]
    pub after: Option<String>,
}

/// Where a server tells its answer to a message, and how that is read. Conditions are places = values
/// that an event has all of: a place is a JSON pointer, or `event` for the name of a server-sent
/// event; the value `*` stands for anything but null.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Turn {
    /// Where it is told.
    #[serde(default)]
    pub told: Told,
    /// JSON pointer to the words of the answer, or to pieces of them.
    #[serde(default)]
    pub text: Option<String>,
    /// What an event has that ends the turn.
    #[serde(default)]
    pub done: BTreeMap<String, String>,
    /// What an event has that ends the turn as failed.
    #[serde(default)]
    pub failed: BTreeMap<String, String>,
    /// What an event has that asks for leave; the call `approve` answers it.
    #[serde(default)]
    pub asks: BTreeMap<String, String>,
    /// JSON pointer to what stands as `${REQUEST}` in the call `approve`.
    #[serde(default)]
    pub request: Option<String>,
    /// What stands there as `${DECISION}` for yes.
    #[serde(default = "allow")]
    pub allow: String,
    /// What stands there as `${DECISION}` for no.
    #[serde(default = "deny")]
    pub deny: String,
}

fn allow() -> String {
    "allow".to_owned()
}

fn deny() -> String {
    "deny".to_owned()
}

/// Where the answer to a message is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// In the answer of the call `message`.
    #[default]
    Reply,
    /// By the call `poll`, made again until the turn has ended; `${RUN}` is what `message` picked.
    Poll,
    /// By the call `events`, a stream of server-sent events that is opened before the message is sent.
    Events,
    /// In the frames of the `[websocket]`, to which the body of `message` is sent.
    Websocket,
}

impl Turn {
    /// What else a manifest needs for turns that are told so: the calls that it has, whether it has
    /// a `[websocket]`.
    pub(super) fn lacks(
        &self,
        call: impl Fn(&str) -> bool,
        websocket: bool,
    ) -> Option<&'static str> {
        if !self.asks.is_empty() && !call("approve") {
            return Some("[calls.approve], since turn.asks says how leave is asked for");
        }
        match self.told {
            Told::Reply => None,
            Told::Poll if !call("poll") => Some("[calls.poll], since turn.told = \"poll\""),
            Told::Events if !call("events") => Some("[calls.events], since turn.told = \"events\""),
            Told::Websocket if !websocket => {
                Some("[websocket] with its path, since turn.told = \"websocket\"")
            }
            _ if self.done.is_empty() => Some("turn.done: what the event has that ends a turn"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::target::manifest::Manifest;

    #[test]
    fn a_server_of_turns_says_what_its_manifest_lacks() {
        let refused = |text: &str| {
            let text = format!("name = \"a\"\ndriver = \"http\"\n{text}");
            Manifest::parse(&text, Path::new("t.toml")).unwrap_err().to_string()
        };
        let start = "[start]\nargv = [\"x\"]\n[calls.message]\npath = \"/m\"\n";
        assert!(refused("").contains("[start]"));
        assert!(refused("[start]\nargv = [\"x\"]\n").contains("[calls.message]"));
        for (turn, what) in [
            ("told = \"events\"", "[calls.events]"),
            ("told = \"poll\"", "[calls.poll]"),
            ("told = \"websocket\"", "[websocket]"),
            ("asks = { event = \"x\" }", "[calls.approve]"),
        ] {
            let said = refused(&format!("{start}[turn]\n{turn}\n"));
            assert!(said.contains(what), "{said}");
        }
        let events = "[calls.events]\npath = \"/e\"\n[turn]\ntold = \"events\"\n";
        assert!(refused(&format!("{start}{events}")).contains("turn.done"));
    }
}
