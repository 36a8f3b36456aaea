//! io_uring UDP for one shard
