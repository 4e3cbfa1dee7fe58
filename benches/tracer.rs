//! What the tracer does at a stop, without the stop: decoding a call, a path that is known, a new name, one more use.
//! `cargo bench --bench tracer`.
//!
//! First of all it makes sure that a known path costs no allocation: an average of times would not show one in a
//! thousand.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use scrimp::base::ImagePath;
use scrimp::tracer::measure::{self, Measured};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is done by the system's allocator, with what it was asked for.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FILES: usize = 1000;

fn stops(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let names: Vec<String> = (0..FILES).map(|n| format!("file-{n}")).collect();
    for name in &names {
        std::fs::write(dir.path().join(name), "").expect("a file");
    }
    let opened = std::fs::File::open(dir.path()).expect("the directory");
    let number = opened.as_raw_fd();
    let absolute = dir.path().join("file-7").into_os_string().into_encoded_bytes();

    let mut tracer = Measured::default();
    for (what, directory, path) in [("absolute", None, &*absolute), ("descriptor", Some(number), b"file-7")] {
        tracer.stat(directory, path).expect("a first use");
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..10_000 {
            tracer.stat(directory, path).expect("a known path");
        }
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert_eq!(allocations, 0, "{what}: a known path must cost no allocation");
    }

    criterion.bench_function("decode openat", |bencher| {
        bencher.iter(|| tracer.decode(black_box(257), black_box(&[5, 0x7000, 0, 0, 0, 0])));
    });
    criterion.bench_function("known absolute path", |bencher| bencher.iter(|| tracer.stat(None, black_box(&absolute))));
    criterion.bench_function("known name in an open directory", |bencher| {
        bencher.iter(|| tracer.stat(Some(number), black_box(b"file-7")));
    });
    let mut group = criterion.benchmark_group("per name");
    group.throughput(Throughput::Elements(FILES as u64));
    let entered = || {
        let mut tracer = Measured::default();
        tracer.stat(Some(number), b"absent").expect("a first use");
        tracer
    };
    group.bench_function("new name in an open directory", |bencher| {
        let walk = |mut tracer: Measured| {
            for name in &names {
                tracer.stat(Some(number), name.as_bytes()).expect("a new name");
            }
            tracer
        };
        bencher.iter_batched(entered, walk, BatchSize::LargeInput);
    });
    let path = ImagePath::parse("/usr/share/doc/file").expect("a path");
    group.bench_function("fold", |bencher| bencher.iter(|| measure::fold(black_box(&path), FILES as u64)));
    group.finish();
}

criterion_group!(benches, stops);
criterion_main!(benches);
