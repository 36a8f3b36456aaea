//! Requests and replies between tandem and tandemd
