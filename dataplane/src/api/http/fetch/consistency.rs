//! Which replica may answer a read, in parameters and answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::serving::request;

/// Which replica may answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Consistency {
    #[default]
    Leader,
    Session,
    Linearizable,
}

impl From<Consistency> for request::Consistency {
    fn from(asked: Consistency) -> Self {
        match asked {
            Consistency::Leader => Self::Leader,
            Consistency::Session => Self::Session,
            Consistency::Linearizable => Self::Linearizable,
        }
    }
}

impl From<request::Consistency> for Consistency {
    fn from(given: request::Consistency) -> Self {
        match given {
            request::Consistency::Leader => Self::Leader,
            request::Consistency::Session => Self::Session,
            request::Consistency::Linearizable => Self::Linearizable,
        }
    }
}
