//! Benchmark reports as text and JSON.

use std::fmt::{self, Write as _};

use lograft_client::ClientError;
use lograft_proto::error_text::error_chain;
use serde::{Serialize, Serializer};

use super::cost::NodeCost;
use super::error::BenchError;
use super::measure::{Latencies, Measured};
use super::setup::Setup;
use crate::output::{Paint, plural};
use crate::units::{count, float, rate, size};

/// Kind of benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BenchKind {
    Produce,
    Consume,
    Latency,
}

/// Setup, results and cost of a benchmark.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    bench: BenchKind,
    setup: Setup,
    seconds: f64,
    records: u64,
    failed_records: u64,
    /// Error of the last failed record.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "error_as_text"
    )]
    failure: Option<ClientError>,
    /// Bytes of record values.
    bytes: u64,
    records_per_second: f64,
    mb_per_second: f64,
    per_second: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<Percentiles>,
    cpu: Cpu,
    nodes: Vec<NodeFigures>,
    interrupted: bool,
}

#[expect(clippy::ref_option, reason = "signature required by serde")]
pub(crate) fn error_as_text<S: Serializer>(
    failure: &Option<ClientError>,
    to: S,
) -> Result<S::Ok, S::Error> {
    failure
        .as_ref()
        .map(|error| error_chain(error))
        .serialize(to)
}

/// Records in each full second of the run.
#[derive(Debug, Serialize)]
struct Spread {
    min: u64,
    median: u64,
    max: u64,
    all: Vec<u64>,
}

/// Latency from sending a record to its acknowledgement, in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Percentiles {
    p50: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

impl Percentiles {
    pub(crate) fn of(latencies: &Latencies) -> Self {
        let percentile = |p: f64| float(latencies.value_at_quantile(p)) / 1000.0;
        Self {
            p50: percentile(0.5),
            p99: percentile(0.99),
            p99_9: percentile(0.999),
            max: float(latencies.max()) / 1000.0,
        }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            p50,
            p99,
            p99_9,
            max,
        } = self;
        write!(
            f,
            "p50 {p50:.2} ms   p99 {p99:.2} ms   p99.9 {p99_9:.2} ms   max {max:.1} ms"
        )
    }
}

/// CPU time. The time of the nodes is known only if `lograft dev` runs them on this machine.
#[derive(Debug, Serialize)]
struct Cpu {
    client_seconds: f64,
    nodes_seconds: Option<f64>,
    client_seconds_per_million_records: f64,
    nodes_seconds_per_million_records: Option<f64>,
    all_seconds_per_gb: Option<f64>,
}

/// Cost of one node.
#[derive(Debug, Serialize)]
struct NodeFigures {
    #[serde(flatten)]
    cost: NodeCost,
    /// Bytes written to disk per byte of record values.
    written_ratio: f64,
}

impl Report {
    /// Computes the report of a measurement.
    pub(crate) fn new(bench: BenchKind, setup: Setup, measured: Measured) -> Self {
        let seconds = measured.time.as_secs_f64().max(1e-9);
        let (records, bytes) = (measured.records, measured.bytes);
        let millions = (float(records) / 1e6).max(1e-9);
        let gigabytes = (float(bytes) / 1e9).max(1e-9);
        let client = measured.cost.client_cpu_seconds;
        let nodes_seconds = measured.cost.nodes_cpu_seconds();
        let node = |cost: NodeCost| NodeFigures {
            written_ratio: float(cost.written_bytes) / float(bytes.max(1)),
            cost,
        };
        Self {
            bench,
            setup,
            seconds,
            records,
            failed_records: measured.failed,
            failure: measured.last_error.filter(|_| measured.failed > 0),
            bytes,
            records_per_second: float(records) / seconds,
            mb_per_second: float(bytes) / seconds / 1e6,
            per_second: Spread::of(measured.per_second),
            latency_ms: (bench != BenchKind::Consume).then(|| Percentiles::of(&measured.latencies)),
            cpu: Cpu {
                client_seconds: client,
                nodes_seconds,
                client_seconds_per_million_records: client / millions,
                nodes_seconds_per_million_records: nodes_seconds.map(|nodes| nodes / millions),
                all_seconds_per_gb: nodes_seconds.map(|nodes| (client + nodes) / gigabytes),
            },
            nodes: measured.cost.nodes.into_iter().map(node).collect(),
            interrupted: measured.interrupted,
        }
    }

    /// An error if some records were not stored.
    pub(crate) fn into_failure(self) -> Option<BenchError> {
        let failed = count(self.failed_records);
        self.failure
            .map(|source| BenchError::NotStored { failed, source })
    }

    /// The report as text.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let mut out = format!("{}\n\n", self.headline(paint));
        let mut line = |name: &str, text: String| {
            // Writing to a String does not fail.
            let _ = writeln!(out, "  {} {text}", paint.faint(format!("{name:<11}")));
        };
        let speed = format!(
            "{} records/s   {:.1} MB/s",
            paint.strong(rate(self.records_per_second)),
            self.mb_per_second
        );
        line("throughput", speed);
        line(
            "records",
            format!("{} in {:.1} s", count(self.records), self.seconds),
        );
        if self.failed_records > 0 {
            line("FAILED", paint.bad(count(self.failed_records)).to_string());
        }
        if !self.per_second.all.is_empty() {
            let Spread {
                min, median, max, ..
            } = &self.per_second;
            let show = |records: &u64| rate(float(*records));
            let text = format!(
                "min {}   median {}   max {}",
                show(min),
                show(median),
                show(max)
            );
            line("per second", text);
        }
        if let Some(percentiles) = &self.latency_ms {
            line("latency", percentiles.to_string());
        }
        line("CPU", self.cpu.summary());
        for node in self
            .nodes
            .iter()
            .filter(|_| self.bench != BenchKind::Consume)
        {
            let text = format!(
                "{} {} ({:.2} x values)",
                node.cost.name,
                size(node.cost.written_bytes),
                node.written_ratio
            );
            line("written", text);
        }
        if self.interrupted {
            line("note", "interrupted, the measurement is incomplete".into());
        }
        out
    }

    /// The setup as text.
    fn headline(&self, paint: Paint) -> String {
        let Setup {
            partitions,
            replication_factor,
            record_bytes,
            clients,
            workers,
            ..
        } = &self.setup;
        let mut parts = vec![
            format!("{record_bytes} B records"),
            plural(*partitions, "partition"),
            plural(*replication_factor, "replica"),
        ];
        match self.bench {
            BenchKind::Produce | BenchKind::Consume => parts.push(plural(*clients, "client")),
            BenchKind::Latency => {
                parts.push(plural(*workers, "producer"));
                parts.push(format!("over {}", plural(*clients, "client")));
            }
        }
        if let Some(bytes) = self.setup.in_flight_max_bytes {
            parts.push(format!("{} in flight per leader", size(bytes as u64)));
        }
        if let Some(bytes) = self.setup.batch_max_bytes {
            parts.push(format!("batches up to {}", size(bytes as u64)));
        }
        if let Some(kind) = self.setup.compression {
            parts.push(format!("compression {kind}"));
        }
        parts.push(format!("{} s", self.setup.duration_seconds));
        let name = match self.bench {
            BenchKind::Produce => "produce",
            BenchKind::Consume => "consume",
            BenchKind::Latency => "latency",
        };
        let mut text = format!("{}: {}", paint.strong(name), parts.join(", "));
        if self.bench != BenchKind::Consume {
            text.push_str(
                "\nacknowledged after fdatasync on a majority of replicas, idempotent, over mTLS",
            );
        }
        text
    }
}

impl Spread {
    fn of(all: Vec<u64>) -> Self {
        let mut sorted = all.clone();
        sorted.sort_unstable();
        Self {
            min: sorted.first().copied().unwrap_or(0),
            median: sorted.get(sorted.len() / 2).copied().unwrap_or(0),
            max: sorted.last().copied().unwrap_or(0),
            all,
        }
    }
}

impl Cpu {
    fn summary(&self) -> String {
        let client = self.client_seconds_per_million_records;
        match (
            self.nodes_seconds_per_million_records,
            self.all_seconds_per_gb,
        ) {
            (Some(nodes), Some(per_gb)) => format!(
                "{client:.2} s (this process) + {nodes:.2} s (nodes) per million records, \
                 {per_gb:.1} s per GB"
            ),
            _ => {
                format!("{client:.2} s per million records (this process; nodes not measured)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::cost::Cost;
    use crate::bench::measure::{new_latencies, record_latency};

    fn report() -> Report {
        report_of(0, None)
    }

    fn report_of(failed: u64, last_error: Option<ClientError>) -> Report {
        let mut latencies = new_latencies();
        for millis in 1..=100 {
            record_latency(&mut latencies, Duration::from_millis(millis), 1);
        }
        let node = NodeCost {
            name: "node-1".into(),
            cpu_seconds: 4.0,
            written_bytes: 3 * 256 * 1_000_000,
        };
        let measured = Measured {
            records: 2_000_000,
            bytes: 512_000_000,
            failed,
            last_error,
            time: Duration::from_secs(2),
            per_second: vec![1_100_000, 900_000],
            latencies,
            cost: Cost {
                client_cpu_seconds: 1.0,
                nodes: vec![node],
            },
            interrupted: false,
        };
        let setup = Setup {
            topic: "bench-1".into(),
            partitions: 3,
            replication_factor: 3,
            record_bytes: 256,
            clients: 1,
            workers: 1,
            batch_max_bytes: Some(65_536),
            in_flight_max_bytes: Some(2 << 20),
            compression: Some("none"),
            warm_up_seconds: 1.0,
            duration_seconds: 2.0,
        };
        Report::new(BenchKind::Produce, setup, measured)
    }

    #[test]
    fn the_report_has_setup_results_and_cost() {
        let expected = "\
produce: 256 B records, 3 partitions, 3 replicas, 1 client, 2.0 MiB in flight per leader, \
batches up to 64.0 KiB, compression none, 2 s
acknowledged after fdatasync on a majority of replicas, idempotent, over mTLS

  throughput  1.00M records/s   256.0 MB/s
  records     2,000,000 in 2.0 s
  per second  min 900k   median 1.10M   max 1.10M
  latency     p50 50.02 ms   p99 99.01 ms   p99.9 100.03 ms   max 100.0 ms
  CPU         0.50 s (this process) + 2.00 s (nodes) per million records, 9.8 s per GB
  written     node-1 732.4 MiB (1.50 x values)
";
        assert_eq!(report().render(Paint::plain()), expected);
    }

    #[test]
    fn records_that_were_not_stored_are_a_failure() {
        let failed = report_of(12, Some(ClientError::Closed));
        let text = failed.render(Paint::plain());
        assert!(text.contains("FAILED      12\n"), "{text}");
        let closed = ClientError::Closed.to_string();
        assert_eq!(serde_json::to_value(&failed).unwrap()["failure"], *closed);
        let error = failed.into_failure().unwrap();
        assert_eq!(error.to_string(), "12 records were not stored, last error");
        // An error outside of the measured time is not reported.
        assert!(
            report_of(0, Some(ClientError::Closed))
                .into_failure()
                .is_none()
        );
    }

    #[test]
    fn json_has_the_same_fields() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["bench"], "produce");
        assert_eq!(json["per_second"]["all"][1], 900_000);
        assert_eq!(json["nodes"][0]["name"], "node-1");
        assert_eq!(json["nodes"][0]["written_ratio"], 1.5);
    }
}
