//! Splitting, counting, training and encoding, each alone: `make bench-crate` (docs/rustbpe.md).

use _rustbpe::cache::PieceCache;
use _rustbpe::split::Splitter;
use _rustbpe::{CL100K_PATTERN, O200K_PATTERN, R50K_PATTERN, gpt4_pattern};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rustbpe_benches::{chinese, corpus, counted, encoder, files, learned};

const BYTES: usize = 1 << 20;

fn texts() -> [(&'static str, String); 3] {
    [
        ("english", files("md", BYTES)),
        ("code", files("py", BYTES)),
        ("chinese", chinese(10_000)),
    ]
}

fn split(criterion: &mut Criterion) {
    let text = files("md", BYTES);
    let mut group = criterion.benchmark_group("split");
    group.throughput(Throughput::Bytes(text.len() as u64));
    for (name, pattern) in [
        ("nanochat", gpt4_pattern(2).as_str()),
        ("r50k", R50K_PATTERN),
        ("cl100k", CL100K_PATTERN),
        ("o200k", O200K_PATTERN),
    ] {
        let splitter = Splitter::new(pattern).expect("a known pattern");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut pieces = 0;
                let done = splitter.for_each_piece(&text, |_| pieces += 1);
                done.map(|()| pieces)
            });
        });
    }
}

fn train(criterion: &mut Criterion) {
    let splitter = Splitter::new(&gpt4_pattern(2)).expect("a known pattern");
    let text = files("py", 8 * BYTES);
    let mut group = criterion.benchmark_group("train");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("count", |bencher| {
        bencher.iter(|| counted(&splitter, &text).len());
    });
    let counts = counted(&splitter, &text);
    for merges in [3_840, 32_512] {
        group.bench_function(format!("merge {merges}"), |bencher| {
            bencher.iter_batched(
                || corpus(&counts),
                |corpus| learned(corpus, merges).len(),
                BatchSize::LargeInput,
            );
        });
    }
}

fn encode(criterion: &mut Criterion) {
    let splitter = Splitter::new(&gpt4_pattern(2)).expect("a known pattern");
    // Few of the clauses, so that the words of the rest are known and their neighbours are not.
    let learned_from = [files("md", BYTES), files("py", BYTES), chinese(300)].concat();
    let encoder = encoder(&splitter, &learned_from, 32_512);
    let mut group = criterion.benchmark_group("encode");
    for (name, text) in texts() {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("{name}, new to the thread"), |bencher| {
            bencher.iter_batched_ref(
                PieceCache::default,
                |cache| encoder.count(&splitter, &text, cache),
                BatchSize::LargeInput,
            );
        });
        let mut cache = PieceCache::default();
        group.bench_function(format!("count {name}"), |bencher| {
            bencher.iter(|| encoder.count(&splitter, &text, &mut cache));
        });
        let mut ids = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                ids.clear();
                encoder.encode(&splitter, &text, &mut cache, &mut ids)
            });
        });
    }
}

criterion_group!(benches, split, train, encode);
criterion_main!(benches);
