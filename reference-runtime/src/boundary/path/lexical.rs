//! The lexical rules: what a path may look like, whatever stands on the disk. Pure functions of
//! text and system, so that every system's rules are tested on any. They must never touch a disk.

use super::{Os, RelativePath, windows};
use crate::{audit::Rejection, boundary::text, requirement};

/// Applies the lexical rules of one system to a path from outside. Absolute paths are refused: see
/// [`super::Workspace::resolve`] for those that name a place inside. An empty path is the
/// workspace itself.
///
/// # Errors
/// `input.null-byte`, `path.traversal`, `path.absolute` or `path.os-alias`.
pub fn lexical(path: &str, os: Os) -> Result<RelativePath, Rejection> {
    if os != Os::Windows && is_plain(path.as_bytes()) {
        return Ok(RelativePath(path.to_owned()));
    }
    text::no_null(path)?;
    requirement::PATH_ABSOLUTE
        .check(!is_absolute(path, os), "the path is absolute", || format!("{path:?}"))?;
    let rooted = path.starts_with('/') && os != Os::Windows;
    let normal = match os {
        Os::Windows => normal(path, path.split(|c| os.separates(c)), os)?,
        Os::Unix | Os::MacOs => normal(path, path.split('/'), os)?,
    };
    Ok(RelativePath(match (rooted, normal.is_empty()) {
        // Only where `path.absolute` is knocked out.
        (true, _) => format!("/{normal}"),
        (false, true) => ".".to_owned(),
        (false, false) => normal,
    }))
}

/// Whether a path with slashes is normal and breaks none of the rules, as nearly every path is: no
/// null byte, and no segment that is empty or begins with a dot. One look at each byte that depends
/// on no other, so that the compiler takes many at a time; whatever else there is goes the long way.
fn is_plain(path: &[u8]) -> bool {
    let ([first, rest @ ..], [.., last]) = (path, path) else { return false };
    let opens = |byte: u8| (byte == b'/') | (byte == b'.');
    let pairs = path.iter().zip(rest);
    let odd = |(&one, &next): (&u8, &u8)| (next == 0) | ((one == b'/') & opens(next));
    !pairs.fold(opens(*first) | (*first == 0) | (*last == b'/'), |any, pair| any | odd(pair))
}

/// The segments that name something, each held against the rules, with one separator between them.
fn normal<'path>(
    path: &str,
    segments: impl Iterator<Item = &'path str>,
    os: Os,
) -> Result<String, Rejection> {
    let mut normal = String::with_capacity(path.len());
    for segment in segments {
        if segment.is_empty() || segment == "." {
            continue;
        }
        requirement::PATH_TRAVERSAL.check(
            !is_parent(segment, os),
            "the path has a parent segment",
            || format!("{path:?}"),
        )?;
        requirement::PATH_OS_ALIAS.check(
            alias(segment, os).is_none(),
            "the path has a name that the system reads as another",
            || format!("{path:?}: {}", alias(segment, os).unwrap_or_default()),
        )?;
        if !normal.is_empty() {
            normal.push('/');
        }
        normal.push_str(segment);
    }
    Ok(normal)
}

/// The rest of an absolute path below `root`, compared segment by segment; none if it is not
/// below. Both are paths of the same system.
pub(super) fn below<'path>(path: &'path str, root: &str, os: Os) -> Option<&'path str> {
    let rest = path.strip_prefix(root.trim_end_matches(|c| os.separates(c)))?;
    (rest.is_empty() || rest.starts_with(|c| os.separates(c)))
        .then(|| rest.trim_start_matches(|c| os.separates(c)))
}

/// Absolute, drive-relative, UNC, verbatim and device paths, and URIs.
fn is_absolute(path: &str, os: Os) -> bool {
    path.starts_with(|c| os.separates(c)) || is_uri(path) || (os == Os::Windows && drive(path))
}

fn drive(path: &str) -> bool {
    matches!(path.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic())
}

/// `scheme://`: a place of its own, whatever the scheme. Two letters at least, as RFC 3986 has no
/// shorter one in use and `c://` is a drive.
fn is_uri(path: &str) -> bool {
    path.split_once("://").is_some_and(|(scheme, _)| {
        scheme.len() >= 2
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// `..`; on Windows also what the system trims to it.
fn is_parent(segment: &str, os: Os) -> bool {
    let dots = || segment.starts_with("..") && segment.chars().all(|c| c == '.' || c == ' ');
    segment == ".." || (os == Os::Windows && dots())
}

/// Why the system would read this name as another one.
fn alias(segment: &str, os: Os) -> Option<&'static str> {
    match os {
        Os::Unix => None,
        Os::MacOs => {
            segment.to_ascii_lowercase().starts_with("..namedfork").then_some("a resource fork")
        }
        Os::Windows => windows::alias(segment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirement::{PATH_ABSOLUTE, PATH_OS_ALIAS, PATH_TRAVERSAL, Requirement};

    fn verdict(path: &str, os: Os) -> Option<Requirement> {
        lexical(path, os).err().map(|refusal| refusal.requirement())
    }

    #[test]
    fn names_that_only_look_like_parents_are_accepted_everywhere() {
        for path in ["..hidden", "a..b", "v1..v2.diff", "logs/ok", "srv//ok", "D-k", "50%off.md"] {
            for os in [Os::Unix, Os::MacOs, Os::Windows] {
                assert_eq!(verdict(path, os), None, "{path} on {os:?}");
            }
        }
        for path in
            ["~draft", "wait….md", "نام\u{200c}ها.txt", "dev/fd.md", "auxiliary.md", "com10"]
        {
            assert_eq!(verdict(path, Os::Windows), None, "{path}");
        }
    }

    #[test]
    fn unix_names_that_windows_would_misread_are_accepted_on_unix() {
        for path in ["10:30.md", "a:b", "a\\..\\..\\k", "foo/...", "D:\\k", "aux.md", "x. "] {
            assert_eq!(verdict(path, Os::Unix), None, "{path}");
            assert!(verdict(path, Os::Windows).is_some(), "{path}");
        }
    }

    #[test]
    fn a_parent_segment_is_refused_even_inside() {
        for path in ["..", "../k", "logs/../../k", "sub/../in.txt", "a/..", "./../k"] {
            for os in [Os::Unix, Os::MacOs, Os::Windows] {
                assert_eq!(verdict(path, os), Some(PATH_TRAVERSAL), "{path} on {os:?}");
            }
        }
        for path in ["a\\..\\k", ".. \\k", "a/.. ./k", "..."] {
            assert_eq!(verdict(path, Os::Windows), Some(PATH_TRAVERSAL), "{path}");
        }
    }

    #[test]
    fn absolute_paths_of_each_system_are_refused() {
        for path in ["/srv/k", "//srv/k", "/proc/self/root/etc", "file:///srv/k", "/"] {
            for os in [Os::Unix, Os::MacOs, Os::Windows] {
                assert_eq!(verdict(path, os), Some(PATH_ABSOLUTE), "{path} on {os:?}");
            }
        }
        for path in ["D:\\k", "D:k", "\\k", "\\\\fs9\\pub\\k", "\\\\?\\D:\\k", "\\??\\D:\\k"] {
            assert_eq!(verdict(path, Os::Windows), Some(PATH_ABSOLUTE), "{path}");
        }
    }

    #[test]
    fn a_resource_fork_is_refused_on_macos() {
        assert_eq!(verdict("ok.md/..namedfork/rsrc", Os::MacOs), Some(PATH_OS_ALIAS));
        assert_eq!(verdict("ok.md/..namedfork/rsrc", Os::Unix), None);
    }

    #[test]
    fn the_accepted_path_is_normal() {
        let normal = |path: &str| lexical(path, Os::Unix).unwrap().as_str().to_owned();
        assert_eq!(normal("a//./b/"), "a/b");
        assert_eq!(normal(""), ".");
        assert_eq!(normal("./"), ".");
        let windows = lexical("a\\b/c", Os::Windows).unwrap();
        assert_eq!(windows.as_str(), "a/b/c");
    }

    #[test]
    fn a_plain_path_is_one_that_the_long_way_leaves_as_it_is() {
        let long = |path: &str, os| {
            text::no_null(path).ok()?;
            (!is_absolute(path, os)).then_some(())?;
            normal(path, path.split('/'), os).ok().filter(|normal| !normal.is_empty())
        };
        let pieces = ["", "a", ".", "..", "..a", ".a", "a.", "a..b", "/", "\0", "://", "c:", "\\"];
        let mut plain = 0;
        for one in pieces {
            for two in pieces {
                for three in pieces {
                    let path = format!("{one}{two}/{three}{one}");
                    for path in [path.as_str(), one, two, &path[one.len()..]] {
                        for os in [Os::Unix, Os::MacOs] {
                            if is_plain(path.as_bytes()) {
                                plain += 1;
                                assert_eq!(long(path, os).as_deref(), Some(path), "{path:?}");
                            }
                        }
                    }
                }
            }
        }
        assert!(plain > 500, "{plain}");
    }

    #[test]
    fn below_compares_whole_segments() {
        assert_eq!(below("/w/app/in.txt", "/w/app", Os::Unix), Some("in.txt"));
        assert_eq!(below("/w/app", "/w/app/", Os::Unix), Some(""));
        assert_eq!(below("/w/app-old/k", "/w/app", Os::Unix), None);
        assert_eq!(below("/srv/k", "/w/app", Os::Unix), None);
        assert_eq!(below("C:\\w\\in.txt", "C:\\w", Os::Windows), Some("in.txt"));
    }
}
