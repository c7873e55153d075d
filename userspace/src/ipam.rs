//! Addresses for pods.
