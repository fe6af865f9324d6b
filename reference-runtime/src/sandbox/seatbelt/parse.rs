//! Reads the profile language: lists, symbols, strings and patterns. Used by tests alone; it must
//! refuse what it does not know, so that the evaluator never judges what it did not understand.

/// One expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// `( ... )`
    List(Vec<Term>),
    /// A bare word.
    Word(String),
    /// `"..."`
    Text(String),
    /// `#"..."`
    Pattern(String),
}

/// Reads a whole profile.
///
/// # Errors
/// A sentence: what is not understood.
pub(super) fn parse(text: &str) -> Result<Vec<Term>, String> {
    let mut letters = text.chars().peekable();
    let mut open: Vec<Vec<Term>> = vec![Vec::new()];
    while let Some(letter) = letters.next() {
        let term = match letter {
            letter if letter.is_whitespace() => continue,
            ';' => {
                while letters.next_if(|letter| *letter != '\n').is_some() {}
                continue;
            }
            '(' => {
                open.push(Vec::new());
                continue;
            }
            ')' => {
                let list = open.pop().unwrap_or_default();
                if open.is_empty() {
                    return Err("a list ends that did not begin".to_owned());
                }
                Term::List(list)
            }
            '"' => Term::Text(quoted(&mut letters)?),
            '#' if letters.next_if_eq(&'"').is_some() => Term::Pattern(raw(&mut letters)?),
            letter if word(letter) => {
                let mut text = String::from(letter);
                while let Some(next) = letters.next_if(|letter| word(*letter)) {
                    text.push(next);
                }
                Term::Word(text)
            }
            other => return Err(format!("`{other}` is not understood")),
        };
        open.last_mut().ok_or("no list is open")?.push(term);
    }
    match (open.pop(), open.is_empty()) {
        (Some(terms), true) => Ok(terms),
        _ => Err("a list does not end".to_owned()),
    }
}

fn word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-*_.:".contains(letter)
}

fn quoted(letters: &mut impl Iterator<Item = char>) -> Result<String, String> {
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Ok(text),
            '\\' => text.push(letters.next().ok_or("a string does not end")?),
            other => text.push(other),
        }
    }
    Err("a string does not end".to_owned())
}

/// A pattern's backslashes are its own.
fn raw(letters: &mut impl Iterator<Item = char>) -> Result<String, String> {
    let mut text = String::new();
    for letter in letters {
        if letter == '"' {
            return Ok(text);
        }
        text.push(letter);
    }
    Err("a pattern does not end".to_owned())
}

#[test]
fn lists_words_strings_and_patterns_are_told_apart() {
    let found = parse("; a comment\n(allow file* (literal \"/a \\\" (b)\") (regex #\"^/x[.]\"))");
    let list = |terms: &[Term]| Term::List(terms.to_vec());
    let word = |text: &str| Term::Word(text.into());
    let expected = list(&[
        word("allow"),
        word("file*"),
        list(&[word("literal"), Term::Text("/a \" (b)".into())]),
        list(&[word("regex"), Term::Pattern("^/x[.]".into())]),
    ]);
    assert_eq!(found, Ok(vec![expected]));
}

#[test]
fn what_does_not_end_or_is_not_known_is_refused() {
    for text in ["(allow", ")", "(a \"b)", "(a #\"b)", "(a 'b)", "{}"] {
        assert!(parse(text).is_err(), "{text}");
    }
}
