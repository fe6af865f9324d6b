//! The text of `clawproof probe --list`: what each probe of each system does, why, and how it is
//! decided. It must never run one.

use std::fmt::Write as _;

use clawproof_probe::{Probe, System};

/// Every probe that this build knows, this system's first.
#[must_use]
pub fn list() -> String {
    let own = System::current();
    let mut text = own_probes();
    for system in System::ALL.into_iter().filter(|system| *system != own) {
        let mut count = 0;
        for probe in system.probes() {
            count += 1;
            row(&mut text, probe, system);
        }
        let _ = match count {
            0 => writeln!(text, "those of {} are listed by a build for it", system.name()),
            _ => writeln!(text, "{count} probes of {}: not run on this system", system.name()),
        };
    }
    text
}

#[cfg(target_os = "linux")]
fn own_probes() -> String {
    super::probes::list()
}

#[cfg(not(target_os = "linux"))]
fn own_probes() -> String {
    let mut text = String::new();
    let mut count = 0;
    for probe in clawproof_probe::all() {
        count += 1;
        row(&mut text, probe, System::current());
    }
    let _ = writeln!(text, "{count} probes on this operating system");
    text
}

fn row(text: &mut String, probe: &Probe, system: System) {
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}\n    system    {}\n    does      {}\n    because   {}\n    decided   {}\n    \
         expected  relaxed: {}, strict: {}",
        probe.id,
        system.name(),
        probe.what,
        probe.why,
        probe.observer,
        probe.relaxed.word(),
        probe.strict.word(),
    );
    if !probe.references.is_empty() {
        let _ = writeln!(text, "    see       {}", probe.references.join("; "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    #[test]
    fn the_list_names_every_probe_with_its_system() {
        let list = list();
        for system in System::ALL {
            for probe in system.probes() {
                assert!(list.contains(probe.id) && list.contains(probe.what), "{}", probe.id);
            }
        }
        assert!(list.contains("system    Windows") || System::current() == System::Windows);
        assert!(list.contains("not run on this system"));
    }

    #[test]
    fn the_tables_of_every_system_say_what_the_catalogue_says() {
        let spec = Spec::load().unwrap();
        for system in [System::Macos, System::Windows] {
            for probe in system.probes() {
                let id = format!("sandbox.{}", probe.id);
                let row = spec.get(&id).unwrap_or_else(|| panic!("{id} is not in the catalogue"));
                assert_eq!(row.system().unwrap().name(), system.name(), "{id}");
                let boundary = row.boundary.unwrap();
                let said = serde_json::json!([boundary.relaxed, boundary.strict]);
                assert_eq!(said, serde_json::json!([probe.relaxed, probe.strict]), "{id}");
            }
            let rows = spec
                .requirements
                .iter()
                .filter(|row| row.system().is_some_and(|it| it.name() == system.name()));
            assert_eq!(rows.count(), system.probes().count(), "{system:?}");
        }
    }
}
