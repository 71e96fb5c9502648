//! Chains of moves, for what no single move can improve: one node gives something to a second one,
//! which gives something else to a third one.
//!
//! A node reaches another one if it can give it something. If no node that a most loaded node
//! reaches, directly or through others, has at least two fewer, none of them can be lowered: they
//! are settled, and the search continues among the others. This ends with numbers that no other
//! division betters: all the places that a partition can have are the bases of a matroid, for which
//! such an exchange finds the optimum.

/// Something that is divided among nodes: replicas or preferred leaders.
pub(super) trait Exchange {
    /// How much a node has.
    fn load(&self, node: usize) -> u32;
    /// Whether a node may give.
    fn gives(&self, node: usize) -> bool;
    /// Whether a node may receive one more.
    fn has_room(&self, node: usize) -> bool;
    /// The zone of a node.
    fn zone(&self, node: usize) -> usize;
    /// Visits the unvisited nodes to which `from` can give something.
    fn visit(&self, from: usize, unvisited: &mut Unvisited);
    /// Gives something from one node to another one.
    fn transfer(&mut self, item: usize, from: usize, to: usize);
}

/// The nodes that a search has not visited yet, and those that it visits now.
#[derive(Clone, Debug)]
pub(super) struct Unvisited {
    zones: Vec<Vec<usize>>,
    is_left: Vec<bool>,
    count: usize,
    visited: Vec<Visit>,
}

/// A visited node and what it gets.
#[derive(Clone, Copy, Debug)]
struct Visit {
    node: usize,
    item: usize,
}

impl Unvisited {
    fn new(exchange: &impl Exchange, nodes: &[usize], count: usize) -> Self {
        let mut unvisited = Self {
            zones: Vec::new(),
            is_left: vec![false; count],
            count: nodes.len(),
            visited: Vec::new(),
        };
        for node in nodes {
            let zone = exchange.zone(*node);
            if unvisited.zones.len() <= zone {
                unvisited.zones.resize(zone + 1, Vec::new());
            }
            unvisited.zones[zone].push(*node);
            unvisited.is_left[*node] = true;
        }
        unvisited
    }

    /// Whether all nodes are visited.
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Visits a node, unless it is visited.
    pub(super) fn visit(&mut self, node: usize, item: usize) {
        if std::mem::replace(&mut self.is_left[node], false) {
            self.count -= 1;
            self.visited.push(Visit { node, item });
        }
    }

    /// Visits the nodes for which `is_target` is true in the zones for which `fits` is.
    pub(super) fn visit_zones(
        &mut self,
        item: usize,
        fits: impl Fn(usize) -> bool,
        is_target: impl Fn(usize) -> bool,
    ) {
        for zone in 0..self.zones.len() {
            if self.zones[zone].is_empty() || !fits(zone) {
                continue;
            }
            let nodes = std::mem::take(&mut self.zones[zone]);
            let (targets, left) = nodes.into_iter().partition(|node| is_target(*node));
            self.zones[zone] = left;
            let targets: Vec<usize> = targets;
            for node in targets {
                self.visit(node, item);
            }
        }
    }
}

/// How a search has reached a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    No,
    Start,
    From { node: usize, item: usize },
}

/// Moves along chains until no node can be lowered.
pub(super) fn move_along_chains(exchange: &mut impl Exchange, node_count: usize) {
    let mut open: Vec<usize> = (0..node_count).collect();
    loop {
        let givers = open.iter().filter(|node| exchange.gives(**node));
        let takers = open.iter().filter(|node| exchange.has_room(**node));
        let most = givers.map(|node| exchange.load(*node)).max();
        let least = takers.map(|node| exchange.load(*node)).min();
        let (Some(most), Some(least)) = (most, least) else {
            return;
        };
        if least + 2 > most {
            return;
        }
        let (reached, end) = search(exchange, &open, (most, node_count));
        match end {
            Some(end) => follow(exchange, &reached, end),
            None => open.retain(|node| reached[*node] == Reached::No),
        }
    }
}

/// Searches from the nodes with the greatest load for one with at least two fewer, in the fewest
/// steps. Returns how each node was reached.
fn search(
    exchange: &impl Exchange,
    open: &[usize],
    (most, node_count): (u32, usize),
) -> (Vec<Reached>, Option<usize>) {
    let is_start = |node: &usize| exchange.gives(*node) && exchange.load(*node) == most;
    let mut queue: Vec<usize> = open.iter().copied().filter(is_start).collect();
    let mut reached = vec![Reached::No; node_count];
    for node in &queue {
        reached[*node] = Reached::Start;
    }
    let others: Vec<usize> = open
        .iter()
        .copied()
        .filter(|node| exchange.has_room(*node) && reached[*node] == Reached::No)
        .collect();
    let mut unvisited = Unvisited::new(exchange, &others, node_count);
    let is_end = |node: &usize| exchange.has_room(*node) && exchange.load(*node) + 2 <= most;
    let mut next = 0;
    while let Some(from) = queue.get(next).copied() {
        next += 1;
        exchange.visit(from, &mut unvisited);
        let visited = std::mem::take(&mut unvisited.visited);
        for Visit { node, item } in &visited {
            reached[*node] = Reached::From {
                node: from,
                item: *item,
            };
        }
        let nodes = || visited.iter().map(|visit| visit.node);
        let ends = nodes().filter(is_end);
        if let Some(end) = ends.min_by_key(|node| (exchange.load(*node), *node)) {
            return (reached, Some(end));
        }
        queue.extend(nodes().filter(|node| exchange.gives(*node)));
    }
    (reached, None)
}

/// Moves along the chain to `end`. The last node of the chain receives first, so that no step makes
/// the division less even.
fn follow(exchange: &mut impl Exchange, reached: &[Reached], end: usize) {
    let mut to = end;
    while let Reached::From { node, item } = reached[to] {
        exchange.transfer(item, node, to);
        to = node;
    }
}
