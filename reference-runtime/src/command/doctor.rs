//! `doctor`: what is in force on this machine, as measured, never as hoped. Exit 1 where the level
//! in force is not the one that is configured.

use std::path::PathBuf;
use std::process::ExitCode;

use clawproof_runtime::plugin;
use clawproof_runtime::sandbox::Sandbox;
use serde_json::json;

use super::{Failure, configuration, parts, serve};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file, openclaw.json [default: none, every setting at its default]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder that the trial runs in; default: that of the configuration, or the current one
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let config = configuration(arguments.config.as_deref())?;
    let here = config.workspace.clone().unwrap_or_else(|| ".".into());
    let folder = arguments.workspace.clone().unwrap_or(here);
    let config = parts::with_workspace(config, Some(folder))?;
    let runtime = serve::runtime()?;
    let _entered = runtime.enter();
    let status = Sandbox::new(&config).status();
    let level = serde_json::to_value(status.level).unwrap_or_default();
    let plugins = plugin::load(&config)?.list();
    let without = if plugins.is_empty() { None } else { plugin::node().err() };
    let refused = without.as_ref().map(|rejection| rejection.public());
    if arguments.json {
        let version = env!("CARGO_PKG_VERSION");
        println!(
            "{}",
            json!({ "version": version, "sandbox": status, "plugins": plugins, "pluginsRefused": refused })
        );
    } else {
        println!("version    {}", env!("CARGO_PKG_VERSION"));
        println!("level      {} (as configured)", level.as_str().unwrap_or_default());
        println!("effective  {} (as measured)", status.effective);
        println!("backend    {}", status.backend);
        for missing in &status.missing {
            println!("missing    {missing}");
        }
        for one in &plugins {
            let (name, version, tools) = (&one.name, &one.version, one.tools.join(", "));
            let level = serde_json::to_value(one.level).unwrap_or_default();
            let level = level.as_str().unwrap_or_default();
            println!("plugin     {name} {version}, {level}: {tools}");
        }
        if let Some(refused) = refused {
            println!("missing    {refused}");
        }
    }
    let holds = level.as_str() == Some(status.effective.as_str());
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
