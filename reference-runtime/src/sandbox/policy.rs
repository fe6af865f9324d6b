//! Which level is in force for which tool. It must never know how a level is enforced.

pub use crate::config::Level;
use crate::{audit::Rejection, config::Config, requirement};

/// The level for a tool. A level that the configuration gives by the tool's exact name holds for
/// that tool alone; `none` is given in no other way.
///
/// # Errors
/// `sandbox.default-strict` where the level for all tools is `none`.
pub fn level(config: &Config, tool: &str) -> Result<Level, Rejection> {
    if let Some(level) = config.sandbox.tools.get(tool) {
        return Ok(*level);
    }
    if !requirement::SANDBOX_LOOSER_PER_TOOL.enforced() {
        // What is prevented: one tool's looser level spreads to the others.
        if let Some(loosest) = config.sandbox.tools.values().min() {
            return Ok(*loosest.min(&config.sandbox.level));
        }
    }
    if !requirement::SANDBOX_DEFAULT_STRICT.enforced() {
        return Ok(Level::None);
    }
    if config.sandbox.level == Level::None {
        return Err(requirement::SANDBOX_DEFAULT_STRICT.refuse(
            "only a tool that the configuration names may run without a sandbox",
            format!("{tool} is not named in sandbox.tools and sandbox.level is none"),
        ));
    }
    if config.sandbox.level == Level::Relaxed && !requirement::SANDBOX_LEVELS.enforced() {
        // What is prevented: a level that does not do what its name says.
        return Ok(Level::Strict);
    }
    Ok(config.sandbox.level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_strict_and_a_looser_level_is_the_named_tools_alone() {
        let mut config = Config::default();
        assert_eq!(level(&config, "exec").unwrap(), Level::Strict);
        config.sandbox.tools.insert("exec".into(), Level::Relaxed);
        assert_eq!(level(&config, "exec").unwrap(), Level::Relaxed);
        assert_eq!(level(&config, "read_file").unwrap(), Level::Strict);
        assert_eq!(level(&config, "Exec").unwrap(), Level::Strict);
    }

    #[test]
    fn no_sandbox_is_for_named_tools_only() {
        let mut config = Config::default();
        config.sandbox.level = Level::None;
        let refusal = level(&config, "exec").unwrap_err();
        assert_eq!(refusal.requirement(), requirement::SANDBOX_DEFAULT_STRICT);
        config.sandbox.tools.insert("exec".into(), Level::None);
        assert_eq!(level(&config, "exec").unwrap(), Level::None);
    }
}
