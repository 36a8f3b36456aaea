//! Flow keys, values and counters shared by kernel and user space
