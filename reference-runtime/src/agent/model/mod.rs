//! The model: asked with a history and the tools on offer, it answers with text and proposed
//! calls. A model must never run anything, and nothing that it says is trusted.

mod openai;
mod scripted;

use super::history::{Entry, ProposedCall};
use crate::audit::Rejection;
use crate::boundary::Limits;
use crate::config::{self, Provider};
use crate::registry::Listing;
use crate::vault::ApiKey;

/// What a model answered: raw text, not yet vetted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The prose; may be empty.
    pub text: String,
    /// The calls that it proposes, in order.
    pub calls: Vec<ProposedCall>,
    /// Whether the answer was cut off: its calls are unfinished.
    pub cut: bool,
}

/// One of the models that this runtime can ask.
pub enum Model {
    /// Offline; see `scripted.rs` for what it understands.
    Scripted,
    /// Any server that speaks OpenAI chat completions.
    OpenAi(openai::OpenAi),
}

impl Model {
    /// The model that the configuration names, with the key that it names, if any.
    ///
    /// # Errors
    /// `error.deny` where the base URL or the model's name is missing or not usable.
    pub fn new(config: &config::Model, key: Option<ApiKey>) -> Result<Self, Rejection> {
        Ok(match config.provider {
            Provider::Scripted => Self::Scripted,
            Provider::OpenAi => Self::OpenAi(openai::OpenAi::new(config, key)?),
        })
    }

    /// Asks for the next answer.
    ///
    /// # Errors
    /// `error.deny` where the model cannot be reached or answers badly; the requirement of Layer 1
    /// that its answer breaks.
    pub async fn answer(
        &self,
        history: &[Entry],
        tools: &[Listing],
        limits: &Limits,
    ) -> Result<Answer, Rejection> {
        match self {
            Self::Scripted => scripted::answer(history),
            Self::OpenAi(model) => model.answer(history, tools, limits).await,
        }
    }
}
