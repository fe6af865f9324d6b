//! More actions that Windows alone has: networks by way of services, the desktop, the token. It must
//! never touch anything that the suite did not make.

use std::fs;
use std::io;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::act::{powershell, wait, word};
use crate::portable::{again, hold, program, system};
use crate::{Params, step};

/// Prints the keys that a low-level hook sees in four seconds; says in a file when it stands.
const HOOK: &str = r#"
Add-Type -ReferencedAssemblies System.Windows.Forms -TypeDefinition @'
using System;
using System.Runtime.InteropServices;
public static class Keys {
  delegate IntPtr Proc(int code, IntPtr w, IntPtr l);
  [DllImport("user32.dll")] static extern IntPtr SetWindowsHookEx(int id, Proc p, IntPtr m, uint t);
  [DllImport("user32.dll")] static extern IntPtr CallNextHookEx(IntPtr h, int c, IntPtr w, IntPtr l);
  [DllImport("kernel32.dll")] static extern IntPtr GetModuleHandle(string name);
  static Proc kept;
  static string seen = "";
  public static string Run(string ready) {
    kept = (c, w, l) => {
      if (c >= 0 && (int)w == 0x100) seen += Marshal.ReadInt32(l) + ".";
      return CallNextHookEx(IntPtr.Zero, c, w, l);
    };
    if (SetWindowsHookEx(13, kept, GetModuleHandle(null), 0) == IntPtr.Zero) return "no hook";
    System.IO.File.WriteAllText(ready, "");
    var until = DateTime.Now.AddSeconds(4);
    while (DateTime.Now < until) {
      System.Windows.Forms.Application.DoEvents();
      System.Threading.Thread.Sleep(5);
    }
    return "keys " + seen;
  }
}
'@
[Keys]::Run($args[0])
"#;

pub(super) fn echo(_: &Params) -> io::Result<String> {
    powershell(
        "$p = New-Object Net.NetworkInformation.Ping; $n = 0; \
         1..40 | % { if ($p.Send('127.0.0.1', 200).Status -eq 'Success') { $n++ } }; \
         if ($n -eq 0) { throw 'no reply' }; $n",
    )
}

pub(super) fn fetch_by_service(params: &Params) -> io::Result<String> {
    let name = params.name()?;
    let from = format!("http://127.0.0.1:{}/{}", params.port()?, params.content()?);
    let to = params.workspace.join("fetched");
    system("bitsadmin", &["/create", name])?;
    system("bitsadmin", &["/addfile", name, &from, &to.to_string_lossy()])?;
    system("bitsadmin", &["/setpriority", name, "FOREGROUND"])?;
    let done = system("bitsadmin", &["/resume", name]);
    wait();
    let _ = system("bitsadmin", &["/cancel", name]);
    done
}

pub(super) fn exempt(params: &Params) -> io::Result<String> {
    system("CheckNetIsolation", &["LoopbackExempt", "-a", &format!("-p={}", params.content()?)])
}

pub(super) fn left_at_once(params: &Params) -> io::Result<String> {
    // The program that is started is one whose first act it is, by the command interpreter.
    let (own, path) = (std::env::current_exe()?, step::of(params, step::heartbeat));
    program("cmd")
        .args(["/d", "/c", "start", "/b", ""])
        .arg(own)
        .arg("@heartbeat")
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    let begun = Instant::now();
    while !path.exists() && begun.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok("left a process behind".into())
}

pub(super) fn grandchild(params: &Params) -> io::Result<String> {
    let left = left_at_once(params)?;
    hold(params)?;
    Ok(left)
}

pub(super) fn spin(params: &Params) -> io::Result<String> {
    let count = std::thread::available_parallelism()?.get();
    let mut children = Vec::new();
    for _ in 0..count {
        children.push(again("spin")?.arg(step::of(params, step::release)).spawn()?);
    }
    hold(params)?;
    for mut child in children {
        let _ = child.wait();
    }
    Ok(format!("kept {count} processors busy"))
}

pub(super) fn section(params: &Params) -> io::Result<String> {
    let name = word(params.name()?);
    powershell(&format!(
        "$m = [IO.MemoryMappedFiles.MemoryMappedFile]::OpenExisting({name}); \
         (New-Object IO.StreamReader($m.CreateViewStream())).ReadLine()"
    ))
}

pub(super) fn screen(_: &Params) -> io::Result<String> {
    powershell(
        "Add-Type -AssemblyName System.Drawing; \
         $b = New-Object Drawing.Bitmap 40, 40; $g = [Drawing.Graphics]::FromImage($b); \
         $g.CopyFromScreen(0, 0, 0, 0, $b.Size); 'pixel {0:x8}' -f $b.GetPixel(20, 20).ToArgb()",
    )
}

pub(super) fn keys(params: &Params) -> io::Result<String> {
    let script = params.workspace.join("hook.ps1");
    let ready = params.workspace.join("hook-stands");
    fs::write(&script, HOOK)?;
    let mut child = program("powershell")
        .args(["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File"])
        .args([&script, &ready])
        .spawn()?;
    let begun = Instant::now();
    while !ready.exists() && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    hold(params)?;
    let status = child.wait()?;
    Ok(format!("hooked the keyboard: {status}"))
}

pub(super) fn back_up(params: &Params) -> io::Result<String> {
    let (from, to) = (params.target()?.to_string_lossy(), params.workspace.join("copied"));
    // Its exit code says how much was copied, not whether it failed.
    match system("robocopy", &[&from, &to.to_string_lossy(), "k", "/b", "/r:0", "/w:0"]) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Err(error),
        _ => Ok("ran robocopy".into()),
    }
}

pub(super) fn labelled(params: &Params) -> io::Result<String> {
    fs::write(params.workspace.join("labelled"), b"")?;
    Ok("made a file".into())
}
