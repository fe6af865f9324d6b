//! The lexical rules never accept a path that a straightforward reading of that system leads out
//! of the workspace. The reading here is its own; it must never call the runtime's helpers.
#![no_main]

use clawproof_runtime::boundary::path::{Os, lexical};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    for os in [Os::Unix, Os::MacOs, Os::Windows] {
        if let Ok(accepted) = lexical(path, os) {
            assert!(!escapes(path, os), "{os:?} accepted {path:?} as {accepted:?}");
            let text = accepted.as_path().to_string_lossy();
            assert!(!escapes(&text, os), "{os:?} made {text:?} of {path:?}");
        }
    }
});

/// Whether this system could read the path as a place outside the folder it is joined to.
fn escapes(path: &str, os: Os) -> bool {
    let windows = os == Os::Windows;
    let separator = |mark: char| mark == '/' || (windows && mark == '\\');
    let starts_at_a_root = path.starts_with(separator);
    let parts = || path.split(separator);
    let climbs = parts().any(|part| {
        // Windows drops dots and spaces at the end of a name: `.. ` is `..`.
        let part = if windows { part.trim_end_matches(' ') } else { part };
        part == ".."
    });
    path.contains('\0')
        || starts_at_a_root
        || climbs
        || (windows && (path.contains(':') || parts().any(is_device)))
}

/// Whether Windows opens a device for this name, whatever follows the first dot.
fn is_device(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or_default().trim_end_matches(' ').to_uppercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|rest| {
            let mut digits = rest.chars();
            matches!(digits.next(), Some('1'..='9' | '\u{b9}' | '\u{b2}' | '\u{b3}'))
                && digits.next().is_none()
        })
    };
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&stem.as_str())
        || numbered("COM")
        || numbered("LPT")
}
