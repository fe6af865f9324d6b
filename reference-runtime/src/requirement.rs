//! The requirements that this runtime upholds, and the one seam at which a check can be missing.
//!
//! Every defence asks its requirement first. In a normal build the answer is a constant, so the
//! question costs nothing; in a build with the cargo feature `knockout`, which is never default
//! and does not compile in a release profile, one named requirement can be switched off so that
//! the suite can show that it notices; several, or a whole layer, to show what another layer still
//! holds. This file must never know what any check does.

#[cfg(feature = "knockout")]
pub mod knockout;
#[cfg(feature = "knockout")]
mod switch;
pub mod variant;

use std::fmt;

#[cfg(all(feature = "knockout", not(debug_assertions)))]
compile_error!("the `knockout` feature switches defences off and is refused in a release profile");

/// One requirement of the catalogue, by its permanent id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Requirement(&'static str);

impl Requirement {
    /// The permanent id, such as `input.json-depth`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        self.0
    }

    /// Whether the defence is in force. Always true but for a knocked-out requirement.
    #[must_use]
    #[inline]
    pub fn enforced(self) -> bool {
        #[cfg(feature = "knockout")]
        return !switch::missing(self);
        #[cfg(not(feature = "knockout"))]
        true
    }

    /// The requirement with this id, if this runtime knows it.
    #[must_use]
    pub fn named(id: &str) -> Option<Self> {
        ALL.iter().copied().find(|requirement| requirement.0 == id)
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

macro_rules! requirements {
    ($($name:ident = $id:literal;)*) => {
        $(
            #[doc = concat!("`", $id, "`")]
            pub const $name: Requirement = Requirement($id);
        )*
        /// Every requirement that has a check in this runtime.
        pub const ALL: &[Requirement] = &[$($name),*];
    };
}

requirements! {
    INPUT_MESSAGE_SIZE = "input.message-size";
    INPUT_ATTACHMENT_SIZE = "input.attachment-size";
    INPUT_ATTACHMENT_SIZE_EXACT = "input.attachment-size-exact";
    INPUT_ATTACHMENT_COUNT = "input.attachment-count";
    INPUT_JSON_DEPTH = "input.json-depth";
    INPUT_JSON_STRICT = "input.json-strict";
    INPUT_NULL_BYTE = "input.null-byte";
    INPUT_CONTROL_CHARS = "input.control-chars";
    INPUT_UTF8 = "input.utf8";
    INPUT_ALL_DOORS = "input.all-doors";
    INPUT_BOUNDED_MEMORY = "input.bounded-memory";
    PATH_TRAVERSAL = "path.traversal";
    PATH_ABSOLUTE = "path.absolute";
    PATH_LINK = "path.link";
    PATH_OS_ALIAS = "path.os-alias";
    REGISTRY_ONLY_REGISTERED = "registry.only-registered";
    REGISTRY_EXACT_NAME = "registry.exact-name";
    REGISTRY_NO_CONJURING = "registry.no-conjuring";
    REGISTRY_SCHEMA = "registry.schema";
    REGISTRY_NO_SHELL = "registry.no-shell";
    REGISTRY_CAPABILITY = "registry.capability";
    REGISTRY_NO_SHADOW = "registry.no-shadow";
    REGISTRY_CALL_INTEGRITY = "registry.call-integrity";
    SANDBOX_DEFAULT_STRICT = "sandbox.default-strict";
    SANDBOX_LEVELS = "sandbox.levels";
    SANDBOX_LOOSER_PER_TOOL = "sandbox.looser-per-tool";
    SANDBOX_FAIL_CLOSED = "sandbox.fail-closed";
    SANDBOX_HONEST = "sandbox.honest";
    SANDBOX_REAP = "sandbox.reap";
    SANDBOX_FS = "sandbox.fs";
    SANDBOX_NET = "sandbox.net";
    SANDBOX_PROC = "sandbox.proc";
    SANDBOX_KERN = "sandbox.kern";
    SANDBOX_IPC = "sandbox.ipc";
    SANDBOX_RES = "sandbox.res";
    SANDBOX_ENV = "sandbox.env";
    SANDBOX_TERM = "sandbox.term";
    // The single lines of a plan, each under one of the heads above: `sandbox/lines.rs`.
    SANDBOX_PLAN_UNSHARE_NET = "sandbox.plan.unshare-net";
    SANDBOX_PLAN_UNSHARE_PID = "sandbox.plan.unshare-pid";
    SANDBOX_PLAN_UNSHARE_IPC = "sandbox.plan.unshare-ipc";
    SANDBOX_PLAN_DISABLE_USERNS = "sandbox.plan.disable-userns";
    SANDBOX_PLAN_CAP_DROP = "sandbox.plan.cap-drop";
    SANDBOX_PLAN_NEW_SESSION = "sandbox.plan.new-session";
    SANDBOX_PLAN_DIE_WITH_PARENT = "sandbox.plan.die-with-parent";
    SANDBOX_PLAN_PROC_SYS = "sandbox.plan.proc-sys";
    SANDBOX_PLAN_SEAL_DEV = "sandbox.plan.seal-dev";
    SANDBOX_PLAN_SEAL_ROOT = "sandbox.plan.seal-root";
    SANDBOX_PLAN_SIZE_SHM = "sandbox.plan.size-shm";
    SANDBOX_PLAN_SIZE_TMP = "sandbox.plan.size-tmp";
    SANDBOX_PLAN_PROTECTED = "sandbox.plan.protected";
    SANDBOX_PLAN_PINNED = "sandbox.plan.pinned";
    SANDBOX_PLAN_DESCRIPTORS = "sandbox.plan.descriptors";
    SANDBOX_PLAN_RLIMIT_NPROC = "sandbox.plan.rlimit-nproc";
    SANDBOX_PLAN_RLIMIT_AS = "sandbox.plan.rlimit-as";
    SANDBOX_PLAN_RLIMIT_FSIZE = "sandbox.plan.rlimit-fsize";
    SANDBOX_PLAN_RLIMIT_NOFILE = "sandbox.plan.rlimit-nofile";
    SANDBOX_PLAN_RLIMIT_CPU = "sandbox.plan.rlimit-cpu";
    SANDBOX_PLAN_LANDLOCK_FILES = "sandbox.plan.landlock-files";
    SANDBOX_PLAN_LANDLOCK_TCP = "sandbox.plan.landlock-tcp";
    SANDBOX_PLAN_LANDLOCK_SCOPES = "sandbox.plan.landlock-scopes";
    SANDBOX_PLAN_SECCOMP_KERNEL = "sandbox.plan.seccomp-kernel";
    SANDBOX_PLAN_SECCOMP_NAMESPACES = "sandbox.plan.seccomp-namespaces";
    SANDBOX_PLAN_SECCOMP_KEYS = "sandbox.plan.seccomp-keys";
    SANDBOX_PLAN_SECCOMP_PROCESSES = "sandbox.plan.seccomp-processes";
    SANDBOX_PLAN_SECCOMP_FILES = "sandbox.plan.seccomp-files";
    SANDBOX_PLAN_SECCOMP_WATCHES = "sandbox.plan.seccomp-watches";
    SANDBOX_PLAN_SECCOMP_OPENAT2 = "sandbox.plan.seccomp-openat2";
    SANDBOX_PLAN_SECCOMP_TERMINAL = "sandbox.plan.seccomp-terminal";
    SANDBOX_PLAN_SECCOMP_FAMILIES = "sandbox.plan.seccomp-families";
    SANDBOX_PLAN_ENVIRONMENT = "sandbox.plan.environment";
    SANDBOX_PLAN_OUTPUT = "sandbox.plan.output";
    SANDBOX_PLAN_PLAIN_TERMINAL = "sandbox.plan.plain-terminal";
    VAULT_KDF = "vault.kdf";
    VAULT_CIPHER = "vault.cipher";
    VAULT_TAMPER = "vault.tamper";
    VAULT_SWAP = "vault.swap";
    VAULT_DOWNGRADE = "vault.downgrade";
    VAULT_PERMISSIONS = "vault.permissions";
    VAULT_NO_PLAINTEXT = "vault.no-plaintext";
    VAULT_CRASH_SAFE = "vault.crash-safe";
    SECRET_REDACTED = "secret.redacted";
    SECRET_NO_LEAK = "secret.no-leak";
    SECRET_ZEROED = "secret.zeroed";
    PLUGIN_PROCESS = "plugin.process";
    PLUGIN_FRAME = "plugin.frame";
    PLUGIN_LEAST = "plugin.least";
    PLUGIN_PEER = "plugin.peer";
    ERROR_SANITISED = "error.sanitised";
    ERROR_NO_PANIC = "error.no-panic";
    ERROR_DENY = "error.deny";
    AUDIT_AUTH = "audit.auth";
    AUDIT_AUTHORIZATION = "audit.authorization";
    AUDIT_TOOL = "audit.tool";
    AUDIT_CONFIG = "audit.config";
    AUDIT_RATE_LIMIT = "audit.rate-limit";
    AUDIT_INTEGRITY = "audit.integrity";
    AUDIT_RECONCILED = "audit.reconciled";
    AUTH_REQUIRED = "auth.required";
    AUTH_ORIGIN = "auth.origin";
    AUTH_NO_ORACLE = "auth.no-oracle";
    RATE_CLIENT = "rate.client";
    RATE_SESSION = "rate.session";
    RATE_IDENTITY = "rate.identity";
    RATE_OVERRIDE = "rate.override";
    RATE_BOUNDED = "rate.bounded";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_found_by_name() {
        for requirement in ALL {
            assert_eq!(Requirement::named(requirement.id()), Some(*requirement));
            assert_eq!(ALL.iter().filter(|other| other.id() == requirement.id()).count(), 1);
        }
        assert_eq!(Requirement::named("input.nothing"), None);
    }

    #[test]
    fn a_failed_check_names_its_requirement() {
        let refusal = INPUT_UTF8.check(false, "not UTF-8", || "byte 3".into()).unwrap_err();
        assert_eq!(refusal.requirement(), INPUT_UTF8);
        assert!(INPUT_UTF8.check(true, "not UTF-8", String::new).is_ok());
    }
}
