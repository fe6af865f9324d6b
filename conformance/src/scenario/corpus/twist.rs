//! Writes a published attack in another way that means the same, so that a target which knows the
//! public corpora by heart gains nothing by it. Pure. It must never make an attack harmless where its
//! case asks for a refusal.

use crate::corpus::Surface;

/// Payloads above this size are played as they are: what they attack is their size.
const LARGEST: usize = 200_000;

/// The payload in another way, chosen by `word` (random lowercase hexadecimal); `None` where no other
/// way is known. `names` are those of the target's tools.
pub(super) fn twist(
    surface: Surface,
    payload: &[u8],
    word: &str,
    names: &[&str],
) -> Option<Vec<u8>> {
    if payload.len() > LARGEST {
        return None;
    }
    // In front too, where the payload begins with plain text: what is wrong does not stand there.
    let around = || {
        let plain = payload.first().is_some_and(u8::is_ascii_alphanumeric);
        let front = if plain { [word.as_bytes(), b" "].concat() } else { Vec::new() };
        [&front, payload, b" ", word.as_bytes()].concat()
    };
    match surface {
        Surface::MessageText
        | Surface::ModelProse
        | Surface::ToolResult
        | Surface::ToolArgument
        | Surface::AuditLog
        | Surface::SessionId => Some(around()),
        // Broken or too deep inside an array is broken or too deep.
        Surface::HttpJson | Surface::ModelJson => {
            Some([b"[", payload, b",\"", word.as_bytes(), b"\"]"].concat())
        }
        Surface::HttpBody | Surface::ToolArguments | Surface::ModelError => {
            let blanks = blanks(word);
            Some([&blanks, payload, &blanks].concat())
        }
        Surface::ToolPathRead | Surface::ToolPathWrite => path(payload),
        Surface::ToolName => name(payload, word, names),
        Surface::HttpRaw => head(payload, word),
        Surface::ToolCall
        | Surface::ConfigFile
        | Surface::CredentialName
        | Surface::VaultFile
        | Surface::GatewayRequest
        | Surface::PluginFrame => None,
    }
}

/// Between 1 and 16 blanks of the kinds that JSON has.
fn blanks(word: &str) -> Vec<u8> {
    let kinds = [b' ', b'\t', b'\n', b'\r'];
    let count = word.bytes().next().map_or(1, |first| usize::from(first % 16) + 1);
    word.bytes()
        .cycle()
        .take(count)
        .map(|it| kinds.get(usize::from(it) % kinds.len()).copied().unwrap_or(b' '))
        .collect()
}

/// The same place by a longer way: `./` before the last part of a path with `/` in it, and before a
/// relative path. A scheme such as `file:` would be a plain name behind a `./`, so it stays in front.
fn path(payload: &[u8]) -> Option<Vec<u8>> {
    let first = *payload.first()?;
    let rooted = first == b'/' && payload.get(1) != Some(&b'/');
    let relative = first.is_ascii_alphanumeric() || first == b'.';
    if payload.get(1) == Some(&b':') || !(rooted || relative) {
        return None;
    }
    let scheme = payload.split(|byte| *byte == b'/').next().is_some_and(|it| it.contains(&b':'));
    let front: &[u8] = if rooted || scheme { b"" } else { b"./" };
    let last = payload.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let (folders, name) = payload.split_at(last);
    let longer: &[u8] = if last == 0 { b"" } else { b"./" };
    let twisted = [front, folders, longer, name].concat();
    (twisted != payload).then_some(twisted)
}

/// One more header that means nothing, before all others.
fn head(payload: &[u8], word: &str) -> Option<Vec<u8>> {
    let line = payload.windows(2).position(|it| it == b"\r\n")? + 2;
    let (line, rest) = payload.split_at(line);
    let plain = line.first().is_some_and(u8::is_ascii_uppercase) && !rest.is_empty();
    plain.then(|| [line, b"X-Form: ", word.as_bytes(), b"\r\n", rest].concat())
}

/// Other letters in upper case: what was not exactly the name is not exactly the name.
fn name(payload: &[u8], word: &str, names: &[&str]) -> Option<Vec<u8>> {
    let flips = word.bytes().cycle();
    let flip = |(byte, flip): (&u8, u8)| {
        let other = if byte.is_ascii_lowercase() {
            byte.to_ascii_uppercase()
        } else {
            byte.to_ascii_lowercase()
        };
        if flip % 2 == 0 { other } else { *byte }
    };
    let twisted: Vec<u8> = payload.iter().zip(flips).map(flip).collect();
    let mut twisted = twisted;
    if twisted == payload
        && let Some(letter) = twisted.iter_mut().find(|it| it.is_ascii_alphabetic())
    {
        *letter ^= 0x20;
    }
    let exact = names.iter().any(|name| name.as_bytes() == twisted);
    (twisted != payload && !exact).then_some(twisted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_twist_differs_and_keeps_what_is_wrong() {
        let on = |surface, payload: &[u8]| twist(surface, payload, "ab12", &["write"]);
        let text = on(Surface::MessageText, b"bell \x07").unwrap();
        assert_eq!(text, b"ab12 bell \x07 ab12");
        let mark = on(Surface::MessageText, "\u{feff}x".as_bytes()).unwrap();
        assert!(mark.starts_with("\u{feff}".as_bytes()), "what stands in front stays there");
        let json = on(Surface::HttpJson, b"NaN").unwrap();
        assert_eq!(json, b"[NaN,\"ab12\"]");
        let body = on(Surface::HttpBody, b"{}]").unwrap();
        assert!(body.trim_ascii() == b"{}]" && body.len() > 4);
        assert_eq!(on(Surface::ToolPathRead, b"../k").unwrap(), b"./.././k");
        assert_eq!(on(Surface::ToolPathRead, b"/etc/hosts").unwrap(), b"/etc/./hosts");
        assert_eq!(on(Surface::ToolPathRead, b"file:///a/b").unwrap(), b"file:///a/./b");
        for alone in [b"a::$DATA".as_slice(), b"C:\\x", b"//host/x", b"\\\\.\\x", b""] {
            assert_eq!(on(Surface::ToolPathRead, alone), None, "{alone:?}");
        }
    }

    #[test]
    fn a_request_gets_a_header_more_and_keeps_the_rest() {
        let raw = b"POST /rpc HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n{}";
        let twisted = twist(Surface::HttpRaw, raw, "ab12", &[]).unwrap();
        let whole = b"POST /rpc HTTP/1.1\r\nX-Form: ab12\r\nHost: a\r\nHost: b\r\n\r\n{}";
        assert_eq!(twisted, whole);
        assert_eq!(twist(Surface::HttpRaw, b"\x16\x03\x01", "ab12", &[]), None);
    }

    #[test]
    fn a_name_never_becomes_the_real_one() {
        for word in ["0000", "1111", "0101", "abcd", "beef"] {
            let twisted = twist(Surface::ToolName, b"WRITE", word, &["write"]);
            assert!(twisted.is_none_or(|it| it != b"write" && it != b"WRITE"), "{word}");
        }
    }

    #[test]
    fn what_attacks_by_its_size_is_left_as_it_is() {
        assert_eq!(twist(Surface::MessageText, &vec![b'a'; 200_001], "ab", &[]), None);
    }
}
