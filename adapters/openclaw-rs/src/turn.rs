//! The turn: what the model calls goes to their registry, and what comes of it back to the model,
//! until it answers in words. It must never change or judge a call beyond what their functions say.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Stream;
use openclaw_agents::tools::{ToolError, ToolRegistry, ToolResult};
use openclaw_core::validation::{limits, validate_message_content, validate_tool_params};
use openclaw_providers::OpenAIProvider;
use openclaw_providers::traits::{
    CompletionRequest, CompletionResponse, ContentBlock, Message, MessageContent, Provider,
    ProviderError, Role, StreamingChunk,
};
use serde_json::Value;

/// How often the model is asked in one turn.
const STEPS: usize = 16;

/// Their provider, asked again for as long as it calls tools.
pub(crate) struct Looping {
    inner: OpenAIProvider,
    tools: Arc<ToolRegistry>,
}

impl Looping {
    pub(crate) fn new(inner: OpenAIProvider, tools: Arc<ToolRegistry>) -> Self {
        Self { inner, tools }
    }

    async fn call(&self, id: String, name: &str, input: Value) -> ContentBlock {
        let (content, error) = match self.execute(name, input).await {
            Ok(result) if result.success => (result.content, false),
            Ok(result) => (result.error.unwrap_or_default(), true),
            Err(error) => (error.to_string(), true),
        };
        ContentBlock::ToolResult { tool_use_id: id, content, is_error: Some(error) }
    }

    async fn execute(&self, name: &str, input: Value) -> Result<ToolResult, ToolError> {
        if let Some(tool) = self.tools.get(name) {
            let valid = validate_tool_params(&input, &tool.input_schema());
            valid.map_err(|error| ToolError::InvalidParams(error.to_string()))?;
        }
        self.tools.execute(name, input).await
    }
}

#[async_trait]
impl Provider for Looping {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn list_models(&self) -> Result<Vec<String>, ProviderError> {
        self.inner.list_models().await
    }

    async fn complete(
        &self,
        mut request: CompletionRequest,
    ) -> Result<CompletionResponse, ProviderError> {
        for message in &mut request.messages {
            if let (Role::User, MessageContent::Text(text)) = (message.role, &mut message.content) {
                let valid = validate_message_content(text, limits::MAX_MESSAGE_LENGTH);
                *text = valid.map_err(|error| ProviderError::Config(error.to_string()))?;
            }
        }
        for _ in 0..STEPS {
            let response = self.inner.complete(request.clone()).await?;
            let mut results = Vec::new();
            for block in &response.content {
                if let ContentBlock::ToolUse { id, name, input } = block {
                    results.push(self.call(id.clone(), name, input.clone()).await);
                }
            }
            if results.is_empty() {
                return Ok(response);
            }
            let content = MessageContent::Blocks(response.content);
            request.messages.push(Message { role: Role::Assistant, content });
            let content = MessageContent::Blocks(results);
            request.messages.push(Message { role: Role::Tool, content });
        }
        Err(ProviderError::Config("the model calls tools without end".to_owned()))
    }

    async fn complete_stream(
        &self,
        request: CompletionRequest,
    ) -> Result<
        Pin<Box<dyn Stream<Item = Result<StreamingChunk, ProviderError>> + Send>>,
        ProviderError,
    > {
        self.inner.complete_stream(request).await
    }
}
