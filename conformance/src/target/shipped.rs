//! The manifests that the suite ships, so that `--target reference` needs no file.
//! A test keeps the list equal to the folder.

/// Name and text of each.
pub const MANIFESTS: &[(&str, &str)] = &[
    ("reference", include_str!("../../targets/reference.toml")),
    ("bwrap-naive", include_str!("../../targets/bwrap-naive.toml")),
    ("bwrap-tight", include_str!("../../targets/bwrap-tight.toml")),
    ("firejail", include_str!("../../targets/firejail.toml")),
    ("reference-launcher", include_str!("../../targets/reference-launcher.toml")),
    ("naive", include_str!("../../targets/naive.toml")),
    ("codex", include_str!("../../targets/codex.toml")),
    ("codex-sandbox", include_str!("../../targets/codex-sandbox.toml")),
    ("nanobot", include_str!("../../targets/nanobot.toml")),
    ("nanobot-bwrap", include_str!("../../targets/nanobot-bwrap.toml")),
    ("opencode", include_str!("../../targets/opencode.toml")),
    ("sandlock", include_str!("../../targets/sandlock.toml")),
    ("openclaw", include_str!("../../targets/openclaw.toml")),
    ("openclaw-rs", include_str!("../../targets/openclaw-rs.toml")),
    ("openclaw-rs-sandbox", include_str!("../../targets/openclaw-rs-sandbox.toml")),
    ("ironclaw", include_str!("../../targets/ironclaw.toml")),
    ("zeroclaw", include_str!("../../targets/zeroclaw.toml")),
    ("pi", include_str!("../../targets/pi.toml")),
    ("proot", include_str!("../../targets/proot.toml")),
    ("srt", include_str!("../../targets/srt.toml")),
    ("unshare", include_str!("../../targets/unshare.toml")),
    ("sh", include_str!("../../targets/sh.toml")),
];

/// The text of a shipped manifest.
#[must_use]
pub fn find(name: &str) -> Option<&'static str> {
    MANIFESTS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::super::manifest::Manifest;
    use super::*;

    #[test]
    fn every_manifest_of_the_folder_is_shipped_and_reads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.strip_suffix(".toml").map(str::to_owned)
            })
            .collect();
        let shipped: BTreeSet<String> =
            MANIFESTS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(files, shipped);
        for (name, text) in MANIFESTS {
            let manifest = Manifest::parse(text, Path::new(name)).unwrap();
            assert_eq!(manifest.name, *name);
        }
    }
}
