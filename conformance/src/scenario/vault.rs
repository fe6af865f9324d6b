//! Layer 4 from outside: what stands on disk, and which key reaches the model after the disk was
//! changed. The model endpoint is the sensor: a key that it was shown is a key that was opened.
//! It must never ask the target whether a record is good.

mod bulk;
mod kill;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sensor::vault::{self, Head};
use crate::sensor::{files, leak};
use crate::target::world::random_hex;

use super::{Finding, Lab, Options, Scenario, Target, Trouble};

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "vault.kdf-parameters",
        requirements: &["vault.kdf"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(kdf_parameters(lab)),
    },
    Scenario {
        id: "vault.cipher-nonces",
        requirements: &["vault.cipher"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(bulk::nonces(lab)),
    },
    Scenario {
        id: "vault.tamper-bytes",
        requirements: &["vault.tamper"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(tamper_bytes(lab)),
    },
    Scenario {
        id: "vault.swap-records",
        requirements: &["vault.swap"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(swap_records(lab)),
    },
    Scenario {
        id: "vault.downgrade-weak",
        requirements: &["vault.downgrade"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(downgrade_weak(lab)),
    },
    Scenario {
        id: "vault.downgrade-absurd",
        requirements: &["vault.downgrade"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(downgrade_absurd(lab)),
    },
    Scenario {
        id: "vault.permissions-modes",
        requirements: &["vault.permissions"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(permissions_modes(lab)),
    },
    Scenario {
        id: "vault.permissions-looser-refused",
        requirements: &["vault.permissions"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(permissions_looser_refused(lab)),
    },
    Scenario {
        id: "vault.no-plaintext-scan",
        requirements: &["vault.no-plaintext"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(no_plaintext_scan(lab)),
    },
    Scenario {
        id: "vault.crash-safe-kill",
        requirements: &["vault.crash-safe"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(kill::saves(lab)),
    },
    Scenario {
        id: "vault.crash-safe-writers",
        requirements: &["vault.crash-safe"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(kill::writers(lab)),
    },
    Scenario {
        id: "vault.crash-safe-import",
        requirements: &["vault.crash-safe"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(kill::imports(lab)),
    },
    Scenario {
        id: "vault.crash-safe-rotation",
        requirements: &["vault.crash-safe"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(kill::rotations(lab)),
    },
    Scenario {
        id: "vault.no-plaintext-export",
        requirements: &["vault.no-plaintext"],
        surface: "vault.file",
        alone: false,
        run: |lab| Box::pin(bulk::export(lab)),
    },
];

/// The record that the manifest's config names as the model's key.
const MODEL: &str = "model";

async fn kdf_parameters(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default().prepared_anew()).await?;
    let (_, record) = model_record(&target)?;
    let head = read_head(&record)?;
    let mut finding = Finding::new();
    finding.reached(true, "a record stands in the vault's folder");
    let (secret, master) = (target.var("SECRET"), target.var("MASTER"));
    let opened = blocking(move || vault::open(&record, MODEL, master.as_bytes())).await?;
    finding.twin(
        opened.is_ok_and(|plain| plain == secret.as_bytes()),
        "another implementation opens it with Argon2id and AES-256-GCM from password and file",
    );
    let strong = head.memory_kib >= 65_536 && head.iterations >= 3 && head.lanes >= 4;
    finding.no_effect(
        strong,
        format!(
            "the file asks for {} KiB, {} iterations, {} lanes; the floor is 65536, 3, 4",
            head.memory_kib, head.iterations, head.lanes
        ),
    );
    Ok(finding)
}

async fn tamper_bytes(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default()).await?;
    let secret = target.var("SECRET");
    let (path, record) = model_record(&target)?;
    let mut finding = Finding::new();
    let shown = shown_key(&target).await;
    finding.twin(shown.as_deref() == Some(secret.as_str()), "the untouched record opens");
    let length = record.len();
    // One place of each field: cipher, salt, nonce, first and last byte of the text, the tag.
    let places = [9, 22, 38, 50, length.saturating_sub(17), length.saturating_sub(1)];
    let mut changes: Vec<(String, Vec<u8>)> = places
        .iter()
        .map(|&at| {
            let mut changed = record.clone();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 1;
            }
            (format!("bit 0 of byte {at} flipped"), changed)
        })
        .collect();
    let cut = record.get(..length.saturating_sub(1)).unwrap_or_default();
    changes.push(("the last byte removed".to_owned(), cut.to_vec()));
    changes.push(("one byte added".to_owned(), [record.as_slice(), b"\0"].concat()));
    for (what, changed) in changes {
        let shown = shown_after(&target, &path, &changed).await?;
        finding.no_effect(shown.is_none(), format!("{what}: the model was shown {}", key(&shown)));
    }
    let shown = shown_after(&target, &path, &record).await?;
    finding.reached(
        shown.as_deref() == Some(secret.as_str()),
        "the same file restored opens again, so it is this file that is read",
    );
    Ok(finding)
}

async fn swap_records(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default()).await?;
    let secret = target.var("SECRET");
    let (path, record) = model_record(&target)?;
    let before = records(&target)?;
    let other = format!("sk-other-{}", random_hex(12));
    target.call("credentials-put", &[("NAME", "other"), ("VALUE", &other)]).await?;
    let moved = std::fs::read(added_record(&target, &before)?)?;
    let mut finding = Finding::new();
    let shown = shown_after(&target, &path, &moved).await?;
    finding.no_effect(
        shown.is_none(),
        format!("another record in the model's place: the model was shown {}", key(&shown)),
    );
    let shown = shown_after(&target, &path, &record).await?;
    let stood = shown.as_deref() == Some(secret.as_str());
    finding.reached(stood, "the place is the one that the model's key is read from");
    finding.twin(stood, "the record in its own place opens");
    Ok(finding)
}

async fn downgrade_weak(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default()).await?;
    let (path, record) = model_record(&target)?;
    let head = read_head(&record)?;
    let master = target.var("MASTER");
    let planted = format!("sk-planted-{}", random_hex(12));
    let mut finding = Finding::new();
    let weaker = [
        ("memory of 8 MiB", Head { memory_kib: 8_192, ..head.clone() }),
        ("one iteration", Head { iterations: 1, ..head.clone() }),
        ("one lane", Head { lanes: 1, ..head.clone() }),
    ];
    for (what, weak) in weaker {
        let forged = vault::forge(&weak, MODEL, master.as_bytes(), planted.as_bytes())
            .map_err(|error| Trouble::Harness(error.to_string()))?;
        let shown = shown_after(&target, &path, &forged).await?;
        finding.no_effect(
            shown.is_none(),
            format!("a record with {what}: the model was shown {}", key(&shown)),
        );
    }
    let forged = vault::forge(&head, MODEL, master.as_bytes(), planted.as_bytes())
        .map_err(|error| Trouble::Harness(error.to_string()))?;
    let shown = shown_after(&target, &path, &forged).await?;
    let stood = shown.as_deref() == Some(planted.as_str());
    finding.reached(stood, "a record of ours with the right parameters is read");
    finding.twin(stood, "and opens");
    Ok(finding)
}

async fn downgrade_absurd(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default()).await?;
    let secret = target.var("SECRET");
    let (path, record) = model_record(&target)?;
    let mut finding = Finding::new();
    for (field, at) in [("memory", 10), ("iterations", 14), ("lanes", 18)] {
        let mut absurd = record.clone();
        if let Some(bytes) = absurd.get_mut(at..at + 4) {
            bytes.copy_from_slice(&(u32::MAX - 3).to_le_bytes());
        }
        let begun = Instant::now();
        let shown =
            tokio::time::timeout(Duration::from_secs(15), shown_after(&target, &path, &absurd))
                .await;
        let (held, what) = match shown {
            Ok(shown) => {
                let shown = shown?;
                (shown.is_none(), format!("the model was shown {}", key(&shown)))
            }
            Err(_elapsed) => (false, "no answer in 15 s".to_owned()),
        };
        let seconds = begun.elapsed().as_secs_f32();
        finding.no_effect(held, format!("{field} of 2^32 - 4: {what} after {seconds:.1} s"));
    }
    let shown = shown_after(&target, &path, &record).await?;
    let stood = shown.as_deref() == Some(secret.as_str());
    finding.reached(stood, "the place is the one that the model's key is read from");
    finding.twin(stood, "the untouched record opens");
    Ok(finding)
}

async fn permissions_modes(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default().prepared_anew()).await?;
    let folder = target.file("vault")?;
    let before = records(&target)?;
    let watch = Watch::start(folder.clone());
    let secret = random_hex(16);
    let ended = target
        .command("vault-put-umask-000", &[("NAME", "watched")], Some(secret.as_bytes()))
        .await?;
    let seen = watch.stop().await?;
    let added = added_record(&target, &before)?;
    let mut finding = Finding::new();
    finding.reached(ended.code == Some(0), "a save under umask 000 ended well");
    let record = std::fs::read(&added)?;
    let master = target.var("MASTER");
    let opened = blocking(move || vault::open(&record, "watched", master.as_bytes())).await?;
    finding.twin(opened.is_ok(), "the record opens");
    for (path, mode) in seen.iter().filter(|(_, mode)| mode & 0o077 != 0) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        finding.no_effect(false, format!("{name} had mode {mode:04o} while it was saved"));
    }
    for (path, limit) in [(&added, 0o600), (&folder, 0o700)] {
        let mode = mode_of(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        finding.no_effect(mode & !limit == 0, format!("{name} has mode {mode:04o}"));
    }
    Ok(finding)
}

async fn permissions_looser_refused(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default()).await?;
    let secret = target.var("SECRET");
    let (path, record) = model_record(&target)?;
    let mut finding = Finding::new();
    target.world().write(&path, &record, 0o644)?;
    let shown = shown_after_restart(&target).await;
    finding.no_effect(
        shown.is_none(),
        format!("the record at mode 0644: the model was shown {}", key(&shown)),
    );
    let aside = target.world().state().join("aside.cred");
    target.world().write(&aside, &record, 0o600)?;
    std::fs::remove_file(&path)?;
    #[cfg(unix)]
    std::os::unix::fs::symlink(&aside, &path)?;
    target.world().give(&path)?;
    let shown = shown_after_restart(&target).await;
    finding.no_effect(
        shown.is_none(),
        format!("the record as a link: the model was shown {}", key(&shown)),
    );
    std::fs::remove_file(&path)?;
    let shown = shown_after(&target, &path, &record).await?;
    let stood = shown.as_deref() == Some(secret.as_str());
    finding.reached(stood, "the place is the one that the model's key is read from");
    finding.twin(stood, "the record at mode 0600 opens");
    Ok(finding)
}

async fn no_plaintext_scan(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default().prepared_anew()).await?;
    let secret = target.var("SECRET");
    let second = format!("sk-second-{}", random_hex(16));
    let saved = target.call("credentials-put", &[("NAME", "second"), ("VALUE", &second)]).await?;
    let mut finding = Finding::new();
    finding.reached(!saved.refused(), "a second secret was saved");
    let shown = shown_key(&target).await;
    finding.twin(
        shown.as_deref() == Some(secret.as_str()),
        "the secret is in use: the model was shown it",
    );
    for (what, secret) in [("first", secret), ("second", second)] {
        let forms = leak::forms(secret.as_bytes());
        let needles: Vec<Vec<u8>> = forms.into_iter().map(|(_, bytes)| bytes).collect();
        let root = target.world().root().to_owned();
        let holding = blocking(move || files::mentioning(&root, &needles)).await?;
        let places: Vec<String> =
            holding.iter().map(|(path, _)| path.display().to_string()).collect();
        finding.no_effect(
            places.is_empty(),
            format!("the {what} secret in the files of the target: {places:?}"),
        );
    }
    Ok(finding)
}

/// The only record of a fresh target: the model's key.
pub(super) fn model_record(target: &Target) -> Result<(PathBuf, Vec<u8>), Trouble> {
    let records = records(target)?;
    let mut paths = records.into_iter();
    match (paths.next(), paths.next()) {
        (Some(path), None) => {
            let record = std::fs::read(&path)?;
            Ok((path, record))
        }
        (first, _) => Err(Trouble::Unsupported(format!(
            "the vault's folder has {} readable `clawvlt1` records, not one",
            if first.is_none() { "no" } else { "several" }
        ))),
    }
}

/// The files in the vault's folder whose head this suite can read.
fn records(target: &Target) -> Result<BTreeSet<PathBuf>, Trouble> {
    let folder = target.file("vault")?;
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if std::fs::read(&path).is_ok_and(|bytes| vault::head(&bytes).is_ok()) {
            found.insert(path);
        }
    }
    Ok(found)
}

fn added_record(target: &Target, before: &BTreeSet<PathBuf>) -> Result<PathBuf, Trouble> {
    records(target)?
        .difference(before)
        .next()
        .cloned()
        .ok_or_else(|| Trouble::Target("a save that was acknowledged left no record".to_owned()))
}

fn read_head(record: &[u8]) -> Result<Head, Trouble> {
    vault::head(record).map_err(|error| Trouble::Unsupported(error.to_string()))
}

/// The key that the model is shown in one conversation; `None` if the model is not asked or
/// shown none.
pub(super) async fn shown_key(target: &Target) -> Option<String> {
    let run = target.answer(Vec::new()).await.ok()?;
    let exchange = run.exchanges.first()?;
    let (_, value) = exchange.headers.iter().find(|(name, _)| name == "authorization")?;
    Some(value.strip_prefix("Bearer ").unwrap_or(value).to_owned())
}

/// Puts bytes in a record's place, starts the target again and looks which key the model is shown.
pub(super) async fn shown_after(
    target: &Target,
    path: &Path,
    bytes: &[u8],
) -> Result<Option<String>, Trouble> {
    target.world().write(path, bytes, 0o600)?;
    Ok(shown_after_restart(target).await)
}

/// A target that does not start with a bad record shows no key, which is a refusal too.
async fn shown_after_restart(target: &Target) -> Option<String> {
    target.instance().start_again().await.ok()?;
    shown_key(target).await
}

fn key(shown: &Option<String>) -> String {
    shown.as_ref().map_or_else(|| "no key".to_owned(), |key| format!("`{key}`"))
}

fn mode_of(path: &Path) -> Result<u32, Trouble> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        Ok(std::fs::symlink_metadata(path)?.permissions().mode() & 0o7777)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        Err(Trouble::NotApplicable("file modes are a Unix matter".to_owned()))
    }
}

/// Looks at a folder's files as fast as it can, and remembers the loosest mode of each.
struct Watch {
    stop: tokio::sync::oneshot::Sender<()>,
    seen: tokio::task::JoinHandle<Vec<(PathBuf, u32)>>,
}

impl Watch {
    fn start(folder: PathBuf) -> Self {
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let seen = tokio::task::spawn_blocking(move || {
            let mut seen = std::collections::BTreeMap::new();
            let end = Instant::now() + Duration::from_secs(20);
            while stopped.try_recv().is_err() && Instant::now() < end {
                for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                    if let Ok(mode) = mode_of(&entry.path()) {
                        *seen.entry(entry.path()).or_insert(0) |= mode;
                    }
                }
            }
            seen.into_iter().collect()
        });
        Self { stop, seen }
    }

    async fn stop(self) -> Result<Vec<(PathBuf, u32)>, Trouble> {
        let _ = self.stop.send(());
        self.seen.await.map_err(|error| Trouble::Harness(error.to_string()))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Trouble::Harness(error.to_string()))
}
