//! The requirements of the revision: they load, agree with one another, and bad rows are refused.

use clawproof::spec::{Expectation, Layer, Level, Spec, SpecError};

fn spec() -> Spec {
    Spec::load().unwrap()
}

/// A catalogue of these rows with one profile and one surface.
fn with(rows: &str) -> Result<Spec, SpecError> {
    Spec::parse(&format!(
        "revision = 'x'\nexclusion = []\n[[profile]]\nid = 'p'\nclaim = 'c'\n[[surface]]\nid = 's'\nwhat = 'w'\n{rows}"
    ))
}

fn row(id: &str, layer: &str, extra: &str) -> String {
    format!(
        "[[requirement]]\nid = '{id}'\nlayer = '{layer}'\nlevel = 'must'\nsentence = 'x'\npromise = 'y'\n{extra}\n"
    )
}

const PLACES: &str = "surfaces = ['s']\nprofiles = ['p']";

#[test]
fn the_shipped_catalogue_loads_and_names_its_revision() {
    let spec = spec();
    assert_eq!(spec.revision, "2026-11");
    assert_eq!(spec.get("input.json-depth").unwrap().layer, Layer::Input);
    assert_eq!(spec.get("secret.zeroed").unwrap().level, Level::Should);
    assert!(spec.get("input.nothing").is_none());
}

#[test]
fn ids_are_slugs_under_the_head_of_their_layer() {
    for row in spec().requirements {
        let parts: Vec<_> = row.id.split('.').collect();
        assert!(parts.len() == if row.boundary.is_some() { 3 } else { 2 }, "{}", row.id);
        let slug = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        assert!(parts.iter().all(slug), "{}", row.id);
        let heads: &[&str] = match row.layer {
            Layer::Input => &["input", "path"],
            Layer::Registry => &["registry"],
            Layer::Sandbox => &["sandbox"],
            Layer::Credentials => &["vault", "secret"],
            Layer::Errors => &["error", "audit"],
            Layer::Gateway => &["auth", "rate"],
            Layer::Plugins => &["plugin"],
            Layer::Hygiene => &["hygiene"],
            Layer::Independence => &["layers"],
        };
        assert!(heads.contains(&parts[0]), "{}", row.id);
    }
}

#[test]
fn every_probe_says_what_to_see_at_both_levels() {
    let spec = spec();
    let probe = |id: &str| spec.get(id).unwrap().boundary.unwrap();
    let written = probe("sandbox.fs.write-outside-workspace");
    assert_eq!((written.relaxed, written.strict), (Expectation::Hold, Expectation::Hold));
    let dialled = probe("sandbox.net.tcp4");
    assert_eq!((dialled.relaxed, dialled.strict), (Expectation::Allowed, Expectation::Hold));
    assert!(spec.requirements.iter().filter(|row| row.boundary.is_some()).count() >= 100);
}

#[test]
fn the_full_profile_requires_everything_and_the_others_what_names_them() {
    let spec = spec();
    assert_eq!(spec.required_by("full").count(), spec.requirements.len());
    assert_eq!(spec.required_by("nothing").count(), 0);
    for profile in &spec.profiles {
        assert!(spec.required_by(&profile.id).count() > 0, "{}", profile.id);
    }
    assert!(spec.required_by("vault").all(|row| row.layer == Layer::Credentials));
}

#[test]
fn every_surface_witnesses_a_requirement_and_every_exclusion_has_a_reason() {
    let spec = spec();
    for surface in &spec.surfaces {
        let used = spec.requirements.iter().any(|row| row.surfaces.contains(&surface.id));
        assert!(used, "{}", surface.id);
    }
    assert!(spec.exclusions.iter().all(|row| !row.reason.is_empty()));
}

#[test]
fn the_nearest_id_is_found_for_a_misspelt_one() {
    assert_eq!(spec().nearest("input.json-dept"), Some("input.json-depth"));
    assert_eq!(spec().nearest("something else altogether"), None);
}

#[test]
fn rows_that_contradict_one_another_are_refused() {
    assert!(with(&row("a.b", "input", PLACES)).is_ok());
    for (rows, word) in [
        (row("a.b", "input", PLACES).repeat(2), "stands twice"),
        (row("a.b", "sandbox", PLACES) + &row("a.c", "input", PLACES), "comes after"),
        (row("a.b", "input", "surfaces = ['s']\nprofiles = ['q']"), "unknown profile `q`"),
        (row("a.b", "input", "surfaces = ['t']\nprofiles = ['p']"), "unknown surface `t`"),
        (row("a.b", "input", "surfaces = []\nprofiles = ['p']"), "at least one surface"),
        (row("a.b", "input", &format!("{PLACES}\nnote = 'n'")), "unknown field `note`"),
        (row("a.b", "inputs", PLACES), "unknown variant `inputs`"),
    ] {
        let error = with(&rows).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
