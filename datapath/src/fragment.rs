//! Fragments: the first one's ports are those of all others of its datagram.
