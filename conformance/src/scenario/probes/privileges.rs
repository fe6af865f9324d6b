//! Stages of the probes of privileges over the whole machine: what is opened is seen by the host's
//! /proc, what is read comes out or not. It must never know a target or an expectation.

use std::fs;
use std::time::{Duration, SystemTime};

use clawproof_probe::Own;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::Trouble;
use super::outside;
use super::scene::{Scene, Sight, Site};
use crate::target::world::{random_hex, targets_are_root};

/// The ends of the settings' paths.
const SETTINGS: &[&str] = &[
    "sys/kernel/core_pattern",
    "sys/kernel/hostname",
    "sys/kernel/modprobe",
    "sys/kernel/msgmax",
    "sys/kernel/shmmax",
    "sys/net/ipv4/ip_forward",
    "sys/vm/overcommit_memory",
];

/// The stage of a probe of this file.
pub(super) fn stage(id: &str, site: &Site<'_>) -> Result<Option<Scene>, Trouble> {
    let scene = Scene::new(site);
    let unseen = || Trouble::NotApplicable("the suite cannot read it itself".to_owned());
    Ok(Some(match id {
        "kern.caps" => scene.looked_at(|pid| {
            let sets = ["CapEff", "CapPrm", "CapAmb"].map(|set| outside::status(pid, set));
            let [Some(effective), Some(permitted), Some(ambient)] = sets else { return None };
            let text = format!("effective {effective}, permitted {permitted}, ambient {ambient}");
            let none = [&effective, &permitted, &ambient]
                .iter()
                .all(|set| set.bytes().all(|byte| byte == b'0'));
            Some(Sight::of(!none, text.clone(), text))
        }),
        "kern.sysctl-write" => opened(scene, SETTINGS, true),
        "kern.sysrq" => opened(scene, &["sysrq-trigger"], true),
        "kern.kmsg" => opened(scene, &["/kmsg"], false),
        "kern.kcore" => opened(scene, &["/kcore"], false),
        "kern.bpf" => super::kernel::descriptor(scene, "bpf-map"),
        "kern.dmesg" => scene.leak(log_line().ok_or_else(unseen)?, "a line of the kernel's log"),
        "kern.kallsyms" => {
            let (address, name) = symbol().ok_or_else(unseen)?;
            scene
                .params(|params| params.name = Some(format!(" {name}")))
                .leak(address, "a kernel address")
        }
        "kern.modules-kexec" => module(scene, site)?,
        "time.clock" => clock(scene)?,
        "uts.hostname" => hostname(scene, site),
        _ => return Ok(None),
    }))
}

fn opened(scene: Scene, tails: &'static [&'static str], writing: bool) -> Scene {
    scene.during(move |held| {
        held.of_probe(|pid| {
            Some(Sight::of(
                outside::holds_open(pid, tails, writing)?,
                format!("the probe holds {} open", tails.join(" or ")),
                "the probe holds no such file open",
            ))
        })
    })
}

/// A line of the kernel's log that is long enough to be known again.
pub(super) fn log_line() -> Option<String> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let device = rustix::fs::open("/dev/kmsg", flags, Mode::empty()).ok()?;
    let mut buffer = [0_u8; 8192];
    for _ in 0..200 {
        let count = rustix::io::read(&device, &mut buffer[..]).ok()?;
        let record = String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned();
        let text = record.split_once(';').and_then(|(_, text)| text.lines().next());
        if let Some(text) = text.filter(|text| text.len() >= 30 && text.is_ascii()) {
            return Some(text.to_owned());
        }
    }
    None
}

/// The address and name of a kernel function, where the suite is shown real ones.
pub(super) fn symbol() -> Option<(String, String)> {
    use std::io::BufRead as _;
    // Hundreds of thousands of lines, of which one of the first will do.
    let table = std::io::BufReader::new(fs::File::open("/proc/kallsyms").ok()?);
    table.lines().take(2000).map_while(Result::ok).find_map(|line| {
        let mut words = line.split(' ');
        let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
        let real = address.bytes().any(|byte| byte != b'0');
        // Not the first of all, which many share.
        let own = !address.ends_with("000");
        (real && own && kind == "T").then(|| (address.to_owned(), name.to_owned()))
    })
}

/// A file that is no module. The kernel reads it only for who may load one.
fn module(scene: Scene, site: &Site<'_>) -> Result<Scene, Trouble> {
    let path = site.workspace.join("module.ko");
    site.world.write(&path, random_hex(2048).as_bytes(), 0o644)?;
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let times = fs::FileTimes::new().set_accessed(old);
    fs::File::options().write(true).open(&path)?.set_times(times)?;
    let target = path.clone();
    Ok(scene.params(|params| params.target = Some(target)).after(move |_| {
        match fs::symlink_metadata(&path).and_then(|data| data.accessed()) {
            Ok(time) => Sight::of(
                time != old,
                "the kernel read the file as a module or another kernel",
                "the kernel did not read the file",
            ),
            Err(error) => Sight::Blind(format!("no access time: {error}")),
        }
    }))
}

/// A timer that the kernel cancels when somebody sets the clock, by however little.
fn clock(scene: Scene) -> Result<Scene, Trouble> {
    let failed = |error: rustix::io::Errno| Trouble::NotApplicable(format!("no timer: {error}"));
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Realtime, flags).map_err(failed)?;
    let far = Timespec { tv_sec: 1 << 40, tv_nsec: 0 };
    let never = Timespec { tv_sec: 0, tv_nsec: 0 };
    let value = Itimerspec { it_interval: never, it_value: far };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(&timer, flags, &value).map_err(failed)?;
    Ok(scene.after(move |_| {
        let read = rustix::io::read(&timer, &mut [0_u8; 8][..]);
        Sight::of(
            read == Err(rustix::io::Errno::CANCELED),
            "the host's clock was set",
            "the host's clock was not set",
        )
    }))
}

/// Who may set a name sets that of a namespace which the suite made; an ordinary user tries it on
/// the host's.
fn hostname(scene: Scene, site: &Site<'_>) -> Scene {
    let name = format!("clawproof-{}", random_hex(6));
    let own = site.control || targets_are_root() && site.prefix.is_some();
    let report = site.world.state().join(format!("name-{}", site.token));
    let (wanted, file) = (name.clone(), report.clone());
    scene
        .ask(|ask| {
            if own {
                ask.launch.stay = true;
                ask.launch.own = Some(Own { name: Some(report), ..Own::default() });
            }
        })
        .params(|params| params.name = Some(name))
        .after(move |_| {
            let found = if own {
                fs::read_to_string(&file)
            } else {
                let uname = rustix::system::uname();
                Ok(uname.nodename().to_string_lossy().into_owned())
            };
            match found {
                Ok(found) => Sight::of(
                    found == wanted,
                    "outside, the host has the probe's name",
                    format!("outside, the host is called {found}"),
                ),
                Err(error) => Sight::Blind(format!("the name was not read: {error}")),
            }
        })
}
