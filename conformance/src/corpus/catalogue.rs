//! What is generated from the corpus: schema, manifest, statistics. Must never judge a record.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::record::{Family, Kind, Os, Record, Status};
use super::{Corpus, CorpusError, Surface, VERSION, files};
use crate::spec::Spec;

/// The JSON Schema of a record, as `attacks/schema.json` holds it.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(Record);
    // A schema is a tree of strings, numbers and lists: writing it cannot fail.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

/// The manifest of a corpus, as `attacks/MANIFEST.json` holds it.
#[derive(Debug, Serialize)]
struct Manifest {
    version: &'static str,
    records: usize,
    attacks: usize,
    benign: usize,
    families: BTreeMap<Family, Count>,
    digest: String,
    files: Vec<Entry>,
}

#[derive(Debug, Default, Serialize)]
struct Count {
    records: usize,
    attacks: usize,
    benign: usize,
}

#[derive(Debug, Serialize)]
struct Entry {
    id: String,
    status: Status,
    attacks: usize,
    benign: usize,
    sha256: String,
}

/// The text of `MANIFEST.json` for a folder: ids, counts and SHA-256 of each record, and one digest
/// over all of them (the SHA-256 of the lines `<sha256>  <id>`, sorted by id).
///
/// # Errors
/// When the folder is no corpus.
pub fn manifest(dir: &Path) -> Result<String, CorpusError> {
    let corpus = Corpus::load(dir)?;
    let mut sums = BTreeMap::new();
    for path in files(dir)? {
        let bytes = std::fs::read(&path)
            .map_err(|source| CorpusError::Unreadable { path: path.clone(), source })?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        sums.insert(stem, hex::encode(Sha256::digest(&bytes)));
    }
    let mut families: BTreeMap<Family, Count> = BTreeMap::new();
    let mut entries = Vec::new();
    for record in &corpus.records {
        let (attacks, benign) = (of_kind(record, Kind::Attack), of_kind(record, Kind::Benign));
        let count = families.entry(record.family).or_default();
        count.records += 1;
        count.attacks += attacks;
        count.benign += benign;
        let sha256 = sums.get(&record.id).cloned().unwrap_or_default();
        entries.push(Entry {
            id: record.id.clone(),
            status: record.status,
            attacks,
            benign,
            sha256,
        });
    }
    let lines: String = entries.iter().map(|it| format!("{}  {}\n", it.sha256, it.id)).collect();
    let manifest = Manifest {
        version: VERSION,
        records: entries.len(),
        attacks: entries.iter().map(|entry| entry.attacks).sum(),
        benign: entries.iter().map(|entry| entry.benign).sum(),
        families,
        digest: hex::encode(Sha256::digest(lines.as_bytes())),
        files: entries,
    };
    // Strings and numbers only: writing it cannot fail.
    Ok(serde_json::to_string_pretty(&manifest).unwrap_or_default() + "\n")
}

fn of_kind(record: &Record, kind: Kind) -> usize {
    record.cases.iter().filter(|case| case.kind == kind).count()
}

/// Cases of a corpus, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Records, attacks and benign cases of each family.
    pub families: BTreeMap<Family, (usize, usize, usize)>,
    /// Cases of each surface, those that are played there besides their own surface, and why none
    /// of them is played yet.
    pub surfaces: BTreeMap<Surface, (usize, usize)>,
    /// Records that no subject can be seen to fall to: they are played and never count.
    pub unproven: Vec<String>,
    /// Cases that have a meaning on each system, as far as the records say.
    pub systems: BTreeMap<Os, usize>,
    /// Attacks and benign cases of each requirement that has any.
    pub requirements: BTreeMap<String, (usize, usize)>,
    /// Requirements that no case of the corpus witnesses; scenarios and probes may.
    pub without: Vec<String>,
}

/// Counts the cases of a corpus; withdrawn records do not count.
#[must_use]
pub fn stats(corpus: &Corpus, spec: &Spec) -> Stats {
    let mut stats = Stats {
        families: BTreeMap::new(),
        surfaces: BTreeMap::new(),
        unproven: Vec::new(),
        systems: BTreeMap::new(),
        requirements: BTreeMap::new(),
        without: Vec::new(),
    };
    for record in corpus.records.iter().filter(|record| record.status != Status::Withdrawn) {
        let family = stats.families.entry(record.family).or_default();
        family.0 += 1;
        family.1 += of_kind(record, Kind::Attack);
        family.2 += of_kind(record, Kind::Benign);
        if record.unproven.is_some() {
            stats.unproven.push(record.id.clone());
        }
    }
    for (record, case) in corpus.cases() {
        stats.surfaces.entry(case.surface).or_default().0 += 1;
        for surface in record.also.iter().filter(|surface| case.on(**surface).is_some()) {
            stats.surfaces.entry(*surface).or_default().1 += 1;
        }
        for os in [Os::Linux, Os::Macos, Os::Windows] {
            let elsewhere =
                case.requires.iter().any(|need| need.system().is_some_and(|it| it != os));
            *stats.systems.entry(os).or_default() += usize::from(!elsewhere);
        }
        for id in case.requirements(record) {
            let counts = stats.requirements.entry(id.clone()).or_default();
            match case.kind {
                Kind::Attack => counts.0 += 1,
                Kind::Benign => counts.1 += 1,
            }
        }
    }
    let rows = spec.requirements.iter().filter(|row| row.boundary.is_none());
    let missing = rows.filter(|row| !stats.requirements.contains_key(&row.id));
    stats.without = missing.map(|row| row.id.clone()).collect();
    stats
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "family        records  attacks  benign")?;
        for (family, (records, attacks, benign)) in &self.families {
            writeln!(f, "{:<13} {records:>7} {attacks:>8} {benign:>7}", format!("{family:?}"))?;
        }
        writeln!(f, "\nsurface               cases  as well")?;
        for (surface, (cases, also)) in &self.surfaces {
            let not = surface.not_played().map(|why| format!("  NOT PLAYED: {why}"));
            writeln!(f, "{:<21} {cases:>5} {also:>8}{}", surface.id(), not.unwrap_or_default())?;
        }
        writeln!(f, "\nsystem                cases")?;
        for (os, cases) in &self.systems {
            writeln!(f, "{:<21} {cases:>5}", format!("{os:?}").to_lowercase())?;
        }
        writeln!(f, "\nrequirement                   attacks  benign")?;
        for (id, (attacks, benign)) in &self.requirements {
            writeln!(f, "{id:<29} {attacks:>7} {benign:>7}")?;
        }
        let unplayed = |it: &(&Surface, &(usize, usize))| it.0.not_played().is_some();
        let cases: usize = self.surfaces.iter().filter(unplayed).map(|it| it.1.0 + it.1.1).sum();
        writeln!(f, "\nnot played, and counted for nothing: {cases} cases")?;
        let unproven = self.unproven.join(", ");
        writeln!(f, "seen to succeed on no subject, and counted for nothing: {unproven}")?;
        writeln!(f, "\nrequirements without a case here (probes apart):")?;
        self.without.iter().try_for_each(|id| writeln!(f, "  {id}"))
    }
}
