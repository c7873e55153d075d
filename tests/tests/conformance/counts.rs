//! The table is complete.
