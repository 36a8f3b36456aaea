//! Once started, packets pass without touching the allocator.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{open, ring};
use tandem_ring::{BufferGroup, Completion, RingConfig};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting per thread.
struct Counting;

// SAFETY: everything is passed on unchanged to the system's allocator; the counter itself does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn packets_pass_without_allocating() {
    const ROUNDS: u32 = 500;
    let Some(mut ring) = ring(RingConfig::default()) else {
        return;
    };
    let (_, signalling) = open(&mut ring, 1, "127.0.0.1:0", BufferGroup::Signalling);
    let (socket, media) = open(&mut ring, 2, "127.0.0.1:0", BufferGroup::Media);
    let waker = ring.waker();
    ring.wait(Some(std::time::Duration::ZERO)).expect("armed");

    let before = ALLOCATIONS.with(Cell::get);
    let mut heard = 0;
    for _ in 0..ROUNDS {
        // From media to media, changed and on to signalling in place; a wake in between.
        ring.send(socket, media, b"a packet").expect("slot");
        waker.wake();
        let mut done = false;
        while !done {
            ring.wait(None).expect("wait");
            while let Some(completion) = ring.next() {
                match completion {
                    Completion::Datagram { token: 2, socket, mut buffer, .. } => {
                        buffer[0] = b'A';
                        ring.send_buffer(socket, signalling, buffer).expect("slot");
                    }
                    Completion::Datagram { buffer, .. } => {
                        assert_eq!(&buffer[..], b"A packet");
                        heard += 1;
                        done = true;
                    }
                    Completion::Wake => {}
                    Completion::Unreachable { .. } | Completion::SendFailed { .. } | Completion::SocketError { .. } => {
                        panic!("{completion:?}")
                    }
                }
            }
        }
    }
    let after = ALLOCATIONS.with(Cell::get);
    assert_eq!(heard, ROUNDS);
    assert_eq!(after - before, 0, "allocations in {ROUNDS} rounds");
}
