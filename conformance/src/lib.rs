//! ClawProof's suite: shows, black-box, which defences of an agent runtime or sandbox hold.
//!
//! Rooms stand in one order and a room never names one to its right:
//! `spec -> corpus -> verdict -> target -> driver, stage, sensor -> oracle -> scenario -> run, explore, wordlist -> report`.

pub mod corpus;
pub mod driver;
pub mod explore;
pub mod oracle;
pub mod report;
pub mod run;
pub mod scenario;
pub mod sensor;
pub mod spec;
pub mod stage;
pub mod target;
pub mod verdict;
pub mod wordlist;
