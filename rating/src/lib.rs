//! Exact money: rating, decks, accounts, CDRs
