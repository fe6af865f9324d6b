//! Rules about any text in a record: no secrets that look live, nothing but reserved domains and
//! addresses, nothing left unwritten. Pure.

/// The text that a scaffold leaves to be written.
pub(in crate::corpus) const UNWRITTEN: &str = "CHANGE ME";

/// How live secrets begin, and how many characters of a token follow at least.
const SECRETS: &[(&str, usize)] = &[
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 30),
    ("ghp_", 30),
    ("gho_", 30),
    ("ghs_", 30),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("sk-ant-", 20),
    ("sk-", 32),
    ("sk_live_", 16),
    ("rk_live_", 16),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("npm_", 30),
    ("pypi-", 30),
    ("hf_", 30),
];

/// Names that are reserved for documentation and tests, with those under them.
const RESERVED: &[&str] =
    &["example", "test", "invalid", "localhost", "example.com", "example.net", "example.org"];

/// What is wrong with a text, and the fix.
pub(super) fn wrong_with(text: &str) -> impl Iterator<Item = (String, String)> {
    let unwritten = text
        .contains(UNWRITTEN)
        .then(|| ("is left from the scaffold".to_owned(), "write what stands here".to_owned()));
    let secret = live_secret(text).map(|begin| {
        let message = format!("looks like a live secret (`{begin}...`)");
        (message, "use the variable SECRET, or break the form".to_owned())
    });
    let host = hosts(text).find(|host| !reserved(host)).map(|host| {
        let message = format!("`{host}` is not reserved for documentation");
        (message, "use example.com, a name under .test or .example, or 192.0.2.1".to_owned())
    });
    unwritten.into_iter().chain(secret).chain(host)
}

fn live_secret(text: &str) -> Option<&'static str> {
    if text.contains("PRIVATE KEY-----") {
        return Some("-----BEGIN PRIVATE KEY-----");
    }
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let found = SECRETS.iter().find(|(begin, tail)| {
        text.match_indices(begin).any(|(at, _)| {
            let inside = text
                .as_bytes()
                .get(..at)
                .and_then(<[u8]>::last)
                .is_some_and(u8::is_ascii_alphanumeric);
            let after = text.as_bytes().get(at + begin.len()..).unwrap_or_default();
            !inside && after.iter().take_while(|byte| token(byte)).count() >= *tail
        })
    });
    found.map(|(begin, _)| *begin)
}

/// Hosts of URLs and shares, and dotted addresses wherever they stand.
fn hosts(text: &str) -> impl Iterator<Item = &str> {
    let after = |mark: &'static str| {
        text.match_indices(mark).filter_map(move |(at, _)| {
            let rest = text.get(at + mark.len()..)?;
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-')));
            let host = rest.get(..end.unwrap_or(rest.len()))?;
            let first = host.chars().next()?;
            first.is_ascii_alphanumeric().then_some(host)
        })
    };
    let addresses = text
        .split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .filter(|word| word.parse::<std::net::Ipv4Addr>().is_ok());
    let dotted = |host: &&str| host.contains('.');
    after("://").chain(after("\\\\").filter(dotted)).chain(addresses)
}

fn reserved(host: &str) -> bool {
    if let Ok(address) = host.parse::<std::net::Ipv4Addr>() {
        return address.is_loopback()
            || address.is_private()
            || address.is_link_local()
            || address.is_documentation()
            || address.is_unspecified();
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    RESERVED.iter().any(|name| {
        host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> bool {
        wrong_with(text).next().is_some()
    }

    #[test]
    fn live_looking_secrets_are_seen_and_look_alikes_are_not() {
        for text in [
            format!("key {}{}", "AKIA", "ABCDEFGHIJKLMNOP"),
            format!("{}{}", "ghp_", "a".repeat(36)),
            format!("-----BEGIN RSA {}", "PRIVATE KEY-----"),
        ] {
            assert!(wrong(&text), "{text}");
        }
        for text in ["task-force-of-very-long-names-and-more-of-them", "sk-short", "AKIA"] {
            assert!(!wrong(text), "{text}");
        }
    }

    #[test]
    fn only_reserved_names_and_addresses_pass() {
        let scheme = "https://";
        for host in ["openai.com/v1", "8.8.8.8", "notexample.com", "a.example.evil.io"] {
            assert!(wrong(&format!("{scheme}{host}")), "{host}");
        }
        assert!(wrong("\\\\files.evil.io\\pub"));
        assert!(wrong("dial 8.8.4.4 now"));
        for text in [
            "https://example.com/a",
            "ldap://a.b.example.org",
            "file:///etc/hosts",
            "file://localhost/x",
            "\\\\fs9.example\\pub",
            "\\\\127.0.0.1\\C$",
            "192.0.2.7",
            "169.254.169.254",
            "1.2.3",
            "v1.2.md",
            "\\\\?\\C:",
        ] {
            assert!(!wrong(text), "{text}");
        }
    }
}
