//! The vault from outside: what stands on the disk, who may read it, and what opens it.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use clawproof_runtime::{
    requirement::{self, Requirement},
    vault::{ApiKey, MasterPassword, Vault},
};
use tempfile::TempDir;

const SECRET: &str = "sk-canary-51cc0f";

fn open(state: &Path) -> Vault {
    Vault::open(state, MasterPassword::new("correct horse".into())).unwrap()
}

fn put(vault: &Vault, name: &str) {
    vault.put(name, &ApiKey::new(format!("{SECRET}-{name}"))).unwrap();
}

fn file(state: &Path, name: &str) -> PathBuf {
    state.join("vault").join(hex::encode(name)).with_extension("cred")
}

fn refusal(vault: &Vault, name: &str) -> Option<(Requirement, &'static str)> {
    vault.get(name).err().map(|refusal| (refusal.requirement(), refusal.public()))
}

const UNOPENED: (Requirement, &str) =
    (requirement::VAULT_TAMPER, "the credential cannot be opened");

#[test]
fn records_outlive_the_process_and_need_its_password() {
    let state = TempDir::new().unwrap();
    let vault = open(state.path());
    for name in ["openai", "github.com/work", "ключ"] {
        put(&vault, name);
    }
    put(&vault, "openai");
    let again = open(state.path());
    assert_eq!(again.list().unwrap(), ["github.com/work", "openai", "ключ"]);
    assert_eq!(again.get("ключ").unwrap().unwrap().expose(), format!("{SECRET}-ключ"));
    assert!(again.get("missing").unwrap().is_none());
    assert!(again.remove("openai").unwrap() && !again.remove("openai").unwrap());
    let stranger = Vault::open(state.path(), MasterPassword::new("wrong horse".into())).unwrap();
    assert_eq!(refusal(&stranger, "github.com/work"), Some(UNOPENED));
}

#[test]
fn one_salt_and_a_fresh_nonce_for_each_save() {
    let state = TempDir::new().unwrap();
    put(&open(state.path()), "a");
    let first = fs::read(file(state.path(), "a")).unwrap();
    let again = open(state.path());
    put(&again, "a");
    put(&again, "b");
    let (second, other) =
        (fs::read(file(state.path(), "a")).unwrap(), fs::read(file(state.path(), "b")).unwrap());
    assert_eq!(first[22..38], second[22..38]);
    assert_eq!(first[22..38], other[22..38]);
    assert_ne!(first[38..50], second[38..50]);
    assert_ne!(second[38..50], other[38..50]);
}

#[test]
fn no_file_holds_the_secret() {
    let state = TempDir::new().unwrap();
    put(&open(state.path()), "a");
    for entry in fs::read_dir(state.path().join("vault")).unwrap() {
        let content = fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&content).into_owned();
        assert!(!text.contains("canary"));
    }
}

#[test]
fn damage_a_swap_and_a_wrong_password_are_refused_alike() {
    let state = TempDir::new().unwrap();
    let vault = open(state.path());
    put(&vault, "a");
    put(&vault, "b");
    let path = file(state.path(), "a");
    let good = fs::read(&path).unwrap();
    for at in [0, 8, 9, 12, 22, 40, 52, good.len() - 1] {
        let mut changed = good.clone();
        changed[at] ^= 0x40;
        fs::write(&path, changed).unwrap();
        assert_eq!(refusal(&vault, "a"), Some(UNOPENED), "byte {at}");
    }
    for cut in [0, 7, 49, 60, good.len() - 1] {
        fs::write(&path, &good[..cut]).unwrap();
        assert_eq!(refusal(&vault, "a"), Some(UNOPENED), "cut at {cut}");
    }
    fs::write(&path, fs::read(file(state.path(), "b")).unwrap()).unwrap();
    assert_eq!(refusal(&vault, "a"), Some(UNOPENED));
    fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    assert_eq!(refusal(&vault, "a"), Some(UNOPENED));
    fs::write(&path, &good).unwrap();
    assert_eq!(refusal(&vault, "a"), None);
}

#[test]
fn parameters_out_of_bounds_are_refused_before_they_cost_anything() {
    let state = TempDir::new().unwrap();
    let vault = open(state.path());
    put(&vault, "a");
    let path = file(state.path(), "a");
    let good = fs::read(&path).unwrap();
    let start = std::time::Instant::now();
    for (at, value) in [(10, 8192), (10, u32::MAX), (14, 1), (14, u32::MAX), (18, 1), (18, 1 << 24)]
    {
        let mut changed = good.clone();
        changed[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
        fs::write(&path, changed).unwrap();
        assert_eq!(refusal(&vault, "a"), Some(UNOPENED), "{value} at {at}");
    }
    assert!(start.elapsed().as_millis() < 500);
}

#[test]
fn hostile_names_are_refused_and_leave_no_file() {
    let state = TempDir::new().unwrap();
    let vault = open(state.path());
    let long = "n".repeat(101);
    for name in ["", "../x", "a/../b", "/etc/x", "a\0b", &long] {
        assert!(vault.put(name, &ApiKey::new("secret".into())).is_err(), "{name:?}");
        assert!(vault.get(name).is_err());
    }
    assert_eq!(vault.list().unwrap(), Vec::<String>::new());
}

#[test]
fn two_writers_lose_nothing() {
    let state = TempDir::new().unwrap();
    let (one, two) = (open(state.path()), open(state.path()));
    thread::scope(|scope| {
        for n in 0..4 {
            let vault = if n % 2 == 0 { &one } else { &two };
            scope.spawn(move || (0..10).for_each(|m| put(vault, &format!("{n}-{m}"))));
        }
    });
    let names = one.list().unwrap();
    assert_eq!(names.len(), 40);
    for name in names {
        assert_eq!(one.get(&name).unwrap().unwrap().expose(), format!("{SECRET}-{name}"));
    }
}

#[test]
fn what_a_killed_save_left_is_removed_at_the_next_open() {
    let state = TempDir::new().unwrap();
    put(&open(state.path()), "a");
    let stray = file(state.path(), "a").with_extension("00ff.tmp");
    fs::write(&stray, "half a record").unwrap();
    assert_eq!(open(state.path()).list().unwrap(), ["a"]);
    assert!(!stray.exists());
}

fn password(text: &str) -> MasterPassword {
    MasterPassword::new(text.into())
}

fn open_with(state: &Path, text: &str) -> Vault {
    Vault::open(state, password(text)).unwrap()
}

/// The records that open under a password, and those that do not.
fn opened(state: &Path, text: &str) -> (usize, usize) {
    let vault = open_with(state, text);
    let names = vault.list().unwrap();
    let good = names.iter().filter(|name| {
        let key = vault.get(name).ok().flatten();
        key.is_some_and(|key| key.expose() == format!("{SECRET}-{name}"))
    });
    let good = good.count();
    (good, names.len() - good)
}

#[test]
fn a_save_under_another_password_than_the_others_is_refused() {
    let state = TempDir::new().unwrap();
    put(&open(state.path()), "a");
    let stranger = open_with(state.path(), "wrong horse");
    let refused = stranger.put("b", &ApiKey::new("secret".into())).unwrap_err();
    assert_eq!(refused.requirement(), requirement::VAULT_TAMPER);
    assert_eq!(opened(state.path(), "correct horse"), (1, 0));
}

#[test]
fn a_rotation_moves_every_record_to_the_new_password_and_a_new_salt() {
    let state = TempDir::new().unwrap();
    let vault = open(state.path());
    ["a", "b/c", "ключ"].iter().for_each(|name| put(&vault, name));
    let salt = |name: &str| fs::read(file(state.path(), name)).unwrap()[22..38].to_vec();
    let before = salt("a");
    assert_eq!(vault.rotate(password("new horse")).unwrap(), 3);
    assert_eq!(opened(state.path(), "new horse"), (3, 0));
    assert_eq!(opened(state.path(), "correct horse"), (0, 3));
    assert_ne!(salt("a"), before);
    assert_eq!(salt("a"), salt("b/c"));
    let left = fs::read_dir(state.path().join("vault")).unwrap().count();
    assert_eq!(left, 4, "three records and the lock");
}

#[test]
fn a_rotation_that_meets_a_damaged_record_changes_nothing() {
    let state = TempDir::new().unwrap();
    let vault = open(state.path());
    ["a", "b"].iter().for_each(|name| put(&vault, name));
    let mut damaged = fs::read(file(state.path(), "b")).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(file(state.path(), "b"), damaged).unwrap();
    assert!(vault.rotate(password("new horse")).is_err());
    assert_eq!(opened(state.path(), "correct horse"), (1, 1));
    assert_eq!(fs::read_dir(state.path().join("vault")).unwrap().count(), 3);
}

#[test]
fn a_killed_rotation_goes_back_before_it_is_decided_and_on_after() {
    let (old, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for state in [&old, &new] {
        let vault = open(state.path());
        ["a", "b"].iter().for_each(|name| put(&vault, name));
    }
    open(new.path()).rotate(password("new horse")).unwrap();
    // What a kill leaves: one record in its place already, the other beside it.
    let next = |name: &str| file(old.path(), name).with_extension("0123.next");
    let sealed = |name: &str| fs::read(file(new.path(), name)).unwrap();
    let stage = |name: &str| {
        fs::write(next(name), sealed(name)).unwrap();
        #[cfg(unix)]
        fs::set_permissions(next(name), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
    };
    ["a", "b"].iter().for_each(|name| stage(name));
    assert_eq!(opened(old.path(), "correct horse"), (2, 0), "undecided: the old ones count");
    assert!(!next("a").exists());
    fs::write(file(old.path(), "a"), sealed("a")).unwrap();
    stage("b");
    fs::write(old.path().join("vault/rotation"), "x").unwrap();
    assert_eq!(opened(old.path(), "new horse"), (2, 0), "decided: the new ones count");
    assert!(!next("b").exists() && !old.path().join("vault/rotation").exists());
}

#[test]
fn an_export_opens_with_its_own_password_on_another_machine_and_holds_no_name() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let vault = open(here.path());
    let names = ["a", "b/c", "ключ"];
    names.iter().for_each(|name| put(&vault, name));
    let exported = vault.export(password("for the way")).unwrap();
    assert_eq!(&exported[..8], b"CLAWVXP1");
    assert!(!String::from_utf8_lossy(&exported).contains("b/c"));

    let other = open_with(there.path(), "another master");
    put(&other, "mine");
    let refused = |file: &[u8], text: &str| {
        let refusal = other.import(file, password(text)).unwrap_err();
        assert_eq!(refusal.requirement(), requirement::VAULT_TAMPER);
        assert_eq!(refusal.public(), "the exported credentials cannot be opened");
    };
    refused(&exported, "correct horse");
    for at in [0, 9, 12, 45, exported.len() - 1] {
        let mut changed = exported.clone();
        changed[at] ^= 0x20;
        refused(&changed, "for the way");
    }
    refused(&exported[..exported.len() - 1], "for the way");
    assert_eq!(other.list().unwrap(), ["mine"], "nothing was imported so far");
    assert_eq!(other.import(&exported, password("for the way")).unwrap().len(), 3);
    assert_eq!(opened(there.path(), "another master"), (4, 0));
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn every_file_is_private_even_without_a_umask() {
        let state = TempDir::new().unwrap();
        let before = rustix::process::umask(rustix::fs::Mode::empty());
        put(&open(state.path()), "a");
        rustix::process::umask(before);
        assert_eq!(mode(&state.path().join("vault")), 0o700);
        for entry in fs::read_dir(state.path().join("vault")).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600);
        }
    }

    #[test]
    fn a_looser_or_linked_record_is_refused() {
        let state = TempDir::new().unwrap();
        let vault = open(state.path());
        put(&vault, "a");
        let path = file(state.path(), "a");
        let refused = |vault: &Vault| refusal(vault, "a").map(|(requirement, _)| requirement);
        for loose in [0o604, 0o640, 0o644, 0o601] {
            chmod(&path, loose);
            assert_eq!(refused(&vault), Some(requirement::VAULT_PERMISSIONS), "{loose:o}");
        }
        chmod(&path, 0o600);
        assert_eq!(refused(&vault), None);
        let second = state.path().join("second");
        fs::hard_link(&path, &second).unwrap();
        assert_eq!(refused(&vault), Some(requirement::VAULT_PERMISSIONS));
        fs::remove_file(&path).unwrap();
        symlink(&second, &path).unwrap();
        assert_eq!(refused(&vault), Some(requirement::VAULT_PERMISSIONS));
    }

    #[test]
    fn a_looser_or_linked_folder_is_refused() {
        let open = |state: &Path| {
            Vault::open(state, MasterPassword::new("p".into())).err().map(|r| r.requirement())
        };
        let loose = TempDir::new().unwrap();
        fs::create_dir(loose.path().join("vault")).unwrap();
        chmod(&loose.path().join("vault"), 0o750);
        assert_eq!(open(loose.path()), Some(requirement::VAULT_PERMISSIONS));
        let linked = TempDir::new().unwrap();
        fs::create_dir(linked.path().join("elsewhere")).unwrap();
        chmod(&linked.path().join("elsewhere"), 0o700);
        symlink("elsewhere", linked.path().join("vault")).unwrap();
        assert_eq!(open(linked.path()), Some(requirement::VAULT_PERMISSIONS));
    }
}
