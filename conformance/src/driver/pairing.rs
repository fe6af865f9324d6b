//! Pairing: a code that the server shows on its output is exchanged for the token of this run. It must
//! never know what the token opens.

use std::time::{Duration, Instant};

use crate::target::instance::Instance;
use crate::target::template::Vars;

use super::DriverError;
use super::rpc::Rpc;

/// How long the server may take to show its code.
const CODE_LIMIT: Duration = Duration::from_secs(10);

/// The token of a pairing; none where the manifest has no `[pairing]`.
///
/// # Errors
/// `Refused` where the server shows no code, says no, or answers without a token.
pub async fn token(instance: &Instance) -> Result<Option<String>, DriverError> {
    let Some(pairing) = &instance.manifest().pairing else { return Ok(None) };
    let mut vars = Vars::new();
    vars.set("CODE", "");
    if let Some(after) = &pairing.after {
        vars.set("CODE", code(instance, after).await?);
    }
    let rpc = Rpc::new(instance);
    let reply = rpc.call("pair", &vars).await?;
    let refused =
        |how: &str| DriverError::Refused(format!("the pairing {how}: {}", reply.summary()));
    if reply.refused() {
        return Err(refused("was refused"));
    }
    let token = rpc.pick("pair", &reply);
    token.map(Some).ok_or_else(|| refused("gave nothing at the place that calls.pair picks"))
}

async fn code(instance: &Instance, after: &str) -> Result<String, DriverError> {
    let begun = Instant::now();
    while begun.elapsed() < CODE_LIMIT {
        let output = instance.output().await;
        if let Some(code) = word_after(&String::from_utf8_lossy(&output), after) {
            return Ok(code);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let seconds = CODE_LIMIT.as_secs();
    let words =
        format!("the pairing: the server's output holds no code behind `{after}` in {seconds} s");
    Err(DriverError::Refused(words))
}

/// The first word of letters, digits, `-` and `_` behind some text, where the word has ended.
fn word_after(text: &str, after: &str) -> Option<String> {
    let of_word = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    let (_, behind) = text.split_once(after)?;
    let word = behind.trim_start_matches(|it| !of_word(it));
    let end = word.find(|it| !of_word(it))?;
    word.get(..end).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_when_the_whole_of_it_was_written() {
        assert_eq!(word_after("Pairing code: 12", "Pairing code:"), None);
        let boxed = "use the code:\n  |  482-913  |\n";
        assert_eq!(word_after(boxed, "code:"), Some("482-913".to_owned()));
        assert_eq!(word_after(boxed, "token:"), None);
    }
}
