//! The actions that Windows alone has. System tools act where no safe crate reaches. It must never
//! touch anything that the suite did not make.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::windows::fs::symlink_file;
use std::os::windows::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::Params;
use crate::portable::{left_behind, program, send, system};

/// `CREATE_BREAKAWAY_FROM_JOB`
const BREAKAWAY: u32 = 0x0100_0000;

/// A line of PowerShell, which may start nothing of the user's own.
pub(super) fn powershell(script: &str) -> io::Result<String> {
    system("powershell", &["-NoProfile", "-NonInteractive", "-Command", script])
}

/// Text as one quoted word of PowerShell.
pub(super) fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A command line that writes the content to the target.
fn writer(params: &Params) -> io::Result<String> {
    Ok(format!("cmd /d /c echo {}>\"{}\"", params.content()?, params.target()?.display()))
}

/// Time for another process to do its work.
pub(super) fn wait() {
    std::thread::sleep(Duration::from_secs(2));
}

fn make_junction(at: &Path, to: &Path) -> io::Result<String> {
    system("cmd", &["/d", "/c", "mklink", "/J", &at.to_string_lossy(), &to.to_string_lossy()])
}

pub(super) fn junction(params: &Params) -> io::Result<String> {
    let (at, target) = (params.workspace.join("junction"), params.target()?);
    let name = target.file_name().ok_or_else(|| io::Error::other("no file name"))?;
    make_junction(&at, target.parent().unwrap_or(target))?;
    println!("{}", fs::read_to_string(at.join(name))?);
    Ok("read through the junction".into())
}

pub(super) fn symbolic_link(params: &Params) -> io::Result<String> {
    let link = params.workspace.join("link");
    symlink_file(params.target()?, &link)?;
    println!("{}", fs::read_to_string(link)?);
    Ok("read through the link".into())
}

pub(super) fn planted(params: &Params) -> io::Result<String> {
    let (at, target) = (params.workspace.join("reports"), params.target()?);
    let _ = fs::remove_dir_all(&at);
    make_junction(&at, target.parent().unwrap_or(target))
}

pub(super) fn registry_write(params: &Params) -> io::Result<String> {
    let (key, content) = (params.name()?, params.content()?);
    system("reg", &["add", key, "/v", "probe", "/t", "REG_SZ", "/d", content, "/f"])
}

pub(super) fn registry_read(params: &Params) -> io::Result<String> {
    system("reg", &["query", params.name()?, "/v", "probe"])
}

pub(super) fn wmi_create(params: &Params) -> io::Result<String> {
    let line = word(&writer(params)?);
    let done = powershell(&format!(
        "Invoke-CimMethod -ClassName Win32_Process -MethodName Create \
         -Arguments @{{CommandLine={line}}} -ErrorAction Stop"
    ))?;
    wait();
    Ok(done)
}

pub(super) fn wmi_list(_: &Params) -> io::Result<String> {
    powershell("(Get-CimInstance Win32_Process -ErrorAction Stop).CommandLine")
}

pub(super) fn scheduled_task(params: &Params) -> io::Result<String> {
    let (name, line) = (params.name()?, writer(params)?);
    system(
        "schtasks",
        &["/create", "/tn", name, "/tr", &line, "/sc", "once", "/st", "23:59", "/f"],
    )?;
    let done = system("schtasks", &["/run", "/tn", name]);
    wait();
    let _ = system("schtasks", &["/delete", "/tn", name, "/f"]);
    done
}

pub(super) fn com_shell(params: &Params) -> io::Result<String> {
    let (text, at) = (params.content()?, params.target()?.display());
    let arguments = word(&format!("/d /c echo {text}>\"{at}\""));
    // The running shell's own object, not one that is made in this process.
    let done = powershell(&format!(
        "$w = [Activator]::CreateInstance([Type]::GetTypeFromCLSID(\
         '9BA05972-F6A8-11CF-A442-00A0C90A8F39')); \
         $w.Item().Document.Application.ShellExecute('cmd.exe', {arguments}, '', '', 0)"
    ))?;
    wait();
    Ok(done)
}

pub(super) fn transfer(params: &Params) -> io::Result<String> {
    system("bitsadmin", &["/create", params.name()?])
}

pub(super) fn pipe(params: &Params) -> io::Result<String> {
    send(&mut OpenOptions::new().read(true).write(true).open(params.target()?)?, params)
}

pub(super) fn clipboard_write(params: &Params) -> io::Result<String> {
    let mut child = match program("clip").stdin(Stdio::piped()).spawn() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "no clip here"));
        }
        other => other?,
    };
    if let Some(mut input) = child.stdin.take() {
        input.write_all(params.content()?.as_bytes())?;
    }
    let status = child.wait()?;
    Ok(format!("clip: {status}"))
}

pub(super) fn clipboard_read(_: &Params) -> io::Result<String> {
    powershell("Get-Clipboard")
}

pub(super) fn credentials(_: &Params) -> io::Result<String> {
    system("cmdkey", &["/list"])
}

pub(super) fn subsystem(params: &Params) -> io::Result<String> {
    let target = params.target()?.to_string_lossy().replace('\\', "/");
    let script = format!("printf %s '{}' > \"$(wslpath -u '{target}')\"", params.content()?);
    system("wsl", &["-e", "sh", "-c", &script])
}

pub(super) fn kill(params: &Params) -> io::Result<String> {
    system("taskkill", &["/f", "/pid", &params.pid()?.to_string()])
}

pub(super) fn modules(params: &Params) -> io::Result<String> {
    let pid = params.pid()?;
    powershell(&format!("(Get-Process -Id {pid} -ErrorAction Stop).Modules.FileName"))
}

pub(super) fn paths(_: &Params) -> io::Result<String> {
    powershell("(Get-Process).Path")
}

pub(super) fn break_away(params: &Params) -> io::Result<String> {
    left_behind(params, false, |command| {
        command.creation_flags(BREAKAWAY);
    })
}
