//! Stages of the probes of objects between processes, made by the target's own uid on the host and
//! removed after the run. Perl makes the System V calls, which no safe crate reaches.
//! It must never know a target or an expectation.

use std::process::Stdio;
use std::time::Duration;

use super::Trouble;
use super::scene::{Removed, Scene, Sight, Site, unstaged};
use crate::stage::egress::Sink;
use crate::target::process;
use crate::target::world::{World, random_hex};

/// The stage of an `ipc.` probe.
pub(super) async fn stage(id: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let scene = Scene::new(site);
    let secret = site.secret();
    if id == "ipc.clipboard" {
        return display(scene, site, secret);
    }
    if id == "ipc.posix-mq" {
        return queue(scene, site, secret).await;
    }
    let key = u64::from(u32::from_str_radix(&random_hex(3), 16).unwrap_or(7)) + 0x1000_0000;
    let (make, remove) = match id {
        "ipc.sysv-shm" => (
            r#"my $id = shmget($ARGV[0], 64, 0x780); defined $id or die "$!\n";
               shmwrite($id, $ARGV[1], 0, 64) or die "$!\n";"#,
            "my $id = shmget($ARGV[0], 0, 0); shmctl($id, 0, 0) if defined $id;",
        ),
        "ipc.sysv-msg" => (
            r#"my $id = msgget($ARGV[0], 0x780); defined $id or die "$!\n";
               msgsnd($id, pack("l! a*", 1, $ARGV[1]), 0) or die "$!\n";"#,
            "my $id = msgget($ARGV[0], 0); msgctl($id, 0, 0) if defined $id;",
        ),
        "ipc.sysv-sem" => (
            r#"my $id = semget($ARGV[0], 1, 0x780); defined $id or die "$!\n";"#,
            "my $id = semget($ARGV[0], 0, 0); semctl($id, 0, 0, 0) if defined $id;",
        ),
        _ => return Err(unstaged(id)),
    };
    perl(site.world, make, &[&key.to_string(), &secret]).await?;
    let removal = Removal { line: line(remove, &[&key.to_string()]) };
    let scene = scene.params(|params| params.number = Some(key)).keep(removal);
    if id != "ipc.sysv-sem" {
        return Ok(scene.leak(secret, "the object's content"));
    }
    let value = u64::from(u32::from_str_radix(&random_hex(1), 16).unwrap_or(7)) + 1;
    let script = "my $id = semget($ARGV[0], 0, 0); print semctl($id, 0, 12, 0) + 0;";
    let look = line(script, &[&key.to_string()]);
    Ok(scene.params(|params| params.amount = Some(value)).after(move |_| match output(&look) {
        Some(found) => Sight::of(
            found == value.to_string(),
            "the host's semaphore has the probe's value",
            "the host's semaphore is unchanged",
        ),
        None => Sight::Blind("the semaphore could not be re-read".into()),
    }))
}

/// A display of the user's, as X11 and as Wayland offer it, that only listens.
fn display(scene: Scene, site: &Site<'_>, nonce: String) -> Result<Scene, Trouble> {
    let number = 1000 + u64::from(u16::from_str_radix(&random_hex(2), 16).unwrap_or(7));
    let x11 = Sink::abstract_name(&format!("/tmp/.X11-unix/X{number}"))?;
    let path = site.world.outside().join(format!("wayland-{number}"));
    let wayland = Sink::unix(&path)?;
    let ears = [x11.ear(), wayland.ear()];
    let content = nonce.clone();
    Ok(scene
        .params(|params| {
            params.number = Some(number);
            params.target = Some(path.clone());
            params.content = Some(content);
        })
        .keep((x11, wayland, Removed(path)))
        .after(move |_| {
            let heard = ears.iter().any(|ear| ear.heard(&nonce));
            Sight::of(heard, "the display received the nonce", "the display received nothing")
        }))
}

async fn queue(scene: Scene, site: &Site<'_>, secret: String) -> Result<Scene, Trouble> {
    let name = format!("/clawproof-{}", random_hex(8));
    let helper = site.helper.to_string_lossy().into_owned();
    let mut command = site.world.command(&helper);
    command.args(["@queue", &name, &secret]);
    finish(&mut command).await?;
    let removal = Removal { line: vec![helper, "@queue".into(), name.clone(), String::new()] };
    Ok(scene
        .params(|params| params.name = Some(name))
        .keep(removal)
        .leak(secret, "the message in the host's queue"))
}

fn line(script: &str, arguments: &[&str]) -> Vec<String> {
    let fixed = [clawproof_probe::PERL, "-e", script, "--"];
    fixed.iter().chain(arguments).map(|word| (*word).to_owned()).collect()
}

async fn perl(world: &World, script: &str, arguments: &[&str]) -> Result<(), Trouble> {
    let words = line(script, arguments);
    let mut command = world.command(clawproof_probe::PERL);
    command.args(words.iter().skip(1));
    finish(&mut command).await
}

async fn finish(command: &mut tokio::process::Command) -> Result<(), Trouble> {
    let ended = process::run(command, None, Duration::from_secs(5)).await?;
    if ended.code == Some(0) {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
    Err(Trouble::NotApplicable(format!("the host does not offer the object: {words}")))
}

/// Runs a short host-side command as the suite's own uid and gives its output.
fn output(line: &[String]) -> Option<String> {
    let (program, rest) = line.split_first()?;
    #[expect(clippy::disallowed_methods, reason = "the stage re-reads and removes its own objects")]
    let output = std::process::Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Removes the object when the run is over.
struct Removal {
    line: Vec<String>,
}

impl Drop for Removal {
    fn drop(&mut self) {
        let _ = output(&self.line);
    }
}
