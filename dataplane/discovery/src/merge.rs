//! Merges the sources into the membership view, as they change.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::gossip::Gossip;
use crate::membership::{Membership, MembershipView};
use crate::source::{Sightings, Source, SourceKind};

/// Reads the membership view. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MembershipReader {
    view: watch::Receiver<Arc<MembershipView>>,
    started: Instant,
}

impl MembershipReader {
    /// The view of a node without any source.
    pub fn empty() -> Self {
        let (_, view) = watch::channel(Arc::default());
        let started = Instant::now();
        Self { view, started }
    }

    /// The view now.
    pub fn load(&self) -> Arc<MembershipView> {
        Arc::clone(&self.view.borrow())
    }

    /// Receives the view when it changes.
    pub fn watch(&self) -> watch::Receiver<Arc<MembershipView>> {
        self.view.clone()
    }

    /// Time since a moment in the view.
    pub fn age(&self, since: Duration) -> Duration {
        self.started.elapsed().saturating_sub(since)
    }
}

/// Everything that discovery tells the rest of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DiscoveryReader {
    /// The membership view.
    pub membership: MembershipReader,
    /// Gossip, if it is on.
    pub gossip: Option<Gossip>,
}

impl DiscoveryReader {
    /// Of a node without any source.
    pub fn empty() -> Self {
        Self {
            membership: MembershipReader::empty(),
            gossip: None,
        }
    }
}

/// The task that merges the sources.
pub struct MembershipLoop {
    sources: Vec<(SourceKind, watch::Receiver<Arc<Sightings>>)>,
    membership: Membership,
    view: watch::Sender<Arc<MembershipView>>,
    started: Instant,
}

impl MembershipLoop {
    /// The view has the first sightings of all sources at once.
    pub fn new(sources: &[&dyn Source]) -> (Self, MembershipReader) {
        let (view, receiver) = watch::channel(Arc::default());
        let started = Instant::now();
        let sources = sources
            .iter()
            .map(|source| (source.kind(), source.sightings()));
        let mut this = Self {
            sources: sources.collect(),
            membership: Membership::default(),
            view,
            started,
        };
        for at in 0..this.sources.len() {
            this.take(at);
        }
        let reader = MembershipReader {
            view: receiver,
            started,
        };
        (this, reader)
    }

    fn take(&mut self, at: usize) {
        let (kind, receiver) = &mut self.sources[at];
        let sightings = Arc::clone(&receiver.borrow_and_update());
        let now = self.started.elapsed();
        self.membership.update(*kind, &sightings, now);
        self.view.send_replace(Arc::new(self.membership.view()));
    }

    /// Runs until dropped, or until all sources are gone.
    pub async fn run(mut self) {
        while let Some(at) = self.changed().await {
            self.take(at);
        }
    }

    /// The source that has changed; `None` once all are gone. The sightings of one that is gone
    /// stay.
    async fn changed(&mut self) -> Option<usize> {
        let sources = self.sources.iter_mut().enumerate();
        let mut waiting: Vec<_> = sources
            .map(|(at, (_, receiver))| {
                Box::pin(async move { receiver.changed().await.is_ok().then_some(at) })
            })
            .collect();
        std::future::poll_fn(move |context| {
            let mut at = 0;
            while at < waiting.len() {
                match waiting[at].as_mut().poll(context) {
                    Poll::Ready(Some(source)) => {
                        return Poll::Ready(Some(source));
                    }
                    Poll::Ready(None) => drop(waiting.swap_remove(at)),
                    Poll::Pending => at += 1,
                }
            }
            if waiting.is_empty() {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }
}
