//! Properties that hold for every packet and every order of events.

mod affinity;
mod between_pods;
mod borders;
mod checksums;
mod connecting;
mod connections;
mod fragments;
mod parsing;
mod quoting;
mod races;
mod reaping;
mod refusals;
mod related;
mod selecting;
mod sockets;
mod source_ranges;
mod strategies;
mod translation;
mod unallocated;
