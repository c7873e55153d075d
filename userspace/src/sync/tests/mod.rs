//! What packets meet while the tables change, and what remains when changing them is interrupted.

mod capacity;
mod fake;
mod order;
mod recovery;
mod world;
