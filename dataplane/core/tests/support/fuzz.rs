//! Random inputs for decoders of bytes from outside. A short run is part of the tests;
//! `LOGRAFT_FUZZ_SECONDS` sets the length of a long one.

use std::time::{Duration, Instant};

/// Length of a run among the tests.
const SHORT: Duration = Duration::from_millis(500);
/// Memory that a process may gain in a run: several inputs at their largest size.
const GAINED_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Random numbers (xorshift64*), the same in each run of the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_be_bytes()[0]).collect()
    }

    /// A valid input with some changes: bits, bytes, parts that are cut, doubled or put elsewhere.
    pub(crate) fn mutated(&mut self, valid: &[u8], max_bytes: usize) -> Vec<u8> {
        let mut input = valid.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(input.len());
            match self.below(7) {
                0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
                1 if !input.is_empty() => input[at] = *self.bytes(1).first().unwrap(),
                2 => input.truncate(at),
                3 => {
                    let more = self.below(16);
                    let inserted = self.bytes(more);
                    input.splice(at..at, inserted);
                }
                4 => {
                    let end = at + self.below(input.len() - at + 1);
                    let part = input[at..end].to_vec();
                    let copies = 1 << self.below(12);
                    let room = max_bytes.saturating_sub(input.len()) / part.len().max(1);
                    input.extend(part.repeat(room.min(copies)));
                }
                5 => input.rotate_left(at),
                // A varint of a large length.
                _ => {
                    let inserted = [0xff, 0xff, 0xff, 0xff, 0x0f];
                    input.splice(at..at, inserted);
                }
            }
            input.truncate(max_bytes);
        }
        input
    }
}

/// Calls `check` with a source of random numbers for as long as asked. Fails if the process has
/// gained more memory than a few inputs take. Prints the number of inputs.
pub(crate) fn run(name: &str, mut check: impl FnMut(&mut Random)) {
    let asked = std::env::var("LOGRAFT_FUZZ_SECONDS").ok();
    let asked = asked.map(|text| Duration::from_secs(text.parse().unwrap()));
    let (started, length) = (Instant::now(), asked.unwrap_or(SHORT));
    let before = peak_bytes();
    let seed = asked.map_or(1, |_| u64::from(std::process::id()));
    let mut random = Random(seed | 1);
    let mut count: u64 = 0;
    while started.elapsed() < length {
        for _ in 0..64 {
            check(&mut random);
            count += 1;
        }
    }
    let gained = peak_bytes().saturating_sub(before);
    println!(
        "{name}: {count} inputs in {length:?} from seed {seed}, {} MiB gained",
        gained >> 20
    );
    assert!(gained <= GAINED_MAX_BYTES, "{name}: {gained} bytes gained");
}

/// The most memory that the process has had so far.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}
