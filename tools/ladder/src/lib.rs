//! Call ladders as text, on virtual time
