//! Requests of any content: they are decoded before the caller's rights are known.

use crate::calls::{REQUEST_DECODERS, REQUEST_SHAPES};
use crate::decode_cost;
use crate::fixture_tests::encoded_samples;
use crate::fuzz::run;
use crate::limits::LOG_REQUEST_MAX_BYTES;

#[test]
fn requests_of_any_bytes_neither_panic_nor_grow() {
    let samples = encoded_samples();
    assert_eq!(REQUEST_DECODERS.len(), REQUEST_SHAPES.len());
    run("requests", |random| {
        let target = random.below(REQUEST_DECODERS.len());
        let input = match random.below(8) {
            0 => {
                let count = random.below(256);
                random.bytes(count)
            }
            // Seldom large: these take a thousand times as long.
            1 if random.below(64) == 0 => {
                let sample = &samples[random.below(samples.len())];
                random.mutated(sample, LOG_REQUEST_MAX_BYTES)
            }
            _ => {
                let sample = &samples[random.below(samples.len())];
                random.mutated(sample, 4096)
            }
        };
        // As the codec does it.
        if decode_cost::check(&input, REQUEST_SHAPES[target]).is_ok() {
            let _ = REQUEST_DECODERS[target](&input);
        }
    });
}
