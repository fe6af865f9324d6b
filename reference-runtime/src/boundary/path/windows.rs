//! The names that Windows reads as something else: devices, streams, trimmed endings. It must
//! never be asked about other systems' paths.

/// Why Windows would read this segment as another name; none if it reads it as it is.
pub(super) fn alias(segment: &str) -> Option<&'static str> {
    if segment.contains(':') {
        return Some("an alternate data stream");
    }
    if segment.contains(|c: char| c < ' ' || "<>\"|?*".contains(c)) {
        return Some("a character that Windows keeps for itself");
    }
    if segment.ends_with(['.', ' ']) {
        return Some("a trailing dot or space");
    }
    is_device(segment).then_some("a device")
}

/// A device keeps its meaning in any folder, in any case, with any extension.
fn is_device(segment: &str) -> bool {
    let stem = segment.split('.').next().unwrap_or_default().trim_end_matches(' ');
    let upper = stem.to_uppercase();
    let numbered = |prefix: &str| {
        upper
            .strip_prefix(prefix)
            .is_some_and(|port| matches!(port, "¹" | "²" | "³") || is_port(port))
    };
    matches!(upper.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$")
        || numbered("COM")
        || numbered("LPT")
}

fn is_port(port: &str) -> bool {
    matches!(port.as_bytes(), [b'1'..=b'9'])
}

#[cfg(test)]
mod tests {
    use super::alias;

    #[test]
    fn devices_are_devices_in_every_dress() {
        for name in ["con", "AUX.md", "nul.tar.gz", "COM²", "lpt9.txt", "conout$", "Com1 .txt"] {
            assert_eq!(alias(name), Some("a device"), "{name}");
        }
        for name in ["console", "auxiliary.md", "com10", "com", "lpt", "nullable", "COM0"] {
            assert_eq!(alias(name), None, "{name}");
        }
    }

    #[test]
    fn streams_and_trimmed_names_are_aliases() {
        for name in ["ok.md:x", "ok.md::$DATA", "ok.md.", "ok.md ", "a*b", "a\u{1}b"] {
            assert!(alias(name).is_some(), "{name:?}");
        }
        for name in ["v1.2", "draft~1.md", ".env", " leading"] {
            assert_eq!(alias(name), None, "{name}");
        }
    }
}
