//! The two ways a bench is run. A bench is a name and a maker: the maker sets the stage and gives back what is repeated.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// One function under test.
#[derive(Clone, Copy)]
pub(crate) struct Bench {
    /// `room_what`; the key in results.
    pub(crate) name: &'static str,
    /// One line for people.
    pub(crate) what: &'static str,
    /// Sets the stage; what it returns is one repetition.
    pub(crate) make: fn() -> Box<dyn FnMut()>,
}

/// Length of one batch: long against the clock, short against the scheduler's interruptions.
const BATCH: Duration = Duration::from_millis(2);
/// Batches of one bench. The least of them is what the code costs, the median what the machine makes of it.
const BATCHES: usize = 101;
/// Repetitions before anything is measured: tables grow to their size, lazy things are made.
const WARM_UP: u32 = 256;

/// Names and what they mean, tab separated.
pub(crate) fn list(benches: &[Bench]) {
    for bench in benches {
        println!("{}\t{}", bench.name, bench.what);
    }
}

/// Nanoseconds per repetition of every bench whose name begins with `prefix`: least and median of the batches.
pub(crate) fn time(benches: &[Bench], prefix: &str) {
    println!("name,ns_min,ns_median,batches,per_batch");
    for bench in benches.iter().filter(|bench| bench.name.starts_with(prefix)) {
        let mut body = (bench.make)();
        measured(&mut body, WARM_UP);
        let per_batch = calibrate(&mut body);
        let mut batches: Vec<f64> = (0..BATCHES).map(|_| batch(&mut body, per_batch)).collect();
        batches.sort_by(f64::total_cmp);
        println!("{},{:.1},{:.1},{BATCHES},{per_batch}", bench.name, batches[0], batches[BATCHES / 2]);
    }
}

/// Runs the bench called `name` so often inside [`measured`]; false when there is none.
pub(crate) fn count(benches: &[Bench], name: &str, times: u32) -> bool {
    let Some(bench) = benches.iter().find(|bench| bench.name == name) else {
        return false;
    };
    let mut body = (bench.make)();
    for _ in 0..WARM_UP {
        body();
    }
    measured(&mut body, times);
    true
}

/// What callgrind is told to collect by name: nothing outside counts.
#[inline(never)]
fn measured(body: &mut Box<dyn FnMut()>, times: u32) {
    for _ in 0..black_box(times) {
        body();
    }
}

fn batch(body: &mut Box<dyn FnMut()>, times: u32) -> f64 {
    let begun = Instant::now();
    measured(body, times);
    begun.elapsed().as_nanos() as f64 / f64::from(times)
}

fn calibrate(body: &mut Box<dyn FnMut()>) -> u32 {
    let mut times = 1;
    loop {
        let begun = Instant::now();
        measured(body, times);
        if begun.elapsed() >= BATCH || times >= 1 << 24 {
            return times;
        }
        times *= 2;
    }
}
