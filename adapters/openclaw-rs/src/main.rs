//! Wires the published crates of openclaw-rs (core, agents, providers, gateway) into one program, as
//! their documentation says: their own binary registers no agent and no tool. It must never check,
//! refuse or repair anything itself, since that would be taken for theirs.
//!
//! What is ours here is glue and nothing else:
//!
//! - `AgentRuntime` drops the tool calls of a model. [`Looping`] hands them to their `ToolRegistry`
//!   and the results back to the model.
//! - Their input validation is called by none of the crates. It is called where a message and where a
//!   call's parameters pass through [`Looping`], which is the one place that the gateway leaves open.
//! - Their `GatewayRateLimiter` is not called: the gateway builds its router itself and has no
//!   place for one.

mod turn;

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openclaw_agents::runtime::AgentRuntime;
use openclaw_agents::sandbox::{SandboxConfig, SandboxLevel, execute_sandboxed};
use openclaw_agents::tools::{BashTool, ToolRegistry};
use openclaw_core::events::EventStore;
use openclaw_core::secrets::{ApiKey, CredentialStore};
use openclaw_gateway::auth::JwtManager;
use openclaw_gateway::{AuthConfig, AuthState, GatewayBuilder, GatewayConfig, User, UserRole};
use openclaw_providers::OpenAIProvider;
use serde::Deserialize;

use turn::Looping;

type Done = Result<(), Box<dyn Error>>;

const USAGE: &str =
    "openclaw-rs token|keep|serve CONFIG, or openclaw-rs sandbox LEVEL WORKSPACE -- ARGV";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    port: u16,
    /// Everything that is kept lies below it.
    state: PathBuf,
    workspace: PathBuf,
    model: Model,
    /// Their default without it.
    #[serde(default)]
    sandbox: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    url: String,
    name: String,
}

#[tokio::main]
async fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["token", config] => token(&read(config)?),
        ["keep", config] => keep(&read(config)?),
        ["serve", config] => serve(&read(config)?).await,
        ["sandbox", level, workspace, "--", command, rest @ ..] => {
            confined(level, Path::new(workspace), command, rest)
        }
        _ => Err(USAGE.into()),
    }
}

fn read(path: &str) -> Result<Config, Box<dyn Error>> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// Makes the first administrator and prints an access token of his.
fn token(config: &Config) -> Done {
    std::fs::create_dir_all(data(config))?;
    // `AuthState` keeps no secret over a restart unless it is given one.
    std::fs::write(config.state.join("jwt"), JwtManager::generate_hex_secret())?;
    let auth = auth(config)?;
    let admin = User::new("suite", &JwtManager::generate_hex_secret(), UserRole::Admin)?;
    auth.users.create(&admin)?;
    let pair = auth.jwt.create_token_pair(&admin.id, &admin.username, admin.role)?;
    println!("{}", pair.access_token);
    Ok(())
}

fn data(config: &Config) -> PathBuf {
    config.state.join("gateway")
}

fn auth(config: &Config) -> Result<AuthState, Box<dyn Error>> {
    let secret = std::fs::read_to_string(config.state.join("jwt"))?;
    let given = AuthConfig { jwt_secret: Some(secret), ..AuthConfig::default() };
    Ok(AuthState::initialize(given, &data(config))?)
}

/// Keeps the model's key, which comes on standard input, in the credential store.
fn keep(config: &Config) -> Done {
    let mut key = String::new();
    std::io::stdin().read_to_string(&mut key)?;
    Ok(credentials(config)?.store("model", &ApiKey::new(key.trim().to_owned()))?)
}

fn credentials(config: &Config) -> Result<CredentialStore, Box<dyn Error>> {
    let password = std::env::var("OPENCLAW_MASTER_PASSWORD")?;
    let mut key = [0; 32];
    let derived = argon2::Argon2::default();
    derived
        .hash_password_into(password.as_bytes(), b"openclaw-rs credentials", &mut key)
        .map_err(|error| error.to_string())?;
    Ok(CredentialStore::new(key, config.state.join("credentials")))
}

async fn serve(config: &Config) -> Done {
    let mut tools = ToolRegistry::new();
    let sandbox = sandbox(config.sandbox.as_deref(), &config.workspace)?;
    tools.register(Arc::new(BashTool::with_sandbox_config(sandbox)));
    let tools = Arc::new(tools);
    let key = credentials(config)?.load("model")?;
    // The provider adds the version to its base URL itself.
    let url = config.model.url.trim_end_matches('/').trim_end_matches("/v1");
    let provider = Looping::new(OpenAIProvider::with_base_url(key, url), Arc::clone(&tools));
    let agent = AgentRuntime::new(Arc::new(provider))
        .with_model(&config.model.name)
        .with_tools(Arc::clone(&tools));
    let gateway =
        GatewayConfig { port: config.port, data_dir: data(config), ..GatewayConfig::default() };
    let events = EventStore::open(&data(config).join("events"))?;
    let gateway = GatewayBuilder::new()
        .with_config(gateway)
        .with_auth_state(Arc::new(auth(config)?))
        .with_event_store(Arc::new(events))
        .with_tool_registry(tools)
        .with_agent("default", Arc::new(agent))
        .build()?;
    Ok(gateway.run().await?)
}

fn sandbox(level: Option<&str>, workspace: &Path) -> Result<SandboxConfig, Box<dyn Error>> {
    let mut config = SandboxConfig {
        allowed_paths: vec![workspace.to_owned()],
        work_dir: Some(workspace.to_owned()),
        ..SandboxConfig::default()
    };
    if let Some(level) = level {
        config.level = match level {
            "none" => SandboxLevel::None,
            "minimal" => SandboxLevel::Minimal,
            "standard" => SandboxLevel::Standard,
            "strict" => SandboxLevel::Strict,
            "paranoid" => SandboxLevel::Paranoid,
            other => return Err(format!("unknown level {other}").into()),
        };
    }
    Ok(config)
}

/// Runs one command in their sandbox, for the suite's launcher driver.
fn confined(level: &str, workspace: &Path, command: &str, rest: &[&str]) -> Done {
    let output = execute_sandboxed(command, rest, &sandbox(Some(level), workspace)?)?;
    std::io::stdout().write_all(output.stdout.as_bytes())?;
    std::io::stderr().write_all(output.stderr.as_bytes())?;
    std::process::exit(output.exit_code)
}
