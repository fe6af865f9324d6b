//! The shipped corpus: it loads and every payload of it can be built.

use std::path::{Path, PathBuf};

use clawproof::corpus::{Corpus, Vars};

fn attacks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../attacks")
}

#[test]
fn the_shipped_corpus_loads_and_every_payload_is_built() {
    let corpus = Corpus::load(&attacks()).unwrap();
    let vars = Vars::sample();
    for (_, case) in corpus.cases() {
        let size = case.payload.size(&vars).unwrap_or_else(|error| panic!("{}: {error}", case.id));
        let bytes = case.payload.build(&vars).unwrap();
        assert!(bytes.len() as u64 <= size, "{}", case.id);
    }
}
