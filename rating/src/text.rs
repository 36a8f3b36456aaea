//! Short texts of calls: numbers, addresses, names.

/// A text that holds up to 24 bytes in itself, as long as a `String` is without its bytes, and more on the heap. A call has
/// some fifty of them and hardly one is longer; they are copied between threads and into its record, so a place on the heap
/// for each is taken, and given back by another thread, for nothing.
pub use compact_str::CompactString as Text;
/// Writes a value that can be shown into a [`Text`].
pub use compact_str::ToCompactString;
