//! Every bound of the daemon, named, with its unit and what happens on either side of it.
//!
//! Rooms keep the bounds of their own tables (transactions, dialogs, ports) in their own crates; here are those that tie
//! threads together.

/// Most shards: the flow number carries four bits of shard (spec: below 2^53, so that JSON readers keep it exact).
pub const SHARDS_MAX: usize = 16;

/// Calls in progress per shard. 15,000 is what 30,000 media ports carry (media.md 2); beyond it a new call gets 503.
pub const CALLS_MAX_DEFAULT: usize = 15_000;
/// The largest value a configuration may ask for.
pub const CALLS_MAX: usize = 60_000;

/// How long before a start a call may have been alive last to go on, s. A BYE is repeated for 32 s (RFC 3261 17.1.2.2): whoever hung
/// up in that time is heard; a call older than that may have ended without anybody here knowing, and would be charged for ever.
pub const ADOPT_WITHIN_S: u32 = 32;
/// The largest value a configuration may ask for.
pub const ADOPT_WITHIN_MAX_S: u32 = 3_600;

/// Questions a call may have under way at once: one of its own, its state after a change of its session, and its last
/// word, `Settle`. A heartbeat and a pause are not a call's.
pub const QUESTIONS_PER_CALL: usize = 3;
/// Places for heartbeats, pauses and calls that were refused before admission and are already forgotten by the shard.
pub const QUESTIONS_SPARE: usize = 4_096;
/// Shard to rating thread, places. Sized so that whatever a full house of calls may ask fits: the place for a call's
/// end is there before the call starts.
pub const QUESTIONS_MAX: usize = CALLS_MAX * QUESTIONS_PER_CALL + QUESTIONS_SPARE;
/// Rating thread to shard, places: one answer for every question.
pub const ANSWERS_MAX: usize = QUESTIONS_MAX;
const _: () = assert!(QUESTIONS_MAX > CALLS_MAX * QUESTIONS_PER_CALL);
const _: () = assert!(ANSWERS_MAX >= QUESTIONS_MAX);

/// Calls that ended and whose settlement has not been confirmed; above this new calls get 503 until the rating thread
/// has caught up. Keeps `QUESTIONS_MAX` true when the disk stalls.
pub const UNSETTLED_MAX: usize = QUESTIONS_SPARE / 2;
const _: () = assert!(UNSETTLED_MAX < QUESTIONS_SPARE);

/// Retry-After of a call that is refused because the switch is behind, seconds.
pub const OVERLOAD_RETRY_AFTER_S: u32 = 2;

/// Datagrams handed over from one shard to another, places; a datagram that finds none is dropped and counted, and SIP
/// sends it again.
pub const STRAYS_MAX: usize = 4_096;

/// Questions of the control thread waiting at a shard; more than a person or a script can have open.
pub const CONTROL_MAX: usize = 64;

/// Alive calls told to the journal at most this often, ms. A crash loses at most this much of a call (billing.md 6.10
/// allows 10 s).
pub const HEARTBEAT_MS: u64 = 5_000;
const _: () = assert!(HEARTBEAT_MS <= 10_000);
/// How long a call waits for others to be told with it that its answer was acknowledged, ms. A call that is younger than this
/// when the switch dies does not go on.
pub const FIRST_HEARTBEATS_MS: u64 = 100;
/// How long the end of a call may wait for another question to wake the rating thread along with it, ms. Waking it for
/// every settlement is a third of all its wake-ups; a crash in these milliseconds bills the call to its last heartbeat,
/// as a crash just before the BYE would.
pub const SETTLE_WAKE_MS: u64 = 5;
/// How long a shard that has nothing else to do looks for the answer of the rating thread before it sleeps, us. The answer takes
/// less than this nearly always; to sleep and be woken on another core takes 15 to 20 of them on the machine of
/// bench/SPECIFICATION.md.
pub const ANSWER_LOOK_US: u64 = 50;
/// Calls in one heartbeat record; keeps the record under 2 MiB.
pub const HEARTBEAT_CALLS_MAX: usize = 20_000;

/// Receive buffer of a media socket, bytes; the kernel doubles it. What waits there was spoken long ago: after an overload it
/// is relayed first, and with the system's default (5 s of speech) no stream was alive again for two seconds. Smaller would lose
/// packets of a stream whenever its shard is away for a moment.
pub const MEDIA_RECV_BUFFER_BYTES: usize = 16 << 10;
/// What the kernel counts for a packet of 20 ms of G.711: data and its own header, on 64-bit machines.
const MEDIA_PACKET_KERNEL_BYTES: usize = 768;
// Between 200 ms and a second of speech, 20 ms a packet.
const _: () = assert!(MEDIA_RECV_BUFFER_BYTES * 2 / MEDIA_PACKET_KERNEL_BYTES >= 10);
const _: () = assert!(MEDIA_RECV_BUFFER_BYTES * 2 / MEDIA_PACKET_KERNEL_BYTES <= 50);

/// Buffers of the socket that receives for all ports of a shard, and of the one that sends, bytes; the kernel doubles it. Room for
/// 10,000 packets, which a shard works off in 30 ms; what one port may put there is bounded
/// ([`tandem_ebpf_abi::LEASE_SEEN_MAX`]).
pub const MEDIA_SHARED_BUFFER_BYTES: usize = 4 << 20;
/// How old the list of ports that other programs hold may be. Reading it costs a millisecond.
pub const FOREIGN_PORTS_EVERY: std::time::Duration = std::time::Duration::from_secs(10);

/// Longest wait from a journal write to its fdatasync, ms: what a power cut may take. A call answered later than this
/// before the cut has a hold time below the smallest billing threshold (50 ms), so nothing that is billed is lost.
pub const GROUP_COMMIT_MS: u64 = 50;

/// Between two transactions of the projection, ms. Small transactions cost half as much again for each call: pages are
/// written and statements begun for few of them. Who asks for CDRs hurries it.
pub const PROJECT_EVERY_MS: u64 = 400;

/// Journal records projected into SQLite in one transaction. A backlog goes fastest in large ones; 5,000 hold the database
/// for some 0.2 s.
pub const PROJECT_BATCH: usize = 5_000;

/// Finished calls whose trace is kept per shard. A normal call has some 25 events in about 3 KiB: 15 MiB in all.
pub const TRACES_MAX: usize = 5_000;
/// Messages and decisions kept of one call; a call that is changed again and again must not fill the memory.
pub const TRACE_EVENTS_MAX: usize = 200;

/// A control question that its owners have not answered by then is answered without them, naming who is missing, ms.
pub const CONTROL_DEADLINE_MS: u64 = 5_000;
/// Control connections at once.
pub const CONTROL_CONNECTIONS_MAX: usize = 32;

/// How long a stopping daemon waits for its calls' last records, ms.
pub const SHUTDOWN_MS: u64 = 5_000;

/// How long the start waits for a SIP port that a killed predecessor still holds, ms, and how often it looks.
pub const PORT_WAIT_MS: u64 = 5_000;
/// See [`PORT_WAIT_MS`].
pub const PORT_RETRY_MS: u64 = 50;

/// Records of illegal calls per source address and second (cdr.md 3 row 1); the rest is counted.
pub const ILLEGAL_RECORDS_PER_S: u32 = 100;

/// Between two looks at the events of the kernel's relay, ms: RTCP comes every 5 s, and the ring holds far more than that
/// brings meanwhile.
pub const MEDIA_EVENTS_MS: u64 = 100;
/// Events taken at a time; what is left waits in the ring for the next look, and what finds no room there is counted.
pub const MEDIA_EVENTS_MAX: usize = 16_384;
/// Between two looks at the interfaces of media, ms.
pub const MEDIA_CHECK_MS: u64 = 3_000;
/// Between two searches for flows that no call has, s: how long an orphan forwards at most what nobody pays for. A search reads the
/// entries of all ports, a millisecond or two.
pub const ORPHANS_EVERY_S: u32 = 60;
/// The largest value a configuration may ask for.
pub const ORPHANS_EVERY_MAX_S: u32 = 3_600;
/// Media addresses: as many as the kernel's program knows.
pub const MEDIA_ADDRESSES_MAX: usize = 8;
/// Interfaces of media; the kernel's table of ways out has places for more.
pub const MEDIA_INTERFACES_MAX: usize = 32;

/// Calls that a shard shows in one turn when all are asked for: it looks after its packets between the pages.
pub const CALLS_PAGE: usize = 256;
