//! Many credentials at once: exports that are read and forged here, and what ten thousand saves look
//! like on the disk. It must never count a save that no file shows.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::sensor::leak;
use crate::sensor::vault::{self, Head, Reader};
use crate::target::process::{Ended, contains};
use crate::target::world::random_hex;

use super::{Finding, Lab, Options, Target, Trouble, added_record, blocking, read_head, records};

/// Saves over which no nonce may repeat: as many as the requirement says.
const SAVES: usize = 10_000;
/// The same where a target has no import and every save is a request of its own. A thousand show
/// a counter that starts anew, a fixed nonce, and with better than even odds one drawn from less
/// than 19 bits.
const SINGLE_SAVES: usize = 1_000;
/// Saves by requests beside those by import.
const BY_REQUEST: usize = 40;

/// Makes exported files of its own. The key is derived once: a target does not see whose salt it is.
pub(super) struct Forge {
    reader: Option<Reader>,
    head: Head,
    pub(super) password: String,
}

impl Forge {
    /// A forge with a password and salt of its own, and the right parameters.
    pub(super) fn new() -> Self {
        let password = random_hex(12);
        let mut salt = [0; 16];
        for (byte, random) in salt.iter_mut().zip(random_hex(16).bytes()) {
            *byte = random;
        }
        let head = Head { memory_kib: 65_536, iterations: 3, lanes: 4, salt, nonce: [0; 12] };
        Self { reader: Some(Reader::new(password.as_str())), head, password }
    }

    /// An exported file with these credentials, where the target can read it.
    pub(super) async fn file(
        &mut self,
        target: &Target,
        credentials: Vec<(String, String)>,
    ) -> Result<PathBuf, Trouble> {
        for (byte, random) in self.head.nonce.iter_mut().zip(random_hex(12).bytes()) {
            *byte = random;
        }
        let head = self.head.clone();
        let mut reader = self.reader.take().unwrap_or_else(|| Reader::new(self.password.as_str()));
        let (file, reader) = blocking(move || (reader.export(&head, &credentials), reader)).await?;
        self.reader = Some(reader);
        let file = file.map_err(|error| Trouble::Harness(error.to_string()))?;
        let path = target.world().home().join(format!("import-{}", random_hex(6)));
        target.world().write(&path, &file, 0o600)?;
        Ok(path)
    }
}

pub(super) async fn import(
    target: &Target,
    file: &std::path::Path,
    password: &str,
) -> Result<Ended, Trouble> {
    let file = file.to_string_lossy();
    let vars = [("FILE", file.as_ref()), ("SECOND", password)];
    target.command("vault-import", &vars, None).await
}

/// What was saved so far, and how many saves showed a nonce that had been seen.
#[derive(Default)]
struct Tally {
    seen: BTreeSet<[u8; 12]>,
    saves: usize,
    repeated: usize,
}

impl Tally {
    fn save(&mut self, record: &[u8]) -> Result<(), Trouble> {
        self.saves += 1;
        self.repeated += usize::from(!self.seen.insert(read_head(record)?.nonce));
        Ok(())
    }
}

pub(super) async fn nonces(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default().in_memory()).await?;
    let others = records(&target)?;
    let many = lab.manifest().commands.contains_key("vault-import");
    let mut finding = Finding::new();
    let (secret, mut tally) = (random_hex(20), Tally::default());
    let mut one = None;
    for number in 0..if many { BY_REQUEST } else { SINGLE_SAVES } {
        let value = format!("{secret}-{number}");
        let vars = [("NAME", "nonce"), ("VALUE", value.as_str())];
        if target.call("credentials-put", &vars).await?.refused() {
            return Err(Trouble::Target(format!("save {number} of one name was refused")));
        }
        let path = match &one {
            Some(path) => path,
            None => one.insert(added_record(&target, &others)?),
        };
        tally.save(&std::fs::read(path)?)?;
        if tally.repeated > 3 {
            break;
        }
    }
    finding.reached(tally.saves > 0, format!("{} saves of one name by requests", tally.saves));
    if many && tally.repeated == 0 {
        let before = records(&target)?;
        let mut forge = Forge::new();
        for round in 0..2 {
            let value = |number| (format!("bulk-{number}"), format!("{secret}-{round}-{number}"));
            let list = (0..SAVES / 2).map(value).collect();
            let file = forge.file(&target, list).await?;
            let ended = import(&target, &file, &forge.password).await?;
            if ended.code != Some(0) {
                let words = String::from_utf8_lossy(&ended.stderr).into_owned();
                return Err(Trouble::Target(format!("an import did not end well: {words}")));
            }
            for path in records(&target)?.difference(&before) {
                tally.save(&std::fs::read(path)?)?;
            }
        }
        let enough = tally.saves >= SAVES;
        finding.reached(enough, format!("{} saves with those of two imports", tally.saves));
    }
    let master = target.var("MASTER");
    let last = one.map(std::fs::read).transpose()?.unwrap_or_default();
    let opened = blocking(move || vault::open(&last, "nonce", master.as_bytes())).await?;
    finding.twin(
        opened.is_ok_and(|plain| plain.starts_with(secret.as_bytes())),
        "the last save opens as AES-256-GCM under the same password",
    );
    let words = format!("{} saves, {} repeated nonces", tally.saves, tally.repeated);
    finding.no_effect(tally.repeated == 0, words);
    Ok(finding)
}

/// An exported file: whoever has it and not its password has nothing, and who has the password has
/// all of it.
pub(super) async fn export(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default()).await?;
    let mut finding = Finding::new();
    let (name, secret) = (format!("way-{}", random_hex(6)), format!("sk-{}", random_hex(16)));
    target.call("credentials-put", &[("NAME", &name), ("VALUE", &secret)]).await?;
    let (password, path) = (random_hex(12), target.world().home().join("export"));
    let file = path.to_string_lossy();
    let vars = [("FILE", file.as_ref()), ("SECOND", password.as_str())];
    let ended = target.command("vault-export", &vars, None).await?;
    let bytes = std::fs::read(&path).unwrap_or_default();
    finding
        .reached(ended.code == Some(0), format!("an export of {} bytes ended well", bytes.len()));
    let mode = super::mode_of(&path)?;
    finding.no_effect(mode & 0o077 == 0, format!("the exported file has mode {mode:04o}"));
    for (what, value) in [("a secret", secret.as_str()), ("the model's key", &target.var("SECRET"))]
    {
        let forms = leak::found(value.as_bytes(), &bytes);
        finding.no_effect(forms.is_empty(), format!("{what} in the exported file: {forms:?}"));
    }
    let named = contains(&bytes, name.as_bytes());
    finding.no_effect(!named, format!("the name of a credential in the exported file: {named}"));
    let opened = blocking(move || Reader::new(password).open_export(&bytes)).await?;
    let due = [(name.into_bytes(), secret.into_bytes())];
    finding.twin(
        opened.is_ok_and(|list| list.len() == 2 && due.iter().all(|one| list.contains(one))),
        "another implementation opens it with its password and finds both credentials",
    );
    Ok(finding)
}
