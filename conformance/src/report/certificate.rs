//! The certificate: an in-toto statement (predicate `test-result/v0.1`) in a signed DSSE envelope.
//! It is issued for a whole run that ended certified and for nothing else, says who ran it, and
//! is checked offline. It must never carry evidence itself, only its hash: evidence holds secrets
//! of the run.

pub mod envelope;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::report::json::{Report, word};
use crate::spec::Level;
use crate::verdict::{CaseResult, Exit, Verdict};

use envelope::{Envelope, Refused, SigningKey, VerifyingKey};

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// Why there is no certificate, or why one is not believed. Each is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The run does not earn one.
    #[error("no certificate: {0}")]
    NotEarned(String),
    /// The key or the envelope.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The signature is right and the content is not what a certificate holds.
    #[error("signed, but not a certificate of this suite: {0}")]
    Content(String),
    /// A file given beside the certificate is not the one that it speaks of.
    #[error("the {0} is not the one that was certified (SHA-256 {1}, certified {2})")]
    Mismatch(&'static str, String, String),
}

/// What a believed certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// The target's name.
    pub target: String,
    /// The revision of the requirements.
    pub revision: String,
    /// The profiles.
    pub profiles: Vec<String>,
    /// The requirements that passed.
    pub passed: Vec<String>,
    /// The requirements that are not covered, not applicable or not shown.
    pub open: Vec<String>,
    /// When the run ended, RFC 3339.
    pub time: String,
    /// Who ran it, by his own word.
    pub issuer: String,
    /// The environment as one line.
    pub environment: String,
    /// The SHA-256 of the signer's public key.
    pub key: String,
    /// The SHA-256 of the program, or of the manifest where the target has no program of its own.
    pub subject: String,
    /// The SHA-256 of the report's JSON text.
    pub report: String,
}

/// The part of the statement that [`open`] reads back.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Descriptor>,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
struct Descriptor {
    name: String,
    digest: Digests,
}

#[derive(Serialize, Deserialize)]
struct Digests {
    sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    result: String,
    configuration: Vec<Descriptor>,
    passed_tests: Vec<String>,
    warned_tests: Vec<String>,
    failed_tests: Vec<String>,
    /// Fields beyond the predicate's own, which its readers pass over.
    clawproof: Run,
}

#[derive(Serialize, Deserialize)]
struct Run {
    suite: String,
    revision: String,
    corpus: String,
    profiles: Vec<String>,
    issuer: String,
    time: String,
    seed: u64,
    environment: Value,
    sentence: String,
    cases: Vec<Value>,
}

/// Signs a certificate for a report, whose JSON text was written byte for byte as given.
///
/// # Errors
/// [`CertificateError::NotEarned`] for a run that is partial, knocked out or not certified.
pub fn issue(
    report: &Report,
    written: &[u8],
    issuer: &str,
    key: &SigningKey,
) -> Result<Envelope, CertificateError> {
    let statement = earned(report, written, issuer)?;
    let bytes = serde_json::to_vec(&statement)
        .map_err(|error| CertificateError::Content(error.to_string()))?;
    Ok(key.seal(&bytes)?)
}

/// The predicate alone, for a platform that signs statements itself (keyless). It is earned as a
/// certificate is.
///
/// # Errors
/// As [`issue`].
pub fn predicate(report: &Report, written: &[u8], issuer: &str) -> Result<Value, CertificateError> {
    let statement = earned(report, written, issuer)?;
    serde_json::to_value(&statement.predicate)
        .map_err(|error| CertificateError::Content(error.to_string()))
}

fn earned(report: &Report, written: &[u8], issuer: &str) -> Result<Statement, CertificateError> {
    let refuse = |why: &str| Err(CertificateError::NotEarned(why.to_owned()));
    if report.partial {
        return refuse("a run of some cases certifies nothing");
    }
    if report.knockout.is_some() {
        return refuse("a check was knocked out");
    }
    if report.environment.uid == Some(0) {
        return refuse("the run as root is beside the one that can be certified");
    }
    if report.summary.exit != Exit::Certified as u8 {
        return refuse(&report.summary.sentence);
    }
    if report.cases.is_empty() {
        return refuse("the report holds no case");
    }
    Ok(statement(report, written, issuer))
}

fn statement(report: &Report, written: &[u8], issuer: &str) -> Statement {
    let with = |wanted: &[Option<Verdict>]| {
        let rows = report.requirements.iter().filter(|row| wanted.contains(&row.verdict));
        rows.map(|row| row.id.clone()).collect::<Vec<_>>()
    };
    let warned = report.requirements.iter().filter(|row| {
        !matches!(row.verdict, Some(Verdict::Pass | Verdict::Fail))
            || (row.verdict == Some(Verdict::Fail) && row.level == Level::Should)
    });
    let describe = |name: &str, digest: &str| Descriptor {
        name: name.to_owned(),
        digest: Digests { sha256: digest.to_owned() },
    };
    Statement {
        kind: STATEMENT.to_owned(),
        subject: vec![describe(&report.target.name, subject(report))],
        predicate_type: PREDICATE.to_owned(),
        predicate: Predicate {
            result: "PASSED".to_owned(),
            configuration: vec![
                describe("clawproof", &report.made.suite),
                describe("requirements", &report.made.requirements),
                describe("kill-matrix", &report.made.matrix),
                describe("corpus", &corpus(report)),
                describe("manifest", &report.target.manifest),
                describe("report", &hex::encode(Sha256::digest(written))),
            ],
            passed_tests: with(&[Some(Verdict::Pass)]),
            warned_tests: warned.map(|row| row.id.clone()).collect(),
            failed_tests: Vec::new(),
            clawproof: Run {
                suite: report.suite.clone(),
                revision: report.revision.clone(),
                corpus: report.corpus.clone(),
                profiles: report.profiles.clone(),
                issuer: issuer.to_owned(),
                time: report.time.clone(),
                seed: report.seed,
                environment: serde_json::to_value(&report.environment).unwrap_or_default(),
                sentence: report.summary.sentence.clone(),
                cases: report.cases.iter().map(case).collect(),
            },
        },
    }
}

fn case(case: &CaseResult) -> Value {
    let evidence = serde_json::to_vec(&case.evidence).unwrap_or_default();
    json!({
        "case": case.case,
        "verdict": word(Some(case.verdict)),
        "evidence": {"sha256": hex::encode(Sha256::digest(evidence))},
    })
}

/// The digest of what defines every case that was played.
fn corpus(report: &Report) -> String {
    let lines = report.digests.iter().map(|(case, digest)| format!("{case} {digest}\n"));
    hex::encode(Sha256::digest(lines.collect::<String>()))
}

fn subject(report: &Report) -> &str {
    let target = &report.target;
    if target.program.is_empty() { &target.manifest } else { &target.program }
}

/// Checks a certificate's signature and content, offline.
///
/// # Errors
/// See [`CertificateError`]: nothing of an envelope is believed before its signature.
pub fn open(text: &str, key: &VerifyingKey) -> Result<Certified, CertificateError> {
    let payload = Envelope::parse(text)?.open(key)?;
    let wrong = |what: &str| CertificateError::Content(what.to_owned());
    let statement: Statement = serde_json::from_slice(&payload)
        .map_err(|error| CertificateError::Content(error.to_string()))?;
    if statement.kind != STATEMENT || statement.predicate_type != PREDICATE {
        return Err(wrong("another kind of statement"));
    }
    let predicate = statement.predicate;
    if predicate.result != "PASSED" || !predicate.failed_tests.is_empty() {
        return Err(wrong("its result is not PASSED"));
    }
    if predicate.passed_tests.is_empty() {
        return Err(wrong("no requirement passed"));
    }
    let report = predicate.configuration.into_iter().find(|it| it.name == "report");
    let [subject] = <[Descriptor; 1]>::try_from(statement.subject)
        .map_err(|_count| wrong("not exactly one subject"))?;
    Ok(Certified {
        target: subject.name,
        subject: subject.digest.sha256,
        revision: predicate.clawproof.revision,
        profiles: predicate.clawproof.profiles,
        passed: predicate.passed_tests,
        open: predicate.warned_tests,
        time: predicate.clawproof.time,
        issuer: predicate.clawproof.issuer,
        environment: one_line(&predicate.clawproof.environment),
        key: key.id(),
        report: report.map(|it| it.digest.sha256).unwrap_or_default(),
    })
}

fn one_line(environment: &Value) -> String {
    let fields = environment.as_object().into_iter().flatten();
    let parts: Vec<String> = fields
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name} {text}"),
            other => format!("{name} {other}"),
        })
        .collect();
    parts.join(", ")
}

impl Certified {
    /// Compares the certified program with a file's bytes.
    ///
    /// # Errors
    /// [`CertificateError::Mismatch`] where it is another program.
    pub fn is_program(&self, bytes: &[u8]) -> Result<(), CertificateError> {
        same("program", bytes, &self.subject)
    }

    /// Compares the certified report with a file's bytes.
    ///
    /// # Errors
    /// [`CertificateError::Mismatch`] where it is another report.
    pub fn is_report(&self, bytes: &[u8]) -> Result<(), CertificateError> {
        same("report", bytes, &self.report)
    }
}

fn same(what: &'static str, bytes: &[u8], certified: &str) -> Result<(), CertificateError> {
    let digest = hex::encode(Sha256::digest(bytes));
    if digest == certified {
        Ok(())
    } else {
        Err(CertificateError::Mismatch(what, digest, certified.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::report;

    fn text(envelope: &Envelope) -> String {
        serde_json::to_string(envelope).unwrap()
    }

    #[test]
    fn a_certified_run_gives_a_certificate_that_names_what_passed_and_what_is_open() {
        let (key, _) = SigningKey::generate().unwrap();
        let envelope = issue(&report(), b"report", "the tests", &key).unwrap();
        let certified = open(&text(&envelope), &key.verifying().unwrap()).unwrap();
        assert_eq!(certified.passed, ["input.utf8"]);
        assert_eq!(certified.open, ["plugin.peer"]);
        assert_eq!(certified.issuer, "the tests");
        assert!(certified.is_program(b"program").is_ok());
        assert!(certified.is_program(b"another").is_err());
        assert!(certified.is_report(b"report").is_ok());
        assert!(certified.is_report(b"another").is_err());
    }

    #[test]
    fn no_certificate_for_a_partial_knocked_out_or_failed_run() {
        let (key, _) = SigningKey::generate().unwrap();
        let mut partial = report();
        partial.partial = true;
        let mut knocked = report();
        knocked.knockout = Some("input.utf8".to_owned());
        let mut failed = report();
        failed.summary.exit = Exit::Failed as u8;
        let mut open = report();
        open.summary.exit = Exit::Inconclusive as u8;
        let mut empty = report();
        empty.cases.clear();
        let mut rooted = report();
        rooted.environment.uid = Some(0);
        for report in [partial, knocked, failed, open, empty, rooted] {
            let issued = issue(&report, b"", "x", &key);
            assert!(matches!(issued, Err(CertificateError::NotEarned(_))));
        }
    }

    #[test]
    fn a_signed_statement_that_is_no_certificate_is_refused() {
        let (key, _) = SigningKey::generate().unwrap();
        let public = key.verifying().unwrap();
        let mut failed = statement(&report(), b"", "x");
        failed.predicate.result = "FAILED".to_owned();
        let mut empty = statement(&report(), b"", "x");
        empty.predicate.passed_tests.clear();
        for statement in [failed, empty] {
            let envelope = key.seal(&serde_json::to_vec(&statement).unwrap()).unwrap();
            let opened = open(&text(&envelope), &public);
            assert!(matches!(opened, Err(CertificateError::Content(_))));
        }
        let envelope = key.seal(b"{}").unwrap();
        assert!(matches!(open(&text(&envelope), &public), Err(CertificateError::Content(_))));
    }
}
