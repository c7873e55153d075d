//! Tables of packets in and packets out, and the two machines that have to agree with them: the
//! datapath's stages as native code, and the programs in the kernel.

pub mod answers;
pub mod describe;
pub mod fixture;
pub mod fixtures;
pub mod kernel;
pub mod machine;
pub mod native;
pub mod uplink;
pub mod uplink_world;
pub mod world;
