//! The owner of money and lines, question by question and under load.

mod accounts;
mod admission;
mod bench;
mod money;
mod packages;
mod parallel;
mod records;
mod rent;
