//! How long it takes to open an image: cold (nothing in the store) and warm (unpacked before).
//! `cargo bench --bench open_image -- docker-archive:FILE` prints milliseconds, the best of five.
//!
//! All stores are kept until the end: ext4 does not use an inode again for some seconds after it was freed, and looks
//! for another one slowly, so what one round deletes would be measured in the next.

use std::time::{Duration, Instant};

use scrimp::image::{OpenOptions, Source, Store, open, totals};

fn main() {
    let sources = std::env::args().skip(1).filter(|argument| argument != "--bench");
    for text in sources {
        let source: Source = text.parse().unwrap_or_else(|error| panic!("{error}"));
        let mut stores = Vec::new();
        let (mut cold, mut warm) = (Duration::MAX, Duration::MAX);
        for _ in 0..5 {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let store = Store::open(dir.path()).expect("a store");
            cold = cold.min(time(&source, &store));
            warm = warm.min(time(&source, &store));
            stores.push(dir);
        }
        println!("{text}: cold {:.1} ms, warm {:.1} ms", millis(cold), millis(warm));
    }
}

fn time(source: &Source, store: &Store) -> Duration {
    let start = Instant::now();
    let base = open(source, store, &OpenOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let taken = start.elapsed();
    assert!(base.rootfs.entries().is_none_or(|entries| totals(entries).0 > 0), "the image is empty");
    taken
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
