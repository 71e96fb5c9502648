//! Administration of groups: listing, describing, and setting committed offsets.

use std::fmt;
use std::sync::Arc;

use lograft_core::limits::COMMIT_OFFSETS_MAX_COUNT;
use lograft_proto::log::v1 as wire;

use crate::cluster::node::Retry;
use crate::cluster::node_pool::NodePool;
use crate::error::ClientError;

/// Calls about consumer groups, sent to any node and retried until the request timeout. All of them
/// are idempotent.
#[derive(Clone)]
pub struct GroupAdmin {
    pool: Arc<NodePool>,
}

impl GroupAdmin {
    pub(crate) const fn new(pool: Arc<NodePool>) -> Self {
        Self { pool }
    }

    /// All groups that the caller may describe, by name.
    pub async fn list(&self) -> Result<Vec<wire::ListedGroup>, ClientError> {
        let listing = ("list groups", self.pool.deadline());
        let mut groups = Vec::new();
        let mut after = String::new();
        loop {
            let request = wire::ListGroupsRequest {
                after,
                ..wire::ListGroupsRequest::default()
            };
            let page = self
                .pool
                .call_until(listing, Retry::Always, |node| {
                    let request = request.clone();
                    async move { node.groups().list_groups(request).await }
                })
                .await?;
            groups.extend(page.groups);
            match page.next {
                // A name that does not grow would make this an endless loop.
                Some(next) if next > request.after => after = next,
                _ => return Ok(groups),
            }
        }
    }

    /// One group: its members and committed offsets. Fails with the reason `UNKNOWN_GROUP` if it
    /// does not exist.
    ///
    /// Reads all pages. If the group changes meanwhile, the members and offsets are those of the
    /// time of their page, and all else is that of the last one.
    pub async fn describe(&self, group: &str) -> Result<wire::DescribeGroupReply, ClientError> {
        let describing = ("describe group", self.pool.deadline());
        let (mut members, mut offsets, mut after) = (Vec::new(), Vec::new(), String::new());
        loop {
            let request = wire::DescribeGroupRequest {
                group: group.to_owned(),
                after,
                ..wire::DescribeGroupRequest::default()
            };
            let mut page = self
                .pool
                .call_until(describing, Retry::Always, |node| {
                    let request = request.clone();
                    async move { node.groups().describe_group(request).await }
                })
                .await?;
            members.append(&mut page.members);
            offsets.append(&mut page.offsets);
            let Some(next) = page.next.take() else {
                sort(&mut offsets);
                return Ok(wire::DescribeGroupReply {
                    members,
                    offsets,
                    ..page
                });
            };
            after = self.next_page(&request.after, next)?;
        }
    }

    /// The token of the next page. One that does not change would make an endless loop.
    fn next_page(&self, last: &str, next: String) -> Result<String, ClientError> {
        if next != last {
            return Ok(next);
        }
        Err(ClientError::Protocol {
            endpoint: self.pool.last_replied(),
            what: "the same page again",
        })
    }

    /// The committed offsets of a group, by topic and partition; of all topics if `topics` is
    /// empty.
    pub async fn fetch_offsets(
        &self,
        group: &str,
        topics: &[String],
    ) -> Result<Vec<wire::PartitionOffset>, ClientError> {
        let fetching = ("fetch committed offsets", self.pool.deadline());
        let (mut offsets, mut after) = (Vec::new(), String::new());
        loop {
            let request = wire::FetchOffsetsRequest {
                group: group.to_owned(),
                topics: topics.to_vec(),
                after,
                ..wire::FetchOffsetsRequest::default()
            };
            let page = self
                .pool
                .call_until(fetching, Retry::Always, |node| {
                    let request = request.clone();
                    async move { node.groups().fetch_offsets(request).await }
                })
                .await?;
            offsets.extend(page.offsets);
            let Some(next) = page.next else {
                sort(&mut offsets);
                return Ok(offsets);
            };
            after = self.next_page(&request.after, next)?;
        }
    }

    /// Sets committed offsets of a group without members. Returns the outcome of each, in order.
    /// Fails with the reason `GROUP_NOT_EMPTY` if the group has members.
    pub async fn set_offsets(
        &self,
        group: &str,
        offsets: &[wire::PartitionOffset],
    ) -> Result<Vec<Result<(), ClientError>>, ClientError> {
        let setting = ("set committed offsets", self.pool.deadline());
        let mut outcomes = Vec::new();
        for chunk in offsets.chunks(COMMIT_OFFSETS_MAX_COUNT) {
            let reply = self
                .pool
                .call_until(setting, Retry::Always, |node| {
                    let request = wire::CommitOffsetsRequest {
                        group: group.to_owned(),
                        offsets: chunk.to_vec(),
                        ..wire::CommitOffsetsRequest::default()
                    };
                    async move { node.groups().commit_offsets(request).await }
                })
                .await?;
            if reply.results.len() != chunk.len() {
                return Err(ClientError::Protocol {
                    endpoint: self.pool.last_replied(),
                    what: "not one result for each committed offset",
                });
            }
            let results = reply.results.into_iter().map(|result| match result.error {
                None => Ok(()),
                Some(error) => Err(ClientError::from_wire("", error)),
            });
            outcomes.extend(results);
        }
        Ok(outcomes)
    }

    /// Deletes committed offsets of a group without members: of these partitions of a topic, or of
    /// all if there are none. Returns the number of deleted offsets.
    pub async fn delete_offsets(
        &self,
        group: &str,
        topic: &str,
        partitions: &[u32],
    ) -> Result<u32, ClientError> {
        let reply = self
            .pool
            .call("delete committed offsets", Retry::Always, |node| {
                let request = wire::DeleteOffsetsRequest {
                    group: group.to_owned(),
                    topic: topic.to_owned(),
                    partitions: partitions.to_vec(),
                    ..wire::DeleteOffsetsRequest::default()
                };
                async move { node.groups().delete_offsets(request).await }
            })
            .await?;
        Ok(reply.deleted_count)
    }

    /// Deletes a group without members, with its committed offsets. Fails with the reason
    /// `UNKNOWN_GROUP` if it does not exist, also if a former attempt of this call has deleted it.
    pub async fn delete(&self, group: &str) -> Result<(), ClientError> {
        self.pool
            .call("delete group", Retry::Always, |node| {
                let request = wire::DeleteGroupRequest {
                    group: group.to_owned(),
                    ..wire::DeleteGroupRequest::default()
                };
                async move { node.groups().delete_group(request).await }
            })
            .await
            .map(|wire::DeleteGroupReply {}| ())
    }
}

/// Sorts offsets by topic and partition: pages are in the order of topic ids.
fn sort(offsets: &mut [wire::PartitionOffset]) {
    offsets.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
}

impl fmt::Debug for GroupAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupAdmin").finish_non_exhaustive()
    }
}
