//! What a profile allows: a second path to the same answer, in tests on any system. It follows the
//! documented meaning of the language (the last rule that matches decides) and must never be the
//! thing that enforces. What it does not know it refuses to judge.

use std::collections::BTreeMap;

use regex::Regex;

use super::parse::{Term, parse};
use super::profile::Profile;

/// What an operation is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// A path as the kernel sees it: absolute, links resolved, no `.` or `..`.
    Path(String),
    /// The device that stands at this path.
    Device(String),
    /// A name: of a service, a system value, a shared memory.
    Name(String),
    /// A process: whether it runs under the same sandbox.
    Process { same_sandbox: bool },
    /// An address of the internet.
    Internet,
    /// Nothing that filters could look at.
    Nothing,
}

/// A compiled profile.
#[derive(Debug)]
pub(super) struct Evaluator {
    default: bool,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    allow: bool,
    operations: Vec<String>,
    /// Any of these; none: everything.
    filters: Vec<Filter>,
}

#[derive(Debug)]
enum Filter {
    Literal(String),
    Subpath(String),
    Pattern(Regex),
    Device,
    Name(String),
    NamePrefix(String),
    SameSandbox,
    Internet,
    All(Vec<Filter>),
    Not(Box<Filter>),
}

impl Evaluator {
    /// Compiles a profile with its parameters.
    ///
    /// # Errors
    /// A sentence: a parameter is missing, or something is not understood.
    pub(super) fn new(profile: &Profile) -> Result<Self, String> {
        let parameters = profile
            .parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_string_lossy().into_owned()))
            .collect();
        Self::compile(&profile.text, &parameters)
    }

    /// As [`Evaluator::new`], from text.
    pub(super) fn compile(text: &str, parameters: &BTreeMap<&str, String>) -> Result<Self, String> {
        let mut terms = parse(text)?.into_iter();
        if terms.next() != Some(Term::List(vec![word("version"), word("1")])) {
            return Err("the first line is not (version 1)".to_owned());
        }
        let mut default = None;
        let mut rules = Vec::new();
        for term in terms {
            let Term::List(list) = &term else { return Err(format!("{term:?} is no rule")) };
            let [Term::Word(verb), rest @ ..] = list.as_slice() else {
                return Err(format!("{term:?} is no rule"));
            };
            let allow = match verb.as_str() {
                "allow" => true,
                "deny" => false,
                other => return Err(format!("`{other}` is not known")),
            };
            if rest == [word("default")] {
                default = Some(allow);
                continue;
            }
            let mut rule = Rule { allow, operations: Vec::new(), filters: Vec::new() };
            for term in rest {
                match term {
                    Term::Word(operation) => rule.operations.push(operation.clone()),
                    Term::List(list) => rule.filters.push(filter(list, parameters)?),
                    other => return Err(format!("{other:?} is no part of a rule")),
                }
            }
            if rule.operations.is_empty() {
                return Err(format!("{term:?} names no operation"));
            }
            rules.push(rule);
        }
        let default = default.ok_or("there is no default")?;
        Ok(Self { default, rules })
    }

    /// Whether an operation on an object is allowed.
    pub(super) fn allows(&self, operation: &str, object: &Object) -> bool {
        let last = self.rules.iter().rev().find(|rule| rule.matches(operation, object));
        last.map_or(self.default, |rule| rule.allow)
    }

    /// As [`Evaluator::allows`], on a path as a program writes it: the links of the root folder and
    /// the firm links of the data volume are followed first, as the kernel does.
    pub(super) fn allows_path(&self, operation: &str, path: &str) -> bool {
        self.allows(operation, &Object::Path(seen(path)))
    }
}

/// The path that the kernel asks about.
pub(super) fn seen(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    if let ["System", "Volumes", "Data", rest @ ..] = parts.as_slice()
        && !rest.is_empty()
    {
        parts = rest.to_vec();
    }
    if matches!(parts.first(), Some(&("tmp" | "var" | "etc"))) {
        parts.insert(0, "private");
    }
    format!("/{}", parts.join("/"))
}

fn word(text: &str) -> Term {
    Term::Word(text.to_owned())
}

fn filter(list: &[Term], parameters: &BTreeMap<&str, String>) -> Result<Filter, String> {
    let [Term::Word(kind), rest @ ..] = list else {
        return Err(format!("{list:?} is no filter"));
    };
    let lists = || {
        rest.iter()
            .map(|term| match term {
                Term::List(list) => filter(list, parameters),
                other => Err(format!("{other:?} is no filter")),
            })
            .collect::<Result<Vec<_>, _>>()
    };
    match (kind.as_str(), rest) {
        ("literal", [path]) => Ok(Filter::Literal(value(path, parameters)?)),
        ("subpath", [path]) => Ok(Filter::Subpath(value(path, parameters)?)),
        ("regex", [Term::Pattern(pattern)]) => {
            Regex::new(pattern).map(Filter::Pattern).map_err(|error| error.to_string())
        }
        ("vnode-type", [Term::Word(kind)]) if kind == "CHARACTER-DEVICE" => Ok(Filter::Device),
        ("global-name" | "sysctl-name" | "ipc-posix-name", [name]) => {
            Ok(Filter::Name(value(name, parameters)?))
        }
        ("sysctl-name-prefix", [name]) => Ok(Filter::NamePrefix(value(name, parameters)?)),
        ("target", [Term::Word(target)]) if target == "same-sandbox" => Ok(Filter::SameSandbox),
        ("remote" | "local", [Term::Word(kind), Term::Text(any)])
            if kind == "ip" && any == "*:*" =>
        {
            Ok(Filter::Internet)
        }
        ("require-all", [_, ..]) => Ok(Filter::All(lists()?)),
        ("require-not", [_]) => {
            let inner = lists()?.pop().ok_or("require-not of nothing")?;
            Ok(Filter::Not(Box::new(inner)))
        }
        _ => Err(format!("the filter {list:?} is not known")),
    }
}

/// A string, or the parameter that stands for it; one that is not given is an error, as it is for
/// the real thing.
fn value(term: &Term, parameters: &BTreeMap<&str, String>) -> Result<String, String> {
    match term {
        Term::Text(text) => Ok(text.clone()),
        Term::List(list) => match list.as_slice() {
            [Term::Word(kind), Term::Text(name)] if kind == "param" => parameters
                .get(name.as_str())
                .cloned()
                .ok_or_else(|| format!("the parameter {name} is missing")),
            _ => Err(format!("{list:?} is no value")),
        },
        other => Err(format!("{other:?} is no value")),
    }
}

impl Rule {
    fn matches(&self, operation: &str, object: &Object) -> bool {
        let named = self.operations.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(head) => operation.starts_with(head),
            None => operation == pattern,
        });
        let any = || self.filters.iter().any(|filter| filter.matches(object));
        named && (self.filters.is_empty() || any())
    }
}

impl Filter {
    fn matches(&self, object: &Object) -> bool {
        match (self, object) {
            (Self::Literal(path), Object::Path(found) | Object::Device(found)) => path == found,
            (Self::Subpath(path), Object::Path(found) | Object::Device(found)) => {
                let rest = found.strip_prefix(path.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            (Self::Pattern(pattern), Object::Path(found) | Object::Device(found)) => {
                pattern.is_match(found)
            }
            (Self::Device, Object::Device(_)) => true,
            (Self::Name(name), Object::Name(found)) => name == found,
            (Self::NamePrefix(name), Object::Name(found)) => found.starts_with(name),
            (Self::SameSandbox, Object::Process { same_sandbox }) => *same_sandbox,
            (Self::Internet, Object::Internet) => true,
            (Self::All(filters), object) => filters.iter().all(|filter| filter.matches(object)),
            (Self::Not(filter), object) => !filter.matches(object),
            _ => false,
        }
    }
}
