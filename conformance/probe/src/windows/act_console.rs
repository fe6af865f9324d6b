//! Actions on what a launcher has and a tool should not: its handles, its console, the machine's DNS
//! service. It must never know what the host put there.

use std::fs;
use std::io;
use std::net::ToSocketAddrs as _;

use super::act::powershell;
use crate::Params;
use crate::portable::system;

/// Reads a number as a handle, for every number that a handle of a small process may have. Those
/// that are no file are passed over; so is what cannot be read.
const HANDLES: &str = "$k = 0; for ($n = 4; $n -le 4096; $n += 4) { \
    $h = New-Object Microsoft.Win32.SafeHandles.SafeFileHandle([IntPtr]$n, $false); \
    try { $f = New-Object IO.FileStream($h, [IO.FileAccess]::Read, 1); \
    if ($f.CanSeek) { $k++; $f.Position = 0; $b = New-Object byte[] 200; \
    $c = $f.Read($b, 0, 200); [Text.Encoding]::ASCII.GetString($b, 0, $c) } } catch { } }; \
    \"$k files are open\"";

/// Writes keys into the input of another process's console. The first argument is that process, the
/// second the text.
const TYPE: &str = r#"
Add-Type -TypeDefinition @'
using System;
using System.Runtime.InteropServices;
public static class Typist {
  [StructLayout(LayoutKind.Explicit, CharSet = CharSet.Unicode)]
  struct Record {
    [FieldOffset(0)] public ushort Kind;
    [FieldOffset(4)] public int Down;
    [FieldOffset(8)] public ushort Repeat;
    [FieldOffset(10)] public ushort Key;
    [FieldOffset(12)] public ushort Scan;
    [FieldOffset(14)] public char Letter;
    [FieldOffset(16)] public uint Control;
  }
  [DllImport("kernel32.dll", SetLastError = true)] static extern bool FreeConsole();
  [DllImport("kernel32.dll", SetLastError = true)] static extern bool AttachConsole(uint pid);
  [DllImport("kernel32.dll", SetLastError = true, CharSet = CharSet.Unicode)]
  static extern IntPtr CreateFileW(string n, uint a, uint s, IntPtr x, uint d, uint f, IntPtr t);
  [DllImport("kernel32.dll", SetLastError = true, CharSet = CharSet.Unicode)]
  static extern bool WriteConsoleInputW(IntPtr h, Record[] r, uint n, out uint done);
  public static void Run(uint pid, string text) {
    FreeConsole();
    if (!AttachConsole(pid)) throw new Exception("no console: " + Marshal.GetLastWin32Error());
    IntPtr input = CreateFileW("CONIN$", 0xC0000000, 3, IntPtr.Zero, 3, 0, IntPtr.Zero);
    string line = text + "\r";
    Record[] keys = new Record[line.Length * 2];
    for (int i = 0; i < keys.Length; i++) {
      char letter = line[i / 2];
      keys[i].Kind = 1;
      keys[i].Down = 1 - i % 2;
      keys[i].Repeat = 1;
      keys[i].Key = (ushort)(letter == '\r' ? 13 : 0);
      keys[i].Letter = letter;
    }
    uint done;
    if (!WriteConsoleInputW(input, keys, (uint)keys.Length, out done))
      throw new Exception("not typed: " + Marshal.GetLastWin32Error());
  }
}
'@
[Typist]::Run([uint32]$args[0], $args[1])
"#;

pub(super) fn look_up(params: &Params) -> io::Result<String> {
    let name = format!("{}.{}", params.content()?, params.name()?);
    // The answer is that there is no such name: what counts is who was asked.
    match (name.as_str(), 80).to_socket_addrs() {
        Ok(_) => Ok("the name was found".into()),
        Err(error) => Ok(format!("the name was looked up: {error}")),
    }
}

pub(super) fn inherited(_: &Params) -> io::Result<String> {
    powershell(HANDLES)
}

pub(super) fn type_in(params: &Params) -> io::Result<String> {
    let script = params.workspace.join("type.ps1");
    fs::write(&script, TYPE)?;
    let pid = params.pid()?.to_string();
    let script = script.to_string_lossy();
    let flags = ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File", &script];
    system("powershell", &[flags.as_slice(), &[&pid, params.content()?]].concat())
}
