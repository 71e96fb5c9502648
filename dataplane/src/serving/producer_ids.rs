//! Numbers of producers: the meta group allocates them in blocks, a node uses those of its block.
//! An id is such a number, sealed (`lograft_core::producer_id_key`).

use std::ops::Range;

use lograft_core::limits::{META_PROPOSE_MAX, PRODUCER_IDS_BLOCK_COUNT};
use lograft_core::metadata::{Command, Outcome};
use lograft_core::{ProducerId, Reason};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::error::ApiError;
use crate::serving::meta_group::ProposeMeta;

/// The unused rest of the node's block. A restart loses it, which is fine: there are 2^64 ids.
#[derive(Debug, Default)]
pub(super) struct ProducerIds(Mutex<Range<u64>>);

impl ProducerIds {
    /// A number that no other producer has.
    pub(super) async fn next(&self, meta: &dyn ProposeMeta) -> Result<ProducerId, ApiError> {
        // Without the bound, callers in a cluster without a majority would wait one after the
        // other, each for the whole time of a proposal.
        let Ok(mut block) = timeout(META_PROPOSE_MAX, self.0.lock()).await else {
            let text = "cannot get producer ids: earlier requests for them wait for the meta group";
            return Err(ApiError::new(Reason::NoLeader, text));
        };
        if block.is_empty() {
            let command = Command::AllocateProducers {
                count: PRODUCER_IDS_BLOCK_COUNT,
            };
            let Outcome::Producers { first, count } = meta.propose(command.into()).await? else {
                return Err(ApiError::new(
                    Reason::Internal,
                    "the meta group allocated no producer ids",
                ));
            };
            *block = first.get()..first.get() + u64::from(count);
        }
        let id = block.next();
        id.map(ProducerId).ok_or_else(|| {
            ApiError::new(
                Reason::Internal,
                "the meta group allocated an empty block of producer ids",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::serving::meta_group::{MetaProposal, ProposeMetaError};

    #[derive(Default)]
    struct Meta {
        asked: AtomicU64,
    }

    impl ProposeMeta for Meta {
        fn propose(
            &self,
            proposal: MetaProposal,
        ) -> BoxFuture<'_, Result<Outcome, ProposeMetaError>> {
            let Command::AllocateProducers { count } = proposal.command else {
                panic!("{proposal:?}")
            };
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            let first = ProducerId(1 + asked * 1000);
            std::future::ready(Ok(Outcome::Producers { first, count })).boxed()
        }

        fn check_current(&self) -> Result<(), ApiError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn ids_are_unique_and_the_meta_group_is_asked_once_per_block() {
        let (ids, meta) = (ProducerIds::default(), Meta::default());
        let block = u64::from(PRODUCER_IDS_BLOCK_COUNT);
        for n in 0..block {
            assert_eq!(ids.next(&meta).await, Ok(ProducerId(1 + n)));
        }
        assert_eq!(meta.asked.load(Ordering::Relaxed), 1);
        assert_eq!(ids.next(&meta).await, Ok(ProducerId(1001)));
    }

    struct NoMajority;

    impl ProposeMeta for NoMajority {
        fn propose(&self, _: MetaProposal) -> BoxFuture<'_, Result<Outcome, ProposeMetaError>> {
            Box::pin(async {
                tokio::time::sleep(META_PROPOSE_MAX).await;
                let (reason, text) = (Reason::NoLeader, String::new());
                Err(ProposeMetaError::Unavailable { reason, text })
            })
        }

        fn check_current(&self) -> Result<(), ApiError> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_caller_waits_behind_all_others_while_the_meta_group_has_no_majority() {
        let ids = ProducerIds::default();
        let started = tokio::time::Instant::now();
        let asked = (0..100).map(|_| ids.next(&NoMajority));
        for answer in futures_util::future::join_all(asked).await {
            assert_eq!(answer.unwrap_err().reason(), Some(Reason::NoLeader));
        }
        assert!(
            started.elapsed() <= 2 * META_PROPOSE_MAX,
            "{:?}",
            started.elapsed()
        );
    }
}
