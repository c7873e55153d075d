//! The same tables, and the programs in the kernel.
