//! What a name looks like, so that a look-alike of a registered name can be told from a name that
//! is simply unknown. It must never decide which tool runs: only an exact name does that.

use unicode_normalization::UnicodeNormalization;

/// Letters of other scripts that a reader takes for an ASCII letter (a part of the confusables of
/// Unicode TS 39: Cyrillic, Greek, Armenian, Cherokee, small capitals and dotless forms).
const CONFUSABLE: &[(char, &str)] = &[
    ('a', "аαạɑ"),
    ('c', "сϲᴄ"),
    ('d', "ԁɗ"),
    ('e', "еєҽ"),
    ('f', "ƒғ"),
    ('g', "ɡց"),
    ('h', "һհ"),
    ('i', "іıɩɪι"),
    ('j', "јϳ"),
    ('k', "кκ"),
    ('l', "ӏⅼǀ|1"),
    ('m', "м"),
    ('n', "ոռ"),
    ('o', "оοօ0"),
    ('p', "рρ"),
    ('q', "ԛզ"),
    ('r', "гᴦ"),
    ('s', "ѕꜱ"),
    ('t', "тτ"),
    ('u', "υսᴜ"),
    ('v', "ѵνᴠ"),
    ('w', "ԝաᴡ"),
    ('x', "хχ"),
    ('y', "уγү"),
    ('z', "ᴢ"),
    ('_', "‐‑‒–—―−-. "),
];

/// The form in which look-alikes are equal: compatibility-decomposed, without marks, invisible and
/// white characters at its ends, in lower case, confusable letters as their ASCII twin.
pub(super) fn skeleton(name: &str) -> String {
    name.nfkd()
        .filter(|c| !invisible(*c))
        .flat_map(char::to_lowercase)
        .filter(|c| !unicode_normalization::char::is_combining_mark(*c))
        .map(|c| {
            CONFUSABLE.iter().find(|(_, alike)| alike.contains(c)).map_or(c, |(plain, _)| *plain)
        })
        .collect::<String>()
        .trim_matches(|c: char| c == '_' || c.is_whitespace())
        .to_owned()
}

/// Characters that leave no mark: controls, joiners, marks of direction, tags, variation selectors.
fn invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::skeleton;

    #[test]
    fn look_alikes_share_a_skeleton() {
        for alike in [
            "exec",
            "EXEC",
            "Exec",
            "exec ",
            " exec",
            "exec\n",
            "ех\u{435}с",   // Cyrillic
            "ｅｘｅｃ",     // full width
            "ex\u{200b}ec", // zero-width space
            "ex\u{ad}ec",   // soft hyphen
            "e\u{301}xec",  // combining mark
            "𝐞𝐱𝐞𝐜",         // mathematical bold
            "exec\u{202e}", // direction mark
            "exec\u{fe0f}", // variation selector
        ] {
            assert_eq!(skeleton(alike), "exec", "{alike:?}");
        }
        assert_eq!(skeleton("read-file"), skeleton("read_file"));
        assert_eq!(skeleton("write_fi1e"), skeleton("write_file"));
    }

    #[test]
    fn other_names_do_not() {
        for other in ["exe", "execs", "execute", "run", "", "read_files"] {
            assert_ne!(skeleton(other), "exec");
            assert_ne!(skeleton(other), skeleton("read_file"));
        }
    }
}
