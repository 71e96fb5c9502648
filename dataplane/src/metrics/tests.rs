use lograft_discovery::gossip::GossipReport;

use super::*;

struct Fixed(Sample);

impl Sampler for Fixed {
    fn sample(&self) -> Sample {
        self.0.clone()
    }
}

fn partition(partition: u32) -> PartitionSample {
    PartitionSample {
        topic: "t".to_owned(),
        partition,
        term: 7,
        leads: true,
        high_watermark: 100,
        log_start: 10,
        bytes: 4096,
        lag_entries: Some(3),
    }
}

#[test]
fn what_is_counted_and_sampled_is_shown() {
    let metrics = Metrics::new().unwrap();
    metrics
        .produce_requests
        .with_label_values(&["OK"])
        .inc_by(5);
    metrics.produce_seconds.observe(0.003);
    metrics.set_sampler(Arc::new(Fixed(Sample {
        leaders_count: 1,
        partitions: vec![partition(0)],
        disk_low: true,
        gossip: Some(GossipReport::default()),
        members: MemberCounts {
            reachable: 2,
            unreachable: 1,
        },
        ..Sample::default()
    })));
    let text = metrics.encode().unwrap();
    for line in [
        "lograft_produce_requests_total{result=\"OK\"} 5",
        "lograft_produce_duration_seconds_bucket{le=\"0.004\"} 1",
        "lograft_produce_duration_seconds_bucket{le=\"0.002\"} 0",
        "lograft_replicas{role=\"leader\"} 1",
        "lograft_partition_high_watermark{partition=\"0\",topic=\"t\"} 100",
        "lograft_partition_follower_lag_entries{partition=\"0\",topic=\"t\"} 3",
        "lograft_disk_low 1",
        "lograft_gossip_members{state=\"unreachable\"} 1",
        "lograft_gossip_dropped_datagrams_total{reason=\"FORGED\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    let resident = text
        .lines()
        .find_map(|line| line.strip_prefix("lograft_process_resident_memory_bytes "));
    let resident: f64 = resident.unwrap().parse().unwrap();
    assert!(resident > 1e6, "{resident} bytes");
}

#[test]
fn partitions_are_bounded() {
    let metrics = Metrics::new().unwrap();
    let count = u32::try_from(METRICS_PARTITIONS_MAX_COUNT).unwrap() + 5;
    metrics.set_sampler(Arc::new(Fixed(Sample {
        partitions: (0..count).map(partition).collect(),
        ..Sample::default()
    })));
    let text = metrics.encode().unwrap();
    let shown = text
        .lines()
        .filter(|l| l.starts_with("lograft_raft_term{"))
        .count();
    assert_eq!(shown, METRICS_PARTITIONS_MAX_COUNT);
}
