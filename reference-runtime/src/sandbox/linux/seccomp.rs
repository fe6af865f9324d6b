//! The system call filter as data: group, calls, condition, answer, reason. What is not named here
//! is allowed: namespaces, the narrow view and Landlock hold the rest. It must never know which
//! tool runs.

use std::collections::BTreeMap;

use seccompiler::BpfProgram;

use super::assemble::{self, Answer, Is, Refusals, Test};
use crate::sandbox::plan::Group;

/// A row of the policy: refused where all tests of one alternative hold; without alternatives,
/// always.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) group: Group,
    pub(super) calls: &'static [(&'static str, libc::c_long)],
    pub(super) when: &'static [&'static [Test]],
    pub(super) answer: Answer,
    pub(super) reason: &'static str,
}

const fn equal(argument: u8, value: u64) -> Test {
    Test { argument, is: Is::Equal(value) }
}
const fn not(argument: u8, value: u64) -> Test {
    Test { argument, is: Is::Not(value) }
}
const fn bits(argument: u8, mask: u64, value: u64) -> Test {
    Test { argument, is: Is::Masked(mask, value) }
}
const fn any_of(argument: u8, mask: u64) -> Test {
    bits(argument, mask, mask)
}

macro_rules! calls {
    ($($name:ident)*) => { &[$((stringify!($name), libc::$name)),*] };
}

const SET_UID: u64 = 0o4000;
const SET_GID: u64 = 0o2000;
const CREATE: u64 = 0o100;
const TEMPORARY: u64 = 0o20_000_000;
const TYPE: u64 = 0o170_000;
const CHARACTER: u64 = 0o020_000;
const BLOCK: u64 = 0o060_000;
const UNIX: u64 = 1;
const INET: u64 = 2;
const INET6: u64 = 10;
const NETLINK: u64 = 16;
const DATAGRAM: u64 = 2;
const PACKETS: u64 = 5;
const SOCKET_TYPE: u64 = 0xf;

/// The policy.
pub(super) const RULES: &[Rule] = &[
    Rule {
        group: Group::Kernel,
        calls: calls![SYS_clone3 SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register
            SYS_memfd_secret],
        when: &[],
        answer: Answer::Missing,
        reason: "their arguments lie in memory that a filter cannot read, or they do other calls' \
                 work past the filter",
    },
    Rule {
        group: Group::Kernel,
        calls: calls![SYS_bpf SYS_perf_event_open SYS_userfaultfd SYS_fanotify_init SYS_vmsplice
            SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load SYS_reboot
            SYS_swapon SYS_swapoff SYS_acct SYS_quotactl SYS_quotactl_fd SYS_syslog
            SYS_personality SYS_clock_settime SYS_clock_adjtime SYS_adjtimex SYS_settimeofday
            SYS_sethostname SYS_setdomainname SYS_lookup_dcookie],
        when: &[],
        answer: Answer::Denied,
        reason: "kernel surface that no tool needs",
    },
    #[cfg(target_arch = "x86_64")]
    Rule {
        group: Group::Kernel,
        calls: calls![SYS_iopl SYS_ioperm SYS_modify_ldt SYS_kexec_file_load],
        when: &[],
        answer: Answer::Denied,
        reason: "kernel surface of this architecture that no tool needs",
    },
    Rule {
        group: Group::Namespaces,
        calls: calls![SYS_mount SYS_umount2 SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig
            SYS_fsmount SYS_fspick SYS_mount_setattr SYS_pivot_root SYS_chroot SYS_unshare
            SYS_setns],
        when: &[],
        answer: Answer::Denied,
        reason: "the view is built; nothing inside may rebuild it or make a namespace of its own",
    },
    Rule {
        group: Group::Namespaces,
        calls: calls![SYS_clone],
        when: &[
            &[any_of(0, 0x0000_0080)],
            &[any_of(0, 0x0002_0000)],
            &[any_of(0, 0x0200_0000)],
            &[any_of(0, 0x0400_0000)],
            &[any_of(0, 0x0800_0000)],
            &[any_of(0, 0x1000_0000)],
            &[any_of(0, 0x2000_0000)],
            &[any_of(0, 0x4000_0000)],
        ],
        answer: Answer::Denied,
        reason: "a new time, mount, cgroup, uts, ipc, user, pid or network namespace",
    },
    Rule {
        group: Group::Keys,
        calls: calls![SYS_keyctl SYS_add_key SYS_request_key],
        when: &[],
        answer: Answer::Denied,
        reason: "key rings are shared with the host's session",
    },
    Rule {
        group: Group::Processes,
        calls: calls![SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_kcmp
            SYS_pidfd_getfd SYS_process_madvise],
        when: &[],
        answer: Answer::Denied,
        reason: "another process's memory and descriptors",
    },
    Rule {
        group: Group::Files,
        calls: calls![SYS_open_by_handle_at SYS_name_to_handle_at],
        when: &[],
        answer: Answer::Denied,
        reason: "a handle names a file without a path, outside the view too",
    },
    Rule {
        group: Group::Files,
        calls: calls![SYS_mknodat],
        when: &[
            &[bits(2, TYPE, CHARACTER)],
            &[bits(2, TYPE, BLOCK)],
            &[any_of(2, SET_UID)],
            &[any_of(2, SET_GID)],
        ],
        answer: Answer::Denied,
        reason: "a device node or a set-uid file",
    },
    Rule {
        group: Group::Files,
        calls: calls![SYS_fchmod],
        when: &[&[any_of(1, SET_UID)], &[any_of(1, SET_GID)]],
        answer: Answer::Denied,
        reason: "a set-uid file in the workspace waits for another user",
    },
    Rule {
        group: Group::Files,
        calls: calls![SYS_fchmodat SYS_fchmodat2],
        when: &[&[any_of(2, SET_UID)], &[any_of(2, SET_GID)]],
        answer: Answer::Denied,
        reason: "a set-uid file in the workspace waits for another user",
    },
    Rule {
        group: Group::Files,
        calls: calls![SYS_openat],
        when: &[
            &[any_of(2, CREATE), any_of(3, SET_UID)],
            &[any_of(2, CREATE), any_of(3, SET_GID)],
            &[any_of(2, TEMPORARY), any_of(3, SET_UID)],
            &[any_of(2, TEMPORARY), any_of(3, SET_GID)],
        ],
        answer: Answer::Denied,
        reason: "creating a file that is set-uid from the start",
    },
    #[cfg(target_arch = "x86_64")]
    Rule {
        group: Group::Files,
        calls: calls![SYS_open],
        when: &[
            &[any_of(1, CREATE), any_of(2, SET_UID)],
            &[any_of(1, CREATE), any_of(2, SET_GID)],
            &[any_of(1, TEMPORARY), any_of(2, SET_UID)],
            &[any_of(1, TEMPORARY), any_of(2, SET_GID)],
        ],
        answer: Answer::Denied,
        reason: "creating a file that is set-uid from the start",
    },
    #[cfg(target_arch = "x86_64")]
    Rule {
        group: Group::Files,
        calls: calls![SYS_chmod SYS_creat],
        when: &[&[any_of(1, SET_UID)], &[any_of(1, SET_GID)]],
        answer: Answer::Denied,
        reason: "a set-uid file in the workspace waits for another user",
    },
    #[cfg(target_arch = "x86_64")]
    Rule {
        group: Group::Files,
        calls: calls![SYS_mknod],
        when: &[
            &[bits(1, TYPE, CHARACTER)],
            &[bits(1, TYPE, BLOCK)],
            &[any_of(1, SET_UID)],
            &[any_of(1, SET_GID)],
        ],
        answer: Answer::Denied,
        reason: "a device node or a set-uid file",
    },
    Rule {
        group: Group::Files,
        calls: calls![SYS_fcntl],
        when: &[&[equal(1, 1024)]],
        answer: Answer::Denied,
        reason: "F_SETLEASE: whoever opens the file to write, on the host too, would wait",
    },
    Rule {
        group: Group::Watches,
        calls: calls![SYS_inotify_init1],
        when: &[],
        answer: Answer::Missing,
        reason: "a user has some 128 instances in all; programs fall back to looking again",
    },
    #[cfg(target_arch = "x86_64")]
    Rule {
        group: Group::Watches,
        calls: calls![SYS_inotify_init],
        when: &[],
        answer: Answer::Missing,
        reason: "the older form of the same call",
    },
    Rule {
        group: Group::OpenAt2,
        calls: calls![SYS_openat2],
        when: &[],
        answer: Answer::Missing,
        reason: "the mode of a new file lies in memory that a filter cannot read",
    },
    Rule {
        group: Group::Terminal,
        calls: calls![SYS_ioctl],
        when: &[&[equal(1, 0x5412)], &[equal(1, 0x541c)], &[equal(1, 0x5423)]],
        answer: Answer::Denied,
        reason: "TIOCSTI, TIOCLINUX and TIOCSETD type into a terminal or change its discipline; \
                 the kernel looks at the low 32 bits alone",
    },
    Rule {
        group: Group::Families,
        calls: calls![SYS_socket],
        when: &[&[not(0, INET), not(0, INET6), not(0, NETLINK)], &[equal(0, NETLINK), not(2, 0)]],
        answer: Answer::Denied,
        reason: "a Unix socket in the workspace reaches a service of the host without a network",
    },
    Rule {
        group: Group::Families,
        calls: calls![SYS_socketpair],
        when: &[&[not(0, UNIX)], &[bits(1, SOCKET_TYPE, DATAGRAM)]],
        answer: Answer::Denied,
        reason: "a datagram pair can be pointed at another socket; a stream pair cannot",
    },
    Rule {
        group: Group::PluginFamilies,
        calls: calls![SYS_socket],
        when: &[
            &[not(0, UNIX), not(0, INET), not(0, INET6), not(0, NETLINK)],
            &[equal(0, NETLINK), not(2, 0)],
            &[equal(0, UNIX), bits(1, SOCKET_TYPE, DATAGRAM)],
            &[equal(0, UNIX), bits(1, SOCKET_TYPE, PACKETS)],
        ],
        answer: Answer::Denied,
        reason: "a plugin speaks through the one stream that its view shows",
    },
    Rule {
        group: Group::PluginFamilies,
        calls: calls![SYS_socketpair],
        when: &[&[not(0, UNIX)], &[bits(1, SOCKET_TYPE, DATAGRAM)]],
        answer: Answer::Denied,
        reason: "a datagram pair can be pointed at another socket; a stream pair cannot",
    },
    Rule {
        group: Group::AllSockets,
        calls: calls![SYS_socket SYS_socketpair],
        when: &[],
        answer: Answer::Denied,
        reason: "a file tool speaks to nobody",
    },
    Rule {
        group: Group::Programs,
        calls: calls![SYS_execve SYS_execveat],
        when: &[],
        answer: Answer::Denied,
        reason: "a file tool starts nothing",
    },
];

/// The filter of these groups; none where they refuse nothing.
pub(super) fn filter(groups: &[Group]) -> Result<Option<BpfProgram>, String> {
    let mut calls: BTreeMap<u32, Refusals> = BTreeMap::new();
    for rule in RULES.iter().filter(|rule| groups.contains(&rule.group)) {
        for (name, number) in rule.calls {
            let number = u32::try_from(*number);
            let number = number.map_err(|error| format!("{name}, {}: {error}", rule.reason))?;
            let refusals = calls.entry(number).or_default();
            if rule.when.is_empty() {
                refusals.push((rule.answer, &[]));
            }
            refusals.extend(rule.when.iter().map(|tests| (rule.answer, *tests)));
        }
    }
    let x32 = cfg!(target_arch = "x86_64") && groups.contains(&Group::Kernel);
    if calls.is_empty() && !x32 {
        return Ok(None);
    }
    assemble::program(calls, x32).map(Some)
}

/// Installs a filter, for this thread and all that it will ever start.
pub(super) fn install(program: &BpfProgram) -> Result<(), String> {
    seccompiler::apply_filter(program).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };

    use super::*;

    const ALL: &[Group] = &[
        Group::Kernel,
        Group::Namespaces,
        Group::Keys,
        Group::Processes,
        Group::Files,
        Group::Watches,
        Group::OpenAt2,
        Group::Terminal,
        Group::Families,
        Group::AllSockets,
        Group::Programs,
    ];

    fn filters(groups: &[Group]) -> Vec<BpfProgram> {
        filter(groups).unwrap().into_iter().collect()
    }

    /// What a kernel would answer: a second, independent reading of the compiled program.
    fn judge(programs: &[BpfProgram], number: i64, arguments: [u64; 6]) -> Option<u32> {
        programs.iter().map(|program| interpret(program, number, arguments)).find_map(|answer| {
            match answer & 0xffff_0000 {
                0x7fff_0000 => None,
                0x0005_0000 => Some(answer & 0xffff),
                other => panic!("answer {other:#x}"),
            }
        })
    }

    fn interpret(program: &BpfProgram, number: i64, arguments: [u64; 6]) -> u32 {
        let mut data = [0_u8; 64];
        data[0..4].copy_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
        let arch: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        data[4..8].copy_from_slice(&arch.to_le_bytes());
        for (index, value) in arguments.iter().enumerate() {
            data[16 + index * 8..24 + index * 8].copy_from_slice(&value.to_le_bytes());
        }
        let (mut at, mut accumulator) = (0_usize, 0_u32);
        loop {
            let one = &program[at];
            at += 1;
            let branch = |yes: bool| usize::from(if yes { one.jt } else { one.jf });
            match one.code {
                0x20 => {
                    let from = one.k as usize;
                    accumulator = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                }
                0x54 => accumulator &= one.k,
                0x05 => at += one.k as usize,
                0x15 => at += branch(accumulator == one.k),
                0x25 => at += branch(accumulator > one.k),
                0x35 => at += branch(accumulator >= one.k),
                0x06 => return one.k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    /// Arguments that meet all tests of one alternative.
    fn meeting(tests: &[Test]) -> [u64; 6] {
        let mut arguments = [0_u64; 6];
        for test in tests {
            let slot = &mut arguments[usize::from(test.argument)];
            match test.is {
                Is::Equal(value) => *slot = value,
                Is::Masked(mask, value) => *slot = (*slot & !mask) | value,
                Is::Not(_) => *slot = 0x7fff,
            }
        }
        arguments
    }

    #[test]
    fn every_row_refuses_what_it_describes() {
        for rule in RULES {
            let programs = filters(&[rule.group]);
            let expected = match rule.answer {
                Answer::Denied => libc::EPERM,
                Answer::Missing => libc::ENOSYS,
            };
            for (name, number) in rule.calls {
                let cases: Vec<[u64; 6]> = if rule.when.is_empty() {
                    vec![[0; 6], [u64::MAX; 6]]
                } else {
                    rule.when.iter().map(|tests| meeting(tests)).collect()
                };
                for arguments in cases {
                    assert_eq!(
                        judge(&programs, *number, arguments),
                        Some(expected.unsigned_abs()),
                        "{name} {arguments:?}: {}",
                        rule.reason
                    );
                }
            }
        }
    }

    /// The same rows by a compiler that is not ours: one filter for each answer.
    fn of_the_other_compiler(groups: &[Group]) -> Vec<BpfProgram> {
        let answers = [(Answer::Denied, libc::EPERM), (Answer::Missing, libc::ENOSYS)];
        let programs = answers.into_iter().filter_map(|(answer, number)| {
            let mut table: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
            let chosen = RULES.iter().filter(|rule| groups.contains(&rule.group));
            for rule in chosen.filter(|rule| rule.answer == answer) {
                for (_, number) in rule.calls {
                    table.entry(*number).or_default().extend(rule.when.iter().map(|tests| {
                        let conditions = tests.iter().map(|test| {
                            let (operation, value) = match test.is {
                                Is::Equal(value) => (SeccompCmpOp::Eq, value),
                                Is::Not(value) => (SeccompCmpOp::Ne, value),
                                Is::Masked(mask, value) => (SeccompCmpOp::MaskedEq(mask), value),
                            };
                            let width = SeccompCmpArgLen::Dword;
                            SeccompCondition::new(test.argument, width, operation, value).unwrap()
                        });
                        SeccompRule::new(conditions.collect()).unwrap()
                    }));
                }
            }
            let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
            let refused = SeccompAction::Errno(number.unsigned_abs());
            let filter = SeccompFilter::new(table, SeccompAction::Allow, refused, arch);
            filter.unwrap().try_into().ok()
        });
        programs.collect()
    }

    #[test]
    fn another_compiler_gives_every_call_the_same_answer() {
        // With every group, calls that one refuses always and another by its arguments are refused
        // always; the other compiler takes one row or the other, so those stand apart.
        let program: Vec<Group> = ALL[..9].to_vec();
        for groups in [program.as_slice(), &[Group::AllSockets, Group::Programs, Group::Kernel]] {
            let (ours, other) = (filters(groups), of_the_other_compiler(groups));
            let values: BTreeSet<u64> = RULES
                .iter()
                .flat_map(|rule| rule.when.iter().copied().flatten())
                .flat_map(|test| match test.is {
                    Is::Equal(value) | Is::Not(value) => [value, value ^ 1, value | (1 << 40)],
                    Is::Masked(mask, value) => [value, mask, !mask],
                })
                .collect();
            for number in 0..600 {
                for first in &values {
                    for second in [0, 2, 0o100, 0o4755, 0x5412, 1024, u64::MAX] {
                        let arguments = [*first, second, *first, second, 0, 0];
                        assert_eq!(
                            judge(&ours, number, arguments),
                            judge(&other, number, arguments),
                            "{number} {arguments:x?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn no_row_is_redundant_within_its_group() {
        for (index, rule) in RULES.iter().enumerate() {
            for (name, number) in rule.calls {
                let twice = RULES.iter().enumerate().any(|(other, row)| {
                    other != index
                        && row.group == rule.group
                        && row.when.is_empty()
                        && row.calls.iter().any(|(_, same)| same == number)
                });
                assert!(!twice, "{name} stands in another row of {:?} too", rule.group);
            }
        }
    }

    #[test]
    fn ordinary_work_passes() {
        let program: Vec<Group> = ALL
            .iter()
            .copied()
            .filter(|group| !matches!(group, Group::AllSockets | Group::Programs))
            .collect();
        let programs = filters(&program);
        let ordinary: &[(libc::c_long, [u64; 6])] = &[
            (libc::SYS_read, [0; 6]),
            (libc::SYS_execve, [0; 6]),
            (libc::SYS_clone, [0x3d_0f00, 0, 0, 0, 0, 0]),
            (libc::SYS_clone, [17, 0, 0, 0, 0, 0]),
            (libc::SYS_openat, [0, 0, 0o101, 0o644, 0, 0]),
            // Without O_CREAT the mode is whatever stood in the register.
            (libc::SYS_openat, [0, 0, 0, 0o6777, 0, 0]),
            (libc::SYS_fchmodat, [0, 0, 0o1777, 0, 0, 0]),
            (libc::SYS_mknodat, [0, 0, 0o010_644, 0, 0, 0]),
            (libc::SYS_ioctl, [0, 0x5401, 0, 0, 0, 0]),
            (libc::SYS_ioctl, [0, 0x5413, 0, 0, 0, 0]),
            (libc::SYS_socketpair, [1, 0o2_000_001, 0, 0, 0, 0]),
            (libc::SYS_socket, [16, 3, 0, 0, 0, 0]),
        ];
        for (number, arguments) in ordinary {
            assert_eq!(judge(&programs, *number, *arguments), None, "{number} {arguments:?}");
        }
    }

    #[test]
    fn high_bits_do_not_hide_an_argument() {
        let programs = filters(&[Group::Terminal, Group::Families]);
        let injected = [0, 0xdead_0000_0000 | 0x5412, 0, 0, 0, 0];
        assert_eq!(judge(&programs, libc::SYS_ioctl, injected), Some(1));
        assert_eq!(judge(&programs, libc::SYS_socket, [(1 << 32) | 17, 0, 0, 0, 0, 0]), Some(1));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_x32_calls_do_not_exist() {
        let programs = filters(&[Group::Kernel]);
        let missing = Some(libc::ENOSYS.unsigned_abs());
        assert_eq!(judge(&programs, 0x4000_0000 | libc::SYS_read, [0; 6]), missing);
        assert_eq!(judge(&programs, 0x4000_0000, [0; 6]), missing);
        assert_eq!(judge(&programs, 0x3fff_ffff, [0; 6]), None);
    }

    #[test]
    fn a_foreign_architecture_is_killed() {
        for program in filters(ALL) {
            let kill = program.iter().any(|one| one.code == 0x06 && one.k == 0x8000_0000);
            assert!(kill, "no kill in {} instructions", program.len());
        }
    }

    #[test]
    fn no_groups_mean_no_filter() {
        assert!(filters(&[]).is_empty());
    }
}
