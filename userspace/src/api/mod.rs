//! What the agent tells the command line over its unix socket: the shapes of `-o json`.

pub mod view;
