//! The configuration file, openclaw.json (JSON5), read into a value; unknown keys are refused.
