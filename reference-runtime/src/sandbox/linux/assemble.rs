//! A table of refused system calls as a program for the kernel's filter. Calls are found by halving,
//! because the kernel tries every call number when it takes a filter, and every call runs through it.
//! It must never know why a call is refused.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, sock_filter};

/// How a refused call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    /// "operation not permitted".
    Denied,
    /// "no such system call": programs then take the older call, which the filter can look into.
    Missing,
}

/// One test on an argument, of which the low 32 bits count: the kernel takes it for an `int`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Test {
    pub(super) argument: u8,
    pub(super) is: Is,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Is {
    Equal(u64),
    Not(u64),
    /// The bits of the mask have this value.
    Masked(u64, u64),
}

/// What refuses a call: its answer, where all tests hold.
pub(super) type Refusals = Vec<(Answer, &'static [Test])>;

const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL: u32 = 0x8000_0000;

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
/// From this number on stand the x32 calls, and numbers that do not exist.
const X32: u32 = 0x4000_0000;

/// The program: a foreign architecture, whose numbers mean other calls, is killed; with `x32`, the
/// calls of that kind are answered "no such system call".
pub(super) fn program(calls: BTreeMap<u32, Refusals>, x32: bool) -> Result<BpfProgram, String> {
    let mut program = vec![
        plain(LOAD_WORD, ARCHITECTURE),
        branch(JUMP_IF_EQUAL, architecture()?, 1, 0),
        plain(RETURN, KILL),
        plain(LOAD_WORD, NUMBER),
    ];
    if x32 {
        program.push(branch(JUMP_IF_AT_LEAST, X32, 0, 1));
        program.push(answer(Answer::Missing));
    }
    let blocks = calls.into_iter().map(|(number, refusals)| Ok((number, block(&refusals)?)));
    program.extend(find(&blocks.collect::<Result<Vec<_>, String>>()?)?);
    Ok(program)
}

fn architecture() -> Result<u32, String> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(0xc000_003e),
        "aarch64" => Ok(0xc000_00b7),
        other => Err(format!("no filter is written for {other}")),
    }
}

/// Goes to the block of the call whose number was loaded; a call without one is allowed.
fn find(calls: &[(u32, BpfProgram)]) -> Result<BpfProgram, String> {
    let (left, right) = calls.split_at(calls.len() / 2);
    Ok(match (left, right) {
        (_, []) => vec![plain(RETURN, ALLOW)],
        ([], [(number, block)]) => {
            let mut found = vec![branch(JUMP_IF_EQUAL, *number, 1, 0), plain(RETURN, ALLOW)];
            found.extend_from_slice(block);
            found
        }
        (_, [(number, _), ..]) => {
            let (left, right) = (find(left)?, find(right)?);
            let over = u32::try_from(left.len()).map_err(|error| error.to_string())?;
            let mut found = vec![branch(JUMP_IF_AT_LEAST, *number, 0, 1), plain(JUMP, over)];
            found.extend(left);
            found.extend(right);
            found
        }
    })
}

fn block(refusals: &Refusals) -> Result<BpfProgram, String> {
    let mut all = BpfProgram::new();
    for (given, tests) in refusals {
        let mut one = vec![answer(*given)];
        for test in tests.iter().rev() {
            let over = u8::try_from(one.len()).map_err(|error| error.to_string())?;
            let word = |value: u64| u32::try_from(value).map_err(|error| error.to_string());
            let mut head = vec![plain(LOAD_WORD, ARGUMENTS + 8 * u32::from(test.argument))];
            match test.is {
                Is::Equal(value) => head.push(branch(JUMP_IF_EQUAL, word(value)?, 0, over)),
                Is::Not(value) => head.push(branch(JUMP_IF_EQUAL, word(value)?, over, 0)),
                Is::Masked(mask, value) => {
                    head.push(plain(AND, word(mask)?));
                    head.push(branch(JUMP_IF_EQUAL, word(value)?, 0, over));
                }
            }
            head.extend(one);
            one = head;
        }
        all.extend(one);
    }
    all.push(plain(RETURN, ALLOW));
    Ok(all)
}

fn answer(answer: Answer) -> sock_filter {
    let number = match answer {
        Answer::Denied => libc::EPERM,
        Answer::Missing => libc::ENOSYS,
    };
    plain(RETURN, ERRNO | number.unsigned_abs())
}

fn plain(code: u16, k: u32) -> sock_filter {
    branch(code, k, 0, 0)
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}
