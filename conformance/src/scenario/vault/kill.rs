//! Writers of the vault killed in the middle of their work: a server that saves, an import, a change
//! of the master password. What the disk holds afterwards is read here and not asked for. It must
//! never take a kill for one that hit: how many did is counted and said.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::sensor::vault::Reader;
use crate::target::process::Process;
use crate::target::world::random_hex;

use super::bulk::{Forge, import};
use super::{Finding, Lab, Options, Trouble, added_record, blocking, records, shown_key};

/// How many saves of a server are killed at a random moment.
const SAVES: u32 = 5;
/// Bytes of randomness in a secret: the longer it is, the longer a writer is at it.
const LENGTH: usize = 1_500;
/// How many imports and changes of the master password are killed at work; one that had ended when
/// the kill came does not count.
const HITS: usize = 3;
/// How many of each are begun at most.
const TRIES: usize = 10;
/// How many credentials each of them saves.
const CREDENTIALS: usize = 300;

pub(super) async fn saves(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default()).await?;
    let before = records(&target)?;
    let mut known: BTreeSet<String> = BTreeSet::new();
    let first = random_hex(LENGTH);
    target.call("credentials-put", &[("NAME", "crash"), ("VALUE", &first)]).await?;
    known.insert(first);
    let path = added_record(&target, &before)?;
    let folder = target.file("vault")?;
    let mut reader = Reader::new(target.var("MASTER"));
    let mut finding = Finding::new();
    // How long one save takes, now that the key is derived.
    let begun = Instant::now();
    let second = random_hex(LENGTH);
    target.call("credentials-put", &[("NAME", "crash"), ("VALUE", &second)]).await?;
    known.insert(second);
    let span = begun.elapsed();
    let mut saves = 0;
    for kill in 0..SAVES {
        let mut values = Vec::new();
        let killed = AtomicBool::new(false);
        let writer = async {
            while !killed.load(Ordering::Relaxed) {
                let value = random_hex(LENGTH);
                values.push(value.clone());
                let vars = [("NAME", "crash"), ("VALUE", value.as_str())];
                if target.call("credentials-put", &vars).await.is_err() {
                    break;
                }
            }
        };
        // Saves come one after the other: every other kill falls as soon as one is seen to write,
        // the rest at some moment of the next.
        let killer = async {
            let seen = changes(&folder, || false).await;
            if kill % 2 == 1 {
                tokio::time::sleep(part_of(span * 2)).await;
            }
            target.instance().kill().await;
            killed.store(true, Ordering::Relaxed);
            seen
        };
        let ((), seen) = tokio::join!(writer, killer);
        seen?;
        saves += values.len();
        known.extend(values);
        let (whole, back) = is_one_of(&known, &path, "crash", reader).await?;
        reader = back;
        finding.no_effect(whole, format!("kill {kill}: the record is an old or new one, whole"));
        if target.instance().start_again().await.is_err() {
            finding.no_effect(false, format!("kill {kill}: the target did not start again"));
            break;
        }
    }
    finding.reached(
        saves >= usize::try_from(SAVES).unwrap_or_default(),
        format!("{saves} saves were under way over {SAVES} kills"),
    );
    let shown = shown_key(&target).await;
    finding.twin(
        shown.as_deref() == Some(target.var("SECRET").as_str()),
        "the other record is intact: the model was shown its key",
    );
    Ok(finding)
}

/// Whether the record holds one of these secrets, whole.
async fn is_one_of(
    known: &BTreeSet<String>,
    path: &Path,
    name: &'static str,
    mut reader: Reader,
) -> Result<(bool, Reader), Trouble> {
    let record = std::fs::read(path).unwrap_or_default();
    let (opened, reader) = blocking(move || (reader.open(&record, name), reader)).await?;
    let plain = opened.as_deref().map(String::from_utf8_lossy);
    Ok((plain.is_ok_and(|plain| known.contains(plain.as_ref())), reader))
}

/// How often a command saves while the server does.
const ROUNDS: usize = 4;
/// Bytes of randomness in the secret that the command saves: it is at it while the server saves
/// several that are shorter.
const LONG: usize = 20_000;

/// The server and a command save one name at the same time: what stands on the disk afterwards is
/// what one of them wrote, whole.
pub(super) async fn writers(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default()).await?;
    let mut finding = Finding::new();
    let before = records(&target)?;
    let put = async |value: &str| -> Result<bool, Trouble> {
        let vars = [("NAME", "shared"), ("VALUE", value)];
        Ok(!target.call("credentials-put", &vars).await?.refused())
    };
    if !put(&random_hex(LENGTH / 3)).await? {
        return Err(Trouble::Target("a credential was not saved".to_owned()));
    }
    let path = added_record(&target, &before)?;
    let size = || std::fs::metadata(&path).map_or(0, |it| it.len());
    let (short, mut reader) = (size(), Reader::new(target.var("MASTER")));
    for round in 0..ROUNDS {
        // The command's is the longer one: a rest of it behind the server's would be seen.
        let (long, over) = (random_hex(LONG), AtomicBool::new(false));
        let mut known = BTreeSet::from([long.clone()]);
        let command = async {
            let vars = [("NAME", "shared")];
            let ended = target.command("vault-put", &vars, Some(long.as_bytes())).await;
            over.store(true, Ordering::Relaxed);
            ended
        };
        // Again and again, and once more when the command is seen to write.
        let server = async {
            let mut last = false;
            loop {
                let value = random_hex(LENGTH / 3);
                if !put(&value).await? {
                    return Err(Trouble::Target("a credential was not saved".to_owned()));
                }
                known.insert(value);
                if last {
                    return Ok(());
                }
                last = over.load(Ordering::Relaxed) || size() > short;
            }
        };
        let (ended, served) = tokio::join!(command, server);
        let (ended, ()) = (ended?, served?);
        let words = format!("round {round}: {} saves beside one by a command", known.len() - 1);
        finding.reached(ended.code == Some(0), words);
        let (whole, back) = is_one_of(&known, &path, "shared", reader).await?;
        reader = back;
        finding.no_effect(whole, format!("round {round}: what stands is one of them, whole"));
    }
    let shown = shown_key(&target).await;
    let kept = shown.as_deref() == Some(target.var("SECRET").as_str());
    finding.twin(kept, "the model's own key is intact");
    Ok(finding)
}

/// The credentials of one version of the vault.
fn version(seed: &str, number: usize) -> Vec<(String, String)> {
    let filler = "x".repeat(300);
    let one = |place: usize| (name(place), format!("{seed}-{number}-{place}-{filler}"));
    (0..CREDENTIALS).map(one).collect()
}

fn name(place: usize) -> String {
    format!("crash-{place}")
}

/// How the records stand: with which versions' secrets, and how many with none of them.
async fn standing(
    folder: &Path,
    seed: &str,
    mut reader: Reader,
) -> Result<(BTreeSet<usize>, usize, Reader), Trouble> {
    let (folder, seed) = (folder.to_owned(), seed.to_owned());
    blocking(move || {
        let (mut versions, mut lost) = (BTreeSet::new(), 0);
        for place in 0..CREDENTIALS {
            let path = folder.join(hex::encode(name(place))).with_extension("cred");
            let record = std::fs::read(path).unwrap_or_default();
            let plain = reader.open(&record, &name(place)).unwrap_or_default();
            let text = String::from_utf8_lossy(&plain);
            let number = text.strip_prefix(&format!("{seed}-")).and_then(|rest| {
                let (number, rest) = rest.split_once('-')?;
                rest.starts_with(&format!("{place}-")).then(|| number.parse().ok())?
            });
            match number {
                Some(number) => {
                    versions.insert(number);
                }
                None => lost += 1,
            }
        }
        (versions, lost, reader)
    })
    .await
}

/// Waits until a name, length or time in the folder changes, or `over` says that none will.
async fn changes(folder: &Path, mut over: impl FnMut() -> bool) -> Result<Instant, Trouble> {
    let look = || -> BTreeSet<(std::ffi::OsString, u64, Option<SystemTime>)> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name() != "lock")
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((entry.file_name(), metadata.len(), metadata.modified().ok()))
            })
            .collect()
    };
    let (before, begun) = (look(), Instant::now());
    while look() == before && !over() {
        if begun.elapsed() > Duration::from_secs(20) {
            return Err(Trouble::Target("a writer of the vault wrote nothing in 20 s".to_owned()));
        }
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    Ok(Instant::now())
}

/// A random part of a time.
fn part_of(span: Duration) -> Duration {
    let part = u32::from_str_radix(&random_hex(2), 16).unwrap_or_default();
    span * part / 0xffff
}

/// Lets a writer end by itself; says how long it wrote.
async fn span(mut writer: Process, folder: &Path) -> Result<Duration, Trouble> {
    let begun = changes(folder, || writer.ended().is_some()).await?;
    while writer.ended().is_none() {
        if begun.elapsed() > Duration::from_secs(20) {
            return Err(Trouble::Target("a writer of the vault does not end".to_owned()));
        }
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    Ok(begun.elapsed())
}

/// Kills a writer at a random moment of the time that it writes; says whether it was at work.
async fn kill_at_work(mut writer: Process, folder: &Path, span: Duration) -> Result<bool, Trouble> {
    changes(folder, || writer.ended().is_some()).await?;
    // It began a little before it was seen to.
    tokio::time::sleep(part_of(span * 4 / 5)).await;
    let at_work = writer.ended().is_none();
    writer.kill().await;
    Ok(at_work)
}

pub(super) async fn imports(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default().in_memory()).await?;
    let (folder, seed, mut forge) = (target.file("vault")?, random_hex(8), Forge::new());
    let mut reader = Reader::new(target.var("MASTER"));
    let second = forge.password.clone();
    let begin = |file: &Path| {
        let file = file.to_string_lossy();
        let vars = [("FILE", file.as_ref()), ("SECOND", second.as_str())];
        target.begin_command("vault-import", &vars)
    };
    let first = forge.file(&target, version(&seed, 0)).await?;
    let mut span = span(begin(&first)?, &folder).await?;
    let (versions, lost, back) = standing(&folder, &seed, reader).await?;
    reader = back;
    let whole = lost == 0 && versions == [0].into();
    finding.twin(whole, format!("an import of {CREDENTIALS} credentials is whole on the disk"));
    let (mut hits, mut number) = (0, 0);
    while hits < HITS && number < TRIES {
        number += 1;
        let file = forge.file(&target, version(&seed, number)).await?;
        if kill_at_work(begin(&file)?, &folder, span).await? {
            hits += 1;
        } else {
            span = span * 2 / 3; // It ended before the kill: the next one comes earlier.
        }
        let (versions, lost, back) = standing(&folder, &seed, reader).await?;
        reader = back;
        let words = format!("kill {number}: {lost} lost, the others of imports {versions:?}");
        finding.no_effect(lost == 0, words);
    }
    let words = format!("{hits} of {number} imports were killed in the {span:?} that they write");
    enough(&mut finding, hits, words)?;
    let last = forge.file(&target, version(&seed, number + 1)).await?;
    let ended = import(&target, &last, &forge.password).await?;
    let (versions, lost, _) = standing(&folder, &seed, reader).await?;
    let whole = ended.code == Some(0) && lost == 0 && versions == [number + 1].into();
    finding.twin(whole, "an import after the kills is whole again");
    let shown = shown_key(&target).await;
    let kept = shown.as_deref() == Some(target.var("SECRET").as_str());
    finding.no_effect(kept, "a record that no import named is as it was: the model is shown it");
    Ok(finding)
}

pub(super) async fn rotations(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default().in_memory()).await?;
    let (folder, seed, mut forge) = (target.file("vault")?, random_hex(8), Forge::new());
    let first = forge.file(&target, version(&seed, 0)).await?;
    if import(&target, &first, &forge.password).await?.code != Some(0) {
        return Err(Trouble::Target("an import did not end well".to_owned()));
    }
    let begin = |old: &str, new: &str| {
        target.begin_command("vault-rotate", &[("MASTER", old), ("SECOND", new)])
    };
    let mut master = fresh();
    let mut span = span(begin(&target.var("MASTER"), &master)?, &folder).await?;
    let first = Reader::new(target.var("MASTER"));
    let (open, [_, mut reader]) =
        standing_under(&folder, &seed, [first, Reader::new(master.as_str())]).await?;
    let done = open == [0, CREDENTIALS];
    finding.twin(done, "a rotation that is left alone ends under the new password alone");
    let (mut hits, mut number) = (0, 0);
    while hits < HITS && number < TRIES {
        number += 1;
        let next = fresh();
        if kill_at_work(begin(&master, &next)?, &folder, span).await? {
            hits += 1;
        } else {
            span = span * 2 / 3;
        }
        // Any use puts in order what the kill left, under whichever password.
        target.command("vault-list", &[("MASTER", master.as_str())], None).await?;
        let both = [reader, Reader::new(next.as_str())];
        let (open, [old_reader, new_reader]) = standing_under(&folder, &seed, both).await?;
        let [old, new] = open;
        let words = format!(
            "kill {number}: {old} records open under the old password, {new} under the new"
        );
        let whole = open == [CREDENTIALS, 0] || open == [0, CREDENTIALS];
        finding.no_effect(whole, words);
        if !whole {
            break;
        }
        if new == CREDENTIALS {
            (master, reader) = (next, new_reader);
        } else {
            reader = old_reader;
        }
    }
    let words = format!("{hits} of {number} were killed in the {span:?} that they write");
    enough(&mut finding, hits, words)?;
    Ok(finding)
}

/// Sets the leg; a host on which no kill comes in time shows nothing either way.
fn enough(finding: &mut Finding, hits: usize, words: String) -> Result<(), Trouble> {
    if hits == 0 && finding.first_fall().is_none() {
        return Err(Trouble::Inconclusive(words));
    }
    finding.reached(true, words);
    Ok(())
}

fn fresh() -> String {
    format!("master-{}", random_hex(12))
}

/// How many records open under each of two passwords. A reader derives its key once.
async fn standing_under(
    folder: &Path,
    seed: &str,
    readers: [Reader; 2],
) -> Result<([usize; 2], [Reader; 2]), Trouble> {
    let [first, second] = readers;
    let (_, lost_to_first, first) = standing(folder, seed, first).await?;
    let (_, lost_to_second, second) = standing(folder, seed, second).await?;
    Ok(([CREDENTIALS - lost_to_first, CREDENTIALS - lost_to_second], [first, second]))
}
