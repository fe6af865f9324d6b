//! Arguments as one command line, because Windows hands on nothing else: each comes out of the
//! usual parser exactly as it went in. It must never be used for a batch file, whose parser is
//! another one.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
};

/// The command line of a program with arguments.
///
/// # Errors
/// An argument that is no Unicode text or holds a null character cannot be handed on.
pub(super) fn line(program: &OsStr, arguments: &[OsString]) -> Result<String, String> {
    let mut line = String::new();
    for word in std::iter::once(program).chain(arguments.iter().map(OsString::as_os_str)) {
        let text = word.to_str().ok_or("an argument is no text")?;
        if text.contains('\0') {
            return Err("an argument holds a null character".to_owned());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        quote(text, &mut line);
    }
    Ok(line)
}

fn quote(text: &str, line: &mut String) {
    if !text.is_empty() && !text.contains([' ', '\t', '\n', '\u{b}', '"']) {
        line.push_str(text);
        return;
    }
    line.push('"');
    let mut backslashes = 0;
    for letter in text.chars() {
        match letter {
            '\\' => backslashes += 1,
            '"' => {
                // Backslashes before a quote are halved by the parser.
                let _ = write!(line, "{}", "\\".repeat(2 * backslashes + 1));
                backslashes = 0;
            }
            _ => {
                let _ = write!(line, "{}", "\\".repeat(backslashes));
                backslashes = 0;
            }
        }
        if letter != '\\' {
            line.push(letter);
        }
    }
    let _ = write!(line, "{}\"", "\\".repeat(2 * backslashes));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of the usual parser, said once more and the other way round.
    fn parse(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
        let letters: Vec<char> = line.chars().collect();
        let mut at = 0;
        while at < letters.len() {
            let backslashes = letters[at..].iter().take_while(|letter| **letter == '\\').count();
            at += backslashes;
            match letters.get(at) {
                Some('"') => {
                    word.push_str(&"\\".repeat(backslashes / 2));
                    if backslashes % 2 == 1 {
                        word.push('"')
                    } else {
                        quoted = !quoted
                    }
                    any = true;
                    at += 1;
                }
                Some(' ' | '\t') if !quoted => {
                    word.push_str(&"\\".repeat(backslashes));
                    if any || !word.is_empty() {
                        words.push(std::mem::take(&mut word));
                    }
                    any = false;
                    at += 1;
                }
                other => {
                    word.push_str(&"\\".repeat(backslashes));
                    word.extend(other);
                    at += 1;
                }
            }
        }
        if any || !word.is_empty() {
            words.push(word);
        }
        words
    }

    proptest::proptest! {
        #[test]
        fn every_argument_comes_out_as_it_went_in(
            words in proptest::collection::vec("[ a\"\\\\%&|<>^\t/-]{0,12}", 0..6)
        ) {
            let arguments: Vec<OsString> = words.iter().map(Into::into).collect();
            let line = line(OsStr::new("C:\\a b\\t.exe"), &arguments).unwrap();
            let mut expected = vec!["C:\\a b\\t.exe".to_owned()];
            expected.extend(words);
            proptest::prop_assert_eq!(parse(&line), expected);
        }
    }

    #[test]
    fn a_null_character_is_refused() {
        assert!(line(OsStr::new("a"), &["b\0c".into()]).is_err());
    }
}
