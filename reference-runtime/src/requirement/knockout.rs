//! What the suite's self-test switches off, by its words. It exists in `knockout` builds only. It must
//! never know what asks whether something is missing.

use super::switch::{self, Told};
use super::{ALL, Requirement, variant};

/// The layers by the names of the catalogue, and how the ids of each begin.
pub const LAYERS: &[(&str, &[&str])] = &[
    ("input", &["input.", "path."]),
    ("registry", &["registry."]),
    ("sandbox", &["sandbox."]),
    ("credentials", &["vault.", "secret."]),
    ("plugins", &["plugin."]),
    ("errors", &["error.", "audit."]),
    ("gateway", &["auth.", "rate."]),
];

/// Switches one requirement off for the life of this process; the first call wins.
pub fn set(requirement: Requirement) {
    let told =
        Told { missing: vec![requirement], words: requirement.0.to_owned(), ..Told::default() };
    switch::set(told);
}

/// Switches off what the words name, for the life of this process; the first call wins. They are
/// ids of requirements or variants, or layers as `layer:input`, with commas between them.
///
/// # Errors
/// The word that names nothing.
pub fn tell(words: &str) -> Result<(), String> {
    let told = read(words)?;
    switch::set(told);
    Ok(())
}

/// The words that say what is switched off, to be handed on to the sandbox shim.
#[must_use]
pub fn told() -> Option<String> {
    switch::words()
}

fn read(words: &str) -> Result<Told, String> {
    let mut told = Told { words: words.to_owned(), ..Told::default() };
    for word in words.split(',') {
        let layer = word.strip_prefix("layer:");
        let heads = layer.and_then(|name| LAYERS.iter().find(|(layer, _)| *layer == name));
        if let Some((_, heads)) = heads {
            let within = |it: &&Requirement| heads.iter().any(|head| it.0.starts_with(head));
            told.missing.extend(ALL.iter().filter(within));
        } else if let Some(requirement) = Requirement::named(word) {
            told.missing.push(requirement);
        } else if let Some(variant) = variant::ALL.iter().find(|it| it.id() == word) {
            told.varied.push(variant.id());
        } else {
            return Err(word.to_owned());
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_requirements_layers_and_variants_and_nothing_else() {
        let told = read("path.link,layer:registry,variant.words").unwrap();
        assert_eq!(told.varied, [variant::WORDS.id()]);
        assert!(told.missing.contains(&super::super::PATH_LINK));
        assert!(told.missing.iter().skip(1).all(|it| it.id().starts_with("registry.")));
        assert!(told.missing.len() > 3);
        assert_eq!(read("path.link,layer:none").unwrap_err(), "layer:none");
        assert_eq!(read("").unwrap_err(), "");
    }

    #[test]
    fn every_requirement_is_in_exactly_one_layer() {
        for requirement in ALL {
            let of = |(_, heads): &&(&str, &[&str])| {
                heads.iter().any(|head| requirement.id().starts_with(head))
            };
            assert_eq!(LAYERS.iter().filter(of).count(), 1, "{requirement}");
        }
    }
}
