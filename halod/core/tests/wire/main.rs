//! Packets parsed, rewritten and built, against etherparse, an implementation that shares nothing with this one.

mod icmp;
mod malformed;
mod packets;
mod parse;
mod rewrite;
mod segment;
