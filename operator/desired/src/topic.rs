//! LogTopic: [`ValidTopic`] is a checked LogTopic and [`Observed`] a snapshot of its LogCluster, of
//! the topic and of rival LogTopics. [`plan`] makes the next step from them, and [`status::next`]
//! the status after the step was carried out.

mod decide;
mod gate;
mod observed;
mod outcome;
mod owner;
mod plan;
mod removal;
mod request;
mod setting;
pub mod status;
mod validate;
mod wait;

pub use decide::{of_invalid, plan};
pub use observed::{
    Claimant, FoundCluster, Observed, ObservedCluster, ObservedTopic, ObservedTopics,
};
pub use outcome::{Failure, Outcome};
pub use plan::{Event, FinalizerChange, Plan};
pub use request::{NewTopic, Request, TopicChange};
pub use setting::SettingKey;
pub use validate::{Stored, ValidTopic, topic_name};
pub use wait::Wait;
