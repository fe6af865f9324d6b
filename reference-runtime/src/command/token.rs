//! `token`: bearer tokens on the command line. A token is printed once, at its making.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use clawproof_runtime::gateway::{Role, Tokens};
use secrecy::ExposeSecret as _;

use super::changes::Changes;
use super::{Failure, State};

#[derive(Subcommand)]
pub(crate) enum Mode {
    /// Make a token and print it, this one time
    Create {
        #[command(flatten)]
        state: State,
        /// What the token may do
        #[arg(long, value_enum, default_value = "user")]
        role: Role,
        /// How long it counts, such as 30d, 12h, 45m [default: until it is revoked]
        #[arg(long, value_name = "TIME", value_parser = lifetime)]
        ttl: Option<Duration>,
    },
    /// List the tokens by id
    List {
        #[command(flatten)]
        state: State,
    },
    /// Revoke a token by its id
    Revoke {
        #[command(flatten)]
        state: State,
        /// The id, as `token list` shows it
        id: String,
    },
}

pub(crate) fn run(mode: Mode) -> Result<ExitCode, Failure> {
    let failed =
        |error: std::io::Error| Failure::Failed(format!("the tokens cannot be used: {error}"));
    match mode {
        Mode::Create { state, role, ttl } => {
            let changes = Changes::of(&state)?;
            let (record, token) = Tokens::at(&changes.state).create(role, ttl).map_err(failed)?;
            changes.record("token.create", &format!("{}, {role:?}", record.id))?;
            println!("{}", token.expose_secret());
        }
        Mode::List { state } => {
            let now = jiff::Timestamp::now();
            for record in Tokens::at(&state.path()?).list().map_err(failed)? {
                let standing = match (record.revoked, record.expires) {
                    (Some(at), _) => format!("revoked {at}"),
                    (None, Some(at)) if at <= now => format!("expired {at}"),
                    (None, Some(at)) => format!("until {at}"),
                    (None, None) => "in force".to_owned(),
                };
                let role = match record.role {
                    Role::Admin => "admin",
                    Role::User => "user",
                };
                println!("{}  {role:5}  made {}  {standing}", record.id, record.created);
            }
        }
        Mode::Revoke { state, id } => {
            let changes = Changes::of(&state)?;
            if !Tokens::at(&changes.state).revoke(&id).map_err(failed)? {
                return Err(Failure::Asked(format!("there is no token in force of the id {id}")));
            }
            changes.record("token.revoke", &id)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || "a whole number and s, m, h or d, such as 30d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| wrong())?;
    // A hundred years is for ever, and far from the end of the calendar.
    let total = count.checked_mul(seconds).filter(|total| *total <= 100 * 366 * 86_400);
    total.map(Duration::from_secs).ok_or_else(|| "at most a hundred years".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_number_and_a_unit() {
        assert_eq!(lifetime("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(lifetime("0s"), Ok(Duration::ZERO));
        for wrong in ["", "d", "30", "-1d", "1.5h", "1w", "99999999999999999999d", "999999d", "1é"]
        {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
