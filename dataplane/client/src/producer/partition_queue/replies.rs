//! Replies of the leader, lost streams, and the change of epochs.

use lograft_core::{ProducerEpoch, Reason, Sequence, TopicKey};

use super::PartitionQueue;
use super::batch::{Reply, Settled};
use crate::error::ClientError;
use crate::producer::verdict::Verdict;

impl<S> PartitionQueue<S> {
    /// Applies a reply. Returns the batch that it settles, if any.
    pub(crate) fn on_reply(&mut self, request_id: u64, verdict: Verdict) -> Option<Settled> {
        let index = self.in_flight.iter().position(|b| b.awaits(request_id))?;
        let settled = match verdict {
            Verdict::Stored(ack) => {
                self.failures = 0;
                self.last_error = None;
                let stored = self.in_flight.remove(index);
                stored.map(|stored| stored.batch.settle(Ok(ack)))
            }
            Verdict::Retry {
                error,
                maybe_appended,
            } => {
                self.on_failed_send(index, error, maybe_appended);
                None
            }
            Verdict::Gap {
                error,
                producer_forgotten,
            } => self.on_gap(index, error, producer_forgotten),
            Verdict::Refused(error) => self.on_refused(index, error),
        };
        self.finish_drain();
        settled
    }

    /// The batch at `index` has to be sent again, after all others in flight are answered.
    fn on_failed_send(&mut self, index: usize, error: ClientError, maybe_appended: bool) {
        let failed = &mut self.in_flight[index];
        failed.reply = Reply::Failed;
        failed.sent.fate = failed.sent.fate.after_failure(maybe_appended);
        failed.batch.last_error = Some(error.clone());
        // Only the first failure counts: the later ones of the same drain are its consequences.
        if self.route.start_draining() {
            self.failures += 1;
            self.last_error = Some(error);
        }
    }

    /// The leader expected another sequence than that of the batch at `index`.
    fn on_gap(
        &mut self,
        index: usize,
        error: ClientError,
        producer_forgotten: bool,
    ) -> Option<Settled> {
        let sent = self.in_flight[index].sent;
        let is_predecessor_failed = self
            .in_flight
            .iter()
            .take(index)
            .any(|earlier| earlier.reply == Reply::Failed);
        if sent.fate.may_follow_gap() || is_predecessor_failed {
            // The expected consequence of a predecessor that failed or was given up.
            self.in_flight[index].sent.fate = sent.fate.after_gap();
            self.on_failed_send(index, error, false);
            None
        } else if producer_forgotten && !sent.fate.is_in_doubt() {
            // The leader has expired this producer's state. The batch is certainly not in the log,
            // so it can be sent again as the first one of the next epoch.
            self.begin_epoch(index, true);
            self.on_failed_send(index, error, false);
            None
        } else {
            // Records before this batch are missing in the log. If an earlier send is in doubt, the
            // leader may have forgotten that it stored the batch: sending it under a new stamp
            // could store it twice, so it fails and the caller learns of the doubt.
            self.on_refused(index, error)
        }
    }

    /// Gives up the batch at `index`.
    fn on_refused(&mut self, index: usize, error: ClientError) -> Option<Settled> {
        self.last_error = Some(error.clone());
        self.learn_topic_limit(&error);
        let refused = self.in_flight.remove(index)?;
        // Of a reason that this client does not know only the code says whether the leader may
        // have stored the batch.
        let in_doubt = refused.sent.fate.is_in_doubt() || error.may_be_executed_newer();
        self.begin_epoch(index, !in_doubt);
        Some(refused.batch.fail(&self.config, error, in_doubt))
    }

    /// Takes the limit of the topic from the refusal of a batch or record that is larger: the
    /// metadata of this client is older than the change of the topic.
    fn learn_topic_limit(&mut self, error: &ClientError) {
        if error.reason() != Some(Reason::BatchTooLarge) {
            return;
        }
        let Some(Ok(bytes)) = error.metadata("bound").map(str::parse) else {
            return;
        };
        let limits = &mut self.config.topic_limits;
        match error.metadata("field").map(TopicKey::from_name) {
            Some(Ok(TopicKey::BatchMaxBytes)) => limits.batch_max_bytes = Some(bytes),
            Some(Ok(TopicKey::RecordMaxBytes)) => limits.record_max_bytes = Some(bytes),
            _ => {}
        }
    }

    /// Starts the next epoch (epoch bump), because a batch before those in flight from index `from`
    /// on was given up. With `not_appended` that batch is certainly not in the log.
    ///
    /// The given up batch leaves a gap in the sequences of the old epoch, behind which leaders
    /// accept nothing. In a new epoch they accept sequence 0 again.
    pub(super) fn begin_epoch(&mut self, from: usize, not_appended: bool) {
        if !self.config.idempotent {
            return;
        }
        self.epoch = ProducerEpoch(self.epoch.get() + 1);
        self.next_sequence = Sequence(0);
        let in_flight = self.in_flight.iter_mut().skip(from).map(|b| &mut b.sent);
        let waiting = self.waiting.iter_mut().filter_map(|b| b.sent.as_mut());
        for sent in in_flight.chain(waiting) {
            sent.fate = sent.fate.after_predecessor_given_up(not_appended);
        }
        if self.in_flight.len() <= from {
            self.withdraw_stamps();
        }
    }

    /// Withdraws the stamps of waiting batches that leaders will never accept.
    ///
    /// A batch in doubt keeps its stamp even if it may follow a gap: it may be in the log, and only
    /// the leader knows. But behind a batch that is certainly not in the log no batch of the
    /// same epoch can be, so from there on all stamps are withdrawn.
    fn withdraw_stamps(&mut self) {
        let mut is_behind_gap = false;
        for waiting in &mut self.waiting {
            let Some(sent) = waiting.sent.filter(|sent| sent.fate.may_follow_gap()) else {
                continue;
            };
            is_behind_gap |= !sent.fate.is_in_doubt();
            if is_behind_gap {
                waiting.sent = None;
            }
        }
    }

    /// Ends the drain once all batches in flight are answered: those that failed wait again.
    pub(super) fn finish_drain(&mut self) {
        let is_answered = self.in_flight.iter().all(|b| b.reply == Reply::Failed);
        if !self.route.is_draining() || !is_answered {
            return;
        }
        while let Some(failed) = self.in_flight.pop_back() {
            self.waiting.push_front(failed.into_waiting());
        }
        self.withdraw_stamps();
        self.route.finish_draining();
    }

    /// The stream broke. The batches in flight may be in the log or not.
    pub(crate) fn on_stream_lost(&mut self, error: &ClientError) {
        for index in 0..self.in_flight.len() {
            if self.in_flight[index].reply != Reply::Failed {
                self.on_failed_send(index, error.clone(), true);
            }
        }
        if self.route.start_draining() {
            self.failures += 1;
            self.last_error = Some(error.clone());
        }
        self.finish_drain();
    }
}
