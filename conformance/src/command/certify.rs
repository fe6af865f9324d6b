//! `clawproof key`, `run --certificate` and `clawproof verify`: keys and certificates as files.
//! It must never write a private key that others can read, nor replace a key.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clawproof::report::certificate::envelope::{SigningKey, VerifyingKey};
use clawproof::report::certificate::{issue, open, predicate};
use clawproof::report::json::Report;
use clawproof::verdict::Exit;

use super::disk::{read, save, write_new};
use crate::{Said, usage};

/// What `run` needs to end in a certificate.
#[derive(clap::Args)]
pub(crate) struct SignArgs {
    /// Write a signed certificate to this file, if the run ends certified.
    #[arg(long, value_name = "FILE", requires = "signing_key")]
    pub(crate) certificate: Option<PathBuf>,
    /// The private key to sign with; `clawproof key` makes one.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) signing_key: Option<PathBuf>,
    /// Write the certificate's predicate, unsigned, to this file, if the run ends certified: for a
    /// platform that signs attestations itself.
    #[arg(long, value_name = "FILE")]
    pub(crate) predicate: Option<PathBuf>,
    /// Who runs this, as the certificate is to say.
    #[arg(long, value_name = "TEXT", default_value = "not said")]
    pub(crate) issuer: String,
}

/// What `key` needs.
#[derive(clap::Args)]
pub(crate) struct KeyArgs {
    /// Where the private key is to stand; the public one stands beside it, with `.pub` behind.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What `verify` needs.
#[derive(clap::Args)]
pub(crate) struct VerifyArgs {
    /// The certificate.
    #[arg(value_name = "CERTIFICATE")]
    file: PathBuf,
    /// The public key of whoever is trusted to have run the suite.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Also check that this is the program that was certified.
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// Also check that this is the report that was certified.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Makes a key pair.
pub(crate) fn make_key(args: &KeyArgs) -> Said {
    let harness = |error: &dyn ToString| (Exit::Harness, error.to_string());
    let (key, text) = SigningKey::generate().map_err(|error| harness(&error))?;
    let public = key.verifying().map_err(|error| harness(&error))?;
    write_new(&args.file, text.as_bytes(), 0o600)?;
    let mut beside = args.file.clone().into_os_string();
    beside.push(".pub");
    write_new(Path::new(&beside), public.to_pem().as_bytes(), 0o644)?;
    println!("key {}", public.id());
    Ok(ExitCode::SUCCESS)
}

/// Reads the signing key before a run, so that a wrong one is said at once.
pub(crate) fn signing_key(args: &SignArgs) -> Result<Option<SigningKey>, (Exit, String)> {
    let Some(path) = &args.signing_key else { return Ok(None) };
    let text = read(path)?;
    let text = String::from_utf8_lossy(&text);
    let key = SigningKey::from_pem(&text)
        .map_err(|error| usage(format!("{}: {error}", path.display())))?;
    Ok(Some(key))
}

/// Writes the certificate of a run that earned one; says why where it did not.
pub(crate) fn certify(
    args: &SignArgs,
    key: Option<&SigningKey>,
    report: &Report,
    written: &[u8],
) -> Result<(), (Exit, String)> {
    let harness = |error: serde_json::Error| (Exit::Harness, error.to_string());
    // Where one is not earned the report says it all; the exit code is the run's.
    if let (Some(path), Some(key)) = (&args.certificate, key) {
        match issue(report, written, &args.issuer, key) {
            Ok(envelope) => {
                save(path, &serde_json::to_vec_pretty(&envelope).map_err(harness)?)?;
                eprintln!("certificate: {}", path.display());
            }
            Err(error) => eprintln!("{error}"),
        }
    }
    if let Some(path) = &args.predicate {
        match predicate(report, written, &args.issuer) {
            Ok(value) => save(path, &serde_json::to_vec_pretty(&value).map_err(harness)?)?,
            Err(error) => eprintln!("{error}"),
        }
    }
    Ok(())
}

/// Checks a certificate offline and says what it says.
pub(crate) fn verify(args: &VerifyArgs) -> Said {
    let failed = |error: &dyn ToString| (Exit::Failed, error.to_string());
    let key = read(&args.key)?;
    let key = VerifyingKey::from_pem(&String::from_utf8_lossy(&key))
        .map_err(|error| usage(format!("{}: {error}", args.key.display())))?;
    let text = read(&args.file)?;
    let certified = open(&String::from_utf8_lossy(&text), &key).map_err(|error| failed(&error))?;
    if let Some(path) = &args.bin {
        certified.is_program(&read(path)?).map_err(|error| failed(&error))?;
    }
    if let Some(path) = &args.report {
        certified.is_report(&read(path)?).map_err(|error| failed(&error))?;
    }
    println!("target       {} (SHA-256 {})", certified.target, certified.subject);
    println!("revision     {}, profiles {}", certified.revision, certified.profiles.join(", "));
    println!("passed       {} requirements", certified.passed.len());
    println!("not shown    {} requirements", certified.open.len());
    println!("run by       {} at {}", certified.issuer, certified.time);
    println!("where        {}", certified.environment);
    println!("signed with  {}", certified.key);
    Ok(ExitCode::SUCCESS)
}
