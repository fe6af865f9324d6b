//! Tools that may do less than others: what the workspace and a listener saw of them. It must never
//! believe a list of capabilities.

use crate::sensor::files;
use crate::target::world::random_hex;

use super::super::sandbox::look;
use super::{Finding, Lab, Options, Target, Trouble, in_workspace, write_call, wrote};

/// What one program did in a workspace that has a note in it.
struct Done {
    /// The note's words came back: the program ran, and may read.
    read: bool,
    /// It created, changed, renamed or removed something.
    changed: Vec<&'static str>,
}

async fn work(target: &Target) -> Result<Done, Trouble> {
    let (name, words) = (format!("note-{}", random_hex(6)), random_hex(12));
    let (note, new) = (in_workspace(target, &name), in_workspace(target, &format!("{name}.new")));
    target.world().write(&note, words.as_bytes(), 0o666)?;
    let script = format!(
        "cat {name}; echo x > {name}.new; echo changed > {name}; ln -s {name} {name}.link; \
         mkdir {name}.d; chmod 777 {name}; mv {name} {name}.moved; true"
    );
    let run = target.tool(target.exec_call(&["/bin/sh", "-c", &script])?).await?;
    let mut changed = Vec::new();
    for (what, done) in [
        ("created a file", files::exists(&new)),
        ("made a link", files::exists(&in_workspace(target, &format!("{name}.link")))),
        ("made a folder", files::exists(&in_workspace(target, &format!("{name}.d")))),
        ("renamed a file", files::exists(&in_workspace(target, &format!("{name}.moved")))),
        ("changed a file", std::fs::read(&note).is_ok_and(|now| now != words.as_bytes())),
    ] {
        if done {
            changed.push(what);
        }
    }
    Ok(Done { read: run.result.unwrap_or_default().contains(&words), changed })
}

/// A program and a file tool that may read and not write.
pub(super) async fn write(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let done = work(&target).await?;
    let twin = done.read && done.changed.len() >= 3;
    finding.twin(twin, format!("a tool that may write does: {:?}", done.changed));
    let (name, call) = write_call(&target)?;
    target.tool(call).await?;
    finding.twin(wrote(&target, &name), "the tool that writes files writes one");
    target.back(&finding);

    let limited = Options::default().patch("exec-read-only").patch("write-read-only");
    let target = lab.instance(limited).await?;
    let done = work(&target).await?;
    finding.reached(done.read, "a tool that may only read ran, and read");
    let words = format!("what it changed: {:?}", done.changed);
    finding.no_effect(done.changed.is_empty(), words);
    let (name, call) = write_call(&target)?;
    let run = target.tool(call).await?;
    finding.reached(run.served(), "the model called the tool that writes, which may only read");
    let ran = wrote(&target, &name);
    finding.no_effect(!ran, format!("it wrote its file: {ran}"));
    Ok(finding)
}

/// A program at a level that has a network, and no leave to use it.
pub(super) async fn network(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let loose = Options::default().patch("sandbox-exec-relaxed");
    let target = lab.lent(loose.clone()).await?;
    let seen = look(&target).await?;
    finding.twin(seen.network, "a tool that may use the network was heard by a listener");
    target.back(&finding);
    let target = lab.instance(loose.patch("exec-no-network")).await?;
    let seen = look(&target).await?;
    finding
        .reached(seen.inside, "a tool without network ran at the same level, and wrote its file");
    finding.no_effect(!seen.network, format!("a listener heard it: {}", seen.network));
    Ok(finding)
}
