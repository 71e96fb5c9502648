//! Benchmark of appends: `append [DIR] [GROUPS] [ENTRY_BYTES] [IN_FLIGHT] [SECONDS] [WRITERS]`.
//! Every append is acknowledged after an `fdatasync`. The log is purged meanwhile, so that segments
//! are recycled. Prints the setup, MB/s, entries/s and latencies.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first error")]

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lograft_core::{
    ClusterId, Entry, EntryKind, GroupId, LogId, LogIndex, NodeId, Offset, Proposal, Term,
};
use lograft_storage::{
    Checkpoint, GroupLog, GroupOptions, Identity, RealFs, Storage, StorageConfig, WriterDrive,
};

#[derive(Clone, Copy)]
struct Setup {
    groups: u64,
    entry_bytes: usize,
    in_flight: usize,
    seconds: u64,
    writers: usize,
}

/// The number of appends in flight, and the latencies of the finished ones.
#[derive(Default)]
struct Progress {
    state: Mutex<(usize, Vec<Duration>)>,
    changed: Condvar,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |nth: usize, default: u64| {
        args.get(nth)
            .map_or(default, |text| text.parse().expect("a number"))
    };
    let size = |nth, default| usize::try_from(number(nth, default)).unwrap();
    let dir = args.first().map_or("/tmp/lograft-append", String::as_str);
    let setup = Setup {
        groups: number(1, 3),
        entry_bytes: size(2, 65_536),
        in_flight: size(3, 16),
        seconds: number(4, 3),
        writers: size(5, 4),
    };
    let mut config = StorageConfig::new(dir);
    config.writers = WriterDrive::Threads(setup.writers);
    let storage = Storage::open(
        Arc::new(RealFs),
        config,
        Arc::new(|error| {
            eprintln!("a write failed: {error}");
            std::process::exit(1);
        }),
    )
    .unwrap();
    let identity = Identity {
        cluster_id: ClusterId::from_bytes([1; 16]),
        node_id: NodeId(1),
    };
    storage.write_identity(&identity).unwrap();

    let start = Instant::now();
    let threads: Vec<_> = (0..setup.groups)
        .map(|group| {
            let (log, _) = storage
                .open_group(GroupId(group), GroupOptions::default())
                .unwrap();
            std::thread::spawn(move || run(&log, setup))
        })
        .collect();
    let mut latencies: Vec<Duration> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    let elapsed = start.elapsed();
    report(setup, &mut latencies, elapsed);
    for group in 0..setup.groups {
        storage.remove_group(GroupId(group)).unwrap();
    }
}

fn run(log: &GroupLog, setup: Setup) -> Vec<Duration> {
    let payload = Bytes::from(vec![0x5a; setup.entry_bytes]);
    let crc = crc32c::crc32c(&payload);
    let progress = Arc::new(Progress::default());
    let mut next = log.last_id().map_or(0, |last| last.index.0 + 1);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(setup.seconds) {
        let mut state = progress.state.lock().unwrap();
        while state.0 >= setup.in_flight {
            state = progress.changed.wait(state).unwrap();
        }
        state.0 += 1;
        drop(state);
        let (sent, done) = (Instant::now(), Arc::clone(&progress));
        let callback = Box::new(move |outcome: Result<(), _>| {
            outcome.unwrap();
            let mut state = done.state.lock().unwrap();
            state.0 -= 1;
            state.1.push(sent.elapsed());
            done.changed.notify_one();
        });
        log.append(vec![entry(next, payload.clone(), crc)], callback)
            .unwrap();
        next += 1;
        trim(log);
    }
    let mut state = progress.state.lock().unwrap();
    while state.0 > 0 {
        state = progress.changed.wait(state).unwrap();
    }
    std::mem::take(&mut state.1)
}

fn entry(index: u64, payload: Bytes, payload_crc32c: u32) -> Entry {
    Entry {
        id: LogId {
            term: Term(1),
            index: LogIndex(index),
        },
        base_offset: Offset::ZERO,
        proposal: Proposal {
            kind: EntryKind::Records,
            record_count: 100,
            append_time_ms: 0,
            max_time_ms: 0,
            producer: None,
            payload_crc32c,
            payload,
        },
    }
}

/// Purges all but the last two segments, as retention would.
fn trim(log: &GroupLog) {
    let newest = log.purged_id().map(|purged| purged.index);
    let segments = log.segments();
    let [.., old, _, _] = segments.as_slice() else {
        return;
    };
    let Some(last) = old.last.filter(|last| Some(last.index) > newest) else {
        return;
    };
    log.put_checkpoint(Checkpoint {
        last,
        next_offset: old.next_offset,
        membership: Bytes::new(),
        membership_id: None,
        state: Bytes::new(),
    });
    log.purge_to(last);
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(setup: Setup, latencies: &mut [Duration], elapsed: Duration) {
    latencies.sort_unstable();
    let at = |per_mille: usize| {
        let nth = latencies.len() * per_mille / 1000;
        latencies
            .get(nth.min(latencies.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    let rate = latencies.len() as f64 / elapsed.as_secs_f64();
    let Setup {
        groups,
        entry_bytes,
        in_flight,
        writers,
        ..
    } = setup;
    println!(
        "{groups} groups, {entry_bytes} B entries, {in_flight} in flight each, {writers} writers, \
         fdatasync before each acknowledgement, {:.1} s",
        elapsed.as_secs_f64()
    );
    println!(
        "{:.0} MB/s, {rate:.0} entries/s, p50 {:.2?}, p99 {:.2?}, p99.9 {:.2?}",
        rate * entry_bytes as f64 / 1e6,
        at(500),
        at(990),
        at(999)
    );
}
