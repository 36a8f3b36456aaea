//! The owner of money and lines, question by question and under load.

mod accounts;
mod admission;
mod bench;
mod money;
mod parallel;
mod records;
