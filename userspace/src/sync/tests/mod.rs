//! What packets meet while the tables change, and what remains when changing them is interrupted.

mod capacity;
mod clients;
mod fake;
mod fake_networks;
mod fate;
mod networks;
mod order;
mod recovery;
mod world;
